"""The figures of patches say what the arrays say."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from convlib import functional
from convlib.notebook.figures import patches as figures
from convlib.notebook.figures.image_kernels import number
from convlib.notebook.style import BLUE, ORANGE


def texts(artist):
    return [text.get_text() for text in artist.findobj(Text) if text.get_text()]


def framed(axes, colour):
    """Return (column, row, width, height) of the frames of a colour."""
    frames = [p for p in axes.patches if isinstance(p, Rectangle) and not p.get_fill()]
    return [
        (round(p.get_x() + 0.5), round(p.get_y() + 0.5), p.get_width(), p.get_height())
        for p in frames
        if tuple(round(255 * v) for v in p.get_edgecolor()[:3])
        == tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))
    ]


def test_a_frame_shows_patch_matrix_vector_and_its_place():
    random = np.random.default_rng(0)
    x = random.integers(0, 3, size=(4, 5, 2)).astype(float)
    w = random.integers(-2, 3, size=(3, 3, 2, 3)).astype(float)
    expected = functional.conv2d(x[None], w)[0]
    fig = figures.patch_frame(x, w, row=1, column=2)
    channels, (patch, matrix, vector), outputs = fig.axes[:2], fig.axes[2:5], fig.axes[5:]
    for c, axes in enumerate(channels):
        assert [t.get_text() for t in axes.texts] == [number(v) for v in x[..., c].ravel()]
        assert framed(axes, BLUE) == [(2, 1, 3, 3)]
    numbers = x[1:4, 2:5].reshape(-1)
    assert [t.get_text() for t in patch.texts] == [number(v) for v in numbers]
    assert [t.get_text() for t in matrix.texts] == [number(v) for v in w.ravel()]
    assert [t.get_text() for t in vector.texts] == [number(v) for v in expected[1, 2]]
    veils = [p for p in matrix.patches if p.get_alpha()]
    assert len(veils) == np.sum(numbers == 0)
    for o, axes in enumerate(outputs):
        done = expected[..., o].ravel()[: 1 * 3 + 2 + 1]
        assert [t.get_text() for t in axes.texts] == [number(v) for v in done]
        assert framed(axes, ORANGE) == [(2, 1, 1, 1)]
    found = texts(fig)
    assert "input 4×5×2" in found and "output 2×3×3" in found
    assert "vector of shape (3,)" in found and "weights 18×3," in found
    assert any("placed at (1, 2)" in text for text in found)


def test_one_output_pixel_is_the_answer_of_each_kernel():
    image = np.linspace(0, 1, 30).reshape(5, 6)
    kernels = {"sum": np.ones((3, 3)), "difference": np.diag([-1.0, 0, 1])}
    fig = figures.one_output_pixel(image, kernels, row=2, column=1)
    for kernel in kernels.values():
        value = functional.correlate2d(image, kernel, mode="valid")[2, 1]
        assert number(value) in texts(fig)
    picture, patch, *_ = fig.axes
    assert framed(picture, BLUE) == [(1, 2, 3, 3)]
    assert [t.get_text() for t in patch.texts] == [number(v) for v in image[2:5, 1:4].ravel()]
    maps = fig.axes[3::2]
    assert all(framed(axes, ORANGE) == [(1, 2, 1, 1)] for axes in maps) and len(maps) == 2
    assert "patch at (2, 1)" in texts(fig)


def test_strips_draw_every_share_and_the_mean():
    fig = figures.share_strips({"a": np.array([0.1, 0.3]), "b": np.array([0.5])}, {"one": 0.9})
    (axes,) = fig.axes
    drawn = [np.asarray(line.get_xdata(), float) for line in axes.lines]
    assert any(np.allclose(x, [0.1, 0.3]) for x in drawn if len(x) == 2)
    assert any(np.allclose(x, [0.2, 0.2]) for x in drawn if len(x) == 2)
    assert drawn[0] == pytest.approx(0.9)
    assert {"mean 0.20", "mean 0.50", "one"} <= set(texts(axes))
