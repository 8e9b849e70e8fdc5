"""JupyterLab as ``book.py read`` starts it, on a copy of the chapters: they open, run and react."""

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import explorer_actions as actions
import nbformat
import numpy as np
import pytest

import book
from convlib.notebook import trained_network

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTER = "01_image_kernels.ipynb"
EXPLORER = "explorer.ipynb"
SHOW_EXPLORER = """\
from convlib.notebook import Explorer, trained_network
Explorer(trained_network())"""
SECONDS = 300  # for the server to start, and for a chapter to run
ADDRESS = re.compile(r"http://127\.0\.0\.1:\S+")
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
# Every cell that was started has ended: a star stands beside those that wait or run.
HAS_RUN = """(panel) => {
  const prompts = [...panel.querySelectorAll(".jp-CodeCell .jp-InputPrompt")];
  return panel.querySelector(".jp-Notebook-ExecutionIndicator").dataset.status === "idle"
    && prompts.some((prompt) => /\\d/.test(prompt.textContent))
    && !prompts.some((prompt) => prompt.textContent.includes("*"));
}"""


@pytest.fixture(scope="module")
def chapters(tmp_path_factory):
    """A copy of the chapters, and a notebook with the explorer.

    The chapter that is run has lost its outputs, lest old ones be seen.
    """
    folder = tmp_path_factory.mktemp("book") / "chapters"
    shutil.copytree(ROOT / "chapters", folder)
    chapter = nbformat.read(folder / CHAPTER, as_version=4)
    for cell in chapter.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(chapter, folder / CHAPTER)
    cells = [nbformat.v4.new_code_cell(SHOW_EXPLORER)]
    explorer = nbformat.v4.new_notebook(cells=cells, metadata=chapter.metadata)
    nbformat.write(explorer, folder / EXPLORER)
    return folder


@pytest.fixture(scope="module")
def address(chapters):
    """The address that the server prints for readers, with its token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book, "CHAPTERS", chapters)
        command = [sys.executable, "-m", *book.jupyterlab(no_browser=True, port=0)]
    environment = book.environment() | {"PYTHONPATH": str(ROOT)}
    for kind in ("CONFIG", "DATA", "RUNTIME"):
        environment[f"JUPYTER_{kind}_DIR"] = str(chapters.parent / kind.lower())
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    too_late = threading.Timer(SECONDS, server.kill)
    too_late.start()
    said = []
    try:
        for line in server.stderr:
            said.append(line)
            if found := ADDRESS.search(line):
                break
        too_late.cancel()
        assert said and found, f"JupyterLab ended without an address: {''.join(said)}"
        yield found[0]
    finally:
        too_late.cancel()
        server.terminate()  # it ends its kernels first
        try:
            server.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.communicate()


@pytest.fixture(scope="module")
def tab(address, open_tab):
    """JupyterLab in a browser, as it opens."""
    place = urlsplit(address).netloc
    asked = tuple(f"{scheme}{place}" for scheme in ("http://", "ws://", "blob:http://"))
    tab = open_tab((*asked, "data:"), viewport={"width": 1400, "height": 900})
    tab.goto(address)
    return tab


def open_notebook(tab, name):
    """Open a notebook from the list of files; return its panel."""
    tab.locator(".jp-DirListing-item", has_text=name).dblclick()
    label = tab.locator(f".lm-TabBar-tab.lm-mod-current[title*='{name}']")
    panel = tab.locator(f"#{label.get_attribute('data-id')}:not(.lm-mod-hidden)")
    panel.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    panel.locator(".jp-Cell").first.click()  # menus are about what has the focus
    return panel


def run_all(tab, panel):
    """Run all cells as the menu does, and wait until the last has ended or one has failed."""
    tab.get_by_role("menuitem", name="Run", exact=True).click()
    tab.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
    tab.wait_for_function(HAS_RUN, arg=panel.element_handle(), timeout=1000 * SECONDS)
    complaints = panel.locator("[data-mime-type='application/vnd.jupyter.stderr']")
    assert complaints.all_text_contents() == [], "an error, or a warning"
    return panel


@pytest.fixture(scope="module")
def chapter(tab):
    """Chapter 1, with all of its cells run."""
    return run_all(tab, open_notebook(tab, CHAPTER))


def test_it_opens_on_chapter_0(tab):
    tab.locator(f"{PANEL} h1", has_text="Start here").wait_for()
    assert urlsplit(tab.url).path == f"/lab/tree/{book.FIRST_CHAPTER}"


def test_a_chapter_runs_and_complains_of_nothing(chapter, chapters):
    cells = nbformat.read(chapters / CHAPTER, as_version=4).cells
    codes = sum(cell.cell_type == "code" for cell in cells)
    prompts = chapter.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()
    assert prompts == [f"[{number}]:" for number in range(1, codes + 1)]


def test_a_slider_changes_its_picture(chapter, tab):
    box = chapter.locator(".widget-vbox", has=tab.locator(".widget-slider")).first
    picture, slider = box.locator("img"), box.get_by_role("slider").first
    read = "image => fetch(image.src).then(got => got.text())"
    before, chosen = picture.evaluate(read), box.locator(".widget-readout").first.text_content()
    address = picture.get_attribute("src")
    slider.press("ArrowRight")
    box.locator(f"img:not([src='{address}'])").wait_for()
    assert box.locator(".widget-readout").first.text_content() != chosen
    assert picture.evaluate(read) != before


@pytest.fixture(scope="module")
def explorer_notebook(tab):
    """A notebook with the explorer, run, with the list of files out of the way."""
    panel = run_all(tab, open_notebook(tab, EXPLORER))
    tab.keyboard.press("Control+B")
    return panel


@pytest.fixture(scope="module")
def network():
    return trained_network()


@pytest.fixture(params=[390, 1400])
def explorer(request, explorer_notebook, tab):
    tab.set_viewport_size({"width": request.param, "height": 900})
    explorer = explorer_notebook.locator(".convlib-explorer")
    explorer.locator(".answer").wait_for()
    return explorer


def test_a_drawn_seven_is_read_as_a_seven(explorer, network):
    actions.draw(explorer, actions.SEVEN)
    assert actions.answer(explorer) == 7
    expected = 100 * network.predict(actions.image_on_pad(explorer), verbose=0)[0]
    # The picture of the pad has 255 steps from paper to ink.
    assert np.abs(actions.probabilities(explorer) - expected).max() < 2


def test_pointing_at_a_value_shows_its_products_and_their_sum(explorer, network):
    actions.check_pointing(explorer, network, layer=0)


def test_the_keyboard_of_the_explorer_is_not_that_of_the_notebook(explorer, explorer_notebook):
    actions.draw(explorer, actions.SEVEN)
    before = actions.image_on_pad(explorer)
    pad = explorer.locator(".pad canvas")
    pad.press("ArrowDown")
    actions.answer(explorer)
    assert np.array_equal(actions.image_on_pad(explorer), np.roll(before, 1, axis=1))
    pad.press("Delete")
    actions.answer(explorer)
    assert not actions.image_on_pad(explorer).any()
    pad.press("b")  # for the notebook: another cell
    actions.answer(explorer)
    assert explorer_notebook.locator(".jp-CodeCell").count() == 1


def test_nothing_went_wrong_behind_the_pages(chapter, tab):
    assert tab.troubles == []
