"""Operations that move pixels without computing.

Plain loops, innermost over the channels that are neighbours in memory. A task is one image.
Elements outside the image are skipped rather than padded.
"""

import math

from numba import njit, prange


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
