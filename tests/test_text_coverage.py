"""The table of where the text is discussed: complete, and no row leads to a missing section."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from convlib.notebook.build import read_source
from convlib.notebook.markdown import notebook_anchors, outline

CHAPTERS = Path(__file__).resolve().parents[1] / "chapters"
TABLE = (CHAPTERS / "coverage.md").read_text(encoding="utf-8")
FIGURES = {f"F{k}" for k in range(1, 9)}
CORRECTIONS = {str(k) for k in range(1, 16)}


@cache
def anchors_of(chapter):
    """Return the anchors of the headings in a chapter's text source."""
    cells = read_source(CHAPTERS / f"{chapter}.py").cells
    return notebook_anchors([outline(c.source) for c in cells if c.cell_type == "markdown"])


def rows_of(table):
    """Return the cells of each row below a head."""
    rows = [re.split(r"\s*\|\s*", line.strip("| \n")) for line in table.splitlines() if "|" in line]
    return [row for row in rows if row[0].isdigit()]


def problems_of(table):
    """Return what is wrong with the table, each as a sentence."""
    rows = rows_of(table)
    problems = []
    numbers = [int(row[0]) for row in rows]
    if numbers != list(range(1, len(rows) + 1)):
        problems.append("rows are not numbered one after the other")
    marks = set()
    for number, text, where, *remark in rows:
        links = outline(where).links
        if not text or not links:
            problems.append(f"row {number} leads nowhere")
        for link in links:
            notebook, _, anchor = link.partition("#")
            chapter = notebook.removesuffix(".ipynb")
            if not (CHAPTERS / f"{chapter}.py").exists():
                problems.append(f"row {number}: there is no chapter {chapter}")
            elif unquote(anchor) not in anchors_of(chapter):
                problems.append(f"row {number}: {chapter} has no section {unquote(anchor)}")
        marks.update(re.findall(r"\*\*(\w+)\*\*", "".join(remark)))
    for kind, expected in (("figure", FIGURES), ("remark", CORRECTIONS)):
        problems.extend(f"{kind} {mark} has no row" for mark in sorted(expected - marks))
    problems.extend(f"{mark} is unknown" for mark in sorted(marks - FIGURES - CORRECTIONS))
    return problems


def test_the_table_is_complete_and_every_row_leads_to_a_section():
    assert problems_of(TABLE) == []
    assert len(rows_of(TABLE)) > 75  # the text has about eighty sentences, figures and listings


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("#Similar-inputs", "#Similar-outputs", "row 7: 02_dense_and_local has no section Similar"),
        ("#What-same-means", "#What-Same-means", "05_borders_and_padding has no section What-Same"),
        ("06_strides.ipynb#", "06_steps.ipynb#", "there is no chapter 06_steps"),
        (".ipynb#A-photograph", ".ipynb", "01_image_kernels has no section"),
        ("**F4**", "", "figure F4 has no row"),
        ("**13**", "**16**", "remark 13 has no row"),
        ("**13**", "**16**", "16 is unknown"),
        ("| 30 |", "| 29 |", "not numbered"),
    ],
)
def test_what_is_wrong_with_a_table_is_found(before, after, problem):
    assert before in TABLE
    broken = TABLE.replace(before, after)
    assert any(problem in found for found in problems_of(broken)), problems_of(broken)


def test_a_row_without_a_link_is_found():
    line = next(line for line in TABLE.splitlines() if line.startswith("| 5 |"))
    assert problems_of(TABLE.replace(line, "| 5 | dense layers | chapter 2 | |")) == [
        "row 5 leads nowhere"
    ]
