"""Data sets of 28×28 grey images, interchangeable in every listing.

``load_data()`` of each gives ``(x_train, y_train), (x_test, y_test)``: images as uint8 arrays of
shape ``(n, 28, 28)``, 0 for paper and 255 for ink, and labels as uint8 arrays of shape ``(n,)``.

- `strokes`: digits drawn by a program, as many as wanted; nothing to download.
- `digits`: 1 797 small handwritten digits that come with convlib; nothing to download.
- `mnist`: the 70 000 handwritten digits of MNIST, from a folder, the cache or the network.
- `fashion_mnist`: 70 000 photographs of clothes, likewise.
"""

import importlib

from convlib.datasets._common import DatasetError, DatasetUnavailable

_SETS = ("digits", "fashion_mnist", "mnist", "strokes")

__all__ = ["DatasetError", "DatasetUnavailable", *_SETS]


def __getattr__(name: str):
    if name in _SETS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
