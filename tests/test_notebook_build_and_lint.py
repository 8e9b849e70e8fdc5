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
#
# ## What `same` means
#
# See [below](#What-same-means).

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


def shown(**data):
    data = {name.replace("_", "/"): value for name, value in data.items()}
    return [nbformat.v4.new_output("display_data", data)]


def _replace_source(cell, text):
    cell.source = text


PLANTED = {
    "was not executed": lambda nb: nb.cells[1].update(execution_count=None),
    "did not run once, in order": lambda nb: nb.cells[4].update(execution_count=9),
    "tagged nbval-skip": lambda nb: nb.cells[1].metadata.update(tags=["nbval-skip"]),
    "tagged raises-exception": lambda nb: nb.cells[1].metadata.update(tags=["raises-exception"]),
    "tagged nbval-ignore-outputs": lambda nb: nb.cells[1].metadata.update(
        tags=["nbval-ignore-outputs"]
    ),
    "a comment with NBVAL_SKIP": lambda nb: _replace_source(nb.cells[4], "# NBVAL_SKIP\n1 + 1"),
    "a comment with NBVAL_IGNORE_OUTPUT": lambda nb: _replace_source(
        nb.cells[4], "1 + 1  # NBVAL_IGNORE_OUTPUT"
    ),
    "not plain Python": lambda nb: _replace_source(nb.cells[4], "%no_such_magic\n1 + 1"),
    "not plain Python (a magic, a": lambda nb: _replace_source(nb.cells[4], "!ls"),
    "calls get_ipython": lambda nb: _replace_source(
        nb.cells[4], "get_ipython().run_line_magic('no_such_magic', '')"
    ),
    "ends with a semicolon": lambda nb: _replace_source(nb.cells[4], "1 + 1;  # quiet"),
    "calls interact": lambda nb: _replace_source(nb.cells[4], "interact(draw, slope=(1, 3))"),
    "calls clear_output": lambda nb: _replace_source(nb.cells[4], "clear_output(wait=True)"),
    "shows a time, '3.2 s'": lambda nb: nb.cells[4].update(outputs=printed("took 3.2 s\n")),
    "shows a time, '120 ms'": lambda nb: nb.cells[4].update(outputs=printed("120 ms per step\n")),
    "shows a time, '1min": lambda nb: nb.cells[4].update(outputs=printed("1min 3s\n")),
    "shows a time, '2 hours'": lambda nb: nb.cells[4].update(outputs=printed("after 2 hours\n")),
    "shows a time, '0:01:07'": lambda nb: nb.cells[4].update(outputs=printed("0:01:07 left\n")),
    "shows a time, '90 GFLOP/s'": lambda nb: nb.cells[4].update(outputs=printed("90 GFLOP/s\n")),
    "shows a time, '9 images per second'": lambda nb: nb.cells[4].update(
        outputs=printed("9 images per second\n")
    ),
    "shows a time, '5 ms'": lambda nb: nb.cells[4].update(outputs=shown(text_html="<b>5 ms</b>")),
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
    "a figure has no sentence that": lambda nb: nb.cells[4].update(
        outputs=shown(image_png="iVBORw0KGgo=", text_plain="<Figure size 300x200>")
    ),
    "a picture in HTML has no sentence": lambda nb: nb.cells[4].update(
        outputs=shown(text_html="<p><svg viewBox='0 0 1 1'></svg></p>", text_plain="a drawing")
    ),
    "its picture 01_small.py has no sentence": lambda nb: _replace_source(
        nb.cells[0], "![plot](01_small.py)"
    ),
    "its picture 01_small.py has no": lambda nb: _replace_source(
        nb.cells[0], '<img src="01_small.py" alt="plot">'
    ),
    "links to #No-such-heading": lambda nb: _replace_source(
        nb.cells[0], "[below](#No-such-heading)"
    ),
    "links to #What-Same-means": lambda nb: _replace_source(
        nb.cells[0], "## What `same` means\n\n[below](#What-Same-means)"
    ),
    "links to 01_small.ipynb#gone": lambda nb: _replace_source(
        nb.cells[0], "[another page](01_small.ipynb#gone)"
    ),
    "links to page.md#gone": lambda nb: _replace_source(nb.cells[0], "[a page](page.md#gone)"),
    "links to gone.py": lambda nb: _replace_source(nb.cells[0], "See [it].\n\n[it]: gone.py"),
    "links to gone.html": lambda nb: _replace_source(nb.cells[0], '<a href="gone.html">it</a>'),
    "links to 99_missing.ipynb": lambda nb: _replace_source(
        nb.cells[0], "Go on with [the next](99_missing.ipynb)."
    ),
    "out of step with 01_small.py from cell 5": lambda nb: _replace_source(nb.cells[4], "1 + 2"),
}


@pytest.mark.parametrize("problem", PLANTED)
def test_each_rule_fires(chapter, tmp_path, problem, capsys):
    (tmp_path / "01_small.py").write_bytes(chapter.with_suffix(".py").read_bytes())
    (tmp_path / "page.md").write_text("# A page\n")
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


def test_a_long_line_of_the_source_is_reported(chapter, tmp_path):
    source = chapter.with_suffix(".py").read_text()
    (tmp_path / "01_small.py").write_text(f"{source}#{'é' * 99}\n#{'é' * 100}\n")
    (tmp_path / "01_small.ipynb").write_bytes(chapter.read_bytes())
    problems = lint.problems_in(tmp_path / "01_small.ipynb")
    number = source.count("\n") + 2
    long = [found for found in problems if "characters" in found]
    assert len(long) == 1 and f"line {number} of 01_small.py has 101 characters" in long[0], (
        problems
    )


PAGE = """# A page

## What `same` means: 3 → 3

| a table | [with a link](other.md#second-part-2) |
| --- | --- |

[Here](#what-same-means-3--3), [there](other.md#two-lines), [a chapter](01_small.ipynb), [a
heading of it](01_small.ipynb#What-same-means), [by name], [a site](https://example.org/#top),
[anywhere](other.md "A title"), <a href="other.md">HTML</a> and
[an anchor of its own](other.md#own).

![A line that rises from the left to the right.](other.md)

[by name]: other.md

```python
x = links[0](not_a_link)  # [nor](this.md)
```

`[nor](that.md)` <!-- [nor](a_comment.md) -->
"""
OTHER = """Two
lines
=====

## Second part

## Second part

## Second part

<a id="own"></a>
"""


@pytest.fixture
def page(chapter, tmp_path):
    """Return a Markdown page whose links all lead somewhere."""
    (tmp_path / "01_small.py").write_bytes(chapter.with_suffix(".py").read_bytes())
    (tmp_path / "01_small.ipynb").write_bytes(chapter.read_bytes())
    (tmp_path / "other.md").write_text(OTHER)
    (tmp_path / "page.md").write_text(PAGE)
    return tmp_path / "page.md"


def test_a_page_without_problems(page):
    assert lint.problems_in(page) == []
    assert lint.main([str(page.parent)]) == 0


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("(01_small.ipynb)", "(02_small.ipynb)", "02_small.ipynb, which does not exist"),
        ("#What-same-means", "#what-same-means", "#what-same-means, but 01_small.ipynb has no"),
        ("(#what-same-means-3--3)", "(#what-same-means)", "#what-same-means, but page.md has no"),
        ("#second-part-2", "#second-part-3", "#second-part-3, but other.md has no"),
        ("#own", "#owned", "#owned, but other.md has no such heading"),
        ("[by name]: other.md", "[by name]: another.md", "another.md, which does not exist"),
        ('(other.md "A title")', '(others.md "A title")', "others.md, which does not exist"),
        ('href="other.md"', 'href="others.md"', "others.md, which does not exist"),
        ("![A line that rises from the left to the right.]", "![Line]", "has no sentence"),
        ("| a table | [with a link](other.md", "| a table | [with a link](others.md", "others.md"),
    ],
)
def test_each_rule_for_pages_fires(page, before, after, problem, capsys):
    assert before in PAGE
    page.write_text(PAGE.replace(before, after))
    found = lint.problems_in(page)
    assert len(found) == 1 and problem in found[0], found
    assert lint.main([str(page.parent)]) == 1
    assert problem in capsys.readouterr().out


NOTEBOOKS = sorted(CHAPTERS.rglob("[0-9]*.ipynb"))


def test_there_are_chapters():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: os.path.relpath(path, CHAPTERS))
def test_the_chapters_have_no_problems(path):
    assert lint.problems_in(path) == []


PAGES = sorted(
    path
    for path in CHAPTERS.parent.rglob("*.md")
    # Hidden folders and what the web site is built from are no pages of the repository.
    if not any(
        part.startswith(".") or part == "build" for part in path.relative_to(CHAPTERS.parent).parts
    )
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: os.path.relpath(path, CHAPTERS.parent))
def test_the_pages_have_no_problems(path):
    assert lint.problems_in(path) == []


@pytest.mark.parametrize(
    "source",
    sorted(path for path in CHAPTERS.rglob("[0-9][0-9]_*.py")),
    ids=lambda path: os.path.relpath(path, CHAPTERS),
)
def test_every_source_has_its_notebook(source):
    assert source.with_suffix(".ipynb").exists()
