"""Pooling on the CPU: one pass over memory, all channels of a pixel at a time.

For each window and each of its pixels (u, v) the innermost loop runs over the channels, which are
neighbours in memory, so it compiles to vector instructions: compare, select, store. Windows that
hang over the border are cut to the pixels that exist, which is what padding with −∞ (or not
counting it, for the mean) amounts to.

Forward takes one row of windows after the other, backward one row of pixels: it collects what all
windows over that row send to it while the row is in the first-level cache, so that memory is
written once and no two tasks meet.

Rows are inlined before anything is compiled, because Numba promises the compiler that the arrays of
a parallel loop do not overlap, and that is worth most where inner loops are as short as here.
"""

from numba import njit, prange

from convlib.kernels.cpu.tasks import PARALLEL, chunk_range, task_count


@njit(inline="always")
def _cut(window, stride, before, extent, size):
    """Return the pixels from first to last (excluded) that a window covers, and its start."""
    start = window * stride - before
    return start, max(start, 0), min(start + extent, size)


@njit(inline="always")
def _windows_over(pixel, stride, before, extent, windows):
    """Return the windows from first to last (excluded) that cover a pixel."""
    place = pixel + before
    return max((place - extent) // stride + 1, 0), min(place // stride + 1, windows)


@njit(inline="always")
def _max_forward_rows(x, y, argmax, pool_size, strides, before, first, last):
    _, height, width, channels = x.shape
    for index in range(first, last):
        n, i = index // y.shape[1], index % y.shape[1]
        top, first_row, last_row = _cut(i, strides[0], before[0], pool_size[0], height)
        for j in range(y.shape[2]):
            left, first_column, last_column = _cut(j, strides[1], before[1], pool_size[1], width)
            place = argmax.dtype.type((first_row - top) * pool_size[1] + first_column - left)
            for c in range(channels):
                y[n, i, j, c] = x[n, first_row, first_column, c]
                argmax[n, i, j, c] = place
            for row in range(first_row, last_row):
                for column in range(first_column, last_column):
                    place = argmax.dtype.type((row - top) * pool_size[1] + column - left)
                    for c in range(channels):
                        best, candidate = y[n, i, j, c], x[n, row, column, c]
                        # Neither is true of NaN, which wins in this way, but only once.
                        wins = (not candidate <= best) & (best == best)
                        y[n, i, j, c] = candidate if wins else best
                        argmax[n, i, j, c] = place if wins else argmax[n, i, j, c]


@njit(**PARALLEL)
def _max_forward(x, y, argmax, pool_size, strides, before):
    rows, tasks = len(y) * y.shape[1], min(task_count(x.size), len(y) * y.shape[1])
    if tasks <= 1:
        _max_forward_rows(x, y, argmax, pool_size, strides, before, 0, rows)
    else:
        for task in prange(tasks):
            first, last = chunk_range(task, tasks, rows)
            _max_forward_rows(x, y, argmax, pool_size, strides, before, first, last)


def max_pool2d_forward(x, y, argmax, pool_size, strides, padding):
    """Scan each window once, in row-major order; see the contract."""
    _max_forward(x, y, argmax, pool_size, strides, (padding[0][0], padding[1][0]))


@njit(inline="always")
def _max_backward_rows(dy, argmax, dx, pool_size, strides, before, first, last):
    _, height, width, channels = dx.shape
    for index in range(first, last):
        n, row = index // height, index % height
        dx[n, row] = 0
        for i in range(*_windows_over(row, strides[0], before[0], pool_size[0], dy.shape[1])):
            u = row + before[0] - i * strides[0]
            for j in range(dy.shape[2]):
                left, first_column, last_column = _cut(
                    j, strides[1], before[1], pool_size[1], width
                )
                for column in range(first_column, last_column):
                    place = argmax.dtype.type(u * pool_size[1] + column - left)
                    for c in range(channels):
                        wins = argmax[n, i, j, c] == place
                        dx[n, row, column, c] += dy[n, i, j, c] if wins else dy.dtype.type(0)


@njit(**PARALLEL)
def _max_backward(dy, argmax, dx, pool_size, strides, before):
    rows, tasks = len(dx) * dx.shape[1], min(task_count(dx.size), len(dx) * dx.shape[1])
    if tasks <= 1:
        _max_backward_rows(dy, argmax, dx, pool_size, strides, before, 0, rows)
    else:
        for task in prange(tasks):
            first, last = chunk_range(task, tasks, rows)
            _max_backward_rows(dy, argmax, dx, pool_size, strides, before, first, last)


def max_pool2d_backward(dy, argmax, dx, pool_size, strides, padding):
    """Compare each pixel of a window with the saved winner; see the contract."""
    _max_backward(dy, argmax, dx, pool_size, strides, (padding[0][0], padding[1][0]))


@njit(inline="always")
def _average_forward_rows(x, y, pool_size, strides, before, first, last):
    _, height, width, channels = x.shape
    for index in range(first, last):
        n, i = index // y.shape[1], index % y.shape[1]
        _, first_row, last_row = _cut(i, strides[0], before[0], pool_size[0], height)
        for j in range(y.shape[2]):
            _, first_column, last_column = _cut(j, strides[1], before[1], pool_size[1], width)
            for c in range(channels):
                y[n, i, j, c] = 0
            for row in range(first_row, last_row):
                for column in range(first_column, last_column):
                    for c in range(channels):
                        y[n, i, j, c] += x[n, row, column, c]
            pixels = y.dtype.type((last_row - first_row) * (last_column - first_column))
            for c in range(channels):
                y[n, i, j, c] /= pixels


@njit(**PARALLEL)
def _average_forward(x, y, pool_size, strides, before):
    rows, tasks = len(y) * y.shape[1], min(task_count(x.size), len(y) * y.shape[1])
    if tasks <= 1:
        _average_forward_rows(x, y, pool_size, strides, before, 0, rows)
    else:
        for task in prange(tasks):
            first, last = chunk_range(task, tasks, rows)
            _average_forward_rows(x, y, pool_size, strides, before, first, last)


def average_pool2d_forward(x, y, pool_size, strides, padding):
    """Add the pixels of each window and divide by their number; see the contract."""
    _average_forward(x, y, pool_size, strides, (padding[0][0], padding[1][0]))


@njit(inline="always")
def _average_backward_rows(dy, dx, pool_size, strides, before, first, last):
    _, height, width, channels = dx.shape
    for index in range(first, last):
        n, row = index // height, index % height
        dx[n, row] = 0
        for i in range(*_windows_over(row, strides[0], before[0], pool_size[0], dy.shape[1])):
            _, first_row, last_row = _cut(i, strides[0], before[0], pool_size[0], height)
            for j in range(dy.shape[2]):
                _, first_column, last_column = _cut(j, strides[1], before[1], pool_size[1], width)
                pixels = (last_row - first_row) * (last_column - first_column)
                share = dx.dtype.type(1) / dx.dtype.type(pixels)
                for column in range(first_column, last_column):
                    for c in range(channels):
                        dx[n, row, column, c] += share * dy[n, i, j, c]


@njit(**PARALLEL)
def _average_backward(dy, dx, pool_size, strides, before):
    rows, tasks = len(dx) * dx.shape[1], min(task_count(dx.size), len(dx) * dx.shape[1])
    if tasks <= 1:
        _average_backward_rows(dy, dx, pool_size, strides, before, 0, rows)
    else:
        for task in prange(tasks):
            first, last = chunk_range(task, tasks, rows)
            _average_backward_rows(dy, dx, pool_size, strides, before, first, last)


def average_pool2d_backward(dy, dx, pool_size, strides, padding):
    """Add each gradient's share to the pixels of its window; see the contract."""
    _average_backward(dy, dx, pool_size, strides, (padding[0][0], padding[1][0]))
