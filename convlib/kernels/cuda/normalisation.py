"""Batch normalisation on the GPU.

A block adds up the rows of one chunk for up to a warp's width of channels, which are neighbours in
memory; its lanes take every so-many-th row. A second kernel puts the chunks together, in an order
that the shapes decide.

Statistics would lose their digits in the difference of two large sums. So each chunk is read twice
(the second time from the caches), for its mean and for its variance around that, and these are put
together (Chan, Golub & LeVeque, "Algorithms for computing the sample variance", 1983):

    mean = Σ_k n_k mean_k / n        variance = Σ_k n_k (variance_k + (mean_k − mean)²) / n

Backward passes over x and dy twice, for the two sums and then for dx. What depends on the channel
alone is computed once, which leaves one multiplication and one addition for each number.
"""

import math

from numba import cuda

from convlib.kernels.cuda._device import THREADS, launch_over, launch_rows
from convlib.kernels.cuda._lanes import (
    chunk_of,
    chunks_of,
    column_lanes,
    launch_columns,
    sum_of_lanes,
)


@cuda.jit(cache=True)
def _chunk_statistics(x, means, variances, rows, channels, length):
    shared = cuda.shared.array(THREADS, x.dtype)
    group, channel = column_lanes(), cuda.grid(1)
    first, last = chunk_of(rows, length)
    count = x.dtype.type(last - first)
    has_rows = channel < channels
    lane, end, step = group[2], last if has_rows else first, group[3]
    mean = x.dtype.type(0)
    for row in range(first + lane, end, step):
        mean += x[row * channels + channel]
    mean = sum_of_lanes(shared, group, mean) / count
    variance = x.dtype.type(0)
    for row in range(first + lane, end, step):
        deviation = x[row * channels + channel] - mean
        variance += deviation * deviation
    variance = sum_of_lanes(shared, group, variance) / count
    if has_rows and lane == 0:
        means[cuda.blockIdx.y * channels + channel] = mean
        variances[cuda.blockIdx.y * channels + channel] = variance


@cuda.jit(cache=True)
def _combine_statistics(means, variances, mean, variance, rows, length):
    shared = cuda.shared.array(THREADS, mean.dtype)
    group, channel = column_lanes(), cuda.grid(1)
    channels, number = mean.size, mean.dtype.type
    lane, step, end = group[2], group[3], means.size // channels
    if channel >= channels:
        end = 0
    middle = number(0)
    for chunk in range(lane, end, step):
        share = number(min(length, rows - chunk * length)) / number(rows)
        middle += share * means[chunk * channels + channel]
    middle = sum_of_lanes(shared, group, middle)
    total = number(0)
    for chunk in range(lane, end, step):
        share = number(min(length, rows - chunk * length)) / number(rows)
        shift = means[chunk * channels + channel] - middle
        total += share * (variances[chunk * channels + channel] + shift * shift)
    total = sum_of_lanes(shared, group, total)
    if channel < channels and lane == 0:
        mean[channel], variance[channel] = middle, total


def batch_norm_statistics(x, mean, variance, scratch):
    """Read x from memory once; see the module's text and the contract."""
    rows, channels = x.shape
    chunks, length = chunks_of(rows, channels)
    shape = (chunks * channels,)
    means, variances = mean, variance
    if chunks > 1:
        means, variances = scratch.take((shape, x.dtype), (shape, x.dtype))
    arrays = x.reshape(-1), means, variances
    launch_columns(_chunk_statistics, channels, chunks, *arrays, rows, channels, length)
    if chunks > 1:
        arrays = means, variances, mean, variance
        launch_columns(_combine_statistics, channels, 1, *arrays, rows, length)


@cuda.jit(cache=True)
def _forward(x, mean, variance, gamma, beta, y, epsilon, rows):
    channel, start = cuda.grid(2)
    channels = mean.size
    if channel >= channels:
        return
    factor = gamma[channel] / math.sqrt(variance[channel] + epsilon)
    middle, shift = mean[channel], beta[channel]
    for row in range(start, rows, cuda.gridsize(2)[1]):
        i = row * channels + channel
        y[i] = (x[i] - middle) * factor + shift


def batch_norm_forward(x, mean, variance, gamma, beta, y, epsilon):
    """See the contract."""
    arrays = x.reshape(-1), mean, variance, gamma, beta, y.reshape(-1)
    launch_rows(_forward, *x.shape, *arrays, x.dtype.type(epsilon), len(x))


@cuda.jit(cache=True)
def _chunk_gradients(x, dy, mean, totals, products, rows, length):
    shared = cuda.shared.array(THREADS, x.dtype)
    group, channel, channels = column_lanes(), cuda.grid(1), mean.size
    first, last = chunk_of(rows, length)
    middle = x.dtype.type(0)
    if channel < channels:
        middle = mean[channel]
    else:
        last = first
    total = product = x.dtype.type(0)
    for row in range(first + group[2], last, group[3]):
        gradient = dy[row * channels + channel]
        total += gradient
        product += gradient * (x[row * channels + channel] - middle)
    total = sum_of_lanes(shared, group, total)
    product = sum_of_lanes(shared, group, product)
    if channel < channels and group[2] == 0:
        totals[cuda.blockIdx.y * channels + channel] = total
        products[cuda.blockIdx.y * channels + channel] = product


@cuda.jit(cache=True)
def _combine_gradients(
    totals, products, variance, gamma, dgamma, dbeta, factors, epsilon, chunks, rows
):
    shared = cuda.shared.array(THREADS, gamma.dtype)
    group, channel, channels = column_lanes(), cuda.grid(1), gamma.size
    total = product = gamma.dtype.type(0)
    if channel < channels:
        for chunk in range(group[2], chunks, group[3]):
            total += totals[chunk * channels + channel]
            product += products[chunk * channels + channel]
    total = sum_of_lanes(shared, group, total)
    product = sum_of_lanes(shared, group, product)
    if channel < channels and group[2] == 0:
        count = gamma.dtype.type(rows)
        deviation = math.sqrt(variance[channel] + epsilon)
        of_dy, product = gamma[channel] / deviation, product / deviation
        dbeta[channel], dgamma[channel] = total, product
        factors[channel] = of_dy
        factors[channels + channel] = -of_dy * (product / count) / deviation
        factors[2 * channels + channel] = -of_dy * (total / count)


@cuda.jit(cache=True)
def _input_gradient(x, dy, dx, mean, factors, rows):
    channel, start = cuda.grid(2)
    channels = mean.size
    if channel >= channels:
        return
    middle, of_dy = mean[channel], factors[channel]
    of_x, constant = factors[channels + channel], factors[2 * channels + channel]
    for row in range(start, rows, cuda.gridsize(2)[1]):
        i = row * channels + channel
        dx[i] = of_dy * dy[i] + (of_x * (x[i] - middle) + constant)


def batch_norm_backward(x, dy, mean, variance, gamma, dx, dgamma, dbeta, epsilon, scratch):
    """Pass over x and dy twice: for the two sums, then for dx; see the contract."""
    rows, channels = x.shape
    chunks, length = chunks_of(rows, channels)
    totals, products, factors = scratch.take(
        *[((chunks * channels,), x.dtype)] * 2, ((3 * channels,), x.dtype)
    )
    x, dy, dx = x.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    launch_columns(_chunk_gradients, channels, chunks, x, dy, mean, totals, products, rows, length)
    arrays = totals, products, variance, gamma, dgamma, dbeta, factors
    launch_columns(_combine_gradients, channels, 1, *arrays, x.dtype.type(epsilon), chunks, rows)
    launch_rows(_input_gradient, rows, channels, x, dy, dx, mean, factors, rows)


@cuda.jit(cache=True)
def _moving_average(average, x, share, refusal):
    if refusal[0]:
        return
    for i in range(cuda.grid(1), average.size, cuda.gridsize(1)):
        average[i] += (x[i] - average[i]) * share


def moving_average_update(average, x, share, scratch):
    """See the contract; where a step of training was refused, the average stays as well."""
    arrays, number = (average, x), x.dtype.type(share)
    launch_over(_moving_average, average.size, *arrays, number, scratch.refusal)
