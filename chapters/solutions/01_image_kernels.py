# %% [markdown]
# # Solutions to chapter 1
#
# The exercises are in [1 · Image kernels](../01_image_kernels.ipynb).

# %%
import importlib.util

import numpy as np

from convlib import functional
from convlib.notebook.checks import image_kernels as checks

# %% [markdown]
# **1. Sharpen by any amount.** The pixel itself is a kernel with a single 1. The mean is a kernel
# of nine times 1/9.


# %%
def sharpen_kernel(amount):
    """Return the 3×3 kernel for: pixel + amount · (pixel − mean of the window)."""
    pixel, mean = np.zeros((3, 3)), np.full((3, 3), 1 / 9)
    pixel[1, 1] = 1
    return pixel + amount * (pixel - mean)


assert checks.check_sharpen_kernel(sharpen_kernel)
print(np.round(9 * sharpen_kernel(1)))

# %% [markdown]
# **2. Flip it.** Both axes are reversed, which turns the kernel by 180°.


# %%
def convolve(image, kernel):
    """Return the convolution, of the size of the image, with zeros outside."""
    return functional.correlate2d(image, kernel[::-1, ::-1])


assert checks.check_convolve(convolve)

# %% [markdown]
# **3. From the definition.** In each direction, two tables of $n$ and $k$ places have one in common
# for the first time at 0 and for the last time at $n + k - 2$, so the result has $n + k - 1$.


# %%
def full_convolution(image, kernel):
    """Return every sum in which image and kernel have at least one place in common."""
    (height, width), (k, m) = image.shape, kernel.shape
    result = np.zeros((height + k - 1, width + m - 1))
    for i in range(height):
        for j in range(width):
            result[i : i + k, j : j + m] += image[i, j] * kernel
    return result


assert checks.check_full_convolution(full_convolution)
print(full_convolution(np.array([[1, 1, 1]]), np.array([[1, 2, 3]])))
if importlib.util.find_spec("scipy"):
    from scipy.signal import convolve2d

    image, kernel = np.random.default_rng(3).normal(size=(2, 6, 6))
    assert np.allclose(convolve2d(image, kernel[:3]), full_convolution(image, kernel[:3]))

# %% [markdown]
# **4. Two small blurs for one large.** $w[u, v] = t[u] \cdot t[v]$, so the double sum falls into a
# sum of sums: $\sum_u t[u] \sum_v t[v]\, x[i+u, j+v]$.


# %%
def blur_in_two(image, taps):
    """Return what correlation with np.outer(taps, taps) gives, without that square."""
    blurred_down = functional.correlate2d(image, taps[:, None])
    return functional.correlate2d(blurred_down, taps[None])


assert checks.check_blur_in_two(blur_in_two)

# %%
pixels = 200 * 300
counts = {"at_once": pixels * 15 * 15, "in_two": pixels * (15 + 15)}

assert checks.check_counts(counts)
print(f"{counts['at_once']:,} against {counts['in_two']:,}")
