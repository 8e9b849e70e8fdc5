"""What goes wrong with data sets."""


class DatasetError(Exception):
    """A file of a data set is damaged, is not what it should be, or cannot be written."""


class DatasetUnavailable(DatasetError):
    """A data set is neither on this computer nor to be had from the network now."""
