"""The figures of dense and local connections say what their arrays say."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from convlib.notebook.figures import locality
from convlib.notebook.style import BLUE, ORANGE


def texts(fig):
    return [text.get_text().strip() for text in fig.findobj(Text) if text.get_text().strip()]


def test_connections_are_counted_and_shared_ones_have_one_colour():
    shared = np.array([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    fig = locality.connections({"free": np.arange(1.0, 7.0).reshape(2, 3), "shared": shared})
    found = texts(fig)
    assert "6 connections, 6 weights" in found and "4 connections, 2 weights" in found
    lines = [line for line in fig.axes[1].lines if line.get_linestyle() == "-"]
    assert len(lines) == 4 and len({line.get_color() for line in lines}) == 2


def test_windows_are_cut_where_they_are_drawn():
    image = np.arange(64.0).reshape(8, 8)
    fig = locality.windows(image, {"one": (2, 3), "two": (5, 0)}, side=3)
    drawn = [panel.images[0].get_array() for panel in fig.axes if panel.images]
    assert any(np.array_equal(patch, image[2:5, 3:6]) for patch in drawn)
    assert any(np.array_equal(patch, image[5:8, 0:3]) for patch in drawn)
    frames = [p.get_xy() for panel in fig.axes for p in panel.patches if isinstance(p, Rectangle)]
    assert (2.5, 1.5) in frames and (-0.5, 4.5) in frames
    assert any("8×8" in text for text in texts(fig)) and any("3×3" in text for text in texts(fig))


def test_the_matrix_shows_which_weight_is_where():
    kernel = np.array([[3.0, -1.0], [2.0, 5.0]])
    matrix = np.array([[3.0, -1.0, 0.0, 2.0, 5.0, 0.0], [0.0, 3.0, -1.0, 0.0, 2.0, 5.0]])
    fig = locality.matrix_of_convolution(matrix, kernel, width=3)
    numbers = fig.axes[1].images[0].get_array()
    assert np.array_equal(numbers, [[1, 2, 0, 3, 4, 0], [0, 1, 2, 0, 3, 4]])
    found = texts(fig)
    assert {"3", "-1", "2", "5"} <= set(found)
    assert "the matrix: 2×6 places, 8 of them not zero" in found


def test_one_step_lights_its_row_and_hides_what_is_not_yet_computed():
    kernel, image = np.arange(1.0, 5.0).reshape(2, 2), np.arange(9.0).reshape(3, 3)
    matrix, output = np.ones((4, 9)), np.arange(1.0, 5.0).reshape(2, 2)
    fig = locality.window_and_row(image, matrix, kernel, output, place=2)
    left, middle, right = fig.axes
    assert left.patches[0].get_xy() == (-0.5, 0.5)
    opacity = middle.images[0].get_alpha()
    assert np.all(opacity[2] == 1) and np.all(opacity[[0, 1, 3]] < 0.5)
    assert np.array_equal(right.images[0].get_array().mask, [[False, False], [False, True]])


def test_weights_are_drawn_on_scales_centred_on_zero():
    units, kernels = np.full((2, 4, 4), -2.0), np.full((2, 3, 3), 0.5)
    fig = locality.global_and_local_weights(units, kernels)
    limits = [panel.images[0].get_clim() for panel in fig.axes]
    assert limits == [(-2, 2)] * 2 + [(-0.5, 0.5)] * 2


def test_a_misreading_is_orange():
    images = {"plain": np.zeros((2, 4, 4))}
    answers = {"dense": {"plain": np.array([3, 8])}, "convnet": {"plain": np.array([3, 9])}}
    fig = locality.misreadings(images, answers, np.array([3, 9]))
    colour = {text.get_text(): text.get_color() for text in fig.findobj(Text)}
    assert colour["dense: 8"] == ORANGE
    assert colour["convnet: 9"] != ORANGE and colour["dense: 3"] != ORANGE


def test_lines_go_through_the_means_and_every_seed_is_there():
    dense, convnet = np.array([[0.7, 0.8], [0.8, 0.9]]), np.array([[0.9, 0.95], [0.92, 0.97]])
    fig = locality.accuracy_by_size([10, 100], {"here": {"dense": dense, "convnet": convnet}})
    means = [line for line in fig.axes[0].lines if line.get_marker() == "None"]
    assert means[0].get_color() == ORANGE and means[0].get_ydata() == pytest.approx([75, 85])
    assert means[1].get_color() == BLUE and means[1].get_ydata() == pytest.approx([91, 96])
    assert len(fig.axes[0].lines) == 2 + 4


def test_scrambling_draws_before_and_after():
    accuracies = {"dense": np.array([[0.8, 0.9], [0.7, 0.8]])}
    fig = locality.scrambling(np.zeros((4, 4)), np.ones((4, 4)), accuracies)
    first = fig.axes[2].lines[0]
    assert first.get_ydata() == pytest.approx([85, 75])


def test_a_wrong_reading_has_an_orange_bar():
    read_as = {"dense": np.eye(10)[3], "convnet": np.eye(10)[5]}
    fig = locality.two_readings(np.zeros((4, 4)), read_as, truth=5)
    wrong, right = fig.axes[1:]
    assert wrong.patches[3].get_facecolor() == to_rgba(ORANGE)
    assert right.patches[5].get_facecolor() == to_rgba(BLUE)
