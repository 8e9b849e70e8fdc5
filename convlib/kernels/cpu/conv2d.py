"""Convolution and dense layers on the CPU.

Forward and the input gradient are correlations, the parameter gradient is a sum of outer products
(`correlation` and `outer_products` say how each is blocked). All of them walk through the same
`regions` of windows, and a dense layer is a convolution with a kernel of 1×1.
"""

from convlib.kernels.cpu import winograd
from convlib.kernels.cpu.correlation import correlate
from convlib.kernels.cpu.outer_products import add_outer_products
from convlib.kernels.cpu.regions import backward_input_plan, dense_plan, forward_plan


def conv2d_forward(x, w, b, y, strides, padding, dilation, groups, scratch):
    """Compute tiles of windows × output channels; see the module's text and the contract."""
    _forward(x, w, b, y, strides, padding, dilation, groups, False, scratch)


def conv2d_relu_forward(x, w, b, y, strides, padding, dilation, groups, scratch):
    """Cut tiles off below zero before they are stored; see the contract."""
    _forward(x, w, b, y, strides, padding, dilation, groups, True, scratch)


def _forward(x, w, b, y, strides, padding, dilation, groups, is_rectified, scratch):
    window = (w.shape[:2], strides, padding, dilation, groups)
    m = winograd.best_patch(x.shape, y.shape, *window, x.dtype)
    if m and winograd.conv2d_forward(x, w, b, y, padding, m, is_rectified, scratch):
        return
    plan = forward_plan(x.shape, w.shape, y.shape, strides, padding, dilation, groups, x.dtype)
    correlate(plan, x, w, b, y, False, is_rectified, scratch)


def conv2d_backward_input(dy, w, dx, strides, padding, dilation, groups, scratch):
    """Correlate dy with the flipped, transposed kernel, phase by phase of the strides."""
    window = (w.shape[:2], strides, winograd.full_padding(padding), dilation, groups)
    m = winograd.best_patch(dy.shape, dx.shape, *window, dy.dtype)
    if m and winograd.conv2d_backward_input(dy, w, dx, padding, m, scratch):
        return
    plan = backward_input_plan(
        dy.shape, w.shape, dx.shape, strides, padding, dilation, groups, dy.dtype
    )
    correlate(plan, dy, w, None, dx, True, False, scratch)


def conv2d_backward_params(x, dy, dw, db, strides, padding, dilation, groups, scratch):
    """Keep tiles of dw in registers and run over the windows; see `outer_products`."""
    plan = forward_plan(x.shape, dw.shape, dy.shape, strides, padding, dilation, groups, x.dtype)
    add_outer_products(plan, x, dy, dw, db, scratch)


def dense_forward(x, w, b, y, scratch):
    """Multiply with the same tiles as a 1×1 convolution."""
    correlate(dense_plan(*x.shape, w.shape[1], x.dtype), x, w, b, y, False, False, scratch)


def dense_relu_forward(x, w, b, y, scratch):
    """Cut tiles off below zero before they are stored; see the contract."""
    correlate(dense_plan(*x.shape, w.shape[1], x.dtype), x, w, b, y, False, True, scratch)


def dense_backward_input(dy, w, dx, scratch):
    """Multiply with the transposed matrix."""
    correlate(dense_plan(*dy.shape, w.shape[0], dy.dtype), dy, w, None, dx, True, False, scratch)


def dense_backward_params(x, dy, dw, db, scratch):
    """Add outer products of samples in tiles of dw."""
    plan = dense_plan(*x.shape, dw.shape[1], x.dtype)
    add_outer_products(plan, x, dy, dw, db, scratch)
