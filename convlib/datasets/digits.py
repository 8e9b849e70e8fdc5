"""Real handwriting that comes with convlib: 1 797 digits of thirteen people.

The test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine
Learning Repository, DOI 10.24432/C50P49, CC BY 4.0), 8×8 pixels with 17 levels of grey; see
``data/digits.md``.
"""

import numpy as np

from convlib.datasets._common import Arrays, embedded

TRAIN = 1347
"""How many of the digits, the first ones, are for training, three quarters."""

_FILE = "digits.csv.gz"
_SIZE, _BOX, _FULL_SIZE = 8, 20, 28
_CENTRE = 14.5  # pixels from the edge: MNIST centres on the middle of row and column 14
_DARKEST = 16


def load_data() -> Arrays:
    """Return the digits at MNIST's size: ``(x_train, y_train), (x_test, y_test)``.

    Every image is enlarged from 8×8 to 20×20 pixels and placed on 28×28 with its centre of mass
    on row and column 14, to the nearest pixel, as MNIST's digits are. Enlarging is cubic
    convolution (Keys' kernel, a = −1/2, in each direction) between pixel centres, with blank
    paper around; values are multiplied by 255/16 and clipped to 0–255.

    The digits are in the order of their thirteen writers, so the split is a cut: the people of the
    test set are not those of the training set, but for the one in whose digits the cut lies.

    See chapter 0, "Drawn digits and real ones".

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of uint8 arrays
        1 347 and 450 images of shape ``(n, 28, 28)``, 0 for paper and 255 for ink, and their
        labels 0–9 of shape ``(n,)``.

    Raises
    ------
    DatasetError
        If the file that comes with convlib is missing.

    Examples
    --------
    >>> from convlib.datasets import digits
    >>> (x_train, y_train), (x_test, y_test) = digits.load_data()
    >>> x_train.shape, x_test.shape
    ((1347, 28, 28), (450, 28, 28))
    >>> y_train[:5].tolist()
    [0, 1, 2, 3, 4]
    """
    small, labels = load_original()
    images = _place(_enlarge(small))
    return (images[:TRAIN], labels[:TRAIN]), (images[TRAIN:], labels[TRAIN:])


def load_original() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits as published.

    See chapter 0, "Drawn digits and real ones".

    Returns
    -------
    images : uint8 array of shape (1797, 8, 8)
        0 for paper to 16 for ink.
    labels : uint8 array of shape (1797,)

    Raises
    ------
    DatasetError
        If the file that comes with convlib is missing.

    Examples
    --------
    >>> from convlib.datasets import digits
    >>> images, labels = digits.load_original()
    >>> images[0, 3].tolist()  # a row through the middle of a zero
    [0, 4, 12, 0, 0, 8, 8, 0]
    """
    table = np.loadtxt(embedded(_FILE), delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, _SIZE, _SIZE), table[:, -1].copy()


def _enlarge(small: np.ndarray) -> np.ndarray:
    """Return 20×20 uint8 images of the 8×8 ones."""
    matrix = _interpolation(_SIZE, _BOX)
    enlarged = matrix @ small.astype(np.float64) @ matrix.T
    return np.rint(np.clip(enlarged * (255 / _DARKEST), 0, 255)).astype(np.uint8)


def _interpolation(old: int, new: int) -> np.ndarray:
    """Return the ``(new, old)`` matrix of cubic convolution between ``old`` pixels.

    R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions
    on Acoustics, Speech, and Signal Processing 29 (1981), equation 15.
    """
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    distance = np.abs(centres[:, np.newaxis] - np.arange(old))
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def _place(images: np.ndarray) -> np.ndarray:
    """Return ``images`` on larger ones, each with its centre of mass nearest to `_CENTRE`."""
    count, size, _ = images.shape
    mass = images.sum((1, 2), dtype=np.int64)
    room = _FULL_SIZE - size
    offsets = []
    for axis in (1, 2):
        profile = images.sum(3 - axis, dtype=np.int64)
        centre = profile @ (np.arange(size) + 0.5) / mass
        offsets.append(np.clip(np.rint(_CENTRE - centre).astype(int), 0, room))
    top, left = offsets
    placed = np.zeros((count, _FULL_SIZE, _FULL_SIZE), np.uint8)
    pixels = np.arange(size)
    rows = top[:, np.newaxis, np.newaxis] + pixels[:, np.newaxis]
    columns = left[:, np.newaxis, np.newaxis] + pixels
    placed[np.arange(count)[:, np.newaxis, np.newaxis], rows, columns] = images
    return placed
