"""Elementwise operations on the GPU: neighbouring threads take neighbouring elements.

So the 32 threads of a warp read and write whole lines of memory. A grid has at most so many blocks
as keep the GPU busy, and each thread goes on with the element one grid further, in a loop with the
stride of the grid.
Every element is read before it is written, by one thread, so that an output may be an input.
"""

import math

from numba import cuda

from convlib.kernels.cuda._device import launch_over


@cuda.jit(cache=True)
def _relu_forward(x, y, max_value, negative_slope, threshold):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        value = x[i]
        if value > threshold:
            # Not min(): a NaN is neither above the threshold nor cut off.
            y[i] = value if value < max_value else max_value
        elif negative_slope != 0 or math.isnan(value):
            # Without a slope nothing is multiplied: 0 · (−∞) would be NaN.
            y[i] = negative_slope * (value - threshold)
        else:
            y[i] = x.dtype.type(0)


def relu_forward(x, y, max_value, negative_slope, threshold):
    """See the contract."""
    number = x.dtype.type
    numbers = number(max_value), number(negative_slope), number(threshold)
    launch_over(_relu_forward, x.size, x.reshape(-1), y.reshape(-1), *numbers)
