"""The figures of receptive fields say what the arrays they are given say."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from convlib.notebook.figures import receptive_fields as figures
from convlib.notebook.style import BLUE

STEPS = [(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)]


def frames(axes):
    """Return (row, column, side) of the squares that are drawn as outlines."""
    return [
        (round(p.get_y() + 0.5), round(p.get_x() + 0.5), round(p.get_width()))
        for p in axes.patches
        if isinstance(p, Rectangle) and not p.get_fill()
    ]


def test_the_cross_section_counts_what_feeds_a_unit():
    axes = figures.cross_section(28, STEPS, ["pixels", *"abcde"], unit=1).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts[1::2] == ["18 of 28", "16 of 26", "8 of 13", "6 of 11", "3 of 5", "1 of 3"]
    blue = [p for p in axes.patches if to_hex(p.get_facecolor()) == BLUE.lower()]
    assert len(blue) == 18 + 16 + 8 + 6 + 3 + 1
    pixels = [p.get_x() + p.get_width() / 2 for p in blue if p.get_y() < 0]
    assert np.allclose(pixels, np.arange(4, 22))


def test_a_window_is_cut_out_of_the_image():
    image = np.arange(100.0).reshape(10, 10) / 100
    fields = [("small", 3, (2, 4)), ("large", 5, (0, 1))]
    fig = figures.what_feeds_a_unit(image, fields)
    above, below = fig.axes[:2], fig.axes[2:]
    for (_, size, (row, column)), panel, crop in zip(fields, above, below, strict=True):
        assert frames(panel) == [(row, column, size)]
        inside = image[row : row + size, column : column + size]
        assert np.array_equal(crop.images[0].get_array(), inside)
        assert crop.get_xlabel() == f"{size}×{size}"


def test_the_walking_unit_names_rows_and_columns():
    left, right = figures.walking_unit(np.zeros((28, 28)), (4, 8), 18, (1, 2), 3).axes
    assert left.get_title(loc="center") == "rows 4–21, columns 8–25"
    blue = [p for p in right.patches if to_hex(p.get_facecolor()) == BLUE.lower()]
    assert [(p.get_y(), p.get_x()) for p in blue] == [(0.5, 1.5)]


def test_zero_gradients_stay_white():
    values = np.zeros((4, 4))
    values[1, 2] = 3
    panel = figures.gradient_maps({"one": values}, [((1, 2), 1)]).axes[0]
    drawn = panel.images[0].get_array()
    assert np.ma.count(np.ma.masked_invalid(drawn)) == 1 and frames(panel) == [(1, 2, 1)]


def test_the_blind_strip_is_counted():
    strength = np.ones((28, 28))
    strength[26:], strength[:, 26:] = 0, 0
    left, right = figures.blind_strip(np.zeros((28, 28)), strength).axes
    assert "108 of 784" in right.get_title(loc="center")
    assert np.count_nonzero(left.images[1].get_array()[..., 3]) == 108


def test_effective_fields_are_framed_in_the_middle():
    fig = figures.effective_fields({"one": np.ones((18, 18))}, [14], 0.9)
    assert frames(fig.axes[0]) == [(2, 2, 14)]
    assert fig.axes[0].get_xlabel() == "14×14 of 18×18 hold 90 %"


def test_lines_of_depth_are_drawn_at_their_values():
    axes = figures.depth_lines([1, 2, 4], [3, 5, 9], [3, 5, 7]).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[3, 5, 9], [3, 5, 7]]


def test_every_patch_is_drawn_inside_the_figure():
    patches = {"a": np.zeros((2, 3, 3, 3)), "b": np.ones((2, 3, 8, 8))}
    fig = figures.exciting_patches(patches, np.ones((2, 3, 3)))
    assert len(fig.axes) == 2 * 3 * 2 + 2
    boxes = [panel.get_position() for panel in fig.axes]
    assert min(b.x0 for b in boxes) > 0 and max(b.x1 for b in boxes) < 1
    assert min(b.y0 for b in boxes) > 0 and max(b.y1 for b in boxes) < 1
    assert {text.get_text() for text in fig.texts} == {"a: 3×3", "b: 8×8"}


def test_selectivity_draws_means_and_every_run():
    lines = {"trained": np.array([[0.2, 0.6], [0.4, 0.8]]), "untrained": np.full((2, 2), 0.3)}
    axes = figures.selectivity(["one", "two"], lines, 0.22).axes[0]
    assert axes.lines[0].get_ydata() == pytest.approx([30, 70])
    assert {"trained", "untrained", "by lot"} == {text.get_text() for text in axes.texts}
