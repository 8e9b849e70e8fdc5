# %% [markdown]
# # Solutions to chapter 5
#
# The exercises are in [5 · Borders and padding](../05_borders_and_padding.ipynb).

# %%
import numpy as np

from convlib.notebook.checks import borders_and_padding as checks

# %% [markdown]
# **1. Write `same`.** $\lceil n/s \rceil$ windows reach from the first pixel to
# $(\lceil n/s \rceil - 1)\,s + k$. What is missing is added, the smaller half before. If the
# windows leave pixels out, nothing is missing.


# %%
def same_padding(n, k, s):
    """Return (before, after)."""
    windows = -(-n // s)
    total = max(0, (windows - 1) * s + k - n)
    return total // 2, total - total // 2


assert checks.check_same_padding(same_padding)
print(same_padding(28, 3, 2), same_padding(28, 4, 1), same_padding(28, 1, 2))

# %% [markdown]
# **2. Say the sizes.** `valid` loses $k - 1$, each time. `same` gives $\lceil n/s \rceil$. With
# `padding=2` the image has 32 rows.

# %%
answers = {
    "5×5, valid": 28 - 5 + 1,
    "4×4, same": 28,
    "3×3, same, stride 2": 28 // 2,
    "three times 3×3, valid": 28 - 3 * (3 - 1),
    "7×7, padding=2": 28 + 2 * 2 - 7 + 1,
}

assert checks.check_sizes(answers)
print(list(answers.values()))

# %% [markdown]
# **3. Backwards.** Each layer loses $k - 1$.


# %%
def kernel_side(n_in, n_out, number_of_layers):
    """Return k."""
    return (n_in - n_out) // number_of_layers + 1


assert checks.check_kernel_side(kernel_side)
print(kernel_side(28, 26, 1), kernel_side(28, 22, 3))

# %% [markdown]
# **4. Count the uses.** Let the window slide over the padded row, and cut the padding off in the
# end.


# %%
def uses_in_a_row(n, k, before, after):
    """Return n counts."""
    counts = np.zeros(before + n + after, dtype=int)
    for start in range(len(counts) - k + 1):
        counts[start : start + k] += 1
    return counts[before : before + n]


assert checks.check_uses_in_a_row(uses_in_a_row)
print(uses_in_a_row(5, 3, 0, 0), uses_in_a_row(5, 3, 1, 1), uses_in_a_row(5, 3, 2, 2))
counts = uses_in_a_row(5, 3, 1, 1)
assert np.array_equal(np.outer(counts, counts)[0], [4, 6, 6, 6, 4])
