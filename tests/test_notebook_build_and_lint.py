"""Building notebooks from text, and the rules that keep them testable."""

import os
from pathlib import Path

import nbformat
import pytest

from convlib.datasets import mnist
from convlib.notebook import build, lint

CHAPTERS = Path(__file__).resolve().parents[1] / "chapters"

SOURCE = """# %% [markdown]
# # A question?

# %%
from convlib.notebook import explore, figure, show

print("one", flush=True)
print("two", flush=True)

# %%
def draw(slope):
    fig, axes = figure(3, 2)
    axes.plot([0, slope])
    return fig


show(draw(1), "A straight line rises from the left to the right.")

# %%
explore(draw, "A straight line whose slope a slider sets.", slope=(1, 2, 3))

# %%
1 + 1

# %% tags=["nbval-ignore-output"]
print("any")

# %% tags=["nbval-ignore-output", "volatile-output"]
import time

print(f"{time.perf_counter():.9f} s")
"""


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    """Return a folder with one small chapter that has been built, and its notebook."""
    folder = tmp_path_factory.mktemp("chapters")
    (folder / "01_small.py").write_text(SOURCE)
    assert build.main(["--chapters", str(folder)]) == 0
    return folder / "01_small.ipynb"


def test_building_twice_gives_the_same_bytes(chapter, capsys):
    before = chapter.read_bytes()
    assert build.main(["--check", "--chapters", str(chapter.parent)]) == 0
    assert build.main(["--chapters", str(chapter.parent)]) == 0
    assert chapter.read_bytes() == before
    assert "unchanged" in capsys.readouterr().out


def test_the_build_leaves_nothing_that_varies(chapter):
    notebook = nbformat.read(chapter, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
    streams = notebook.cells[1].outputs
    assert [stream.text for stream in streams] == ["one\ntwo\n"]
    slider = notebook.cells[3].outputs[0]
    assert set(slider.data) == {"image/png", "text/plain"}


def test_a_cell_keeps_its_name_when_another_is_added(tmp_path):
    path = tmp_path / "01_x.py"
    path.write_text("# %%\na = 1\n\n# %%\nb = 2\n\n# %%\nb = 2\n")
    before = [cell.id for cell in build.read_source(path).cells]
    path.write_text("# %%\na = 1\n\n# %%\nnew = 0\n\n# %%\nb = 2\n\n# %%\nb = 2\n")
    after = [cell.id for cell in build.read_source(path).cells]
    assert [after[0], *after[2:]] == before
    assert len(set(after)) == 4


def test_check_reports_a_notebook_that_would_change_and_leaves_it(chapter, tmp_path, capsys):
    (tmp_path / "01_small.py").write_text('# %%\nprint("new")\n')
    target = tmp_path / "01_small.ipynb"
    target.write_bytes(chapter.read_bytes())
    assert build.main(["--check", "--chapters", str(tmp_path)]) == 1
    assert target.read_bytes() == chapter.read_bytes()
    assert "Not up to date: 01_small.ipynb" in capsys.readouterr().out


def test_a_chapter_whose_data_are_missing_is_skipped_with_the_reason(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(mnist, "is_available", lambda: False)
    (tmp_path / "14_data.py").write_text(
        "# ---\n# jupyter:\n#   convlib:\n#     needs: mnist\n# ---\n\n# %%\n1 / 0\n"
    )
    assert build.main(["--chapters", str(tmp_path)]) == 0
    assert "SKIPPED, it needs mnist" in capsys.readouterr().out
    assert not (tmp_path / "14_data.ipynb").exists()


def test_what_a_chapter_needs_is_in_its_metadata(tmp_path):
    path = tmp_path / "14_data.py"
    path.write_text("# ---\n# jupyter:\n#   convlib:\n#     needs: mnist\n# ---\n\n# %%\n1\n")
    assert build.read_source(path).metadata.convlib.needs == "mnist"


def test_an_unknown_chapter_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="77"):
        build.main(["77", "--chapters", str(tmp_path)])


def test_what_the_build_makes_has_no_problems(chapter):
    assert lint.problems_in(chapter) == []
    assert lint.main([str(chapter.parent)]) == 0


def printed(text):
    return [nbformat.v4.new_output("stream", name="stdout", text=text)]


def _replace_source(cell, text):
    cell.source = text


PLANTED = {
    "was not executed": lambda nb: nb.cells[1].update(execution_count=None),
    "did not run once, in order": lambda nb: nb.cells[4].update(execution_count=9),
    "tagged nbval-skip": lambda nb: nb.cells[1].metadata.update(tags=["nbval-skip"]),
    "not plain Python": lambda nb: _replace_source(nb.cells[4], "%no_such_magic\n1 + 1"),
    "not plain Python (a magic, a": lambda nb: _replace_source(nb.cells[4], "!ls"),
    "ends with a semicolon": lambda nb: _replace_source(nb.cells[4], "1 + 1;  # quiet"),
    "calls interact": lambda nb: _replace_source(nb.cells[4], "interact(draw, slope=(1, 3))"),
    "calls clear_output": lambda nb: _replace_source(nb.cells[4], "clear_output(wait=True)"),
    "shows a time, '3.2 s'": lambda nb: nb.cells[4].update(outputs=printed("took 3.2 s\n")),
    "shows a time, '120 ms'": lambda nb: nb.cells[4].update(outputs=printed("120 ms per step\n")),
    "object's address": lambda nb: nb.cells[4].update(
        outputs=printed("<Model object at 0x7f3a2b9c0d10>\n")
    ),
    "a path of one machine": lambda nb: nb.cells[4].update(outputs=printed("/home/ada/digits\n")),
    "standard error": lambda nb: nb.cells[1].outputs[0].update(name="stderr"),
    "stopped with ValueError": lambda nb: nb.cells[4].update(
        outputs=[nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["no"])]
    ),
    "widget state is stored": lambda nb: nb.metadata.update(widgets={"state": {}}),
    "refers to a live widget": lambda nb: (
        nb.cells[3]
        .outputs[0]
        .data.update({"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})
    ),
    "more than the 1000000 allowed": lambda nb: nb.cells[4].update(outputs=printed("x" * 10**6)),
    "a figure has no sentence": lambda nb: nb.cells[2].outputs.pop(),
    "a figure has no sentence that says": lambda nb: nb.cells[2].outputs[0].metadata.clear(),
    "links to 99_missing.ipynb": lambda nb: _replace_source(
        nb.cells[0], "Go on with [the next](99_missing.ipynb)."
    ),
    "out of step with 01_small.py from cell 5": lambda nb: _replace_source(nb.cells[4], "1 + 2"),
}


@pytest.mark.parametrize("problem", PLANTED)
def test_each_rule_fires(chapter, tmp_path, problem, capsys):
    (tmp_path / "01_small.py").write_bytes(chapter.with_suffix(".py").read_bytes())
    notebook = nbformat.read(chapter, as_version=4)
    PLANTED[problem](notebook)
    path = tmp_path / "01_small.ipynb"
    nbformat.write(notebook, path)
    assert any(problem in found for found in lint.problems_in(path)), lint.problems_in(path)
    assert lint.main([str(path)]) == 1
    assert problem in capsys.readouterr().out


def test_a_notebook_without_its_text_source_is_refused(chapter, tmp_path):
    path = tmp_path / "01_small.ipynb"
    path.write_bytes(chapter.read_bytes())
    assert any("text source 01_small.py is missing" in found for found in lint.problems_in(path))


def test_a_time_may_be_shown_where_it_is_not_compared(chapter, tmp_path):
    (tmp_path / "01_small.py").write_bytes(chapter.with_suffix(".py").read_bytes())
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells[5].outputs = printed("took 3.2 s\n")
    path = tmp_path / "01_small.ipynb"
    nbformat.write(notebook, path)
    assert lint.problems_in(path) == []


NOTEBOOKS = sorted(CHAPTERS.rglob("[0-9]*.ipynb"))


def test_there_are_chapters():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: os.path.relpath(path, CHAPTERS))
def test_the_chapters_have_no_problems(path):
    assert lint.problems_in(path) == []


@pytest.mark.parametrize(
    "source",
    sorted(path for path in CHAPTERS.rglob("[0-9][0-9]_*.py")),
    ids=lambda path: os.path.relpath(path, CHAPTERS),
)
def test_every_source_has_its_notebook(source):
    assert source.with_suffix(".ipynb").exists()
