"""Elementwise operations on the CPU: one pass over memory each.

Arrays are taken as one run, cut evenly among the threads. Each operation is a formula for element
i, without branches, so that the loops over it become vector instructions; `exponential` is there
for that. Numba promises the compiler that the arrays of a parallel loop do not overlap. Where y is
x they do, which is harmless because element i of one depends on element i of the other alone.
"""

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.exponential import exponential, exponential_minus_one
from convlib.kernels.cpu.tasks import INNER, PARALLEL


@njit(**INNER)
def _relu_forward_at(i, x, y, max_value, negative_slope, threshold):
    value = x[i]
    # Without a slope nothing is multiplied: 0 · (−∞) would be NaN. NaN itself must stay.
    is_sloped = (negative_slope != 0) | (value != value)
    below = negative_slope * (value - threshold) if is_sloped else x.dtype.type(0)
    above = value if value < max_value else max_value
    y[i] = above if value > threshold else below


@njit(**PARALLEL)
def _relu_forward(x, y, max_value, negative_slope, threshold):
    for i in prange(len(x)):
        _relu_forward_at(i, x, y, max_value, negative_slope, threshold)


def relu_forward(x, y, max_value, negative_slope, threshold):
    """See the contract."""
    number = x.dtype.type
    _relu_forward(
        x.reshape(-1), y.reshape(-1), number(max_value), number(negative_slope), number(threshold)
    )


@njit(**INNER)
def _relu_backward_at(i, x, dy, dx, max_value, negative_slope, threshold):
    # Loaded in any case: a load that waits for a comparison with x begins when x has arrived.
    value, gradient = x[i], dy[i]
    inside = gradient if value < max_value else dy.dtype.type(0)
    dx[i] = inside if value > threshold else negative_slope * gradient


@njit(**PARALLEL)
def _relu_backward(x, dy, dx, max_value, negative_slope, threshold):
    for i in prange(len(x)):
        _relu_backward_at(i, x, dy, dx, max_value, negative_slope, threshold)


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


@njit(**INNER)
def _sigmoid_forward_at(i, x, y):
    one = x.dtype.type(1)
    e = exponential(-abs(x[i]))
    y[i] = (e if x[i] < 0 else one) / (one + e)


@njit(**PARALLEL)
def _sigmoid_forward(x, y):
    for i in prange(len(x)):
        _sigmoid_forward_at(i, x, y)


def sigmoid_forward(x, y):
    """See the contract."""
    _sigmoid_forward(x.reshape(-1), y.reshape(-1))


@njit(**INNER)
def _sigmoid_backward_at(i, y, dy, dx):
    dx[i] = dy[i] * y[i] * (y.dtype.type(1) - y[i])


@njit(**PARALLEL)
def _sigmoid_backward(y, dy, dx):
    for i in prange(len(y)):
        _sigmoid_backward_at(i, y, dy, dx)


def sigmoid_backward(y, dy, dx):
    """See the contract."""
    _sigmoid_backward(y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


@njit(**INNER)
def _tanh_forward_at(i, x, y):
    # tanh |x| = (1 − e) / (1 + e) with e = e^{−2|x|}, from e − 1, which is exact near zero.
    two = x.dtype.type(2)
    e = exponential_minus_one(-two * abs(x[i]))
    size = -e / (two + e)
    y[i] = -size if x[i] < 0 else size


@njit(**PARALLEL)
def _tanh_forward(x, y):
    for i in prange(len(x)):
        _tanh_forward_at(i, x, y)


def tanh_forward(x, y):
    """See the contract."""
    _tanh_forward(x.reshape(-1), y.reshape(-1))


@njit(**INNER)
def _tanh_backward_at(i, y, dy, dx):
    dx[i] = dy[i] * (y.dtype.type(1) - y[i] * y[i])


@njit(**PARALLEL)
def _tanh_backward(y, dy, dx):
    for i in prange(len(y)):
        _tanh_backward_at(i, y, dy, dx)


def tanh_backward(y, dy, dx):
    """See the contract."""
    _tanh_backward(y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


@njit(**INNER)
def _dropout_at(i, x, y, rate, scale, seed):
    state = seed + np.uint64(0x9E3779B97F4A7C15) * np.uint64(i + 1)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    keep = np.float64(state >> np.uint64(11)) * 2.0**-53 >= rate
    y[i] = x[i] * scale if keep else x.dtype.type(0)


@njit(**PARALLEL)
def _dropout(x, y, rate, scale, seed):
    for i in prange(len(x)):
        _dropout_at(i, x, y, rate, scale, seed)


def dropout(x, y, rate, seed):
    """See the contract."""
    scale = x.dtype.type(1 / (1 - rate))
    _dropout(x.reshape(-1), y.reshape(-1), float(rate), scale, np.uint64(seed))
