# %% [markdown]
# # 5 · Borders and padding
#
# **A 3×3 window turns 5×5 pixels into 3×3. Where did the border go? And if `padding="same"` brings
# the size back, does it bring the border back too?**
#
# Reading: twenty minutes. Running: seconds, and nothing to download.

# %%
import numpy as np

from convlib import functional, layers, models, shapes
from convlib.datasets import strokes
from convlib.kernels import reference
from convlib.kernels.cpu import regions
from convlib.notebook import explore, show, show_animation, source
from convlib.notebook.checks import borders_and_padding as checks
from convlib.notebook.figures import borders as pictures

# %% [markdown]
# ## The smallest example
#
# Five pixels in a row, and a window of three. Let it slide.

# %%
row = [10, 20, 30, 40, 50]
windows = [row[i : i + 3] for i in range(5) if i + 3 <= 5]
for i, window in enumerate(windows):
    print(f"place {i}: {window}")
assert len(windows) == 5 - 3 + 1

# %% [markdown]
# Three places. The window's left edge may stand on the pixels 10, 20 and 30; further to the right
# the window would stick out. In two directions there are 3 · 3 = 9 places. The text calls them
# tiles.

# %%
show(
    pictures.window_places(5, 3),
    "The nine places of a 3×3 window on 5×5 pixels, arranged as in the output; its middle reaches "
    "only the nine inner pixels.",
)

# %% [markdown]
# ## You lose k − 1
#
# A window of $k$ pixels fits $n - k + 1$ times into $n$ pixels. The text says that “convolution
# typically results in an output feature map that is 2 units smaller”. That is the case $k = 3$ at
# stride 1. In general the loss is $k - 1$. This is called `valid`, and it is the default.

# %%
for k in (1, 2, 3, 5, 7):
    layer = models.Sequential([layers.Input((28, 28, 1)), layers.Conv2D(1, (k, k))]).layers[0]
    n_out = layer.output_shape[1]
    print(f"k = {k}: 28 → {n_out}, lost {28 - n_out}")
    assert n_out == 28 - k + 1

# %% [markdown]
# ## Padding
#
# If the output is to have as many places as the input, rows and columns must be added around the
# image. Usually they hold zeros. The window loses $k - 1$, so $k - 1$ must be added: for a 3×3
# window one row at the top, one at the bottom, and one column on each side.

# %%
show(
    pictures.window_places(5, 3, padding="same", side=0.98),
    "With one row or column of padding on each side, in sand, the window finds 25 places, and its "
    "middle visits every pixel once.",
)

# %% [markdown]
# For a 5×5 window the text says “you add two rows”. To be exact, it is two rows at the top *and*
# two at the bottom, two columns left *and* two right, four of each in all. And an even window has
# no middle pixel. A 4×4 window loses three rows, and three cannot be shared equally. Then the extra
# row goes to the bottom, and the extra column to the right.

# %%
for k in (3, 4, 5):
    before, after = shapes.same_padding(28, k)
    print(f"{k}×{k}: rows at the top {before}, at the bottom {after}")
    assert before + after == k - 1
assert shapes.same_padding(28, 4) == (1, 2) and shapes.same_padding(28, 5) == (2, 2)

# %% [markdown]
# ## What `same` means
#
# The text explains `same` as padding “in such a way as to have an output with the same width and
# height as the input”. That holds at stride 1. The next chapter is about windows that move $s$
# pixels at a time. For them, `same` promises something else: $\lceil n / s \rceil$ places, and no
# more padding than that takes,
#
# $$P = \max\bigl(0,\; (\lceil n/s \rceil - 1)\,s + k - n\bigr), \qquad
# \text{before} = \lfloor P/2 \rfloor, \quad \text{after} = P - \text{before}.$$
#
# Here is the function that computes it, with $n$ = `size`, $k$ = `kernel_size` and $s$ = `stride`.

# %% tags=["nbval-ignore-output"]
source(shapes.same_padding)

# %%
for n, k, s in ((28, 3, 1), (28, 3, 2), (28, 4, 1), (27, 3, 2)):
    before, after = shapes.same_padding(n, k, s)
    places = shapes.output_size(n + before + after, k, s)
    print(f"n = {n}, k = {k}, s = {s}: ({before}, {after}) gives {places} places")
    assert places == -(-n // s)
assert shapes.same_padding(28, 3, 2) == (0, 1)

# %% [markdown]
# With 28 pixels, a window of three and stride 2, nothing is added at the top and one row at the
# bottom. That looks odd, and it matters when weights move from one library to another. Where you
# write `padding=1`, as in PyTorch, one row is added on each side. Both give 14 places. But the
# windows stand one pixel apart.

# %%
random = np.random.default_rng(5)
x = random.normal(size=(1, 28, 28, 1))
w = random.normal(size=(3, 3, 1, 1))
every_place = functional.conv2d(x, w, padding="same")
as_in_keras = functional.conv2d(x, w, strides=2, padding="same")
as_in_pytorch = functional.conv2d(x, w, strides=2, padding=1)
print("both have shape", as_in_keras.shape, "and", as_in_pytorch.shape)
print("same picks the odd places:   ", np.allclose(as_in_keras, every_place[:, 1::2, 1::2]))
print("padding=1 picks the even ones:", np.allclose(as_in_pytorch, every_place[:, ::2, ::2]))
assert np.allclose(as_in_keras, every_place[:, 1::2, 1::2])
assert np.allclose(as_in_pytorch, every_place[:, ::2, ::2])

# %% [markdown]
# ## Touch it
#
# One row of pixels, its padding in sand, and the windows under it. A cross marks a pixel that no
# window reads. Find out when the padding is uneven, and when there is none although you asked for
# `same`.

# %%
explore(
    pictures.strip,
    "Ten pixels, a window of three, stride 2: five windows need eleven pixels, so one is added, "
    "and it is added at the end.",
    start={"size": 10, "kernel_size": 3, "stride": 2, "padding": "same"},
    size=range(5, 17),
    kernel_size=range(1, 8),
    stride=range(1, 5),
    padding=("same", "valid"),
)

# %% [markdown]
# ## The kernel
#
# The reference does what the words say. It makes a larger array, with zeros around the image, and
# then convolves without any padding. The compiled version never makes that array and never
# multiplies a zero. Before it computes anything, it asks for each row of the output which rows of
# the kernel lie inside the image. Neighbours with the same answer form a span.

# %% tags=["nbval-ignore-output"]
source(reference.conv2d_forward, regions.forward_axis)

# %%
for span in regions.forward_axis(size=5, outputs=5, taps=3, stride=1, dilation=1, before=1).spans:
    last_row, last_tap = span.first + span.count - 1, span.tap + span.taps - 1
    print(f"output rows {span.first} to {last_row} see kernel rows {span.tap} to {last_tap}")

# %% [markdown]
# Three spans down and three across make nine regions: the inside, four edges, four corners. Each is
# computed with the part of the kernel that it sees. How many products is that?

# %%
plan = regions.forward_plan(
    (1, 5, 5, 1), (3, 3, 1, 1), (1, 5, 5, 1), (1, 1), ((1, 1), (1, 1)), (1, 1), 1, np.dtype("f4")
)
print("products of the reference:", 25 * 9, " without those of the padding:", plan.multiply_adds)
assert plan.multiply_adds == 169 and len(plan.regions) == 9

# %% [markdown]
# ## How often is each pixel used?
#
# Now to the second half of the question. Count, for each pixel, in how many windows it lies.

# %%
padding = ((1, 1), (1, 1))


def counting():
    """Yield a frame for each place of the window, with what has been counted up to it."""
    counts = np.zeros((7, 7))
    for i, j in np.ndindex(5, 5):
        counts[i : i + 3, j : j + 3] += 1
        yield pictures.counting_frame(5, 3, padding, (i, j), counts[1:6, 1:6].copy(), 9)


show_animation(
    counting(),
    "The window visits 25 places; each pixel counts how often it was under the window, and the "
    "corners end with four, the edges with six, the inside with nine.",
    seconds=0.45,
)

# %% [markdown]
# There is a shorter way to count. `col2im` adds patches back to where they came from. If all
# patches are filled with ones, every pixel gets the number of its patches.


# %%
def uses(size, k, padding):
    """Return how many windows hold each pixel of a square image."""
    (places, _), _ = shapes.window_geometry((size, size), (k, k), (1, 1), padding)
    patches = np.ones((1, places, places, k * k))
    return functional.col2im(patches, size, k, padding=padding)[0, :, :, 0].astype(int)


counts = {
    "valid: 3×3 places": uses(5, 3, "valid"),
    "same: 5×5 places": uses(5, 3, "same"),
    "padding 2: 7×7 places": uses(5, 3, 2),
}
show(
    pictures.uses_per_pixel(counts),
    "Padding makes the counts less unequal, but under same a corner still has four uses where an "
    "inner pixel has nine; only a padding of k − 1 makes them equal, and the output larger.",
)
valid, same, full = counts.values()
assert (valid[0, 0], valid[0, 2], valid[2, 2]) == (1, 3, 9)
assert (same[0, 0], same[0, 2], same[2, 2]) == (4, 6, 9)
assert np.all(full == 9)
assert same.sum() == 169  # the products of the compiled version: one for each use

# %% [markdown]
# So `same` is about size. The corner's 4 of 9 is more than the 1 of 9 under `valid`, yet not equal.
# And where a border pixel is used, the window around it is partly filled with something that is no
# image. What does it see there?
#
# ## What stands in the padding
#
# Take a picture that is not black at its edges. It is computed here: a ball on a bright table.


# %%
def scene(side=56):
    """Return a grey picture between 0 and 1: a shaded ball on a bright table."""
    down, right = np.mgrid[0:side, 0:side] / side
    light = 0.95 - 0.25 * down + 0.02 * np.sin(40 * right + 10 * down)
    across, up = (right - 0.45) / 0.28, (0.52 - down) / 0.28
    inside = np.clip((1 - np.hypot(across, up)) * side / 3, 0, 1)  # a soft outline
    depth = np.sqrt(np.maximum(1 - across**2 - up**2, 0))
    ball = 0.15 + 0.75 * np.maximum(0.5 * up - 0.4 * across + 0.75 * depth, 0)
    shadow = np.exp(-(((right - 0.62) / 0.22) ** 2) - ((down - 0.82) / 0.06) ** 2)
    return inside * ball + (1 - inside) * light * (1 - 0.6 * shadow)


photo = scene()
box = np.full((7, 7), 1 / 49)


def filtered(kernel):
    """Return the picture under a kernel, with zeros outside of it and with the image mirrored."""
    return [functional.correlate2d(photo, kernel, border=border) for border in ("zero", "reflect")]


blurred_zero, blurred_mirrored = filtered(box)
show(
    pictures.labelled_pictures(
        {
            "the picture": photo,
            "blurred, zeros outside": blurred_zero,
            "blurred, mirrored outside": blurred_mirrored,
        },
        side=2.3,
    ),
    "A 7×7 blur with zero padding mixes black into the border, which gets a dark frame; with the "
    "image mirrored at its edge there is none.",
)

# %%
white = np.ones((5, 5))
box3 = np.full((3, 3), 1 / 9)
for border in ("zero", "reflect"):
    answer = functional.correlate2d(white, box3, border=border)
    print(f"white paper, 3×3 blur, {border:<8}", end="")
    print(f"corner {answer[0, 0]:.2f}, edge {answer[0, 2]:.2f}, inside {answer[2, 2]:.2f}")
    expected = (4 / 9, 6 / 9, 1) if border == "zero" else (1, 1, 1)
    assert np.allclose((answer[0, 0], answer[0, 2], answer[2, 2]), expected)

# %% [markdown]
# There they are again, the 4, 6 and 9 of nine. A filter that looks for edges is fooled as well.
# Zeros beside a bright image are an edge that nobody drew.

# %%
sobel = np.array([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]]) / 4
edges_zero, edges_mirrored = filtered(sobel)
show(
    pictures.responses({"zeros outside": edges_zero, "mirrored outside": edges_mirrored}, 0.7),
    "A filter for horizontal edges, red where it gets brighter downwards: with zeros outside it "
    "reports strong edges along the top and bottom, with the image mirrored those of the scene.",
    colours=128,
)


# %%
def border_and_inside(image, border):
    """Return the mean strength of an edge on the outermost pixels, and on all others."""
    strength = np.abs(functional.correlate2d(image, sobel, border=border))
    strength += np.abs(functional.correlate2d(image, sobel.T.copy(), border=border))
    inside = strength[1:-1, 1:-1]
    return (strength.sum() - inside.sum()) / (strength.size - inside.size), inside.mean()


ink = strokes.draw(range(10), seed=5) / 255
cases = {
    "the ball": [photo],
    "digits, white ink on black": list(ink),
    "digits, black ink on white": list(1 - ink),
}
print(f"{'mean strength of edges':<30}{'zeros':>16}{'mirrored':>18}")
print(f"{'':<30}{'border  inside':>16}{'border  inside':>18}")
strengths = {}
for name, many in cases.items():
    strengths[name] = [
        np.mean([border_and_inside(image, border) for image in many], axis=0)
        for border in ("zero", "reflect")
    ]
    by_zeros, by_mirror = strengths[name]
    print(f"{name:<30}{by_zeros[0]:>8.1f}{by_zeros[1]:>8.1f}", end="")
    print(f"{by_mirror[0]:>10.1f}{by_mirror[1]:>8.1f}")

ball, on_black, on_white = strengths.values()
assert ball[0][0] > 10 * ball[0][1] and ball[1][0] < 2 * ball[1][1]
assert on_black[0][0] < 0.01 and on_white[0][0] > 0.9 and on_white[1][0] < 0.01

# %% [markdown]
# The middle line explains why nobody notices this on MNIST. There the paper *is* zero, so that zero
# padding continues it. Turn the same digits into black ink on white paper, and the frame is by far
# the strongest edge. Mirroring is no truth either. It makes every slope across the border zero. But
# it adds nothing that stands out.
#
# ## A message about places
#
# A convolution does not know where it is; it does the same at every place. With padding it can find
# out. Give a network an image that is white everywhere, and ask after each layer at which places
# the feature map differs from its middle. If all places looked alike, nothing would differ.


# %%
def differing_places(depth, seed, mirrored):
    """Return, for each of some random layers, where a white image's map differs from its middle."""
    random = np.random.default_rng(seed)
    x, found = np.ones((1, 28, 28, 1)), []
    for channels in (1, 8, 8, 8)[:depth]:
        w = random.normal(size=(3, 3, channels, 8)) / np.sqrt(9 * channels)
        if mirrored:
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
            x = functional.relu(functional.conv2d(padded, w))
        else:
            x = functional.relu(functional.conv2d(x, w, padding="same"))
        found.append(np.abs(x[0] - x[0, 14, 14]).max(axis=-1) > 1e-9)
    return found


for seed in range(5):
    by_zeros, by_mirror = (differing_places(4, seed, mirrored) for mirrored in (False, True))
    for depth, (zeros, mirror) in enumerate(zip(by_zeros, by_mirror), start=1):
        assert zeros.sum() == 28**2 - (28 - 2 * depth) ** 2 and mirror.sum() == 0
print("layers        1    2    3    4")
print("zeros     ", "".join(f"{places.sum():5d}" for places in by_zeros), " of 784 places differ")
print("mirrored  ", "".join(f"{places.sum():5d}" for places in by_mirror), " of 784 places differ")

# %%
show(
    pictures.reach_of_the_border(
        by_zeros, [f"{k} layer{'s' if k > 1 else ''}" for k in range(1, 5)]
    ),
    "A white image under layers with zero padding: the places, in orange, where the map is not "
    "what it is in the middle reach one ring further inwards with each layer.",
)

# %% [markdown]
# The numbers are the same for each of five random networks: $28^2 - (28 - 2d)^2$ after $d$ layers.
# After four layers about half of all places have felt the border. That can be a nuisance. It can
# also be a help, because a network may need to know where it is. Either way it is not what the word
# *same* suggests.
#
# ## A common mistake: “padding makes all pixels count equally”
#
# It makes the output as large as the input. Under `same` with a 3×3 window, a corner pixel counts
# four times, an edge pixel six times and all others nine times. What fills the rest of a border
# window was never in the image.
#
# You have seen: a window of $k$ loses $k - 1$; `same` adds just enough to get $\lceil n/s \rceil$
# places, with the odd row at the bottom; the compiled kernel gets by without the zeros; and zeros
# are a border that a network can see, unless the paper is black.
#
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/05_borders_and_padding.ipynb](solutions/05_borders_and_padding.ipynb).
#
# **1. Write `same`.** Given the size of the image, of the window, and the stride, return the rows
# to add before and after. Think of even windows, and of stride 2.


# %%
def same_padding(n, k, s):
    """Return (before, after)."""
    return ...


checks.check_same_padding(same_padding)

# %% [markdown]
# **2. Say the sizes.** Each of these convolutions gets 28×28 pixels. How many rows has the output?

# %%
answers = {
    "5×5, valid": ...,
    "4×4, same": ...,
    "3×3, same, stride 2": ...,
    "three times 3×3, valid": ...,
    "7×7, padding=2": ...,
}

checks.check_sizes(answers)

# %% [markdown]
# **3. Backwards.** Some `valid` convolutions, all with the same window and stride 1, turned `n_in`
# rows into `n_out`. How large was the window? (One layer, 28 → 26: three.)


# %%
def kernel_side(n_in, n_out, number_of_layers):
    """Return k."""
    return ...


checks.check_kernel_side(kernel_side)

# %% [markdown]
# **4. Count the uses.** Return how many windows hold each of the `n` pixels of one row, when the
# window has `k` pixels, moves one pixel at a time, and `before` and `after` pixels of padding are
# added.


# %%
def uses_in_a_row(n, k, before, after):
    """Return n counts."""
    return ...


checks.check_uses_in_a_row(uses_in_a_row)

# %% [markdown]
# ## Further reading
#
# - V. Dumoulin, F. Visin, *A guide to convolution arithmetic for deep learning*, 2016. All
#   relations between these sizes, numbered and drawn.
# - M. A. Islam, S. Jia, N. Bruce, *How much position information do convolutional neural networks
#   encode?*, 2020. Networks read places off their zero padding.
# - B. Alsallakh and others, *Mind the pad: CNNs can develop blind spots*, 2021. What uneven padding
#   does to a detector of small objects.
# - G. Liu and others, *Partial convolution based padding*, 2018. Divide by the number of pixels
#   that the window really sees.
#
# **Next:** [6 · Strides](06_strides.ipynb) lets the window take larger steps.
