# %% [markdown]
# # 4 · Patch by patch
#
# **The first layer turns 784 numbers into 21,632. Take one of these. Which of the 784 went into it,
# and what was done to them?**
#
# Reading: twenty minutes. Running: seconds, and nothing to download.

# %%
import time

import numpy as np

from convlib import functional
from convlib.datasets import strokes
from convlib.kernels import reference
from convlib.kernels.cpu import windows
from convlib.notebook import explore, show, show_animation, source
from convlib.notebook.checks import patch_by_patch as checks
from convlib.notebook.figures import patches as figures

# %% [markdown]
# ## The smallest example
#
# An input of 5×5 pixels with two channels. Channel 0 holds an upright line, channel 1 a level one.
# The layer has three filters of 3×3 over both channels: one looks for the upright line, one for the
# level line, and one for both at once.

# %%
x = np.zeros((5, 5, 2))
x[:, 2, 0] = 1
x[3, :, 1] = 1

w = np.zeros((3, 3, 2, 3))
w[:, :, 0, 0] = [[-1, 2, -1], [-1, 2, -1], [-1, 2, -1]]
w[:, :, 1, 1] = w[:, :, 0, 0].T
w[:, 1, 0, 2] = 1
w[1, :, 1, 2] = 1

patch = x[1:4, 1:4]
vector = patch.reshape(18) @ w.reshape(18, 3)
print("input", x.shape, " patch", patch.shape, " as a row", patch.reshape(18).shape)
print("filters", w.shape, " as a matrix", w.reshape(18, 3).shape)
print("result", vector.shape, ":", vector)
assert vector.tolist() == [6, -3, 3]

# %% [markdown]
# A window cuts a *patch* out of the input: 3 rows, 3 columns, and all channels. Its 18 numbers are
# written in a row and multiplied with a matrix that has one column for each filter. Out comes one
# number for each filter. These three belong at one place of the output, one in each channel. Then
# the window moves on.

# %%
places = [(i, j) for i in range(3) for j in range(3)]
show_animation(
    [figures.patch_frame(x, w, i, j) for i, j in places],
    "Patch, product, place: the blue patch becomes a row of 18 numbers, the same matrix turns "
    "every such row into three numbers (framed orange), and they go to the patch's place in three "
    "channels.",
    seconds=1.4,
)

# %% [markdown]
# Pale rows of the matrix meet a zero of the patch and add nothing. The third filter answers 6 where
# the lines cross, and 3 where it sees only one of them. It could not do that without reaching
# through both channels.
#
# ## In symbols
#
# Let $x$ be the input, $w$ the kernel with windows of $k \times k$, $C$ channels and $F$ filters,
# and $b$ a bias for each filter. The patch at $(i, j)$ is the row $p_{ij}$ of $k \cdot k \cdot C$
# numbers $x[i + u,\, j + v,\, c]$, and $W$ is the matrix `w.reshape(k * k * C, F)`. Then
#
# $$y[i, j, :] = p_{ij}\, W + b, \qquad\text{or}\qquad
# y[i, j, o] = b[o] + \sum_{u, v, c} x[i + u,\, j + v,\, c] \cdot w[u, v, c, o].$$
#
# In the code `patch.reshape(18)` is $p_{11}$, `w.reshape(18, 3)` is $W$, and `vector` is
# $y[1, 1, :]$. The bias was zero. Nothing is flipped, as chapter 1 showed.
#
# ## The text, read closely
#
# The text says that each 3D patch is “transformed into a 1D vector of shape” and there the sentence
# stops: a shape in parentheses has been lost. It was `(output_depth,)`, the number of filters.

# %%
depth = w.shape[-1]
assert vector.shape == (depth,)
print("patch", patch.shape, "→ vector", vector.shape)

# %% [markdown]
# Two rows of numbers are easily mixed up here. The patch, flattened, has $k \cdot k \cdot C = 18$
# numbers, which are part of the input. The vector has $F = 3$, which are part of the output. And
# “the same transformation” means more than it seems to say: *one* tensor of weights makes the
# vectors of all places. In the text's first layer 288 weights and 32 biases are used at 676 places.
#
# These vectors “are then spatially reassembled”. How many are there? A window of $k$ fits $n - k +
# 1$ times into $n$ pixels. The text says that the output is “2 units smaller in width and height”.
# That is so for windows of 3. In general $k - 1$ are lost.

# %%
for k in (1, 2, 3, 5, 7):
    columns = functional.im2col(np.zeros((1, 28, 28, 1)), k)
    print(f"windows of {k}×{k}: 28 → {columns.shape[1]}, {k - 1} fewer")
    assert columns.shape[1:3] == (28 - (k - 1), 28 - (k - 1))

# %% [markdown]
# One more word that has two meanings. The text calls the whole 3D output a *feature map*, “aka
# response map”, and a little further on a *response map* is one of its 32 channels. Elsewhere one
# channel is called a feature map. In this book a feature map is the whole, height × width ×
# channels, and a response map is one channel. With several images at once there is a fourth axis in
# front, for the samples.
#
# ## Three ways to write it
#
# First as in the animation, one patch after the other.


# %%
def patch_by_patch(x, w, b):
    """Convolve images with one product for each patch."""
    samples, height, width, channels = x.shape
    k, _, _, filters = w.shape
    matrix = w.reshape(k * k * channels, filters)
    y = np.empty((samples, height - k + 1, width - k + 1, filters), x.dtype)
    for n in range(samples):
        for i in range(height - k + 1):
            for j in range(width - k + 1):
                y[n, i, j] = x[n, i : i + k, j : j + k].reshape(-1) @ matrix + b
    return y


# %% [markdown]
# If every patch is multiplied with the same matrix, all of them can be. Write them below each
# other, and the layer is a single matrix product. The rearranging has the name `im2col`, image to
# columns.


# %%
def by_im2col(x, w, b):
    """Convolve images with a single product for all patches."""
    k, _, channels, filters = w.shape
    columns = functional.im2col(x, k)
    return columns @ w.reshape(k * k * channels, filters) + b


# %% [markdown]
# And every single multiplication, in loops: this is the sum above, word for word.


# %%
def number_by_number(x, w, b):
    """Convolve images with one multiplication after the other."""
    samples, height, width, channels = x.shape
    k, _, _, filters = w.shape
    y = np.empty((samples, height - k + 1, width - k + 1, filters), x.dtype)
    for n in range(samples):
        for i in range(height - k + 1):
            for j in range(width - k + 1):
                for o in range(filters):
                    total = b[o]
                    for u in range(k):
                        for v in range(k):
                            for c in range(channels):
                                total += x[n, i + u, j + v, c] * w[u, v, c, o]
                    y[n, i, j, o] = total
    return y


# %% [markdown]
# The fourth is the library's own, `functional.conv2d`, compiled by Numba. Do the four agree? With
# whole numbers there is nothing to round, so the first three must agree exactly.

# %%
ways = [number_by_number, patch_by_patch, by_im2col, functional.conv2d]
random = np.random.default_rng(4)
whole_x = random.integers(-9, 10, size=(2, 7, 6, 3)).astype(float)
whole_w = random.integers(-9, 10, size=(3, 3, 3, 5)).astype(float)
whole_b = random.integers(-9, 10, size=5).astype(float)
answers = [way(whole_x, whole_w, whole_b) for way in ways]
assert np.array_equal(answers[0], answers[1]) and np.array_equal(answers[0], answers[2])
assert np.allclose(answers[0], answers[3], rtol=0, atol=1e-9)
print("one of", answers[0].size, "numbers:", answers[0][1, 2, 3, 4])

# %% [markdown]
# With real numbers of 32 bits each way rounds differently, since each adds in another order. How
# much may that be? Every product and every sum is rounded by at most half a unit in the last place,
# $\varepsilon / 2$. Over $K = k \cdot k \cdot C$ terms the errors stay below about $K \cdot
# \frac{\varepsilon}{2} \cdot \sum |x| \cdot |w|$, and usually far below. So measure the error
# against a computation in 64 bits, in this unit, for layers of several shapes.


# %%
def error_in_bounds(way, shape, filters, seed):
    """Return the largest error of a way in 32 bits, as a share of what rounding may do."""
    random = np.random.default_rng(seed)
    x = random.normal(size=shape)
    w = random.normal(size=(3, 3, shape[3], filters))
    x, w = x.astype(np.float32), w.astype(np.float32)
    b = np.zeros(filters, np.float32)
    x64, w64, b64 = (a.astype(np.float64) for a in (x, w, b))
    exact = by_im2col(x64, w64, b64)
    terms = 9 * shape[3]
    unit = terms * np.finfo(np.float32).eps / 2 * by_im2col(np.abs(x64), np.abs(w64), b64)
    return (np.abs(way(x, w, b) - exact) / unit).max()


shapes_and_filters = [((2, 10, 10, 1), 8), ((1, 7, 9, 5), 4), ((1, 13, 13, 32), 64)]
worst = {
    way.__name__: [
        error_in_bounds(way, shape, filters, seed)
        for shape, filters in shapes_and_filters
        for seed in range(5)
    ]
    for way in ways[1:]
}
for name, errors in worst.items():
    print(f"{name:<16} stays within what rounding may do: {max(errors) < 1}")
    assert max(errors) < 1

# %% [markdown]
# They are the same sum, then. They do not take the same time. Here is one image in the shape that
# the text's second convolution reads: 13×13 places, 32 channels, 64 filters, 2,230,272
# multiplications. Run the cell to see the times of your computer.

# %% tags=["nbval-ignore-output", "volatile-output"]
image = random.normal(size=(1, 13, 13, 32)).astype(np.float32)
kernel = random.normal(size=(3, 3, 32, 64)).astype(np.float32)
bias = np.zeros(64, np.float32)
for way, repetitions in zip(ways, (1, 20, 20, 20), strict=True):
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        way(image, kernel, bias)
        times.append(1000 * (time.perf_counter() - start))
    print(f"{way.__name__:<17}{min(times):10.3f} ms")

# %% [markdown]
# Number by number takes about a second, patch by patch thousands of times less, and the compiled
# one again several times less. The first three do exactly the same multiplications. What falls away
# is the work *around* them: a step of Python for each, for each patch, or once for all. `im2col`
# buys this with memory. Neighbouring patches overlap, so most numbers are written down several
# times.

# %%
columns = functional.im2col(image, 3)
print(f"the image has {image.size:,} numbers, its patches have {columns.size:,}:", end=" ")
print(f"{columns.size / image.size:.1f} times as many")
assert columns.size == 11 * 11 * 9 * 32

# %% [markdown]
# ## How the library does it
#
# On the left, the definition of `im2col`: for each element of the window, all places at once. On
# the right, the compiled version. It goes place by place instead, so that the numbers of one patch
# are written one after the other, and shares the images among threads.

# %% tags=["nbval-ignore-output"]
source(reference.im2col, windows._im2col)

# %% [markdown]
# The convolution itself does not use it. Its definition, below, multiplies a shifted view of the
# input for each element of the window. The compiled version reads the patches where they lie, keeps
# sums for several of them in registers, and so needs no copies at all. (For large batches and
# windows of 3×3 it has a shortcut, too, which saves part of the multiplications. Chapter 12 takes
# both apart.)

# %% tags=["nbval-ignore-output"]
source(reference.conv2d_forward)

# %% [markdown]
# ## Touch it
#
# Move the patch over a digit, and see what four filters say to it. The number at a place of the
# output comes from nine pixels, and from no others.

# %%
(drawn, _), _ = strokes.load_data(train=300, test=1)
digits = drawn / 255
four = {
    "Sobel x": np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    "Sobel y": np.array([[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]]),
    "Laplace": np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]),
    "sum": np.ones((3, 3)),
}


def at_place(row, column):
    """Draw one patch of a digit, and its four numbers at their place in the output."""
    return figures.one_output_pixel(digits[2], four, row, column)


explore(
    at_place,
    "The nine pixels in the blue frame become four numbers, one from each filter, and each goes to "
    "the same place (orange) of its own channel.",
    start={"row": 6, "column": 9},
    row=range(26),
    column=range(26),
)

# %% [markdown]
# And the other way round: which outputs does one pixel reach? Change a pixel in the middle of a
# digit by a little, and count what changes in the text's first layer.

# %%
w_first = np.random.default_rng(4).normal(size=(3, 3, 1, 32))
before = functional.conv2d(digits[2:3, :, :, None], w_first)
touched = digits[2:3, :, :, None].copy()
touched[0, 14, 14] += 0.1
changed = np.abs(functional.conv2d(touched, w_first) - before) > 1e-9
print(f"{changed.sum()} of {changed.size:,} outputs change, at {changed.any(axis=3).sum()} places")
assert changed.sum() == 9 * 32
assert np.argwhere(changed.any(axis=3)[0]).min(axis=0).tolist() == [12, 12]
assert np.argwhere(changed.any(axis=3)[0]).max(axis=0).tolist() == [14, 14]

# %% [markdown]
# ## A common mistake: “an output pixel is an input pixel, scaled”
#
# Response maps look like the image, so it is tempting to read them that way: this pixel was 0.6,
# the filter made 1.8 of it. How much of an output can be told from the pixel in the middle of its
# patch? Take the best straight line $y \approx s \cdot x + t$ over all places of 300 digits, and
# ask which share of the variance of $y$ it explains. If outputs were scaled pixels, the share would
# be 1.


# %%
def explained(images, kernels):
    """Return for each filter the share of its output that the middle pixel explains."""
    y = functional.conv2d(images, kernels).reshape(-1, kernels.shape[3])
    middle = images[:, 1:-1, 1:-1].reshape(-1)
    y, middle = y - y.mean(axis=0), middle - middle.mean()
    return (middle @ y) ** 2 / ((middle @ middle) * (y**2).sum(axis=0))


noise = np.random.default_rng(0).normal(size=(300, 28, 28, 1))
random_filters = [np.random.default_rng(seed).normal(size=(3, 3, 1, 32)) for seed in range(5)]
on_digits = np.array([explained(digits[..., None], filters) for filters in random_filters])
on_noise = np.array([explained(noise, filters) for filters in random_filters])
known = explained(digits[..., None], np.stack(list(four.values()), -1)[:, :, None])
shares = dict(zip(four, known, strict=True))

# %% tags=["nbval-ignore-output"]
for name, values in (("digits", on_digits), ("noise", on_noise)):
    means = values.mean(axis=1)
    print(f"random filters on {name}: mean {values.mean():.2f}, standard deviation "
          f"{values.std():.2f}, means of five seeds {means.min():.2f} to {means.max():.2f}")
print("known kernels on digits:", {name: round(float(share), 2) for name, share in shares.items()})

# %%
show(
    figures.share_strips(
        {
            "random filters,\non digits": on_digits.ravel(),
            "random filters,\non noise": on_noise.ravel(),
        },
        {name: shares[name] for name in ("Sobel x", "Laplace", "sum")},
    ),
    "Each grey dot is one of 160 random filters: on digits the middle pixel explains less than "
    "half of the output on average, on noise about a ninth, and of a Sobel response nothing.",
)
assert 0.3 < on_digits.mean() < 0.55 and on_digits.max() < 0.99
assert abs(on_noise.mean() - 1 / 9) < 0.04
assert shares["Sobel x"] < 1e-6 and shares["Sobel y"] < 1e-6 and shares["sum"] > 0.8

# %% [markdown]
# On noise the nine pixels know nothing of each other. Then the share of the middle one is the
# square of its weight, divided by the sum of all nine squares. For random weights that is 1/9 on
# average, by symmetry; the 160 filters here came out a little lower, by chance.

# %%
weights = np.concatenate(random_filters, axis=3).reshape(9, 160)
by_formula = weights[4] ** 2 / (weights**2).sum(axis=0)
assert np.allclose(on_noise.ravel(), by_formula, atol=0.02)
many = np.random.default_rng(0).normal(size=(9, 100_000))
print(f"mean over 100 000 filters: {(many[4] ** 2 / (many**2).sum(axis=0)).mean():.3f}")

# %% [markdown]
# On digits a pixel resembles its neighbours, so the one in the middle can speak for some of them.
# This is why response maps look like the image. It never speaks for all, and for a Sobel kernel,
# whose middle is 0 and whose two sides cancel, it says nothing. An output pixel is the answer to a
# question about a whole patch. With 32 channels, as in the second layer, the patch has 288 numbers.
#
# **What was shown.** A convolution cuts out patches, multiplies each with one shared matrix, and
# puts the resulting vectors of shape `(output_depth,)` at the places of their patches. Loops, one
# large product and the compiled kernel compute the same sum.
#
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/04_patch_by_patch.ipynb](solutions/04_patch_by_patch.ipynb).
#
# **1. Cut out the patches.** Write `im2col` for one input of shape (height, width, channels): an
# array of shape (height − k + 1, width − k + 1, k · k · channels).


# %%
def extract_patches(x, k):
    """Return every patch of k×k as a row of numbers, at its place."""
    return ...


checks.check_extract_patches(extract_patches)

# %% [markdown]
# **2. With letters.** `np.einsum` takes a letter for each axis and sums over those that do not come
# back after the arrow: `np.einsum("ik,kj->ij", a, b)` is the product of two matrices. Suppose
# `patches` has shape (rows, columns, k, k, channels) and `w` has shape (k, k, channels, filters).
# Which letters give the convolution, of shape (rows, columns, filters)?

# %%
subscripts = ...

checks.check_subscripts(subscripts)

# %% [markdown]
# **3. A convolution.** Write it for one input, in any way you like: `x` of shape (height, width,
# channels), `w` of shape (k, l, channels, filters), with `k` and `l` perhaps different, and `b` of
# shape (filters,). The check knows the usual mistakes by name.


# %%
def convolution(x, w, b):
    """Return the output, of shape (height − k + 1, width − l + 1, filters)."""
    return ...


checks.check_convolution(convolution)

# %% [markdown]
# **4. Now you are the check.** Here are five convolutions with a mistake in each. One flips the
# kernel, one forgets the bias, one reverses the channels, one stops one short in both directions of
# the window, and one swaps rows and columns of the kernel. Find *one* example for which every one
# of them gives a wrong answer. To make it a puzzle, `x`, `w` and `b` may only hold zeros and ones,
# and the window must be square. (The five are in `checks.PLANTED`.)

# %%
x_test = ...  # (height, width, channels)
w_test = ...  # (k, k, channels, filters)
b_test = ...  # (filters,)

checks.check_test_case(x_test, w_test, b_test)

# %% [markdown]
# ## Further reading
#
# - K. Chellapilla, S. Puri, P. Simard, *High performance convolutional neural networks for document
#   processing*, 2006. The first to unroll patches so that a layer is one matrix product.
# - Y. Jia and others, *Caffe: convolutional architecture for fast feature embedding*, 2014. The
#   library that made `im2col` a word.
# - S. Chetlur and others, *cuDNN: efficient primitives for deep learning*, 2014. The same product,
#   with patches that are never written down.
# - F. Chollet, *Deep Learning with Python*, 2nd edition, 2021, chapter 8. Has a drawing of what the
#   animation above computes.
#
# **Next:** [5 · Borders and padding](05_borders_and_padding.ipynb) asks what becomes of the rows
# and columns that are lost.
