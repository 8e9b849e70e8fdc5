"""`convlib.functional`: any array in, the same dtype out, and errors in the caller's terms."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from convlib import functional as F

thorough = settings(derandomize=True, deadline=None, max_examples=40)


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


WINDOW = {"strides": (2, 1), "padding": ((1, 0), (0, 1)), "dilation": (1, 2)}
IMAGES = normal(3, 6, 7, 4)
CONVOLVED, DEPTHWISE, POOLED = normal(3, 3, 6, 6), normal(3, 3, 6, 8), normal(3, 3, 7, 4)
POOL = {"pool_size": (3, 2), "strides": (2, 1), "padding": ((1, 0), (0, 1))}
LOGITS, TARGET = normal(5, 4), np.abs(normal(5, 4, seed=1))

# One call of each function: (arrays, options).
CALLS = {
    "conv2d": ({"x": IMAGES, "w": normal(3, 2, 2, 6), "b": normal(6)}, {"groups": 2} | WINDOW),
    "conv2d_input_gradient": (
        {"x": IMAGES, "w": normal(3, 2, 2, 6), "dy": CONVOLVED},
        {"groups": 2} | WINDOW,
    ),
    "conv2d_kernel_gradient": (
        {"x": IMAGES, "w": normal(3, 2, 2, 6), "dy": CONVOLVED},
        {"groups": 2} | WINDOW,
    ),
    "depthwise_conv2d": ({"x": IMAGES, "w": normal(3, 2, 4, 2), "b": normal(8)}, WINDOW),
    "depthwise_conv2d_input_gradient": (
        {"x": IMAGES, "w": normal(3, 2, 4, 2), "dy": DEPTHWISE},
        WINDOW,
    ),
    "depthwise_conv2d_kernel_gradient": (
        {"x": IMAGES, "w": normal(3, 2, 4, 2), "dy": DEPTHWISE},
        WINDOW,
    ),
    "im2col": ({"x": IMAGES}, {"kernel_size": (3, 2)} | WINDOW),
    "col2im": (
        {"columns": normal(3, 3, 6, 24)},
        {"input_size": (6, 7), "kernel_size": (3, 2)} | WINDOW,
    ),
    "max_pool2d": ({"x": IMAGES}, POOL),
    "max_pool2d_gradient": ({"x": IMAGES, "dy": POOLED}, POOL),
    "average_pool2d": ({"x": IMAGES}, POOL),
    "average_pool2d_gradient": ({"x": IMAGES, "dy": POOLED}, POOL),
    "dense": ({"x": normal(5, 3), "w": normal(3, 4), "b": normal(4)}, {}),
    "dense_input_gradient": ({"x": normal(5, 3), "w": normal(3, 4), "dy": LOGITS}, {}),
    "dense_kernel_gradient": ({"x": normal(5, 3), "w": normal(3, 4), "dy": LOGITS}, {}),
    "relu": ({"x": IMAGES}, {"max_value": 1, "negative_slope": 0.25, "threshold": 0.5}),
    "relu_gradient": (
        {"x": IMAGES, "dy": normal(3, 6, 7, 4, seed=1)},
        {"max_value": 1, "negative_slope": 0.25, "threshold": 0.5},
    ),
    "softmax": ({"x": normal(3, 5, 4)}, {}),
    "softmax_cross_entropy": ({"x": LOGITS, "target": TARGET}, {}),
    "softmax_cross_entropy_gradient": ({"x": LOGITS, "target": TARGET}, {"scale": 0.5}),
    "convolve2d": ({"image": normal(6, 7, 3), "kernel": normal(3, 4)}, {"border": "reflect"}),
    "correlate2d": ({"image": normal(6, 7), "kernel": normal(2, 3)}, {"border": "edge"}),
}

each_function = pytest.mark.parametrize("name", CALLS)
DTYPES = ["float16", "float32", "float64", "longdouble", ">f4", ">f8"]


def results(name, arrays=None, **options):
    """Call a function as `CALLS` says and return its results as a list."""
    default_arrays, default_options = CALLS[name]
    result = getattr(F, name)(**(arrays or default_arrays), **default_options | options)
    return list(result) if isinstance(result, tuple) else [result]


def converted(arrays, dtype):
    return {name: array.astype(dtype) for name, array in arrays.items()}


def test_every_function_is_called():
    assert set(CALLS) == set(F.__all__)


# Arrays in, arrays out ---------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("dtype", DTYPES)
@each_function
def test_dtype_in_is_dtype_out(name, dtype, backend):
    arrays = converted(CALLS[name][0], dtype)
    got = results(name, arrays, backend=backend)
    exact = results(name, converted(arrays, "float64"), backend="reference")
    # The result is rounded once to float16; no sum here has more than 200 terms of size 10.
    precision = max(np.finfo(dtype).eps, np.finfo(float).eps)
    for array, expected in zip(got, exact, strict=True):
        assert array.dtype == np.dtype(dtype)
        tolerance = {"rtol": precision, "atol": 200 * 10 * min(precision, 1e-7)}
        assert_allclose(array.astype(float), expected, **tolerance)


def _layouts(array):
    """Yield ways to lay out the same numbers in memory."""
    yield "Fortran order", np.asfortranarray(array)
    yield "negative strides", array[::-1].copy()[::-1]
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., 1::2] = array
    yield "every second element", wide[..., 1::2]
    yield "transposed", np.moveaxis(np.moveaxis(array, -1, 0).copy(), 0, -1)
    frozen = array.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    odd = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    odd[...] = array
    yield "not aligned", odd
    yield "list", array.astype(float).tolist()


LAYOUTS = [name for name, _ in _layouts(np.zeros((2, 2)))]


@thorough
@given(st.data())
@each_function
def test_any_memory_layout(name, data):
    arrays = CALLS[name][0]
    laid_out = {
        key: dict(_layouts(array))[data.draw(st.sampled_from(LAYOUTS), label=key)]
        for key, array in arrays.items()
    }
    before = {key: np.array(array) for key, array in laid_out.items()}
    got = results(name, laid_out)
    for array, expected in zip(got, results(name), strict=True):
        assert_array_equal(array, expected)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        for given_array in laid_out.values():
            assert not np.shares_memory(array, np.asarray(given_array))
    for key, array in laid_out.items():
        assert_array_equal(array, before[key])


@each_function
def test_broadcast_arrays(name):
    flat = {
        key: np.broadcast_to(array.flat[0], array.shape) for key, array in CALLS[name][0].items()
    }
    copied = {key: array.copy() for key, array in flat.items()}
    for array, expected in zip(results(name, flat), results(name, copied), strict=True):
        assert_array_equal(array, expected)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@each_function
def test_empty_batch(name, backend):
    """No samples give no samples, and gradients of zero for the parameters."""
    if name in ("convolve2d", "correlate2d"):
        with pytest.raises(ValueError, match="none of them 0"):
            results(name, {"image": np.zeros((0, 3)), "kernel": np.ones((1, 1))})
        return
    arrays = {key: array if key in "wb" else array[:0] for key, array in CALLS[name][0].items()}
    full, empty = results(name), results(name, arrays, backend=backend)
    for array, expected in zip(empty, full, strict=True):
        if name.endswith("kernel_gradient"):
            assert_array_equal(array, np.zeros_like(expected))
        else:
            assert array.shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("name", ["conv2d", "depthwise_conv2d", "dense"])
@pytest.mark.parametrize("samples", [0, 3])
def test_bias_is_optional(name, samples):
    arrays = {key: array for key, array in CALLS[name][0].items() if key != "b"}
    arrays["x"] = arrays["x"][:samples]
    zero = arrays | {"b": np.zeros_like(CALLS[name][0]["b"])}
    assert_array_equal(results(name, arrays)[0], results(name, zero)[0])


def test_softmax_and_relu_of_single_numbers_and_vectors():
    assert F.relu(np.float32(-3)) == 0
    assert F.relu(np.float32(-3)).dtype == np.float32
    assert F.relu(np.float64(2)).shape == ()
    assert_allclose(F.softmax([0.0, 0.0]), [0.5, 0.5])


def test_several_threads_at_once():
    """Work memory is not shared between calls."""
    inputs = [
        {"x": normal(4, 9, 9, 8, seed=n), "w": normal(3, 3, 8, 16, seed=n)} for n in range(16)
    ]

    def work(arrays):
        y = F.conv2d(**arrays)
        return F.conv2d_kernel_gradient(**arrays, dy=y)[0]

    one_by_one = [work(arrays) for arrays in inputs]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(work, inputs), one_by_one, strict=True):
            assert_array_equal(got, expected)


# What functions mean -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conv2d", "depthwise_conv2d"])
def test_gradients_are_adjoint(name):
    """⟨conv(x, w), dy⟩ = ⟨x, dx⟩ = ⟨w, dw⟩."""
    arrays, options = CALLS[name]
    x, w, b = arrays.values()
    y = getattr(F, name)(x, w, **options)
    dy = normal(*y.shape)
    dx = getattr(F, f"{name}_input_gradient")(x, w, dy, **options)
    dw, db = getattr(F, f"{name}_kernel_gradient")(x, w, dy, **options)
    assert_allclose([(x * dx).sum(), (w * dw).sum()], (y * dy).sum())
    assert_allclose((b * db).sum(), ((getattr(F, name)(x, w, b, **options) - y) * dy).sum())


def test_dense_gradients_are_adjoint():
    x, w, dy = normal(5, 3), normal(3, 4), normal(5, 4)
    dx, (dw, db) = F.dense_input_gradient(x, w, dy), F.dense_kernel_gradient(x, w, dy)
    assert_allclose([(x * dx).sum(), (w * dw).sum()], (F.dense(x, w) * dy).sum())
    assert_allclose(db, dy.sum(0))


@pytest.mark.parametrize("name", ["max_pool2d", "average_pool2d"])
def test_pooling_gradients_are_adjoint(name):
    x, dy = normal(3, 6, 7, 4), normal(3, 3, 7, 4)
    y, dx = getattr(F, name)(x, **POOL), getattr(F, f"{name}_gradient")(x, dy, **POOL)
    assert_allclose((y * dy).sum(), (x * dx).sum())


def test_pooling_defaults_to_halving():
    x = normal(1, 5, 6, 2)
    assert F.max_pool2d(x).shape == F.average_pool2d(x).shape == (1, 2, 3, 2)
    assert_array_equal(F.max_pool2d(x), F.max_pool2d(x, (2, 2), strides=(2, 2), padding=0))
    assert F.max_pool2d(x, 3, strides=1, padding="same").shape == x.shape
    assert F.max_pool2d(normal(1, 20, 20, 1), 18).shape == (1, 1, 1, 1)


def test_window_of_more_than_256_pixels_keeps_its_winner():
    x = np.zeros((1, 18, 18, 1))
    x[0, 17, 16] = 1
    dx = F.max_pool2d_gradient(x, np.ones((1, 1, 1, 1)), 18)
    assert_array_equal(dx, x)


@pytest.mark.parametrize(
    ("padding", "same_as"),
    [("valid", 0), ("same", 1), (1, (1, 1)), ((1, 0), ((1, 1), (0, 0))), ("VALID", "valid")],
)
def test_spellings_of_padding(padding, same_as):
    x, w = normal(2, 6, 5, 3), normal(3, 3, 3, 2)
    got, expected = (F.conv2d(x, w, padding=p) for p in (padding, same_as))
    assert_array_equal(got, expected)


def test_im2col_makes_convolution_a_product():
    x, w = normal(2, 6, 5, 3), normal(3, 2, 3, 4)
    product = F.im2col(x, (3, 2), padding="same") @ w.reshape(-1, 4)
    assert_allclose(product, F.conv2d(x, w, padding="same"), atol=1e-13)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_labels_are_one_hot_targets(dtype):
    labels, one_hot = np.array([3, 0, 1, 1, 2], dtype), np.eye(4)[[3, 0, 1, 1, 2]]
    for function in (F.softmax_cross_entropy, F.softmax_cross_entropy_gradient):
        assert_array_equal(function(LOGITS, labels), function(LOGITS, one_hot))
    expected = -np.log(F.softmax(LOGITS)[np.arange(5), labels])
    assert_allclose(F.softmax_cross_entropy(LOGITS, labels), expected)
    gradient = F.softmax_cross_entropy_gradient(LOGITS, labels, scale=2)
    assert_allclose(gradient, 2 * (F.softmax(LOGITS) - one_hot), atol=1e-15)


@pytest.mark.parametrize("mode", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 3), (4, 2), (1, 4), (5, 6)])
def test_images_as_scipy_filters_them(mode, kernel):
    signal = pytest.importorskip("scipy.signal", reason="SciPy is not installed")
    image, kernel = normal(6, 8), normal(*kernel)
    for name in ("convolve2d", "correlate2d"):
        expected = getattr(signal, name)(image, kernel, mode)
        assert_allclose(getattr(F, name)(image, kernel, mode=mode), expected, atol=1e-13)


@pytest.mark.parametrize(("border", "theirs"), [("edge", "nearest"), ("reflect", "mirror")])
@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_borders_as_scipy_extends_them(name, border, theirs):
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is not installed")
    image, kernel = normal(6, 8), normal(3, 5)
    expected = getattr(ndimage, name)(image, kernel, mode=theirs)
    assert_allclose(getattr(F, f"{name}2d")(image, kernel, border=border), expected, atol=1e-13)


@pytest.mark.parametrize("border", ["zero", "edge", "reflect"])
@pytest.mark.parametrize("name", ["convolve2d", "correlate2d"])
def test_colours_are_filtered_one_by_one(name, border):
    image, kernel = normal(6, 8, 3), normal(3, 4)
    function = getattr(F, name)
    colours = [function(image[:, :, c], kernel, border=border) for c in range(3)]
    assert_array_equal(function(image, kernel, border=border), np.stack(colours, -1))


def test_convolution_of_a_point_is_the_kernel():
    point, kernel = np.zeros((7, 7)), normal(3, 3)
    point[3, 3] = 1
    assert_array_equal(F.convolve2d(point, kernel)[2:5, 2:5], kernel)
    assert_array_equal(F.correlate2d(point, kernel)[2:5, 2:5], kernel[::-1, ::-1])


def test_correlation_is_what_a_layer_computes():
    image, kernel = normal(7, 6), normal(4, 3)
    layer = F.conv2d(image[None, :, :, None], kernel[:, :, None, None], padding="same")
    assert_allclose(F.correlate2d(image, kernel), layer[0, :, :, 0], atol=1e-14)


def test_kernel_larger_than_the_image():
    image, kernel = normal(2, 2), np.ones((5, 5))
    assert_allclose(F.convolve2d(image, kernel), np.full((2, 2), image.sum()))
    with pytest.raises(ValueError, match="5×5 pixels, more than the 2×2"):
        F.convolve2d(image, kernel, mode="valid")


# Errors ------------------------------------------------------------------------------------------


@each_function
@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        ("uint8", r"got uint8; convert it first: {name}\.astype\('float32'\) / 255$"),
        ("int64", r"got int64; convert it first: {name}\.astype\('float32'\)$"),
        ("bool", r"got bool; convert it first"),
        ("complex128", r"{name} must hold floating-point numbers, got complex128$"),
        ("object", r"{name} must hold floating-point numbers, got object$"),
        ("U3", r"{name} must hold floating-point numbers, got <U3$"),
    ],
)
def test_other_dtypes_are_refused(name, dtype, advice):
    arrays = CALLS[name][0]
    for wrong in arrays:
        with pytest.raises(TypeError, match=advice.format(name=wrong)):
            results(name, arrays | {wrong: arrays[wrong].astype(dtype)})


def test_only_the_bias_may_be_left_out():
    with pytest.raises(TypeError, match="x must hold floating-point numbers, got object"):
        F.conv2d(None, np.ones((1, 1, 1, 1)))


@each_function
def test_mixed_dtypes_are_refused(name):
    arrays = CALLS[name][0]
    first, *others = arrays
    for other in others:
        message = rf"but {first} is float64 and {other} is float32; convert one: {other}\.astype"
        with pytest.raises(TypeError, match=message):
            results(name, arrays | {other: arrays[other].astype("float32")})


@each_function
def test_unknown_backend(name):
    with pytest.raises(ValueError, match="backend must be one of .*'reference'.*, got 'gpu9'"):
        results(name, backend="gpu9")


X, KERNEL = np.zeros((2, 6, 5, 4)), np.zeros((3, 2, 4, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: F.conv2d(X[0], KERNEL),
            r"x must have shape \(samples, .*\), got \(6, 5, 4\).*x\[N",
        ),
        (lambda: F.conv2d(X, KERNEL[0]), r"w must have shape \(kernel height, .*got \(2, 4, 6\)$"),
        (lambda: F.conv2d(X[..., :3], KERNEL), r"w must have 3 channels .* x with 3 channels"),
        (
            lambda: F.conv2d(X, KERNEL[:, :, :2], groups=3),
            r"divides the 4 channels .*6 filt.*got 3",
        ),
        (lambda: F.conv2d(X, KERNEL, groups=0), r"groups must be .*, got 0"),
        (lambda: F.conv2d(X, KERNEL, groups=1.5), r"groups must be an integer .*, got 1\.5"),
        (lambda: F.conv2d(X, KERNEL, groups=(1, 1)), r"groups must be an integer .*\(1, 1\)"),
        (lambda: F.conv2d(X, KERNEL, groups=2), r"w must have 2 channels .*groups=2"),
        (lambda: F.conv2d(X, KERNEL, np.zeros(5)), r"b must have shape \(6,\), one .* got \(5,\)"),
        (lambda: F.conv2d(X, KERNEL, strides=0), r"strides must be at least 1 .* got 0"),
        (lambda: F.conv2d(X, KERNEL, strides=(1, 2, 3)), r"strides must be .* got \(1, 2, 3\)"),
        (lambda: F.conv2d(X, KERNEL, dilation=0), r"dilation must be at least 1 .* got 0"),
        (lambda: F.conv2d(X, KERNEL, dilation=3), r"kernel covers 7×4 pixels, more than the 6×5"),
        (lambda: F.conv2d(X, KERNEL, padding="full"), r"padding must be 'valid', .* got 'full'"),
        (lambda: F.conv2d(X, KERNEL, padding=-1), r"padding must be at least 0 .* got -1"),
        (lambda: F.conv2d(X[:, :, :0], KERNEL), r"x must not be empty .* got \(2, 6, 0, 4\)"),
        (lambda: F.conv2d(X, KERNEL[..., :0]), r"w must not be empty"),
        (
            lambda: F.conv2d_input_gradient(X, KERNEL, np.zeros((2, 4, 4, 5))),
            r"dy must have shape \(2, 4, 4, 6\), .* got \(2, 4, 4, 5\)",
        ),
        (
            lambda: F.conv2d_kernel_gradient(X, KERNEL, np.zeros((1, 4, 4, 6))),
            r"dy must have shape \(2, 4, 4, 6\), .* got \(1, 4, 4, 6\)",
        ),
        (lambda: F.depthwise_conv2d(X, KERNEL[:, :, :3]), r"as many channels .* w \(3, 2, 3, 6\)"),
        (lambda: F.depthwise_conv2d(X, KERNEL, np.zeros(6)), r"b must have shape \(24,\)"),
        (lambda: F.max_pool2d(X, 7), r"7×7 pixels, more than the 6×5"),
        (lambda: F.max_pool2d(X, 0), r"pool_size must be at least 1"),
        (lambda: F.max_pool2d(X, 2, strides=0), r"strides must be at least 1"),
        (lambda: F.max_pool2d(X, 2, padding=2), r"padding must be smaller than the 2×2 window"),
        (lambda: F.average_pool2d(X, 2, padding=((0, 0), (0, 2))), r"smaller than the 2×2 window"),
        (lambda: F.max_pool2d_gradient(X, X), r"dy must have shape \(2, 3, 2, 4\)"),
        (lambda: F.average_pool2d(X[0, 0]), r"x must have shape \(samples, .*, got \(5, 4\)$"),
        (lambda: F.im2col(X, 7), r"7×7 pixels, more than the 6×5"),
        (lambda: F.col2im(X, 9, 3), r"columns must have shape \(samples, 7, 7, a multiple of 9\)"),
        (
            lambda: F.col2im(np.zeros((2, 4, 4, 10)), 6, 3),
            r"a multiple of 9\), got \(2, 4, 4, 10\)",
        ),
        (lambda: F.dense(X, KERNEL), r"x must have shape \(samples, inputs\), got"),
        (lambda: F.dense(X[0, 0], KERNEL[0, 0, :3]), r"as many rows as x has columns"),
        (lambda: F.dense(X[0, 0], KERNEL[0, 0], np.zeros(4)), r"b must have shape \(6,\)"),
        (lambda: F.relu_gradient(X, X[0]), r"dy must have shape \(2, 6, 5, 4\), that of x"),
        (lambda: F.softmax(np.float64(1)), r"at least one class"),
        (lambda: F.softmax(np.zeros((3, 0))), r"at least one class"),
        (
            lambda: F.softmax_cross_entropy(LOGITS, TARGET[:, :3]),
            r"target must have shape \(5, 4\)",
        ),
        (lambda: F.softmax_cross_entropy(LOGITS, [1, 2]), r"one class for each row of x, got \(2"),
        (lambda: F.softmax_cross_entropy(LOGITS, [0, 1, 2, 3, 4]), r"from 0 to 3, got 4"),
        (lambda: F.softmax_cross_entropy(LOGITS, [0, 1, 2, 3, -1]), r"from 0 to 3, got -1"),
        (
            lambda: F.softmax_cross_entropy(LOGITS[0], [0]),
            r"x must have shape \(samples, classes\)",
        ),
        (lambda: F.convolve2d(X, KERNEL[..., 0, 0]), r"image must have shape \(height, width\) or"),
        (lambda: F.convolve2d(X[0], KERNEL), r"kernel must have shape \(kernel height, kernel w"),
        (lambda: F.convolve2d(X[0], KERNEL[..., 0, 0], mode="full"), r"mode must be .* got 'full'"),
        (
            lambda: F.correlate2d(X[0], KERNEL[..., 0, 0], border="wrap"),
            r"border must be .* 'wrap'",
        ),
    ],
)
def test_mistakes_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


counts = st.integers(0, 4)
sizes = st.one_of(counts, st.tuples(counts, counts))
paddings = st.one_of(
    st.sampled_from(["valid", "same", "full"]),
    st.integers(-1, 3),
    st.tuples(counts, counts),
    st.tuples(st.tuples(counts, counts), st.tuples(counts, counts)),
)


def both_backends(function, *arrays, **options):
    """Return the result of the reference, after comparing the fast one; None for a refusal."""
    try:
        expected = function(*arrays, **options, backend="reference")
    except ValueError as error:
        with pytest.raises(ValueError) as other:
            function(*arrays, **options, backend="cpu")
        assert str(other.value) == str(error)
        return None
    got = function(*arrays, **options, backend="cpu")
    for one, two in zip(np.atleast_1d(got), np.atleast_1d(expected), strict=True):
        assert_allclose(one, two, atol=1e-12)
    return expected


@settings(thorough, max_examples=150)
@given(
    st.tuples(counts, *[st.integers(0, 6)] * 2, counts),
    st.tuples(counts, counts, counts, counts),
    sizes,
    paddings,
    sizes,
    counts,
)
def test_any_convolution_is_computed_or_refused(x, w, strides, padding, dilation, groups):
    options = {"strides": strides, "padding": padding, "dilation": dilation}
    arrays = normal(*x), normal(*w)
    both_backends(F.depthwise_conv2d, *arrays, **options)
    y = both_backends(F.conv2d, *arrays, groups=groups, **options)
    if y is not None:
        assert len(y) == x[0]
        assert (
            both_backends(F.conv2d_input_gradient, *arrays, y, groups=groups, **options).shape == x
        )


@settings(thorough, max_examples=150)
@given(st.tuples(counts, *[st.integers(0, 6)] * 2, counts), sizes, st.none() | sizes, paddings)
def test_any_pooling_is_computed_or_refused(x, pool_size, strides, padding):
    options = {"pool_size": pool_size, "strides": strides, "padding": padding}
    images = np.round(normal(*x))
    for name in ("max_pool2d", "average_pool2d"):
        y = both_backends(getattr(F, name), images, **options)
        if y is not None:
            gradient = getattr(F, f"{name}_gradient")
            assert both_backends(gradient, images, y, **options).shape == x
