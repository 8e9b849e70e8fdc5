# %% [markdown]
# # Solutions to chapter 8
#
# The exercises are in [8 · Shifts](../08_shifts.ipynb).

# %%
import numpy as np

from convlib import functional, layers
from convlib.notebook.checks import shifts as checks

# %% [markdown]
# **1. Is it equivariant?** Move, then apply; apply, then move. The columns are axis 2.


# %%
def largest_difference(layer, images, right):
    """Return the largest absolute difference; 0 means equivariant."""
    moved_first = layer(np.roll(images, right, axis=2))
    moved_after = np.roll(layer(images), right, axis=2)
    return np.abs(moved_first - moved_after).max()


assert checks.check_largest_difference(largest_difference)
image = np.zeros((1, 12, 12, 1))
image[0, 5:7, 5:7, 0] = ((1, 2), (3, 4))
kernel = np.arange(9.0).reshape(3, 3, 1, 1)
print("convolution:", largest_difference(lambda x: functional.conv2d(x, kernel), image, 1))
print("pooling:    ", largest_difference(functional.max_pool2d, image, 1))

# %% [markdown]
# **2. Find the period.** A place of the last map is as many places of the map before it as the last
# stride says, each of these as many of the one before, and so on. So the strides multiply.


# %%
def period(strides):
    """Return the smallest shift, in pixels, that the last map follows exactly."""
    pixels = 1
    for stride in strides:
        pixels *= stride
    return pixels


assert checks.check_period(period)
print("the text's network:", period((1, 2, 1, 2, 1)))

# %% [markdown]
# **3. A head that does not care.** `GlobalMaxPooling2D` keeps one number of each channel.
# `GlobalAveragePooling2D` would do as well. What follows may be any dense layers: they no longer
# see places. The pattern has to stay away from the border, and to move on the grid.


# %%
def head():
    """Return a list of layers."""
    return [layers.GlobalMaxPooling2D(), layers.Dense(10, activation="softmax")]


assert checks.check_head(head)

# %% [markdown]
# **4. Blur before you drop.** The maximum at stride 1 is equivariant. What breaks it is only the
# dropping of places, and before that comes the mean.


# %%
def blurred_pool(x):
    """Return pooled maps for x of shape (samples, height, width, channels)."""
    maxima = functional.max_pool2d(x, 2, strides=1)
    return functional.average_pool2d(maxima, 2)


assert checks.check_blurred_pool(blurred_pool)
print(blurred_pool(np.zeros((1, 10, 12, 3))).shape)
