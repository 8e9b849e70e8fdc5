"""Operations that move pixels without computing, and depthwise convolution, which hardly does.

Plain loops, innermost over the channels that are neighbours in memory. A task is one image.
Elements outside the image are skipped rather than padded.
"""

import math

from numba import njit, prange

from convlib.kernels.cpu.sums import sum_rows


@njit
def _pixel(window, tap, stride, dilation, before):
    return window * stride + tap * dilation - before


@njit(cache=True, parallel=True)
def _im2col(x, columns, kernel_size, strides, before, dilation):
    images, height, width, channels = x.shape
    for n in prange(images):
        for i in range(columns.shape[1]):
            for j in range(columns.shape[2]):
                for u in range(kernel_size[0]):
                    row = _pixel(i, u, strides[0], dilation[0], before[0])
                    for v in range(kernel_size[1]):
                        column = _pixel(j, v, strides[1], dilation[1], before[1])
                        inside = 0 <= row < height and 0 <= column < width
                        k = (u * kernel_size[1] + v) * channels
                        for c in range(channels):
                            columns[n, i, j, k + c] = x[n, row, column, c] if inside else 0


def im2col(x, columns, kernel_size, strides, padding, dilation):
    """Copy run by run; see the contract."""
    _im2col(x, columns, kernel_size, strides, (padding[0][0], padding[1][0]), dilation)


@njit(cache=True, parallel=True)
def _col2im(columns, x, kernel_size, strides, before, dilation):
    images, height, width, channels = x.shape
    for n in prange(images):
        x[n] = 0
        for i in range(columns.shape[1]):
            for j in range(columns.shape[2]):
                for u in range(kernel_size[0]):
                    row = _pixel(i, u, strides[0], dilation[0], before[0])
                    for v in range(kernel_size[1]):
                        column = _pixel(j, v, strides[1], dilation[1], before[1])
                        if 0 <= row < height and 0 <= column < width:
                            k = (u * kernel_size[1] + v) * channels
                            for c in range(channels):
                                x[n, row, column, c] += columns[n, i, j, k + c]


def col2im(columns, x, kernel_size, strides, padding, dilation):
    """Add run by run; see the contract."""
    _col2im(columns, x, kernel_size, strides, (padding[0][0], padding[1][0]), dilation)


@njit(cache=True, parallel=True)
def _pad(x, y, top, left):
    _, height, width, channels = x.shape
    for n in prange(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                inside = top <= i < top + height and left <= j < left + width
                for c in range(channels):
                    y[n, i, j, c] = x[n, i - top, j - left, c] if inside else 0


def pad2d_forward(x, y, padding):
    """Write every pixel of y once; see the contract."""
    _pad(x, y, padding[0][0], padding[1][0])


def pad2d_backward(dy, dx, padding):
    """Pad by less than nothing; see the contract."""
    _pad(dy, dx, -padding[0][0], -padding[1][0])


@njit(cache=True, parallel=True)
def _gather(x, indices, y):
    for i in prange(len(indices)):
        row = indices[i]
        for k in range(x.shape[1]):
            y[i, k] = x[row, k]


def gather(x, indices, y):
    """Copy row by row; see the contract."""
    size = math.prod(x.shape[1:])
    _gather(x.reshape(len(x), size), indices, y.reshape(len(indices), size))


@njit(cache=True, parallel=True)
def _depthwise_forward(x, w, b, y, strides, before, dilation):
    images, height, width, channels = x.shape
    multiplier = w.shape[3]
    for n in prange(images):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for o in range(channels * multiplier):
                    y[n, i, j, o] = b[o] if len(b) else 0
                for u in range(w.shape[0]):
                    row = _pixel(i, u, strides[0], dilation[0], before[0])
                    for v in range(w.shape[1]):
                        column = _pixel(j, v, strides[1], dilation[1], before[1])
                        if 0 <= row < height and 0 <= column < width:
                            for c in range(channels):
                                for k in range(multiplier):
                                    y[n, i, j, c * multiplier + k] += (
                                        x[n, row, column, c] * w[u, v, c, k]
                                    )


def depthwise_conv2d_forward(x, w, b, y, strides, padding, dilation, scratch):
    """Add one kernel element at a time to all channels of an output pixel; see the contract."""
    bias = w.reshape(-1)[:0] if b is None else b
    _depthwise_forward(x, w, bias, y, strides, (padding[0][0], padding[1][0]), dilation)


@njit(cache=True, parallel=True)
def _depthwise_backward_input(dy, w, dx, strides, before, dilation):
    images, height, width, channels = dx.shape
    multiplier = w.shape[3]
    for n in prange(images):
        dx[n] = 0
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                for u in range(w.shape[0]):
                    row = _pixel(i, u, strides[0], dilation[0], before[0])
                    for v in range(w.shape[1]):
                        column = _pixel(j, v, strides[1], dilation[1], before[1])
                        if 0 <= row < height and 0 <= column < width:
                            for c in range(channels):
                                for k in range(multiplier):
                                    dx[n, row, column, c] += (
                                        dy[n, i, j, c * multiplier + k] * w[u, v, c, k]
                                    )


def depthwise_conv2d_backward_input(dy, w, dx, strides, padding, dilation, scratch):
    """Scatter each output pixel's gradient over its window; see the contract."""
    before = (padding[0][0], padding[1][0])
    _depthwise_backward_input(dy, w, dx, strides, before, dilation)


@njit(cache=True, parallel=True)
def _depthwise_backward_params(x, dy, dw, strides, before, dilation):
    images, height, width, channels = x.shape
    multiplier = dw.shape[3]
    for tap in prange(dw.shape[0] * dw.shape[1]):
        u, v = tap // dw.shape[1], tap % dw.shape[1]
        dw[u, v] = 0
        for n in range(images):
            for i in range(dy.shape[1]):
                row = _pixel(i, u, strides[0], dilation[0], before[0])
                if 0 <= row < height:
                    for j in range(dy.shape[2]):
                        column = _pixel(j, v, strides[1], dilation[1], before[1])
                        if 0 <= column < width:
                            for c in range(channels):
                                for k in range(multiplier):
                                    dw[u, v, c, k] += (
                                        x[n, row, column, c] * dy[n, i, j, c * multiplier + k]
                                    )


def depthwise_conv2d_backward_params(x, dy, dw, db, strides, padding, dilation, scratch):
    """Make one kernel element a task, which sums over all images; see the contract."""
    _depthwise_backward_params(x, dy, dw, strides, (padding[0][0], padding[1][0]), dilation)
    if db is not None:
        sum_rows(dy.reshape(-1, len(db)), db, scratch)
