"""The figures of moved images say what their arrays say."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text

from convlib.notebook.figures import shifts
from convlib.notebook.style import BLUE, GREY, ORANGE


def texts(fig):
    return [text.get_text().strip() for text in fig.findobj(Text) if text.get_text().strip()]


def test_pooled_cells_lie_under_the_cells_they_come_from():
    strips = {"numbers": np.array([1.0, 3, 2, 0]), "pooled": np.array([3.0, 2])}
    fig = shifts.strips({"here": strips})
    cells = [(patch.get_x(), patch.get_width()) for patch in fig.axes[0].patches]
    assert cells == [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (2, 2)]
    borders = [line.get_xdata()[0] for line in fig.axes[0].lines]
    assert borders == [0, 2, 4]
    assert [label for label in texts(fig) if label.isdigit()].count("3") == 2


def test_only_exact_zeros_are_blue_points():
    fig = shifts.error_by_shift({"pooling": [0.0, 0.5, 0.0], "nearly": [0.0, 1e-9, 0.2]})
    points = [panel.lines[0] for panel in fig.axes]
    assert [list(line.get_xdata()) for line in points] == [[0, 2], [0]]
    assert all(line.get_color() == BLUE for line in points)


def test_rings_are_the_larger_distance():
    assert np.array_equal(shifts.ring_of([-2, 0, 2]), [[2, 2, 2], [2, 0, 2], [2, 2, 2]])


def test_heat_maps_show_the_values_and_the_means_of_rings():
    values = np.full((5, 5), 0.1)
    values[1:4, 1:4], values[2, 2] = 0.4, 0.9
    fig = shifts.heat_maps([-4, -2, 0, 2, 4], {"one": values}, inside=2)
    assert np.array_equal(fig.axes[0].images[0].get_array(), values)
    assert "unmoved: 90 %\n2 pixels: 40 %\n4 pixels: 10 %" in texts(fig)
    (square,) = fig.axes[0].patches
    assert (square.get_x(), square.get_width()) == (-3, 6)


def test_agreement_marks_multiples_of_the_period():
    agreement = np.array([[1, 0.8, 1, 0.9, 1], [1, 0.9, 1, 0.8, 1]])
    fig = shifts.agreement_by_shift(agreement, period=2)
    mean, *seeds, marked = fig.axes[0].lines
    assert mean.get_color() == GREY and mean.get_ydata() == pytest.approx([100, 85, 100, 85, 100])
    assert all(list(line.get_xdata()) == [1, 3] for line in seeds)
    assert list(marked.get_xdata()) == [0, 2, 4] and marked.get_color() == BLUE
    assert "multiples of 2" in texts(fig)


def test_a_moment_of_the_journey_marks_a_wrong_answer():
    maps = {"first": (np.zeros((3, 3)), 2.0)}
    answers = {"right": np.eye(10)[4], "wrong": np.eye(10)[7]}
    fig = shifts.journey_frame(np.zeros((4, 4)), maps, answers, truth=4)
    assert fig.axes[1].images[0].get_clim() == (0, 2)
    assert fig.axes[2].patches[4].get_facecolor() == to_rgba(BLUE)
    assert fig.axes[3].patches[7].get_facecolor() == to_rgba(ORANGE)
