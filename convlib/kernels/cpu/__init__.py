"""The contract's operations in Numba, parallel over the cores of this machine.

What each operation computes is said once, in `convlib.kernels.reference`; what these files say is
how. Convolution, dense layers, pooling and softmax are written in register tiles (`tile`),
everything else in plain loops over contiguous memory.
"""

from convlib.kernels import memory as memory
from convlib.kernels._cache import stamped_cache
from convlib.kernels._threads import load_tbb

load_tbb()

with stamped_cache():
    from convlib.kernels.cpu.conv2d import (
        conv2d_backward_input,
        conv2d_backward_params,
        conv2d_forward,
        conv2d_relu_forward,
        dense_backward_input,
        dense_backward_params,
        dense_forward,
        dense_relu_forward,
    )
    from convlib.kernels.cpu.conv2d_pool import (
        conv2d_relu_max_pool2d_backward_input,
        conv2d_relu_max_pool2d_backward_params,
        conv2d_relu_max_pool2d_forward,
    )
    from convlib.kernels.cpu.depthwise import (
        depthwise_conv2d_backward_input,
        depthwise_conv2d_backward_params,
        depthwise_conv2d_forward,
    )
    from convlib.kernels.cpu.elementwise import (
        dropout,
        relu_backward,
        relu_forward,
        sigmoid_backward,
        sigmoid_forward,
        tanh_backward,
        tanh_forward,
    )
    from convlib.kernels.cpu.losses import (
        binary_cross_entropy_backward,
        binary_cross_entropy_forward,
        categorical_cross_entropy_backward,
        categorical_cross_entropy_forward,
        mean_squared_error_backward,
        mean_squared_error_forward,
        sigmoid_cross_entropy_backward,
        sigmoid_cross_entropy_forward,
        softmax_cross_entropy_backward,
        softmax_cross_entropy_forward,
    )
    from convlib.kernels.cpu.normalisation import (
        batch_norm_backward,
        batch_norm_forward,
        batch_norm_statistics,
        moving_average_update,
    )
    from convlib.kernels.cpu.optimizers import adam_update, rmsprop_update, sgd_update
    from convlib.kernels.cpu.pooling import (
        average_pool2d_backward,
        average_pool2d_forward,
        max_pool2d_backward,
        max_pool2d_forward,
    )
    from convlib.kernels.cpu.softmax import softmax_backward, softmax_forward
    from convlib.kernels.cpu.windows import (
        col2im,
        gather,
        im2col,
        pad2d_backward,
        pad2d_forward,
    )

__all__ = [
    "adam_update",
    "average_pool2d_backward",
    "average_pool2d_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_statistics",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "categorical_cross_entropy_backward",
    "categorical_cross_entropy_forward",
    "col2im",
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
    "depthwise_conv2d_backward_input",
    "depthwise_conv2d_backward_params",
    "depthwise_conv2d_forward",
    "dropout",
    "gather",
    "im2col",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "mean_squared_error_backward",
    "mean_squared_error_forward",
    "moving_average_update",
    "pad2d_backward",
    "pad2d_forward",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "sgd_update",
    "sigmoid_backward",
    "sigmoid_cross_entropy_backward",
    "sigmoid_cross_entropy_forward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
]
