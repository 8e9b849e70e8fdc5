"""Operations that move pixels on the GPU.

A thread belongs to one element of the rows that are written and goes down these rows, so that a
warp writes whole lines, and mostly reads them. Where the element comes from is worked out once;
rows add what depends on them.

Adding patches back is a walk of each pixel over the patches that it is in (see `_windows`), in a
fixed order: nobody waits, and nothing is added in memory.
"""

import math

from numba import cuda

from convlib.kernels.cuda._device import launch_rows
from convlib.kernels.cuda._windows import backward_table, walk_at, walk_steps


@cuda.jit(cache=True)
def _gather(x, indices, y, size):
    element, start = cuda.grid(2)
    if element >= size:
        return
    for row in range(start, indices.size, cuda.gridsize(2)[1]):
        y[row * size + element] = x[indices[row] * size + element]


def gather(x, indices, y):
    """Copy row by row; see the contract."""
    size = math.prod(x.shape[1:])
    launch_rows(_gather, len(indices), size, x.reshape(-1), indices, y.reshape(-1), size)


@cuda.jit(cache=True)
def _pad(x, y, rows, down, length, top, left, source_down, source_length):
    element, start = cuda.grid(2)
    if element >= length:
        return
    source = element - left
    is_inside = 0 <= source < source_length
    for row in range(start, rows, cuda.gridsize(2)[1]):
        image, i = row // down, row % down - top
        if is_inside and 0 <= i < source_down:
            value = x[(image * source_down + i) * source_length + source]
        else:
            value = x.dtype.type(0)
        y[row * length + element] = value


def _launch_pad(x, y, top, left):
    n, down, across, channels = y.shape
    source = x.shape[1], x.shape[2] * channels
    rows, length = n * down, across * channels
    arrays = x.reshape(-1), y.reshape(-1)
    launch_rows(_pad, rows, length, *arrays, rows, down, length, top, left * channels, *source)


def pad2d_forward(x, y, padding):
    """Write every pixel of y once; see the contract."""
    _launch_pad(x, y, padding[0][0], padding[1][0])


def pad2d_backward(dy, dx, padding):
    """Pad by less than nothing; see the contract."""
    _launch_pad(dy, dx, -padding[0][0], -padding[1][0])


@cuda.jit(cache=True)
def _im2col(
    x,
    columns,
    rows,
    down,
    across,
    height,
    width,
    channels,
    taps_down,
    taps_across,
    stride_down,
    stride_across,
    dilation_down,
    dilation_across,
    top,
    left,
):
    element, start = cuda.grid(2)
    length = across * taps_down * taps_across * channels
    if element >= length:
        return
    place, channel = element // channels, element % channels
    v, place = place % taps_across, place // taps_across
    u, j = place % taps_down, place // taps_down
    column = j * stride_across + v * dilation_across - left
    is_inside = 0 <= column < width
    for row in range(start, rows, cuda.gridsize(2)[1]):
        image, i = row // down, row % down
        line = i * stride_down + u * dilation_down - top
        if is_inside and 0 <= line < height:
            value = x[((image * height + line) * width + column) * channels + channel]
        else:
            value = x.dtype.type(0)
        columns[row * length + element] = value


def im2col(x, columns, kernel_size, strides, padding, dilation):
    """Write every element of the patches once; see the contract."""
    n, down, across, length = columns.shape
    before = padding[0][0], padding[1][0]
    geometry = *x.shape[1:], *kernel_size, *strides, *dilation, *before
    arrays, rows = (x.reshape(-1), columns.reshape(-1)), n * down
    launch_rows(_im2col, rows, across * length, *arrays, rows, down, across, *geometry)


@cuda.jit(cache=True)
def _col2im(columns, x, table, rows, down, across, windows, taps, channels):
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
        total = x.dtype.type(0)
        for a in range(tall):
            for b in range(wide):
                window = source + a * source_down + b * source_across
                tap = place + a * place_down + b * place_across
                total += columns[(window * taps + tap) * channels + channel]
        x[row * across * channels + element] = total


def col2im(columns, x, kernel_size, strides, padding, dilation):
    """Collect what each pixel gets; see the contract."""
    n, height, width, channels = x.shape
    windows = columns.shape[1:3]
    table = backward_table((height, width), windows, kernel_size, strides, padding, dilation)
    sizes = n * height, height, width, math.prod(windows), math.prod(kernel_size), channels
    arrays = columns.reshape(-1), x.reshape(-1), table
    launch_rows(_col2im, n * height, width * channels, *arrays, *sizes)
