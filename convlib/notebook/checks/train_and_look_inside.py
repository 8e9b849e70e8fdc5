"""Checks of chapter 14: intervals, the optimizer, silent filters and shifted digits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from convlib.notebook.exercises import Hint, array_of_shape, call, check, number

_Z = 1.96


def _wilson(correct: int, total: int) -> tuple[float, float]:
    share, spread = correct / total, _Z**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return centre - half, centre + half


@check
def check_wilson_interval(wilson_interval: Callable) -> str:
    """Check a function that gives Wilson's 95 % interval of a share."""
    for correct, total in ((9908, 10_000), (10, 10), (0, 25), (3, 7)):
        interval = call(wilson_interval, correct, total)
        if not isinstance(interval, tuple | list | np.ndarray) or len(interval) != 2:
            raise Hint("Return two numbers, the lower and the upper end.")
        low, high = (number(end, "An end of the interval") for end in interval)
        case = f"For {correct} of {total}"
        expected = _wilson(correct, total)
        if np.allclose((low, high), expected, rtol=0, atol=1e-9):
            continue
        if np.allclose((high, low), expected, rtol=0, atol=1e-9):
            raise Hint(f"{case}: the lower end comes first.")
        if np.allclose((low / 100, high / 100), expected, rtol=0, atol=1e-9):
            raise Hint(f"{case}: give shares between 0 and 1, not per cent.")
        share, spread = correct / total, _Z**2 / total
        half = _Z * math.sqrt(share * (1 - share) / total)
        centre = (share + spread / 2) / (1 + spread)
        if np.allclose((low, high), (share - half, share + half), rtol=0, atol=1e-9):
            raise Hint(
                f"{case}: this is the simple interval p ± z·√(p(1−p)/n). Wilson's also moves the "
                "centre towards one half, and is never of length zero."
            )
        if np.allclose((low + high) / 2, share, rtol=0, atol=1e-9):
            raise Hint(f"{case}: the centre is not p itself; it moves towards one half.")
        if np.isclose((low + high) / 2, centre, rtol=0, atol=1e-9):
            raise Hint(
                f"{case}: the centre is right, the length is not. Is z² / 4n² under the root?"
            )
        if np.isclose((low + high) / 2, share + spread / 2, rtol=0, atol=1e-9):
            raise Hint(f"{case}: divide by 1 + z² / n.")
        raise Hint(
            f"{case}: it is {expected[0]:.4f} to {expected[1]:.4f}, not {low:.4f} to {high:.4f}."
        )
    return "It never leaves 0 to 1, and ten right out of ten do not become certainty."


def _rmsprop(
    w: np.ndarray, dw: np.ndarray, mean_square: np.ndarray, swapped: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    rho = 0.1 if swapped else 0.9
    mean_square = rho * mean_square + (1 - rho) * dw**2
    return w - 0.001 * dw / np.sqrt(mean_square + 1e-7), mean_square


@check
def check_rmsprop_step(rmsprop_step: Callable) -> str:
    """Check one step of RMSprop with Keras' defaults."""
    random = np.random.default_rng(14)
    w, dw = random.normal(size=(2, 6))
    mean_square = random.uniform(0.5, 2, size=6)
    # The last two gradients are so small that the place of epsilon shows.
    dw[-2:], mean_square[-2:] = (3e-4, -1e-4), (0, 1e-8)
    result = call(rmsprop_step, w, dw, mean_square)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise Hint("Return two arrays: the new weights and the new mean square.")
    new_mean = array_of_shape(result[1], (6,), "The new mean square")
    expected_w, expected_mean = _rmsprop(w, dw, mean_square)
    if not np.allclose(new_mean, expected_mean, rtol=1e-9, atol=0):
        wrong_means = {
            "rho weights the past, 1 − rho the new gradient: you exchanged them.": _rmsprop(
                w, dw, mean_square, swapped=True
            )[1],
            "Average the squares of the gradients, not the gradients.": 0.9 * mean_square
            + 0.1 * dw,
            "The new square enters with 1 − rho.": 0.9 * mean_square + dw**2,
            "The mean square did not change. It remembers the gradients.": mean_square,
        }
        for hint, wrong in wrong_means.items():
            if np.allclose(new_mean, wrong, rtol=1e-9, atol=0):
                raise Hint(hint)
        raise Hint("The mean square is rho · old + (1 − rho) · gradient².")
    new_w = array_of_shape(result[0], (6,), "The new weights")
    if not np.allclose(new_w, expected_w, rtol=1e-9, atol=1e-15):
        wrong_weights = {
            "The step goes downhill: subtract it.": 2 * w - expected_w,
            "Divide by the root of the mean square.": w - 0.001 * dw / (new_mean + 1e-7),
            "Divide by the root of the new mean square; you used the old one.": w
            - 0.001 * dw / np.sqrt(mean_square + 1e-7),
            "Keras adds epsilon under the root. Your version is PyTorch's, and differs where "
            "gradients are tiny.": w - 0.001 * dw / (np.sqrt(new_mean) + 1e-7),
            "Where is the learning rate?": w - dw / np.sqrt(new_mean + 1e-7),
            "This is plain gradient descent: the step is to be divided.": w - 0.001 * dw,
        }
        for hint, wrong in wrong_weights.items():
            if np.allclose(new_w, wrong, rtol=1e-9, atol=1e-15):
                raise Hint(hint)
        raise Hint("The step is learning_rate · gradient / √(mean square + epsilon).")
    return "Each weight gets steps of about the same length, whatever the size of its gradient."


@check
def check_silent_filters(silent_filters: Callable) -> str:
    """Check a function that lists the channels which answer nothing, anywhere, to no image."""
    random = np.random.default_rng(15)
    outputs = np.maximum(random.normal(size=(12, 5, 4, 9)), 0.01)
    outputs[..., [2, 7]] = 0
    outputs[1:, :, :, 4] = 0  # speaks for one image only
    outputs[:, 1:, :, 5] = 0  # speaks in one row only
    outputs[..., 8] = 1e-6  # whispers
    value = call(silent_filters, outputs)
    array = np.asarray(value)
    if array.dtype == bool and array.shape == (9,):
        array = np.flatnonzero(array)
    if array.ndim != 1:
        raise Hint(
            f"Return one list of channel numbers; yours has {array.ndim} dimensions. "
            "Which axes must a filter be silent along?"
        )
    if array.dtype.kind not in "iu" and array.size:
        raise Hint("Return the numbers of the silent channels, as integers.")
    got = sorted(int(channel) for channel in array)
    if got == [2, 7]:
        return "Silent for every image, in every place."
    if got == [0, 1, 3, 4, 5, 6, 8]:
        raise Hint("These are the filters that speak.")
    if 8 in got:
        raise Hint("Channel 8 whispers, 0.000001 everywhere. That is not silence.")
    if 4 in got:
        raise Hint("Channel 4 is silent for most images but not for all.")
    if 5 in got:
        raise Hint("Channel 5 is silent in most rows but not in all.")
    if set(got) >= set(range(10)) or max(got, default=0) > 8:
        raise Hint("The channels are the last axis, and here there are nine.")
    raise Hint(f"Channels 2 and 7 of the test case are silent; you list {got}.")


@check
def check_shift(shift: Callable) -> str:
    """Check a function that moves images down and to the right, and fills with paper."""
    random = np.random.default_rng(16)
    images = random.uniform(0.1, 1, size=(2, 6, 7))
    for down, right in ((0, 2), (1, 0), (2, 1), (0, 0), (-1, 0), (0, -3)):
        got = array_of_shape(call(shift, images, down, right), images.shape, "The result")
        expected = _shifted(images, down, right)
        if np.array_equal(got, expected):
            continue
        case = f"shift(images, {down}, {right})"
        if np.array_equal(got, np.roll(images, (down, right), axis=(1, 2))):
            raise Hint(f"{case}: what leaves on one side comes back on the other. Fill with zeros.")
        if np.array_equal(got, _shifted(images, -down, -right)):
            raise Hint(f"{case}: it moves the wrong way. Rows count downwards.")
        if np.array_equal(got, _shifted(images, right, down)):
            raise Hint(f"{case}: rows and columns are exchanged.")
        if np.array_equal(got, images):
            raise Hint(f"{case}: nothing has moved.")
        if min(down, right) < 0:
            raise Hint(f"{case}: a negative shift moves up, or to the left.")
        raise Hint(
            f"{case}: the pixel in row 0, column 0 should come to row {down}, column {right}."
        )
    return "Now move the test set, and ask both networks."


def _shifted(images: np.ndarray, down: int, right: int) -> np.ndarray:
    rows, columns = images.shape[1:]
    result = np.zeros_like(images)
    result[:, max(down, 0) : rows + min(down, 0), max(right, 0) : columns + min(right, 0)] = images[
        :, max(-down, 0) : rows + min(-down, 0), max(-right, 0) : columns + min(-right, 0)
    ]
    return result
