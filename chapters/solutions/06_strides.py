# %% [markdown]
# # Solutions to chapter 6
#
# The exercises are in [6 · Strides](../06_strides.ipynb).

# %%
import numpy as np

from convlib import functional
from convlib.notebook.checks import strides as checks

# %% [markdown]
# **1. Sizes.** The first window stands at the beginning. Each further one needs $s$ more pixels of
# the $n - k$ that are left.


# %%
def output_size(n, k, s, padding):
    """Return the number of places in one direction."""
    if padding == "same":
        return -(-n // s)
    return (n - k) // s + 1


assert checks.check_output_size(output_size)
print(output_size(5, 3, 2, "valid"), output_size(28, 3, 2, "valid"), output_size(28, 3, 2, "same"))

# %% [markdown]
# **2. Strided patches.** For each place cut out the window and write it as a row.


# %%
def strided_patches(image, k, s):
    """Return an array of shape (places down, places across, k · k)."""
    height, width = image.shape
    starts_down, starts_across = range(0, height - k + 1, s), range(0, width - k + 1, s)
    return np.array(
        [[image[i : i + k, j : j + k].ravel() for j in starts_across] for i in starts_down]
    )


assert checks.check_strided_patches(strided_patches)
image = np.arange(25.0).reshape(5, 5)
kernel = np.ones((3, 3, 1, 1))
by_patches = strided_patches(image, 3, 2) @ kernel.ravel()
by_layer = functional.conv2d(image[None, :, :, None], kernel, strides=2)[0, :, :, 0]
print(by_patches.tolist())
assert np.array_equal(by_patches, by_layer)

# %% [markdown]
# **3. What nobody reads.** Mark the rows of each window, and count what is left.


# %%
def unread_rows(n, k, s):
    """Return a number of rows."""
    is_read = np.zeros(n, dtype=bool)
    for start in range(0, n - k + 1, s):
        is_read[start : start + k] = True
    return int(np.sum(~is_read))


assert checks.check_unread_rows(unread_rows)
print(unread_rows(28, 3, 2), unread_rows(28, 1, 2))

# %% [markdown]
# **4. Under another name.** Whole cycles between two kept pixels cannot be seen, and the rest looks
# the same forwards and backwards.


# %%
def seen_frequency(frequency, stride):
    """Return a number between 0 and 1/2."""
    cycles = stride * frequency
    return abs(cycles - round(cycles))


assert checks.check_seen_frequency(seen_frequency)
print(f"{seen_frequency(0.4, 2):.1f}", f"{seen_frequency(0.5, 2):.1f}")
