"""Saved models: everything comes back, nothing else is accepted, nothing is left half-written."""

import json
import os
import pathlib
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import BACKENDS, compiled, convnet, images

from convlib import initializers, layers, losses, metrics, models, optimizers, storage, utils

X, LABELS = images(24)
Y = utils.to_categorical(LABELS, 3)

EVERY_LAYER = [
    layers.ZeroPadding2D(((1, 0), (0, 2)), input_shape=(8, 8, 1)),
    layers.Conv2D(4, (3, 2), strides=(1, 2), padding="same", groups=1, use_bias=False),
    layers.BatchNormalization(momentum=0.8, name="norm"),
    layers.ReLU(max_value=6.0, negative_slope=0.1),
    layers.DepthwiseConv2D(2, dilation_rate=2, depth_multiplier=2, activation="tanh"),
    layers.AveragePooling2D((2, 1), strides=1),
    layers.MaxPool2D(2, padding="same"),
    layers.Dropout(0.25),
    layers.Flatten(),
    layers.Dense(5, bias_initializer=initializers.Constant(0.1), trainable=False),
    layers.Activation("sigmoid"),
    layers.Dense(3),
    layers.Softmax(),
]


def test_every_layer_comes_back(tmp_path):
    model = compiled(EVERY_LAYER, backend="reference", metrics=["accuracy"])
    model.fit(X, Y, batch_size=8, verbose=0)
    model.save(tmp_path / "model.npz")
    again = models.load_model(tmp_path / "model.npz")
    again.compile("rmsprop", "mse", backend="reference")
    assert [layer.get_config() for layer in again.layers] == [
        layer.get_config() for layer in model.layers
    ]
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model.predict(X), again.predict(X))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", optimizers.SGD(0.1, 0.9, nesterov=True)])
def test_training_goes_on_where_it_stopped(optimizer, backend, tmp_path):
    model = convnet(optimizer=optimizer, metrics=["accuracy"], backend=backend)
    model.fit(X, Y, batch_size=8, verbose=0)
    model.save(tmp_path / "model")
    again = models.load_model(tmp_path / "model")
    again._backend = backend
    results = []
    for one in (model, again):
        utils.set_random_seed(1)
        results.append(one.fit(X, Y, batch_size=8, epochs=2, verbose=0).history)
    assert results[0] == results[1]
    assert model.optimizer.iterations == again.optimizer.iterations == 9


def test_how_it_was_compiled_comes_back(tmp_path):
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    wanted = ["accuracy", metrics.SparseTopKCategoricalAccuracy(k=2, name="two")]
    stack = [layers.Flatten(), layers.Dense(3)]
    model = compiled(stack, loss, metrics=wanted, fuse=False, backend="reference")
    model.optimizer.learning_rate = 0.25
    model.fit(X, LABELS, verbose=0)
    model.save(tmp_path / "model")
    again = models.load_model(tmp_path / "model")
    again._backend = "reference"
    assert again.optimizer.learning_rate == 0.25 and again._fuse is False
    before = model.evaluate(X, LABELS, verbose=0, return_dict=True)
    assert again.evaluate(X, LABELS, verbose=0, return_dict=True) == before
    assert list(before) == ["loss", "accuracy", "two"]


def test_models_that_were_never_compiled_can_be_saved(tmp_path):
    model = models.Sequential([layers.Dense(2, input_shape=(3,))], name="tiny", dtype="float64")
    model.save(tmp_path / "model")
    again = models.load_model(tmp_path / "model")
    assert (again.name, again.dtype, again.loss) == ("tiny", "float64", None)
    assert again.weights[0].dtype == np.float64


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    model = convnet()
    model.save(path)
    good = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half a model")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space left"):
        model.save(path)
    assert path.read_bytes() == good
    assert os.listdir(tmp_path) == ["model.npz"]


def test_saving_overwrites_and_keeps_the_name_as_given(tmp_path):
    for name in ("model", "model.keras", "model.npz"):
        convnet(seed=1).save(tmp_path / name)
        convnet(seed=2).save(str(tmp_path / name))
        np.testing.assert_array_equal(
            models.load_model(tmp_path / name).get_weights()[0], convnet(seed=2).get_weights()[0]
        )
    assert sorted(os.listdir(tmp_path)) == ["model", "model.keras", "model.npz"]


# Damage -----------------------------------------------------------------------------------------


def test_missing_files_are_called_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.npz"):
        models.load_model(tmp_path / "nothing.npz")


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"<!DOCTYPE html><html></html>", b"\x80\x04\x95model", b"\x93NUMPY\x01\x00v\x00"],
)
def test_foreign_files_are_refused(content, tmp_path):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="foreign is damaged, or is no model saved by convlib"):
        models.load_model(path)


def test_foreign_archives_are_refused(tmp_path):
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="no model saved by convlib"):
        models.load_model(tmp_path / "arrays.npz")
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match="no model saved by convlib"):
        models.load_model(tmp_path / "model.keras")


def test_pickles_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "sprung",)

    np.savez(tmp_path / "trap.npz", config=np.array(Trap(), dtype=object))
    with pytest.raises(ValueError, match="no model saved by convlib"):
        models.load_model(tmp_path / "trap.npz")
    assert not (tmp_path / "sprung").exists()


def rewritten(path, change):
    """Change the configuration and arrays of a saved model."""
    config, arrays = storage.read(path)
    del config["format"]
    change(config, arrays)
    storage.write(path, config, arrays)


@pytest.mark.parametrize(
    "change",
    [
        lambda config, arrays: config["layers"][0].update({"class": "Conv3D"}),
        lambda config, arrays: config["layers"][0].update({"class": "np"}),
        lambda config, arrays: config["layers"][0]["config"].update({"filters": 0}),
        lambda config, arrays: config["layers"][0]["config"].update({"colour": "red"}),
        lambda config, arrays: config["layers"].pop(),
        lambda config, arrays: config.pop("sample_shape"),
        lambda config, arrays: config.update({"sample_shape": [8, 8, 3]}),
        lambda config, arrays: config.update({"layers": None}),
        lambda config, arrays: config["compiled"].update({"loss": "os.remove"}),
        lambda config, arrays: config["compiled"].update({"optimizer": {"class": "Evil"}}),
        lambda config, arrays: arrays.pop("weight_0"),
        lambda config, arrays: arrays.update(weight_0=arrays["weight_0"][:2]),
        lambda config, arrays: arrays.update(weight_0=np.array("text")),
    ],
)
def test_contradictory_models_are_refused(change, tmp_path):
    path = tmp_path / "model"
    convnet().save(path)
    models.load_model(path)
    rewritten(path, change)
    with pytest.raises(ValueError, match="model"):
        models.load_model(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    convnet(backend="reference").save(path)
    return path.read_bytes()


def test_a_header_that_asks_for_endless_memory_is_refused(tmp_path):
    # The checksum of an array this large is compared only after memory was asked for.
    path = tmp_path / "endless"
    storage.write(path, {}, {"weight_0": np.zeros((9, 9999))})
    header, endless = b"'shape': (9, 9999), }", b"'shape': (9, 9999999999999), }"
    content = path.read_bytes()
    assert content.count(header) == 1
    longer = len(endless) - len(header)
    path.write_bytes(content.replace(header + b" " * longer, endless))
    with pytest.raises(ValueError, match="endless is damaged"):
        models.load_model(path)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_models_are_refused_or_harmless(saved, tmp_path_factory, data):
    damaged = bytearray(saved)
    how = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    place = data.draw(st.integers(0, len(saved) - 1))
    if how == "flip":
        damaged[place] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del damaged[place:]
    else:
        damaged[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    try:
        model = models.load_model(path)
    except ValueError as error:
        assert "damaged" in str(error)
        return
    # Some bytes of an archive mean nothing, such as dates. Then all that matters is there.
    for old, new in zip(convnet().get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_file_is_an_ordinary_archive_of_arrays(tmp_path):
    convnet(seed=3).save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["weight_0"], convnet(seed=3).get_weights()[0])
        assert json.loads(str(stored["config"]))["layers"][0]["class"] == "Conv2D"
