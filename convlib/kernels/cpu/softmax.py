"""Softmax on the CPU: ``y_i = e^{x_i − m} / Σ_j e^{x_j − m}``, m the largest of a row.

Rows may be short (ten classes fill no vector) or long. So several rows are taken together, as many
as fill a block that stays in the first-level cache: the maximum is subtracted row by row, the block
is exponentiated as one run, and each row is divided by its sum.
"""

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

from convlib.kernels.cpu.exponential import exponential
from convlib.kernels.cpu.tasks import INNER, PARALLEL, chunk_slice, task_count

BLOCK = 1024  # elements; a longer row is a block of its own


_FORMATS = {  # a type of numbers, and of integers with as many bits, from either of them
    types.float32: (np.float32, np.int32),
    types.int32: (np.float32, np.int32),
    types.float64: (np.float64, np.int64),
    types.int64: (np.float64, np.int64),
}


def in_order(x):
    """Return an integer for a number, larger for larger numbers; a name for compiled code."""


def number_at(place):
    """Return the number for which `in_order` gives this integer; a name for compiled code."""


def _put_in_order(integer):
    """Return a compiled function that is its own inverse.

    Read as integers, positive numbers are in the right order and negative ones in the opposite,
    until all bits but the sign are inverted.
    """
    sign, rest = np.iinfo(integer).bits - 1, np.iinfo(integer).max

    @njit
    def put_in_order(bits):
        return integer(bits ^ ((bits >> sign) & rest))

    return put_in_order


@overload(in_order)
def _in_order(x):
    number, integer = _FORMATS[x]
    put_in_order = _put_in_order(integer)
    return lambda x: put_in_order(number(x).view(integer))


@overload(number_at)
def _number_at(place):
    number, integer = _FORMATS[place]
    put_in_order = _put_in_order(integer)
    return lambda place: integer(put_in_order(place)).view(number)


@njit(**INNER)
def subtract_maximum(x, y, row):
    """Write a row of x, less the largest of it, to y; NaN may or may not count as largest.

    Comparisons of floating-point numbers cannot be put in another order, because of NaN; those of
    integers can, and so become vector instructions.
    """
    largest = in_order(x[row, 0])
    for i in range(1, x.shape[1]):
        largest = max(largest, in_order(x[row, i]))
    maximum = number_at(largest)
    for i in range(x.shape[1]):
        y[row, i] = x[row, i] - maximum


@njit(fastmath={"reassoc"}, **INNER)
def row_sum(x, row):
    """Return the sum of a row, in an order that depends on its length alone."""
    total = x.dtype.type(0)
    for i in range(x.shape[1]):
        total += x[row, i]
    return total


@njit(**INNER)
def _exponentiate(x):
    for i in range(len(x)):
        x[i] = exponential(x[i])


@njit(**INNER)
def _forward_rows(x, y):
    classes, run = x.shape[1], y.reshape(-1)
    rows = max(1, BLOCK // max(classes, 1))
    for start in range(0, len(x), rows):
        stop = min(start + rows, len(x))
        for row in range(start, stop):
            # y may be x: what is overwritten here is not needed again.
            subtract_maximum(x, y, row)
        _exponentiate(run[start * classes : stop * classes])
        for row in range(start, stop):
            factor = x.dtype.type(1) / row_sum(y, row)
            for i in range(classes):
                y[row, i] *= factor


@njit(**PARALLEL)
def _forward(x, y):
    tasks = min(task_count(x.size), len(x))
    if tasks <= 1:
        _forward_rows(x, y)
    else:
        for task in prange(tasks):
            part = chunk_slice(task, tasks, len(x))
            _forward_rows(x[part], y[part])


def softmax_forward(x, y):
    """See the contract."""
    _forward(x, y)


@njit(fastmath={"reassoc"}, **INNER)
def _row_product(x, y, row):
    total = x.dtype.type(0)
    for i in range(x.shape[1]):
        total += x[row, i] * y[row, i]
    return total


@njit(**INNER)
def _backward_rows(y, dy, dx):
    for row in range(len(y)):
        mean = _row_product(y, dy, row)
        for i in range(y.shape[1]):
            dx[row, i] = y[row, i] * (dy[row, i] - mean)


@njit(**PARALLEL)
def _backward(y, dy, dx):
    tasks = min(task_count(y.size), len(y))
    if tasks <= 1:
        _backward_rows(y, dy, dx)
    else:
        for task in prange(tasks):
            part = chunk_slice(task, tasks, len(y))
            _backward_rows(y[part], dy[part], dx[part])


def softmax_backward(y, dy, dx):
    """See the contract."""
    _backward(y, dy, dx)
