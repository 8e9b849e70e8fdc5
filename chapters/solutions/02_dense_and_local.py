# %% [markdown]
# # Solutions to chapter 2
#
# The exercises are in [2 · Dense and local](../02_dense_and_local.ipynb).

# %%
import numpy as np

from convlib import functional
from convlib.notebook.checks import dense_and_local as checks

# %% [markdown]
# **1. Count.** A window fits `height - side + 1` times into the rows. A dense layer has a weight
# for each pair of output and pixel, a local one for each pair of output and place in its window,
# and a convolution for each place in the window.


# %%
def count_weights(height, width, side):
    """Return three numbers of weights: dense, local, local and shared."""
    outputs = (height - side + 1) * (width - side + 1)
    return outputs * height * width, outputs * side * side, side * side


assert checks.check_count_weights(count_weights)
print(count_weights(28, 28, 3))

# %% [markdown]
# **2. Build the matrix.** Output $(i, j)$ reads pixel $(i + u, j + v)$ with weight $w_{u,v}$.
# Written with four axes the matrix is easy to fill; `reshape` then makes one row of each output and
# one column of each pixel.


# %%
def convolution_matrix(kernel, height, width):
    """Return the matrix that turns the pixels of an image into the outputs of a convolution."""
    rows, columns = height - kernel.shape[0] + 1, width - kernel.shape[1] + 1
    matrix = np.zeros((rows, columns, height, width))
    for i in range(rows):
        for j in range(columns):
            matrix[i, j, i : i + kernel.shape[0], j : j + kernel.shape[1]] = kernel
    return matrix.reshape(rows * columns, height * width)


assert checks.check_convolution_matrix(convolution_matrix)
kernel = np.array([[1.0, 2.0], [3.0, 4.0]])
print(convolution_matrix(kernel, 3, 3))
image = np.arange(9.0)
by_convolution = functional.conv2d(image.reshape(1, 3, 3, 1), kernel.reshape(2, 2, 1, 1))
assert np.array_equal(convolution_matrix(kernel, 3, 3) @ image, by_convolution.ravel())

# %% [markdown]
# **3. Permute the pixels.** Pixel `k` of the new image is pixel `order[k]` of the old one. So row
# `k` of the new weights has to be row `order[k]` of the old ones. The permutation is the same for
# images and weights; undoing it would be the wrong way round.


# %%
def weights_after_permutation(w, order):
    """Return weights that do for permuted images what w did for the images."""
    return w[order]


assert checks.check_weights_after_permutation(weights_after_permutation)

# %% [markdown]
# **4. A permutation that a convolution survives.** The columns of the image are reversed, so the
# columns of the kernel are reversed, which are its second axis. No such kernel exists for scrambled
# pixels: neighbours in a window would have to be found all over the image.


# %%
def mirrored_kernel(w):
    """Return the kernel that gives the mirrored outputs on mirrored images."""
    return w[:, ::-1]


assert checks.check_mirrored_kernel(mirrored_kernel)
