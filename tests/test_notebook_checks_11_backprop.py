"""Wrong answers to the exercises of chapter 11, and the hints they get."""

import numpy as np
import pytest

from convlib.notebook.checks import backprop as checks


def skeleton(*arguments):
    return ...


def spread(dy, w):
    dx = np.zeros((dy.shape[0] + w.shape[0] - 1, dy.shape[1] + w.shape[1] - 1))
    for i, j in np.ndindex(dy.shape):
        dx[i : i + w.shape[0], j : j + w.shape[1]] += dy[i, j] * w
    return dx


def overwriting(dy, w):
    dx = np.zeros((dy.shape[0] + w.shape[0] - 1, dy.shape[1] + w.shape[1] - 1))
    for i, j in np.ndindex(dy.shape):
        dx[i : i + w.shape[0], j : j + w.shape[1]] = dy[i, j] * w
    return dx


WRONG_INPUT_GRADIENTS = [
    ("turned by 180 degrees", lambda dy, w: spread(dy, w[::-1, ::-1])),
    ("flipped in one direction only", lambda dy, w: spread(dy, w[::-1])),
    ("left to right only", lambda dy, w: spread(dy, w[:, ::-1])),
    ("rows and columns of the kernel", lambda dy, w: spread(dy, w.T)),
    ("overwrites", overwriting),
    ("uphill", lambda dy, w: -spread(dy, w)),
    ("not a mean", lambda dy, w: spread(dy, w) / w.size),
    ("adding k − 1", lambda dy, w: dy),
    ("For dy of 4×6", lambda dy, w: spread(dy, w) if dy.shape[0] == 3 else spread(dy, w).T),
    ("exchanged", lambda dy, w: spread(dy, w) if dy.shape[0] == 3 else spread(dy, w).T),
    ("should have shape", lambda dy, w: np.zeros((2, 2))),
    ("should be", lambda dy, w: spread(dy, w) + np.eye(*spread(dy, w).shape)),
    ("returns nothing", lambda dy, w: print(end="")),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_INPUT_GRADIENTS)
def test_wrong_input_gradients(hint, answer):
    result = checks.check_input_gradient(answer)
    assert not result and hint in repr(result)


def gather(dy, w):
    padded = np.pad(dy, ((w.shape[0] - 1,) * 2, (w.shape[1] - 1,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape)
    return (windows * w[::-1, ::-1]).sum((2, 3))


@pytest.mark.parametrize("answer", [spread, gather])
def test_right_input_gradients(answer):
    assert checks.check_input_gradient(answer)


def correlate(x, dy):
    height, width = x.shape[0] - dy.shape[0] + 1, x.shape[1] - dy.shape[1] + 1
    dw = np.zeros((height, width, x.shape[2], dy.shape[2]))
    for u, v in np.ndindex(height, width):
        patch = x[u : u + dy.shape[0], v : v + dy.shape[1]]
        dw[u, v] = np.einsum("ijc,ijf->cf", patch, dy)
    return dw


def lost(x, dy):
    dw = correlate(x, dy)
    dw[-1, -1] = 0
    return dw


def summed(dw, axis):
    return np.broadcast_to(dw.sum(axis, keepdims=True), dw.shape)


WRONG_KERNEL_GRADIENTS = [
    ("a range ends too early", lost),
    ("comes out turned", lambda x, dy: correlate(x, dy)[::-1, ::-1]),
    ("dy was flipped", lambda x, dy: correlate(x, dy[::-1, ::-1])),
    ("not a mean", lambda x, dy: correlate(x, dy) / (dy.shape[0] * dy.shape[1])),
    (
        "channels are summed",
        lambda x, dy: correlate(x, dy).sum(2, keepdims=True) + 0 * correlate(x, dy),
    ),
    (
        "filters are summed",
        lambda x, dy: correlate(x, dy).sum(3, keepdims=True) + 0 * correlate(x, dy),
    ),
    ("uphill", lambda x, dy: -correlate(x, dy)),
    ("rows and columns of dw", lambda x, dy: correlate(x, dy).swapaxes(0, 1)),
    ("channels, then filters", lambda x, dy: correlate(x, dy).swapaxes(2, 3)),
    ("each pair of channel and filter", lambda x, dy: correlate(x, dy).sum(3)),
    ("each pair of channel and filter", lambda x, dy: correlate(x, dy).sum((2, 3))),
    ("once more than the difference", lambda x, dy: correlate(x, dy)[:-1, :-1]),
    ("should be", lambda x, dy: correlate(x, dy) + 1),
    ("stopped with", lambda x, dy: x @ dy),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_KERNEL_GRADIENTS)
def test_wrong_kernel_gradients(hint, answer):
    result = checks.check_kernel_gradient(answer)
    assert not result and hint in repr(result)


def test_exchanged_channels_and_filters_of_equal_number():
    def answer(x, dy):
        dw = correlate(x, dy)
        return dw.swapaxes(2, 3) if x.shape[2] == dy.shape[2] else dw

    assert "channels and filters are exchanged" in repr(checks.check_kernel_gradient(answer))


def test_the_right_kernel_gradient():
    assert checks.check_kernel_gradient(correlate)


def pooled(x, dy, choose):
    """Return dx where `choose` gives the share of each pixel of a window."""
    dx = np.zeros(x.shape)
    for i, j in np.ndindex(dy.shape):
        block = np.s_[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        dx[block] = np.asarray(choose(x[block]), float).reshape(2, 2) * dy[i, j]
    return dx


def at(place):
    return np.arange(4) == place


WRONG_SHARES = [
    ("Only the largest", lambda window: np.ones(4)),
    ("average pooling", lambda window: np.full(4, 0.25)),
    ("all of them got", lambda window: window == window.max()),
    ("they share", lambda window: (window == window.max()) / (window == window.max()).sum()),
    ("the last one got it", lambda window: at(3 - window[::-1, ::-1].argmax())),
    ("the upper left", lambda window: at(0)),
    ("multiplied with the pixel", lambda window: window.max() * at(window.argmax())),
    ("smallest", lambda window: at(window.argmin())),
    ("without its sign", lambda window: at(np.abs(window).argmax())),
    ("sign is turned", lambda window: -1.0 * at(window.argmax())),
    ("should be", lambda window: at(2)),
]


@pytest.mark.parametrize(("hint", "share"), WRONG_SHARES)
def test_wrong_shares_of_a_pooling(hint, share):
    result = checks.check_pool_gradient(lambda x, dy: pooled(x, dy, share))
    assert not result and hint in repr(result)


def winner(x, dy):
    return pooled(x, dy, lambda window: at(window.argmax()))


def repeated(x, dy):
    """Compare the repeated maxima with x, which needs even sizes."""
    y = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).max((1, 3))
    return winner(x, dy) + 0 * y.repeat(2, 0).repeat(2, 1)


def with_border(x, dy):
    dx = winner(x, dy)
    dx[2 * dy.shape[0] :], dx[:, 2 * dy.shape[1] :] = 1, 1
    return dx


def cut_off(x, dy):
    return winner(x, dy)[: 2 * dy.shape[0], : 2 * dy.shape[1]]


@pytest.mark.parametrize(
    ("hint", "answer"),
    [
        ("belong to no window", repeated),
        ("belong to no window", with_border),
        ("where no window was", cut_off),
        ("the size of dy", lambda x, dy: dy),
    ],
)
def test_wrong_borders_of_a_pooling(hint, answer):
    result = checks.check_pool_gradient(answer)
    assert not result and hint in repr(result)


def test_the_right_pool_gradient():
    assert checks.check_pool_gradient(winner)


def slopes(loss, w, h=1e-6, sides=2):
    tried = np.zeros(w.shape)
    for place in np.ndindex(w.shape):
        up, down = w.copy(), w.copy()
        up[place] += h
        down[place] -= h * (sides - 1)
        tried[place] = (loss(up) - loss(down)) / (sides * h)
    return tried


def compared(tolerance=1e-5, change=lambda tried, gradient: (tried, gradient), **options):
    """Return a gradient check that looks at every element, after a change of both arrays."""

    def is_right(loss, w, gradient):
        tried, claimed = change(slopes(loss, w, **options), gradient)
        return bool(np.abs(tried - claimed).max() < tolerance * np.abs(tried).max())

    return is_right


def with_fixed_tolerance(loss, w, gradient):
    return bool(np.abs(slopes(loss, w) - gradient).max() < 1e-4)


def in_place(loss, w, gradient):
    tried = np.zeros(w.shape)
    for place in np.ndindex(w.shape):
        w[place] += 1e-6
        up = loss(w)
        w[place] -= 2e-6
        tried[place] = (up - loss(w)) / 2e-6
    return bool(np.abs(tried - gradient).max() < 1e-3 * np.abs(gradient).max())


def of_one_element(loss, w, gradient):
    tried, first = slopes(loss, w), (0, 0, 0, 0)
    return bool(abs(tried[first] - gradient[first]) < 1e-5 * np.abs(tried).max())


def without_size(tried, gradient):
    return tried / np.abs(tried).max(), gradient / np.abs(gradient).max()


def sorted_values(tried, gradient):
    return np.sort(tried, axis=None), np.sort(gradient, axis=None)


WRONG_CHECKS = [
    ("the sign is turned", compared(change=lambda *both: (np.abs(both[0]), np.abs(both[1])))),
    ("twice too large", compared(change=without_size)),
    ("flipped", compared(change=sorted_values)),
    ("one element is lost", of_one_element),
    ("one part in a hundred", compared(tolerance=0.05)),
    ("too large or too small", compared(h=0.3)),
    ("too large or too small", compared(h=1e-14)),
    ("too large or too small", compared(tolerance=1e-12)),
    ("You accept a mutant of a loss around a millionth", with_fixed_tolerance),
    ("w is no longer", in_place),
    ("You accept", lambda loss, w, gradient: True),
    ("You refuse", lambda loss, w, gradient: False),
    ("True or False", lambda loss, w, gradient: 1e-9),
    ("stopped with", lambda loss, w, gradient: loss(w[0])),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_CHECKS)
def test_wrong_gradient_checks(hint, answer):
    result = checks.check_gradient_check(answer)
    assert not result and hint in repr(result)


def test_a_fixed_tolerance_that_is_small_refuses_a_large_loss():
    def answer(loss, w, gradient):
        return bool(np.abs(slopes(loss, w) - gradient).max() < 1e-8)

    def lenient_on_small(loss, w, gradient):
        small = np.abs(gradient).max() < 1e-3
        return compared()(loss, w, gradient) if small else answer(loss, w, gradient)

    assert "in the millions" in repr(checks.check_gradient_check(lenient_on_small))


def along_a_line(loss, w, gradient):
    direction = np.random.default_rng(0).normal(size=w.shape)
    tried = (loss(w + 1e-6 * direction) - loss(w - 1e-6 * direction)) / 2e-6
    claimed = (gradient * direction).sum()
    return bool(abs(tried - claimed) < 1e-5 * max(abs(tried), abs(claimed)))


@pytest.mark.parametrize(
    "answer", [compared(), compared(h=1e-5), compared(tolerance=1e-4, sides=1), along_a_line]
)
def test_right_gradient_checks(answer):
    assert checks.check_gradient_check(answer)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_input_gradient,
        checks.check_kernel_gradient,
        checks.check_pool_gradient,
        checks.check_gradient_check,
    ],
)
def test_skeletons_are_not_tried(check):
    assert "Not tried yet" in repr(check(skeleton))
