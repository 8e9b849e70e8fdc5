"""Listening in on the kernels while a network trains.

Every kernel of a backend is replaced by one that takes the time and calls it, and so is the way in
which Python enters compiled code: what a step takes beyond compiled code is what Python costs.
"""

import inspect
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
from numba.core.registry import CPUDispatcher

from benchmarks.workload import product_flops


class Recorder:
    """What was recorded.

    Attributes
    ----------
    calls : dict
        For each kernel and shape: number of calls, seconds, seconds in compiled code, operations
        (None where there are no sums of products) and bytes.
    compiled_seconds : float
        In compiled code, whether or not in a kernel.
    """

    def __init__(self):
        self.calls: dict[str, dict] = {}
        self.compiled_seconds = 0.0

    def listening(self, name: str, kernel):
        """Return a function that calls a kernel and records it."""
        signature = inspect.signature(kernel)

        def call(*arguments):
            compiled_before, start = self.compiled_seconds, time.perf_counter()
            result = kernel(*arguments)
            seconds = time.perf_counter() - start
            named = signature.bind(*arguments).arguments
            row = self.calls.setdefault(
                label(name, named),
                {"calls": 0, "seconds": 0.0, "compiled": 0.0, "flops": 0, "bytes": 0},
            )
            row["calls"] += 1
            row["seconds"] += seconds
            row["compiled"] += self.compiled_seconds - compiled_before
            row["flops"] += flops(name, named)
            row["bytes"] += nbytes(name, named)
            return result

        return call


@contextmanager
def recording(backend: ModuleType) -> Iterator[Recorder]:
    """Record all calls of a backend's kernels until the block ends."""
    recorder = Recorder()
    plain_call = CPUDispatcher.__call__
    originals = {name: getattr(backend, name) for name in backend.__all__}

    def timed_call(dispatcher, *arguments):
        start = time.perf_counter()
        result = plain_call(dispatcher, *arguments)
        recorder.compiled_seconds += time.perf_counter() - start
        return result

    try:
        CPUDispatcher.__call__ = timed_call
        for name, kernel in originals.items():
            setattr(backend, name, recorder.listening(name, kernel))
        yield recorder
    finally:
        del CPUDispatcher.__call__
        for name, kernel in originals.items():
            setattr(backend, name, kernel)


def label(name: str, arguments: dict) -> str:
    """Return the kernel's name with the shape of its weights, or else of an array it works on."""
    weights = arguments.get("w", arguments.get("dw"))
    if weights is None or weights.ndim == 1:
        arrays = [value for value in arguments.values() if isinstance(value, np.ndarray)]
        weights = arguments.get("y", arrays[0])
    return f"{name} {'×'.join(map(str, weights.shape))}"


def flops(name: str, arguments: dict) -> int:
    """Return the operations of a convolution or dense layer; the other kernels hardly compute."""
    weights = arguments.get("w", arguments.get("dw"))
    if name.startswith("dense"):
        samples = next(iter(arguments.values())).shape[0]
        return product_flops((samples, weights.shape[1]), weights.shape[0])
    if "conv2d" not in name:
        return 0
    images = arguments["x"] if "x" in arguments else arguments["dx"]
    size = [
        (images.shape[1 + i] + sum(arguments["padding"][i]) - arguments["dilation"][i] * reach - 1)
        // arguments["strides"][i]
        + 1
        for i, reach in enumerate((weights.shape[0] - 1, weights.shape[1] - 1))
    ]
    if name.startswith("depthwise"):
        return product_flops((len(images), *size, *weights.shape[2:]), math.prod(weights.shape[:2]))
    return product_flops((len(images), *size, weights.shape[3]), math.prod(weights.shape[:3]))


def nbytes(name: str, arguments: dict) -> int:
    """Return the bytes of all arrays, each counted once; of a gathered one, what is taken."""
    if name == "gather":
        return arguments["indices"].nbytes + 2 * arguments["y"].nbytes
    return sum(value.nbytes for value in arguments.values() if isinstance(value, np.ndarray))
