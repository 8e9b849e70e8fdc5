"""Wrong answers to the exercises of chapter 2, and the hints they get."""

import numpy as np
import pytest

from convlib import functional
from convlib.notebook.checks import dense_and_local as checks


def places_of(height, width, side):
    return (height - side + 1) * (width - side + 1)


def right_counts(height, width, side):
    places = places_of(height, width, side)
    return places * height * width, places * side**2, side**2


def counts_with(dense=None, local=None, shared=None):
    """Return a wrong `count_weights`, given how it gets one of its three numbers."""

    def count_weights(height, width, side):
        right = right_counts(height, width, side)
        wrong = (dense, local, shared)
        return tuple(f(height, width, side) if f else n for f, n in zip(wrong, right, strict=True))

    return count_weights


WRONG_COUNTS = [
    ("28 times, into the rows", counts_with(dense=lambda h, w, k: (h * w) ** 2)),
    ("once, not zero", counts_with(dense=lambda h, w, k: (h - k) * (w - k) * h * w)),
    ("weights of one output", counts_with(dense=lambda h, w, k: h * w)),
    ("a weight for every pixel", counts_with(dense=places_of)),
    (
        "dense, for 28×28 pixels and a window of 3×3: biases",
        counts_with(dense=lambda h, w, k: places_of(h, w, k) * (h * w + 1)),
    ),
    ("sees all pixels", counts_with(dense=lambda h, w, k: places_of(h, w, k) * k * k)),
    ("dense, for 28×28 pixels and a window of 3×3: it is not 7", counts_with(dense=lambda *_: 7)),
    ("local, for", counts_with(local=lambda h, w, k: h * w * k * k)),
    ("once, not zero", counts_with(local=lambda h, w, k: (h - k) * (w - k) * k * k)),
    ("rows and columns", counts_with(local=lambda h, w, k: places_of(h, w, k) * k)),
    ("weights of its own", counts_with(local=lambda h, w, k: k * k)),
    (
        "local, for 28×28 pixels and a window of 3×3: biases",
        counts_with(local=lambda h, w, k: places_of(h, w, k) * (k * k + 1)),
    ),
    ("only for the pixels", counts_with(local=lambda h, w, k: places_of(h, w, k) * h * w)),
    ("rows and columns", counts_with(shared=lambda h, w, k: k)),
    ("the bias is not", counts_with(shared=lambda h, w, k: k * k + 1)),
    ("share the same", counts_with(shared=lambda h, w, k: places_of(h, w, k) * k * k)),
    ("which all share", counts_with(shared=places_of)),
    ("three numbers", lambda height, width, side: 9),
    ("three numbers", lambda height, width, side: (9, 9)),
    ("one number", lambda height, width, side: ("a", "b", "c")),
    ("returns nothing", lambda height, width, side: print(end="")),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_COUNTS)
def test_wrong_counts(hint, answer):
    result = checks.check_count_weights(answer)
    assert not result and hint in repr(result)


def test_the_right_counts():
    assert checks.check_count_weights(right_counts)


def right_matrix(kernel, height, width):
    rows, columns = height - kernel.shape[0] + 1, width - kernel.shape[1] + 1
    matrix = np.zeros((rows, columns, height, width))
    for i, j in np.ndindex(rows, columns):
        matrix[i, j, i : i + kernel.shape[0], j : j + kernel.shape[1]] = kernel
    return matrix.reshape(rows * columns, height * width)


def apart(kernel, height, width):
    rows, columns = height - kernel.shape[0] + 1, width - kernel.shape[1] + 1
    return right_matrix(kernel, height, width).reshape(rows, columns, height, width)


def rows_too_near(kernel, height, width):
    """The mistake of counting pixels as if the image were as narrow as the output."""
    rows, columns = height - kernel.shape[0] + 1, width - kernel.shape[1] + 1
    matrix = np.zeros((rows * columns, height * width))
    for i, j in np.ndindex(rows, columns):
        for u, v in np.ndindex(kernel.shape):
            matrix[i * columns + j, (i + u) * columns + j + v] = kernel[u, v]
    return matrix


def one_run(kernel, height, width):
    """The mistake of laying the window's rows end to end."""
    rows, columns = height - kernel.shape[0] + 1, width - kernel.shape[1] + 1
    matrix = np.zeros((rows * columns, height * width))
    for i, j in np.ndindex(rows, columns):
        run = matrix[i * columns + j, i * width + j :][: kernel.size]
        run[:] = kernel.ravel()[: run.size]
    return matrix


def same_size(kernel, height, width):
    pixels = np.eye(height * width).reshape(-1, height, width, 1)
    outputs = functional.conv2d(pixels, kernel[..., None, None], padding="same")
    return outputs.reshape(height * width, -1).T


def last_row_missing(kernel, height, width):
    matrix = right_matrix(kernel, height, width)
    matrix[-1] = 0
    return matrix


def doubled(kernel, height, width):
    matrix = right_matrix(kernel, height, width)
    matrix[2, 0] += 1
    return matrix


WRONG_MATRICES = [
    ("flipped", lambda k, h, w: right_matrix(k[::-1, ::-1], h, w)),
    ("outputs are rows", lambda k, h, w: right_matrix(k, h, w).T),
    ("must fit inside", same_size),
    ("one row of each output", apart),
    (
        "outputs are to be counted row after row",
        lambda k, h, w: apart(k, h, w).swapaxes(0, 1).reshape(-1, h * w),
    ),
    (
        "pixels are to be counted row after row",
        lambda k, h, w: apart(k, h, w).swapaxes(2, 3).reshape(-1, h * w),
    ),
    (
        "it has to move",
        lambda k, h, w: np.tile(right_matrix(k, h, w)[:1], (len(right_matrix(k, h, w)), 1)),
    ),
    ("`width` columns further on, not as many", rows_too_near),
    ("lie next to each other", one_run),
    ("of the kernel are exchanged", lambda k, h, w: right_matrix(k.T, h, w)),
    ("each other's place", lambda k, h, w: right_matrix(np.roll(k, 1), h, w)),
    ("needs 9", last_row_missing),
    ("row 2, of the output in row 0, column 2", doubled),
    ("shape", lambda k, h, w: k),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_MATRICES)
def test_wrong_matrices(hint, answer):
    result = checks.check_convolution_matrix(answer)
    assert not result and hint in repr(result)


def test_the_right_matrix():
    assert checks.check_convolution_matrix(right_matrix)


WRONG_WEIGHTS = [
    ("old weights", lambda w, order: w),
    ("undoes the permutation", lambda w, order: w[np.argsort(order)]),
    ("units keep their places", lambda w, order: w[:, [1, 0, 2, 3, 4]]),
    ("reverses the pixels", lambda w, order: w[::-1]),
    ("wrong order", lambda w, order: w[np.roll(order, 1)]),
    ("Only its row", lambda w, order: 2 * w[order]),
    ("pixels first", lambda w, order: w[order].T),
    ("shape", lambda w, order: w[:5]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_WEIGHTS)
def test_wrong_weights(hint, answer):
    result = checks.check_weights_after_permutation(answer)
    assert not result and hint in repr(result)


def test_the_right_weights():
    assert checks.check_weights_after_permutation(lambda w, order: w[order])


WRONG_KERNELS = [
    ("as it was", lambda w: w),
    ("upside down", lambda w: w[::-1]),
    ("180 degrees", lambda w: w[::-1, ::-1]),
    ("rows and columns", lambda w: w.swapaxes(0, 1)),
    ("channels", lambda w: w[:, :, ::-1]),
    ("filters", lambda w: w[..., ::-1]),
    ("which axis", lambda w: -w[:, ::-1]),
    ("shape", lambda w: w[:, ::-1, ::-1, 0]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_KERNELS)
def test_wrong_kernels(hint, answer):
    result = checks.check_mirrored_kernel(answer)
    assert not result and hint in repr(result)


def test_the_right_kernel():
    assert checks.check_mirrored_kernel(lambda w: w[:, ::-1])


def test_untouched_skeletons_are_not_tried():
    skeletons = {
        checks.check_count_weights: lambda height, width, side: ...,
        checks.check_convolution_matrix: lambda kernel, height, width: ...,
        checks.check_weights_after_permutation: lambda w, order: ...,
        checks.check_mirrored_kernel: lambda w: ...,
    }
    for check, skeleton in skeletons.items():
        result = check(skeleton)
        assert not result and "Not tried yet" in repr(result)
