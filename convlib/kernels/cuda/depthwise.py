"""Depthwise convolution on the GPU: every channel for itself, with m filters each.

    y[p, f] = b[f] + Σ_t x[q(p, t), c] · w[t, f]        f = c·m + k, t runs over the taps (u, v)
    dx[q, c] = Σ over the windows p above q, and k, of dy[p, f] · w[t(p, q), f]
    dw[t, f] = Σ_p x[q(p, t), c] · dy[p, f]        db[f] = Σ_p dy[p, f]

Each number meets only as many others as a kernel has taps, so memory is what counts. For y and dx a
thread belongs to one column of pixels and one channel and goes down the rows (see `pooling`, and
`_windows` for the walk): a warp reads and writes runs of channels. What neighbouring windows share
comes from the first-level cache.

For dw a block adds up one chunk of windows for up to a warp's width of filters. A thread keeps the
sums of `TAPS` taps in registers, and one of dy, so that it reads dy once for all of them; larger
kernels take more blocks. Lanes are put together in shared memory, and chunks by a second kernel, in
an order that the shapes decide.
"""

import math

from numba import cuda, int32

from convlib.kernels.cuda._device import THREADS, launch_rows
from convlib.kernels.cuda._lanes import (
    chunk_of,
    chunks_of,
    column_lanes,
    launch_columns,
    sum_of_lanes,
)
from convlib.kernels.cuda._windows import backward_table, forward_table, walk_at, walk_steps

TAPS = 9
"""Taps whose sums a thread keeps: 3×3 is one block's work."""
OUTSIDE = 1 << 29
"""The row of a tap that a kernel does not have, below every image: nothing is read for it."""


@cuda.jit(cache=True)
def _forward(x, w, b, y, table, has_bias, rows, down, across, pixels, filters, multiplier):
    element, start = cuda.grid(2)
    if element >= across * filters:
        return
    column, f = element // filters, element % filters
    channel, channels = f // multiplier, filters // multiplier
    place_down, source_down, place_across, source_across = walk_steps(table)
    first_place, first_source, wide = walk_at(table, down + column)
    bias = b[f] if has_bias else x.dtype.type(0)
    for row in range(start, rows, cuda.gridsize(2)[1]):
        image, i = row // down, row % down
        place, source, tall = walk_at(table, i)
        place, source = place + first_place, image * pixels + source + first_source
        total = bias
        for a in range(tall):
            for d in range(wide):
                pixel = source + a * source_down + d * source_across
                tap = place + a * place_down + d * place_across
                total += x[pixel * channels + channel] * w[tap * filters + f]
        y[row * across * filters + element] = total


def depthwise_conv2d_forward(x, w, b, y, strides, padding, dilation, scratch):
    """See the module's text and the contract."""
    n, down, across, filters = y.shape
    pixels = x.shape[1:3]
    table = forward_table(pixels, (down, across), w.shape[:2], strides, padding, dilation)
    arrays = x.reshape(-1), w.reshape(-1), x.reshape(-1) if b is None else b, y.reshape(-1), table
    sizes = n * down, down, across, math.prod(pixels), filters, w.shape[3]
    launch_rows(_forward, n * down, across * filters, *arrays, b is not None, *sizes)


@cuda.jit(cache=True)
def _backward(dy, w, dx, table, rows, down, across, windows, channels, multiplier):
    element, start = cuda.grid(2)
    if element >= across * channels:
        return
    column, channel = element // channels, element % channels
    filters, first_filter = channels * multiplier, channel * multiplier
    place_down, source_down, place_across, source_across = walk_steps(table)
    first_place, first_source, wide = walk_at(table, down + column)
    for row in range(start, rows, cuda.gridsize(2)[1]):
        image, i = row // down, row % down
        place, source, tall = walk_at(table, i)
        place, source = place + first_place, image * windows + source + first_source
        total = dx.dtype.type(0)
        for a in range(tall):
            for b in range(wide):
                window = source + a * source_down + b * source_across
                tap = place + a * place_down + b * place_across
                for f in range(first_filter, first_filter + multiplier):
                    total += dy[window * filters + f] * w[tap * filters + f]
        dx[row * across * channels + element] = total


def depthwise_conv2d_backward_input(dy, w, dx, strides, padding, dilation, scratch):
    """See the module's text and the contract."""
    n, height, width, channels = dx.shape
    windows = dy.shape[1:3]
    table = backward_table((height, width), windows, w.shape[:2], strides, padding, dilation)
    arrays = dy.reshape(-1), w.reshape(-1), dx.reshape(-1), table
    sizes = n * height, height, width, math.prod(windows), channels, w.shape[3]
    launch_rows(_backward, n * height, width * channels, *arrays, *sizes)


@cuda.jit(cache=True)
def _chunk_gradients(
    x,
    dy,
    sums,
    windows,
    length,
    down,
    across,
    height,
    width,
    filters,
    multiplier,
    taps,
    taps_across,
    stride_down,
    stride_across,
    dilation_down,
    dilation_across,
    top,
    left,
):
    shared = cuda.shared.array(THREADS, x.dtype)
    group, f = column_lanes(), cuda.grid(1)
    channel, channels = f // multiplier, filters // multiplier
    first, last = chunk_of(windows, length)
    if f >= filters:
        last = first
    totals = cuda.local.array(TAPS, x.dtype)
    lines = cuda.local.array(TAPS, int32)
    columns = cuda.local.array(TAPS, int32)
    for t in range(TAPS):
        tap = cuda.blockIdx.z * TAPS + t
        totals[t] = x.dtype.type(0)
        lines[t] = tap // taps_across * dilation_down if tap < taps else OUTSIDE
        columns[t] = tap % taps_across * dilation_across
    total = x.dtype.type(0)
    for window in range(first + group[2], last, group[3]):
        row, j = window // across, window % across
        image, i = row // down, row % down
        first_line, first_column = i * stride_down - top, j * stride_across - left
        gradient = dy[window * filters + f]
        total += gradient
        for t in range(TAPS):
            line, column = first_line + lines[t], first_column + columns[t]
            if 0 <= line < height and 0 <= column < width:
                pixel = (image * height + line) * width + column
                totals[t] += x[pixel * channels + channel] * gradient
    start = cuda.blockIdx.y * (taps + 1)
    is_writer = f < filters and group[2] == 0
    for t in range(TAPS):
        tap = cuda.blockIdx.z * TAPS + t
        of_tap = sum_of_lanes(shared, group, totals[t])
        if is_writer and tap < taps:
            sums[(start + tap) * filters + f] = of_tap
    total = sum_of_lanes(shared, group, total)
    if is_writer and cuda.blockIdx.z == 0:
        sums[(start + taps) * filters + f] = total


@cuda.jit(cache=True)
def _add_chunks(sums, dw, db, results, chunks, chunk):
    shared = cuda.shared.array(THREADS, sums.dtype)
    group, k = column_lanes(), cuda.grid(1)
    total = sums.dtype.type(0)
    if k < results:
        for part in range(group[2], chunks, group[3]):
            total += sums[part * chunk + k]
    total = sum_of_lanes(shared, group, total)
    if group[2] == 0 and k < results:
        if k < dw.size:
            dw[k] = total
        else:
            db[k - dw.size] = total


def depthwise_conv2d_backward_params(x, dy, dw, db, strides, padding, dilation, scratch):
    """See the module's text and the contract."""
    n, down, across, filters = dy.shape
    taps, windows = math.prod(dw.shape[:2]), n * down * across
    chunks, length = chunks_of(windows, filters)
    chunk = (taps + 1) * filters
    (sums,) = scratch.take(((chunks * chunk,), x.dtype))
    before = padding[0][0], padding[1][0]
    sizes = windows, length, down, across, *x.shape[1:3], filters, dw.shape[3], taps, dw.shape[1]
    launch_columns(
        _chunk_gradients,
        filters,
        chunks,
        *(x.reshape(-1), dy.reshape(-1), sums),
        *(*sizes, *strides, *dilation, *before),
        parts=-(-taps // TAPS),
    )
    dw = dw.reshape(-1)
    results = dw.size if db is None else chunk
    launch_columns(
        _add_chunks, results, 1, sums, dw, dw if db is None else db, results, chunks, chunk
    )
