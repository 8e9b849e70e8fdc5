# %% [markdown]
# # 10 · A small convnet
#
# **Eight lines of code stack eight layers and print a table that ends in 93,322. Where does that
# number come from, and does it say how much work the network is?**
#
# Reading: twenty minutes. Running: seconds, and nothing to download.

# %%
import time

import numpy as np

from convlib import functional, layers, models
from convlib.kernels import reference
from convlib.kernels.cpu import conv2d as fast
from convlib.kernels.cpu import softmax as fast_softmax
from convlib.notebook import explore, figures, show, show_animation, source
from convlib.notebook.checks import small_convnet as checks
from convlib.notebook.figures import flatten
from convlib.utils import set_random_seed

set_random_seed(10)

# %% [markdown]
# ## The smallest network
#
# One layer, one filter. It lays a 3×3 window on a grey image and forms a weighted sum, at every
# place where the window fits.

# %%
smallest = models.Sequential()
smallest.add(layers.Conv2D(1, (3, 3), input_shape=(28, 28, 1)))
kernel, bias = smallest.get_weights()
print("kernel", kernel.shape, "and bias", bias.shape)
layer = smallest.layers[0]
print("output", layer.output_shape, "from", layer.count_params(), "parameters")
assert layer.count_params() == 3 * 3 + 1

# %% [markdown]
# Ten parameters: nine weights and a bias. The image has 784 pixels, the output 26×26 = 676 values,
# and all of them come from the same ten numbers. `None` stands for the number of images, which is
# open until data arrive.
#
# ## The convolutional part
#
# The text stacks three such layers with many filters each, and two poolings between them. This is
# its listing. Only the word `keras` has become `convlib`.

# %%
from convlib import layers
from convlib import models

model = models.Sequential()
model.add(layers.Conv2D(32, (3, 3), activation='relu', input_shape=(28, 28, 1)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))

# %%
model.summary()

# %% [markdown]
# `input_shape=(28, 28, 1)` describes one image: height, width, channels. Only the first layer needs
# it, since every other layer sees what the layer before it makes. Today's Keras prefers to be told
# in a line of its own, `layers.Input((28, 28, 1))`, and warns about the older way. Both give the
# same network.
#
# ## The classifier
#
# The last feature map is 3×3 places with 64 channels. `Flatten` writes it as one row of 576
# numbers, place by place, the 64 channels of a place next to each other. Two dense layers make ten
# probabilities of it.

# %%
model.add(layers.Flatten())
model.add(layers.Dense(64, activation='relu'))
model.add(layers.Dense(10, activation='softmax'))

# %%
model.summary()

# %%
show(
    figures.network_picture(model),
    "What flows through the network, computed from the model: images shrink and gain channels, "
    "until Flatten lays them out as one long vector.",
)

# %% [markdown]
# The width of a box is its number of channels. The upright bars are vectors; their height is their
# length, on a scale of their own.
#
# ## How a map becomes a row
#
# `Flatten` computes nothing. The numbers of a place, one from each channel, already lie next to
# each other in memory, and the places follow each other row by row. So the layer only gives the
# same numbers another shape. Here is a map of 3×3 places with four channels instead of 64.

# %%
maps = np.random.default_rng(3).integers(0, 10, size=(3, 3, 4))
flattener = models.Sequential([layers.Input((3, 3, 4)), layers.Flatten()])
row = flattener.predict(maps[np.newaxis].astype("float32"), verbose=0)[0]
assert np.array_equal(row, maps.reshape(-1))

show_animation(
    (flatten.flatten_frame(maps, place) for place in range(9)),
    "Flatten takes place after place, row by row, and writes the numbers of all channels at a "
    "place next to each other.",
    seconds=0.9,
)

# %% [markdown]
# `dense_1` then has a weight of its own for each number of the row, so for each channel at each
# place. When a response moves to the next place, it moves four numbers on in this row, 64 in the
# text's, and meets other weights. [Chapter 8](08_shifts.ipynb) measures what that does.
#
# ## Where the numbers come from
#
# A convolution with a $k \times k$ window, $C$ input channels and $F$ filters has
#
# $$\underbrace{k \cdot k \cdot C \cdot F}_{\text{weights}} + \underbrace{F}_{\text{biases}}
# \qquad\text{parameters, and turns}\quad (h, w, C) \quad\text{into}\quad (h-k+1,\; w-k+1,\; F).$$
#
# A window of three loses two rows and two columns. A window of five would lose four: the loss is
# $k - 1$, not always two. A dense layer from $n$ to $m$ numbers has $n \cdot m + m$ parameters.
# Pooling and `Flatten` have none.

# %%
assert 3 * 3 * 1 * 32 + 32 == 320
assert 3 * 3 * 32 * 64 + 64 == 18_496
assert 3 * 3 * 64 * 64 + 64 == 36_928
assert 576 * 64 + 64 == 36_928
assert 64 * 10 + 10 == 650
by_formula = [320, 0, 18_496, 0, 36_928, 0, 36_928, 650]
assert by_formula == [layer.count_params() for layer in model.layers]
print("convolutions:", f"{sum(by_formula[:5]):,}", "  everything:", f"{sum(by_formula):,}")
assert sum(by_formula[:5]) == 55_744 and sum(by_formula) == 93_322

# %% [markdown]
# Two rows say 36,928, and that is no accident. A filter of `conv2d_3` reads a window of 3×3 places
# with 64 channels, which is 576 numbers. A unit of `dense_1` reads the whole flattened map, which
# is 576 numbers as well. There are 64 of each, so both layers have 576 · 64 + 64 parameters. The
# difference is that the filter looks at nine places of a 5×5 map with the same weights, and the
# dense unit at one.
#
# ## Three stories
#
# A table of parameters tells one story about a network. There are two more. How many numbers does a
# layer put out? They have to be stored until the backward pass. And how often does it multiply two
# numbers and add the product to a sum? That is nearly all of the time it takes. A convolution uses
# each weight once at every place of its output, so
#
# $$\text{multiply-adds} = \underbrace{h_\text{out} \cdot w_\text{out}}_{\text{places}} \cdot
# \underbrace{k \cdot k \cdot C \cdot F}_{\text{weights}}.$$
#
# A dense layer has a single place: each weight works once.

# %%
print(f"{'layer':<16}{'output':>8}{'parameters':>12}{'multiply-adds':>15}{'uses per weight':>17}")
for layer in model.layers:
    outputs, work = int(np.prod(layer.output_shape[1:])), layer.multiply_adds()
    uses = work // (layer.count_params() - layer.output_shape[-1]) if work else 0
    print(f"{layer.name:<16}{outputs:>8,}{layer.count_params():>12,}{work:>15,}{uses:>17,}")

# %%
show(
    figures.cost_bars(model),
    "Each column has another winner: conv2d_1 puts out most numbers, conv2d_3 and dense_1 own most "
    "parameters, and conv2d_2 does most of the work.",
)


# %%
def shares(layer):
    """Return a layer's share of all parameters and of all multiply-adds, in per cent."""
    parameters = sum(other.count_params() for other in model.layers)
    work = sum(other.multiply_adds() for other in model.layers)
    return 100 * layer.count_params() / parameters, 100 * layer.multiply_adds() / work


conv2d_2, dense_1 = model.layers[2], model.layers[6]
for layer in (conv2d_2, dense_1):
    parameters, work = shares(layer)
    print(f"{layer.name}: {parameters:4.1f} % of parameters, {work:4.1f} % of multiply-adds")
assert np.allclose(shares(conv2d_2), (19.8, 79.8), atol=0.05)
assert np.allclose(shares(dense_1), (39.6, 1.3), atol=0.05)

# %% [markdown]
# `conv2d_2` has a fifth of the parameters and four fifths of the work. `dense_1` has two fifths of
# the parameters and next to no work. Anybody who wants this network faster looks at the first, and
# anybody who wants it smaller at the second.
#
# ## The same sum twice
#
# Here are both layers as convlib defines them. These are the functions that its fast versions are
# tested against, read from the library as you see this page. A dense layer is one product. A
# convolution is the same product, once for each element of the window, on a shifted view of the
# image.

# %% tags=["nbval-ignore-output"]
source(reference.dense_forward, reference.conv2d_forward)

# %% [markdown]
# Both layers of this network have a ReLU behind them. The definition, on the left, stores all
# sums and then reads them once more to cut off what is negative. On the right is the compiled
# version, for dense layers and for convolutions. It hands a flag down to the loops, and a block of
# sums is cut off while it is still in registers, so that each number is written once and never
# read. A convolution has a choice besides: Winograd's way, where it pays, which takes fewer
# multiplications.

# %% tags=["nbval-ignore-output"]
source(reference.conv2d_relu_forward, fast.dense_relu_forward, fast._forward)

# %% [markdown]
# Sums in another order round differently, so the last digits differ. How much that matters shows
# in this comparison, for 64 maps of the size that `conv2d_2` reads.

# %%
random = np.random.default_rng(10)
x = random.normal(size=(64, 13, 13, 32)).astype(np.float32)
w, b = conv2d_2.get_weights()
fast_result = functional.conv2d(x, w, b)
slow_result = functional.conv2d(x, w, b, backend="reference")
difference, largest = np.abs(fast_result - slow_result).max(), np.abs(slow_result).max()
print("both give", fast_result.shape, "and differ by less than a 50 000th of the largest:", end=" ")
print(difference < largest / 50_000)
assert difference < largest / 50_000

# %% [markdown]
# ## Does the clock agree?
#
# If multiply-adds are the work, `conv2d_2` must take far longer than `dense_1`, with half its
# parameters. Run the cell to see the times of your computer.

# %% tags=["nbval-ignore-output", "volatile-output"]
def best_time(function, *arguments):
    """Return the shortest of twenty times that a call takes, in milliseconds."""
    times = []
    for _ in range(20):
        start = time.perf_counter()
        function(*arguments)
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


flattened = random.normal(size=(64, 576)).astype(np.float32)
convolution_time = best_time(functional.conv2d, x, w, b)
dense_time = best_time(functional.dense, flattened, *dense_1.get_weights())
print(f"conv2d_2 {convolution_time:.2f} ms, dense_1 {dense_time:.2f} ms for 64 images")

# %%
assert conv2d_2.count_params() < dense_1.count_params()
assert conv2d_2.multiply_adds() > 60 * dense_1.multiply_adds()

# %% [markdown]
# ## Touch it
#
# What happens with a larger image, or with padding? The convolutions keep their parameters,
# whatever the size. `dense_1` does not: `Flatten` hands it more numbers.


# %%
def network(side, padding):
    """Return the text's network for square images of another size, or with other padding."""
    return models.Sequential(
        [
            layers.Input((side, side, 1)),
            layers.Conv2D(32, (3, 3), padding=padding, activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), padding=padding, activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), padding=padding, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def bars(side, padding):
    """Draw the three stories of one such network."""
    return figures.cost_bars(network(side, padding))


explore(
    bars,
    "For images of 64×64 pixels dense_1 owns more than nine tenths of all parameters, and still "
    "does a small part of the work.",
    start={"side": 64, "padding": "valid"},
    side=(20, 28, 40, 64, 96, 128),
    padding=("valid", "same"),
)
large = network(64, "valid").layers
assert large[6].count_params() > 0.9 * sum(layer.count_params() for layer in large)
assert large[6].multiply_adds() < 0.1 * sum(layer.multiply_adds() for layer in large)

# %% [markdown]
# ## Ten numbers that sum to one
#
# The last layer's *softmax* turns ten scores $z$ into probabilities,
# $p_i = e^{z_i} / \sum_j e^{z_j}$. Nobody has trained this network yet, so it should find every
# digit about equally likely, and its loss should be close to $\ln 10$, the price of a blind guess
# among ten. If it is not, something is wrong before training begins.

# %%
images = random.uniform(size=(100, 28, 28, 1)).astype(np.float32)
probabilities = model.predict(images, verbose=0)
guess = -np.log(probabilities).mean()
print("probabilities sum to one:", np.allclose(probabilities.sum(axis=1), 1, atol=1e-5))
print(f"a blind guess costs ln 10 = {np.log(10):.3f}")
assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
assert abs(guess - np.log(10)) < 0.1

# %% [markdown]
# The definition of softmax, on the left, goes over all rows again and again: for the largest, for
# the exponentials, for their sum, and to divide. The compiled version, on the right, takes one row
# at a time, and a row of ten stays in registers from beginning to end.

# %% tags=["nbval-ignore-output"]
source(reference.softmax_forward, fast_softmax._short_rows)

# %% [markdown]
# Both subtract the largest score first. That changes no probability, because it multiplies all
# $e^{z_i}$ by the same number, and keeps large scores from overflowing.
#
# ## A common mistake: “more parameters, more work”
#
# You have seen the contrary: the layer with the most parameters does almost none of the work. The
# reverse mistake is as common: that sharing weights makes a convolution cheap to run. Sharing makes
# it cheap to store. A dense layer that did what `conv2d_2` does, from 13×13×32 numbers to 11×11×64,
# would have a weight for each pair.

# %%
pairs = (13 * 13 * 32) * (11 * 11 * 64)
print(f"as a dense layer, conv2d_2 would have {pairs + 11 * 11 * 64:,} parameters")
print(f"that is {pairs / (conv2d_2.count_params() - 64):,.0f} times as many weights,")
print(f"and {pairs / conv2d_2.multiply_adds():.1f} times as many multiply-adds")
assert 2200 < pairs / (conv2d_2.count_params() - 64) < 2300
assert 18 < pairs / conv2d_2.multiply_adds() < 19

# %% [markdown]
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/10_small_convnet.ipynb](solutions/10_small_convnet.ipynb).
#
# **1. A row of the table.** Write a function that takes the shape of a layer's input, the number of
# filters and the side of the window, and returns the shape of the output and the number of
# parameters of a `valid` convolution. With it you can reproduce both tables.


# %%
def convolution_row(shape, filters, side):
    """Return (height, width, channels) of the output, and the number of parameters."""
    height, width, channels = shape
    return ...


checks.check_convolution_row(convolution_row)

# %% [markdown]
# **2. The work.** Count the multiply-adds of the same layer for one image.


# %%
def multiply_adds(shape, filters, side):
    """Return the number of multiplications, each with its addition."""
    return ...


checks.check_multiply_adds(multiply_adds)

# %% [markdown]
# **3. A dense layer is a convolution.** `dense_1` reads all of a 3×3 map with 64 channels. So does
# a `valid` 3×3 convolution with 64 filters, which finds a single place. Turn the matrix of the
# dense layer, of shape (576, 64), into the kernel of that convolution, of shape (3, 3, 64, 64).


# %%
def dense_as_convolution(w):
    """Return the kernel with which a convolution computes what the dense layer computes."""
    return ...


checks.check_dense_as_convolution(dense_as_convolution)

# %% [markdown]
# **4. The `same` variant.** Suppose all three convolutions had `padding="same"`. Say before you run
# anything: how many numbers does `Flatten` make, how many parameters are there in all, and how many
# multiply-adds does `conv2d_2` need? Then set the slider above to check your reasoning.

# %%
answers = {"flattened": ..., "parameters": ..., "conv2d_2_multiply_adds": ...}

checks.check_same_variant(answers)

# %% [markdown]
# ## Further reading
#
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, *Gradient-based learning applied to document
#   recognition*, 1998. The ancestor of this stack, with such a table for every layer.
# - M. Lin, Q. Chen, S. Yan, *Network in Network*, 2014. What to put in place of `Flatten` and the
#   large dense layer.
# - J. Long, E. Shelhamer, T. Darrell, *Fully convolutional networks for semantic segmentation*,
#   2015. Exercise 3, put to use.
# - A. Canziani, A. Paszke, E. Culurciello, *An analysis of deep neural network models for practical
#   applications*, 2016. Parameters, operations and time of large networks, measured.
#
# **Next:** [11 · Backpropagation](11_backprop.ipynb) asks how the 93,322 parameters find out which
# way to change.
