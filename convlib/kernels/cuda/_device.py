"""Arrays on the device, work memory there, and launches: all that knows the objects of numba.cuda.

A port to another package would change this file and `_vec`. Graphs come from cuda.core, on which
numba.cuda is built.
"""

import math
import operator
import os
import threading
import warnings
from contextlib import contextmanager, suppress
from numbers import Number

import numpy as np
from numba import config, cuda

from convlib.kernels import memory
from convlib.kernels._cache import stamped_cache
from convlib.kernels.scratch import Memory, Scratch

IS_DEVICE = True
"""Whether these arrays lie on a device, which computes while the program goes on."""
THREADS = 256
"""Threads of a block, where nothing speaks for another number."""
MOST_BLOCKS = 1024
"""Blocks that keep every GPU of today busy; with more work, each thread does several items."""
WARP = 32
"""Threads that run in step; what they read together should be neighbours in memory."""
MOST_INDICES = 2**31
"""Elements that an array may have: indices within kernels are 32-bit numbers."""


# Recording


class NotRecorded(Exception):
    """The driver could not record launches."""


@contextmanager
def _driver_errors(*others):
    """Let what the driver raises, and other errors if wanted, be `NotRecorded`."""
    from cuda.core._utils.cuda_utils import CUDAError

    try:
        yield
    except (CUDAError, *others) as error:
        raise NotRecorded(f"{type(error).__name__}: {error}") from error


class Graph:
    """A CUDA graph: launches that the driver takes down, and from then on runs as one.

    They are captured from a stream of their own. The graph keeps the kernels and their arguments:
    what these refer to must stay where it is as long as the graph may be replayed.
    """

    def __init__(self):
        from cuda.core import Device, Stream

        self._kept = []
        with _driver_errors(RuntimeError):
            self._default = Stream.from_handle(0)
            device = Device()
            device.set_current()
            self._builder = device.create_graph_builder()
            self._builder.begin_building()

    def launch(self, kernel, blocks, threads, arguments) -> None:
        """Take a launch down."""
        with _driver_errors():
            _configured(kernel, blocks, threads, self._builder.stream)(*arguments)
        self._kept.append((kernel, arguments))

    def finish(self) -> None:
        """Make of what was taken down something that can be replayed."""
        with _driver_errors(RuntimeError):
            self._graph = self._builder.end_building().complete()

    def close(self) -> None:
        """End the recording, whatever became of it."""
        # To end one that went wrong is an error again, of which nobody can make use.
        with suppress(NotRecorded), _driver_errors(RuntimeError):
            self._builder.close()

    def replay(self) -> None:
        """Run all launches, after whatever was launched before."""
        self._graph.launch(self._default)


class _Thread(threading.local):
    recorder = None


_thread = _Thread()
"""Of each thread of the host, what takes its launches down instead of having them run, if any."""


def _refuse_while_recording(action: str) -> None:
    # It would be done once, now, and not again when the launches are replayed.
    if _thread.recorder is not None:
        raise RuntimeError(f"a step of training that is being recorded cannot {action}")


# Memory


def empty(shape: tuple[int, ...], dtype) -> object:
    """Return an uninitialised array on the device.

    Raises
    ------
    MemoryError
        If the device has no room for it.
    """
    _refuse_while_recording("allocate memory")
    try:
        return cuda.device_array(shape, dtype)
    except Exception as error:
        _explain_lack_of_memory(error, math.prod(shape) * np.dtype(dtype).itemsize)
        raise


def zeros(shape: tuple[int, ...], dtype) -> object:
    """Return an array of zeros on the device."""
    return to_device(np.zeros(shape, dtype))


def to_device(array: np.ndarray) -> object:
    """Return a copy of a host's array on the device."""
    copy = empty(array.shape, array.dtype)
    write(copy, array)
    return copy


from_host = to_device


def to_host(array: object) -> np.ndarray:
    """Wait for the device, and return a copy of an array there; one of the host as it is."""
    _refuse_while_recording("copy to the host")
    return memory.to_host(array)


def write(target: object, values: np.ndarray) -> None:
    """Copy values of the host into an array on the device, of the same shape."""
    _refuse_while_recording("copy from the host")
    memory.write(target, values)


def copy(source: object, target: object) -> None:
    """Copy an array on the device into another one of its shape, by a launch like any other."""
    launch_over(_copy, target.size, source.reshape(-1), target.reshape(-1))


def holds(array: object) -> bool:
    """Whether an array lies on a device."""
    return memory.is_device_array(array)


def _explain_lack_of_memory(error, nbytes):
    # numba-cuda's error has no class of its own for this; its text holds the driver's name for it.
    if "OUT_OF_MEMORY" in str(error):
        raise MemoryError(
            f"the GPU has no room for another {nbytes / 2**20:,.0f} MB; take a smaller batch_size, "
            f"or backend='cpu'"
        ) from error


# Launches


def launch(kernel, blocks, threads, *arguments) -> None:
    """Run a kernel on so many blocks of so many threads; neither is waited for.

    All kernels are launched here, so that a step of training can be recorded. Python's integers
    reach them as 32-bit numbers: they count elements, of which no array has more.
    """
    if 0 in (blocks if isinstance(blocks, tuple) else (blocks,)):
        return
    arguments = tuple(map(_argument, arguments))
    if _thread.recorder is None:
        _configured(kernel, blocks, threads)(*arguments)
    else:
        _thread.recorder.launch(kernel, blocks, threads, arguments)


def _configured(kernel, *configuration):
    """Return what launches a kernel on so many blocks of so many threads, in a stream if given.

    Small problems have small grids, of which numba-cuda would warn, as if a caller could help it.
    """
    before, config.CUDA_LOW_OCCUPANCY_WARNINGS = config.CUDA_LOW_OCCUPANCY_WARNINGS, False
    try:
        return kernel[configuration]
    finally:
        config.CUDA_LOW_OCCUPANCY_WARNINGS = before


def _argument(value):
    if isinstance(value, int):
        if not -MOST_INDICES <= value < MOST_INDICES:
            raise ValueError(f"the GPU's kernels count to 2^31 at most, {value} is more")
        return np.int32(value)
    return value


def launch_over(kernel, items: int, *arguments) -> None:
    """Run a kernel whose threads share so many items in a loop with the stride of the grid."""
    launch(kernel, min(-(-items // THREADS), MOST_BLOCKS), THREADS, *arguments)


def launch_rows(kernel, rows: int, length: int, *arguments) -> None:
    """Run a kernel on a matrix of so many rows, each of whose threads keeps to one column.

    Within it ``cuda.grid(2)`` is the thread's column and its first row, and ``cuda.gridsize(2)[1]``
    the step to its next row. So what depends on the column is worked out once. The last threads
    of a row may have no column.
    """
    width, height = block_of(length)
    across = -(-length // width)
    down = min(-(-rows // height), max(1, MOST_BLOCKS // max(across, 1)))
    launch(kernel, (across, down), (width, height), *arguments)


def block_of(length: int) -> tuple[int, int]:
    """Return how many threads of a block lie across rows of this length, and how many down.

    Both are powers of two: a warp across, or less if the rows are shorter.
    """
    width = min(WARP, 1 << (max(length, 1) - 1).bit_length())
    return width, THREADS // width


def one_number(value, dtype):
    """Return what a kernel reads with `_vec.number`: the value in its type, or a device's array.

    Where a number changes from step to step, an array of one element lets a captured graph of
    launches be replayed with another value.
    """
    return np.dtype(dtype).type(value) if isinstance(value, Number) else value


def is_aligned(*arrays) -> bool:
    """Whether all arrays begin at a multiple of 16 bytes, as 128-bit loads and stores need."""
    return all(_address(array) % 16 == 0 for array in arrays)


def _address(array) -> int:
    if hasattr(array, "__cuda_array_interface__"):
        return array.__cuda_array_interface__["data"][0]
    return array.ctypes.data  # the simulator's


def adopt(array: object) -> object:
    """Return any package's array on the device as one of numba's; nothing is copied."""
    return array if hasattr(array, "__cuda_ndarray__") else cuda.as_cuda_array(array)


with stamped_cache():

    @cuda.jit(cache=True)
    def _refuse_unless_finite(values, refusal):
        for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
            if not math.isfinite(values[i]):
                refusal[0] = 1  # whoever writes, writes the same

    @cuda.jit(cache=True)
    def _copy(source, target):
        for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
            target[i] = source[i]

    @cuda.jit(cache=True)
    def _put(target, value):
        target[0] = value


class DeviceMemory(Memory):
    """Bytes on the device."""

    def allocate(self, nbytes):
        """Return so many bytes; device memory begins at a multiple of 256."""
        return empty((nbytes,), np.uint8)

    def array(self, shape, dtype, offset):
        """Return the array that begins at a byte."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        return self.bytes[offset : offset + nbytes].view(dtype).reshape(shape)


class DeviceScratch(Scratch):
    """Work memory on the device, and there a mark that forbids further steps of training.

    A step whose loss or gradients are not finite must change nothing, but to look at them would
    mean to wait. So kernels look, and leave the mark; kernels that take steps do nothing where they
    find it. With ``postpones_sums``, as in training, it stays until `forget_refusal`, and nobody
    waits; without, each call begins without it and looks at it in the end.

    A step of training is several dozen launches, which cost the host more time than small networks
    cost the GPU. So it is recorded, and replayed as one: see `repeat`.
    """

    memory_kind = DeviceMemory
    recorder = None if config.ENABLE_CUDASIM else Graph
    """What records; None, so that all launches are plain, if nothing can."""
    _refusal = None

    def __init__(self, postpones_sums: bool = False):
        super().__init__(postpones_sums)
        self._changing, self._recordings = {}, {}

    @property
    def refusal(self) -> object:
        """The mark: an array of one number on the device, not 0 if no step may be taken."""
        if self._refusal is None:
            self._refusal = zeros((1,), np.int32)
        return self._refusal

    def forget_refusal(self) -> None:
        """Allow steps again."""
        write(self.refusal, np.zeros(1, np.int32))

    def refuse_unless_finite(self, values: object) -> None:
        """Leave the mark if one of the values is NaN or infinite."""
        launch_over(_refuse_unless_finite, values.size, values.reshape(-1), self.refusal)

    def is_refused(self) -> bool:
        """Wait, and return whether the mark is there."""
        return bool(to_host(self.refusal)[0])

    def admits(self, losses: object) -> bool:
        """Leave the mark if a loss is not finite; whether it is, nobody waits to see."""
        self.refuse_unless_finite(losses)
        return True

    def changing(self, name, value, dtype) -> object:
        """Return an array of one number on the device, which holds this value from now on.

        Kernels that read it there (`_vec.number`) find another value when they are replayed.
        """
        number = np.dtype(dtype).type(value)
        array, held = self._changing.get(name) or (empty((1,), dtype), None)
        if held != number.tobytes():  # so NaN is itself
            _refuse_while_recording(f"change {name}")
            launch(_put, 1, 1, array, number)
            self._changing[name] = array, number.tobytes()
        return array

    def repeat(self, key, settings, compute) -> bool:
        """Do what ``compute`` does: plainly at first, then recorded, and from then on replayed.

        At first kernels are compiled and memory is allocated. Memory that a recording refers to
        stays, with the recording, even where the work memory has grown since. Of each ``key`` there
        is one recording. It is dropped when a setting is another object than it was, and so is
        everything when this scratch goes.

        The environment variable ``CONVLIB_CUDA_GRAPHS=0`` keeps to plain launches. So does the
        process, after a warning, once the driver could not record.
        """
        if self.recorder is None or os.environ.get("CONVLIB_CUDA_GRAPHS") == "0":
            return compute()
        settings = settings()
        before, recording = self._recordings.get(key, ([None], None))
        if len(before) != len(settings) or not all(map(operator.is_, before, settings)):
            self._recordings[key] = settings, None
            return compute()
        if recording is None:
            try:
                recording = self._recorded(compute)
            except NotRecorded as error:
                DeviceScratch.recorder = None
                warnings.warn(
                    f"the GPU's driver did not record a step of training as a CUDA graph "
                    f"({error}); convlib goes on with plain launches, which compute the same",
                    RuntimeWarning,
                    stacklevel=2,
                )
                return compute()
            self._recordings[key] = settings, recording
        recording.replay()
        return True

    def _recorded(self, compute):
        recording = self.recorder()
        _thread.recorder = recording
        try:
            compute()
            recording.finish()
        finally:
            _thread.recorder = None
            recording.close()
        return recording


Scratch = DeviceScratch
