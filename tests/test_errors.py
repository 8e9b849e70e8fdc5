"""Mistakes that people make: each is refused with what was wrong, expected and given."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import compiled, convnet, images

from convlib import callbacks, initializers, layers, losses, metrics, models, optimizers, utils


def refuses(kind, *parts):
    """Expect an error whose message holds all the parts, in this order."""
    return pytest.raises(kind, match=".*".join(map(re.escape, parts)))


def dense(*arguments, **options):
    return compiled([layers.Dense(3, input_shape=(4,), **options)], *arguments, backend="reference")


X, LABELS = images(10)
Y = utils.to_categorical(LABELS, 3)


# Layers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, kind, parts",
    [
        (lambda: layers.Conv2D(8, 3, strides=0), ValueError,
         ["strides of Conv2D", "at least 1", "got 0"]),
        (lambda: layers.MaxPooling2D(2, strides=(1, 0)), ValueError,
         ["strides of MaxPooling2D", "at least 1", "(1, 0)"]),
        (lambda: layers.Conv2D(8, (3, 3, 3)), ValueError,
         ["kernel_size of Conv2D", "two integers", "(3, 3, 3)"]),
        (lambda: layers.Conv2D(8, 2.5), ValueError, ["kernel_size of Conv2D", "2.5"]),
        (lambda: layers.Conv2D(0, 3), ValueError, ["filters of Conv2D", "at least 1"]),
        (lambda: layers.Dense("ten"), ValueError, ["units of Dense", "integer", "ten"]),
        (lambda: layers.Conv2D(8, 3, padding="full"), ValueError,
         ["padding of Conv2D", "'valid' or 'same'", "'full'"]),
        (lambda: layers.ZeroPadding2D("same"), ValueError, ["ZeroPadding2D", "'same'"]),
        (lambda: layers.ZeroPadding2D(-1), ValueError, ["padding", "at least 0"]),
        (lambda: layers.Conv2D(8, 3, groups=3), ValueError, ["groups", "divide filters", "8"]),
        (lambda: layers.Conv2D(8, 3, data_format="channels_first"), ValueError,
         ["data_format", "channels_last", "channels_first", "np.moveaxis"]),
        (lambda: layers.Dense(3, activation="rellu"), ValueError,
         ["activation must be one of", "'relu'", "'rellu'"]),
        (lambda: layers.Dense(3, activation=np.tanh), ValueError, ["activation must be one of"]),
        (lambda: layers.Dense(3, kernel_initializer="glorot"), ValueError,
         ["initializer", "'glorot_uniform'", "'glorot'"]),
        (lambda: layers.Conv2D(8, 3, kernal_initializer="zeros"), TypeError,
         ["Conv2D has no argument 'kernal_initializer'", "kernel_initializer"]),
        (lambda: layers.Conv2D(8, 3, input_shape=28), ValueError,
         ["input_shape", "tuple", "(28, 28, 1)", "28"]),
        (lambda: layers.Dense(3, input_shape=(4.5,)), ValueError, ["input_shape", "(4.5,)"]),
        (lambda: layers.Input((None, None, 3)), ValueError, ["shape of Input", "None"]),
        (lambda: layers.Dropout(1.0), ValueError, ["rate of Dropout", "below 1", "1.0"]),
        (lambda: layers.Dropout(50), ValueError, ["rate of Dropout", "50"]),
        (lambda: layers.ReLU(negative_slope=-1), ValueError, ["negative_slope", "-1"]),
    ],
)  # fmt: skip
def test_arguments_of_layers(make, kind, parts):
    with refuses(kind, *parts):
        make()


@pytest.mark.parametrize(
    "layer, shape, parts",
    [
        (layers.Conv2D(8, 5), (3, 3, 1),
         ["conv2d_1 (Conv2D)", "5×5", "3×3", "padding='same'"]),
        (layers.Conv2D(8, 3, dilation_rate=3), (6, 6, 1), ["conv2d_1", "7×7", "6×6"]),
        (layers.MaxPooling2D((2, 3)), (2, 2, 1), ["maxpooling2d_1", "2×3", "2×2"]),
        (layers.DepthwiseConv2D(4), (3, 9, 1), ["depthwiseconv2d_1", "4×4", "3×9"]),
        (layers.Conv2D(8, 3), (28, 28), ["conv2d_1", "images", "(28, 28)", "(28, 28, 1)"]),
        (layers.GlobalAveragePooling2D(), (5,), ["globalaveragepooling2d_1", "images", "(5,)"]),
        (layers.Conv2D(8, 3, groups=4), (9, 9, 6), ["groups=4", "channels", "6"]),
        (layers.Softmax(axis=1), (3, 4), ["last axis", "axis=1"]),
        (layers.BatchNormalization(axis=1), (3, 3, 4), ["last axis", "axis=1"]),
    ],
)  # fmt: skip
def test_inputs_that_a_layer_cannot_take(layer, shape, parts):
    model = models.Sequential([layers.Input(shape)])
    with refuses(ValueError, *parts):
        model.add(layer)
    assert model.layers == []
    assert layer.name is None or layer.name not in ("conv2d_1",), "a refused layer stays unnamed"


def test_a_kernel_too_large_is_named_by_its_layer():
    model = models.Sequential([layers.Conv2D(4, 3, input_shape=(8, 8, 1)), layers.MaxPooling2D(4)])
    with refuses(ValueError, "conv2d_2 (Conv2D)", "3×3", "1×1"):
        model.add(layers.Conv2D(4, 3))
    model.add(layers.Flatten())
    assert model.output_shape == (None, 4)


# Building ---------------------------------------------------------------------------------------


def test_a_layer_added_with_another_shape():
    model = models.Sequential([layers.Conv2D(4, 3, input_shape=(8, 8, 1)), layers.Flatten()])
    with refuses(ValueError, "dense_1", "input_shape=(100,)", "flatten_1", "(144,)"):
        model.add(layers.Dense(3, input_shape=(100,)))
    model.add(layers.Dense(3, input_shape=(144,)))
    model.add(layers.Dense(2))
    with refuses(ValueError, "dense_2 (Dense)", "(None, 3)", "(None, 9)", "new layer"):
        models.Sequential([layers.Input((9,)), model.layers[3]])


def test_input_shapes_in_the_wrong_place():
    with refuses(ValueError, "only the first layer", "dense_2"):
        models.Sequential([layers.Dense(3), layers.Dense(3, name="dense_2", input_shape=(3,))])
    with refuses(ValueError, "Input must come first"):
        models.Sequential([layers.Dense(3, input_shape=(4,)), layers.Input((4,))])
    with refuses(ValueError, "(5,)", "Input", "(4,)"):
        models.Sequential([layers.Input((4,)), layers.Dense(3, input_shape=(5,))])
    with refuses(ValueError, "begin with None", "(28, 28, 1)"):
        models.Sequential([layers.Flatten()]).build((28, 28, 1))
    with refuses(ValueError, "built for samples of shape (4,)", "(5,)"):
        dense("mse").build((None, 5))


def test_a_refused_shape_leaves_no_trace():
    model = compiled([layers.Conv2D(2, 3), layers.Conv2D(2, 3)], "mse", backend="reference")
    with refuses(ValueError, "conv2d_2 (Conv2D)", "3×3", "2×2"):
        model.predict(np.zeros((1, 4, 4, 1)))
    assert model.predict(np.zeros((1, 6, 6, 2))).shape == (1, 2, 2, 2)
    model.pop()
    model.pop()
    model.add(layers.Dense(3, input_shape=(4,)))
    assert model.output_shape == (None, 3)


def test_things_that_are_no_layers():
    model = models.Sequential()
    with refuses(TypeError, "the class itself", "Flatten(...)"):
        model.add(layers.Flatten)
    with refuses(TypeError, "a layer from convlib.layers", "'relu'"):
        model.add("relu")
    layer = layers.Flatten()
    model.add(layer)
    with refuses(ValueError, "flatten_1", "already"):
        model.add(layer)
    with refuses(ValueError, "named 'flatten_1'"):
        model.add(layers.ReLU(name="flatten_1"))
    with refuses(ValueError, "no layer to take off"):
        models.Sequential().pop()
    with refuses(ValueError, "dtype", "float16"):
        models.Sequential(dtype="float16")


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.summary(),
        lambda model: model.count_params(),
        lambda model: model.save("nowhere"),
        lambda model: model.set_weights([]),
    ],
)
def test_models_whose_shape_is_not_known(use):
    with refuses(ValueError, "no layers yet"):
        use(models.Sequential())
    with refuses(ValueError, "not known", "input_shape"):
        use(models.Sequential([layers.Dense(2)]))


def test_layers_that_are_not_there():
    with refuses(ValueError, "'conv9'", "'conv2d_1'", "'dense_2'"):
        convnet().get_layer("conv9")
    with refuses(ValueError, "5 layers", "7"):
        convnet().get_layer(index=7)
    with refuses(ValueError, "a name or an index"):
        convnet().get_layer()


def test_weights_of_other_shapes_change_nothing():
    model = convnet()
    before = model.get_weights()
    with refuses(ValueError, "6 weight arrays", "5"):
        model.set_weights(before[:5])
    with refuses(ValueError, "weight array 2", "(36, 6)", "(36, 7)"):
        model.set_weights([before[0] + 1, before[1], np.zeros((36, 7)), *before[3:]])
    with refuses(ValueError, "conv2d_1 (Conv2D)", "(3, 3, 1, 4)", "(3, 3, 2, 4)"):
        model.layers[0].set_weights([np.zeros((3, 3, 2, 4)), np.zeros(4)])
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


# Compiling --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, parts",
    [
        ({}, ["compile needs a loss"]),
        ({"loss": "crossentropy"},
         ["loss must be one of", "'categorical_crossentropy'", "'crossentropy'"]),
        ({"loss": "mse", "optimizer": "rmspropp"}, ["optimizer must be one of", "'rmsprop'"]),
        ({"loss": "mse", "metrics": ["acuracy"]},
         ["metric must be one of", "'accuracy'", "'acuracy'"]),
        ({"loss": "mse", "backend": "gpu"}, ["backend must be one of", "'reference'", "'gpu'"]),
    ],
)  # fmt: skip
def test_unknown_names_are_answered_with_the_known_ones(options, parts):
    with refuses(ValueError, *parts):
        convnet().compile(**options)


@pytest.mark.parametrize(
    "make, kind, parts",
    [
        (lambda: optimizers.RMSprop(momentum=0.9), TypeError, ["momentum"]),
        (lambda: optimizers.RMSprop(learning_rate=-1), ValueError, ["learning_rate", "-1"]),
        (lambda: optimizers.SGD(momentum=1.5), ValueError, ["momentum", "1.5"]),
        (lambda: optimizers.Adam(beta_2=1), ValueError, ["beta_2", "1"]),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=2), ValueError,
         ["label_smoothing", "2"]),
        (lambda: metrics.TopKCategoricalAccuracy(k=0), ValueError, ["k must be", "0"]),
        (lambda: initializers.get("he"), ValueError, ["'he_normal'", "'he'"]),
        (lambda: callbacks.EarlyStopping(mode="maximum"), ValueError, ["mode", "'maximum'"]),
        (lambda: utils.set_random_seed("lucky"), ValueError, ["seed", "'lucky'"]),
        (lambda: utils.set_random_seed(-1), ValueError, ["seed", "-1"]),
        (lambda: utils.to_categorical([0, 3], 3), ValueError, ["0 to 2", "3 classes", "3"]),
        (lambda: utils.to_categorical([-1, 0]), ValueError, ["got -1"]),
        (lambda: utils.to_categorical([0.5]), ValueError, ["whole numbers"]),
        (lambda: utils.to_categorical(["cat"]), ValueError, ["whole numbers"]),
        (lambda: utils.to_categorical([]), ValueError, ["num_classes"]),
    ],
)  # fmt: skip
def test_arguments_of_everything_else(make, kind, parts):
    with refuses(kind, *parts):
        make()


def test_using_a_model_before_compile():
    model = models.Sequential([layers.Dense(3, input_shape=(4,))])
    x, y = np.zeros((2, 4)), np.zeros((2, 3))
    for name in ("fit", "evaluate", "train_on_batch"):
        with refuses(ValueError, "compiled before", name, "compile(optimizer=..., loss=..."):
            getattr(model, name)(x, y)


# Data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x, y, kind, parts",
    [
        (X[..., 0], Y, ValueError, ["(samples, 8, 8, 1)", "(10, 8, 8)", "x[..., None]"]),
        (X[0], Y[0], ValueError, ["(samples, 8, 8, 1)", "(8, 8, 1)", "x[None]"]),
        (np.repeat(X, 3, 3), Y, ValueError, ["3 channels", "conv2d_1 (Conv2D)", "built for 1"]),
        (X[:, :7], Y, ValueError, ["(samples, 8, 8, 1)", "(10, 7, 8, 1)"]),
        (X[:0], Y[:0], ValueError, ["at least one sample", "(0, 8, 8, 1)"]),
        (5, 5, ValueError, ["at least one sample", "()"]),
        (X.astype(str), Y, TypeError, ["numbers"]),
        (X.astype(complex), Y, TypeError, ["numbers", "complex128"]),
        (X, Y[:9], ValueError, ["same number of samples", "10", "9"]),
        (X, 3, ValueError, ["same number of samples", "10", "3"]),
        (X, None, ValueError, ["same number of samples", "10", "None"]),
        (X, LABELS, ValueError,
         ["one-hot", "(samples, 3)", "labels of shape (10,)", "to_categorical(y, 3)",
          "sparse_categorical_crossentropy"]),
        (X, LABELS[:, None], ValueError, ["one-hot", "(10, 1)"]),
        (X, np.eye(10)[LABELS], ValueError, ["(samples, 3)", "(10, 10)"]),
        (X, Y.astype(str), ValueError, ["y for categorical_crossentropy must be numbers"]),
    ],
)  # fmt: skip
def test_data_that_does_not_fit(x, y, kind, parts):
    model = convnet(backend="reference")
    for method in (model.fit, model.evaluate, model.train_on_batch):
        with refuses(kind, *parts):
            method(x, y)


@pytest.mark.parametrize(
    "y, parts",
    [
        (Y, ["labels of shape (samples,)", "(10, 3)", "'categorical_crossentropy'"]),
        ([0, 1, 2, 3, 0, 0, 0, 0, 0, 0], ["0 to 2", "got 3 at index 3"]),
        ([0, 0, -1, 0, 0, 0, 0, 0, 0, 0], ["0 to 2", "got -1 at index 2"]),
        ([0.5] * 10, ["whole numbers", "0.5 at index 0"]),
        ([0] * 9 + [np.nan], ["whole numbers", "nan at index 9"]),
    ],
)
def test_labels_for_the_sparse_loss(y, parts):
    model = convnet(loss="sparse_categorical_crossentropy", backend="reference")
    with refuses(ValueError, *parts):
        model.fit(X, y)


def test_losses_that_do_not_fit_the_model():
    x = np.zeros((4, 8, 8, 1))
    model = compiled([layers.Conv2D(2, 3, input_shape=(8, 8, 1))], backend="reference")
    with refuses(ValueError, "categorical_crossentropy", "(None, 6, 6, 2)", "Flatten"):
        model.fit(x, x)
    model = compiled([layers.Flatten(), layers.Dense(1)], backend="reference")
    with refuses(ValueError, "at least two", "binary_crossentropy"):
        model.fit(x, np.zeros((4, 1)))
    model = compiled([layers.Flatten(), layers.Dense(2)], "mse", backend="reference")
    with refuses(ValueError, "mean_squared_error", "(samples, 2)", "(4, 3)"):
        model.fit(x, np.zeros((4, 3)))
    model = compiled([layers.Flatten(), layers.Dense(1)], "binary_crossentropy")
    with refuses(ValueError, "binary_crossentropy", "0 to 1", "2"):
        model.fit(x, [0, 1, 2, 0])


@pytest.mark.parametrize(
    "options, parts",
    [
        ({"batch_size": 0}, ["batch_size", "1 or more", "0"]),
        ({"batch_size": 2.5}, ["batch_size", "2.5"]),
        ({"epochs": -1}, ["epochs", "-1"]),
        ({"verbose": 3}, ["verbose", "3"]),
        ({"validation_split": 1.0}, ["validation_split", "between 0 and 1", "1.0"]),
        ({"validation_split": -0.1}, ["validation_split", "-0.1"]),
        ({"validation_split": 1e-17}, ["1e-17 of 10 samples", "none to validate on"]),
        ({"validation_split": 0.99}, ["0.99 of 10 samples", "none to train on"]),
        ({"validation_data": X}, ["validation_data", "pair"]),
        ({"validation_data": (X, LABELS)}, ["validation_data: y", "one-hot"]),
    ],
)
def test_arguments_of_fit(options, parts):
    with refuses(ValueError, *parts):
        convnet(backend="reference").fit(X, Y, **options)


def test_an_optimizer_serves_one_model_at_a_time():
    one, other = convnet(backend="reference"), convnet(backend="reference")
    one.fit(X, Y, verbose=0)
    other.compile(one.optimizer, "categorical_crossentropy", backend="reference")
    assert other.optimizer.iterations == 0
    other.fit(X, Y, verbose=0)
    with refuses(ValueError, "optimizer was given to another model", "compile"):
        one.fit(X, Y, verbose=0)
    one.compile("rmsprop", "categorical_crossentropy", backend="reference")
    one.fit(X, Y, verbose=0)


def test_callbacks_that_are_none_or_watch_nothing():
    model = convnet(backend="reference")
    with refuses(TypeError, "callbacks", "print"):
        model.fit(X, Y, callbacks=[print])
    with refuses(ValueError, "EarlyStopping", "'val_loss'", "'loss'", "validation data"):
        model.fit(X, Y, callbacks=[callbacks.EarlyStopping()], verbose=0)


def test_outputs_that_are_not_there():
    model = convnet(backend="reference")
    with refuses(ValueError, "0 to 2", "3"):
        model.input_gradient(X, output=3)
    with refuses(ValueError, "one for each sample"):
        model.input_gradient(X, output=[1, 2])
    with refuses(ValueError, "ends with a softmax"):
        dense("mse").input_gradient(np.zeros((1, 4)), before_softmax=True)


# Warnings and silent conversions ----------------------------------------------------------------


@pytest.mark.parametrize("data", [(X * 100).clip(0, 255).astype("uint8"), (X * 200).clip(0, 255)])
def test_unscaled_images_are_pointed_out_once_per_call(data):
    model = convnet(backend="reference")
    for method in (lambda: model.fit(data, Y, verbose=0), lambda: model.predict(data)):
        with pytest.warns(UserWarning, match="values up to.*unscaled.*/ 255") as caught:
            method()
        assert len(caught) == 1


def test_reasonable_data_give_no_warning():
    model = convnet(backend="reference")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (X, X.astype("float64"), X > 0.5, (X > 0.5).astype("uint8"), X * 4 - 2):
            model.fit(data, Y, verbose=0)
            assert model.predict(data).dtype == np.float32
        model.predict(list(X))
        model.predict(np.asfortranarray(X)[:, ::-1])


# Not a number -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("place", [(3, 3), (7, 7)], ids=["seen", "only by the weights"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_in_the_data_stops_before_it_reaches_the_weights(backend, place, value):
    # Pooling drops the last row and column of a 7×7 map, so that a NaN in the image's corner
    # leaves the loss alone and would enter through a weight's gradient only.
    stack = [
        layers.Conv2D(4, 2, input_shape=(8, 8, 1)),
        layers.MaxPooling2D(2),
        layers.BatchNormalization(),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ]
    model = compiled(stack, backend=backend)
    x = X.copy()
    x[7, *place] = value
    seen = []

    class Watch(callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(self.model.get_weights())

    loss = model.evaluate(x, Y, verbose=0)
    assert np.isfinite(loss) == (place == (7, 7))
    with refuses(FloatingPointError, "batch 4 of epoch 1", "sample 7 of x", "NaN or infinity"):
        model.fit(x, Y, batch_size=2, epochs=2, shuffle=False, callbacks=[Watch()], verbose=0)
    assert len(seen) == 4
    for before, after in zip(seen[-1], model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert np.isfinite(model.predict(X)).all()
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_survives_relu_and_pooling_so_that_it_is_seen(backend, fuse):
    model = convnet(backend=backend, fuse=fuse)
    x = X.copy()
    x[4, 2, 5] = np.nan
    with refuses(FloatingPointError, "batch 1 of epoch 1", "sample 4 of x"):
        model.fit(x, Y, verbose=0)
    assert np.isnan(model.predict(x)).any(1).nonzero()[0].tolist() == [4]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_in_the_targets_and_divergence_are_told_apart():
    model = dense("mse")
    x = np.ones((4, 4))
    y = np.zeros((4, 3))
    y[2, 1] = np.nan
    with refuses(FloatingPointError, "stopped", "sample 2 of y", "NaN"):
        model.train_on_batch(x, y)
    model.compile(optimizers.SGD(1e30), "mse", backend="reference")
    with refuses(FloatingPointError, "epoch", "data are finite", "diverged", "1e+30"):
        model.fit(x, np.ones((4, 3)), epochs=9, verbose=0)


# Interruptions ----------------------------------------------------------------------------------


def test_an_interrupted_fit_leaves_model_and_history_usable():
    model = convnet(metrics=["accuracy"], backend="reference")

    class Impatient(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if len(self.model.history.epoch) == 2 and batch == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=2, epochs=5, callbacks=[Impatient()], verbose=0)
    assert model.history.epoch == [0, 1]
    assert len(model.history.history["accuracy"]) == 2
    assert model.optimizer.iterations == 5 + 5 + 2
    assert np.isfinite(model.predict(X)).all()
    assert model.fit(X, Y, verbose=0).epoch == [0]


# Broadly ----------------------------------------------------------------------------------------

SIZES = st.integers(-1, 6)
ANYTHING = st.one_of(SIZES, st.tuples(SIZES, SIZES), st.sampled_from(["same", None, 2.0, (1,)]))
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "strides": ANYTHING,
        "dilation_rate": ANYTHING,
        "groups": SIZES,
        "padding": st.sampled_from(["valid", "same", "SAME", "full", 1, None]),
        "activation": st.sampled_from(["relu", "softmax", "linear", None, "ReLU", 3]),
        "data_format": st.sampled_from([None, "channels_last", "channels_first"]),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from([layers.Conv2D, layers.DepthwiseConv2D, layers.MaxPooling2D]),
    filters=SIZES,
    kernel_size=ANYTHING,
    options=OPTIONS,
    shape=st.lists(SIZES, max_size=4).map(tuple),
)
def test_a_layer_is_refused_with_a_sentence_or_works(kind, filters, kernel_size, options, shape):
    arguments = (filters, kernel_size) if kind is layers.Conv2D else (kernel_size,)
    try:
        model = models.Sequential([layers.Input(shape), kind(*arguments, **options)])
    except (TypeError, ValueError) as error:
        assert len(str(error)) > 30, "the message must be a sentence"
        assert kind.__name__ in str(error) or "must" in str(error)
        return
    model.compile("sgd", "mse", backend="reference")
    x = np.ones((2, *shape), np.float32)
    prediction = model.predict(x)
    assert prediction.shape == (2, *model.output_shape[1:])
    assert np.isfinite(model.evaluate(x, prediction, verbose=0))


@settings(max_examples=150, deadline=None)
@given(
    x_shape=st.lists(st.integers(0, 4), max_size=4).map(tuple),
    y_shape=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    x_kind=st.sampled_from(
        ["float32", "float64", "int64", "uint8", "bool", "U3", "O", "complex64"]
    ),
    y_kind=st.sampled_from(["float32", "int64", "bool", "U3", "O"]),
    loss=st.sampled_from(
        [
            "categorical_crossentropy",
            "sparse_categorical_crossentropy",
            "mse",
            "binary_crossentropy",
        ]
    ),
)
def test_data_are_refused_with_a_sentence_or_trained_on(x_shape, y_shape, x_kind, y_kind, loss):
    model = dense(loss, activation="softmax")
    x, y = np.zeros(x_shape, x_kind), np.zeros(y_shape, y_kind)
    try:
        result = model.train_on_batch(x, y)
    except (TypeError, ValueError) as error:
        assert len(str(error)) > 30
        assert " x" in f" {error}" or " y" in f" {error}"
    else:
        assert np.isfinite(result)
        assert x_shape[1:] == (4,) and y_shape[:1] == x_shape[:1]
