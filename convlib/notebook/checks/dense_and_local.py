"""Checks of chapter 2: numbers of weights, the matrix of a convolution, permuted pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlib import functional
from convlib.notebook.exercises import Hint, array_of_shape, call, check, number

_WINDOWS = ((28, 28, 3), (9, 7, 2), (6, 11, 5))  # height and width of an image, side of a window


@check
def check_count_weights(count_weights: Callable) -> str:
    """Check a function that counts the weights of a dense, a local and a shared layer."""
    names = ("dense", "local", "local and shared")
    for height, width, side in _WINDOWS:
        counts = call(count_weights, height, width, side)
        if not isinstance(counts, tuple | list) or len(counts) != 3:
            raise Hint("Return three numbers: dense, local, local and shared.")
        got = [number(count, name) for name, count in zip(names, counts, strict=True)]
        pixels, window = height * width, side * side
        rows, columns = height - side + 1, width - side + 1
        places = rows * columns
        one_less = (height - side) * (width - side)
        expected = (places * pixels, places * window, window)
        reasons = (
            {
                pixels * pixels: f"a window fits {rows} times, not {height} times, into the rows.",
                one_less * pixels: f"a window of {height} rows would fit once, not zero times.",
                pixels: "these are the weights of one output.",
                places: "that is the number of outputs; each has a weight for every pixel.",
                places * pixels + places: "biases are not to be counted.",
                places * window: "in a dense layer each output sees all pixels.",
            },
            {
                pixels * window: f"a window fits {rows} times, not {height} times, into the rows.",
                one_less * window: f"a window of {height} rows would fit once, not zero times.",
                places * side: "a window has rows and columns.",
                window: "without sharing, every output has weights of its own.",
                places * window + places: "biases are not to be counted.",
                places * pixels: "a local output has weights only for the pixels in its window.",
            },
            {
                side: "a window has rows and columns.",
                window + 1: "the bias is not to be counted.",
                places * window: "all outputs share the same weights.",
                places: "that is the number of outputs, which all share the same weights.",
            },
        )
        for name, value, truth, hints in zip(names, got, expected, reasons, strict=True):
            if value != truth:
                hint = hints.get(value, f"it is not {value:g}.")
                case = f"{height}×{width} pixels and a window of {side}×{side}"
                raise Hint(f"{name}, for {case}: {hint}")
    return "Being local divides by the image's size in windows, sharing by the number of outputs."


def _matrix(kernel: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the matrix of a convolution, found by convolving single pixels."""
    pixels = np.eye(height * width).reshape(-1, height, width, 1)
    outputs = functional.conv2d(pixels, kernel[..., None, None], backend="reference")
    return outputs.reshape(height * width, -1).T


@check
def check_convolution_matrix(convolution_matrix: Callable) -> str:
    """Check a function that writes a convolution as a matrix."""
    random = np.random.default_rng(2)
    for (kernel_height, kernel_width), height, width in (((3, 3), 5, 7), ((2, 3), 6, 5)):
        kernel = random.permutation(np.arange(1.0, kernel_height * kernel_width + 1))
        kernel = kernel.reshape(kernel_height, kernel_width)
        expected = _matrix(kernel, height, width)
        got = np.asarray(call(convolution_matrix, kernel, height, width))
        rows, columns = height - kernel_height + 1, width - kernel_width + 1
        case = f"{kernel_height}×{kernel_width} kernel, {height}×{width} image"
        if got.shape != expected.shape:
            if got.shape == expected.T.shape:
                raise Hint(f"{case}: outputs are rows of the matrix, pixels are its columns.")
            if got.shape == (height * width, height * width):
                raise Hint(
                    f"{case}: the window must fit inside the image, so there are only "
                    f"{rows}·{columns} outputs."
                )
            if got.shape == (rows, columns, height, width):
                raise Hint(f"{case}: make one row of each output, and one column of each pixel.")
        matrix = array_of_shape(got, expected.shape, f"{case}: the matrix")
        if np.array_equal(matrix, expected):
            continue
        apart = expected.reshape(rows, columns, -1)
        wrong = {
            "the kernel is flipped. Layers do not flip: they correlate.": _matrix(
                kernel[::-1, ::-1], height, width
            ),
            "outputs are to be counted row after row, not column after column.": apart.swapaxes(
                0, 1
            ).reshape(expected.shape),
            "pixels are to be counted row after row, not column after column.": expected.reshape(
                -1, height, width
            )
            .swapaxes(1, 2)
            .reshape(expected.shape),
            "every output has the window of the first one: it has to move.": np.broadcast_to(
                expected[0], expected.shape
            ),
            "the next row of pixels begins `width` columns further on, not as many as there are "
            "outputs in a row.": _with_stride(kernel, height, width, columns),
            "the window's rows lie next to each other: the second row of a window belongs "
            "`width` columns further on.": _in_one_run(kernel, height, width),
        }
        for hint, mistake in wrong.items():
            if np.array_equal(matrix, mistake):
                raise Hint(f"{case}: {hint}")
        if kernel_height == kernel_width and np.array_equal(
            matrix, _matrix(kernel.T, height, width)
        ):
            raise Hint(f"{case}: rows and columns of the kernel are exchanged.")
        if np.array_equal(matrix != 0, expected != 0):
            raise Hint(f"{case}: the zeros are right, but some weights are in each other's place.")
        if np.count_nonzero(matrix) < np.count_nonzero(expected):
            raise Hint(
                f"{case}: {np.count_nonzero(matrix)} places are not zero, but each of the "
                f"{rows * columns} outputs needs {kernel.size}."
            )
        first = int(np.flatnonzero((matrix != expected).any(axis=1))[0])
        raise Hint(
            f"{case}: row {first}, of the output in row {first // columns}, column "
            f"{first % columns}, is not right yet."
        )
    return "Your matrix convolves images and kernels of any size."


def _with_stride(kernel: np.ndarray, height: int, width: int, stride: int) -> np.ndarray:
    rows, columns = height - kernel.shape[0] + 1, width - kernel.shape[1] + 1
    matrix = np.zeros((rows * columns, height * width))
    for output in range(rows * columns):
        i, j = divmod(output, columns)
        for (u, v), weight in np.ndenumerate(kernel):
            matrix[output, (i + u) * stride + j + v] = weight
    return matrix


def _in_one_run(kernel: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = height - kernel.shape[0] + 1, width - kernel.shape[1] + 1
    matrix = np.zeros((rows * columns, height * width))
    for output in range(rows * columns):
        i, j = divmod(output, columns)
        start = i * width + j
        matrix[output, start : start + kernel.size] = kernel.ravel()[: height * width - start]
    return matrix


@check
def check_weights_after_permutation(weights_after_permutation: Callable) -> str:
    """Check a function that adapts dense weights to images whose pixels changed places."""
    random = np.random.default_rng(2)
    w = random.normal(size=(12, 5))
    order = random.permutation(12)
    got = call(weights_after_permutation, w, order)
    if np.shape(got) == (5, 12):
        raise Hint("The weights keep their shape: pixels first, units second.")
    got = array_of_shape(got, w.shape, "The new weights")
    x = random.normal(size=(3, 12))
    if np.allclose(x[:, order] @ got, x @ w):
        return "Pixel k of the new image is pixel order[k] of the old one, and brings its weights."
    inverse = np.argsort(order)
    wrong = {
        "These are the old weights, so each pixel meets another pixel's weights.": w,
        "This undoes the permutation twice over: which old pixel is pixel k of the new image?": w[
            inverse
        ],
        "This reverses the pixels. Use `order`.": w[::-1],
    }
    for hint, mistake in wrong.items():
        if np.array_equal(got, mistake):
            raise Hint(hint)
    if np.array_equal(np.sort(got, axis=1), np.sort(w, axis=1)):
        raise Hint("The units keep their places; it is the pixels that moved.")
    if np.array_equal(np.sort(got, axis=0), np.sort(w, axis=0)):
        raise Hint("These are the right rows in the wrong order.")
    raise Hint("Every weight is to be kept. Only its row may change.")


@check
def check_mirrored_kernel(mirrored_kernel: Callable) -> str:
    """Check a function that adapts a kernel to mirrored images."""
    random = np.random.default_rng(2)
    w = random.normal(size=(3, 3, 2, 4))
    got = array_of_shape(call(mirrored_kernel, w), w.shape, "The kernel")
    x = random.normal(size=(2, 6, 7, 2))
    expected = functional.conv2d(x, w, backend="reference")[:, :, ::-1]
    if np.allclose(functional.conv2d(x[:, :, ::-1], got, backend="reference"), expected):
        return "So the set of all convolutions is as good on mirrored images as on the originals."
    wrong = {
        "This is the kernel as it was. What it finds on the left is now on the right.": w,
        "This turns images upside down: `x[:, :, ::-1]` reverses the columns.": w[::-1],
        "This turns the kernel by 180 degrees. Only the columns are reversed.": w[::-1, ::-1],
        "This exchanges rows and columns of the kernel.": w.swapaxes(0, 1),
        "This reverses the channels. They keep their order.": w[:, :, ::-1],
        "This reverses the filters. They keep their order.": w[..., ::-1],
    }
    for hint, mistake in wrong.items():
        if np.array_equal(got, mistake):
            raise Hint(hint)
    raise Hint("The same weights are needed, with an axis reversed: which axis of the kernel?")
