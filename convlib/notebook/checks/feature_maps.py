"""Checks of chapter 3: the depth of filters, layouts in memory, the bias, 1×1 convolutions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlib import functional, layers, models
from convlib.notebook.exercises import Hint, array_of_shape, call, check, number


def _parameters(channels: int, filters: int) -> int:
    model = models.Sequential([layers.Input((28, 28, channels)), layers.Conv2D(filters, (3, 3))])
    return model.count_params()


@check
def check_parameters(answers: dict) -> str:
    """Check the numbers of parameters of the text's first two layers, and of one for colours."""
    cases = {"first": (1, 32), "second": (32, 64), "first_in_colour": (3, 32)}
    if not isinstance(answers, dict) or set(answers) != set(cases):
        raise Hint(f"Fill in a dictionary with the keys {', '.join(cases)}.")
    got = {name: number(value, name) for name, value in answers.items()}
    for name, (channels, filters) in cases.items():
        expected = _parameters(channels, filters)
        weights = 9 * channels * filters
        # Where two mistakes give the same number, as with one channel, the last one counts.
        reasons = {
            9 * filters: "a filter has a slice for each input channel, and a bias.",
            9 * filters + filters: "a filter has a slice for each input channel.",
            9 * channels + 1: "that is one filter; the layer has many.",
            weights + 1: "every filter has a bias of its own.",
            weights + filters * channels: "a filter has one bias, not one for each slice.",
            weights + 26 * 26 * filters: "the bias of a filter is the same at every place.",
            weights: "every filter has a bias too.",
        }
        if got[name] != expected:
            raise Hint(f"{name}: {reasons.get(got[name], f'it is not {got[name]:g}.')}")
    return "Window × input channels × filters, and a bias for each filter."


@check
def check_channels_first(to_channels_first: Callable) -> str:
    """Check a function that moves the channels from the end to the second place."""
    random = np.random.default_rng(3)
    for shape in ((2, 4, 6, 3), (1, 5, 5, 5)):
        x = random.normal(size=shape)
        expected = x.transpose(0, 3, 1, 2)
        result = np.asarray(call(to_channels_first, x))
        wrong_orders = {
            "This is still the order you were given.": (0, 1, 2, 3),
            "Height and width have changed places: the images lie on their side.": (0, 3, 2, 1),
            "The samples stay in front; the channels come second.": (3, 0, 1, 2),
            "This is the way from NCHW back to NHWC. Name for each new axis the old one that it "
            "was.": (0, 2, 3, 1),
        }
        for hint, order in wrong_orders.items():
            if np.array_equal(result, x.transpose(order)):
                raise Hint(hint)
        result = array_of_shape(result, expected.shape, "The result")
        if np.array_equal(result, x.reshape(expected.shape)):
            raise Hint(
                "The shape is right and the numbers are scrambled: reshape keeps the order in "
                "memory, so a row of your channel holds several channels of a pixel. Axes have "
                "to change places."
            )
        if not np.array_equal(result, expected):
            if np.array_equal(result, expected[:, ::-1]):
                raise Hint("The channels come in reverse order.")
            raise Hint("result[n, c, i, j] should be x[n, i, j, c] for all indices.")
    return "result[n, c, i, j] is x[n, i, j, c]. Nothing is copied: NumPy only notes the new order."


@check
def check_response_to_constant(response_to_constant: Callable) -> str:
    """Check a function that says what a layer answers to an image that is the same everywhere."""
    random = np.random.default_rng(3)
    cases = [(0.5, (3, 3, 2, 4)), (0.0, (3, 3, 2, 4)), (2.0, (5, 5, 3, 3))]
    for value, shape in cases:
        w, b = random.normal(size=shape), random.normal(size=shape[3])
        image = np.full((1, shape[0], shape[1], shape[2]), value)
        expected = functional.conv2d(image, w, b, backend="reference").ravel()
        result = np.asarray(call(response_to_constant, value, w, b))
        if result.ndim == 4 and result.shape[-1] == shape[3]:
            raise Hint("One vector is enough, of shape (filters,): all places are alike.")
        if result.shape == (shape[2],) and shape[2] != shape[3]:
            raise Hint("You kept the channels of the input. They are summed; the filters remain.")
        result = array_of_shape(result, expected.shape, "The vector")
        if np.allclose(result, expected, rtol=1e-9, atol=1e-9):
            continue
        weights = w.sum(axis=(0, 1, 2))
        mistakes = {
            "the bias is missing. It is all that is left when the image is blank.": value * weights,
            "the ReLU was to be left out.": np.maximum(expected, 0),
            "the bias does not depend on the image: it is not multiplied by value.": value
            * (weights + b),
            "value is missing: a brighter image gets a larger response.": weights + b,
            "a filter has one bias, not one for each weight.": value * weights
            + b * np.prod(shape[:3]),
            "a filter has one bias, not one for each channel.": value * weights + b * shape[2],
            "take the sum of the weights, not their mean.": value * w.mean(axis=(0, 1, 2)) + b,
            "the bias is added, not subtracted.": value * weights - b,
            "only one input channel was summed. A filter adds all of them.": value
            * w[:, :, 0].sum(axis=(0, 1))
            + b,
            "you summed over the filters and kept the channels.": value * w.sum(axis=(0, 1, 3)) + b
            if shape[2] == shape[3]
            else np.full(shape[3], np.nan),
        }
        for hint, mistake in mistakes.items():
            if np.allclose(result, mistake, rtol=1e-9, atol=1e-9):
                raise Hint(f"For value {value:g}: {hint}")
        raise Hint(
            f"For value {value:g} the vector is not right. Write the sum of the definition with "
            "x replaced by value, and take value out of it."
        )
    return "A blank image is answered by the bias alone: it says how easily a filter responds."


@check
def check_one_by_one(one_by_one: Callable) -> str:
    """Check a function that computes a 1×1 convolution as one matrix product."""
    random = np.random.default_rng(3)
    for channels, filters in ((3, 5), (4, 4)):
        x = random.normal(size=(2, 6, 7, channels))
        w, b = random.normal(size=(1, 1, channels, filters)), random.normal(size=filters)
        expected = functional.conv2d(x, w, b, backend="reference")
        result = np.asarray(call(one_by_one, x, w, b))
        if result.shape == (2 * 6 * 7, filters):
            raise Hint("These are the right vectors in a list. Give them back their places.")
        if result.shape in {(1, 1, 2, 6, 7, filters), (1, 1, *expected.shape)}:
            raise Hint("The two window axes of w are left over: use w[0, 0].")
        result = array_of_shape(result, expected.shape, "The output")
        if np.allclose(result, expected, rtol=1e-9, atol=1e-9):
            continue
        matrix = w[0, 0]
        mistakes = {
            "The bias is missing.": x @ matrix,
            "The bias is added once to each output, not once for each channel.": x @ matrix
            + channels * b,
            "The ReLU was to be left out.": np.maximum(expected, 0),
        }
        if channels == filters:
            mistakes["The matrix is transposed: its rows are inputs, its columns filters."] = (
                x @ matrix.T + b
            )
            mistakes["Use the matrix product @; * multiplies element by element."] = (
                x * matrix.sum(axis=0) + b
            )
        for hint, mistake in mistakes.items():
            if np.allclose(result, mistake, rtol=1e-9, atol=1e-9):
                raise Hint(hint)
        raise Hint("At each pixel the output should be x[n, i, j] @ w[0, 0] + b.")
    return "The pixels of all images are the rows of one large matrix: this is a dense layer."
