"""One-hot labels, and the seed of everything random."""

import operator
import random

import numpy as np
from numpy.typing import ArrayLike

# Fresh entropy until somebody asks for a seed.
_generator = np.random.default_rng()


def random_generator() -> np.random.Generator:
    """Return the generator behind initial weights, shuffling and dropout.

    All of convlib's random numbers come from it; `set_random_seed` begins it anew.

    See chapter 14, "One number has a width".

    Returns
    -------
    numpy.random.Generator
        Do not keep it: a new seed makes another one.

    Examples
    --------
    >>> from convlib import utils
    >>> utils.set_random_seed(7)
    >>> first = utils.random_generator().random()
    >>> utils.set_random_seed(7)
    >>> utils.random_generator().random() == first
    True
    """
    return _generator


def set_random_seed(seed: int) -> None:
    """Make everything random from here on repeatable, to the bit and for any number of threads.

    Seeds Python's `random`, NumPy's global generator, and convlib's own.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    seed : int
        From 0 to 2³² − 1.

    Raises
    ------
    ValueError
        If ``seed`` is no such integer.

    Examples
    --------
    >>> from convlib import layers, utils
    >>> weights = []
    >>> for _ in range(2):
    ...     utils.set_random_seed(0)
    ...     layer = layers.Dense(2)
    ...     layer.build((None, 3))
    ...     weights.append(layer.kernel.tolist())
    >>> weights[0] == weights[1]
    True
    """
    global _generator
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**32:
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1, got {seed!r}")
    random.seed(number)
    # Chapters and users may draw from NumPy's global generator, so it is seeded as Keras does.
    np.random.seed(number)  # noqa: NPY002
    _generator = np.random.default_rng(number)


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> np.ndarray:
    """Turn class labels into one-hot rows.

    See chapter 14, "The smallest example".

    Parameters
    ----------
    x : array of integers, any shape
        Labels from 0 on. A last axis of length 1 is dropped, as in Keras.
    num_classes : int, optional
        Length of a row; the largest label plus one if not given.

    Returns
    -------
    array of float64, shape ``(*labels.shape, num_classes)``
        1 at the place of the label, 0 elsewhere.

    Raises
    ------
    ValueError
        If a label is not a whole number, or lies outside 0 … num_classes − 1.

    Examples
    --------
    >>> from convlib.utils import to_categorical
    >>> to_categorical([0, 2], num_classes=3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    given = np.asarray(x)
    if given.dtype.kind not in "biuf":
        raise ValueError(f"labels must be whole numbers, got an array of {given.dtype}")
    labels = given.astype(np.int64)
    if given.dtype.kind == "f" and not np.array_equal(labels, given):
        raise ValueError("labels must be whole numbers, got fractions or NaN")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is None:
        if labels.size == 0:
            raise ValueError("num_classes is needed when there are no labels to count them by")
        num_classes = int(labels.max()) + 1
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.size:
        raise ValueError(
            f"labels must lie from 0 to {num_classes - 1} for {num_classes} classes, "
            f"got {wrong.flat[0]}"
        )
    one_hot = np.zeros((*labels.shape, num_classes))
    np.put_along_axis(one_hot, labels[..., None], 1.0, axis=-1)
    return one_hot
