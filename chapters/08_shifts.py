# %% [markdown]
# # 8 · Shifts
#
# **“After learning a certain pattern in one part of an input image, a convnet can recognize it
# anywhere”, says the text. Move a digit by four pixels, and such a network misreads it more often
# than not. How can both be true?**
#
# Reading: twenty-five minutes. Running: less than a minute, and nothing to download.

# %%
import numpy as np

from convlib import functional, layers, models
from convlib.datasets import digits, strokes
from convlib.kernels import reference
from convlib.kernels.cpu import pooling
from convlib.notebook import explore, show, show_animation, source
from convlib.notebook.checks import shifts as checks
from convlib.notebook.figures import locality, shifts
from convlib.utils import set_random_seed

# %% [markdown]
# ## The smallest example
#
# Ten numbers in a row, most of them zero. Move the pattern by one place, then convolve; or
# convolve, then move the result. It makes no difference.

# %%
row = np.array([0.0, 0, 1, 3, 2, 0, 0, 0, 0, 0])


def convolved(values):
    """Return the differences of neighbours, which is a convolution with (-1, 1)."""
    kernel = np.array([-1.0, 1.0]).reshape(1, 2, 1, 1)
    return functional.conv2d(values.reshape(1, 1, -1, 1), kernel).ravel()


def pooled(values):
    """Return the larger number of each pair."""
    return functional.max_pool2d(values.reshape(1, 1, -1, 1), (1, 2)).ravel()


print("convolve, then move:", np.roll(convolved(row), 1))
print("move, then convolve:", convolved(np.roll(row, 1)))
assert np.array_equal(np.roll(convolved(row), 1), convolved(np.roll(row, 1)))

# %% [markdown]
# Now pool instead, in pairs.

# %%
for step in range(3):
    print(f"moved by {step}, then pooled:", pooled(np.roll(row, step)))
assert not np.array_equal(np.sort(pooled(np.roll(row, 1))), np.sort(pooled(row)))
assert np.array_equal(pooled(np.roll(row, 2)), np.roll(pooled(row), 1))

# %%
rows = {f"moved by {step}": np.roll(row, step) for step in range(3)}
show(
    shifts.strips(
        {title: {"numbers": values, "pooled": pooled(values)} for title, values in rows.items()}
    ),
    "The windows of a pooling, between orange lines, stay where they are: after one step other "
    "numbers share a window, after two steps the same ones do, one window further on.",
)

# %% [markdown]
# Moved by one, the pattern gives 1 and 3 where it gave 3 and 2. No move turns one into the other.
#
# ## Two words
#
# Let $T_s$ move an image by $s$ pixels, and let $f$ be a layer, or a whole network.
#
# - $f$ is **equivariant** to shifts if $f(T_s x) = T_s f(x)$: what goes in moved comes out moved.
# - $f$ is **invariant** to shifts if $f(T_s x) = f(x)$: what goes in moved comes out as if nothing
#   had happened.
#
# The text calls the patterns that a convnet learns *translation invariant*. A convolution is the
# other thing, and the proof takes one line. Write it as $y_p = \sum_u w_u\, x_{p+u}$, and let
# $x'_p = x_{p-s}$ be the moved image. Then
#
# $$y'_p = \sum_u w_u\, x'_{p+u} = \sum_u w_u\, x_{(p-s)+u} = y_{p-s} .$$
#
# It works because $w_u$ does not depend on $p$: the weights are shared. A pooling with stride 2
# computes $y_p = \max_u x_{2p+u}$. If $s = 2t$ is even, $y'_p = \max_u x_{2(p-t)+u} = y_{p-t}$, so
# the output moves by $t$. If $s$ is odd, no window holds the same pixels of the pattern as before.
#
# ## Where the grid is in the code
#
# On the left the definition, on the right the compiled version, which keeps the maximum of a window
# in registers and visits each window once.

# %% tags=["nbval-ignore-output"]
source(reference.max_pool2d_forward, pooling._max_forward_rows)

# %% [markdown]
# Both place window number `window` at pixel `window * stride`, whatever the image shows. In the
# fast version this is the first line of `_cut`.

# %% tags=["nbval-ignore-output"]
source(pooling._cut)

# %% [markdown]
# ## Measure it
#
# Put a digit on wide blank paper, so that nothing reaches the border, and move it. Compare the
# output with that for the unmoved digit, moved along by any whole number of places, and take the
# best match. Weights and pixels are whole numbers here, so the arithmetic is exact, and zero means
# zero.

# %%
random = np.random.default_rng(8)
paper = np.zeros((1, 96, 96, 1), np.float32)
paper[0, 34:62, 34:62, 0] = strokes.draw([3], seed=8)[0]
w1 = random.integers(-3, 4, (3, 3, 1, 4)).astype(np.float32)
w2 = random.integers(-3, 4, (3, 3, 4, 4)).astype(np.float32)


def convolution(x, w=w1):
    """Convolve and cut off below zero."""
    return functional.relu(functional.conv2d(x, w))


def one_pooling(x):
    """Convolve, then pool."""
    return functional.max_pool2d(convolution(x))


def two_poolings(x):
    """Convolve and pool twice, as the text's network does."""
    return functional.max_pool2d(convolution(one_pooling(x), w2))


def blurred_pooling(x):
    """Convolve, take the maximum at every place, and average before places are dropped."""
    maxima = functional.max_pool2d(convolution(x), 2, strides=1, padding="same")
    return functional.average_pool2d(maxima, 2)


def equivariance_error(function, x, step):
    """Return how far the output for the moved image is from the output, moved along."""
    before, after = function(x), function(np.roll(x, step, axis=2))
    distances = [np.linalg.norm(after - np.roll(before, t, axis=2)) for t in range(step + 1)]
    return min(distances) / np.linalg.norm(before)


functions = {
    "convolution": convolution,
    "with one pooling": one_pooling,
    "with two poolings": two_poolings,
    "with blurred pooling": blurred_pooling,
}
errors = {
    name: np.array([equivariance_error(function, paper, step) for step in range(9)])
    for name, function in functions.items()
}
for name, values in errors.items():
    print(f"{name:<20}", " ".join(f"{value:.2f}" for value in values))
one, two, blurred = (errors[name] for name in list(errors)[1:])
assert np.all(errors["convolution"] == 0)
assert np.all(one[::2] == 0) and np.all(one[1::2] > 0.3)
assert np.all(two[::4] == 0) and np.all(two[[1, 2, 3, 5, 6, 7]] > 0.1)
assert np.all(blurred[::2] == 0) and np.all(blurred[1::2] < 0.9 * one[1::2])

# %%
show(
    shifts.error_by_shift(errors),
    "Blue points are exact zeros: a convolution follows every step, one pooling every second, two "
    "poolings every fourth, and an average before the dropping makes the error smaller, not zero.",
)

# %% [markdown]
# So the convolutional part of the text's network, with its two poolings, follows a digit exactly if
# it moves by 4, 8, 12 … pixels, and only roughly otherwise. Its response moves along by 1, 2, 3 …
# places.
#
# Then comes `Flatten`. It lays the 3×3 places of the last map in a row, and the dense layer has a
# weight of its own for each place and channel. When the response has moved by one place, it meets
# other weights. Nothing has taught them what they are now shown.
#
# ## What is read where
#
# Let us look at whole networks. All have learned from drawn digits that lie in the middle, and are
# asked about digits that do not. There are five kinds:
#
# - **dense**: one hidden layer, with about as many parameters as the next;
# - **convnet**: the text's stack;
# - **global pooling**: the same with `GlobalMaxPooling2D` in place of `Flatten`, which keeps the
#   largest value of each channel and forgets where it was. Its convolutions are padded (`same`);
# - **shifted in training**: the convnet, shown each digit in another place every time, up to four
#   pixels away. This is called *augmentation*;
# - **blurred pooling**: the convnet with the blurred pooling from above.
#
# Twenty-five of them have to be trained, so the convnets have half as many filters as the text's.


# %%
def network(head, padding="valid", is_blurred=False, side=28):
    """Return a convnet with a head, `Flatten` or a global pooling."""

    def pool():
        if not is_blurred:
            return [layers.MaxPooling2D((2, 2))]
        highest = layers.MaxPooling2D((2, 2), strides=1, padding="same")
        return [highest, layers.AveragePooling2D((2, 2))]

    return models.Sequential(
        [
            layers.Input((side, side, 1)),
            layers.Conv2D(16, (3, 3), padding=padding, activation="relu"),
            *pool(),
            layers.Conv2D(32, (3, 3), padding=padding, activation="relu"),
            *pool(),
            layers.Conv2D(32, (3, 3), padding=padding, activation="relu"),
            head(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


convnet_size = network(layers.Flatten).count_params()


def dense_network():
    """Return a dense network with about as many parameters as the convnet."""
    hidden = round((convnet_size - 10) / (784 + 1 + 10))
    return models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(hidden, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


kinds = {
    "dense": dense_network,
    "convnet": lambda: network(layers.Flatten),
    "global pooling": lambda: network(layers.GlobalMaxPooling2D, "same"),
    "shifted in training": lambda: network(layers.Flatten),
    "blurred pooling": lambda: network(layers.Flatten, is_blurred=True),
}
for name, make in kinds.items():
    print(f"{name:<20}{make().count_params():>8,} parameters")


# %% [markdown]
# Five seeds, each with 2500 training digits and 100 test digits of its own, and five passes over
# the digits for every kind. Test digits are moved in steps of two pixels, up to eight in each
# direction. Up to four, a digit of 20×20 pixels stays inside the image, more or less. Beyond, parts
# of it are cut off, and no network can be blamed for all of its mistakes.


# %%
def moved(images, down, right):
    """Return images whose contents have moved; what comes in at the border is blank."""
    result = np.zeros_like(images)
    here = tuple(slice(max(step, 0), 28 + min(step, 0)) for step in (down, right))
    there = tuple(slice(max(-step, 0), 28 + min(-step, 0)) for step in (down, right))
    result[:, here[0], here[1]] = images[:, there[0], there[1]]
    return result


def moved_at_random(images, most):
    """Return each image moved by up to `most` pixels in a direction of its own."""
    window = 28 + 2 * most
    padded = np.zeros((len(images), window, window, 1), images.dtype)
    padded[:, most:-most, most:-most] = images
    views = np.lib.stride_tricks.sliding_window_view(padded, (28, 28), axis=(1, 2))
    down, right = np.random.default_rng(8).integers(0, 2 * most + 1, (2, len(images)))
    return np.moveaxis(views[np.arange(len(images)), down, right], 1, 3)


seeds, train_count, test_count, epochs = range(5), 2500, 100, 5
steps = np.arange(-8, 9, 2)
(drawn, drawn_labels), (test_drawn, test_labels) = strokes.load_data(
    seed=8, train=train_count * len(seeds), test=test_count * len(seeds)
)


def prepared(images):
    """Return images as the networks want them: with a channel, from 0 to 1."""
    return images.reshape(-1, 28, 28, 1).astype(np.float32) / 255


train_x, test_x = prepared(drawn), prepared(test_drawn)


def trained(name, seed):
    """Return a network of this kind, trained from this seed on its own digits."""
    set_random_seed(seed)
    model = kinds[name]()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    part = slice(train_count * seed, train_count * (seed + 1))
    x, y = train_x[part], drawn_labels[part]
    if name == "shifted in training":
        # Each pass gets the digits in other places: as many passes as the others have.
        x = np.concatenate([moved_at_random(x, 4) for _ in range(epochs)])
        model.fit(x, np.tile(y, epochs), batch_size=64, epochs=1, verbose=0)
    else:
        model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    return model


def accuracy_map(model, x, labels):
    """Return the share read correctly for each shift, down and right."""
    everywhere = np.concatenate([moved(x, down, right) for down in steps for right in steps])
    read = model.predict(everywhere, verbose=0).argmax(axis=1)
    return (read.reshape(len(steps), len(steps), -1) == labels).mean(axis=2)


networks = {name: [trained(name, seed) for seed in seeds] for name in kinds}

# %%
maps = {name: [] for name in kinds}
for name, ones in networks.items():
    for seed, model in zip(seeds, ones, strict=True):
        part = slice(test_count * seed, test_count * (seed + 1))
        maps[name].append(accuracy_map(model, test_x[part], test_labels[part]))
maps = {name: np.array(values) for name, values in maps.items()}

# %%
show(
    shifts.heat_maps(steps, {name: values.mean(axis=0) for name, values in maps.items()}),
    "Yellow is read, dark blue is not: the convnet's bright spot is hardly wider than the dense "
    "network's, and only a head that forgets places, or training with shifts, widens it.",
)

# %% tags=["nbval-ignore-output"]
ring = shifts.ring_of(steps)
print("% read, mean ± sd of five seeds, by the larger of the two shifts")
print(f"{'':<20}" + "".join(f"{distance:>12}" for distance in (0, 2, 4, 6, 8)))
for name, values in maps.items():
    rings = [100 * values[:, ring == distance].mean(axis=1) for distance in (0, 2, 4, 6, 8)]
    print(f"{name:<20}" + "".join(f"{r.mean():>6.0f} ± {r.std(ddof=1):>3.1f}" for r in rings))

# %%
at = {
    name: {distance: values[:, ring == distance].mean() for distance in (0, 2, 4, 6, 8)}
    for name, values in maps.items()
}
assert at["convnet"][2] > at["dense"][2] + 0.06
assert at["convnet"][4] < 0.35 and at["convnet"][0] - at["convnet"][4] > 0.5
assert at["global pooling"][4] > at["convnet"][4] + 0.35
assert at["global pooling"][8] > 0.3
assert at["shifted in training"][4] > at["convnet"][4] + 0.25
assert at["shifted in training"][8] < 0.3
assert abs(at["blurred pooling"][4] - at["convnet"][4]) < 0.12
assert max(at["global pooling"][0], at["shifted in training"][0]) < at["convnet"][0] + 0.03

# %% [markdown]
# Read the maps from left to right.
#
# - The **convnet** is clearly better than the dense network at two pixels, and hardly better at
#   four, where both are wrong most of the time. Sharing weights let it learn more from the same
#   digits (chapter 2 measured how much). It did not let it read them anywhere.
# - **Global pooling** has never seen a moved digit either, and reads most of them. In the middle it
#   is no better than the convnet: it cannot know where a stroke lies, and it has half as many
#   parameters.
# - **Shifted in training**, the convnet learns just the shifts it is shown. Beyond four pixels it
#   fails. It pays in the middle as well, since the same number of passes has to teach more.
# - **Blurred pooling** makes the poolings follow better, as you measured. It changes little here,
#   because `Flatten` still has the last word. Zhang, who proposed it, was after something else:
#   answers that do not flip when an image moves by a single pixel.
#
# Now people's handwriting, all 1797 digits, in the middle and four pixels to the right.

# %%
(some, some_labels), (others, other_labels) = digits.load_data()
real_x = prepared(np.concatenate([some, others]))
real_labels = np.concatenate([some_labels, other_labels])
real = {name: np.zeros((len(seeds), 2)) for name in kinds}
for name, ones in networks.items():
    for seed, model in zip(seeds, ones, strict=True):
        for column, x in enumerate((real_x, moved(real_x, 0, 4))):
            read = model.predict(x, verbose=0).argmax(axis=1)
            real[name][seed, column] = np.mean(read == real_labels)

# %% tags=["nbval-ignore-output"]
for name, values in real.items():
    middle, right = 100 * values.mean(axis=0)
    print(f"{name:<20} in the middle {middle:3.0f} %, four pixels to the right {right:3.0f} %")

# %%
assert real["convnet"][:, 0].mean() - real["convnet"][:, 1].mean() > 0.3
assert real["global pooling"][:, 1].mean() > real["convnet"][:, 1].mean() + 0.15

# %% [markdown]
# ## The period of a network
#
# Global pooling does not care about places. So why is its map not the same all over? Two reasons
# are left: the border of the image, and the grid of the poolings. Take the border away: the
# weights of this network fit images of any size, so lay each digit on 80×80 pixels of blank paper.


# %%
def on_paper(images, right):
    """Return the images in the middle of 80×80 pixels, moved to the right."""
    result = np.zeros((len(images), 80, 80, 1), np.float32)
    result[:, 26:54, 26 + right : 54 + right] = images
    return result


agreement, largest_change = np.zeros((len(seeds), 9)), np.zeros((len(seeds), 9))
for seed, model in zip(seeds, networks["global pooling"], strict=True):
    large = network(layers.GlobalMaxPooling2D, "same", side=80)
    large.set_weights(model.get_weights())
    part = test_x[test_count * seed : test_count * (seed + 1)]
    answers = np.array([large.predict(on_paper(part, step), verbose=0) for step in range(9)])
    agreement[seed] = (answers.argmax(axis=2) == answers[0].argmax(axis=1)).mean(axis=1)
    largest_change[seed] = np.abs(answers - answers[0]).max(axis=(1, 2))

stay = np.all(largest_change[:, [0, 4, 8]] < 1e-3)
change = np.all(largest_change[:, [1, 2, 3, 5, 6, 7]] > 0.1)
print("moved by 4 or 8, all probabilities stay, up to rounding:    ", stay)
print("moved by 1, 2 or 3, some probability changes by over a tenth:", change)
assert stay and change
assert np.all(agreement[:, [4, 8]] > 0.99) and 0.78 < agreement[:, 1:4].mean() < 0.93

# %%
show(
    shifts.agreement_by_shift(agreement, period=4),
    "Far from any border the network with global pooling gives the same answers again after every "
    "fourth pixel, and other ones to about one digit in seven in between.",
)

# %% [markdown]
# The period is the product of the strides: 2 · 2 = 4. With stride 1 everywhere it would be 1, and
# the network invariant on wide paper, for many times the work.
#
# The other reason was the border. Within 28×28 pixels the responses near the edge see the padding.
# That is why the map of global pooling is not flat even at multiples of four.
#
# ## Watch it, and touch it
#
# One digit crosses the image. Its response after the first convolution moves with it. In the third
# convolution, after two poolings, responses come and go.

# %%
convnet, with_global = networks["convnet"][0], networks["global pooling"][0]
both_right = [
    model.predict(test_x[:100], verbose=0).argmax(axis=1) == test_labels[:100]
    for model in (convnet, with_global)
]
four = int(np.flatnonzero(np.all(both_right, axis=0) & (test_labels[:100] == 4))[0])
journey = np.concatenate([moved(test_x[four : four + 1], 0, right) for right in range(-8, 9)])
outputs = convnet.layer_outputs(journey)
first, last = outputs[0], outputs[4]
strong, deep = (int(output[8].mean(axis=(0, 1)).argmax()) for output in (first, last))
answers = {
    "convnet": outputs[-1],
    "global pooling": with_global.predict(journey, verbose=0),
}
frames = [
    shifts.journey_frame(
        journey[k, ..., 0],
        {
            "first convolution": (first[k, ..., strong], first[..., strong].max()),
            "third convolution": (last[k, ..., deep], last[..., deep].max()),
        },
        {name: values[k] for name, values in answers.items()},
        int(test_labels[four]),
    )
    for k in (*range(8, 17), *range(15, -1, -1), *range(1, 8))
]
show_animation(
    frames,
    "A four moves through the image: a response map of the first convolution moves along pixel by "
    "pixel, one of the third by a place for every four pixels, and the convnet's answers change.",
    seconds=0.35,
)

# %% [markdown]
# Move another digit yourself, in both directions.


# %%
def readings(digit, right, down):
    """Draw what two networks read in one test digit that has moved."""
    image = moved(test_x[digit : digit + 1], down, right)
    both = {"convnet": convnet, "global pooling": with_global}
    read = {name: model.predict(image, verbose=0)[0] for name, model in both.items()}
    return locality.two_readings(image[0, ..., 0], read, int(test_labels[digit]))


explore(
    readings,
    "One digit, moved by five pixels, and the answers of the convnet and of the one with global "
    "pooling; the largest probability is blue where it is right, orange where it is wrong.",
    start={"digit": four, "right": 5},
    digit=sorted({*range(20), four}),
    right=range(-8, 9),
    down=(0, *range(-8, 0), *range(1, 9)),
)

# %% [markdown]
# ## A common mistake: “a convnet recognises it anywhere”
#
# Its *filters* find their small patterns anywhere: that is what shared weights give, exactly. What
# the network says about the whole image depends on what comes after. `Flatten` and a dense layer
# tie every response to its place again. To recognise a digit anywhere, a network needs a head that
# does not care, or training images that show it everywhere; and with poolings, even the first holds
# on a grid only.
#
# The text's other claim, that convnets are data efficient, stands: chapter 2 measured it on digits
# in the middle. It follows from shared weights, not from invariance.
#
# ## Exercises
#
# Each has a check under it. Replace the three dots and run the cell. Solutions are in
# [solutions/08_shifts.ipynb](solutions/08_shifts.ipynb).
#
# **1. Is it equivariant?** Write a function that measures it. `layer` takes images (samples,
# height, width, channels) and returns maps. Compare the maps of images that were moved to the right
# by `right` pixels with the moved maps, and return the largest difference. The images have a wide
# blank margin, so `np.roll` may move them.


# %%
def largest_difference(layer, images, right):
    """Return the largest absolute difference; 0 means equivariant."""
    return ...


checks.check_largest_difference(largest_difference)

# %% [markdown]
# **2. Find the period.** The strides of all convolutions and poolings of a network are given, for
# instance `(1, 2, 1, 2, 1)` for the text's. By how many pixels must an image move, at least, for
# the last map to move by exactly one place?


# %%
def period(strides):
    """Return the smallest shift, in pixels, that the last map follows exactly."""
    return ...


checks.check_period(period)

# %% [markdown]
# **3. A head that does not care.** A convolutional base turns images of 64×64 pixels into maps of
# 12×12 places with 8 channels. Return the layers that follow it, as a list, such that the network
# gives ten probabilities, and the same ones when a small pattern moves by a multiple of four
# pixels. The check builds the network and moves a pattern.


# %%
def head():
    """Return a list of layers."""
    return ...


checks.check_head(head)

# %% [markdown]
# **4. Blur before you drop.** Write blurred pooling with `functional.max_pool2d` and
# `functional.average_pool2d`: the maximum of every window of 2×2, at every place, without padding;
# then the mean of 2×2, at every second place.


# %%
def blurred_pool(x):
    """Return pooled maps for x of shape (samples, height, width, channels)."""
    return ...


checks.check_blurred_pool(blurred_pool)

# %% [markdown]
# ## Further reading
#
# - R. Zhang, *Making convolutional networks shift-invariant again*, 2019. Blurred pooling, and how
#   often large networks change their minds after one pixel.
# - A. Azulay, Y. Weiss, *Why do deep convolutional networks generalize so poorly to small image
#   transformations?*, 2019. The same with photographs, and a theorem about strides.
# - M. Lin, Q. Chen, S. Yan, *Network in Network*, 2014. Where global pooling comes from.
# - O. S. Kayhan, J. C. van Gemert, *On translation invariance in CNNs: convolutional layers can
#   exploit absolute spatial location*, 2020. What borders give away.
# - T. Cohen, M. Welling, *Group equivariant convolutional networks*, 2016. The one-line proof, for
#   rotations and more.
#
# **Next:** [9 · Hierarchies](09_hierarchies.ipynb) asks how much of the image each response sees.
