"""Wrong answers to the exercises of chapter 3, and the hints they get."""

import numpy as np
import pytest

from convlib.notebook.checks import feature_maps as checks

COUNTS = {"first": 320, "second": 18_496, "first_in_colour": 896}

WRONG_COUNTS = [
    ("has a bias too", {"first": 288}),
    ("of its own", {"first": 289}),
    ("that is one filter", {"first": 10}),
    ("the same at every place", {"first": 288 + 26 * 26 * 32}),
    ("a slice for each input channel.", {"second": 640}),
    ("a slice for each input channel, and a bias", {"second": 576}),
    ("that is one filter", {"second": 289}),
    ("not one for each slice", {"second": 18_432 + 64 * 32}),
    ("has a bias too", {"second": 18_432}),
    ("a slice for each input channel.", {"first_in_colour": 320}),
    ("not one for each slice", {"first_in_colour": 960}),
    ("it is not 7", {"first_in_colour": 7}),
    ("one number", {"first": "320"}),
]


@pytest.mark.parametrize(("hint", "change"), WRONG_COUNTS)
def test_wrong_counts(hint, change):
    result = checks.check_parameters(COUNTS | change)
    assert not result and hint in repr(result)


def test_the_right_counts():
    assert checks.check_parameters(COUNTS)
    assert "Not tried" in repr(checks.check_parameters(COUNTS | {"second": ...}))
    assert "keys" in repr(checks.check_parameters({"first": 320}))


WRONG_LAYOUTS = [
    ("still the order", lambda x: x),
    ("scrambled", lambda x: x.reshape(len(x), x.shape[3], *x.shape[1:3])),
    ("on their side", lambda x: x.transpose(0, 3, 2, 1)),
    ("on their side", lambda x: x.swapaxes(1, 3)),
    ("stay in front", lambda x: x.transpose(3, 0, 1, 2)),
    ("back to NHWC", lambda x: x.transpose(0, 2, 3, 1)),
    ("reverse order", lambda x: x.transpose(0, 3, 1, 2)[:, ::-1]),
    ("for all indices", lambda x: x.transpose(0, 3, 1, 2)[:, :, ::-1]),
    ("shape", lambda x: x.transpose(2, 0, 3, 1)),
    ("stopped with", lambda x: x.transpose(0, 4, 1, 2)),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_LAYOUTS)
def test_wrong_layouts(hint, answer):
    result = checks.check_channels_first(answer)
    assert not result and hint in repr(result)


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: x.transpose(0, 3, 1, 2),
        lambda x: np.moveaxis(x, -1, 1),
        lambda x: np.einsum("nijc->ncij", x),
    ],
)
def test_the_right_layout(answer):
    assert checks.check_channels_first(answer)


def right_response(value, w, b):
    return value * w.sum(axis=(0, 1, 2)) + b


WRONG_RESPONSES = [
    ("the bias is missing", lambda v, w, b: v * w.sum(axis=(0, 1, 2))),
    ("ReLU was to be left out", lambda v, w, b: np.maximum(right_response(v, w, b), 0)),
    ("not multiplied by value", lambda v, w, b: v * (w.sum(axis=(0, 1, 2)) + b)),
    ("value is missing", lambda v, w, b: w.sum(axis=(0, 1, 2)) + b),
    (
        "not one for each weight",
        lambda v, w, b: v * w.sum(axis=(0, 1, 2)) + b * np.prod(w.shape[:3]),
    ),
    (
        "not one for each channel",
        lambda v, w, b: v * w.sum(axis=(0, 1, 2)) + b * w.shape[2],
    ),
    ("not their mean", lambda v, w, b: v * w.mean(axis=(0, 1, 2)) + b),
    ("not subtracted", lambda v, w, b: v * w.sum(axis=(0, 1, 2)) - b),
    ("only one input channel", lambda v, w, b: v * w[:, :, 0].sum(axis=(0, 1)) + b),
    ("kept the channels", lambda v, w, b: v * w.sum(axis=(0, 1, 3))),
    ("all places are alike", lambda v, w, b: right_response(v, w, b)[None, None, None]),
    ("is not right", lambda v, w, b: right_response(v, w, b)[::-1]),
    ("shape (4,)", lambda v, w, b: v * w.sum(axis=(0, 1)) + b),
    ("return statement", lambda v, w, b: print(end="")),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_RESPONSES)
def test_wrong_responses(hint, answer):
    result = checks.check_response_to_constant(answer)
    assert not result and hint in repr(result)


def test_summing_over_filters_is_named_where_shapes_do_not_tell():
    def answer(value, w, b):
        if w.shape[2] != w.shape[3]:
            return right_response(value, w, b)
        return value * w.sum(axis=(0, 1, 3)) + b

    assert "kept the channels" in repr(checks.check_response_to_constant(answer))


def test_the_right_response():
    assert checks.check_response_to_constant(right_response)


def right_product(x, w, b):
    return x @ w[0, 0] + b


def for_square_matrices(wrong):
    """Return an answer that is wrong only where channels and filters are equally many."""
    return lambda x, w, b: (wrong if w.shape[2] == w.shape[3] else right_product)(x, w, b)


WRONG_PRODUCTS = [
    ("bias is missing", lambda x, w, b: x @ w[0, 0]),
    ("not once for each channel", lambda x, w, b: x @ w[0, 0] + x.shape[3] * b),
    ("ReLU was to be left out", lambda x, w, b: np.maximum(x @ w[0, 0] + b, 0)),
    ("their places", lambda x, w, b: x.reshape(-1, x.shape[3]) @ w[0, 0] + b),
    ("left over", lambda x, w, b: (right_product(x, w, b))[None, None]),
    ("is transposed", for_square_matrices(lambda x, w, b: x @ w[0, 0].T + b)),
    ("element by element", for_square_matrices(lambda x, w, b: x * w[0, 0].sum(axis=0) + b)),
    ("At each pixel", lambda x, w, b: right_product(x, w, b)[:, ::-1]),
    ("shape", lambda x, w, b: right_product(x, w, b)[0]),
    ("stopped with", lambda x, w, b: x @ w[0, 0].T + b),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_PRODUCTS)
def test_wrong_products(hint, answer):
    result = checks.check_one_by_one(answer)
    assert not result and hint in repr(result)


def test_the_right_product():
    assert checks.check_one_by_one(right_product)


def test_skeletons_are_not_tried_yet():
    for checked in (
        checks.check_channels_first,
        checks.check_response_to_constant,
        checks.check_one_by_one,
    ):
        assert "Not tried" in repr(checked(lambda *arguments: ...))
