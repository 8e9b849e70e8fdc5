# %% [markdown]
# # 3 · Feature maps
#
# **The first layer has 32 filters and makes 32 maps. The second layer has 64 filters, and each of
# them has to read all 32 maps at once. What does such a filter look like?**
#
# Reading: twenty minutes. Running: seconds, and nothing to download.

# %%
import numpy as np

from convlib import functional, layers, models
from convlib.datasets import strokes
from convlib.kernels import reference
from convlib.kernels.cpu import conv2d as fast
from convlib.notebook import explore, figures, show, show_animation, source
from convlib.notebook.checks import feature_maps as checks
from convlib.notebook.figures import feature_maps as pictures
from convlib.utils import set_random_seed, to_categorical

# %% [markdown]
# ## The smallest example
#
# Take a window of 2×2 pixels that has two numbers for each pixel, say one for red and one for
# green. A filter for it needs a weight for each of these numbers. That makes eight products, and
# one sum.

# %%
patch = np.array([[[1.0, 0.0], [2.0, 1.0]], [[0.0, 3.0], [1.0, 2.0]]])
weights = np.array([[[1.0, -1.0], [0.0, 2.0]], [[-1.0, 1.0], [3.0, 0.0]]])
bias = -2.0
print("patch", patch.shape, "and filter", weights.shape)
answer = np.sum(patch * weights) + bias
print("eight products, their sum and the bias:", answer)
by_layer = functional.conv2d(patch[None], weights[..., None], np.array([bias]))
print("the same from conv2d:", by_layer[0, 0, 0, 0])
assert by_layer.shape == (1, 1, 1, 1) and by_layer[0, 0, 0, 0] == answer == 7

# %%
show(
    pictures.depth_sum(patch, weights, bias),
    "The filter has one slice for each channel; what the slices give is added to a single number.",
)

# %% [markdown]
# The two channels did not give two answers. They were added. A filter is as deep as what it reads.
#
# ## Three axes, four axes
#
# An image in a convnet has two *spatial axes*, height and width, and a *depth axis*, its channels.
# A grey picture has depth 1, a colour picture 3, and what the text's first layer puts out has
# depth 32. The text calls each of these tensors a *feature map*. Elsewhere the word is used for one
# channel of it, and both are common. In this book a feature map is the whole tensor, and one
# channel of an output is a *response map*. (The text has “output feature map (aka response map)”
# first, and a little later “a response map of the filter”.) In memory there is a further axis in
# front, for the images of a batch.
#
# With an input $x$ of $C$ channels and $F$ filters of $k \times k$ pixels, the layer computes
#
# $$y_{i,j,o} = b_o + \sum_{u=0}^{k-1}\sum_{v=0}^{k-1}\sum_{c=0}^{C-1} x_{i+u,\,j+v,\,c}\;
# w_{u,v,c,o}.$$
#
# | symbol | in code | shape in the text's second layer |
# | --- | --- | --- |
# | one filter, $o$ fixed | `w[:, :, :, o]` | (3, 3, 32): three axes |
# | all filters, $w$ | `w` | (3, 3, 32, 64): four axes |
# | biases, $b$ | `b` | (64,): one for each filter |
# | input, $x$ | `x[0]` | (13, 13, 32) |
# | output, $y$ | `y[0]` | (11, 11, 64) |
#
# The sum runs over $c$. Nothing in the output says which input channel a contribution came from.

# %%
text_layers = models.Sequential(
    [
        layers.Input((28, 28, 1)),
        layers.Conv2D(32, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
    ]
)
for layer in (text_layers.layers[0], text_layers.layers[2]):
    w, b = layer.get_weights()
    print(f"{layer.name}: output {layer.output_shape[1:]}, w {w.shape}, b {b.shape},", end=" ")
    print(f"{w.size:,} + {b.size} = {w.size + b.size:,} parameters")
assert [layer.count_params() for layer in text_layers.layers] == [320, 0, 18_496]

# %% [markdown]
# ## What depth is good for
#
# Does it matter that the channels are added inside one filter? Here is a picture made for the
# question. Every tile has a random brightness. On top of that, the strokes of a digit are a little
# more orange, and the paper is a little more blue, with equal brightness.


# %%
def mosaic(digit, seed):
    """Return a digit that differs from its ground in colour, but not in brightness."""
    random = np.random.default_rng(seed)
    tiles = random.uniform(0.25, 0.75, size=(10, 10)).repeat(3, axis=0).repeat(3, axis=1)
    towards_orange = np.array([0.12, -0.0378, -0.12])  # red, green, blue
    ink = strokes.draw([digit], seed=3)[0] > 100
    return tiles[1:29, 1:29, None] + np.where(ink[..., None], 1, -1) * towards_orange, ink


colour, ink = mosaic(4, seed=2)
grey = colour @ np.array([0.299, 0.587, 0.114])  # how bright each colour seems to the eye
show(
    pictures.colour_and_grey(colour, grey),
    "A four in orange on blue: you see it in the picture, less well in any single channel, and not "
    "at all in the brightness.",
    colours=200,
)

# %% [markdown]
# A filter that finds the four needs three slices: average red, ignore green, subtract average blue.
# Look at what each slice answers alone, and then at the sum.

# %%
opponent = np.zeros((3, 3, 3, 1))
opponent[:, :, 0], opponent[:, :, 2] = 1 / 9, -1 / 9


def slice_answers(image):
    """Return what each slice of the filter answers to its own channel of the image."""
    return [
        functional.conv2d(image[None, :, :, c : c + 1], opponent[:, :, c : c + 1])[0, :, :, 0]
        for c in range(3)
    ]


red, green, blue = slice_answers(colour)
whole = functional.conv2d(colour[None], opponent)[0, :, :, 0]
assert np.allclose(red + green + blue, whole, atol=1e-12) and not green.any()
show(
    pictures.slices_and_sum(
        [red - red.mean(), blue - blue.mean()],
        whole - whole.mean(),
        ["red slice", "blue slice", "the filter"],
    ),
    "Each slice sees mostly the random brightness, once with each sign, red above and blue below "
    "its average; in the sum the brightness cancels, and the four is left.",
)


# %%
def agreement(response, ink):
    """Return the correlation of a response map with the ink under the windows' centres."""
    middle = ink if response.shape == ink.shape else ink[1:-1, 1:-1]
    return np.corrcoef(response.ravel(), middle.ravel())[0, 1]


found = {"brightness": [], "red slice": [], "blue slice": [], "filter": []}
for seed in range(20):
    image, _ = mosaic(4, seed)
    red, _, blue = slice_answers(image)
    seen = (image @ np.array([0.299, 0.587, 0.114]), red, blue, red + blue)
    for name, response in zip(found, seen):
        found[name].append(agreement(response, ink))
for name, values in found.items():
    mean, deviation = np.mean(values), np.std(values, ddof=1)
    print(f"{name:<11} agrees with the ink: {mean:5.2f} ± {deviation:.2f}")
assert abs(np.mean(found["brightness"])) < 0.1
assert min(found["filter"]) > 0.85
assert max(found["red slice"] + found["blue slice"]) < 0.8
assert blue.max() < 0

# %% [markdown]
# Twenty mosaics, mean and standard deviation of the correlation. A single slice finds half of the
# digit and half of the tiles. The filter does not see the tiles at all, because its slices are
# added *before* anything else happens. Flat filters with a ReLU behind each could not do that: all
# answers of the blue slice are negative, so its ReLU would wipe them out.
#
# ## Thirty-two filters on one digit
#
# Now a trained layer. This network is the text's without its third convolution and its first dense
# layer. It sees 3,000 drawn digits four times, which is enough for this page.

# %%
(images, labels), (test_images, test_labels) = strokes.load_data(train=3000, test=2000)
x_train = images[..., None].astype("float32") / 255
x_test = test_images[..., None].astype("float32") / 255
y_train = to_categorical(labels, 10)


def trained(second_layer, seed):
    """Return a network with this second layer, trained from this seed, and its accuracy."""
    set_random_seed(seed)
    network = models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            second_layer(),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    network.fit(x_train, y_train, epochs=4, batch_size=64, verbose=0)
    read_as = network.predict(x_test, verbose=0).argmax(axis=1)
    return network, (read_as == test_labels).mean()


def deep():
    """Return a layer whose 64 filters each read all 32 channels."""
    return layers.Conv2D(64, (3, 3), activation="relu")


model, accuracy = trained(deep, seed=0)
threes = np.flatnonzero(test_labels == 3)
by_ink = np.argsort(test_images[threes].sum(axis=(1, 2)), kind="stable")
digit = threes[by_ink[2 * len(by_ink) // 3]]  # drawn with a pen that is rather broad
outputs = model.layer_outputs(x_test[digit : digit + 1])
first_w, first_b = model.layers[0].get_weights()
print("input ", x_test[digit].shape, " filters", first_w.shape, " output", outputs[0][0].shape)
assert outputs[0][0].shape == (26, 26, 32) and accuracy > 0.8

# %%
responses = functional.conv2d(x_test[digit][None], first_w, first_b)[0]
assert np.allclose(np.maximum(responses, 0), outputs[0][0], atol=1e-5)
show(
    pictures.filter_bank(test_images[digit], first_w[:, :, 0, :], responses),
    "All 32 response maps of one digit before ReLU, each on a scale of its own, and beside each "
    "its nine weights: where ink meets the filter's red and avoids its blue, the response is red.",
    colours=128,
)

# %% [markdown]
# In the first layer the input has depth 1, and there a filter is indeed a flat picture of 3×3. A
# filter that is red on one side and blue on the other gives a map with a red and a blue border
# along each stroke: it finds edges, and on which side the ink is. ReLU then keeps what is red. Many
# others, with weights of mostly one sign, simply find ink.
#
# Do not read too much into these patterns. The filters started at random, and after four rounds of
# training most of them still look much as they did then.

# %%
set_random_seed(0)
untrained = models.Sequential(
    [layers.Input((28, 28, 1)), layers.Conv2D(32, (3, 3), activation="relu")]
)
start = untrained.get_weights()[0]
alike = np.sum(start * first_w, axis=(0, 1, 2)) / (
    np.sqrt(np.sum(start**2, axis=(0, 1, 2)) * np.sum(first_w**2, axis=(0, 1, 2)))
)
print("cosine of trained and random filter, median above 0.7:", np.median(alike) > 0.7)
assert np.median(alike) > 0.7

# %% [markdown]
# ## A filter of the second layer
#
# Here is one of the 64. It reads (13, 13, 32), so it has 32 slices, 288 weights.

# %%
second_w, second_b = model.layers[2].get_weights()
strongest = int(outputs[2][0].mean(axis=(0, 1)).argmax())
one_filter = second_w[:, :, :, strongest]
print("one filter:", one_filter.shape, "=", one_filter.size, "weights, and one bias")
assert one_filter.shape == (3, 3, 32)
show(
    figures.filters(one_filter),
    "One single filter of the second layer: 32 slices of 3×3, one for each channel it reads, and "
    "no two of them alike.",
)

# %% [markdown]
# Each slice slides over its own channel, and the 32 answers are added up. Watch the sum grow.

# %%
incoming = outputs[1][0].astype(np.float64)
answers = np.array(
    [
        functional.conv2d(
            incoming[None, :, :, c : c + 1], one_filter[:, :, c : c + 1, None].astype(np.float64)
        )[0, :, :, 0]
        for c in range(32)
    ]
)
sums = np.cumsum(answers, axis=0)
largest = [np.abs(values).max() for values in (incoming, one_filter, answers, sums)]
rectified = np.maximum(sums[-1] + second_b[strongest], 0)
assert np.allclose(rectified, outputs[2][0, :, :, strongest], atol=1e-4)
show_animation(
    (
        pictures.slice_frame(
            c, incoming[:, :, c], one_filter[:, :, c], answers[c], sums[c], largest
        )
        for c in (*range(32), 31, 31)
    ),
    "One filter at work: 32 channels, 32 slices, 32 answers, added to one map; then come the bias "
    "and ReLU.",
    seconds=0.6,
)

# %% [markdown]
# ## The kernel: depth first
#
# Fix a place and look along the depth axis. In memory the channels of a pixel are neighbours. So
# the sum over $c$ is a product of a short row vector with a matrix, `x[i, j] @ w[u, v]`, from $C$
# numbers to $F$ numbers. That is a dense layer. The reference adds up nine of them.

# %% tags=["nbval-ignore-output"]
source(reference.conv2d_forward, reference.dense_forward)

# %% [markdown]
# If the window is a single pixel, nothing is left to add up. A 1×1 convolution *is* a dense layer,
# the same one at each pixel.

# %%
random = np.random.default_rng(3)
x = random.normal(size=(2, 13, 13, 32))
w, b = random.normal(size=(1, 1, 32, 64)), random.normal(size=64)
by_convolution = functional.conv2d(x, w, b)
by_dense = functional.dense(x.reshape(-1, 32), w[0, 0], b).reshape(2, 13, 13, 64)
print("1×1 convolution", by_convolution.shape, "and dense layer at", 2 * 13 * 13, "pixels")
print("largest difference below 1e-12:", np.abs(by_convolution - by_dense).max() < 1e-12)
assert np.abs(by_convolution - by_dense).max() < 1e-12

# %% [markdown]
# The compiled kernels use this the other way round. They have no code of their own for dense
# layers: a batch of vectors is laid out as one row of pixels, and the convolution does the rest.

# %% tags=["nbval-ignore-output"]
from convlib.kernels.cpu.regions import dense_plan

source(fast.dense_forward, dense_plan)

# %% [markdown]
# ## Touch it
#
# Move the window over the digit, and read the 32 numbers that stand behind each other at that
# place of the output.


# %%
def at(row, column):
    """Draw the window of one place, and the vector that the layer makes of it."""
    return pictures.place_and_vector(
        test_images[digit], outputs[0][0, row, column], (row, column), 3, outputs[0].max()
    )


busiest = int(outputs[0][0].sum(axis=2).argmax())
explore(
    at,
    "One place of the output seen along its depth: 32 numbers, one for each filter, and all of "
    "them about the same nine pixels.",
    start={"row": busiest // 26, "column": busiest % 26},
    row=range(26),
    column=range(26),
)

# %% [markdown]
# ## A common mistake: “32 filters are 32 flat pictures in every layer”
#
# They are in the first layer, because a grey image has depth 1. From the second layer on, a drawing
# of a filter as a 3×3 grid leaves out nearly everything. What would be lost if filters really were
# flat? Such a layer exists, under the name *depthwise convolution*. Each of its filters reads one
# channel only. Here are both kinds with 64 filters, three seeds each.

# %%
def flat():
    """Return a layer whose 64 filters each read one of the 32 channels."""
    return layers.DepthwiseConv2D((3, 3), depth_multiplier=2, activation="relu")


accuracies = {
    "deep filters": [accuracy] + [trained(deep, seed)[1] for seed in (1, 2)],
    "flat filters": [trained(flat, seed)[1] for seed in (0, 1, 2)],
}

# %% tags=["nbval-ignore-output"]
for name, values in accuracies.items():
    print(f"{name}: {100 * np.mean(values):.1f} % ± {100 * np.std(values, ddof=1):.1f} %")
show(
    pictures.accuracy_dots(accuracies),
    "Networks with 64 deep filters in the second layer read more digits than networks with 64 flat "
    "ones, in every run.",
)

# %%
assert min(accuracies["deep filters"]) > max(accuracies["flat filters"])
assert np.mean(accuracies["deep filters"]) - np.mean(accuracies["flat filters"]) > 0.03

# %% [markdown]
# Flat filters cost far less: 640 parameters against 18,496. That is why some networks do use them,
# with a 1×1 convolution behind them that mixes the channels (Howard and others, 2017). They do not
# come for free, as you see.
#
# So far you have seen: a filter has as many slices as its input has channels, and adds them up; a
# layer is a stack of such filters, a tensor with four axes; its output has one channel for each
# filter; and along the depth axis a convolution is a dense layer.
#
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/03_feature_maps.ipynb](solutions/03_feature_maps.ipynb).
#
# **1. Count.** How many parameters has the text's first layer, 32 filters of 3×3 on a grey image?
# And its second, 64 filters of 3×3 on 32 channels? And what would the first have if the digits
# were in colour?

# %%
answers = {"first": ..., "second": ..., "first_in_colour": ...}

checks.check_parameters(answers)

# %% [markdown]
# **2. Channels first.** PyTorch stores a batch as (samples, channels, height, width), called NCHW.
# This book and Keras store NHWC. Convert one to the other.


# %%
def to_channels_first(x):
    """Return a batch (samples, height, width, channels) as (samples, channels, height, width)."""
    return ...


checks.check_channels_first(to_channels_first)

# %% [markdown]
# **3. What the bias does.** Give a layer an image on which every pixel has the same value `value`
# in every channel. All windows look alike, so all places of the output get the same vector. Compute
# it from `w` and `b` without a convolution, and without ReLU.


# %%
def response_to_constant(value, w, b):
    """Return the vector, shape (filters,), for w of shape (k, k, channels, filters)."""
    return ...


checks.check_response_to_constant(response_to_constant)

# %% [markdown]
# **4. One by one.** Compute a 1×1 convolution of a batch with a single product `@`, for a kernel
# `w` of shape (1, 1, channels, filters) and biases `b`.


# %%
def one_by_one(x, w, b):
    """Return the output, shape (samples, height, width, filters)."""
    return ...


checks.check_one_by_one(one_by_one)

# %% [markdown]
# ## Further reading
#
# - M. Lin, Q. Chen, S. Yan, *Network in Network*, 2014. Where 1×1 convolutions come from.
# - C. Szegedy and others, *Going deeper with convolutions*, 2015. Uses them to make maps less deep
#   before a costly layer.
# - A. Howard and others, *MobileNets: efficient convolutional neural networks for mobile vision
#   applications*, 2017. Flat filters and 1×1 convolutions in turn.
# - M. Zeiler, R. Fergus, *Visualizing and understanding convolutional networks*, 2014. How to look
#   at filters that are too deep to be drawn.
#
# **Next:** [4 · Patch by patch](04_patch_by_patch.ipynb) takes one window and follows its numbers
# to the output.
