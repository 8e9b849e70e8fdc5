"""Losses on the GPU: a number per row of predictions, and its gradient.

As in `softmax`, a row of few outputs belongs to one thread and a longer one to some lanes of a
block, which add up their shares in an order that the shapes decide. Where the gradient of an
element needs no sum over its row, it is an elementwise operation.
"""

import math

from numba import cuda

from convlib.kernels import PROBABILITY_FLOOR
from convlib.kernels.cuda._device import THREADS, launch_over
from convlib.kernels.cuda._lanes import launch_with_lanes, row_lanes, row_of, sum_of_lanes
from convlib.kernels.cuda.elementwise import sigmoid


@cuda.jit(device=True)
def _store_mean(losses, row, shared, group, value, count):
    """Write the lanes' sum, divided by the number of its terms."""
    total = sum_of_lanes(shared, group, value)
    if row < losses.size and group[2] == 0:
        losses[row] = total / losses.dtype.type(count)


@cuda.jit(device=True)
def _clip(p, floor, one):
    """Return p within the bounds; NaN stays NaN."""
    if p < floor:
        return floor
    return one - floor if p > one - floor else p


@cuda.jit(device=True)
def _is_clipped(p, floor, one):
    return p < floor or p > one - floor


@cuda.jit(device=True)
def _row_sum(x, first, end, shared, group):
    total = x.dtype.type(0)
    for i in range(first, end, group[3]):
        total += x[i]
    return sum_of_lanes(shared, group, total)


@cuda.jit(cache=True)
def _categorical_forward(p, target, losses, floor, rows, classes):
    shared = cuda.shared.array(THREADS, p.dtype)
    group, one = row_lanes(), p.dtype.type(1)
    row, first, end = row_of(rows, classes)
    total = _row_sum(p, first, end, shared, group)
    loss = p.dtype.type(0)
    for i in range(first, end, group[3]):
        loss -= target[i] * math.log(_clip(p[i] / total, floor, one))
    _store_mean(losses, row, shared, group, loss, 1)


def categorical_cross_entropy_forward(p, target, losses):
    """See the contract."""
    arrays = p.reshape(-1), target.reshape(-1), losses
    floor = p.dtype.type(PROBABILITY_FLOOR)
    launch_with_lanes(_categorical_forward, *p.shape, *arrays, floor, *p.shape)


@cuda.jit(device=True)
def _categorical_slope(q, target, floor, one):
    return one - one if _is_clipped(q, floor, one) else -target / q


@cuda.jit(cache=True)
def _categorical_backward(p, target, dp, scale, floor, rows, classes):
    shared = cuda.shared.array(THREADS, p.dtype)
    group, one = row_lanes(), p.dtype.type(1)
    _, first, end = row_of(rows, classes)
    total = _row_sum(p, first, end, shared, group)
    mean = p.dtype.type(0)
    for i in range(first, end, group[3]):
        q = p[i] / total
        mean += _categorical_slope(q, target[i], floor, one) * q
    mean = sum_of_lanes(shared, group, mean)
    for i in range(first, end, group[3]):
        slope = _categorical_slope(p[i] / total, target[i], floor, one)
        dp[i] = scale * (slope - mean) / total


def categorical_cross_entropy_backward(p, target, dp, scale):
    """See the contract."""
    arrays = p.reshape(-1), target.reshape(-1), dp.reshape(-1)
    numbers = map(p.dtype.type, (scale, PROBABILITY_FLOOR))
    launch_with_lanes(_categorical_backward, *p.shape, *arrays, *numbers, *p.shape)


@cuda.jit(cache=True)
def _sigmoid_cross_entropy_forward(x, target, losses, rows, outputs):
    shared = cuda.shared.array(THREADS, x.dtype)
    group, zero = row_lanes(), x.dtype.type(0)
    row, first, end = row_of(rows, outputs)
    loss = zero
    for i in range(first, end, group[3]):
        value = x[i]
        # Not max(): a NaN is to stay.
        positive = zero if value < zero else value
        loss += positive - value * target[i] + math.log1p(math.exp(-abs(value)))
    _store_mean(losses, row, shared, group, loss, outputs)


def sigmoid_cross_entropy_forward(x, target, losses):
    """See the contract."""
    arrays = x.reshape(-1), target.reshape(-1), losses
    launch_with_lanes(_sigmoid_cross_entropy_forward, *x.shape, *arrays, *x.shape)


@cuda.jit(cache=True)
def _sigmoid_cross_entropy_backward(x, target, dx, scale):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        dx[i] = scale * (sigmoid(x[i], x.dtype.type(1)) - target[i])


def sigmoid_cross_entropy_backward(x, target, dx, scale):
    """See the contract."""
    arrays = x.reshape(-1), target.reshape(-1), dx.reshape(-1)
    launch_over(_sigmoid_cross_entropy_backward, x.size, *arrays, x.dtype.type(scale / x.shape[1]))


@cuda.jit(cache=True)
def _binary_forward(p, target, losses, floor, rows, outputs):
    shared = cuda.shared.array(THREADS, p.dtype)
    group, one = row_lanes(), p.dtype.type(1)
    row, first, end = row_of(rows, outputs)
    loss = p.dtype.type(0)
    for i in range(first, end, group[3]):
        q, wanted = _clip(p[i], floor, one), target[i]
        loss -= wanted * math.log(q) + (one - wanted) * math.log(one - q)
    _store_mean(losses, row, shared, group, loss, outputs)


def binary_cross_entropy_forward(p, target, losses):
    """See the contract."""
    arrays = p.reshape(-1), target.reshape(-1), losses
    floor = p.dtype.type(PROBABILITY_FLOOR)
    launch_with_lanes(_binary_forward, *p.shape, *arrays, floor, *p.shape)


@cuda.jit(cache=True)
def _binary_backward(p, target, dp, scale, floor):
    one = p.dtype.type(1)
    for i in range(cuda.grid(1), p.size, cuda.gridsize(1)):
        q = p[i]
        if _is_clipped(q, floor, one):
            dp[i] = p.dtype.type(0)
        else:
            dp[i] = scale * (q - target[i]) / (q * (one - q))


def binary_cross_entropy_backward(p, target, dp, scale):
    """See the contract."""
    arrays = p.reshape(-1), target.reshape(-1), dp.reshape(-1)
    numbers = map(p.dtype.type, (scale / p.shape[1], PROBABILITY_FLOOR))
    launch_over(_binary_backward, p.size, *arrays, *numbers)


@cuda.jit(cache=True)
def _mean_squared_error_forward(x, target, losses, rows, outputs):
    shared = cuda.shared.array(THREADS, x.dtype)
    group = row_lanes()
    row, first, end = row_of(rows, outputs)
    loss = x.dtype.type(0)
    for i in range(first, end, group[3]):
        error = x[i] - target[i]
        loss += error * error
    _store_mean(losses, row, shared, group, loss, outputs)


def mean_squared_error_forward(x, target, losses):
    """See the contract."""
    arrays = x.reshape(-1), target.reshape(-1), losses
    launch_with_lanes(_mean_squared_error_forward, *x.shape, *arrays, *x.shape)


@cuda.jit(cache=True)
def _mean_squared_error_backward(x, target, dx, scale):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        dx[i] = scale * (x[i] - target[i])


def mean_squared_error_backward(x, target, dx, scale):
    """See the contract."""
    arrays = x.reshape(-1), target.reshape(-1), dx.reshape(-1)
    scale = x.dtype.type(2 * scale / x.shape[1])
    launch_over(_mean_squared_error_backward, x.size, *arrays, scale)
