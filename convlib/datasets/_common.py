"""What all data sets share: the type they return and what can go wrong with them."""

from pathlib import Path

import numpy as np

# (x_train, y_train), (x_test, y_test)
Arrays = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class DatasetError(Exception):
    """A file of a data set is damaged, is not what it should be, or cannot be written.

    See chapter 14, "The smallest example".

    Examples
    --------
    >>> from convlib.datasets import DatasetError, digits
    >>> try:
    ...     images, labels = digits.load_original()
    ... except DatasetError as error:
    ...     print(error)  # which file it is, and what is wrong with it
    """


class DatasetUnavailable(DatasetError):
    """A data set is neither on this computer nor to be had from the network now.

    See chapter 14, "The smallest example".

    Examples
    --------
    >>> from convlib.datasets import DatasetUnavailable, mnist, strokes
    >>> try:
    ...     _, (x_test, y_test) = mnist.load_data("a folder that is not there")
    ... except DatasetUnavailable:
    ...     _, (x_test, y_test) = strokes.load_data(train=0, test=10)
    >>> x_test.shape
    (10, 28, 28)
    """


def embedded(name: str) -> Path:
    """Return the path of a file that comes with convlib.

    Raises
    ------
    DatasetError
        If it is missing.
    """
    package = Path(__file__).resolve().parent.parent
    # In an installed convlib the data lie inside the package, in the repository beside it.
    folders = package / "data", package.parent / "data"
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise DatasetError(f"{name} is missing: expected in {folders[0]} or {folders[1]}")
