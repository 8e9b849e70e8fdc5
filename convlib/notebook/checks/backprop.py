"""Checks of chapter 11: gradients written by hand, and a gradient check."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convlib import functional
from convlib.notebook.exercises import Hint, array_of_shape, call, check


def _matches(got: np.ndarray, wrong: np.ndarray) -> bool:
    return got.shape == wrong.shape and bool(np.allclose(got, wrong, rtol=1e-9, atol=1e-9))


def _diagnose(got: np.ndarray, mistakes: dict[str, np.ndarray], otherwise: str) -> None:
    """Raise the hint of the mistake that gives what was got."""
    for hint, wrong in mistakes.items():
        if _matches(got, wrong):
            raise Hint(hint)
    raise Hint(otherwise)


def _first_difference(got: np.ndarray, right: np.ndarray) -> str:
    place = tuple(int(k) for k in np.argwhere(~np.isclose(got, right, rtol=1e-9, atol=1e-9))[0])
    return f"element {list(place)} should be {right[place]:.4g}, yours is {got[place]:.4g}."


def _input_gradient(dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    rows, columns = dy.shape[0] + w.shape[0] - 1, dy.shape[1] + w.shape[1] - 1
    x = np.zeros((1, rows, columns, 1))
    batch, kernel = dy[None, :, :, None], w[:, :, None, None]
    return functional.conv2d_input_gradient(x, kernel, batch)[0, :, :, 0]


@check
def check_input_gradient(input_gradient: Callable) -> str:
    """Check the gradient of a valid convolution with respect to its input, in one channel."""
    random = np.random.default_rng(11)
    for shape, kernel in (((3, 3), (3, 3)), ((4, 6), (3, 2)), ((1, 5), (2, 4)), ((2, 1), (1, 1))):
        dy, w = random.normal(size=shape), random.normal(size=kernel)
        right = _input_gradient(dy, w)
        got = np.asarray(call(input_gradient, dy, w))
        case = f"For dy of {shape[0]}×{shape[1]} and a kernel of {kernel[0]}×{kernel[1]}: "
        if got.shape == dy.shape != right.shape:
            raise Hint(
                f"{case}yours has the size of dy. dx has the size of x: a window of k makes a "
                "row of n into n − k + 1, so go back by adding k − 1."
            )
        if got.ndim == 2 and got.shape == right.shape[::-1] != right.shape:
            raise Hint(f"{case}height and width are exchanged.")
        got = array_of_shape(got, right.shape, f"{case}dx")
        if _matches(got, right):
            continue
        overwritten = np.zeros(right.shape)
        for i in range(shape[0]):
            for j in range(shape[1]):
                overwritten[i : i + kernel[0], j : j + kernel[1]] = dy[i, j] * w
        mistakes = {
            "the kernel is turned by 180 degrees where you did not want it, or not where you did. "
            "Spreading uses the kernel as it is; gathering uses it flipped.": _input_gradient(
                dy, w[::-1, ::-1]
            ),
            "the kernel is flipped in one direction only; turn it in both.": _input_gradient(
                dy, w[::-1]
            ),
            "the kernel is flipped from left to right only, or from top to bottom only; turn it in "
            "both.": _input_gradient(dy, w[:, ::-1]),
            "patches that overlap must add up; yours overwrites what was there.": overwritten,
            "the sign is turned: a gradient points uphill, the minus comes in the step.": -right,
            "it is divided by the number of weights. A gradient is a sum, not a mean.": right
            / w.size,
        }
        if kernel[0] == kernel[1]:
            mistakes["rows and columns of the kernel are exchanged."] = _input_gradient(dy, w.T)
        _diagnose(
            got,
            {case + hint: wrong for hint, wrong in mistakes.items()},
            case + _first_difference(got, right),
        )
    return "A full convolution: each cell of dy spreads over the window that it came from."


def _kernel_gradient(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    size = (x.shape[0] - dy.shape[0] + 1, x.shape[1] - dy.shape[1] + 1)
    w = np.zeros((*size, x.shape[2], dy.shape[2]))
    return functional.conv2d_kernel_gradient(x[None], w, dy[None])[0]


@check
def check_kernel_gradient(kernel_gradient: Callable) -> str:
    """Check the gradient of a valid convolution with respect to its kernel, with channels."""
    random = np.random.default_rng(11)
    cases = (((5, 5, 1), (3, 3, 1)), ((7, 6, 3), (5, 5, 2)), ((6, 9, 2), (4, 7, 2)))
    for x_shape, dy_shape in cases:
        x, dy = random.normal(size=x_shape), random.normal(size=dy_shape)
        right = _kernel_gradient(x, dy)
        got = np.asarray(call(kernel_gradient, x, dy))
        case = f"For x of shape {x_shape} and dy of shape {dy_shape}: "
        swapped = right.swapaxes(2, 3)
        if got.shape == swapped.shape != right.shape:
            raise Hint(f"{case}the last two axes should be channels, then filters.")
        if got.shape == (*right.shape[:2], x_shape[2]) or got.shape == right.shape[:2]:
            raise Hint(f"{case}there is one correlation for each pair of channel and filter.")
        if got.shape[:2] == (x_shape[0] - dy_shape[0], x_shape[1] - dy_shape[1]):
            raise Hint(
                f"{case}dy fits into x once more than the difference of their sizes: the kernel "
                f"is {right.shape[0]}×{right.shape[1]}."
            )
        got = array_of_shape(got, right.shape, f"{case}dw")
        if _matches(got, right):
            continue
        lost = right.copy()
        lost[-1, -1] = 0
        mistakes = {
            "the last kernel element never gets a gradient: a range ends too early.": lost,
            "dw comes out turned by 180 degrees. Nothing is flipped here.": right[::-1, ::-1],
            "dy was flipped before it slid over x. Nothing is flipped here.": _kernel_gradient(
                x, dy[::-1, ::-1]
            ),
            "it is divided by the number of places. A gradient is a sum, not a mean.": right
            / (dy_shape[0] * dy_shape[1]),
            "the channels are summed; each has weights of its own.": np.broadcast_to(
                right.sum(2, keepdims=True), right.shape
            ),
            "the filters are summed; each has weights of its own.": np.broadcast_to(
                right.sum(3, keepdims=True), right.shape
            ),
            "the sign is turned: a gradient points uphill, the minus comes in the step.": -right,
        }
        if right.shape[0] == right.shape[1]:
            mistakes["rows and columns of dw are exchanged."] = right.swapaxes(0, 1)
        if right.shape[2] == right.shape[3]:
            mistakes["channels and filters are exchanged."] = swapped
        # With one channel and one filter their sums change nothing, and are no mistake.
        mistakes = {hint: wrong for hint, wrong in mistakes.items() if not _matches(wrong, right)}
        _diagnose(
            got,
            {case + hint: wrong for hint, wrong in mistakes.items()},
            case + _first_difference(got, right),
        )
    return "A correlation of x with dy, for each pair of channel and filter."


def _pool_gradient(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    return functional.max_pool2d_gradient(x[None, :, :, None], dy[None, :, :, None])[0, :, :, 0]


def _pooled_backward(x: np.ndarray, dy: np.ndarray, share: Callable) -> np.ndarray:
    """Return dx where `share` says what each pixel of a window gets of a gradient of one."""
    dx = np.zeros(x.shape)
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            block = np.s_[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            dx[block] = share(x[block]) * dy[i, j]
    return dx


def _last_winner(window: np.ndarray) -> np.ndarray:
    turned = window[::-1, ::-1]
    won = (np.arange(4) == turned.argmax()).reshape(2, 2)
    return won[::-1, ::-1].astype(float)


_POOL_MISTAKES = {
    "every pixel of a window got the gradient. Only the largest did anything for the output.": (
        lambda window: np.ones((2, 2))
    ),
    "the gradient is shared equally. That is average pooling.": lambda window: np.full(
        (2, 2), 0.25
    ),
    "where pixels are equal, all of them got the gradient. The first takes it.": (
        lambda window: (window == window.max()).astype(float)
    ),
    "where pixels are equal, they share the gradient. The first takes all of it.": (
        lambda window: (window == window.max()) / (window == window.max()).sum()
    ),
    "where pixels are equal, the last one got it. The first takes it, row by row.": _last_winner,
    "the gradient went to the upper left pixel, whoever won.": (
        lambda window: np.array([[1.0, 0.0], [0.0, 0.0]])
    ),
    "the gradient is multiplied with the pixel. The slope of a maximum is one.": (
        lambda window: window.max() * (np.arange(4) == window.argmax()).reshape(2, 2)
    ),
    "the gradient went to the smallest pixel.": (
        lambda window: (np.arange(4) == window.argmin()).reshape(2, 2).astype(float)
    ),
    "the gradient went to the pixel that is largest without its sign.": (
        lambda window: (np.arange(4) == np.abs(window).argmax()).reshape(2, 2).astype(float)
    ),
    "the sign is turned.": lambda window: -1.0 * (np.arange(4) == window.argmax()).reshape(2, 2),
}


@check
def check_pool_gradient(pool_gradient: Callable) -> str:
    """Check the gradient of a 2×2 max-pooling of one image with one channel."""
    random = np.random.default_rng(11)
    plain = random.permutation(24).reshape(4, 6) - 12.0
    ties = np.array([[1.0, 1, 0, 2], [1, 0, 2, 2], [0, 0, -1, -3], [0, 0, -2, -1]])
    odd = random.permutation(35).reshape(5, 7) - 17.0
    for x, what in (
        (plain, "an image of 4×6"),
        (ties, "an image with equal pixels"),
        (odd, "an image of 5×7"),
    ):
        dy = random.integers(1, 9, (x.shape[0] // 2, x.shape[1] // 2)) * np.sqrt(2)
        right = _pool_gradient(x, dy)
        case = f"For {what}: "
        try:
            got = np.asarray(call(pool_gradient, x, dy))
        except Hint as hint:
            if x is not odd:
                raise
            raise Hint(
                f"{case}the last row and column belong to no window, and get zeros. {hint}"
            ) from None
        if got.shape == dy.shape:
            raise Hint(f"{case}yours has the size of dy; dx has the size of x.")
        if x is odd and got.shape == (4, 6):
            raise Hint(f"{case}dx has the size of x, with zeros where no window was.")
        got = array_of_shape(got, right.shape, f"{case}dx")
        if _matches(got, right):
            continue
        if x is odd and _matches(got[:4, :6], right[:4, :6]):
            raise Hint(f"{case}the last row and column belong to no window, and get zeros.")
        mistakes = {
            case + hint: _pooled_backward(x, dy, share) for hint, share in _POOL_MISTAKES.items()
        }
        _diagnose(got, mistakes, case + _first_difference(got, right))
    return "The winner takes it all, the losers and the border nothing."


_STEP_HINT = (
    "In float64 with two sides, (loss(w + h) − loss(w − h)) / 2h, a step of 1e-6 leaves an error "
    "of about one part in a hundred million."
)


@check
def check_gradient_check(is_right: Callable) -> str:
    """Check a gradient check: it accepts right gradients and refuses five kinds of mutants."""
    random = np.random.default_rng(11)
    for size, scale in enumerate((1.0, 1e-6, 1e6)):
        loss, w, right = _problem(random, scale)
        about = ("around one", "around a millionth", "around a million")[size]
        before = w.copy()
        seen = w.copy()
        answer = _answer(is_right, loss, seen, right)
        if not np.array_equal(seen, before):
            raise Hint(
                "After your check w is no longer what it was. Put each element back, or nudge "
                "a copy."
            )
        if not answer:
            reason = (
                "Is the difference compared with the size of the gradient? A slope in the millions "
                "is never known to within a fixed small number."
                if scale > 1
                else f"Is your step too large or too small? {_STEP_HINT}"
            )
            raise Hint(f"You refuse a right gradient of a loss {about}. {reason}")
        for name, mutant, hint in _mutants(right):
            if _answer(is_right, loss, w.copy(), mutant):
                if scale < 1:
                    hint = (
                        "These slopes are tiny, so every difference is tiny too: compare it with "
                        "the size of the gradient, not with a fixed number."
                    )
                raise Hint(f"You accept a mutant of a loss {about}: {name}. {hint}")
    return "Right gradients pass, and all five mutants are caught, at every size of the loss."


def _answer(is_right: Callable, loss: Callable, w: np.ndarray, gradient: np.ndarray) -> bool:
    # `call` copies arrays; the reader's function is to see this very w, which must survive.
    answer = call(lambda claimed: is_right(loss, w, claimed), gradient)
    if np.asarray(answer).shape != () or np.asarray(answer).dtype.kind != "b":
        raise Hint(f"Answer True or False, not {answer!r}.")
    return bool(answer)


def _problem(random: np.random.Generator, scale: float) -> tuple[Callable, np.ndarray, np.ndarray]:
    """Return a smooth loss of a small convolution, where to look at it, and its gradient there."""
    x, labels = random.normal(size=(4, 6, 6, 1)), np.array([0, 1, 2, 1])
    w = random.normal(size=(3, 3, 1, 3))

    def loss(w: np.ndarray) -> float:
        scores = functional.conv2d(x, w).sum((1, 2))
        return scale * float(functional.softmax_cross_entropy(scores, labels).mean())

    maps = functional.conv2d(x, w)
    slopes = functional.softmax_cross_entropy_gradient(
        maps.sum((1, 2)), labels, scale=scale / len(x)
    )
    dy = np.broadcast_to(slopes[:, None, None], maps.shape).copy()
    return loss, w, functional.conv2d_kernel_gradient(x, w, dy)[0]


def _mutants(right: np.ndarray) -> list[tuple[str, np.ndarray, str]]:
    """Return wrong gradients: what is wrong, the array, and a hint for who lets it pass."""
    lost, off = right.copy(), right.copy()
    lost[-1, -1, 0, -1] = 0
    largest = np.unravel_index(np.abs(right).argmax(), right.shape)
    off[largest] *= 1.01
    return [
        ("the sign is turned", -right, "Do you compare sizes only, without the sign?"),
        (
            "everything is twice too large",
            2 * right,
            "Do you compare directions only, without the size?",
        ),
        (
            "the kernel is flipped",
            right[::-1, ::-1].copy(),
            "Do you compare sums or sorted values, where each element has its own place?",
        ),
        (
            "one element is lost, the last",
            lost,
            "Look at every element, the last one too, and not at some or at their mean.",
        ),
        (
            "one element is wrong by one part in a hundred",
            off,
            f"Your tolerance is too generous. {_STEP_HINT}",
        ),
    ]
