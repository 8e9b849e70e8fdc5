"""Pooling on the CPU: one pass over the input, all channels of a pixel at a time.

For each window and each of its pixels (u, v) the innermost loop runs over the channels, which are
neighbours in memory, so it compiles to vector instructions: compare, select, store. Windows that
hang over the border are cut to the pixels that exist, which is what padding with −∞ (or not
counting it, for the mean) amounts to. A task is one image, so overlapping windows never meet across
tasks.
"""

from numba import njit, prange


@njit
def _cut(window, stride, before, extent, size):
    """Return the pixels from first to last (excluded) that a window covers, and its start."""
    start = window * stride - before
    return start, max(start, 0), min(start + extent, size)


@njit(cache=True, parallel=True)
def _max_forward(x, y, argmax, pool_size, strides, before):
    images, height, width, channels = x.shape
    for n in prange(images):
        for i in range(y.shape[1]):
            top, first_row, last_row = _cut(i, strides[0], before[0], pool_size[0], height)
            for j in range(y.shape[2]):
                left, first_column, last_column = _cut(
                    j, strides[1], before[1], pool_size[1], width
                )
                place = (first_row - top) * pool_size[1] + first_column - left
                for c in range(channels):
                    y[n, i, j, c] = x[n, first_row, first_column, c]
                    argmax[n, i, j, c] = place
                for row in range(first_row, last_row):
                    for column in range(first_column, last_column):
                        place = (row - top) * pool_size[1] + column - left
                        for c in range(channels):
                            best, candidate = y[n, i, j, c], x[n, row, column, c]
                            # NaN is the only number that differs from itself; it wins once.
                            wins = (candidate > best) | ((candidate != candidate) & (best == best))
                            y[n, i, j, c] = candidate if wins else best
                            argmax[n, i, j, c] = place if wins else argmax[n, i, j, c]


def max_pool2d_forward(x, y, argmax, pool_size, strides, padding):
    """Scan each window once, in row-major order; see the contract."""
    _max_forward(x, y, argmax, pool_size, strides, (padding[0][0], padding[1][0]))


@njit(cache=True, parallel=True)
def _max_backward(dy, argmax, dx, pool_size, strides, before):
    images, height, width, channels = dx.shape
    for n in prange(images):
        dx[n] = 0
        for i in range(dy.shape[1]):
            top, first_row, last_row = _cut(i, strides[0], before[0], pool_size[0], height)
            for j in range(dy.shape[2]):
                left, first_column, last_column = _cut(
                    j, strides[1], before[1], pool_size[1], width
                )
                for row in range(first_row, last_row):
                    for column in range(first_column, last_column):
                        place = (row - top) * pool_size[1] + column - left
                        for c in range(channels):
                            winner = argmax[n, i, j, c] == place
                            dx[n, row, column, c] += dy[n, i, j, c] if winner else 0


def max_pool2d_backward(dy, argmax, dx, pool_size, strides, padding):
    """Compare each pixel of a window with the saved winner; see the contract."""
    _max_backward(dy, argmax, dx, pool_size, strides, (padding[0][0], padding[1][0]))


@njit(cache=True, parallel=True)
def _average_forward(x, y, pool_size, strides, before):
    images, height, width, channels = x.shape
    for n in prange(images):
        for i in range(y.shape[1]):
            _, first_row, last_row = _cut(i, strides[0], before[0], pool_size[0], height)
            for j in range(y.shape[2]):
                _, first_column, last_column = _cut(j, strides[1], before[1], pool_size[1], width)
                for c in range(channels):
                    y[n, i, j, c] = 0
                for row in range(first_row, last_row):
                    for column in range(first_column, last_column):
                        for c in range(channels):
                            y[n, i, j, c] += x[n, row, column, c]
                pixels = (last_row - first_row) * (last_column - first_column)
                for c in range(channels):
                    y[n, i, j, c] /= pixels


def average_pool2d_forward(x, y, pool_size, strides, padding):
    """Add the pixels of each window and divide by their number; see the contract."""
    _average_forward(x, y, pool_size, strides, (padding[0][0], padding[1][0]))


@njit(cache=True, parallel=True)
def _average_backward(dy, dx, pool_size, strides, before):
    images, height, width, channels = dx.shape
    for n in prange(images):
        dx[n] = 0
        for i in range(dy.shape[1]):
            _, first_row, last_row = _cut(i, strides[0], before[0], pool_size[0], height)
            for j in range(dy.shape[2]):
                _, first_column, last_column = _cut(j, strides[1], before[1], pool_size[1], width)
                pixels = (last_row - first_row) * (last_column - first_column)
                for row in range(first_row, last_row):
                    for column in range(first_column, last_column):
                        for c in range(channels):
                            dx[n, row, column, c] += dy[n, i, j, c] / pixels


def average_pool2d_backward(dy, dx, pool_size, strides, padding):
    """Add each gradient's share to the pixels of its window; see the contract."""
    _average_backward(dy, dx, pool_size, strides, (padding[0][0], padding[1][0]))
