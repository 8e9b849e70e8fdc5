"""The operations of convolutional networks on plain arrays: arrays in, arrays out.

``from convlib import functional as F``, then for example ``y = F.conv2d(x, w, padding="same")``.

What holds for every function here:

* Images are ``(samples, height, width, channels)``, kernels ``(height, width, in, out)``, as in
  Keras and TensorFlow. An empty batch, with no samples, is a batch.
* Arrays may have any memory layout and any floating-point dtype, the same for all arrays of a
  call; results have that dtype. float16 is computed in float32, long double in float64. Inputs are
  never modified, results never share memory with them. Integers are refused with a `TypeError`,
  since only the caller knows whether they should be scaled.
* ``strides``, ``dilation`` and ``pool_size`` are one integer or (vertical, horizontal).
  ``padding`` is 'valid' (none), 'same' (as much as gives ⌈size / stride⌉ outputs, an odd pixel at
  the bottom and right), an integer for all sides, two for (top and bottom, left and right), or
  pairs ``((top, bottom), (left, right))``.
* A gradient function gets the inputs of the operation and ``dy``, the gradient of a number (the
  loss) with respect to its result, and returns the gradient with respect to one of the inputs.
* ``backend`` is 'cpu' (compiled on first use), 'cuda' (the same on an NVIDIA GPU), 'reference'
  (plain NumPy), or 'auto': on the GPU if the arrays lie there, else 'cpu'.
* Arrays on a GPU, of any package (anything with ``__cuda_array_interface__``), are neither copied
  nor converted: they must be contiguous float32 or float64, and results lie there too, as numba's
  device arrays. Arrays of the host given to 'cuda' are copied there, and results back.
* What does not fit together raises a `ValueError` that says what was expected and what arrived.
* All functions may be called from several threads at once.
"""

from collections.abc import Iterable
from math import inf
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from convlib import shapes
from convlib.kernels import get_backend
from convlib.kernels.memory import is_device_array

__all__ = [
    "average_pool2d",
    "average_pool2d_gradient",
    "col2im",
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_kernel_gradient",
    "convolve2d",
    "correlate2d",
    "dense",
    "dense_input_gradient",
    "dense_kernel_gradient",
    "depthwise_conv2d",
    "depthwise_conv2d_input_gradient",
    "depthwise_conv2d_kernel_gradient",
    "im2col",
    "max_pool2d",
    "max_pool2d_gradient",
    "relu",
    "relu_gradient",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_gradient",
]

Size = int | Iterable[int]
Padding = str | int | Iterable

_IMAGES = ("samples", "height", "width", "channels")
_KERNELS = ("kernel height", "kernel width", "channels / groups", "filters")
_DEPTHWISE_KERNELS = ("kernel height", "kernel width", "channels", "multiplier")
_COLUMNS = ("samples", "output height", "output width", "kernel height · kernel width · channels")
_BORDERS = {"zero": "constant", "edge": "edge", "reflect": "reflect"}


# Checking arguments -----------------------------------------------------------------------------


class _Call(NamedTuple):
    """How one call computes: with which kernels, in which dtype, and what it gives back."""

    kernels: ModuleType
    computed: type
    dtype: np.dtype
    returns_to_host: bool

    def empty(self, shape, dtype=None):
        """Return an array for the kernels to fill."""
        return self.kernels.memory.empty(shape, dtype or self.computed)

    def scratch(self):
        """Return work memory for the kernels."""
        return self.kernels.memory.Scratch()

    def take(self, array):
        """Return an array of the host as the kernels can read it."""
        return self.kernels.memory.from_host(array)

    def result(self, array):
        """Return what was computed, where the caller's arrays are and in their dtype."""
        if not self.returns_to_host:
            return array
        return self.kernels.memory.to_host(array).astype(self.dtype, copy=False)


def _prepared(backend, **arrays):
    """Return the `_Call`, then each array: contiguous, where and as the kernels want it."""
    given = {
        name: array if is_device_array(array) else np.asarray(array)
        for name, array in arrays.items()
        if array is not None or name != "b"  # the only one that may be left out
    }
    first, dtype = next((name, array.dtype) for name, array in given.items())
    for name, array in given.items():
        if array.dtype.kind != "f":
            advice = ""
            if array.dtype.kind in "iub":
                scaled = " / 255" if array.dtype == np.uint8 else ""
                advice = f"; convert it first: {name}.astype('float32'){scaled}"
            raise TypeError(f"{name} must hold floating-point numbers, got {array.dtype}{advice}")
        if array.dtype.type != dtype.type:
            raise TypeError(
                f"all arrays must have one dtype, but {first} is {dtype} and {name} is "
                f"{array.dtype}; convert one: {name}.astype('{dtype}')"
            )
    if any(map(is_device_array, given.values())):
        call, ready = _on_device(backend, dtype, given)
    else:
        computed = np.float32 if dtype.itemsize <= 4 else np.float64
        call = _Call(get_backend("cpu" if backend == "auto" else backend), computed, dtype, True)
        # Aligned and writeable too: for other arrays the kernels would be compiled once more.
        ready = {
            name: call.take(np.require(array, computed, "CAW")) for name, array in given.items()
        }
    return call, *(ready.get(name) for name in arrays)


def _on_device(backend, dtype, given):
    """Return the `_Call` and the arrays if they lie on a GPU."""
    if backend not in ("auto", "cuda"):
        raise TypeError(f"the arrays lie on a GPU, where backend={backend!r} cannot read them")
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"on a GPU arrays must be float32 or float64, got {dtype}")
    call = _Call(get_backend("cuda"), dtype.type, dtype, False)
    ready = {}
    for name, array in given.items():
        if not is_device_array(array):
            raise TypeError(
                f"all arrays must lie on the GPU or none, but {name} lies in the host's memory"
            )
        ready[name] = call.kernels.memory.adopt(array)
        if not ready[name].is_c_contiguous():
            raise ValueError(f"on a GPU arrays must be contiguous, which {name} is not")
    return call, ready


def _check_dimensions(name, array, dimensions):
    """Refuse another number of dimensions, and an empty one that is not the samples."""
    expected = f"({', '.join(dimensions)})"
    if array.ndim != len(dimensions):
        hint = ""
        if dimensions[0] == "samples" and array.ndim == len(dimensions) - 1:
            hint = f"; a batch of one is {name}[None]"
        raise ValueError(f"{name} must have shape {expected}, got {array.shape}{hint}")
    sizes = array.shape[1:] if dimensions[0] == "samples" else array.shape
    if 0 in sizes:
        raise ValueError(f"{name} must not be empty in {expected}, got {array.shape}")


def _check_shape(name, array, shape, why):
    if array is not None and array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, {why}, got {array.shape}")


class _Window(NamedTuple):
    """A sliding window, checked: the sizes of its output, and how kernels want it described."""

    output_size: shapes.Pair
    strides: shapes.Pair
    padding: shapes.Padding
    dilation: shapes.Pair


def _window(input_size, kernel_size, strides, padding, dilation=1) -> _Window:
    strides, dilation = shapes.pair(strides, "strides"), shapes.pair(dilation, "dilation")
    output_size, padding = shapes.window_geometry(
        input_size, kernel_size, strides, padding, dilation
    )
    return _Window(output_size, strides, padding, dilation)


def _convolution(call, x, w, dy, strides, padding, dilation, groups):
    """Check a convolution; return the shape of its output and the kernels' last arguments."""
    _check_dimensions("x", x, _IMAGES)
    _check_dimensions("w", w, _KERNELS)
    channels, filters = x.shape[3], w.shape[3]
    is_count = isinstance(groups, int | np.integer) and groups >= 1
    if not is_count or channels % groups or filters % groups:
        raise ValueError(
            f"groups must be an integer that divides the {channels} channels of x and the "
            f"{filters} filters of w, got {groups!r}"
        )
    if w.shape[2] != channels // groups:
        raise ValueError(
            f"w must have {channels // groups} channels in its third dimension, for x with "
            f"{channels} channels and groups={groups}, got x {x.shape} and w {w.shape}"
        )
    output, *window = _window(x.shape[1:3], w.shape[:2], strides, padding, dilation)
    shape = (len(x), *output, filters)
    _check_shape("dy", dy, shape, "that of the convolution's output")
    return shape, (*window, int(groups), call.scratch())


def _depthwise_convolution(call, x, w, dy, strides, padding, dilation):
    """Check a depthwise convolution as `_convolution` does."""
    _check_dimensions("x", x, _IMAGES)
    _check_dimensions("w", w, _DEPTHWISE_KERNELS)
    if w.shape[2] != x.shape[3]:
        raise ValueError(
            f"w must have as many channels in its third dimension as x in its last, "
            f"got x {x.shape} and w {w.shape}"
        )
    output, *window = _window(x.shape[1:3], w.shape[:2], strides, padding, dilation)
    shape = (len(x), *output, w.shape[2] * w.shape[3])
    _check_shape("dy", dy, shape, "that of the convolution's output")
    return shape, (*window, call.scratch())


def _pooling(x, dy, pool_size, strides, padding):
    """Check a pooling step; return the shape of its output and the kernels' last arguments."""
    _check_dimensions("x", x, _IMAGES)
    pool_size = shapes.pair(pool_size, "pool_size")
    strides = pool_size if strides is None else strides
    output, strides, padding, _ = _window(x.shape[1:3], pool_size, strides, padding)
    for sides, size in zip(padding, pool_size, strict=True):
        if max(sides) >= size:
            raise ValueError(
                f"padding must be smaller than the {pool_size[0]}×{pool_size[1]} window, or some "
                f"windows would hold no pixel, got {padding}"
            )
    shape = (len(x), *output, x.shape[3])
    _check_shape("dy", dy, shape, "that of the pooling's output")
    return shape, (pool_size, strides, padding)


def _check_dense(x, w, b, dy):
    _check_dimensions("x", x, ("samples", "inputs"))
    _check_dimensions("w", w, ("inputs", "outputs"))
    if x.shape[1] != w.shape[0]:
        raise ValueError(
            f"w must have as many rows as x has columns, got x {x.shape} and w {w.shape}"
        )
    _check_shape("b", b, w.shape[1:], "one number for each output")
    _check_shape("dy", dy, (len(x), w.shape[1]), "that of the layer's output")


# Convolution ------------------------------------------------------------------------------------


def conv2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    groups: int = 1,
    backend: str = "auto",
) -> np.ndarray:
    """Slide a bank of filters over images: multiply, sum, add the bias.

    ``y[n,i,j,o] = b[o] + Σ_{u,v,c} x[n, i·s+u·d−top, j·s+v·d−left, c] · w[u,v,c,o]``, with strides
    s, dilation d, and zeros outside the image. The kernel is not flipped: what deep-learning
    libraries call convolution is cross-correlation (see `convolve2d` for the difference).

    See chapter 4, "In symbols".

    Parameters
    ----------
    x : (samples, height, width, channels)
    w : (kernel height, kernel width, channels / groups, filters)
    b : (filters,), optional
        Added to every output pixel.
    strides : int or (int, int), default 1
        How far the window moves from one output to the next.
    padding : 'valid', 'same', int, (int, int) or ((int, int), (int, int)), default 'valid'
        Zeros around the image; see the module's description.
    dilation : int or (int, int), default 1
        Distance of neighbouring kernel elements, in pixels.
    groups : int, default 1
        Parts that the channels are split in, each seen by its share of the filters alone.
    backend : {'auto', 'cpu', 'cuda', 'reference'}, default 'auto'

    Returns
    -------
    ndarray, (samples, output height, output width, filters)

    Raises
    ------
    TypeError
        If an array holds no floating-point numbers, or their dtypes differ.
    ValueError
        If shapes do not fit together, or the kernel is larger than the padded image; or if
        ``backend`` is none of these.
    RuntimeError
        If ``backend`` is 'cuda' and there is no GPU that can be used.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> difference = np.array([-1.0, 1.0]).reshape(1, 2, 1, 1)
    >>> F.conv2d(x, difference)[0, :, :, 0]
    array([[1., 1.],
           [1., 1.],
           [1., 1.]])
    """
    call, x, w, b = _prepared(backend, x=x, w=w, b=b)
    shape, options = _convolution(call, x, w, None, strides, padding, dilation, groups)
    _check_shape("b", b, shape[3:], "one number for each filter")
    y = call.empty(shape)
    call.kernels.conv2d_forward(x, w, b, y, *options)
    return call.result(y)


def conv2d_input_gradient(
    x: ArrayLike,
    w: ArrayLike,
    dy: ArrayLike,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    groups: int = 1,
    backend: str = "auto",
) -> np.ndarray:
    """Return the gradient of `conv2d` with respect to its input.

    This is the transposed convolution of ``dy``: every output's gradient goes back to the pixels
    that it was computed from, each times the weight that it was multiplied with.

    See chapter 11, "Pictures instead of rows".

    Parameters
    ----------
    x : (samples, height, width, channels)
        Only its shape matters.
    w : (kernel height, kernel width, channels / groups, filters)
    dy : (samples, output height, output width, filters)
    strides, padding, dilation, groups, backend
        As in `conv2d`.

    Returns
    -------
    ndarray, the shape of x

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `conv2d`.

    Examples
    --------
    How many windows use each pixel of a row of five:

    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x, w, dy = np.zeros((1, 1, 5, 1)), np.ones((1, 3, 1, 1)), np.ones((1, 1, 3, 1))
    >>> F.conv2d_input_gradient(x, w, dy).ravel()
    array([1., 2., 3., 2., 1.])
    """
    call, x, w, dy = _prepared(backend, x=x, w=w, dy=dy)
    _, options = _convolution(call, x, w, dy, strides, padding, dilation, groups)
    dx = call.empty(x.shape)
    call.kernels.conv2d_backward_input(dy, w, dx, *options)
    return call.result(dx)


def conv2d_kernel_gradient(
    x: ArrayLike,
    w: ArrayLike,
    dy: ArrayLike,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    groups: int = 1,
    backend: str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of `conv2d` with respect to its kernel and its bias.

    ``dw[u,v,c,o] = Σ_{n,i,j} x[n, i·s+u·d−top, j·s+v·d−left, c] · dy[n,i,j,o]``: the input is
    correlated with the output's gradient. The bias gets the sum of ``dy`` over samples and pixels.

    See chapter 11, "Pictures instead of rows".

    Parameters
    ----------
    x : (samples, height, width, channels)
    w : (kernel height, kernel width, channels / groups, filters)
        Only its shape matters.
    dy : (samples, output height, output width, filters)
    strides, padding, dilation, groups, backend
        As in `conv2d`.

    Returns
    -------
    dw : ndarray, the shape of w
    db : ndarray, (filters,)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x, w = np.arange(5.0).reshape(1, 1, 5, 1), np.zeros((1, 3, 1, 1))
    >>> dw, db = F.conv2d_kernel_gradient(x, w, np.ones((1, 1, 3, 1)))
    >>> dw.ravel(), db
    (array([3., 6., 9.]), array([3.]))
    """
    call, x, w, dy = _prepared(backend, x=x, w=w, dy=dy)
    _, options = _convolution(call, x, w, dy, strides, padding, dilation, groups)
    dw, db = call.empty(w.shape), call.empty((w.shape[3],))
    call.kernels.conv2d_backward_params(x, dy, dw, db, *options)
    return call.result(dw), call.result(db)


def depthwise_conv2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    backend: str = "auto",
) -> np.ndarray:
    """Convolve every channel with filters of its own.

    Output channel ``c · multiplier + k`` is input channel c under kernel ``w[:, :, c, k]``.

    See chapter 3, "A common mistake: “32 filters are 32 flat pictures in every layer”".

    Parameters
    ----------
    x : (samples, height, width, channels)
    w : (kernel height, kernel width, channels, multiplier)
    b : (channels · multiplier,), optional
        Added to every output pixel.
    strides, padding, dilation, backend
        As in `conv2d`.

    Returns
    -------
    ndarray, (samples, output height, output width, channels · multiplier)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x = np.ones((1, 2, 2, 3))
    >>> w = np.array([1.0, 10.0, 100.0]).reshape(1, 1, 3, 1)
    >>> F.depthwise_conv2d(x, w)[0, 0, 0]
    array([  1.,  10., 100.])
    """
    call, x, w, b = _prepared(backend, x=x, w=w, b=b)
    shape, options = _depthwise_convolution(call, x, w, None, strides, padding, dilation)
    _check_shape("b", b, shape[3:], "one number for each channel and multiplier")
    y = call.empty(shape)
    call.kernels.depthwise_conv2d_forward(x, w, b, y, *options)
    return call.result(y)


def depthwise_conv2d_input_gradient(
    x: ArrayLike,
    w: ArrayLike,
    dy: ArrayLike,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    backend: str = "auto",
) -> np.ndarray:
    """Return the gradient of `depthwise_conv2d` with respect to its input.

    See chapter 11, "Two patterns".

    Parameters
    ----------
    x : (samples, height, width, channels)
        Only its shape matters.
    w : (kernel height, kernel width, channels, multiplier)
    dy : (samples, output height, output width, channels · multiplier)
    strides, padding, dilation, backend
        As in `conv2d`.

    Returns
    -------
    ndarray, the shape of x

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x, w, dy = np.zeros((1, 1, 5, 1)), np.ones((1, 3, 1, 2)), np.ones((1, 1, 3, 2))
    >>> F.depthwise_conv2d_input_gradient(x, w, dy).ravel()
    array([2., 4., 6., 4., 2.])
    """
    call, x, w, dy = _prepared(backend, x=x, w=w, dy=dy)
    _, options = _depthwise_convolution(call, x, w, dy, strides, padding, dilation)
    dx = call.empty(x.shape)
    call.kernels.depthwise_conv2d_backward_input(dy, w, dx, *options)
    return call.result(dx)


def depthwise_conv2d_kernel_gradient(
    x: ArrayLike,
    w: ArrayLike,
    dy: ArrayLike,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    backend: str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of `depthwise_conv2d` with respect to its kernel and its bias.

    See chapter 11, "Two patterns".

    Parameters
    ----------
    x : (samples, height, width, channels)
    w : (kernel height, kernel width, channels, multiplier)
        Only its shape matters.
    dy : (samples, output height, output width, channels · multiplier)
    strides, padding, dilation, backend
        As in `conv2d`.

    Returns
    -------
    dw : ndarray, the shape of w
    db : ndarray, (channels · multiplier,)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x, w = np.arange(5.0).reshape(1, 1, 5, 1), np.zeros((1, 3, 1, 1))
    >>> dw, db = F.depthwise_conv2d_kernel_gradient(x, w, np.ones((1, 1, 3, 1)))
    >>> dw.ravel(), db
    (array([3., 6., 9.]), array([3.]))
    """
    call, x, w, dy = _prepared(backend, x=x, w=w, dy=dy)
    _, options = _depthwise_convolution(call, x, w, dy, strides, padding, dilation)
    dw, db = call.empty(w.shape), call.empty((dy.shape[3],))
    call.kernels.depthwise_conv2d_backward_params(x, dy, dw, db, *options)
    return call.result(dw), call.result(db)


def im2col(
    x: ArrayLike,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    backend: str = "auto",
) -> np.ndarray:
    """Write the patch under each window as one row, which makes convolution a matrix product.

    See chapter 4, "Three ways to write it".

    Parameters
    ----------
    x : (samples, height, width, channels)
    kernel_size : int or (int, int)
    strides, padding, dilation, backend
        As in `conv2d`.

    Returns
    -------
    ndarray, (samples, output height, output width, kernel height · kernel width · channels)
        Patches in the order of ``w.reshape(-1, filters)``: row, column, channel.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.arange(4.0).reshape(2, 2, 1, 1)
    >>> columns = F.im2col(x, 2)
    >>> columns[0, 0, 0]
    array([0., 1., 3., 4.])
    >>> bool(np.all(columns @ w.reshape(-1, 1) == F.conv2d(x, w)))
    True
    """
    call, x = _prepared(backend, x=x)
    _check_dimensions("x", x, _IMAGES)
    kernel_size = shapes.pair(kernel_size, "kernel_size")
    output, *window = _window(x.shape[1:3], kernel_size, strides, padding, dilation)
    columns = call.empty((len(x), *output, kernel_size[0] * kernel_size[1] * x.shape[3]))
    call.kernels.im2col(x, columns, kernel_size, *window)
    return call.result(columns)


def col2im(
    columns: ArrayLike,
    input_size: Size,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    backend: str = "auto",
) -> np.ndarray:
    """Add patches back to where `im2col` took them.

    This is the transpose of `im2col`, not its inverse: a pixel in several patches gets their sum.

    See chapter 5, "How often is each pixel used?".

    Parameters
    ----------
    columns : (samples, output height, output width, kernel height · kernel width · channels)
    input_size : int or (int, int)
        Height and width of the images.
    kernel_size : int or (int, int)
    strides, padding, dilation, backend
        As in `conv2d`.

    Returns
    -------
    ndarray, (samples, height, width, channels)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> F.col2im(np.ones((1, 2, 2, 4)), input_size=3, kernel_size=2)[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    call, columns = _prepared(backend, columns=columns)
    _check_dimensions("columns", columns, _COLUMNS)
    input_size = shapes.pair(input_size, "input_size")
    kernel_size = shapes.pair(kernel_size, "kernel_size")
    output, *window = _window(input_size, kernel_size, strides, padding, dilation)
    channels, rest = divmod(columns.shape[3], kernel_size[0] * kernel_size[1])
    if columns.shape[1:3] != output or rest:
        raise ValueError(
            f"columns must have shape (samples, {output[0]}, {output[1]}, a multiple of "
            f"{kernel_size[0] * kernel_size[1]}), got {columns.shape}"
        )
    x = call.empty((len(columns), *input_size, channels))
    call.kernels.col2im(columns, x, kernel_size, *window)
    return call.result(x)


# Pooling ----------------------------------------------------------------------------------------


def max_pool2d(
    x: ArrayLike,
    pool_size: Size = 2,
    *,
    strides: Size | None = None,
    padding: Padding = "valid",
    backend: str = "auto",
) -> np.ndarray:
    """Keep the largest value under each window.

    Padding never wins, and a NaN in the window always does.

    See chapter 7, "The definition".

    Parameters
    ----------
    x : (samples, height, width, channels)
    pool_size : int or (int, int), default 2
    strides : int or (int, int), optional
        The pool size if not given, so that windows touch but do not overlap.
    padding : 'valid', 'same', int, (int, int) or ((int, int), (int, int)), default 'valid'
        Smaller than the window on each side.
    backend : {'auto', 'cpu', 'cuda', 'reference'}, default 'auto'

    Returns
    -------
    ndarray, (samples, output height, output width, channels)

    Raises
    ------
    TypeError
        If x holds no floating-point numbers.
    ValueError
        If shapes do not fit together, or some window would hold no pixel.
    RuntimeError
        If ``backend`` is 'cuda' and there is no GPU that can be used.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> F.max_pool2d(np.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """
    call, x = _prepared(backend, x=x)
    shape, options = _pooling(x, None, pool_size, strides, padding)
    y, _ = _max_pool2d(call, x, shape, options)
    return call.result(y)


def _max_pool2d(call, x, shape, options):
    (height, width), *_ = options
    y, argmax = call.empty(shape), call.empty(shape, np.min_scalar_type(height * width - 1))
    call.kernels.max_pool2d_forward(x, y, argmax, *options)
    return y, argmax


def max_pool2d_gradient(
    x: ArrayLike,
    dy: ArrayLike,
    pool_size: Size = 2,
    *,
    strides: Size | None = None,
    padding: Padding = "valid",
    backend: str = "auto",
) -> np.ndarray:
    """Return the gradient of `max_pool2d`: each window's goes to its largest pixel alone.

    Of equal pixels the first (row by row) gets it. Where windows overlap, gradients add.

    See chapter 7, "Backward: one winner takes it all".

    Parameters
    ----------
    x : (samples, height, width, channels)
        What was pooled.
    dy : (samples, output height, output width, channels)
    pool_size, strides, padding, backend
        As in `max_pool2d`.

    Returns
    -------
    ndarray, the shape of x

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `max_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x = np.array([[3.0, 1.0], [2.0, 3.0]]).reshape(1, 2, 2, 1)
    >>> F.max_pool2d_gradient(x, np.ones((1, 1, 1, 1)))[0, :, :, 0]
    array([[1., 0.],
           [0., 0.]])
    """
    call, x, dy = _prepared(backend, x=x, dy=dy)
    shape, options = _pooling(x, dy, pool_size, strides, padding)
    _, argmax = _max_pool2d(call, x, shape, options)
    dx = call.empty(x.shape)
    call.kernels.max_pool2d_backward(dy, argmax, dx, *options)
    return call.result(dx)


def average_pool2d(
    x: ArrayLike,
    pool_size: Size = 2,
    *,
    strides: Size | None = None,
    padding: Padding = "valid",
    backend: str = "auto",
) -> np.ndarray:
    """Take the mean of the pixels under each window; padding is not counted.

    See chapter 7, "A common mistake: “pooling is a kind of convolution”".

    Parameters
    ----------
    x : (samples, height, width, channels)
    pool_size, strides, padding, backend
        As in `max_pool2d`.

    Returns
    -------
    ndarray, (samples, output height, output width, channels)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `max_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> F.average_pool2d(np.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    call, x = _prepared(backend, x=x)
    shape, options = _pooling(x, None, pool_size, strides, padding)
    y = call.empty(shape)
    call.kernels.average_pool2d_forward(x, y, *options)
    return call.result(y)


def average_pool2d_gradient(
    x: ArrayLike,
    dy: ArrayLike,
    pool_size: Size = 2,
    *,
    strides: Size | None = None,
    padding: Padding = "valid",
    backend: str = "auto",
) -> np.ndarray:
    """Return the gradient of `average_pool2d`: each window's is shared equally by its pixels.

    See chapter 11, "A pooling sends it to the winner".

    Parameters
    ----------
    x : (samples, height, width, channels)
        Only its shape matters.
    dy : (samples, output height, output width, channels)
    pool_size, strides, padding, backend
        As in `max_pool2d`.

    Returns
    -------
    ndarray, the shape of x

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `max_pool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x, dy = np.zeros((1, 2, 3, 1)), np.ones((1, 1, 1, 1))
    >>> F.average_pool2d_gradient(x, dy)[0, :, :, 0]
    array([[0.25, 0.25, 0.  ],
           [0.25, 0.25, 0.  ]])
    """
    call, x, dy = _prepared(backend, x=x, dy=dy)
    _, options = _pooling(x, dy, pool_size, strides, padding)
    dx = call.empty(x.shape)
    call.kernels.average_pool2d_backward(dy, dx, *options)
    return call.result(dx)


# Dense ------------------------------------------------------------------------------------------


def dense(
    x: ArrayLike, w: ArrayLike, b: ArrayLike | None = None, *, backend: str = "auto"
) -> np.ndarray:
    """Compute ``x w + b``: every output from every input.

    See chapter 2, "The smallest example".

    Parameters
    ----------
    x : (samples, inputs)
    w : (inputs, outputs)
    b : (outputs,), optional
    backend : {'auto', 'cpu', 'cuda', 'reference'}, default 'auto'

    Returns
    -------
    ndarray, (samples, outputs)

    Raises
    ------
    TypeError
        If an array holds no floating-point numbers, or their dtypes differ.
    ValueError
        If shapes do not fit together.
    RuntimeError
        If ``backend`` is 'cuda' and there is no GPU that can be used.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x, w, b = np.array([[1.0, 2.0]]), np.array([[10.0], [100.0]]), np.array([0.5])
    >>> F.dense(x, w, b)
    array([[210.5]])
    """
    call, x, w, b = _prepared(backend, x=x, w=w, b=b)
    _check_dense(x, w, b, None)
    y = call.empty((len(x), w.shape[1]))
    call.kernels.dense_forward(x, w, b, y, call.scratch())
    return call.result(y)


def dense_input_gradient(
    x: ArrayLike, w: ArrayLike, dy: ArrayLike, *, backend: str = "auto"
) -> np.ndarray:
    """Return the gradient of `dense` with respect to its input, ``dy wᵀ``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x : (samples, inputs)
        Only its shape matters.
    w : (inputs, outputs)
    dy : (samples, outputs)
    backend
        As in `dense`.

    Returns
    -------
    ndarray, (samples, inputs)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `dense`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x, w = np.zeros((1, 2)), np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> F.dense_input_gradient(x, w, np.array([[1.0, 1.0]]))
    array([[3., 7.]])
    """
    call, x, w, dy = _prepared(backend, x=x, w=w, dy=dy)
    _check_dense(x, w, None, dy)
    dx = call.empty(x.shape)
    call.kernels.dense_backward_input(dy, w, dx, call.scratch())
    return call.result(dx)


def dense_kernel_gradient(
    x: ArrayLike, w: ArrayLike, dy: ArrayLike, *, backend: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of `dense` with respect to its matrix, ``xᵀ dy``, and its bias.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x : (samples, inputs)
    w : (inputs, outputs)
        Only its shape matters.
    dy : (samples, outputs)
    backend
        As in `dense`.

    Returns
    -------
    dw : ndarray, (inputs, outputs)
    db : ndarray, (outputs,)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `dense`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> x, w, dy = np.array([[1.0, 2.0]]), np.zeros((2, 2)), np.array([[1.0, 10.0]])
    >>> F.dense_kernel_gradient(x, w, dy)
    (array([[ 1., 10.],
           [ 2., 20.]]), array([ 1., 10.]))
    """
    call, x, w, dy = _prepared(backend, x=x, w=w, dy=dy)
    _check_dense(x, w, None, dy)
    dw, db = call.empty(w.shape), call.empty((w.shape[1],))
    call.kernels.dense_backward_params(x, dy, dw, db, call.scratch())
    return call.result(dw), call.result(db)


# Activations and losses -------------------------------------------------------------------------


def relu(
    x: ArrayLike,
    *,
    max_value: float | None = None,
    negative_slope: float = 0.0,
    threshold: float = 0.0,
    backend: str = "auto",
) -> np.ndarray:
    """Cut off below: x above the threshold, else ``negative_slope · (x − threshold)``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x : any shape
    max_value : float, optional
        Larger values become this one.
    negative_slope : float, default 0
        The slope below the threshold; leaky if not 0.
    threshold : float, default 0
    backend : {'auto', 'cpu', 'cuda', 'reference'}, default 'auto'

    Returns
    -------
    ndarray, the shape of x

    Raises
    ------
    TypeError
        If x holds no floating-point numbers.
    ValueError
        If ``backend`` is none of these.
    RuntimeError
        If ``backend`` is 'cuda' and there is no GPU that can be used.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> F.relu(np.array([-2.0, 0.5, 9.0]), max_value=6, negative_slope=0.1)
    array([-0.2,  0.5,  6. ])
    """
    call, x = _prepared(backend, x=x)
    y = call.empty(x.shape)
    bound = inf if max_value is None else float(max_value)
    call.kernels.relu_forward(x, y, bound, float(negative_slope), float(threshold))
    return call.result(y)


def relu_gradient(
    x: ArrayLike,
    dy: ArrayLike,
    *,
    max_value: float | None = None,
    negative_slope: float = 0.0,
    threshold: float = 0.0,
    backend: str = "auto",
) -> np.ndarray:
    """Return the gradient of `relu`: ``dy`` times the slope at x.

    At the threshold the slope is that of the left side, and at the upper bound it is 0.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x : any shape
        What went into `relu`.
    dy : the shape of x
    max_value, negative_slope, threshold, backend
        As in `relu`.

    Returns
    -------
    ndarray, the shape of x

    Raises
    ------
    ValueError
        If ``dy`` has another shape than x.
    TypeError, RuntimeError
        As in `relu`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> F.relu_gradient(np.array([-2.0, 0.0, 0.5]), np.array([1.0, 1.0, 1.0]))
    array([0., 0., 1.])
    """
    call, x, dy = _prepared(backend, x=x, dy=dy)
    _check_shape("dy", dy, x.shape, "that of x")
    dx = call.empty(x.shape)
    bound = inf if max_value is None else float(max_value)
    call.kernels.relu_backward(x, dy, dx, bound, float(negative_slope), float(threshold))
    return call.result(dx)


def softmax(x: ArrayLike, *, backend: str = "auto") -> np.ndarray:
    """Turn numbers into probabilities along the last dimension: ``e^{x_i} / Σ_j e^{x_j}``.

    See chapter 10, "Ten numbers that sum to one".

    Parameters
    ----------
    x : (..., classes)
        Logits, of any size: nothing overflows.
    backend : {'auto', 'cpu', 'cuda', 'reference'}, default 'auto'

    Returns
    -------
    ndarray, the shape of x

    Raises
    ------
    TypeError
        If x holds no floating-point numbers.
    ValueError
        If x has no last dimension, or it is empty.
    RuntimeError
        If ``backend`` is 'cuda' and there is no GPU that can be used.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> F.softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    call, x = _prepared(backend, x=x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"x must have at least one class in its last dimension, got {x.shape}")
    y = call.empty(x.shape)
    rows = (-1, x.shape[-1]) if x.size else (0, x.shape[-1])
    call.kernels.softmax_forward(x.reshape(rows), y.reshape(rows))
    return call.result(y)


def softmax_cross_entropy(x: ArrayLike, target: ArrayLike, *, backend: str = "auto") -> np.ndarray:
    """Return the cross-entropy of a target and the softmax of x, one number for each sample.

    ``losses = Σ_i target_i · (log Σ_j e^{x_j} − x_i)``, in one step that neither overflows nor
    takes the logarithm of zero.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x : (samples, classes)
        Logits, that is numbers before a softmax.
    target : (samples, classes) of floats or (samples,) of integers
        The wanted distribution, or the number of the right class.
    backend : {'auto', 'cpu', 'cuda', 'reference'}, default 'auto'

    Returns
    -------
    ndarray, (samples,)

    Raises
    ------
    TypeError
        If x holds no floating-point numbers, or the distributions have another dtype.
    ValueError
        If shapes do not fit together, or there is no such class.
    RuntimeError
        If ``backend`` is 'cuda' and there is no GPU that can be used.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> F.softmax_cross_entropy(np.zeros((2, 10)), np.array([3, 7])).round(4)
    array([2.3026, 2.3026])
    """
    call, x, target = _logits_and_target(backend, x, target)
    losses, _ = _softmax_cross_entropy(call, x, target)
    return call.result(losses)


def _logits_and_target(backend, x, target):
    target = target if is_device_array(target) else np.asarray(target)
    if len(target.shape) != 1 or target.dtype.kind not in "iu":
        call, x, target = _prepared(backend, x=x, target=target)
        _check_dimensions("x", x, ("samples", "classes"))
        _check_shape("target", target, x.shape, "that of x")
        return call, x, target
    call, x = _prepared(backend, x=x)
    _check_dimensions("x", x, ("samples", "classes"))
    _check_shape("target", target, x.shape[:1], "one class for each row of x")
    if is_device_array(target):
        target = call.kernels.memory.to_host(call.kernels.memory.adopt(target))
    wrong = target[(target < 0) | (target >= x.shape[1])]
    if wrong.size:
        raise ValueError(f"target must be classes from 0 to {x.shape[1] - 1}, got {wrong[0]}")
    one_hot = np.zeros(x.shape, call.computed)
    one_hot[np.arange(len(x)), target] = 1
    return call, x, call.take(one_hot)


def _softmax_cross_entropy(call, x, target):
    losses, probabilities = call.empty((len(x),)), call.empty(x.shape)
    call.kernels.softmax_cross_entropy_forward(x, target, losses, probabilities)
    return losses, probabilities


def softmax_cross_entropy_gradient(
    x: ArrayLike, target: ArrayLike, *, scale: float = 1.0, backend: str = "auto"
) -> np.ndarray:
    """Return the gradient of ``scale`` times the sum of `softmax_cross_entropy`.

    For a distribution as target it is ``scale · (softmax(x) − target)``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    x : (samples, classes)
        Logits.
    target : (samples, classes) of floats or (samples,) of integers
        As in `softmax_cross_entropy`.
    scale : float, default 1
        ``1 / samples`` gives the gradient of the mean.
    backend : {'auto', 'cpu', 'cuda', 'reference'}, default 'auto'

    Returns
    -------
    ndarray, the shape of x

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `softmax_cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> F.softmax_cross_entropy_gradient(np.zeros((1, 4)), np.array([0]))
    array([[-0.75,  0.25,  0.25,  0.25]])
    """
    call, x, target = _logits_and_target(backend, x, target)
    _, probabilities = _softmax_cross_entropy(call, x, target)
    dx = call.empty(x.shape)
    call.kernels.softmax_cross_entropy_backward(probabilities, target, dx, float(scale))
    return call.result(dx)


# Image processing -------------------------------------------------------------------------------


def convolve2d(
    image: ArrayLike,
    kernel: ArrayLike,
    *,
    mode: str = "same",
    border: str = "zero",
    backend: str = "auto",
) -> np.ndarray:
    """Convolve an image with a kernel, as mathematics means it: with the kernel flipped.

    ``y[i,j] = Σ_{u,v} image[i−u+p, j−v+q] · kernel[u,v]``, where (p, q) is the kernel's centre,
    element ``(size − 1) // 2`` in each direction; every channel by itself. This is `correlate2d`
    with the kernel turned by 180 degrees, and the same thing if that changes nothing.

    See chapter 1, "And what is convolution?".

    Parameters
    ----------
    image : (height, width) or (height, width, channels)
        Grey or colour.
    kernel : (kernel height, kernel width)
    mode : {'same', 'valid'}, default 'same'
        Whether the result has the size of the image, or only pixels whose window lies inside it.
    border : {'zero', 'edge', 'reflect'}, default 'zero'
        What 'same' assumes outside the image: zeros, the nearest pixel, or the image mirrored at
        the centre of its outermost pixels.
    backend : {'auto', 'cpu', 'cuda', 'reference'}, default 'auto'

    Returns
    -------
    ndarray, (height, width) or (height, width, channels)

    Raises
    ------
    TypeError
        If an array holds no floating-point numbers, or their dtypes differ.
    ValueError
        If a shape, mode or border is none of these, or the kernel is larger than the image under
        'valid'.
    RuntimeError
        If ``backend`` is 'cuda' and there is no GPU that can be used.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> point = np.array([[0.0, 0.0, 1.0, 0.0, 0.0]])
    >>> kernel = np.array([[1.0, 2.0, 3.0]])
    >>> F.convolve2d(point, kernel)
    array([[0., 1., 2., 3., 0.]])
    >>> F.correlate2d(point, kernel)
    array([[0., 3., 2., 1., 0.]])
    """
    return _filter_image(image, kernel, mode, border, backend, flip=True)


def correlate2d(
    image: ArrayLike,
    kernel: ArrayLike,
    *,
    mode: str = "same",
    border: str = "zero",
    backend: str = "auto",
) -> np.ndarray:
    """Slide a kernel over an image as it is: multiply, sum.

    ``y[i,j] = Σ_{u,v} image[i+u−p, j+v−q] · kernel[u,v]``, where (p, q) is the kernel's centre,
    element ``(size − 1) // 2`` in each direction; every channel by itself. This is what `conv2d`
    computes, for one image and one kernel.

    See chapter 1, "In symbols".

    Parameters
    ----------
    image : (height, width) or (height, width, channels)
    kernel : (kernel height, kernel width)
    mode, border, backend
        As in `convolve2d`.

    Returns
    -------
    ndarray, (height, width) or (height, width, channels)

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `convolve2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import functional as F
    >>> step = np.array([[0.0, 0.0, 1.0, 1.0]])
    >>> F.correlate2d(step, np.array([[-1.0, 0.0, 1.0]]), border="edge")
    array([[0., 1., 1., 0.]])
    """
    return _filter_image(image, kernel, mode, border, backend, flip=False)


def _filter_image(image, kernel, mode, border, backend, flip):
    for name, array in (("image", image), ("kernel", kernel)):
        if is_device_array(array):
            raise TypeError(f"{name} must be an array of the host, this one lies on a GPU")
    call, image, kernel = _prepared("reference", image=image, kernel=kernel)
    grey = image.ndim == 2
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            "image must have shape (height, width) or (height, width, channels), none of them 0, "
            f"got {image.shape}"
        )
    _check_dimensions("kernel", kernel, ("kernel height", "kernel width"))
    if mode not in ("same", "valid"):
        raise ValueError(f"mode must be 'same' or 'valid', got {mode!r}")
    if border not in _BORDERS:
        raise ValueError(f"border must be one of {', '.join(map(repr, _BORDERS))}, got {border!r}")
    if grey:
        image = image[:, :, None]
    if mode == "same":
        before = [size // 2 if flip else (size - 1) // 2 for size in kernel.shape]
        sides = [(b, size - 1 - b) for b, size in zip(before, kernel.shape, strict=True)]
        image = np.pad(image, (*sides, (0, 0)), _BORDERS[border])
    if flip:
        kernel = kernel[::-1, ::-1]
    one_per_channel = np.repeat(kernel[:, :, None, None], image.shape[2], 2)
    y = depthwise_conv2d(image[None], one_per_channel, backend=backend)[0]
    return (y[:, :, 0] if grey else y).astype(call.dtype, copy=False)
