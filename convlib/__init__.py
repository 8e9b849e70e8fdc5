"""convlib: small convolutional networks, every kernel of which can be read.

``from convlib import layers, models`` gives the Keras-shaped interface, ``convlib.functional``
the operations on plain arrays. Submodules are imported when they are first used, so that
``import convlib`` itself costs next to nothing.
"""

import importlib

__version__ = "0.1.0"

_SUBMODULES = (
    "callbacks",
    "datasets",
    "functional",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "shapes",
    "utils",
)

__all__ = ["__version__", *_SUBMODULES]


def __getattr__(name: str):
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
