# %% [markdown]
# # Solutions to chapter 12
#
# The exercises are in [12 · Fast on the CPU](../12_fast_on_the_cpu.ipynb).

# %%
import numpy as np

from convlib.notebook.checks import fast_on_the_cpu as checks

# %% [markdown]
# **1. A tile.** Sixteen sums begin at zero. Each step loads four numbers of $x$ and four of $w$,
# and their outer product has sixteen products: eight loads for sixteen multiply-adds.


# %%
def tiled(x, w):
    """Return x · w as an array; x.shape is (pixels, terms), w.shape is (terms, filters)."""
    (pixels, terms), filters = x.shape, w.shape[1]
    y = np.empty((pixels, filters))
    for p in range(0, pixels, 4):
        for o in range(0, filters, 4):
            sums = np.zeros((4, 4))
            for k in range(terms):
                sums += np.outer(x[p : p + 4, k], w[k, o : o + 4])
            y[p : p + 4, o : o + 4] = sums
    return y


solution_1 = checks.check_tiled(tiled)
assert solution_1
solution_1

# %% [markdown]
# **2. A sum without a race.** The number of chunks is fixed, whatever the number of threads. Each
# task writes a row of its own, so there is nothing to race for. The rows are added in order, after
# all tasks have ended. Chunk $i$ ends where chunk $i + 1$ begins, so no window is lost when their
# number is not divisible.


# %%
def kernel_gradient(x, dy, run, threads):
    """Return dw, of shape (9, 4)."""
    chunks = 16
    sums = np.empty((chunks, x.shape[1], dy.shape[1]), x.dtype)

    def task(chunk, thread):
        first, last = chunk * len(x) // chunks, (chunk + 1) * len(x) // chunks
        sums[chunk] = x[first:last].T @ dy[first:last]

    run(task, chunks)
    dw = sums[0]
    for chunk in range(1, chunks):
        dw = dw + sums[chunk]
    return dw


solution_2 = checks.check_kernel_gradient(kernel_gradient)
assert solution_2
solution_2

# %% [markdown]
# **3. A Winograd tile.** The matrices are those of the chapter. Left and right together transform
# columns and rows.


# %%
def winograd_tile(d, g):
    """Return the 2×2 outputs of a valid correlation."""
    B_T = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    G = np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]])
    A_T = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
    U, V = G @ g @ G.T, B_T @ d @ B_T.T
    return A_T @ (U * V) @ A_T.T


solution_3 = checks.check_winograd_tile(winograd_tile)
assert solution_3
solution_3
