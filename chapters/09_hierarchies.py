# %% [markdown]
# # 9 · Hierarchies
#
# **Every filter of the text's network looks through a window of 3×3. How can any of them see more
# than a speck of the digit?**
#
# Reading: twenty minutes. Running: seconds, and nothing to download.

# %%
import numpy as np

from convlib import functional, layers, models, shapes
from convlib.datasets import strokes
from convlib.kernels import reference
from convlib.kernels.cpu import conv2d as fast
from convlib.notebook import explore, show, show_animation, source
from convlib.notebook.checks import hierarchies as checks
from convlib.notebook.figures import receptive_fields as figures
from convlib.utils import set_random_seed

# %% [markdown]
# ## The smallest example
#
# Put one 3×3 window on top of another. Which pixels can reach a single number of the second map?
# The gradient knows: it is zero for a pixel that has no influence. With kernels of ones it even
# counts the ways from the pixel to that number.

# %%
ones = np.ones((3, 3, 1, 1))
pixels, first_map = np.zeros((1, 7, 7, 1)), np.zeros((1, 5, 5, 1))
unit = np.zeros((1, 3, 3, 1))
unit[0, 1, 1, 0] = 1
in_first_map = functional.conv2d_input_gradient(first_map, ones, unit)
in_pixels = functional.conv2d_input_gradient(pixels, ones, in_first_map)
print(in_pixels[0, ..., 0].astype(int))
assert np.count_nonzero(in_pixels) == 25 and in_pixels.max() == 9

# %% [markdown]
# Two windows of three reach 5×5 pixels, not 3×3. And not all of them equally: nine ways lead from
# the middle, one from each corner. Both facts will come back.
#
# ## One row through the network
#
# This is one row of the text's network, from the pixels below to the last convolution. A unit of
# `conv2d_3` reads three places of the map under it. Each of those was the largest of two, each of
# these read three, and so on down.

# %%
names = ["conv2d_1", "max_pooling2d_1", "conv2d_2", "max_pooling2d_2", "conv2d_3"]
steps = [(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)]  # size of the window, stride
show(
    figures.cross_section(28, steps, ["pixels", *names], unit=1),
    "In blue, what feeds one unit of conv2d_3: three units of the layer below, and in the end "
    "eighteen pixels of the row.",
)

# %% [markdown]
# ## The definition
#
# What can reach a unit is its *receptive field*. Let $r$ be its side in pixels, and $j$ the *jump*:
# how many pixels lie between the windows of neighbouring units. Pixels have $r = 1$ and $j = 1$. A
# layer with a window of $k$ and a stride of $s$ makes of them
#
# $$r \leftarrow r + (k - 1)\, j, \qquad\qquad j \leftarrow j \cdot s .$$
#
# The window adds $k - 1$ more units, each a jump away from the one before. A stride changes nothing
# for its own layer, but every layer above grows faster. In the code, `kernel_size` is $k$, `stride`
# is $s$, `size` is $r$ and `jump` is $j$.

# %% tags=["nbval-ignore-output"]
source(shapes.receptive_field)

# %%
fields = shapes.receptive_field((kernel_size, stride, 1) for kernel_size, stride in steps)
for name, (size, jump) in zip(names, fields, strict=True):
    print(f"{name:<16}{size:>3} pixels, jump {jump}")
assert [field.size for field in fields] == [3, 4, 8, 10, 18]
assert fields[-1].jump == 4

# %% [markdown]
# Here they are on a digit. The text's picture of this is lost; its caption speaks of a cat. Ours is
# computed.

# %%
digit = strokes.draw([3], seed=1)[0] / 255


def corner_of(field, unit):
    """Return the first row and column that a unit sees."""
    return unit[0] * field.jump, unit[1] * field.jump


middles = [(12, 13), (6, 6), (5, 5), (2, 2), (1, 1)]
shown = [
    (name, field.size, corner_of(field, middle))
    for name, field, middle in zip(names, fields, middles, strict=True)
]
show(
    figures.what_feeds_a_unit(digit, shown),
    "One unit of each layer: a speck of ink for the first, a piece of a stroke for the second "
    "convolution, and most of the digit for the third.",
)

# %%
last_field = fields[-1]
show_animation(
    (
        figures.walking_unit(
            digit, corner_of(last_field, (i, j)), last_field.size, (i, j), units=3
        )
        for i in range(3)
        for j in range(3)
    ),
    "The nine units of a channel of conv2d_3 and their windows: from one unit to the next the "
    "window moves by the jump, four pixels, and it never reaches the last two rows and columns.",
    seconds=0.9,
)

# %% [markdown]
# ## Measured, not only calculated
#
# A formula can be wrong, and a gradient cannot see what is not there. So take the first layers of a
# network with random weights, choose a unit, and ask for the derivative of its output with respect
# to every pixel. ReLU and pooling let only some of the paths through, others for every image. So
# many images are needed, here 64 of noise, and each picks another channel. The reference kernels
# measure, since their zeros are exact: Winograd's way to convolve, which the fast ones may take,
# leaves a dust of rounding errors in their place.


# %%
def first_layers(count, backend="auto"):
    """Return the first layers of the text's network as a network of its own."""
    part = [
        layers.Conv2D(32, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
    ]
    result = models.Sequential([layers.Input((28, 28, 1)), *part[:count]])
    result.compile(loss="mse", backend=backend)
    return result


def energy(network, unit, images):
    """Return the mean squared derivative of a unit's output with respect to each pixel."""
    _, _, width, channels = network.output_shape
    channel = np.arange(len(images)) % channels
    outputs = (unit[0] * width + unit[1]) * channels + channel
    return (network.input_gradient(images, output=outputs)[..., 0] ** 2).mean(axis=0)


set_random_seed(9)
random = np.random.default_rng(9)
noise = random.normal(size=(64, 28, 28, 1)).astype(np.float32)
measured = {}
for count, (name, field, unit) in enumerate(zip(names, fields, middles, strict=True), start=1):
    reached = energy(first_layers(count, backend="reference"), unit, noise)
    rows, columns = np.nonzero(reached)
    side = rows.max() - rows.min() + 1
    print(f"{name:<16} measured {side:>2}×{columns.max() - columns.min() + 1}")
    assert side == columns.max() - columns.min() + 1 == field.size
    assert (rows.min(), columns.min()) == corner_of(field, unit)
    measured[name] = np.sqrt(reached)

# %%
show(
    figures.gradient_maps(
        measured,
        [
            (corner_of(field, unit), field.size)
            for field, unit in zip(fields, middles, strict=True)
        ],
    ),
    "How strongly each pixel acts on one unit, white for not at all: the measured fields fill the "
    "calculated squares, in orange, and are brightest in the middle.",
)

# %% [markdown]
# ## The kernel
#
# What carried the gradient down is the backward pass of the convolution. Left its definition: where
# the forward pass reads a pixel into an output, this adds the output's gradient back to that pixel.
# The fast one, right, computes the same as a correlation with the flipped kernel, on register
# tiles or in Winograd's way, whichever takes less time.

# %% tags=["nbval-ignore-output"]
source(reference.conv2d_backward_input, fast.conv2d_backward_input)

# %%
w, dy = random.normal(size=(3, 3, 32, 64)), random.normal(size=(8, 11, 11, 64))
x = np.zeros((8, 13, 13, 32))
by_reference = functional.conv2d_input_gradient(x, w, dy, backend="reference")
assert np.allclose(functional.conv2d_input_gradient(x, w, dy), by_reference, atol=1e-9)
print("both give the same gradient, up to rounding")

# %% [markdown]
# ## A blind strip
#
# `conv2d_3` has three units from top to bottom. Each sees 18 rows, and they are four apart, so they
# cover $2 \cdot 4 + 18 = 26$ rows of 28. Rows 26 and 27 reach no unit, and the same holds for the
# columns. [Chapter 7](07_max_pooling.ipynb) found
# the reason: the second pooling drops the last row and column of an 11×11 map. Here is the whole
# network, and its ten answers.

# %%
set_random_seed(9)


def text_network(backend="auto"):
    """Return the text's network."""
    result = first_layers(5)
    result.add(layers.Flatten())
    result.add(layers.Dense(64, activation="relu"))
    result.add(layers.Dense(10, activation="softmax"))
    result.compile("rmsprop", "sparse_categorical_crossentropy", backend=backend)
    return result


whole = text_network(backend="reference")
squares = [
    whole.input_gradient(noise[:16], output=answer, before_softmax=True)[..., 0] ** 2
    for answer in range(10)
]
strength = np.sqrt(np.mean(squares, axis=(0, 1)))
blind = strength == 0
print(blind.sum(), "of", blind.size, "pixels have no gradient for any answer")
assert blind.sum() == 108 == 28**2 - 26**2
assert blind[26:].all() and blind[:, 26:].all() and not blind[:26, :26].any()

# %%
show(
    figures.blind_strip(digit, strength),
    "In orange and in white, the two rows and columns that cannot reach any answer, whatever the "
    "weights; the middle of the image acts most.",
)

# %% [markdown]
# No training can repair that, since no path leads from there to an answer. Whether there is such a
# strip depends on the size of the image alone. It comes back with a period of four, the jump.

# %%
for side in range(24, 33):
    places = side
    for kernel_size, stride in steps:
        places = shapes.output_size(places, kernel_size, stride)
    seen = (places - 1) * last_field.jump + last_field.size
    print(f"{side} rows: {places} units see {seen}, {side - seen} are blind")
    assert side - seen == (side - 26) % 4

# %% [markdown]
# With 30×30 images, which is MNIST with one pixel of paper around it, nothing would be lost. One
# of the exercises repairs the network for 28.
#
# ## Most of the field hardly counts
#
# The receptive field says what *can* reach a unit. The pictures above say that the middle acts far
# more. How much? Give every layer of a stack random weights, independent and with zero mean. Then
# the mean squared gradient is the number of ways from the pixel to the unit, as in the smallest
# example. The ways of $n$ layers spread like a random walk: their width grows with $\sqrt{n}$,
# while the field grows with $n$.
#
# Call *effective* side that of the smallest centred square that holds 90 % of the squared gradient.


# %%
def effective_side(squared, share=0.9):
    """Return the side of the smallest centred square that holds a share of the sum."""
    size = len(squared)
    for margin in range((size - 1) // 2, -1, -1):
        if squared[margin : size - margin, margin : size - margin].sum() >= share * squared.sum():
            return size - 2 * margin


depths, theoretical, effective = (1, 2, 4, 8, 16, 32), [], []
for depth in depths:
    ways = np.ones((1, 1, 1, 1))
    for _ in range(depth):
        below = np.zeros((1, ways.shape[1] + 2, ways.shape[2] + 2, 1))
        ways = functional.conv2d_input_gradient(below, ones / 9, ways)
    theoretical.append(ways.shape[1])
    effective.append(effective_side(ways[0, ..., 0]))
    print(f"{depth:>2} layers: field {theoretical[-1]:>2}, effective {effective[-1]:>2}")
assert theoretical == [2 * depth + 1 for depth in depths]
assert effective[-1] / effective[3] < 2.3 and theoretical[-1] / theoretical[3] > 3.5

# %%
show(
    figures.depth_lines(depths, theoretical, effective),
    "The field of a stack of 3×3 layers grows in a straight line, and the part of it that matters "
    "only with the square root.",
)

# %% [markdown]
# So much for random weights. What does training make of it? Five networks learn 5000 drawn digits,
# four times each, and `conv2d_3` is measured before and after, on digits that were not trained on.

# %%
(train_images, train_labels), (test_images, truth) = strokes.load_data(9, 5_000, 2_000)
train_images = (train_images / 255).astype(np.float32)[..., np.newaxis]
inputs = (test_images / 255).astype(np.float32)[..., np.newaxis]
untrained, trained = [], []
for seed in range(5):
    for collection, epochs in ((untrained, 0), (trained, 4)):
        set_random_seed(seed)
        network = text_network()
        network.fit(train_images, train_labels, epochs=epochs, batch_size=64, verbose=0)
        collection.append(network)

accuracies = np.array([(n.predict(inputs, verbose=0).argmax(1) == truth).mean() for n in trained])
assert accuracies.min() > 0.6

# %%
window = slice(4, 22)  # what the unit in the middle of conv2d_3 sees


def middle_energy(network):
    """Return the mean squared derivative of the middle unit in its window, over 640 digits."""
    part = first_layers(5)
    part.set_weights(network.get_weights()[:6])
    return energy(part, (1, 1), inputs[:640])[window, window]


energies = {
    "untrained": np.array([middle_energy(network) for network in untrained]),
    "trained": np.array([middle_energy(network) for network in trained]),
}
sides = {name: [effective_side(one) for one in maps] for name, maps in energies.items()}

# %% tags=["nbval-ignore-output"]
for name, values in sides.items():
    print(f"{name:<10} effective side for five seeds:", *values)

# %% [markdown]
# Nothing. Large networks have been reported to widen their effective field while they learn. This
# one does not, or by less than a square two pixels wider would show.

# %%
assert all(8 <= side <= 16 for values in sides.values() for side in values)
assert abs(np.mean(sides["trained"]) - np.mean(sides["untrained"])) <= 2
means = {name: maps.mean(axis=0) for name, maps in energies.items()}
show(
    figures.effective_fields(means, [effective_side(mean) for mean in means.values()], 0.9),
    "Squared gradients of the middle unit of conv2d_3, mean of five networks: nine tenths of them "
    "lie in the orange square, well inside the window.",
)

# %% [markdown]
# ## Edges, eyes, cat?
#
# “A first convolution layer will learn small local patterns such as edges, a second convolution
# layer will learn larger patterns made of the features of the first layers, and so on.” The text
# goes on to eyes and ears and the cat. The sizes are right: 3, 8 and 18 pixels. What is in those
# windows is an intuition, taken from large networks and photographs. Our networks can be asked.
# For a filter, look for the places in 2000 digits to which it responds most, and cut out what it
# saw there.

# %%
convolutions = {"conv2d_1": 0, "conv2d_2": 2, "conv2d_3": 4}
outputs = trained[0].layer_outputs(inputs)


def exciting(name, filters=6, count=6):
    """Return the patches that excite some filters of a layer most, at most one for each digit."""
    position = convolutions[name]
    responses, (size, jump) = outputs[position], fields[position]
    chosen = np.flatnonzero(responses.max(axis=(0, 1, 2)) > 0)[:filters]
    sheets = []
    for channel in chosen:
        response = responses[..., channel]
        best = np.argsort(-response.max(axis=(1, 2)), kind="stable")[:count]
        sheet = []
        for image in best:
            row, column = np.unravel_index(response[image].argmax(), response[image].shape)
            top, left = row * jump, column * jump
            sheet.append(inputs[image, top : top + size, left : left + size, 0])
        sheets.append(sheet)
    return np.array(sheets), chosen


patches = {name: exciting(name) for name in convolutions}
kernels = trained[0].get_weights()[0][:, :, 0].transpose(2, 0, 1)[patches["conv2d_1"][1]]
show(
    figures.exciting_patches({name: sheet for name, (sheet, _) in patches.items()}, kernels),
    "Each row is one filter and the six patches that excite it most; for conv2d_1 its nine weights "
    "stand before them, red for positive.",
    colours=128,
)

# %% [markdown]
# The six filters of a layer are simply the first six that respond at all. What is to be seen?
#
# - `conv2d_1`: ink on one side and paper on the other, or paper in one corner. These are edges, and
#   each filter has its own direction.
# - `conv2d_2`: a piece of stroke of one direction at one place of the window, such as a steep line,
#   or ink along the upper border and paper below it.
# - `conv2d_3`: longer pieces, such as the foot of a steep line, a bow that is open at the right, a
#   corner. Each sits at its place, and most rows are cut from more than one kind of digit.
#
# So the ladder is there, with strokes in place of eyes: the higher the layer, the longer and the
# more bent the pieces of line. There is no unit for “three” among them. And nobody should read more
# into such a picture than it shows. It has six patches for a filter, and leaves out the thousands
# that excite it less.
#
# ## How much of it is learned?
#
# Perhaps larger windows look more meaningful in any case. So put a number on it, and compare with
# networks that have learned nothing. Take a unit's twenty favourite digits, those in which it
# responds most at some place, and count how many are of the most common kind. For twenty digits
# drawn by lot that is already a fifth and a little more.

# %%
measured_layers = {"conv2d_1": 0, "conv2d_2": 2, "conv2d_3": 4, "dense_1": 6}
favourites = 20


def purity(network):
    """Return for each layer the mean share of the most common digit among units' favourites."""
    outputs = network.layer_outputs(inputs)
    shares = []
    for position in measured_layers.values():
        output = outputs[position]
        strongest = output.reshape(len(inputs), -1, output.shape[-1]).max(axis=1)
        alive = strongest[:, strongest.max(axis=0) > 0]
        best = np.argsort(-alive, axis=0, kind="stable")[:favourites]
        counts = (truth[best][..., np.newaxis] == np.arange(10)).sum(axis=0)
        shares.append(counts.max(axis=1).mean() / favourites)
    return shares


by_lot = random.integers(0, 10, size=(20_000, favourites))
chance = (by_lot[..., np.newaxis] == np.arange(10)).sum(axis=1).max(axis=1).mean() / favourites
shares = {
    "trained": np.array([purity(network) for network in trained]),
    "untrained": np.array([purity(network) for network in untrained]),
}

# %% tags=["nbval-ignore-output"]
print("by lot", f"{100 * chance:.0f} %")
for name, runs in shares.items():
    for place, layer in enumerate(measured_layers):
        values = 100 * runs[:, place]
        print(f"{name:<10}{layer:<10}{values.mean():5.1f} ± {values.std(ddof=1):.1f} %")

# %%
show(
    figures.selectivity(list(measured_layers), shares, chance),
    "How many of a unit's twenty favourite digits are of one kind, one point for each of five "
    "networks: it rises with depth even without training, and with training far more.",
)
before, after = shares["untrained"].mean(axis=0), shares["trained"].mean(axis=0)
assert after[2] > before[2] + 0.06 and after[3] > before[3] + 0.2
assert before[2] > before[0] + 0.05
assert abs(after[0] - before[0]) < 0.06

# %% [markdown]
# Three things stand out. In the first two layers training changes next to nothing: what they
# respond to is not tied to one kind of digit. In the third it does, and above it far more. But the
# curve of the untrained networks rises too. Random filters on a large window are already choosier
# than on a small one. So only the gap between the curves is learned. “Increasingly complex and
# abstract” is right for these networks in the upper half.
#
# ## Touch it
#
# Choose a place, and see what can reach the unit that each layer has there. The digit has stepped
# into the corner.

# %%
moved = np.roll(digit, (4, 4), axis=(0, 1))
maps = {name: layer.output_shape[1] for name, layer in zip(names, whole.layers, strict=False)}


def units_at(row, column):
    """Draw what feeds the units at some place, from 0 for the first unit to 1 for the last."""
    shown = []
    for field, (name, units) in zip(fields, maps.items(), strict=True):
        unit = round(row * (units - 1)), round(column * (units - 1))
        shown.append((name, field.size, corner_of(field, unit)))
    return figures.what_feeds_a_unit(moved, shown)


explore(
    units_at,
    "The last unit of each layer: up to conv2d_2 the windows end in the corner, and after the "
    "second pooling they end two pixels before it.",
    start={"row": 1, "column": 1},
    row=(0, 0.25, 0.5, 0.75, 1),
    column=(0, 0.25, 0.5, 0.75, 1),
)
ends = [field.jump * (units - 1) + field.size for field, units in zip(fields, maps.values())]
assert ends == [28, 28, 28, 26, 26]

# %% [markdown]
# ## A common mistake: “receptive field = filter size”
#
# All three convolutions have filters of 3×3. Their fields are 3, 8 and 18. The filter size says
# how many units of the map *below* are read, and the field how many pixels of the *image*. The two
# agree in the first layer only, where the map below is the image.
#
# The reverse is worth knowing as well: a large field does not need large filters. A single filter
# of 18×18 on the image would have 324 weights, one for each pixel. And three layers of 3×3 reach as
# far as one of 7×7, with fewer weights.

# %%
three_small = shapes.receptive_field([(3, 1, 1)] * 3)[-1].size
channels = 64
weights = 3 * (3 * 3 * channels * channels), 7 * 7 * channels * channels
print("three layers of 3×3 reach", three_small, "pixels")
print(f"weights with {channels} channels: {weights[0]:,} against {weights[1]:,}")
assert three_small == 7 and weights[0] < weights[1]

# %% [markdown]
# ## What was shown
#
# - The field grows by $(k - 1)\, j$ in each layer: 3, 4, 8, 10, 18 in the text's network, with a
#   jump of 4. Gradients measure the same.
# - 108 of the 784 pixels of an image cannot reach an answer of that network.
# - Of a field, the middle counts most. In a deep stack the part that matters grows with the square
#   root of the depth only.
# - Units of digit networks respond to strokes, bends and loops. In the upper layers they become
#   choosy by training, and a part of that comes from the window's size alone.
#
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/09_hierarchies.ipynb](solutions/09_hierarchies.ipynb).
#
# **1. The recurrence.** Each step is a pair of window and stride. Return size and jump after the
# last one.


# %%
def receptive_field(steps):
    """Return (size, jump) after steps such as [(3, 1), (2, 2)]."""
    return ...


checks.check_receptive_field(receptive_field)

# %% [markdown]
# **2. Find the strip.** How many rows at the bottom of an image cannot reach the last layer?
# Nothing is padded, and what does not fit is dropped.


# %%
def blind_rows(size, steps):
    """Return how many of an image's last rows reach no unit of the last layer."""
    return ...


checks.check_blind_rows(blind_rows)

# %% [markdown]
# **3. Repair it.** Change the convolutional part so that every one of the 784 pixels can reach the
# output. The filters, the poolings and the 55,744 parameters stay; `padding` may change. The check
# measures gradients.


# %%
def repaired():
    """Return the five layers, changed."""
    return [
        layers.Conv2D(32, (3, 3), padding=..., activation="relu"),
        layers.MaxPooling2D((2, 2), padding=...),
        layers.Conv2D(64, (3, 3), padding=..., activation="relu"),
        layers.MaxPooling2D((2, 2), padding=...),
        layers.Conv2D(64, (3, 3), padding=..., activation="relu"),
    ]


checks.check_repaired(repaired)

# %% [markdown]
# **4. Effective against theoretical.** Given one unit's gradient with respect to a square window,
# return the side of the smallest *centred* square that holds a share of the sum of its squares.
# Around the middle of an even window, squares have even sides.


# %%
def effective_field(gradient, share):
    """Return the side of the square; gradient is a square array, share is between 0 and 1."""
    return ...


checks.check_effective_field(effective_field)

# %% [markdown]
# ## Further reading
#
# - D. Hubel, T. Wiesel, *Receptive fields, binocular interaction and functional architecture in the
#   cat's visual cortex*, 1962. Where the word comes from, and the real cat.
# - K. Simonyan, A. Zisserman, *Very deep convolutional networks for large-scale image recognition*,
#   2015. Three layers of 3×3 in place of one of 7×7.
# - W. Luo, Y. Li, R. Urtasun, R. Zemel, *Understanding the effective receptive field in deep
#   convolutional neural networks*, 2016. The square root, derived; they also find that training can
#   enlarge the effective field.
# - A. Araujo, W. Norris, J. Sim, *Computing receptive fields of convolutional neural networks*,
#   2019. The recurrence for any network, with padding and branches.
# - M. Zeiler, R. Fergus, *Visualizing and understanding convolutional networks*, 2014. The patches
#   that excite a unit, for photographs.
# - C. Olah, A. Mordvintsev, L. Schubert, *Feature visualization*, 2017. What large networks do
#   respond to, made visible with care.
#
# **Next:** [10 · A small convnet](10_small_convnet.ipynb) counts what the network consists of.
