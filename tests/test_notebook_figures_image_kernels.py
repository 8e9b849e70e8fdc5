"""The figures of image kernels say what the arrays say."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from convlib import functional
from convlib.notebook.figures import image_kernels as figures
from convlib.notebook.style import BLUE, ORANGE


def texts(artist):
    return [text.get_text() for text in artist.findobj(Text) if text.get_text()]


def frames(axes):
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (-2.0, "−2"), (0.25, "0.25"), (-0.001, "0"), (1.996, "2")]
)
def test_numbers_are_short(value, text):
    assert figures.number(value) == text


def test_a_frame_of_the_slide_shows_window_products_and_results_so_far():
    image = np.arange(12.0).reshape(3, 4)
    kernel = np.array([[1.0, 0], [0, -2]])
    fig = figures.sliding_frame(image, kernel, row=1, column=0)
    first, second, products, result = fig.axes
    assert texts(second)[:4] == ["1", "0", "0", "−2"]
    assert texts(products)[:4] == ["4", "0", "0", "−18"] and "sum −14" in texts(products)
    expected = functional.correlate2d(image, kernel, mode="valid").ravel()
    assert texts(result)[:4] == [figures.number(value) for value in expected[:4]]
    assert len(result.texts) == 4  # two places are still empty
    assert frames(first)[0].get_xy() == (-0.5, 0.5) and frames(first)[0].get_width() == 2
    assert frames(result)[0].get_xy() == (-0.5, 0.5) and frames(result)[0].get_width() == 1


def test_the_gallery_shows_each_result_pixel_by_pixel_beside_its_kernel():
    image = np.linspace(0, 1, 20 * 30).reshape(20, 30)
    kernels = {"blur": (np.ones((3, 3)), 9), "difference": (np.array([[-1.0, 1]]), 1)}
    results = {"blur": image, "difference": image - 0.5}
    fig = figures.filtered_gallery(kernels, results, signed=["difference"])
    grid, blur, other_grid, difference = fig.axes
    assert texts(grid).count("1") == 9 and "÷ 9" in texts(grid)
    assert "−1" in texts(other_grid) and not any("÷" in text for text in texts(other_grid))
    assert "blur" in texts(blur) and blur.images[0].get_clim() == (0, 1)
    low, high = difference.images[0].get_clim()
    assert low == -high and 0.45 < high <= 0.5
    box = blur.get_window_extent()
    assert box.width * 120 / fig.dpi == pytest.approx(30)
    assert box.height * 120 / fig.dpi == pytest.approx(20)


def test_a_picture_beside_a_signed_result_has_its_own_scale():
    left, right = figures.before_and_after(
        np.ones((4, 6)), np.full((4, 6), -2.0), ("a", "b"), is_signed=True
    ).axes
    assert left.images[0].get_clim() == (0, 1) and right.images[0].get_clim() == (-2, 2)
    assert "a" in texts(left) and "b" in texts(right)


def test_the_flip_is_told_from_the_arrays():
    point = np.zeros((7, 7))
    point[3, 3] = 1
    kernel = np.array([[1.0, 1, 0], [1, 0, 0], [1, 0, 0]])
    results = {
        "one": functional.correlate2d(point, kernel),
        "other": functional.convolve2d(point, kernel),
    }
    *_, one, other = figures.flip_picture(point, kernel, results).axes
    assert one.get_xlabel() == "turned by 180°" and other.get_xlabel() == "as it is"
    assert one.xaxis.label.get_color() == ORANGE and other.xaxis.label.get_color() == BLUE


def test_learned_kernels_are_written_beside_the_given_one():
    given = np.array([[0.0, 1], [2, -3]])
    fig = figures.learned_kernels(given, {"learned": given + 0.001})
    assert [texts(axes)[:4] for axes in fig.axes] == [["0", "1", "2", "−3"]] * 2
    assert len({axes.images[0].get_clim() for axes in fig.axes}) == 1


def test_bars_of_differences_name_zeros():
    (axes,) = figures.difference_bars({"box": 0.0, "Sobel": 5.25}).axes
    assert [bar.get_width() for bar in axes.patches] == [0, 5.25]
    assert " 0, exactly" in texts(axes) and any("5.2" in text for text in texts(axes))
