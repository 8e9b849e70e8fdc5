"""Each layer: shapes, weights, values worked by hand, and its gradients against differences."""

import numpy as np
import pytest
from small_models import (
    BACKENDS,
    assert_is_derivative,
    compiled,
    training_loss,
    weight_gradients,
)

from convlib import initializers, layers, models, utils

# (layer, shape of one sample, expected output shape, parameters, multiply-adds). The numbers are
# Keras' where Keras has them.
GEOMETRY = [
    (layers.Conv2D(32, (3, 3)), (28, 28, 1), (26, 26, 32), 320, 194_688),
    (layers.Conv2D(64, 3), (13, 13, 32), (11, 11, 64), 18_496, 2_230_272),
    (layers.Conv2D(5, (2, 3), use_bias=False), (7, 6, 4), (6, 4, 5), 120, 2_880),
    (layers.Conv2D(8, 3, strides=2), (28, 28, 3), (13, 13, 8), 224, 36_504),
    (layers.Conv2D(8, 3, strides=2, padding="same"), (28, 28, 3), (14, 14, 8), 224, 42_336),
    (layers.Conv2D(8, 3, dilation_rate=2), (9, 8, 2), (5, 4, 8), 152, 2_880),
    (layers.Conv2D(6, 3, groups=2), (5, 5, 4), (3, 3, 6), 114, 972),
    (layers.DepthwiseConv2D(3), (6, 6, 3), (4, 4, 3), 30, 432),
    (layers.DepthwiseConv2D(3, depth_multiplier=2), (6, 6, 3), (4, 4, 6), 60, 864),
    (layers.MaxPooling2D((2, 2)), (11, 11, 64), (5, 5, 64), 0, 0),
    (layers.MaxPooling2D(3, strides=2, padding="same"), (7, 6, 2), (4, 3, 2), 0, 0),
    (layers.AveragePooling2D(), (5, 4, 3), (2, 2, 3), 0, 0),
    (layers.GlobalMaxPooling2D(), (5, 4, 3), (3,), 0, 0),
    (layers.GlobalAveragePooling2D(keepdims=True), (5, 4, 3), (1, 1, 3), 0, 0),
    (layers.ZeroPadding2D(((1, 2), (3, 4))), (5, 5, 2), (8, 12, 2), 0, 0),
    (layers.Flatten(), (3, 3, 64), (576,), 0, 0),
    (layers.Dense(64), (576,), (64,), 36_928, 36_864),
    (layers.Dense(4), (3, 5, 2), (3, 5, 4), 12, 120),
    (layers.Activation("relu"), (3, 4), (3, 4), 0, 0),
    (layers.ReLU(), (3, 4), (3, 4), 0, 0),
    (layers.Softmax(), (7,), (7,), 0, 0),
    (layers.Dropout(0.5), (7,), (7,), 0, 0),
    (layers.BatchNormalization(), (5, 4, 3), (5, 4, 3), 12, 0),
    (layers.BatchNormalization(center=False, scale=False), (6,), (6,), 12, 0),
]


@pytest.mark.parametrize(
    "layer, sample, output, parameters, multiply_adds",
    GEOMETRY,
    ids=[f"{type(case[0]).__name__}-{k}" for k, case in enumerate(GEOMETRY)],
)
def test_shapes_parameters_and_work(layer, sample, output, parameters, multiply_adds):
    fresh = layers.from_config(type(layer).__name__, layer.get_config())
    fresh.build((None, *sample))
    assert fresh.input_shape == (None, *sample)
    assert fresh.output_shape == (None, *output)
    assert fresh.count_params() == parameters
    assert fresh.multiply_adds() == multiply_adds
    assert fresh.get_config() == layer.get_config()


def run(stack, x, backend="reference"):
    model = models.Sequential(stack, dtype="float64")
    model._backend = backend
    return model.predict(np.asarray(x, np.float64), verbose=0)


def with_weights(layer, sample, *weights):
    layer.dtype = "float64"
    layer.build((None, *sample))
    layer.set_weights(weights)
    return layer


ROW = np.array([[-2.0, 0.0, 1.0, 3.0]])


@pytest.mark.parametrize(
    "layer, expected",
    [
        (layers.ReLU(), [0, 0, 1, 3]),
        (layers.ReLU(max_value=2), [0, 0, 1, 2]),
        (layers.ReLU(negative_slope=0.5), [-1, 0, 1, 3]),
        (layers.ReLU(threshold=1, negative_slope=0.5), [-1.5, -0.5, 0, 3]),
        (layers.Activation("relu6"), [0, 0, 1, 3]),
        (layers.Activation("leaky_relu"), [-0.4, 0, 1, 3]),
        (layers.Activation("linear"), [-2, 0, 1, 3]),
        (layers.Activation("tanh"), np.tanh([-2, 0, 1, 3])),
        (layers.Activation("sigmoid"), 1 / (1 + np.exp([2, 0, -1, -3]))),
        (layers.Softmax(), np.exp([-2, 0, 1, 3]) / np.exp([-2, 0, 1, 3]).sum()),
        (layers.Dropout(0.9), [-2, 0, 1, 3]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else "",
)
def test_elementwise_values(layer, expected):
    np.testing.assert_allclose(run([layer], ROW)[0], expected, rtol=1e-12)


def test_convolution_by_hand():
    # [[1, 2, 3], [4, 5, 6], [7, 8, 9]] under [[1, 0], [0, -1]]: each pixel less its diagonal
    # neighbour is -4, plus the bias.
    kernel = np.array([[1.0, 0.0], [0.0, -1.0]]).reshape(2, 2, 1, 1)
    layer = with_weights(layers.Conv2D(1, 2), (3, 3, 1), kernel, [10.0])
    image = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    assert run([layer], image).ravel().tolist() == [6, 6, 6, 6]


def test_depthwise_convolution_keeps_channels_apart():
    kernel = np.array([1.0, 10.0]).reshape(1, 1, 2, 1)
    layer = with_weights(layers.DepthwiseConv2D(1), (1, 2, 2), kernel, [0.0, 0.5])
    assert run([layer], [[[[1, 2], [3, 4]]]]).ravel().tolist() == [1, 20.5, 3, 40.5]


def test_pooling_by_hand():
    image = np.arange(1.0, 17).reshape(1, 4, 4, 1)
    assert run([layers.MaxPooling2D(2)], image).ravel().tolist() == [6, 8, 14, 16]
    assert run([layers.AveragePooling2D(2)], image).ravel().tolist() == [3.5, 5.5, 11.5, 13.5]
    assert run([layers.GlobalMaxPooling2D()], image).tolist() == [[16]]
    assert run([layers.GlobalAveragePooling2D()], image).tolist() == [[8.5]]
    # Windows of 3 with a border of one pixel hold 2×2 pixels, and the border does not count:
    # neither as a maximum of negative values nor in a mean.
    largest = run([layers.MaxPooling2D(3, padding="same")], -image)
    assert largest.ravel().tolist() == [-1, -3, -9, -11]
    mean = run([layers.AveragePooling2D(3, padding="same")], image)
    assert mean.ravel().tolist() == [3.5, 5.5, 11.5, 13.5]


def test_zero_padding_and_flatten_keep_the_order():
    image = np.array([1.0, 2, 3, 4]).reshape(1, 1, 2, 2)
    padded = run([layers.ZeroPadding2D(((0, 0), (1, 0)))], image)
    assert padded.tolist() == [[[[0, 0], [1, 2], [3, 4]]]]
    assert run([layers.Flatten()], image).tolist() == [[1, 2, 3, 4]]


def test_dense_works_on_the_last_axis():
    layer = with_weights(layers.Dense(1), (1, 2, 2), [[1.0], [100.0]], [0.5])
    assert run([layer], [[[[1, 2], [3, 4]]]]).tolist() == [[[[201.5], [403.5]]]]


def test_batch_normalization_in_inference_uses_the_running_statistics():
    layer = with_weights(
        layers.BatchNormalization(epsilon=0.0), (2,), [2.0, 1], [5.0, 0], [1.0, 0], [4.0, 1]
    )
    assert run([layer], [[3.0, 7.0]]).tolist() == [[2 * (3 - 1) / 2 + 5, 7]]


def test_batch_normalization_learns_running_statistics():
    layer = layers.BatchNormalization(momentum=0.9, input_shape=(1,))
    model = compiled([layer], "mse", optimizer="sgd", backend="reference", dtype="float64")
    x = np.array([[1.0], [3.0], [5.0], [7.0]])
    model.train_on_batch(x, np.zeros_like(x))
    # Mean 4 and variance 5 enter with the share 0.1.
    np.testing.assert_allclose(layer.moving_mean, [0.4])
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.5])


def test_frozen_batch_normalization_keeps_its_statistics():
    layer = layers.BatchNormalization(input_shape=(2,))
    layer.trainable = False
    model = compiled([layer, layers.Dense(1)], "mse", backend="reference")
    before = layer.get_weights()
    model.train_on_batch(np.random.default_rng(0).random((8, 2)), np.zeros((8, 1)))
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_drops_the_rate_and_keeps_the_mean(backend):
    dropout = layers.Dropout(0.25, input_shape=(10_000,))
    model = compiled([dropout], "mse", backend=backend)
    plan = model._training_plan(1)
    plan.load(np.ones((1, 10_000), np.float32), 0, 1)
    plan.prepare(1)
    kept = plan.forward(1, training=True).copy()
    assert set(np.unique(kept)) == {0, np.float32(1 / 0.75)}
    assert abs((kept == 0).mean() - 0.25) < 0.02
    plan.load(np.ones((1, 10_000), np.float32), 0, 1)
    plan.prepare(1)
    assert (plan.forward(1, training=True) != kept).any()


# Gradients --------------------------------------------------------------------------------------

SAMPLE = (6, 7, 2)
STACKS = {
    "conv2d": lambda: [layers.Conv2D(3, (3, 2), activation="tanh")],
    "conv2d strided same": lambda: [layers.Conv2D(3, 3, strides=(2, 3), padding="same")],
    "conv2d dilated no bias": lambda: [layers.Conv2D(3, 2, dilation_rate=(2, 3), use_bias=False)],
    "conv2d groups": lambda: [layers.Conv2D(4, 3, groups=2), layers.Conv2D(2, 1, groups=2)],
    "two conv2d, relu": lambda: [
        layers.Conv2D(3, 3, activation="relu"),
        layers.Conv2D(2, 2, activation="sigmoid"),
    ],
    "conv2d, relu, max pool": lambda: [
        layers.Conv2D(2, 1),
        layers.Conv2D(3, 2, activation="relu"),
        layers.MaxPooling2D(2),
    ],
    "depthwise": lambda: [
        layers.DepthwiseConv2D(2, depth_multiplier=2, strides=2, activation="leaky_relu"),
        layers.DepthwiseConv2D((2, 1), padding="same", use_bias=False),
    ],
    "overlapping max pool": lambda: [
        layers.Conv2D(3, 2),
        layers.MaxPooling2D(3, strides=2, padding="same"),
    ],
    "average pool": lambda: [
        layers.Conv2D(3, 2),
        layers.AveragePooling2D((2, 3), strides=1, padding="same"),
    ],
    "global max": lambda: [layers.Conv2D(3, 2), layers.GlobalMaxPooling2D(keepdims=True)],
    "global average": lambda: [layers.Conv2D(3, 2), layers.GlobalAveragePooling2D()],
    "zero padding": lambda: [layers.Dense(2), layers.ZeroPadding2D((1, 2)), layers.Conv2D(2, 3)],
    "dense on images": lambda: [layers.Dense(3, activation="tanh"), layers.Dense(2)],
    "relu with threshold": lambda: [
        layers.Dense(3),
        layers.ReLU(max_value=0.8, negative_slope=0.3, threshold=-0.2),
    ],
    "relu after sigmoid": lambda: [
        layers.Dense(3, activation="sigmoid"),
        layers.ReLU(max_value=0.6),
    ],
    "softmax inside": lambda: [layers.Dense(3), layers.Softmax(), layers.Dense(2)],
    "tanh before the loss": lambda: [layers.Flatten(), layers.Dense(3, activation="tanh")],
    "batch norm": lambda: [layers.Conv2D(3, 2), layers.BatchNormalization(), layers.ReLU()],
    "batch norm first": lambda: [layers.BatchNormalization(scale=False), layers.Dense(2)],
    "frozen batch norm": lambda: [
        layers.Dense(3),
        layers.BatchNormalization(trainable=False),
        layers.Dense(2),
    ],
    "dropout": lambda: [layers.Dense(3), layers.Dropout(0.4), layers.Dense(2)],
    "frozen middle": lambda: [layers.Dense(3), layers.Dense(3, trainable=False), layers.Dense(2)],
    "linear activation": lambda: [layers.Dense(3), layers.Activation("linear")],
}


class SameSeed:
    """A generator that always draws the same dropout, so that differences can be taken."""

    def integers(self, bound):
        return 7


def with_head(name, **options):
    """Return the stack as a compiled classifier of three classes."""
    stack = STACKS[name]()
    for layer in stack:
        if isinstance(layer, layers.Dropout):
            layer._own_generator = SameSeed()
    if name == "tanh before the loss":
        head = [layers.Activation("softmax")]
    elif name == "global average":
        head = [layers.Dense(3, activation="softmax")]
    else:
        head = [layers.Flatten(), layers.Dense(3, activation="softmax")]
    return compiled([layers.Input(SAMPLE), *stack, *head], **options)


def batch(samples=4, dtype="float64"):
    generator = np.random.default_rng(5)
    x = generator.standard_normal((samples, *SAMPLE)).astype(dtype)
    return x, utils.to_categorical(generator.integers(0, 3, samples), 3).astype(dtype)


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("name", STACKS)
def test_weight_gradients_are_derivatives(name, fuse):
    model = with_head(name, dtype="float64", backend="reference", fuse=fuse)
    x, y = batch()
    pairs = weight_gradients(model, x, y)
    assert pairs
    for weight, gradient in pairs:
        assert_is_derivative(lambda: training_loss(model, x, y), weight, gradient)


@pytest.mark.parametrize("name", STACKS)
def test_a_smaller_batch_uses_part_of_the_memory_only(name):
    x, y = batch(5)
    expected = weight_gradients(with_head(name, dtype="float64", backend="reference"), x[:3], y[:3])
    model = with_head(name, dtype="float64", backend="reference")
    weight_gradients(model, x, y)
    for (_, want), (_, got) in zip(expected, weight_gradients(model, x[:3], y[:3]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", STACKS)
def test_input_gradients_are_derivatives(name):
    model = with_head(name, dtype="float64", backend="reference")
    x, _ = batch(2)

    def probabilities():
        return model.predict(x, verbose=0)

    gradient = model.input_gradient(x, output=[2, 0])
    assert_is_derivative(lambda: probabilities()[[0, 1], [2, 0]].sum(), x, gradient)

    # The softmax hides a constant in each sample's scores, so their differences are compared.
    def score_differences():
        scores = np.log(probabilities())
        return (scores[[0, 1], [2, 0]] - scores[:, 1]).sum()

    gradient = model.input_gradient(x, output=[2, 0], before_softmax=True)
    gradient -= model.input_gradient(x, output=1, before_softmax=True)
    assert_is_derivative(score_differences, x, gradient)


@pytest.mark.parametrize("name", STACKS)
def test_backends_and_fusion_agree(name):
    x, y = batch(dtype="float32")
    gradients = {}
    for backend in BACKENDS:
        for fuse in (True, False):
            model = with_head(name, backend=backend, fuse=fuse)
            gradients[backend, fuse] = [g for _, g in weight_gradients(model, x, y)]
    expected = gradients.pop(("reference", False))
    for key, got in gradients.items():
        for one, other in zip(got, expected, strict=True):
            scale = np.abs(other).max()
            np.testing.assert_allclose(one, other, atol=2e-5 * scale + 1e-7, err_msg=str(key))


# Configuration ----------------------------------------------------------------------------------


def test_activation_argument_equals_activation_layer():
    x, _ = batch(dtype="float64")
    utils.set_random_seed(3)
    inside = run([layers.Dense(3, activation="sigmoid")], x)
    utils.set_random_seed(3)
    np.testing.assert_array_equal(inside, run([layers.Dense(3), layers.Activation("sigmoid")], x))


def test_weights_have_keras_order_and_layout():
    layer = layers.BatchNormalization(input_shape=(2, 2, 3))
    model = models.Sequential([layers.Conv2D(3, (1, 2), input_shape=(2, 3, 5)), layer])
    shapes = [weight.shape for weight in model.get_weights()]
    assert shapes == [(1, 2, 5, 3), (3,), (3,), (3,), (3,), (3,)]
    names = ["gamma", "beta", "moving_mean", "moving_variance"]
    for name, weight in zip(names, layer.weights, strict=True):
        assert weight is getattr(layer, name)


@pytest.mark.parametrize(
    "name, variance, bound",
    [
        ("glorot_uniform", 2 / (9 * 8 + 9 * 64), np.sqrt(3)),
        ("glorot_normal", 2 / (9 * 8 + 9 * 64), 2 / 0.8796),
        ("he_uniform", 2 / (9 * 8), np.sqrt(3)),
        ("he_normal", 2 / (9 * 8), 2 / 0.8796),
        ("random_normal", 0.05**2, np.inf),
        ("random_uniform", 0.05**2 / 3, np.sqrt(3)),
    ],
)
def test_initializers_have_the_right_spread(name, variance, bound):
    utils.set_random_seed(0)
    values = initializers.get(name)((3, 3, 8, 64))
    assert abs(values.mean()) < 0.05 * np.sqrt(variance)
    assert values.var() == pytest.approx(variance, rel=0.05)
    assert np.abs(values).max() <= bound * np.sqrt(variance) * 1.001


def test_constant_initializers_and_their_saved_form():
    assert (initializers.get("zeros")((2, 3)) == 0).all()
    assert (initializers.get("ones")((2, 3)) == 1).all()
    layer = layers.Dense(2, bias_initializer=initializers.Constant(0.1))
    again = layers.from_config("Dense", layer.get_config())
    assert (again.bias_initializer((4,)) == 0.1).all()
