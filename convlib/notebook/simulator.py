"""Numba's CUDA simulator with another engine: deterministic, quick, and unforgiving.

The simulator that comes with Numba gives each thread of a block a thread of the operating system,
so that a block takes a third of a second and a missing barrier may go unnoticed. Here the threads
of a block are coroutines. One runs until it reaches a barrier, then the next, and when all have
arrived the round begins again, with the last thread first. Nothing is left to chance, and a thread
is as far ahead of the others as a barrier allows.

What a kernel must not rely on is made to hurt: shared and local memory begin as NaN, and negative
indices are refused rather than counted from the end, as are threads that leave while others wait.

`recording` notes what the threads of kernels read and write, element by element.

It can be imported only where ``NUMBA_ENABLE_CUDASIM=1`` was set before Numba was; `install` then
puts it in place of Numba's own engine.
"""

import sys
import threading
from array import array as packed
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from inspect import getclosurevars
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from greenlet import getcurrent, greenlet
from numba import config, cuda, types
from numba.cuda.simulator import kernel as simulated_kernel
from numba.cuda.simulator import kernelapi
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

WAITS = object()


class Checked:
    """An array inside a kernel, indexed as on a device: from zero, within its bounds."""

    def __init__(self, array):
        self.array, self.dtype, self.size, self.shape = array, array.dtype, array.size, array.shape
        self.ndim = array.ndim
        # Numba computes with 32-bit integers in 64 bits, as Python's integers do.
        self._read = array.item if array.dtype == np.int32 else array.__getitem__

    def __len__(self):
        """Return the first size."""
        return len(self.array)

    def __getitem__(self, index):
        """Read."""
        _check(index)
        return self._read(index)

    def __setitem__(self, index, value):
        """Write."""
        _check(index)
        self.array[index] = value


def _check(index):
    """Refuse negative indices; quickly, as this is called for every number."""
    try:
        lowest = min(index) if type(index) is tuple else index
        is_negative = lowest < 0
    except TypeError:  # there are slices
        parts = index if isinstance(index, tuple) else (index,)
        is_negative = any(
            (part.start or 0 if isinstance(part, slice) else part) < 0 for part in parts
        )
    if is_negative:
        raise IndexError(f"index {index} is negative")


def _widened(value):
    """Return a 32-bit integer as Python's, since Numba computes with it in 64 bits."""
    return int(value) if isinstance(value, np.int32) else value


class Recorded(Checked):
    """An array inside a kernel whose elements' reads and writes are noted."""

    def __init__(self, array, name, recording):
        super().__init__(array)
        self.recording, self.number = recording, recording.number_of(name, array.shape)
        self.places = np.arange(array.size).reshape(array.shape)

    def __getitem__(self, index):
        """Read, and note it."""
        value = super().__getitem__(index)
        self.recording.note(self.number, False, self.places[index])
        return value

    def __setitem__(self, index, value):
        """Write, and note it."""
        super().__setitem__(index, value)
        self.recording.note(self.number, True, self.places[index])


class Accesses(NamedTuple):
    """Reads, or writes, of one array: a number for each access, in the order in which they came."""

    element: np.ndarray  # of the flat array
    block: np.ndarray  # of the grid, numbered along x, then y, then z
    thread: np.ndarray  # of the block, numbered alike
    step: np.ndarray  # how often this thread had done so before
    phase: np.ndarray  # barriers that this thread had passed


class Launch(NamedTuple):
    """One launch of a kernel."""

    kernel: str
    blocks: int
    threads: int  # of a block
    arrays: int  # among the arguments


class Recording:
    """What the threads of some launches read and wrote.

    Arrays in global memory have the names of the kernels' arguments. A block's shared arrays are
    called "shared 0", "shared 1" and so on, in the order in which a kernel asks for them. Kernels
    whose arguments have the same names are added up.
    """

    COLUMNS = 7

    def __init__(self, has_accesses=True):
        self.has_accesses = has_accesses
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.launches: list[Launch] = []
        self._names: list[str] = []
        self._numbers = packed("q")

    def number_of(self, name, shape):
        """Return the number under which an array's accesses are noted."""
        if name not in self.shapes:
            self._names.append(name)
        self.shapes[name] = shape
        return self._names.index(name)

    def note(self, number, is_write, places):
        """Note that the running thread reads or writes elements of an array."""
        thread = getcurrent()
        key = number, is_write
        for element in places.ravel().tolist():
            step = thread.steps.get(key, 0)
            thread.steps[key] = step + 1
            self._numbers.extend(
                (number, is_write, element, thread.block, thread.thread_id, step, thread.phase)
            )

    def accesses(self, name: str, writes: bool = False) -> Accesses:
        """Return the reads of an array, or its writes."""
        table = np.array(self._numbers, np.int64).reshape(-1, self.COLUMNS)
        if name not in self.shapes:
            raise ValueError(f"no kernel had an array {name!r}, only {', '.join(self.shapes)}")
        chosen = (table[:, 0] == self._names.index(name)) & (table[:, 1] == writes)
        return Accesses(*table[chosen, 2:].T)

    def count(self, name: str, writes: bool = False) -> int:
        """Return how many numbers of an array were read, or written."""
        return len(self.accesses(name, writes).element)

    def counts(self, name: str, writes: bool = False, block: int | None = None) -> np.ndarray:
        """Return how often each element of an array was read, or written; by one block, or all."""
        accesses, shape = self.accesses(name, writes), self.shapes[name]
        elements = accesses.element if block is None else accesses.element[accesses.block == block]
        return np.bincount(elements, minlength=int(np.prod(shape))).reshape(shape)

    def sectors(self, name: str, writes: bool = False, numbers: int = 8, warp: int = 32) -> int:
        """Return how many sectors of memory the warps moved to read, or write, an array.

        What the threads of a warp do at their n-th access, they do together. A sector is so many
        neighbouring numbers; 8 of 4 bytes are the 32 bytes of today's GPUs.
        """
        accesses = self.accesses(name, writes)
        together = accesses.block, accesses.thread // warp, accesses.step
        return len(set(zip(*together, accesses.element // numbers, strict=True)))


_recording: Recording | None = None


@contextmanager
def recording(accesses: bool = True):
    """Note what kernels read and write inside, or their launches only; give the `Recording`."""
    global _recording
    before, _recording = _recording, Recording(accesses)
    try:
        yield _recording
    finally:
        _recording = before


class Thread(greenlet):
    """A thread of a block; once it is through, it can be one of another block.

    Python maps memory for each new coroutine, which takes longer than many a kernel.
    """

    def __init__(self):
        super().__init__(self._work)
        self.gr_context = copy_context()  # in which NumPy keeps what it is to warn of

    def begin(self, place, block, number, block_number, work) -> None:
        """Take a place in a block; ``work`` is done from the next switch on."""
        self.threadIdx, self.blockIdx = kernelapi.Dim3(*place), kernelapi.Dim3(*block)
        self.thread_id, self.block = number, block_number
        self.phase, self.steps = 0, {}
        self.work = work

    def _work(self):
        while True:
            self.work()
            self.work = None  # and with it the kernel's arguments
            self.parent.switch()

    def syncthreads(self) -> None:
        """Wait until all threads of the block have come here."""
        self.phase += 1
        self.parent.switch(WAITS)


class _Threads(threading.local):
    def __init__(self):
        self.all = []


_threads = _Threads()
"""Of each thread of the host, the threads that its blocks are made of."""


def _places(size):
    x, y, z = size
    return [(i, j, k) for k in range(z) for j in range(y) for i in range(x)]


def _run_block(function, block, block_size, arguments, block_number):
    places, threads = _places(block_size), _threads.all
    threads.extend(Thread() for _ in range(len(places) - len(threads)))
    waiting = threads[: len(places)]
    for number, (thread, place) in enumerate(zip(waiting, places, strict=True)):
        thread.begin(place, block, number, block_number, lambda: function(*arguments))
    try:
        while waiting:
            arrived = [thread for thread in waiting if thread.switch() is WAITS]
            if arrived and len(arrived) < len(waiting):
                raise RuntimeError(
                    f"{len(waiting) - len(arrived)} threads of block {block} have left a kernel "
                    f"while {len(arrived)} wait at a barrier"
                )
            waiting = arrived[::-1]
    except BaseException:
        threads.clear()  # some are in the middle of it
        raise


def _inside(array, name):
    if _recording is None or not _recording.has_accesses:
        return Checked(array)
    return Recorded(array, name, _recording)


def _launch(kernel, *arguments):
    if kernel._device or simulated_kernel._kernel_context:
        return kernel.fn(*arguments)
    grid, block = simulated_kernel.normalize_kernel_dimensions(kernel.grid_dim, kernel.block_dim)
    names = kernel.fn.__code__.co_varnames
    inside = [
        _inside(argument._ary, name) if isinstance(argument, FakeCUDAArray) else _widened(argument)
        for argument, name in zip(arguments, names, strict=False)
    ]
    if _recording is not None:
        sizes = int(np.prod(grid)), int(np.prod(block))
        arrays = sum(isinstance(argument, Checked) for argument in inside)
        _recording.launches.append(Launch(kernel.fn.__name__, *sizes, arrays))
    if any(isinstance(argument, np.ndarray) for argument in inside):
        raise TypeError("an array of the host was handed to a kernel: a hidden transfer")
    with np.errstate(all="ignore"):
        for number, place in enumerate(_places(grid)):
            context = kernelapi.FakeCUDAModule(grid, block, kernel.dynshared_size)
            with simulated_kernel._push_kernel_context(context), _as_cuda(context, kernel.fn):
                _run_block(kernel.fn, place, block, inside, number)
    return None


@contextmanager
def _as_cuda(context, function):
    """Let a kernel, and all device functions that it calls, find a block where they say cuda."""
    places = _places_of_cuda(function)
    for names, name in places:
        names[name] = context
    try:
        yield
    finally:
        for names, name in places:
            names[name] = cuda


@cache
def _places_of_cuda(function):
    functions, namespaces = [function], {}
    for function in functions:  # grows on the way
        namespaces[id(function.__globals__)] = function.__globals__
        seen = getclosurevars(function)
        for value in (seen.globals | seen.nonlocals).values():
            if isinstance(value, simulated_kernel.FakeCUDAKernel) and value.fn not in functions:
                functions.append(value.fn)
    return [
        (names, name)
        for names in namespaces.values()
        for name, value in names.items()
        if value is cuda
    ]


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
        name = f"shared {len(self._allocations)}"
        self._allocations[line] = _inside(_poisoned(shape, dtype), name)
    return self._allocations[line]


_call_type = types.Type.__call__


def _cast(self, *values):
    # Numba's own way to int32(value) takes longer than all else that a kernel does.
    try:
        if self is types.uint32:
            return int(*values) & 0xFFFFFFFF
        if self is types.int32:
            return int(np.int32(*values))
    except TypeError:  # a signature
        pass
    return _call_type(self, *values)


def install() -> None:
    """Replace the engine of Numba's simulator."""
    assert config.ENABLE_CUDASIM, "NUMBA_ENABLE_CUDASIM=1 must be set before Numba is imported"
    # On the host the shape of a device's array is a tuple like any other.
    FakeCUDAArray.shape = property(lambda array: array._ary.shape)
    simulated_kernel.FakeCUDAKernel.__call__ = _launch
    kernelapi.FakeCUDALocal.array = _local_array
    kernelapi.FakeCUDAShared.array = _shared_array
    types.Integer.__call__ = _cast
    kernelapi.threading = SimpleNamespace(current_thread=getcurrent)
