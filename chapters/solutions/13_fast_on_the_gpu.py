# %% [markdown]
# # Solutions to chapter 13
#
# The exercises are in [13 · Fast on the GPU](../13_fast_on_the_gpu.ipynb).

# %%
import os

# Numba reads this once, while it is being imported: so it comes before everything else.
os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

# %%
from convlib.notebook import simulator

simulator.install()

# %%
import numpy as np
from numba import cuda, float32

from convlib.notebook.checks import fast_on_the_gpu as checks

# %% [markdown]
# **1. Guards.** The number of blocks is rounded up, so that nobody is missed. Then there may be too
# many threads, and the guard sends them home.


# %%
@cuda.jit
def relu(x, y):
    """Let each thread compute one element of y: x where it is positive, else zero."""
    i = cuda.grid(1)
    if i < y.size:
        y[i] = max(x[i], float32(0))


def blocks_for(n, threads):
    """Return how many blocks cover n elements."""
    return (n + threads - 1) // threads


assert checks.check_guards(relu, blocks_for)
print([blocks_for(n, 4) for n in (1, 4, 5, 12)])

# %% [markdown]
# **2. A shared tile.** A thread of number $t$ fetches the pixels $t$, $t + 16$ and $t + 32$ of the
# tile, if they exist. All threads reach the barrier; only then are those outside sent home.


# %%
@cuda.jit
def correlate(x, w, y):
    """Compute y[i, j], the sum of x[i + u, j + v] * w[u, v], from a tile."""
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


assert checks.check_shared_tile(correlate)

# %% [markdown]
# **3. Pool backward, gathered.** Window $p$ covers the rows $2p$, $2p + 1$ and $2p + 2$. So row $i$
# lies in the windows from $\lceil (i - 2) / 2 \rceil$, which is `(i - 1) // 2`, up to `i // 2`, as
# far as they exist.


# %%
@cuda.jit
def pool_backward(dy, winner, dx):
    """Let each pixel collect the gradients of the windows that it won."""
    j, i = cuda.grid(2)
    if i < dx.shape[0] and j < dx.shape[1]:
        total = float32(0)
        for p in range(max(0, (i - 1) // 2), min(dy.shape[0], i // 2 + 1)):
            for q in range(max(0, (j - 1) // 2), min(dy.shape[1], j // 2 + 1)):
                if winner[p, q] == i * dx.shape[1] + j:
                    total += dy[p, q]
        dx[i, j] = total


assert checks.check_pool_backward(pool_backward)
dx = cuda.to_device(np.full((5, 5), np.nan, np.float32))
gradient = cuda.to_device(np.array([[1, 2], [3, 4]], np.float32))
pool_backward[(2, 2), (4, 4)](gradient, cuda.to_device(np.full((2, 2), 12, np.int32)), dx)
print(dx.copy_to_host())

# %% [markdown]
# **4. Traffic.** There are $(n/b)^2$ blocks, and each reads a tile of $b + k - 1$ rows and columns.


# %%
def pixels_read(n, b, k):
    """Return the number of reads of one channel."""
    return (n // b) ** 2 * (b + k - 1) ** 2


assert checks.check_pixels_read(pixels_read)
print([round(pixels_read(12, b, 3) / 12**2, 2) for b in (1, 2, 3, 4, 6, 12)])
