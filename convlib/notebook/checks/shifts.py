"""Checks of chapter 8: equivariance, periods, heads that do not care, blurred pooling."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from convlib import functional, layers, models, utils
from convlib.notebook.exercises import Hint, array_of_shape, call, check, number


def _dot(channels: int) -> np.ndarray:
    """Return two images, each with a random pattern in the middle of a wide blank margin."""
    images = np.zeros((2, 24, 24, channels))
    images[:, 10:14, 8:14] = np.random.default_rng(8).integers(1, 9, (2, 4, 6, channels))
    return images


def _convolution(x: np.ndarray) -> np.ndarray:
    kernel = np.arange(18.0).reshape(3, 3, 2, 1) - 7
    return functional.conv2d(x, kernel, backend="reference")


def _less_to_the_right(x: np.ndarray) -> np.ndarray:
    """Multiply by weights that fall from left to right, so that moved outputs are smaller."""
    return x * np.linspace(3, 1, x.shape[2])[:, None] ** 2


def _more_to_the_right(x: np.ndarray) -> np.ndarray:
    return x * np.linspace(1, 3, x.shape[2])[:, None] ** 2


def _other_weights_per_row(x: np.ndarray) -> np.ndarray:
    return x * np.linspace(1, 3, x.shape[1])[:, None, None]


def _right(x: np.ndarray, step: int) -> np.ndarray:
    return np.roll(x, step, axis=2)


def _difference(layer: Callable, images: np.ndarray, right: int) -> np.ndarray:
    return layer(_right(images, right)) - _right(layer(images), right)


_LAYERS = {
    "a convolution": (_convolution, 1),
    "a pooling with stride 1": (lambda x: functional.max_pool2d(x, 2, strides=1), 2),
    "a layer with smaller weights to the right": (_less_to_the_right, 1),
    "a layer with larger weights to the right": (_more_to_the_right, 2),
    "a layer with other weights for each row": (_other_weights_per_row, 3),
}

_WRONG_DIFFERENCES = {
    "You compare with the maps as they were, which would be invariance. The maps of the unmoved "
    "images have to be moved as well.": lambda layer, x, right: np.abs(
        layer(_right(x, right)) - layer(x)
    ).max(),
    "Images and maps are moved in opposite directions.": lambda layer, x, right: np.abs(
        layer(_right(x, right)) - _right(layer(x), -right)
    ).max(),
    "This moves them down. The columns are the third axis, axis=2.": lambda layer, x, right: np.abs(
        layer(np.roll(x, right, axis=1)) - np.roll(layer(x), right, axis=1)
    ).max(),
    "This moves them to the left. A positive step of np.roll moves to the right.": (
        lambda layer, x, right: np.abs(_difference(layer, x, -right)).max()
    ),
    "Negative differences count as well: take absolute values.": (
        lambda layer, x, right: _difference(layer, x, right).max()
    ),
    "The largest difference is asked for, not the mean.": (
        lambda layer, x, right: np.abs(_difference(layer, x, right)).mean()
    ),
    "The largest difference is asked for, not the sum.": (
        lambda layer, x, right: np.abs(_difference(layer, x, right)).sum()
    ),
    "The largest difference is asked for, not the root of the sum of squares.": (
        lambda layer, x, right: np.linalg.norm(_difference(layer, x, right))
    ),
    "You moved the maps, but not the images.": lambda layer, x, right: np.abs(
        layer(x) - _right(layer(x), right)
    ).max(),
    "You moved the images and looked at no maps.": lambda layer, x, right: np.abs(
        _right(x, right) - x
    ).max(),
}


@check
def check_largest_difference(largest_difference: Callable) -> str:
    """Check a function that measures how far a layer is from being equivariant."""
    images = _dot(2)

    def values(function: Callable) -> list[float]:
        return [function(layer, images, right) for layer, right in _LAYERS.values()]

    got = [
        number(call(largest_difference, layer, images, right), "The difference")
        for layer, right in _LAYERS.values()
    ]
    expected = values(lambda *arguments: np.abs(_difference(*arguments)).max())
    if np.allclose(got, expected, rtol=1e-9, atol=1e-9):
        return "Zero for the convolution, and not for a layer that treats columns differently."
    for hint, mistake in _WRONG_DIFFERENCES.items():
        if np.allclose(got, values(mistake), rtol=1e-9, atol=1e-9):
            raise Hint(hint)
    for name, value, truth in zip(_LAYERS, got, expected, strict=True):
        if not np.isclose(value, truth, rtol=1e-9, atol=1e-9):
            raise Hint(f"For {name} the largest difference is {truth:.4g}, you got {value:.4g}.")
    raise AssertionError("one of the differences must differ")


_STRIDES = ((1, 2, 1, 2, 1), (1, 1), (2, 2, 2), (3, 2), (2, 1, 4), (3,), (4, 2, 2))

_WRONG_PERIODS = {
    "A map with strides can only move by whole places, so a shift of 1 is too small.": (
        lambda strides: 1
    ),
    "Strides do not add up: each counts in places of the map before it.": sum,
    "The strides before and after the largest one matter too.": max,
    "Each stride counts in places of the map before it, so they multiply, common factors or not.": (
        lambda strides: math.lcm(*strides)
    ),
    "Layers with stride 1 do not halve anything, and strides may be larger than 2.": (
        lambda strides: 2 ** len(strides)
    ),
    "Strides may be larger than 2.": lambda strides: 2 ** sum(s > 1 for s in strides),
    "This is the number of layers.": len,
    "The last stride alone is not enough.": lambda strides: strides[-1],
    "The first stride alone is not enough.": lambda strides: strides[0],
    "The first stride counts too.": lambda strides: math.prod(strides[1:]),
    "The last stride counts too.": lambda strides: math.prod(strides[:-1]),
    "Half of that would do.": lambda strides: 2 * math.prod(strides),
    "This is the text's network alone. Use the strides that are given.": lambda strides: 4,
}


@check
def check_period(period: Callable) -> str:
    """Check a function that gives the smallest shift that the last map follows."""
    got = [number(call(period, strides), "The period") for strides in _STRIDES]
    expected = [math.prod(strides) for strides in _STRIDES]
    if got == expected:
        return "The strides multiply: 2 · 2 = 4 for the text's network."
    for hint, mistake in _WRONG_PERIODS.items():
        if got == [mistake(strides) for strides in _STRIDES]:
            raise Hint(hint)
    strides, value = next(
        (strides, value)
        for strides, value, truth in zip(_STRIDES, got, expected, strict=True)
        if value != truth
    )
    raise Hint(
        f"For strides {strides} it is not {value:g}. By how many places must the map before the "
        "last layer move, and the one before that?"
    )


def _base() -> list:
    return [
        layers.Input((64, 64, 1)),
        layers.Conv2D(8, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(8, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(8, (3, 3), activation="relu"),
    ]


@check
def check_head(head: Callable) -> str:
    """Check a function that returns the layers after a convolutional base."""
    chosen = call(head)
    if isinstance(chosen, layers.Layer):
        raise Hint("Return a list of layers, even if there is only one.")
    if not isinstance(chosen, list | tuple) or not chosen:
        raise Hint("Return a list of layers, such as [layers.Flatten(), …].")
    state = utils.random_generator().bit_generator.state
    utils.set_random_seed(8)
    try:
        network = models.Sequential([*_base(), *chosen])
    except Exception as error:
        raise Hint(f"The network could not be built: {error}") from None
    finally:
        utils.random_generator().bit_generator.state = state
    shape = tuple(network.output_shape[1:])
    if shape != (10,):
        if len(shape) == 3:
            raise Hint(
                f"The network's output is still a map, of shape {shape}. Somewhere the places have "
                "to be forgotten."
            )
        raise Hint(f"Ten probabilities are wanted; the network's output has shape {shape}.")
    random = np.random.default_rng(8)
    patterns = random.uniform(size=(6, 8, 8, 1)).astype(np.float32)
    patterns[3:] *= random.uniform(size=(3, 8, 8, 1)) > 0.5

    def answers(down: int, right: int) -> np.ndarray:
        images = np.zeros((6, 64, 64, 1), np.float32)
        images[:, 28 + down : 36 + down, 28 + right : 36 + right] = patterns
        return network.predict(images, verbose=0)

    middle = answers(0, 0)
    if np.any(middle < 0) or not np.allclose(middle.sum(axis=1), 1, atol=1e-4):
        raise Hint("The ten numbers are no probabilities yet: let the last layer end in a softmax.")
    change = {
        direction: max(
            np.abs(answers(*(np.array(direction) * step)) - middle).max() for step in (-8, -4, 4, 8)
        )
        for direction in ((1, 0), (0, 1))
    }
    if max(change.values()) > 1e-4:
        kinds = {type(layer).__name__ for layer in chosen}
        where = "down" if change[1, 0] > 1e-4 else "to the right"
        if "Flatten" in kinds:
            reason = (
                "Flatten lays the places in a row, and the dense layer has other weights for each. "
                "Let every channel give one number first."
            )
        elif change[1, 0] <= 1e-4 or change[0, 1] <= 1e-4:
            reason = "The other direction is right already."
        else:
            reason = "Some layer still has other weights, or windows, at each place."
        raise Hint(f"The probabilities change when the pattern moves {where} by 4 or 8. {reason}")
    if np.abs(middle - middle[0]).max() < 1e-5:
        raise Hint(
            "The answer never changes, but it does not depend on the pattern either. Something of "
            "the maps has to be kept."
        )
    return "The same answer wherever the pattern lies, as long as it moves in steps of four."


@check
def check_blurred_pool(blurred_pool: Callable) -> str:
    """Check a function that takes maxima everywhere and averages before it drops places."""
    random = np.random.default_rng(8)
    x = random.normal(size=(2, 10, 12, 3))
    maximum, mean = functional.max_pool2d, functional.average_pool2d
    expected = mean(maximum(x, 2, strides=1), 2)
    got = np.asarray(call(blurred_pool, x))
    mistakes = (
        ("This is the plain pooling. Take the maximum at every place: strides=1.", maximum(x, 2)),
        ("This is average pooling. The maximum comes first.", mean(x, 2)),
        (
            "Both dropped places, so only a quarter of the rows is left. The maximum needs "
            "strides=1.",
            mean(maximum(x, 2), 2),
        ),
        (
            "No place was dropped. The mean is taken at every second place, which is the default.",
            mean(maximum(x, 2, strides=1), 2, strides=1),
        ),
        (
            "The order is the other way round: first the maxima, then the mean.",
            maximum(mean(x, 2, strides=1), 2),
        ),
        ("The mean comes before places are dropped, not after.", mean(maximum(x, 2), 2, strides=1)),
        (
            "Without padding, please: the default is 'valid'.",
            mean(maximum(x, 2, strides=1, padding="same"), 2),
        ),
        ("The last step is a mean.", maximum(maximum(x, 2, strides=1), 2)),
        ("The first step is a maximum.", mean(mean(x, 2, strides=1), 2)),
    )
    for hint, mistake in mistakes:
        if got.shape == mistake.shape and np.allclose(got, mistake):
            raise Hint(hint)
    got = array_of_shape(got, expected.shape, "The result")
    if not np.allclose(got, expected):
        raise Hint("The shape is right, but the numbers are not: maxima of 2×2, then means of 2×2.")
    return "Blur, then drop: every maximum has a say in what remains."
