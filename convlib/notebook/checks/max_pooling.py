"""Checks of chapter 7: sizes, maxima, winners and gradients of pooling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlib import functional, shapes
from convlib.notebook.exercises import Hint, array_of_shape, call, check, number

_WINDOWS = (
    # size, window, stride
    (26, 2, 2),
    (11, 2, 2),
    (11, 3, 2),
    (10, 3, 3),
    (7, 2, 3),
    (12, 4, 1),
    (5, 5, 5),
)


_MISTAKEN_SIZES = {
    # hint: padding, what gives it
    "the first window stands before any step, so add 1.": ("valid", lambda n, k, s: (n - k) // s),
    "a window that does not fit is dropped, so round down.": (
        "valid",
        lambda n, k, s: -(-(n - k) // s) + 1,
    ),
    "the last step must leave room for a whole window: subtract the window from the size first.": (
        "valid",
        lambda n, k, s: n // s,
    ),
    "this rounds up. That is 'same'.": ("valid", lambda n, k, s: -(-n // s)),
    "windows are a step apart, not a window.": ("valid", lambda n, k, s: n // k),
    "add 1 after the division, not before.": ("valid", lambda n, k, s: (n - k + 1) // s),
    "a window that has begun counts, so round up.": ("same", lambda n, k, s: n // s),
    "rounding up adds one only if there is a rest.": ("same", lambda n, k, s: n // s + 1),
    "this drops what does not fit. Under 'same' a window may hang over the edge.": (
        "same",
        lambda n, k, s: (n - k) // s + 1,
    ),
    "only with a step of 1 does 'same' keep the size.": ("same", lambda n, k, s: n),
    "the step decides, not the window.": ("same", lambda n, k, s: -(-n // k)),
}


@check
def check_pooled_size(pooled_size: Callable) -> str:
    """Check a function that counts the windows of a pooling under 'valid' and 'same'."""
    for padding in ("valid", "same"):
        got, expected = [], []
        for size, window, stride in _WINDOWS:
            value = number(call(pooled_size, size, window, stride, padding), "The result")
            if value != int(value):
                raise Hint(f"{value:g} windows? A number of windows is whole: use //, not /.")
            got.append(value)
            valid, same = shapes.output_size(size, window, stride), -(-size // stride)
            expected.append(valid if padding == "valid" else same)
        if got == expected:
            continue
        for hint, (kind, mistake) in _MISTAKEN_SIZES.items():
            if kind == padding and got == [mistake(*case) for case in _WINDOWS]:
                raise Hint(f"Padding {padding!r}: {hint}")
        place = next(k for k, value in enumerate(got) if value != expected[k])
        size, window, stride = _WINDOWS[place]
        raise Hint(
            f"Padding {padding!r}, {size} rows, window {window}, step {stride}: there are "
            f"{expected[place]} windows, not {got[place]:g}."
        )
    return "Valid rounds down and drops, same rounds up and pads."


def _pool_same(values: np.ndarray, size: int, filling: float) -> np.ndarray:
    rows, columns = (-(-side // size) * size for side in values.shape)
    padded = np.full((rows, columns), filling, np.float64)
    padded[: values.shape[0], : values.shape[1]] = values
    blocks = padded.reshape(rows // size, size, columns // size, size)
    return blocks.max(axis=(1, 3))


@check
def check_max_pool(max_pool: Callable) -> str:
    """Check a function that pools maps of any size, also where no number is positive."""
    random = np.random.default_rng(7)
    for shape, size in (((6, 6), 2), ((6, 8), 2), ((7, 9), 2), ((8, 10), 3), ((2, 3), 4)):
        values = -random.uniform(1, 9, size=shape).round(2)
        expected = _pool_same(values, size, -np.inf)
        case = f"For a map of {shape[0]}×{shape[1]} and a window of {size}"
        got = np.asarray(call(max_pool, values, size))
        if got.ndim == 2 and got.shape == tuple(side // size for side in shape) != expected.shape:
            raise Hint(f"{case}: windows that hang over the bottom or the right are missing.")
        if got.dtype.kind == "f" and np.isinf(got).any():
            raise Hint(f"{case}: an infinity is in the result. Every window holds some number.")
        got = array_of_shape(got, expected.shape, f"{case}, the result")
        if np.allclose(got, expected):
            continue
        if np.allclose(got, np.maximum(expected, 0)):
            raise Hint(f"{case}: you compare with 0 at first. A maximum begins at −∞.")
        if np.allclose(got, _pool_same(values, size, 0)):
            raise Hint(f"{case}: the zeros of your padding win. Pad with −∞, or cut the window.")
        if np.allclose(got, _pool_same(np.abs(values), size, -np.inf)):
            raise Hint(f"{case}: the sign got lost. The largest of −5 and −2 is −2.")
        if np.allclose(got, -_pool_same(-values, size, -np.inf)):
            raise Hint(f"{case}: this is the smallest number of each window.")
        if np.isclose(got[0, 0], values[:size, :size].mean()):
            raise Hint(f"{case}: this is the mean of each window.")
        if np.isclose(got[0, 0], expected[0, 0]) and got.size > 1:
            raise Hint(f"{case}: the first window is right. Do the others begin a window apart?")
        raise Hint(f"{case}: the upper left window should give {expected[0, 0]:g}.")
    return "Nothing outside the map can win, whatever the numbers in it."


@check
def check_winners(winners: Callable) -> str:
    """Check a function that says which place of each 2×2 window won; the first of equals does."""
    random = np.random.default_rng(70)
    cases = [np.maximum(random.integers(-3, 3, size=shape), 0.0) for shape in ((12, 8), (8, 14))]
    for values in cases:
        height, width = values.shape
        blocks = values.reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 1, 3)
        windows = blocks.reshape(height // 2, width // 2, 4)
        expected = windows.argmax(axis=2)
        got = array_of_shape(call(winners, values), expected.shape, "The array of places")
        if np.array_equal(got, expected):
            continue
        by_columns = blocks.swapaxes(2, 3).reshape(windows.shape).argmax(axis=2)
        swapped = np.array([0, 2, 1, 3])
        hints = {
            "Of equal numbers the first wins; here the last does. Is a >= in place of a >?": 3
            - windows[..., ::-1].argmax(axis=2),
            "You count down the columns. Places 0 and 1 are the upper row.": by_columns,
            "You look down the columns: of equal numbers the first in the upper row wins.": swapped[
                by_columns
            ],
            "Places 1 and 2 are exchanged: 1 is to the right of 0, and 2 below it.": swapped[
                expected
            ],
            "These are the largest numbers. Return where they are.": windows.max(axis=2),
            "Places count from 0.": expected + 1,
            "That is where the smallest number is.": windows.argmin(axis=2),
            "These are four numbers of one row. A window has two rows.": values.reshape(
                height // 2, width // 2, 4
            ).argmax(axis=2),
        }
        for hint, mistake in hints.items():
            if np.array_equal(got, mistake):
                raise Hint(hint)
        if got.min() < 0 or got.max() > 3:
            raise Hint("A place is 0, 1, 2 or 3: count within the window, not in the whole map.")
        row, column = np.argwhere(got != expected)[0]
        window = windows[row, column].reshape(2, 2).astype(int).tolist()
        raise Hint(f"In the window {window} the winner is at {expected[row, column]}.")
    return "A rule for ties makes forward and backward agree, on every machine."


def _gradients(values: np.ndarray, dy: np.ndarray, size: int, stride: int) -> dict[str, np.ndarray]:
    """Return the right gradient, and by hint what common mistakes give."""
    names = {
        "right": "right",
        "last": "Of equal numbers the first wins; here the last gets the gradient.",
        "all": "All equal numbers get the gradient. Only the first of them may.",
        "overwritten": "Where windows overlap, a number may win twice: add, do not overwrite.",
        "everywhere": "All numbers of a window get its gradient. Only the winner may.",
        "mean": "You share the gradient among the window. That is average pooling.",
        "ones": "Send on the gradient from above, dy, not 1.",
        "stride": "Windows are a step apart, not a window.",
        "product": "The gradient is not multiplied by the number that won: the slope is 1.",
    }
    results = {name: np.zeros_like(values) for name in names}
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            area = (slice(i * stride, i * stride + size), slice(j * stride, j * stride + size))
            window = values[area]
            equal = window == window.max()
            first, last = np.argwhere(equal)[0], np.argwhere(equal)[-1]
            place = tuple(first + (i * stride, j * stride))
            results["right"][place] += dy[i, j]
            results["last"][tuple(last + (i * stride, j * stride))] += dy[i, j]
            results["all"][area] += equal * dy[i, j]
            results["overwritten"][place] = dy[i, j]
            results["everywhere"][area] += dy[i, j]
            results["mean"][area] += dy[i, j] / window.size
            results["ones"][place] += 1
            results["product"][place] += dy[i, j] * values[place]
            corner = (i * size, j * size)
            other = values[corner[0] : corner[0] + size, corner[1] : corner[1] + size]
            if other.size:
                there = np.unravel_index(other.argmax(), other.shape)
                results["stride"][there[0] + corner[0], there[1] + corner[1]] += dy[i, j]
    return {names[name]: value for name, value in results.items()}


@check
def check_max_pool_gradient(max_pool_gradient: Callable) -> str:
    """Check the gradient of max pooling where windows overlap, with ties."""
    random = np.random.default_rng(71)
    for shape, size, stride in (((4, 4), 2, 2), ((7, 7), 3, 2), ((6, 8), 3, 1), ((8, 8), 2, 3)):
        values = random.integers(-3, 4, size=shape).astype(np.float64)
        rows, columns = (shapes.output_size(side, size, stride) for side in shape)
        dy = random.integers(2, 9, size=(rows, columns)).astype(np.float64)
        case = f"{shape[0]}×{shape[1]}, window {size}, step {stride}"
        got = array_of_shape(
            call(max_pool_gradient, values, dy, size, stride), shape, f"{case}: the gradient"
        )
        results = _gradients(values, dy, size, stride)
        expected = results.pop("right")
        batch = values[np.newaxis, ..., np.newaxis], dy[np.newaxis, ..., np.newaxis]
        library = functional.max_pool2d_gradient(*batch, size, strides=stride)[0, ..., 0]
        assert np.array_equal(expected, library)
        if np.allclose(got, expected):
            continue
        for hint, mistake in results.items():
            if np.allclose(got, mistake):
                raise Hint(f"{case}: {hint}")
        if not np.isclose(got.sum(), dy.sum()):
            raise Hint(f"{case}: each gradient goes to one number, so the sums must be equal.")
        raise Hint(f"{case}: the sum is right, but some gradient goes to the wrong place.")
    return "Each window pays its winner, and a number that wins twice is paid twice."
