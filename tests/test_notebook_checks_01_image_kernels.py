"""Wrong answers to the exercises of chapter 1, and the hints they get."""

import numpy as np
import pytest

from convlib import functional
from convlib.notebook.checks import image_kernels as checks

PIXEL = np.zeros((3, 3))
PIXEL[1, 1] = 1
MEAN = np.full((3, 3), 1 / 9)
CROSS = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])


def right_sharpening(amount):
    return PIXEL + amount * (PIXEL - MEAN)


WRONG_SHARPENING = [
    ("this blurs", lambda a: PIXEL - a * (PIXEL - MEAN)),
    ("the difference alone", lambda a: a * (PIXEL - MEAN)),
    ("divide by 9", lambda a: PIXEL + a * (PIXEL - 1)),
    ("over all nine pixels", lambda a: PIXEL + a * (PIXEL - (1 - PIXEL) / 8)),
    ("changes nothing", lambda a: right_sharpening(1)),
    ("belongs to the mean too", lambda a: (1 + a) * PIXEL - MEAN),
    ("not the pixel that it is added to", lambda a: a * (2 * PIXEL - MEAN)),
    ("four neighbours", lambda a: PIXEL + a * CROSS),
    ("a quarter for each", lambda a: PIXEL + a * CROSS / 4),
    ("must sum to 1", lambda a: right_sharpening(a) + 0.1),
    ("the one at (0, 0)", lambda a: right_sharpening(a) + np.eye(3) - MEAN * 3),
    ("shape (3, 3)", lambda a: right_sharpening(a).ravel()),
    ("array of numbers", lambda a: "sharp"),
    ("stopped with", lambda a: a[0]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_SHARPENING)
def test_wrong_sharpening(hint, answer):
    result = checks.check_sharpen_kernel(answer)
    assert not result and hint in repr(result)


def test_right_sharpening():
    assert checks.check_sharpen_kernel(right_sharpening)
    assert checks.check_sharpen_kernel(lambda amount: right_sharpening(amount).astype(np.float32))


def by_correlation(change_kernel=lambda w: w, change_image=lambda x: x, **options):
    return lambda x, w: functional.correlate2d(change_image(x), change_kernel(w), **options)


WRONG_CONVOLUTIONS = [
    ("is not flipped", by_correlation()),
    ("only the rows", by_correlation(np.flipud)),
    ("only the columns", by_correlation(np.fliplr)),
    ("transposed", by_correlation(np.transpose)),
    ("this is a quarter turn. ", by_correlation(np.rot90)),
    ("quarter turn backwards", by_correlation(lambda w: np.rot90(w, -1))),
    (
        "you flipped the image, and the result",
        by_correlation(change_image=lambda x: x[::-1, ::-1]),
    ),
    (
        "the image and the kernel",
        by_correlation(lambda w: w[::-1, ::-1], lambda x: x[::-1, ::-1]),
    ),
    ("count zeros", by_correlation(lambda w: w[::-1, ::-1], border="edge")),
    ("count zeros", by_correlation(lambda w: w[::-1, ::-1], border="reflect")),
    ("shape (9, 12)", by_correlation(lambda w: w[::-1, ::-1], mode="valid")),
    ("neither", by_correlation(lambda w: 2 * w)),
    ("return statement", lambda x, w: print(end="")),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_CONVOLUTIONS)
def test_wrong_convolutions(hint, answer):
    result = checks.check_convolve(answer)
    assert not result and hint in repr(result)


def test_the_right_convolution():
    assert checks.check_convolve(by_correlation(lambda w: w[::-1, ::-1]))
    assert checks.check_convolve(by_correlation(lambda w: np.rot90(w, 2)))


def copies(image, kernel, place=lambda y, part, copy: y[part].__iadd__(copy), extra=-1):
    (height, width), (k, m) = image.shape, kernel.shape
    y = np.zeros((height + k + extra, width + m + extra))
    for i in range(height):
        for j in range(width):
            place(y, (slice(i, i + k), slice(j, j + m)), image[i, j] * kernel)
    return y


def overwriting(image, kernel):
    return copies(image, kernel, lambda y, part, copy: y.__setitem__(part, copy))


def inner(image, kernel):
    k, m = kernel.shape
    return copies(image, kernel)[k - 1 : image.shape[0], m - 1 : image.shape[1]]


def without_the_end(image, kernel):
    y = np.zeros(np.add(image.shape, kernel.shape) - 1)
    last = image[: max(1, len(image) - 1), :-1]
    y[: last.shape[0] + kernel.shape[0] - 1, : last.shape[1] + kernel.shape[1] - 1] = copies(
        last, kernel
    )
    return y


WRONG_FULL = [
    ("fits inside", inner),
    ("size of the image", lambda x, w: copies(x, w)[: x.shape[0], : x.shape[1]]),
    ("one row and one column too many", lambda x, w: copies(x, w, extra=0)),
    ("rows come before columns", lambda x, w: copies(x, w).T),
    ("should have shape (1, 10). Yours has shape (3, 3)", lambda x, w: np.zeros((3, 3))),
    ("this is correlation", lambda x, w: copies(x, w[::-1, ::-1])),
    ("add, with +=", overwriting),
    ("multiplied by its pixel", lambda x, w: copies(np.ones_like(x), w)),
    ("multiply by the kernel", lambda x, w: copies(x, np.ones_like(w))),
    ("is not used", without_the_end),
    ("the values are not", lambda x, w: copies(x, w) + 1),
    # Right for one row, wrong for images.
    (
        "For 5×7 and 3×3: this is correlation",
        lambda x, w: copies(x, w if len(x) == 1 else w[::-1, ::-1]),
    ),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_FULL)
def test_wrong_full_convolutions(hint, answer):
    result = checks.check_full_convolution(answer)
    assert not result and hint in repr(result)


def test_the_right_full_convolution():
    assert checks.check_full_convolution(copies)


def down(image, taps):
    return functional.correlate2d(image, taps[:, None])


def across(image, taps):
    return functional.correlate2d(image, taps[None])


def right_blur(image, taps):
    return across(down(image, taps), taps)


WRONG_BLURS = [
    ("nothing happened", lambda x, t: x),
    ("up and down only", down),
    ("across only", across),
    ("up and down twice", lambda x, t: down(down(x, t), t)),
    ("across twice", lambda x, t: across(across(x, t), t)),
    ("not added", lambda x, t: down(x, t) + across(x, t)),
    ("not averaged", lambda x, t: (down(x, t) + across(x, t)) / 2),
    ("blurred twice", lambda x, t: functional.correlate2d(right_blur(x, t), np.outer(t, t))),
    ("turned round", lambda x, t: right_blur(x, t[::-1])),
    ("taps[:, None]", lambda x, t: 2 * right_blur(x, t)),
    ("shape", lambda x, t: right_blur(x, t)[1:-1]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_BLURS)
def test_wrong_blurs(hint, answer):
    result = checks.check_blur_in_two(answer)
    assert not result and hint in repr(result)


def test_the_right_blur():
    assert checks.check_blur_in_two(right_blur)


COUNTS = {"at_once": 13_500_000, "in_two": 1_800_000}

WRONG_COUNTS = [
    ("at_once: that is for one pixel", {"at_once": 225}),
    ("15 rows of 15", {"at_once": 900_000}),
    ("size of the photograph", {"at_once": 186 * 286 * 225}),
    ("not additions", {"at_once": 27_000_000}),
    ("exchanged", {"at_once": 1_800_000, "in_two": 13_500_000}),
    ("it is not 7", {"at_once": 7}),
    ("in_two: that is for one pixel", {"in_two": 30}),
    ("one of the two steps", {"in_two": 900_000}),
    ("15 + 15", {"in_two": 13_500_000}),
    ("15 numbers, not 225", {"in_two": 27_000_000}),
    ("not additions", {"in_two": 3_600_000}),
    ("it is not 7", {"in_two": 7}),
    ("one number", {"in_two": "many"}),
]


@pytest.mark.parametrize(("hint", "change"), WRONG_COUNTS)
def test_wrong_counts(hint, change):
    result = checks.check_counts(COUNTS | change)
    assert not result and hint in repr(result)


def test_the_right_counts():
    assert checks.check_counts(COUNTS)
    assert "keys" in repr(checks.check_counts({"at_once": 13_500_000}))


@pytest.mark.parametrize(
    "check",
    [
        checks.check_sharpen_kernel,
        checks.check_convolve,
        checks.check_full_convolution,
        checks.check_blur_in_two,
    ],
)
def test_a_skeleton_is_not_tried_yet(check):
    assert "Not tried" in repr(check(lambda *arguments: ...))
    assert "Not tried" in repr(checks.check_counts(COUNTS | {"in_two": ...}))
