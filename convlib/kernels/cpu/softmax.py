"""Softmax on the CPU: ``y_i = e^{x_i − m} / Σ_j e^{x_j − m}``, m the largest of a row.

Lanes are classes. A row of up to four vectors stays in registers from its loads to its stores; the
lanes after its end hold −∞, whose exponential adds nothing. A longer row is taken in blocks of so
many vectors, and three times: for its maximum, for the exponentials and their sum, and to divide by
that. What is read again then comes from the first-level cache.
"""

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.exponential import tile_exponential
from convlib.kernels.cpu.tasks import INNER, PARALLEL, chunk_range, chunk_slice, task_count
from convlib.kernels.cpu.tile import (
    columns_for,
    lanes,
    tile_add,
    tile_fill,
    tile_larger,
    tile_largest,
    tile_load_run,
    tile_multiply,
    tile_prefetch,
    tile_store_run,
    tile_subtract,
    tile_sum,
    tile_width,
    tile_zero,
)

AHEAD = 2048  # elements that are asked for before they are loaded


@njit(error_model="numpy")
def _short_rows(zeros, x, y, first, last):
    """Compute rows that are no longer than a tile."""
    classes, lowest = x.shape[1], tile_fill(zeros, -np.inf)
    for row in range(first, last):
        start = row * classes
        tile_prefetch(zeros, x, start + AHEAD)
        numbers = tile_load_run(lowest, x, start, classes)
        exponentials = tile_exponential(tile_subtract(numbers, tile_largest(numbers)))
        factor = x.dtype.type(1) / tile_sum(exponentials)
        tile_store_run(tile_multiply(exponentials, factor), y, start, classes)


@njit(**INNER)
def _exponentiate(like, maximum, x, y, first, count):
    """Write a block of exponentials and return them, e^−∞ = 0 where it is masked."""
    numbers = tile_load_run(like, x, first, count)
    exponentials = tile_exponential(tile_subtract(numbers, maximum))
    tile_store_run(exponentials, y, first, count)
    return exponentials


@njit(**INNER)
def _scale(like, factor, y, first, count):
    tile_store_run(tile_multiply(tile_load_run(like, y, first, count), factor), y, first, count)


@njit(error_model="numpy")
def _long_rows(zeros, x, y, first, last):
    """Compute rows that are longer than a tile."""
    classes, block = x.shape[1], tile_width(zeros)
    lowest, rest = tile_fill(zeros, -np.inf), classes % block
    for row in range(first, last):
        start, end = row * classes, (row + 1) * classes
        whole = end - rest
        largest = tile_load_run(lowest, x, whole, rest)
        for c in range(start, whole, block):
            tile_prefetch(zeros, x, c + AHEAD)
            largest = tile_larger(largest, tile_load_run(lowest, x, c, block))
        maximum = tile_largest(largest)
        total = _exponentiate(lowest, maximum, x, y, whole, rest)
        for c in range(start, whole, block):
            total = tile_add(total, _exponentiate(lowest, maximum, x, y, c, block))
        factor = x.dtype.type(1) / tile_sum(total)
        _scale(zeros, factor, y, whole, rest)
        for c in range(start, whole, block):
            _scale(zeros, factor, y, c, block)


def _short(columns):
    """Return the kernel for rows of at most so many vectors."""

    @njit(**PARALLEL)
    def short(x, y):
        tasks, zeros = min(task_count(x.size), len(x)), tile_zero(x, 1, columns)
        if tasks <= 1:
            _short_rows(zeros, x, y, np.int64(0), len(x))
        else:
            for index in prange(tasks):
                zeros = tile_zero(x, 1, columns)
                first, last = chunk_range(np.int64(index), tasks, len(x))
                _short_rows(zeros, x, y, first, last)

    return short


_SHORT = {columns: _short(columns) for columns in (1, 2, 4)}


@njit(**PARALLEL)
def _long(x, y):
    tasks, zeros = min(task_count(x.size), len(x)), tile_zero(x, 1, 4)
    if tasks <= 1:
        _long_rows(zeros, x, y, np.int64(0), len(x))
    else:
        for index in prange(tasks):
            zeros = tile_zero(x, 1, 4)
            first, last = chunk_range(np.int64(index), tasks, len(x))
            _long_rows(zeros, x, y, first, last)


def softmax_forward(x, y):
    """Keep short rows in registers; see the contract."""
    columns = columns_for(x.shape[1], x.dtype)
    kernel = _long if x.shape[1] > columns * lanes(x.dtype) else _SHORT[columns]
    kernel(x, y)


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
