"""The web site as its readers get it: built anew, opened from the disk in a browser."""

import hashlib
import importlib
import json
import subprocess
import sys
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import convlib

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTERS = sorted(path.stem for path in (ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))
LOOKED_AT = [
    "index",
    f"chapters/{CHAPTERS[0]}",
    f"chapters/{CHAPTERS[10]}",
    f"chapters/{CHAPTERS[11]}",
    "chapters/glossary",
    "api/layers",
    "benchmarks/index",
]
RULES = {"preload": False, "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}


class Page(HTMLParser):
    """What one page of the site holds that others depend on."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.anchors, self.links, self.pictures, self.headings = set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors.add(values.get("id"))
        self.links += [values[name] for name in ("href", "src") if values.get(name)]
        if tag == "img":
            self.pictures.append((values["src"], values.get("alt")))
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.headings.append(int(tag[1]))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, which a warning would have kept from being built."""
    folder = tmp_path_factory.mktemp("build")
    program = (
        "import sys; from pathlib import Path; from website.__main__ import build;"
        "sys.exit(build(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", program, folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


def test_everything_has_its_page(pages):
    expected = {
        f"chapters/{folder}{name}.html" for folder in ("", "solutions/") for name in CHAPTERS
    }
    expected |= {
        f"chapters/{name}.html" for name in ("notation", "glossary", "coverage", "teaching")
    }
    expected |= {f"{name}.html" for name in ("index", "search", "api/index", "benchmarks/index")}
    assert expected <= set(pages)
    links = pages["index.html"].links
    listed = [link for link in dict.fromkeys(links) if link.startswith("chapters/")]
    order = [f"chapters/{name}.html" for name in CHAPTERS]
    assert [link for link in listed if link in order] == order
    for name in CHAPTERS:
        assert f"solutions/{name}.html" in pages[f"chapters/{name}.html"].links


def test_every_public_function_and_class_has_its_entry_in_the_reference(pages):
    entries = set().union(*(page.anchors for name, page in pages.items() if "api/" in name))
    for name in (*convlib.__all__[1:], "notebook", "kernels.reference"):
        module = importlib.import_module(f"convlib.{name}")
        public = getattr(module, "__all__", ())
        expected = {f"convlib.{name}.{one}" for one in public if callable(getattr(module, one))}
        assert expected <= entries, expected - entries
    constants = {"notebook.style.BLUE", "datasets.digits.TRAIN", "datasets.fashion_mnist.CLASSES"}
    assert {f"convlib.{name}" for name in constants} <= entries


def test_every_page_of_the_reference_leads_to_chapters_and_has_examples(pages):
    for name, page in pages.items():
        if name.startswith("api/") and name != "api/index.html":
            assert any(link.startswith("../chapters/") for link in page.links), name
            assert "&gt;&gt;&gt;" in page.path.read_text(encoding="utf-8"), name


def test_links_lead_to_pages_and_headings_that_are_there(pages, site):
    followed = 0
    for name, page in pages.items():
        for link in page.links:
            if link.startswith(("http:", "https:", "mailto:", "data:")):
                continue
            place, _, anchor = link.partition("#")
            place = unquote(place.partition("?")[0])
            target = (page.path.parent / place).resolve() if place else page.path
            assert target.is_file(), f"{name} links to {link}"
            followed += 1
            if anchor and target.suffix == ".html":
                there = pages[target.relative_to(site).as_posix()].anchors
                assert unquote(anchor) in there, f"{name} links to {link}"
    assert followed > 1000


def test_every_figure_has_the_sentence_that_stands_under_it_in_the_notebook(pages):
    for name in CHAPTERS:
        notebook = json.loads((ROOT / "chapters" / f"{name}.ipynb").read_text(encoding="utf-8"))
        sentences = {
            hashlib.sha256(b64decode(output["data"]["image/png"])).hexdigest(): output["data"][
                "text/plain"
            ]
            for cell in notebook["cells"]
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        }
        found = {Path(src).stem: alt for src, alt in pages[f"chapters/{name}.html"].pictures}
        assert found.keys() == sentences.keys()
        for key, sentence in sentences.items():
            assert found[key] == "".join(sentence)
    for name, page in pages.items():
        assert all(alt for _, alt in page.pictures), f"{name} has a picture without a sentence"


def test_headings_begin_at_the_first_level_and_leave_none_out(pages):
    for name, page in pages.items():
        if name == "search.html":
            continue  # its headings are written while it searches
        assert page.headings[:1] == [1], name
        assert page.headings.count(1) == 1, name
        for above, below in zip(page.headings, page.headings[1:], strict=False):
            assert below <= above + 1, f"{name}: {page.headings}"


@pytest.fixture(scope="module", params=[(390, "light"), (1400, "dark")], ids=["narrow", "wide"])
def tab(request, browser):
    """A page of the browser, and what it complained about and asked for."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.troubles = []
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on(
        "console",
        lambda said: said.type in ("error", "warning") and page.troubles.append(said.text),
    )
    page.on("requestfailed", lambda request: page.troubles.append(request.url))
    page.on(
        "request",
        lambda request: (
            request.url.startswith(("file:", "data:", "blob:")) or page.troubles.append(request.url)
        ),
    )
    yield page
    context.close()


@pytest.mark.parametrize("name", LOOKED_AT)
def test_page_is_complete_and_accessible_from_the_disk(name, tab, site):
    from axe_playwright_python.sync_playwright import Axe

    tab.troubles.clear()
    tab.goto((site / f"{name}.html").as_uri(), wait_until="load")
    if tab.locator(".math").count():
        tab.wait_for_selector("mjx-container svg", state="attached")
    assert tab.troubles == []
    # The theme hides what is too wide for the window and lets the text scroll instead.
    sizes = "part => [part.scrollWidth, part.clientWidth]"
    for width, there in tab.locator("html, .content").evaluate_all(f"all => all.map({sizes})"):
        assert width <= there, "the page is wider than the window"
    violations = Axe().run(tab, options=RULES).response["violations"]
    assert not [(rule["id"], rule["nodes"][0]["html"]) for rule in violations]


def test_figures_stand_on_white_in_the_dark_too(tab, site):
    tab.goto((site / "chapters" / f"{CHAPTERS[4]}.html").as_uri())
    ground = "getComputedStyle(document.querySelector('.cell_output img')).backgroundColor"
    assert tab.evaluate(ground) == "rgb(255, 255, 255)"


def test_the_search_finds_words_of_chapters_and_of_the_reference(tab, site):
    tab.troubles.clear()
    tab.goto((site / "search.html").as_uri() + "?q=pooling")
    for part in ("chapters", "api"):
        tab.wait_for_selector(f"ul.search a[href*='{part}/']")
    assert tab.troubles == []
