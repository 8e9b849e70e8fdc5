"""The figures of pooling say what the arrays they are given say."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from convlib.notebook.figures import pooling
from convlib.notebook.style import BLUE

VALUES = np.array([[1.0, 3, 9], [4, 2, 8], [7, 6, 5]])


def squares(axes, colour):
    """Return (row, column) of the unit squares that are filled with a colour."""
    return {
        (round(patch.get_y() + 0.5), round(patch.get_x() + 0.5))
        for patch in axes.patches
        if isinstance(patch, Rectangle)
        and patch.get_fill()
        and to_hex(patch.get_facecolor()) == colour.lower()
    }


def numbers(axes):
    return [text.get_text() for text in axes.texts]


def test_a_step_marks_the_winner_and_what_has_been_pooled():
    fig = pooling.pooling_step(VALUES, np.array([[4.0]]), 0)
    left, right = fig.axes
    assert squares(left, BLUE) == {(1, 0)}
    assert numbers(right) == ["4"] and len(numbers(left)) == 9


def test_later_windows_are_empty_at_first():
    values = np.arange(16.0).reshape(4, 4)
    fig = pooling.pooling_step(values, values[1::2, 1::2], 1)
    assert numbers(fig.axes[1]) == ["5", "7"]
    assert squares(fig.axes[0], BLUE) == {(1, 1), (1, 3)}


def test_the_last_picture_shows_what_no_window_covers():
    left = pooling.pooling_step(VALUES, np.array([[4.0]]), 1).axes[0]
    assert squares(left, pooling._LIGHT_ORANGE) == {(0, 2), (1, 2), (2, 0), (2, 1), (2, 2)}


def test_of_equal_numbers_the_first_is_the_winner():
    assert pooling.winner_of(np.zeros((4, 4)), 2, 2, 2) == (2, 2)


def test_the_strip_is_counted():
    fig = pooling.dropped_strip(np.zeros((28, 28)), 11, 2, 26, "conv2d_2")
    left, right = fig.axes
    assert "21 of 121" in left.get_title(loc="center")
    assert "108 of 784" in right.get_title(loc="center")
    covered = np.zeros((28, 28), int)
    for patch in right.patches:
        x, y = round(patch.get_x() + 0.5), round(patch.get_y() + 0.5)
        covered[y : y + round(patch.get_height()), x : x + round(patch.get_width())] += 1
    assert covered.sum() == 108 and covered.max() == 1 and not covered[:26, :26].any()


def test_pooled_maps_share_the_scale_of_the_response():
    response = np.arange(16.0).reshape(4, 4)
    fig = pooling.pooled_maps(response, response, {"mean": response[:2, :2]})
    assert [panel.images[0].get_clim() for panel in fig.axes[1:]] == [(0, 15), (0, 15)]
    assert fig.axes[2].get_title(loc="center") == "mean, 2×2"


def test_gradients_are_written_where_they_arrive():
    gradient = np.zeros((2, 2))
    gradient[1, 0] = 5
    fig = pooling.gradient_routes(VALUES[:2, :2], np.array([[5.0]]), {"back": gradient})
    assert squares(fig.axes[0], BLUE) == {(1, 0)}
    assert numbers(fig.axes[2]) == ["0", "0", "5", "0"]


def test_the_ablation_draws_every_run_and_colours_the_best():
    results = {"max": np.array([[0.5, 0.9], [0.7, 0.7]]), "none": np.array([[0.8, 0.4]] * 2)}
    fig = pooling.ablation(results, ("drawn", "real"))
    for panel, best in zip(fig.axes, (1, 0), strict=True):
        runs = [line for line in panel.lines if line.get_linestyle() == "None"]
        assert [line.get_color() == BLUE for line in runs] == [row == best for row in range(2)]
    assert fig.axes[0].lines[0].get_xdata() == pytest.approx([50, 70])
    assert numbers(fig.axes[0]) == ["60.0", "80.0"]
