"""Checks of chapter 5: how much padding, which size, how often a pixel is used."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlib import functional, shapes
from convlib.notebook.exercises import Hint, array_of_shape, call, check, number


@check
def check_same_padding(same_padding: Callable) -> str:
    """Check a function that computes the padding which ``same`` adds before and after."""
    cases = (
        (28, 3, 1),
        (28, 5, 1),
        (28, 4, 1),
        (28, 3, 2),
        (27, 3, 2),
        (28, 1, 2),
        (29, 4, 3),
        (10, 2, 4),
    )
    for n, k, s in cases:
        result = call(same_padding, n, k, s)
        if not isinstance(result, tuple | list | np.ndarray) or len(result) != 2:
            raise Hint("Return two numbers: the rows before, and the rows after.")
        got = tuple(number(part, "Each of the two") for part in result)
        before, after = expected = shapes.same_padding(n, k, s)
        if got == expected:
            continue
        total = sum(got)
        case = f"For n = {n}, k = {k}, s = {s}"
        windows = -(-n // s)
        if min(got) < 0:
            reason = "nothing can be added less than nothing: here the windows leave pixels out."
        elif any(part != int(part) for part in got):
            reason = "a row cannot be cut in two. One side gets one more than the other."
        elif got == (after, before):
            reason = "the odd row goes to the end, that is to the bottom or right."
        elif s == 1 and k % 2 == 0 and got == (k // 2, k // 2):
            reason = "an even window loses an odd number of rows, so the sides are not alike."
        elif total == before + after:
            reason = "the total is right, but the two sides should be as equal as they can be."
        elif s > 1 and total == (n - 1) * s + k - n:
            reason = f"same does not keep the size at stride {s}: it wants {windows} places."
        elif s > 1 and total == k - 1:
            reason = f"that is right at stride 1. With steps of {s} fewer windows reach the end."
        elif total == max(0, (n // s - 1) * s + k - n):
            reason = "the number of places is n / s rounded up, not down."
        elif total == max(0, windows * s + k - n):
            reason = f"between {windows} windows there are {windows - 1} steps."
        elif total == 2 * (k - 1):
            reason = "k − 1 rows are missing in all, not on each side."
        else:
            reason = f"it is not ({got[0]:g}, {got[1]:g})."
        raise Hint(f"{case}: {reason}")
    return "Even windows, large steps and leftover pixels included: this is the rule of Keras."


_SIZES = {
    "5×5, valid": (
        24,
        {
            28: "a window of five cannot stand on every pixel.",
            26: "two rows are lost by a window of three; one of five loses more.",
            23: "a window of 28 would fit into 28 rows once, not zero times.",
        },
    ),
    "4×4, same": (
        28,
        {
            25: "that is valid. same adds the three rows that are missing.",
            27: "the padding is not equal on both sides: (1, 2).",
            29: "the padding is not equal on both sides: (1, 2).",
        },
    ),
    "3×3, same, stride 2": (
        14,
        {
            28: "same keeps the size at stride 1 only.",
            13: "that is valid; same gives 28 / 2, rounded up.",
            15: "same gives 28 / 2, rounded up, and not more.",
        },
    ),
    "three times 3×3, valid": (
        22,
        {
            26: "that is after the first of them.",
            24: "that is after the second of them.",
            20: "a window of three loses two rows, three times.",
            19: "a window of three loses two rows, not three.",
            25: "a window of three loses two rows, three times.",
        },
    ),
    "7×7, padding=2": (
        26,
        {
            22: "that is without padding.",
            24: "two rows are added at the top and two at the bottom.",
            28: "keeping the size would take a padding of three.",
            25: "a window of 32 would fit into 32 rows once, not zero times.",
        },
    ),
}


@check
def check_sizes(answers: dict) -> str:
    """Check the predicted heights of five outputs."""
    if not isinstance(answers, dict) or set(answers) != set(_SIZES):
        raise Hint(f"Fill in a dictionary with the keys {', '.join(map(repr, _SIZES))}.")
    got = {name: number(value, name) for name, value in answers.items()}
    for name, (expected, reasons) in _SIZES.items():
        if got[name] != expected:
            raise Hint(f"{name}: {reasons.get(got[name], f'not {got[name]:g}.')}")
    return "Add the padding, subtract k − 1, and only then think of strides."


@check
def check_kernel_side(kernel_side: Callable) -> str:
    """Check a function that finds the window from the sizes before and after some layers."""
    for n_in, n_out, depth in ((28, 26, 1), (28, 22, 1), (28, 22, 3), (28, 16, 3), (64, 64, 2)):
        got = number(call(kernel_side, n_in, n_out, depth), "The result")
        lost = n_in - n_out
        expected = lost // depth + 1
        assert n_in - depth * (expected - 1) == n_out
        if got == expected:
            continue
        case = f"For {n_in} → {n_out} by {depth} layer{'s' if depth > 1 else ''}"
        share_first = "share what is lost among the layers first, then add one."
        reasons = {
            (lost + 1) / depth: share_first,
            lost + 1: "all layers together lose this much. How much does one?",
            lost: "all layers together lose this much. How much does one?",
            1 - lost / depth: "what is lost is before minus after.",
            # Whoever forgets to add one is caught by a single layer already.
            lost / depth: share_first
            if depth > 1
            else "that is what one layer loses. A window of k loses k − 1.",
        }
        raise Hint(f"{case}: {reasons.get(got, f'it is not {got:g}.')}")
    return "And a window of one loses nothing, however many layers there are."


@check
def check_uses_in_a_row(uses_in_a_row: Callable) -> str:
    """Check a function that counts the windows over each pixel of a row."""
    cases = ((7, 3, 0, 0), (5, 3, 1, 1), (6, 4, 1, 2), (5, 3, 2, 2), (7, 2, 0, 1))
    for n, k, before, after in cases:
        case = f"For n = {n}, k = {k}, padding ({before}, {after})"
        result = np.asarray(call(uses_in_a_row, n, k, before, after))
        padded = n + before + after
        if result.shape == (padded,) and padded != n:
            raise Hint(f"{case}: the padding is not part of the row. Cut it off in the end.")
        if result.shape == (padded - k + 1,) and padded - k + 1 != n:
            raise Hint(f"{case}: count for each pixel of the input, not for each window.")
        result = array_of_shape(result, (n,), f"{case}: the result")
        expected = _uses(n, k, before, after)
        if np.array_equal(result, expected):
            continue
        mistakes = {
            "the padding gives the window more places to stand.": _uses(n, k, 0, 0),
            "before and after have changed places.": expected[::-1],
            "the last place is missing: n pixels hold n − k + 1 windows.": _uses(
                n, k, before, after - 1
            ),
            "a pixel near the border lies in fewer windows than one inside.": np.full(n, k),
            "you counted each window once, at the pixel where it starts.": np.bincount(
                [s - before for s in range(padded - k + 1) if before <= s < before + n],
                minlength=n,
            ),
            "your windows are one pixel too short.": _uses(n, k, before, after, k - 1),
            "your windows are one pixel too long.": _uses(n, k, before, after, k + 1),
            "the counts are right for a padding that is not cut off at the start: begin at "
            "before.": _padded_uses(n, k, before, after)[:n],
        }
        for hint, mistake in mistakes.items():
            if np.array_equal(result, mistake):
                raise Hint(f"{case}: {hint}")
        raise Hint(f"{case}: the counts should be {expected.tolist()}, got {result.tolist()}.")
    return "For an image, multiply the counts of its row and its column: 2 · 2 = 4 in a corner."


def _padded_uses(n: int, k: int, before: int, after: int, length: int | None = None) -> np.ndarray:
    """Count by sliding: k decides where windows may start, length how far they reach."""
    length = k if length is None else length
    counts = np.zeros(n + before + max(0, after) + 1, dtype=int)
    for start in range(n + before + after - k + 1):
        counts[start : start + length] += 1
    return counts


def _uses(n: int, k: int, before: int, after: int, length: int | None = None) -> np.ndarray:
    counts = _padded_uses(n, k, before, after, length)[before : before + n]
    if length is None and after >= 0:
        patches = np.ones((1, 1, n + before + after - k + 1, k))
        padding = ((0, 0), (before, after))
        columns = functional.col2im(patches, (1, n), (1, k), padding=padding, backend="reference")
        assert np.array_equal(counts, columns.ravel())
    return counts
