"""Sequential models: building, tables, weights, asking and looking inside."""

import copy
import subprocess
import sys

import numpy as np
import pytest
from small_models import BACKENDS, compiled, convnet, images

from convlib import layers, models, utils


def text_network():
    model = models.Sequential()
    model.add(layers.Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)))
    model.add(layers.MaxPooling2D((2, 2)))
    model.add(layers.Conv2D(64, (3, 3), activation="relu"))
    model.add(layers.MaxPooling2D((2, 2)))
    model.add(layers.Conv2D(64, (3, 3), activation="relu"))
    return model


def table(model):
    lines = []
    model.summary(print_fn=lines.append)
    return lines


def test_summary_is_a_table_of_equal_width():
    lines = table(text_network())
    assert lines[0] == "_" * 65
    assert lines[1].split() == ["Layer", "(type)", "Output", "Shape", "Param", "#"]
    assert lines[2] == "=" * 65
    assert lines[3].split() == ["conv2d_1", "(Conv2D)", "(None,", "26,", "26,", "32)", "320"]
    assert lines[4] == "_" * 65
    assert lines[5].split()[:2] == ["maxpooling2d_1", "(MaxPooling2D)"]
    assert lines[12] == "=" * 65
    assert lines[-3:] == [
        "Total params: 55,744",
        "Trainable params: 55,744",
        "Non-trainable params: 0",
    ]


def test_summary_follows_added_layers_and_frozen_ones():
    model = text_network()
    model.add(layers.Flatten())
    model.add(layers.Dense(64, activation="relu"))
    model.add(layers.Dense(10, activation="softmax"))
    model.layers[0].trainable = False
    lines = table(model)
    assert [line.split()[0] for line in lines[13:18:2]] == ["flatten_1", "dense_1", "dense_2"]
    assert lines[-3:] == [
        "Total params: 93,322",
        "Trainable params: 93,002",
        "Non-trainable params: 320",
    ]


def test_summary_widens_for_long_names_and_on_request():
    name = "a_name_that_is_longer_than_the_column_of_names"
    model = models.Sequential([layers.Dense(2, name=name, input_shape=(3,))])
    lines = table(model)
    assert lines[3].startswith(f"{name} (Dense)  (None, 2)")
    wide = []
    text_network().summary(line_length=90, print_fn=wide.append)
    assert wide[0] == "_" * 90


def test_names_are_numbered_by_kind_and_may_be_given():
    stack = [layers.Dense(2), layers.Dense(2, name="mine"), layers.Dense(2), layers.ReLU()]
    model = models.Sequential(stack)
    assert [layer.name for layer in model.layers] == ["dense_1", "mine", "dense_2", "relu_1"]
    assert model.get_layer("mine") is stack[1]
    assert model.get_layer(index=-1) is stack[3]


@pytest.mark.parametrize("how", ["input_shape", "Input", "build", "data"])
def test_every_way_to_say_the_input_shape(how):
    first = layers.Dense(2, input_shape=(3,)) if how == "input_shape" else layers.Dense(2)
    model = models.Sequential([layers.Input((3,)), first] if how == "Input" else [first])
    model._backend = "reference"
    if how == "build":
        model.build((None, 3))
    if how == "data":
        assert not model.built
        model.predict(np.zeros((1, 3)), verbose=0)
    assert model.built
    assert (model.input_shape, model.output_shape) == ((None, 3), (None, 2))
    assert model.count_params() == 8


def test_pop_takes_the_top_layer_off():
    model = text_network()
    assert isinstance(model.pop(), layers.Conv2D)
    assert model.output_shape == (None, 5, 5, 64)
    model.add(layers.Conv2D(8, 1))
    assert model.layers[-1].name == "conv2d_3"


def test_weights_go_out_and_come_back():
    one, other = convnet(seed=1), convnet(seed=2)
    x, _ = images(5)
    other.set_weights(one.get_weights())
    np.testing.assert_array_equal(one.predict(x, verbose=0), other.predict(x, verbose=0))
    one.get_weights()[0][...] = 0
    assert one.get_weights()[0].any(), "get_weights must return copies"


@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_do_not_depend_on_batches(backend):
    model, (x, _) = convnet(backend=backend), images(23)
    whole = model.predict_on_batch(x)
    assert whole.shape == (23, 3) and whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.predict(x, batch_size=5, verbose=0), whole, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(x[:4], verbose=0), model.predict(x[:4], verbose=0))


def test_predictions_are_the_callers_to_keep():
    model, (x, _) = convnet(backend="reference"), images(6)
    first = model.predict(x[:3], verbose=0)
    kept = first.copy()
    model.predict(x[3:], verbose=0)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("backend", BACKENDS)
def test_layer_outputs_are_the_chain_of_layers(backend):
    # Layers that work in place and views must not spoil what was handed out before.
    stack = [
        layers.Conv2D(3, 2, input_shape=(5, 5, 1)),
        layers.ReLU(),
        layers.Activation("linear"),
        layers.Flatten(),
        layers.Dense(4, activation="tanh"),
        layers.Softmax(),
    ]
    model = compiled(stack, backend=backend)
    x = np.random.default_rng(0).standard_normal((3, 5, 5, 1)).astype("float32")
    outputs = model.layer_outputs(x)
    assert [out.shape for out in outputs] == [(3, *layer.output_shape[1:]) for layer in stack]
    assert (outputs[0] < 0).any()
    np.testing.assert_array_equal(outputs[1], np.maximum(outputs[0], 0))
    np.testing.assert_array_equal(outputs[2], outputs[1])
    np.testing.assert_array_equal(outputs[3], outputs[1].reshape(3, -1))
    dense = stack[4]
    by_hand = np.tanh(outputs[3] @ dense.kernel + dense.bias)
    np.testing.assert_allclose(outputs[4], by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs[5], model.predict(x, verbose=0), rtol=1e-6)


def test_input_gradient_of_a_linear_model_is_its_kernel():
    model = compiled([layers.Dense(2, input_shape=(3,))], "mse", backend="reference")
    kernel = model.layers[0].kernel
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(model.input_gradient(x, output=1)[0], kernel[:, 1])
    np.testing.assert_array_equal(model.input_gradient(x, output=[0, 1]), kernel.T)
    best = model.predict(x, verbose=0).argmax(1)
    np.testing.assert_array_equal(model.input_gradient(x), kernel.T[best])


def test_models_may_share_layers():
    whole, (x, labels) = convnet(loss="sparse_categorical_crossentropy"), images(40)
    lower = models.Sequential(whole.layers[:2])
    lower._backend = "reference"
    whole.fit(x, labels, epochs=1, verbose=0)
    np.testing.assert_allclose(
        lower.predict(x, verbose=0), whole.layer_outputs(x)[1], rtol=1e-5, atol=1e-6
    )
    # Another model that trains the same layers takes their weights over and gives them back.
    top = compiled([*whole.layers[:2], layers.Flatten(), layers.Dense(1)], "mse")
    top.fit(x, np.zeros(40), verbose=0)
    before = whole.layers[0].get_weights()[0]
    whole.fit(x, labels, epochs=1, verbose=0)
    assert (whole.layers[0].get_weights()[0] != before).any()


def test_a_copied_model_trains_on_its_own():
    model, (x, labels) = convnet(loss="sparse_categorical_crossentropy"), images(40)
    model.fit(x, labels, verbose=0)
    twin = copy.deepcopy(model)
    before = model.get_weights()
    twin.fit(x, labels, verbose=0)
    for old, now, other in zip(before, model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
        assert (other != now).any()


def test_float64_models_compute_in_float64():
    model = models.Sequential([layers.Dense(1, input_shape=(1,))], dtype="float64")
    model._backend = "reference"
    model.set_weights([[[1.0]], [1e-12]])
    assert model.predict(np.array([[1.0]]), verbose=0)[0, 0] == 1 + 1e-12


def test_importing_models_does_not_import_numba():
    code = "import sys, convlib.models, convlib.datasets; print('numba' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_seed_decides_everything_random():
    def draws(seed):
        utils.set_random_seed(seed)
        import random

        return [
            random.random(),
            np.random.rand(),  # noqa: NPY002
            layers.Conv2D(2, 2),
            utils.random_generator().random(),
            *convnet(seed=seed).get_weights()[0].ravel(),
        ]

    one, same, other = draws(1), draws(1), draws(2)
    assert one[:2] == same[:2] and one[3:] == same[3:]
    assert one[0] != other[0] and one[1] != other[1] and one[3] != other[3] and one[4] != other[4]


def test_to_categorical():
    assert utils.to_categorical([0, 2, 1]).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert utils.to_categorical(np.array([[1], [0]], np.uint8), 3).tolist() == [
        [0, 1, 0],
        [1, 0, 0],
    ]
    assert utils.to_categorical(np.zeros((2, 4), int), 2).shape == (2, 4, 2)
    assert utils.to_categorical([1.0, 0.0]).tolist() == [[0, 1], [1, 0]]
