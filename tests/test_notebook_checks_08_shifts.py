"""Wrong answers to the exercises of chapter 8, and the hints they get."""

import math

import numpy as np
import pytest

from convlib import functional, layers, utils
from convlib.notebook.checks import shifts as checks


def roll(x, step):
    return np.roll(x, step, axis=2)


def right_difference(layer, images, right):
    return np.abs(layer(roll(images, right)) - roll(layer(images), right)).max()


WRONG_DIFFERENCES = [
    ("would be invariance", lambda f, x, s: np.abs(f(roll(x, s)) - f(x)).max()),
    ("opposite", lambda f, x, s: np.abs(f(roll(x, s)) - roll(f(x), -s)).max()),
    (
        "third axis",
        lambda f, x, s: np.abs(f(np.roll(x, s, axis=1)) - np.roll(f(x), s, axis=1)).max(),
    ),
    ("to the left", lambda f, x, s: np.abs(f(roll(x, -s)) - roll(f(x), -s)).max()),
    ("absolute", lambda f, x, s: (f(roll(x, s)) - roll(f(x), s)).max()),
    ("not the mean", lambda f, x, s: np.abs(f(roll(x, s)) - roll(f(x), s)).mean()),
    ("not the sum", lambda f, x, s: np.abs(f(roll(x, s)) - roll(f(x), s)).sum()),
    ("root", lambda f, x, s: np.linalg.norm(f(roll(x, s)) - roll(f(x), s))),
    ("but not the images", lambda f, x, s: np.abs(f(x) - roll(f(x), s)).max()),
    ("looked at no maps", lambda f, x, s: np.abs(roll(x, s) - x).max()),
    ("you got 99", lambda f, x, s: 99),
    ("one number", lambda f, x, s: np.abs(f(roll(x, s)) - roll(f(x), s))),
    ("stopped with", lambda f, x, s: f(roll(x, s))[99]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_DIFFERENCES)
def test_wrong_differences(hint, answer):
    result = checks.check_largest_difference(answer)
    assert not result and hint in repr(result)


def test_the_right_difference():
    assert checks.check_largest_difference(right_difference)


WRONG_PERIODS = [
    ("too small", lambda strides: 1),
    ("do not add up", sum),
    ("before and after the largest", max),
    ("common factors or not", lambda strides: math.lcm(*strides)),
    ("do not halve", lambda strides: 2 ** len(strides)),
    ("number of layers", len),
    ("may be larger", lambda strides: 2 ** sum(stride > 1 for stride in strides)),
    ("The last stride alone", lambda strides: strides[-1]),
    ("The first stride alone", lambda strides: strides[0]),
    ("The first stride counts", lambda strides: math.prod(strides[1:])),
    ("The last stride counts", lambda strides: math.prod(strides[:-1])),
    ("Half of that", lambda strides: 2 * math.prod(strides)),
    ("text's network alone", lambda strides: 4),
    ("For strides (1, 2, 1, 2, 1) it is not 77", lambda strides: 77),
    ("one number", lambda strides: strides),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_PERIODS)
def test_wrong_periods(hint, answer):
    result = checks.check_period(answer)
    assert not result and hint in repr(result)


def test_the_right_period():
    assert checks.check_period(math.prod)


def softmax():
    return layers.Dense(10, activation="softmax")


WRONG_HEADS = [
    ("even if there is only one", lambda: layers.GlobalMaxPooling2D()),
    ("Return a list", lambda: "global"),
    ("Return a list", lambda: []),
    ("could not be built", lambda: [layers.Conv2D(3, (20, 20))]),
    ("still a map", lambda: [softmax()]),
    ("shape (8,)", lambda: [layers.GlobalMaxPooling2D()]),
    ("no probabilities", lambda: [layers.GlobalMaxPooling2D(), layers.Dense(10)]),
    ("Flatten lays", lambda: [layers.Flatten(), softmax()]),
    ("Flatten lays", lambda: [layers.MaxPooling2D((2, 2)), layers.Flatten(), softmax()]),
    (
        "other direction",
        lambda: [layers.MaxPooling2D((12, 1)), layers.Conv2D(10, (1, 12)), *as_vector()],
    ),
    ("at each place", lambda: [layers.Conv2D(10, (12, 12)), *as_vector()]),
    (
        "does not depend on the pattern",
        lambda: [
            layers.GlobalMaxPooling2D(),
            layers.Dense(10, activation="softmax", kernel_initializer="zeros"),
        ],
    ),
]


def as_vector():
    """Turn a map of one place into probabilities."""
    return [layers.GlobalAveragePooling2D(), layers.Softmax()]


@pytest.mark.parametrize(("hint", "answer"), WRONG_HEADS)
def test_wrong_heads(hint, answer):
    result = checks.check_head(answer)
    assert not result and hint in repr(result)


@pytest.mark.parametrize(
    "head",
    [
        lambda: [layers.GlobalMaxPooling2D(), softmax()],
        lambda: [layers.GlobalAveragePooling2D(), layers.Dense(16, activation="relu"), softmax()],
        lambda: (layers.GlobalMaxPooling2D(keepdims=True), layers.Flatten(), softmax()),
        lambda: [layers.MaxPooling2D((12, 12)), layers.Flatten(), softmax()],
    ],
)
def test_right_heads(head):
    assert checks.check_head(head)


def test_the_check_of_heads_leaves_the_random_numbers_alone():
    utils.set_random_seed(3)
    expected = utils.random_generator().integers(1000, size=3)
    utils.set_random_seed(3)
    checks.check_head(lambda: [layers.GlobalMaxPooling2D(), softmax()])
    assert np.array_equal(utils.random_generator().integers(1000, size=3), expected)


def maximum(x, strides=None, padding="valid"):
    return functional.max_pool2d(x, 2, strides=strides, padding=padding)


def mean(x, strides=None):
    return functional.average_pool2d(x, 2, strides=strides)


WRONG_POOLS = [
    ("plain pooling", maximum),
    ("average pooling", mean),
    ("Both dropped", lambda x: mean(maximum(x))),
    ("No place was dropped", lambda x: mean(maximum(x, 1), 1)),
    ("other way round", lambda x: maximum(mean(x, 1))),
    ("before places are dropped", lambda x: mean(maximum(x), 1)),
    ("plain pooling", lambda x: maximum(x, 1)[:, ::2, ::2]),
    ("Without padding", lambda x: mean(maximum(x, 1, "same"))),
    ("last step is a mean", lambda x: maximum(maximum(x, 1))),
    ("first step is a maximum", lambda x: mean(mean(x, 1))),
    ("The shape is right", lambda x: 2 * mean(maximum(x, 1))),
    ("shape", lambda x: x),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_POOLS)
def test_wrong_pools(hint, answer):
    result = checks.check_blurred_pool(answer)
    assert not result and hint in repr(result)


def test_the_right_pool():
    assert checks.check_blurred_pool(lambda x: mean(maximum(x, 1)))


def test_untouched_skeletons_are_not_tried():
    skeletons = {
        checks.check_largest_difference: lambda layer, images, right: ...,
        checks.check_period: lambda strides: ...,
        checks.check_head: lambda: ...,
        checks.check_blurred_pool: lambda x: ...,
    }
    for check, skeleton in skeletons.items():
        result = check(skeleton)
        assert not result and "Not tried yet" in repr(result)
