"""Elementwise operations on the GPU: neighbouring threads take neighbouring elements.

So the 32 threads of a warp read and write whole lines of memory. A grid has at most so many blocks
as keep the GPU busy, and each thread goes on with the element one grid further, in a loop with the
stride of the grid.
Every element is read before it is written, by one thread, so that an output may be an input.
"""

import math

import numpy as np
from numba import cuda

from convlib.kernels.cuda._device import launch_over, one_number
from convlib.kernels.cuda._vec import number


@cuda.jit(cache=True)
def _relu_forward(x, y, max_value, negative_slope, threshold):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        value = x[i]
        if value > threshold:
            # Not min(): a NaN is neither above the threshold nor cut off.
            y[i] = value if value < max_value else max_value
        elif negative_slope != 0 or math.isnan(value):
            # Without a slope nothing is multiplied: 0 · (−∞) would be NaN.
            y[i] = negative_slope * (value - threshold)
        else:
            y[i] = x.dtype.type(0)


def relu_forward(x, y, max_value, negative_slope, threshold):
    """See the contract."""
    numbers = map(x.dtype.type, (max_value, negative_slope, threshold))
    launch_over(_relu_forward, x.size, x.reshape(-1), y.reshape(-1), *numbers)


@cuda.jit(cache=True)
def _relu_backward(x, dy, dx, max_value, negative_slope, threshold):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        value, gradient = x[i], dy[i]
        if value > threshold:
            dx[i] = gradient if value < max_value else x.dtype.type(0)
        else:
            dx[i] = negative_slope * gradient


def relu_backward(x, dy, dx, max_value, negative_slope, threshold):
    """See the contract."""
    arrays = x.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    numbers = map(x.dtype.type, (max_value, negative_slope, threshold))
    launch_over(_relu_backward, x.size, *arrays, *numbers)


@cuda.jit(device=True)
def sigmoid(value, one):
    """Return ``1 / (1 + e^−value)``; only numbers below zero are exponentiated, so none is large.

    ``one`` has the type of the value: a literal would make float64 of it.
    """
    e = math.exp(-abs(value))
    return (e if value < 0 else one) / (one + e)


@cuda.jit(cache=True)
def _sigmoid_forward(x, y):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        y[i] = sigmoid(x[i], x.dtype.type(1))


def sigmoid_forward(x, y):
    """See the contract."""
    launch_over(_sigmoid_forward, x.size, x.reshape(-1), y.reshape(-1))


@cuda.jit(cache=True)
def _sigmoid_backward(y, dy, dx):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        dx[i] = dy[i] * y[i] * (y.dtype.type(1) - y[i])


def sigmoid_backward(y, dy, dx):
    """See the contract."""
    launch_over(_sigmoid_backward, y.size, y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


@cuda.jit(cache=True)
def _tanh_forward(x, y):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        y[i] = math.tanh(x[i])


def tanh_forward(x, y):
    """See the contract."""
    launch_over(_tanh_forward, x.size, x.reshape(-1), y.reshape(-1))


@cuda.jit(cache=True)
def _tanh_backward(y, dy, dx):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        dx[i] = dy[i] * (y.dtype.type(1) - y[i] * y[i])


def tanh_backward(y, dy, dx):
    """See the contract."""
    launch_over(_tanh_backward, y.size, y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


# SplitMix64, in unsigned numbers of 64 bits throughout: with a signed one Numba makes float64.
GOLDEN, FIRST, SECOND = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
SHIFTS = tuple(map(np.uint64, (30, 27, 31)))
FRACTION = 53
"""Bits of a random number that count, its upper ones."""
DROPPED_BITS = np.uint64(64 - FRACTION)


@cuda.jit(cache=True)
def _dropout(x, y, least, scale, seed):
    start = np.uint64(number(seed))
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        state = start + GOLDEN * np.uint64(i + 1)
        state = (state ^ (state >> SHIFTS[0])) * FIRST
        state = (state ^ (state >> SHIFTS[1])) * SECOND
        state ^= state >> SHIFTS[2]
        y[i] = x[i] * scale if state >> DROPPED_BITS >= least else x.dtype.type(0)


def dropout(x, y, rate, seed):
    """Compare integers; see the contract.

    The fraction ``k·2⁻⁵³`` of an integer k is at least ``rate`` where k is at least ``rate·2⁵³``,
    which is computed without rounding. ``seed`` may be an array of one uint64 or int64.
    """
    least = np.uint64(math.ceil(rate * 2**FRACTION))
    scale = x.dtype.type(1 / (1 - rate))
    seed = one_number(seed, np.uint64)
    launch_over(_dropout, x.size, x.reshape(-1), y.reshape(-1), least, scale, seed)
