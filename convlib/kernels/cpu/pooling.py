"""Pooling on the CPU: every number is read from memory once and written once, in whole vectors.

    forward:   y[p, c] = max or mean of x[q, c] over the pixels q under window p
    backward:  dx[q, c] = Σ over the windows p above pixel q of what p sends to q

Channels are neighbours in memory, so lanes are channels. A block of them, up to four vectors wide,
is one register tile: forward scans a window with its maxima (and where they were) or sums in
registers, and backward collects in registers what all windows send to one pixel. Each result is
stored once, and what several windows or pixels need comes from the caches nearby. The last block
is masked if channels do not fill it.

The jumps from row to row under a window hide from the processor what is read next. So each window
asks for the pixels that the window below it will be the first to read, and each pixel's gradient
for those of the windows that the pixels below will see.

Windows that hang over the border are cut to the pixels that exist, which is what padding with −∞
(or not counting it, for the mean) amounts to.

Forward's tasks are rows of windows, backward's are rows of pixels, so that no two tasks meet.
"""

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.tasks import INNER, PARALLEL, chunk_range, task_count
from convlib.kernels.cpu.tile import (
    columns_for,
    tile_add,
    tile_add_runs,
    tile_add_won,
    tile_compete,
    tile_divide,
    tile_fill,
    tile_load_run,
    tile_places,
    tile_prefetch,
    tile_store_run,
    tile_width,
    tile_zero,
)

# Functions that take some rows are compiled once, and called with and without threads (first rows
# are np.int64(0), since for a literal Numba would compile them again). Their first argument is a
# tile of zeros, one row of a block.
ROWS = {"error_model": "numpy"}
COLUMNS = 1, 2, 4  # vectors of a block; a kernel is compiled for the one that the channels ask for


@njit(**INNER)
def _cut(window, stride, before, extent, size):
    """Return the first pixel that a window covers, how many, and how many it lost before them."""
    start = window * stride - before
    first = max(start, 0)
    return first, min(start + extent, size) - first, first - start


@njit(**INNER)
def _prefetch(zeros, x, first, pool_size, strides):
    """Ask for what the window below the one that begins at ``first`` will be the first to read."""
    _, _, width, channels = x.shape
    below = first + max(pool_size[0], strides[0]) * width * channels
    for row in range(min(pool_size[0], strides[0])):
        for column in range(min(pool_size[1], strides[1])):
            tile_prefetch(zeros, x, below + (row * width + column) * channels)


@njit(**INNER)
def _keep_maximum(zeros, x, first, rows, columns, place, next_row, y, argmax, target, count):
    """Scan ``count`` channels of a window's pixels, of which the first has this place.

    Windows are small: one loop over the pixels takes less time than one over rows and columns.
    """
    _, _, width, channels = x.shape
    best, winners = tile_fill(zeros, -np.inf), tile_places(zeros, argmax, place)
    pixel, here, column = first, place, 0
    for _ in range(rows * columns):
        candidates = tile_load_run(zeros, x, pixel, count)
        best, winners = tile_compete(best, winners, candidates, here)
        pixel, here, column = pixel + channels, here + 1, column + 1
        if column == columns:
            pixel += (width - columns) * channels
            here += next_row - columns
            column = 0
    tile_store_run(best, y, target, count)
    tile_store_run(winners, argmax, target, count)


@njit(**ROWS)
def _max_forward_rows(zeros, x, y, argmax, pool_size, strides, before, first, last):
    _, height, width, channels = x.shape
    block = tile_width(zeros)
    whole = channels // block * block
    for index in range(first, last):
        n, i = index // y.shape[1], index % y.shape[1]
        top, rows, above = _cut(i, strides[0], before[0], pool_size[0], height)
        for j in range(y.shape[2]):
            left, columns, beside = _cut(j, strides[1], before[1], pool_size[1], width)
            source = ((n * height + top) * width + left) * channels
            target = (index * y.shape[2] + j) * channels
            place = above * pool_size[1] + beside
            window = rows, columns, place, pool_size[1], y, argmax
            for c in range(0, whole, block):
                _prefetch(zeros, x, source + c, pool_size, strides)
                _keep_maximum(zeros, x, source + c, *window, target + c, block)
            if whole < channels:
                _prefetch(zeros, x, source + whole, pool_size, strides)
                _keep_maximum(zeros, x, source + whole, *window, target + whole, channels - whole)


def _max_forward(columns):
    @njit(**PARALLEL)
    def max_forward(x, y, argmax, pool_size, strides, before):
        rows, zeros = len(y) * y.shape[1], tile_zero(x, 1, columns)
        tasks = min(task_count(x.size), rows)
        if tasks <= 1:
            _max_forward_rows(zeros, x, y, argmax, pool_size, strides, before, np.int64(0), rows)
        else:
            for index in prange(tasks):
                task = np.int64(index)
                zeros = tile_zero(x, 1, columns)
                first, last = chunk_range(task, tasks, rows)
                _max_forward_rows(zeros, x, y, argmax, pool_size, strides, before, first, last)

    return max_forward


_MAX_FORWARD = {columns: _max_forward(columns) for columns in COLUMNS}


def max_pool2d_forward(x, y, argmax, pool_size, strides, padding):
    """Scan each window once, in row-major order; see the contract."""
    kernel = _MAX_FORWARD[columns_for(x.shape[3], x.dtype)]
    kernel(x, y, argmax, pool_size, strides, (padding[0][0], padding[1][0]))


@njit(**INNER)
def _windows_over(pixel, stride, before, extent, windows):
    """Return the windows from first to last (excluded) that cover a pixel."""
    place = pixel + before
    return max((place - extent) // stride + 1, 0), min(place // stride + 1, windows)


@njit(**INNER)
def _move_on(first, last, place, stride, extent, windows):
    """Return the windows over a place, from those over one before it, without a division."""
    while last < windows and last * stride <= place:
        last += 1
    while first < last and first * stride + extent <= place:
        first += 1
    return first, last


@njit(**INNER)
def _prefetch_gradients(zeros, dy, argmax, window):
    """Ask for a window's gradients and winners."""
    channels = dy.shape[3]
    for c in range(0, channels, tile_width(zeros)):
        tile_prefetch(zeros, dy, window * channels + c)
        tile_prefetch(zeros, argmax, window * channels + c)


@njit(**INNER)
def _collect_won(zeros, dy, argmax, first, rows, columns, place, steps, dx, target, count):
    """Add the gradients that a pixel won in the windows over it, of which there are few.

    In the first of them its place is ``place``, which falls by ``steps`` from one to the next.
    """
    _, _, width, channels = dy.shape
    total = zeros
    window, here, column = first, place, 0
    for _ in range(rows * columns):
        total = tile_add_won(total, dy, argmax, window, here, count)
        window, here, column = window + channels, here - steps[1], column + 1
        if column == columns:
            window += (width - columns) * channels
            here += columns * steps[1] - steps[0]
            column = 0
    tile_store_run(total, dx, target, count)


@njit(**ROWS)
def _max_backward_rows(zeros, dy, argmax, dx, pool_size, strides, before, first, last):
    _, height, width, channels = dx.shape
    block = tile_width(zeros)
    whole = channels // block * block
    steps = strides[0] * pool_size[1], strides[1]
    for index in range(first, last):
        n, row = index // height, index % height
        top, bottom = _windows_over(row, strides[0], before[0], pool_size[0], dy.shape[1])
        u = row + before[0] - top * strides[0]
        left = right = np.int64(0)
        for column in range(width):
            seen = right
            left, right = _move_on(
                left, right, column + before[1], strides[1], pool_size[1], dy.shape[2]
            )
            for j in range(seen, right):
                _prefetch_gradients(zeros, dy, argmax, (n * dy.shape[1] + bottom) * dy.shape[2] + j)
            v = column + before[1] - left * strides[1]
            source = ((n * dy.shape[1] + top) * dy.shape[2] + left) * channels
            target = (index * width + column) * channels
            windows = bottom - top, right - left, u * pool_size[1] + v, steps, dx
            for c in range(0, whole, block):
                _collect_won(zeros, dy, argmax, source + c, *windows, target + c, block)
            if whole < channels:
                _collect_won(
                    zeros, dy, argmax, source + whole, *windows, target + whole, channels - whole
                )


def _max_backward(columns):
    @njit(**PARALLEL)
    def max_backward(dy, argmax, dx, pool_size, strides, before):
        rows, zeros = len(dx) * dx.shape[1], tile_zero(dx, 1, columns)
        tasks = min(task_count(dx.size), rows)
        if tasks <= 1:
            _max_backward_rows(zeros, dy, argmax, dx, pool_size, strides, before, np.int64(0), rows)
        else:
            for index in prange(tasks):
                task = np.int64(index)
                zeros = tile_zero(dx, 1, columns)
                first, last = chunk_range(task, tasks, rows)
                _max_backward_rows(zeros, dy, argmax, dx, pool_size, strides, before, first, last)

    return max_backward


_MAX_BACKWARD = {columns: _max_backward(columns) for columns in COLUMNS}


def max_pool2d_backward(dy, argmax, dx, pool_size, strides, padding):
    """Compare each pixel with the winners of the windows over it; see the contract."""
    kernel = _MAX_BACKWARD[columns_for(dx.shape[3], dx.dtype)]
    kernel(dy, argmax, dx, pool_size, strides, (padding[0][0], padding[1][0]))


@njit(**INNER)
def _keep_mean(zeros, x, first, rows, columns, y, target, count):
    """Add ``count`` channels of a window's pixels and divide by the number of pixels."""
    _, _, width, channels = x.shape
    total = zeros
    for row in range(rows):
        for column in range(columns):
            pixel = first + (row * width + column) * channels
            total = tile_add(total, tile_load_run(zeros, x, pixel, count))
    tile_store_run(tile_divide(total, rows * columns), y, target, count)


@njit(**ROWS)
def _average_forward_rows(zeros, x, y, pool_size, strides, before, first, last):
    _, height, width, channels = x.shape
    block = tile_width(zeros)
    whole = channels // block * block
    for index in range(first, last):
        n, i = index // y.shape[1], index % y.shape[1]
        top, rows, _ = _cut(i, strides[0], before[0], pool_size[0], height)
        for j in range(y.shape[2]):
            left, columns, _ = _cut(j, strides[1], before[1], pool_size[1], width)
            source = ((n * height + top) * width + left) * channels
            target = (index * y.shape[2] + j) * channels
            for c in range(0, whole, block):
                _prefetch(zeros, x, source + c, pool_size, strides)
                _keep_mean(zeros, x, source + c, rows, columns, y, target + c, block)
            if whole < channels:
                _prefetch(zeros, x, source + whole, pool_size, strides)
                _keep_mean(
                    zeros, x, source + whole, rows, columns, y, target + whole, channels - whole
                )


def _average_forward(columns):
    @njit(**PARALLEL)
    def average_forward(x, y, pool_size, strides, before):
        rows, zeros = len(y) * y.shape[1], tile_zero(x, 1, columns)
        tasks = min(task_count(x.size), rows)
        if tasks <= 1:
            _average_forward_rows(zeros, x, y, pool_size, strides, before, np.int64(0), rows)
        else:
            for index in prange(tasks):
                task = np.int64(index)
                zeros = tile_zero(x, 1, columns)
                first, last = chunk_range(task, tasks, rows)
                _average_forward_rows(zeros, x, y, pool_size, strides, before, first, last)

    return average_forward


_AVERAGE_FORWARD = {columns: _average_forward(columns) for columns in COLUMNS}


def average_pool2d_forward(x, y, pool_size, strides, padding):
    """Add the pixels of each window and divide by their number; see the contract."""
    kernel = _AVERAGE_FORWARD[columns_for(x.shape[3], x.dtype)]
    kernel(x, y, pool_size, strides, (padding[0][0], padding[1][0]))


@njit(**INNER)
def _pixels(window, stride, before, extent, size):
    """Return how many pixels a window covers, in one dimension."""
    start = window * stride - before
    return min(start + extent, size) - max(start, 0)


@njit(**INNER)
def _collect_shares(zeros, dy, first, top, bottom, left, right, window, dx, target, count):
    """Add a pixel's shares of the gradients of the windows over it."""
    _, height, width, channels = dx.shape
    pool_size, strides, before = window
    total = zeros
    for i in range(top, bottom):
        rows = _pixels(i, strides[0], before[0], pool_size[0], height)
        for j in range(left, right):
            pixels = rows * _pixels(j, strides[1], before[1], pool_size[1], width)
            share = dx.dtype.type(1) / dx.dtype.type(pixels)
            start = first + ((i - top) * dy.shape[2] + j - left) * channels
            total = tile_add_runs(total, dy, start, (0,), share, count)
    tile_store_run(total, dx, target, count)


@njit(**ROWS)
def _average_backward_rows(zeros, dy, dx, pool_size, strides, before, first, last):
    _, height, width, channels = dx.shape
    block = tile_width(zeros)
    whole = channels // block * block
    window = pool_size, strides, before
    for index in range(first, last):
        n, row = index // height, index % height
        top, bottom = _windows_over(row, strides[0], before[0], pool_size[0], dy.shape[1])
        left = right = np.int64(0)
        for column in range(width):
            left, right = _move_on(
                left, right, column + before[1], strides[1], pool_size[1], dy.shape[2]
            )
            source = ((n * dy.shape[1] + top) * dy.shape[2] + left) * channels
            target = (index * width + column) * channels
            windows = top, bottom, left, right, window, dx
            for c in range(0, whole, block):
                _collect_shares(zeros, dy, source + c, *windows, target + c, block)
            if whole < channels:
                _collect_shares(
                    zeros, dy, source + whole, *windows, target + whole, channels - whole
                )


def _average_backward(columns):
    @njit(**PARALLEL)
    def average_backward(dy, dx, pool_size, strides, before):
        rows, zeros = len(dx) * dx.shape[1], tile_zero(dx, 1, columns)
        tasks = min(task_count(dx.size), rows)
        if tasks <= 1:
            _average_backward_rows(zeros, dy, dx, pool_size, strides, before, np.int64(0), rows)
        else:
            for index in prange(tasks):
                task = np.int64(index)
                zeros = tile_zero(dx, 1, columns)
                first, last = chunk_range(task, tasks, rows)
                _average_backward_rows(zeros, dy, dx, pool_size, strides, before, first, last)

    return average_backward


_AVERAGE_BACKWARD = {columns: _average_backward(columns) for columns in COLUMNS}


def average_pool2d_backward(dy, dx, pool_size, strides, padding):
    """Add each pixel's shares of the gradients of the windows over it; see the contract."""
    kernel = _AVERAGE_BACKWARD[columns_for(dx.shape[3], dx.dtype)]
    kernel(dy, dx, pool_size, strides, (padding[0][0], padding[1][0]))
