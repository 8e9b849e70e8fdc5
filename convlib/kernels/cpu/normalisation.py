"""Batch normalisation on the CPU: the innermost loop runs over the channels, which are neighbours.

Statistics are taken in one pass over memory, without the loss of digits that the difference of two
large sums would bring: rows are cut into chunks that fit into the second-level cache, each is read
twice, for its mean and for the squares of the deviations from it, and the chunks' results are put
together (Chan, Golub & LeVeque, "Algorithms for computing the sample variance", 1983):

    mean = Σ_k n_k mean_k / n        variance = Σ_k (squares_k + n_k (mean_k − mean)²) / n

Backward passes over x and dy twice, for the two sums and then for dx. What depends on the channel
alone is computed once, which leaves one multiplication and one addition for each number.
"""

import numpy as np
from numba import njit, prange
from numba.extending import register_jitable

from convlib.kernels.cpu.tasks import INNER, PARALLEL, chunk_range, chunk_slice

CHUNK = 1 << 15  # elements: 128 kB in float32


@register_jitable
def _chunk_count(rows, channels):
    return max(1, min(rows, rows * channels // CHUNK))


@njit(**INNER)
def _chunk_statistics(x, mean, squares):
    """Write mean and squares of the deviations from it, of some rows."""
    mean[:] = 0
    squares[:] = 0
    for row in range(len(x)):
        for c in range(len(mean)):
            mean[c] += x[row, c]
    rows = x.dtype.type(len(x))
    for c in range(len(mean)):
        mean[c] /= rows
    for row in range(len(x)):
        for c in range(len(mean)):
            squares[c] += (x[row, c] - mean[c]) ** 2


@njit(**INNER)
def _combine(rows, means, squares, mean, variance):
    """Put the chunks' statistics together, in order."""
    chunks = len(means)
    mean[:] = 0
    variance[:] = 0
    for chunk in range(chunks):
        first, last = chunk_range(chunk, chunks, rows)
        share = mean.dtype.type((last - first) / rows)
        for c in range(len(mean)):
            mean[c] += share * means[chunk, c]
    for chunk in range(chunks):
        first, last = chunk_range(chunk, chunks, rows)
        count = mean.dtype.type(last - first)
        for c in range(len(mean)):
            variance[c] += squares[chunk, c] + count * (means[chunk, c] - mean[c]) ** 2
    for c in range(len(mean)):
        variance[c] /= mean.dtype.type(rows)


@njit(**PARALLEL)
def _statistics(x, means, squares, mean, variance):
    chunks = len(means)
    if chunks == 1:
        _chunk_statistics(x, means[0], squares[0])
    else:
        for chunk in prange(chunks):
            rows = chunk_slice(chunk, chunks, len(x))
            _chunk_statistics(x[rows], means[chunk], squares[chunk])
    _combine(len(x), means, squares, mean, variance)


def batch_norm_statistics(x, mean, variance, scratch):
    """Read x from memory once; see the module's text and the contract."""
    shape = _chunk_count(*x.shape), x.shape[1]
    means, squares = scratch.take((shape, x.dtype), (shape, x.dtype))
    _statistics(x, means, squares, mean, variance)


@njit(**INNER)
def _forward_rows(x, mean, factor, beta, y):
    for row in range(len(x)):
        for c in range(len(mean)):
            y[row, c] = (x[row, c] - mean[c]) * factor[c] + beta[c]


@njit(**PARALLEL)
def _forward(x, mean, factor, beta, y):
    chunks = _chunk_count(*x.shape)
    if chunks == 1:
        _forward_rows(x, mean, factor, beta, y)
    else:
        for chunk in prange(chunks):
            rows = chunk_slice(chunk, chunks, len(x))
            _forward_rows(x[rows], mean, factor, beta, y[rows])


def batch_norm_forward(x, mean, variance, gamma, beta, y, epsilon):
    """See the contract."""
    factor = gamma / np.sqrt(variance + x.dtype.type(epsilon))
    _forward(x, mean, factor, beta, y)


@njit(**INNER)
def _sum_gradients(x, dy, mean, total, product):
    """Write ``Σ dy`` and ``Σ dy·(x − mean)`` of some rows."""
    total[:] = 0
    product[:] = 0
    for row in range(len(x)):
        for c in range(len(mean)):
            total[c] += dy[row, c]
            product[c] += dy[row, c] * (x[row, c] - mean[c])


@njit(**INNER)
def _add_chunks(partial, total):
    total[:] = 0
    for chunk in range(len(partial)):
        for c in range(len(total)):
            total[c] += partial[chunk, c]


@njit(**INNER)
def _input_gradient(x, dy, dx, mean, of_dy, of_x, constant):
    for row in range(len(x)):
        for c in range(len(mean)):
            dx[row, c] = of_dy[c] * dy[row, c] + (of_x[c] * (x[row, c] - mean[c]) + constant[c])


@njit(**PARALLEL)
def _backward(x, dy, dx, mean, deviation, gamma, dgamma, dbeta, totals, products, factors):
    chunks = len(totals)
    if chunks == 1:
        _sum_gradients(x, dy, mean, totals[0], products[0])
    else:
        for chunk in prange(chunks):
            rows = chunk_slice(chunk, chunks, len(x))
            _sum_gradients(x[rows], dy[rows], mean, totals[chunk], products[chunk])
    _add_chunks(totals, dbeta)
    _add_chunks(products, dgamma)
    of_dy, of_x, constant = factors
    for c in range(len(mean)):
        dgamma[c] /= deviation[c]
        of_dy[c] = gamma[c] / deviation[c]
        of_x[c] = -of_dy[c] * (dgamma[c] / x.dtype.type(len(x))) / deviation[c]
        constant[c] = -of_dy[c] * (dbeta[c] / x.dtype.type(len(x)))
    if chunks == 1:
        _input_gradient(x, dy, dx, mean, of_dy, of_x, constant)
    else:
        for chunk in prange(chunks):
            rows = chunk_slice(chunk, chunks, len(x))
            _input_gradient(x[rows], dy[rows], dx[rows], mean, of_dy, of_x, constant)


def batch_norm_backward(x, dy, mean, variance, gamma, dx, dgamma, dbeta, epsilon, scratch):
    """Pass over x and dy twice: for the two sums, then for dx; see the contract."""
    shape = _chunk_count(*x.shape), x.shape[1]
    totals, products, deviation, *factors = scratch.take(
        (shape, x.dtype), (shape, x.dtype), *[(shape[1:], x.dtype)] * 4
    )
    np.sqrt(np.add(variance, x.dtype.type(epsilon), out=deviation), out=deviation)
    _backward(x, dy, dx, mean, deviation, gamma, dgamma, dbeta, totals, products, tuple(factors))


def moving_average_update(average, x, share, scratch):
    """See the contract; a number for each channel needs no kernel."""
    average += (x - average) * x.dtype.type(share)
