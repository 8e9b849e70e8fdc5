"""Wrong answers to the exercises of chapter 10, and the hints they get."""

import numpy as np
import pytest

from convlib.notebook.checks import small_convnet as checks


def right_row(shape, filters, side):
    height, width, channels = shape
    return (height - side + 1, width - side + 1, filters), (side * side * channels + 1) * filters


def row_with(shape=None, parameters=None):
    """Return a wrong `convolution_row`, given how it gets one of its two results."""

    def convolution_row(image, filters, side):
        height, width, channels = image
        right_shape, right_parameters = right_row(image, filters, side)
        return (
            shape(height, width, channels, filters, side) if shape else right_shape,
            parameters(height, width, channels, filters, side) if parameters else right_parameters,
        )

    return convolution_row


WRONG_ROWS = [
    ("border places are lost", row_with(shape=lambda h, w, c, f, k: (h, w, f))),
    ("fit 28 rows once", row_with(shape=lambda h, w, c, f, k: (h - k, w - k, f))),
    ("height comes before", row_with(shape=lambda h, w, c, f, k: (w - k + 1, h - k + 1, f))),
    ("one channel of the output", row_with(shape=lambda h, w, c, f, k: (h - k + 1, w - k + 1, c))),
    ("the shape is not (26, 26, 33)", row_with(shape=lambda h, w, c, f, k: (h - 2, w - 2, f + 1))),
    ("the shape is not (18, 29, 7)", row_with(shape=lambda h, w, c, f, k: (h - 2, w - 2, f))),
    ("has a bias too", row_with(parameters=lambda h, w, c, f, k: k * k * c * f)),
    ("a bias of its own", row_with(parameters=lambda h, w, c, f, k: k * k * c * f + 1)),
    ("through all input channels", row_with(parameters=lambda h, w, c, f, k: (k * k + 1) * f)),
    ("of one filter", row_with(parameters=lambda h, w, c, f, k: k * k * c + 1)),
    (
        "the bias is shared by all places",
        row_with(parameters=lambda h, w, c, f, k: k * k * c * f + (h - k + 1) * (w - k + 1) * f),
    ),
    (
        "the weights are shared by all places",
        row_with(parameters=lambda h, w, c, f, k: (k * k * c * f + f) * (h - k + 1) * (w - k + 1)),
    ),
    ("Return two things", lambda shape, filters, side: 320),
    ("3 numbers", lambda shape, filters, side: (26, 320)),
    ("3 numbers, got 4", lambda shape, filters, side: ((1, 26, 26, 32), 320)),
    ("stopped with", lambda shape, filters, side: shape[3]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_ROWS)
def test_wrong_rows(hint, answer):
    result = checks.check_convolution_row(answer)
    assert not result and hint in repr(result)


def test_the_right_row():
    assert checks.check_convolution_row(right_row)


def right_work(shape, filters, side):
    (height, width, _), _ = right_row(shape, filters, side)
    return height * width * side * side * shape[2] * filters


WRONG_WORK = [
    ("visits every place", lambda s, f, k: k * k * s[2] * f),
    ("each works once at every place", lambda s, f, k: k * k * s[2] * f + f),
    ("not of the input", lambda s, f, k: s[0] * s[1] * k * k * s[2] * f),
    ("through all input channels", lambda s, f, k: right_work(s, f, k) // s[2]),
    ("one filter", lambda s, f, k: right_work(s, f, k) // f),
    ("counts as one", lambda s, f, k: 2 * right_work(s, f, k)),
    (
        "no multiply-add",
        lambda s, f, k: right_work(s, f, k) + (s[0] - k + 1) * (s[1] - k + 1) * f,
    ),
    ("not 1", lambda s, f, k: 1),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_WORK)
def test_wrong_work(hint, answer):
    result = checks.check_multiply_adds(answer)
    assert not result and hint in repr(result)


def test_the_right_work():
    assert checks.check_multiply_adds(right_work)


WRONG_KERNELS = [
    ("flipped", lambda w: w.reshape(3, 3, 64, 64)[::-1, ::-1]),
    ("channel by channel", lambda w: w.reshape(64, 3, 3, 64).transpose(1, 2, 0, 3)),
    ("rows and columns", lambda w: w.reshape(3, 3, 64, 64).swapaxes(0, 1)),
    ("inputs and outputs", lambda w: w.reshape(3, 3, 64, 64).swapaxes(2, 3)),
    ("transposed the matrix", lambda w: w.T.reshape(3, 3, 64, 64)),
    ("Fortran", lambda w: w.reshape(3, 3, 64, 64, order="F")),
    ("not in the places", lambda w: np.sort(w, axis=None).reshape(3, 3, 64, 64)),
    ("nothing else", lambda w: np.ones((3, 3, 64, 64))),
    ("shape", lambda w: w),
    ("shape", lambda w: w.reshape(1, 3, 3, 64, 64)),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_KERNELS)
def test_wrong_kernels(hint, answer):
    result = checks.check_dense_as_convolution(answer)
    assert not result and hint in repr(result)


def test_the_right_kernel():
    assert checks.check_dense_as_convolution(lambda w: w.reshape(3, 3, 64, 64))


SAME = {"flattened": 3136, "parameters": 257_162, "conv2d_2_multiply_adds": 3_612_672}

WRONG_VARIANTS = [
    ("only the poolings shrink", {"flattened": 576}),
    ("has 64 channels", {"flattened": 49}),
    ("still halve", {"flattened": 28 * 28 * 64}),
    ("no place is lost", {"flattened": 36 * 64}),
    ("it is not 5", {"flattened": 5}),
    ("hands dense_1 more inputs", {"parameters": 93_322}),
    ("64 biases", {"parameters": 257_098}),
    ("Add the dense layers", {"parameters": 55_744}),
    ("dense_2 is missing", {"parameters": 256_512}),
    ("dense_1 alone", {"parameters": 200_768}),
    ("valid network", {"conv2d_2_multiply_adds": 2_230_272}),
    ("14×14 places", {"conv2d_2_multiply_adds": 14_450_688}),
    ("parameters", {"conv2d_2_multiply_adds": 18_496}),
    ("is one", {"conv2d_2_multiply_adds": 7_225_344}),
    ("one number", {"flattened": "3136"}),
]


@pytest.mark.parametrize(("hint", "change"), WRONG_VARIANTS)
def test_wrong_variants(hint, change):
    result = checks.check_same_variant(SAME | change)
    assert not result and hint in repr(result)


def test_a_variant_with_a_missing_answer():
    assert "keys" in repr(checks.check_same_variant({"flattened": 3136}))
    assert "Not tried" in repr(checks.check_same_variant(SAME | {"parameters": ...}))


def test_the_right_variant():
    assert checks.check_same_variant(SAME)
