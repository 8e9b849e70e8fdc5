"""What a Markdown text says about itself: its headings, its links and its pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
from markdown_it import MarkdownIt
from markdown_it.token import Token

_ELSEWHERE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//")


@dataclass
class Outline:
    """Headings, links and pictures of a Markdown text.

    Attributes
    ----------
    headings : list of str
        The words of each heading, without its marks.
    anchors : list of str
        What the text's own HTML can be linked by: each ``id`` and ``name``.
    links : list of str
        Where the links and pictures lead, as written.
    pictures : list of tuple of str
        Address and alternative text of each picture.
    """

    headings: list[str] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)


class _Html(HTMLParser):
    """Add what an HTML fragment holds to an outline."""

    def __init__(self, outline: Outline) -> None:
        super().__init__()
        self.outline = outline

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.outline.anchors.extend(values[name] for name in ("id", "name") if name in values)
        if "href" in values:
            self.outline.links.append(values["href"])
        if tag == "img":
            self.outline.links.append(values.get("src", ""))
            self.outline.pictures.append((values.get("src", ""), values.get("alt", "")))


def _words(tokens: list[Token]) -> str:
    return "".join(
        _words(token.children) if token.type == "image" else token.content or " "
        for token in tokens
        if token.type in ("text", "code_inline", "image", "softbreak", "hardbreak")
    )


def outline(text: str) -> Outline:
    """Return what a Markdown text holds; code and comments do not count.

    Parameters
    ----------
    text : str
        Markdown with tables, as on GitHub and in notebooks.
    """
    result = Outline()
    html = _Html(result)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for token, before in zip(tokens, [None, *tokens], strict=False):
        if token.type == "html_block":
            html.feed(token.content)
        if token.type != "inline":
            continue
        if before.type == "heading_open":
            result.headings.append(_words(token.children))
        for part in token.children:
            if part.type == "html_inline":
                html.feed(part.content)
            elif part.type == "link_open":
                result.links.append(str(part.attrs["href"]))
            elif part.type == "image":
                result.links.append(str(part.attrs["src"]))
                result.pictures.append((str(part.attrs["src"]), _words(part.children)))
    return result


def notebook_anchors(outlines: list[Outline]) -> set[str]:
    """Return the anchors of a notebook's headings, as JupyterLab and nbconvert make them."""
    return {
        anchor
        for one in outlines
        for anchor in (*one.anchors, *(heading.replace(" ", "-") for heading in one.headings))
    }


def page_anchors(page: Outline) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and most site builders make them."""
    result = set(page.anchors)
    seen: Counter[str] = Counter()
    for heading in page.headings:
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        result.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return result


@cache
def _anchors_at(path: Path, _changed: int) -> set[str]:
    if path.suffix == ".md":
        return page_anchors(outline(path.read_text(encoding="utf-8")))
    cells = nbformat.read(path, as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    return notebook_anchors([outline(text) for text in texts])


def dead_links(links: list[str], path: Path, own_anchors: set[str]) -> Iterator[str]:
    """Yield a sentence for each link within the book that leads nowhere.

    Parameters
    ----------
    links : list of str
        As written; links to other sites are passed over.
    path : pathlib.Path
        The file in which they stand.
    own_anchors : set of str
        The anchors of that file.
    """
    for link in links:
        if _ELSEWHERE.match(link):
            continue
        place, _, anchor = (unquote(part) for part in link.partition("#"))
        target = path.parent / place if place else path
        if not target.exists():
            yield f"it links to {unquote(link)}, which does not exist"
        elif anchor and (not place or target.suffix in (".md", ".ipynb")):
            known = _anchors_at(target, target.stat().st_mtime_ns) if place else own_anchors
            if anchor not in known:
                yield f"it links to {unquote(link)}, but {target.name} has no such heading"


def silent_pictures(pictures: list[tuple[str, str]]) -> Iterator[str]:
    """Yield a sentence for each picture without one that says what to see."""
    for address, sentence in pictures:
        if len(sentence) < 20:
            yield f"its picture {unquote(address)} has no sentence that says what to see"
