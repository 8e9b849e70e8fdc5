"""Batch normalisation on the CPU: sums as in `sums`, everything else in one pass.

The innermost loop runs over the channels, which are neighbours in memory.
"""

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.sums import chunk_count, chunk_range, sum_rows


@njit(cache=True, parallel=True)
def _sum_squares(x, mean, partial):
    for chunk in prange(len(partial)):
        first, last = chunk_range(chunk, len(partial), len(x))
        partial[chunk] = 0
        for row in range(first, last):
            for c in range(x.shape[1]):
                partial[chunk, c] += (x[row, c] - mean[c]) ** 2


def batch_norm_statistics(x, mean, variance, scratch):
    """Pass over x twice, as the definition of the variance does; see the contract."""
    sum_rows(x, mean, scratch)
    mean /= len(x)
    (partial,) = scratch.take(((chunk_count(len(x)), x.shape[1]), x.dtype))
    _sum_squares(x, mean, partial)
    np.sum(partial, 0, out=variance)
    variance /= len(x)


@njit(cache=True, parallel=True)
def _forward(x, mean, variance, gamma, beta, y, epsilon):
    for row in prange(len(x)):
        for c in range(x.shape[1]):
            factor = gamma[c] / np.sqrt(variance[c] + epsilon)
            y[row, c] = (x[row, c] - mean[c]) * factor + beta[c]


def batch_norm_forward(x, mean, variance, gamma, beta, y, epsilon):
    """See the contract."""
    _forward(x, mean, variance, gamma, beta, y, x.dtype.type(epsilon))


@njit(cache=True, parallel=True)
def _backward_sums(x, dy, mean, deviation, partial):
    for chunk in prange(len(partial)):
        first, last = chunk_range(chunk, len(partial), len(x))
        partial[chunk] = 0
        for row in range(first, last):
            for c in range(x.shape[1]):
                partial[chunk, 0, c] += dy[row, c]
                partial[chunk, 1, c] += dy[row, c] * (x[row, c] - mean[c]) / deviation[c]


@njit(cache=True, parallel=True)
def _backward(x, dy, mean, deviation, gamma, dx, dgamma, dbeta):
    rows = x.dtype.type(len(x))
    for row in prange(len(x)):
        for c in range(x.shape[1]):
            normalised = (x[row, c] - mean[c]) / deviation[c]
            centred = dy[row, c] - dbeta[c] / rows - normalised * (dgamma[c] / rows)
            dx[row, c] = gamma[c] / deviation[c] * centred


def batch_norm_backward(x, dy, mean, variance, gamma, dx, dgamma, dbeta, epsilon, scratch):
    """Pass over x and dy twice: for the two sums, then for dx; see the contract."""
    partial, deviation = scratch.take(
        ((chunk_count(len(x)), 2, x.shape[1]), x.dtype), (variance.shape, x.dtype)
    )
    np.sqrt(np.add(variance, x.dtype.type(epsilon), out=deviation), out=deviation)
    _backward_sums(x, dy, mean, deviation, partial)
    np.sum(partial[:, 0], 0, out=dbeta)
    np.sum(partial[:, 1], 0, out=dgamma)
    _backward(x, dy, mean, deviation, gamma, dx, dgamma, dbeta)
