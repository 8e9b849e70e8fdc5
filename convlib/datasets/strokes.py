"""Digits drawn by a program, as a pen would: any number of them, and nothing to download.

Every digit is written in several styles. A sample takes one of them, moves the points through
which the pen goes, joins them by smooth curves (Catmull-Rom splines), bends, stretches, slants and
turns the whole, and inks it with a pen of its own width. Then it is scaled to 20×20 pixels and
placed on 28×28 with its centre of mass on row and column 14, as MNIST's digits were.
"""

import operator
from collections.abc import Sequence

import numpy as np

from convlib.datasets import _pen
from convlib.datasets._common import Arrays

_DIGITS = 10


def load_data(seed: int = 0, train: int = 60_000, test: int = 10_000) -> Arrays:
    """Draw a training and a test set: ``(x_train, y_train), (x_test, y_test)``.

    The same seed gives the same bytes, for any number of threads, and a shorter set is the
    beginning of a longer one. The digits are balanced: of each ten labels, from the first on, every
    one is another digit.

    See chapter 0, "Drawn digits and real ones".

    Parameters
    ----------
    seed : int, default 0
        Not negative; another seed, other digits.
    train, test : int, default 60 000 and 10 000
        How many digits to draw.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of uint8 arrays
        Images of shape ``(n, 28, 28)``, 0 for paper and 255 for ink, and labels 0–9 of shape
        ``(n,)``.

    Raises
    ------
    TypeError, ValueError
        If a number is not an integer, or is negative.

    Examples
    --------
    >>> from convlib.datasets import strokes
    >>> (x_train, y_train), (x_test, y_test) = strokes.load_data(train=20, test=10)
    >>> x_train.shape, x_train.dtype.name
    ((20, 28, 28), 'uint8')
    >>> sorted(y_test.tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    counts = _natural(train, "train"), _natural(test, "test")
    first, second = (_draw_part(seed, part, count) for part, count in enumerate(counts))
    return first, second


def draw(labels: Sequence[int], seed: int = 0) -> np.ndarray:
    """Draw one digit for each label.

    Digit i depends on the seed, on i and on ``labels[i]``, and on nothing else.

    See chapter 0, "Drawn digits and real ones".

    Parameters
    ----------
    labels : sequence of int
        Which digits, 0–9.
    seed : int, default 0
        Not negative.

    Returns
    -------
    uint8 array of shape ``(len(labels), 28, 28)``
        0 for paper and 255 for ink.

    Raises
    ------
    TypeError
        If the seed is not an integer.
    ValueError
        If a label is not one of 0–9, or the seed is negative.

    Examples
    --------
    >>> from convlib.datasets import strokes
    >>> sevens = strokes.draw([7, 7, 7])
    >>> sevens.shape
    (3, 28, 28)
    >>> bool((sevens[0] == sevens[1]).all())  # each is another seven
    False
    """
    return _draw(_checked(labels), _key(seed))


def trace(labels: Sequence[int], seed: int = 0) -> list[list[np.ndarray]]:
    """Return the way of the pen in the digits that `draw` draws from the same arguments.

    See chapter 0, "Drawn digits and real ones".

    Parameters
    ----------
    labels, seed
        As in `draw`.

    Returns
    -------
    list of list of float64 arrays
        For each digit its strokes, each an array of shape ``(vertices, 3)``: x to the right, y
        down, and half the width of the line there, all in pixels. The image's corner is (0, 0),
        the middle of its first pixel (0.5, 0.5).

    Raises
    ------
    TypeError, ValueError
        As in `draw`.

    Examples
    --------
    >>> from convlib.datasets import strokes
    >>> (eight,) = strokes.trace([8])
    >>> vertices = eight[0]  # of the first stroke
    >>> vertices.shape[1]
    3
    >>> bool((vertices[:, :2] > 0).all() and (vertices[:, :2] < 28).all())
    True
    """
    labels = _checked(labels)
    points = np.empty((_pen.MOST_POINTS, 2))
    vertices = np.empty((len(labels), _pen.MOST_VERTICES, 4))
    field = np.empty((_pen.SIZE, _pen.SIZE))
    image = np.empty((_pen.SIZE, _pen.SIZE), np.uint8)
    counts = np.empty(len(labels), np.int64)
    _pen.trace(labels, _key(seed), points, vertices, field, image, counts)
    ways = []
    for way, count in zip(vertices, counts, strict=True):
        lifts = np.flatnonzero(way[:count, 3] == 0)
        ways.append(np.split(way[:count, :3], lifts[:-1] + 1))
    return ways


def _draw_part(seed: int, part: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    key = _key(seed, part)
    tens = np.tile(np.arange(_DIGITS, dtype=np.uint8), (-(-count // _DIGITS), 1))
    labels = np.random.default_rng(key).permuted(tens, axis=1).ravel()[:count]
    return _draw(labels, key), labels


def _draw(labels: np.ndarray, key: np.uint64) -> np.ndarray:
    images = np.empty((len(labels), _pen.SIZE, _pen.SIZE), np.uint8)
    states = np.empty((_pen.CHUNKS, 1), np.uint64)
    points = np.empty((_pen.CHUNKS, _pen.MOST_POINTS, 2))
    vertices = np.empty((_pen.CHUNKS, _pen.MOST_VERTICES, 4))
    field = np.empty((_pen.CHUNKS, _pen.SIZE, _pen.SIZE))
    _pen.draw(labels, key, states, points, vertices, field, images)
    return images


def _key(*seed: int) -> np.uint64:
    """Return 64 well-mixed bits, the same for the same numbers."""
    return np.random.SeedSequence([_natural(number, "seed") for number in seed]).generate_state(
        1, np.uint64
    )[0]


def _natural(value: int, name: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < 0:
        raise ValueError(f"{name} must not be negative, got {number}")
    return number


def _checked(labels: Sequence[int]) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise ValueError(
            "labels must be a sequence of integers 0–9, "
            f"got an array of {labels.dtype} and shape {labels.shape}"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < _DIGITS:
        raise ValueError(f"labels must lie in 0–9, got {labels.min()} to {labels.max()}")
    return labels.astype(np.uint8)
