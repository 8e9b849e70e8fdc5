"""The contract: every operation once, in plain NumPy, written to be read.

Another backend is a module with exactly the names in `__all__` and the same signatures. It must
compute the same numbers up to rounding, and the same saved indices and random masks exactly.

Conventions, for every operation:

* Images are ``(samples, height, width, channels)``, kernels ``(height, width, in, out)``; vectors
  are ``(samples, features)``. All floating-point arguments of a call have one dtype, float32 or
  float64, and are C-contiguous.
* Outputs are arguments, allocated by the caller. They are **overwritten**, never added to, and
  whatever they held before has no influence. Inputs are not changed. An output shares no memory
  with another argument unless the docstring allows it.
* ``strides`` and ``dilation`` are ``(vertical, horizontal)``, ``padding`` is ``((top, bottom),
  (left, right))``. Padding counts as zero, except under a maximum, where it counts as −∞.
* The order of a sum is left to the backend. So is Winograd's way of taking 3×3 convolutions at
  stride 1, with a bound of its own on the rounding error. Where numbers differ by no more than
  their errors, which of them is the maximum is therefore left open as well.
* ``scratch`` is a `Scratch`, work memory that the caller owns; a backend may ignore it. If it
  postpones sums, an operation whose name ends in ``_params`` may leave dw and db as partial sums,
  for the optimizer to add up. They must then be parts of the vector that the optimizer gets, and
  nobody may read them before.
* A NaN that takes part in a sum, product or maximum gives NaN. Whether it takes part where only
  zeros meet it that are not data (padding, or the losers of a pooling window) is left to the
  backend.

The names ``x, w, b, y`` are input, kernel, bias and output; ``dx`` is the gradient of the loss with
respect to ``x``, and so on.
"""

import numpy as np

from convlib.kernels import PROBABILITY_FLOOR
from convlib.kernels import memory as memory

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


def _padded(x, padding, value=0.0):
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def _unpadded(x, padding):
    (top, bottom), (left, right) = padding
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def _taps(kernel_size, output_size, strides, dilation):
    """Yield (u, v, rows, columns): where kernel element (u, v) falls, for all windows at once."""
    for u in range(kernel_size[0]):
        for v in range(kernel_size[1]):
            first_row, first_column = u * dilation[0], v * dilation[1]
            rows = slice(first_row, first_row + strides[0] * output_size[0], strides[0])
            columns = slice(first_column, first_column + strides[1] * output_size[1], strides[1])
            yield u, v, rows, columns


def _groups(groups, *channels):
    """Yield for each group the slice of each of the ``channels``."""
    for g in range(groups):
        yield tuple(slice(g * count // groups, (g + 1) * count // groups) for count in channels)


# Convolution ------------------------------------------------------------------------------------


def conv2d_forward(x, w, b, y, strides, padding, dilation, groups, scratch):
    """Slide a bank of filters over an image: multiply, sum, add the bias.

    ``y[n,i,j,o] = b[o] + Σ_{u,v,c} x[n, i·s+u·d−top, j·s+v·d−left, c] · w[u,v,c,o]``

    This is cross-correlation, which deep-learning libraries call convolution: the kernel is not
    flipped. With ``groups`` g > 1 the channels are split in g parts that do not see each other.

    See chapter 4, "In symbols".

    Parameters
    ----------
    x : (n, height, width, channels)
    w : (kernel height, kernel width, channels / groups, filters)
    b : (filters,) or None
        None stands for zeros.
    y : (n, output height, output width, filters), overwritten
    strides, padding, dilation, groups, scratch
        See the conventions of this module.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> w = np.array([-1.0, 1.0]).reshape(1, 2, 1, 1)
    >>> y = np.empty((1, 3, 2, 1))
    >>> reference.conv2d_forward(x, w, None, y, *window, 1, scratch)
    >>> y[0, :, :, 0].tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """
    padded = _padded(x, padding)
    y[...] = 0 if b is None else b
    for inputs, outputs in _groups(groups, x.shape[3], w.shape[3]):
        for u, v, rows, columns in _taps(w.shape[:2], y.shape[1:3], strides, dilation):
            y[..., outputs] += padded[:, rows, columns, inputs] @ w[u, v, :, outputs]


def conv2d_relu_forward(x, w, b, y, strides, padding, dilation, groups, scratch):
    """Convolve and cut off below zero: ``y = max(conv2d_forward(x, w, b), 0)``.

    NaN stays NaN, as in `relu_forward`. The gradient goes back through `relu_backward`, which needs
    y alone, and then as in `conv2d_forward`.

    See chapter 10, "The same sum twice".

    Parameters
    ----------
    x, w, b, y, strides, padding, dilation, groups, scratch
        As in `conv2d_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> x = np.array([3.0, 1.0, 2.0]).reshape(1, 1, 3, 1)
    >>> w = np.array([-1.0, 1.0]).reshape(1, 2, 1, 1)
    >>> y = np.empty((1, 1, 2, 1))
    >>> reference.conv2d_relu_forward(x, w, None, y, *window, 1, scratch)
    >>> y.ravel().tolist()  # of the differences −2 and 1
    [0.0, 1.0]
    """
    conv2d_forward(x, w, b, y, strides, padding, dilation, groups, scratch)
    relu_forward(y, y, np.inf, 0.0, 0.0)


def conv2d_backward_input(dy, w, dx, strides, padding, dilation, groups, scratch):
    """Send each output's gradient back to the pixels that it was computed from.

    The transpose of `conv2d_forward` in x: wherever forward reads ``x[p]·w[u,v]`` into ``y[q]``,
    this adds ``dy[q]·w[u,v]`` to ``dx[p]``. At stride 1 it is a full convolution, with the kernel
    flipped. Gradients that fall into the padding are dropped.

    See chapter 11, "Pictures instead of rows".

    Parameters
    ----------
    dy : (n, output height, output width, filters)
    w : (kernel height, kernel width, channels / groups, filters)
    dx : (n, height, width, channels), overwritten
    strides, padding, dilation, groups, scratch
        See the conventions of this module.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> w = np.array([-1.0, 1.0]).reshape(1, 2, 1, 1)
    >>> dy = np.array([1.0, 10.0]).reshape(1, 1, 2, 1)
    >>> dx = np.empty((1, 1, 3, 1))
    >>> reference.conv2d_backward_input(dy, w, dx, *window, 1, scratch)
    >>> dx.ravel().tolist()
    [-1.0, -9.0, 10.0]
    """
    padded = np.zeros_like(_padded(dx, padding))
    for inputs, outputs in _groups(groups, dx.shape[3], w.shape[3]):
        for u, v, rows, columns in _taps(w.shape[:2], dy.shape[1:3], strides, dilation):
            padded[:, rows, columns, inputs] += dy[..., outputs] @ w[u, v, :, outputs].T
    dx[...] = _unpadded(padded, padding)


def conv2d_backward_params(x, dy, dw, db, strides, padding, dilation, groups, scratch):
    """Correlate the input with the output's gradient.

    ``dw[u,v,c,o] = Σ_{n,i,j} x[n, i·s+u·d−top, j·s+v·d−left, c] · dy[n,i,j,o]``, ``db = Σ dy``.

    See chapter 11, "Pictures instead of rows".

    Parameters
    ----------
    x : (n, height, width, channels)
    dy : (n, output height, output width, filters)
    dw : (kernel height, kernel width, channels / groups, filters), overwritten
    db : (filters,), overwritten, or None
    strides, padding, dilation, groups, scratch
        See the conventions of this module.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> x = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> dy = np.array([1.0, 10.0]).reshape(1, 1, 2, 1)
    >>> dw, db = np.empty((1, 2, 1, 1)), np.empty(1)
    >>> reference.conv2d_backward_params(x, dy, dw, db, *window, 1, scratch)
    >>> dw.ravel().tolist(), db.tolist()
    ([21.0, 32.0], [11.0])
    """
    padded = _padded(x, padding)
    for inputs, outputs in _groups(groups, x.shape[3], dw.shape[3]):
        for u, v, rows, columns in _taps(dw.shape[:2], dy.shape[1:3], strides, dilation):
            dw[u, v, :, outputs] = np.tensordot(
                padded[:, rows, columns, inputs], dy[..., outputs], axes=((0, 1, 2), (0, 1, 2))
            )
    if db is not None:
        db[...] = dy.sum((0, 1, 2))


def depthwise_conv2d_forward(x, w, b, y, strides, padding, dilation, scratch):
    """Give every channel its own filters: ``multiplier`` of them, each seeing that channel alone.

    ``y[n,i,j,c·m+k] = b[c·m+k] + Σ_{u,v} x[n, i·s+u·d−top, j·s+v·d−left, c] · w[u,v,c,k]``, with m
    the multiplier.

    See chapter 3, "A common mistake: “32 filters are 32 flat pictures in every layer”".

    Parameters
    ----------
    x : (n, height, width, channels)
    w : (kernel height, kernel width, channels, multiplier)
    b : (channels · multiplier,) or None
    y : (n, output height, output width, channels · multiplier), overwritten
    strides, padding, dilation, scratch
        See the conventions of this module.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> x = np.ones((1, 1, 1, 2))
    >>> w = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    >>> y = np.empty((1, 1, 1, 4))
    >>> reference.depthwise_conv2d_forward(x, w, None, y, *window, scratch)
    >>> y.ravel().tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    padded = _padded(x, padding)
    y[...] = 0 if b is None else b
    per_channel = y.reshape(*y.shape[:3], *w.shape[2:])
    for u, v, rows, columns in _taps(w.shape[:2], y.shape[1:3], strides, dilation):
        per_channel += padded[:, rows, columns, :, None] * w[u, v]


def depthwise_conv2d_backward_input(dy, w, dx, strides, padding, dilation, scratch):
    """Send each output's gradient back to the pixels of its own channel.

    The transpose of `depthwise_conv2d_forward` in x, as `conv2d_backward_input` is that of
    `conv2d_forward`.

    See chapter 11, "Two patterns".

    Parameters
    ----------
    dy : (n, output height, output width, channels · multiplier)
    w : (kernel height, kernel width, channels, multiplier)
    dx : (n, height, width, channels), overwritten
    strides, padding, dilation, scratch
        See the conventions of this module.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> w = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    >>> dy = np.ones((1, 1, 1, 4))
    >>> dx = np.empty((1, 1, 1, 2))
    >>> reference.depthwise_conv2d_backward_input(dy, w, dx, *window, scratch)
    >>> dx.ravel().tolist()
    [3.0, 7.0]
    """
    padded = np.zeros_like(_padded(dx, padding))
    per_channel = dy.reshape(*dy.shape[:3], *w.shape[2:])
    for u, v, rows, columns in _taps(w.shape[:2], dy.shape[1:3], strides, dilation):
        padded[:, rows, columns] += (per_channel * w[u, v]).sum(-1)
    dx[...] = _unpadded(padded, padding)


def depthwise_conv2d_backward_params(x, dy, dw, db, strides, padding, dilation, scratch):
    """Correlate each channel with its own gradients; see `conv2d_backward_params`.

    See chapter 11, "Two patterns".

    Parameters
    ----------
    x : (n, height, width, channels)
    dy : (n, output height, output width, channels · multiplier)
    dw : (kernel height, kernel width, channels, multiplier), overwritten
    db : (channels · multiplier,), overwritten, or None
    strides, padding, dilation, scratch
        See the conventions of this module.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> x = np.array([2.0, 5.0]).reshape(1, 1, 1, 2)
    >>> dy = np.array([1.0, 10.0]).reshape(1, 1, 1, 2)
    >>> dw, db = np.empty((1, 1, 2, 1)), np.empty(2)
    >>> reference.depthwise_conv2d_backward_params(x, dy, dw, db, *window, scratch)
    >>> dw.ravel().tolist(), db.tolist()
    ([2.0, 50.0], [1.0, 10.0])
    """
    padded = _padded(x, padding)
    per_channel = dy.reshape(*dy.shape[:3], *dw.shape[2:])
    for u, v, rows, columns in _taps(dw.shape[:2], dy.shape[1:3], strides, dilation):
        dw[u, v] = (padded[:, rows, columns, :, None] * per_channel).sum((0, 1, 2))
    if db is not None:
        db[...] = dy.sum((0, 1, 2))


def im2col(x, columns, kernel_size, strides, padding, dilation):
    """Write the patch under each window as one row, so that convolution is a matrix product.

    See chapter 4, "Three ways to write it".

    Parameters
    ----------
    x : (n, height, width, channels)
    columns : (n, output height, output width, kernel height · kernel width · channels), overwritten
        The patch in the order (u, v, channel), which is that of ``w.reshape(-1, filters)``.
    kernel_size : (int, int)
    strides, padding, dilation
        See the conventions of this module.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> x = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> columns = np.empty((1, 1, 2, 2))
    >>> reference.im2col(x, columns, (1, 2), *window)
    >>> columns[0, 0].tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    padded = _padded(x, padding)
    patches = columns.reshape(*columns.shape[:3], *kernel_size, x.shape[3])
    for u, v, rows, cols in _taps(kernel_size, columns.shape[1:3], strides, dilation):
        patches[:, :, :, u, v] = padded[:, rows, cols]


def col2im(columns, x, kernel_size, strides, padding, dilation):
    """Add patches back where `im2col` took them: its transpose, not its inverse.

    See chapter 5, "How often is each pixel used?".

    Parameters
    ----------
    columns : (n, output height, output width, kernel height · kernel width · channels)
    x : (n, height, width, channels), overwritten
    kernel_size : (int, int)
    strides, padding, dilation
        See the conventions of this module.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> columns = np.array([[1.0, 2.0], [2.0, 3.0]]).reshape(1, 1, 2, 2)
    >>> x = np.empty((1, 1, 3, 1))
    >>> reference.col2im(columns, x, (1, 2), *window)
    >>> x.ravel().tolist()  # the middle pixel was in two patches
    [1.0, 4.0, 3.0]
    """
    padded = np.zeros_like(_padded(x, padding))
    patches = columns.reshape(*columns.shape[:3], *kernel_size, x.shape[3])
    for u, v, rows, cols in _taps(kernel_size, columns.shape[1:3], strides, dilation):
        padded[:, rows, cols] += patches[:, :, :, u, v]
    x[...] = _unpadded(padded, padding)


def pad2d_forward(x, y, padding):
    """Copy ``x`` into the middle of ``y`` and set the border to zero.

    See chapter 5, "Padding".

    Parameters
    ----------
    x : (n, height, width, channels)
    y : (n, top + height + bottom, left + width + right, channels), overwritten
    padding : ((int, int), (int, int))
        Rows at the top and bottom, columns at the left and right.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, y = np.array([1.0, 2.0]).reshape(1, 1, 2, 1), np.empty((1, 2, 3, 1))
    >>> reference.pad2d_forward(x, y, ((0, 1), (1, 0)))
    >>> y[0, :, :, 0].tolist()
    [[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]
    """
    y[...] = _padded(x, padding)


def pad2d_backward(dy, dx, padding):
    """Cut the border off again: ``dx`` is the middle of ``dy``.

    See chapter 5, "Padding".

    Parameters
    ----------
    dy : (n, top + height + bottom, left + width + right, channels)
    dx : (n, height, width, channels), overwritten
    padding : ((int, int), (int, int))
        Rows at the top and bottom, columns at the left and right.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> dy, dx = np.arange(6.0).reshape(1, 2, 3, 1), np.empty((1, 1, 2, 1))
    >>> reference.pad2d_backward(dy, dx, ((0, 1), (1, 0)))
    >>> dx.ravel().tolist()
    [1.0, 2.0]
    """
    dx[...] = _unpadded(dy, padding)


# Pooling ----------------------------------------------------------------------------------------


def max_pool2d_forward(x, y, argmax, pool_size, strides, padding):
    """Keep the largest value under each window, and remember where it was.

    Of equal values the first in row-major order wins (+0 and −0 are equal); a NaN wins over
    everything, the first NaN over later ones.

    See chapter 7, "The definition".

    Parameters
    ----------
    x : (n, height, width, channels)
    y : (n, output height, output width, channels), overwritten
    argmax : same shape as y, unsigned integers, overwritten
        The winner's place within its window, ``u · pool width + v``.
    pool_size, strides : (int, int)
    padding : ((int, int), (int, int))
        Less than the window on every side, so that each window holds a pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> window = (1, 2), (1, 2), ((0, 0), (0, 0))  # pool size, strides, padding
    >>> x = np.array([1.0, 5.0, 7.0, 7.0]).reshape(1, 1, 4, 1)
    >>> y, argmax = np.empty((1, 1, 2, 1)), np.empty((1, 1, 2, 1), np.uint8)
    >>> reference.max_pool2d_forward(x, y, argmax, *window)
    >>> y.ravel().tolist(), argmax.ravel().tolist()
    ([5.0, 7.0], [1, 0])
    """
    padded = _padded(x, padding, -np.inf)
    # A window with nothing above −∞ has its first *pixel* as winner, never a place in the padding.
    is_pixel = _padded(np.ones_like(x, bool), padding, False)
    found = np.zeros(y.shape, bool)
    for u, v, rows, columns in _taps(pool_size, y.shape[1:3], strides, (1, 1)):
        candidate = padded[:, rows, columns]
        better = (candidate > y) | (np.isnan(candidate) & ~np.isnan(y))
        wins = is_pixel[:, rows, columns] & (better | ~found)
        y[...] = np.where(wins, candidate, y)
        argmax[...] = np.where(wins, u * pool_size[1] + v, argmax)
        found |= wins


def max_pool2d_backward(dy, argmax, dx, pool_size, strides, padding):
    """Send each gradient to the winner of its window; where windows overlap, gradients add.

    See chapter 7, "Backward: one winner takes it all".

    Parameters
    ----------
    dy, argmax : (n, output height, output width, channels)
        ``argmax`` as `max_pool2d_forward` saved it.
    dx : (n, height, width, channels), overwritten
    pool_size, strides, padding
        As in forward.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> window = (1, 2), (1, 2), ((0, 0), (0, 0))  # pool size, strides, padding
    >>> dy = np.array([10.0, 20.0]).reshape(1, 1, 2, 1)
    >>> argmax = np.array([1, 0], np.uint8).reshape(1, 1, 2, 1)
    >>> dx = np.empty((1, 1, 4, 1))
    >>> reference.max_pool2d_backward(dy, argmax, dx, *window)
    >>> dx.ravel().tolist()
    [0.0, 10.0, 20.0, 0.0]
    """
    padded = np.zeros_like(_padded(dx, padding))
    for u, v, rows, columns in _taps(pool_size, dy.shape[1:3], strides, (1, 1)):
        padded[:, rows, columns] += np.where(argmax == u * pool_size[1] + v, dy, 0)
    dx[...] = _unpadded(padded, padding)


def _pixels_per_window(x, output_size, pool_size, strides, padding):
    is_pixel = _padded(np.ones_like(x[:1, :, :, :1]), padding)
    taps = _taps(pool_size, output_size, strides, (1, 1))
    return sum(is_pixel[:, rows, columns] for _, _, rows, columns in taps)


def average_pool2d_forward(x, y, pool_size, strides, padding):
    """Take the mean of the pixels under each window; padding is not counted.

    See chapter 7, "A common mistake: “pooling is a kind of convolution”".

    Parameters
    ----------
    x : (n, height, width, channels)
    y : (n, output height, output width, channels), overwritten
    pool_size, strides : (int, int)
    padding : ((int, int), (int, int))
        Less than the window on every side.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> window = (1, 2), (1, 2), ((0, 0), (0, 0))  # pool size, strides, padding
    >>> x = np.array([1.0, 5.0, 7.0, 8.0]).reshape(1, 1, 4, 1)
    >>> y = np.empty((1, 1, 2, 1))
    >>> reference.average_pool2d_forward(x, y, *window)
    >>> y.ravel().tolist()
    [3.0, 7.5]
    """
    padded = _padded(x, padding)
    y[...] = 0
    for _, _, rows, columns in _taps(pool_size, y.shape[1:3], strides, (1, 1)):
        y += padded[:, rows, columns]
    y /= _pixels_per_window(x, y.shape[1:3], pool_size, strides, padding)


def average_pool2d_backward(dy, dx, pool_size, strides, padding):
    """Share each gradient equally among the pixels of its window.

    See chapter 11, "A pooling sends it to the winner".

    Parameters
    ----------
    dy : (n, output height, output width, channels)
    dx : (n, height, width, channels), overwritten
    pool_size, strides, padding
        As in forward.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> window = (1, 2), (1, 2), ((0, 0), (0, 0))  # pool size, strides, padding
    >>> dy, dx = np.array([10.0, 20.0]).reshape(1, 1, 2, 1), np.empty((1, 1, 4, 1))
    >>> reference.average_pool2d_backward(dy, dx, *window)
    >>> dx.ravel().tolist()
    [5.0, 5.0, 10.0, 10.0]
    """
    padded = np.zeros_like(_padded(dx, padding))
    share = dy / _pixels_per_window(dx, dy.shape[1:3], pool_size, strides, padding)
    for _, _, rows, columns in _taps(pool_size, dy.shape[1:3], strides, (1, 1)):
        padded[:, rows, columns] += share
    dx[...] = _unpadded(padded, padding)


# Convolution, ReLU and maximum in one step --------------------------------------------------------

CLIPPED = 255


def _output_size(x, w, strides, padding, dilation):
    return tuple(
        (x.shape[1 + i] + sum(padding[i]) - dilation[i] * (w.shape[i] - 1) - 1) // strides[i] + 1
        for i in (0, 1)
    )


def conv2d_relu_max_pool2d_forward(
    x, w, b, y, code, pool_size, strides, padding, dilation, groups, scratch
):
    """Convolve, cut off below zero and keep the maximum of each ``pool_size`` block of pixels.

    The same as `conv2d_forward`, `relu_forward` and `max_pool2d_forward` with windows that touch
    but do not overlap. Rows and columns that fill no window are dropped.

    See chapter 12, "Moving less".

    Parameters
    ----------
    x, w, b, strides, padding, dilation, groups, scratch
        As in `conv2d_forward`.
    y : (n, pooled height, pooled width, filters), overwritten
    code : same shape as y, uint8, overwritten
        The winner's place within its window, ``u · pool width + v``; 255 where the maximum is not
        above zero, so that ReLU lets no gradient through.
    pool_size : (int, int)
        At most 255 pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> x = np.array([3.0, 1.0, 2.0]).reshape(1, 1, 3, 1)
    >>> w = np.array([-1.0, 1.0]).reshape(1, 2, 1, 1)
    >>> y, code = np.empty((1, 1, 1, 1)), np.empty((1, 1, 1, 1), np.uint8)
    >>> reference.conv2d_relu_max_pool2d_forward(
    ...     x, w, None, y, code, (1, 2), *window, 1, scratch
    ... )
    >>> y.item(), code.item()  # of the differences −2 and 1
    (1.0, 1)
    """
    size = _output_size(x, w, strides, padding, dilation)
    convolved = np.empty((len(x), *size, w.shape[3]), x.dtype)
    conv2d_forward(x, w, b, convolved, strides, padding, dilation, groups, scratch)
    relu_forward(convolved, convolved, np.inf, 0.0, 0.0)
    max_pool2d_forward(convolved, y, code, pool_size, pool_size, ((0, 0), (0, 0)))
    code[y == 0] = CLIPPED


def _before_pooling(dy, code, size, pool_size):
    """Return the gradient of the convolution's output."""
    gradient = np.empty((len(dy), *size, dy.shape[3]), dy.dtype)
    max_pool2d_backward(dy, code, gradient, pool_size, pool_size, ((0, 0), (0, 0)))
    return gradient


def conv2d_relu_max_pool2d_backward_input(
    dy, code, w, dx, pool_size, strides, padding, dilation, groups, scratch
):
    """Send each gradient to the winner of its window, unless it was clipped, and on to dx.

    See chapter 12, "Moving less".

    Parameters
    ----------
    dy, code : (n, pooled height, pooled width, filters)
        ``code`` as forward wrote it.
    w, dx, strides, padding, dilation, groups, scratch
        As in `conv2d_backward_input`.
    pool_size : (int, int)

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> dy, code = np.full((1, 1, 1, 1), 10.0), np.full((1, 1, 1, 1), 1, np.uint8)
    >>> w, dx = np.array([-1.0, 1.0]).reshape(1, 2, 1, 1), np.empty((1, 1, 3, 1))
    >>> reference.conv2d_relu_max_pool2d_backward_input(
    ...     dy, code, w, dx, (1, 2), *window, 1, scratch
    ... )
    >>> dx.ravel().tolist()
    [0.0, -10.0, 10.0]
    """
    gradient = _before_pooling(dy, code, _output_size(dx, w, strides, padding, dilation), pool_size)
    conv2d_backward_input(gradient, w, dx, strides, padding, dilation, groups, scratch)


def conv2d_relu_max_pool2d_backward_params(
    x, dy, code, dw, db, pool_size, strides, padding, dilation, groups, scratch
):
    """Send each gradient to the winner of its window, unless it was clipped, and on to dw and db.

    See chapter 12, "Moving less".

    Parameters
    ----------
    dy, code : (n, pooled height, pooled width, filters)
        ``code`` as forward wrote it.
    x, dw, db, strides, padding, dilation, groups, scratch
        As in `conv2d_backward_params`.
    pool_size : (int, int)

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> window = (1, 1), ((0, 0), (0, 0)), (1, 1)  # strides, padding, dilation
    >>> x = np.array([3.0, 1.0, 2.0]).reshape(1, 1, 3, 1)
    >>> dy = np.full((1, 1, 1, 1), 10.0)
    >>> code = np.full((1, 1, 1, 1), 1, np.uint8)
    >>> dw, db = np.empty((1, 2, 1, 1)), np.empty(1)
    >>> reference.conv2d_relu_max_pool2d_backward_params(
    ...     x, dy, code, dw, db, (1, 2), *window, 1, scratch
    ... )
    >>> dw.ravel().tolist(), db.tolist()
    ([10.0, 20.0], [10.0])
    """
    gradient = _before_pooling(dy, code, _output_size(x, dw, strides, padding, dilation), pool_size)
    conv2d_backward_params(x, gradient, dw, db, strides, padding, dilation, groups, scratch)


# Dense ------------------------------------------------------------------------------------------


def dense_forward(x, w, b, y, scratch):
    """``y = x w + b``, every output from every input.

    See chapter 2, "The smallest example".

    Parameters
    ----------
    x : (n, inputs)
    w : (inputs, outputs)
    b : (outputs,) or None
    y : (n, outputs), overwritten
    scratch : Scratch

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> x, w, b = np.array([[1.0, 2.0]]), np.array([[10.0], [100.0]]), np.array([0.5])
    >>> y = np.empty((1, 1))
    >>> reference.dense_forward(x, w, b, y, scratch)
    >>> y.tolist()
    [[210.5]]
    """
    y[...] = x @ w
    if b is not None:
        y += b


def dense_relu_forward(x, w, b, y, scratch):
    """Compute ``y = max(x w + b, 0)``; NaN stays NaN.

    See chapter 10, "The same sum twice".

    Parameters
    ----------
    x, w, b, y, scratch
        As in `dense_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> x, w = np.array([[1.0, 2.0]]), np.array([[1.0, -1.0], [1.0, -1.0]])
    >>> y = np.empty((1, 2))
    >>> reference.dense_relu_forward(x, w, None, y, scratch)
    >>> y.tolist()
    [[3.0, 0.0]]
    """
    dense_forward(x, w, b, y, scratch)
    relu_forward(y, y, np.inf, 0.0, 0.0)


def dense_backward_input(dy, w, dx, scratch):
    """``dx = dy wᵀ``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    dy : (n, outputs)
    w : (inputs, outputs)
    dx : (n, inputs), overwritten
    scratch : Scratch

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> dy, w = np.array([[1.0, 1.0]]), np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> dx = np.empty((1, 2))
    >>> reference.dense_backward_input(dy, w, dx, scratch)
    >>> dx.tolist()
    [[3.0, 7.0]]
    """
    dx[...] = dy @ w.T


def dense_backward_params(x, dy, dw, db, scratch):
    """``dw = xᵀ dy`` and ``db = Σ_n dy``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x : (n, inputs)
    dy : (n, outputs)
    dw : (inputs, outputs), overwritten
    db : (outputs,), overwritten, or None
    scratch : Scratch

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> x, dy = np.array([[1.0, 2.0]]), np.array([[1.0, 10.0]])
    >>> dw, db = np.empty((2, 2)), np.empty(2)
    >>> reference.dense_backward_params(x, dy, dw, db, scratch)
    >>> dw.tolist(), db.tolist()
    ([[1.0, 10.0], [2.0, 20.0]], [1.0, 10.0])
    """
    dw[...] = x.T @ dy
    if db is not None:
        db[...] = dy.sum(0)


# Elementwise ------------------------------------------------------------------------------------


def relu_forward(x, y, max_value, negative_slope, threshold):
    """Cut off below: x where ``threshold < x``, else ``negative_slope · (x − threshold)``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x, y : any shape, the same; y may be x
    max_value : float
        Larger values become this one; ``inf`` for no bound.
    negative_slope, threshold : float

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, y = np.array([-2.0, 0.5, 9.0]), np.empty(3)
    >>> reference.relu_forward(x, y, 6.0, negative_slope=0.5, threshold=0.0)
    >>> y.tolist()
    [-1.0, 0.5, 6.0]
    """
    below = negative_slope * (x - threshold) if negative_slope else np.where(np.isnan(x), x, 0)
    y[...] = np.where(x > threshold, np.minimum(x, max_value), below)


def relu_backward(x, dy, dx, max_value, negative_slope, threshold):
    """``dy`` where ``threshold < x < max_value``, 0 at and above the bound, else sloped.

    At ``x == threshold`` the slope is that of the left side, so ReLU's gradient at zero is zero.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x, dy, dx : any shape, the same; dx may be dy
        ``x`` is the input of forward. With ``threshold = 0`` and ``negative_slope ≥ 0`` its output
        serves as well, so that forward may work in place.
    max_value, negative_slope, threshold : float
        As in forward.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, dy, dx = np.array([-2.0, 0.0, 0.5, 9.0]), np.ones(4), np.empty(4)
    >>> reference.relu_backward(x, dy, dx, 6.0, negative_slope=0.5, threshold=0.0)
    >>> dx.tolist()
    [0.5, 0.5, 1.0, 0.0]
    """
    inside = np.where(x < max_value, dy, 0)
    dx[...] = np.where(x > threshold, inside, negative_slope * dy)


def sigmoid_forward(x, y):
    """``y = 1 / (1 + e^{−x})``, without overflow.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x, y : any shape, the same; y may be x

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, y = np.array([-1000.0, 0.0, 1000.0]), np.empty(3)
    >>> reference.sigmoid_forward(x, y)
    >>> y.tolist()
    [0.0, 0.5, 1.0]
    """
    e = np.exp(-np.abs(x))
    y[...] = np.where(x < 0, e, 1) / (1 + e)


def sigmoid_backward(y, dy, dx):
    """``dx = dy · y (1 − y)``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    y, dy, dx : any shape, the same; dx may be dy
        ``y`` is the output of forward.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> y, dy, dx = np.array([0.5]), np.array([8.0]), np.empty(1)
    >>> reference.sigmoid_backward(y, dy, dx)
    >>> dx.tolist()
    [2.0]
    """
    dx[...] = dy * y * (1 - y)


def tanh_forward(x, y):
    """``y = tanh x``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x, y : any shape, the same; y may be x

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, y = np.array([-1000.0, 0.0, 1000.0]), np.empty(3)
    >>> reference.tanh_forward(x, y)
    >>> y.tolist()
    [-1.0, 0.0, 1.0]
    """
    y[...] = np.tanh(x)


def tanh_backward(y, dy, dx):
    """``dx = dy · (1 − y²)``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    y, dy, dx : any shape, the same; dx may be dy
        ``y`` is the output of forward.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> y, dy, dx = np.array([0.5]), np.array([4.0]), np.empty(1)
    >>> reference.tanh_backward(y, dy, dx)
    >>> dx.tolist()
    [3.0]
    """
    dx[...] = dy * (1 - y * y)


def softmax_forward(x, y):
    """Turn each row into probabilities: ``y_i = e^{x_i − m} / Σ_j e^{x_j − m}``, m the maximum.

    See chapter 10, "Ten numbers that sum to one".

    Parameters
    ----------
    x, y : (rows, classes); y may be x

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, y = np.array([[1000.0, 1000.0]]), np.empty((1, 2))
    >>> reference.softmax_forward(x, y)
    >>> y.tolist()
    [[0.5, 0.5]]
    """
    e = np.exp(x - x.max(1, keepdims=True))
    y[...] = e / e.sum(1, keepdims=True)


def softmax_backward(y, dy, dx):
    """``dx_i = y_i (dy_i − Σ_j dy_j y_j)``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    y, dy, dx : (rows, classes); dx may be dy
        ``y`` is the output of forward.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> y, dy, dx = np.array([[0.5, 0.5]]), np.array([[4.0, 0.0]]), np.empty((1, 2))
    >>> reference.softmax_backward(y, dy, dx)
    >>> dx.tolist()
    [[1.0, -1.0]]
    """
    dx[...] = y * (dy - (dy * y).sum(1, keepdims=True))


def dropout(x, y, rate, seed):
    """Set a random share ``rate`` to zero and scale the rest by ``1 / (1 − rate)``.

    Whether element i (in memory order) is dropped is a function of ``seed`` and i alone, so no
    mask is stored: called with dy and dx and the same seed, this is also the gradient.

    The book's networks do without it. See chapter 14, "One number has a width".

    Parameters
    ----------
    x, y : any shape, the same; y may be x
    rate : float
        In [0, 1).
    seed : int
        Below 2⁶⁴.

    Notes
    -----
    Element i is kept if the upper 53 bits of the i-th output of SplitMix64 (Steele, Lea & Flood,
    "Fast Splittable Pseudorandom Number Generators", 2014), as a fraction, are at least ``rate``.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, y, again = np.ones(1000), np.empty(1000), np.empty(1000)
    >>> reference.dropout(x, y, rate=0.5, seed=3)
    >>> reference.dropout(x, again, rate=0.5, seed=3)
    >>> np.unique(y).tolist(), y.tolist() == again.tolist()
    ([0.0, 2.0], True)
    """
    golden, first, second = (
        np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
    )
    state = np.uint64(seed) + golden * np.arange(1, x.size + 1, dtype=np.uint64)
    state = (state ^ (state >> np.uint64(30))) * first
    state = (state ^ (state >> np.uint64(27))) * second
    state ^= state >> np.uint64(31)
    keep = ((state >> np.uint64(11)) * 2.0**-53 >= rate).reshape(x.shape)
    y[...] = np.where(keep, x * x.dtype.type(1 / (1 - rate)), 0)


def gather(x, indices, y):
    """``y[i] = x[indices[i]]``: put the samples of a batch side by side.

    See chapter 14, "The text's program".

    Parameters
    ----------
    x : (samples, ...)
    indices : (n,) int64
    y : (n, ...), overwritten

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, y = np.array([[1.0], [2.0], [3.0]]), np.empty((2, 1))
    >>> reference.gather(x, np.array([2, 0]), y)
    >>> y.tolist()
    [[3.0], [1.0]]
    """
    y[...] = x[indices]


# Normalisation ----------------------------------------------------------------------------------


def batch_norm_statistics(x, mean, variance, scratch):
    """Mean and (biased) variance of each channel over a batch.

    The book's networks do without it. See chapter 11, "The chain".

    Parameters
    ----------
    x : (rows, channels)
    mean, variance : (channels,), overwritten
    scratch : Scratch

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> x, mean, variance = np.array([[1.0], [5.0]]), np.empty(1), np.empty(1)
    >>> reference.batch_norm_statistics(x, mean, variance, scratch)
    >>> mean.tolist(), variance.tolist()
    ([3.0], [4.0])
    """
    mean[...] = x.mean(0)
    variance[...] = ((x - mean) ** 2).mean(0)


def batch_norm_forward(x, mean, variance, gamma, beta, y, epsilon):
    """``y = gamma · (x − mean) / √(variance + epsilon) + beta``, channel by channel.

    The book's networks do without it. See chapter 11, "The chain".

    Parameters
    ----------
    x, y : (rows, channels); y may be x
    mean, variance, gamma, beta : (channels,)
    epsilon : float

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, y = np.array([[1.0], [5.0]]), np.empty((2, 1))
    >>> mean, variance, gamma, beta = np.array([[3.0], [4.0], [10.0], [0.5]])
    >>> reference.batch_norm_forward(x, mean, variance, gamma, beta, y, epsilon=0.0)
    >>> y.tolist()
    [[-9.5], [10.5]]
    """
    y[...] = (x - mean) * (gamma / np.sqrt(variance + x.dtype.type(epsilon))) + beta


def batch_norm_backward(x, dy, mean, variance, gamma, dx, dgamma, dbeta, epsilon, scratch):
    """Gradients of `batch_norm_forward`, through the statistics of the batch as well.

    With ``x̂ = (x − mean) / σ``: ``dbeta = Σ dy``, ``dgamma = Σ dy·x̂``,
    ``dx = gamma/σ · (dy − dbeta/rows − x̂·dgamma/rows)`` (Ioffe & Szegedy, 2015, section 3).

    The book's networks do without it. See chapter 11, "The chain".

    Parameters
    ----------
    x, dy : (rows, channels)
    mean, variance, gamma : (channels,)
        The statistics of ``x`` itself, and what forward multiplied with.
    dx : (rows, channels), overwritten; may be dy
    dgamma, dbeta : (channels,), overwritten
    epsilon : float
    scratch : Scratch

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> x, dy, dx = np.array([[1.0], [5.0]]), np.array([[2.0], [4.0]]), np.empty((2, 1))
    >>> mean, variance, gamma = np.array([[3.0], [4.0], [10.0]])
    >>> dgamma, dbeta = np.empty(1), np.empty(1)
    >>> reference.batch_norm_backward(
    ...     x, dy, mean, variance, gamma, dx, dgamma, dbeta, 0.0, scratch
    ... )
    >>> dgamma.tolist(), dbeta.tolist()  # x̂ is −1 and 1
    ([2.0], [6.0])
    """
    deviation = np.sqrt(variance + x.dtype.type(epsilon))
    normalised = (x - mean) / deviation
    dbeta[...] = dy.sum(0)
    dgamma[...] = (dy * normalised).sum(0)
    dx[...] = gamma / deviation * (dy - dbeta / len(x) - normalised * (dgamma / len(x)))


def moving_average_update(average, x, share, scratch):
    """Let an average follow what is measured: ``average ← average + share · (x − average)``.

    The book's networks do without it. See chapter 11, "The chain".

    Parameters
    ----------
    average : (channels,), updated
    x : (channels,)
    share : float
    scratch
        That of the training step which measured x.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> average = np.array([4.0])
    >>> reference.moving_average_update(average, np.array([8.0]), 0.25, scratch)
    >>> average.tolist()
    [5.0]
    """
    average += (x - average) * x.dtype.type(share)


# Losses: one number per row; backward gives scale · (derivative of that number) ------------------


def softmax_cross_entropy_forward(x, target, losses, probabilities):
    """``losses = Σ_i target_i · (log Σ_j e^{x_j} − x_i)``: softmax and loss in one stable step.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x, target : (rows, classes)
        Logits, and the wanted distribution (one-hot, or smoothed).
    losses : (rows,), overwritten
    probabilities : (rows, classes), overwritten; may be x
        ``softmax(x)``, saved for backward.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, target = np.zeros((1, 4)), np.array([[0.0, 1.0, 0.0, 0.0]])
    >>> losses, probabilities = np.empty(1), np.empty((1, 4))
    >>> reference.softmax_cross_entropy_forward(x, target, losses, probabilities)
    >>> losses.round(4).tolist(), probabilities.tolist()  # log 4
    ([1.3863], [[0.25, 0.25, 0.25, 0.25]])
    """
    shifted = x - x.max(1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(1, keepdims=True)
    losses[...] = (target * (np.log(total) - shifted)).sum(1)
    probabilities[...] = e / total


def softmax_cross_entropy_backward(probabilities, target, dx, scale):
    """``dx = scale · (probabilities · Σ target − target)``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    probabilities, target : (rows, classes)
        As in forward.
    dx : (rows, classes), overwritten; may be probabilities
    scale : float

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> probabilities, target = np.full((1, 4), 0.25), np.array([[0.0, 1.0, 0.0, 0.0]])
    >>> dx = np.empty((1, 4))
    >>> reference.softmax_cross_entropy_backward(probabilities, target, dx, scale=2.0)
    >>> dx.tolist()
    [[0.5, -1.5, 0.5, 0.5]]
    """
    dx[...] = scale * (probabilities * target.sum(1, keepdims=True) - target)


def categorical_cross_entropy_forward(p, target, losses):
    """``losses = −Σ_i target_i · log q_i`` with q the rows of p, scaled to sum 1 and clipped.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    p, target : (rows, classes)
        ``p`` holds probabilities; q stays within 1e-7 of 0 and 1.
    losses : (rows,), overwritten

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> p, target = np.full((1, 4), 0.25), np.array([[0.0, 1.0, 0.0, 0.0]])
    >>> losses = np.empty(1)
    >>> reference.categorical_cross_entropy_forward(p, target, losses)
    >>> losses.round(4).tolist()  # log 4
    [1.3863]
    """
    q = p / p.sum(1, keepdims=True)
    losses[...] = -(target * np.log(_clip(q))).sum(1)


def categorical_cross_entropy_backward(p, target, dp, scale):
    """``dp_i = scale·(g_i − Σ_j g_j q_j) / Σ p`` with ``g = −target / q``, 0 where q is clipped.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    p, target : (rows, classes)
        As in forward.
    dp : (rows, classes), overwritten
    scale : float

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> p, target = np.full((1, 4), 0.25), np.array([[0.0, 1.0, 0.0, 0.0]])
    >>> dp = np.empty((1, 4))
    >>> reference.categorical_cross_entropy_backward(p, target, dp, scale=1.0)
    >>> dp.tolist()
    [[1.0, -3.0, 1.0, 1.0]]
    """
    total = p.sum(1, keepdims=True)
    q = p / total
    g = np.where(_is_clipped(q), 0, -target / _clip(q))
    dp[...] = scale * (g - (g * q).sum(1, keepdims=True)) / total


def _clip(p):
    floor = p.dtype.type(PROBABILITY_FLOOR)
    return np.clip(p, floor, 1 - floor)


def _is_clipped(p):
    floor = p.dtype.type(PROBABILITY_FLOOR)
    return (p < floor) | (p > 1 - floor)


def sigmoid_cross_entropy_forward(x, target, losses):
    """Mean over a row of ``max(x, 0) − x·target + log(1 + e^{−|x|})``, for logits x.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x, target : (rows, outputs)
    losses : (rows,), overwritten

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, target, losses = np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.empty(1)
    >>> reference.sigmoid_cross_entropy_forward(x, target, losses)
    >>> losses.round(4).tolist()  # log 2
    [0.6931]
    """
    losses[...] = (np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))).mean(1)


def sigmoid_cross_entropy_backward(x, target, dx, scale):
    """``dx = scale · (sigmoid(x) − target) / outputs``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x, target : (rows, outputs)
        As in forward.
    dx : (rows, outputs), overwritten
    scale : float

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, target, dx = np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.empty((1, 2))
    >>> reference.sigmoid_cross_entropy_backward(x, target, dx, scale=1.0)
    >>> dx.tolist()
    [[-0.25, 0.25]]
    """
    sigmoid_forward(x, dx)
    dx[...] = scale * (dx - target) / x.shape[1]


def binary_cross_entropy_forward(p, target, losses):
    """Mean over a row of ``−target·log p − (1 − target)·log(1 − p)``, p kept 1e-7 off 0 and 1.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    p, target : (rows, outputs)
    losses : (rows,), overwritten

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> p, target, losses = np.full((1, 2), 0.5), np.array([[1.0, 0.0]]), np.empty(1)
    >>> reference.binary_cross_entropy_forward(p, target, losses)
    >>> losses.round(4).tolist()  # log 2
    [0.6931]
    """
    p = _clip(p)
    losses[...] = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean(1)


def binary_cross_entropy_backward(p, target, dp, scale):
    """``dp = scale · (p − target) / (p (1 − p)) / outputs``, 0 where p is clipped.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    p, target : (rows, outputs)
        As in forward.
    dp : (rows, outputs), overwritten
    scale : float

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> p, target, dp = np.full((1, 2), 0.5), np.array([[1.0, 0.0]]), np.empty((1, 2))
    >>> reference.binary_cross_entropy_backward(p, target, dp, scale=1.0)
    >>> dp.tolist()
    [[-1.0, 1.0]]
    """
    q = _clip(p)
    gradient = (q - target) / (q * (1 - q)) / p.shape[1]
    dp[...] = scale * np.where(_is_clipped(p), 0, gradient)


def mean_squared_error_forward(x, target, losses):
    """Mean over a row of ``(x − target)²``.

    See chapter 11, "The smallest example".

    Parameters
    ----------
    x, target : (rows, outputs)
    losses : (rows,), overwritten

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, target, losses = np.array([[1.0, 2.0]]), np.array([[1.0, 5.0]]), np.empty(1)
    >>> reference.mean_squared_error_forward(x, target, losses)
    >>> losses.tolist()
    [4.5]
    """
    losses[...] = ((x - target) ** 2).mean(1)


def mean_squared_error_backward(x, target, dx, scale):
    """``dx = scale · 2 (x − target) / outputs``.

    See chapter 11, "The smallest example".

    Parameters
    ----------
    x, target : (rows, outputs)
        As in forward.
    dx : (rows, outputs), overwritten
    scale : float

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> x, target, dx = np.array([[1.0, 2.0]]), np.array([[1.0, 5.0]]), np.empty((1, 2))
    >>> reference.mean_squared_error_backward(x, target, dx, scale=1.0)
    >>> dx.tolist()
    [[0.0, -3.0]]
    """
    dx[...] = scale * 2 * (x - target) / x.shape[1]


# Optimizers: one step for all parameters, given as one vector ------------------------------------
#
# First dw is completed: what ``scratch`` postponed is added up, part after part. If a gradient is
# NaN or infinite then, nothing else is changed and the result is False; after a step it is True.


def _complete(dw, scratch):
    """Add up what was postponed; return whether all gradients are finite."""
    sums, postponed = scratch.postponed(dw)
    for where in postponed:
        for run in range(where.runs):
            first, source = where.target + run * where.length, where.source + run * where.spacing
            starts = range(source, source + where.parts * where.step, where.step)
            parts = (sums[start : start + where.length] for start in starts)
            dw[first : first + where.length] = sum(parts)
    return bool(np.isfinite(dw).all())


def sgd_update(w, dw, velocity, learning_rate, momentum, nesterov, scratch):
    """Gradient descent: ``velocity ← momentum·velocity − rate·dw``, ``w ← w + velocity``.

    With ``nesterov`` the step is ``momentum·velocity − rate·dw``, with the new velocity.

    See chapter 11, "The smallest example".

    Parameters
    ----------
    w, velocity : (parameters,), updated
    dw : (parameters,), completed
    learning_rate, momentum : float
    nesterov : bool
    scratch : Scratch

    Returns
    -------
    bool
        Whether the step was taken: whether dw is finite.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> w, dw, velocity = np.array([1.0]), np.array([2.0]), np.array([0.0])
    >>> reference.sgd_update(w, dw, velocity, 0.25, 0.5, False, scratch)
    True
    >>> w.tolist(), velocity.tolist()
    ([0.5], [-0.5])
    """
    if not _complete(dw, scratch):
        return False
    rate, momentum = w.dtype.type(learning_rate), w.dtype.type(momentum)
    velocity[...] = momentum * velocity - rate * dw
    w += momentum * velocity - rate * dw if nesterov else velocity
    return True


def rmsprop_update(w, dw, mean_square, learning_rate, rho, epsilon, scratch):
    """Divide by the size of recent gradients: ``w ← w − rate·dw / √(mean_square + epsilon)``.

    ``mean_square ← rho·mean_square + (1 − rho)·dw²`` comes first (Tieleman & Hinton, 2012, with
    epsilon under the root as in Keras).

    See chapter 14, "One number has a width".

    Parameters
    ----------
    w, mean_square : (parameters,), updated
    dw : (parameters,), completed
    learning_rate, rho, epsilon : float
    scratch : Scratch

    Returns
    -------
    bool
        Whether the step was taken: whether dw is finite.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> w, dw, mean_square = np.array([1.0]), np.array([8.0]), np.array([0.0])
    >>> reference.rmsprop_update(w, dw, mean_square, 0.25, 0.75, 0.0, scratch)
    True
    >>> mean_square.tolist(), w.tolist()  # (1 − 0.75) · 8², and 1 − 0.25 · 8 / 4
    ([16.0], [0.5])
    """
    if not _complete(dw, scratch):
        return False
    rate, rho, epsilon = (w.dtype.type(value) for value in (learning_rate, rho, epsilon))
    mean_square[...] = rho * mean_square + (1 - rho) * dw * dw
    w -= rate * dw / np.sqrt(mean_square + epsilon)
    return True


def adam_update(w, dw, mean, mean_square, learning_rate, beta_1, beta_2, epsilon, step, scratch):
    """Adam (Kingma & Ba, 2015, in the form at the end of its section 2, as Keras).

    ``w ← w − rate·√(1 − beta_2^step)/(1 − beta_1^step) · mean / (√mean_square + epsilon)``, with
    running means of dw and dw² that keep the shares beta_1 and beta_2 of their old values.

    See chapter 2, "Which one learns better?".

    Parameters
    ----------
    w, mean, mean_square : (parameters,), updated
    dw : (parameters,), completed
    learning_rate, beta_1, beta_2, epsilon : float
    step : int
        1 for the first update.
    scratch : Scratch

    Returns
    -------
    bool
        Whether the step was taken: whether dw is finite.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.kernels import reference
    >>> scratch = reference.memory.Scratch()
    >>> w, dw, mean, mean_square = np.array([[1.0], [8.0], [0.0], [0.0]])
    >>> reference.adam_update(w, dw, mean, mean_square, 0.25, 0.5, 0.75, 0.0, 1, scratch)
    True
    >>> w.tolist(), mean.tolist(), mean_square.tolist()
    ([0.75], [4.0], [16.0])
    """
    if not _complete(dw, scratch):
        return False
    rate = w.dtype.type(learning_rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step))
    beta_1, beta_2, epsilon = (w.dtype.type(value) for value in (beta_1, beta_2, epsilon))
    mean += (dw - mean) * (1 - beta_1)
    mean_square += (dw * dw - mean_square) * (1 - beta_2)
    w -= rate * mean / (np.sqrt(mean_square) + epsilon)
    return True
