"""What all layers share.

A `Layer` is what a user adds to a model: configuration and weights. A `Step` is what runs: one
operation with its kernels, forward and backward, on arrays that somebody else has allocated.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from convlib import initializers, shapes
from convlib.kernels import memory
from convlib.kernels.scratch import Scratch

Shape = tuple[int | None, ...]


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

    def prepare(self, work: Work) -> None:
        """Before forward in training, place what changes from step to step, as what is random.

        The rest of a step may be recorded, and replayed: see `Scratch.repeat`.
        """

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


class Layer(Step):
    """A named part of a model, with its weights.

    Constructor arguments are kept as attributes of the same name; `get_config` relies on it.

    A layer of one's own says what it does with shapes (`compute_output_shape`) and with arrays
    ``(samples, ...)``, forward and backward; `layers.Flatten` is a short one.

    See chapter 10, "The smallest network".

    Parameters
    ----------
    name : str, optional
        Given by the model if not here: ``conv2d_1``, ``conv2d_2`` …
    input_shape : tuple of int, optional
        The shape of one sample, on the first layer of a model.
    trainable : bool, default True
        Whether training changes the weights; looked at whenever training begins.
    **unknown
        Refused, with the names that are known.

    Attributes
    ----------
    built : bool
        Whether the shape of the input is known and the weights are there.
    input_shape, output_shape : tuple or None
        None first, for the number of samples, as in ``(None, 26, 26, 32)``; None before `build`.

    Raises
    ------
    TypeError
        If a keyword is not known.
    ValueError
        If ``input_shape`` is no tuple of positive integers, or ``data_format`` not 'channels_last'.

    Notes
    -----
    What runs is ``forward(x, y, work, training)``, which writes y, and
    ``backward(x, y, dy, dx, work)``, which writes dx unless it is None. Here x and dx have the
    shape of the input, y and dy that of the output, the samples first. ``work`` has the backend's
    ``kernels``, their ``scratch``, ``saved`` for what backward needs of forward, and ``gradients``:
    None, or where those of the weights go.

    Examples
    --------
    >>> from convlib import layers
    >>> layer = layers.Dense(10, name="scores", input_shape=(64,))
    >>> layer.build((None, 64))
    >>> layer.label, layer.output_shape, layer.count_params()
    ('scores (Dense)', (None, 10), 650)
    """

    dtype = "float32"
    """Of the weights; a model sets it before it builds its layers."""

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
        self.forget()

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

        Parameters
        ----------
        input_shape : tuple
            As in ``(None, 28, 28, 1)``.

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
            self.forget()
            raise ValueError(f"{self.label}: {error}") from None
        self.input_shape = input_shape
        self.built = True

    def forget(self) -> None:
        """Undo `build`: no shapes, no weights."""
        self.built = False
        self.input_shape = self.output_shape = None
        self._trainable_names, self._fixed_names = [], []
        self._constant_names: list[str] = []  # of arrays that the kernels read and nobody changes

    def create_weights(self, input_shape: Shape) -> None:
        """Create the weights with `add_weight`, and whatever else the shape decides.

        Parameters
        ----------
        input_shape : tuple
            None first, for the number of samples.
        """

    def add_weight(self, name, shape, initializer, trainable=True) -> None:
        """Create a weight and keep it as the attribute ``name``.

        Parameters
        ----------
        name : str
        shape : tuple of int
        initializer : str or Initializer
        trainable : bool, default True
            Whether training changes it.

        Raises
        ------
        ValueError
            If there is no initializer of that name.
        """
        setattr(self, name, initializers.get(initializer)(shape).astype(self.dtype))
        (self._trainable_names if trainable else self._fixed_names).append(name)

    @property
    def trainable_names(self) -> list[str]:
        """Attributes that hold weights which training changes."""
        return self._trainable_names if self.trainable else []

    @property
    def weights(self) -> list[np.ndarray]:
        """The weight arrays themselves, in Keras' order; on a GPU if one computed last."""
        return [getattr(self, name) for name in (*self._trainable_names, *self._fixed_names)]

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of the weights, in Keras' order and layout.

        Returns
        -------
        list of arrays
            Of the shapes that the layer's description gives.
        """
        return [memory.to_host(weight).copy() for weight in self.weights]

    def move_to(self, place: ModuleType) -> None:
        """Let all arrays that the kernels read lie in another ``memory``, unless they do already.

        A weight that is moved is a new array, so that a plan which holds the old one sees it.

        Parameters
        ----------
        place : module
            The ``memory`` of a backend.
        """
        for name in (*self._trainable_names, *self._fixed_names, *self._constant_names):
            array = getattr(self, name)
            if not place.holds(array):
                setattr(self, name, place.from_host(memory.to_host(array)))

    def set_weights(self, weights: Iterable) -> None:
        """Replace the values of the weights.

        Parameters
        ----------
        weights : sequence of arrays
            Of the shapes and in the order of `get_weights`.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs; nothing is changed then.
        """
        assign_weights(self.weights, weights, self.label)

    def count_params(self) -> int:
        """Return the number of weights, fixed ones included.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            If the layer is not built.
        """
        self._require_built()
        return sum(weight.size for weight in self.weights)

    def multiply_adds(self) -> int:
        """Return the multiplications (each with an addition) that one sample costs in forward.

        Only those of convolutions and dense layers are counted.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            If the layer is not built.
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
        """Return the constructor arguments that make an equal layer, in terms that JSON knows.

        Returns
        -------
        dict
        """
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
        """Return what runs: usually this layer itself.

        Returns
        -------
        list of Step
        """
        return [self]

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
        memory.write(target, value)


def image_shape(input_shape: Shape) -> tuple[int, int, int]:
    """Return height, width and channels, or say that these are no images."""
    if len(input_shape) != 4:
        sample = tuple(input_shape[1:])
        hint = f"; one grey image is {(*sample, 1)}" if len(sample) == 2 else ""
        raise ValueError(f"expected images (height, width, channels), got shape {sample}{hint}")
    return tuple(input_shape[1:])
