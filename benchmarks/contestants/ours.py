"""What convlib does when it is asked to, and how fast the machine is in Numba's hands."""

import math
import platform
import time

import numba
import numpy as np

import convlib
from benchmarks.contestants import resident_megabytes
from benchmarks.recorder import recording
from benchmarks.workload import Convolution, product_flops, training_flops
from convlib import layers, models
from convlib.callbacks import LambdaCallback
from convlib.kernels import get_backend
from convlib.kernels.cpu import tile
from convlib.utils import set_random_seed, to_categorical


def introduce() -> dict:
    """Return the versions of what computes, and the machine's width."""
    return {
        "name": "convlib",
        "versions": {
            "convlib": convlib.__version__,
            "Python": platform.python_version(),
            "NumPy": np.__version__,
            "Numba": numba.__version__,
        },
        "vector_bits": tile.VECTOR_BITS,
        "threads": numba.get_num_threads(),
    }


def text_network() -> models.Sequential:
    """Return the network of the text, not compiled."""
    set_random_seed(0)
    return models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def compiled_network() -> models.Sequential:
    """Return the network of the text, compiled as in the text."""
    model = text_network()
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def load(path: str, part: str, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images as the text prepares them, and labels one-hot."""
    with np.load(path) as arrays:
        x, y = arrays[f"x_{part}"][:images], arrays[f"y_{part}"][:images]
    return x[..., np.newaxis].astype(np.float32) / 255, to_categorical(y, 10)


def flops_of_network() -> dict:
    """Return the dense operations of the text's network, for one image."""

    def work():
        forward = []
        for layer in text_network().layers:
            if layer.weights:
                kernel_shape = layer.weights[0].shape
                terms = int(np.prod(kernel_shape[:-1]))
                forward.append(product_flops(layer.output_shape[1:], terms))
        return {"forward": sum(forward), "training": training_flops(forward)}

    return work


def train(path: str, images: int, batch: int, threads: int | None = None):
    """Fit for one epoch, as a user calls it."""
    x, y = load(path, "train", images)
    model = compiled_network()
    return lambda: with_threads(threads, lambda: model.fit(x, y, epochs=1, batch_size=batch))


def memory(path: str, images: int, batch: int):
    """Train for two more epochs; return the megabytes that were resident after each so far."""
    x, y = load(path, "train", images)
    model = compiled_network()

    megabytes = []
    record = LambdaCallback(on_epoch_end=lambda *_: megabytes.append(resident_megabytes()))

    def work():
        model.fit(x, y, epochs=2, batch_size=batch, callbacks=[record])
        return megabytes

    return work


def predict(path: str, images: int, batch: int):
    """Predict the class probabilities of test images."""
    x, _ = load(path, "test", images)
    model = text_network()
    return lambda: model.predict(x, batch_size=batch)


def with_threads(threads, function):
    """Call a function while Numba uses so many threads, None standing for all."""
    everything = numba.get_num_threads()
    numba.set_num_threads(threads or everything)
    try:
        return function()
    finally:
        numba.set_num_threads(everything)


# The peak is measured with a tile of the shape that convolutions use, on arrays that fit into the
# first-level cache.
PEAK_ROWS = 6
PEAK_COLUMNS = tile.columns_for(10**6, np.dtype(np.float32))
PEAK_TERMS = 32
PEAK_TASKS = 64


def multiply_add(threads: int | None = None, repeats: int = 2000):
    """Do nothing but fused multiply-adds in registers; return how many operations that were."""
    width = PEAK_COLUMNS * tile.lanes(np.dtype(np.float32))
    x = np.ones(PEAK_ROWS * PEAK_TERMS, np.float32)
    w = np.ones(PEAK_TERMS * width, np.float32)
    y = np.empty((PEAK_TASKS, PEAK_ROWS * width), np.float32)
    flops = product_flops(y.shape, PEAK_TERMS * repeats)
    return lambda: with_threads(threads, lambda: _multiply_add(x, w, y, repeats)) or flops


@numba.njit(parallel=True)
def _multiply_add(x, w, y, repeats):
    width = PEAK_COLUMNS * tile.vector_lanes(w)
    for index in numba.prange(PEAK_TASKS):
        task = np.int64(index)
        acc = tile.tile_zero(w, PEAK_ROWS, PEAK_COLUMNS)
        offsets = (0, PEAK_TERMS, 2 * PEAK_TERMS, 3 * PEAK_TERMS, 4 * PEAK_TERMS, 5 * PEAK_TERMS)
        for _ in range(repeats):
            for k in range(PEAK_TERMS):
                acc = tile.tile_fma(acc, x, offsets, k, w, k * width)
        tile.tile_store(acc, y[task], 0, width, PEAK_ROWS, width)


COPY_TASKS = 64


def copy(nbytes: int):
    """Copy an array of so many bytes with all threads; return the bytes read and written."""
    x = np.ones(nbytes // 4, np.float32)
    y = np.empty_like(x)
    return lambda: _copy(x, y) or 2 * nbytes


@numba.njit(parallel=True)
def _copy(x, y):
    for index in numba.prange(COPY_TASKS):
        task = np.int64(index)
        first, last = task * len(x) // COPY_TASKS, (task + 1) * len(x) // COPY_TASKS
        y[first:last] = x[first:last]


def placed(array: np.ndarray):
    """Return a copy where the backend reads it, which begins at a cache line as a model's do."""
    memory = get_backend().memory
    copied = memory.empty(array.shape, array.dtype)
    memory.write(copied, array)
    return copied


def drawn(shape) -> np.ndarray:
    """Return normally distributed numbers; a million of them, again and again, take no time."""
    random = np.random.default_rng(math.prod(shape))
    return np.resize(random.standard_normal(min(1_000_003, math.prod(shape)), np.float32), shape)


def convolution(direction: str, **layer):
    """Run one pass of a `Convolution`."""
    layer = Convolution(**layer)
    filters_shape = (layer.channels // layer.groups, layer.filters)
    if layer.groups > 1:
        filters_shape = (layer.channels, layer.filters // layer.channels)
    x = drawn((layer.batch, layer.size, layer.size, layer.channels))
    w = drawn((layer.kernel, layer.kernel, *filters_shape))
    b, size = drawn((layer.filters,)), layer.output_size
    dy = drawn((layer.batch, size, size, layer.filters))
    x, w, b, dy, y, dx, dw, db = map(placed, (x, w, b, dy, dy, x, w, b))
    arrays = {
        "forward": (x, w, b, y),
        "backward_input": (dy, w, dx),
        "backward_params": (x, dy, dw, db),
    }[direction]
    padding = ((layer.margin, layer.margin),) * 2
    arguments = [(layer.strides,) * 2, padding, (layer.dilation,) * 2]
    arguments += [] if layer.groups > 1 else [1]
    kind = "depthwise_conv2d" if layer.groups > 1 else "conv2d"
    kernel = getattr(get_backend(), f"{kind}_{direction}")
    scratch = get_backend().memory.Scratch()
    return lambda: kernel(*arrays, *arguments, scratch)


def operation(kind: str, direction: str, shape: list[int]):
    """Run one pass of an operation that is all memory; return the bytes that have to move."""
    kernels, shape = get_backend(), tuple(shape)
    scratch, empty = kernels.memory.Scratch(), kernels.memory.empty
    x = placed(drawn(shape))
    rows = x.reshape(math.prod(shape[:-1]), shape[-1])
    no_padding = ((0, 0), (0, 0))

    def like(array):
        return empty(array.shape, array.dtype)

    def pooling(name, size, strides):
        window = (size, size), (strides, strides), no_padding
        pooled = tuple((n - size) // strides + 1 for n in shape[1:3])
        dy = placed(drawn((shape[0], *pooled, shape[3])))
        y, dx = like(dy), like(x)
        winners = [empty(dy.shape, np.uint8)] if name == "max_pool2d" else []
        forward, backward = (getattr(kernels, f"{name}_{way}") for way in ("forward", "backward"))
        forward(x, y, *winners, *window)
        return {
            "forward": (lambda: forward(x, y, *winners, *window), [x, y, *winners]),
            "backward": (lambda: backward(dy, *winners, dx, *window), [dy, *winners, dx]),
        }

    def relu():
        y, bounds = like(x), (np.inf, 0.0, 0.0)
        dy, dx = placed(drawn(shape)), like(x)
        return {
            "forward": (lambda: kernels.relu_forward(x, y, *bounds), [x, y]),
            "backward": (lambda: kernels.relu_backward(x, dy, dx, *bounds), [x, dy, dx]),
        }

    def softmax():
        y, dx, dy = like(rows), like(rows), placed(drawn(rows.shape))
        kernels.softmax_forward(rows, y)
        return {
            "forward": (lambda: kernels.softmax_forward(rows, y), [rows, y]),
            "backward": (lambda: kernels.softmax_backward(y, dy, dx), [y, dy, dx]),
        }

    def batch_norm():
        mean, variance, dgamma, dbeta = (empty(shape[-1:], np.float32) for _ in range(4))
        gamma, beta = map(placed, (np.ones(shape[-1], np.float32), drawn(shape[-1:])))
        y, dx, dy = like(rows), like(rows), placed(drawn(rows.shape))

        def forward():
            kernels.batch_norm_statistics(rows, mean, variance, scratch)
            kernels.batch_norm_forward(rows, mean, variance, gamma, beta, y, 1e-3)

        def backward():
            gradients = dx, dgamma, dbeta
            kernels.batch_norm_backward(rows, dy, mean, variance, gamma, *gradients, 1e-3, scratch)

        forward()
        # The statistics need all of x before the first y, and likewise backward.
        return {
            "forward": (forward, [rows, rows, y]),
            "backward": (backward, [rows, dy, rows, dy, dx]),
        }

    operations = {
        "max-pool 2×2/2": lambda: pooling("max_pool2d", 2, 2),
        "max-pool 3×3/2": lambda: pooling("max_pool2d", 3, 2),
        "average-pool 2×2/2": lambda: pooling("average_pool2d", 2, 2),
        "average-pool 3×3/2": lambda: pooling("average_pool2d", 3, 2),
        "ReLU": relu,
        "softmax": softmax,
        "batch normalisation": batch_norm,
    }
    work, arrays = operations[kind]()[direction]
    moved = sum(array.nbytes for array in arrays)
    return lambda: work() or moved


def profile(path: str, batch: int, steps: int):
    """Train for so many steps twice, and return the times per step: plain, and of each kernel."""
    x, y = load(path, "train", batch * steps)
    model = compiled_network()
    backend = get_backend()

    def work():
        start = time.perf_counter()
        model.fit(x, y, epochs=1, batch_size=batch)
        plain = time.perf_counter() - start
        with recording(backend) as recorder:
            model.fit(x, y, epochs=1, batch_size=batch)
        return {
            "step": plain / steps,
            "compiled": recorder.compiled_seconds / steps,
            "kernels": {
                name: {quantity: total / steps for quantity, total in row.items()}
                for name, row in recorder.calls.items()
            },
        }

    return work


JOBS = {
    "profile": profile,
    "flops_of_network": flops_of_network,
    "train": train,
    "memory": memory,
    "predict": predict,
    "multiply_add": multiply_add,
    "copy": copy,
    "convolution": convolution,
    "operation": operation,
}
