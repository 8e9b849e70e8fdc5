"""Make the notebooks from their text sources: ``python -m convlib.notebook.build``.

``chapters/NN_name.py`` (jupytext, py:percent) is executed and becomes ``NN_name.ipynb`` with its
outputs. Everything that would differ from one build to the next is taken out, so that building
twice gives the same bytes, and a difference in version control is a difference in content.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import sys
import time
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

WIDGET_MIME = "application/vnd.jupyter.widget-"
VOLATILE = "volatile-output"
"""Tag of cells whose output differs in every run, such as times: the build drops that output."""
CELL_TIMEOUT = 300
"""Seconds after which a cell is taken to hang; nbval is given the same limit."""


def sources(chapters: Path, selection: list[str]) -> list[Path]:
    """Return the text sources of the chapters and of their solutions, in order.

    Parameters
    ----------
    chapters : pathlib.Path
        Folder of the chapters.
    selection : list of str
        Beginnings of file names, such as ``"10"``; empty for all.
    """
    found = [
        path
        for folder in (chapters, chapters / "solutions")
        for path in sorted(folder.glob("[0-9][0-9]_*.py"))
        if not selection or any(path.name.startswith(start) for start in selection)
    ]
    if not found:
        raise FileNotFoundError(
            f"No chapter source in {chapters} begins with {', '.join(selection) or 'a number'}."
        )
    return found


def read_source(path: Path) -> nbformat.NotebookNode:
    """Return a text source as a notebook without outputs, with stable cell names."""
    notebook = jupytext.read(path, fmt="py:percent")
    needs = notebook.metadata.get("convlib")
    notebook.metadata = nbformat.NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    if needs:
        notebook.metadata["convlib"] = needs
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        # A name made from the content survives cells that are added or removed elsewhere.
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.NotebookNode({"tags": tags} if tags else {})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def missing_data(notebook: nbformat.NotebookNode) -> str | None:
    """Return why a chapter cannot run here, or None if it can.

    A chapter says in its metadata, under ``convlib.needs``, which data set it needs beyond
    those that the library carries.
    """
    name = notebook.metadata.get("convlib", {}).get("needs")
    if name is None:
        return None
    if importlib.import_module(f"convlib.datasets.{name}").is_available():
        return None
    return f"it needs {name}, which is not on this computer"


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take out of an executed notebook what differs from run to run; return the notebook."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        if VOLATILE in cell.metadata.get("tags", []):
            cell.outputs = []
        outputs: list = []
        for output in cell.outputs:
            # The kernel flushes when it likes: one stream may arrive in any number of pieces.
            if (
                output.output_type == "stream"
                and outputs
                and outputs[-1].get("name") == output.name
            ):
                outputs[-1].text += output.text
                continue
            if "data" in output:
                for mime in [m for m in output.data if m.startswith(WIDGET_MIME)]:
                    del output.data[mime]
            outputs.append(output)
        cell.outputs = outputs
    return notebook


def execute(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run all cells in a fresh kernel that works in `folder`; return the same notebook."""
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
    )
    client.execute()
    return notebook


def built(source: Path) -> str:
    """Return the text of the notebook that a source gives when it is executed."""
    notebook = normalise(execute(read_source(source), source.parent))
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Build, or compare with what is there; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m convlib.notebook.build", description=__doc__)
    parser.add_argument("selection", nargs="*", metavar="NN", help="chapters to build, all if none")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a notebook would change"
    )
    parser.add_argument("--chapters", type=Path, default=Path("chapters"), help="their folder")
    options = parser.parse_args(arguments)
    # The chapters must run against this library, not against another one that is installed.
    root = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [root, os.environ.get("PYTHONPATH", "")])
    )
    changed = []
    for source in sources(options.chapters, options.selection):
        reason = missing_data(read_source(source))
        if reason is not None:
            print(f"{source.name}: SKIPPED, {reason}")
            continue
        started = time.perf_counter()
        text = built(source)
        target = source.with_suffix(".ipynb")
        differs = not target.exists() or target.read_text(encoding="utf-8") != text
        if differs:
            changed.append(target.name)
            if not options.check:
                target.write_text(text, encoding="utf-8")
        seconds = time.perf_counter() - started
        word = "unchanged" if not differs else "would change" if options.check else "written"
        print(f"{target.name}: {word}, {len(text) / 1e3:.0f} kB, {seconds:.0f} s", flush=True)
    if options.check and changed:
        print(f"Not up to date: {', '.join(changed)}. Build them and look at the difference.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
