# %% [markdown]
# # 12 · Fast on the CPU
#
# **One processor computes one convolution. In one program it takes the better part of a second, in
# another some millionths of a second, and the numbers that come out are the same. What does the
# second program do differently?**
#
# Reading: thirty minutes. Running: seconds, and nothing to download.

# %% tags=["ladder"]
import json
import time
from pathlib import Path

import numba
import numpy as np
from numba import njit, prange

from convlib import functional, layers, models
from convlib.datasets import strokes
from convlib.kernels import get_backend, reference
from convlib.kernels.cpu import correlation, sums, winograd
from convlib.kernels.cpu.regions import forward_plan
from convlib.kernels.scratch import Scratch
from convlib.notebook import explore, show, show_animation, source
from convlib.notebook.checks import fast_on_the_cpu as checks
from convlib.notebook.figures import speed as figures
from convlib.utils import set_random_seed

# %% [markdown]
# ## The smallest example
#
# Two pixels, two filters, sums of three terms: $y[p, o] = \sum_k x[p, k] \cdot w[k, o]$. That is
# what a convolution is, once its patches are written in rows (chapter 4). Twelve multiplications
# are to be done. But a processor that multiplies first has to *load* what it multiplies, from
# memory into one of its few registers. `checks.Memory` is a matrix that counts how often it is
# read.

# %%
x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
w = np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]])


def one_at_a_time(x, w):
    """Finish one output before the next begins."""
    y = np.zeros((2, 2))
    for p in range(2):
        for o in range(2):
            for k in range(3):
                y[p, o] += x[p, k] * w[k, o]
    return y


def four_at_a_time(x, w):
    """Let four sums grow together: load two numbers of x and two of w, use each of them twice."""
    y = np.zeros((2, 2))
    for k in range(3):
        x0, x1, w0, w1 = x[0, k], x[1, k], w[k, 0], w[k, 1]
        y[0, 0] += x0 * w0
        y[0, 1] += x0 * w1
        y[1, 0] += x1 * w0
        y[1, 1] += x1 * w1
    return y


for way in (one_at_a_time, four_at_a_time):
    x_memory, w_memory = checks.Memory(x), checks.Memory(w)
    y = way(x_memory, w_memory)
    loads = x_memory.loads + w_memory.loads
    print(f"{way.__name__:<15} y = {y.tolist()}, 12 multiplications, {loads} loads")
    assert np.array_equal(y, x @ w)
assert loads == 12

# %% [markdown]
# The same sum, reordered: the loop over $k$ went from the inside to the outside. Nothing else
# happened, and half of the loads are gone. This chapter is a series of such reorderings.
#
# One thing does change with the order. Computers round after every addition, and so the last
# digits depend on what is added first. We will have to watch that.

# %%
big, one = np.float32(1e8), np.float32(1)
print("(100000000 + 1) - 100000000 =", (big + one) - big)
print("(100000000 - 100000000) + 1 =", (big - big) + one)
assert ((big + one) - big, (big - big) + one) == (0, 1)

# %% [markdown]
# ## Two limits
#
# A machine can do at most $P$ operations in a second, its *peak*, and move at most $B$ bytes in a
# second between memory and processor, its *bandwidth*. Work that consists of $F$ operations and has
# to move $M$ bytes therefore takes at least
#
# $$t \;\ge\; \max\left(\frac{F}{P},\; \frac{M}{B}\right), \qquad\text{so that}\qquad \frac{F}{t}
# \;\le\; \min\left(P,\; \frac{F}{M} \cdot B\right).$$
#
# The ratio $F / M$, operations for each byte, is the *intensity* of the work. Drawn over the
# intensity, the limit looks like a roof: on the left memory is too slow, on the right arithmetic
# is. A multiplication and an addition count as two operations, $P$ is `peak` in the code, $B$ is
# `bandwidth`.
#
# Both limits can be measured. The peak: nothing but multiply-adds, over a few numbers that stay
# close. The bandwidth: copy a large array. Run the cell to see those of your computer.

# %% tags=["nbval-ignore-output", "volatile-output"]
from benchmarks.contestants import ours


def best_speed(work):
    """Return how much is done in a second, in 10⁹, in the fastest of five runs."""
    speeds = []
    for _ in range(5):
        start = time.perf_counter()
        amount = work()
        speeds.append(amount / (time.perf_counter() - start) / 1e9)
    return max(speeds)


print(f"peak:      {best_speed(ours.multiply_add()):.0f} GFLOP/s")
print(f"bandwidth: {best_speed(ours.copy(1 << 26)):.0f} GB/s")

# %% [markdown]
# Times differ from computer to computer and from minute to minute. So what is *printed* in this
# chapter about times comes from tables that are stored with the book, in `benchmarks/results`, and
# each figure names the machine. `python3 book.py bench profile ladder` makes these tables for
# yours. Here are the forward layers of the text's network, 64 images at once, as they were measured
# while it was trained.


# %%
def committed(name):
    """Return the rows of a stored table, and a line about the machine it was measured on."""
    path = Path("..") / "benchmarks" / "results" / f"{name}.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    machine = result["machine"]
    line = f"{machine['processor']}, {machine['cores']} cores, vectors of {machine['vector bits']} "
    return result["tables"][0]["rows"], f"measured on: {line}bits, {machine['date']}", result


rows, machine, result = committed("profile")
kernels = {row[0]: row for row in rows}
_, microseconds, _, _, megaflop, megabytes, of_peak, of_copy = rows[0]
peak = 1e3 * megaflop / microseconds / of_peak  # GFLOP/s
cached = 1e3 * megabytes / microseconds / of_copy  # GB/s, an array of 8 MB
copies = [result["speed"][when]["GB/s, copy"] for when in ("before", "after")]
bandwidths = {"copy within the caches": cached, "copy in memory": float(np.mean(copies))}

names = {
    "conv2d_relu_max_pool2d_forward 3×3×1×32": ("conv2d_1, with pooling", "above"),
    "conv2d_relu_max_pool2d_forward 3×3×32×64": ("conv2d_2, with pooling", "above"),
    "conv2d_relu_forward 3×3×64×64": ("conv2d_3", "below"),
    "dense_relu_forward 576×64": ("dense_1", "lower right"),
    "dense_forward 64×10": ("dense_2", "below"),
}
dots = []
for name, (label, side) in names.items():
    _, microseconds, _, _, megaflop, megabytes, *_ = kernels[name]
    dots.append(figures.Dot(label, megaflop / megabytes, 1e3 * megaflop / microseconds, side))
show(
    figures.roofline(peak, bandwidths, dots, machine),
    "The convolutions lie to the right, where arithmetic is the limit; one of them comes close to "
    "the roof, one, orange, is above it, and the small dense layers are far below.",
)

# %% [markdown]
# A dot above the roof? Its operations were counted as if every product were formed. The library
# found a way to form fewer. And `dense_2` is so small, 64×10 sums of 64 terms, that starting it
# takes most of its time. Neither limit counts what happens *around* the work, and that is where we
# begin.
#
# ## The ladder
#
# Six programs for the same sum. The example is the text's second convolution, 13×13×32 to 11×11×64,
# where four fifths of the network's multiplications are (chapter 10). First, the definition in
# plain Python.


# %% tags=["ladder"]
def number_by_number(x, w):
    """Convolve images with one multiplication after the other."""
    samples, height, width, channels = x.shape
    k, _, _, filters = w.shape
    y = np.empty((samples, height - k + 1, width - k + 1, filters), x.dtype)
    for n in range(samples):
        for i in range(height - k + 1):
            for j in range(width - k + 1):
                for o in range(filters):
                    total = x.dtype.type(0)
                    for u in range(k):
                        for v in range(k):
                            for c in range(channels):
                                total += x[n, i + u, j + v, c] * w[u, v, c, o]
                    y[n, i, j, o] = total
    return y


# %% [markdown]
# *Compile it.* Python asks at every step what kinds of numbers these are. Numba asks once, and
# makes machine code of the same loops. *Then reorder.* In memory, neighbours are the weights
# $w[u, v, c, o]$ of one input channel for all filters $o$. The loop above jumps from row to row of
# that table. With the loop over $o$ on the inside it walks along the row instead, and the processor
# can multiply a whole vector of neighbours at once. *Then share* the images among threads: `prange`
# says that its turns are independent of each other. Without `parallel=True` it is an ordinary
# `range`.


# %% tags=["ladder"]
def filters_inside(x, w):
    """Convolve images with the loop over the filters on the inside."""
    samples, height, width, channels = x.shape
    k, _, _, filters = w.shape
    y = np.zeros((samples, height - k + 1, width - k + 1, filters), x.dtype)
    for n in prange(samples):
        for i in range(height - k + 1):
            for j in range(width - k + 1):
                for u in range(k):
                    for v in range(k):
                        for c in range(channels):
                            for o in range(filters):
                                y[n, i, j, o] += x[n, i + u, j + v, c] * w[u, v, c, o]
    return y


compiled = njit(number_by_number)
reordered = njit(filters_inside)
shared = njit(parallel=True)(filters_inside)

# %% [markdown]
# *Use a matrix product.* Rows of patches times a matrix of weights: `im2col`, and then the product
# that NumPy takes from a library in which decades of work have gone. *Or use register tiles*, the
# library's own kernel, of which more below.


# %% tags=["ladder"]
def by_im2col(x, w):
    """Write down all patches in rows, and multiply once."""
    k, _, channels, filters = w.shape
    columns = functional.im2col(x, k)
    y = columns.reshape(-1, k * k * channels) @ w.reshape(-1, filters)
    return y.reshape(*columns.shape[:3], filters)


scratch, unpadded = Scratch(), ((0, 0), (0, 0))


def empty_output(x, w):
    """Return room for the output of a valid 3×3 convolution."""
    return np.empty((len(x), x.shape[1] - 2, x.shape[2] - 2, w.shape[3]), x.dtype)


def by_tiles(x, w):
    """Run the library's kernel for the sum as it is defined."""
    y = empty_output(x, w)
    plan = forward_plan(x.shape, w.shape, y.shape, (1, 1), unpadded, (1, 1), 1, x.dtype)
    correlation.correlate(plan, x, w, None, y, False, False, scratch)
    return y


# %% [markdown]
# Two more ways form fewer products. They come later in this chapter, and are listed here so that
# everything is measured together: Winograd's, which the library has, and Fourier's, written with
# NumPy.


# %% tags=["ladder"]
def by_winograd(x, w, m=2):
    """Run the library's kernel that forms fewer products, for m×m outputs at a time."""
    y = empty_output(x, w)
    winograd.convolve(x, w, None, y, unpadded, m, False, False, scratch)
    return y


def by_winograd_4(x, w):
    """Take 4×4 outputs at a time."""
    return by_winograd(x, w, 4)


def by_fourier(x, w):
    """Multiply spectra: a correlation is a product there, with one factor conjugated."""
    size, k = x.shape[1:3], len(w)
    images = np.fft.rfft2(x, axes=(1, 2)).transpose(1, 2, 0, 3)
    kernels = np.fft.rfft2(w, s=size, axes=(0, 1)).conj()
    y = np.fft.irfft2(images @ kernels, s=size, axes=(0, 1))
    return y.transpose(2, 0, 1, 3)[:, : size[0] - k + 1, : size[1] - k + 1]


ways = {
    "Python loops": number_by_number,
    "compiled": compiled,
    "filters inside": reordered,
    "shared by threads": shared,
    "im2col and a product": by_im2col,
    "register tiles": by_tiles,
    "Winograd 2×2": by_winograd,
    "Winograd 4×4": by_winograd_4,
    "Fourier": by_fourier,
}
slow = {"Python loops"}

# %% [markdown]
# Do they compute the same? In 32 bits every product and every sum is rounded, by half an epsilon
# $u$ at most. A sum of $K$ terms may therefore be off by about $K u \sum |x| |w|$, whatever its
# order. Compare every rung with a sum in 64 bits. (Winograd and Fourier add other numbers, and get
# a section of their own.)

# %%
K = 9 * 32
u = np.finfo(np.float32).eps / 2


def example(seed, size=13, channels=32, filters=64, images=8):
    """Return random images and kernels in 32 bits, and the convolution in 64."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(images, size, size, channels)).astype(np.float32)
    w = random.normal(size=(3, 3, channels, filters)).astype(np.float32)
    return x, w, by_im2col(x.astype(np.float64), w.astype(np.float64))


x, w, exact = example(12)
bound = K * u * by_im2col(np.abs(x).astype(np.float64), np.abs(w).astype(np.float64))
for name in list(ways)[:6]:
    some = x[:1] if name in slow else x
    share = np.abs(ways[name](some, w) - exact[: len(some)]) / bound[: len(some)]
    print(f"{name:<22} within the bound: {bool(share.max() < 1)}")
    assert share.max() < 1

# %% [markdown]
# The same sum, six times. Now the times: first those of your computer, if you run the cell, and
# then those of the stored table. The loops in Python get one image, the others 16.


# %% tags=["nbval-ignore-output", "volatile-output"]
def shortest(function, *arguments, repetitions=10):
    """Return the shortest time of some calls, in microseconds."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function(*arguments)
        times.append(1e6 * (time.perf_counter() - start))
    return min(times)


many = example(12, images=16)[0]
measured = {}
for name, way in ways.items():
    some, repetitions = (many[:1], 1) if name in slow else (many, 10)
    measured[name] = shortest(way, some, w, repetitions=repetitions) / len(some)
for name, each in measured.items():
    relative = each / measured["register tiles"]
    print(f"{name:<22}{each:14,.1f} µs an image{relative:14,.1f} × the tiles")

# %%
rows, machine, _ = committed("ladder")
layer_2, layer_1 = dict.fromkeys(row[0] for row in rows)
stored = {layer_2: {}, layer_1: {}}
for layer, way, _, _, relative in rows:
    stored[layer][way] = relative
rungs = {name: stored[layer_2][name] for name in list(ways)[:6]}
show(
    figures.bars(
        rungs, "times as long as the register tiles, 13×13×32 → 64", "register tiles", machine
    ),
    "The same multiplications in six orders: from Python loops to register tiles the time falls "
    "by four to five orders of magnitude.",
)
assert rungs["Python loops"] > 10_000
assert rungs["Python loops"] > rungs["compiled"] > rungs["filters inside"] > 2

# %% [markdown]
# ## What im2col costs
#
# The product is as fast as products get. But its left side has to be written down first. Most
# numbers of the image lie in nine patches, and are written nine times.

# %%
columns = functional.im2col(x[:1], 3)
print(f"an image has {x[:1].size:,} numbers, its patches {columns.size:,}:", end=" ")
print(f"{columns.size / x[:1].size:.1f} times as many")
assert round(columns.size / x[:1].size, 1) == 6.4

weights, outputs = w.size / 64, exact[:1].size  # 64 images share the weights
moved = {
    "as it is defined": x[:1].size + weights + outputs,
    "through im2col": x[:1].size + 2 * columns.size + weights + outputs,
}
for name, numbers in moved.items():
    print(f"{name:<18}{2 * outputs * K / (4 * numbers):6.1f} operations for each byte")
assert moved["through im2col"] > 5 * moved["as it is defined"]

# %% [markdown]
# Written once and read once more, they cost a factor of more than five in intensity. For larger
# images they no longer fit into the caches. The library never writes them down: in the order
# (height, width, channels) the numbers of a patch that belong to one kernel row *are* a row in
# memory already, $3 \cdot 32$ numbers one after the other. It is enough to know where it begins.
#
# ## A tile in registers
#
# Back to the smallest example, with two changes. A *vector* takes the place of a single weight: the
# weights of 16 neighbouring filters, say, which one instruction multiplies with the same pixel. And
# the tile grows. With $R$ pixels and $C$ vectors of filters there are $R \cdot C$ sums, and each
# step of the loop over $k$ loads $R + C$ times to do $R \cdot C$ multiply-adds. Larger tiles load
# less. What stops them is the number of registers: the sums need $R \cdot C$, one row of weights
# $C$, and the pixel one.


# %%
def best_tile(registers, columns=(1, 2, 4)):
    """Return the tile with fewest loads for each multiply-add that the registers can hold."""
    tiles = [(r, c) for r in range(1, 33) for c in columns if r * c + c + 1 <= registers]
    return min(tiles, key=lambda tile: (tile[0] + tile[1]) / (tile[0] * tile[1]))


for registers in (16, 32):
    r, c = best_tile(registers)
    print(f"{registers} registers: {r} × {c} vectors, {(r + c) / (r * c):.2f} loads for each "
          f"multiply-add instead of 2")
assert best_tile(16) == (6, 2) and best_tile(32) == (6, 4)

# %% [markdown]
# Most PC processors have 16 vector registers; those with AVX-512, and ARM's, have 32. These are the
# tiles that the library uses. (Its columns are powers of two, as most numbers of filters are.)

# %%
show_animation(
    [figures.tile_frame(12, 8, 4, (6, 4), step) for step in range(16)],
    "A tile of 6 pixels by 4 vectors of filters stays in registers while the sum over k runs, "
    "orange row after orange row; then it is stored and the next one begins.",
    seconds=0.7,
)

# %% [markdown]
# This is the loop of the measured peak above, with the library's tile operations: `tile_zero` makes
# a tile, and `tile_fma` adds to it the products of six numbers with four vectors. The sums never
# touch memory, until `tile_store`.

# %% tags=["nbval-ignore-output"]
source(ours._multiply_add)

# %% [markdown]
# And this is the convolution: on the left the definition, on the right the kernel. Around the same
# three operations there are loops over blocks of windows, over panels of filters, and over the rows
# of the kernel, whose only aim is that what `tile_fma` loads next is already near. Bias and ReLU
# are applied to the tile before it is stored.

# %% tags=["nbval-ignore-output"]
tile_kernel = next(iter(correlation._correlate.values()))
source(reference.conv2d_forward, tile_kernel)

# %% [markdown]
# ## Fewer products
#
# So far every way formed all products. Some sums can do with less. Take four numbers $d_0 \dots
# d_3$ of a row, and a kernel of three weights. Two outputs,
#
# $$y_0 = d_0 g_0 + d_1 g_1 + d_2 g_2, \qquad y_1 = d_1 g_0 + d_2 g_1 + d_3 g_2,$$
#
# have six products. Shmuel Winograd found that four are enough:
#
# $$\begin{aligned} m_0 &= (d_0 - d_2)\, g_0, & m_1 &= (d_1 + d_2)\, \tfrac{g_0 + g_1 + g_2}{2}, \\
# m_3 &= (d_1 - d_3)\, g_2, & m_2 &= (d_2 - d_1)\, \tfrac{g_0 - g_1 + g_2}{2}, \end{aligned}
# \qquad y_0 = m_0 + m_1 + m_2, \quad y_1 = m_1 - m_2 - m_3.$$
#
# Check it by hand: in $m_1 + m_2$ the products $d_1 g_1$ and $d_2 g_0$, $d_2 g_2$ survive, and $d_1
# g_0$, $d_1 g_2$, $d_2 g_1$ cancel. With $m_0 = d_0 g_0 - d_2 g_0$ that makes $y_0$.

# %%
d, g = np.array([2.0, 1.0, 3.0, 5.0]), np.array([2.0, 4.0, -2.0])
m0 = (d[0] - d[2]) * g[0]
m1 = (d[1] + d[2]) * (g[0] + g[1] + g[2]) / 2
m2 = (d[2] - d[1]) * (g[0] - g[1] + g[2]) / 2
m3 = (d[1] - d[3]) * g[2]
print("four products:", [float(m) for m in (m0, m1, m2, m3)])
print("two outputs:  ", [float(m0 + m1 + m2), float(m1 - m2 - m3)])
print("directly:     ", [float(d[0:3] @ g), float(d[1:4] @ g)])
assert [m0 + m1 + m2, m1 - m2 - m3] == [d[0:3] @ g, d[1:4] @ g]

# %% [markdown]
# The sums of weights can be formed once, for all images. As matrices, with $\odot$ for the product
# element by element:
#
# $$y = A^\top \left[ (G g) \odot (B^\top d) \right], \quad
# B^\top = \begin{pmatrix} 1 & 0 & -1 & 0 \\ 0 & 1 & 1 & 0 \\ 0 & -1 & 1 & 0 \\ 0 & 1 & 0 & -1
# \end{pmatrix}, \quad
# G = \begin{pmatrix} 1 & 0 & 0 \\ \frac12 & \frac12 & \frac12 \\ \frac12 & -\frac12 & \frac12 \\
# 0 & 0 & 1 \end{pmatrix}, \quad
# A^\top = \begin{pmatrix} 1 & 1 & 1 & 0 \\ 0 & 1 & -1 & -1 \end{pmatrix}.$$
#
# In two dimensions the same is done to the columns and then to the rows, from the left and from the
# right: $U = G g G^\top$, $V = B^\top d B$, and $y = A^\top [U \odot V] A$. A patch of 4×4 gives
# 2×2 outputs, with 16 products instead of 36.

# %%
tables = winograd.INPUT, winograd.KERNEL, winograd.OUTPUT  # for 2×2 outputs and for 4×4
B_T, G, A_T = (np.array(table[2], float) for table in tables)
d = np.array([[1.0, 0, 2, 1], [3, 1, 0, 2], [0, 2, 1, 1], [2, 0, 1, 3]])
g = np.array([[0.0, 2, 0], [2, -4, 2], [0, 2, 0]])
V, U = B_T @ d @ B_T.T, G @ g @ G.T
y = A_T @ (U * V) @ A_T.T
show(
    figures.winograd_steps(d, g, V, U, y),
    "Patch and kernel are transformed by additions alone, sixteen products are formed element by "
    "element, and additions make four outputs of them.",
)
assert np.array_equal(y, functional.correlate2d(d, g, mode="valid"))

# %% [markdown]
# With channels, $U \odot V$ is summed over the input channels before the last step. So the
# transforms are paid once for each channel and each filter, and the products saved for each *pair*
# of them. That is why it pays with many channels. (At 4×4 outputs from patches of 6×6, 36 products
# replace 144.)
#
# Fourier's way goes further. A transform turns a convolution into one product for each frequency,
# whatever the size of the kernel. The spectra are complex, so that each product is four real ones.


# %%
def products(way, size, channels, filters, images=64):
    """Return how many multiplications one image needs."""
    outputs, pairs = size - 2, channels * filters
    if way == "Fourier":
        # A transform of n real numbers has about n log₂ n; those of the kernels serve all images.
        transform = size**2 * np.log2(size**2)
        spectra = 4 * size * (size // 2 + 1) * pairs
        return int(spectra + transform * (channels + filters + pairs / images))
    if way.startswith("Winograd"):
        m = int(way[-1])
        return (-(-outputs // m)) ** 2 * (m + 2) ** 2 * pairs
    return outputs**2 * 9 * pairs


shapes = {layer_2: (13, 32, 64), layer_1: (28, 1, 32)}
print(f"{'multiplications an image':<26}{'13×13, 32 → 64':>16}{'28×28, 1 → 32':>16}")
for way in ("register tiles", "Winograd 2×2", "Winograd 4×4", "Fourier"):
    counts = [products(way, *shape) for shape in shapes.values()]
    print(f"{way:<26}{counts[0]:>16,}{counts[1]:>16,}")

# %% [markdown]
# ## What rounding does to them
#
# The bill comes in the last digits. Winograd and Fourier add and subtract numbers that were not
# there before, and some of them are larger than the result. Measure the error against 64 bits, as
# the root of its mean square, in units of $u$ times a typical output, so that 1 means: one rounding
# of the result. Twenty seeds, two layers.


# %%
def error(way, x, w, exact):
    """Return the root-mean-square error, in roundings of a typical output."""
    return np.sqrt(np.mean((way(x, w) - exact) ** 2)) / (u * exact.std())


compared = list(ways)[4:]
errors = {
    title: {
        name: np.array([error(ways[name], *example(seed, *shape)) for seed in range(20)])
        for name in compared
    }
    for title, shape in {
        "13×13, 32 → 64: 288 terms": (13, 32, 64),
        "28×28, 1 → 32: 9 terms": (28, 1, 32),
    }.items()
}
many_terms, few_terms = errors.values()

# %% tags=["nbval-ignore-output"]
for title, by_way in errors.items():
    print(title)
    for name, values in by_way.items():
        print(f"  {name:<22}{values.mean():6.2f} ± {values.std(ddof=1):.2f}")

# %%
show(
    figures.error_strips(errors, "register tiles"),
    "Each dot is a seed, the numbers are medians: with 4×4 outputs Winograd loses half a digit "
    "to a whole one; with 2×2 it is more accurate than the direct sum where sums are long.",
)
tiles, w2, w4, fourier = (np.array([many_terms[n], few_terms[n]]) for n in compared[1:])
assert np.all(w2[0] < tiles[0]) and np.all(fourier[0] < tiles[0])
assert np.all(w2[1] > tiles[1]) and np.all(fourier[1] > tiles[1])
assert np.all(w4[0] > 2 * tiles[0]) and np.all(w4[1] > 7 * tiles[1])

# %% [markdown]
# That the shortcut may be *more* accurate is surprising at first. A direct sum of 288 terms in a
# row is rounded 288 times. Winograd's sums run over 32 channels only, and its transforms add a few
# numbers each. Fewer additions in a row, less rounding. With nine terms there is nothing to gain,
# and the transforms show.
#
# ## Moving less
#
# A convolution is not alone. It is followed by ReLU and pooling, and if each of the three reads its
# input and writes its output, most of the traffic is about numbers that nobody needs. The library
# *fuses* them: the four sums under a pooling window are in registers together, ReLU and the maximum
# are taken there, and only the largest is stored, with a byte that remembers which of the four it
# was, or 255 if ReLU cut it off. Sums that pooling would drop are not even computed. How many bytes
# does an image move, before and after?

# %%
set_random_seed(12)
model = models.Sequential(
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


def traffic(convolution, pooling):
    """Return the bytes that an image moves through convolution, ReLU and pooling: apart, fused."""
    inputs, outputs, pooled = (
        int(np.prod(shape[1:]))
        for shape in (convolution.input_shape, convolution.output_shape, pooling.output_shape)
    )
    stored = 4 * pooled + pooled  # the maxima, and a byte each
    apart = 4 * inputs + 4 * outputs  # the convolution reads and writes,
    apart += 8 * outputs  # ReLU reads and writes,
    apart += 4 * outputs + stored  # pooling reads and writes
    return apart, 4 * inputs + stored


moved = {
    layer.name: traffic(layer, pooling)
    for layer, pooling in ((model.layers[0], model.layers[1]), (model.layers[2], model.layers[3]))
}
for name, (apart, fused) in moved.items():
    print(f"{name}: {apart:,} bytes in three steps, {fused:,} in one: {apart / fused:.1f} × less")
    assert apart > 5 * fused

# %% [markdown]
# The byte pays again on the way back. Behind the pooling at most one gradient in four is not zero,
# and none where ReLU cut off. A plain backward pass spreads them over a map full of zeros and
# multiplies these. With the byte at hand, one can walk through the winners alone: the gradient of a
# winner multiplies one patch of $x$, and is added to the kernel's. Count the winners in a batch of
# drawn digits, in the network as it is born, and after one epoch of training.


# %%
def fused_step(layer, x):
    """Convolve, cut off, pool; return the maxima and the bytes."""
    w, b = layer.get_weights()
    size = (x.shape[1] - 2) // 2
    y = np.empty((len(x), size, size, w.shape[3]), np.float32)
    code = np.empty(y.shape, np.uint8)
    get_backend().conv2d_relu_max_pool2d_forward(
        x, w, b, y, code, (2, 2), (1, 1), unpadded, (1, 1), 1, scratch
    )
    return y, code


def codes(model, x):
    """Return the bytes of both pooled convolutions, by name."""
    y, code_1 = fused_step(model.layers[0], x)
    _, code_2 = fused_step(model.layers[2], y)
    return {model.layers[0].name: code_1, model.layers[2].name: code_2}


(images, labels), _ = strokes.load_data(train=6400, test=1)
images = images[..., None].astype(np.float32) / 255
batch = images[:64]
born = codes(model, batch)
model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy")
model.fit(images, labels, batch_size=64, epochs=1, verbose=0)
trained = codes(model, batch)
CLIPPED = 255


def multiply_adds(code, terms):
    """Return the multiply-adds of a sparse gradient for an image: winners × terms."""
    return np.count_nonzero(code != CLIPPED) / len(code) * terms


# %% tags=["nbval-ignore-output"]
for stage, by_layer in (("as born", born), ("after one epoch", trained)):
    for name, code in by_layer.items():
        print(f"{stage:<16}{name}: {np.mean(code != CLIPPED):.0%} of the windows have a winner")

# %%
conv2d_1, conv2d_2 = model.layers[0], model.layers[2]
dense_work = {layer.name: layer.multiply_adds() for layer in (conv2d_1, conv2d_2)}
sparse_work = {
    name: multiply_adds(code, 9 if name == conv2d_1.name else K) for name, code in trained.items()
}
show(
    figures.before_and_after(
        {
            "forward: kB moved for an image": {
                name: (apart / 1e3, fused / 1e3) for name, (apart, fused) in moved.items()
            },
            "backward: thousand multiply-adds, dw": {
                name: (dense_work[name] / 1e3, sparse_work[name] / 1e3) for name in moved
            },
        }
    ),
    "Before (grey) and after (blue): the fused step moves several times fewer bytes, and the "
    "sparse gradient multiplies only for the winners.",
)
for name in moved:
    assert sparse_work[name] < dense_work[name] / 4

# %% [markdown]
# The gradient of `conv2d_2`'s input needs as many again. Is the short way right? Below, the winners
# one by one in Python, the library's kernel, and the dense gradient of a map with zeros.

# %%
x, code = fused_step(conv2d_1, batch[:8])[0], trained[conv2d_2.name][:8]
random = np.random.default_rng(12)
dy = random.normal(size=code.shape).astype(np.float32)
w, b = conv2d_2.get_weights()

by_winners, spread = np.zeros_like(w), np.zeros((8, 11, 11, 64), np.float32)
for n, i, j, o in np.argwhere(code != CLIPPED):
    down, across = divmod(int(code[n, i, j, o]), 2)
    top, left = 2 * i + down, 2 * j + across
    by_winners[..., o] += dy[n, i, j, o] * x[n, top : top + 3, left : left + 3]
    spread[n, top, left, o] = dy[n, i, j, o]

by_kernel, db = np.empty_like(w), np.empty_like(b)
get_backend().conv2d_relu_max_pool2d_backward_params(
    x, dy, code, by_kernel, db, (2, 2), (1, 1), unpadded, (1, 1), 1, scratch
)
by_zeros, _ = functional.conv2d_kernel_gradient(x, w, spread)
for name, dw in (("winners in Python", by_winners), ("library's kernel", by_kernel)):
    difference = np.abs(dw - by_zeros).max() / np.abs(by_zeros).max()
    print(f"{name}: agrees with the dense gradient to a 50 000th: {bool(difference < 2e-5)}")
    assert difference < 2e-5
print(f"zeros in the dense map: at least three in four: {bool(np.mean(spread == 0) > 0.75)}")

# %% [markdown]
# ## The same bits
#
# Threads bring back the question of order. Forward, every output belongs to one task, and its terms
# are added in the same order whoever does it. But $dw$ is a sum over all windows of all images. If
# every thread added to it directly, one might read a number just before another has written it, and
# an addition would be lost: a *race*. If each thread had a sum of its own, nothing would be lost,
# but how the terms are grouped would depend on how many threads there are and on who came first.
# The library cuts the windows into chunks, as many as the *shapes* say, gives each a sum of its
# own, and adds these in order. On the right is how it adds them, for a piece of all gradients; the
# optimizer calls it, and looks at once whether a gradient is NaN or infinite.

# %% tags=["nbval-ignore-output"]
source(reference.conv2d_backward_params, sums._add_piece)

# %%
x, w, _ = example(12, images=64)
dy = np.random.default_rng(13).normal(size=(64, 11, 11, 64)).astype(np.float32)
threads = numba.get_num_threads()
results = []
for count in (1, min(2, threads)):
    numba.set_num_threads(count)
    results.append(functional.conv2d_kernel_gradient(x, w, dy)[0])
numba.set_num_threads(threads)
print("one thread and two give the same bits:", np.array_equal(*results))
assert np.array_equal(*results)

# %% [markdown]
# This is what makes a training run repeatable (chapter 14), and it costs next to nothing.
#
# ## Touch it
#
# Where does a layer lie under the roof? Choose the channels, as many in as out, and the size of the
# images. The dot is at the highest speed that the machine of the first figure allows, for a batch
# of 64.


# %%
def intensity(channels, size, images=64):
    """Return the operations of a 3×3 layer for each byte that has to move."""
    outputs = images * (size - 2) ** 2 * channels
    numbers = images * size**2 * channels + 9 * channels**2 + outputs
    return 2 * outputs * 9 * channels / (4 * numbers)


memory = bandwidths["copy in memory"]


def under_the_roof(channels, image_size):
    """Draw one layer at the highest speed that both limits allow."""
    operations = intensity(channels, image_size)
    speed = figures.attainable(operations, peak, memory)
    limit = "memory" if speed < peak else "arithmetic"
    label = f"{channels} → {channels}, {image_size}×{image_size}:\n{limit} is the limit"
    side = "lower right" if operations < 60 else "lower left"
    return figures.roofline(
        peak, {"copy in memory": memory}, [figures.Dot(label, operations, speed, side)], machine
    )


explore(
    under_the_roof,
    "With one channel a 3×3 layer does so little for each byte that memory limits it; move the "
    "slider, and at some number of channels arithmetic takes over.",
    start={"channels": 1, "image_size": 28},
    channels=(1, 2, 4, 8, 16, 32, 64, 128),
    image_size=(4, 8, 13, 28, 56, 224),
)
assert intensity(1, 28) * memory < peak < intensity(128, 28) * memory

# %% [markdown]
# ## A common mistake: “fewer operations, faster”
#
# Which way would you choose, if you only saw the counts? Here they are once more, relative to the
# direct sum, and beside them the times of the stored table.

# %% tags=["nbval-ignore-output"]
print(machine)
for layer, shape in shapes.items():
    print(layer)
    for way in ("Winograd 2×2", "Winograd 4×4", "Fourier"):
        share = products(way, *shape) / products("register tiles", *shape)
        print(f"  {way:<14}{share:5.2f} × the products, {stored[layer][way]:6.2f} × the time")

# %%
direct = {layer: products("register tiles", *shape) for layer, shape in shapes.items()}
assert products("Fourier", *shapes[layer_2]) < direct[layer_2] / 2
assert products("Winograd 2×2", *shapes[layer_1]) < direct[layer_1] / 2
assert stored[layer_2]["Fourier"] > 1 and stored[layer_1]["Winograd 2×2"] > 1
assert stored[layer_2]["Winograd 4×4"] < 1

# %% [markdown]
# In the second layer Fourier's way needs less than half of the products, and takes many times as
# long. Part of that is how it is written here: a few lines of NumPy that make large arrays of
# complex numbers and rearrange them, for images whose side, 13, is a prime number, which fast
# Fourier transforms do not like. So take Winograd's 2×2 in the *first* layer, which is the cleaner
# example: the same library, the same register tiles, less than half of the products, and still
# several times slower. With a single input channel each transform of a patch serves 32 products
# instead of 64 · 32, and transforms are loads, additions and stores, none of which was counted.
# Where many channels share the way back, the same code is faster than the direct sum, though by
# less than its products promise. The library estimates both costs from the shapes, and chooses.

# %%
chosen = {
    layer: winograd.best_patch(
        *((64, size, size, channels), (64, size - 2, size - 2, filters)),
        *((3, 3), (1, 1), unpadded, (1, 1), 1, np.dtype(np.float32)),
    )
    for layer, (size, channels, filters) in shapes.items()
}
assert chosen[layer_1] == winograd.DIRECTLY
print(f"{layer_1}: the library takes the direct sum")

# %% [markdown]
# The ladder says the same: its six rungs do exactly as many multiplications, and lie four orders of
# magnitude apart. A count of operations gives a lower limit for the time, and a good one only when
# everything else has been made cheap.
#
# **What was shown.** A convolution is one sum. Order decides how often its numbers are loaded, how
# many are multiplied at once, and who adds them. Two measured limits, peak and bandwidth, say how
# much there is to gain. Fewer products help where their overhead is shared by many channels, at a
# price in the last digits that can be measured. Fusing steps and skipping zeros saves what need not
# be done at all.
#
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/12_fast_on_the_cpu.ipynb](solutions/12_fast_on_the_cpu.ipynb).
#
# **1. A tile.** Multiply two matrices with tiles of 4×4. `x` and `w` count how many of their
# numbers you load; a slice such as `x[p : p + 4, k]` counts as four. Both sizes of the result are
# multiples of four. Half a load for each multiply-add is what you should reach, and no more than 32
# numbers should be held at a time: sixteen sums, four of `x`, four of `w`.


# %%
def tiled(x, w):
    """Return x · w as an array; x.shape is (pixels, terms), w.shape is (terms, filters)."""
    return ...


checks.check_tiled(tiled)

# %% [markdown]
# **2. A sum without a race.** Compute `dw = x.T @ dy` for `x` of shape (windows, 9) and `dy` of
# shape (windows, 4) in tasks. `run(task, count)` calls `task(index, thread)` for every index from 0
# to `count` − 1, in no particular order, on any of `threads` threads, and returns when all are
# done. The bits of your result must never change.


# %%
def kernel_gradient(x, dy, run, threads):
    """Return dw, of shape (9, 4)."""
    return ...


checks.check_kernel_gradient(kernel_gradient)

# %% [markdown]
# **3. A Winograd tile.** Write the four outputs of a 3×3 kernel `g` on a 4×4 patch `d` with sixteen
# products. The check counts them. Products with constants do not count.


# %%
def winograd_tile(d, g):
    """Return the 2×2 outputs of a valid correlation."""
    return ...


checks.check_winograd_tile(winograd_tile)

# %% [markdown]
# ## Further reading
#
# - S. Williams, A. Waterman, D. Patterson, *Roofline: an insightful visual performance model for
#   multicore architectures*, 2009. The roof, and how to read it.
# - K. Goto, R. van de Geijn, *Anatomy of high-performance matrix multiplication*, 2008. Which
#   blocks belong in which cache, and why the tile belongs in registers.
# - E. Georganas and others, *Anatomy of high-performance deep learning convolutions on SIMD
#   architectures*, 2018. The same for convolutions, without im2col.
# - A. Lavin, S. Gray, *Fast algorithms for convolutional neural networks*, 2016. Winograd's
#   products, brought to convnets.
# - M. Mathieu, M. Henaff, Y. LeCun, *Fast training of convolutional networks through FFTs*, 2014.
#   Where Fourier's way pays.
# - N. Higham, *Accuracy and stability of numerical algorithms*, 2002. Why the order of a sum
#   matters in the last digits, and how much at most.
#
# **Next:** [13 · Fast on the GPU](13_fast_on_the_gpu.ipynb) takes the same sum to a machine with
# thousands of threads.
