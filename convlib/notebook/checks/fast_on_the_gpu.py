"""Checks of chapter 13: kernels for a GPU, run in the simulator."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import numpy as np
from numba import config, cuda

from convlib import functional
from convlib.notebook.exercises import Hint, NotTried, call, check, number

BLOCK = 4
"""Side of the blocks in which two-dimensional kernels are launched."""


def _function(kernel: object) -> Callable:
    """Return the Python function of a kernel, jitted or not, or refuse what is none."""
    if not config.ENABLE_CUDASIM:
        raise Hint("Kernels are checked in the simulator: restart, and run the first cells.")
    function = getattr(kernel, "fn", getattr(kernel, "py_func", kernel))
    if not hasattr(function, "__code__"):
        raise Hint(f"A kernel is expected here, this is a {type(kernel).__name__}.")
    if ... in function.__code__.co_consts:
        raise NotTried
    return function


def _run(kernel: object, grid: tuple, block: tuple, outside: str, *arrays: np.ndarray):
    """Run a kernel on copies of arrays; return the last one and the record."""
    from convlib.notebook import simulator  # which only the simulator's process can import

    function = _function(kernel)
    there = [cuda.to_device(array) for array in arrays]
    try:
        with simulator.recording() as record:
            cuda.jit(function)[grid, block](*there)
    except IndexError as error:
        raise Hint(f"A thread went beyond an array ({error}). {outside}") from None
    except RuntimeError as error:
        if "wait at a barrier" not in str(error):
            raise Hint(f"{function.__name__} stopped: {error}.") from None
        raise Hint(
            "Some threads wait at the barrier for others that never come. All threads of a block "
            "must reach it: put no return before it, and do not place it under an if."
        ) from None
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        raise Hint(
            f"{function.__name__} stopped with {type(error).__name__}: {error} "
            f"(line {line} of the code that was running)."
        ) from None
    return there[-1].copy_to_host(), record


def _first(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(k) for k in np.argwhere(mask)[0])


def _check_blocks(blocks_for: Callable, n: int, threads: int) -> int:
    blocks = number(call(blocks_for, n, threads), "The number of blocks")
    expected = -(-n // threads)
    if blocks != expected:
        reasons = {
            n / threads: "there are no parts of blocks. Round up.",
            n // threads: f"then the last {n % threads} have no thread. Round up.",
            n // threads + 1: "that is one more than needed when the blocks fit exactly.",
            n: "a block has more than one thread.",
            threads: "that is the number of threads in a block.",
        }
        reason = reasons.get(blocks, f"{blocks:g} is not the smallest number that covers them.")
        raise Hint(f"{n} elements, {threads} threads in a block: {reason}")
    return expected


@check
def check_guards(relu: object, blocks_for: Callable) -> str:
    """Check a kernel with one thread per element, and its number of blocks."""
    _function(relu)
    outside = (
        "The last block may have more threads than there are elements left. Let a thread work only "
        "if its number is below the number of elements; that number itself is already too large."
    )
    for n, threads in ((16, 4), (10, 4), (3, 8), (33, 16), (1, 1)):
        blocks = _check_blocks(blocks_for, n, threads)
        x = np.where(np.arange(n) % 2, -1, 1) * np.arange(1, n + 1, dtype=np.float32)
        empty = np.full(n, np.nan, np.float32)
        y, record = _run(relu, (blocks,), (threads,), outside, x, empty)
        writes, case = record.counts(list(record.shapes)[1], True), f"For {n} elements"
        if writes.max() > 1 and not writes[threads:].any():
            raise Hint(
                f"{case} every block works on the first {threads}. A thread's number in the whole "
                f"grid is cuda.grid(1); threadIdx.x is its number in the block."
            )
        if writes.max() > 1:
            raise Hint(f"{case} element {writes.argmax()} is written {writes.max()} times.")
        if not writes.all():
            missed = np.flatnonzero(writes == 0)
            if missed[0] > 0 and len(missed) == n - missed[0]:
                raise Hint(
                    f"{case} the last {len(missed)} are never written: the guard is too low."
                )
            raise Hint(f"{case} element {missed[0]} is never written.")
        expected = np.maximum(x, 0)
        if not np.array_equal(y, expected):
            (k,) = _first(y != expected)
            if np.array_equal(y, x):
                raise Hint("Your kernel copies x. ReLU makes zero of what is negative.")
            if np.array_equal(y, np.where(x > 0, 0, x)):
                raise Hint("Your kernel keeps the negative numbers. ReLU keeps the positive ones.")
            raise Hint(f"Of {x[k]:g} your kernel makes {y[k]:g}, ReLU makes {expected[k]:g}.")
    return "Every element has its thread, and no thread reaches beyond the end."


def _correlation(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return functional.correlate2d(x, w, mode="valid")


def _require_order(record) -> None:
    """Refuse a kernel that reads shared memory before all have written it."""
    for name in record.shapes:
        if not name.startswith("shared"):
            continue
        reads, writes = record.accesses(name), record.accesses(name, writes=True)
        if set(reads.phase) & set(writes.phase):
            raise Hint(
                "A thread reads the tile while others may still be filling it. Between filling and "
                "reading, all threads must meet: cuda.syncthreads()."
            )
        for block in np.unique(reads.block):
            read = set(reads.element[reads.block == block])
            unfilled = read - set(writes.element[writes.block == block])
            if unfilled:
                place = divmod(int(min(unfilled)), record.shapes[name][-1])
                raise Hint(
                    f"tile{list(place)} is read, and nobody has filled it. The tile has 36 pixels, "
                    f"the halo included, and a block 16 threads: each must fetch two or three."
                )


@check
def check_shared_tile(correlate: object) -> str:
    """Check a correlation with a tile in shared memory."""
    outside = (
        "Blocks at the right and at the bottom stand partly outside. Guard both the fetching and "
        "the storing, each with the size of the array that is used, rows first."
    )
    random = np.random.default_rng(13)
    w = random.integers(-4, 5, (3, 3)).astype(np.float32) + np.eye(3, dtype=np.float32) / 2
    for height, width in ((6, 6), (10, 10), (11, 8), (7, 12)):
        x = random.integers(-9, 10, (height, width)).astype(np.float32)
        expected = _correlation(x, w)
        rows, columns = expected.shape
        grid = -(-columns // BLOCK), -(-rows // BLOCK)
        empty = np.full(expected.shape, np.nan, np.float32)
        y, record = _run(correlate, grid, (BLOCK, BLOCK), outside, x, w, empty)
        image = next(iter(record.shapes))
        shared = [name for name in record.shapes if name.startswith("shared")]
        if not any(record.count(name) for name in shared):
            raise Hint("Your kernel never reads the tile. Fetch the pixels into it, then use it.")
        _require_order(record)
        for block in range(grid[0] * grid[1]):
            most = record.counts(image, block=block).max()
            if most > 1:
                raise Hint(
                    f"A block reads the same pixel {most} times from global memory. Divide the 36 "
                    f"pixels among the 16 threads, so that each is fetched once."
                )
        if np.isnan(y).any():
            raise Hint(f"In {rows}×{columns} outputs, y{list(_first(np.isnan(y)))} has no sum.")
        if not np.allclose(y, expected):
            _explain_correlation(x, w, y, expected)
    return "Each pixel is fetched once by a block, and nobody reads before the tile is full."


def _explain_correlation(x, w, y, expected):
    swapped = "Rows and columns are swapped: x and y belong to columns, the second index"
    if y.shape == (BLOCK, BLOCK):
        wrong = {
            f"{swapped}, in the tile as in the output.": expected.T,
            f"{swapped}, also when the tile is filled.": _correlation(x, w.T).T,
            "The kernel is read with u and v swapped.": _correlation(x, w.T),
            "The kernel is flipped. Layers do not flip: they correlate.": _correlation(
                x, w[::-1, ::-1]
            ),
        }
        for hint, mistake in wrong.items():
            if np.allclose(y, mistake):
                raise Hint(hint)
    else:
        tops = y[: y.shape[0] // BLOCK * BLOCK, :BLOCK].reshape(-1, BLOCK, BLOCK)
        if len(tops) > 1 and np.allclose(tops, tops[0]):
            raise Hint(
                "All blocks compute the same: each must fetch its own pixels, which begin at its "
                "first output."
            )
    place = _first(~np.isclose(y, expected))
    raise Hint(f"y{list(place)} is {y[place]:g} and should be {expected[place]:g}.")


def _winners(x: np.ndarray) -> np.ndarray:
    """Return for each window of 3×3, two apart, the number of the pixel that wins it."""
    rows, columns = (x.shape[0] - 3) // 2 + 1, (x.shape[1] - 3) // 2 + 1
    winner = np.zeros((rows, columns), np.int32)
    for p, q in np.ndindex(rows, columns):
        u, v = divmod(int(x[2 * p : 2 * p + 3, 2 * q : 2 * q + 3].argmax()), 3)
        winner[p, q] = (2 * p + u) * x.shape[1] + 2 * q + v
    return winner


def _collected(dy, winner, shape, sees=None, number=None, adds=True) -> np.ndarray:
    """Return dx, or what a mistake makes of it."""
    sees = sees or (lambda i, j, p, q: True)
    number = number or (lambda i, j: i * shape[1] + j)
    dx = np.zeros(shape, np.float32)
    for i, j in np.ndindex(shape):
        for p, q in np.ndindex(winner.shape):
            inside = 0 <= i - 2 * p < 3 and 0 <= j - 2 * q < 3
            if inside and sees(i, j, p, q) and winner[p, q] == number(i, j):
                dx[i, j] = dy[p, q] + (dx[i, j] if adds else 0)
    return dx


@check
def check_pool_backward(pool_backward: object) -> str:
    """Check the gradient of an overlapping max-pooling, collected by each pixel."""
    function = _function(pool_backward)
    if "atomic" in function.__code__.co_names:
        raise Hint(
            "An atomic addition loses nothing, but adds in the order of arrival. Let each pixel "
            "look at its windows instead: then it needs no atomics."
        )
    outside = (
        "Near the border a pixel has fewer windows: keep p and q from 0 to the last window. And "
        "the grid may be larger than dx: guard i and j."
    )
    random = np.random.default_rng(7)
    for height, width in ((7, 7), (9, 7), (8, 10), (3, 12)):
        x = random.permutation(height * width).reshape(height, width)
        x[2::2, 2::2] += height * width  # winners of several windows
        winner = _winners(x)
        dy = random.permutation(np.arange(1, winner.size + 1)).reshape(winner.shape)
        dy = dy.astype(np.float32)
        grid = -(-width // BLOCK), -(-height // BLOCK)
        empty = np.full(x.shape, np.nan, np.float32)
        dx, record = _run(function, grid, (BLOCK, BLOCK), outside, dy, winner, empty)
        _require_own_pixels(record, list(record.shapes)[2], grid, x.shape)
        expected = _collected(dy, winner, x.shape)
        if not np.array_equal(dx, expected):
            _explain_pooling(dy, winner, dx, expected)
    return "Every pixel is written once, by its own thread, in an order that never changes."


def _require_own_pixels(record, name, grid, shape):
    writes = record.accesses(name, writes=True)
    down, across = np.divmod(writes.thread, BLOCK)
    i = writes.block // grid[0] * BLOCK + down
    j = writes.block % grid[0] * BLOCK + across
    row, column = np.divmod(writes.element, shape[1])
    if ((row != i) | (column != j)).any():
        if ((row == j) & (column == i)).all():
            raise Hint("Rows and columns are swapped: i is the row, the first index of dx.")
        raise Hint(
            "A thread writes to a pixel that is not its own: that is a scatter, and two threads "
            "may meet there. Let the thread of pixel (i, j) write dx[i, j] only, and look for the "
            "windows that it won."
        )
    if record.count(name):
        raise Hint(
            "dx is read before it holds anything. Collect in a variable of the thread, and write "
            "it once in the end."
        )
    counts = record.counts(name, writes=True)
    if not counts.all():
        place = _first(counts == 0)
        raise Hint(f"dx{list(place)} is never written. Who has won nothing gets 0.")
    if counts.max() > 1:
        raise Hint("A pixel is written several times. Collect first, and write once in the end.")


def _explain_pooling(dy, winner, dx, expected):
    shape = dx.shape
    everything = np.zeros(shape, np.float32)
    for p, q in np.ndindex(winner.shape):
        everything[2 * p : 2 * p + 3, 2 * q : 2 * q + 3] += dy[p, q]
    first = np.zeros(shape, np.float32)
    for p, q in reversed(list(np.ndindex(winner.shape))):
        first[divmod(int(winner[p, q]), shape[1])] = dy[p, q]
    wrong = {
        "A pixel may win several windows: add their gradients, do not keep the last one.": (
            _collected(dy, winner, shape, adds=False)
        ),
        "A pixel may win several windows: go on after the first one.": first,
        "Windows overlap: a pixel lies in up to four of them, not only in (i // 2, j // 2).": (
            _collected(dy, winner, shape, lambda i, j, p, q: (p, q) == (i // 2, j // 2))
        ),
        "Pixels are counted row by row: pixel (i, j) has the number i * dx.shape[1] + j.": (
            _collected(dy, winner, shape, number=lambda i, j: j * shape[0] + i)
        ),
        "A window sends its gradient to its winner only, not to all pixels under it.": everything,
    }
    for hint, mistake in wrong.items():
        if np.array_equal(dx, mistake) and not np.array_equal(mistake, expected):
            raise Hint(hint)
    place = _first(dx != expected)
    raise Hint(
        f"dx{list(place)} is {dx[place]:g} and should be {expected[place]:g}, for "
        f"{winner.shape[0]}×{winner.shape[1]} windows."
    )


@check
def check_pixels_read(pixels_read: Callable) -> str:
    """Check a count of global reads with tiles."""
    for n, b, k in ((6, 3, 3), (12, 4, 3), (12, 4, 5), (16, 8, 2), (12, 12, 5)):
        value = number(call(pixels_read, n, b, k), "The result")
        blocks, tile = (n // b) ** 2, b + k - 1
        if value == blocks * tile**2:
            continue
        reasons = {
            n * n * k * k: "that is without a tile: each output reads its own window.",
            tile**2: "that is one block. How many are there?",
            n // b * tile**2: "there are n/b blocks in each of the two directions.",
            blocks * b * b: "each block reads a halo as well.",
            blocks * (b + k) ** 2: "a window of k reaches k − 1 pixels further, not k.",
            blocks * (b + 2) ** 2: "the halo depends on the window: it has k − 1 rows.",
            blocks * (b + 2 * (k - 1)) ** 2: "the windows of a block reach beyond it on two sides "
            "only, since a window starts at its output.",
            (n + k - 1) ** 2: "that is each pixel once. Halos overlap, and are read several times.",
            blocks * tile * b: "the halo is on two sides: below and to the right.",
        }
        raise Hint(f"n = {n}, b = {b}, k = {k}: {reasons.get(value, f'not {value:g}.')}")
    return "Blocks × tile, and the smaller the block, the more of the tile is halo."
