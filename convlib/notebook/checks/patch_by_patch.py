"""Checks of chapter 4: patches, their products, and mistakes that hide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlib import functional
from convlib.notebook.exercises import Hint, array_of_shape, call, check


def _patches(x: np.ndarray, k: int) -> np.ndarray:
    """Return all patches with their places, as (rows, columns, k, k, channels)."""
    rows, columns = x.shape[0] - k + 1, x.shape[1] - k + 1
    return np.array(
        [[x[i : i + k, j : j + k] for j in range(columns)] for i in range(rows)]
    ).reshape(rows, columns, k, k, x.shape[2])


def _same(got: np.ndarray, expected: np.ndarray) -> bool:
    return got.shape == expected.shape and np.allclose(got, expected, rtol=1e-6, atol=1e-6)


@check
def check_extract_patches(extract_patches: Callable) -> str:
    """Check a function that writes every patch as one row of numbers."""
    random = np.random.default_rng(4)
    for (height, width, channels), k in (((5, 5, 2), 3), ((4, 7, 3), 2), ((5, 5, 1), 5)):
        x = random.normal(size=(height, width, channels))
        patches = _patches(x, k)
        rows, columns, length = *patches.shape[:2], k * k * channels
        expected = patches.reshape(rows, columns, length)
        result = call(extract_patches, x, k)
        case = f"For an input of {x.shape} and windows of {k}×{k}: "
        shape = np.shape(result)
        if shape != expected.shape:
            shapes = {
                patches.shape: "the patches are there. Flatten each: k·k·channels numbers in a "
                "row.",
                (rows * columns, length): "the patches are there, but their places are lost. Keep "
                "rows and columns apart.",
                (rows - 1, columns - 1, length): f"a window of {k} fits {height} − {k} + 1 times "
                f"into {height}, not {height} − {k} times.",
                (height, width, length): "only windows that lie inside the input count here.",
                (rows, columns, k * k): "a patch reaches through all channels.",
                (columns, rows, length): "rows come before columns.",
            }
            hint = shapes.get(shape, f"the result should have shape {expected.shape}.")
            raise Hint(f"{case}{hint} Yours has shape {shape}.")
        got = array_of_shape(result, expected.shape, "The result")
        if _same(got, expected):
            continue
        wrong = {
            "in a patch the channels of a pixel lie next to each other. You wrote channel after "
            "channel.": patches.transpose(0, 1, 4, 2, 3),
            "you exchanged rows and columns within the patch.": patches.swapaxes(2, 3),
            "you exchanged rows and columns of the places.": patches.swapaxes(0, 1),
            "you exchanged rows and columns of the whole input.": patches.transpose(1, 0, 3, 2, 4),
            "the patches are turned by 180°. Read them as they lie.": patches[:, :, ::-1, ::-1],
            "the channels are reversed.": patches[..., ::-1],
            "all patches are the first one: the window must move.": np.broadcast_to(
                patches[0, 0], patches.shape
            ),
        }
        for hint, mistake in wrong.items():
            if _same(got, mistake.reshape(expected.shape)):
                raise Hint(case + hint)
        row, column, _ = np.argwhere(~np.isclose(got, expected))[0]
        raise Hint(f"{case}the patch at ({row}, {column}) is wrong.")
    return "Every place has its row of numbers: pixel by pixel, all channels of a pixel together."


@check
def check_subscripts(subscripts: str) -> str:
    """Check the subscripts that make a convolution of patches and a kernel."""
    if not isinstance(subscripts, str):
        raise Hint(f"The subscripts should be a string, this is a {type(subscripts).__name__}.")
    text = subscripts.replace(" ", "")
    inputs = text.split("->")[0].split(",")
    if len(inputs) != 2:
        raise Hint("There are two arrays, patches and w: two groups of letters with a comma.")
    if [len(letters) for letters in inputs] != [5, 4]:
        raise Hint(
            "One letter for each axis: patches have five, w has four. Yours have "
            f"{len(inputs[0])} and {len(inputs[1])}."
        )
    random = np.random.default_rng(5)
    # Square windows with as many channels as places first: so that wrong letters fit, too.
    for places, k, channels, filters in (((3, 3), 3, 3, 3), ((4, 6), 3, 2, 5)):
        patches = random.normal(size=(*places, k, k, channels))
        w = random.normal(size=(k, k, channels, filters))
        expected = np.tensordot(patches, w, 3)
        try:
            got = np.einsum(text, patches, w)
        except ValueError as error:
            raise Hint(f"np.einsum refuses this: {error}.") from None
        if _same(got, expected):
            continue
        if got.ndim != 3:
            hint = (
                "every axis that is to be summed must be left out after the arrow."
                if got.ndim > 3
                else "row, column and filter must be kept: they stand after the arrow."
            )
            raise Hint(f"The result has {got.ndim} axes, not three: {hint}")
        wrong = {
            "rows of the patch must meet rows of the kernel: two letters are exchanged.": np.einsum(
                "ijvuc,uvco->ijo", patches, w
            ),
            "the filters come last.": np.einsum("ijuvc,uvco->oij", patches, w),
            "the filters come last, not in the middle.": np.einsum("ijuvc,uvco->ioj", patches, w),
            "the row comes before the column.": np.einsum("ijuvc,uvco->jio", patches, w),
        }
        for hint, mistake in wrong.items():
            if _same(got, mistake):
                raise Hint(f"The result has three axes, but {hint}")
        kept = set(text.split("->")[-1]) if "->" in text else set()
        if kept & set(inputs[1][:3]) - set(inputs[0][:2]):
            raise Hint(
                "You keep a letter that stands for an element of the window or a channel, and "
                "sum over a place or a filter."
            )
        raise Hint("A letter that both arrays share must mean the same axis in both.")
    return "Three letters are in both arrays and not in the result: these are summed over."


def _flipped(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _convolution(x, w[::-1, ::-1], b)


def _without_bias(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _convolution(x, w, 0 * b)


def _channels_reversed(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _convolution(x, w[:, :, ::-1], b)


def _too_short(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    w = w.copy()
    w[-1], w[:, -1] = 0, 0
    return _convolution(x, w, b)


def _swapped(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _convolution(x, w.swapaxes(0, 1), b)


def _convolution(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    return functional.conv2d(x[None], w, b, backend="reference")[0]


PLANTED = {
    "flips the kernel": _flipped,
    "forgets the bias": _without_bias,
    "reverses the channels": _channels_reversed,
    "stops one short in the window": _too_short,
    "swaps rows and columns of the kernel": _swapped,
}
"""Five mistakes in a convolution, by what they do; each is called with x, w and b."""


@check
def check_convolution(convolution: Callable) -> str:
    """Check a convolution of one image, and name the mistake in a wrong one."""
    random = np.random.default_rng(6)
    for size, window, channels, filters in (
        ((6, 5), (3, 3), 3, 2),
        ((5, 7), (2, 3), 2, 4),
        ((4, 4), (1, 1), 5, 3),
    ):
        x = random.normal(size=(*size, channels))
        w = random.normal(size=(*window, channels, filters))
        b = random.normal(size=filters)
        expected = _convolution(x, w, b)
        result = call(convolution, x, w, b)
        rows, columns = expected.shape[:2]
        case = f"For x {x.shape} and w {w.shape}: "
        shape = np.shape(result)
        if shape != expected.shape:
            shapes = {
                (rows - 1, columns - 1, filters): f"a window of {window[0]} fits {size[0]} − "
                f"{window[0]} + 1 times into {size[0]}. The range of the places ends one short.",
                (*size, filters): "only windows that lie inside the input count here.",
                (columns, rows, filters): "rows come before columns.",
                (filters, rows, columns): "the filters come last.",
                (rows, columns): "every filter makes a channel of the output.",
                (1, *expected.shape): "there is one image here, and no axis of samples.",
                (rows, columns, channels): "the last axis of the output is the filters, not the "
                "channels of the input.",
            }
            hint = shapes.get(shape, f"the result should have shape {expected.shape}.")
            raise Hint(f"{case}{hint} Yours has shape {shape}.")
        got = array_of_shape(result, expected.shape, "The result")
        if _same(got, expected):
            continue
        elements = w[..., 0].size
        wrong = {
            "the kernel is flipped. Layers slide it as it is.": _flipped(x, w, b),
            "the bias is missing: one number for each filter.": _without_bias(x, w, b),
            "the bias is added once for each product. Add it once for each output.": _without_bias(
                x, w, b
            )
            + elements * b,
            "the channels are in the wrong order: channel c of x meets channel c of "
            "w.": _channels_reversed(x, w, b),
            "the last row and column of the window are not used: a range ends one "
            "short.": _too_short(x, w, b),
            "the last row of the window is not used: a range ends one short.": _convolution(
                x, np.concatenate([w[:-1], 0 * w[-1:]]), b
            ),
            "the last column of the window is not used: a range ends one short.": _convolution(
                x, np.concatenate([w[:, :-1], 0 * w[:, -1:]], axis=1), b
            ),
            "only the first channel is used. A filter reaches through all of them.": _convolution(
                x[..., :1], w[:, :, :1], b
            ),
            "the last channel is not used: a range ends one short.": _convolution(
                x[..., :-1], w[:, :, :-1], b
            ),
            "the bias is subtracted.": _convolution(x, w, -b),
            "only the last product is kept: sums must grow, with +=.": x[
                window[0] - 1 :, window[1] - 1 :, -1:
            ]
            * w[-1, -1, -1]
            + b,
        }
        if window[0] == window[1]:
            wrong[
                "rows and columns of the kernel are exchanged: w[u, v] belongs to x[i + u, j + v]."
            ] = _swapped(x, w, b)
        for hint, mistake in wrong.items():
            if _same(got, mistake):
                raise Hint(case + hint)
        i, j, o = np.argwhere(~np.isclose(got, expected))[0]
        raise Hint(
            f"{case}y[{i}, {j}, {o}] is wrong. It is b[{o}] and the sum over u, v and c of "
            f"x[{i} + u, {j} + v, c] · w[u, v, c, {o}]."
        )
    return "None of the planted mistakes is in it."


@check
def check_test_case(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> str:
    """Check that an example tells a right convolution from five wrong ones."""
    x, w, b = np.asarray(x), np.asarray(w), np.asarray(b)
    for name, array, axes in (("x", x, 3), ("w", w, 4), ("b", b, 1)):
        if array.dtype.kind not in "biuf" or array.ndim != axes or array.size == 0:
            raise Hint(f"{name} should be an array of numbers with {axes} axes, none empty.")
        if not np.isin(array, (0, 1)).all():
            raise Hint(f"Only zeros and ones are allowed, and {name} has others.")
    if w.shape[0] != w.shape[1] or w.shape[0] < 2:
        raise Hint(f"The window should be square and at least 2×2, yours is {w.shape[:2]}.")
    if w.shape[2] != x.shape[2] or w.shape[3] != len(b):
        raise Hint(
            "x has (height, width, channels), w (k, k, channels, filters) and b (filters,): "
            f"{x.shape}, {w.shape} and {b.shape} do not fit together."
        )
    if min(x.shape[:2]) < w.shape[0]:
        raise Hint("The window does not fit into x.")
    x, w, b = x.astype(float), w.astype(float), b.astype(float)
    right = _convolution(x, w, b)
    reasons = {
        "flips the kernel": "the kernel looks the same after half a turn where it matters.",
        "forgets the bias": "with a bias of zero nobody misses it.",
        "reverses the channels": "all channels say the same, or there is only one.",
        "stops one short in the window": "the last row and the last column of the window add "
        "nothing.",
        "swaps rows and columns of the kernel": "the kernel, or what it meets, is the same when "
        "it is mirrored at its diagonal.",
    }
    survivors = [name for name, wrong in PLANTED.items() if np.allclose(wrong(x, w, b), right)]
    if survivors:
        first = survivors[0]
        others = len(survivors) - 1
        more = f" (So do {others} others.)" if others > 1 else " (So does one other.)" * others
        raise Hint(f"The one that {first} gets through: {reasons[first]}{more}")
    return "All five are caught. Keep such an example: it is a good test."
