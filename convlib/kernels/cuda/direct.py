"""Convolution of few taps, such as that of an image of one to three channels.

    y[m, n] = b[n] + Σ_k x[start(m) + place(k)] · w[k, n]

as in `correlation`; but with a handful of taps k, tiles that are fetched eight taps at a time
would be half empty, and most of the time would go into fetching. Here a thread keeps all that a few
pixels see in registers, and walks along the filters, a quad at a time. Their weights lie in shared
memory, which each block fills once: all threads of a warp read the same ones, so a quad for 32
threads is one access, and each of its numbers serves all of a thread's pixels.

The pixels of a thread are neighbours in a row, or those of one 2×2 pooling window. Then they
compete in its registers as in `conv2d_pool`, and only the maximum and its code are stored.

Traffic: each element of y is written once, by one thread; x is read as often as windows overlap,
mostly from the cache.
"""

import math
from functools import cache, lru_cache

import numpy as np
from numba import cuda, int32, uint32

from convlib.kernels._cache import stamped_cache
from convlib.kernels.cuda._vec import inlined, load4, store4
from convlib.kernels.cuda.correlation import (
    PIXELS,
    Geometry,
    Pass,
    compete,
    forward_geometry,
    forward_pass,
    forward_taps,
    integers_of,
    place_of,
)
from convlib.kernels.cuda.tiles import QUAD

MOST_TAPS = 32
MOST_TAPS_OF_FOUR = 10  # of pixels, whose numbers take as many registers; else a thread has one
FILTERS = 64  # for which weights lie in shared memory
THREADS = 128


@inlined
def load_weights(weights, w, first_filter, group, geometry):
    """Copy the weights of some filters to shared memory, with zeros behind the last one."""
    for place in range(cuda.threadIdx.x, weights.size, cuda.blockDim.x):
        tap, n = uint32(place) // uint32(FILTERS), uint32(place) % uint32(FILTERS)
        weight = w.dtype.type(0)
        if first_filter + n < geometry.filters:
            row = tap * geometry.groups + group
            weight = w[uint32(row * geometry.filters + first_filter + n)]
        weights[uint32(place)] = weight


@inlined
def load_patches(patches, starts, rows, columns, first, x, taps, group, geometry, is_pooled):
    """Load what this thread's pixels, from ``first`` on, see under all taps; zeros outside."""
    terms, pixels = patches.shape
    for p in range(pixels):
        # Beyond the last pixel, see what it sees.
        item = int32(min(first + p, geometry.items - 1))
        if is_pooled:
            window = uint32(item) // uint32(PIXELS)
            sample, row, column = place_of(window, geometry.row_length, geometry.image_length)
            row, column = 2 * row + p // 2, 2 * column + p % 2
        else:
            sample, row, column = place_of(item, geometry.row_length, geometry.image_length)
        rows[p] = int32(row * geometry.row_step + geometry.first_row)
        columns[p] = int32(column * geometry.column_step + geometry.first_column)
        start = (sample * geometry.height + rows[p]) * geometry.width + columns[p]
        starts[p] = int32(start * geometry.channels + group * geometry.group_channels)
    length = taps.size // 4
    for k in range(terms):
        place, down, across = taps[k], taps[length + k], taps[2 * length + k]
        for p in range(pixels):
            row, column = rows[p] + down, columns[p] + across
            number = x.dtype.type(0)
            if 0 <= row < geometry.height and 0 <= column < geometry.width:
                number = x[uint32(starts[p] + place)]
            patches[k, p] = number


@inlined
def add_filters(sums, patches, weights, n):
    """Set the sums of all pixels for four filters from n on."""
    terms, pixels = patches.shape
    for p in range(pixels):
        for lane in range(QUAD):
            sums[p, lane] = patches.dtype.type(0)
    for k in range(terms):
        first, second, third, fourth = load4(weights, uint32(k * FILTERS + n))
        for p in range(pixels):
            sums[p, 0] += patches[k, p] * first
            sums[p, 1] += patches[k, p] * second
            sums[p, 2] += patches[k, p] * third
            sums[p, 3] += patches[k, p] * fourth


@inlined
def finish_filters(sums, b, n, group, geometry):
    """Add the bias of four filters, and cut off below zero, if these are wanted."""
    pixels = sums.shape[0]
    zero = b.dtype.type(0)
    for lane in range(QUAD):
        bias = zero
        if geometry.has_bias and n + lane < geometry.filters:
            bias = b[uint32(group * geometry.filters + n + lane)]
        for p in range(pixels):
            value = sums[p, lane] + bias
            # A NaN is not below zero.
            sums[p, lane] = zero if geometry.is_rectified and value <= zero else value


@inlined
def store_filters(sums, p, y, place, filters, geometry):
    """Store one pixel's sums for four filters, of which so many exist."""
    if geometry.stores_quads:
        store4(y, place, (sums[p, 0], sums[p, 1], sums[p, 2], sums[p, 3]))
    else:
        for lane in range(QUAD):
            if lane < filters:
                y[uint32(place + lane)] = sums[p, lane]


def _kernel(terms, pixels):
    """Return the kernel for so many taps, whose threads have so many neighbouring pixels."""
    numbers = terms * FILTERS

    @cuda.jit(cache=True)
    def convolve_directly(x, taps, w, b, y, geometry):
        weights = cuda.shared.array(numbers, x.dtype, 16)
        patches = cuda.local.array((terms, pixels), x.dtype)
        sums = cuda.local.array((pixels, QUAD), x.dtype)
        starts, rows = cuda.local.array(pixels, int32), cuda.local.array(pixels, int32)
        columns = cuda.local.array(pixels, int32)
        first_filter, group = int32(cuda.blockIdx.y * FILTERS), int32(cuda.blockIdx.z)
        load_weights(weights, w, first_filter, group, geometry)
        first = int32((cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * pixels)
        load_patches(patches, starts, rows, columns, first, x, taps, group, geometry, False)
        cuda.syncthreads()
        filters = min(FILTERS, geometry.filters - first_filter)
        for quad in range((filters + QUAD - 1) // QUAD):
            n = first_filter + quad * QUAD
            add_filters(sums, patches, weights, uint32(quad * QUAD))
            finish_filters(sums, b, n, group, geometry)
            for p in range(pixels):
                if first + p < geometry.items:
                    place = (first + p) * geometry.y_pixel + group * geometry.filters + n
                    store_filters(sums, p, y, place, geometry.filters - n, geometry)

    return convolve_directly


def _pooling_kernel(terms):
    """Return the kernel whose threads have the pixels of a pooling window."""
    numbers = terms * FILTERS

    @cuda.jit(cache=True)
    def convolve_and_pool_directly(x, taps, w, b, y, code, geometry):
        weights = cuda.shared.array(numbers, x.dtype, 16)
        patches = cuda.local.array((terms, PIXELS), x.dtype)
        sums = cuda.local.array((PIXELS, QUAD), x.dtype)
        starts, rows = cuda.local.array(PIXELS, int32), cuda.local.array(PIXELS, int32)
        columns = cuda.local.array(PIXELS, int32)
        first_filter, group = int32(cuda.blockIdx.y * FILTERS), int32(cuda.blockIdx.z)
        load_weights(weights, w, first_filter, group, geometry)
        window = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        first = int32(window * PIXELS)
        load_patches(patches, starts, rows, columns, first, x, taps, group, geometry, True)
        cuda.syncthreads()
        if first < geometry.items:
            filters = min(FILTERS, geometry.filters - first_filter)
            for quad in range((filters + QUAD - 1) // QUAD):
                n = first_filter + quad * QUAD
                add_filters(sums, patches, weights, uint32(quad * QUAD))
                finish_filters(sums, b, n, group, geometry)
                place = window * geometry.y_pixel + group * geometry.filters + n
                for lane in range(QUAD):
                    winner = compete(sums, 0, lane)
                    if n + lane < geometry.filters:
                        code[uint32(place + lane)] = winner
                store_filters(sums, 0, y, place, geometry.filters - n, geometry)

    return convolve_and_pool_directly


@cache
def _direct(terms, pixels):
    """Return the kernel, which is compiled when it is first needed."""
    with stamped_cache():
        return _kernel(terms, pixels)


@cache
def _pooling_direct(terms):
    """Return the kernel, which is compiled when it is first needed."""
    with stamped_cache():
        return _pooling_kernel(terms)


def suits_four(terms, dtype):
    """Whether there are registers for what four pixels see."""
    return terms <= MOST_TAPS_OF_FOUR and np.dtype(dtype).itemsize == 4


def direct_launch(geometry, is_pooled, dtype):
    """Return kernel, blocks and threads for a direct convolution of this geometry."""
    terms = geometry["depth"]
    pixels = PIXELS if suits_four(terms, dtype) else 1
    kernel = _pooling_direct(terms) if is_pooled else _direct(terms, pixels)
    down, across = THREADS * pixels, FILTERS
    blocks = -(-geometry["items"] // down), -(-geometry["filters"] // across), geometry["groups"]
    return kernel, blocks, THREADS


@lru_cache(maxsize=1024)
def best_forward_pass(
    x_shape, w_shape, y_shape, strides, padding, dilation, groups, dtype, are_aligned, has_bias,
    is_rectified,
):  # fmt: skip
    """Return the direct way of a forward convolution if there are few taps, else a correlation."""
    if math.prod(w_shape[:3]) > MOST_TAPS:
        return forward_pass(
            x_shape, w_shape, y_shape, strides, padding, dilation, groups, dtype, are_aligned,
            has_bias, is_rectified,
        )  # fmt: skip
    geometry = forward_geometry(x_shape, w_shape, y_shape, strides, padding, groups) | {
        "steps": 1,
        "is_rectified": is_rectified,
        "has_bias": has_bias,
        "stores_quads": are_aligned and (y_shape[3] // groups) % QUAD == 0,
    }
    taps = forward_taps(x_shape[2:], w_shape, dilation)
    return Pass(*direct_launch(geometry, False, dtype), taps, integers_of(Geometry, geometry), 1)
