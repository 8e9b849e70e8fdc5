# %% [markdown]
# # Solutions to chapter 10
#
# The exercises are in [10 · A small convnet](../10_small_convnet.ipynb).

# %%
from convlib.notebook.checks import small_convnet as checks

# %% [markdown]
# **1. A row of the table.** A window of side $k$ fits $n - k + 1$ times into $n$ pixels. Every
# filter has a weight for each element of the window in each input channel, and one bias.


# %%
def convolution_row(shape, filters, side):
    """Return (height, width, channels) of the output, and the number of parameters."""
    height, width, channels = shape
    output_shape = (height - side + 1, width - side + 1, filters)
    return output_shape, (side * side * channels + 1) * filters


assert checks.check_convolution_row(convolution_row)
print(convolution_row((28, 28, 1), 32, 3))
print(convolution_row((13, 13, 32), 64, 3))
print(convolution_row((5, 5, 64), 64, 3))

# %% [markdown]
# **2. The work.** Each weight is used once at every place of the output. Biases are added, but not
# multiplied.


# %%
def multiply_adds(shape, filters, side):
    """Return the number of multiplications, each with its addition."""
    (height, width, _), parameters = convolution_row(shape, filters, side)
    return height * width * (parameters - filters)


assert checks.check_multiply_adds(multiply_adds)
print(f"{multiply_adds((13, 13, 32), 64, 3):,}")

# %% [markdown]
# **3. A dense layer is a convolution.** `Flatten` writes row by row, place by place, channel by
# channel: the order in which NumPy stores the axes of the kernel. Nothing has to move.


# %%
def dense_as_convolution(w):
    """Return the kernel with which a convolution computes what the dense layer computes."""
    return w.reshape(3, 3, 64, 64)


assert checks.check_dense_as_convolution(dense_as_convolution)

# %% [markdown]
# **4. The `same` variant.** The sizes are 28, 14 after the first pooling and 7 after the second.
# `Flatten` makes 7 · 7 · 64 numbers. The convolutions have the parameters they had; `dense_1` has
# 3136 · 64 + 64.

# %%
flattened = 7 * 7 * 64
answers = {
    "flattened": flattened,
    "parameters": 55_744 + (flattened * 64 + 64) + 650,
    "conv2d_2_multiply_adds": 14 * 14 * 3 * 3 * 32 * 64,
}

assert checks.check_same_variant(answers)
print(answers)
