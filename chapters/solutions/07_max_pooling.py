# %% [markdown]
# # Solutions to chapter 7
#
# The exercises are in [7 · Max pooling](../07_max_pooling.ipynb).

# %%
import numpy as np

from convlib.notebook.checks import max_pooling as checks

# %% [markdown]
# **1. Floor and ceil.** Under `valid` the first window takes $k$ rows, and every step that the rest
# has room for adds one. In whole numbers $\lceil n/s \rceil$ is `-(-n // s)`.


# %%
def pooled_size(size, pool_size, stride, padding):
    """Return the number of windows in one direction; padding is "valid" or "same"."""
    if padding == "same":
        return -(-size // stride)
    return (size - pool_size) // stride + 1


assert checks.check_pooled_size(pooled_size)
print("11 rows:", pooled_size(11, 2, 2, "valid"), "or", pooled_size(11, 2, 2, "same"))

# %% [markdown]
# **2. All negative.** Slices end at the border by themselves, so a window that hangs over it is
# simply smaller. No padding is needed, and nothing can win that is not there.


# %%
def max_pool(values, pool_size):
    """Return the largest value of each window of a two-dimensional array."""
    height, width = values.shape
    return np.array(
        [
            [
                values[row : row + pool_size, column : column + pool_size].max()
                for column in range(0, width, pool_size)
            ]
            for row in range(0, height, pool_size)
        ]
    )


assert checks.check_max_pool(max_pool)
print(max_pool(-np.arange(1, 10).reshape(3, 3), 2))

# %% [markdown]
# **3. Ties.** Bring the four numbers of each window next to each other, in the order of their
# places. `argmax` returns the first of equal numbers, as we want.


# %%
def winners(values):
    """Return an array of places 0 to 3, half as high and half as wide as values."""
    height, width = values.shape
    windows = values.reshape(height // 2, 2, width // 2, 2).swapaxes(1, 2)
    return windows.reshape(height // 2, width // 2, 4).argmax(axis=2)


assert checks.check_winners(winners)
print(winners(np.array([[0, 0, 1, 2], [0, 0, 2, 2]])))

# %% [markdown]
# **4. Overlapping windows, backward.** The `+=` does the work: a number that wins in two windows
# gets both gradients.


# %%
def max_pool_gradient(values, dy, pool_size, stride):
    """Return the gradient with respect to values; dy has one number for each window."""
    dx = np.zeros_like(values)
    for i, row_of_dy in enumerate(dy):
        for j, gradient in enumerate(row_of_dy):
            top, left = i * stride, j * stride
            window = values[top : top + pool_size, left : left + pool_size]
            u, v = np.unravel_index(window.argmax(), window.shape)
            dx[top + u, left + v] += gradient
    return dx


assert checks.check_max_pool_gradient(max_pool_gradient)
peak = np.zeros((5, 5))
peak[2, 2] = 1
print(max_pool_gradient(peak, np.ones((2, 2)), 3, 2).astype(int))
