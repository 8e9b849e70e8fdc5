"""Elementwise operations and softmax on the CPU: one pass over memory each.

Arrays are taken as one run, cut evenly among the threads; softmax works row by row.
"""

import math

import numpy as np
from numba import njit, prange


@njit(cache=True, parallel=True)
def _relu_forward(x, y, max_value, negative_slope, threshold):
    for i in prange(len(x)):
        value = x[i]
        if value > threshold:
            y[i] = min(value, max_value)
        elif negative_slope != 0 or value != value:
            y[i] = negative_slope * (value - threshold)
        else:
            y[i] = 0


def relu_forward(x, y, max_value, negative_slope, threshold):
    """See the contract."""
    number = x.dtype.type
    _relu_forward(
        x.reshape(-1), y.reshape(-1), number(max_value), number(negative_slope), number(threshold)
    )


@njit(cache=True, parallel=True)
def _relu_backward(x, dy, dx, max_value, negative_slope, threshold):
    for i in prange(len(x)):
        if x[i] > threshold:
            dx[i] = dy[i] if x[i] < max_value else 0
        else:
            dx[i] = negative_slope * dy[i]


def relu_backward(x, dy, dx, max_value, negative_slope, threshold):
    """See the contract."""
    number = x.dtype.type
    _relu_backward(
        x.reshape(-1),
        dy.reshape(-1),
        dx.reshape(-1),
        number(max_value),
        number(negative_slope),
        number(threshold),
    )


@njit
def _sigmoid(value):
    # The exponential of a negative number cannot overflow.
    e = math.exp(-abs(value))
    return (e if value < 0 else 1) / (1 + e)


@njit(cache=True, parallel=True)
def _sigmoid_forward(x, y):
    for i in prange(len(x)):
        y[i] = _sigmoid(x[i])


def sigmoid_forward(x, y):
    """See the contract."""
    _sigmoid_forward(x.reshape(-1), y.reshape(-1))


@njit(cache=True, parallel=True)
def _sigmoid_backward(y, dy, dx):
    for i in prange(len(y)):
        dx[i] = dy[i] * y[i] * (1 - y[i])


def sigmoid_backward(y, dy, dx):
    """See the contract."""
    _sigmoid_backward(y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


@njit(cache=True, parallel=True)
def _tanh_forward(x, y):
    for i in prange(len(x)):
        y[i] = math.tanh(x[i])


def tanh_forward(x, y):
    """See the contract."""
    _tanh_forward(x.reshape(-1), y.reshape(-1))


@njit(cache=True, parallel=True)
def _tanh_backward(y, dy, dx):
    for i in prange(len(y)):
        dx[i] = dy[i] * (1 - y[i] * y[i])


def tanh_backward(y, dy, dx):
    """See the contract."""
    _tanh_backward(y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


@njit
def _softmax_row(x, y, row):
    """Write one row of softmax."""
    largest = x[row, 0]
    for i in range(1, x.shape[1]):
        if not x[row, i] <= largest:  # true for NaN as well, which then spreads to the sum
            largest = x[row, i]
    total = x.dtype.type(0)
    for i in range(x.shape[1]):
        # y may be x: what is read here is not needed again.
        y[row, i] = math.exp(x[row, i] - largest)
        total += y[row, i]
    for i in range(x.shape[1]):
        y[row, i] /= total


@njit(cache=True, parallel=True)
def softmax_forward(x, y):
    """See the contract."""
    for row in prange(len(x)):
        _softmax_row(x, y, row)


@njit(cache=True, parallel=True)
def softmax_backward(y, dy, dx):
    """See the contract."""
    for row in prange(len(y)):
        mean = y.dtype.type(0)
        for i in range(y.shape[1]):
            mean += dy[row, i] * y[row, i]
        for i in range(y.shape[1]):
            dx[row, i] = y[row, i] * (dy[row, i] - mean)


@njit(cache=True, parallel=True)
def _dropout(x, y, rate, scale, seed):
    for i in prange(len(x)):
        state = seed + np.uint64(0x9E3779B97F4A7C15) * np.uint64(i + 1)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
        keep = np.float64(state >> np.uint64(11)) * 2.0**-53 >= rate
        y[i] = x[i] * scale if keep else 0


def dropout(x, y, rate, seed):
    """See the contract."""
    scale = x.dtype.type(1 / (1 - rate))
    _dropout(x.reshape(-1), y.reshape(-1), float(rate), scale, np.uint64(seed))
