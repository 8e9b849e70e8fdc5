"""Checks of chapter 6: sizes under strides, strided patches, what is unread, what is mistaken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlib import functional, shapes
from convlib.notebook.exercises import Hint, array_of_shape, call, check, number


@check
def check_output_size(output_size: Callable) -> str:
    """Check a function that gives the number of places, under both paddings."""
    cases = (
        (28, 7, 3, "valid"),  # nearly all mistakes differ here
        (5, 3, 2, "valid"),
        (28, 3, 2, "valid"),
        (27, 3, 2, "valid"),
        (28, 3, 2, "same"),
        (27, 3, 2, "same"),
        (28, 5, 3, "same"),
        (28, 1, 2, "valid"),
        (227, 11, 4, "valid"),
        (9, 4, 1, "same"),
    )
    for n, k, s, padding in cases:
        got = number(call(output_size, n, k, s, padding), "The result")
        expected = shapes.window_geometry((n, n), (k, k), (s, s), padding).output_size[0]
        if got == expected:
            continue
        if got != int(got):
            reason = "there are no parts of places. Which way must it be rounded?"
        elif padding == "same" and got == n // s:
            reason = "n / s is rounded up, not down."
        elif padding == "same" and got == (n - k) // s + 1:
            reason = "that is valid. same gives n / s, rounded up."
        elif padding == "same" and got == n:
            reason = "same keeps the size at stride 1 only."
        elif got == n - k + 1:
            reason = "that is stride 1."
        elif got in {(n - k) // s, (n - k + 1) // s}:
            reason = "the place at the very beginning counts too."
        elif got == -(-(n - k) // s) + 1:
            reason = "a window that does not fit any more gives no place: round down."
        elif got in {n // s, -(-n // s)}:
            reason = "the window must fit inside: it is not a mere division by the stride."
        else:
            reason = f"it is not {got:g}."
        raise Hint(f"For n = {n}, k = {k}, s = {s}, {padding}: {reason}")
    return "5 → 2, and 28 → 13 or 14."


@check
def check_strided_patches(strided_patches: Callable) -> str:
    """Check a function that cuts an image into the patches of a strided window."""
    random = np.random.default_rng(6)
    for (height, width), k, s in (((5, 5), 3, 2), ((7, 10), 3, 2), ((9, 6), 2, 3)):
        image = random.normal(size=(height, width))

        def patches(step_down: int, step_across: int, image=image, k=k) -> np.ndarray:
            return functional.im2col(
                image[None, :, :, None], k, strides=(step_down, step_across), backend="reference"
            )[0]

        expected = patches(s, s)
        down, across = expected.shape[:2]
        case = f"For an image of {height}×{width}, k = {k}, s = {s}"
        result = np.asarray(call(strided_patches, image, k, s))
        shapes_of_mistakes = {
            (height - k + 1, width - k + 1, k * k): "these are all places. The stride is missing.",
            (down, width - k + 1, k * k): "the stride counts across too.",
            (height - k + 1, across, k * k): "the stride counts downwards too.",
            (down, across, k, k): "write the numbers of each patch in one row.",
            (down * across, k * k): "these are the patches in a list. Arrange them by places.",
            (k * k, down, across): "the numbers of a patch belong into the last axis.",
            (down - 1, across - 1, k * k): "the last row and column of places are missing.",
            (height // s, width // s, k * k): "a place counts only if the whole window fits.",
        }
        if result.shape != expected.shape and result.shape in shapes_of_mistakes:
            raise Hint(f"{case}: {shapes_of_mistakes[result.shape]}")
        result = array_of_shape(result, expected.shape, f"{case}: the result")
        if np.array_equal(result, expected):
            continue
        mistakes = {
            "window i starts at pixel i · s, not at pixel i.": patches(1, 1)[:down, :across],
            "read each patch row by row, not column by column.": expected.reshape(
                down, across, k, k
            )
            .swapaxes(2, 3)
            .reshape(expected.shape),
            "the patches are flipped. Layers do not flip.": expected[:, :, ::-1],
        }
        if down == across:
            mistakes["rows and columns of places are exchanged."] = expected.swapaxes(0, 1)
        for hint, mistake in mistakes.items():
            if np.array_equal(result, mistake):
                raise Hint(f"{case}: {hint}")
        raise Hint(
            f"{case}: result[i, j] should hold image[i·s : i·s + k, j·s : j·s + k], row by row."
        )
    return "Multiplied with the flattened kernel, these patches give the strided convolution."


@check
def check_unread_rows(unread_rows: Callable) -> str:
    """Check a function that counts the rows that lie in no window."""
    cases = (
        (30, 5, 4),
        (27, 3, 2),
        (28, 3, 2),
        (28, 5, 3),
        (11, 3, 3),
        (28, 1, 2),
        (10, 2, 4),
        (12, 2, 4),
    )
    for n, k, s in cases:
        got = number(call(unread_rows, n, k, s), "The result")
        places = (n - k) // s + 1
        read = {place * s + row for place in range(places) for row in range(k)}
        expected = n - len(read)
        if got == expected:
            continue
        # Where two mistakes give the same number, the last one counts.
        reasons = {
            places: "that is the number of places.",
            len(read): "these are the rows that are read.",
            n - places: "a window reads more than one row.",
            n - places * k: "windows overlap: a row is not read twice.",
            n % s: "the window does not begin at 0, s, 2s … and read s rows: think of k too.",
            s - 1: "the end depends on n.",
            (n - k) % s: "right at the end; but between windows rows are skipped as well, as the "
            "step is larger than the window.",
        }
        raise Hint(f"For n = {n}, k = {k}, s = {s}: {reasons.get(got, f'it is not {got:g}.')}")
    return "Where the window is as large as the step, or larger, this is (n − k) modulo s."


@check
def check_seen_frequency(seen_frequency: Callable) -> str:
    """Check a function that says how stripes look when only some pixels are kept."""
    for frequency, stride in ((0.45, 4), (0.1, 2), (0.4, 2), (0.5, 2), (0.3, 3), (0.35, 4)):
        got = number(call(seen_frequency, frequency, stride), "The result")
        per_kept = frequency * stride
        expected = abs(per_kept - round(per_kept))
        if abs(got - expected) < 1e-9:
            continue
        mistakes = [
            (frequency, "the kept pixels are further apart, so more of a cycle lies between them."),
            (frequency / stride, "between two kept pixels lies more of a cycle, not less."),
            (per_kept, "more than half a cycle per pixel cannot be seen."),
            (min(per_kept, 0.5), "it does not stop at a half. It folds back."),
            (per_kept % 1, "stripes with 0.8 cycles per pixel cannot be told from 0.2."),
            (per_kept % 0.5, "it folds back at a half; it does not begin again at 0."),
            (-expected, "the sign only tells the direction. Return the size."),
            (per_kept - round(per_kept), "the sign only tells the direction. Return the size."),
            (1 - per_kept, "that is right between a half and one. What is it elsewhere?"),
        ]
        for mistake, hint in mistakes:
            if abs(got - mistake) < 1e-9:
                raise Hint(f"For {frequency:g} cycles and stride {stride}: {hint}")
        raise Hint(f"For {frequency:g} cycles and stride {stride}: it is not {got:g}.")
    return "The distance to the nearest whole number: a triangle wave over s · f."
