"""Losses on the CPU: a few numbers per sample, so one thread and plain loops; see the contract."""

import math

from numba import njit

from convlib.kernels import PROBABILITY_FLOOR


@njit(cache=True)
def softmax_cross_entropy_forward(x, target, losses, probabilities):
    """Keep ``x − m`` only as long as it takes; see the contract."""
    for row in range(len(x)):
        largest = x[row, 0]
        for i in range(1, x.shape[1]):
            if not x[row, i] <= largest:  # true for NaN as well, which then spreads
                largest = x[row, i]
        total = x.dtype.type(0)
        for i in range(x.shape[1]):
            total += math.exp(x[row, i] - largest)
        log_total = math.log(total)
        loss = x.dtype.type(0)
        for i in range(x.shape[1]):
            shifted = x[row, i] - largest
            loss += target[row, i] * (log_total - shifted)
            probabilities[row, i] = math.exp(shifted) / total
        losses[row] = loss


@njit
def _row_sum(x, row):
    total = x.dtype.type(0)
    for i in range(x.shape[1]):
        total += x[row, i]
    return total


@njit(cache=True)
def _softmax_cross_entropy_backward(probabilities, target, dx, scale):
    for row in range(len(target)):
        weight = _row_sum(target, row)
        for i in range(target.shape[1]):
            dx[row, i] = scale * (probabilities[row, i] * weight - target[row, i])


def softmax_cross_entropy_backward(probabilities, target, dx, scale):
    """See the contract."""
    _softmax_cross_entropy_backward(probabilities, target, dx, dx.dtype.type(scale))


@njit
def _clip(p, floor):
    if p < floor:
        return floor
    return min(p, 1 - floor) if p == p else p


@njit(cache=True)
def _categorical_forward(p, target, losses, floor):
    for row in range(len(p)):
        total = _row_sum(p, row)
        loss = p.dtype.type(0)
        for i in range(p.shape[1]):
            loss -= target[row, i] * math.log(_clip(p[row, i] / total, floor))
        losses[row] = loss


def categorical_cross_entropy_forward(p, target, losses):
    """See the contract."""
    _categorical_forward(p, target, losses, p.dtype.type(PROBABILITY_FLOOR))


@njit
def _categorical_slope(q, target, floor):
    return q * 0 if (q < floor) | (q > 1 - floor) else -target / q


@njit(cache=True)
def _categorical_backward(p, target, dp, scale, floor):
    for row in range(len(p)):
        total = _row_sum(p, row)
        mean = p.dtype.type(0)
        for i in range(p.shape[1]):
            q = p[row, i] / total
            mean += _categorical_slope(q, target[row, i], floor) * q
        for i in range(p.shape[1]):
            q = p[row, i] / total
            slope = _categorical_slope(q, target[row, i], floor)
            dp[row, i] = scale * (slope - mean) / total


def categorical_cross_entropy_backward(p, target, dp, scale):
    """See the contract."""
    number = p.dtype.type
    _categorical_backward(p, target, dp, number(scale), number(PROBABILITY_FLOOR))


@njit(cache=True)
def sigmoid_cross_entropy_forward(x, target, losses):
    """See the contract."""
    for row in range(len(x)):
        loss = x.dtype.type(0)
        for i in range(x.shape[1]):
            value = x[row, i]
            positive = max(value, x.dtype.type(0))
            loss += positive - value * target[row, i] + math.log1p(math.exp(-abs(value)))
        losses[row] = loss / x.dtype.type(x.shape[1])


@njit(cache=True)
def _sigmoid_cross_entropy_backward(x, target, dx, scale):
    for row in range(len(x)):
        for i in range(x.shape[1]):
            e = math.exp(-abs(x[row, i]))
            probability = (e if x[row, i] < 0 else 1) / (1 + e)
            dx[row, i] = scale * (probability - target[row, i])


def sigmoid_cross_entropy_backward(x, target, dx, scale):
    """See the contract."""
    _sigmoid_cross_entropy_backward(x, target, dx, x.dtype.type(scale / x.shape[1]))


@njit(cache=True)
def _binary_forward(p, target, losses, floor):
    for row in range(len(p)):
        loss = p.dtype.type(0)
        for i in range(p.shape[1]):
            q, wanted = _clip(p[row, i], floor), target[row, i]
            loss -= wanted * math.log(q) + (1 - wanted) * math.log(1 - q)
        losses[row] = loss / p.dtype.type(p.shape[1])


def binary_cross_entropy_forward(p, target, losses):
    """See the contract."""
    _binary_forward(p, target, losses, p.dtype.type(PROBABILITY_FLOOR))


@njit(cache=True)
def _binary_backward(p, target, dp, scale, floor):
    for row in range(len(p)):
        for i in range(p.shape[1]):
            q = p[row, i]
            if (q < floor) | (q > 1 - floor):
                dp[row, i] = 0
            else:
                dp[row, i] = scale * (q - target[row, i]) / (q * (1 - q))


def binary_cross_entropy_backward(p, target, dp, scale):
    """See the contract."""
    number = p.dtype.type
    _binary_backward(p, target, dp, number(scale / p.shape[1]), number(PROBABILITY_FLOOR))


@njit(cache=True)
def mean_squared_error_forward(x, target, losses):
    """See the contract."""
    for row in range(len(x)):
        loss = x.dtype.type(0)
        for i in range(x.shape[1]):
            loss += (x[row, i] - target[row, i]) ** 2
        losses[row] = loss / x.dtype.type(x.shape[1])


@njit(cache=True)
def _mean_squared_error_backward(x, target, dx, scale):
    for row in range(len(x)):
        for i in range(x.shape[1]):
            dx[row, i] = scale * (x[row, i] - target[row, i])


def mean_squared_error_backward(x, target, dx, scale):
    """See the contract."""
    _mean_squared_error_backward(x, target, dx, x.dtype.type(2 * scale / x.shape[1]))
