# %% [markdown]
# # 7 · Max pooling
#
# **A pooling layer has no weights, and it throws away three numbers out of four. Why would anybody
# put that into a network, and does it help?**
#
# Reading: twenty minutes. Running: seconds, and nothing to download.

# %%
import numpy as np

from convlib import functional, layers, models, shapes
from convlib.datasets import digits, strokes
from convlib.kernels import reference
from convlib.kernels.cpu import pooling as fast
from convlib.notebook import explore, show, show_animation, source
from convlib.notebook.checks import max_pooling as checks
from convlib.notebook.figures import pooling
from convlib.utils import set_random_seed

# %% [markdown]
# ## The smallest example
#
# Cut a table of numbers into blocks of 2×2, and keep the largest number of each block.

# %%
small = np.array([[1.0, 3, 2, 0], [4, 2, 1, 5], [0, 1, 6, 2], [2, 3, 1, 4]])
kept = functional.max_pool2d(small[np.newaxis, ..., np.newaxis])[0, ..., 0]
print(small.astype(int), "becomes", kept.astype(int), sep="\n")
assert np.array_equal(kept, [[4, 5], [3, 6]])

# %% [markdown]
# Sixteen numbers went in, and four came out. Nothing was weighted and nothing was learned.
#
# ## Step by step
#
# Here is a larger table, window by window. It has seven rows and columns, and that is on purpose.


# %%
def pooled(values, **options):
    """Pool one channel of one image."""
    return functional.max_pool2d(values[np.newaxis, ..., np.newaxis], **options)[0, ..., 0]


random = np.random.default_rng(7)
table = random.integers(0, 10, size=(7, 7)).astype(float)
show_animation(
    (pooling.pooling_step(table, pooled(table), step) for step in range(10)),
    "A 2×2 window jumps by two and hands on the largest of its four numbers; after nine jumps a "
    "row and a column, in orange, are left over, and nobody has looked at them.",
    seconds=0.9,
)

# %% [markdown]
# In a network the table is a response map: it says how strongly a filter answers at each place. The
# filter here answers to upright edges, and its negative answers are cut off by ReLU.

# %%
image = strokes.draw([3], seed=5)[0] / 255
edges = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
response = functional.relu(functional.correlate2d(image, edges, mode="valid"))
halved = pooled(response)
averaged = functional.average_pool2d(response[np.newaxis, ..., np.newaxis])[0, ..., 0]
show(
    pooling.pooled_maps(image, response, {"largest of 2×2": halved, "mean of 2×2": averaged}),
    "Pooling keeps a quarter of the numbers: the largest values keep thin responses bright, and "
    "the means let them fade.",
)
assert halved.mean() > averaged.mean()

# %% [markdown]
# ## The definition
#
# A window has $k \times k$ places and moves by $s$. In every channel $c$ by itself,
#
# $$y_{i,j,c} = \max_{0 \le u, v < k} \; x_{s i + u,\; s j + v,\; c} .$$
#
# In the code, `x` is the input, `y` the output, $k$ is `pool_size` and $s$ is `strides`, which is
# equal to `pool_size` unless you say otherwise. A map with $n$ rows gives
#
# $$\left\lfloor \frac{n - k}{s} \right\rfloor + 1 \quad \text{rows.}$$
#
# The text says the output is “half of input width and height”, and its example is right: 26 becomes
# 13. But the brackets round down. Half of 11 is not 5.

# %%
for size in (26, 13, 11, 7):
    windows = shapes.output_size(size, kernel_size=2, stride=2)
    rest = size - 2 * windows
    print(f"{size:2d} rows → {windows:2d}, left over: {rest}")
    assert windows == size // 2 and rest == size % 2

# %% [markdown]
# ## What 11 → 5 throws away
#
# That happens in the text's own network, at its second pooling. The last row and the last column of
# the 11×11 map lie in no window. So 11² − 10² = 21 of its 121 places are computed for nothing. And
# those places were the only ones that looked at the edge of the image. The windows that are kept
# end at row 9 of that map. Go back from there, layer by layer: row 9 reads up to row 11 of the
# 13×13 map, that reads up to row 23 of the 26×26 map, and that up to row 25 of the image. Rows 26
# and 27 are out.

# %%
last = 9
for name, stride, size in (("conv2d_2", 1, 3), ("max_pooling2d_1", 2, 2), ("conv2d_1", 1, 3)):
    last = stride * last + size - 1
    print(f"{name} reads up to row {last}")
assert last == 25

# %%
set_random_seed(7)
text_network = models.Sequential(
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


def answers(picture):
    """Return the ten probabilities for one image."""
    return text_network.predict(picture[np.newaxis, ..., np.newaxis], verbose=0)[0]


scribbled = image.copy()
scribbled[26:], scribbled[:, 26:] = random.uniform(size=(2, 28)), random.uniform(size=(28, 2))
elsewhere = image.copy()
elsewhere[24:26] = random.uniform(size=(2, 28))
change = np.abs(answers(scribbled) - answers(image)).max()
change_elsewhere = np.abs(answers(elsewhere) - answers(image)).max()
print("scribbling on rows and columns 26 and 27 changes the answer:", change > 1e-6)
print("scribbling on rows 24 and 25 changes it:                    ", change_elsewhere > 1e-4)
assert change < 1e-6 and change_elsewhere > 1e-4

# %%
show(
    pooling.dropped_strip(scribbled, map_size=11, pool_size=2, seen=26, map_name="conv2d_2"),
    "Left, the 25 windows on the 11×11 map and, in orange, the places they miss; right, the strip "
    "of the image that these cost: scribble there, and the network does not notice.",
)
assert 11**2 - 10**2 == 21 and 28**2 - 26**2 == 108

# %% [markdown]
# Does it matter? MNIST's digits are centred, so there is little ink so far out. In our sets one can
# count.

# %%
(drawn_images, drawn_labels), (drawn_test, drawn_truth) = strokes.load_data(7, 15_000, 2_000)
(first, first_labels), (second, second_labels) = digits.load_data()
real_images = np.concatenate([first, second])
real_labels = np.concatenate([first_labels, second_labels])


def inked_strip(images):
    """Return the share of images with any ink in the strip."""
    return (images[:, 26:].any(axis=(1, 2)) | images[:, :, 26:].any(axis=(1, 2))).mean()


def ink_in_strip(images):
    """Return the share of all ink that lies in the strip."""
    return 1 - images[:, :26, :26].sum() / images.sum()


for name, images in (("drawn", drawn_images), ("real", real_images)):
    print(
        f"{name:5} digits: {100 * inked_strip(images):4.1f} % have ink there,"
        f" {100 * ink_in_strip(images):.2f} % of all ink"
    )
assert ink_in_strip(drawn_images) < 0.01 and ink_in_strip(real_images) < 0.001

# %% [markdown]
# For these digits next to nothing is lost. For a photograph, or a digit that is not centred, it may
# be something. [Chapter 9](09_hierarchies.ipynb) finds the strip again in another way, and repairs
# it.
#
# ## The kernel
#
# Left the definition as the library has it, right the inner loop of its fast version. The reference
# compares whole maps: for each place `u, v` of the window it takes that number from all windows at
# once. The fast one scans one window after the other and keeps the maxima of up to four vectors of
# channels in registers. Where a window hangs over the border it reads fewer pixels, in place of
# padding. Both also write down which place won. Training needs that.

# %% tags=["nbval-ignore-output"]
source(reference.max_pool2d_forward, fast._keep_maximum)

# %%
maps = random.normal(size=(16, 13, 13, 20)).round(1)
settings = [
    {"pool_size": 2},
    {"pool_size": 3, "strides": 2},
    {"pool_size": (2, 3), "strides": 1, "padding": "same"},
]
for options in settings:
    y = functional.max_pool2d(maps, **options)
    dy = random.normal(size=y.shape)
    assert np.array_equal(y, functional.max_pool2d(maps, **options, backend="reference"))
    dx = functional.max_pool2d_gradient(maps, dy, **options)
    dx_reference = functional.max_pool2d_gradient(maps, dy, **options, backend="reference")
    assert np.allclose(dx, dx_reference, atol=1e-12)
print("both give the same maxima and the same winners, ties included")

# %% [markdown]
# ## What is outside the border?
#
# With `padding="same"` a window may hang over the edge. For a sum, the natural number to put there
# is 0, since it adds nothing. For a maximum it is −∞, since it never wins. What if one pads with
# zeros all the same? Nothing, as long as there are no negative numbers in the map. So the mistake
# hides behind every ReLU, and comes out when the activation changes.

# %%
negative = -np.arange(1.0, 10).reshape(3, 3)
right = pooled(negative, padding="same")
wrong = pooled(np.pad(negative, (0, 1)))
print("the map", negative.astype(int), "padded with −∞", right.astype(int), sep="\n")
print("padded with zeros", wrong.astype(int), sep="\n")
assert np.array_equal(right, [[-1, -3], [-7, -9]]) and np.array_equal(wrong, [[-1, 0], [0, 0]])
hidden = pooled(np.pad(response[:25, :25], (0, 1)))
assert np.array_equal(hidden, pooled(response[:25, :25], padding="same"))

# %% [markdown]
# The zeros that won are no pixels of the map. They are an answer that no filter gave.
#
# ## Backward: one winner takes it all
#
# If a number that lost is changed a little, the maximum stays. If the winner is changed, the
# maximum changes as much. So the gradient of a window goes to its winner, and the three losers get
# zero. Under a mean all four get a quarter.

# %%
dy = np.array([[1.0, 2], [3, 4]])
batch = small[np.newaxis, ..., np.newaxis], dy[np.newaxis, ..., np.newaxis]
to_winners = functional.max_pool2d_gradient(*batch)[0, ..., 0]
shared = functional.average_pool2d_gradient(*batch)[0, ..., 0]
show(
    pooling.gradient_routes(
        small, dy, {"back through the maximum": to_winners, "back through the mean": shared}
    ),
    "The maximum sends each gradient to the one number that won, the mean shares it among four.",
)
assert np.count_nonzero(to_winners) == 4 and to_winners.sum() == shared.sum() == dy.sum()

# %% [markdown]
# At least three of four gradients below a 2×2 max pooling are zero. convlib's training step uses
# that, and skips the products with them.
#
# What if two numbers are equally large? Some rule must decide. Here the first wins, row by row.
# Ties sound rare, but after ReLU they are not: every window without a response is a tie of four
# zeros.

# %%
tie = np.array([[2.0, 2], [1, 2]])
one = np.ones((1, 1, 1, 1))
print(functional.max_pool2d_gradient(tie[np.newaxis, ..., np.newaxis], one)[0, ..., 0])
filtered = functional.relu(functional.correlate2d(drawn_images[0] / 255, edges, mode="valid"))
silent = (pooled(filtered) == 0).mean()
print(f"windows that are a tie of zeros in one response map: {100 * silent:.0f} %")
assert silent > 0.4

# %% [markdown]
# These ties do no harm. ReLU passes no gradient where its output is zero, so the first of four
# zeros gets a gradient from the pooling and loses it again one step further down.
#
# ## Does it help? An ablation
#
# “That's the role of max pooling: to aggressively downsample.” The text prefers it to strides,
# which it calls rarely used. That was written in the years of VGG. Since then strided convolutions
# have become common: ResNet keeps one max pooling and halves by strides afterwards, ConvNeXt halves
# by convolutions with stride 2, and vision transformers begin with a convolution of stride 16.
# Which is better for our digits? Take the pooling out, put something else in, train, and count.
#
# The networks are the text's with a quarter of the channels, so that they train in a moment. All
# see the same 1500 drawn digits five times. Five seeds each give five accuracies. Change anything
# in this cell.


# %%
def network(kind):
    """Return a small network that downsamples twice in one of four ways."""
    strides = 2 if kind == "strides" else 1
    pool = {"max": layers.MaxPooling2D, "mean": layers.AveragePooling2D}.get(kind)
    result = models.Sequential([layers.Input((28, 28, 1))])
    for filters in (8, 16):
        result.add(layers.Conv2D(filters, (3, 3), strides=strides, activation="relu"))
        if pool is not None:
            result.add(pool((2, 2)))
    result.add(layers.Conv2D(16, (3, 3), activation="relu"))
    result.add(layers.Flatten())
    result.add(layers.Dense(64, activation="relu"))
    result.add(layers.Dense(10, activation="softmax"))
    result.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy")
    return result


def as_input(images):
    """Return images as the networks want them."""
    return (images / 255).astype(np.float32)[..., np.newaxis]


train_images = as_input(drawn_images)
tests = ((as_input(drawn_test), drawn_truth), (as_input(real_images), real_labels))


def accuracies(kind, images, seeds=range(5)):
    """Train on the first so many drawn digits; return accuracy on drawn and real ones by seed."""
    rows = []
    for seed in seeds:
        set_random_seed(seed)
        trained = network(kind)
        trained.fit(
            train_images[:images], drawn_labels[:images], epochs=5, batch_size=64, verbose=0
        )
        rows.append([(trained.predict(x, verbose=0).argmax(1) == y).mean() for x, y in tests])
    return np.array(rows)


results = {kind: accuracies(kind, 1_500) for kind in ("max", "mean", "strides", "none")}

# %%
costs = {kind: sum(layer.multiply_adds() for layer in network(kind).layers) for kind in results}
for kind, cost in costs.items():
    print(f"{kind:8} {network(kind).count_params():>8,} parameters, {cost:>9,} multiply-adds")

# %% tags=["nbval-ignore-output"]
for kind, rows in results.items():
    (drawn, real), (drawn_sd, real_sd) = 100 * rows.mean(axis=0), 100 * rows.std(axis=0, ddof=1)
    print(f"{kind:8} drawn {drawn:.1f} ± {drawn_sd:.1f} %,  real {real:.1f} ± {real_sd:.1f} %")

# %%
show(
    pooling.ablation(results, ("drawn digits", "real digits")),
    "Each point is one run, each bar a mean of five: the three ways to downsample differ less than "
    "the seeds do, and the network that does not downsample at all reads best.",
)
mean_of = {kind: 100 * rows[:, 0].mean() for kind, rows in results.items()}
downsampled = [mean_of[kind] for kind in ("max", "mean", "strides")]
assert mean_of["none"] > max(downsampled) + 3
assert max(downsampled) - min(downsampled) < 10

# %% [markdown]
# A surprise for anybody who thought that pooling makes networks accurate. After the same digits,
# leaving it out is best, by many points. The network without it has more of everything, though: ten
# times the multiply-adds, and 37 times the parameters, nearly all in the dense layer after
# `Flatten`. So compare at equal *work*. For the multiply-adds of one digit without pooling, the
# network with pooling sees ten. Let it.

# %%
results_of_work = {
    "none,\n1500 digits": results["none"],
    "max,\n15 000 digits": accuracies("max", 15_000),
}
ratio = costs["none"] / costs["max"]
print(f"one image without pooling costs as many multiply-adds as {ratio:.1f} with it")
assert 10 < ratio < 11

# %%
show(
    pooling.ablation(results_of_work, ("drawn digits", "real digits")),
    "At about equal work the order turns round: ten times as many digits are worth more than "
    "keeping every place.",
)
without, with_pooling = (100 * rows[:, 0].mean() for rows in results_of_work.values())
assert with_pooling > without + 1

# %% [markdown]
# So this is what pooling does for a network like this one: it makes every layer above it cheaper.
# It pays if the work saved is used, for more digits, more channels or more layers. That the
# *maximum* is the right thing to keep cannot be seen here. And do not read too much into these
# numbers: the networks are small, were trained briefly, and know only drawn digits.
#
# ## Touch it
#
# Other windows and other steps. With a step smaller than the window, windows overlap and a strong
# place wins several times. With a larger one, some numbers are never looked at.


# %%
def pooled_response(pool_size, strides, keep):
    """Draw what one pooling makes of the response above."""
    function = functional.max_pool2d if keep == "largest" else functional.average_pool2d
    maps = function(response[np.newaxis, ..., np.newaxis], pool_size, strides=strides)
    title = f"{keep} of {pool_size}×{pool_size}"
    return pooling.pooled_maps(image, response, {title: maps[0, ..., 0]})


explore(
    pooled_response,
    "A window of 4×4 with a step of 2: the responses have become broad, since each strong place "
    "wins in four windows.",
    start={"pool_size": 4, "strides": 2},
    pool_size=(1, 2, 3, 4, 6),
    strides=(1, 2, 3, 4),
    keep=("largest", "mean"),
)

# %% [markdown]
# ## A common mistake: “pooling is a kind of convolution”
#
# The text says max pooling layers “are similar to convolutions”. They are similar in one way: both
# slide a window. What is done in the window differs in three.
#
# A convolution has weights. It mixes channels. And it is *linear*: the response to a sum of two
# images is the sum of the responses. A maximum is not. There is a neat proof that no kernel
# whatever can compute it. For a convolution with bias $b$ the responses to $x$ and to $-x$ add up
# to $2b$, for every $x$. For a maximum they add up to the largest minus the smallest number of the
# window, which depends on $x$.

# %%
a, b = random.normal(size=(2, 8, 8))
print("max(a + b) = max(a) + max(b):", np.allclose(pooled(a + b), pooled(a) + pooled(b)))
spread = pooled(a) + pooled(-a)
print("max(a) + max(−a) is the same everywhere:", np.ptp(spread) < 1e-9)
assert np.ptp(spread) > 0.5 and spread.min() > 0

# %% [markdown]
# The *mean* is another matter. Average pooling is a convolution, with stride 2, a kernel that says
# ¼ four times, and no mixing of channels.

# %%
quarter = np.full((2, 2, 20, 1), 0.25)
as_convolution = functional.depthwise_conv2d(maps, quarter, strides=2)
assert np.allclose(functional.average_pool2d(maps), as_convolution)
print("average pooling = depthwise convolution with ¼:", True)

# %% [markdown]
# What a maximum does get along with is every function that never falls, such as ReLU. It does not
# matter whether one pools first or cuts off first. A library may therefore do both in one step.

# %%
cut_first = functional.max_pool2d(functional.relu(maps))
pool_first = functional.relu(functional.max_pool2d(maps))
assert np.array_equal(cut_first, pool_first)
print("pool(relu(x)) = relu(pool(x)):", np.array_equal(cut_first, pool_first))

# %% [markdown]
# ## What was shown
#
# - Max pooling keeps the largest number of each window, channel by channel, without weights.
# - “Half” is rounded down. 11 → 5 drops a row and a column, and with them a strip of the image.
# - Padding under a maximum is −∞. Zeros are wrong as soon as a map has negative numbers.
# - Backward, each window's gradient goes to its winner. Of equal numbers the first wins.
# - In a small ablation the way of downsampling hardly mattered. Leaving it out read better for the
#   same digits and worse for the same work.
#
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/07_max_pooling.ipynb](solutions/07_max_pooling.ipynb).
#
# **1. Floor and ceil.** How many rows does pooling leave of $n$? Under `valid` only windows that
# fit count. Under `same` the map is padded so that there is one window for every $s$ rows that have
# begun: $\lceil n/s \rceil$. Write both, for any window and step.


# %%
def pooled_size(size, pool_size, stride, padding):
    """Return the number of windows in one direction; padding is "valid" or "same"."""
    return ...


checks.check_pooled_size(pooled_size)

# %% [markdown]
# **2. All negative.** Write max pooling of one channel, with windows that touch, for a map of any
# size. Windows that hang over the bottom or the right count: there are
# $\lceil \text{rows} / k \rceil$ of them from top to bottom. The check uses maps without a single
# positive number.


# %%
def max_pool(values, pool_size):
    """Return the largest value of each window of a two-dimensional array."""
    return ...


checks.check_max_pool(max_pool)

# %% [markdown]
# **3. Ties.** Return the place of the winner in each 2×2 window of a map with even sides: 0 and 1
# in the upper row, 2 and 3 in the lower. Of equal numbers the first wins. Test data come from a
# ReLU, so expect many zeros.


# %%
def winners(values):
    """Return an array of places 0 to 3, half as high and half as wide as values."""
    return ...


checks.check_winners(winners)

# %% [markdown]
# **4. Overlapping windows, backward.** With windows of 3×3 and a step of 2, a number can win in
# several windows. Write the gradient of max pooling for one channel, any window and any step. Only
# windows that fit count, and of equal numbers the first wins.


# %%
def max_pool_gradient(values, dy, pool_size, stride):
    """Return the gradient with respect to values; dy has one number for each window."""
    return ...


checks.check_max_pool_gradient(max_pool_gradient)

# %% [markdown]
# ## Further reading
#
# - K. Fukushima, *Neocognitron: a self-organizing neural network model for a mechanism of pattern
#   recognition unaffected by shift in position*, 1980. The layer that is the ancestor of pooling.
# - M. Riesenhuber, T. Poggio, *Hierarchical models of object recognition in cortex*, 1999. The case
#   for the maximum.
# - D. Scherer, A. Müller, S. Behnke, *Evaluation of pooling operations in convolutional
#   architectures for object recognition*, 2010. Maximum against mean, measured.
# - J. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, *Striving for simplicity: the all
#   convolutional net*, 2015. Strides in place of pooling, at no loss.
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, 2016, and
#   Z. Liu and others, *A ConvNet for the 2020s*, 2022. Two networks that halve by strides.
# - R. Zhang, *Making convolutional networks shift-invariant again*, 2019. What taking every second
#   place does to small shifts.
#
# **Next:** [8 · Shifts](08_shifts.ipynb) asks what pooling does when a digit moves.
