# %% [markdown]
# # 1 · Image kernels
#
# **A photo editor can blur a picture, sharpen it, and find its edges. Are these three programs, or
# one program with three small tables of numbers?**
#
# Reading: twenty minutes. Running: seconds, and nothing to download.

# %%
import numpy as np

from convlib import functional, layers, models, optimizers
from convlib.kernels import reference
from convlib.kernels.cpu import depthwise
from convlib.notebook import explore, scene, show, show_animation, source
from convlib.notebook.checks import image_kernels as checks
from convlib.notebook.figures import image_kernels as figures
from convlib.utils import set_random_seed

# %% [markdown]
# ## The smallest example
#
# A grey picture is a table of numbers. Here is a tiny one: dark is 0, light is 1, and there is a
# corner in it. A *kernel* is another table, usually of 3×3 numbers. This one has −1, −2, −1 on the
# left and 1, 2, 1 on the right. Lay it on nine pixels, multiply each number with the pixel under
# it, and add up.

# %%
corner = np.zeros((6, 6))
corner[2:, 3:] = 1
kernel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])

window = corner[2:5, 1:4]
print(window.astype(int))
print("products sum to", (window * kernel).sum())
assert (window * kernel).sum() == 4
assert (corner[2:5, 3:6] * kernel).sum() == 0

# %% [markdown]
# The sum is large because the pixels on the right are lighter than those on the left. Where all
# nine are alike, the left side takes away what the right side adds, and the sum is 0. Now move the
# window over the picture, pixel by pixel, and write down every sum.

# %%
places = [(row, column) for row in range(4) for column in range(4)]
show_animation(
    [figures.sliding_frame(corner, kernel, row, column) for row, column in places],
    "The window slides row by row; each place gives nine products, and their sum is one number of "
    "the result, which is large along the upright edge and nowhere else.",
    seconds=0.8,
)

# %% [markdown]
# Slide, multiply, sum. Nothing else happens in this chapter, nor in the convolutional layers of the
# rest of the book. The horizontal edge of the corner leaves no trace: going from left to right
# along it, nothing changes. Turn the kernel by a quarter, and it is the other way round.
#
# ## In symbols
#
# Let $x$ be the image, $w$ the kernel of $k \times l$ numbers, and $y$ the result. Then
#
# $$y[i, j] = \sum_{u=0}^{k-1} \sum_{v=0}^{l-1} x[i + u,\; j + v] \cdot w[u, v].$$
#
# In the code above `corner` is $x$, `kernel` is $w$, and $(i, j)$ is the upper left pixel of
# `window`. This sum is called **correlation**. To keep the size of the picture, one lets the window
# hang over the border by one pixel and agrees on what is out there; [convlib's
# `correlate2d`](../convlib/functional.py) can put zeros there, or mirror the picture.

# %%
result = functional.correlate2d(corner, kernel, mode="valid")
by_hand = np.array([[(corner[i : i + 3, j : j + 3] * kernel).sum() for j in range(4)]
                    for i in range(4)])
print(result.astype(int))
assert np.array_equal(result, by_hand)

# %% [markdown]
# ## A photograph
#
# Nobody took this photograph. The library computes it, ray by ray, so that every page of this book
# can be made anywhere. It has what real ones have: soft clouds, hard edges in many directions, the
# fine texture of leaves, and a little noise. Its values go from 0, black, to 1, white.

# %%
photograph = scene.photograph()
print("rows and columns:", photograph.shape, " numbers:", photograph.dtype)
assert photograph.shape == (200, 300) and 0 <= photograph.min() and photograph.max() <= 1

# %% [markdown]
# And these are the tables of numbers. Each is written in whole numbers and what to divide them by.
# All other lines are the same for all of them.

# %%
spread = np.array([1, 4, 6, 4, 1])
kernels = {
    "the photograph": ([[0, 0, 0], [0, 1, 0], [0, 0, 0]], 1),
    "box blur": (np.ones((5, 5)), 25),
    "Gaussian blur": (np.outer(spread, spread), 256),
    "sharpen": ([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], 1),
    "Sobel x: upright edges": ([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], 1),
    "Sobel y: level edges": ([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], 1),
    "Laplace: points and edges": ([[0, 1, 0], [1, -4, 1], [0, 1, 0]], 1),
    "emboss": ([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], 1),
}
kernels = {name: (np.array(w, np.float32), divisor) for name, (w, divisor) in kernels.items()}
around_zero = [name for name in kernels if name.startswith(("Sobel", "Laplace"))]

results = {
    name: functional.correlate2d(photograph, w / divisor, border="reflect")
    for name, (w, divisor) in kernels.items()
}

# %%
show(
    figures.filtered_gallery(kernels, results, signed=around_zero),
    "One photograph under eight kernels: the numbers alone decide whether the sum blurs, sharpens "
    "or answers to edges (red: positive, blue: negative, white: zero).",
    colours=200,
)

# %% [markdown]
# So it is one program. A few things can be read off the numbers.
#
# - **Numbers that sum to 1** keep the brightness of flat areas: both blurs, sharpen, emboss.
# - **Numbers that sum to 0** answer nothing in flat areas: both Sobel kernels and Laplace. They
#   are differences of neighbours, with a sign. Sobel's says which side is lighter, and Laplace's
#   whether a pixel is darker than its neighbours.
# - A blur takes the mean over the window. The box counts all of its pixels alike; the Gaussian
#   counts near ones more, and leaves no blocks.
# - Sharpening is the opposite: the pixel, plus what its neighbours lack.

# %%
for name, (w, divisor) in kernels.items():
    print(f"{name:<26} sums to {w.sum() / divisor:.0f}")
flat = np.full((9, 9), 0.4, np.float32)
for w, divisor in kernels.values():
    answer = functional.correlate2d(flat, w / divisor, border="reflect")
    assert np.allclose(answer, 0.4 * (w.sum() / divisor), atol=1e-5)

# %% [markdown]
# ## How the library does it
#
# On the left is the definition in NumPy. It does not slide the window at all. It takes the kernel's
# numbers one by one, multiplies the whole picture with the number, shifts it, and adds. The sum is
# the same. (It treats a stack of images with several channels, each with a kernel of its own. A
# grey picture is a stack of one with one channel.) On the right is what the compiled version runs
# for a grey picture. It differs in one thing: it finishes one window before it begins the next. The
# sum `acc` stays in a register of the processor, and the result is written once, and not once for
# every number of the kernel.

# %% tags=["nbval-ignore-output"]
source(reference.depthwise_conv2d_forward, depthwise._correlate_window)

# %%
w, divisor = kernels["Gaussian blur"]
fast = functional.correlate2d(photograph, w / divisor)
slow = functional.correlate2d(photograph, w / divisor, backend="reference")
print("they differ by less than a hundred-thousandth:", np.abs(fast - slow).max() < 1e-5)
assert np.abs(fast - slow).max() < 1e-5

# %% [markdown]
# ## Touch it
#
# Choose a kernel and how often to apply it. Blurring again and again widens the blur. Sharpening
# again and again brings out the noise.


# %%
def filtered(kernel, times):
    """Apply a kernel several times and draw the result beside the photograph."""
    w, divisor = kernels[kernel]
    image = photograph
    for _ in range(times):
        image = functional.correlate2d(image, w / divisor, border="reflect")
    title = kernel if times == 1 else f"{kernel}, {times} times"
    return figures.before_and_after(
        photograph, image, ("the photograph", title), kernel in around_zero
    )


explore(
    filtered,
    "Sixteen small Gaussian blurs, one after the other, make a wide one.",
    start={"kernel": "Gaussian blur", "times": 16},
    kernel=list(kernels),
    times=(1, 2, 4, 8, 16),
)

# %% [markdown]
# ## And what is convolution?
#
# The text says that in mathematics convolution is “an operation on two functions to produce a third
# function that expresses how the shape of one is modified by the other”. That is a description. The
# definition, for two functions $f$ and $g$, and for two rows of numbers, is
#
# $$(f * g)(t) = \int f(\tau)\, g(t - \tau)\, d\tau, \qquad
# (f * g)[i] = \sum_k f[k]\, g[i - k].$$
#
# Look at the signs. While $k$ counts up in $f$, the index $i - k$ counts *down* in $g$. One of the
# two is read backwards. In the sum of this chapter both are read forwards. This is the only
# difference, and it has a plain meaning, which shows best with a single point.

# %%
point = np.array([0, 0, 1, 0, 0, 0])
print("convolution:", np.convolve(point, [1, 2, 3]))
print("correlation:", np.correlate(point, [1, 2, 3], mode="full"))
assert np.convolve(point, [1, 2, 3])[2:5].tolist() == [1, 2, 3]
assert np.correlate(point, [1, 2, 3], mode="full")[2:5].tolist() == [3, 2, 1]

# %% [markdown]
# **Convolution puts a copy of $g$ at every point of $f$**, as large as the point is bright, and
# adds the copies where they overlap. That is how the shape of one is modified by the other: a lens
# that is out of focus puts a small disc in the place of every point. Correlation asks at every
# place how well the picture under the window *matches* the kernel. With the same numbers, the one
# gives the kernel as it is, and the other turns it.

# %%
letter = np.array([[1.0, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]])
one_point = np.zeros((9, 9))
one_point[4, 4] = 1
turned = functional.correlate2d(one_point, letter)
upright = functional.convolve2d(one_point, letter)
show(
    figures.flip_picture(one_point, letter, {"correlation": turned, "convolution": upright}),
    "A kernel in the form of an F meets a single point: convolution leaves the F as it is, "
    "correlation turns it by 180 degrees.",
)
assert np.array_equal(upright[2:7, 3:6], letter)
assert np.array_equal(turned[2:7, 3:6], letter[::-1, ::-1])

# %% [markdown]
# In two dimensions the kernel is read backwards along both axes, which turns it by 180°:
#
# $$y[i, j] = \sum_{u} \sum_{v} x[i - u,\; j - v] \cdot w[u, v].$$
#
# So convolution is correlation with the turned kernel `w[::-1, ::-1]`. The library says it in
# these words:

# %% tags=["nbval-ignore-output"]
source(functional._filter_image)

# %% [markdown]
# Why would anybody want a flip? Because with it the two partners have equal rights, $f * g = g *
# f$, and several kernels in a row can be merged into one, $(f * g) * h = f * (g * h)$. Correlation
# has neither.

# %%
random = np.random.default_rng(1)
f, g, h = (random.integers(-9, 10, size=n) for n in (7, 3, 4))
assert np.array_equal(np.convolve(f, g), np.convolve(g, f))
assert np.array_equal(np.convolve(np.convolve(f, g), h), np.convolve(f, np.convolve(g, h)))


def correlate(a, b):
    """Correlate two rows of numbers wherever they have a place in common."""
    return np.correlate(a, b, mode="full")


assert np.array_equal(correlate(f, g), correlate(g, f)[::-1])
assert not np.array_equal(correlate(f, g), correlate(g, f))
assert not np.array_equal(correlate(correlate(f, g), h), correlate(f, correlate(g, h)))
print("f * g, then * h, equals f * (g * h):", np.convolve(np.convolve(f, g), h)[:6], "…")

# %% [markdown]
# ## Which kernels notice?
#
# Correlate the photograph with each kernel, convolve it, and look at the largest difference. Values
# of the photograph lie between 0 and 1.

# %%
differences = {}
for name, (w, divisor) in kernels.items():
    w = w.astype(np.float64) / divisor
    correlated = functional.correlate2d(photograph.astype(np.float64), w, border="reflect")
    convolved = functional.convolve2d(photograph.astype(np.float64), w, border="reflect")
    differences[name] = np.abs(correlated - convolved).max()
    if np.array_equal(w, w[::-1, ::-1]):
        assert differences[name] == 0
    if np.array_equal(w, -w[::-1, ::-1]):
        assert np.allclose(correlated, -convolved, atol=1e-12)
        assert np.isclose(differences[name], 2 * np.abs(correlated).max())

# %%
show(
    figures.difference_bars(differences),
    "The largest difference between correlation and convolution: none for kernels that look the "
    "same after half a turn, twice the largest answer for the Sobel kernels.",
)

# %% [markdown]
# Blur, sharpen and Laplace look the same after half a turn, so nobody can tell which of the two a
# photo editor computes, and for them the text's sentence is right in either reading. A Sobel kernel
# changes its sign, and all its answers change sign with it: lighter on the right becomes lighter on
# the left. Emboss moves its lamp to the other corner.
#
# For any kernel, split it into a half that stays and a half that changes sign under the turn,
# $w = w_{+} + w_{-}$. Only $w_{-}$ makes a difference, and it makes it twice.

# %%
shares = []
for seed in range(5):
    random = np.random.default_rng(seed)
    image = random.normal(size=(20, 20))
    for w in random.normal(size=(2000, 3, 3)):
        odd = (w - w[::-1, ::-1]) / 2
        shares.append((odd**2).sum() / (w**2).sum())
    gap = functional.correlate2d(image, w) - functional.convolve2d(image, w)
    assert np.allclose(gap, 2 * functional.correlate2d(image, odd), atol=1e-12)

shares = np.reshape(shares, (5, 2000))
means = shares.mean(axis=1)
print(f"share of w- in 10 000 random kernels of 3×3: {means.mean():.3f}, and 4/9 is {4 / 9:.3f}")
print(f"means of five seeds: {means.min():.3f} to {means.max():.3f}")
print(f"standard deviation between kernels: {shares.std():.2f}")
assert np.all(np.abs(means - 4 / 9) < 0.02)

# %% [markdown]
# Layers start with random kernels. Of such a kernel of 3×3, a share of 4/9 of the squares belongs
# to the half that changes sign: in each of the four pairs of opposite numbers half of it, and
# nothing in the middle. So for layers the question is not idle. Which of the two do they compute?
#
# ## A common mistake: “deep-learning layers convolve”
#
# Give a layer a kernel that notices, and see.

# %%
w, _ = kernels["emboss"]
layer = models.Sequential(
    [layers.Input((200, 300, 1)), layers.Conv2D(1, (3, 3), use_bias=False)]
)
layer.set_weights([w[:, :, None, None]])
answer = layer.predict(photograph[None, ..., None], verbose=0)[0, :, :, 0]
correlated = functional.correlate2d(photograph, w, mode="valid")
convolved = functional.convolve2d(photograph, w, mode="valid")
print("the layer correlates:", np.allclose(answer, correlated, atol=1e-5))
print("the layer convolves: ", np.allclose(answer, convolved, atol=0.1))
assert np.allclose(answer, correlated, atol=1e-5)
assert np.abs(answer - convolved).max() > 1

# %% [markdown]
# `Conv2D` computes correlation, in convlib, in Keras and in PyTorch. The name has stuck all the
# same. Does it matter? To find out, let a layer *learn* to imitate true convolution. It sees 32
# pictures of random dots and, as the answer, each of them convolved with the emboss kernel. Its
# nine numbers start at random.


# %%
def learn(operation, seed):
    """Return the kernel of a layer that was trained to imitate an operation with emboss."""
    set_random_seed(seed)
    dots = np.random.default_rng(seed).normal(size=(32, 24, 24)).astype(np.float32)
    answers = np.stack([operation(image, w, mode="valid") for image in dots])
    model = models.Sequential([layers.Input((24, 24, 1)), layers.Conv2D(1, (3, 3))])
    model.compile(optimizer=optimizers.Adam(0.05), loss="mean_squared_error")
    model.fit(dots[..., None], answers[..., None], epochs=60, batch_size=8, verbose=0)
    kernel, bias = model.get_weights()
    assert np.abs(bias).max() < 1e-3
    return kernel[:, :, 0, 0]


from_convolution = [learn(functional.convolve2d, seed) for seed in range(5)]
from_correlation = [learn(functional.correlate2d, seed) for seed in range(5)]
for kernel in from_convolution:
    assert np.abs(kernel - w[::-1, ::-1]).max() < 1e-3
for kernel in from_correlation:
    assert np.abs(kernel - w).max() < 1e-3
print("from correlation all five seeds learned the kernel, from convolution the kernel turned")

# %%
show(
    figures.learned_kernels(
        w,
        {
            "learned from correlation": from_correlation[0],
            "learned from convolution": from_convolution[0],
        },
    ),
    "A layer that is to imitate convolution learns the kernel turned by 180 degrees, to two "
    "decimals and from every seed.",
)

# %% [markdown]
# The layer found the turned kernel by itself, and imitates convolution perfectly. (Over 20 seeds
# the nine numbers were off by at most 0.00002.) A network that learns its kernels can therefore do
# with either operation what it could do with the other, and correlation spares the flip. It matters
# in two places: when numbers are carried from a program that convolves to one that correlates, and
# when gradients go backwards through a layer. There the flip returns, in chapter 11.
#
# **What was shown.** Blurring, sharpening and finding edges are one sum with different numbers.
# That sum, as layers compute it, is correlation. Convolution is the same with the kernel turned by
# half, and for symmetric kernels there is no difference at all.
#
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/01_image_kernels.ipynb](solutions/01_image_kernels.ipynb).
#
# **1. Sharpen by any amount.** To sharpen, compare each pixel with the mean of the 3×3 window
# around it (all nine pixels), and add the difference to the pixel, `amount` times. Write this as
# one kernel.


# %%
def sharpen_kernel(amount):
    """Return the 3×3 kernel for: pixel + amount · (pixel − mean of the window)."""
    return ...


checks.check_sharpen_kernel(sharpen_kernel)

# %% [markdown]
# **2. Flip it.** Convolve an image by means of `functional.correlate2d(image, kernel)`. Kernels
# have odd height and width, and may be different in the two.


# %%
def convolve(image, kernel):
    """Return the convolution, of the size of the image, with zeros outside."""
    return ...


checks.check_convolve(convolve)

# %% [markdown]
# **3. From the definition.** Write the whole convolution of two small tables: put a copy of the
# kernel at every pixel, multiplied by the pixel, and add up. The result is larger than the image,
# since copies stick out. For a single row it must equal `np.convolve`. (If you have SciPy,
# `scipy.signal.convolve2d` computes the same. It is not needed here.)


# %%
def full_convolution(image, kernel):
    """Return every sum in which image and kernel have at least one place in common."""
    return ...


checks.check_full_convolution(full_convolution)

# %% [markdown]
# **4. Two small blurs for one large.** The Gaussian kernel of the gallery is `np.outer(spread,
# spread)`: a column times a row. Such a kernel is *separable*. Blur with the column `taps[:, None]`
# first, and the result with the row `taps[None]`. Use `functional.correlate2d` with its defaults.


# %%
def blur_in_two(image, taps):
    """Return what correlation with np.outer(taps, taps) gives, without that square."""
    return ...


checks.check_blur_in_two(blur_in_two)

# %% [markdown]
# And how many multiplications does a blur of 15×15 take for the photograph of 200×300 pixels, at
# once and in two steps? The result has the size of the photograph; count products with zeros
# outside as well.

# %%
counts = {"at_once": ..., "in_two": ...}

checks.check_counts(counts)

# %% [markdown]
# ## Further reading
#
# - R. C. Gonzalez, R. E. Woods, *Digital Image Processing*, 4th edition, 2018. Chapter 3 goes on
#   where this gallery ends.
# - I. Sobel, G. Feldman, *An Isotropic 3×3 Image Gradient Operator*, a talk of 1968, written down
#   by Sobel in 2014. Where the 1, 2, 1 comes from.
# - D. Marr, E. Hildreth, *Theory of edge detection*, 1980. Why one blurs before one takes Laplace.
# - V. Dumoulin, F. Visin, *A guide to convolution arithmetic for deep learning*, 2016. Says in a
#   footnote what the layer above learned: with learned kernels the two are interchangeable.
# - I. Goodfellow, Y. Bengio, A. Courville, *Deep Learning*, 2016, section 9.1. The same, at length.
#
# **Next:** [2 · Dense and local](02_dense_and_local.ipynb) asks why a network should look at small
# windows at all, instead of at the whole picture at once.
