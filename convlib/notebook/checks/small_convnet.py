"""Checks of chapter 10: shapes, parameters and multiply-adds by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlib import layers, models
from convlib.notebook.exercises import Hint, array_of_shape, call, check, number

_CONVOLUTIONS = (
    # input shape, filters, side of the kernel
    ((28, 28, 1), 32, 3),
    ((13, 13, 32), 64, 3),
    ((5, 5, 64), 64, 3),
    ((20, 31, 3), 7, 5),
    ((9, 6, 4), 5, 1),
)


def _layer(shape: tuple[int, int, int], filters: int, side: int) -> layers.Conv2D:
    model = models.Sequential([layers.Input(shape), layers.Conv2D(filters, (side, side))])
    return model.layers[-1]


def _integers(value: object, count: int, what: str) -> tuple[int, ...]:
    try:
        parts = tuple(int(number(part, what)) for part in value)
    except TypeError:
        raise Hint(f"{what} should be {count} numbers, got {value!r}.") from None
    if len(parts) != count:
        raise Hint(f"{what} should be {count} numbers, got {len(parts)}.")
    return parts


@check
def check_convolution_row(convolution_row: Callable) -> str:
    """Check a function that gives one row of the summary: output shape and parameters."""
    for shape, filters, side in _CONVOLUTIONS:
        row = call(convolution_row, shape, filters, side)
        if not isinstance(row, tuple | list) or len(row) != 2:
            raise Hint("Return two things: the output shape, and the number of parameters.")
        got_shape = _integers(row[0], 3, "The output shape")
        parameters = number(row[1], "The number of parameters")
        height, width, channels = shape
        case = f"For an input of {shape}, {filters} filters, {side}×{side}"
        expected = tuple(_layer(shape, filters, side).output_shape[1:])
        if got_shape != expected:
            if got_shape == (height, width, filters):
                reason = "the window must fit inside the image, so its border places are lost."
            elif got_shape[:2] == (height - side, width - side):
                reason = f"a window of {height} would fit {height} rows once, not zero times."
            elif got_shape[:2] == (expected[1], expected[0]) and height != width:
                reason = "height comes before width."
            elif got_shape[2] == channels and filters != channels:
                reason = "each filter makes one channel of the output."
            else:
                reason = f"the shape is not {got_shape}."
            raise Hint(f"{case}: {reason}")
        weights, places = side * side * channels * filters, expected[0] * expected[1]
        if parameters != weights + filters:
            # Where two mistakes give the same number, as with one channel, the last one counts.
            reasons = {
                side * side * filters: "a filter reaches through all channels, and has a bias.",
                side * side * filters + filters: "a filter reaches through all input channels.",
                side * side * channels + 1: "these are the parameters of one filter.",
                weights + int(np.prod(expected)): "the bias is shared by all places.",
                (weights + filters) * places: "the weights are shared by all places.",
                weights + 1: "every filter has a bias of its own.",
                weights: "every filter has a bias too.",
            }
            raise Hint(f"{case}: {reasons.get(parameters, f'not {parameters:g} parameters.')}")
    return "Your function gives the three convolution rows of the table, and any other."


@check
def check_multiply_adds(multiply_adds: Callable) -> str:
    """Check a function that counts the multiply-adds of a convolution for one image."""
    for shape, filters, side in _CONVOLUTIONS:
        value = number(call(multiply_adds, shape, filters, side), "The result")
        layer = _layer(shape, filters, side)
        expected = layer.multiply_adds()
        if value == expected:
            continue
        height, width, channels = shape
        places = layer.output_shape[1] * layer.output_shape[2]
        per_place = side * side * channels * filters
        reasons = {
            per_place: "this is one place of the output; the kernel visits every place.",
            per_place + filters: "these are the parameters; each works once at every place.",
            per_place * height * width: "count the places of the output, not of the input.",
            side * side * filters * places: "each product runs through all input channels.",
            side * side * channels * places: "that is the work of one filter.",
            2 * expected: "a multiplication with its addition counts as one here.",
            expected + places * filters: "adding the bias is no multiply-add.",
        }
        reason = reasons.get(value, f"not {value:g}.")
        raise Hint(f"For an input of {shape}, {filters} filters, {side}×{side}: {reason}")
    return "Places × window × input channels × filters."


@check
def check_dense_as_convolution(dense_as_convolution: Callable) -> str:
    """Check a function that turns the weights of dense_1 into a 3×3 convolution kernel."""
    random = np.random.default_rng(10)
    x = random.normal(size=(2, 3, 3, 64))
    w = random.normal(size=(576, 64))
    kernel = array_of_shape(call(dense_as_convolution, w), (3, 3, 64, 64), "The kernel")
    if np.array_equal(kernel, w.reshape(3, 3, 64, 64)):
        dense = x.reshape(2, 576) @ w
        convolution = np.einsum("nuvc,uvco->no", x, kernel)
        assert np.allclose(dense, convolution)
        return "One window fits, so the convolution computes the dense layer's sums exactly."
    wrong = {
        "The kernel is flipped. Layers do not flip: they correlate.": w.reshape(3, 3, 64, 64)[
            ::-1, ::-1
        ],
        "You read the 576 inputs channel by channel. Flatten writes pixel by pixel, all channels "
        "of a pixel next to each other.": w.reshape(64, 3, 3, 64).transpose(1, 2, 0, 3),
        "You exchanged rows and columns of the window.": w.reshape(3, 3, 64, 64).swapaxes(0, 1),
        "You exchanged inputs and outputs: the last axis of a kernel is its filters.": w.reshape(
            3, 3, 64, 64
        ).swapaxes(2, 3),
        "You transposed the matrix first: its rows are already the inputs.": w.T.reshape(
            3, 3, 64, 64
        ),
        "Fortran order runs through the first axis fastest; Flatten through the last.": w.reshape(
            3, 3, 64, 64, order="F"
        ),
    }
    for hint, mistake in wrong.items():
        if np.array_equal(kernel, mistake):
            raise Hint(hint)
    if np.array_equal(np.sort(kernel, axis=None), np.sort(w, axis=None)):
        raise Hint("All weights are there, but not in the places where Flatten reads them.")
    raise Hint("The kernel should hold the same weights in a new arrangement, and nothing else.")


def _text_network(padding: str) -> models.Sequential:
    return models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, (3, 3), padding=padding),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), padding=padding),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), padding=padding),
            layers.Flatten(),
            layers.Dense(64),
            layers.Dense(10),
        ]
    )


@check
def check_same_variant(answers: dict) -> str:
    """Check what was predicted for the network with ``padding="same"`` in every convolution."""
    *_, flatten, dense_1, dense_2 = same = _text_network("same").layers
    conv2d_2 = same[2]
    expected = {
        "flattened": flatten.output_shape[1],
        "parameters": sum(layer.count_params() for layer in same),
        "conv2d_2_multiply_adds": conv2d_2.multiply_adds(),
    }
    if not isinstance(answers, dict) or set(answers) != set(expected):
        raise Hint(f"Fill in a dictionary with the keys {', '.join(expected)}.")
    got = {name: number(value, name) for name, value in answers.items()}
    valid = _text_network("valid").layers
    hints = {
        "flattened": {
            valid[5].output_shape[1]: "With padding, 28 stays 28; only the poolings shrink it.",
            7 * 7: "That is the number of places. Each has 64 channels.",
            28 * 28 * 64: "The two poolings still halve.",
            6 * 6 * 64: "28 → 28 → 14 → 14 → 7: no place is lost on the way.",
        },
        "parameters": {
            sum(layer.count_params() for layer in valid): "Padding adds no weight to a "
            "convolution, but Flatten hands dense_1 more inputs.",
            expected["parameters"] - 64: "dense_1 has 64 biases.",
            sum(layer.count_params() for layer in same[:5]): "These are the convolutions, which "
            "stay the same. Add the dense layers.",
            expected["parameters"] - dense_2.count_params(): "dense_2 is missing.",
            dense_1.count_params(): "That is dense_1 alone.",
        },
        "conv2d_2_multiply_adds": {
            valid[2].multiply_adds(): "This is the valid network's number, with 11×11 places.",
            28 * 28 * 9 * 32 * 64: "A pooling comes before it: it sees 14×14 places.",
            conv2d_2.count_params(): "These are its parameters.",
            2 * expected["conv2d_2_multiply_adds"]: "A multiplication with its addition is one.",
        },
    }
    for name, value in expected.items():
        if got[name] != value:
            raise Hint(f"{name}: {hints[name].get(got[name], f'it is not {got[name]:g}.')}")
    return "The convolutions keep their weights, and dense_1 gets more than five times as many."
