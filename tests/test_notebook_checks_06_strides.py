"""Wrong answers to the exercises of chapter 6, and the hints they get."""

import numpy as np
import pytest

from convlib import functional, shapes
from convlib.notebook.checks import strides as checks


def right_size(n, k, s, padding):
    return -(-n // s) if padding == "same" else (n - k) // s + 1


def for_valid(wrong):
    """Return an answer that is wrong under valid only."""
    return lambda n, k, s, padding: (
        right_size(n, k, s, padding) if padding == "same" else wrong(n, k, s)
    )


def for_same(wrong):
    return lambda n, k, s, padding: (
        right_size(n, k, s, padding) if padding == "valid" else wrong(n, k, s)
    )


WRONG_SIZES = [
    ("parts of places", for_valid(lambda n, k, s: (n - k) / s + 1)),
    ("parts of places", for_same(lambda n, k, s: n / s)),
    ("that is valid", lambda n, k, s, padding: (n - k) // s + 1),
    ("rounded up, not down", for_same(lambda n, k, s: n // s)),
    ("at stride 1 only", for_same(lambda n, k, s: n)),
    ("that is stride 1", for_valid(lambda n, k, s: n - k + 1)),
    ("very beginning", for_valid(lambda n, k, s: (n - k) // s)),
    ("very beginning", for_valid(lambda n, k, s: (n - k + 1) // s)),
    ("round down", for_valid(lambda n, k, s: -(-(n - k) // s) + 1)),
    ("mere division", for_valid(lambda n, k, s: -(-n // s))),
    ("mere division", lambda n, k, s, padding: -(-n // s)),
    ("it is not 77", lambda n, k, s, padding: 77),
    ("one number", lambda n, k, s, padding: (2, 2)),
    ("stopped with", lambda n, k, s, padding: n[0]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_SIZES)
def test_wrong_sizes(hint, answer):
    result = checks.check_output_size(answer)
    assert not result and hint in repr(result)


def test_the_right_size():
    assert checks.check_output_size(right_size)
    assert checks.check_output_size(
        lambda n, k, s, padding: shapes.window_geometry((n, n), (k, k), (s, s), padding)[0][0]
    )


def right_patches(image, k, s, across=None):
    return functional.im2col(image[None, :, :, None], k, strides=(s, across or s))[0]


def from_list(change):
    """Return an answer that changes the right patches."""
    return lambda image, k, s: change(right_patches(image, k, s), k, image, s)


WRONG_PATCHES = [
    ("The stride is missing", lambda image, k, s: right_patches(image, k, 1)),
    ("counts across too", lambda image, k, s: right_patches(image, k, s, 1)),
    ("counts downwards too", lambda image, k, s: right_patches(image, k, 1, s)),
    ("in one row", from_list(lambda p, k, *_: p.reshape(*p.shape[:2], k, k))),
    ("in a list", from_list(lambda p, k, *_: p.reshape(-1, k * k))),
    ("the last axis", from_list(lambda p, *_: p.transpose(2, 0, 1))),
    ("last row and column", from_list(lambda p, *_: p[:-1, :-1])),
    (
        "whole window fits",
        lambda image, k, s: (
            right_patches(image, k, s) if image.shape != (7, 10) else np.zeros((3, 5, 9))
        ),
    ),
    (
        "at pixel i · s",
        from_list(lambda p, k, image, s: right_patches(image, k, 1)[: len(p), : p.shape[1]]),
    ),
    (
        "row by row, not column by column",
        from_list(lambda p, k, *_: p.reshape(*p.shape[:2], k, k).swapaxes(2, 3).reshape(p.shape)),
    ),
    ("flipped", from_list(lambda p, *_: p[:, :, ::-1])),
    ("are exchanged", from_list(lambda p, *_: p.swapaxes(0, 1))),
    ("should hold image", from_list(lambda p, *_: p + 1)),
    ("shape", lambda image, k, s: image),
    ("stopped with", lambda image, k, s: image[:, :, 0]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_PATCHES)
def test_wrong_patches(hint, answer):
    result = checks.check_strided_patches(answer)
    assert not result and hint in repr(result)


@pytest.mark.parametrize(
    "answer",
    [
        right_patches,
        lambda image, k, s: np.lib.stride_tricks.sliding_window_view(image, (k, k))[
            ::s, ::s
        ].reshape((image.shape[0] - k) // s + 1, -1, k * k),
    ],
)
def test_the_right_patches(answer):
    assert checks.check_strided_patches(answer)


def right_unread(n, k, s):
    places = (n - k) // s + 1
    return n - ((places - 1) * min(s, k) + k)


WRONG_UNREAD = [
    ("between windows", lambda n, k, s: (n - k) % s),
    ("think of k too", lambda n, k, s: n % s),
    ("the number of places", lambda n, k, s: (n - k) // s + 1),
    ("rows that are read", lambda n, k, s: n - right_unread(n, k, s)),
    ("more than one row", lambda n, k, s: n - ((n - k) // s + 1)),
    ("windows overlap", lambda n, k, s: n - k * ((n - k) // s + 1)),
    ("depends on n", lambda n, k, s: s - 1),
    ("it is not 0", lambda n, k, s: 0),
    ("one number", lambda n, k, s: [1] * 2),
    ("stopped with", lambda n, k, s: n[0]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_UNREAD)
def test_wrong_unread(hint, answer):
    result = checks.check_unread_rows(answer)
    assert not result and hint in repr(result)


def test_the_right_unread():
    assert checks.check_unread_rows(right_unread)


WRONG_FREQUENCIES = [
    ("further apart", lambda f, s: f),
    ("not less", lambda f, s: f / s),
    ("cannot be seen", lambda f, s: f * s),
    ("It folds back", lambda f, s: min(f * s, 0.5)),
    ("cannot be told from", lambda f, s: f * s % 1),
    ("begin again at 0", lambda f, s: f * s % 0.5),
    ("the sign only", lambda f, s: f * s - round(f * s)),
    ("the sign only", lambda f, s: -abs(f * s - round(f * s))),
    ("between a half and one", lambda f, s: f * s if f * s <= 0.5 else 1 - f * s),
    ("it is not 0.123", lambda f, s: 0.123),
    ("one number", lambda f, s: "0.2"),
    ("stopped with", lambda f, s: f[0]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_FREQUENCIES)
def test_wrong_frequencies(hint, answer):
    result = checks.check_seen_frequency(answer)
    assert not result and hint in repr(result)


@pytest.mark.parametrize(
    "answer",
    [lambda f, s: abs(f * s - round(f * s)), lambda f, s: min(f * s % 1, 1 - f * s % 1)],
)
def test_the_right_frequency(answer):
    assert checks.check_seen_frequency(answer)


def test_skeletons_are_not_tried_yet():
    for checked in (
        checks.check_output_size,
        checks.check_strided_patches,
        checks.check_unread_rows,
        checks.check_seen_frequency,
    ):
        assert "Not tried" in repr(checked(lambda *arguments: ...))
