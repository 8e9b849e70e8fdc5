"""The command line: ``python3 book.py site``, or ``python -m website``."""

import argparse
import shutil
import sys
import time
from pathlib import Path

from sphinx.cmd.build import build_main

from website.pages import ROOT, assemble


def build(folder: Path) -> int:
    """Build the site anew in ``folder/site``; return the exit status of Sphinx.

    Parameters
    ----------
    folder : pathlib.Path
        What is made on the way lies in it too.
    """
    site, source, parsed = (folder / name for name in ("site", "site-source", "site-parsed"))
    for part in (site, source, parsed):
        shutil.rmtree(part, ignore_errors=True)
    assemble(source)
    options = ["-c", str(Path(__file__).parent), "-d", str(parsed), "-j", "auto", "--quiet"]
    return build_main([*options, "--fail-on-warning", str(source), str(site)])


def main() -> int:
    """Build the site in ``build/site`` and say where it is; return the exit status."""
    argparse.ArgumentParser(
        prog="book.py site", description="Build the book as a web site, offline."
    ).parse_args()
    started = time.perf_counter()
    status = build(ROOT / "build")
    if status == 0:
        seconds = time.perf_counter() - started
        first = ROOT / "build" / "site" / "index.html"
        print(f"Built in {seconds:.0f} seconds; open {first.as_uri()}")
    return status


if __name__ == "__main__":
    sys.exit(main())
