"""Optimizers on the GPU: one pass over the gradient, and one over parameters, gradient and state.

The first looks for gradients that are not finite. If there is one it leaves a mark in memory, and
the second changes nothing (see `_device.DeviceScratch`), so that nobody needs to wait in between.

Each update is a device function from the old numbers to the new ones, and a kernel that walks over
the parameters. What changes from step to step, the learning rate and Adam's step, may be a number
or an array of one on the device, as in training, where a step is recorded and replayed with other
values (see `_device.DeviceScratch.repeat`).
"""

import math

from numba import cuda

from convlib.kernels.cuda._device import launch_over, one_number
from convlib.kernels.cuda._vec import number


def _step(kernel, w, dw, states, numbers, scratch):
    """Take a step unless a gradient is not finite; return whether it was taken, if that is known.

    In training it is not: True says that the mark has to be looked at later.
    """
    if not scratch.postpones_sums:
        scratch.forget_refusal()
    scratch.refuse_unless_finite(dw)
    launch_over(kernel, w.size, w, dw, *states, *numbers, scratch.refusal)
    return scratch.postpones_sums or not scratch.is_refused()


@cuda.jit(device=True)
def sgd_step(w, gradient, velocity, rate, momentum, nesterov):
    """Return the new parameter and its velocity."""
    velocity = momentum * velocity - rate * gradient
    step = momentum * velocity - rate * gradient if nesterov else velocity
    return w + step, velocity


@cuda.jit(cache=True)
def _sgd(w, dw, velocity, learning_rate, momentum, nesterov, refusal):
    if refusal[0]:
        return
    rate = w.dtype.type(number(learning_rate))
    for i in range(cuda.grid(1), w.size, cuda.gridsize(1)):
        w[i], velocity[i] = sgd_step(w[i], dw[i], velocity[i], rate, momentum, nesterov)


def sgd_update(w, dw, velocity, learning_rate, momentum, nesterov, scratch):
    """See the contract and the module's text."""
    numbers = one_number(learning_rate, w.dtype), w.dtype.type(momentum), bool(nesterov)
    return _step(_sgd, w, dw, (velocity,), numbers, scratch)


@cuda.jit(device=True)
def rmsprop_step(w, gradient, mean_square, rate, rho, rest, epsilon):
    """Return the new parameter and its mean square; ``rest`` is ``1 − rho``."""
    mean_square = rho * mean_square + rest * gradient * gradient
    return w - rate * gradient / math.sqrt(mean_square + epsilon), mean_square


@cuda.jit(cache=True)
def _rmsprop(w, dw, mean_square, learning_rate, rho, epsilon, refusal):
    if refusal[0]:
        return
    rate, rest = w.dtype.type(number(learning_rate)), w.dtype.type(1) - rho
    for i in range(cuda.grid(1), w.size, cuda.gridsize(1)):
        w[i], mean_square[i] = rmsprop_step(w[i], dw[i], mean_square[i], rate, rho, rest, epsilon)


def rmsprop_update(w, dw, mean_square, learning_rate, rho, epsilon, scratch):
    """See the contract and the module's text."""
    numbers = one_number(learning_rate, w.dtype), *map(w.dtype.type, (rho, epsilon))
    return _step(_rmsprop, w, dw, (mean_square,), numbers, scratch)


@cuda.jit(device=True)
def adam_rate(rate, step, log_beta_1, log_beta_2):
    """Return ``rate·√(1 − beta_2^step) / (1 − beta_1^step)``, from the logarithms of the betas.

    For a beta near 1 and a small step the difference would lose its digits in float32.
    """
    return rate * math.sqrt(-math.expm1(step * log_beta_2)) / -math.expm1(step * log_beta_1)


@cuda.jit(device=True)
def adam_step(w, gradient, mean, mean_square, rate, rest_1, rest_2, epsilon):
    """Return the new parameter and its running means; ``rest`` is what 1 exceeds a beta by."""
    mean += (gradient - mean) * rest_1
    mean_square += (gradient * gradient - mean_square) * rest_2
    return w - rate * mean / (math.sqrt(mean_square) + epsilon), mean, mean_square


@cuda.jit(cache=True)
def _adam(
    w,
    dw,
    mean,
    mean_square,
    learning_rate,
    step,
    rest_1,
    rest_2,
    log_beta_1,
    log_beta_2,
    epsilon,
    refusal,
):
    if refusal[0]:
        return
    # All threads compute the rate, once: that costs less than to launch a kernel for it.
    rate, step = w.dtype.type(number(learning_rate)), w.dtype.type(number(step))
    rate = adam_rate(rate, step, log_beta_1, log_beta_2)
    for i in range(cuda.grid(1), w.size, cuda.gridsize(1)):
        w[i], mean[i], mean_square[i] = adam_step(
            w[i], dw[i], mean[i], mean_square[i], rate, rest_1, rest_2, epsilon
        )


def _logarithm(beta, dtype):
    return dtype.type(math.log(beta) if beta else -math.inf)


def adam_update(w, dw, mean, mean_square, learning_rate, beta_1, beta_2, epsilon, step, scratch):
    """See the contract and the module's text."""
    rests = [1 - w.dtype.type(beta) for beta in (beta_1, beta_2)]
    logarithms = [_logarithm(beta, w.dtype) for beta in (beta_1, beta_2)]
    rate, step = one_number(learning_rate, w.dtype), one_number(step, w.dtype)
    numbers = rate, step, *rests, *logarithms, w.dtype.type(epsilon)
    return _step(_adam, w, dw, (mean, mean_square), numbers, scratch)
