"""Wrong answers to the exercises of chapter 12, and the hints they get."""

import numpy as np
import pytest

from convlib.notebook.checks import fast_on_the_cpu as checks

# A tile


def tiled(x, w, rows=4, columns=4, reset="tile", last=0, transpose=False):
    (pixels, terms), filters = x.shape, w.shape[1]
    y = np.zeros((pixels, filters))
    total = np.zeros((rows, columns))
    for p in range(0, pixels - last, rows):
        for o in range(0, filters, columns):
            if reset == "tile":
                total = np.zeros((rows, columns))
            for k in range(terms):
                if reset == "term":
                    total = np.zeros((rows, columns))
                total = total + np.outer(x[p : p + rows, k], w[k, o : o + columns])
            y[p : p + rows, o : o + columns] = total
    return y


def one_at_a_time(x, w):
    return np.array(
        [
            [sum(x[p, k] * w[k, o] for k in range(len(w))) for o in range(w.shape[1])]
            for p in range(len(x))
        ]
    )


def loads_inside(x, w):
    y = np.zeros((len(x), w.shape[1]))
    for p in range(0, len(x), 4):
        for o in range(0, w.shape[1], 4):
            for k in range(len(w)):
                some = x[p : p + 4, k]
                for i in range(4):
                    for j in range(4):
                        y[p + i, o + j] += some[i] * w[k, o + j]
    return y


def last_term_lost(x, w):
    return x[:, :-1] @ w[:-1, :]


WRONG_TILES = [
    ("Both factors are loaded", one_at_a_time),
    ("in one direction only", lambda x, w: tiled(x, w, 1, 4)),
    ("in one direction only", lambda x, w: tiled(x, w, 4, 1)),
    ("inside the innermost loop", loads_inside),
    ("too small", lambda x, w: tiled(x, w, 2, 4)),
    ("do not fit into 32 registers", lambda x, w: x[:, :] @ w[:, :]),
    ("only the last term is left", lambda x, w: tiled(x, w, reset="term")),
    ("go on from those of the tile before", lambda x, w: tiled(x, w, reset="never")),
    ("last term of each sum is missing", last_term_lost),
    ("rows 4 to 7", lambda x, w: tiled(x, w, last=4)),
    ("should be", lambda x, w: np.ones((len(x), w.shape[1]))),
    ("shape", lambda x, w: tiled(x, w)[:-1]),
    ("say both where to read", lambda x, w: x[0] * w[0]),
    ("returns nothing", lambda x, w: tiled(x, w) is None or None),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_TILES)
def test_wrong_tiles(hint, answer):
    result = checks.check_tiled(answer)
    assert not result and hint in repr(result)


def test_the_right_tile():
    assert checks.check_tiled(tiled)
    assert "Not tried" in repr(checks.check_tiled(lambda x, w: ...))


def test_memory_counts_each_number():
    memory = checks.Memory(np.ones((3, 4)))
    memory[0, 0], memory[0, 0], memory[0:2, 1:4]
    assert (memory.loads, memory.shape, len(memory)) == (8, (3, 4), 3)


# A sum without a race


def gradient(x, dy, run, threads, chunks=8, end=None):
    sums = np.zeros((chunks, x.shape[1], dy.shape[1]), x.dtype)
    end = end or (lambda i: i * len(x) // chunks)

    def task(chunk, thread):
        here = slice(end(chunk), end(chunk + 1))
        sums[chunk] = x[here].T @ dy[here]

    run(task, chunks)
    total = sums[0].copy()
    for part in sums[1:]:
        total += part
    return total


def racing(x, dy, run, threads):
    total = np.zeros((x.shape[1], dy.shape[1]), x.dtype)

    def task(chunk, thread):
        nonlocal total
        here = slice(chunk * len(x) // 16, (chunk + 1) * len(x) // 16)
        total = total + x[here].T @ dy[here]

    run(task, 16)
    return total


def as_they_arrive(x, dy, run, threads):
    parts = []

    def task(chunk, thread):
        here = slice(chunk * len(x) // 16, (chunk + 1) * len(x) // 16)
        parts.append(x[here].T @ dy[here])

    run(task, 16)
    return np.sum(parts, axis=0)


def one_sum_a_thread(x, dy, run, threads):
    sums = np.zeros((threads, x.shape[1], dy.shape[1]), x.dtype)

    def task(chunk, thread):
        here = slice(chunk * len(x) // 16, (chunk + 1) * len(x) // 16)
        sums[thread] += x[here].T @ dy[here]

    run(task, 16)
    return sums.sum(axis=0)


def overwritten(x, dy, run, threads):
    total = np.zeros((x.shape[1], dy.shape[1]), x.dtype)

    def task(chunk, thread):
        here = slice(chunk * len(x) // 8, (chunk + 1) * len(x) // 8)
        total[...] = x[here].T @ dy[here]

    run(task, 8)
    return total


WRONG_GRADIENTS = [
    ("a race as well", racing),
    ("added as they arrive", as_they_arrive),
    ("a sum for each thread", one_sum_a_thread),
    ("number of chunks depends", lambda *a: gradient(*a, chunks=4 * a[3])),
    ("run was never called", lambda x, dy, run, threads: x.T @ dy),
    ("the most tasks you start at once is 1", lambda *a: gradient(*a, chunks=1)),
    ("windows are lost", lambda *a: gradient(*a, end=lambda i: i * (len(a[0]) // 8))),
    ("not their mean", lambda *a: gradient(*a) / len(a[0])),
    ("Only one chunk is left", overwritten),
    ("all zeros", lambda x, dy, run, threads: np.zeros((9, 4), np.float32)),
    ("x.T @ dy", lambda *a: gradient(*a).T),
    ("exactly one chunk", lambda *a: 2 * gradient(*a)),
    ("shape", lambda *a: gradient(*a)[:-1]),
    ("stopped with", lambda x, dy, run, threads: run(lambda chunk: None, 8)),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_GRADIENTS)
def test_wrong_gradients(hint, answer):
    result = checks.check_kernel_gradient(answer)
    assert not result and hint in repr(result)


@pytest.mark.parametrize("chunks", [4, 8, 13, 64])
def test_right_gradients(chunks):
    assert checks.check_kernel_gradient(lambda *a: gradient(*a, chunks=chunks))
    assert "Not tried" in repr(checks.check_kernel_gradient(lambda x, dy, run, threads: ...))


# Winograd

B_T = np.array([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
G = np.array([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
A_T = np.array([[1.0, 1, 1, 0], [0, 1, -1, -1]])


def winograd(d, g, b=B_T, kernel=G, a=A_T):
    return a @ ((kernel @ g @ kernel.T) * (b @ d @ b.T)) @ a.T


def direct(d, g):
    return np.array([[(d[i : i + 3, j : j + 3] * g).sum() for j in (0, 1)] for i in (0, 1)])


def in_one_direction(d, g):
    rows = [
        A_T @ sum((G @ g[u]) * (B_T @ d[i + u]) for u in range(3))  # 4 products for each row of g
        for i in (0, 1)
    ]
    return np.array(rows)


def changed(matrix, row, column, factor=-1):
    matrix = matrix.copy()
    matrix[row, column] *= factor
    return matrix


def into_floats(d, g):
    v = np.zeros((4, 4))
    v[...] = B_T @ d @ B_T.T
    return A_T @ ((G @ g @ G.T) * v) @ A_T.T


WRONG_WINOGRADS = [
    ("with 36 products", direct),
    ("one direction only", in_one_direction),
    ("np.empty((4, 4), d.dtype)", into_floats),
    ("transposed", lambda d, g: winograd(d, g).T),
    ("turned by 180", lambda d, g: winograd(d, g[::-1, ::-1])),
    ("columns of the kernel", lambda d, g: winograd(d, g.T)),
    ("columns of the patch", lambda d, g: winograd(d.T, g)),
    ("halves of G are forgotten", lambda d, g: winograd(d, g, kernel=np.sign(G))),
    ("divided by four", lambda d, g: winograd(d, g, kernel=np.where(abs(G) < 1, G / 2, G))),
    ("element by element", lambda d, g: A_T @ ((G @ g @ G.T) @ (B_T @ d @ B_T.T)) @ A_T.T),
    ("element by element", lambda d, g: A_T @ ((B_T @ d @ B_T.T) @ (G @ g @ G.T)) @ A_T.T),
    ("B instead of Bᵀ", lambda d, g: winograd(d, g, b=B_T.T)),
    ("from the left only", lambda d, g: A_T @ ((G @ g @ G.T) * (B_T @ d)) @ A_T.T),
    ("from the right only", lambda d, g: A_T @ ((G @ g @ G.T) * (d @ B_T.T)) @ A_T.T),
    ("d is not transformed", lambda d, g: A_T @ ((G @ g @ G.T) * d) @ A_T.T),
    ("on the right of d", lambda d, g: A_T @ ((G @ g @ G.T) * (B_T @ d @ B_T)) @ A_T.T),
    ("row 3, column 3 of Bᵀ", lambda d, g: winograd(d, g, b=changed(B_T, 3, 3))),
    ("row 2, column 1 of Bᵀ", lambda d, g: winograd(d, g, b=changed(B_T, 2, 1))),
    ("row 2, column 1 of G", lambda d, g: winograd(d, g, kernel=changed(G, 2, 1))),
    ("row 1, column 3 of Aᵀ", lambda d, g: winograd(d, g, a=changed(A_T, 1, 3))),
    ("row 1 of Aᵀ", lambda d, g: winograd(d, g, a=changed(A_T, 1, slice(None)))),
    ("the chapter's picture", lambda d, g: np.ones((2, 2))),
    ("shape", lambda d, g: (G @ g @ G.T) * (B_T @ d @ B_T.T)),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_WINOGRADS)
def test_wrong_winograds(hint, answer):
    result = checks.check_winograd_tile(answer)
    assert not result and hint in repr(result), repr(result)


def by_hand(d, g):
    """Write the transforms out instead of using matrices."""

    def data(r):
        return np.array([r[0] - r[2], r[1] + r[2], r[2] - r[1], r[1] - r[3]])

    def kernel(r):
        return np.array([r[0], (r[0] + r[1] + r[2]) / 2, (r[0] - r[1] + r[2]) / 2, r[2]])

    def output(r):
        return np.array([r[0] + r[1] + r[2], r[1] - r[2] - r[3]])

    return output(output(kernel(kernel(g).T) * data(data(d).T)).T)


def test_right_winograds():
    assert checks.check_winograd_tile(winograd)
    assert "Not tried" in repr(checks.check_winograd_tile(lambda d, g: ...))


def test_other_right_winograds():
    # Signs and factors may be moved from one matrix to another.
    signs = np.diag([1.0, 1, -1, 1])
    assert checks.check_winograd_tile(lambda d, g: winograd(d, g, signs @ B_T, signs @ G))
    halves = np.diag([1.0, 2, 2, 1])
    assert checks.check_winograd_tile(
        lambda d, g: winograd(d, g, B_T, halves @ G, A_T @ np.linalg.inv(halves))
    )
    assert checks.check_winograd_tile(by_hand)
