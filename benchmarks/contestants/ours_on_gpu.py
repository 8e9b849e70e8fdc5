"""convlib on a GPU: the jobs of `ours`, timed by the GPU, and how fast that is in Numba's hands.

``CONVLIB_BACKEND=cuda`` is in the environment; it is what makes `ours` compute there.
"""

import importlib.metadata

import numpy as np
from numba import cuda, float32

from benchmarks.contestants import ours
from convlib.callbacks import Callback


def introduce() -> dict:
    """Return the versions of what computes, and the GPU."""
    own = ours.introduce()
    versions = own["versions"] | {"numba-cuda": importlib.metadata.version("numba-cuda")}
    _, memory = cuda.current_context().get_memory_info()
    gpu = description(cuda.get_current_device(), memory)
    return own | {"versions": versions, "GPU": gpu, "GPU memory": int(memory)}


def description(device, memory: int) -> str:
    """Return the name of a device and what its speed depends on."""
    generation = "{}.{}".format(*device.compute_capability)
    return (
        f"{device.name}, {device.MULTIPROCESSOR_COUNT} multiprocessors, compute capability "
        f"{generation}, {memory / 1e9:.0f} GB"
    )


class Clock:
    """Takes the time between two events in the GPU's own queue."""

    def start(self) -> None:
        """Begin when everything so far is done."""
        self._start = cuda.event()
        self._start.record()

    def stop(self) -> float:
        """Wait for what has been asked for since, and return its seconds."""
        end = cuda.event()
        end.record()
        end.synchronize()
        return self._start.elapsed_time(end) / 1e3


class EpochClock(Callback):
    """Takes the time of the latest epoch: the data are on the GPU when it begins."""

    def __init__(self):
        self._clock, self.seconds = Clock(), 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Start."""
        self._clock.start()

    def on_epoch_end(self, epoch, logs=None):
        """Stop."""
        self.seconds = self._clock.stop()


def train(path: str, images: int, batch: int):
    """Fit for two epochs, of which the second counts: in the first a step may be captured."""
    x, y = ours.load(path, "train", images)
    model, clock = ours.compiled_network(), EpochClock()

    def work():
        model.fit(x, y, epochs=2, batch_size=batch, verbose=0, callbacks=[clock])
        return {"seconds": clock.seconds}

    return work


THREADS = 256
BLOCKS = 8  # for each multiprocessor, which holds as many threads
CHAINS = 8  # independent sums of a thread: the next ones start before the first is ready
UNROLLED = 16  # multiply-adds of each before the loop is looked after


def multiply_add(repeats: int = 1000):
    """Do nothing but fused multiply-adds in registers; return how many operations that were."""
    blocks = BLOCKS * cuda.get_current_device().MULTIPROCESSOR_COUNT
    y = cuda.device_array((blocks * THREADS,), np.float32)
    flops = 2 * y.size * CHAINS * UNROLLED * repeats
    factor, summand = np.float32(0.5), np.float32(1)
    return lambda: _multiply_add[blocks, THREADS](y, factor, summand, repeats) or flops


@cuda.jit
def _multiply_add(y, factor, summand, repeats):
    sums = cuda.local.array(CHAINS, float32)
    for chain in range(CHAINS):
        # Different ones, or they would be computed once.
        sums[chain] = float32(cuda.threadIdx.x + chain)
    for _ in range(repeats):
        for _ in range(UNROLLED):
            for chain in range(CHAINS):
                sums[chain] = sums[chain] * factor + summand
    total = float32(0)
    for chain in range(CHAINS):
        total += sums[chain]
    y[cuda.grid(1)] = total


def copy(nbytes: int):
    """Let the driver copy an array of so many bytes; return the bytes read and written."""
    x, y = (cuda.device_array((nbytes // 4,), np.float32) for _ in range(2))
    return lambda: y.copy_to_device(x) or 2 * nbytes


JOBS = {
    "train": train,
    "multiply_add": multiply_add,
    "copy": copy,
    "convolution": ours.convolution,
    "operation": ours.operation,
}
