# %% [markdown]
# # Solutions to chapter 9
#
# The exercises are in [9 · Hierarchies](../09_hierarchies.ipynb).

# %%
import numpy as np

from convlib import layers
from convlib.notebook.checks import hierarchies as checks

# %% [markdown]
# **1. The recurrence.** The order matters: a layer's window is measured in the jump of the layer
# below, so the size grows before the jump does.


# %%
def receptive_field(steps):
    """Return (size, jump) after steps such as [(3, 1), (2, 2)]."""
    size, jump = 1, 1
    for kernel_size, stride in steps:
        size += (kernel_size - 1) * jump
        jump *= stride
    return size, jump


assert checks.check_receptive_field(receptive_field)
text_steps = [(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)]
print([receptive_field(text_steps[:count])[0] for count in range(1, 6)])

# %% [markdown]
# **2. Find the strip.** Count the units of the last layer. The first sees one field, and each
# further one adds a jump.


# %%
def blind_rows(size, steps):
    """Return how many of an image's last rows reach no unit of the last layer."""
    units = size
    for kernel_size, stride in steps:
        units = (units - kernel_size) // stride + 1
    field, jump = receptive_field(steps)
    return size - ((units - 1) * jump + field)


assert checks.check_blind_rows(blind_rows)
print({size: blind_rows(size, text_steps) for size in range(26, 31)})

# %% [markdown]
# **3. Repair it.** The strip is lost where 11 is halved. With `padding="same"` the second pooling
# keeps a last window that hangs over the border, 11 → 6. To pad the first or the second convolution
# would do as well: 28 → 28 → 14 → 12 → 6 leaves no rest at all.


# %%
def repaired():
    """Return the five layers, changed."""
    return [
        layers.Conv2D(32, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2), padding="same"),
        layers.Conv2D(64, (3, 3), activation="relu"),
    ]


print(checks.check_repaired(repaired))
assert checks.check_repaired(repaired)

# %% [markdown]
# **4. Effective against theoretical.** Begin with the smallest square in the middle and let it grow
# by one row at each side.


# %%
def effective_field(gradient, share):
    """Return the side of the square; gradient is a square array, share is between 0 and 1."""
    energy, size = gradient**2, len(gradient)
    for margin in range((size - 1) // 2, -1, -1):
        inside = energy[margin : size - margin, margin : size - margin]
        if inside.sum() >= share * energy.sum():
            return size - 2 * margin


assert checks.check_effective_field(effective_field)
print(effective_field(np.ones((18, 18)), 0.9), "of 18 if all pixels count equally")
