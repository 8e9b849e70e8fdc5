# %% [markdown]
# # Solutions to chapter 4
#
# The exercises are in [4 · Patch by patch](../04_patch_by_patch.ipynb).

# %%
import numpy as np

from convlib.notebook.checks import patch_by_patch as checks

# %% [markdown]
# **1. Cut out the patches.** A slice keeps the order of the axes, and `reshape` reads the last one
# fastest: row, column, channel.


# %%
def extract_patches(x, k):
    """Return every patch of k×k as a row of numbers, at its place."""
    height, width, channels = x.shape
    rows, columns = height - k + 1, width - k + 1
    patches = np.empty((rows, columns, k * k * channels))
    for i in range(rows):
        for j in range(columns):
            patches[i, j] = x[i : i + k, j : j + k].reshape(-1)
    return patches


assert checks.check_extract_patches(extract_patches)
print(extract_patches(np.arange(12).reshape(3, 4, 1), 2)[1, 2])

# %% [markdown]
# **2. With letters.** Row and column of the place stay, the element of the window and the channel
# are summed over, and the filter stays.

# %%
subscripts = "ijuvc,uvco->ijo"

assert checks.check_subscripts(subscripts)

# %% [markdown]
# **3. A convolution.** Patches times matrix, as in the chapter. NumPy can also show all windows
# without copying them.


# %%
def convolution(x, w, b):
    """Return the output, of shape (height − k + 1, width − l + 1, filters)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(0, 1))
    return np.einsum("ijcuv,uvco->ijo", windows, w) + b


assert checks.check_convolution(convolution)

# %% [markdown]
# **4. Now you are the check.** A single one in the kernel is enough if it lies in the last row, but
# in no other place that a mistake could move it to: not in the middle of the row, not on the
# diagonal. The second channel must differ from the first, and the bias must not be zero.

# %%
w_test = np.zeros((3, 3, 2, 1))
w_test[2, 1, 0, 0] = 1
x_test = np.zeros((3, 3, 2))
x_test[2, 1, 0] = 1
b_test = np.ones(1)

assert checks.check_test_case(x_test, w_test, b_test)
print("right:", convolution(x_test, w_test, b_test)[0, 0, 0])
for name, wrong in checks.PLANTED.items():
    print(f"the one that {name}:", wrong(x_test, w_test, b_test)[0, 0, 0])
