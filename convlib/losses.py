"""Losses: one number per sample, and its derivative."""

import numpy as np

from convlib.base import Work

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "get",
]


class Loss:
    """What training makes small: the mean over the samples of one number each.

    Constructor arguments are kept as attributes of the same name.

    A loss of one's own says how large it is (`forward`) and its derivative (`backward`), each on
    arrays ``(samples, outputs)``; `MeanSquaredError` is a short one.

    See chapter 11, "The smallest example".

    Attributes
    ----------
    name : str
        By which `get` and messages know it.

    Examples
    --------
    >>> from convlib import losses
    >>> loss = losses.MeanSquaredError()
    >>> loss.targets([0, 1], (None, 1), "float32").tolist()
    [[0.0], [1.0]]
    """

    name = "loss"

    def check_output(self, output_shape: tuple) -> None:
        """Refuse a model whose outputs cannot have this loss.

        Parameters
        ----------
        output_shape : tuple
            None first, for the number of samples.

        Raises
        ------
        ValueError
            In the losses that want classes, if there is no row of them.
        """

    def targets(self, y, output_shape: tuple, dtype: str) -> np.ndarray:
        """Return the user's ``y`` checked against the model's output, ready for batches.

        Parameters
        ----------
        y : array
            What the user gave: see the class.
        output_shape : tuple
            Of the model, None first.
        dtype : str
            That of the model.

        Returns
        -------
        array (samples, ...)

        Raises
        ------
        ValueError
            If shape or values do not fit.
        """
        return _matching(y, output_shape, dtype, self.name)

    def wanted(self, y: np.ndarray) -> np.ndarray:
        """Return what the outputs should become, given `targets`: labels, or rows of numbers.

        Parameters
        ----------
        y : array (samples, ...)
            From `targets`.

        Returns
        -------
        array (samples,) of labels, or (samples, outputs)
        """
        return y.reshape(len(y), -1) if y.ndim > 1 else y

    def encode(self, y: np.ndarray, buffer: np.ndarray, work: Work) -> np.ndarray:
        """Return a batch of `wanted` as the kernels want it, written to ``buffer`` if need be.

        Parameters
        ----------
        y : array (n,) or (n, outputs)
            Some of what `wanted` returned.
        buffer : array (n, outputs)
            Memory for the result, if y does not serve as it is.
        work : Work

        Returns
        -------
        array (n, outputs)
        """
        return y

    def saved(self, output_shape: tuple) -> dict:
        """Return what forward keeps for backward, as `layers.Step.saved` does.

        Parameters
        ----------
        output_shape : tuple
            Of the model, None first.

        Returns
        -------
        dict
        """
        return {}

    def forward(self, x, target, losses, work: Work) -> None:
        """Write the loss of each row of x, the model's output, to ``losses``.

        Parameters
        ----------
        x, target : array (n, outputs)
        losses : array (n,), overwritten
        work : Work
        """
        raise NotImplementedError

    def backward(self, x, target, dx, scale: float, work: Work) -> None:
        """Write ``scale`` times the derivative of each row's loss to ``dx``.

        Parameters
        ----------
        x, target : array (n, outputs)
        dx : array (n, outputs), overwritten
        scale : float
        work : Work
        """
        raise NotImplementedError

    def prediction(self, x: np.ndarray, work: Work) -> np.ndarray:
        """Return what metrics should compare with the targets.

        Parameters
        ----------
        x : array (n, outputs)
            The model's output.
        work : Work

        Returns
        -------
        array (n, outputs)
        """
        return x

    def get_config(self) -> dict:
        """Return the constructor arguments that make an equal loss.

        Returns
        -------
        dict
        """
        return dict(vars(self))


def _numbers(y, name):
    y = np.asarray(y)
    if y.dtype.kind not in "biuf":
        raise ValueError(f"y for {name} must be numbers, got an array of {y.dtype}")
    return y


def _matching(y, output_shape, dtype, name) -> np.ndarray:
    """Return y in the shape of the model's output; ``(n,)`` and ``(n, 1)`` are the same."""
    y = _numbers(y, name)
    if y.ndim == 1 and output_shape[1:] == (1,):
        y = y[:, None]
    if y.shape[1:] != output_shape[1:]:
        raise ValueError(
            f"y for {name} must have the shape of the model's output, "
            f"(samples, {', '.join(map(str, output_shape[1:]))}), got {y.shape}"
        )
    return np.ascontiguousarray(y, dtype)


def _require_classes(output_shape, name):
    if len(output_shape) != 2:
        raise ValueError(
            f"{name} needs one row of class scores per sample, but the model gives {output_shape}; "
            f"add Flatten and Dense"
        )
    if output_shape[1] < 2:
        raise ValueError(
            f"{name} needs an output per class, at least two, but the model has one output; "
            f"for yes or no use binary_crossentropy"
        )


def _smoothed(y, share, possibilities):
    """Return targets that give a share of themselves to all possibilities alike."""
    return y * y.dtype.type(1 - share) + y.dtype.type(share / possibilities) if share else y


def _checked_smoothing(value):
    if not 0 <= value <= 1:
        raise ValueError(f"label_smoothing must lie from 0 to 1, got {value!r}")
    return value


class _ClassLoss(Loss):
    """Cross-entropy between a distribution over classes and the model's."""

    def check_output(self, output_shape):
        _require_classes(output_shape, self.name)

    def saved(self, output_shape):
        return {"probabilities": (output_shape, None)} if self.from_logits else {}

    def forward(self, x, target, losses, work):
        if self.from_logits:
            probabilities = work.saved["probabilities"]
            work.kernels.softmax_cross_entropy_forward(x, target, losses, probabilities)
        else:
            work.kernels.categorical_cross_entropy_forward(x, target, losses)

    def backward(self, x, target, dx, scale, work):
        kernels = work.kernels
        if self.from_logits:
            probabilities = work.saved["probabilities"]
            kernels.softmax_cross_entropy_backward(probabilities, target, dx, scale)
        else:
            kernels.categorical_cross_entropy_backward(x, target, dx, scale)


class CategoricalCrossentropy(_ClassLoss):
    """Cross-entropy for one-hot rows, as `utils.to_categorical` makes them.

    The loss of a sample is minus the logarithm of the probability that the model gives to the right
    class: ``−Σ_i target_i · log p_i``. Outputs and targets are ``(samples, classes)``.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    from_logits : bool, default False
        Whether the model's output is still to go through softmax.
    label_smoothing : float, default 0
        Share of the target that is spread evenly over all classes.

    Raises
    ------
    ValueError
        If ``label_smoothing`` does not lie from 0 to 1.

    Examples
    --------
    A model that finds all four classes equally likely:

    >>> import numpy as np
    >>> from convlib import layers, losses, models
    >>> model = models.Sequential([layers.Input((4,)), layers.Softmax()])
    >>> model.compile(loss=losses.CategoricalCrossentropy())
    >>> loss = model.evaluate(np.zeros((1, 4)), np.array([[0, 1, 0, 0]]), verbose=0)
    >>> round(loss, 3)  # log 4
    1.386
    """

    name = "categorical_crossentropy"

    def __init__(self, from_logits=False, label_smoothing=0.0):
        self.from_logits = from_logits
        self.label_smoothing = _checked_smoothing(label_smoothing)

    def targets(self, y, output_shape, dtype):
        y = _numbers(y, self.name)
        if y.ndim == 1 or y.shape[1:] == (1,):
            raise ValueError(
                f"y for categorical_crossentropy must be one-hot rows of shape (samples, "
                f"{output_shape[1]}), got class labels of shape {y.shape}; use "
                f"convlib.utils.to_categorical(y, {output_shape[1]}) or the loss "
                f"'sparse_categorical_crossentropy'"
            )
        return super().targets(y, output_shape, dtype)

    def wanted(self, y):
        return _smoothed(super().wanted(y), self.label_smoothing, y.shape[1])


class SparseCategoricalCrossentropy(_ClassLoss):
    """Cross-entropy for class labels, whole numbers from 0 on.

    Outputs are ``(samples, classes)``, targets ``(samples,)`` or ``(samples, 1)``; otherwise it is
    `CategoricalCrossentropy`.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    from_logits : bool, default False
        Whether the model's output is still to go through softmax.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import layers, losses, models
    >>> model = models.Sequential([layers.Input((4,)), layers.Activation("linear")])
    >>> model.compile(loss=losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> loss = model.evaluate(np.zeros((1, 4)), np.array([1]), verbose=0)
    >>> round(loss, 3)  # log 4
    1.386
    """

    name = "sparse_categorical_crossentropy"

    def __init__(self, from_logits=False):
        self.from_logits = from_logits

    def targets(self, y, output_shape, dtype):
        y, classes = _numbers(y, self.name), output_shape[1]
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise ValueError(
                f"y for sparse_categorical_crossentropy must be class labels of shape (samples,), "
                f"got shape {y.shape}; for one-hot rows use the loss 'categorical_crossentropy'"
            )
        with np.errstate(invalid="ignore"):
            labels = y.astype(np.int64)
        wrong = np.flatnonzero((labels != y) | (labels < 0) | (labels >= classes))
        if wrong.size:
            raise ValueError(
                f"labels for a model with {classes} outputs must be whole numbers from 0 to "
                f"{classes - 1}, got {y[wrong[0]]} at index {wrong[0]}"
            )
        return labels

    def encode(self, y, buffer, work):
        """Turn labels into one-hot rows: they are rows of the identity matrix."""
        identity = work.saved.get("identity")
        if identity is None:
            identity = np.eye(buffer.shape[1], dtype=buffer.dtype)
            identity = work.saved["identity"] = work.kernels.memory.from_host(identity)
        work.kernels.gather(identity, y, buffer)
        return buffer


class BinaryCrossentropy(Loss):
    """Cross-entropy for outputs that are each a yes (1) or no (0); the mean over the outputs.

    Outputs and targets are ``(samples, ...)``, of one shape; ``(samples,)`` does for one output.

    See chapter 11, "ReLU, dense, softmax".

    Parameters
    ----------
    from_logits : bool, default False
        Whether the model's output is still to go through a sigmoid.
    label_smoothing : float, default 0
        Targets move this share of the way towards one half.

    Raises
    ------
    ValueError
        If ``label_smoothing`` does not lie from 0 to 1.

    Examples
    --------
    A model that says neither yes nor no:

    >>> import numpy as np
    >>> from convlib import layers, losses, models
    >>> model = models.Sequential([layers.Input((1,)), layers.Activation("sigmoid")])
    >>> model.compile(loss=losses.BinaryCrossentropy())
    >>> loss = model.evaluate(np.zeros((1, 1)), np.array([1]), verbose=0)
    >>> round(loss, 3)  # log 2
    0.693
    """

    name = "binary_crossentropy"

    def __init__(self, from_logits=False, label_smoothing=0.0):
        self.from_logits = from_logits
        self.label_smoothing = _checked_smoothing(label_smoothing)

    def targets(self, y, output_shape, dtype):
        targets = super().targets(y, output_shape, dtype)
        wrong = targets[(targets < 0) | (targets > 1)]
        if wrong.size:
            raise ValueError(f"y for binary_crossentropy must lie from 0 to 1, got {wrong[0]:g}")
        return targets

    def wanted(self, y):
        return _smoothed(super().wanted(y), self.label_smoothing, 2)

    def forward(self, x, target, losses, work):
        if self.from_logits:
            work.kernels.sigmoid_cross_entropy_forward(x, target, losses)
        else:
            work.kernels.binary_cross_entropy_forward(x, target, losses)

    def backward(self, x, target, dx, scale, work):
        if self.from_logits:
            work.kernels.sigmoid_cross_entropy_backward(x, target, dx, scale)
        else:
            work.kernels.binary_cross_entropy_backward(x, target, dx, scale)


class MeanSquaredError(Loss):
    """Mean over a sample's outputs of ``(prediction − target)²``.

    Outputs and targets are ``(samples, ...)``, of one shape; ``(samples,)`` does for one output.

    See chapter 11, "The smallest example".

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import layers, losses, models
    >>> model = models.Sequential([layers.Input((2,)), layers.Activation("linear")])
    >>> model.compile(loss=losses.MeanSquaredError())
    >>> model.evaluate(np.array([[1.0, 2.0]]), np.array([[1.0, 5.0]]), verbose=0)
    4.5
    """

    name = "mean_squared_error"

    def forward(self, x, target, losses, work):
        work.kernels.mean_squared_error_forward(x, target, losses)

    def backward(self, x, target, dx, scale, work):
        work.kernels.mean_squared_error_backward(x, target, dx, scale)


_BY_CLASS = {
    cls.__name__: cls
    for cls in (
        BinaryCrossentropy,
        CategoricalCrossentropy,
        MeanSquaredError,
        SparseCategoricalCrossentropy,
    )
}
_BY_NAME = {cls.name: cls for cls in _BY_CLASS.values()} | {"mse": MeanSquaredError}


def get(identifier) -> Loss:
    """Return a loss from its name, from its saved form, or as it is.

    See chapter 14, "The text's program".

    Parameters
    ----------
    identifier : str, dict or Loss
        'categorical_crossentropy' or 'mse', for example, or what a model's file holds.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If there is none of that name.

    Examples
    --------
    >>> from convlib import losses
    >>> losses.get("mse").name
    'mean_squared_error'
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    if isinstance(identifier, dict) and identifier.get("class") in _BY_CLASS:
        return _BY_CLASS[identifier["class"]](**identifier["config"])
    raise ValueError(
        f"loss must be one of {', '.join(map(repr, sorted(_BY_NAME)))} or an object from "
        f"convlib.losses, got {identifier!r}"
    )
