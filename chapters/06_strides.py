# %% [markdown]
# # 6 · Strides
#
# **With stride 2 a window skips every second place. What exactly is lost with the places that were
# skipped? Is it only detail?**
#
# Reading: twenty minutes. Running: seconds, and nothing to download.

# %%
import numpy as np

from convlib import functional, layers, models, shapes
from convlib.kernels import reference
from convlib.kernels.cpu import correlation, regions
from convlib.notebook import explore, show, show_animation, source
from convlib.notebook.checks import strides as checks
from convlib.notebook.figures import borders
from convlib.notebook.figures import strides as pictures

# %% [markdown]
# ## The smallest example
#
# Five pixels in a row, a window of three, and steps of two.

# %%
row = [10, 20, 30, 40, 50]
windows = [row[start : start + 3] for start in range(0, 5 - 3 + 1, 2)]
for place, window in enumerate(windows):
    print(f"place {place}: {window}")
assert windows == [[10, 20, 30], [30, 40, 50]]

# %% [markdown]
# Two places instead of three: the one in the middle was left out. In two directions four of the
# nine places remain. The step is called the *stride*, and its default is 1.

# %%
show(
    borders.window_places(5, 3, stride=2, side=1.35),
    "The four places of a 3×3 window with stride 2 on 5×5 pixels, arranged as in the output.",
)

# %% [markdown]
# ## Convolve, then drop
#
# With a stride $s$ the layer computes the same sums at fewer places,
#
# $$y_{i,j,o} = b_o + \sum_{u,v,c} x_{i s + u,\; j s + v,\; c}\; w_{u,v,c,o}.$$
#
# Only $i$ and $j$ are multiplied by $s$, not $u$ and $v$: the window moves further, but it has no
# gaps. So a strided convolution is the ordinary one, of which every $s$-th row and column is kept,
# `[::s]` in NumPy. Is that exactly so, to the last bit? Take whole numbers, for which no sum is
# ever rounded.

# %%
random = np.random.default_rng(6)
x = random.integers(0, 10, size=(2, 28, 28, 16)).astype(np.float32)
w = random.integers(-3, 4, size=(3, 3, 16, 32)).astype(np.float32)
for s in (2, 3, 4):
    strided = functional.conv2d(x, w, strides=s, backend="reference")
    every_place = functional.conv2d(x, w, backend="reference")
    assert np.array_equal(strided, every_place[:, ::s, ::s])
    print(f"stride {s}: {every_place.shape[1]} → {strided.shape[1]}, equal in every bit")

# %% [markdown]
# It is exact. For numbers with digits behind the point, and for the compiled kernels, it holds up
# to rounding. The compiled convolution may take another way at stride 1, one with fewer
# multiplications, and rounds differently there.

# %%
x = random.normal(size=(2, 28, 28, 16)).astype(np.float32)
w = random.normal(size=(3, 3, 16, 32)).astype(np.float32)
for s in (2, 3):
    strided, every_place = functional.conv2d(x, w, strides=s), functional.conv2d(x, w)
    difference = np.abs(strided - every_place[:, ::s, ::s]).max() / np.abs(every_place).max()
    print(f"stride {s}: differs by less than a 20 000th of the largest: {difference < 5e-5}")
    assert difference < 5e-5

# %% [markdown]
# (With `padding="same"` compare with care. At stride 2 it pads less than at stride 1, as
# [chapter 5](05_borders_and_padding.ipynb) shows, so the kept places are the odd ones.)
#
# Nobody computes all places and throws three quarters away. The strided layer does a quarter of the
# work.

# %%
work = {}
for s in (1, 2):
    layer = models.Sequential(
        [layers.Input((27, 27, 16)), layers.Conv2D(32, (3, 3), strides=s)]
    ).layers[0]
    work[s] = layer.multiply_adds()
    print(f"stride {s}: output {layer.output_shape[1:]}, {work[s]:,} multiply-adds")
print(f"ratio {work[2] / work[1]:.2f}, parameters the same")
assert 0.25 <= work[2] / work[1] < 0.28

# %% [markdown]
# ## The kernel
#
# The reference takes, for each element of the window, all the pixels under it at once: a slice with
# step `strides`. The compiled kernel lists where in memory the windows start. A stride only makes
# the steps of that list longer. The loop that multiplies never learns of it.

# %% tags=["nbval-ignore-output"]
source(reference._taps, correlation.list_windows)

# %%
for s in (1, 2, 3):
    places = shapes.output_size(28, 3, s)
    plan = regions.forward_plan(
        (1, 28, 28, 16),
        (3, 3, 16, 32),
        (1, places, places, 32),
        (s, s),
        ((0, 0), (0, 0)),
        (1, 1),
        1,
        np.dtype(np.float32),
    )
    step = int(plan.regions["source_across"][0])
    print(f"stride {s}: the next window starts {step} numbers further, {s} times 16 channels")
    assert step == 16 * s

# %% [markdown]
# ## Sizes, and what floor throws away
#
# The text says that stride 2 means the maps “are downsampled by a factor of 2 (in addition to any
# changes induced by border effects)”. The remark in brackets is the important part. With $n$
# pixels, a window of $k$ and $p$ rows of padding in all,
#
# $$n_\text{out} = \Bigl\lfloor \frac{n + p - k}{s} \Bigr\rfloor + 1
# \quad\text{(valid: } p = 0\text{)}, \qquad n_\text{out} = \Bigl\lceil \frac{n}{s} \Bigr\rceil
# \quad\text{(same)}.$$

# %%
def places(n, padding="valid", k=3, s=2):
    """Return the number of places in one direction."""
    return shapes.window_geometry((n, n), (k, k), (s, s), padding).output_size[0]


for n in (5, 26, 27, 28):
    print(f"{n:2d} pixels, 3×3, stride 2: valid {places(n):2d}, same {places(n, 'same'):2d}")
assert places(5) == 2 and places(28) == places(27) == 13 and places(28, "same") == 14

# %%
show(
    pictures.size_steps(
        range(19, 33),
        {"valid": places, "same": lambda n: places(n, "same")},
        {"valid": 28, "same": 28},
    ),
    "Sizes under a 3×3 window with stride 2 climb in steps of two; under valid they stay below "
    "half, and 27 and 28 pixels give the same 13.",
)

# %% [markdown]
# 27 and 28 pixels give the same 13 places. So with 28 pixels a row and a column must go unread.
# Which? Ask each pixel whether it reaches the output: give every output the gradient one, and see
# where something arrives.


# %%
def uses(n, k, s):
    """Return how many windows hold each pixel of a square image, without padding."""
    y = np.ones((1, places(n, "valid", k, s), places(n, "valid", k, s), 1))
    x, w = np.zeros((1, n, n, 1)), np.ones((k, k, 1, 1))
    return functional.conv2d_input_gradient(x, w, y, strides=s)[0, :, :, 0].round().astype(int)


unread = uses(28, 3, 2) == 0
print("pixels that no window reads:", unread.sum(), "of", unread.size)
assert unread[-1].all() and unread[:, -1].all() and unread.sum() == 28**2 - 27**2 == 55

# %%
show(
    borders.uses_per_pixel(
        {
            "window 3, stride 2": uses(10, 3, 2),
            "window 4, stride 2": uses(10, 4, 2),
            "window 1, stride 2": uses(10, 1, 2),
        }
    ),
    "How often each of 10×10 pixels is read: a window of three leaves out the last row and column "
    "and reads the rest unevenly, one of four is even inside, one of one skips three in four.",
)
three, four, one = uses(10, 3, 2), uses(10, 4, 2), uses(10, 1, 2)
assert set(three[:9, :9].ravel()) == {1, 2, 4} and not three[9].any()
assert np.all(four[2:8, 2:8] == 4) and (one == 0).mean() == 0.75

# %% [markdown]
# Pixels are dropped at the end whenever $n - k$ is not a multiple of $s$, and between the windows
# whenever $s > k$. The pattern of 1, 2 and 4 is one reason why a stride that divides the window is
# often preferred.
#
# ## What else is lost
#
# So far only places were counted. Now look at what was written there. The finest pattern that a row
# of pixels can hold is black, white, black, white.

# %%
fine = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1])
shifted = np.roll(fine, 1)
smooth = np.convolve(fine, [1 / 4, 1 / 2, 1 / 4], "valid")
print("the pattern:           ", *fine)
print("every second pixel:    ", *fine[::2], " all black")
print("after a shift by one:  ", *shifted[::2], " all white")
print("blurred, every second: ", *smooth[::2], " all grey")
assert not fine[::2].any() and shifted[::2].all() and np.all(smooth == 0.5)

# %% [markdown]
# Dropping pixels did not remove the fine pattern. It turned it into a broad area, black or white by
# accident. Such an impostor is called an *alias*. In general, stripes with $f$ cycles per pixel
# have $s f$ cycles per kept pixel. A row can show at most half a cycle per pixel. What is above
# comes back as the distance to the nearest whole number,
#
# $$f_\text{seen} = \bigl|\, s f - \mathrm{round}(s f) \,\bigr|.$$
#
# The remedy is as old as sampling. First blur away what is too fine, then drop. Here is a picture
# whose rings get finer and finer towards the edge, up to half a cycle per pixel.

# %%
side = 128
away = np.arange(side) - side / 2 + 0.5
down, right = np.meshgrid(away, away, indexing="ij")
rings = 0.5 + 0.5 * np.cos(np.pi * (down**2 + right**2) / side)

taps = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
blur = np.outer(taps, taps)
dropped = rings[::2, ::2]
blurred = functional.correlate2d(rings, blur, border="reflect")[::2, ::2]
show(
    borders.labelled_pictures(
        {
            "128×128": rings,
            "every second pixel": dropped,
            "blurred, then every second": blurred,
        },
        side=2.35,
    ),
    "Rings that get finer outwards: without a blur, false rings appear around eight points where "
    "there are none; with it, what is too fine becomes grey.",
)

# %%
frequency = np.maximum(np.abs(down), np.abs(right))[::2, ::2] / side
too_fine, coarse = frequency > 0.3, frequency < 0.1
print("contrast (standard deviation)    coarse rings   too fine rings")
for name, kept in (("every second pixel", dropped), ("blurred, then every second", blurred)):
    print(f"{name:<33}{kept[coarse].std():12.2f}{kept[too_fine].std():17.2f}")
assert dropped[too_fine].std() > 0.34 and blurred[too_fine].std() < 0.02
assert blurred[coarse].std() > 0.8 * dropped[coarse].std()

# %% [markdown]
# At the edge of the small picture there is nothing true left to show: more than a quarter of a
# cycle per pixel, doubled, is more than a half. Dropping shows it all the same, with full contrast
# and wrong. The blur lowers that contrast to a few per cent. It has a price: rings that would still
# fit become paler. For the five weights 1, 4, 6, 4, 1 the contrast that is left can be computed, it
# is $\cos^4(\pi f)$.

# %%
frequencies = np.linspace(0, 0.5, 101)
tried = np.arange(0.05, 0.5, 0.05)
pixels = np.arange(4000)
left = []
for f in tried:
    wave = np.cos(2 * np.pi * f * pixels)
    left.append(np.convolve(wave, taps, "valid").std() / wave.std())
gain = np.cos(np.pi * frequencies) ** 4
assert np.allclose(left, np.cos(np.pi * tried) ** 4, atol=0.002)
show(
    pictures.gains(frequencies, gain, (tried, np.array(left)), 0.25),
    "What the blur leaves of stripes: little of those that stride 2 would turn into something "
    "coarser, in the shaded half, and less and less of those that fit.",
)

# %% [markdown]
# ## Stripes that run backwards
#
# Let stripes with 0.4 cycles per pixel move to the right. After stride 2 they have 0.8 cycles per
# kept pixel, which looks like 0.2 in the other direction. So they move to the left, like the wheels
# of a coach in an old film.


# %%
def three_rows(frequency, shift=0.0, stride=2, pixels=60):
    """Return stripes, every `stride`-th of their pixels, and the same after the blur."""
    place = np.arange(-2, pixels + 2)
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * frequency * (place - shift))
    smooth = np.convolve(wave, taps, "valid")
    return {
        "all pixels": wave[2:-2],
        f"[::{stride}]": wave[2:-2:stride],
        f"blur, [::{stride}]": smooth[::stride],
    }


show_animation(
    (pictures.stripes(three_rows(0.4, shift)) for shift in np.arange(0, 2.5, 0.25)),
    "Stripes move to the right; of every second pixel, other and coarser stripes appear that move "
    "to the left; blurred first, nearly nothing is left that could mislead.",
    seconds=0.35,
)


# %%
def movement(row, frequency, later):
    """Return how far stripes of this frequency moved to the right between two rows, in pixels."""
    wave = np.exp(-2j * np.pi * frequency * np.arange(len(row)))
    turn = np.angle(np.sum(later * wave) / np.sum(row * wave))
    return -turn / (2 * np.pi * frequency)


before, after = three_rows(0.4, 0.0), three_rows(0.4, 0.25)
shown = movement(before["all pixels"], 0.4, after["all pixels"])
seen = 2 * movement(before["[::2]"], 0.2, after["[::2]"])
print(f"all pixels: the stripes move by {shown:+.2f} pixels")
print(f"every second pixel: they seem to move by {seen:+.2f} pixels")
assert abs(shown - 0.25) < 0.01 and abs(seen + 1) < 0.01

# %% [markdown]
# ## Touch it
#
# Find the frequency at which the second row is a single colour. Then try stride 3 and 4: the blur
# that was made for stride 2 is too weak for them.


# %%
def stripes(frequency, stride):
    """Draw stripes, what a stride makes of them, and what it makes of them after the blur."""
    seen = abs(stride * frequency - round(stride * frequency))
    title = f"{frequency:.2f} cycles per pixel; per kept pixel {stride * frequency:.2f}"
    return pictures.stripes(three_rows(frequency, 0.0, stride), f"{title}, seen as {seen:.2f}")


explore(
    stripes,
    "Stripes with 0.46 cycles per pixel: every second pixel shows broad stripes that are not "
    "there, and the blurred row is grey.",
    start={"frequency": 0.46, "stride": 2},
    frequency=[round(0.02 * k, 2) for k in range(1, 26)],
    stride=(1, 2, 3, 4),
)

# %% [markdown]
# A convolution with stride 2 can blur for itself: its weights are learned, and nothing keeps them
# from being smooth. Nothing makes them smooth either. What this does to a network that is shown
# shifted digits is measured in chapter 8.
#
# ## Are they rarely used?
#
# The text closes its section with the remark that strided convolutions “are rarely used in
# practice”, and that one tends to use max pooling instead. That was a fair picture of the networks
# in its family: VGG (2015) shrinks its maps by pooling alone. It has dated, and was not the whole
# picture even then. Here are layers of well-known networks, their sizes computed.

# %%
known = [
    ("AlexNet (2012), first layer", 227, 11, 4, "valid"),
    ("ResNet (2016), first layer", 224, 7, 2, 3),
    ("ResNet-34 (2016), between stages", 56, 3, 2, 1),
    ("MobileNet (2017), first layer", 224, 3, 2, "same"),
    ("Vision Transformer (2021), patches", 224, 16, 16, "valid"),
    ("ConvNeXt (2022), first layer", 224, 4, 4, "valid"),
    ("ConvNeXt (2022), between stages", 56, 2, 2, "valid"),
]
for name, n, k, s, padding in known:
    print(f"{name:<36}{k:>2}×{k:<2} stride {s:<2} {n:>4} → {places(n, padding, k, s)}")
assert places(224, "valid", 11, 4) == 54
sizes = [places(n, padding, k, s) for _, n, k, s, padding in known]
assert sizes == [55, 112, 28, 112, 14, 56, 28]

# %% [markdown]
# (AlexNet's paper speaks of 224 pixels. With 224, floor would give 54; the 55 of its figure takes
# 227.) In a residual network one max pooling is left, near the beginning, and strides do all later
# shrinking, up to the average over the whole map at its end. A vision transformer cuts its image
# into patches with a single strided convolution, in which stride and window are equal. Whether to
# pool or to stride is a choice; chapter 7 compares the two on digits.
#
# ## A common mistake: “stride 2 halves”
#
# Not quite: 5 becomes 2, and 28 becomes 13 under `valid` and 14 under `same`. And it halves only
# the number of places. Patterns that are too fine for the new grid are not removed. They come back
# as coarser ones, unless something smooths them first.
#
# You have seen: a strided convolution is the ordinary one with places left out, at a quarter of the
# cost; floor may leave the last rows unread; and what is dropped without a blur returns under
# another name.
#
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/06_strides.ipynb](solutions/06_strides.ipynb).
#
# **1. Sizes.** Return the number of places for `n` pixels, a window of `k`, stride `s` and
# `padding`, which is "valid" or "same".


# %%
def output_size(n, k, s, padding):
    """Return the number of places in one direction."""
    return ...


checks.check_output_size(output_size)

# %% [markdown]
# **2. Strided patches.** Cut a grey image, of shape (height, width), into the patches of a `k`×`k`
# window with stride `s`, without padding. Each patch becomes a row of k · k numbers, row by row.


# %%
def strided_patches(image, k, s):
    """Return an array of shape (places down, places across, k · k)."""
    return ...


checks.check_strided_patches(strided_patches)

# %% [markdown]
# **3. What nobody reads.** How many of `n` rows lie in no window at all, without padding? Mind the
# end, and steps that are larger than the window.


# %%
def unread_rows(n, k, s):
    """Return a number of rows."""
    return ...


checks.check_unread_rows(unread_rows)

# %% [markdown]
# **4. Under another name.** Stripes have `frequency` cycles per pixel, at most a half, and every
# `stride`-th pixel is kept. How many cycles per kept pixel does one see?


# %%
def seen_frequency(frequency, stride):
    """Return a number between 0 and 1/2."""
    return ...


checks.check_seen_frequency(seen_frequency)

# %% [markdown]
# ## Further reading
#
# - A. Krizhevsky, I. Sutskever, G. Hinton, *ImageNet classification with deep convolutional neural
#   networks*, 2012. Stride 4 in the first layer of the network that started it all.
# - J. Springenberg and others, *Striving for simplicity: the all convolutional net*, 2015. Replaces
#   all pooling by strides.
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2016. Shrinks
#   by strides; its shortcuts use windows of one with stride 2.
# - T. He and others, *Bag of tricks for image classification with convolutional neural networks*,
#   2019. What those shortcuts throw away, and how to repair it.
# - R. Zhang, *Making convolutional networks shift-invariant again*, 2019. Blur before you drop.
# - A. Dosovitskiy and others, *An image is worth 16×16 words*, 2021, and Z. Liu and others, *A
#   ConvNet for the 2020s*, 2022. Strided convolutions today.
#
# **Next:** [7 · Max pooling](07_max_pooling.ipynb) shrinks maps without any weights.
