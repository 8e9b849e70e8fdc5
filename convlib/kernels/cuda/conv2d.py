"""Convolution and dense layers on the GPU.

Forward and the input gradient are correlations, the parameter gradient is a sum of outer products
(`correlation` and `outer_products` say how each is blocked). A dense layer is a convolution of
images of one pixel with a kernel of 1×1. Here is only chosen.
"""

from convlib.kernels.cuda._device import is_aligned
from convlib.kernels.cuda.correlation import (
    backward_passes,
    correlate,
    parts_request,
)
from convlib.kernels.cuda.direct import best_forward_pass
from convlib.kernels.cuda.outer_products import add_outer_products

POINT = (1, 1), ((0, 0), (0, 0)), (1, 1), 1  # strides, padding, dilation and groups of one pixel


def conv2d_forward(x, w, b, y, strides, padding, dilation, groups, scratch):
    """Compute tiles of pixels × filters; see `correlation` and the contract."""
    _forward(x, w, b, y, (strides, padding, dilation, groups), False, scratch)


def conv2d_relu_forward(x, w, b, y, strides, padding, dilation, groups, scratch):
    """Cut tiles off below zero before they are stored; see the contract."""
    _forward(x, w, b, y, (strides, padding, dilation, groups), True, scratch)


def _forward(x, w, b, y, window, is_rectified, scratch):
    are_aligned = is_aligned(x, w, y)
    shapes = x.shape, w.shape, y.shape
    step = best_forward_pass(*shapes, *window, x.dtype, are_aligned, b is not None, is_rectified)
    parts = scratch.take(*parts_request(step, y.size, y.dtype))
    correlate(step, x, w, b, y, is_rectified, *parts)


def conv2d_backward_input(dy, w, dx, strides, padding, dilation, groups, scratch):
    """Correlate dy with the mirrored kernel, once for each class of pixels; see the contract."""
    window = strides, padding, dilation, groups
    are_aligned = is_aligned(dy, w, dx)
    for step in backward_passes(dy.shape, w.shape, dx.shape, *window, dy.dtype, are_aligned):
        parts = scratch.take(*parts_request(step, dx.size, dx.dtype))
        correlate(step, dy, w, None, dx, False, *parts)


def conv2d_backward_params(x, dy, dw, db, strides, padding, dilation, groups, scratch):
    """Keep tiles of dw in registers and run over the pixels; see `outer_products`."""
    add_outer_products(x, dy, dw, db, strides, padding, dilation, groups, scratch)


def dense_forward(x, w, b, y, scratch):
    """Multiply with the same tiles as a convolution with a kernel of 1×1."""
    _forward(_pixels(x), w.reshape(1, 1, *w.shape), b, _pixels(y), POINT, False, scratch)


def dense_relu_forward(x, w, b, y, scratch):
    """Cut tiles off below zero before they are stored; see the contract."""
    _forward(_pixels(x), w.reshape(1, 1, *w.shape), b, _pixels(y), POINT, True, scratch)


def dense_backward_input(dy, w, dx, scratch):
    """Multiply with the transposed matrix."""
    conv2d_backward_input(_pixels(dy), w.reshape(1, 1, *w.shape), _pixels(dx), *POINT, scratch)


def dense_backward_params(x, dy, dw, db, scratch):
    """Add outer products of samples in tiles of dw."""
    w = dw.reshape(1, 1, *dw.shape)
    add_outer_products(_pixels(x), _pixels(dy), w, db, *POINT, scratch)


def _pixels(samples):
    """Return vectors as images of one pixel."""
    return samples.reshape(len(samples), 1, 1, samples.shape[1])
