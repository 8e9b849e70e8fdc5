"""The figures of chapter 3 say what the arrays they are given say."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from convlib.notebook.figures import feature_maps as pictures
from convlib.notebook.style import BLUE, ORANGE


def texts(fig):
    return [text.get_text().strip() for text in fig.findobj(Text) if text.get_text().strip()]


def test_the_sum_over_channels_writes_each_step():
    patch = np.arange(8.0).reshape(2, 2, 2)
    weights = np.ones((2, 2, 2))
    found = texts(pictures.depth_sum(patch, weights, -3.0))
    assert {"12", "16", "− 3", "=  25"} <= set(found)
    assert "patch 2×2×2" in found and found.count("1") == 8 + 1  # eight weights, one pixel


def test_a_colour_picture_is_beside_its_channels_and_its_brightness():
    image = np.random.default_rng(0).uniform(size=(4, 5, 3))
    grey = image.mean(axis=2)
    fig = pictures.colour_and_grey(image, grey)
    drawn = [panel.images[0].get_array() for panel in fig.axes]
    assert np.array_equal(drawn[0], image) and np.array_equal(drawn[2], image[:, :, 1])
    assert np.array_equal(drawn[4], grey) and "picture, 4×5×3" in texts(fig)


def test_slices_and_their_sum_share_one_symmetric_scale():
    parts = [np.array([[1.0, -2.0], [0.0, 0.0]]), np.full((2, 2), 0.5)]
    fig = pictures.slices_and_sum(parts, parts[0] + parts[1], ["a", "b", "a + b"])
    assert {panel.images[0].get_clim() for panel in fig.axes} == {(-2, 2)}
    assert texts(fig).count("=") == 1 and texts(fig).count("+") == 1


def test_each_filter_stands_beside_its_own_map():
    random = np.random.default_rng(1)
    kernels, maps = random.normal(size=(3, 3, 9)), random.normal(size=(5, 5, 9))
    fig = pictures.filter_bank(np.zeros((7, 7)), kernels, maps)
    drawn = [panel.images[0].get_array() for panel in fig.axes[1:]]
    assert np.array_equal(drawn[10], kernels[:, :, 5]) and np.array_equal(drawn[11], maps[:, :, 5])
    assert "input 7×7×1" in texts(fig) and fig.axes[12].images[0].get_clim()[0] < 0


def test_a_frame_names_the_channel_and_how_many_are_summed():
    ones = np.ones((4, 4))
    fig = pictures.slice_frame(6, ones, np.ones((3, 3)), ones, 7 * ones, (1, 1, 1, 9))
    assert {"channel 6", "slice 6", "sum of 7"} <= set(texts(fig))
    assert fig.axes[3].images[0].get_clim() == (-9, 9)


def test_the_window_lies_where_the_vector_comes_from():
    fig = pictures.place_and_vector(np.zeros((9, 9)), np.array([0.0, 3.0]), (2, 5), 3, 4.0)
    left, right = fig.axes
    assert left.patches[0].get_xy() == (4.5, 1.5) and left.patches[0].get_width() == 3
    assert [bar.get_height() for bar in right.patches] == [0, 3]
    assert "output[2, 5, :] is a vector of 2 numbers" in texts(fig)


def test_accuracies_are_dots_in_per_cent_with_their_mean():
    fig = pictures.accuracy_dots({"one": [0.9, 0.92], "other": [0.8, 0.84]}, chance=0.1)
    lines = fig.axes[0].lines
    assert np.allclose(lines[0].get_xdata(), [90, 92]) and np.allclose(lines[3].get_xdata(), 82)
    assert lines[0].get_color() == BLUE and lines[2].get_color() == ORANGE
    assert "one: mean 91 %" in texts(fig) and "other: mean 82 %" in texts(fig)
    assert to_rgb(lines[4].get_color()) == pytest.approx((138 / 255,) * 3)
