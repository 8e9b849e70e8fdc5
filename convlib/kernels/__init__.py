"""The kernels, one contract and several backends.

``reference`` says what every operation means; ``cpu`` and ``cuda`` compute the same, fast.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import warnings
from functools import cache
from types import ModuleType

# Probabilities are kept this far from 0 and 1 before a logarithm is taken, as in Keras.
PROBABILITY_FLOOR = 1e-7

BACKENDS = ("auto", "cpu", "cuda", "reference")


def get_backend(name: str = "auto") -> ModuleType:
    """Return the module that holds the kernels of a backend, importing it when first asked for.

    Besides the operations of the contract it has ``memory``, a module of functions that make and
    copy the arrays that these kernels work on.

    Parameters
    ----------
    name : {'auto', 'cpu', 'cuda', 'reference'}, default 'auto'
        'auto' is what the environment variable ``CONVLIB_BACKEND`` says; without it, 'cuda' where
        numba-cuda is installed and a GPU can be used, else 'cpu'. If numba-cuda is there but no GPU
        can be used, a warning says why, once.

    Raises
    ------
    ValueError
        If there is no such backend.
    RuntimeError
        If 'cuda' is asked for and no GPU can be used; the message says what to do about it.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(map(repr, BACKENDS))}, got {name!r}")
    if name == "auto":
        name = _automatic()
    elif name == "cuda" and (problem := _problem_with_gpu()):
        raise RuntimeError(f"backend='cuda' cannot be used: {problem}")
    return importlib.import_module(f"{__name__}.{name}")


def _automatic() -> str:
    wanted = os.environ.get("CONVLIB_BACKEND", "auto")
    if wanted not in BACKENDS:
        raise ValueError(
            f"the environment variable CONVLIB_BACKEND must be one of "
            f"{', '.join(map(repr, BACKENDS))}, it is {wanted!r}"
        )
    if wanted != "auto":
        return get_backend(wanted).__name__.rpartition(".")[2]
    return "cuda" if _gpu_can_be_used() else "cpu"


@cache
def _gpu_can_be_used() -> bool:
    # Somebody who has not installed the GPU's packages does not wait for a GPU.
    if importlib.util.find_spec("numba_cuda") is None:
        return False
    problem = _problem_with_gpu()
    if problem:
        warnings.warn(f"convlib computes on the CPU: {problem}", stacklevel=4)
    return problem is None


@cache
def _problem_with_gpu() -> str | None:
    """Return why no GPU can be used and what to do, in a sentence; None if one can.

    This asks the driver, so it is called only when somebody wants a GPU.
    """
    import numba

    if numba.config.ENABLE_CUDASIM:
        return None
    if importlib.util.find_spec("numba_cuda") is None:
        return (
            "the package numba-cuda is not installed; install convlib with its extra, "
            "pip install 'convlib[cuda]', or take backend='cpu'"
        )
    from numba.cuda.cudadrv.driver import driver

    if not driver.is_available:
        return (
            f"no NVIDIA driver could be used ({' '.join(driver.initialization_error.split())}); "
            f"install one, version 580 or newer, on a machine with an NVIDIA GPU, or take "
            f"backend='cpu'"
        )
    needed, there = _cuda_of_packages(), driver.get_version()
    if there[0] < needed:
        return (
            f"the NVIDIA driver is made for CUDA {there[0]}.{there[1]} and the installed packages "
            f"need CUDA {needed}; update the driver, or take backend='cpu'"
        )
    if driver.get_device_count() == 0:
        return (
            "the driver sees no GPU; check nvidia-smi and the environment variable "
            "CUDA_VISIBLE_DEVICES, or take backend='cpu'"
        )
    return None


def _cuda_of_packages() -> int:
    """Return the major version of CUDA whose compiler pip has installed, 0 if it was not pip."""
    try:
        return int(importlib.metadata.version("nvidia-nvvm").split(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return 0
