"""What all data sets share: the type they return and what can go wrong with them."""

import numpy as np

# (x_train, y_train), (x_test, y_test)
Arrays = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class DatasetError(Exception):
    """A file of a data set is damaged, is not what it should be, or cannot be written."""


class DatasetUnavailable(DatasetError):
    """A data set is neither on this computer nor to be had from the network now."""
