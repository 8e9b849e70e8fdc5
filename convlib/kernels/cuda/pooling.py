"""Pooling on the GPU: every number is read from memory once and written once.

    forward:   y[p, c] = max or mean of x[q, c] over the pixels q under window p
    backward:  dx[q, c] = Σ over the windows p above pixel q of what p sends to q

A thread belongs to one column of windows (or of pixels) and one channel, and goes down its rows.
Threads that are neighbours take neighbouring channels, and after these the next column, which is
how numbers lie in memory: a warp reads whole lines of x at each step of its walk, and writes whole
lines. What several windows or pixels need comes from the caches.

Each thread collects what it writes, so that there is nothing to wait for and the order of a sum is
that of the walk (see `_windows`, which also says how windows over the border are cut).
"""

import math

from numba import cuda

from convlib.kernels.cuda._device import launch_rows
from convlib.kernels.cuda._windows import (
    backward_table,
    forward_table,
    pixels_per_window,
    walk_at,
    walk_steps,
)


@cuda.jit(cache=True)
def _max_forward(x, y, argmax, table, rows, down, across, pixels, channels):
    element, start = cuda.grid(2)
    if element >= across * channels:
        return
    column, channel = element // channels, element % channels
    place_down, source_down, place_across, source_across = walk_steps(table)
    first_place, first_source, wide = walk_at(table, down + column)
    for row in range(start, rows, cuda.gridsize(2)[1]):
        image, i = row // down, row % down
        place, source, tall = walk_at(table, i)
        place, source = place + first_place, image * pixels + source + first_source
        best, winner = x.dtype.type(-math.inf), place
        for a in range(tall):
            for b in range(wide):
                pixel = source + a * source_down + b * source_across
                value = x[pixel * channels + channel]
                # The first NaN wins, and nothing after it.
                if value > best or (math.isnan(value) and not math.isnan(best)):
                    best, winner = value, place + a * place_down + b * place_across
        y[row * across * channels + element] = best
        argmax[row * across * channels + element] = winner


def max_pool2d_forward(x, y, argmax, pool_size, strides, padding):
    """Scan each window once, in row-major order; see the contract."""
    n, height, width, channels = x.shape
    _, down, across, _ = y.shape
    table = forward_table((height, width), (down, across), pool_size, strides, padding)
    arrays = x.reshape(-1), y.reshape(-1), argmax.reshape(-1), table
    sizes = n * down, down, across, height * width, channels
    launch_rows(_max_forward, n * down, across * channels, *arrays, *sizes)


@cuda.jit(cache=True)
def _max_backward(dy, argmax, dx, table, rows, down, across, windows, channels):
    element, start = cuda.grid(2)
    if element >= across * channels:
        return
    column, channel = element // channels, element % channels
    place_down, source_down, place_across, source_across = walk_steps(table)
    first_place, first_source, wide = walk_at(table, down + column)
    for row in range(start, rows, cuda.gridsize(2)[1]):
        image, i = row // down, row % down
        place, source, tall = walk_at(table, i)
        place, source = place + first_place, image * windows + source + first_source
        total = dx.dtype.type(0)
        for a in range(tall):
            for b in range(wide):
                window = (source + a * source_down + b * source_across) * channels + channel
                if argmax[window] == place + a * place_down + b * place_across:
                    total += dy[window]
        dx[row * across * channels + element] = total


def max_pool2d_backward(dy, argmax, dx, pool_size, strides, padding):
    """Compare each pixel with the winners of the windows over it; see the contract."""
    n, height, width, channels = dx.shape
    windows = dy.shape[1:3]
    table = backward_table((height, width), windows, pool_size, strides, padding)
    arrays = dy.reshape(-1), argmax.reshape(-1), dx.reshape(-1), table
    sizes = n * height, height, width, math.prod(windows), channels
    launch_rows(_max_backward, n * height, width * channels, *arrays, *sizes)


@cuda.jit(cache=True)
def _average_forward(x, y, table, rows, down, across, pixels, channels):
    element, start = cuda.grid(2)
    if element >= across * channels:
        return
    column, channel = element // channels, element % channels
    _, source_down, _, source_across = walk_steps(table)
    _, first_source, wide = walk_at(table, down + column)
    for row in range(start, rows, cuda.gridsize(2)[1]):
        image, i = row // down, row % down
        _, source, tall = walk_at(table, i)
        source += image * pixels + first_source
        total = x.dtype.type(0)
        for a in range(tall):
            for b in range(wide):
                pixel = source + a * source_down + b * source_across
                total += x[pixel * channels + channel]
        y[row * across * channels + element] = total / x.dtype.type(tall * wide)


def average_pool2d_forward(x, y, pool_size, strides, padding):
    """Add the pixels of each window and divide by their number; see the contract."""
    n, height, width, channels = x.shape
    _, down, across, _ = y.shape
    table = forward_table((height, width), (down, across), pool_size, strides, padding)
    sizes = n * down, down, across, height * width, channels
    arrays = x.reshape(-1), y.reshape(-1), table
    launch_rows(_average_forward, n * down, across * channels, *arrays, *sizes)


@cuda.jit(cache=True)
def _average_backward(dy, dx, table, counts, rows, down, across, channels):
    element, start = cuda.grid(2)
    if element >= across * channels:
        return
    column, channel = element // channels, element % channels
    _, source_down, _, source_across = walk_steps(table)
    _, first_source, wide = walk_at(table, down + column)
    for row in range(start, rows, cuda.gridsize(2)[1]):
        image, i = row // down, row % down
        _, source, tall = walk_at(table, i)
        source += first_source
        total = dx.dtype.type(0)
        for a in range(tall):
            for b in range(wide):
                window = source + a * source_down + b * source_across
                share = dx.dtype.type(counts[window])
                total += dy[(image * counts.size + window) * channels + channel] / share
        dx[row * across * channels + element] = total


def average_pool2d_backward(dy, dx, pool_size, strides, padding):
    """Add each pixel's shares of the gradients of the windows over it; see the contract."""
    n, height, width, channels = dx.shape
    geometry = (height, width), dy.shape[1:3], pool_size, strides, padding
    tables = backward_table(*geometry), pixels_per_window(*geometry).reshape(-1)
    sizes = n * height, height, width, channels
    launch_rows(
        _average_backward,
        n * height,
        width * channels,
        dy.reshape(-1),
        dx.reshape(-1),
        *tables,
        *sizes,
    )
