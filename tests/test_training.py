"""Training: it learns, repeats bit by bit, allocates nothing, and reports what Keras reports."""

import os
import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from small_models import BACKENDS, compiled, convnet, images

from convlib import callbacks, layers, losses, models, utils
from convlib.kernels import reference


def one_hot(labels):
    return utils.to_categorical(labels, 3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd"])
def test_it_learns(backend, optimizer):
    model = convnet(backend=backend, optimizer=optimizer, metrics=["accuracy"])
    model.optimizer.learning_rate = 0.1 if optimizer == "sgd" else 0.01
    x, labels = images(160)
    history = model.fit(x, one_hot(labels), batch_size=16, epochs=8, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["accuracy"][-1] > 0.9
    fresh, fresh_labels = images(50, seed=1)
    loss, accuracy = model.evaluate(fresh, one_hot(fresh_labels), verbose=0)
    assert accuracy > 0.9
    predicted = model.predict(fresh, verbose=0)
    assert accuracy == pytest.approx((predicted.argmax(1) == fresh_labels).mean())
    by_hand = -np.log(predicted[np.arange(50), fresh_labels]).mean()
    assert loss == pytest.approx(by_hand, rel=1e-4)


def test_chance_loss_is_the_logarithm_of_the_classes():
    stack = [layers.Dense(3, activation="softmax", kernel_initializer="zeros", input_shape=(4,))]
    model = compiled(stack, backend="reference")
    assert model.evaluate(np.ones((6, 4)), np.eye(3)[[0, 1, 2] * 2], verbose=0) == pytest.approx(
        np.log(3)
    )


def fitted(fuse=True, backend="cpu", seed=4, **options):
    model = convnet(fuse=fuse, backend=backend, seed=seed)
    x, labels = images(70)
    history = model.fit(x, one_hot(labels), batch_size=16, epochs=3, verbose=0, **options)
    return model, history.history["loss"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_gives_the_same_bits(backend):
    (one, losses_one), (same, losses_same) = fitted(backend=backend), fitted(backend=backend)
    assert losses_one == losses_same
    for first, second in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert losses_one != fitted(backend=backend, seed=5)[1]


def test_backends_and_fusion_train_alike():
    _, expected = fitted(fuse=False, backend="reference")
    for fuse in (True, False):
        np.testing.assert_allclose(fitted(fuse=fuse)[1], expected, rtol=1e-3)


THREADS = """
import hashlib, sys
sys.path.insert(0, {tests!r})
import numba
numba.set_num_threads({threads})
from convlib import layers
from small_models import compiled, images
stack = [
    layers.Conv2D(8, 3, padding="same", input_shape=(8, 8, 1)),
    layers.BatchNormalization(),
    layers.ReLU(),
    layers.MaxPooling2D(2),
    layers.DepthwiseConv2D(3, activation="relu"),
    layers.Flatten(),
    layers.Dropout(0.3),
    layers.Dense(3, activation="softmax"),
]
model = compiled(stack, "sparse_categorical_crossentropy", seed=1, backend="cpu")
x, labels = images(300)
model.fit(x, labels, batch_size=64, epochs=2, verbose=0)
print(hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads():
    def digest(threads):
        code = THREADS.format(threads=threads, tests=os.path.dirname(__file__))
        environment = os.environ | {"NUMBA_NUM_THREADS": "2"}
        command = [sys.executable, "-c", code]
        run = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert run.returncode == 0, run.stderr
        return run.stdout

    assert digest(1) == digest(2)


def test_training_allocates_nothing_after_its_first_epoch():
    stack = [
        layers.Conv2D(16, 3, activation="relu", input_shape=(28, 28, 1)),
        layers.MaxPooling2D(2),
        layers.BatchNormalization(),
        layers.Conv2D(16, 3, activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
    model = compiled(stack, metrics=["accuracy"], backend="cpu")
    generator = np.random.default_rng(0)
    x = generator.random((700, 28, 28, 1), dtype=np.float32)
    y = utils.to_categorical(generator.integers(0, 10, 700), 10)
    growth = []

    class Meter(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                tracemalloc.start()

        def on_train_batch_begin(self, batch, logs=None):
            if tracemalloc.is_tracing():
                tracemalloc.reset_peak()
                self.before = tracemalloc.get_traced_memory()[0]

        def on_train_batch_end(self, batch, logs=None):
            if tracemalloc.is_tracing():
                growth.append(tracemalloc.get_traced_memory()[1] - self.before)

    try:
        # 700 samples end with a smaller batch.
        model.fit(x, y, batch_size=256, epochs=3, callbacks=[Meter()], verbose=0)
    finally:
        tracemalloc.stop()
    smallest_of_a_hidden_layer = 256 * 64 * 4
    assert len(growth) == 6
    assert max(growth) < smallest_of_a_hidden_layer / 4, growth


def postponing(**options):
    """Return a model of which every kind of step leaves partial sums, and data for it."""
    stack = [
        layers.Conv2D(5, 3, activation="relu", input_shape=(12, 12, 1)),
        layers.MaxPooling2D(2),
        layers.Conv2D(8, 3, padding="same"),
        layers.DepthwiseConv2D(3, activation="relu"),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ]
    generator = np.random.default_rng(0)
    x = generator.random((130, 12, 12, 1), dtype=np.float32)
    model = compiled(stack, "sparse_categorical_crossentropy", backend="cpu", **options)
    return model, x, generator.integers(0, 3, 130)


def assert_same_weights(one, other):
    for first, second in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def watched_updates(model, monkeypatch):
    """Return a list that will hold how many gradients waited for each update."""
    waited, update = [], model.optimizer.update

    def watch(kernels, parameters, gradients, scratch):
        waited.append(len(scratch._postponed))
        return update(kernels, parameters, gradients, scratch)

    monkeypatch.setattr(model.optimizer, "update", watch)
    return waited


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd"])
def test_postponed_sums_train_to_the_same_bits(optimizer, monkeypatch):
    one, x, y = postponing(optimizer=optimizer)
    other, _, _ = postponing(optimizer=optimizer)
    assert one._training_plan(100).scratch.postpones_sums
    other._training_plan(100).scratch.postpones_sums = False
    waited = watched_updates(one, monkeypatch), watched_updates(other, monkeypatch)
    for trainable in (True, False, True):
        for model in (one, other):
            model.layers[0].trainable = trainable
            model._training_plan(100).scratch.postpones_sums = model is one
            model.fit(x, y, batch_size=100, epochs=2, shuffle=False, verbose=0)  # 100, 30
        assert_same_weights(one, other)
    assert all(waited[0]) and not any(waited[1])


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("place", [1, 3, 4])
def test_an_abandoned_step_leaves_nothing_behind(stop, place, monkeypatch):
    """``place`` is the step back, or the update, before which training is stopped."""
    model, x, y = postponing()
    untouched, _, _ = postponing()
    model.train_on_batch(x, y)
    untouched.train_on_batch(x, y)

    def stopped(*arguments):
        raise stop

    with monkeypatch.context() as patch:
        if place == 4:
            patch.setattr(model.optimizer, "step", stopped)
        else:
            kernels = model._training.kernels
            names = ["depthwise_conv2d", "conv2d", "conv2d_relu_max_pool2d"]
            patch.setattr(kernels, f"{names[place - 1]}_backward_params", stopped)
        with pytest.raises(stop):
            model.train_on_batch(2 * x, y)
    assert model._training.scratch._postponed or place == 1
    assert model.optimizer.iterations == 1
    # In fewer samples the second convolution leaves no partial sums that would hide the old ones.
    for samples in (70, 130):
        model.train_on_batch(x[:samples], y[:samples])
        untouched.train_on_batch(x[:samples], y[:samples])
    assert_same_weights(model, untouched)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loss_that_is_not_finite_changes_nothing(backend, monkeypatch):
    """Although the gradients, which the loss reports apart from its value, are."""
    model, (x, labels) = convnet(backend=backend), images(20)
    y = one_hot(labels)
    model.train_on_batch(x, y)
    plan, state = model._training, model.optimizer.state["mean_square"].copy()
    weights, losses_of = model.get_weights(), plan.losses

    def broken(samples):
        return np.where(np.arange(samples) == 3, np.nan, losses_of(samples))

    with monkeypatch.context() as patch:
        patch.setattr(plan, "losses", broken)
        with pytest.raises(FloatingPointError):
            model.train_on_batch(x, y)
    assert model.optimizer.iterations == 1
    np.testing.assert_array_equal(model.optimizer.state["mean_square"], state)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_asking_works_in_batches_of_its_own_and_reuses_their_memory(monkeypatch):
    monkeypatch.setattr(models, "_INFERENCE_BATCH", 64)
    model, (x, labels) = convnet(metrics=["accuracy"], backend="cpu"), images(1000)
    y = one_hot(labels)
    predicted, evaluated = model.predict(x, verbose=0), model.evaluate(x, y, verbose=0)
    plans = dict(model._inference)
    assert [plan.batch_size for plan in plans.values()] == [64, 64]
    peak = 0
    for batch_size in (1, 7, 32, 1000):
        tracemalloc.start()
        try:
            again = model.predict(x, batch_size=batch_size, verbose=0)
            evaluated_again = model.evaluate(x, y, batch_size=batch_size, verbose=0)
            peak = max(peak, tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        np.testing.assert_array_equal(again, predicted)
        assert evaluated_again == evaluated
    assert model._inference == plans
    # The results themselves, twice, and next to nothing besides; all samples' input is four times
    # as much.
    assert peak < 2 * predicted.nbytes + 64 * x[0].nbytes, peak


def test_large_images_are_asked_few_at_a_time(monkeypatch):
    model = convnet(backend="reference")
    assert model._inference_batch() == models._INFERENCE_BATCH
    monkeypatch.setattr(models, "_INFERENCE_ELEMENTS", 3 * 6 * 6 * 4)
    assert model._inference_batch() == 3
    monkeypatch.setattr(models, "_INFERENCE_ELEMENTS", 1)
    assert model._inference_batch() == 1


def test_a_smaller_last_batch_counts_by_its_samples():
    model, (x, labels) = convnet(optimizer="sgd", backend="reference"), images(10)
    model.optimizer.learning_rate = 0.0
    expected = model.evaluate(x, one_hot(labels), verbose=0)
    for batch_size in (1, 3, 4, 10, 64):
        history = model.fit(x, one_hot(labels), batch_size=batch_size, verbose=0)
        assert history.history["loss"][0] == pytest.approx(expected, rel=1e-5)
        evaluated = model.evaluate(x, one_hot(labels), batch_size=batch_size, verbose=0)
        assert evaluated == pytest.approx(expected, rel=1e-5)


def test_frozen_layers_keep_their_weights_until_they_are_freed():
    model, (x, labels) = convnet(backend="reference"), images(20)

    def changed():
        before = model.get_weights()
        model.fit(x, one_hot(labels), verbose=0)
        pairs = zip(before, model.get_weights(), strict=True)
        return [(old != new).any() for old, new in pairs]

    assert changed() == [True] * 6
    model.layers[0].trainable = False
    assert changed() == [False] * 2 + [True] * 4
    for layer in model.layers:
        layer.trainable = False
    assert changed() == [False] * 6
    model.layers[0].trainable = True
    assert changed() == [True] * 2 + [False] * 4


# What fit reports -------------------------------------------------------------------------------


def test_history_has_keras_names():
    model, (x, labels) = convnet(metrics=["accuracy"], backend="reference"), images(20)
    history = model.fit(x, one_hot(labels), epochs=2, validation_split=0.25, verbose=0)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(len(values) == 2 for values in history.history.values())
    assert history.epoch == [0, 1] and model.history is history


def test_validation_split_takes_the_last_samples_before_shuffling():
    model, (x, labels) = convnet(optimizer="sgd", backend="reference"), images(20)
    model.optimizer.learning_rate = 0.0
    history = model.fit(x, one_hot(labels), validation_split=0.3, verbose=0).history
    last = model.evaluate(x[14:], one_hot(labels[14:]), verbose=0)
    assert history["val_loss"][0] == pytest.approx(last, rel=1e-5)
    given = (x[:5], one_hot(labels[:5]))
    history = model.fit(x, one_hot(labels), validation_data=given, verbose=0).history
    assert history["val_loss"][0] == pytest.approx(model.evaluate(*given, verbose=0), rel=1e-5)


def test_shuffling_can_be_switched_off(monkeypatch):
    orders, gather = [], reference.gather
    model, (x, labels) = convnet(backend="reference"), images(20)

    def watch(source, indices, target):
        if source.ndim == 4:  # the images, whose targets are gathered after them
            orders.append(indices.tolist())
        gather(source, indices, target)

    monkeypatch.setattr(reference, "gather", watch)
    model.fit(x, one_hot(labels), batch_size=20, shuffle=False, verbose=0)
    model.fit(x, one_hot(labels), batch_size=20, epochs=2, verbose=0)
    assert orders[0] == list(range(20))
    assert orders[1] != orders[0] != orders[2] != orders[1]
    assert sorted(orders[1]) == sorted(orders[2]) == orders[0]


def test_initial_epoch_goes_on_counting():
    model, (x, labels) = convnet(backend="reference"), images(8)
    history = model.fit(x, one_hot(labels), epochs=5, initial_epoch=3, verbose=0)
    assert history.epoch == [3, 4]


def test_verbosity(capsys):
    model, (x, labels) = convnet(metrics=["accuracy"], backend="reference"), images(8)
    model.fit(x, one_hot(labels), epochs=2, verbose=0)
    model.predict(x)
    assert capsys.readouterr().out == ""
    # Output that nobody watches gets one line per epoch, whatever the kind of progress.
    for verbose in ("auto", 1, 2):
        model.fit(x, one_hot(labels), epochs=2, verbose=verbose)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert lines[1].startswith("Epoch 2/2 - ") and "loss: " in lines[1]
        assert "accuracy: " in lines[1]
    model.evaluate(x, one_hot(labels))
    assert capsys.readouterr().out.count("\n") == 1


def test_a_terminal_gets_a_bar_that_goes_and_a_line_that_stays(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    model, (x, labels) = convnet(metrics=["accuracy"], backend="reference"), images(8)
    model.fit(x, one_hot(labels), batch_size=2)
    *bar, line, end = re.split("[\r\n]", capsys.readouterr().out)
    assert any("Epoch 1/1:  25%" in state and "1/4" in state and "loss" in state for state in bar)
    assert bar[-1].strip() == "" and end == ""
    assert line.startswith("Epoch 1/1 - ") and "accuracy: " in line
    model.fit(x, one_hot(labels), batch_size=2, verbose=2)
    assert "%" not in capsys.readouterr().out
    model.predict(x, batch_size=2)
    assert "Prediction: " in capsys.readouterr().out


def test_one_batch_at_a_time():
    model, (x, labels) = convnet(metrics=["accuracy"], backend="reference"), images(12)
    y = one_hot(labels)
    before = model.test_on_batch(x, y, return_dict=True)
    for _ in range(30):
        loss, accuracy = model.train_on_batch(x, y)
    assert loss < before["loss"] and set(before) == {"loss", "accuracy"}
    assert model.optimizer.iterations == 30
    assert isinstance(convnet(backend="reference").test_on_batch(x, y), float)


# Callbacks --------------------------------------------------------------------------------------


def test_callbacks_are_called_in_order():
    calls = []

    def note(name):
        return lambda *arguments: calls.append((name, *arguments[:1]))

    names = ("train_begin", "train_end", "epoch_begin", "epoch_end", "train_batch_begin",
             "train_batch_end")  # fmt: skip
    hooks = {f"on_{name}": note(name) for name in names}
    model, (x, labels) = convnet(backend="reference"), images(6)
    model.fit(
        x, one_hot(labels), batch_size=3, verbose=0, callbacks=[callbacks.LambdaCallback(**hooks)]
    )
    assert [call[0] for call in calls] == [
        "train_begin",
        "epoch_begin",
        *["train_batch_begin", "train_batch_end"] * 2,
        "epoch_end",
        "train_end",
    ]
    assert calls[1] == ("epoch_begin", 0) and calls[4] == ("train_batch_begin", 1)


class Scripted:
    """Stands for a model whose monitored values are known."""

    stop_training = False

    def __init__(self):
        self.weights = 0

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


def stops_after(values, **options):
    model, stopping = Scripted(), callbacks.EarlyStopping(**options)
    stopping.set_model(model)
    stopping.on_train_begin()
    for epoch, value in enumerate(values):
        model.weights = epoch
        stopping.on_epoch_end(epoch, {options.get("monitor", "val_loss"): value})
        if model.stop_training:
            break
    stopping.on_train_end()
    return epoch, model.weights


@pytest.mark.parametrize(
    "values, options, expected",
    [
        ([3, 2, 1, 2, 1], {}, (3, 3)),
        ([3, 2, 1, 2, 3], {"restore_best_weights": True}, (3, 2)),
        ([3, 2, 1, 2, 3, 0.5, 9, 9, 9], {"patience": 3}, (8, 8)),
        ([3, 2, 1.5, 1.4, 1.3], {"min_delta": 0.6}, (2, 2)),
        ([0.1, 0.2, 0.3, 0.2], {"monitor": "val_accuracy"}, (3, 3)),
        ([0.1, 0.2, 0.3], {"mode": "min"}, (1, 1)),
        ([5, 6, 7, 8, 9], {"start_from_epoch": 2}, (3, 3)),
        ([5, 4, 3, 2, 1], {"baseline": 0.5, "patience": 3}, (4, 4)),
        ([3, np.nan, 2], {}, (1, 1)),
    ],
)
def test_early_stopping(values, options, expected):
    assert stops_after(values, **options) == expected


def test_early_stopping_in_a_fit():
    model, (x, labels) = convnet(optimizer="sgd", backend="reference"), images(12)
    model.optimizer.learning_rate = 0.0
    stopping = callbacks.EarlyStopping(monitor="loss", patience=2, min_delta=1e-3)
    history = model.fit(x, one_hot(labels), epochs=9, verbose=0, callbacks=[stopping])
    assert history.epoch == [0, 1, 2] and stopping.stopped_epoch == 2


def test_checkpoints(tmp_path):
    model, (x, labels) = convnet(backend="reference"), images(12)
    every = callbacks.ModelCheckpoint(tmp_path / "every-{epoch}-{loss:.2f}.npz")
    best = callbacks.ModelCheckpoint(tmp_path / "best", monitor="loss", save_best_only=True)
    history = model.fit(x, one_hot(labels), epochs=2, verbose=0, callbacks=[every, best])
    names = {f"every-{k + 1}-{loss:.2f}.npz" for k, loss in enumerate(history.history["loss"])}
    assert {path.name for path in tmp_path.iterdir()} == names | {"best"}
    for old, new in zip(
        models.load_model(tmp_path / "best").get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(old, new)


# Losses -----------------------------------------------------------------------------------------

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
LOSSES = [
    ("categorical_crossentropy", "softmax", np.eye(3)[[0, 1]], -np.log([0.7, 0.3]).mean()),
    ("sparse_categorical_crossentropy", "softmax", [0, 1], -np.log([0.7, 0.3]).mean()),
    ("sparse_categorical_crossentropy", "softmax", [[0], [1]], -np.log([0.7, 0.3]).mean()),
    (losses.CategoricalCrossentropy(from_logits=True), None, np.eye(3)[[0, 1]],
     -np.log([0.7, 0.3]).mean()),
    (losses.SparseCategoricalCrossentropy(from_logits=True), None, [0, 1],
     -np.log([0.7, 0.3]).mean()),
    (losses.CategoricalCrossentropy(label_smoothing=0.3), "softmax", np.eye(3)[[0, 1]],
     -(0.7 * np.log([0.7, 0.3]) + 0.1 * np.log(P).sum(1)).mean()),
    ("mse", "softmax", np.eye(3)[[0, 1]], ((P - np.eye(3)[:2]) ** 2).mean()),
    ("mean_squared_error", "softmax", P, 0),
]  # fmt: skip


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("loss, activation, y, expected", LOSSES)
def test_loss_values_and_gradients(loss, activation, y, expected, fuse):
    # The samples are the logarithms of the wanted probabilities, the kernel is the identity.
    stack = [layers.Dense(3, activation=activation, input_shape=(3,))]
    model = compiled(stack, loss, optimizer="sgd", backend="reference", fuse=fuse, dtype="float64")
    model.set_weights([np.eye(3), np.zeros(3)])
    assert model.evaluate(np.log(P), y, verbose=0) == pytest.approx(expected, abs=1e-12)
    model.optimizer.learning_rate = 1e-5
    if expected:
        model.train_on_batch(np.log(P), y)
        assert model.evaluate(np.log(P), y, verbose=0) < expected


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("y", [[0, 1], [[0], [1]]])
def test_binary_cross_entropy(from_logits, y):
    loss = losses.BinaryCrossentropy(from_logits=from_logits)
    activation = None if from_logits else "sigmoid"
    stack = [layers.Dense(1, activation=activation, input_shape=(1,))]
    model = compiled(stack, loss, metrics=["accuracy"], backend="reference", dtype="float64")
    model.set_weights([[[1.0]], [0.0]])
    x = np.log([[0.2 / 0.8], [0.4 / 0.6]])
    value, accuracy = model.evaluate(x, y, verbose=0)
    assert value == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)
    assert accuracy == 0.5
    smooth = losses.BinaryCrossentropy(from_logits=from_logits, label_smoothing=0.2)
    model.compile("sgd", smooth, backend="reference")
    expected = -(0.9 * np.log([0.8, 0.4]) + 0.1 * np.log([0.2, 0.6])).mean()
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected)


def test_losses_of_whole_images():
    model = compiled([layers.Conv2D(2, 1, input_shape=(3, 3, 2))], "mse", backend="reference")
    x = np.random.default_rng(0).random((5, 3, 3, 2)).astype("float32")
    expected = ((model.predict(x, verbose=0) - x) ** 2).mean()
    assert model.evaluate(x, x, verbose=0) == pytest.approx(expected, rel=1e-5)
