# %% [markdown]
# # Solutions to chapter 14
#
# The exercises are in [14 · Train it, then look inside](../14_train_and_look_inside.ipynb). This
# page needs no MNIST; where a network is wanted it trains a small one on drawn digits.

# %%
import numpy as np

from convlib import layers, models
from convlib.datasets import strokes
from convlib.notebook.checks import train_and_look_inside as checks
from convlib.utils import set_random_seed

# %% [markdown]
# **1. A better interval.** For the text's 9908 of 10 000 it differs from the simple one by two
# hundredths of a per cent. For ten of ten it says how little ten digits prove.


# %%
def wilson_interval(correct, total):
    """Return the lower and the upper end, as shares between 0 and 1."""
    z = 1.96
    p = correct / total
    centre = p + z**2 / (2 * total)
    half = z * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    return (centre - half) / (1 + z**2 / total), (centre + half) / (1 + z**2 / total)


assert checks.check_wilson_interval(wilson_interval)
for correct, total in ((9908, 10_000), (10, 10)):
    low, high = wilson_interval(correct, total)
    print(f"{correct} of {total}: {100 * low:.2f} % to {100 * high:.2f} %")

# %% [markdown]
# **2. RMSprop by hand.** First update the running mean, then divide by its root. `epsilon` stands
# under the root, as in Keras.


# %%
def rmsprop_step(w, dw, mean_square, learning_rate=0.001, rho=0.9, epsilon=1e-7):
    """Return new weights and new mean square; all are arrays of one shape."""
    mean_square = rho * mean_square + (1 - rho) * dw**2
    return w - learning_rate * dw / np.sqrt(mean_square + epsilon), mean_square


assert checks.check_rmsprop_step(rmsprop_step)
steps = rmsprop_step(np.zeros(3), np.array([0.001, 1.0, 1000.0]), np.zeros(3))[0]
print("first steps for gradients 0.001, 1 and 1000:", np.round(steps, 4))

# %% [markdown]
# The first step is about $-0.001/\sqrt{0.1}$ for all of them: the size of the gradient drops out.
#
# **3. Silent filters.** A channel is silent if it is nowhere, for no image, other than zero.


# %%
def silent_filters(outputs):
    """Return the numbers of the channels that respond to nothing."""
    return np.flatnonzero(~outputs.any(axis=(0, 1, 2)))


assert checks.check_silent_filters(silent_filters)

# %% [markdown]
# A fresh network on real images has hardly any. One way to make them is a bias far below zero.

# %%
set_random_seed(14)
(images, _), _ = strokes.load_data(train=500, test=10)
x = images[..., np.newaxis].astype("float32") / 255
model = models.Sequential(
    [layers.Input((28, 28, 1)), layers.Conv2D(8, (3, 3), activation="relu")]
)
kernel, bias = model.get_weights()
bias[[1, 6]] = -100
model.set_weights([kernel, bias])
silent = silent_filters(model.layer_outputs(x)[0])
print("silent:", silent)
assert {1, 6} <= set(silent.tolist())

# %% [markdown]
# **4. Move the digits.** What is visible of the old image and where it goes are two rectangles of
# one size. Slices that stop at the border say it without a loop.


# %%
def shift(images, down, right):
    """Return images of shape (n, rows, columns), moved."""
    result = np.zeros_like(images)
    rows, columns = images.shape[1:]
    to_rows = slice(max(down, 0), rows + min(down, 0))
    from_rows = slice(max(-down, 0), rows + min(-down, 0))
    to_columns = slice(max(right, 0), columns + min(right, 0))
    from_columns = slice(max(-right, 0), columns + min(-right, 0))
    result[:, to_rows, to_columns] = images[:, from_rows, from_columns]
    return result


assert checks.check_shift(shift)
