# %% [markdown]
# # Solutions to chapter 11
#
# The exercises are in [11 · Backpropagation](../11_backprop.ipynb).

# %%
import numpy as np

from convlib.notebook.checks import backprop as checks

# %% [markdown]
# **1. The gradient of the input.** Spreading is the shortest: each cell of `dy` came from one
# window, and hands its gradient, times the kernel, to the pixels of that window. Nothing is flipped
# here. The flip appears when one asks from the other side, as in the second version.


# %%
def input_gradient(dy, w):
    """Return dx, from the gradient of the output and the kernel."""
    (rows, columns), (height, width) = dy.shape, w.shape
    dx = np.zeros((rows + height - 1, columns + width - 1))
    for i in range(rows):
        for j in range(columns):
            dx[i : i + height, j : j + width] += dy[i, j] * w
    return dx


def gathered_input_gradient(dy, w):
    """Return dx, pixel by pixel: windows of the padded dy, times the flipped kernel."""
    height, width = w.shape
    padded = np.pad(dy, ((height - 1, height - 1), (width - 1, width - 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape)
    return (windows * w[::-1, ::-1]).sum(axis=(2, 3))


assert checks.check_input_gradient(input_gradient)
assert checks.check_input_gradient(gathered_input_gradient)
print(input_gradient(np.array([[2.0, 1.0]]), np.array([[3.0, -1.0]])))

# %% [markdown]
# **2. The gradient of the kernel.** The weight at (u, v) has met the image shifted by (u, v), as
# many rows and columns of it as `dy` has. For each pair of channel and filter the products are
# summed over the places, which is one matrix product.


# %%
def kernel_gradient(x, dy):
    """Return dw, from the input and the gradient of the output."""
    rows, columns, filters = dy.shape
    height, width = x.shape[0] - rows + 1, x.shape[1] - columns + 1
    dw = np.zeros((height, width, x.shape[2], filters))
    for u in range(height):
        for v in range(width):
            shifted = x[u : u + rows, v : v + columns]
            dw[u, v] = np.einsum("ijc,ijf->cf", shifted, dy)
    return dw


assert checks.check_kernel_gradient(kernel_gradient)

# %% [markdown]
# **3. A pooling's way back.** `argmax` takes the first of equal values, in row-major order. Rows
# and columns that no window covers stay zero.


# %%
def pool_gradient(x, dy):
    """Return dx, from what was pooled and the gradient of the pooled image."""
    dx = np.zeros(x.shape)
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            u, v = divmod(x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].argmax(), 2)
            dx[2 * i + u, 2 * j + v] = dy[i, j]
    return dx


assert checks.check_pool_gradient(pool_gradient)

# %% [markdown]
# **4. Catch the mutants.** Nudge every element, to both sides, in float64. Compare with the size of
# the gradient as a whole: an element whose slope happens to be nearly zero has no digits of its
# own, so dividing by each element would accuse it wrongly.


# %%
def is_right(loss, w, gradient):
    """Return whether this is the gradient of the loss at w."""
    h, tried = 1e-6, np.zeros(w.shape)
    for place in np.ndindex(w.shape):
        up, down = w.copy(), w.copy()
        up[place] += h
        down[place] -= h
        tried[place] = (loss(up) - loss(down)) / (2 * h)
    return bool(np.abs(tried - gradient).max() < 1e-5 * np.abs(tried).max())


assert checks.check_gradient_check(is_right)

# %% [markdown]
# A random direction does the same with two runs. It can be fooled only by a mistake that happens to
# be at right angles to the direction.


# %%
def is_right_along_a_line(loss, w, gradient):
    """Return whether the loss changes as the gradient says, in a random direction."""
    h, direction = 1e-6, np.random.default_rng(0).normal(size=w.shape)
    tried = (loss(w + h * direction) - loss(w - h * direction)) / (2 * h)
    claimed = (gradient * direction).sum()
    return bool(abs(tried - claimed) < 1e-5 * max(abs(tried), abs(claimed)))


assert checks.check_gradient_check(is_right_along_a_line)
