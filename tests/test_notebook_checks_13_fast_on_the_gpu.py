"""Wrong answers to the exercises of chapter 13, and the hints they get: in the simulator."""

import numba
import numpy as np
import pytest
from simulated import in_the_simulator, needs_no_simulator, needs_simulator

if numba.config.ENABLE_CUDASIM:
    from numba import cuda, float32

    from convlib.notebook.checks import fast_on_the_gpu as checks


@needs_no_simulator
def test_this_file_in_the_simulator():
    in_the_simulator(__file__)


@needs_no_simulator
def test_elsewhere_the_checks_ask_for_the_simulator():
    from convlib.notebook.checks import fast_on_the_gpu

    result = fast_on_the_gpu.check_shared_tile(lambda x, w, y: None)
    assert not result and "restart" in repr(result)


# Guards -------------------------------------------------------------------------------------------


def blocks_for(n, threads):
    return -(-n // threads)


def relu(x, y):
    i = cuda.grid(1)
    if i < y.size:
        y[i] = max(x[i], float32(0))


def relu_without_guard(x, y):
    i = cuda.grid(1)
    y[i] = max(x[i], float32(0))


def relu_one_too_many(x, y):
    i = cuda.grid(1)
    if i <= y.size:
        y[i] = max(x[i], float32(0))


def relu_one_too_few(x, y):
    i = cuda.grid(1)
    if i < y.size - 1:
        y[i] = max(x[i], float32(0))


def relu_without_first(x, y):
    i = cuda.grid(1)
    if 0 < i < y.size:
        y[i] = max(x[i], float32(0))


def relu_of_the_block(x, y):
    i = cuda.threadIdx.x
    if i < y.size:
        y[i] = max(x[i], float32(0))


def relu_by_everybody(x, y):
    for i in range(y.size):
        y[i] = max(x[i], float32(0))


def copy(x, y):
    i = cuda.grid(1)
    if i < y.size:
        y[i] = x[i]


def relu_upside_down(x, y):
    i = cuda.grid(1)
    if i < y.size:
        y[i] = min(x[i], float32(0))


def absolute(x, y):
    i = cuda.grid(1)
    if i < y.size:
        y[i] = abs(x[i])


def misspelt(x, y):
    i = cuda.grid(1)
    if i < y.size:
        y[i] = maximum(x[i], 0)  # noqa: F821, the mistake


def relu_skeleton(x, y):
    i = ...  # noqa: F841, what the reader finds


@needs_simulator
@pytest.mark.parametrize(
    ("hint", "kernel"),
    [
        ("only if its number is below", relu_without_guard),
        ("itself is already too large", relu_one_too_many),
        ("the last 1 are never written", relu_one_too_few),
        ("element 0 is never written", relu_without_first),
        ("cuda.grid(1)", relu_of_the_block),
        ("is written", relu_by_everybody),
        ("copies x", copy),
        ("keeps the negative", relu_upside_down),
        ("Of -2 your kernel makes 2", absolute),
        ("stopped with NameError", misspelt),
        ("A kernel is expected", 3),
        ("Not tried", relu_skeleton),
        ("Not tried", ...),
    ],
)
def test_wrong_guards(hint, kernel):
    result = checks.check_guards(kernel, blocks_for)
    assert not result and hint in repr(result)


@needs_simulator
@pytest.mark.parametrize(
    ("hint", "blocks"),
    [
        ("have no thread", lambda n, threads: n // threads),
        ("one more than needed", lambda n, threads: n // threads + 1),
        ("no parts of blocks", lambda n, threads: n / threads),
        ("more than one thread", lambda n, threads: n),
        ("threads in a block", lambda n, threads: threads),
        ("not the smallest", lambda n, threads: 77),
        ("Not tried", lambda n, threads: ...),
    ],
)
def test_wrong_numbers_of_blocks(hint, blocks):
    result = checks.check_guards(relu, blocks)
    assert not result and hint in repr(result)


@needs_simulator
def test_right_guards():
    assert checks.check_guards(relu, blocks_for)
    assert checks.check_guards(cuda.jit(relu), blocks_for)


# A shared tile ------------------------------------------------------------------------------------

TILE = """
def correlate(x, w, y):
    tile = cuda.shared.array((6, 6), float32)
    j, i = cuda.grid(2)
    row, column = cuda.threadIdx.y, cuda.threadIdx.x
    for k in range(4 * row + column, 36, 16):
        p, q = i - row + k // 6, j - column + k % 6
        if p < x.shape[0] and q < x.shape[1]:
            tile[k // 6, k % 6] = x[p, q]
    cuda.syncthreads()
    if i < y.shape[0] and j < y.shape[1]:
        total = float32(0)
        for u in range(3):
            for v in range(3):
                total += tile[row + u, column + v] * w[u, v]
        y[i, j] = total
"""


def made(text, name, *changes):
    """Return the kernel that a text defines, after some changes to it."""
    for before, after in changes:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    scope = {"cuda": cuda, "float32": float32}
    exec(text, scope)
    return scope[name]


WRONG_TILES = [
    ("syncthreads", ("    cuda.syncthreads()\n", "")),
    ("nobody has filled it", ("36, 16)", "16, 16)")),
    ("nobody has filled it", ("range(4 * row + column, 36, 16)", "[6 * row + column]")),
    ("never reads the tile", ("tile[row + u, column + v] *", "x[i + u, j + v] *")),
    (
        "the same pixel",
        ("tile[k // 6, k % 6] = x[p, q]", "tile[k // 6, k % 6] = x[p, q]; total = x[0, 0]"),
    ),
    ("16 times", ("range(4 * row + column, 36, 16)", "range(36)")),
    ("stand partly outside", ("if p < x.shape[0] and q < x.shape[1]:", "if True:")),
    ("stand partly outside", ("if i < y.shape[0] and j < y.shape[1]:", "if True:")),
    ("stand partly outside", ("x.shape[0] and q < x.shape[1]", "x.shape[1] and q < x.shape[0]")),
    ("in the tile as in the output", ("tile[row + u, column + v]", "tile[column + u, row + v]")),
    ("in the tile as in the output", ("y[i, j] = total", "y[j, i] = total")),
    ("when the tile is filled", ("tile[k // 6, k % 6] =", "tile[k % 6, k // 6] =")),
    ("u and v swapped", ("w[u, v]", "w[v, u]")),
    ("flipped", ("w[u, v]", "w[2 - u, 2 - v]")),
    ("All blocks compute the same", ("i - row + k // 6, j - column + k % 6", "k // 6, k % 6")),
    ("should be", ("w[u, v]", "w[u, v] * 2")),
    ("has no sum", ("if i < y.shape[0]", "if i < y.shape[0] - 1")),
    (
        "must reach it",
        ("    for k in range(4", "    if i >= y.shape[0]:\n        return\n    for k in range(4"),
    ),
    ("Not tried", ("float32(0)", "...")),
]


@needs_simulator
@pytest.mark.parametrize(("hint", "change"), WRONG_TILES)
def test_wrong_tiles(hint, change):
    result = checks.check_shared_tile(made(TILE, "correlate", change))
    assert not result and hint in repr(result)


@needs_simulator
def test_the_right_tile():
    kernel = made(TILE, "correlate")
    assert checks.check_shared_tile(kernel) and checks.check_shared_tile(cuda.jit(kernel))


# Pool backward ------------------------------------------------------------------------------------

POOL = """
def pool_backward(dy, winner, dx):
    j, i = cuda.grid(2)
    if i < dx.shape[0] and j < dx.shape[1]:
        total = float32(0)
        for p in range(max(0, (i - 1) // 2), min(dy.shape[0], i // 2 + 1)):
            for q in range(max(0, (j - 1) // 2), min(dy.shape[1], j // 2 + 1)):
                if winner[p, q] == i * dx.shape[1] + j:
                    total += dy[p, q]
        dx[i, j] = total
"""
SCATTER = """
def scatter(dy, winner, dx):
    q, p = cuda.grid(2)
    if p < dy.shape[0] and q < dy.shape[1]:
        place = winner[p, q]
        dx[place // dx.shape[1], place % dx.shape[1]] += dy[p, q]
"""
ATOMIC = SCATTER.replace(
    "dx[place // dx.shape[1], place % dx.shape[1]] += dy[p, q]",
    "cuda.atomic.add(dx, (place // dx.shape[1], place % dx.shape[1]), dy[p, q])",
)

WRONG_POOLS = [
    ("do not keep the last one", ("total += dy", "total = dy")),
    ("go on after the first one", ("total += dy[p, q]", "total += dy[p, q] if total == 0 else 0")),
    ("not only in (i // 2, j // 2)", ("if winner", "if p == i // 2 and q == j // 2 and winner")),
    ("counted row by row", ("i * dx.shape[1] + j:", "j * dx.shape[0] + i:")),
    ("to its winner only", ("winner[p, q] == i * dx.shape[1] + j:", "True:")),
    ("keep p and q from 0", ("max(0, (i - 1) // 2)", "(i - 1) // 2")),
    ("keep p and q from 0", ("min(dy.shape[0], i // 2 + 1)", "i // 2 + 1")),
    ("guard i and j", ("if i < dx.shape[0] and j < dx.shape[1]:", "if True:")),
    ("Who has won nothing gets 0", ("dx[i, j] = total", "if total: dx[i, j] = total")),
    ("read before it holds anything", ("dx[i, j] = total", "dx[i, j] += total")),
    ("written several times", ("dx[i, j] = total", "dx[i, j] = 0; dx[i, j] = total")),
    ("Rows and columns are swapped", ("dx[i, j] = total", "dx[j, i] = total")),
    ("should be", ("dx[i, j] = total", "dx[i, j] = 2 * total")),
    ("Not tried", ("float32(0)", "...")),
]


@needs_simulator
@pytest.mark.parametrize(("hint", "change"), WRONG_POOLS)
def test_wrong_pools(hint, change):
    result = checks.check_pool_backward(made(POOL, "pool_backward", change))
    assert not result and hint in repr(result)


@needs_simulator
def test_scattering_is_refused():
    assert "that is a scatter" in repr(checks.check_pool_backward(made(SCATTER, "scatter")))
    assert "order of arrival" in repr(checks.check_pool_backward(made(ATOMIC, "scatter")))


@needs_simulator
def test_the_right_pool():
    kernel = made(POOL, "pool_backward")
    assert checks.check_pool_backward(kernel) and checks.check_pool_backward(cuda.jit(kernel))
    all_windows = (
        ("max(0, (i - 1) // 2), min(dy.shape[0], i // 2 + 1)", "dy.shape[0]"),
        ("max(0, (j - 1) // 2), min(dy.shape[1], j // 2 + 1)", "dy.shape[1]"),
    )
    assert checks.check_pool_backward(made(POOL, "pool_backward", *all_windows))


# Traffic ------------------------------------------------------------------------------------------


@needs_simulator
@pytest.mark.parametrize(
    ("hint", "answer"),
    [
        ("without a tile", lambda n, b, k: n * n * k * k),
        ("one block", lambda n, b, k: (b + k - 1) ** 2),
        ("in each of the two", lambda n, b, k: n // b * (b + k - 1) ** 2),
        ("a halo as well", lambda n, b, k: n * n),
        ("not k.", lambda n, b, k: (n // b) ** 2 * (b + k) ** 2),
        ("depends on the window", lambda n, b, k: (n // b) ** 2 * (b + 2) ** 2),
        ("two sides only", lambda n, b, k: (n // b) ** 2 * (b + 2 * (k - 1)) ** 2),
        ("each pixel once", lambda n, b, k: (n + k - 1) ** 2),
        ("on two sides: below", lambda n, b, k: (n // b) ** 2 * (b + k - 1) * b),
        ("not 7", lambda n, b, k: 7),
        ("Not tried", lambda n, b, k: ...),
    ],
)
def test_wrong_traffic(hint, answer):
    result = checks.check_pixels_read(answer)
    assert not result and hint in repr(result)


@needs_simulator
def test_the_right_traffic():
    assert checks.check_pixels_read(lambda n, b, k: (n // b) ** 2 * (b + k - 1) ** 2)


@needs_simulator
def test_the_winners_are_those_of_the_library():
    from convlib import functional

    x = np.random.default_rng(0).permutation(80).reshape(8, 10).astype(np.float32)
    winner = checks._winners(x)
    dy = np.arange(1, winner.size + 1, dtype=np.float32).reshape(winner.shape)
    expected = functional.max_pool2d_gradient(
        x.reshape(1, 8, 10, 1), dy.reshape(1, *dy.shape, 1), pool_size=3, strides=2
    )
    assert np.array_equal(checks._collected(dy, winner, x.shape), expected[0, :, :, 0])
