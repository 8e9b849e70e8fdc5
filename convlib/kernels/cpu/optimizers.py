"""Optimizers on the CPU: one pass over parameters, gradient and state; see the contract."""

import math

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.tasks import INNER, PARALLEL


@njit(**INNER)
def _sgd_at(i, w, dw, velocity, learning_rate, momentum, nesterov):
    velocity[i] = momentum * velocity[i] - learning_rate * dw[i]
    w[i] += momentum * velocity[i] - learning_rate * dw[i] if nesterov else velocity[i]


@njit(**PARALLEL)
def _sgd(w, dw, velocity, learning_rate, momentum, nesterov):
    for i in prange(len(w)):
        _sgd_at(i, w, dw, velocity, learning_rate, momentum, nesterov)


def sgd_update(w, dw, velocity, learning_rate, momentum, nesterov):
    """See the contract."""
    number = w.dtype.type
    _sgd(w, dw, velocity, number(learning_rate), number(momentum), bool(nesterov))


@njit(**INNER)
def _rmsprop_at(i, w, dw, mean_square, learning_rate, rho, rest, epsilon):
    mean_square[i] = rho * mean_square[i] + rest * dw[i] * dw[i]
    w[i] -= learning_rate * dw[i] / np.sqrt(mean_square[i] + epsilon)


@njit(**PARALLEL)
def _rmsprop(w, dw, mean_square, learning_rate, rho, rest, epsilon):
    for i in prange(len(w)):
        _rmsprop_at(i, w, dw, mean_square, learning_rate, rho, rest, epsilon)


def rmsprop_update(w, dw, mean_square, learning_rate, rho, epsilon):
    """See the contract."""
    number = w.dtype.type
    _rmsprop(
        w, dw, mean_square, number(learning_rate), number(rho), 1 - number(rho), number(epsilon)
    )


@njit(**INNER)
def _adam_at(i, w, dw, mean, mean_square, rate, rest_1, rest_2, epsilon):
    mean[i] += (dw[i] - mean[i]) * rest_1
    mean_square[i] += (dw[i] * dw[i] - mean_square[i]) * rest_2
    w[i] -= rate * mean[i] / (np.sqrt(mean_square[i]) + epsilon)


@njit(**PARALLEL)
def _adam(w, dw, mean, mean_square, rate, rest_1, rest_2, epsilon):
    for i in prange(len(w)):
        _adam_at(i, w, dw, mean, mean_square, rate, rest_1, rest_2, epsilon)


def adam_update(w, dw, mean, mean_square, learning_rate, beta_1, beta_2, epsilon, step):
    """See the contract."""
    number = w.dtype.type
    rate = learning_rate * math.sqrt(1 - beta_2**step) / (1 - beta_1**step)
    rest_1, rest_2 = 1 - number(beta_1), 1 - number(beta_2)
    _adam(w, dw, mean, mean_square, number(rate), rest_1, rest_2, number(epsilon))
