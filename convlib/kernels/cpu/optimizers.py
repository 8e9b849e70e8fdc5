"""Optimizers on the CPU: one call completes the gradients and takes the step.

A first loop adds up the partial sums that were postponed and looks for gradients that are not
finite (see `sums`). A second one passes over parameters, gradient and state; see the contract.
"""

import math

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.sums import add_pieces, take_postponed
from convlib.kernels.cpu.tasks import INNER, PARALLEL


@njit(**INNER)
def _sgd_at(i, w, dw, velocity, learning_rate, momentum, nesterov):
    velocity[i] = momentum * velocity[i] - learning_rate * dw[i]
    w[i] += momentum * velocity[i] - learning_rate * dw[i] if nesterov else velocity[i]


@njit(**PARALLEL)
def _sgd(w, dw, sums, pieces, velocity, learning_rate, momentum, nesterov):
    if not add_pieces(dw, sums, pieces):
        return False
    for i in prange(len(w)):
        _sgd_at(i, w, dw, velocity, learning_rate, momentum, nesterov)
    return True


def sgd_update(w, dw, velocity, learning_rate, momentum, nesterov, scratch):
    """See the contract."""
    number = w.dtype.type
    return _sgd(
        *(w, dw, *take_postponed(dw, scratch), velocity),
        *(number(learning_rate), number(momentum), bool(nesterov)),
    )


@njit(**INNER)
def _rmsprop_at(i, w, dw, mean_square, learning_rate, rho, rest, epsilon):
    mean_square[i] = rho * mean_square[i] + rest * dw[i] * dw[i]
    w[i] -= learning_rate * dw[i] / np.sqrt(mean_square[i] + epsilon)


@njit(**PARALLEL)
def _rmsprop(w, dw, sums, pieces, mean_square, learning_rate, rho, rest, epsilon):
    if not add_pieces(dw, sums, pieces):
        return False
    for i in prange(len(w)):
        _rmsprop_at(i, w, dw, mean_square, learning_rate, rho, rest, epsilon)
    return True


def rmsprop_update(w, dw, mean_square, learning_rate, rho, epsilon, scratch):
    """See the contract."""
    number = w.dtype.type
    return _rmsprop(
        *(w, dw, *take_postponed(dw, scratch), mean_square),
        *(number(learning_rate), number(rho), 1 - number(rho), number(epsilon)),
    )


@njit(**INNER)
def _adam_at(i, w, dw, mean, mean_square, rate, rest_1, rest_2, epsilon):
    mean[i] += (dw[i] - mean[i]) * rest_1
    mean_square[i] += (dw[i] * dw[i] - mean_square[i]) * rest_2
    w[i] -= rate * mean[i] / (np.sqrt(mean_square[i]) + epsilon)


@njit(**PARALLEL)
def _adam(w, dw, sums, pieces, mean, mean_square, rate, rest_1, rest_2, epsilon):
    if not add_pieces(dw, sums, pieces):
        return False
    for i in prange(len(w)):
        _adam_at(i, w, dw, mean, mean_square, rate, rest_1, rest_2, epsilon)
    return True


def adam_update(w, dw, mean, mean_square, learning_rate, beta_1, beta_2, epsilon, step, scratch):
    """See the contract."""
    number = w.dtype.type
    rate = learning_rate * math.sqrt(1 - beta_2**step) / (1 - beta_1**step)
    return _adam(
        *(w, dw, *take_postponed(dw, scratch), mean, mean_square),
        *(number(rate), 1 - number(beta_1), 1 - number(beta_2), number(epsilon)),
    )
