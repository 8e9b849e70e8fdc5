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

import explorer_actions as actions
import numpy as np
import pytest

import convlib
from convlib.datasets import strokes
from convlib.notebook import trained_network

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTERS = sorted(path.stem for path in (ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))
LOOKED_AT = [
    "index",
    "draw",
    *(f"chapters/{CHAPTERS[number]}" for number in (0, 1, 8, 11, 13)),
    "chapters/coverage",
    "chapters/glossary",
    f"chapters/solutions/{CHAPTERS[4]}",
    "api/layers",
    "benchmarks/index",
]
WIDTHS = (390, 1400)  # a telephone's and a screen's, in pixels
FROM_DISK = ("file:", "data:", "blob:")
RULES = {
    "preload": False,
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
}
# What has the same tags and classes up to the top of the page has the same colours.
LEAVE_ONE_OF_EACH_LOOK = """() => {
  const seen = new Set(), again = [];
  const walk = (element, above) => {
    const look = `${above} ${element.tagName}.${element.className} ${element.style.cssText}`;
    if (seen.has(look) && !element.childElementCount) again.push(element);
    seen.add(look);
    for (const child of element.children) walk(child, look);
  };
  walk(document.body, "");
  for (const element of again) element.remove();
  return seen.size;
}"""
# The scripts and numbers that stand in the page, used without its pad.
COMPUTE = """async (image) => {
  const text = (name) => document.getElementById(`explorer-${name}`).textContent;
  const script = [...document.scripts].find((one) => one.type === "module").textContent;
  const library = script.slice(0, script.lastIndexOf("mount("));
  const place = URL.createObjectURL(new Blob([library], { type: "text/javascript" }));
  const { outputsOf, numbersFrom } = await import(place);
  const made = outputsOf(JSON.parse(text("network")), numbersFrom(text("numbers")),
    Float32Array.from(image));
  return made.map((values) => [...values]);
}"""


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
    expected |= {
        f"{name}.html" for name in ("index", "draw", "search", "api/index", "benchmarks/index")
    }
    assert expected <= set(pages)
    links = pages["index.html"].links
    assert "draw.html" in links
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


@pytest.fixture(scope="module")
def tab(open_tab):
    """A page of the browser that may read the disk and nothing else."""
    return open_tab(FROM_DISK)


@pytest.mark.parametrize("name", LOOKED_AT)
def test_page_is_complete_and_accessible_from_the_disk(name, tab, site):
    tab.troubles.clear()
    tab.goto((site / f"{name}.html").as_uri(), wait_until="load")
    if tab.locator(".math").count():
        tab.wait_for_selector("mjx-container svg", state="attached")
    for width in WIDTHS:
        look(tab, width, "light")
        # The theme hides what is too wide for the window and lets the text scroll instead.
        sizes = "parts => parts.map(part => [part.scrollWidth, part.clientWidth])"
        for needed, there in tab.locator("html, .content").evaluate_all(sizes):
            assert needed <= there, f"the page is wider than the window of {width} pixels"
        assert violations(tab, RULES | {"rules": {"color-contrast": {"enabled": False}}}) == []
    # A page of listings has thousands of words in a few colours.
    assert tab.evaluate(LEAVE_ONE_OF_EACH_LOOK) > 0
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            look(tab, width, scheme)
            found = violations(tab, RULES | {"runOnly": ["color-contrast"]})
            assert found == [], f"{width} pixels, {scheme}"
    assert tab.troubles == []


def look(tab, width, scheme):
    """Give the window a width and a scheme of colours, and let the page take notice."""
    tab.set_viewport_size({"width": width, "height": 900})
    tab.emulate_media(color_scheme=scheme)
    tab.evaluate(actions.TWO_FRAMES)


def violations(tab, options):
    """Return the rules of accessibility that a page breaks, each with a place."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab, options=options).response["violations"]
    return [(rule["id"], rule["nodes"][0]["html"]) for rule in found]


def test_figures_stand_on_white_in_the_dark_too(tab, site):
    tab.emulate_media(color_scheme="dark")
    tab.goto((site / "chapters" / f"{CHAPTERS[4]}.html").as_uri())
    ground = "getComputedStyle(document.querySelector('.cell_output img')).backgroundColor"
    assert tab.evaluate(ground) == "rgb(255, 255, 255)"


def test_the_search_finds_words_of_chapters_and_of_the_reference(tab, site):
    tab.troubles.clear()
    tab.goto((site / "search.html").as_uri() + "?q=pooling")
    for part in ("chapters", "api"):
        tab.wait_for_selector(f"ul.search a[href*='{part}/']")
    assert tab.troubles == []


@pytest.fixture(scope="module")
def network():
    return trained_network()


@pytest.fixture(scope="module", params=WIDTHS)
def explorer(request, open_tab, site):
    """The explorer on its page, opened from the disk."""
    tab = open_tab(FROM_DISK, viewport={"width": request.param, "height": 900})
    tab.goto((site / "draw.html").as_uri())
    explorer = tab.locator(".convlib-explorer")
    explorer.locator(".answer").wait_for()
    yield explorer
    assert tab.troubles == []


def test_a_drawn_seven_is_read_as_a_seven(explorer):
    actions.draw(explorer, actions.SEVEN)
    assert actions.answer(explorer) == 7


@pytest.mark.parametrize("explorer", WIDTHS[1:], indirect=True)
def test_digits_that_a_mouse_draws_are_read(explorer):
    read = []
    for digit, way in enumerate(strokes.trace(range(10), seed=0)):
        points = np.concatenate(way)[:, :2]
        corner, size = points.min(axis=0), np.ptp(points, axis=0).max()
        # Every fourth vertex: a hand is as quick.
        ends = [np.concatenate([stroke[:-1:4, :2], stroke[-1:, :2]]) for stroke in way]
        actions.draw(explorer, [0.2 + 0.6 * (end - corner) / size for end in ends])
        read.append(actions.answer(explorer) == digit)
    assert sum(read) >= 9, read


@pytest.mark.parametrize("example", [3, 8])
def test_the_page_computes_what_the_library_computes(explorer, network, example):
    explorer.locator(f"[data-example='{example}']").first.click()
    assert actions.answer(explorer) == example
    image = strokes.draw(range(10), seed=1)[example].reshape(1, 28, 28, 1).astype(np.float32) / 255
    assert np.abs(actions.image_on_pad(explorer) - image).max() < 1e-6
    expected = 100 * network.predict(image, verbose=0)[0]
    assert np.abs(actions.probabilities(explorer) - expected).max() < 0.051, "they have a decimal"


def test_every_value_of_the_page_is_that_of_the_library(explorer, network):
    """As the page computes it, from the numbers that are in the page."""
    image = strokes.draw([5], seed=0).reshape(1, 28, 28, 1).astype(np.float32) / 255
    computed = explorer.page.evaluate(COMPUTE, image.ravel().tolist())
    outputs = network.layer_outputs(image)
    assert len(computed) == len(outputs)
    for got, wanted in zip(computed, outputs, strict=True):
        error = np.abs(np.array(got) - wanted.ravel()).max()
        # Both sum at most 577 float32 products, the page in double precision.
        assert error <= 577 * np.finfo(np.float32).eps * max(1, np.abs(wanted).max())


def test_the_keyboard_moves_and_clears_the_drawing(explorer):
    actions.draw(explorer, actions.SEVEN)
    assert actions.answer(explorer) == 7
    before = actions.image_on_pad(explorer)
    pad = explorer.locator(".pad canvas")
    for key, (down, right) in {"ArrowRight": (0, 1), "ArrowDown": (1, 0)}.items():
        pad.press(key)
        actions.answer(explorer)
        moved = np.roll(before, (down, right), axis=(1, 2))
        assert np.array_equal(actions.image_on_pad(explorer), moved)
        before = moved
    pad.press("Delete")
    actions.answer(explorer)
    assert not actions.image_on_pad(explorer).any()


@pytest.mark.parametrize("layer", [0, 2])
def test_pointing_at_a_value_shows_its_products_and_their_sum(explorer, network, layer):
    actions.check_pointing(explorer, network, layer)
