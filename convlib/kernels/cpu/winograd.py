"""3×3 convolution at stride 1 with fewer multiplications (Winograd; Lavin & Gray, 2015).

The m×m outputs under one patch d of n×n pixels, n = m + 2, are

    Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A        g the 3×3 kernel, ⊙ the product element by element

with small constant matrices: the rows of Bᵀ, G and Aᵀ evaluate and interpolate polynomials, so that
n·n products replace 9·m·m of them: 16 instead of 36 for m = 2, 36 instead of 144 for m = 4. The
sum over input channels is taken before the last step, once for all outputs, which leaves n·n
matrix products, one for each element ξ of the n×n grid:

    V[ξ, p, c] = (Bᵀ d B)[ξ]     of patch p and input channel c
    U[ξ, c, o] = (G g Gᵀ)[ξ]     of input channel c and output channel o
    M[ξ, p, o] = Σ_c V[ξ, p, c] · U[ξ, c, o]
    Y[p, o]    = Aᵀ M[:, p, o] A

Blocking: U is computed once per call. Then a task takes a block of patches, so few that their V and
M stay in the second-level cache, writes V, multiplies with register tiles of `ROWS` patches × a few
vectors of output channels, and transforms M while it is there. Patches that hang over the border
are copied into zeros first. The bias is the value with which the sum for ξ = (1, 1) begins: that
column of Aᵀ is all ones, so it reaches every output once. For a 2×2 max-pool the four outputs of a
patch with m = 2 are one pooling window, of which only the maximum and its code are stored.
V and M are work memory of the thread: a block leaves nothing in them that another one reads.

Rounding: each of the steps is a sum of products, so by the standard bound (Higham, "Accuracy and
Stability of Numerical Algorithms", section 3.1) an output is off by at most

    γ(channels + 4·n + 8) · |Aᵀ| [(|G| |g| |G|ᵀ) ⊙ (|Bᵀ| |d| |B|)] |A|,   γ(K) = K·u / (1 − K·u)

summed over the channels, u half the machine epsilon: 2·n for each of the transforms of d and M, and
2·3 for g's, whose entries of G are rounded themselves. The matrices of m = 2 enlarge a sum by
7 at most on each output and those of m = 4 by some 100, against nine times as many terms in the
direct sum: the former is as accurate as direct summation, the latter loses about a digit.

A NaN or an infinity in a patch would reach all its outputs, not only those whose window holds it.
So a patch with an output that is not finite is computed again, directly.
"""

from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.tile import (
    ROWS,
    columns_for,
    lanes,
    tile_fma,
    tile_is_finite,
    tile_load_grid,
    tile_rows_of,
    tile_store,
    tile_store_grid,
    tile_store_maximum,
    tile_transform,
    tile_transpose,
    tile_zero,
    vector_lanes,
)

CLIPPED = 255
BLOCK_BYTES = 1 << 18  # of V and M together: several fit in a second-level cache
# Below these the transforms cost more than the products that they save.
FEWEST_CHANNELS = 16
FEWEST_PATCHES = 48

# Evaluation at the points 0, 1, −1 and ∞, and for m = 4 at 2 and −2 as well.
INPUT = {
    2: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    4: (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
}
KERNEL = {
    2: ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    4: (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
}
OUTPUT = {
    2: ((1, 1, 1, 0), (0, 1, -1, -1)),
    4: (
        (1, 1, 1, 1, 1, 0),
        (0, 1, -1, 2, -2, 0),
        (0, 1, 1, 4, 4, 0),
        (0, 1, -1, 8, -8, 1),
    ),
}


class Geometry(NamedTuple):
    """All integers of one convolution; flat because a parallel loop takes no nested tuples."""

    outputs_across: int  # m: a patch has m × m outputs
    height: int  # of an image
    width: int
    channels: int
    top: int  # padding
    left: int
    output_height: int
    output_width: int
    filters: int
    patches: int  # of all images
    down: int  # patches of an image
    across: int
    block: int  # patches that are transformed before they are multiplied, a multiple of ROWS
    depth: int  # input channels in whole vectors
    columns: int  # of a register tile
    panel: int  # output channels of a register tile
    panels: int
    v_size: int  # numbers in V for one ξ
    u_size: int
    m_size: int


@lru_cache(maxsize=1024)
def _geometry(outputs_across, x_shape, filters, output_size, padding, dtype):
    images, height, width, channels = x_shape
    lane_count, columns = lanes(dtype), columns_for(filters, dtype)
    panel = columns * lane_count
    panels = -(-filters // panel)
    depth = -(-channels // lane_count) * lane_count
    down, across = (-(-size // outputs_across) for size in output_size)
    patch_bytes = (outputs_across + 2) ** 2 * (depth + panels * panel) * dtype.itemsize
    patches = images * down * across
    block = max(8, BLOCK_BYTES // (patch_bytes * ROWS)) * ROWS
    # A vector more for each ξ: else a patch's n·n vectors would share a few sets of the cache.
    return Geometry(
        outputs_across,
        height,
        width,
        channels,
        padding[0][0],
        padding[1][0],
        *output_size,
        filters,
        patches,
        down,
        across,
        block,
        depth,
        columns,
        panel,
        panels,
        v_size=block * depth + lane_count,
        u_size=panels * channels * panel + lane_count,
        m_size=block * panels * panel + lane_count,
    )


def _both_ways(matrix):
    """Return the function that computes ``matrix · d · matrixᵀ`` of a tile d."""
    transform = tile_transform(matrix)

    @njit
    def both_ways(d):
        return tile_transpose(transform(tile_transpose(transform(d))))

    return both_ways


def _transforms(m):
    """Return the functions that transform patches and kernels, a vector of channels each."""
    n = m + 2
    input_both_ways, kernel_both_ways = _both_ways(INPUT[m]), _both_ways(KERNEL[m])

    @njit
    def transform_input(x, start, down, across, v, target, size):
        d = tile_load_grid(tile_zero(x, n, n), x, start, down, across)
        limits = (n, n, vector_lanes(x))
        tile_store_grid(input_both_ways(d), v, target, (n * size, size), limits)

    @njit
    def transform_kernel(w, start, down, across, u, target, size):
        g = tile_load_grid(tile_zero(w, 3, 3), w, start, down, across)
        limits = (n, n, vector_lanes(w))
        tile_store_grid(kernel_both_ways(g), u, target, (n * size, size), limits)

    return transform_input, transform_kernel


_transform_input_2, _transform_kernel_2 = _transforms(2)
_transform_input_4, _transform_kernel_4 = _transforms(4)


@njit
def _weight(w, u, v, c, o, is_transposed):
    """Return an element of the kernel, or of the flipped and transposed one."""
    return w[2 - u, 2 - v, o, c] if is_transposed else w[u, v, c, o]


@njit(cache=True, parallel=True)
def _transform_kernel(w, is_transposed, geometry, transformed, work):
    """Write U (ξ, panel, channel, output channel of the panel), filled with zeros."""
    panel, lane_count = geometry.panel, vector_lanes(w)
    for index in prange(geometry.panels * geometry.channels):
        item = np.int64(index)  # prange counts in uint64
        first, c = divmod(item, geometry.channels)
        first *= panel
        kernel = work[numba.get_thread_id()]
        for u in range(3):
            for v in range(3):
                for lane in range(panel):
                    o = first + lane
                    value = _weight(w, u, v, c, o, is_transposed) if o < geometry.filters else 0.0
                    kernel[(u * 3 + v) * panel + lane] = value
        for lane in range(0, panel, lane_count):
            target = item * panel + lane
            arguments = (kernel, lane, 3 * panel, panel, transformed, target, geometry.u_size)
            if geometry.outputs_across == 2:
                _transform_kernel_2(*arguments)
            else:
                _transform_kernel_4(*arguments)


@njit
def _place(patch, geometry):
    """Return image, row and column of a patch, the latter two counted in patches."""
    image, place = divmod(patch, geometry.down * geometry.across)
    row, column = divmod(place, geometry.across)
    return image, row, column


@njit
def _copy_patch(x, image, top, left, size, geometry, patch):
    """Copy size × size pixels, rows of ``depth`` numbers; beyond the border they are zeros."""
    for i in range(size):
        for j in range(size):
            target = (i * size + j) * geometry.depth
            row, column = top + i, left + j
            if 0 <= row < geometry.height and 0 <= column < geometry.width:
                pixel = (image * geometry.height + row) * geometry.width + column
                source = pixel * geometry.channels
                for c in range(geometry.channels):
                    patch[target + c] = x[source + c]
            else:
                for c in range(geometry.channels):
                    patch[target + c] = 0


@njit
def _transform_patches(x, first, last, geometry, transformed, patch_memory):
    """Write V (ξ, patch, channel) of a block of patches."""
    m = geometry.outputs_across
    n = m + 2
    for patch in range(first, last):
        image, row, column = _place(patch, geometry)
        top, left = row * m - geometry.top, column * m - geometry.left
        is_inside = (
            min(top, left) >= 0 and top + n <= geometry.height and left + n <= geometry.width
        )
        if is_inside and geometry.depth == geometry.channels:
            source, across = x, geometry.channels
            down = geometry.width * across
            start = (image * geometry.height + top) * down + left * across
        else:
            _copy_patch(x, image, top, left, n, geometry, patch_memory)
            source, across, down, start = patch_memory, geometry.depth, n * geometry.depth, 0
        target = (patch - first) * geometry.depth
        for c in range(0, geometry.depth, vector_lanes(x)):
            size = geometry.v_size
            arguments = (source, start + c, down, across, transformed, target + c, size)
            if m == 2:
                _transform_input_2(*arguments)
            else:
                _transform_input_4(*arguments)


def _multiply(columns):
    """Return the function that multiplies a block, with tiles of so many columns."""

    @njit
    def multiply(v, u, starts, count, geometry, product):
        depth, width = geometry.depth, geometry.panels * geometry.panel
        for xi in range((geometry.outputs_across + 2) ** 2):
            for panel in range(geometry.panels):
                for patch in range(0, count, ROWS):
                    # The last tile may be shorter; its spare rows repeat the last patch.
                    first, final = xi * geometry.v_size, count - 1
                    patches = (
                        first + patch * depth,
                        first + min(patch + 1, final) * depth,
                        first + min(patch + 2, final) * depth,
                        first + min(patch + 3, final) * depth,
                        first + min(patch + 4, final) * depth,
                        first + min(patch + 5, final) * depth,
                    )
                    channel = panel * geometry.panel
                    weights = xi * geometry.u_size + channel * geometry.channels
                    acc = tile_rows_of(starts, xi * width + channel, ROWS, columns)
                    for c in range(geometry.channels):
                        acc = tile_fma(acc, v, patches, c, u, weights)
                        weights += geometry.panel
                    target = xi * geometry.m_size + patch * width + channel
                    # Spare rows are stored as well: a block of M is a multiple of ROWS.
                    tile_store(acc, product, target, width, ROWS, columns * vector_lanes(v))

    return multiply


_multiply_1, _multiply_2, _multiply_4 = (_multiply(columns) for columns in (1, 2, 4))


@njit
def _multiply_block(v, u, starts, count, geometry, product):
    if geometry.columns == 1:
        _multiply_1(v, u, starts, count, geometry, product)
    elif geometry.columns == 2:
        _multiply_2(v, u, starts, count, geometry, product)
    else:
        _multiply_4(v, u, starts, count, geometry, product)


@njit
def _convolve_directly(x, w, is_transposed, starts, patch, geometry, pixels):
    """Write a patch's outputs (row, column, output channel) as the sum that defines them."""
    m, row_length = geometry.outputs_across, geometry.panels * geometry.panel
    image, row, column = _place(patch, geometry)
    bias = (m + 3) * row_length
    for place in range(m * m):
        i, j = divmod(place, m)
        target = place * row_length
        for o in range(row_length):
            pixels[target + o] = starts[bias + o]
        for u in range(3):
            for v in range(3):
                down = row * m + i + u - geometry.top
                across = column * m + j + v - geometry.left
                if 0 <= down < geometry.height and 0 <= across < geometry.width:
                    pixel = (image * geometry.height + down) * geometry.width + across
                    for c in range(geometry.channels):
                        factor = x[pixel * geometry.channels + c]
                        for o in range(geometry.filters):
                            weight = _weight(w, u, v, c, o, is_transposed)
                            pixels[target + o] += factor * weight


_output_both_ways_2, _output_both_ways_4 = _both_ways(OUTPUT[2]), _both_ways(OUTPUT[4])


@njit(cache=True, parallel=True)
def _pooled(x, w, geometry, u, starts, y, code, v_memory, m_memory, memory):
    row_length, lane_count = geometry.panels * geometry.panel, vector_lanes(x)
    grid = (4 * geometry.m_size, geometry.m_size)
    for index in prange(-(-geometry.patches // geometry.block)):
        first = np.int64(index) * geometry.block  # prange counts in uint64
        last = min(first + geometry.block, geometry.patches)
        thread = numba.get_thread_id()
        v, product, pixels = v_memory[thread], m_memory[thread], memory[thread]
        _transform_patches(x, first, last, geometry, v, pixels)
        _multiply_block(v, u, starts, last - first, geometry, product)
        for patch in range(first, last):
            is_finite = True
            for o in range(0, geometry.filters, lane_count):
                source = (patch - first) * row_length + o
                transformed = tile_load_grid(tile_zero(x, 4, 4), product, source, *grid)
                outputs = _output_both_ways_2(transformed)
                is_finite &= tile_is_finite(outputs)
                target, channels = patch * geometry.filters + o, geometry.filters - o
                tile_store_maximum(outputs, y, code, target, channels, CLIPPED)
            if not is_finite:
                _convolve_directly(x, w, False, starts, patch, geometry, pixels)
                for o in range(0, geometry.filters, lane_count):
                    outputs = tile_load_grid(
                        tile_zero(x, 2, 2), pixels, o, 2 * row_length, row_length
                    )
                    target, channels = patch * geometry.filters + o, geometry.filters - o
                    tile_store_maximum(outputs, y, code, target, channels, CLIPPED)


def _requests(geometry, dtype):
    """Return what a call needs of the work memory."""
    n = geometry.outputs_across + 2
    threads = numba.get_num_threads()
    return (
        ((n * n * geometry.u_size,), dtype),
        ((n * n, geometry.panels * geometry.panel), dtype),
        ((threads, n * n * geometry.v_size), dtype),
        ((threads, n * n * geometry.m_size), dtype),
        ((threads, n * n * max(geometry.depth, geometry.panels * geometry.panel)), dtype),
    )


def _prepare(geometry, w, is_transposed, b, u, starts, memory):
    """Transform the kernel, and write the values with which the sums for each ξ begin."""
    _transform_kernel(w, is_transposed, geometry, u, memory)
    starts[...] = 0
    if b is not None:
        starts[geometry.outputs_across + 3, : geometry.filters] = b


def wins_before_pooling(x_shape, w_shape, pooled_size, pool_size, strides, dilation, groups):
    """Return whether `conv2d_relu_max_pool2d_forward` takes a call, and is the faster way."""
    is_suitable = (
        w_shape[:2] == (3, 3) and strides == dilation == (1, 1) and groups == 1
    ) and pool_size == (2, 2)
    patches = x_shape[0] * pooled_size[0] * pooled_size[1]
    return is_suitable and min(w_shape[2:]) >= FEWEST_CHANNELS and patches >= FEWEST_PATCHES


def conv2d_relu_max_pool2d_forward(x, w, b, y, code, padding, scratch):
    """Take the maximum of each patch's outputs; see the module's text and the contract."""
    output_size = (2 * y.shape[1], 2 * y.shape[2])
    geometry = _geometry(2, x.shape, w.shape[3], output_size, padding, x.dtype)
    u, starts, v, product, memory = scratch.take(*_requests(geometry, x.dtype))
    _prepare(geometry, w, False, b, u, starts, memory)
    _pooled(
        *(x.reshape(-1), w, geometry, u, starts.reshape(-1)),
        *(y.reshape(-1), code.reshape(-1), v, product, memory),
    )
