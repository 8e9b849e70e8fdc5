"""Numba's CUDA simulator with another engine: deterministic, quick, and unforgiving.

The simulator that comes with Numba gives each thread of a block a thread of the operating system,
so that a block takes a third of a second and a missing barrier may go unnoticed. Here the threads
of a block are coroutines. One runs until it reaches a barrier, then the next, and when all have
arrived the round begins again, with the last thread first. Nothing is left to chance, and a thread
is as far ahead of the others as a barrier allows.

What a kernel must not rely on is made to hurt: shared and local memory begin as NaN, and negative
indices are refused rather than counted from the end, as are threads that leave while others wait.

It can be imported only where ``NUMBA_ENABLE_CUDASIM=1`` was set before Numba was; `install` then
puts it in place of Numba's own engine.
"""

import sys
from contextvars import copy_context
from types import SimpleNamespace

import numpy as np
from greenlet import getcurrent, greenlet
from numba import cuda, types
from numba.cuda.simulator import kernel as simulated_kernel
from numba.cuda.simulator import kernelapi
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

WAITS = object()


class Checked:
    """An array inside a kernel, indexed as on a device: from zero, within its bounds."""

    def __init__(self, array):
        self.array, self.dtype, self.size, self.shape = array, array.dtype, array.size, array.shape
        self.ndim = array.ndim

    def __len__(self):
        """Return the first size."""
        return len(self.array)

    def __getitem__(self, index):
        """Read."""
        self._check(index)
        return _widened(self.array[index])

    def __setitem__(self, index, value):
        """Write."""
        self._check(index)
        self.array[index] = value

    def _check(self, index):
        for part in index if isinstance(index, tuple) else (index,):
            if (part.start if isinstance(part, slice) else part) < 0:
                raise IndexError(f"index {index} is negative")


def _widened(value):
    """Return a 32-bit integer as Python's, since Numba computes with it in 64 bits."""
    return int(value) if isinstance(value, np.int32) else value


class Thread(greenlet):
    """One thread of a block."""

    def __init__(self, place, block, number, run):
        super().__init__(run)
        self.threadIdx, self.blockIdx = kernelapi.Dim3(*place), kernelapi.Dim3(*block)
        self.thread_id = number
        self.gr_context = copy_context()  # in which NumPy keeps what it is to warn of

    def syncthreads(self) -> None:
        """Wait until all threads of the block have come here."""
        self.parent.switch(WAITS)


def _places(size):
    x, y, z = size
    return [(i, j, k) for k in range(z) for j in range(y) for i in range(x)]


def _run_block(function, block, block_size, arguments):
    waiting = [
        Thread(place, block, number, lambda: function(*arguments))
        for number, place in enumerate(_places(block_size))
    ]
    while waiting:
        arrived = [thread for thread in waiting if thread.switch() is WAITS]
        if arrived and len(arrived) < len(waiting):
            raise RuntimeError(
                f"{len(waiting) - len(arrived)} threads of block {block} have left a kernel while "
                f"{len(arrived)} wait at a barrier"
            )
        waiting = arrived[::-1]


def _launch(kernel, *arguments):
    if kernel._device or simulated_kernel._kernel_context:
        context = simulated_kernel._get_kernel_context()
        if "cuda" not in kernel.fn.__code__.co_names:
            return kernel.fn(*arguments)
        with kernelapi.swapped_cuda_module(kernel.fn, context):
            return kernel.fn(*arguments)
    grid, block = simulated_kernel.normalize_kernel_dimensions(kernel.grid_dim, kernel.block_dim)
    inside = [
        Checked(argument._ary) if isinstance(argument, FakeCUDAArray) else _widened(argument)
        for argument in arguments
    ]
    if any(isinstance(argument, np.ndarray) for argument in inside):
        raise TypeError("an array of the host was handed to a kernel: a hidden transfer")
    with np.errstate(all="ignore"):
        for place in _places(grid):
            context = kernelapi.FakeCUDAModule(grid, block, kernel.dynshared_size)
            with (
                simulated_kernel._push_kernel_context(context),
                kernelapi.swapped_cuda_module(kernel.fn, context),
            ):
                _run_block(kernel.fn, place, block, inside)
    return None


def _poisoned(shape, dtype):
    # Kernels name Numba's types, or take the type of one of their arrays.
    if not isinstance(dtype, np.dtype):
        dtype = kernelapi.numpy_support.as_dtype(dtype)
    array = np.empty(shape, dtype)
    array.view(np.uint8).fill(0xFF)
    return array


def _local_array(self, shape, dtype, alignment=None):
    return _poisoned(shape, dtype)


def _shared_array(self, shape, dtype, alignment=None):
    # A block's array belongs to the line that asks for it, as in Numba's own simulator.
    caller = sys._getframe(1)
    line = caller.f_code.co_filename, caller.f_lineno
    if line not in self._allocations:
        self._allocations[line] = Checked(_poisoned(shape, dtype))
    return self._allocations[line]


_call_type = types.Type.__call__


def _cast(self, *values):
    # Numba's own way to int32(value) takes longer than all else that a kernel does.
    try:
        return _CASTS[self.name](*values)
    except (KeyError, TypeError):
        return _call_type(self, *values)  # a signature


_CASTS = {"int32": np.int32, "uint32": np.uint32}


def install() -> None:
    """Replace the engine of Numba's simulator."""
    assert cuda.simulator is not None, "NUMBA_ENABLE_CUDASIM=1 must be set before Numba is imported"
    # On the host the shape of a device's array is a tuple like any other.
    FakeCUDAArray.shape = property(lambda array: array._ary.shape)
    simulated_kernel.FakeCUDAKernel.__call__ = _launch
    kernelapi.FakeCUDALocal.array = _local_array
    kernelapi.FakeCUDAShared.array = _shared_array
    types.Integer.__call__ = _cast
    kernelapi.threading = SimpleNamespace(current_thread=getcurrent)
