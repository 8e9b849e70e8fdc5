"""Fashion-MNIST: 60 000 + 10 000 pictures of clothes (Xiao, Rasul and Vollgraf, Zalando; MIT)."""

import os

from convlib.datasets import _store
from convlib.datasets._common import Arrays

_SET = _store.IdxSet(
    title="Fashion-MNIST",
    folder="fashion_mnist",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    files=_store.four_files(
        algorithm="md5",
        of_content=False,
        train_images="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        train_labels="25c81989df183df01b3e8a0aad5dffbe",
        test_images="bef4ecab320f06d8554ea6380940ec79",
        test_labels="bb300cfdad3c16e7a12a480ee83cd310",
    ),
)

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""What the labels 0 to 9 mean."""


def load_data(path: str | os.PathLike | None = None) -> Arrays:
    """Return Fashion-MNIST: ``(x_train, y_train), (x_test, y_test)``.

    The four files ``train-images-idx3-ubyte.gz``, ``train-labels-idx1-ubyte.gz``,
    ``t10k-images-idx3-ubyte.gz`` and ``t10k-labels-idx1-ubyte.gz``, gzipped or not (then without
    ``.gz``), are looked for in this order:

    1. in the folder ``path``, or its subfolder ``fashion_mnist``, if a path is given; nowhere
       else then;
    2. in the subfolder ``fashion_mnist`` of the folder that the environment variable
       ``CONVLIB_DATA`` names, or in that folder itself;
    3. in the cache: ``convlib/fashion_mnist`` below ``CONVLIB_CACHE`` if that variable is set,
       else below the user's cache folder (``~/.cache`` on Linux);
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
        60 000 and 10 000 images of shape ``(n, 28, 28)``, 0 for the background, and their labels
        of shape ``(n,)``, which number `CLASSES`.

    Raises
    ------
    DatasetUnavailable
        If the files are not found and cannot be downloaded.
    DatasetError
        If a file is damaged or another one than published, or the cache cannot be written. The
        digest that Zalando publishes, and that is checked, is the MD5 of the gzip file; an
        unzipped file is checked for its format, shape and length alone.

    Examples
    --------
    >>> from convlib.datasets import fashion_mnist
    >>> (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
    >>> x_train.shape, x_test.shape
    ((60000, 28, 28), (10000, 28, 28))
    >>> fashion_mnist.CLASSES[y_train[0]]
    'Ankle boot'
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
    >>> from convlib.datasets import fashion_mnist
    >>> fashion_mnist.is_available("a folder that is not there")
    False
    """
    return _store.is_available(_SET, path)
