"""What all data sets share: the type they return and what can go wrong with them."""

from pathlib import Path

import numpy as np

# (x_train, y_train), (x_test, y_test)
Arrays = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class DatasetError(Exception):
    """A file of a data set is damaged, is not what it should be, or cannot be written."""


class DatasetUnavailable(DatasetError):
    """A data set is neither on this computer nor to be had from the network now."""


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
