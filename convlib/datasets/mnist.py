"""MNIST: 60 000 + 10 000 handwritten digits (LeCun, Cortes and Burges)."""

import os

from convlib.datasets import _store
from convlib.datasets._common import Arrays

_SET = _store.IdxSet(
    title="MNIST",
    folder="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=_store.four_files(
        algorithm="sha256",
        of_content=True,
        train_images="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        train_labels="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        test_images="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        test_labels="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)


def load_data(path: str | os.PathLike | None = None) -> Arrays:
    """Return MNIST: ``(x_train, y_train), (x_test, y_test)``.

    The four files ``train-images-idx3-ubyte.gz``, ``train-labels-idx1-ubyte.gz``,
    ``t10k-images-idx3-ubyte.gz`` and ``t10k-labels-idx1-ubyte.gz``, gzipped or not (then without
    ``.gz``), are looked for in this order:

    1. in the folder ``path``, or its subfolder ``mnist``, if a path is given; nowhere else then;
    2. in the subfolder ``mnist`` of the folder that the environment variable ``CONVLIB_DATA``
       names, or in that folder itself;
    3. in the cache: ``convlib/mnist`` below ``CONVLIB_CACHE`` if that variable is set, else below
       the user's cache folder (``~/.cache`` on Linux);
    4. on the public mirrors, from where they are downloaded into the cache. A call after an
       interruption goes on with the files that are still missing.

    See chapter 14, "The smallest example".

    Parameters
    ----------
    path : path-like, optional
        A folder that holds the files.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of uint8 arrays
        60 000 and 10 000 images of shape ``(n, 28, 28)``, 0 for paper and 255 for ink, and their
        labels 0–9 of shape ``(n,)``.

    Raises
    ------
    DatasetUnavailable
        If the files are not found and cannot be downloaded.
    DatasetError
        If a file is damaged or another one than published (the SHA-256 of its uncompressed
        content is checked), or the cache cannot be written.

    Examples
    --------
    >>> from convlib.datasets import mnist
    >>> (x_train, y_train), (x_test, y_test) = mnist.load_data()
    >>> x_train.shape, x_test.shape
    ((60000, 28, 28), (10000, 28, 28))
    >>> y_train[:3].tolist()
    [5, 0, 4]
    """
    return _store.load(_SET, path)


def is_available(path: str | os.PathLike | None = None) -> bool:
    """Return whether the four files are on this computer, so that no download is needed.

    The places are those of `load_data` but for the mirrors. The content is not checked.

    See chapter 14, "The smallest example".

    Parameters
    ----------
    path : path-like, optional
        A folder that holds the files.

    Returns
    -------
    bool

    Examples
    --------
    >>> from convlib.datasets import mnist
    >>> mnist.is_available("a folder that is not there")
    False
    """
    return _store.is_available(_SET, path)
