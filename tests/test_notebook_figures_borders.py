"""The figures of chapter 5 say what the sizes and arrays they are given say."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from convlib.notebook.figures import borders as pictures
from convlib.notebook.style import BLUE, ORANGE


def texts(fig):
    return [text.get_text().strip() for text in fig.findobj(Text) if text.get_text().strip()]


def corner_of_window(panel):
    """Return (row, column, side) of the window drawn in a panel."""
    (window,) = [
        patch
        for patch in panel.patches
        if to_hex(patch.get_edgecolor()) == BLUE.lower() and patch.get_linewidth() > 1
    ]
    column, row = window.get_xy()
    return row, column, window.get_width()


def test_all_places_without_padding():
    fig = pictures.window_places(5, 3)
    found = [corner_of_window(panel) for panel in fig.axes]
    assert found == [(i, j, 3) for i in range(3) for j in range(3)]


def test_all_places_with_padding_begin_outside_the_image():
    fig = pictures.window_places(5, 3, padding="same")
    found = [corner_of_window(panel) for panel in fig.axes]
    assert found == [(i - 1, j - 1, 3) for i in range(5) for j in range(5)]
    assert len([patch for patch in fig.axes[0].patches if patch.get_linestyle() == ":"]) == 24


def test_a_stride_spreads_the_places():
    fig = pictures.window_places(5, 3, stride=2)
    assert [corner_of_window(panel)[:2] for panel in fig.axes] == [(0, 0), (0, 2), (2, 0), (2, 2)]


def test_tables_write_every_count():
    found = texts(pictures.uses_per_pixel({"one": np.array([[4, 6], [6, 9]])}))
    assert sorted(found) == ["4", "6", "6", "9", "one"]


def test_a_frame_of_the_count_shows_window_and_numbers():
    padding = ((1, 1), (1, 1))
    counts = np.zeros((5, 5))
    counts[:2, :2] = 1
    fig = pictures.counting_frame(5, 3, padding, (0, 0), counts, 9)
    assert corner_of_window(fig.axes[0]) == (-1, -1, 3)
    assert texts(fig).count("1") == 4 and "0" not in texts(fig)


@pytest.mark.parametrize(
    ("arguments", "title", "unread"),
    [
        ((10, 3, 2, "same"), "0 before, 1 after, 5 windows", 0),
        ((10, 3, 2, "valid"), "0 before, 0 after, 4 windows", 1),
        ((9, 4, 1, "same"), "1 before, 2 after, 9 windows", 0),
        ((10, 1, 4, "same"), "0 before, 0 after, 3 windows", 7),
        ((5, 7, 1, "valid"), "0 before, 0 after, 0 windows", 5),
    ],
)
def test_a_strip_counts_its_windows(arguments, title, unread):
    fig = pictures.strip(*arguments)
    assert fig.axes[0].get_title(loc="left").endswith(title)
    windows = [line for line in fig.axes[0].lines if line.get_color() == BLUE]
    assert len(windows) == int(title.split()[-2])
    assert texts(fig).count("×") == unread
    starts = sorted(round(line.get_xdata()[0] - 0.12) for line in windows)
    assert all(b - a == arguments[2] for a, b in zip(starts, starts[1:], strict=False))


def test_pictures_have_titles_and_one_scale():
    fig = pictures.labelled_pictures({"a": np.zeros((4, 4)), "b": np.ones((4, 4))})
    assert [panel.get_title() for panel in fig.axes] == ["a", "b"]
    assert {panel.images[0].get_clim() for panel in fig.axes} == {(0, 1)}
    fig = pictures.responses({"a": np.zeros((4, 4))}, 0.5)
    assert fig.axes[0].images[0].get_clim() == (-0.5, 0.5)


def test_places_that_differ_are_orange():
    differs = np.zeros((4, 4), dtype=bool)
    differs[0] = True
    fig = pictures.reach_of_the_border([differs, ~differs], ["one", "two"])
    drawn = fig.axes[0].images[0].get_array()
    assert to_hex(drawn[0, 2]) == ORANGE.lower() and np.all(drawn[1:] == 1)
