"""The figures of gradients say what the arrays say."""

import numpy as np
import pytest
from matplotlib.text import Text

from convlib.notebook.figures import gradients as figures
from convlib.notebook.style import BLUE, ORANGE


def texts(thing):
    return [text.get_text() for text in thing.findobj(Text) if text.get_text().strip()]


def numbers(axes):
    """Return the numbers of a grid in the order of its cells."""
    found = {}
    for text in axes.texts:
        column, row = text.get_position()
        found[row, column] = float(text.get_text().replace("−", "-"))
    rows, columns = (1 + max(place[k] for place in found) for k in (0, 1))
    return np.array([[found[row, column] for column in range(columns)] for row in range(rows)])


def test_arrows_carry_sums_forward_and_back():
    forward, backward = figures.arrows([1, 4, 2], [3, -1], [2, 1]).axes
    assert {"$y_0$ = −1", "$y_1$ = 10", "×3", "×(−1)"} <= set(texts(forward))
    assert {"$dx_0$ = 6", "$dx_1$ = 1", "$dx_2$ = −1"} <= set(texts(backward))


@pytest.fixture
def layer():
    random = np.random.default_rng(0)
    dy, w = random.integers(-3, 4, (3, 4)), random.integers(-3, 4, (2, 3))
    dx = np.zeros((4, 6))
    for i, j in np.ndindex(dy.shape):
        dx[i : i + 2, j : j + 3] += dy[i, j] * w
    return dy.astype(float), w.astype(float), dx


def test_the_last_frame_of_spreading_is_the_gradient(layer):
    dy, w, dx = layer
    of_dy, of_w, of_patch, of_dx = figures.spread_frame(dy, w, dy.size - 1).axes
    assert np.array_equal(numbers(of_dy), dy) and np.array_equal(numbers(of_w), w)
    assert np.array_equal(numbers(of_patch), dy[-1, -1] * w)
    assert np.array_equal(numbers(of_dx), dx)


def test_the_first_frame_of_spreading_is_one_patch(layer):
    dy, w, _ = layer
    drawn = numbers(figures.spread_frame(dy, w, 0).axes[3])
    assert np.array_equal(drawn[:2, :3], dy[0, 0] * w)
    assert not drawn[2:].any() and not drawn[:, 3:].any()


def test_all_frames_have_one_size_and_one_colour_scale(layer):
    dy, w, _ = layer
    frames = [figures.spread_frame(dy, w, cell) for cell in range(dy.size)]
    assert len({tuple(fig.get_size_inches()) for fig in frames}) == 1
    assert len({fig.axes[3].images[0].get_clim() for fig in frames}) == 1


def test_gathering_gives_the_same_gradient_with_the_flipped_kernel(layer):
    dy, w, dx = layer
    padded, flipped, of_dx = figures.gathered(dy, w, 1, 2).axes
    assert np.array_equal(numbers(padded), np.pad(dy, ((1, 1), (2, 2))))
    assert np.array_equal(numbers(flipped), w[::-1, ::-1])
    assert np.array_equal(numbers(of_dx), dx)
    window = numbers(padded)[1:3, 2:5]
    assert (window * w[::-1, ::-1]).sum() == dx[1, 2]
    assert of_dx.patches[0].get_xy() == (1.5, 0.5)


def test_winners_of_a_pooling_are_framed_in_both_grids():
    x = np.array([[1.0, 3, 0], [3, 2, 9], [0, 0, 0]])
    fig = figures.routed(x, np.array([[5.0]]), np.array([[0, 5.0, 0], [0, 0, 0], [0, 0, 0]]))
    for panel in (fig.axes[0], fig.axes[2]):
        corners = [box.get_xy() for box in panel.patches if box.get_width() == 1]
        assert corners == [(0.5, -0.5)]


def test_signed_steps_are_centred_on_zero_and_zeros_are_counted():
    value = np.array([[1.0, -3], [0, 0]])
    fig = figures.there_and_back(["conv z"], [value], [np.array([[0, 0], [0, 0.5]])])
    assert fig.axes[0].images[0].get_clim() == (-3, 3)
    assert fig.axes[1].images[0].get_clim() == (-0.5, 0.5)
    assert {"conv z\n2×2", "25 % not 0"} <= set(texts(fig))


def test_error_curves_mark_the_best_step_of_each_format():
    steps = np.logspace(-12, 0, 61)
    errors = {"float32": 1e-7 / steps + steps**2, "float64": 1e-16 / steps + steps**2}
    fig = figures.step_errors(steps, errors, 2, steps**2)
    found = " ".join(texts(fig.axes[0]))
    assert "float32" in found and "float64" in found and "$h^2$" in found
    marks = [float(line.get_xdata()[0]) for line in fig.axes[0].lines if len(line.get_xdata()) == 1]
    assert np.allclose(np.log10(marks), np.log10(np.cbrt([5e-8, 5e-17])), atol=0.7)
    assert "as $h$" in " ".join(texts(figures.step_errors(steps, errors, 1, steps)))


def test_broken_networks_are_orange_and_their_errors_written():
    fig = figures.right_and_broken(
        {"all right": [0.9, 0.92], "lost": [0.88, 0.9], "stuck": [0.1, 0.1]},
        {"all right": [1e-9, 1e-9], "lost": [0.25, 1e-9], "stuck": [1e-9, 1.5]},
        ["w", "b"],
    )
    left, right = fig.axes
    colours = {text.get_text(): text.get_color() for text in left.texts}
    assert colours["91.0 ± 1.4"] == BLUE and colours["89.0 ± 1.4"] == ORANGE
    assert "10.0 ± 0.0" in colours and any("far below" in text for text in colours)
    assert [text.get_text() for text in right.texts] == ["✓", "✓", "25 %", "✓", "✓", "150 %"]
