"""Where the arrays of the CPU's backends live: the memory of the host.

Each backend has a module of these functions as its attribute ``memory``, so that whoever owns
arrays need not know on which side they are.
"""

import math

import numpy as np

from convlib.kernels.scratch import Scratch

__all__ = [
    "IS_DEVICE",
    "Scratch",
    "copy",
    "empty",
    "from_host",
    "holds",
    "is_device_array",
    "to_host",
    "write",
    "zeros",
]

IS_DEVICE = False
"""Whether these arrays lie on a device, which computes while the program goes on."""

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """Return an uninitialised array that begins at a cache line."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
    return np.ndarray(shape, dtype, memory.data, -memory.ctypes.data % _ALIGNMENT)


def zeros(shape: tuple[int, ...], dtype) -> np.ndarray:
    """Return an array of zeros that begins at a cache line."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


def from_host(array: np.ndarray) -> np.ndarray:
    """Return an array of the host as the kernels can read it: here, itself."""
    return array


def copy(source: np.ndarray, target: np.ndarray) -> None:
    """Copy an array that lies here into another one of its shape."""
    target[...] = source


def is_device_array(array: object) -> bool:
    """Whether an array lies on a GPU, whichever package made it."""
    # The second is what numba's own arrays have, those of its simulator too.
    return hasattr(array, "__cuda_array_interface__") or hasattr(array, "__cuda_ndarray__")


def holds(array: object) -> bool:
    """Whether an array lies here."""
    return not is_device_array(array)


def to_host(array: object) -> np.ndarray:
    """Return an array as one of the host: itself if it is there, else a copy."""
    return array.copy_to_host() if is_device_array(array) else array


def write(target: object, values: np.ndarray) -> None:
    """Copy values of the host into an array of the same shape, on either side."""
    if not is_device_array(target):
        target[...] = values
    elif target.size:
        # Flat, as the strides of axes of length 1 need not agree.
        target.reshape(-1).copy_to_device(np.ascontiguousarray(values, target.dtype).reshape(-1))
