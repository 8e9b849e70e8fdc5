"""Training on a GPU: the same weights as elsewhere, step by step, and nothing copied in a step.

Here in Numba's simulator, with small networks; `test_cuda_in_the_simulator` starts it.
"""

import devices  # noqa: F401, prepares the simulator
import numba
import numpy as np
import pytest

from convlib import callbacks, layers, models, optimizers, utils
from convlib import functional as F
from convlib.kernels import get_backend

if not numba.config.ENABLE_CUDASIM:
    pytest.skip("runs in the simulator only", allow_module_level=True)

_device = get_backend("cuda").memory
SAMPLES, BATCH = 11, 4


def network(backend, optimizer="rmsprop", loss="categorical_crossentropy", **options):
    utils.set_random_seed(5)
    model = models.Sequential(
        [
            layers.Conv2D(5, 3, activation="relu", input_shape=(9, 9, 2)),
            layers.MaxPooling2D(2),
            layers.Conv2D(4, 2, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.AveragePooling2D(2, strides=1),
            layers.Flatten(),
            layers.Dropout(0.25, seed=3),
            layers.Dense(6, activation="tanh"),
            layers.Dense(3, activation="softmax"),
        ],
        **options,
    )
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], backend=backend)
    return model


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    x = random.normal(size=(SAMPLES, 9, 9, 2)).astype(np.float32)
    return x, random.integers(0, 3, SAMPLES)


class Weights(callbacks.Callback):
    """Keeps the weights after every batch."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_train_batch_end(self, batch, logs=None):
        self.kept.append(self.model.get_weights())


OPTIMIZERS = {
    "rmsprop": optimizers.RMSprop,
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": optimizers.Adam,
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_all_backends_take_the_same_steps(optimizer, data):
    x, y = data[0], utils.to_categorical(data[1], 3)
    seen, logs = {}, {}
    for backend in ("reference", "cpu", "cuda"):
        model, weights = network(backend, OPTIMIZERS[optimizer]()), Weights()
        history = model.fit(x, y, BATCH, epochs=2, callbacks=weights, verbose=0, shuffle=True)
        seen[backend], logs[backend] = weights.kept, history.history
        assert len(weights.kept) == 6
    for backend in ("cpu", "cuda"):
        # RMSprop and Adam divide by the size of the gradient, which makes much of small ones.
        for step, (got, expected) in enumerate(zip(seen[backend], seen["reference"], strict=True)):
            for array, wanted in zip(got, expected, strict=True):
                np.testing.assert_allclose(array, wanted, rtol=1e-3, atol=2e-4, err_msg=str(step))
        for name, values in logs["reference"].items():
            np.testing.assert_allclose(logs[backend][name], values, rtol=1e-3, err_msg=name)


def test_float64_agrees_closely(data):
    x, y = data[0], utils.to_categorical(data[1], 3)
    weights = {}
    for backend in ("reference", "cuda"):
        model = network(backend, optimizers.SGD(0.1), dtype="float64")
        model.fit(x, y, BATCH, verbose=0)
        weights[backend] = model.get_weights()
    for got, expected in zip(weights["cuda"], weights["reference"], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_labels_and_smoothed_targets(data):
    x, labels = data
    for loss, y in (
        ("sparse_categorical_crossentropy", labels),
        ("mean_squared_error", utils.to_categorical(labels, 3)),
    ):
        results = [
            network(backend, loss=loss).fit(x, y, BATCH, verbose=0).history["loss"]
            for backend in ("reference", "cuda")
        ]
        np.testing.assert_allclose(*results, rtol=1e-4)


def test_evaluation_and_prediction_agree(data):
    x, y = data[0], utils.to_categorical(data[1], 3)
    on_gpu, elsewhere = network("cuda"), network("reference")
    np.testing.assert_allclose(on_gpu.predict(x, verbose=0), elsewhere.predict(x, verbose=0), 1e-4)
    np.testing.assert_allclose(
        on_gpu.evaluate(x, y, verbose=0), elsewhere.evaluate(x, y, verbose=0), 1e-4
    )
    for got, expected in zip(on_gpu.layer_outputs(x), elsewhere.layer_outputs(x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        on_gpu.input_gradient(x), elsewhere.input_gradient(x), rtol=1e-3, atol=1e-6
    )


def test_a_model_moves_from_one_backend_to_another_and_to_disk(data, tmp_path):
    x, y = data[0], utils.to_categorical(data[1], 3)
    model = network("cuda")
    model.fit(x, y, BATCH, verbose=0)
    before = model.predict(x, verbose=0)
    model.save(tmp_path / "model")
    again = models.load_model(tmp_path / "model")
    again.compile(again.optimizer, again.loss, backend="cpu")
    np.testing.assert_allclose(again.predict(x, verbose=0), before, rtol=1e-4)
    model.compile(model.optimizer, model.loss, backend="cpu")
    model.fit(x, y, BATCH, verbose=0)
    assert model.optimizer.iterations == 6
    assert all(isinstance(weight, np.ndarray) for weight in model.weights)


class Transfers:
    """Counts copies between host and device."""

    def __init__(self, monkeypatch):
        self.count = 0
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        to_host, to_device = FakeCUDAArray.copy_to_host, FakeCUDAArray.copy_to_device

        def counted_to_host(array, *arguments, **keywords):
            self.count += 1
            return to_host(array, *arguments, **keywords)

        def counted_to_device(array, source, *arguments, **keywords):
            # From one array on the device to another, nothing crosses over.
            self.count += not isinstance(source, FakeCUDAArray)
            return to_device(array, source, *arguments, **keywords)

        monkeypatch.setattr(FakeCUDAArray, "copy_to_host", counted_to_host)
        monkeypatch.setattr(FakeCUDAArray, "copy_to_device", counted_to_device)


def test_a_step_copies_nothing_between_host_and_device(data, monkeypatch):
    x, y = data[0], utils.to_categorical(data[1], 3)
    model, transfers, seen = network("cuda"), Transfers(monkeypatch), []
    model.fit(x, y, BATCH, verbose=0)  # makes the plan

    original = models.Sequential._train

    def step(self, *arguments):
        before = transfers.count
        original(self, *arguments)
        seen.append(transfers.count - before)

    monkeypatch.setattr(models.Sequential, "_train", step)
    total = transfers.count
    model.fit(x, y, BATCH, verbose=0)
    assert seen == [0, 0, 0]
    assert transfers.count > total  # the counter does count: data up, results down


@pytest.mark.parametrize("broken", [5, 10])
def test_a_broken_sample_is_found_and_the_weights_are_those_from_before(broken, data):
    x, y = data[0].copy(), utils.to_categorical(data[1], 3)
    x[broken, 4, 4, 0] = np.nan
    seen = {}
    for backend in ("cpu", "cuda"):
        model = network(backend, optimizers.SGD(0.1))
        with pytest.raises(FloatingPointError) as stop:
            model.fit(x, y, BATCH, epochs=2, shuffle=False, verbose=0)
        seen[backend] = str(stop.value), model.get_weights()
        assert model.optimizer.iterations == broken // BATCH
    assert seen["cuda"][0] == seen["cpu"][0]
    assert f"sample {broken} of x" in seen["cuda"][0]
    for got, expected in zip(seen["cuda"][1], seen["cpu"][1], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)


def test_functional_takes_and_gives_device_arrays_without_copies(monkeypatch):
    random = np.random.default_rng(0)
    x, w = random.normal(size=(2, 6, 5, 3)), random.normal(size=(3, 2, 3, 4))
    there = [_device.to_device(array) for array in (x, w)]
    expected = F.conv2d(x, w, padding="same")
    F.conv2d(*there, padding="same")  # uploads the tables of this geometry
    transfers = Transfers(monkeypatch)
    y = F.conv2d(*there, padding="same")
    assert transfers.count == 0 and _device.holds(y)
    np.testing.assert_allclose(_device.to_host(y), expected, rtol=1e-10)
    np.testing.assert_allclose(F.conv2d(x, w, padding="same", backend="cuda"), expected, rtol=1e-10)


def test_functional_says_what_is_wrong_with_device_arrays():
    x, w = np.ones((2, 6, 5, 3)), np.ones((3, 2, 3, 4))
    there = [_device.to_device(array) for array in (x, w)]
    with pytest.raises(TypeError, match="w lies in the host's memory"):
        F.conv2d(there[0], w)
    with pytest.raises(TypeError, match="where backend='cpu' cannot read them"):
        F.conv2d(*there, backend="cpu")
    with pytest.raises(ValueError, match="must be contiguous, which x is not"):
        F.conv2d(there[0][:, ::2], there[1])
    with pytest.raises(TypeError, match="image must be an array of the host"):
        F.correlate2d(_device.to_device(np.ones((4, 4))), np.ones((3, 3)))
    with pytest.raises(TypeError, match="must be float32 or float64, got float16"):
        F.relu(_device.to_device(np.ones(3, np.float16)))


def test_lack_of_memory_is_explained(monkeypatch):
    def full(shape, dtype):
        raise RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")

    monkeypatch.setattr(_device.cuda, "device_array", full)
    with pytest.raises(MemoryError, match="no room for another 4 MB; take a smaller batch_size"):
        _device.empty((1 << 20,), np.float32)
