"""Wrong answers to the exercises of chapter 7, and the hints they get."""

import math

import numpy as np
import pytest

from convlib.notebook.checks import max_pooling as checks


def right_size(size, window, stride, padding):
    return -(-size // stride) if padding == "same" else (size - window) // stride + 1


def size_with(valid=None, same=None):
    """Return a wrong `pooled_size`, given how it gets one of its two results."""

    def pooled_size(size, window, stride, padding):
        wrong = same if padding == "same" else valid
        return wrong(size, window, stride) if wrong else right_size(size, window, stride, padding)

    return pooled_size


WRONG_SIZES = [
    ("add 1", size_with(valid=lambda n, k, s: (n - k) // s)),
    ("round down", size_with(valid=lambda n, k, s: math.ceil((n - k) / s) + 1)),
    ("subtract the window", size_with(valid=lambda n, k, s: n // s)),
    ("rounds up", size_with(valid=lambda n, k, s: math.ceil(n / s))),
    ("a step apart", size_with(valid=lambda n, k, s: n // k)),
    ("after the division", size_with(valid=lambda n, k, s: (n - k + 1) // s)),
    ("is whole", size_with(valid=lambda n, k, s: n / s)),
    ("not 99", size_with(valid=lambda n, k, s: 99)),
    ("so round up", size_with(same=lambda n, k, s: n // s)),
    ("only if there is a rest", size_with(same=lambda n, k, s: n // s + 1)),
    ("hang over", size_with(same=lambda n, k, s: (n - k) // s + 1)),
    ("the step decides", size_with(same=lambda n, k, s: math.ceil(n / k))),
    ("step of 1", size_with(same=lambda n, k, s: n)),
    ("not 99", size_with(same=lambda n, k, s: 99)),
    ("one number", lambda n, k, s, padding: (n, n)),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_SIZES)
def test_wrong_sizes(hint, answer):
    result = checks.check_pooled_size(answer)
    assert not result and hint in repr(result)


def test_the_right_size():
    assert checks.check_pooled_size(right_size)


def windows_of(values, size, stride=None):
    """Yield the windows of a map, those at the end cut."""
    stride = size if stride is None else stride
    for row in range(0, values.shape[0], stride):
        yield [
            values[row : row + size, column : column + size]
            for column in range(0, values.shape[1], stride)
        ]


def pool(values, size, function=np.max):
    return np.array([[function(window) for window in row] for row in windows_of(values, size)])


def floored(values, size):
    return pool(values, size)[: values.shape[0] // size, : values.shape[1] // size]


def padded_with(filling):
    def max_pool(values, size):
        sides = [(0, -side % size) for side in values.shape]
        return pool(np.pad(values, sides, constant_values=filling), size)

    return max_pool


def overlapping(values, size):
    result = pool(values, size)
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            result[i, j] = values[i : i + size, j : j + size].max()
    return result


WRONG_POOLS = [
    ("begins at −∞", lambda values, size: np.maximum(pool(values, size), 0)),
    ("zeros of your padding", padded_with(0)),
    ("missing", floored),
    ("sign got lost", lambda values, size: pool(np.abs(values), size)),
    ("smallest", lambda values, size: pool(values, size, np.min)),
    ("the mean", lambda values, size: pool(values, size, np.mean)),
    ("a window apart", overlapping),
    ("should give", lambda values, size: pool(values, size) - 1),
    ("infinity", lambda values, size: np.full_like(pool(values, size), -np.inf)),
    ("shape", lambda values, size: pool(values, size).ravel()),
    ("stopped with", lambda values, size: values[100, 100]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_POOLS)
def test_wrong_pools(hint, answer):
    result = checks.check_max_pool(answer)
    assert not result and hint in repr(result)


def test_right_pools():
    assert checks.check_max_pool(pool)
    assert checks.check_max_pool(padded_with(-np.inf))


def places(values, function, order=(0, 1, 2, 3)):
    """Return what a function says of the four numbers of each window, taken in some order."""
    return np.array(
        [[function(window.ravel()[list(order)]) for window in row] for row in windows_of(values, 2)]
    )


def last_of_equals(window):
    return 3 - window[::-1].argmax()


COLUMNS_FIRST = (0, 2, 1, 3)

WRONG_WINNERS = [
    (">=", lambda values: places(values, last_of_equals)),
    ("down the columns", lambda values: places(values, np.argmax, COLUMNS_FIRST)),
    (
        "first in the upper row",
        lambda values: np.array(COLUMNS_FIRST)[places(values, np.argmax, COLUMNS_FIRST)],
    ),
    ("exchanged", lambda values: np.array(COLUMNS_FIRST)[places(values, np.argmax)]),
    ("largest numbers", lambda values: places(values, np.max)),
    ("from 0", lambda values: places(values, np.argmax) + 1),
    ("smallest", lambda values: places(values, np.argmin)),
    (
        "of one row",
        lambda values: values.reshape(values.shape[0] // 2, values.shape[1] // 2, 4).argmax(2),
    ),
    ("within the window", lambda values: places(values, np.argmax) + 40),
    ("the winner is at", lambda values: places(values, lambda window: 0)),
    ("shape", lambda values: places(values, np.argmax).T),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_WINNERS)
def test_wrong_winners(hint, answer):
    result = checks.check_winners(answer)
    assert not result and hint in repr(result)


def test_the_right_winners():
    assert checks.check_winners(lambda values: places(values, np.argmax))


def gradient_with(send):
    """Return a gradient function, given what it does to a window of dx."""

    def max_pool_gradient(values, dy, size, stride):
        dx = np.zeros_like(values)
        for i in range(dy.shape[0]):
            for j in range(dy.shape[1]):
                area = (
                    slice(i * stride, i * stride + size),
                    slice(j * stride, j * stride + size),
                )
                send(dx[area], values[area], dy[i, j])
        return dx

    return max_pool_gradient


def first_place(window):
    return np.unravel_index(window.argmax(), window.shape)


def to_first(dx, window, gradient):
    dx[first_place(window)] += gradient


def to_last(dx, window, gradient):
    dx[tuple(np.argwhere(window == window.max())[-1])] += gradient


def to_all(dx, window, gradient):
    dx[window == window.max()] += gradient


def overwrite(dx, window, gradient):
    dx[first_place(window)] = gradient


def to_everybody(dx, window, gradient):
    dx += gradient


def share(dx, window, gradient):
    dx += gradient / window.size


def ones(dx, window, gradient):
    dx[first_place(window)] += 1


def times_value(dx, window, gradient):
    dx[first_place(window)] += gradient * window.max()


def to_corner(dx, window, gradient):
    dx[0, 0] += gradient


def half(dx, window, gradient):
    dx[first_place(window)] += gradient / 2


def a_window_apart(values, dy, size, stride):
    dx = np.zeros_like(values)
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            window = values[i * size : (i + 1) * size, j * size : (j + 1) * size]
            if window.size:
                u, v = first_place(window)
                dx[i * size + u, j * size + v] += dy[i, j]
    return dx


WRONG_GRADIENTS = [
    ("here the last", gradient_with(to_last)),
    ("All equal numbers", gradient_with(to_all)),
    ("do not overwrite", gradient_with(overwrite)),
    ("Only the winner", gradient_with(to_everybody)),
    ("average pooling", gradient_with(share)),
    ("not 1", gradient_with(ones)),
    ("the slope is 1", gradient_with(times_value)),
    ("a step apart", a_window_apart),
    ("wrong place", gradient_with(to_corner)),
    ("sums must be equal", gradient_with(half)),
    ("shape", lambda values, dy, size, stride: dy),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_GRADIENTS)
def test_wrong_gradients(hint, answer):
    result = checks.check_max_pool_gradient(answer)
    assert not result and hint in repr(result)


def test_the_right_gradient():
    assert checks.check_max_pool_gradient(gradient_with(to_first))


CHECKS = [
    checks.check_pooled_size,
    checks.check_max_pool,
    checks.check_winners,
    checks.check_max_pool_gradient,
]


@pytest.mark.parametrize("check", CHECKS)
def test_an_untouched_skeleton(check):
    assert repr(check(lambda *arguments: ...)).startswith("Not tried yet")


@pytest.mark.parametrize("check", CHECKS)
def test_a_forgotten_return(check):
    def forgetful(*arguments):
        arguments[0] + 1

    assert "return statement" in repr(check(forgetful))
