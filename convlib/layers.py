"""Layers: their configuration, their weights, and the kernels that compute them.

A `Layer` is what a user adds to a model. A `Step` is what runs: one operation with its kernels,
forward and backward, on arrays that somebody else has allocated. Most layers are their own step;
one with ``activation=`` is two. No step contains a numerical loop: the kernels do.
"""

import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType

import numpy as np

from convlib import initializers, shapes, utils
from convlib.kernels.scratch import Scratch

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

Shape = tuple[int | None, ...]


# Steps ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Work:
    """What a step may use besides its input and output.

    Attributes
    ----------
    kernels : module
        The backend.
    scratch : Scratch
    saved : dict
        The arrays that `Step.saved` asked for, and whatever else forward notes for backward.
    gradients : list of arrays or None
        Where to write the gradients of the trainable weights, in their order.
    """

    kernels: ModuleType
    scratch: Scratch
    saved: dict = field(default_factory=dict)
    gradients: list[np.ndarray] | None = None


class Step:
    """One operation of a network, on arrays ``(samples, ...)`` that the caller owns.

    The class attributes say which arrays may share memory, so that a plan need not know the
    operations.
    """

    overwrites_input = False
    """Forward may write y over x, because backward does not need x any more."""
    overwrites_gradient = False
    """Backward may write dx over dy."""
    needs_output = False
    """Backward reads y, so nobody may overwrite it before."""
    is_view = False
    """y is x in another shape: no memory of its own, nothing to compute."""
    owner: "Layer | None" = None
    """The layer whose trainable weights the step uses."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape; None stands for the number of samples, in both."""
        return tuple(input_shape)

    def saved(self, input_shape: Shape) -> dict[str, tuple[Shape, type | None]]:
        """Return shape and dtype of each array that forward keeps for backward.

        None as first size stands for the number of samples, as dtype for the model's own.
        """
        return {}

    def forward(self, x: np.ndarray, y: np.ndarray, work: Work, training: bool) -> None:
        """Compute y from x."""
        raise NotImplementedError

    def backward(self, x, y, dy, dx, work: Work) -> None:
        """Compute dx from dy, and the gradients of the weights.

        ``dx`` may be None and ``work.gradients`` may be None: then nobody needs them.
        """
        raise NotImplementedError

    def commit(self, work: Work) -> None:
        """Keep what else a training batch taught, once the batch has proved to be sound."""


class Sigmoid(Step):
    """``1 / (1 + e^{−x})``."""

    overwrites_input = overwrites_gradient = needs_output = True

    def forward(self, x, y, work, training):  # noqa: D102
        work.kernels.sigmoid_forward(x, y)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        if dx is not None:
            work.kernels.sigmoid_backward(y, dy, dx)


class Tanh(Step):
    """Hyperbolic tangent."""

    overwrites_input = overwrites_gradient = needs_output = True

    def forward(self, x, y, work, training):  # noqa: D102
        work.kernels.tanh_forward(x, y)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        if dx is not None:
            work.kernels.tanh_backward(y, dy, dx)


# What layers share ------------------------------------------------------------------------------


def checked_shape(shape, name: str) -> tuple[int, ...]:
    """Return ``shape`` as a tuple of positive integers, without the number of samples."""
    try:
        numbers = tuple(shapes.pair(size, name)[0] for size in shape)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers:
        raise ValueError(
            f"{name} must be a tuple of positive integers, the shape of one sample such as "
            f"(28, 28, 1) or (784,), got {shape!r}"
        )
    return numbers


class Input:
    """Tells a model the shape of one sample; computes nothing.

    Parameters
    ----------
    shape : tuple of int
        Without the number of samples, for instance ``(28, 28, 1)``.
    """

    def __init__(self, shape: tuple[int, ...]):
        self.shape = checked_shape(shape, "shape of Input")


class Layer(Step):
    """A named part of a model, with its weights.

    Constructor arguments are kept as attributes of the same name; `get_config` relies on it.

    Parameters
    ----------
    name : str, optional
        Given by the model if not here: ``conv2d_1``, ``conv2d_2`` …
    input_shape : tuple of int, optional
        The shape of one sample, on the first layer of a model.
    trainable : bool, default True
        Whether training changes the weights. Set it before `compile`.
    """

    dtype = "float32"
    """Of the weights; a model sets it before it builds its layers."""
    activation = None

    def __init__(self, *, name=None, input_shape=None, trainable=True, **unknown):
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no argument {next(iter(unknown))!r}; it knows "
                f"{', '.join(self._argument_names())}, name, input_shape and trainable"
            )
        if getattr(self, "data_format", None) not in (None, "channels_last"):
            raise ValueError(
                f"data_format must be 'channels_last', images as (samples, height, width, "
                f"channels), got {self.data_format!r}; np.moveaxis(x, 1, -1) converts"
            )
        self.name = name
        self.trainable = bool(trainable)
        self.given_shape = None
        if input_shape is not None:
            self.given_shape = checked_shape(input_shape, "input_shape")
        self.built = False
        self.input_shape = self.output_shape = None
        self._trainable_names, self._fixed_names = [], []

    @classmethod
    def _argument_names(cls) -> list[str]:
        common = inspect.signature(Layer).parameters
        names = inspect.signature(cls).parameters
        return [name for name in names if name not in common and name != "keywords"]

    @property
    def owner(self) -> "Layer":
        """The layer itself."""
        return self

    @property
    def label(self) -> str:
        """Name and kind, for messages."""
        kind = type(self).__name__
        return f"{self.name} ({kind})" if self.name else kind

    # Shapes and weights

    def build(self, input_shape: Shape) -> None:
        """Fix the input shape, None for the number of samples first, and create the weights.

        Raises
        ------
        ValueError
            If the layer cannot take such an input, or was built for another one.
        """
        input_shape = tuple(input_shape)
        if self.built:
            if input_shape != self.input_shape:
                raise ValueError(
                    f"{self.label} was built for inputs of shape {self.input_shape}, "
                    f"got {input_shape}; make a new layer"
                )
            return
        try:
            self.output_shape = tuple(self.compute_output_shape(input_shape))
            self.create_weights(input_shape)
        except ValueError as error:
            raise ValueError(f"{self.label}: {error}") from None
        self.input_shape = input_shape
        self.built = True

    def create_weights(self, input_shape: Shape) -> None:
        """Create the weights with `add_weight`, and whatever else the shape decides."""

    def add_weight(self, name, shape, initializer, trainable=True) -> None:
        """Create a weight and keep it as the attribute ``name``."""
        setattr(self, name, initializers.get(initializer)(shape).astype(self.dtype))
        (self._trainable_names if trainable else self._fixed_names).append(name)

    @property
    def trainable_names(self) -> list[str]:
        """Attributes that hold weights which training changes."""
        return self._trainable_names if self.trainable else []

    @property
    def weights(self) -> list[np.ndarray]:
        """The weight arrays themselves, in Keras' order."""
        return [getattr(self, name) for name in (*self._trainable_names, *self._fixed_names)]

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of the weights, in Keras' order and layout."""
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: Iterable) -> None:
        """Replace the values of the weights.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs; nothing is changed then.
        """
        assign_weights(self.weights, weights, self.label)

    def count_params(self) -> int:
        """Return the number of weights, fixed ones included."""
        self._require_built()
        return sum(weight.size for weight in self.weights)

    def multiply_adds(self) -> int:
        """Return the multiplications (each with an addition) that one sample costs in forward.

        Only those of convolutions and dense layers are counted.
        """
        self._require_built()
        return 0

    def _require_built(self):
        if not self.built:
            raise ValueError(
                f"{self.label} has no weights yet, because the shape of its input is not known; "
                f"give the model's first layer input_shape=..., or call build"
            )

    # Configuration

    def get_config(self) -> dict:
        """Return the constructor arguments that make an equal layer, in terms that JSON knows."""
        config = {name: getattr(self, name) for name in self._argument_names()}
        for name, value in config.items():
            if isinstance(value, initializers.Initializer):
                config[name] = initializers.serialize(value)
        return {
            **config,
            "name": self.name,
            "input_shape": self.given_shape,
            "trainable": self.trainable,
        }

    def steps(self) -> list[Step]:
        """Return what runs: this layer, then its activation if it has one."""
        return [self, *activation_steps(self.activation)]

    # What constructors use

    def _pair(self, value, name):
        return shapes.pair(value, f"{name} of {type(self).__name__}")

    def _count(self, value, name):
        return shapes.pair((value, value), f"{name} of {type(self).__name__}")[0]

    def _border(self, padding):
        if not isinstance(padding, str) or padding.lower() not in ("valid", "same"):
            raise ValueError(
                f"padding of {type(self).__name__} must be 'valid' or 'same', got {padding!r}"
            )
        return padding.lower()


def assign_weights(targets: list[np.ndarray], values: Iterable, owner: str) -> None:
    """Copy ``values`` into ``targets`` once all shapes are known to agree."""
    values = [np.asarray(value) for value in values]
    if len(values) != len(targets):
        raise ValueError(f"{owner} has {len(targets)} weight arrays, got {len(values)}")
    for number, (target, value) in enumerate(zip(targets, values, strict=True)):
        if target.shape != value.shape:
            raise ValueError(
                f"weight array {number} of {owner} has shape {target.shape}, got {value.shape}"
            )
    for target, value in zip(targets, values, strict=True):
        target[...] = value


def image_shape(input_shape: Shape) -> tuple[int, int, int]:
    """Return height, width and channels, or say that these are no images."""
    if len(input_shape) != 4:
        sample = tuple(input_shape[1:])
        hint = f"; one grey image is {(*sample, 1)}" if len(sample) == 2 else ""
        raise ValueError(f"expected images (height, width, channels), got shape {sample}{hint}")
    return tuple(input_shape[1:])


# Activations ------------------------------------------------------------------------------------


class ReLU(Layer):
    """Rectified linear unit: x above the threshold, zero (or a slope) below.

    Parameters
    ----------
    max_value : float, optional
        Upper bound; none if not given.
    negative_slope : float, default 0
    threshold : float, default 0
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

    def forward(self, x, y, work, training):  # noqa: D102
        work.kernels.relu_forward(x, y, *self._constants)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        if dx is not None:
            work.kernels.relu_backward(y if self.needs_output else x, dy, dx, *self._constants)


class Softmax(Layer):
    """Turn the last axis into probabilities.

    Parameters
    ----------
    axis : int, default -1
        Only the last axis, which may also be given by its number.
    """

    overwrites_input = overwrites_gradient = needs_output = True

    def __init__(self, axis=-1, **keywords):
        self.axis = axis
        super().__init__(**keywords)

    def compute_output_shape(self, input_shape):  # noqa: D102
        if self.axis not in (-1, len(input_shape) - 1):
            raise ValueError(f"Softmax works along the last axis (-1), got axis={self.axis!r}")
        return tuple(input_shape)

    def forward(self, x, y, work, training):  # noqa: D102
        work.kernels.softmax_forward(_rows(x), _rows(y))

    def backward(self, x, y, dy, dx, work):  # noqa: D102
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

    Parameters
    ----------
    activation : {'relu', 'softmax', 'sigmoid', 'tanh', 'relu6', 'leaky_relu', 'linear'}
    """

    def __init__(self, activation, **keywords):
        self.activation = checked_activation(activation)
        super().__init__(**keywords)

    def steps(self):
        """Return the activation's step, or none for 'linear'."""
        return activation_steps(self.activation)


# Layers with weights ----------------------------------------------------------------------------


class _Convolution(Layer):
    """What Conv2D and DepthwiseConv2D share: the window and the bias."""

    def compute_output_shape(self, input_shape):  # noqa: D102
        return (None, *self._geometry(input_shape).output_size, self._filters(input_shape))

    def _filters(self, input_shape) -> int:
        raise NotImplementedError

    def _geometry(self, input_shape):
        size = image_shape(input_shape)[:2]
        window = self.kernel_size, self.strides, self.padding, self.dilation_rate
        return shapes.window_geometry(size, *window)

    def create_weights(self, input_shape):  # noqa: D102
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

    Parameters
    ----------
    filters : int
        Channels of the output.
    kernel_size : int or (int, int)
    strides : int or (int, int), default (1, 1)
    padding : {'valid', 'same'}, default 'valid'
    data_format : 'channels_last'
    dilation_rate : int or (int, int), default (1, 1)
    groups : int, default 1
        Parts in which the channels are convolved separately; divides channels and filters.
    activation : str, optional
    use_bias : bool, default True
    kernel_initializer, bias_initializer : str or Initializer

    Notes
    -----
    Weights: ``kernel`` (height, width, channels / groups, filters) and ``bias`` (filters,).
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

    def create_weights(self, input_shape):  # noqa: D102
        channels = image_shape(input_shape)[2]
        if channels % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide the channels of the input, got {channels}"
            )
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.add_weight("kernel", shape, self.kernel_initializer)
        super().create_weights(input_shape)
        self._arguments = (*self._arguments, self.groups)

    def forward(self, x, y, work, training):  # noqa: D102
        window = self._arguments
        work.kernels.conv2d_forward(x, self.kernel, self.bias, y, *window, work.scratch)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        kernels, window, scratch = work.kernels, self._arguments, work.scratch
        if work.gradients:
            dw, db = (*work.gradients, None)[:2]
            kernels.conv2d_backward_params(x, dy, dw, db, *window, scratch)
        if dx is not None:
            kernels.conv2d_backward_input(dy, self.kernel, dx, *window, scratch)


class DepthwiseConv2D(_Convolution):
    """Convolve every channel with filters of its own.

    Parameters
    ----------
    kernel_size : int or (int, int)
    strides : int or (int, int), default (1, 1)
    padding : {'valid', 'same'}, default 'valid'
    depth_multiplier : int, default 1
        Filters per channel.
    data_format : 'channels_last'
    dilation_rate : int or (int, int), default (1, 1)
    activation : str, optional
    use_bias : bool, default True
    depthwise_initializer, bias_initializer : str or Initializer

    Notes
    -----
    Weights: ``kernel`` (height, width, channels, multiplier), ``bias`` (channels · multiplier,).
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

    def create_weights(self, input_shape):  # noqa: D102
        shape = (*self.kernel_size, image_shape(input_shape)[2], self.depth_multiplier)
        self.add_weight("kernel", shape, self.depthwise_initializer)
        super().create_weights(input_shape)

    def forward(self, x, y, work, training):  # noqa: D102
        window = self._arguments
        work.kernels.depthwise_conv2d_forward(x, self.kernel, self.bias, y, *window, work.scratch)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        kernels, window, scratch = work.kernels, self._arguments, work.scratch
        if work.gradients:
            dw, db = (*work.gradients, None)[:2]
            kernels.depthwise_conv2d_backward_params(x, dy, dw, db, *window, scratch)
        if dx is not None:
            kernels.depthwise_conv2d_backward_input(dy, self.kernel, dx, *window, scratch)


class Dense(Layer):
    """Connect every output with every input of the last axis.

    Parameters
    ----------
    units : int
        Outputs.
    activation : str, optional
    use_bias : bool, default True
    kernel_initializer, bias_initializer : str or Initializer

    Notes
    -----
    Weights: ``kernel`` (inputs, units) and ``bias`` (units,). On an image it works on every pixel
    alike, as a 1×1 convolution does.
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

    def compute_output_shape(self, input_shape):  # noqa: D102
        return (*input_shape[:-1], self.units)

    def create_weights(self, input_shape):  # noqa: D102
        self.add_weight("kernel", (input_shape[-1], self.units), self.kernel_initializer)
        self.bias = None
        if self.use_bias:
            self.add_weight("bias", (self.units,), self.bias_initializer)

    def multiply_adds(self):
        """Return one multiplication per kernel weight, and per pixel on an image."""
        self._require_built()
        return self.kernel.size * math.prod(self.output_shape[1:-1])

    def forward(self, x, y, work, training):  # noqa: D102
        work.kernels.dense_forward(_rows(x), self.kernel, self.bias, _rows(y), work.scratch)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        if work.gradients:
            dw, db = (*work.gradients, None)[:2]
            work.kernels.dense_backward_params(_rows(x), _rows(dy), dw, db, work.scratch)
        if dx is not None:
            work.kernels.dense_backward_input(_rows(dy), self.kernel, _rows(dx), work.scratch)


class BatchNormalization(Layer):
    """Bring every channel to mean 0 and variance 1, then scale and shift it by learned values.

    Training uses the statistics of the batch; everything else, and a layer with
    ``trainable=False``, the running averages of those seen in training.

    Parameters
    ----------
    axis : int, default -1
        Only the last axis.
    momentum : float, default 0.99
        The share that a running average keeps of its old value.
    epsilon : float, default 0.001
        Added to the variance.
    center, scale : bool, default True
        Whether to learn a shift ``beta`` and a scale ``gamma``.
    beta_initializer, gamma_initializer : str or Initializer
    moving_mean_initializer, moving_variance_initializer : str or Initializer
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

    def compute_output_shape(self, input_shape):  # noqa: D102
        if self.axis not in (-1, len(input_shape) - 1):
            raise ValueError(
                f"BatchNormalization works along the last axis (-1), got axis={self.axis!r}"
            )
        return tuple(input_shape)

    def create_weights(self, input_shape):  # noqa: D102
        shape = input_shape[-1:]
        self.gamma, self.beta = np.ones(shape, self.dtype), np.zeros(shape, self.dtype)
        if self.scale:
            self.add_weight("gamma", shape, self.gamma_initializer)
        if self.center:
            self.add_weight("beta", shape, self.beta_initializer)
        self.add_weight("moving_mean", shape, self.moving_mean_initializer, trainable=False)
        self.add_weight("moving_variance", shape, self.moving_variance_initializer, trainable=False)
        self._zeros = np.zeros(shape, self.dtype)

    def saved(self, input_shape):  # noqa: D102
        # The last two are where unwanted gradients go.
        return dict.fromkeys(("mean", "variance", "dgamma", "dbeta"), (input_shape[-1:], None))

    def forward(self, x, y, work, training):  # noqa: D102
        kernels, saved = work.kernels, work.saved
        saved["from_batch"] = training and self.trainable
        if saved["from_batch"]:
            mean, variance = saved["mean"], saved["variance"]
            kernels.batch_norm_statistics(_rows(x), mean, variance, work.scratch)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        scaling = mean, variance, self.gamma, self.beta
        kernels.batch_norm_forward(_rows(x), *scaling, _rows(y), self.epsilon)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
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
                moving += (work.saved[name] - moving) * (1 - self.momentum)


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

    def compute_output_shape(self, input_shape):  # noqa: D102
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

    def compute_output_shape(self, input_shape):  # noqa: D102
        channels = image_shape(input_shape)[2]
        return (None, 1, 1, channels) if self.keepdims else (None, channels)

    def create_weights(self, input_shape):
        """Remember the geometry; there are no weights."""
        height, width, channels = image_shape(input_shape)
        self._arguments = (height, width), (1, 1), ((0, 0), (0, 0))
        self._maps = -1, 1, 1, channels


class _Maximum(Layer):
    def saved(self, input_shape):  # noqa: D102
        places = math.prod(self._arguments[0])
        shape = (None, *self._maps[1:])
        return {"argmax": (shape, np.uint8 if places <= 255 else np.uint32)}

    def forward(self, x, y, work, training):  # noqa: D102
        argmax = work.saved["argmax"]
        work.kernels.max_pool2d_forward(x, y.reshape(self._maps), argmax, *self._arguments)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        if dx is not None:
            argmax = work.saved["argmax"]
            work.kernels.max_pool2d_backward(dy.reshape(self._maps), argmax, dx, *self._arguments)


class _Average(Layer):
    def forward(self, x, y, work, training):  # noqa: D102
        work.kernels.average_pool2d_forward(x, y.reshape(self._maps), *self._arguments)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        if dx is not None:
            work.kernels.average_pool2d_backward(dy.reshape(self._maps), dx, *self._arguments)


class MaxPooling2D(_Maximum, _Window):
    """Keep the largest value under each window.

    Parameters
    ----------
    pool_size : int or (int, int), default (2, 2)
    strides : int or (int, int), optional
        ``pool_size`` if not given.
    padding : {'valid', 'same'}, default 'valid'
        Padded places never win.
    data_format : 'channels_last'
    """


class AveragePooling2D(_Average, _Window):
    """Take the mean of the pixels under each window; padding is not counted.

    Parameters
    ----------
    pool_size : int or (int, int), default (2, 2)
    strides : int or (int, int), optional
        ``pool_size`` if not given.
    padding : {'valid', 'same'}, default 'valid'
    data_format : 'channels_last'
    """


class GlobalMaxPooling2D(_Maximum, _WholeImage):
    """Keep the largest value of each channel.

    Parameters
    ----------
    data_format : 'channels_last'
    keepdims : bool, default False
        Whether the output is ``(1, 1, channels)`` instead of ``(channels,)``.
    """


class GlobalAveragePooling2D(_Average, _WholeImage):
    """Take the mean of each channel.

    Parameters
    ----------
    data_format : 'channels_last'
    keepdims : bool, default False
        Whether the output is ``(1, 1, channels)`` instead of ``(channels,)``.
    """


class ZeroPadding2D(Layer):
    """Put rows and columns of zeros around an image.

    Parameters
    ----------
    padding : int, (int, int) or ((int, int), (int, int)), default (1, 1)
        On all sides, or (top and bottom, left and right), or ((top, bottom), (left, right)).
    data_format : 'channels_last'
    """

    def __init__(self, padding=(1, 1), data_format=None, **keywords):
        if isinstance(padding, str):
            raise ValueError(f"padding of ZeroPadding2D must be numbers, got {padding!r}")
        self.padding = shapes.resolve_padding(padding, (1, 1), (1, 1))
        self.data_format = data_format
        super().__init__(**keywords)

    def compute_output_shape(self, input_shape):  # noqa: D102
        height, width, channels = image_shape(input_shape)
        return (None, height + sum(self.padding[0]), width + sum(self.padding[1]), channels)

    def forward(self, x, y, work, training):  # noqa: D102
        work.kernels.pad2d_forward(x, y, self.padding)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        if dx is not None:
            work.kernels.pad2d_backward(dy, dx, self.padding)


class Flatten(Layer):
    """Read an image as one vector, row by row, channel by channel within each pixel.

    Parameters
    ----------
    data_format : 'channels_last'
    """

    is_view = True

    def __init__(self, data_format=None, **keywords):
        self.data_format = data_format
        super().__init__(**keywords)

    def compute_output_shape(self, input_shape):  # noqa: D102
        return (None, math.prod(input_shape[1:]))

    def forward(self, x, y, work, training):
        """Do nothing: y is x in another shape."""

    def backward(self, x, y, dy, dx, work):
        """Do nothing: dx is dy in another shape."""


class Dropout(Layer):
    """In training, set a random share of the values to zero and scale up the others.

    Parameters
    ----------
    rate : float
        The share, in [0, 1).
    seed : int, optional
        Makes this layer's choices repeatable; otherwise `utils.set_random_seed` decides.
    """

    overwrites_input = overwrites_gradient = True

    def __init__(self, rate, seed=None, **keywords):
        if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
            raise ValueError(f"rate of Dropout must be at least 0 and below 1, got {rate!r}")
        self.rate, self.seed = rate, seed
        self._own_generator = None if seed is None else np.random.default_rng(seed)
        super().__init__(**keywords)

    def forward(self, x, y, work, training):  # noqa: D102
        work.saved["seed"] = None
        if training and self.rate:
            generator = self._own_generator or utils.random_generator()
            work.saved["seed"] = int(generator.integers(2**63))
        self._drop(x, y, work)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        if dx is not None:
            self._drop(dy, dx, work)

    def _drop(self, source, target, work):
        seed = work.saved["seed"]
        if seed is not None:
            work.kernels.dropout(source, target, float(self.rate), seed)
        elif target is not source:
            target[...] = source


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
