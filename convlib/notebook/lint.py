"""Find in the book what a test run would let pass in vain: ``python -m convlib.notebook.lint``.

nbval runs every cell and compares its output, but a cell that was never executed is not
compared, a figure is not looked at, nobody follows a link, and a time that is printed differs in
every run. Each rule here is one such trap. Notebooks are held to all of them, and the pages
in Markdown to those about links and pictures.
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

from convlib.notebook.build import read_source
from convlib.notebook.markdown import (
    Outline,
    dead_links,
    notebook_anchors,
    outline,
    page_anchors,
    silent_pictures,
)

MAXIMUM_BYTES = 1_000_000
MAXIMUM_COLUMNS = 100
IGNORED_BY_NBVAL = "nbval-ignore-output"

_TIMING = re.compile(
    r"\b\d+(?:[.,]\d+)?\s*(?:"
    r"(?:ns|us|µs|ms|s|h|sec|min|(?:milli|micro|nano)?seconds?|minutes?|hours?|[\w·]+/s)\b"
    r"|\w+ (?:per|a) second\b|min(?=\s*\d))"
    r"|\b\d+:\d\d:\d\d\b"
)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|tmp|root|work|Users|usr|opt)/[\w.-]+")
_UNREPEATABLE = re.compile(
    r"\b(interact|interactive|clear_output|to_jshtml|to_html5_video|get_ipython)\s*\("
)
_NBVAL_COMMENT = re.compile(r"#\s*((?:PYTEST_VALIDATE|NBVAL)_\w+)")
_HTML_PICTURE = re.compile(r"<(?:img|svg|video|canvas)\b", re.IGNORECASE)


def problems_in(path: Path) -> list[str]:
    """Return the problems of one notebook or page, each as a sentence that says where it is.

    Parameters
    ----------
    path : pathlib.Path
        A notebook, whose text source is expected beside it, or a page in Markdown.
    """
    if path.suffix == ".md":
        page = outline(path.read_text(encoding="utf-8"))
        return list(_problems_in_markdown(page, path, page_anchors(page)))
    size = path.stat().st_size
    problems = []
    if size > MAXIMUM_BYTES:
        problems.append(f"the file has {size} bytes, more than the {MAXIMUM_BYTES} allowed")
    notebook = nbformat.read(path, as_version=4)
    if "widgets" in notebook.metadata:
        problems.append("widget state is stored in the metadata")
    problems.extend(_out_of_step(path, notebook))
    outlines = {
        number: outline(cell.source)
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "markdown"
    }
    anchors = notebook_anchors(list(outlines.values()))
    expected_count = 0
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code":
            if cell.source.strip():
                expected_count += 1
            found = _problems_in_code(cell, expected_count)
        elif cell.cell_type == "markdown":
            found = _problems_in_markdown(outlines[number], path, anchors)
        else:
            found = iter(())
        problems.extend(f"cell {number}: {problem}" for problem in found)
    return problems


def _out_of_step(path: Path, notebook: nbformat.NotebookNode) -> Iterator[str]:
    source = path.with_suffix(".py")
    if not source.exists():
        yield f"its text source {source.name} is missing"
        return
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
        if len(line) > MAXIMUM_COLUMNS:
            yield (
                f"line {number} of {source.name} has {len(line)} characters, more than the "
                f"{MAXIMUM_COLUMNS} allowed"
            )

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
    for tag in tags:
        if tag != IGNORED_BY_NBVAL and tag.startswith(("nbval-", "raises-")):
            yield f"it is tagged {tag}, so it is not tested as other cells are"
    if comment := _NBVAL_COMMENT.search(cell.source):
        yield f"a comment with {comment[1]} changes how it is tested; say it in a tag"
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
        if _HTML_PICTURE.search(data.get("text/html", "")):
            yield "a picture in HTML has no sentence that says what to see"
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


def _problems_in_markdown(text: Outline, path: Path, own_anchors: set[str]) -> Iterator[str]:
    yield from dead_links(text.links, path, own_anchors)
    yield from silent_pictures(text.pictures)


def _checked(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted([*path.rglob("[0-9]*.ipynb"), *path.rglob("*.md")])


def main(arguments: list[str] | None = None) -> int:
    """Check notebooks and pages, print the problems; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m convlib.notebook.lint", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("chapters")])
    options = parser.parse_args(arguments)
    files = [file for path in options.paths for file in _checked(path)]
    notebooks = [file for file in files if file.suffix == ".ipynb"]
    pages = len(files) - len(notebooks)
    if not files:
        print("No notebook found.")
        return 1
    count = 0
    for file in files:
        for problem in problems_in(file):
            print(f"{file}: {problem}")
            count += 1
    print(f"{len(notebooks)} notebooks, {pages} pages, {count} problems")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
