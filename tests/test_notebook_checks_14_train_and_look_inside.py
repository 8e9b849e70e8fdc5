"""Wrong answers to the exercises of chapter 14, and the hints they get."""

import math

import numpy as np
import pytest

from convlib.kernels import reference
from convlib.kernels.scratch import Scratch
from convlib.notebook.checks import train_and_look_inside as checks

Z = 1.96


def wilson(correct, total):
    share = correct / total
    centre = share + Z**2 / (2 * total)
    half = Z * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    return (centre - half) / (1 + Z**2 / total), (centre + half) / (1 + Z**2 / total)


def wald(correct, total):
    share = correct / total
    half = Z * math.sqrt(share * (1 - share) / total)
    return share - half, share + half


def around(centre, half):
    return lambda c, n: (centre(c / n, n) - half(c / n, n), centre(c / n, n) + half(c / n, n))


def wilson_centre(p, n):
    return (p + Z**2 / (2 * n)) / (1 + Z**2 / n)


def wilson_half(p, n):
    return Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)


WRONG_INTERVALS = [
    ("simple interval", wald),
    ("lower end comes first", lambda c, n: wilson(c, n)[::-1]),
    ("not per cent", lambda c, n: tuple(100 * end for end in wilson(c, n))),
    ("moves towards one half", around(lambda p, n: p, wilson_half)),
    ("the length is not", around(wilson_centre, lambda p, n: Z * math.sqrt(p * (1 - p) / n))),
    ("divide by 1", around(lambda p, n: p + Z**2 / (2 * n), wilson_half)),
    ("it is 0.98", lambda c, n: (0.5, 0.6)),
    ("two numbers", lambda c, n: c / n),
    ("one number", lambda c, n: ("a", "b")),
    ("ZeroDivisionError", lambda c, n: 1 / 0),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_INTERVALS)
def test_wrong_intervals(hint, answer):
    result = checks.check_wilson_interval(answer)
    assert not result and hint in repr(result)


def test_the_right_interval():
    assert checks.check_wilson_interval(wilson)


def rmsprop(w, dw, mean_square):
    mean_square = 0.9 * mean_square + 0.1 * dw**2
    return w - 0.001 * dw / np.sqrt(mean_square + 1e-7), mean_square


def rmsprop_with(mean=None, step=None):
    """Return a wrong step, given how it gets its mean square or its weights."""

    def rmsprop_step(w, dw, old):
        new = mean(old, dw) if mean else 0.9 * old + 0.1 * dw**2
        return step(w, dw, old, new) if step else w - 0.001 * dw / np.sqrt(new + 1e-7), new

    return rmsprop_step


WRONG_STEPS = [
    ("exchanged them", rmsprop_with(mean=lambda old, dw: 0.1 * old + 0.9 * dw**2)),
    (
        "not the gradients",
        rmsprop_with(mean=lambda old, dw: 0.9 * old + 0.1 * dw, step=lambda w, g, o, n: w),
    ),
    ("enters with 1", rmsprop_with(mean=lambda old, dw: 0.9 * old + dw**2)),
    ("remembers", rmsprop_with(mean=lambda old, dw: old + 0)),
    ("rho · old", rmsprop_with(mean=lambda old, dw: 0.5 * old + 0.5 * dw**2)),
    ("subtract", rmsprop_with(step=lambda w, g, o, n: w + 0.001 * g / np.sqrt(n + 1e-7))),
    ("by the root of the mean", rmsprop_with(step=lambda w, g, o, n: w - 0.001 * g / (n + 1e-7))),
    ("used the old", rmsprop_with(step=lambda w, g, o, n: w - 0.001 * g / np.sqrt(o + 1e-7))),
    ("PyTorch", rmsprop_with(step=lambda w, g, o, n: w - 0.001 * g / (np.sqrt(n) + 1e-7))),
    ("learning rate", rmsprop_with(step=lambda w, g, o, n: w - g / np.sqrt(n + 1e-7))),
    ("plain gradient", rmsprop_with(step=lambda w, g, o, n: w - 0.001 * g)),
    ("learning_rate · gradient", rmsprop_with(step=lambda w, g, o, n: w - 0.01 * g)),
    ("two arrays", lambda w, g, old: w),
    ("shape", lambda w, g, old: (w, old[:2])),
    ("shape", lambda w, g, old: (w[:2], rmsprop(w, g, old)[1])),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_STEPS)
def test_wrong_steps(hint, answer):
    result = checks.check_rmsprop_step(answer)
    assert not result and hint in repr(result)


def test_the_right_step():
    assert checks.check_rmsprop_step(rmsprop)


def test_the_library_takes_the_same_step():
    def library(w, dw, mean_square):
        assert reference.rmsprop_update(w, dw, mean_square, 0.001, 0.9, 1e-7, Scratch())
        return w, mean_square

    assert checks.check_rmsprop_step(library)


WRONG_FILTERS = [
    ("that speak", lambda x: np.flatnonzero(x.any(axis=(0, 1, 2)))),
    ("whispers", lambda x: np.flatnonzero(x.mean(axis=(0, 1, 2)) < 1e-3)),
    ("for most images", lambda x: np.flatnonzero(~x[1:].any(axis=(0, 1, 2)))),
    ("in most rows", lambda x: np.flatnonzero(~x[:, 1:].any(axis=(0, 1, 2)))),
    ("dimensions", lambda x: ~x.any(axis=(1, 2))),
    ("last axis", lambda x: np.arange(10, 14)),
    ("as integers", lambda x: [2.0, 7.0]),
    ("you list [2]", lambda x: [2]),
    ("you list []", lambda x: []),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_FILTERS)
def test_wrong_filters(hint, answer):
    result = checks.check_silent_filters(answer)
    assert not result and hint in repr(result)


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: np.flatnonzero(~x.any(axis=(0, 1, 2))),
        lambda x: [c for c in range(x.shape[-1]) if x[..., c].max() == 0],
        lambda x: x.max(axis=(0, 1, 2)) == 0,
    ],
)
def test_the_right_filters(answer):
    assert checks.check_silent_filters(answer)


def shifted(images, down, right):
    result = np.zeros_like(images)
    for row in range(images.shape[1]):
        for column in range(images.shape[2]):
            if 0 <= row - down < images.shape[1] and 0 <= column - right < images.shape[2]:
                result[:, row, column] = images[:, row - down, column - right]
    return result


def positive_only(images, down, right):
    result = np.zeros_like(images)
    rows, columns = images.shape[1:]
    result[:, down:, right:] = (
        images[:, : max(rows - down, 0), : max(columns - right, 0)][
            :, : len(result[0, down:]), : len(result[0, 0, right:])
        ]
        if min(down, right) >= 0
        else 0
    )
    return result


WRONG_SHIFTS = [
    ("comes back on the other", lambda x, d, r: np.roll(x, (d, r), axis=(1, 2))),
    ("wrong way", lambda x, d, r: shifted(x, -d, -r)),
    ("exchanged", lambda x, d, r: shifted(x, r, d)),
    ("nothing has moved", lambda x, d, r: x),
    ("negative shift", positive_only),
    ("should come to row", lambda x, d, r: shifted(x, d + 1, r)),
    ("shape", lambda x, d, r: x[:, d:, r:]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_SHIFTS)
def test_wrong_shifts(hint, answer):
    result = checks.check_shift(answer)
    assert not result and hint in repr(result)


def test_the_right_shift():
    assert checks.check_shift(shifted)
