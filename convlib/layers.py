"""Layers: their configuration, their weights, and the kernels that compute them.

Most layers are their own `Step`; one with ``activation=`` is two. No step contains a numerical
loop: the kernels do.
"""

import math
from functools import partial

import numpy as np

from convlib import initializers, shapes, utils
from convlib.base import Layer, Step, checked_shape, image_shape

__all__ = [
    "Activation",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "Input",
    "Layer",
    "MaxPool2D",
    "MaxPooling2D",
    "ReLU",
    "Softmax",
    "ZeroPadding2D",
]


class Input:
    """Tells a model the shape of one sample; computes nothing.

    See chapter 3, "Three axes, four axes".

    Parameters
    ----------
    shape : tuple of int
        Without the number of samples, for instance ``(28, 28, 1)``.

    Raises
    ------
    ValueError
        If the shape is no tuple of positive integers.

    Examples
    --------
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.Input((28, 28, 1)), layers.Flatten()])
    >>> model.input_shape, model.output_shape
    ((None, 28, 28, 1), (None, 784))
    """

    def __init__(self, shape: tuple[int, ...]):
        self.shape = checked_shape(shape, "shape of Input")


# Activations ------------------------------------------------------------------------------------


class Sigmoid(Step):
    """``1 / (1 + e^{−x})``."""

    overwrites_input = overwrites_gradient = needs_output = True

    def forward(self, x, y, work, training):
        work.kernels.sigmoid_forward(x, y)

    def backward(self, x, y, dy, dx, work):
        if dx is not None:
            work.kernels.sigmoid_backward(y, dy, dx)


class Tanh(Step):
    """Hyperbolic tangent."""

    overwrites_input = overwrites_gradient = needs_output = True

    def forward(self, x, y, work, training):
        work.kernels.tanh_forward(x, y)

    def backward(self, x, y, dy, dx, work):
        if dx is not None:
            work.kernels.tanh_backward(y, dy, dx)


class ReLU(Layer):
    """Rectified linear unit: x above the threshold, zero (or a slope) below.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    max_value : float, optional
        Upper bound, at least 0; none if not given.
    negative_slope : float, default 0
        The slope below the threshold, at least 0; leaky if not 0.
    threshold : float, default 0
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input and output ``(samples, ...)``, of one shape.

    Examples
    --------
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.Input((3,)), layers.ReLU(max_value=6)])
    >>> model.predict([[-2.0, 0.5, 9.0]], verbose=0).tolist()
    [[0.0, 0.5, 6.0]]
    """

    overwrites_gradient = True

    def __init__(self, max_value=None, negative_slope=0.0, threshold=0.0, **keywords):
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope)):
            if value is not None and not value >= 0:
                raise ValueError(f"{name} of ReLU must not be negative, got {value!r}")
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold
        bound = math.inf if max_value is None else float(max_value)
        self._constants = bound, float(negative_slope), float(threshold)
        # Only then does the output show on which side of the threshold the input was.
        self.overwrites_input = self.needs_output = threshold == 0
        super().__init__(**keywords)

    def forward(self, x, y, work, training):
        work.kernels.relu_forward(x, y, *self._constants)

    def backward(self, x, y, dy, dx, work):
        if dx is not None:
            work.kernels.relu_backward(y if self.needs_output else x, dy, dx, *self._constants)


class Softmax(Layer):
    """Turn the last axis into probabilities.

    See chapter 10, "Ten numbers that sum to one".

    Parameters
    ----------
    axis : int, default −1
        Only the last axis, which may also be given by its number.
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If ``input_shape`` is no shape; when the layer is built, if ``axis`` is not the last one.

    Notes
    -----
    Input and output ``(samples, ..., classes)``, of one shape; along the classes the output
    sums to 1.

    Examples
    --------
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.Input((4,)), layers.Softmax()])
    >>> model.predict([[3.0, 3.0, 3.0, 3.0]], verbose=0).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    overwrites_input = overwrites_gradient = needs_output = True

    def __init__(self, axis=-1, **keywords):
        self.axis = axis
        super().__init__(**keywords)

    def compute_output_shape(self, input_shape):
        if self.axis not in (-1, len(input_shape) - 1):
            raise ValueError(f"Softmax works along the last axis (-1), got axis={self.axis!r}")
        return tuple(input_shape)

    def forward(self, x, y, work, training):
        work.kernels.softmax_forward(_rows(x), _rows(y))

    def backward(self, x, y, dy, dx, work):
        if dx is not None:
            work.kernels.softmax_backward(_rows(y), _rows(dy), _rows(dx))


def _rows(x):
    return x.reshape(-1, x.shape[-1])


ACTIVATIONS = {
    "leaky_relu": partial(ReLU, negative_slope=0.2),
    "linear": None,
    "relu": ReLU,
    "relu6": partial(ReLU, max_value=6.0),
    "sigmoid": Sigmoid,
    "softmax": Softmax,
    "tanh": Tanh,
}


def activation_steps(name: str | None) -> list[Step]:
    """Return the step that computes an activation; none for None and 'linear'."""
    step = ACTIVATIONS[checked_activation(name) or "linear"]
    return [step()] if step else []


def checked_activation(name: str | None) -> str | None:
    """Return ``name`` if it is an activation, or say which there are."""
    if name is not None and (not isinstance(name, str) or name not in ACTIVATIONS):
        raise ValueError(
            f"activation must be one of {', '.join(map(repr, ACTIVATIONS))} or None, got {name!r}"
        )
    return name


class Activation(Layer):
    """An activation as a layer of its own.

    See chapter 10, "The convolutional part".

    Parameters
    ----------
    activation : {'relu', 'softmax', 'sigmoid', 'tanh', 'relu6', 'leaky_relu', 'linear'}
        'relu6' has the upper bound 6, 'leaky_relu' the slope 0.2 below 0; 'linear' changes nothing.
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input and output ``(samples, ...)``, of one shape.

    Examples
    --------
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.Input((3,)), layers.Activation("relu")])
    >>> model.predict([[-1.0, 0.0, 2.0]], verbose=0).tolist()
    [[0.0, 0.0, 2.0]]
    """

    def __init__(self, activation, **keywords):
        self.activation = checked_activation(activation)
        super().__init__(**keywords)

    def steps(self):
        """Return the activation's step, or none for 'linear'."""
        return activation_steps(self.activation)


class _Activated(Layer):
    """A layer that may end with an activation."""

    def steps(self):
        """Return the layer itself, then its activation if it has one."""
        return [self, *activation_steps(self.activation)]


# Layers with weights ----------------------------------------------------------------------------


class _Convolution(_Activated):
    """What Conv2D and DepthwiseConv2D share: the window and the bias."""

    def compute_output_shape(self, input_shape):
        return (None, *self._geometry(input_shape).output_size, self._filters(input_shape))

    def _filters(self, input_shape) -> int:
        raise NotImplementedError

    def _geometry(self, input_shape):
        size = image_shape(input_shape)[:2]
        window = self.kernel_size, self.strides, self.padding, self.dilation_rate
        return shapes.window_geometry(size, *window)

    def create_weights(self, input_shape):
        # The convolutions below have made the kernel; every filter has one bias.
        self.bias = None
        if self.use_bias:
            self.add_weight("bias", (self._filters(input_shape),), self.bias_initializer)
        geometry = (self.strides, self._geometry(input_shape).padding, self.dilation_rate)
        self._arguments = geometry

    def multiply_adds(self):
        """Return one multiplication per kernel weight and output pixel."""
        self._require_built()
        return self.kernel.size * self.output_shape[1] * self.output_shape[2]


class Conv2D(_Convolution):
    """Slide a bank of filters over an image, ``(height, width, channels)``.

    See chapter 3, "The smallest example".

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size : int or (int, int)
        Height and width of the window, in pixels.
    strides : int or (int, int), default (1, 1)
        Pixels from one window to the next, vertically and horizontally.
    padding : {'valid', 'same'}, default 'valid'
        No zeros around the image, or as many as give ⌈size / stride⌉ outputs.
    data_format : 'channels_last', optional
    dilation_rate : int or (int, int), default (1, 1)
        Pixels from one element of the kernel to the next.
    groups : int, default 1
        Parts in which the channels are convolved separately; divides channels and filters.
    activation : str, optional
        What follows the sum: one of those that `Activation` knows.
    use_bias : bool, default True
    kernel_initializer : str or Initializer, default 'glorot_uniform'
    bias_initializer : str or Initializer, default 'zeros'
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input ``(samples, height, width, channels)``, output ``(samples, output height, output width,
    filters)``; `shapes.window_geometry` gives the sizes. Weights: ``kernel`` (kernel height, kernel
    width, channels / groups, filters) and ``bias`` (filters,).

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import layers, models
    >>> count = layers.Conv2D(1, 3, padding="same", kernel_initializer="ones")
    >>> model = models.Sequential([layers.Input((3, 3, 1)), count])
    >>> model.predict(np.ones((1, 3, 3, 1)), verbose=0)[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=(1, 1),
        padding="valid",
        data_format=None,
        dilation_rate=(1, 1),
        groups=1,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **keywords,
    ):
        self.filters = self._count(filters, "filters")
        self.kernel_size = self._pair(kernel_size, "kernel_size")
        self.strides = self._pair(strides, "strides")
        self.padding = self._border(padding)
        self.data_format = data_format
        self.dilation_rate = self._pair(dilation_rate, "dilation_rate")
        self.groups = self._count(groups, "groups")
        self.activation = checked_activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        if self.filters % self.groups:
            raise ValueError(
                f"groups of Conv2D must divide filters, got groups={groups}, filters={filters}"
            )
        super().__init__(**keywords)

    def _filters(self, input_shape):
        return self.filters

    def create_weights(self, input_shape):
        channels = image_shape(input_shape)[2]
        if channels % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide the channels of the input, got {channels}"
            )
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.add_weight("kernel", shape, self.kernel_initializer)
        super().create_weights(input_shape)
        self._arguments = (*self._arguments, self.groups)

    def forward(self, x, y, work, training):
        self.forward_with(work.kernels.conv2d_forward, x, y, work)

    def forward_with(self, kernel, x, y, work):
        """Compute y with a kernel that takes the arguments of ``conv2d_forward``."""
        kernel(x, self.kernel, self.bias, y, *self._arguments, work.scratch)

    def backward(self, x, y, dy, dx, work):
        kernels, window, scratch = work.kernels, self._arguments, work.scratch
        if work.gradients:
            dw, db = (*work.gradients, None)[:2]
            kernels.conv2d_backward_params(x, dy, dw, db, *window, scratch)
        if dx is not None:
            kernels.conv2d_backward_input(dy, self.kernel, dx, *window, scratch)


class DepthwiseConv2D(_Convolution):
    """Convolve every channel with filters of its own.

    See chapter 3, "A common mistake: “32 filters are 32 flat pictures in every layer”".

    Parameters
    ----------
    kernel_size : int or (int, int)
        Height and width of the window, in pixels.
    strides : int or (int, int), default (1, 1)
        Pixels from one window to the next, vertically and horizontally.
    padding : {'valid', 'same'}, default 'valid'
        No zeros around the image, or as many as give ⌈size / stride⌉ outputs.
    depth_multiplier : int, default 1
        Filters per channel.
    data_format : 'channels_last', optional
    dilation_rate : int or (int, int), default (1, 1)
        Pixels from one element of the kernel to the next.
    activation : str, optional
        What follows the sum: one of those that `Activation` knows.
    use_bias : bool, default True
    depthwise_initializer : str or Initializer, default 'glorot_uniform'
    bias_initializer : str or Initializer, default 'zeros'
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input ``(samples, height, width, channels)``, output ``(samples, output height, output width,
    channels · multiplier)``, the filters of one channel side by side. Weights: ``kernel`` (kernel
    height, kernel width, channels, multiplier), ``bias`` (channels · multiplier,).

    Examples
    --------
    >>> from convlib import layers, models
    >>> layer = layers.DepthwiseConv2D(3, depth_multiplier=2)
    >>> model = models.Sequential([layers.Input((28, 28, 5)), layer])
    >>> model.output_shape, layer.kernel.shape
    ((None, 26, 26, 10), (3, 3, 5, 2))
    """

    def __init__(
        self,
        kernel_size,
        strides=(1, 1),
        padding="valid",
        depth_multiplier=1,
        data_format=None,
        dilation_rate=(1, 1),
        activation=None,
        use_bias=True,
        depthwise_initializer="glorot_uniform",
        bias_initializer="zeros",
        **keywords,
    ):
        self.kernel_size = self._pair(kernel_size, "kernel_size")
        self.strides = self._pair(strides, "strides")
        self.padding = self._border(padding)
        self.depth_multiplier = self._count(depth_multiplier, "depth_multiplier")
        self.data_format = data_format
        self.dilation_rate = self._pair(dilation_rate, "dilation_rate")
        self.activation = checked_activation(activation)
        self.use_bias = use_bias
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        super().__init__(**keywords)

    def _filters(self, input_shape):
        return image_shape(input_shape)[2] * self.depth_multiplier

    def create_weights(self, input_shape):
        shape = (*self.kernel_size, image_shape(input_shape)[2], self.depth_multiplier)
        self.add_weight("kernel", shape, self.depthwise_initializer)
        super().create_weights(input_shape)

    def forward(self, x, y, work, training):
        window = self._arguments
        work.kernels.depthwise_conv2d_forward(x, self.kernel, self.bias, y, *window, work.scratch)

    def backward(self, x, y, dy, dx, work):
        kernels, window, scratch = work.kernels, self._arguments, work.scratch
        if work.gradients:
            dw, db = (*work.gradients, None)[:2]
            kernels.depthwise_conv2d_backward_params(x, dy, dw, db, *window, scratch)
        if dx is not None:
            kernels.depthwise_conv2d_backward_input(dy, self.kernel, dx, *window, scratch)


class Dense(_Activated):
    """Connect every output with every input of the last axis.

    See chapter 2, "The smallest example".

    Parameters
    ----------
    units : int
        Outputs.
    activation : str, optional
        What follows the sum: one of those that `Activation` knows.
    use_bias : bool, default True
    kernel_initializer : str or Initializer, default 'glorot_uniform'
    bias_initializer : str or Initializer, default 'zeros'
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input ``(samples, ..., inputs)``, output ``(samples, ..., units)``. Weights: ``kernel`` (inputs,
    units) and ``bias`` (units,). On an image it works on every pixel alike, as a 1×1 convolution
    does.

    Examples
    --------
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.Input((2,)), layers.Dense(1)])
    >>> model.set_weights([[[10.0], [100.0]], [0.5]])
    >>> model.predict([[1.0, 2.0]], verbose=0).tolist()
    [[210.5]]
    """

    def __init__(
        self,
        units,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **keywords,
    ):
        self.units = self._count(units, "units")
        self.activation = checked_activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        super().__init__(**keywords)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def create_weights(self, input_shape):
        self.add_weight("kernel", (input_shape[-1], self.units), self.kernel_initializer)
        self.bias = None
        if self.use_bias:
            self.add_weight("bias", (self.units,), self.bias_initializer)

    def multiply_adds(self):
        """Return one multiplication per kernel weight, and per pixel on an image."""
        self._require_built()
        return self.kernel.size * math.prod(self.output_shape[1:-1])

    def forward(self, x, y, work, training):
        self.forward_with(work.kernels.dense_forward, x, y, work)

    def forward_with(self, kernel, x, y, work):
        """Compute y with a kernel that takes the arguments of ``dense_forward``."""
        kernel(_rows(x), self.kernel, self.bias, _rows(y), work.scratch)

    def backward(self, x, y, dy, dx, work):
        if work.gradients:
            dw, db = (*work.gradients, None)[:2]
            work.kernels.dense_backward_params(_rows(x), _rows(dy), dw, db, work.scratch)
        if dx is not None:
            work.kernels.dense_backward_input(_rows(dy), self.kernel, _rows(dx), work.scratch)


class BatchNormalization(Layer):
    """Bring every channel to mean 0 and variance 1, then scale and shift it by learned values.

    Training uses the statistics of the batch; everything else, and a layer with
    ``trainable=False``, the running averages of those seen in training.

    The book's networks do without it. See chapter 11, "The chain".

    Parameters
    ----------
    axis : int, default −1
        Only the last axis.
    momentum : float, default 0.99
        The share that a running average keeps of its old value.
    epsilon : float, default 0.001
        Added to the variance.
    center, scale : bool, default True
        Whether to learn a shift ``beta`` and a scale ``gamma``.
    beta_initializer, moving_mean_initializer : str or Initializer, default 'zeros'
    gamma_initializer, moving_variance_initializer : str or Initializer, default 'ones'
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input and output ``(samples, ..., channels)``, of one shape. Weights: ``gamma`` and ``beta``,
    then ``moving_mean`` and ``moving_variance``, which gradients do not change; each (channels,).

    Examples
    --------
    >>> from convlib import layers, models
    >>> layer = layers.BatchNormalization(epsilon=0)
    >>> model = models.Sequential([layers.Input((1,)), layer])
    >>> model.set_weights([[10.0], [0.5], [3.0], [4.0]])  # gamma, beta, mean, variance
    >>> model.predict([[3.0], [5.0]], verbose=0).tolist()  # 0 and 1 standard deviations
    [[0.5], [10.5]]
    """

    overwrites_gradient = True

    def __init__(
        self,
        axis=-1,
        momentum=0.99,
        epsilon=0.001,
        center=True,
        scale=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        moving_mean_initializer="zeros",
        moving_variance_initializer="ones",
        **keywords,
    ):
        self.axis = axis
        self.momentum, self.epsilon = momentum, epsilon
        self.center, self.scale = center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        super().__init__(**keywords)

    def compute_output_shape(self, input_shape):
        if self.axis not in (-1, len(input_shape) - 1):
            raise ValueError(
                f"BatchNormalization works along the last axis (-1), got axis={self.axis!r}"
            )
        return tuple(input_shape)

    def create_weights(self, input_shape):
        shape = input_shape[-1:]
        self.gamma, self.beta = np.ones(shape, self.dtype), np.zeros(shape, self.dtype)
        self._zeros = np.zeros(shape, self.dtype)
        self._constant_names = ["gamma", "beta", "_zeros"]
        if self.scale:
            self.add_weight("gamma", shape, self.gamma_initializer)
        if self.center:
            self.add_weight("beta", shape, self.beta_initializer)
        self.add_weight("moving_mean", shape, self.moving_mean_initializer, trainable=False)
        self.add_weight("moving_variance", shape, self.moving_variance_initializer, trainable=False)

    def saved(self, input_shape):
        # The last two are where unwanted gradients go.
        return dict.fromkeys(("mean", "variance", "dgamma", "dbeta"), (input_shape[-1:], None))

    def forward(self, x, y, work, training):
        kernels, saved = work.kernels, work.saved
        saved["from_batch"] = training and self.trainable
        if saved["from_batch"]:
            mean, variance = saved["mean"], saved["variance"]
            kernels.batch_norm_statistics(_rows(x), mean, variance, work.scratch)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        scaling = mean, variance, self.gamma, self.beta
        kernels.batch_norm_forward(_rows(x), *scaling, _rows(y), self.epsilon)

    def backward(self, x, y, dy, dx, work):
        kernels, saved = work.kernels, work.saved
        # Nobody reads dy after this step, so an unwanted dx may go there.
        dx = dy if dx is None else dx
        if not saved["from_batch"]:
            # With fixed statistics the layer is linear: its gradient is itself without the shifts.
            scaling = self._zeros, self.moving_variance, self.gamma, self._zeros
            kernels.batch_norm_forward(_rows(dy), *scaling, _rows(dx), self.epsilon)
            return
        wanted = dict(zip(self._trainable_names, work.gradients or (), strict=False))
        kernels.batch_norm_backward(
            _rows(x),
            _rows(dy),
            saved["mean"],
            saved["variance"],
            self.gamma,
            _rows(dx),
            wanted.get("gamma", saved["dgamma"]),
            wanted.get("beta", saved["dbeta"]),
            self.epsilon,
            work.scratch,
        )

    def commit(self, work):
        """Let the running averages follow the statistics of the batch."""
        if work.saved["from_batch"]:
            for name in ("mean", "variance"):
                moving = getattr(self, f"moving_{name}")
                work.kernels.moving_average_update(
                    moving, work.saved[name], 1 - self.momentum, work.scratch
                )


# Pooling and the rest ---------------------------------------------------------------------------


class _Window(Layer):
    """A window that slides over each channel; the kernels come from `_Maximum` or `_Average`."""

    def __init__(
        self, pool_size=(2, 2), strides=None, padding="valid", data_format=None, **keywords
    ):
        self.pool_size = self._pair(pool_size, "pool_size")
        self.strides = self._pair(self.pool_size if strides is None else strides, "strides")
        self.padding = self._border(padding)
        self.data_format = data_format
        super().__init__(**keywords)

    def compute_output_shape(self, input_shape):
        return (None, *self._geometry(input_shape).output_size, image_shape(input_shape)[2])

    def _geometry(self, input_shape):
        size = image_shape(input_shape)[:2]
        return shapes.window_geometry(size, self.pool_size, self.strides, self.padding)

    def create_weights(self, input_shape):
        """Remember the geometry; there are no weights."""
        self._arguments = self.pool_size, self.strides, self._geometry(input_shape).padding
        self._maps = (-1, *self._geometry(input_shape).output_size, image_shape(input_shape)[2])


class _WholeImage(Layer):
    """A window that is the whole image."""

    def __init__(self, data_format=None, keepdims=False, **keywords):
        self.data_format, self.keepdims = data_format, keepdims
        super().__init__(**keywords)

    def compute_output_shape(self, input_shape):
        channels = image_shape(input_shape)[2]
        return (None, 1, 1, channels) if self.keepdims else (None, channels)

    def create_weights(self, input_shape):
        """Remember the geometry; there are no weights."""
        height, width, channels = image_shape(input_shape)
        self._arguments = (height, width), (1, 1), ((0, 0), (0, 0))
        self._maps = -1, 1, 1, channels


class _Maximum(Layer):
    def saved(self, input_shape):
        places = math.prod(self._arguments[0])
        shape = (None, *self._maps[1:])
        return {"argmax": (shape, np.uint8 if places <= 255 else np.uint32)}

    def forward(self, x, y, work, training):
        argmax = work.saved["argmax"]
        work.kernels.max_pool2d_forward(x, y.reshape(self._maps), argmax, *self._arguments)

    def backward(self, x, y, dy, dx, work):
        if dx is not None:
            argmax = work.saved["argmax"]
            work.kernels.max_pool2d_backward(dy.reshape(self._maps), argmax, dx, *self._arguments)


class _Average(Layer):
    def forward(self, x, y, work, training):
        work.kernels.average_pool2d_forward(x, y.reshape(self._maps), *self._arguments)

    def backward(self, x, y, dy, dx, work):
        if dx is not None:
            work.kernels.average_pool2d_backward(dy.reshape(self._maps), dx, *self._arguments)


class MaxPooling2D(_Maximum, _Window):
    """Keep the largest value under each window.

    See chapter 7, "The definition".

    Parameters
    ----------
    pool_size : int or (int, int), default (2, 2)
        Height and width of the window, in pixels.
    strides : int or (int, int), optional
        Pixels from one window to the next; ``pool_size`` if not given.
    padding : {'valid', 'same'}, default 'valid'
        Padded places never win.
    data_format : 'channels_last', optional
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input ``(samples, height, width, channels)``, output ``(samples, output height, output width,
    channels)``; `shapes.window_geometry` gives the sizes. No weights.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.MaxPooling2D()])
    >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> model.predict(x, verbose=0)[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """


class AveragePooling2D(_Average, _Window):
    """Take the mean of the pixels under each window; padding is not counted.

    See chapter 7, "A common mistake: “pooling is a kind of convolution”".

    Parameters
    ----------
    pool_size : int or (int, int), default (2, 2)
        Height and width of the window, in pixels.
    strides : int or (int, int), optional
        Pixels from one window to the next; ``pool_size`` if not given.
    padding : {'valid', 'same'}, default 'valid'
    data_format : 'channels_last', optional
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input ``(samples, height, width, channels)``, output ``(samples, output height, output width,
    channels)``; `shapes.window_geometry` gives the sizes. No weights.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.AveragePooling2D()])
    >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> model.predict(x, verbose=0)[0, :, :, 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """


class GlobalMaxPooling2D(_Maximum, _WholeImage):
    """Keep the largest value of each channel.

    See chapter 8, "What is read where".

    Parameters
    ----------
    data_format : 'channels_last', optional
    keepdims : bool, default False
        Whether the output is ``(1, 1, channels)`` instead of ``(channels,)`` for each sample.
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input ``(samples, height, width, channels)``, output ``(samples, channels)``. No weights.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.GlobalMaxPooling2D()])
    >>> model.predict(np.arange(8.0).reshape(1, 2, 2, 2), verbose=0).tolist()
    [[6.0, 7.0]]
    """


class GlobalAveragePooling2D(_Average, _WholeImage):
    """Take the mean of each channel.

    See chapter 8, "What is read where".

    Parameters
    ----------
    data_format : 'channels_last', optional
    keepdims : bool, default False
        Whether the output is ``(1, 1, channels)`` instead of ``(channels,)`` for each sample.
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input ``(samples, height, width, channels)``, output ``(samples, channels)``. No weights.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.GlobalAveragePooling2D()])
    >>> model.predict(np.arange(8.0).reshape(1, 2, 2, 2), verbose=0).tolist()
    [[3.0, 4.0]]
    """


class ZeroPadding2D(Layer):
    """Put rows and columns of zeros around an image.

    See chapter 5, "Padding".

    Parameters
    ----------
    padding : int, (int, int) or ((int, int), (int, int)), default (1, 1)
        In pixels: on all sides, (top and bottom, left and right), or ((top, bottom),
        (left, right)).
    data_format : 'channels_last', optional
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input ``(samples, height, width, channels)``, output ``(samples, top + height + bottom, left +
    width + right, channels)``. No weights.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.ZeroPadding2D(((0, 1), (1, 0)))])
    >>> model.predict(np.ones((1, 1, 2, 1)), verbose=0)[0, :, :, 0].tolist()
    [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, padding=(1, 1), data_format=None, **keywords):
        if isinstance(padding, str):
            raise ValueError(f"padding of ZeroPadding2D must be numbers, got {padding!r}")
        self.padding = shapes.resolve_padding(padding, (1, 1), (1, 1))
        self.data_format = data_format
        super().__init__(**keywords)

    def compute_output_shape(self, input_shape):
        height, width, channels = image_shape(input_shape)
        return (None, height + sum(self.padding[0]), width + sum(self.padding[1]), channels)

    def forward(self, x, y, work, training):
        work.kernels.pad2d_forward(x, y, self.padding)

    def backward(self, x, y, dy, dx, work):
        if dx is not None:
            work.kernels.pad2d_backward(dy, dx, self.padding)


class Flatten(Layer):
    """Read an image as one vector, row by row, channel by channel within each pixel.

    See chapter 10, "How a map becomes a row".

    Parameters
    ----------
    data_format : 'channels_last', optional
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If ``data_format`` is another one, or ``input_shape`` is no shape.

    Notes
    -----
    Input ``(samples, ...)``, output ``(samples, features)``. No weights, and nothing is computed.

    Examples
    --------
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.Input((1, 2, 2)), layers.Flatten()])
    >>> model.predict([[[[1.0, 2.0], [3.0, 4.0]]]], verbose=0).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """

    is_view = True

    def __init__(self, data_format=None, **keywords):
        self.data_format = data_format
        super().__init__(**keywords)

    def compute_output_shape(self, input_shape):
        return (None, math.prod(input_shape[1:]))

    def forward(self, x, y, work, training):
        """Do nothing: y is x in another shape."""

    def backward(self, x, y, dy, dx, work):
        """Do nothing: dx is dy in another shape."""


class Dropout(Layer):
    """In training, set a random share of the values to zero and scale up the others.

    It is meant to narrow the gap between training and test images. The book's networks do without
    it. See chapter 14, "One number has a width".

    Parameters
    ----------
    rate : float
        The share, in [0, 1).
    seed : int, optional
        Makes this layer's choices repeatable; otherwise `utils.set_random_seed` decides.
    **keywords
        ``name``, ``input_shape`` and ``trainable``, as in `Layer`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If an argument is none of those above; when the layer is built, if its input does not fit.

    Notes
    -----
    Input and output ``(samples, ...)``, of one shape. What is kept is multiplied by
    ``1 / (1 − rate)``, so that its expected value stays. When a model is asked, not trained,
    nothing changes.

    Examples
    --------
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.Input((3,)), layers.Dropout(0.5)])
    >>> model.predict([[1.0, 2.0, 3.0]], verbose=0).tolist()
    [[1.0, 2.0, 3.0]]
    """

    overwrites_input = overwrites_gradient = True

    def __init__(self, rate, seed=None, **keywords):
        if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
            raise ValueError(f"rate of Dropout must be at least 0 and below 1, got {rate!r}")
        self.rate, self.seed = rate, seed
        self._own_generator = None if seed is None else np.random.default_rng(seed)
        super().__init__(**keywords)

    def prepare(self, work):
        """Draw the seed of a training step."""
        if self.rate:
            generator = self._own_generator or utils.random_generator()
            seed = int(generator.integers(2**63))
            work.saved["seed"] = work.scratch.changing((self.name, "seed"), seed, np.uint64)

    def forward(self, x, y, work, training):
        work.saved["drops"] = training and self.rate > 0
        self._drop(x, y, work)

    def backward(self, x, y, dy, dx, work):
        if dx is not None:
            self._drop(dy, dx, work)

    def _drop(self, source, target, work):
        if work.saved["drops"]:
            work.kernels.dropout(source, target, float(self.rate), work.saved["seed"])
        elif target is not source:
            work.kernels.memory.copy(source, target)


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalAvgPool2D = GlobalAveragePooling2D


def from_config(kind: str, config: dict) -> Layer:
    """Make a layer from the name of its class and what `Layer.get_config` returned."""
    cls = globals().get(kind) if kind in __all__ else None
    if cls is None or not issubclass(cls, Layer):
        raise ValueError(f"there is no layer of kind {kind!r}")
    return cls(**config)
