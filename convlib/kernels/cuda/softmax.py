"""Softmax on the GPU, alone and with its loss: ``y_i = e^{x_i − m} / Σ_j e^{x_j − m}``.

A row of few classes belongs to one thread, a longer one to some lanes of a block, each of which
takes every so-many-th class, and which share their maxima and sums (see `_lanes`). A row is read
once for each pass over it: for its maximum m, the sum, and the results. Only the first comes from
memory, for the caches have it then.

A NaN is not taken for the maximum, where it would depend on the order of comparisons. It makes the
sum NaN, and with it the row.

Each thread reads, and then writes, its own elements alone in the last pass, so that an output may
be an input.
"""

import math

from numba import cuda

from convlib.kernels.cuda._device import THREADS
from convlib.kernels.cuda._lanes import (
    largest_of_lanes,
    launch_with_lanes,
    row_lanes,
    row_of,
    sum_of_lanes,
)


@cuda.jit(device=True)
def _maximum_and_total(x, first, end, shared, group):
    """Return m and ``Σ_j e^{x_j − m}`` of a row."""
    largest = x.dtype.type(-math.inf)
    for i in range(first, end, group[3]):
        if x[i] > largest:
            largest = x[i]
    largest = largest_of_lanes(shared, group, largest)
    total = x.dtype.type(0)
    for i in range(first, end, group[3]):
        total += math.exp(x[i] - largest)
    return largest, sum_of_lanes(shared, group, total)


@cuda.jit(cache=True)
def _forward(x, y, rows, classes):
    shared = cuda.shared.array(THREADS, x.dtype)
    group = row_lanes()
    _, first, end = row_of(rows, classes)
    largest, total = _maximum_and_total(x, first, end, shared, group)
    for i in range(first, end, group[3]):
        y[i] = math.exp(x[i] - largest) / total


def softmax_forward(x, y):
    """See the contract."""
    launch_with_lanes(_forward, *x.shape, x.reshape(-1), y.reshape(-1), *x.shape)


@cuda.jit(cache=True)
def _backward(y, dy, dx, rows, classes):
    shared = cuda.shared.array(THREADS, y.dtype)
    group = row_lanes()
    _, first, end = row_of(rows, classes)
    total = y.dtype.type(0)
    for i in range(first, end, group[3]):
        total += dy[i] * y[i]
    total = sum_of_lanes(shared, group, total)
    for i in range(first, end, group[3]):
        dx[i] = y[i] * (dy[i] - total)


def softmax_backward(y, dy, dx):
    """See the contract."""
    arrays = y.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    launch_with_lanes(_backward, *y.shape, *arrays, *y.shape)


@cuda.jit(cache=True)
def _cross_entropy_forward(x, target, losses, probabilities, rows, classes):
    shared = cuda.shared.array(THREADS, x.dtype)
    group = row_lanes()
    row, first, end = row_of(rows, classes)
    largest, total = _maximum_and_total(x, first, end, shared, group)
    # A row too many has no elements, and a logarithm of 0 would be an error in the simulator.
    log_total = math.log(total) if first < end else total
    loss = x.dtype.type(0)
    for i in range(first, end, group[3]):
        shifted = x[i] - largest
        loss += target[i] * (log_total - shifted)
        probabilities[i] = math.exp(shifted) / total
    loss = sum_of_lanes(shared, group, loss)
    if first < end and group[2] == 0:
        losses[row] = loss


def softmax_cross_entropy_forward(x, target, losses, probabilities):
    """Keep ``x − m`` only as long as it takes; see the contract."""
    arrays = x.reshape(-1), target.reshape(-1), losses, probabilities.reshape(-1)
    launch_with_lanes(_cross_entropy_forward, *x.shape, *arrays, *x.shape)


@cuda.jit(cache=True)
def _cross_entropy_backward(probabilities, target, dx, scale, rows, classes):
    shared = cuda.shared.array(THREADS, dx.dtype)
    group = row_lanes()
    _, first, end = row_of(rows, classes)
    weight = dx.dtype.type(0)
    for i in range(first, end, group[3]):
        weight += target[i]
    weight = sum_of_lanes(shared, group, weight)
    for i in range(first, end, group[3]):
        dx[i] = scale * (probabilities[i] * weight - target[i])


def softmax_cross_entropy_backward(probabilities, target, dx, scale):
    """See the contract."""
    arrays = probabilities.reshape(-1), target.reshape(-1), dx.reshape(-1)
    launch_with_lanes(_cross_entropy_backward, *dx.shape, *arrays, dx.dtype.type(scale), *dx.shape)
