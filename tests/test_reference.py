"""The reference itself: hand-worked numbers, plain loops, finite differences, adjoints, peers."""

import itertools
from math import e, inf, log, nan

import numpy as np
import pytest
from contract_cases import call
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from convlib import shapes
from convlib.kernels import reference
from convlib.kernels.scratch import Scratch

NO_PADDING = ((0, 0), (0, 0))
WINDOW = {"strides": (1, 1), "padding": NO_PADDING, "dilation": (1, 1), "groups": 1}

many_geometries = settings(derandomize=True, deadline=None, max_examples=80)


def run(operation, arguments, **outputs):
    """Call a kernel with outputs of the given shapes, full of NaN, and return these."""
    arrays = {name: np.full(shape, nan) for name, shape in outputs.items()}
    call(reference, operation, WINDOW | {"scratch": None} | arguments | arrays)
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def image(*rows):
    """Return one image of one channel."""
    return np.array(rows, float)[None, :, :, None]


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


def integers(*shape, seed=0):
    """Return small random integers as floats: their sums of products are exact."""
    return np.random.default_rng((seed, *shape)).integers(-5, 6, shape).astype(float)


# Hand-worked numbers ----------------------------------------------------------------------------

X = image([1, 2, 3], [4, 5, 6], [7, 8, 9])
W = np.array([[1.0, 10], [100, 1000]])[:, :, None, None]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[5421, 6532], [8754, 9865]]),
        ({"strides": (2, 1)}, [[5421, 6532]]),
        ({"dilation": (2, 2)}, [[9731]]),
        ({"padding": ((1, 0), (0, 0))}, [[2100, 3200], [5421, 6532], [8754, 9865]]),
        ({"padding": ((0, 0), (0, 1))}, [[5421, 6532, 603], [8754, 9865, 906]]),
        ({"padding": ((1, 1), (1, 1)), "strides": (3, 3)}, [[1000, 300], [70, 9]]),
        ({"padding": ((1, 1), (1, 1)), "strides": (3, 3), "b": np.array([0.5])}, None),
    ],
)
def test_convolution_by_hand(options, expected):
    expected = [[1000.5, 300.5], [70.5, 9.5]] if expected is None else expected
    y = run("conv2d_forward", {"x": X, "w": W, "b": None} | options, y=image(*expected).shape)
    assert_array_equal(y, image(*expected))


def test_convolution_sums_over_channels_and_has_many_filters():
    x = np.array([2.0, 3.0]).reshape(1, 1, 1, 2)
    w = np.array([[1.0, 10, 100], [4, 40, 400]]).reshape(1, 1, 2, 3)
    y = run("conv2d_forward", {"x": x, "w": w, "b": np.array([0.0, 1, 2])}, y=(1, 1, 1, 3))
    assert_array_equal(y.ravel(), [14, 141, 1402])


def test_groups_do_not_see_each_other():
    x = np.array([1.0, 2, 3, 4]).reshape(1, 1, 1, 4)
    w = np.array([[1.0, 10], [100, 1000]]).reshape(1, 1, 2, 2)
    y = run("conv2d_forward", {"x": x, "w": w, "b": None, "groups": 2}, y=(1, 1, 1, 2))
    assert_array_equal(y.ravel(), [1 + 200, 30 + 4000])


def test_gradient_of_one_output_pixel_is_its_window():
    dy = image([0, 0], [1, 0])
    dx = run("conv2d_backward_input", {"dy": dy, "w": W}, dx=X.shape)
    assert_array_equal(dx, image([0, 0, 0], [1, 10, 0], [100, 1000, 0]))
    gradients = run("conv2d_backward_params", {"x": X, "dy": 2 * dy}, dw=W.shape, db=(1,))
    assert_array_equal(gradients["dw"][:, :, 0, 0], [[8, 10], [14, 16]])
    assert_array_equal(gradients["db"], [2])


def test_depthwise_convolution_orders_channels_by_input_first():
    x = np.array([2.0, 3.0]).reshape(1, 1, 1, 2)
    w = np.array([[1.0, 10], [100, 1000]]).reshape(1, 1, 2, 2)
    y = run("depthwise_conv2d_forward", {"x": x, "w": w, "b": np.ones(4)}, y=(1, 1, 1, 4))
    assert_array_equal(y.ravel(), [3, 21, 301, 3001])


def test_im2col_and_back_by_hand():
    window = {"kernel_size": (2, 2)}
    columns = run("im2col", {"x": X} | window, columns=(1, 2, 2, 4))
    rows = [[1, 2, 4, 5], [2, 3, 5, 6], [4, 5, 7, 8], [5, 6, 8, 9]]
    assert_array_equal(columns.reshape(4, 4), rows)
    x = run("col2im", {"columns": columns} | window, x=X.shape)
    assert_array_equal(x, X * image([1, 2, 1], [2, 4, 2], [1, 2, 1]))


def max_pool(x, pool_size, strides, padding=NO_PADDING):
    window = {"pool_size": pool_size, "strides": strides, "padding": padding}
    y_shape = pooled_shape(x.shape, **window)
    outputs = run("max_pool2d_forward", {"x": x} | window, y=y_shape, argmax=y_shape)
    return outputs["y"][0, :, :, 0], outputs["argmax"][0, :, :, 0]


def pooled_shape(x, pool_size, strides, padding):
    size = shapes.window_geometry(x[1:3], pool_size, strides, padding).output_size
    return (x[0], *size, x[3])


@pytest.mark.parametrize(
    ("rows", "padding", "maximum", "place"),
    [
        ([[1, 2], [4, 3]], NO_PADDING, 4, 2),
        ([[7, 7], [7, 7]], NO_PADDING, 7, 0),
        ([[0, 7], [7, 7]], NO_PADDING, 7, 1),
        ([[-0.0, 0.0], [0.0, -0.0]], NO_PADDING, 0, 0),
        ([[-3, -1], [-2, -4]], NO_PADDING, -1, 1),
        ([[-3]], ((1, 0), (1, 0)), -3, 3),
        ([[-inf]], ((1, 0), (0, 1)), -inf, 2),
        ([[-inf, -inf], [-inf, -inf]], NO_PADDING, -inf, 0),
        ([[-inf, nan], [inf, nan]], NO_PADDING, nan, 1),
        ([[inf, 1], [2, inf]], NO_PADDING, inf, 0),
    ],
)
def test_maximum_of_one_window(rows, padding, maximum, place):
    y, argmax = max_pool(image(*rows), (2, 2), (2, 2), padding)
    assert_array_equal(y, [[maximum]])
    assert_array_equal(argmax, [[place]])


def test_pooling_drops_what_fills_no_window():
    y, argmax = max_pool(X, (2, 2), (2, 2))
    assert_array_equal(y, [[5]])
    assert_array_equal(argmax, [[3]])


def test_gradients_of_overlapping_windows_add():
    window = {"pool_size": (2, 2), "strides": (1, 1)}
    dy, argmax = image([1, 10], [100, 1000]), image([3, 2], [1, 0])
    dx = run("max_pool2d_backward", {"dy": dy, "argmax": argmax} | window, dx=X.shape)
    assert_array_equal(dx, image([0, 0, 0], [0, 1111, 0], [0, 0, 0]))


def test_average_pooling_does_not_count_padding():
    window = {"pool_size": (2, 2), "strides": (2, 2), "padding": ((1, 0), (1, 0))}
    y = run("average_pool2d_forward", {"x": X} | window, y=(1, 2, 2, 1))
    assert_array_equal(y, image([1, 2.5], [5.5, 7]))
    dx = run("average_pool2d_backward", {"dy": image([1, 2], [4, 8])} | window, dx=X.shape)
    assert_array_equal(dx, image([1, 1, 1], [2, 2, 2], [2, 2, 2]))


def test_fused_convolution_by_hand():
    x = image([1, -1, 5], [2, 0, 5], [-1, -2, 5])
    arguments = {"x": x, "w": np.ones((1, 1, 1, 1)), "b": None, "pool_size": (2, 2)}
    forward = run("conv2d_relu_max_pool2d_forward", arguments, y=(1, 1, 1, 1), code=(1, 1, 1, 1))
    assert forward["y"] == 2
    assert forward["code"] == 2
    shifted = arguments | {"b": np.array([-2.0])}
    clipped = run("conv2d_relu_max_pool2d_forward", shifted, y=(1, 1, 1, 1), code=(1, 1, 1, 1))
    assert clipped["y"] == 0
    assert clipped["code"] == reference.CLIPPED


def test_dense_by_hand():
    x, w, b = np.array([[1.0, 2]]), np.array([[3.0, 4, 5], [6, 7, 8]]), np.array([0.0, 10, 100])
    assert_array_equal(run("dense_forward", {"x": x, "w": w, "b": b}, y=(1, 3)), [[15, 28, 121]])


def test_padding_is_zero_and_comes_off_again():
    padding = {"padding": ((1, 0), (0, 2))}
    y = run("pad2d_forward", {"x": image([1, 2])} | padding, y=(1, 2, 4, 1))
    assert_array_equal(y, image([0, 0, 0, 0], [1, 2, 0, 0]))
    dx = run("pad2d_backward", {"dy": y} | padding, dx=(1, 1, 2, 1))
    assert_array_equal(dx, image([1, 2]))


RELU = {"max_value": inf, "negative_slope": 0.0, "threshold": 0.0}


@pytest.mark.parametrize(
    ("options", "values", "slopes"),
    [
        ({}, [0, 0, 0, 1, 8], [0, 0, 0, 1, 1]),
        ({"max_value": 8.0}, [0, 0, 0, 1, 8], [0, 0, 0, 1, 0]),
        ({"negative_slope": 0.5}, [-1, -0.5, 0, 1, 8], [0.5, 0.5, 0.5, 1, 1]),
        ({"threshold": 1.0}, [0, 0, 0, 0, 8], [0, 0, 0, 0, 1]),
        ({"threshold": -1.0, "negative_slope": 2.0}, [-2, 0, 0, 1, 8], [2, 2, 1, 1, 1]),
    ],
)
def test_relu_by_hand(options, values, slopes):
    x = np.array([-2.0, -1, 0, 1, 8])
    relu = RELU | options
    assert_array_equal(run("relu_forward", {"x": x} | relu, y=5), values)
    gradient = run("relu_backward", {"x": x, "dy": np.ones(5)} | relu, dx=5)
    assert_array_equal(gradient, slopes)


def test_activations_by_hand():
    x = np.array([0.0, log(3), -log(3), 1000, -1000])
    assert_allclose(run("sigmoid_forward", {"x": x}, y=5), [0.5, 0.75, 0.25, 1, 0], rtol=1e-15)
    assert_allclose(run("tanh_forward", {"x": x}, y=5), [0, 0.8, -0.8, 1, -1], rtol=1e-15)
    logits = np.array([[0.0, log(3)], [1000, 1000]])
    softmax = run("softmax_forward", {"x": logits}, y=(2, 2))
    assert_allclose(softmax, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-15)


def test_dropout_is_splitmix64():
    # The first five outputs for seed 1234567, computed with Python's integers.
    outputs, state, mask = [], 1234567, 2**64 - 1
    for _ in range(5):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        outputs.append(z ^ (z >> 31))
    assert outputs[0] == 6457827717110365317  # as other implementations give
    y = run("dropout", {"x": np.ones((5, 1)), "rate": 0.5, "seed": 1234567}, y=(5, 1))
    assert_array_equal(y[:, 0], [2 if output / 2**64 >= 0.5 else 0 for output in outputs])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    count = 40_000
    y = run("dropout", {"x": np.ones(count), "rate": rate, "seed": 3}, y=count)
    assert abs((y == 0).mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / count)
    assert_allclose(y[y != 0], 1 / (1 - rate))
    other = run("dropout", {"x": np.ones(count), "rate": rate, "seed": 4}, y=count)
    assert np.array_equal(y, other) == (rate == 0)


def test_gather_by_hand():
    x, indices = np.arange(6.0).reshape(3, 2), np.array([2, 0, 2])
    gathered = run("gather", {"x": x, "indices": indices}, y=(3, 2))
    assert_array_equal(gathered, [[4, 5], [0, 1], [4, 5]])


def test_batch_normalisation_by_hand():
    x = np.array([[1.0, 10], [3, 10]])
    statistics = run("batch_norm_statistics", {"x": x}, mean=2, variance=2)
    assert_array_equal(statistics["mean"], [2, 10])
    assert_array_equal(statistics["variance"], [1, 0])
    arguments = {"x": x, "gamma": np.array([2.0, 5]), "beta": np.array([1.0, 7]), "epsilon": 3.0}
    y = run("batch_norm_forward", statistics | arguments, y=(2, 2))
    assert_array_equal(y, [[0, 7], [2, 7]])


def test_losses_by_hand():
    target = np.array([[0.0, 1], [0.5, 0.5]])
    logits = np.array([[0.0, log(3)], [5, 5]])
    forward = run(
        "softmax_cross_entropy_forward",
        {"x": logits, "target": target},
        losses=2,
        probabilities=(2, 2),
    )
    assert_allclose(forward["losses"], [log(4 / 3), log(2)])
    assert_allclose(forward["probabilities"], [[0.25, 0.75], [0.5, 0.5]])
    p = np.array([[1.0, 3], [0, 2]])
    losses = run("categorical_cross_entropy_forward", {"p": p, "target": target}, losses=2)
    assert_allclose(losses, [log(4 / 3), -0.5 * log(1e-7) - 0.5 * log(1 - 1e-7)])
    p = np.array([[0.5, 1 / e], [1, 0]])
    losses = run("binary_cross_entropy_forward", {"p": p, "target": target}, losses=2)
    assert_allclose(losses, [(log(2) + 1) / 2, -(log(1e-7) + log(1 - 1e-7)) / 2])
    losses = run("sigmoid_cross_entropy_forward", {"x": logits, "target": target}, losses=2)
    assert_allclose(losses, [(log(2) + log(4 / 3)) / 2, 2.5 + np.log1p(np.exp(-5))])
    losses = run("mean_squared_error_forward", {"x": logits, "target": target}, losses=2)
    assert_allclose(losses, [(log(3) - 1) ** 2 / 2, 4.5**2])


def test_clipped_probabilities_have_no_gradient():
    target = np.array([[0.0, 1], [1, 0]])
    p = np.array([[1.0, 0], [0.25, 0.75]])
    arguments = {"p": p, "target": target, "scale": 3.0}
    dp = run("binary_cross_entropy_backward", arguments, dp=(2, 2))
    assert_allclose(dp, [[0, 0], [-6, 6]])
    dp = run("categorical_cross_entropy_backward", arguments, dp=(2, 2))
    assert_allclose(dp, [[0, 0], [-9, 3]])


def test_optimizers_by_hand():
    def update(operation, **arguments):
        arrays = {"w": np.array([1.0]), "dw": np.array([2.0]), "learning_rate": 0.1}
        arguments = arrays | arguments | {"scratch": Scratch()}
        assert call(reference, operation, arguments)
        return arguments

    sgd = {"momentum": 0.5, "nesterov": False}
    after = update("sgd_update", velocity=np.array([0.5]), **sgd)
    assert_allclose([after["velocity"], after["w"]], [[0.05], [1.05]])
    after = update("sgd_update", velocity=np.array([0.5]), **sgd | {"nesterov": True})
    assert_allclose([after["velocity"], after["w"]], [[0.05], [0.825]])
    after = update("rmsprop_update", mean_square=np.array([12.0]), rho=0.75, epsilon=6.0)
    assert_allclose([after["mean_square"], after["w"]], [[10], [0.95]])
    adam = {"beta_1": 0.9, "beta_2": 0.99, "epsilon": 0.0}
    after = update("adam_update", mean=np.zeros(1), mean_square=np.zeros(1), step=1, **adam)
    assert_allclose([after["mean"], after["mean_square"], after["w"]], [[0.2], [0.04], [0.9]])
    adam["epsilon"] = 0.2
    after = update("adam_update", mean=np.zeros(1), mean_square=np.zeros(1), step=1, **adam)
    assert_allclose(after["w"], 0.95)


# The formulas of the docstrings, loop by loop ----------------------------------------------------


@st.composite
def windows(draw, dilated=True, padding_below_window=False):
    """Draw (input size, kernel size, geometry, options) of a window that fits its input."""

    def pairs(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    kernel, strides = pairs(1, 4), pairs(1, 4)
    dilation = pairs(1, 3) if dilated else (1, 1)
    most = [size - 1 if padding_below_window else 5 for size in kernel]
    padding = tuple((draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most)
    size = tuple(
        draw(st.integers(max(1, shapes.effective_size(k, d) - sum(p)), 10))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    geometry = shapes.window_geometry(size, kernel, strides, padding, dilation)
    options = {"strides": strides, "padding": padding, "dilation": dilation}
    return size, kernel, geometry.output_size, options


def places(output, kernel, options):
    """Yield (i, j, u, v, row, column) of every kernel element under every window."""
    (s, t), (d, f) = options["strides"], options["dilation"]
    (top, _), (left, _) = options["padding"]
    for i, j, u, v in itertools.product(*map(range, (*output, *kernel))):
        yield i, j, u, v, i * s + u * d - top, j * t + v * f - left


@many_geometries
@given(windows(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 3))
def test_convolution_is_its_formula(window, groups, inputs, filters):
    size, kernel, output, options = window
    x, w = integers(2, *size, groups * inputs), integers(*kernel, inputs, groups * filters)
    b = integers(groups * filters)
    options |= {"groups": groups}
    y = run("conv2d_forward", {"x": x, "w": w, "b": b} | options, y=(2, *output, len(b)))
    expected = np.zeros_like(y) + b
    for i, j, u, v, row, column in places(output, kernel, options):
        if 0 <= row < size[0] and 0 <= column < size[1]:
            for o in range(groups * filters):
                first = o // filters * inputs
                pixel = x[:, row, column, first : first + inputs]
                expected[:, i, j, o] += pixel @ w[u, v, :, o]
    assert_array_equal(y, expected)


@many_geometries
@given(windows(dilated=False, padding_below_window=True))
def test_pooling_is_its_formula(window):
    size, pool, output, options = window
    x = integers(2, *size, 3)
    window = {"pool_size": pool, **options}
    shape = (2, *output, 3)
    pooled = run("max_pool2d_forward", {"x": x} | window, y=shape, argmax=shape)
    average = run("average_pool2d_forward", {"x": x} | window, y=shape)
    candidates = {}
    for i, j, u, v, row, column in places(output, pool, options):
        if 0 <= row < size[0] and 0 <= column < size[1]:
            pixel = (x[:, row, column], np.full((2, 3), u * pool[1] + v))
            candidates.setdefault((i, j), []).append(pixel)
    for (i, j), pixels in candidates.items():
        values, numbers = (np.stack(parts) for parts in zip(*pixels, strict=True))
        first = values.argmax(0)[None]
        assert_array_equal(pooled["y"][:, i, j], values.max(0))
        assert_array_equal(pooled["argmax"][:, i, j], np.take_along_axis(numbers, first, 0)[0])
        assert_allclose(average[:, i, j], values.mean(0), atol=1e-14)


# Adjoints ---------------------------------------------------------------------------------------


@many_geometries
@given(windows(), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))
def test_adjoint_of_convolution(window, groups, inputs, filters):
    """⟨conv(x, w), dy⟩ = ⟨x, dx⟩ = ⟨w, dw⟩, exactly: the numbers are integers."""
    size, kernel, output, options = window
    x, w = integers(2, *size, groups * inputs), integers(*kernel, inputs, groups * filters)
    dy = integers(2, *output, groups * filters, seed=1)
    arguments = {"x": x, "w": w, "b": None, "dy": dy} | options | {"groups": groups}
    assert_adjoint("conv2d", arguments)


@many_geometries
@given(windows(), st.integers(1, 3), st.integers(1, 3))
def test_adjoint_of_depthwise_convolution(window, channels, multiplier):
    size, kernel, output, options = window
    x, w = integers(2, *size, channels), integers(*kernel, channels, multiplier)
    dy = integers(2, *output, channels * multiplier, seed=1)
    assert_adjoint("depthwise_conv2d", {"x": x, "w": w, "b": None, "dy": dy} | options)


def assert_adjoint(name, arguments):
    x, w, dy = (arguments[key] for key in ("x", "w", "dy"))
    y = run(f"{name}_forward", arguments, y=dy.shape)
    dx = run(f"{name}_backward_input", arguments, dx=x.shape)
    params = run(f"{name}_backward_params", arguments, dw=w.shape, db=dy.shape[-1:])
    assert (y * dy).sum() == (x * dx).sum() == (w * params["dw"]).sum()
    assert_array_equal(params["db"], dy.sum((0, 1, 2)))


@many_geometries
@given(windows(), st.integers(1, 3))
def test_adjoint_of_im2col(window, channels):
    size, kernel, output, options = window
    x = integers(2, *size, channels)
    columns = integers(2, *output, kernel[0] * kernel[1] * channels, seed=1)
    window = {"kernel_size": kernel} | options
    forward = run("im2col", {"x": x} | window, columns=columns.shape)
    backward = run("col2im", {"columns": columns} | window, x=x.shape)
    assert (forward * columns).sum() == (x * backward).sum()


@many_geometries
@given(windows(dilated=False, padding_below_window=True))
def test_adjoint_of_pooling(window):
    size, pool, output, options = window
    x, dy = integers(2, *size, 3), integers(2, *output, 3, seed=1)
    arguments = {"x": x, "dy": dy, "pool_size": pool} | options
    pooled = run("max_pool2d_forward", arguments, y=dy.shape, argmax=dy.shape)
    dx = run("max_pool2d_backward", arguments | {"argmax": pooled["argmax"]}, dx=x.shape)
    assert (pooled["y"] * dy).sum() == (x * dx).sum()
    average = run("average_pool2d_forward", arguments, y=dy.shape)
    dx = run("average_pool2d_backward", arguments, dx=x.shape)
    assert_allclose((average * dy).sum(), (x * dx).sum(), atol=1e-10)


# Finite differences -----------------------------------------------------------------------------

CONVOLUTION = {"strides": (2, 1), "padding": ((1, 0), (0, 2)), "dilation": (1, 2), "groups": 1}
POOL = {"pool_size": (3, 2), "strides": (2, 1), "padding": ((1, 0), (0, 1))}
ROWS, CLASSES = 3, 4


def _convolution(name, w, filters, groups=1):
    """Return (inputs, forward, backward) of a convolution, dense or depthwise."""
    x = normal(2, 5, 6, 4)
    output = shapes.window_geometry(x.shape[1:3], w[:2], *list(CONVOLUTION.values())[:3])
    y, options = (2, *output.output_size, filters), CONVOLUTION | {"groups": groups}

    def forward(x, w, b):
        return run(f"{name}_forward", {"x": x, "w": w, "b": b} | options, y=y)

    def backward(x, w, b, dy):
        arguments = {"x": x, "w": w, "dy": dy} | options
        params = run(f"{name}_backward_params", arguments, dw=w.shape, db=b.shape)
        dx = run(f"{name}_backward_input", arguments, dx=x.shape)
        return {"x": dx, "w": params["dw"], "b": params["db"]}

    return {"x": x, "w": normal(*w), "b": normal(filters)}, forward, backward


def _fused():
    options = {"pool_size": (2, 2), "groups": 2, "padding": ((1, 0), (0, 1))}
    x, w, y = normal(2, 6, 7, 4), normal(3, 3, 2, 6), (2, 2, 3, 6)

    def forward(x, w, b):
        arguments = {"x": x, "w": w, "b": b} | options
        return run("conv2d_relu_max_pool2d_forward", arguments, y=y, code=y)["y"]

    def backward(x, w, b, dy):
        arguments = {"x": x, "w": w, "b": b, "dy": dy} | options
        saved = run("conv2d_relu_max_pool2d_forward", arguments, y=y, code=y)
        arguments |= {"code": saved["code"]}
        name = "conv2d_relu_max_pool2d_backward"
        params = run(f"{name}_params", arguments, dw=w.shape, db=b.shape)
        return {
            "x": run(f"{name}_input", arguments, dx=x.shape),
            "w": params["dw"],
            "b": params["db"],
        }

    return {"x": x, "w": w, "b": normal(6)}, forward, backward


def _dense():
    def forward(x, w, b):
        return run("dense_forward", {"x": x, "w": w, "b": b}, y=(3, 5))

    def backward(x, w, b, dy):
        arguments = {"x": x, "w": w, "dy": dy}
        params = run("dense_backward_params", arguments, dw=w.shape, db=b.shape)
        dx = run("dense_backward_input", arguments, dx=x.shape)
        return {"x": dx, "w": params["dw"], "b": params["db"]}

    return {"x": normal(3, 4), "w": normal(4, 5), "b": normal(5)}, forward, backward


def _max_pool():
    x = normal(2, 6, 5, 3)
    y = pooled_shape(x.shape, **POOL)

    def forward(x):
        return run("max_pool2d_forward", {"x": x} | POOL, y=y, argmax=y)["y"]

    def backward(x, dy):
        argmax = run("max_pool2d_forward", {"x": x} | POOL, y=y, argmax=y)["argmax"]
        arguments = {"dy": dy, "argmax": argmax} | POOL
        return {"x": run("max_pool2d_backward", arguments, dx=x.shape)}

    return {"x": x}, forward, backward


def _from_input(name, x, y, **options):
    """A layer without weights, whose backward needs its input at most."""

    def forward(x):
        return run(f"{name}_forward", {"x": x} | options, y=y)

    def backward(x, dy):
        return {"x": run(f"{name}_backward", {"x": x, "dy": dy} | options, dx=x.shape)}

    return {"x": x}, forward, backward


def _from_output(name, x):
    """An activation whose backward needs its output."""

    def forward(x):
        return run(f"{name}_forward", {"x": x}, y=x.shape)

    def backward(x, dy):
        return {"x": run(f"{name}_backward", {"y": forward(x), "dy": dy}, dx=x.shape)}

    return {"x": x}, forward, backward


def _dropout():
    def forward(x):
        return run("dropout", {"x": x, "rate": 0.4, "seed": 5}, y=x.shape)

    return {"x": normal(40)}, forward, lambda x, dy: {"x": forward(dy)}


def _batch_norm():
    def forward(x, gamma, beta):
        statistics = run("batch_norm_statistics", {"x": x}, mean=3, variance=3)
        arguments = {"x": x, "gamma": gamma, "beta": beta, "epsilon": 0.01} | statistics
        return run("batch_norm_forward", arguments, y=x.shape)

    def backward(x, gamma, beta, dy):
        statistics = run("batch_norm_statistics", {"x": x}, mean=3, variance=3)
        arguments = {"x": x, "gamma": gamma, "dy": dy, "epsilon": 0.01} | statistics
        outputs = run("batch_norm_backward", arguments, dx=x.shape, dgamma=3, dbeta=3)
        return {"x": outputs["dx"], "gamma": outputs["dgamma"], "beta": outputs["dbeta"]}

    return {"x": normal(7, 3), "gamma": normal(3), "beta": normal(3, seed=1)}, forward, backward


def _loss(name, first, values, target):
    """A loss, whose backward takes one ``scale`` for all rows instead of dy."""

    def forward(**inputs):
        arguments, outputs = {first: inputs["x"], "target": target}, {"losses": ROWS}
        if name == "softmax_cross_entropy":
            outputs["probabilities"] = inputs["x"].shape
            return run(f"{name}_forward", arguments, **outputs)["losses"]
        return run(f"{name}_forward", arguments, **outputs)

    def backward(x, dy):
        arguments = {first: x, "target": target, "scale": dy[0]}
        if name == "softmax_cross_entropy":
            saved = run(f"{name}_forward", arguments, losses=ROWS, probabilities=x.shape)
            arguments |= {"probabilities": saved["probabilities"]}
        return {"x": run(f"{name}_backward", arguments, **{f"d{first}": x.shape})}

    return {"x": values}, forward, backward


LOGITS = normal(ROWS, CLASSES)
TARGET = np.abs(normal(ROWS, CLASSES, seed=1))
PROBABILITIES = 1 / (1 + np.exp(-LOGITS))
RELU_ALL = {"max_value": 1.0, "negative_slope": 0.25, "threshold": -0.5}

DIFFERENTIABLE = {
    "conv2d": _convolution("conv2d", (3, 2, 4, 6), 6),
    "conv2d in groups": _convolution("conv2d", (3, 2, 2, 6), 6, groups=2),
    "depthwise_conv2d": _convolution("depthwise_conv2d", (3, 2, 4, 2), 8),
    "conv2d_relu_max_pool2d": _fused(),
    "dense": _dense(),
    "max_pool2d": _max_pool(),
    "average_pool2d": _from_input(
        "average_pool2d", normal(2, 6, 5, 3), pooled_shape((2, 6, 5, 3), **POOL), **POOL
    ),
    "pad2d": _from_input("pad2d", normal(2, 3, 2, 2), (2, 4, 4, 2), padding=((0, 1), (2, 0))),
    "relu": _from_input("relu", normal(50), 50, **RELU_ALL),
    "sigmoid": _from_output("sigmoid", normal(20)),
    "tanh": _from_output("tanh", normal(20)),
    "softmax": _from_output("softmax", LOGITS),
    "dropout": _dropout(),
    "batch_norm": _batch_norm(),
    "softmax_cross_entropy": _loss("softmax_cross_entropy", "x", LOGITS, TARGET),
    "categorical_cross_entropy": _loss("categorical_cross_entropy", "p", PROBABILITIES, TARGET),
    "sigmoid_cross_entropy": _loss("sigmoid_cross_entropy", "x", LOGITS, TARGET),
    "binary_cross_entropy": _loss("binary_cross_entropy", "p", PROBABILITIES, TARGET),
    "mean_squared_error": _loss("mean_squared_error", "x", LOGITS, TARGET),
}


def test_every_backward_is_differentiated():
    backward = {name.split("_backward")[0] for name in reference.__all__ if "_backward" in name}
    assert backward <= set(DIFFERENTIABLE)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_finite_differences(name):
    """Each gradient is the slope of ``Σ y·dy``, measured with steps of 1e-5 to both sides.

    Their error is of the order of step² = 1e-10, and rounding adds 1e-16 / step = 1e-11.
    """
    inputs, forward, backward = DIFFERENTIABLE[name]
    y = forward(**inputs)
    dy = np.full(y.shape, 0.7) if name.endswith(("entropy", "error")) else normal(*y.shape, seed=9)
    gradients = backward(**inputs, dy=dy)
    assert set(gradients) == set(inputs)
    step = 1e-5
    for which, gradient in gradients.items():
        measured = np.empty_like(gradient)
        for place in np.ndindex(gradient.shape):
            sums = []
            for change in (step, -step):
                moved = inputs[which].copy()
                moved[place] += change
                sums.append((forward(**inputs | {which: moved}) * dy).sum())
            measured[place] = (sums[0] - sums[1]) / (2 * step)
        assert_allclose(gradient, measured, rtol=1e-7, atol=1e-8, err_msg=which)


# Other libraries --------------------------------------------------------------------------------


def test_convolution_agrees_with_scipy():
    signal = pytest.importorskip("scipy.signal", reason="SciPy is not installed")
    x, w = normal(1, 9, 8, 1), normal(3, 4, 1, 1)
    y = run("conv2d_forward", {"x": x, "w": w, "b": None}, y=(1, 7, 5, 1))
    expected = signal.correlate2d(x[0, :, :, 0], w[:, :, 0, 0], mode="valid")
    assert_allclose(y[0, :, :, 0], expected, atol=1e-13)


def test_softmax_agrees_with_scipy():
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")
    x = 100 * normal(20, 7)
    expected = special.softmax(x, axis=1)
    assert_allclose(run("softmax_forward", {"x": x}, y=x.shape), expected, rtol=1e-13)


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_and_gradients_agree_with_torch(groups):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, w, b = normal(2, 9, 8, 4), normal(3, 2, 4 // groups, 6), normal(6)
    options = {"strides": (2, 3), "padding": ((1, 1), (2, 2)), "dilation": (2, 1), "groups": groups}
    size = shapes.window_geometry((9, 8), (3, 2), *list(options.values())[:3]).output_size
    dy = normal(2, *size, 6, seed=1)
    tensors = [
        torch.tensor(array).requires_grad_()
        for array in (x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), b)
    ]
    their_y = torch.nn.functional.conv2d(
        *tensors, stride=(2, 3), padding=(1, 2), dilation=(2, 1), groups=groups
    )
    their_y.backward(torch.tensor(dy.transpose(0, 3, 1, 2)))
    arguments = {"x": x, "w": w, "b": b, "dy": dy} | options
    params = run("conv2d_backward_params", arguments, dw=w.shape, db=b.shape)
    ours = (
        run("conv2d_forward", arguments, y=dy.shape).transpose(0, 3, 1, 2),
        run("conv2d_backward_input", arguments, dx=x.shape).transpose(0, 3, 1, 2),
        params["dw"].transpose(3, 2, 0, 1),
        params["db"],
    )
    theirs = (their_y.detach(), *(tensor.grad for tensor in tensors))
    for our, their in zip(ours, theirs, strict=True):
        assert_allclose(our, their.numpy(), atol=1e-12)
