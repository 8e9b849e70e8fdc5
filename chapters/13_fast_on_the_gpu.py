# %% [markdown]
# # 13 · Fast on the GPU
#
# **A graphics processor runs ten thousand threads at once. They all work on the same image and the
# same output. Who does what, and why do they not get in each other's way?**
#
# You need no GPU for this chapter. The kernels run in Numba's simulator, which executes them as
# plain Python, one thread after the other. What they read and write is noted and drawn.
#
# Reading: thirty minutes. Running: seconds, and nothing to download.

# %%
import os

# Numba reads this once, while it is being imported: so it comes before everything else.
os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

# %%
from convlib.notebook import simulator

simulator.install()

# %% [markdown]
# The last line puts our own engine into the simulator. It is stricter than the original one, and
# nothing in it is left to chance. A thread runs until it has to wait for others, then the next one
# does. Memory that nobody has written yet holds NaN, “not a number”. And every access can be
# recorded.

# %%
from pathlib import Path

import numpy as np
from numba import cuda, float32

import convlib.kernels.cuda
from convlib import functional, layers, models
from convlib.kernels import get_backend, reference
from convlib.kernels.cuda import correlation, pooling
from convlib.notebook import explore, show, show_animation, source
from convlib.notebook.checks import fast_on_the_gpu as checks
from convlib.notebook.figures import memory_accesses as figures

# %% [markdown]
# ## The smallest example
#
# Seven numbers, and a window of three that sums them up. Five outputs, so five threads are wanted,
# one for each. A *kernel* is the function that each of them runs. All run the same one; what tells
# them apart is their number.


# %%
@cuda.jit
def sum_of_three(x, y):
    """Let each thread compute one output."""
    i = cuda.grid(1)
    if i < y.size:
        y[i] = x[i] + x[i + 1] + x[i + 2]


x = cuda.to_device(np.array([3, 1, 4, 1, 5, 9, 2], np.float32))
y = cuda.to_device(np.full(5, np.nan, np.float32))
with simulator.recording() as record:
    sum_of_three[2, 3](x, y)
print("y =", y.copy_to_host())
assert y.copy_to_host().tolist() == [8, 6, 10, 15, 16]

# %% [markdown]
# Threads come in *blocks* of one size. `sum_of_three[2, 3]` starts two blocks of three threads, all
# in all six. `cuda.grid(1)` is the thread's number among all of them,
# `blockIdx · blockDim + threadIdx`. This is what they did.

# %%
reads, writes = record.accesses("x"), record.accesses("y", writes=True)
for block in range(2):
    for thread in range(3):
        read = reads.element[(reads.block == block) & (reads.thread == thread)]
        written = writes.element[(writes.block == block) & (writes.thread == thread)]
        print(f"block {block}, thread {thread}:  reads x{read}  writes y{written}")
assert record.counts("y", writes=True).tolist() == [1, 1, 1, 1, 1]

# %% [markdown]
# Two things matter for the rest of the chapter. Every output has *one* thread that writes it, so
# nobody overwrites anybody. And the sixth thread has nothing to do: the *guard* `if i < y.size`
# keeps it from writing beyond the end. Forget it, and the thread writes into memory that belongs to
# something else.
#
# Why blocks? The threads of one block run on the same part of the chip. They can wait for each
# other, and share a small fast memory there. Threads of different blocks can do neither. The large
# memory in which `x` and `y` lie is called *global*; all threads reach it, and it is slow.
#
# ## One thread per output
#
# Now the layer. An image $x$ of $h \times w$ pixels with $C$ channels, windows of 3×3, and $F$
# filters:
#
# $$y_{i,j,f} = \sum_{u=0}^{2} \sum_{v=0}^{2} \sum_{c=0}^{C-1} x_{i+u,\,j+v,\,c} \; w_{u,v,c,f}.$$
#
# Each index on the left becomes a number of the thread. The sums on the right become its loops.


# %%
@cuda.jit
def one_thread_per_output(x, w, y):
    """Convolve one image: each thread computes one sum."""
    f, j, i = cuda.grid(3)
    if i < y.shape[0] and j < y.shape[1] and f < y.shape[2]:
        total = float32(0)
        for u in range(3):
            for v in range(3):
                for c in range(x.shape[2]):
                    total += x[i + u, j + v, c] * w[u, v, c, f]
        y[i, j, f] = total


def launch(kernel, x, w, block):
    """Run a kernel in blocks of so many rows and columns; return y and the record."""
    height, width, filters = x.shape[0] - 2, x.shape[1] - 2, w.shape[3]
    y = cuda.to_device(np.full((height, width, filters), np.nan, np.float32))
    blocks = 1, -(-width // block), -(-height // block)
    with simulator.recording() as record:
        kernel[blocks, (filters, block, block)](cuda.to_device(x), cuda.to_device(w), y)
    return y.copy_to_host(), record


def example(height, width, channels=1, filters=1):
    """Return an image, a kernel, and what the reference makes of them."""
    random = np.random.default_rng(13)
    x = random.normal(size=(height, width, channels)).astype(np.float32)
    w = random.normal(size=(3, 3, channels, filters)).astype(np.float32)
    return x, w, functional.conv2d(x[None], w, backend="reference")[0]


x, w, expected = example(8, 8)
y, naive = launch(one_thread_per_output, x, w, 3)
print("agrees with the reference:", np.allclose(y, expected, atol=1e-5))
assert np.allclose(y, expected, atol=1e-5)

# %% [markdown]
# `float32(0)` is not a whim. In a kernel `0.0` would be a number of 64 bits, and so would the sum
# become; most GPUs are many times slower with those.
#
# Eight by eight pixels and blocks of 3×3 threads give four blocks. Which pixels did the first block
# read, and how often?

# %%
show(
    figures.count_maps(
        {
            "read by the first block": naive.counts("x", block=0)[..., 0],
            "read by all four blocks": naive.counts("x")[..., 0],
        },
        {"read by the first block": (0, 0, 3, 3)},
    ),
    "Nine threads, framed in orange, read 5×5 pixels: their own and a border of two more rows and "
    "columns, the halo; the pixel in the middle is read nine times.",
)
assert naive.count("x") == 36 * 9 and (naive.counts("x", block=0) > 0).sum() == 25

# %% [markdown]
# The block reads 81 numbers, and only 25 of them are different. All four blocks read 36 · 9 = 324
# numbers from an image of 64.
#
# ## A shared tile
#
# So let the block fetch its 25 pixels once, into the memory that its threads share, and compute
# from there. A *tile* for $b \times b$ outputs has $b + 2$ rows and columns. The threads divide the
# work of fetching among themselves, whoever needs the pixel later. The weights go the same way.


# %%
def with_shared_tile(b, channels, filters):
    """Return the kernel for blocks of b×b outputs with so many filters."""
    side, threads = b + 2, b * b * filters

    @cuda.jit
    def shared_tile(x, w, y):
        tile = cuda.shared.array((side, side, channels), float32)
        weights = cuda.shared.array((3, 3, channels, filters), float32)
        f, j, i = cuda.grid(3)
        row, column = cuda.threadIdx.z, cuda.threadIdx.y
        first = (row * b + column) * filters + f

        for k in range(first, side * side * channels, threads):
            p, q, c = k // (side * channels), k // channels % side, k % channels
            if i - row + p < x.shape[0] and j - column + q < x.shape[1]:
                tile[p, q, c] = x[i - row + p, j - column + q, c]
        for k in range(first, 9 * channels * filters, threads):
            u, v = k // (3 * channels * filters), k // (channels * filters) % 3
            weights[u, v, k // filters % channels, k % filters] = w[
                u, v, k // filters % channels, k % filters
            ]
        cuda.syncthreads()

        if i < y.shape[0] and j < y.shape[1]:
            total = float32(0)
            for u in range(3):
                for v in range(3):
                    for c in range(channels):
                        total += tile[row + u, column + v, c] * weights[u, v, c, f]
            y[i, j, f] = total

    return shared_tile


y, tiled = launch(with_shared_tile(3, 1, 1), x, w, 3)
print("agrees with the reference:", np.allclose(y, expected, atol=1e-5))
assert np.allclose(y, expected, atol=1e-5)
print("pixels read:", naive.count("x"), "without a tile,", tiled.count("x"), "with one")
assert (naive.count("x"), tiled.count("x")) == (4 * 81, 4 * 25)

# %% [markdown]
# `cuda.syncthreads()` is a *barrier*: a thread waits there until all threads of its block have
# come. The size of a shared array must be known when the kernel is compiled. Hence the function
# around it, which makes one kernel for each size.

# %%
show(
    figures.count_maps(
        {
            "no tile: first block": naive.counts("x", block=0)[..., 0],
            "tile: first block": tiled.counts("x", block=0)[..., 0],
            "tile: all four blocks": tiled.counts("x")[..., 0],
        },
    ),
    "With a tile a block reads each pixel once; only where the halos of neighbouring blocks "
    "overlap is a pixel still read by two of them, or by four.",
)
assert tiled.counts("x", block=0).max() == 1 and tiled.counts("x").max() == 4

# %% [markdown]
# Here is the life of one block, of 4×4 threads this time, drawn from the record.

# %%
block_x, block_w, block_expected = example(6, 6)
y, alone = launch(with_shared_tile(4, 1, 1), block_x, block_w, 4)
assert np.allclose(y, block_expected, atol=1e-5)
show_animation(
    figures.tile_frames(alone, 6, 4),
    "Sixteen threads fill a tile of 36 pixels in three rounds and wait for each other; then each "
    "reads nine of these pixels, adds nine products, and writes one sum.",
    seconds=1.2,
)

# %% [markdown]
# ## Without the barrier
#
# What if the barrier is forgotten? A thread may then read a pixel that its neighbour has not yet
# fetched.


# %%
def without_barrier(b):
    """Return the same kernel for one channel and one filter, without its barrier."""
    side = b + 2

    @cuda.jit
    def no_barrier(x, w, y):
        tile = cuda.shared.array((side, side), float32)
        _, j, i = cuda.grid(3)
        row, column = cuda.threadIdx.z, cuda.threadIdx.y
        for k in range(row * b + column, side * side, b * b):
            tile[k // side, k % side] = x[i - row + k // side, j - column + k % side, 0]
        # Here the barrier is missing.
        total = float32(0)
        for u in range(3):
            for v in range(3):
                total += tile[row + u, column + v] * w[u, v, 0, 0]
        y[i, j, 0] = total

    return no_barrier


y, _ = launch(with_shared_tile(3, 1, 1), x, w, 3)
broken, _ = launch(without_barrier(3), x, w, 3)
right = np.isclose(broken, expected, atol=1e-5).sum()
show(
    figures.value_maps({"no barrier": broken[..., 0], "with a barrier": y[..., 0]}),
    "Without a barrier only the last thread of each block finds its tile filled: all other sums "
    "are NaN.",
)
print(np.isnan(broken).sum(), "of 36 sums are NaN,", right, "are right")
assert (np.isnan(broken).sum(), right) == (32, 4)

# %% [markdown]
# The simulator shows this mistake every time: a thread runs as far ahead as it may, and an unfilled
# tile holds NaN. A GPU is not so kind. There most threads arrive at about the same time, and such a
# kernel often gives the right result, until it runs on another day or another GPU.
#
# ## How large should a block be?
#
# A block of $b \times b$ outputs reads $(b+2)^2$ pixels for each channel, hence
# $(b+2)^2 / b^2$ per output. Move the slider. The dots are counted, the line is the formula.

# %%
larger_x, larger_w, larger_expected = example(14, 14)
records = {}
for b in (1, 2, 3, 4, 6, 12):
    y, records[b] = launch(with_shared_tile(b, 1, 1), larger_x, larger_w, b)
    assert np.allclose(y, larger_expected, atol=1e-5)
    assert records[b].count("x") == (12 // b) ** 2 * (b + 2) ** 2
per_output = {b: record.count("x") / 144 for b, record in records.items()}


def halo(block_side):
    """Draw the reads with blocks of one size."""
    counts = records[block_side].counts("x")[..., 0]
    return figures.halo(counts, block_side, np.linspace(1, 12, 200), per_output)


explore(
    halo,
    "Blocks of 4×4 outputs read 36 pixels, framed, which makes 2.25 per output instead of nine; "
    "larger blocks share more, and the halo weighs less.",
    start={"block_side": 4},
    block_side=(1, 2, 3, 4, 6, 12),
)
assert per_output[4] == 2.25 and per_output[1] == 9

# %% [markdown]
# Larger is not always better. A block may have 1024 threads at most, its tile must fit into shared
# memory, of which 48 KB are there by default, and a GPU wants many blocks to choose from.
#
# ## Neighbours read neighbours
#
# How often a number is read is not all. Threads run in groups of 32, called *warps*, which do the
# same thing at the same time. Global memory does not hand out single numbers: it moves *sectors* of
# 32 bytes, eight numbers of 32 bits each. If the threads of a warp read neighbouring numbers, few
# sectors are moved, and all of each is used. That is called a *coalesced* access.
#
# Numbers of one row lie next to each other, and threads are counted along the first coordinate
# first. So the first coordinate should be the last index. Here are two kernels that copy an image.
# They differ in one swapped pair of letters.


# %%
@cuda.jit
def copy_along_rows(x, y):
    """Let neighbouring threads have neighbouring columns."""
    j, i = cuda.grid(2)
    if i < y.shape[0] and j < y.shape[1]:
        y[i, j] = x[i, j]


@cuda.jit
def copy_along_columns(x, y):
    """Let neighbouring threads have neighbouring rows."""
    i, j = cuda.grid(2)
    if i < y.shape[0] and j < y.shape[1]:
        y[i, j] = x[i, j]


image, copies, readers = np.arange(256, dtype=np.float32).reshape(16, 16), {}, {}
for kernel in (copy_along_rows, copy_along_columns):
    y = cuda.to_device(np.zeros((16, 16), np.float32))
    with simulator.recording() as record:
        kernel[(1, 8), (16, 2)](cuda.to_device(image), y)
    assert np.array_equal(y.copy_to_host(), image)
    reads, title = record.accesses("x"), kernel.__name__.replace("_", " ")
    first = reads.block == 0
    readers[title] = dict(zip(reads.element[first].tolist(), reads.thread[first].tolist()))
    copies[title] = record.sectors("x")

# %%
show(
    figures.sector_maps(readers, 16, 16),
    "What the 32 threads of the first block read at once, by their numbers: along rows they use "
    "four whole sectors; along columns they use two numbers in each of sixteen.",
)
print("sectors read in all:", copies)
assert copies == {"copy along rows": 32, "copy along columns": 128}

# %% [markdown]
# Both kernels read 256 numbers, and both are right. The second moves four times as many sectors.
# (A cache may save some of the rest, if it is not needed for other things meanwhile.) That is also
# why the kernels above say `f, j, i = cuda.grid(3)`: filters are the last axis of $y$, so
# neighbouring threads write neighbouring numbers.
#
# ## A tile in registers
#
# A layer has channels and filters. Take 8 channels and 32 filters, on 10×10 pixels, and count
# again. One *multiply-add* is a product added to a sum, and there are $8 \cdot 8 \cdot 32 \cdot 9
# \cdot 8$ of them.

# %%
x, w, expected = example(10, 10, 8, 32)
work = 8 * 8 * 32 * 9 * 8
y, naive = launch(one_thread_per_output, x, w, 4)
assert np.allclose(y, expected, atol=1e-4)
y, tiled = launch(with_shared_tile(4, 8, 32), x, w, 4)
assert np.allclose(y, expected, atol=1e-4)


def shared_reads(record):
    """Return how many numbers a kernel read from shared memory."""
    return sum(record.count(name) for name in record.shapes if name.startswith("shared"))


print(f"multiply-adds                    {work:>8,}")
print(f"one thread per output: global    {naive.count('x') + naive.count('w'):>8,}")
print(f"shared tile: global              {tiled.count('x') + tiled.count('w'):>8,}")
print(f"shared tile: shared              {shared_reads(tiled):>8,}")
assert naive.count("x") == naive.count("w") == work
assert tiled.count("x") == 4 * (4 + 2) ** 2 * 8 and tiled.count("w") == 4 * 9 * 8 * 32
assert shared_reads(tiled) == 2 * work

# %% [markdown]
# The tile has emptied the road to global memory. But every multiply-add still reads two numbers,
# now from shared memory, and the arithmetic waits for that. Only a thread's own *registers* are
# faster.
# A thread cannot look into the registers of another. It can, however, compute more than one output.
# With $r$ pixels and $c$ filters it reads $r + c$ numbers and does $r \cdot c$ multiply-adds with
# them:

# %%
for r, c in ((1, 1), (2, 2), (4, 4), (8, 8)):
    print(f"{r}×{c} sums in registers: {(r + c) / (r * c):.2f} reads per multiply-add")

# %% [markdown]
# Here is one such thread by itself, with 4×4 sums. `left` holds the numbers of four pixels, term by
# term, and `right` the weights of four filters. A *local* array belongs to one thread; if its size
# is known and small, the compiler keeps it in registers.


# %%
@cuda.jit
def four_by_four(left, right, y):
    """Add up products of two strips, with sixteen sums at once."""
    sums = cuda.local.array((4, 4), float32)
    pixels, weights = cuda.local.array(4, float32), cuda.local.array(4, float32)
    for i in range(4):
        for j in range(4):
            sums[i, j] = 0
    for k in range(left.shape[0]):
        for i in range(4):
            pixels[i], weights[i] = left[k, i], right[k, i]
        for i in range(4):
            for j in range(4):
                sums[i, j] += pixels[i] * weights[j]
    for i in range(4):
        for j in range(4):
            y[i, j] = sums[i, j]


strips = np.random.default_rng(4).normal(size=(2, 72, 4)).astype(np.float32)
y = cuda.to_device(np.zeros((4, 4), np.float32))
with simulator.recording() as record:
    four_by_four[1, 1](cuda.to_device(strips[0]), cuda.to_device(strips[1]), y)
assert np.allclose(y.copy_to_host(), strips[0].T @ strips[1], atol=1e-4)
print(record.count("left") + record.count("right"), "reads for", 72 * 16, "multiply-adds")
assert record.count("left") + record.count("right") == 72 * 16 / 2

# %% [markdown]
# So do the threads of convlib, with 4×4 sums, or 8×8 if there is enough to do. The whole
# layer is treated as one product of matrices, patches times weights, as in chapter 4, except that
# the matrix of patches is never stored: a block gathers a strip of it when it needs it. On the left
# is the definition, on the right the kernel of convlib. What the fast one does differently: it
# computes tiles of pixels × filters with sums in registers (`sums`), and fetches the operands of
# the next step while it multiplies (in `add_products`).

# %% tags=["nbval-ignore-output"]
source(reference.conv2d_forward, correlation._kernel)

# %%
with simulator.recording() as implicit:
    y = functional.conv2d(x[None], w, backend="cuda")[0]
print("agrees with the reference:", np.allclose(y, expected, atol=1e-4))
assert np.allclose(y, expected, atol=1e-4)
(step,) = implicit.launches
print(step.blocks, "blocks of", step.threads, "threads, each with 4×4 sums")
print("global reads", implicit.count("x") + implicit.count("w"), end=", ")
print("shared reads per multiply-add", shared_reads(implicit) / work)
assert step.blocks * step.threads * 16 == 8 * 8 * 32
assert implicit.count("x") == 64 * 9 * 8 and implicit.count("w") == 2 * 9 * 8 * 32
assert shared_reads(implicit) == work / 2

# %% [markdown]
# Shared memory is read four times less. There is a price, and the count shows it: since nobody
# keeps a halo, a number of the image is fetched from global memory once for each window that it
# lies in, up to nine times. In all, these are 4,608 reads of the image instead of 1,152. Here half
# as many blocks read weights, which makes up for it. And it is a plain product of matrices,
# whatever the window, stride or dilation. (The kernel reads a table too, which tells where the
# elements of a window lie. It is the same for all pixels, and not counted here.)
#
# ## Fused
#
# After the convolution come ReLU and pooling. As kernels of their own they read everything from
# global memory and write it back. convlib's fused kernel lets a thread have all four pixels of a
# pooling window in its registers. It compares them there and writes the largest, and a byte that
# says which one it was.

# %%
device, cuda_kernels = get_backend("cuda").memory, get_backend("cuda")
with simulator.recording() as steps:
    pooled = functional.max_pool2d(functional.relu(expected[None], backend="cuda"), backend="cuda")
with simulator.recording() as fused:
    best = device.empty((1, 4, 4, 32), np.float32)
    code = device.empty((1, 4, 4, 32), np.uint8)
    cuda_kernels.conv2d_relu_max_pool2d_forward(
        device.to_device(x[None]), device.to_device(w), None, best, code,
        (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1, device.Scratch(),
    )
print("agrees:", np.allclose(best.copy_to_host(), pooled, atol=1e-4))
assert np.allclose(best.copy_to_host(), pooled, atol=1e-4)

after = steps.count("x"), steps.count("y", writes=True) + steps.count("argmax", writes=True)
assert after == (2 * 2048, 2048 + 2 * 512)
rungs = {}
for name, record in {
    "one thread per output": naive,
    "shared tile": tiled,
    "tile in registers": implicit,
}.items():
    reads = record.count("x") + record.count("w") + after[0]
    writes = record.count("y", writes=True) + after[1]
    rungs[name] = reads, writes, shared_reads(record) / work
reads, writes = fused.count("x") + fused.count("w"), 2 * fused.count("y", writes=True)
assert fused.count("code", writes=True) == fused.count("y", writes=True) == 512
rungs["… fused with ReLU, pool"] = reads, writes, shared_reads(fused) / work
show(
    figures.ladder(
        rungs, ("global reads", "global writes", "shared reads\nper multiply-add")
    ),
    "What convolution, ReLU and pooling cost together: the tile in shared memory saves the global "
    "reads, registers save the shared ones, and fusing saves most writes.",
)
assert [rungs[name][2] for name in rungs] == [0, 2, 0.5, 0.5]
assert rungs["tile in registers"][1] == 5 * writes

# %% [markdown]
# Each rung computes the same function, and each is compared with the reference above. And the
# times? This page has none. Its kernels have not been timed on a GPU, and a simulator says nothing
# about speed. Counts show which roads are emptied, not how long a walk takes. Whether a rung is
# worth climbing only a clock can tell, on the GPU that you have. There, in a notebook that does not
# ask for the simulator, `backend="cuda"` runs the same kernels on it.
#
# ## Gather, do not scatter
#
# So far every output had one thread. On the way back this is less obvious. Chapter 11 spread
# gradients: a pooling window sends its gradient to the pixel that won. With one thread for each
# window, this is a *scatter*. Windows of 3×3 that move by two overlap, so a bright pixel may win
# several of them.

# %%
picture = np.zeros((7, 7), np.float32)
picture[2, 2], picture[4, 4], picture[2, 5], picture[5, 2] = 9, 8, 5, 4
gradient = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
winner = np.zeros((3, 3), np.int32)
for p, q in np.ndindex(3, 3):
    down, across = np.divmod(picture[2 * p : 2 * p + 3, 2 * q : 2 * q + 3].argmax(), 3)
    winner[p, q] = 7 * (2 * p + down) + 2 * q + across


@cuda.jit
def scatter(dy, winner, dx):
    """Let each window send its gradient to the pixel that won it."""
    q, p = cuda.grid(2)
    dx[winner[p, q]] += dy[p, q]


@cuda.jit
def scatter_in_step(dy, winner, dx):
    """Do the same, with all threads in step: all read, then all add and write."""
    q, p = cuda.grid(2)
    value = dx[winner[p, q]]
    cuda.syncthreads()  # not needed: it forces what may happen anyway
    dx[winner[p, q]] = value + dy[p, q]


results, scattered = {}, None
for kernel in (scatter, scatter_in_step):
    dx = cuda.to_device(np.zeros(49, np.float32))
    with simulator.recording() as scattered:
        kernel[1, (3, 3)](cuda.to_device(gradient), cuda.to_device(winner), dx)
    results[kernel.__name__] = dx.copy_to_host().reshape(7, 7)


def pool_gradient(backend):
    """Return what one of convlib's kernels makes of it."""
    batch = picture.reshape(1, 7, 7, 1), gradient.reshape(1, 3, 3, 1)
    dx = functional.max_pool2d_gradient(*batch, pool_size=3, strides=2, backend=backend)
    return dx.reshape(7, 7)


truth = pool_gradient("reference")
for name, result in results.items():
    print(f"{name:<16} hands on {result.sum():g} of {gradient.sum():g}")
assert np.array_equal(results["scatter"], truth)
assert results["scatter_in_step"].sum() < gradient.sum()

# %% [markdown]
# `+=` is three actions: read, add, write. If two threads read the same old value, the one that
# writes last wipes out what the other has added. This is a *race*. In the simulator the first
# kernel happens to be right, since there one thread finishes before the next begins. The second
# forces threads to go in step, as those of a warp do. Much of the gradient is lost, and nobody is
# told.
#
# The record shows the danger even where the result is right: some elements have several writers.
# convlib turns the question round. A thread belongs to a *pixel*, looks at the windows that it lies
# in, and collects what it won: a *gather*.

# %%
with simulator.recording() as gathered:
    dx = pool_gradient("cuda")
assert np.array_equal(dx, truth)
show(
    figures.count_maps(
        {
            "scatter: writes per pixel": scattered.counts("dx", writes=True).reshape(7, 7),
            "gather: writes per pixel": gathered.counts("dx", writes=True).reshape(7, 7),
        },
        limit=1,
    ),
    "Scattering, several threads write to the pixels, in orange, that won several windows; "
    "gathering, one thread writes each pixel once, also where there is nothing to collect.",
)
assert scattered.counts("dx", writes=True).max() == 4
assert (gathered.counts("dx", writes=True) == 1).all()

# %% [markdown]
# On the left the definition, which adds for all windows at once, and on the right the kernel. What
# it does differently: each thread keeps one `total`, walks over the windows above its pixel in a
# fixed order, and writes once.

# %% tags=["nbval-ignore-output"]
source(reference.max_pool2d_backward, pooling._max_backward)

# %% [markdown]
# The gradient of a convolution's input is the same story. Chapter 11 found that it can be gathered
# as well, by sliding the flipped kernel over $dy$. Again every element has one writer.

# %%
dy = np.random.default_rng(14).normal(size=(1, 6, 6, 8)).astype(np.float32)
x, w, _ = example(8, 8, 4, 8)
with simulator.recording() as record:
    dx = functional.conv2d_input_gradient(x[None], w, dy, backend="cuda")
slow = functional.conv2d_input_gradient(x[None], w, dy, backend="reference")
print("agrees with the reference:", np.allclose(dx, slow, atol=1e-4))
print("writes per element of dx:", np.unique(record.counts("y", writes=True)))
assert np.allclose(dx, slow, atol=1e-4) and (record.counts("y", writes=True) == 1).all()

# %% [markdown]
# ## Why no atomics?
#
# GPUs can make `+=` indivisible: `cuda.atomic.add`. Nothing is lost then, and yet convlib does not
# use it. Threads add in the order in which they arrive, and that order changes from run to run. In
# exact arithmetic it would not matter. Floating-point numbers are rounded after every addition:

# %%
big, small = np.float32(2**24), np.float32(1)
print("(big + 1) + 1 - big =", (big + small) + small - big)
print("(1 + 1) + big - big =", (small + small) + big - big)
assert (big + small) + small != (small + small) + big

# %% [markdown]
# How much does that matter for a gradient? A weight of the text's second convolution gets a
# contribution from each place and image: 11 · 11 · 64 = 7,744 numbers for a batch of 64. Take
# that many random numbers between −1 and 1, and add them up in 200 random orders, as if they
# arrived so. Repeat it for 20 seeds.


# %%
def added_up(numbers):
    """Add 32-bit numbers one by one, rounding after each."""
    return np.cumsum(numbers, dtype=np.float32)[-1]


def contributions(seed):
    """Return random numbers, and their sums in 200 random orders."""
    random = np.random.default_rng(seed)
    numbers = 2 * random.random(7744, dtype=np.float32) - 1
    sums = np.array([added_up(random.permutation(numbers)) for _ in range(200)])
    return numbers, sums


distinct, fixed_orders, errors = [], set(), []  # of 20 seeds
for seed in range(20):
    numbers, sums = contributions(seed)
    distinct.append(len(np.unique(sums)))
    fixed_orders.add(len({added_up(numbers) for _ in range(200)}))
    errors.append(np.abs(sums - numbers.sum(dtype=np.float64)).max())
print(f"different results in 200 orders: {np.mean(distinct):.0f} ± {np.std(distinct):.0f}")
print(f"the least and the most, of 20 seeds: {min(distinct)} and {max(distinct)}")
print("different results in the fixed order:", *fixed_orders)
assert min(distinct) > 20 and fixed_orders == {1}
assert max(errors) < 1e-3

# %%
numbers, sums = contributions(0)
exact = numbers.sum(dtype=np.float64)
unit = np.spacing(np.float32(exact))
show(
    figures.order_spread(
        np.round((sums - exact) / unit).astype(int), round((added_up(numbers) - exact) / unit)
    ),
    "The same 7,744 numbers, added up in 200 orders of arrival, end in dozens of different "
    "results; a fixed order always ends in the same.",
)

# %% [markdown]
# All of these sums are good: none is off by more than a thousandth. The order is no matter of
# accuracy. It is a matter of repeating a run. If two runs of a training differ in the last bit of
# one gradient, they drift apart, and after some thousand steps have different weights. A fixed
# order gives the same bits each time, and with them the chance to find a mistake. Where sums are
# too long for a thread, convlib cuts them into parts whose number depends on the shapes only, and a
# second kernel adds the parts in order.

# %%
folder = Path(convlib.kernels.cuda.__file__).parent
mentions = [path.name for path in folder.glob("*.py") if "cuda.atomic" in path.read_text("utf-8")]
print("files of convlib's GPU kernels that use atomics:", len(mentions))
assert not mentions

# %% [markdown]
# ## A common mistake: “the GPU always wins”
#
# Before a GPU computes anything it has to be told to. A launch takes some microseconds of the CPU's
# time, whatever its size. Preparing this library, we measured about 4 µs, and 1.7 µs more for each
# array that is handed over. How does that compare with the work of the text's network for *one*
# image? The following is arithmetic, not a measurement. It supposes a GPU that does $10^{13}$
# multiply-adds and moves $10^{12}$ bytes in a second, which are round numbers of the right size.

# %% tags=["nbval-ignore-output"]
network = models.Sequential(
    [
        layers.Input((28, 28, 1)),
        layers.Conv2D(32, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
network.compile("rmsprop", "categorical_crossentropy", backend="cuda")
with simulator.recording(accesses=False) as record:
    network.predict(np.zeros((1, 28, 28, 1), np.float32), verbose=0)

multiply_adds = sum(layer.multiply_adds() for layer in network.layers)
launches, arrays = len(record.launches), sum(entry.arrays for entry in record.launches)
launching = launches * 4e-6 + arrays * 1.7e-6
computing, fetching = multiply_adds / 1e13, 4 * network.count_params() / 1e12
print(f"one image: {multiply_adds:,} multiply-adds, and weights of", end=" ")
print(f"{4 * network.count_params():,} bytes")
print(f"{launches} launches with {arrays} arrays")
print(f"multiply-adds of {fetching / computing:.1f} images take as long as fetching the weights,")
print(f"multiply-adds of {launching / computing:.0f} images as long as launching")
assert multiply_adds == 2_794_240 and network.count_params() == 93_322
assert 100 < launching / computing < 1000

# %% [markdown]
# Even with neighbouring steps fused, launching weighs as much as the arithmetic of a few
# hundred images. For one image, or a batch of eight, the GPU is mostly waiting to be told what to
# do, and a CPU, which need not be told, may well be done first. The record has a second reason: the
# blocks.

# %% tags=["nbval-ignore-output"]
for entry in record.launches:
    print(f"{entry.kernel:<28}{entry.blocks:>4} blocks of {entry.threads} threads")
assert max(entry.blocks for entry in record.launches) < 100

# %% [markdown]
# A large GPU has more than a hundred places that each hold several blocks. With one image most of
# them stay empty. A GPU wins where there is enough to do at once: large batches, large images, many
# filters. If you have one, measure with *your* network and batch.
#
# ## Exercises
#
# Each has a check under it, which runs your kernel in the simulator. Solutions are in
# [solutions/13_fast_on_the_gpu.ipynb](solutions/13_fast_on_the_gpu.ipynb).
#
# **1. Guards.** Write the kernel of ReLU for a row of numbers, and the number of blocks that it
# needs for `n` numbers with so many threads in a block. The row may have any length.


# %%
@cuda.jit
def relu(x, y):
    """Let each thread compute one element of y: x where it is positive, else zero."""
    i = ...


def blocks_for(n, threads):
    """Return how many blocks cover n elements."""
    return ...


checks.check_guards(relu, blocks_for)

# %% [markdown]
# **2. A shared tile.** Correlate a grey image with a 3×3 kernel, in blocks of 4×4 threads. Load the
# block's 6×6 pixels into `tile`, each once, and compute from there. The image has any size and does
# not have to end with a block.


# %%
@cuda.jit
def correlate(x, w, y):
    """Compute y[i, j], the sum of x[i + u, j + v] * w[u, v], from a tile."""
    tile = cuda.shared.array((6, 6), float32)
    j, i = cuda.grid(2)
    row, column = cuda.threadIdx.y, cuda.threadIdx.x
    total = ...


checks.check_shared_tile(correlate)

# %% [markdown]
# **3. Pool backward, gathered.** Windows of 3×3 that move by two, as above. `winner[p, q]` is the
# number of the pixel that won window (p, q), counted row by row, `i * dx.shape[1] + j`. Write the
# kernel in which each thread belongs to a pixel. It starts with nothing in `dx`, not even zeros.


# %%
@cuda.jit
def pool_backward(dy, winner, dx):
    """Let each pixel collect the gradients of the windows that it won."""
    j, i = cuda.grid(2)
    total = ...


checks.check_pool_backward(pool_backward)

# %% [markdown]
# **4. Traffic.** How many pixels are read from global memory for $n \times n$ outputs, if each
# block computes $b \times b$ of them with a tile for windows of $k \times k$? Let $b$ divide $n$.


# %%
def pixels_read(n, b, k):
    """Return the number of reads of one channel."""
    return ...


checks.check_pixels_read(pixels_read)

# %% [markdown]
# ## What was shown
#
# - One thread computes one output, or a tile of outputs, and nobody else writes there.
# - A block reads its pixels once into shared memory, waits, and computes. The halo costs
#   $(b+2)^2 / b^2$ reads per output instead of nine. Sums in registers save reads of shared memory.
# - Neighbouring threads should read neighbouring numbers.
# - Gathering needs no atomics, and a fixed order gives the same bits each time.
#
# ## Further reading
#
# - S. Rush, *GPU Puzzles*, 2022. Fourteen small kernels to write, in Numba, with pictures.
# - W. Hwu, D. Kirk, I. El Hajj, *Programming Massively Parallel Processors*, 4th edition, 2022. The
#   textbook; it has a chapter on convolution with tiles and halos.
# - S. Chetlur and others, *cuDNN: efficient primitives for deep learning*, 2014. The implicit
#   product, by those who made it common.
# - V. Volkov, J. Demmel, *Benchmarking GPUs to tune dense linear algebra*, 2008. Why registers, not
#   shared memory, should hold what is used most.
# - D. Goldberg, *What every computer scientist should know about floating-point arithmetic*, 1991.
#   Why the order of a sum matters.
#
# **Next:** [14 · Train it, then look inside](14_train_and_look_inside.ipynb) teaches the text's
# network to read.
