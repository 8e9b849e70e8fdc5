"""Wrong answers to the exercises of chapter 4, and the hints they get."""

import numpy as np
import pytest

from convlib.notebook.checks import patch_by_patch as checks


def patches_of(x, k):
    return np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(0, 1)).transpose(0, 1, 3, 4, 2)


def rows_of(change=lambda patches: patches):
    """Return an answer that changes patches of shape (rows, columns, k, k, channels)."""

    def extract_patches(x, k):
        patches = patches_of(x, k)
        return change(patches).reshape(*patches.shape[:2], -1)

    return extract_patches


def padded(x, k):
    before = (k - 1) // 2
    return rows_of()(np.pad(x, (*[(before, k - 1 - before)] * 2, (0, 0))), k)


WRONG_PATCHES = [
    ("Flatten each", patches_of),
    ("their places are lost", lambda x, k: rows_of()(x, k).reshape(-1, k * k * x.shape[2])),
    ("5 − 3 + 1 times", lambda x, k: rows_of()(x, k)[:-1, :-1]),
    ("lie inside", padded),
    ("through all channels", lambda x, k: rows_of()(x[..., :1], k)),
    ("columns of the whole input", lambda x, k: rows_of()(x.swapaxes(0, 1), k)),
    ("should have shape (3, 3, 18)", lambda x, k: np.zeros(3)),
    ("channel after channel", rows_of(lambda p: p.transpose(0, 1, 4, 2, 3))),
    ("within the patch", rows_of(lambda p: p.swapaxes(2, 3))),
    ("rows and columns of the places", rows_of(lambda p: p.swapaxes(0, 1))),
    ("turned by 180°", rows_of(lambda p: p[:, :, ::-1, ::-1])),
    ("channels are reversed", rows_of(lambda p: p[..., ::-1])),
    ("the window must move", rows_of(lambda p: np.broadcast_to(p[0, 0], p.shape))),
    ("the patch at (0, 0) is wrong", rows_of(lambda p: p + 1)),
    ("array of numbers", lambda x, k: rows_of()(x, k).astype(str)),
    ("stopped with", lambda x, k: x[k, k, k]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_PATCHES)
def test_wrong_patches(hint, answer):
    result = checks.check_extract_patches(answer)
    assert not result and hint in repr(result)


def test_columns_before_rows_are_told_where_the_shape_shows_it():
    def answer(x, k):
        patches = rows_of()(x, k)
        return patches if x.shape[0] == x.shape[1] else patches.swapaxes(0, 1)

    assert "rows come before columns" in repr(checks.check_extract_patches(answer))


def test_the_right_patches():
    assert checks.check_extract_patches(rows_of())


WRONG_SUBSCRIPTS = [
    ("should be a string", 5),
    ("two groups", "ijuvcuvco->ijo"),
    ("patches have five", "ijuvc,uvo->ijo"),
    ("refuses this", "ijuvc,uvco->ijk"),
    ("left out after the arrow", "ijuvc,uvco->ijco"),
    ("left out after the arrow", "ijuvc,uvdo->ijcdo"),
    ("must be kept", "ijuvc,uvco->io"),
    ("must be kept", "ijuvc,uvco->"),
    ("two letters are exchanged", "ijvuc,uvco->ijo"),
    ("two letters are exchanged", "ijuvc,vuco->ijo"),
    ("filters come last.", "ijuvc,uvco->oij"),
    ("not in the middle", "ijuvc,uvco->ioj"),
    ("row comes before", "ijuvc,uvco->jio"),
    ("element of the window", "ijuvc,uvco->ijc"),
    ("same axis in both", "ijuvc,ijco->uvo"),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_SUBSCRIPTS)
def test_wrong_subscripts(hint, answer):
    result = checks.check_subscripts(answer)
    assert not result and hint in repr(result)


@pytest.mark.parametrize(
    "answer", ["ijuvc,uvco->ijo", "abcde, cdef -> abf", "ijuvc,uvco", "yxklc,klcf->yxf"]
)
def test_right_subscripts(answer):
    assert checks.check_subscripts(answer)


def right(x, w, b):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(0, 1))
    return np.einsum("ijcuv,uvco->ijo", windows, w) + b


def without_last_row(x, w, b):
    w = w.copy()
    w[-1] = 0
    return right(x, w, b)


def without_last_column(x, w, b):
    w = w.copy()
    w[:, -1] = 0
    return right(x, w, b)


def last_product(x, w, b):
    u, v = w.shape[0] - 1, w.shape[1] - 1
    return x[u:, v:, -1:] * w[-1, -1, -1] + b


WRONG_CONVOLUTIONS = [
    ("is flipped", checks.PLANTED["flips the kernel"]),
    ("bias is missing", checks.PLANTED["forgets the bias"]),
    ("wrong order", checks.PLANTED["reverses the channels"]),
    ("the last row and column", checks.PLANTED["stops one short in the window"]),
    ("are exchanged", checks.PLANTED["swaps rows and columns of the kernel"]),
    ("once for each product", lambda x, w, b: right(x, w, w[..., 0].size * b)),
    ("the last row of the window", without_last_row),
    ("the last column of the window", without_last_column),
    ("only the first channel", lambda x, w, b: right(x[..., :1], w[:, :, :1], b)),
    ("the last channel", lambda x, w, b: right(x[..., :-1], w[:, :, :-1], b)),
    ("is subtracted", lambda x, w, b: right(x, w, -b)),
    ("with +=", last_product),
    ("range of the places", lambda x, w, b: right(x, w, b)[:-1, :-1]),
    ("lie inside", lambda x, w, b: np.zeros((*x.shape[:2], len(b)))),
    ("rows come before", lambda x, w, b: right(x, w, b).swapaxes(0, 1)),
    ("filters come last", lambda x, w, b: right(x, w, b).transpose(2, 0, 1)),
    ("makes a channel", lambda x, w, b: right(x, w, b).sum(axis=2)),
    ("no axis of samples", lambda x, w, b: right(x, w, b)[None]),
    ("not the channels", lambda x, w, b: np.zeros((*right(x, w, b).shape[:2], x.shape[2]))),
    ("should have shape", lambda x, w, b: np.zeros(3)),
    ("y[0, 0, 0] is wrong", lambda x, w, b: right(x, w, b) + 1),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_CONVOLUTIONS)
def test_wrong_convolutions(hint, answer):
    result = checks.check_convolution(answer)
    assert not result and hint in repr(result)


def test_the_right_convolution():
    assert checks.check_convolution(right)


def test_every_planted_mistake_differs_from_the_right_answer():
    random = np.random.default_rng(0)
    x, w, b = (random.normal(size=size) for size in ((5, 5, 2), (3, 3, 2, 2), 2))
    assert len(checks.PLANTED) == 5
    for wrong in checks.PLANTED.values():
        assert wrong(x, w, b).shape == right(x, w, b).shape
        assert not np.allclose(wrong(x, w, b), right(x, w, b))


def example(w_at=((2, 1, 0, 0),), x_at=((2, 1, 0),), bias=1, channels=2):
    x, w = np.zeros((3, 3, channels)), np.zeros((3, 3, channels, 1))
    for place in x_at:
        x[place] = 1
    for place in w_at:
        w[place] = 1
    return x, w, np.full(1, bias)


WRONG_EXAMPLES = [
    # The only one of the kernel is in the middle of x as well: half a turn moves it away.
    ("flips the kernel gets through", example(w_at=((1, 1, 0, 0),), x_at=((1, 1, 0),))),
    ("forgets the bias gets through", example(bias=0)),
    ("reverses the channels gets through", example(x_at=((2, 1, 0), (2, 1, 1)))),
    ("stops one short in the window gets through", example(((0, 1, 0, 0),), ((0, 1, 0),))),
    (
        "swaps rows and columns of the kernel gets through",
        example(((2, 2, 0, 0),), ((2, 2, 0),)),
    ),
    ("So does one other", example(((2, 2, 0, 0),), ((2, 2, 0),), bias=0)),
    ("others", example(bias=0, channels=1, x_at=())),
    ("Only zeros and ones", (np.full((3, 3, 2), 2), *example()[1:])),
    ("3 axes", (np.zeros((3, 3)), *example()[1:])),
    ("should be square", (np.zeros((3, 3, 1)), np.ones((2, 3, 1, 1)), np.ones(1))),
    ("at least 2×2", (np.zeros((3, 3, 1)), np.ones((1, 1, 1, 1)), np.ones(1))),
    ("do not fit together", (np.zeros((3, 3, 1)), np.ones((2, 2, 2, 1)), np.ones(1))),
    ("does not fit into x", (np.zeros((2, 3, 1)), np.ones((3, 3, 1, 1)), np.ones(1))),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_EXAMPLES)
def test_wrong_examples(hint, answer):
    result = checks.check_test_case(*answer)
    assert not result and hint in repr(result)


def test_the_right_example():
    assert checks.check_test_case(*example())
    assert checks.check_test_case(*(array.astype(bool) for array in example()))


def test_skeletons_are_not_tried_yet():
    assert "Not tried" in repr(checks.check_extract_patches(lambda x, k: ...))
    assert "Not tried" in repr(checks.check_convolution(lambda x, w, b: ...))
    assert "Not tried" in repr(checks.check_subscripts(...))
    assert "Not tried" in repr(checks.check_test_case(example()[0], ..., ...))
