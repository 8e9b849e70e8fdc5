"""Metrics: what is reported beside the loss."""

import numpy as np

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "Metric",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "get",
]


class Metric:
    """The mean over all samples seen since the last reset of how right each one was.

    Constructor arguments are kept as attributes of the same name.

    A metric of one's own says how right each sample is: `values`.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    name : str, optional
        Under which it is reported.

    Examples
    --------
    >>> import numpy as np
    >>> from convlib import metrics
    >>> class MeanError(metrics.Metric):
    ...     default_name = "mean_error"
    ...     def values(self, y_true, y_pred):
    ...         return np.abs(y_true - y_pred).mean(1)
    >>> error = MeanError()
    >>> error.update_state([[1.0], [5.0]], [[1.0], [3.0]])
    >>> error.result()
    1.0
    """

    default_name = "metric"

    def __init__(self, name=None):
        self.name = name or self.default_name
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all samples."""
        self._total, self._count = 0.0, 0

    def update_state(self, y_true, y_pred) -> None:
        """Add samples.

        Parameters
        ----------
        y_true : array (samples, ...)
            What is right: see the class.
        y_pred : array (samples, outputs)
            What the model said.
        """
        values = self.values(np.asarray(y_true), np.asarray(y_pred))
        self._total += float(values.sum())
        self._count += values.size

    def result(self) -> float:
        """Return the mean so far, 0 if there was nothing.

        Returns
        -------
        float
        """
        return self._total / self._count if self._count else 0.0

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """Return how right each sample is, one number each.

        Parameters
        ----------
        y_true : array (samples, ...)
            What is right: see the class.
        y_pred : array (samples, outputs)
            What the model said.

        Returns
        -------
        array (samples,)
        """
        raise NotImplementedError

    def get_config(self) -> dict:
        """Return the constructor arguments that make an equal metric.

        Returns
        -------
        dict
        """
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}


def _labels(y_true):
    return y_true[:, 0] if y_true.ndim == 2 else y_true


class Accuracy(Metric):
    """Share of the values that are exactly equal.

    Targets and outputs are ``(samples, ...)``, of one shape.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    name : str, default 'accuracy'

    Examples
    --------
    >>> from convlib.metrics import Accuracy
    >>> accuracy = Accuracy()
    >>> accuracy.update_state([1, 2, 3, 4], [1, 2, 3, 0])
    >>> accuracy.result()
    0.75
    """

    default_name = "accuracy"

    def values(self, y_true, y_pred):
        return np.equal(y_true.reshape(y_pred.shape), y_pred).reshape(len(y_pred), -1).mean(1)


class BinaryAccuracy(Metric):
    """Share of the outputs on the right side of a threshold; targets are 0 or 1.

    Targets and outputs are ``(samples, ...)``, of one shape.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    name : str, default 'binary_accuracy'
    threshold : float, default 0.5

    Examples
    --------
    >>> from convlib.metrics import BinaryAccuracy
    >>> accuracy = BinaryAccuracy()
    >>> accuracy.update_state([[1], [0], [0], [1]], [[0.9], [0.2], [0.6], [0.8]])
    >>> accuracy.result()
    0.75
    """

    default_name = "binary_accuracy"

    def __init__(self, name=None, threshold=0.5):
        super().__init__(name)
        self.threshold = threshold

    def values(self, y_true, y_pred):
        right = np.equal(y_true.reshape(y_pred.shape), y_pred > self.threshold)
        return right.reshape(len(y_pred), -1).mean(1)


class CategoricalAccuracy(Metric):
    """Share of the samples whose largest output is that of their class; targets are one-hot.

    Targets and outputs are ``(samples, classes)``.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    name : str, default 'categorical_accuracy'

    Examples
    --------
    >>> from convlib.metrics import CategoricalAccuracy
    >>> accuracy = CategoricalAccuracy()
    >>> accuracy.update_state([[0, 1], [1, 0]], [[0.3, 0.7], [0.4, 0.6]])
    >>> accuracy.result()
    0.5
    """

    default_name = "categorical_accuracy"

    def values(self, y_true, y_pred):
        return y_true.argmax(-1) == y_pred.argmax(-1)


class SparseCategoricalAccuracy(Metric):
    """Share of the samples whose largest output is that of their class; targets are labels.

    Targets are ``(samples,)`` or ``(samples, 1)``, outputs ``(samples, classes)``.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    name : str, default 'sparse_categorical_accuracy'

    Examples
    --------
    >>> from convlib.metrics import SparseCategoricalAccuracy
    >>> accuracy = SparseCategoricalAccuracy()
    >>> accuracy.update_state([1, 0], [[0.3, 0.7], [0.4, 0.6]])
    >>> accuracy.result()
    0.5
    """

    default_name = "sparse_categorical_accuracy"

    def values(self, y_true, y_pred):
        return _labels(y_true) == y_pred.argmax(-1)


class _TopK(Metric):
    def __init__(self, k=5, name=None):
        if not isinstance(k, (int, np.integer)) or k < 1:
            raise ValueError(f"k must be a whole number, 1 or more, got {k!r}")
        super().__init__(name)
        self.k = int(k)

    def _is_among_the_largest(self, labels, y_pred):
        # As in Keras: fewer than k outputs are larger, so that ties count in favour.
        of_class = np.take_along_axis(y_pred, labels[:, None].astype(np.int64), 1)
        return (y_pred > of_class).sum(1) < self.k


class TopKCategoricalAccuracy(_TopK):
    """Share of the samples whose class is among the k largest outputs; targets are one-hot.

    Targets and outputs are ``(samples, classes)``.

    See chapter 14, "The mistakes themselves".

    Parameters
    ----------
    k : int, default 5
    name : str, default 'top_k_categorical_accuracy'

    Raises
    ------
    ValueError
        If ``k`` is no whole number from 1 on.

    Examples
    --------
    >>> from convlib.metrics import TopKCategoricalAccuracy
    >>> accuracy = TopKCategoricalAccuracy(k=2)
    >>> outputs = [[0.5, 0.3, 0.2], [0.1, 0.4, 0.5]]
    >>> accuracy.update_state([[0, 1, 0], [1, 0, 0]], outputs)
    >>> accuracy.result()
    0.5
    """

    default_name = "top_k_categorical_accuracy"

    def values(self, y_true, y_pred):
        return self._is_among_the_largest(y_true.argmax(-1), y_pred)


class SparseTopKCategoricalAccuracy(_TopK):
    """Share of the samples whose class is among the k largest outputs; targets are labels.

    Targets are ``(samples,)`` or ``(samples, 1)``, outputs ``(samples, classes)``.

    See chapter 14, "The mistakes themselves".

    Parameters
    ----------
    k : int, default 5
    name : str, default 'sparse_top_k_categorical_accuracy'

    Raises
    ------
    ValueError
        If ``k`` is no whole number from 1 on.

    Examples
    --------
    >>> from convlib.metrics import SparseTopKCategoricalAccuracy
    >>> accuracy = SparseTopKCategoricalAccuracy(k=2)
    >>> outputs = [[0.5, 0.3, 0.2], [0.1, 0.4, 0.5]]
    >>> accuracy.update_state([1, 0], outputs)
    >>> accuracy.result()
    0.5
    """

    default_name = "sparse_top_k_categorical_accuracy"

    def values(self, y_true, y_pred):
        return self._is_among_the_largest(_labels(y_true), y_pred)


_CLASSES = (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
_BY_CLASS = {cls.__name__: cls for cls in _CLASSES}
_BY_NAME = {cls.default_name: cls for cls in _CLASSES if cls is not Accuracy}


def check(identifier) -> None:
    """Raise ValueError unless `get` knows this."""
    get(identifier, (None, 2), labels=False)


def get(identifier, output_shape: tuple, labels: bool) -> Metric:
    """Return a metric from its name, from its saved form, or as it is.

    See chapter 14, "The text's program".

    Parameters
    ----------
    identifier : str, dict or Metric
        'accuracy' and 'acc' stand for the accuracy that fits the model and its targets.
    output_shape : tuple
        Of the model, None first.
    labels : bool
        Whether the targets are class labels instead of rows.

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        If there is none of that name.

    Examples
    --------
    >>> from convlib import metrics
    >>> metrics.get("accuracy", output_shape=(None, 10), labels=True).__class__.__name__
    'SparseCategoricalAccuracy'
    """
    if isinstance(identifier, Metric):
        return identifier
    if identifier in ("accuracy", "acc"):
        if output_shape[-1] == 1:
            return BinaryAccuracy(identifier)
        return (SparseCategoricalAccuracy if labels else CategoricalAccuracy)(identifier)
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    if isinstance(identifier, dict) and identifier.get("class") in _BY_CLASS:
        return _BY_CLASS[identifier["class"]](**identifier["config"])
    raise ValueError(
        f"a metric must be one of {', '.join(map(repr, ['accuracy', *sorted(_BY_NAME)]))} or an "
        f"object from convlib.metrics, got {identifier!r}"
    )
