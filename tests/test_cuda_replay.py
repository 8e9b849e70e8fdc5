"""Recorded launches, run again, take the same steps: nothing of one step is baked into them.

The simulator knows no graphs, so what records here is `Launches`. It keeps launches with their
arguments, as a graph does, and what happens between them is lost. How CUDA graphs are asked for is
tried on a stand-in for cuda.core, whose functions are compared with the real ones where these are.
"""

import gc
import inspect
import sys
import threading
import weakref
from types import SimpleNamespace

import devices  # noqa: F401, prepares the simulator
import numba
import numpy as np
import pytest

from convlib import callbacks, layers, models, optimizers, utils
from convlib.kernels import get_backend

if not numba.config.ENABLE_CUDASIM:
    pytest.skip("runs in the simulator only", allow_module_level=True)

_device = get_backend("cuda").memory
SAMPLES, BATCH, STEPS = 5, 3, 2
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(SAMPLES, 5, 5, 1)).astype(np.float32)
Y = utils.to_categorical(RANDOM.integers(0, 3, SAMPLES), 3)


class Launches:
    """Stands in for a graph."""

    made = []
    breaks = ""

    def __init__(self):
        self.launches, self.replays, self.is_closed = [], 0, False
        self.made.append(self)
        self._fail("begin")

    def _fail(self, where):
        if self.breaks == where:
            raise _device.NotRecorded("the driver is out of sorts")

    def launch(self, *launch):
        if len(self.launches) == 5:
            self._fail("launch")
        self.launches.append(launch)

    def finish(self):
        self._fail("finish")

    def close(self):
        self.is_closed = True

    def replay(self):
        assert self.is_closed
        self.replays += 1
        for kernel, blocks, threads, arguments in self.launches:
            kernel[blocks, threads](*arguments)


@pytest.fixture(autouse=True)
def recorder(monkeypatch):
    """Let steps be recorded by stand-ins, and keep these."""
    assert _device.DeviceScratch.recorder is None
    monkeypatch.setattr(_device.DeviceScratch, "recorder", Launches)
    monkeypatch.setattr(Launches, "made", [])
    yield Launches
    assert _device._thread.recorder is None


def compiled(stack, optimizer):
    utils.set_random_seed(5)
    model = models.Sequential([layers.Input((5, 5, 1)), *stack])
    model.compile(optimizer, "categorical_crossentropy", backend="cuda")
    return model


def network(optimizer="adam"):
    stack = [
        layers.Conv2D(2, 2, strides=2, activation="relu", name="frozen"),
        layers.BatchNormalization(name="normal"),
        layers.Flatten(),
        layers.Dropout(0.3, name="drop"),
        layers.Dense(3, activation="tanh", name="step"),
        layers.Dropout(0.0),  # which copies, as backward through tanh needs its output
        layers.Softmax(),
    ]
    return compiled(stack, optimizer)


def small_network(optimizer="adam"):
    return compiled([layers.Flatten(), layers.Dense(3, activation="softmax")], optimizer)


def deep_network(optimizer="adam"):
    stack = [
        layers.Conv2D(3, 2, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.DepthwiseConv2D(2, activation="tanh"),
        layers.Conv2D(2, 1),
        layers.BatchNormalization(),
        layers.ReLU(max_value=4),
        layers.ZeroPadding2D(1),
        layers.AveragePooling2D(2, strides=1),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(4, activation="sigmoid"),
        layers.Dense(3, activation="softmax"),
    ]
    return compiled(stack, optimizer)


def assert_the_same_as_plain(monkeypatch, train):
    """Train with plain launches, then with recorded ones; the weights are the same, bit by bit.

    ``train`` returns lists of weights. The recordings are returned.
    """
    with monkeypatch.context() as patch:
        patch.setattr(_device.DeviceScratch, "recorder", None)
        plain = train()
    assert not Launches.made
    replayed = train()
    assert len(plain) == len(replayed) > 1
    for step, (expected, got) in enumerate(zip(plain, replayed, strict=True)):
        for a, b in zip(expected, got, strict=True):
            np.testing.assert_array_equal(b, a, err_msg=f"weights {step}")
    assert any((a != b).any() for a, b in zip(plain[-1], plain[-2], strict=True))
    return Launches.made


def replays(made):
    return [each.replays for each in made]


class Each(callbacks.Callback):
    """Keeps the weights after every batch, and does something after it."""

    def __init__(self, change=lambda model, batches: None):
        super().__init__()
        self.kept, self.change = [], change

    def on_train_batch_end(self, batch, logs=None):
        self.kept.append(self.model.get_weights())
        self.change(self.model, len(self.kept))


def fit(model, epochs=3, change=None, x=X):
    each = Each(change) if change else Each()
    model.fit(x, Y, BATCH, epochs, callbacks=each, verbose=0)
    return each.kept


OPTIMIZERS = {
    "rmsprop": optimizers.RMSprop,
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: optimizers.Adam(0.01),
}


@pytest.mark.parametrize(
    ("made", "optimizer"), [(deep_network, "adam"), *[(small_network, name) for name in OPTIMIZERS]]
)
def test_replayed_steps_are_those_of_plain_launches(made, optimizer, monkeypatch):
    def lower(model, batches):
        model.optimizer.learning_rate *= 0.8

    def train():
        model = made(OPTIMIZERS[optimizer]())
        kept = fit(model, change=lower)
        assert model.optimizer.iterations == 3 * STEPS
        return kept

    # Of the full batches and of the smaller ones, the first is plain.
    assert replays(assert_the_same_as_plain(monkeypatch, train)) == [2, 2]


def test_recordings_outlast_fits_and_whatever_happens_in_between(monkeypatch):
    def train():
        model = network()
        kept = fit(model, 2)
        model.set_weights([0.5 * weight for weight in kept[0]])
        kept += fit(model, 1)
        model.evaluate(X, Y, verbose=0)
        model.predict(X[:4], verbose=0)
        model.input_gradient(X[:2])
        for samples in (BATCH, 1, 2, 1):
            model.train_on_batch(X[-samples:], Y[-samples:])
            kept.append(model.get_weights())
        model.layers[0].set_weights([np.ones_like(w) for w in model.layers[0].get_weights()])
        return kept + fit(model, 1)

    assert replays(assert_the_same_as_plain(monkeypatch, train)) == [4, 4, 1]


def test_compiling_again_begins_anew(monkeypatch):
    def train():
        model = small_network(optimizers.SGD(0.1))
        kept = fit(model)
        model.compile(optimizers.Adam(0.01), "mean_squared_error", backend="cuda")
        kept += fit(model)
        model.compile(model.optimizer, "mean_squared_error", backend="reference")
        fit(model)
        model.compile(model.optimizer, "mean_squared_error", backend="cuda", fuse=False)
        return kept + fit(model)

    assert replays(assert_the_same_as_plain(monkeypatch, train)) == [2, 2] * 3


CHANGES = {
    "momentum of normalisation": lambda model: ("normal", "momentum", 0.5),
    "epsilon of normalisation": lambda model: ("normal", "epsilon", 0.5),
    "trainable": lambda model: ("normal", "trainable", False),
    "rate of dropout": lambda model: ("drop", "rate", 0.8),
    "no dropout": lambda model: ("drop", "rate", 0),
    "frozen weights": lambda model: ("frozen", "kernel", _device.to_device(ONES)),
}
ONES = np.ones((2, 2, 1, 2), np.float32)


@pytest.mark.parametrize("name", CHANGES)
def test_layers_that_change_during_training(name, monkeypatch):
    def change(model, batches):
        if batches == 4:
            layer, attribute, value = CHANGES[name](model)
            setattr(model.get_layer(layer), attribute, value)

    def train():
        model = network()
        model.get_layer("frozen").trainable = False
        return fit(model, 4, change)

    # Two steps of each size before the change and two after it.
    assert replays(assert_the_same_as_plain(monkeypatch, train)) == [1] * 4


APART = "learning_rate", "iterations"
OPTIMIZER_CHANGES = [
    ("rmsprop", "rho", 0.1),
    ("rmsprop", "epsilon", 0.1),
    ("momentum", "momentum", 0.1),
    ("momentum", "nesterov", False),
    ("adam", "beta_1", 0.1),
    ("adam", "beta_2", 0.1),
    ("adam", "epsilon", 0.1),
    ("adam", "iterations", 100),
    ("adam", "learning_rate", np.float64(1e-4)),
    ("adam", "learning_rate", np.array(1e-4)),
]


@pytest.mark.parametrize(("optimizer", "attribute", "value"), OPTIMIZER_CHANGES)
def test_optimizers_that_change_during_training(optimizer, attribute, value, monkeypatch):
    def change(model, batches):
        if batches == 4:
            setattr(model.optimizer, attribute, value)

    def train():
        return fit(small_network(OPTIMIZERS[optimizer]()), 4, change)

    made = assert_the_same_as_plain(monkeypatch, train)
    assert replays(made) == [3, 3] if attribute in APART else [1] * 4


def test_every_setting_is_seen():
    """Whatever attribute of a layer, the loss or the optimizer is another, steps are not the same.

    Two are not settings, as what they say lies in device memory.
    """
    model = network()
    fit(model, 1)
    before = model._settings()
    for owner in (*model.layers, model.loss, model.optimizer):
        for name, value in vars(owner).items():
            setattr(owner, name, object() if name != "state" else dict(value, mean=object()))
            after = model._settings()
            setattr(owner, name, value)
            is_apart = owner is model.optimizer and name in APART
            assert is_apart == all(a is b for a, b in zip(before, after, strict=True)), name
    model.optimizer = optimizers.Adam()
    assert model._settings()[-1] is not before[-1]


def test_a_layer_of_a_model_that_moved_away(monkeypatch):
    """Another model took a frozen layer to the host: when it is back it lies somewhere else."""

    def train():
        model = network()
        shared = model.get_layer("frozen")
        shared.trainable = False
        other = models.Sequential([layers.Input((5, 5, 1)), shared])
        other.compile("sgd", "mse", backend="reference")
        kept = fit(model, 2)
        other.predict(X, verbose=0)
        shared.set_weights([weight + 0.1 for weight in shared.get_weights()])
        return kept + fit(model, 2)

    assert replays(assert_the_same_as_plain(monkeypatch, train)) == [1] * 4


def test_work_memory_that_grows_in_between(monkeypatch):
    """A recording keeps to its own memory, and holds it."""

    def grow(model, batches):
        if batches == 4:
            scratch = model._training.scratch
            before = weakref.ref(scratch._work.bytes._ary)
            (block,) = scratch.take(((scratch.nbytes + 10**6,), np.uint8))
            block.copy_to_device(np.full(block.shape, 0xFF, np.uint8))
            del block
            gc.collect()
            assert (before() is not None) == bool(Launches.made)

    made = assert_the_same_as_plain(monkeypatch, lambda: fit(network(), change=grow))
    assert replays(made) == [2, 2]


def test_recordings_go_with_the_plan():
    model = small_network()
    fit(model, 2)
    recordings = [weakref.ref(each) for each in Launches.made]
    Launches.made.clear()
    gc.collect()
    assert len(recordings) == 2 and all(each() for each in recordings)
    model.compile("adam", "mse", backend="cuda")
    gc.collect()
    assert not any(each() for each in recordings)


def test_settings_that_never_rest_do_not_pile_up():
    def change(model, batches):
        model.get_layer("normal").momentum = 0.9 + batches / 1000

    model = network()
    fit(model, 3, change)
    assert not Launches.made
    assert len(model._training.scratch._recordings) == 2


@pytest.mark.parametrize("broken", [1, 4])
def test_a_broken_sample_is_found_in_a_replayed_step(broken, monkeypatch):
    seen = []
    for recorder in (None, Launches):
        monkeypatch.setattr(_device.DeviceScratch, "recorder", recorder)
        model, x = network(), X.copy()
        model.fit(x, Y, BATCH, 2, shuffle=False, verbose=0)
        x[broken, 2, 2, 0] = np.nan
        with pytest.raises(FloatingPointError) as stop:
            model.fit(x, Y, BATCH, shuffle=False, verbose=0)
        assert model.optimizer.iterations == 2 * STEPS + broken // BATCH
        seen.append((str(stop.value), model.get_weights()))
    assert replays(Launches.made) == [2, 2]
    assert seen[0][0] == seen[1][0]
    for plain, replayed in zip(seen[0][1], seen[1][1], strict=True):
        assert np.isfinite(plain).all()
        np.testing.assert_array_equal(replayed, plain)


# When nothing is recorded


def test_the_environment_asks_for_plain_launches(monkeypatch):
    model = small_network()
    monkeypatch.setenv("CONVLIB_CUDA_GRAPHS", "0")
    fit(model)
    assert not Launches.made
    monkeypatch.setenv("CONVLIB_CUDA_GRAPHS", "1")
    fit(model)
    assert replays(Launches.made) == [2, 2]


@pytest.mark.parametrize("where", ["begin", "launch", "finish"])
def test_a_driver_that_does_not_record_costs_a_warning(where, monkeypatch):
    monkeypatch.setattr(Launches, "breaks", where)

    def train():
        model = compiled([layers.Flatten(), layers.Dropout(0.3), layers.Dense(3)], "adam")
        kept = fit(model)
        assert model.optimizer.iterations == 3 * STEPS
        return kept

    with pytest.warns(RuntimeWarning) as said:
        made = assert_the_same_as_plain(monkeypatch, train)
        train()
    assert len(made) == 1 and made[0].replays == 0
    assert made[0].is_closed or where == "begin"
    assert len(said) == 1
    message = str(said[0].message)
    assert "as a CUDA graph (the driver is out of sorts)" in message and "plain" in message


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_our_own_errors_are_not_hidden(error, monkeypatch):
    model = small_network()
    model.train_on_batch(X, Y)
    kernels = model._training.kernels

    def broken(*arguments):
        raise error("no driver's")

    with monkeypatch.context() as patch:
        patch.setattr(kernels, "dense_backward_params", broken)
        with pytest.raises(error, match="no driver's"):
            model.train_on_batch(X, Y)
    assert _device._thread.recorder is None
    assert Launches.made[0].is_closed and not Launches.made[0].replays
    assert model.optimizer.iterations == 1
    model.train_on_batch(X, Y)
    assert Launches.made[1].replays == 1 and model.optimizer.iterations == 2


ACTIONS = {
    "allocate memory": lambda array: _device.empty((3,), np.float32),
    "copy from the host": lambda array: _device.write(array, np.ones(3, np.float32)),
    "copy to the host": lambda array: _device.to_host(array),
    "allocate": lambda array: _device.to_device(np.ones(3)),
    "change step": lambda array: scratch_with_a_number.changing("step", 3, np.float32),
}
scratch_with_a_number = _device.DeviceScratch(postpones_sums=True)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_would_not_be_done_again_is_refused(action):
    array = _device.to_device(np.zeros(3, np.float32))
    scratch_with_a_number.changing("step", 2, np.float32)
    scratch = _device.DeviceScratch(postpones_sums=True)

    def compute():
        scratch_with_a_number.changing("step", 2, np.float32)  # as it is
        _device.copy(array, array)  # a launch
        if Launches.made:
            ACTIONS[action](array)
        return True

    assert scratch.repeat(1, list, compute)
    with pytest.raises(RuntimeError, match=f"being recorded cannot {action}"):
        scratch.repeat(1, list, compute)
    ACTIONS[action](array)  # afterwards anything goes


def test_another_thread_launches_plainly():
    source, target = (_device.to_device(np.full(3, value)) for value in (1.0, 2.0))
    scratch = _device.DeviceScratch(postpones_sums=True)

    def compute():
        other = threading.Thread(target=_device.copy, args=(source, target))
        other.start()
        other.join()
        return True

    scratch.repeat(1, list, compute)
    target.copy_to_device(np.zeros(3))
    scratch.repeat(1, list, compute)
    assert not Launches.made[0].launches
    np.testing.assert_array_equal(target.copy_to_host(), 1)


def test_numbers_change_by_their_bits():
    scratch = _device.DeviceScratch(postpones_sums=True)
    array = scratch.changing("rate", 0.5, np.float32)
    for value in (0.0, -0.0, np.nan, np.float64(1 / 3), np.array(2)):
        assert scratch.changing("rate", value, np.float32) is array
        assert array.dtype == np.float32
        assert array.copy_to_host().tobytes() == np.float32(value).tobytes()
    seed = scratch.changing("seed", 2**63 - 1, np.uint64)
    assert seed.copy_to_host()[0] == 2**63 - 1 and seed is not array


# CUDA's graphs


class CUDAError(Exception):
    pass


class Built:
    def __init__(self, log):
        self.log = log

    def launch(self, stream):
        self.log.append(("launch", stream))


class Builder:
    def __init__(self, log, breaks):
        self.log, self.breaks, self.stream = log, breaks, "captured"

    def _note(self, what):
        self.log.append(what)
        if what in self.breaks:
            raise self.breaks[what]

    def begin_building(self, mode="relaxed"):
        self._note("begin")
        return self

    def end_building(self):
        self._note("end")
        return self

    def complete(self, options=None):
        self._note("complete")
        return Built(self.log)

    def close(self):
        self._note("close")


class Device:
    def __init__(self, device_id=None):
        pass

    def set_current(self, ctx=None):
        self.log.append("current")

    def create_graph_builder(self):
        return Builder(self.log, self.breaks)


class Stream:
    @staticmethod
    def from_handle(handle):
        return f"stream {handle}"


@pytest.fixture
def driver(monkeypatch):
    """Put a stand-in into the place of cuda.core: what it was asked, and what it is to refuse."""
    log, breaks = [], {}
    device = type("Device", (Device,), {"log": log, "breaks": breaks})
    core = SimpleNamespace(Device=device, Stream=Stream)
    monkeypatch.setitem(sys.modules, "cuda.core", core)
    errors = SimpleNamespace(CUDAError=CUDAError)
    monkeypatch.setitem(sys.modules, "cuda.core._utils.cuda_utils", errors)
    monkeypatch.setattr(_device.DeviceScratch, "recorder", _device.Graph)
    return log, breaks


class Kernel:
    """Notes where it is launched."""

    def __init__(self, log):
        self.log = log

    def __getitem__(self, configuration):
        return lambda *arguments: self.log.append((configuration, arguments))


def test_graphs_are_captured_from_a_stream_of_their_own(driver):
    log, _ = driver
    kernel, scratch = Kernel(log), _device.DeviceScratch(postpones_sums=True)
    array = _device.to_device(np.ones(3))
    memory, made = weakref.ref(array), weakref.ref(kernel)

    def compute(kernel=kernel, array=array):
        _device.launch(kernel, 2, 4, array, 7)
        return True

    for _ in range(3):
        assert scratch.repeat(1, list, compute)
    plain, *rest = log
    assert plain == ((2, 4), (array, 7))
    captured = [(2, 4, "captured"), (array, 7)]
    recorded = ["current", "begin", tuple(captured), "end", "complete", "close"]
    assert rest == [*recorded, *[("launch", "stream 0")] * 2]
    del compute, kernel, array, plain, rest, captured, recorded
    log.clear()
    gc.collect()
    assert memory() is not None and made() is not None
    scratch._recordings.clear()
    gc.collect()
    assert memory() is None and made() is None


@pytest.mark.parametrize("error", [CUDAError("busy"), RuntimeError("invalid")])
@pytest.mark.parametrize("where", ["begin", "end", "complete"])
def test_what_the_driver_refuses_is_done_plainly(where, error, driver):
    log, breaks = driver
    breaks |= {where: error, "close": CUDAError("invalidated")}
    kernel, scratch = Kernel(log), _device.DeviceScratch(postpones_sums=True)

    def compute():
        _device.launch(kernel, 2, 4)
        return True

    scratch.repeat(1, list, compute)
    with pytest.warns(RuntimeWarning, match=rf"\({type(error).__name__}: {error}\)"):
        assert scratch.repeat(1, list, compute)
    assert log[-1] == ((2, 4), ())
    assert ("close" in log) == (where != "begin")


def test_cuda_core_has_what_is_called_here():
    core = pytest.importorskip("cuda.core", reason="needs the extra 'cuda'")
    from cuda.core._utils.cuda_utils import CUDAError as real_error
    from cuda.core.graph import Graph, GraphBuilder

    assert issubclass(real_error, Exception)
    pairs = [(Device, core.Device), (Stream, core.Stream), (Builder, GraphBuilder), (Built, Graph)]
    for stand_in, real in pairs:
        for name in vars(stand_in):
            if not name.startswith("_"):
                wanted = list(inspect.signature(getattr(stand_in, name)).parameters)
                there = list(inspect.signature(getattr(real, name)).parameters)
                assert there == wanted, f"{real.__name__}.{name}"
    assert isinstance(inspect.getattr_static(core.Stream, "from_handle"), staticmethod)
    assert hasattr(GraphBuilder, "stream")
