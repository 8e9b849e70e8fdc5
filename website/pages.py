"""The site's source folder: the chapters as they are, and pages made from what the project says.

Nothing is written twice. The first page is put together from the README and chapter 0, the pages on
speed from the results of the benchmarks, the reference from docstrings, the page to draw on from
the notebooks' explorer and the network in ``data``.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from base64 import b64decode, b64encode
from pathlib import Path
from string import Template
from urllib.parse import quote

import nbformat

from benchmarks.readme import paragraph
from convlib import notebook
from convlib.notebook.explorer import script
from convlib.notebook.markdown import outline, page_anchors

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CHAPTERS = ROOT / "chapters"

API = {
    "Layers": ["layers"],
    "Models": ["models"],
    "Functions on arrays": ["functional"],
    "Losses": ["losses"],
    "Metrics": ["metrics"],
    "Optimizers": ["optimizers"],
    "Callbacks": ["callbacks"],
    "Initializers": ["initializers"],
    "Utilities": ["utils"],
    "Shapes": ["shapes"],
    "Data sets": [f"datasets{name}" for name in ("", ".strokes", ".digits", ".mnist")]
    + ["datasets.fashion_mnist"],
    "Notebooks": ["notebook"],
    "The contract of the kernels": ["kernels.reference"],
}
"""Pages of the reference, and the modules of convlib on each."""

_LINK_OUT = re.compile(r"\]\((?:\.\./)+(convlib/[\w./]+)\)")
_LINK_TO_FOLDER = re.compile(r"\]\(((?:\.\./)*(?:benchmarks|solutions))\)")
_LINK_INTO_PAGE = re.compile(r"\]\((\w+)\.md#([^)\s]+)\)")
_SEE = re.compile(r'See chapter (\d+),\s+"([^"]+)"\.')


def assemble(folder: Path) -> None:
    """Write everything that Sphinx is to read into a folder.

    Parameters
    ----------
    folder : pathlib.Path
        It is made here.
    """
    folder.mkdir(parents=True)
    listings: set[str] = set()
    for path in [*CHAPTERS.rglob("[0-9][0-9]_*.ipynb"), *CHAPTERS.glob("*.md")]:
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(linked(path.read_text("utf-8"), target, folder, listings), "utf-8")
            continue
        chapter = nbformat.read(path, as_version=4)
        for cell in chapter.cells:
            if cell.cell_type == "markdown":
                cell.source = linked(cell.source, target, folder, listings)
        nbformat.write(chapter, target)
    for listing in listings:
        write(folder / f"{listing}.md", source_page(ROOT / listing))
    shutil.copytree(CHAPTERS / "figures", folder / "chapters" / "figures")
    write(folder / "chapters" / "solutions" / "index.md", solutions_page())
    shutil.copytree(ROOT / "benchmarks" / "results", folder / "benchmarks" / "results")
    for path in (folder / "benchmarks" / "results").glob("*.md"):
        path.unlink()  # they are on the page on speed
    write(folder / "benchmarks" / "index.md", speed_page(ROOT / "benchmarks"))
    for title, modules in API.items():
        write(folder / "api" / f"{modules[0]}.md", api_page(title, modules))
    write(folder / "api" / "index.md", api_index())
    write(folder / "explorer.html", explorer())
    write(folder / "draw.md", drawing_page())
    write(folder / "index.md", first_page())


def write(path: Path, text: str) -> None:
    """Write a page, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def linked(text: str, target: Path, folder: Path, listings: set[str]) -> str:
    """Return a Markdown text whose links lead to pages of the site.

    Parameters
    ----------
    text : str
        From a chapter or a page beside the chapters.
    target : pathlib.Path
        Where it will be.
    folder : pathlib.Path
        The site's source folder.
    listings : set of str
        Files and folders of the library that are linked to are added here.
    """
    up = "../" * (len(target.relative_to(folder).parts) - 1)

    def to_listing(link: re.Match) -> str:
        listings.add(link[1].rstrip("/"))
        return f"]({up}{link[1].rstrip('/')}.md)"

    def to_heading(link: re.Match) -> str:
        return f"]({link[1]}.md#{heading_anchor(CHAPTERS / f'{link[1]}.md', link[2])})"

    text = _LINK_OUT.sub(to_listing, text)
    text = _LINK_TO_FOLDER.sub(r"](\1/index.md)", text)
    return _LINK_INTO_PAGE.sub(to_heading, text)


def heading_anchor(page: Path, anchor: str) -> str:
    """Return in the form of notebooks an anchor that is written in the form of pages."""
    text = page.read_text(encoding="utf-8")
    for heading in outline(text).headings:
        (own,) = page_anchors(outline(f"# {heading}"))
        if own == anchor:
            return notebook_anchor(heading)
    raise ValueError(f"{page.name} has no heading #{anchor}")


def notebook_anchor(heading: str) -> str:
    """Return the anchor of a heading as JupyterLab makes it, and as links in the book write it."""
    return heading.replace(" ", "-").replace("%", "%25")


def chapter_links(docstring: str) -> list[str]:
    """Return the links that a docstring gives as ``See chapter 5, "Touch it".``.

    The sentence stands in the docstring, and not in a table beside it, so that whoever asks
    `help` reads it too, and whoever changes a function has it before their eyes.

    Returns
    -------
    list of str
        Relative to the chapters, as these link to each other.
    """
    return [_link_to_chapter(see) for see in _SEE.finditer(docstring)]


def _link_to_chapter(see: re.Match) -> str:
    (chapter,) = CHAPTERS.glob(f"{int(see[1]):02d}_*.ipynb")
    return f"{chapter.name}#{quote(notebook_anchor(' '.join(see[2].split())), safe='%')}"


def linked_to_chapters(docstring: str) -> str:
    """Return a docstring in which those sentences are links of the site, in reStructuredText."""

    def link(see: re.Match) -> str:
        page, anchor = _link_to_chapter(see).split("#")
        target = f"../chapters/{Path(page).stem}.html#{anchor}"
        return f"See `chapter {see[1]}, “{see[2]}” <{target}>`__."

    return _SEE.sub(link, docstring)


def picture_sentences() -> dict[str, str]:
    """Return the sentence of each picture in the chapters, by the hash that Sphinx names it by."""
    return {
        hashlib.sha256(b64decode(output.data["image/png"])).hexdigest(): output.metadata[
            "image/png"
        ]["alt"]
        for path in CHAPTERS.glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    }


def between(text: str, start: str, end: str) -> str:
    """Return what stands between two marks, each of which must be there."""
    _, after = text.split(start, 1)
    inside, _ = after.split(end, 1)
    return inside.strip()


def toctree(caption: str, pages: list[str], depth: int = 1) -> str:
    """Return the lines by which pages come into the site's table of contents."""
    head = f"```{{toctree}}\n:hidden:\n:maxdepth: {depth}\n"
    return (
        head + (f":caption: {caption}\n" if caption else "") + "\n".join(["", *pages]) + "\n```\n"
    )


def first_page() -> str:
    """Return the first page, from the README and from the end of chapter 0."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start = nbformat.read(CHAPTERS / "00_start_here.ipynb", as_version=4)
    prose = "\n\n".join(cell.source for cell in start.cells if cell.cell_type == "markdown")
    ways = between(prose, "## Where to go from here\n", "\nFour pages")
    ways = ways.replace("](../", "](").replace("](benchmarks)", "](benchmarks/index.md)")
    ways = re.sub(r"\]\((\d\d_)", r"](chapters/\1", ways)
    ways = re.sub(r"\]\((convlib/[\w./]+)\)", r"](\1.md)", ways)
    chapters = [f"chapters/{path.stem}" for path in sorted(CHAPTERS.glob("[0-9][0-9]_*.ipynb"))]
    beside = ["notation", "glossary", "coverage", "teaching"]
    contents = [
        toctree("Try it", ["draw"]),
        toctree("Chapters", chapters),
        toctree("Beside the chapters", [f"chapters/{name}" for name in beside]),
        toctree("The library", ["api/index", "benchmarks/index"]),
        toctree("Afterwards", ["chapters/solutions/index"]),
    ]
    return filled(
        "index",
        introduction=between(readme, "# A companion to convolutional networks\n", "\n!["),
        picture="![" + between(readme, "\n![", "\nWith git"),
        ways=ways,
        chapters=between(readme, "## Read the book\n", "\n[Chapter 0]"),
        commands="    " + between(readme, "and nothing else:\n", "\nThe program"),
        contents="\n".join(contents),
    )


def filled(name: str, **parts: str) -> str:
    """Return a template beside this file with its parts put in."""
    return Template((HERE / f"{name}.template").read_text("utf-8")).substitute(parts)


def drawing_page() -> str:
    """Return the page to draw on, with what the network's datasheet says of it."""
    sheet = (ROOT / "data" / "network.md").read_text(encoding="utf-8")
    return filled(
        "draw", network=between(sheet, "\n**How it was trained.**", "\n**Making it again.**")
    )


def explorer() -> str:
    """Return the explorer with its network as a piece of a page that asks for no other file."""
    shown = notebook.Explorer(notebook.trained_network())
    return filled(
        "explorer",
        # As it stands it could end the element that it is in.
        description=json.dumps(shown.description).replace("<", r"\u003c"),
        numbers=b64encode(shown.numbers).decode("ascii"),
        script=script(),
    )


def solutions_page() -> str:
    """Return the page that lists the solutions."""
    names = [path.stem for path in sorted((CHAPTERS / "solutions").glob("*.ipynb"))]
    links = [f"- [](../{name}.ipynb): [its solutions]({name}.ipynb)" for name in names]
    intro = (
        "# Solutions\n\nTry the exercises first: they check themselves, and say what is wrong.\n\n"
    )
    return intro + "\n".join(links) + "\n\n" + toctree("", names)


def source_page(path: Path) -> str:
    """Return a page with the source of a module, or of all modules in a folder."""
    name = path.relative_to(ROOT).as_posix()
    modules = sorted(path.glob("*.py")) if path.is_dir() else [path]
    parts = [f"---\norphan: true\n---\n\n# {name}\n"]
    for module in modules:
        if path.is_dir():
            parts.append(f"## {module.name}\n")
        parts.append(f"```python\n{module.read_text(encoding='utf-8')}```\n")
    return "\n".join(parts)


def speed_page(folder: Path) -> str:
    """Return the page on speed: in short, how it was measured, and every table."""
    title, how = (folder / "README.md").read_text(encoding="utf-8").split("\n", 1)
    short = paragraph(folder / "results").replace("](benchmarks/", "](")
    tables = "\n".join(
        "#" + path.read_text(encoding="utf-8") for path in sorted((folder / "results").glob("*.md"))
    )
    return f"{title}\n{short}\n## Measure it yourself\n{how}\n{tables}"


def api_index() -> str:
    """Return the first page of the reference."""
    pages = [modules[0] for modules in API.values()]
    rows = [f"- [{title}]({modules[0]}.md)" for title, modules in API.items()]
    intro = "# Reference of convlib\n\nNames, arguments and defaults are those of Keras 3 wherever "
    intro += "convlib has the same thing. Each entry links to its source.\n\n"
    return intro + "\n".join(rows) + "\n\n" + toctree("", pages)


def api_page(title: str, modules: list[str]) -> str:
    """Return the page of some modules, which Sphinx fills from their docstrings."""
    parts = [f"# {title}\n"]
    for name in modules:
        if len(modules) > 1:
            parts.append(f"## convlib.{name}\n")
        lines = [f".. automodule:: convlib.{name}", "   :members:"]
        if name == "notebook":
            lines.append("   :imported-members:")
            # Sphinx does not see by itself what is imported on first use.
            for entry in (entry for entry in notebook.__all__ if entry not in vars(notebook)):
                kind = "class" if isinstance(getattr(notebook, entry), type) else "function"
                lines += ["", f".. auto{kind}:: convlib.{name}.{entry}"]
            # Constants are described where they are written.
            constants = [entry for entry in notebook.__all__ if entry.isupper()]
            lines += ["", *(f".. autodata:: convlib.{name}.style.{entry}" for entry in constants)]
        parts.append("\n".join(["```{eval-rst}", *lines, "```\n"]))
    return "\n".join(parts)
