"""Checks of chapter 1: sharpening, the flip, the definition of convolution, separable blur."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlib import functional
from convlib.notebook.exercises import Hint, array_of_shape, call, check, number

_POINT = np.zeros((3, 3))
_POINT[1, 1] = 1
_MEAN = np.full((3, 3), 1 / 9)


def _same(got: np.ndarray, expected: np.ndarray) -> bool:
    return got.shape == expected.shape and np.allclose(got, expected, rtol=1e-6, atol=1e-6)


def _raise_known(got: np.ndarray, wrong: dict[str, np.ndarray], case: str = "") -> None:
    """Raise the hint of the first of the wrong answers that equals what was given."""
    for hint, mistake in wrong.items():
        if _same(got, np.asarray(mistake)):
            raise Hint(case + hint)


@check
def check_sharpen_kernel(sharpen_kernel: Callable) -> str:
    """Check a function that gives the kernel which adds the difference from the mean."""
    for amount in (2.0, 0.5, 1.0, 0.0):
        kernel = array_of_shape(call(sharpen_kernel, amount), (3, 3), "The kernel")
        expected = _POINT + amount * (_POINT - _MEAN)
        if _same(kernel, expected):
            continue
        case = f"For amount {amount:g}: "
        neighbours = (1 - _POINT) / 8
        cross = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
        wrong = {
            "this blurs. What is too dark must become darker: add the difference, do not take "
            "it away.": _POINT - amount * (_POINT - _MEAN),
            "this gives the difference alone. Add it to the pixel.": amount * (_POINT - _MEAN),
            "the sum of the nine pixels is not yet their mean: divide by 9.": _POINT
            + amount * (_POINT - 1),
            "the mean is over all nine pixels, the one in the middle among them.": _POINT
            + amount * (_POINT - neighbours),
            "the amount changes nothing.": 2 * _POINT - _MEAN,
            "the amount belongs to the mean too: it multiplies the whole difference.": (1 + amount)
            * _POINT
            - _MEAN,
            "the amount multiplies the difference only, not the pixel that it is added to.": amount
            * (2 * _POINT - _MEAN),
            "this kernel looks at four neighbours. The mean here is over the 3×3 window.": _POINT
            + amount * cross,
            "the same, with a quarter for each of four neighbours: the mean is over the 3×3 "
            "window.": _POINT + amount * cross / 4,
        }
        _raise_known(kernel, wrong, case)
        if not np.isclose(kernel.sum(), 1):
            raise Hint(
                f"{case}a flat grey area must stay as it is, so the nine numbers must sum to 1. "
                f"Yours sum to {kernel.sum():.3g}."
            )
        row, column = np.argwhere(~np.isclose(kernel, expected))[0]
        raise Hint(f"{case}the numbers sum to 1, but the one at ({row}, {column}) is wrong.")
    return "The numbers sum to 1, so flat areas stay, and differences grow."


@check
def check_convolve(convolve: Callable) -> str:
    """Check a function that convolves by means of correlation."""
    random = np.random.default_rng(1)
    image = random.normal(size=(9, 12))
    for size in ((3, 3), (5, 3), (1, 7)):
        kernel = random.normal(size=size)
        expected = functional.convolve2d(image, kernel)
        got = array_of_shape(call(convolve, image, kernel), image.shape, "The result")
        if _same(got, expected):
            continue
        correlate = functional.correlate2d
        case = f"For a kernel of {size[0]}×{size[1]}: "
        wrong = {
            "this is correlation; the kernel is not flipped.": correlate(image, kernel),
            "only the rows of the kernel are reversed, the columns are not.": correlate(
                image, kernel[::-1]
            ),
            "only the columns of the kernel are reversed, the rows are not.": correlate(
                image, kernel[:, ::-1]
            ),
            "the kernel is transposed. A flip keeps its shape: the last row comes first, the "
            "last column comes first.": correlate(image, kernel.T),
            "this is a quarter turn. The flip is a half turn, by 180°.": correlate(
                image, np.rot90(kernel)
            ),
            "this is a quarter turn backwards. The flip is a half turn, by 180°.": correlate(
                image, np.rot90(kernel, -1)
            ),
            "you flipped the image, and the result came out upside down. Flip the "
            "kernel.": correlate(image[::-1, ::-1], kernel),
            "you flipped the image and the kernel, and the result came out upside down. Flip the "
            "kernel alone.": correlate(image[::-1, ::-1], kernel[::-1, ::-1]),
        }
        _raise_known(got, wrong, case)
        if _same(got, functional.convolve2d(image, kernel, border="edge")) or _same(
            got, functional.convolve2d(image, kernel, border="reflect")
        ):
            raise Hint(f"{case}the inside is right. Outside the image, count zeros.")
        raise Hint(f"{case}neither convolution nor correlation. Only the kernel is to change.")
    return "Turn the kernel by 180°, then slide it: that is all there is between the two."


def _by_spectrum(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve by multiplying spectra, which shares nothing with loops over pixels."""
    size = [a + b - 1 for a, b in zip(image.shape, kernel.shape, strict=True)]
    return np.fft.irfft2(np.fft.rfft2(image, size) * np.fft.rfft2(kernel, size), size)


def _overwritten(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    (height, width), (k, m) = image.shape, kernel.shape
    y = np.zeros((height + k - 1, width + m - 1))
    for i in range(height):
        for j in range(width):
            y[i : i + k, j : j + m] = image[i, j] * kernel
    return y


@check
def check_full_convolution(full_convolution: Callable) -> str:
    """Check a convolution written from its definition, against NumPy's and against spectra."""
    random = np.random.default_rng(2)
    row, taps = random.normal(size=8), random.normal(size=3)
    cases = [(row[None], taps[None], np.convolve(row, taps)[None], "For one row, as np.convolve: ")]
    for size, kernel_size in (((5, 7), (3, 3)), ((6, 4), (2, 5)), ((3, 3), (4, 2))):
        image, kernel = random.normal(size=size), random.normal(size=kernel_size)
        text = f"For {size[0]}×{size[1]} and {kernel_size[0]}×{kernel_size[1]}: "
        cases.append((image, kernel, _by_spectrum(image, kernel), text))
    for image, kernel, expected, case in cases:
        result = call(full_convolution, image, kernel)
        shape = np.shape(result)
        (height, width), (k, m) = image.shape, kernel.shape
        if shape != expected.shape:
            shapes = {
                (height - k + 1, width - m + 1): "these are the places where the kernel fits "
                "inside. Here it may stick out: even one common pixel counts.",
                (height, width): "this is the size of the image. Copies of the kernel stick out.",
                (height + k, width + m): "one row and one column too many: two copies of length "
                "1 meet in one place, not in two.",
                expected.shape[::-1]: "rows come before columns.",
            }
            hint = shapes.get(shape, f"the result should have shape {expected.shape}.")
            raise Hint(f"{case}{hint} Yours has shape {shape}.")
        got = array_of_shape(result, expected.shape, "The result")
        if _same(got, expected):
            continue
        wrong = {
            "this is correlation: the copies of the kernel are turned.": _by_spectrum(
                image, kernel[::-1, ::-1]
            ),
            "copies overlap, and what is there already must stay: add, with +=.": _overwritten(
                image, kernel
            ),
            "every copy must be multiplied by its pixel.": _by_spectrum(
                np.ones_like(image), kernel
            ),
            "the copies are there, but of the image's pixels only: multiply by the "
            "kernel.": _by_spectrum(image, np.ones_like(kernel)),
            "the last row or column of the image is not used.": _by_spectrum(
                np.pad(image[: max(1, height - 1), : width - 1], ((0, min(1, height - 1)), (0, 1))),
                kernel,
            ),
        }
        _raise_known(got, wrong, case)
        raise Hint(f"{case}the shape is right, the values are not.")
    return "It equals np.convolve for a row, and the product of spectra for images."


@check
def check_blur_in_two(blur_in_two: Callable) -> str:
    """Check a blur in two steps of one dimension each."""
    random = np.random.default_rng(3)
    image = random.normal(size=(11, 14))
    for taps in (np.array([0.25, 0.5, 0.25]), np.array([1.0, 4, 6, 5, 2]) / 18):
        column, row = taps[:, None], taps[None]
        correlate = functional.correlate2d
        expected = correlate(image, column * row)
        got = array_of_shape(call(blur_in_two, image, taps), image.shape, "The result")
        if _same(got, expected):
            continue
        once_down, once_across = correlate(image, column), correlate(image, row)
        wrong = {
            "nothing happened to the image.": image,
            "it is blurred up and down only. Blur the result once more, across.": once_down,
            "it is blurred across only. Blur the result once more, up and down.": once_across,
            "it is blurred up and down twice.": correlate(once_down, column),
            "it is blurred across twice.": correlate(once_across, row),
            "the second step must work on the result of the first, not on the image: the two are "
            "not added.": once_down + once_across,
            "the second step must work on the result of the first, not on the image: the two are "
            "not averaged.": (once_down + once_across) / 2,
            "the result is right, but it is blurred twice.": correlate(expected, column * row),
            "the taps are turned round: slide them as they are.": correlate(
                image, column[::-1] * row[:, ::-1]
            ),
        }
        _raise_known(got, wrong)
        raise Hint("Use the taps as a column, taps[:, None], and then as a row, taps[None].")
    return "A column, then a row: the same numbers as with the square."


@check
def check_counts(counts: dict) -> str:
    """Check the multiplications of a blur of 15×15 on the photograph, at once and in two steps."""
    pixels, side = 200 * 300, 15
    expected = {"at_once": pixels * side * side, "in_two": pixels * 2 * side}
    if not isinstance(counts, dict) or set(counts) != set(expected):
        raise Hint(f"Fill in a dictionary with the keys {', '.join(expected)}.")
    got = {name: number(value, name) for name, value in counts.items()}
    hints = {
        "at_once": {
            side * side: "that is for one pixel. The photograph has 200 · 300.",
            pixels * side: "the window has 15 rows of 15.",
            (200 - 14) * (300 - 14) * side * side: "the result has the size of the photograph.",
            2 * expected["at_once"]: "count multiplications only, not additions.",
            expected["in_two"]: "that is the other one: you exchanged the two.",
        },
        "in_two": {
            2 * side: "that is for one pixel. The photograph has 200 · 300.",
            pixels * side: "that is one of the two steps.",
            expected["at_once"]: "the steps follow each other: their counts add, 15 + 15, and do "
            "not multiply.",
            2 * pixels * side * side: "each step slides 15 numbers, not 225.",
            2 * expected["in_two"]: "count multiplications only, not additions.",
        },
    }
    for name, value in expected.items():
        if got[name] != value:
            raise Hint(f"{name}: {hints[name].get(got[name], f'it is not {got[name]:,.0f}.')}")
    return "225 against 30 for each pixel: seven and a half times fewer."
