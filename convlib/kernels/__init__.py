"""The kernels, one contract and several backends.

``reference`` says what every operation means; ``cpu`` computes the same, fast.
"""

import importlib
from types import ModuleType

# Probabilities are kept this far from 0 and 1 before a logarithm is taken, as in Keras.
PROBABILITY_FLOOR = 1e-7

_MODULES = {"reference": "reference", "cpu": "cpu", "cuda": "cuda", "auto": "cpu"}


def get_backend(name: str = "auto") -> ModuleType:
    """Return the module that holds the kernels of a backend, importing it when first asked for.

    Parameters
    ----------
    name : {'auto', 'cpu', 'reference'}, default 'auto'
        'auto' is the fastest one that this machine can run.

    Raises
    ------
    ValueError
        If there is no such backend.
    """
    if name not in _MODULES:
        raise ValueError(f"backend must be one of {', '.join(map(repr, _MODULES))}, got {name!r}")
    return importlib.import_module(f"{__name__}.{_MODULES[name]}")
