# %% [markdown]
# # Solutions to chapter 3
#
# The exercises are in [3 · Feature maps](../03_feature_maps.ipynb).

# %%
import numpy as np

from convlib.notebook.checks import feature_maps as checks

# %% [markdown]
# **1. Count.** A filter has nine weights for each channel that it reads, and one bias. In colour
# the first layer would have three slices in place of one.

# %%
answers = {
    "first": (3 * 3 * 1 + 1) * 32,
    "second": (3 * 3 * 32 + 1) * 64,
    "first_in_colour": (3 * 3 * 3 + 1) * 32,
}

assert checks.check_parameters(answers)
print(answers)

# %% [markdown]
# **2. Channels first.** Axis 3 comes second, and the two spatial axes keep their order. The way
# back is `x.transpose(0, 2, 3, 1)`.


# %%
def to_channels_first(x):
    """Return a batch (samples, height, width, channels) as (samples, channels, height, width)."""
    return x.transpose(0, 3, 1, 2)


assert checks.check_channels_first(to_channels_first)
x = np.arange(24.0).reshape(1, 2, 3, 4)
assert np.array_equal(to_channels_first(x).transpose(0, 2, 3, 1), x)
print(x.shape, "→", to_channels_first(x).shape)

# %% [markdown]
# **3. What the bias does.** With $x = $ `value` everywhere, the value can be taken out of the sum.
# What remains is the sum of all weights of a filter.


# %%
def response_to_constant(value, w, b):
    """Return the vector of the output, shape (filters,)."""
    return value * w.sum(axis=(0, 1, 2)) + b


assert checks.check_response_to_constant(response_to_constant)

# %% [markdown]
# **4. One by one.** `@` works on the last axis of `x` and leaves the others alone.


# %%
def one_by_one(x, w, b):
    """Return the output, shape (samples, height, width, filters)."""
    return x @ w[0, 0] + b


assert checks.check_one_by_one(one_by_one)
print(one_by_one(np.ones((2, 5, 5, 3)), np.ones((1, 1, 3, 7)), np.zeros(7)).shape)
