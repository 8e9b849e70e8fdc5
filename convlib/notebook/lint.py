"""Find in notebooks what a test run would let pass in vain: ``python -m convlib.notebook.lint``.

nbval runs every cell and compares its output, but a cell that was never executed is not
compared, a figure is not looked at, and a time that is printed differs in every run. Each rule
here is one such trap.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import nbformat

MAXIMUM_BYTES = 1_000_000
IGNORED_BY_NBVAL = "nbval-ignore-output"

_TIMING = re.compile(
    r"\b\d+(?:[.,]\d+)?\s*(?:ns|us|µs|ms|s|sec|seconds?|min|minutes?|it/s|images/s)\b"
)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|tmp|root|work|Users|usr|opt)/[\w.-]+")
_UNREPEATABLE = re.compile(r"\b(interact|interactive|clear_output|to_jshtml|to_html5_video)\s*\(")
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def problems_in(path: Path) -> list[str]:
    """Return the problems of one notebook, each as a sentence that says where it is.

    Parameters
    ----------
    path : pathlib.Path
        A notebook; its text source is expected beside it.
    """
    size = path.stat().st_size
    problems = []
    if size > MAXIMUM_BYTES:
        problems.append(f"the file has {size} bytes, more than the {MAXIMUM_BYTES} allowed")
    notebook = nbformat.read(path, as_version=4)
    if "widgets" in notebook.metadata:
        problems.append("widget state is stored in the metadata")
    problems.extend(_out_of_step(path, notebook))
    expected_count = 0
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code":
            if cell.source.strip():
                expected_count += 1
            found = _problems_in_code(cell, expected_count)
        elif cell.cell_type == "markdown":
            found = _problems_in_markdown(cell, path.parent)
        else:
            found = iter(())
        problems.extend(f"cell {number}: {problem}" for problem in found)
    return problems


def _out_of_step(path: Path, notebook: nbformat.NotebookNode) -> Iterator[str]:
    source = path.with_suffix(".py")
    if not source.exists():
        yield f"its text source {source.name} is missing"
        return
    from convlib.notebook.build import read_source

    def content(cells: list) -> list[tuple]:
        return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in cells]

    here, there = content(notebook.cells), content(read_source(source).cells)
    if here != there:
        pairs = zip(here, there, strict=False)
        shorter = min(len(here), len(there))
        first = next((k for k, (a, b) in enumerate(pairs) if a != b), shorter) + 1
        yield f"it is out of step with {source.name} from cell {first} on; build it again"


def _problems_in_code(cell: nbformat.NotebookNode, expected_count: int) -> Iterator[str]:
    if not cell.source.strip():
        return
    tags = cell.metadata.get("tags", [])
    if cell.execution_count is None:
        yield "it was not executed, so nbval would not compare its output"
    elif cell.execution_count != expected_count:
        yield (
            f"its execution count is {cell.execution_count}, not {expected_count}: "
            "the cells did not run once, in order, in a fresh kernel"
        )
    if "nbval-skip" in tags:
        yield "it is tagged nbval-skip, so nothing would test it"
    try:
        ast.parse(cell.source)
    except SyntaxError:
        yield "it is not plain Python (a magic, a shell command or a syntax error)"
    else:
        if _ends_with_semicolon(cell.source):
            yield "a line ends with a semicolon"
    if call := _UNREPEATABLE.search(cell.source):
        yield f"it calls {call[1]}, whose output cannot be compared"
    yield from _problems_in_outputs(cell.outputs, compared=IGNORED_BY_NBVAL not in tags)


def _ends_with_semicolon(text: str) -> bool:
    previous = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NEWLINE, tokenize.COMMENT, tokenize.ENDMARKER):
            if previous == ";":
                return True
        previous = token.string
    return False


def _problems_in_outputs(outputs: list, compared: bool) -> Iterator[str]:
    for position, output in enumerate(outputs):
        if output.output_type == "error":
            yield f"it stopped with {output.ename}"
            continue
        if output.get("name") == "stderr":
            yield "it wrote to standard error (a warning?)"
        data = output.get("data", {})
        if any(mime.startswith("application/vnd.jupyter.widget-") for mime in data):
            yield "an output refers to a live widget, which no reader of the file has"
        text = output.get("text", "") + "\n".join(
            value for mime, value in data.items() if mime.startswith("text/")
        )
        if path := _MACHINE_PATH.search(text):
            yield f"its output names a path of one machine, {path[0]}"
        if compared and (address := _ADDRESS.search(text)):
            yield f"its output shows an object's address, {address[0]}"
        if compared and (timing := _TIMING.search(text)):
            yield f"its compared output shows a time, {timing[0]!r}"
        if any(mime.startswith("image/") for mime in data):
            following = outputs[position + 1] if position + 1 < len(outputs) else {}
            yield from _problems_with_caption(output, following)


def _problems_with_caption(output: nbformat.NotebookNode, following: dict) -> Iterator[str]:
    sentence = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    caption = following.get("data", {}).get("text/plain", "")
    if len(sentence) < 20 or not sentence.endswith(".") or caption != sentence:
        yield "a figure has no sentence that says what to see; use convlib.notebook.show"


def _problems_in_markdown(cell: nbformat.NotebookNode, folder: Path) -> Iterator[str]:
    for link in _LINK.findall(cell.source):
        if not (folder / link).exists():
            yield f"it links to {link}, which does not exist"


def main(arguments: list[str] | None = None) -> int:
    """Check notebooks, print the problems; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m convlib.notebook.lint", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("chapters")])
    options = parser.parse_args(arguments)
    notebooks = [
        notebook
        for path in options.paths
        for notebook in (sorted(path.rglob("[0-9]*.ipynb")) if path.is_dir() else [path])
    ]
    if not notebooks:
        print("No notebook found.")
        return 1
    count = 0
    for notebook in notebooks:
        for problem in problems_in(notebook):
            print(f"{notebook}: {problem}")
            count += 1
    print(f"{len(notebooks)} notebooks, {count} problems")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
