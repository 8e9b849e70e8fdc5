"""The contract's operations in numba.cuda.

What each operation computes is said once, in `convlib.kernels.reference`; what these files say is
how. Arguments that are arrays lie on the device. Importing this package does not touch the driver:
kernels are compiled, and the device is taken, when the first one is launched.
"""

from convlib.kernels._cache import stamped_cache

with stamped_cache():
    from convlib.kernels.cuda.conv2d import (
        conv2d_backward_input,
        conv2d_backward_params,
        conv2d_forward,
        conv2d_relu_forward,
        dense_backward_input,
        dense_backward_params,
        dense_forward,
        dense_relu_forward,
    )
    from convlib.kernels.cuda.conv2d_pool import (
        conv2d_relu_max_pool2d_backward_input,
        conv2d_relu_max_pool2d_backward_params,
        conv2d_relu_max_pool2d_forward,
    )
    from convlib.kernels.cuda.elementwise import relu_forward

__all__ = [
    "conv2d_backward_input",
    "conv2d_backward_params",
    "conv2d_forward",
    "conv2d_relu_forward",
    "conv2d_relu_max_pool2d_backward_input",
    "conv2d_relu_max_pool2d_backward_params",
    "conv2d_relu_max_pool2d_forward",
    "dense_backward_input",
    "dense_backward_params",
    "dense_forward",
    "dense_relu_forward",
    "relu_forward",
]
