"""Winograd's convolution against the contract's direct one, within its own derived bound."""

from fractions import Fraction

import numba
import numpy as np
import pytest
from contract_cases import winograd_bound

from convlib.kernels import get_backend, reference
from convlib.kernels.cpu import winograd
from convlib.kernels.scratch import Scratch

get_backend("cpu")
DTYPES = (np.float32, np.float64)
NO_PADDING = ((0, 0), (0, 0))


def exact(matrix):
    return [[Fraction(entry).limit_denominator(100) for entry in row] for row in matrix]


def product(a, b):
    return [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)]
        for row in a
    ]


def unit(size, place):
    return [[Fraction(i == place)] for i in range(size)]


@pytest.mark.parametrize("m", [2, 4])
def test_the_matrices_give_the_correlation_exactly(m):
    """In one dimension, for each pair of unit vectors: both sides are linear in either."""
    to_output, from_kernel, from_input = (
        exact(matrices[m]) for matrices in (winograd.OUTPUT, winograd.KERNEL, winograd.INPUT)
    )
    for tap in range(3):
        for pixel in range(m + 2):
            g = product(from_kernel, unit(3, tap))
            d = product(from_input, unit(m + 2, pixel))
            y = product(to_output, [[a * b] for (a,), (b,) in zip(g, d, strict=True)])
            assert y == [[Fraction(pixel == i + tap)] for i in range(m)]


def random(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def pooled(backend_function, x, w, b, padding=NO_PADDING):
    """Return y and code of convolution, ReLU and 2×2 maximum."""
    height, width = (
        (size + sum(pad) - 2) // 2 for size, pad in zip(x.shape[1:3], padding, strict=True)
    )
    y = np.full((len(x), height, width, w.shape[3]), np.nan, x.dtype)
    code = np.full(y.shape, 77, np.uint8)
    backend_function(x, w, b, y, code, padding)
    return y, code


def fast(x, w, b, y, code, padding):
    assert winograd.conv2d_relu_max_pool2d_forward(x, w, b, y, code, padding, Scratch())


def through_the_backend(x, w, b, y, code, padding):
    get_backend("cpu").conv2d_relu_max_pool2d_forward(
        x, w, b, y, code, (2, 2), (1, 1), padding, (1, 1), 1, Scratch()
    )


@pytest.fixture
def winograd_first(monkeypatch):
    """Let the backend try this way first, whatever the shapes."""
    monkeypatch.setattr(winograd, "wins_before_pooling", lambda *_: True)


def by_definition(x, w, b, y, code, padding):
    reference.conv2d_relu_max_pool2d_forward(
        x, w, b, y, code, (2, 2), (1, 1), padding, (1, 1), 1, None
    )


def wide(*arrays):
    return [None if array is None else array.astype(float) for array in arrays]


def before_pooling(x, w, b, size, padding, function=reference.conv2d_forward):
    y = np.empty((len(x), *size, w.shape[3]))
    function(x, w, b, y, (1, 1), padding, (1, 1), 1, None)
    return y


def in_windows(convolved):
    """Return (n, height, width, filters, 4): the four places of each pooling window."""
    n, height, width, filters = convolved.shape
    windows = convolved.reshape(n, height // 2, 2, width // 2, 2, filters)
    return windows.transpose(0, 1, 3, 5, 2, 4).reshape(n, height // 2, width // 2, filters, 4)


def assert_pooled_within_bound(x, w, b, padding=NO_PADDING):
    y, code = pooled(fast, x, w, b, padding)
    size = (2 * y.shape[1], 2 * y.shape[2])
    wide_x, wide_w, wide_b = wide(x, w, b)
    field = np.pad(wide_x, ((0, 0), *((pad[0], pad[1] + 2) for pad in padding), (0, 0)))
    field = field[:, : size[0] + 2, : size[1] + 2]
    windows = in_windows(before_pooling(field, wide_w, wide_b, size, NO_PADDING))
    bound = winograd_bound(wide_x, wide_w, wide_b, padding, size, 2) * np.finfo(x.dtype).eps
    bounds = in_windows(bound)
    assert (np.abs(y - np.maximum(windows.max(-1), 0)) <= bounds.max(-1)).all()
    # The code names a place whose value is the maximum within the bound, or a maximum that may be
    # nothing above zero.
    places = np.where(code == winograd.CLIPPED, 0, code)[..., None].astype(int)
    named = np.take_along_axis(windows, places, -1)[..., 0]
    margin = 2 * bounds.max(-1)
    assert set(np.unique(code)) <= {0, 1, 2, 3, winograd.CLIPPED}
    is_clipped = code == winograd.CLIPPED
    assert (y[is_clipped] == 0).all() and (y[~is_clipped] > 0).all()
    assert (np.where(is_clipped, windows.max(-1), 0) <= margin).all()
    assert (np.where(is_clipped, 0, windows.max(-1) - named) <= margin).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (8, 4), (9, 6), (13, 13)])
def test_pooled_outputs_are_within_the_bound(size, dtype):
    x = random(5, *size, 32, dtype=dtype)
    assert_pooled_within_bound(x, random(3, 3, 32, 64, dtype=dtype), random(64, dtype=dtype))


@pytest.mark.parametrize("channels", [(1, 1), (3, 5), (16, 16), (17, 33), (31, 65), (40, 129)])
def test_channels_need_not_fill_vectors(channels):
    inputs, filters = channels
    assert_pooled_within_bound(random(3, 6, 7, inputs), random(3, 3, inputs, filters), None)


@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 2), (1, 0)), ((3, 0), (0, 5))])
@pytest.mark.parametrize("size", [(1, 2), (3, 3), (6, 5)])
def test_pooled_images_may_be_padded(padding, size):
    if all(length + sum(pad) >= 4 for length, pad in zip(size, padding, strict=True)):
        x, w, b = random(7, *size, 16), random(3, 3, 16, 32), random(32)
        assert_pooled_within_bound(x, w, b, padding)


def assert_same_as_reference(function, x, w, b, padding=NO_PADDING):
    y, code = pooled(function, x, w, b, padding)
    with np.errstate(invalid="ignore"):
        expected, places = pooled(by_definition, *wide(x, w, b), padding)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(code, places)


def eighths(*shape):
    """Multiples of 1/8, with which Winograd's way of m = 2 rounds nothing."""
    return np.round(8 * random(*shape)) / 8


def test_where_nothing_is_rounded_values_and_codes_are_exact():
    assert_same_as_reference(fast, eighths(8, 13, 13, 32), eighths(3, 3, 32, 64), eighths(64))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_reaches_its_windows_only(value, winograd_first):
    x = eighths(4, 9, 8, 16)
    x.flat[[7, 1900, 3333]] = value
    w, b = np.abs(eighths(3, 3, 16, 40)), eighths(40)
    assert_same_as_reference(through_the_backend, x, w, b)


def test_an_infinite_kernel_element_reaches_its_filter_only(winograd_first):
    w = eighths(3, 3, 16, 40)
    w[1, 2, 3, 4] = np.inf
    assert_same_as_reference(through_the_backend, eighths(4, 9, 8, 16), w, eighths(40))


def test_the_first_of_equal_windows_wins_although_sums_are_rounded():
    """Where an image is constant along an axis, Winograd's differences are exact zeros."""
    w, b = random(3, 3, 32, 64), random(64)
    column, row, pixel = random(6, 13, 1, 32), random(6, 1, 13, 32), random(6, 1, 1, 32)
    for x, always_first in ((column, [0, 2]), (row, [0, 1]), (pixel, [0])):
        image = np.ascontiguousarray(np.broadcast_to(x, (6, 13, 13, 32)))
        _, code = pooled(fast, image, w, b)
        assert set(np.unique(code)) <= {*always_first, winograd.CLIPPED}


def convolved(x, w, b, m, padding=NO_PADDING, is_rectified=False):
    """Return the plain convolution, by Winograd's way with m × m outputs to a patch."""
    size = [length + sum(pad) - 2 for length, pad in zip(x.shape[1:3], padding, strict=True)]
    y = np.full((len(x), *size, w.shape[3]), np.nan, x.dtype)
    assert winograd.conv2d_forward(x, w, b, y, padding, m, is_rectified, Scratch())
    return y


def assert_convolved_within_bound(x, w, b, m, padding=NO_PADDING):
    y = convolved(x, w, b, m, padding)
    size = y.shape[1:3]
    expected = before_pooling(*wide(x, w, b), size, padding)
    bound = winograd_bound(*wide(x, w, b), padding, size, m) * np.finfo(x.dtype).eps
    assert (np.abs(y - expected) <= bound).all()
    np.testing.assert_array_equal(convolved(x, w, b, m, padding, True), np.maximum(y, 0))


each_m = pytest.mark.parametrize("m", [2, 4])


@each_m
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(3, 3), (4, 9), (5, 6), (7, 5), (8, 8), (13, 14)])
def test_outputs_are_within_the_bound(size, dtype, m):
    x = random(5, *size, 32, dtype=dtype)
    w, b = random(3, 3, 32, 64, dtype=dtype), random(64, dtype=dtype)
    assert_convolved_within_bound(x, w, b, m)


@each_m
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 2), (2, 3)), ((4, 0), (1, 5))])
def test_images_of_any_size_may_be_padded(size, padding, m):
    x, w, b = random(1, size, 10 - size, 17), random(3, 3, 17, 33), random(33)
    assert_convolved_within_bound(x, w, b, m, padding)


@each_m
@pytest.mark.parametrize("channels", [(1, 1), (3, 16), (16, 40), (31, 65), (64, 256)])
def test_channels_need_not_fill_vectors_of_plain_outputs(channels, m):
    inputs, filters = channels
    assert_convolved_within_bound(random(3, 6, 7, inputs), random(3, 3, inputs, filters), None, m)


@each_m
@pytest.mark.parametrize("padding", [NO_PADDING, ((1, 1), (1, 1)), ((3, 0), (2, 4))])
def test_the_input_gradient_is_within_the_bound(padding, m):
    dx, w = np.full((3, 9, 8, 20), np.nan, np.float32), random(3, 3, 20, 48)
    size = [length + sum(pad) - 2 for length, pad in zip(dx.shape[1:3], padding, strict=True)]
    dy = random(3, *size, 48)
    assert winograd.conv2d_backward_input(dy, w, dx, padding, m, Scratch())
    expected = np.empty(dx.shape)
    reference.conv2d_backward_input(*wide(dy, w), expected, (1, 1), padding, (1, 1), 1, None)
    turned = w[::-1, ::-1].transpose(0, 1, 3, 2)
    full = [(2 - before, 2 - after) for before, after in padding]
    bound = winograd_bound(*wide(dy, turned), None, full, dx.shape[1:3], m)
    assert (np.abs(dx - expected) <= bound * np.finfo(np.float32).eps).all()


@each_m
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_plain_outputs_that_see_only_finite_numbers_stay_finite(value, m, monkeypatch):
    x, w, b = random(4, 9, 8, 16), random(3, 3, 16, 40), random(40)
    x.flat[[7, 1900, 3333]] = value
    with np.errstate(invalid="ignore"):
        expected = before_pooling(*wide(x, w, b), (7, 6), NO_PADDING)
    y = np.full(expected.shape, np.nan, np.float32)
    geometry = ((1, 1), NO_PADDING, (1, 1), 1)
    assert not winograd.conv2d_forward(x, w, b, y, NO_PADDING, m, False, Scratch())
    monkeypatch.setattr(winograd, "best_patch", lambda *_: m)
    get_backend("cpu").conv2d_forward(x, w, b, y, *geometry, Scratch())
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
    dx = np.full(x.shape, np.nan, np.float32)
    get_backend("cpu").conv2d_backward_input(y, w, dx, *geometry, Scratch())
    with np.errstate(invalid="ignore"):
        reference.conv2d_backward_input(y, w, expected := np.empty_like(x), *geometry, None)
    np.testing.assert_array_equal(np.isfinite(dx), np.isfinite(expected))


def with_threads(threads, function, *arguments):
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(threads)
        return function(*arguments)
    finally:
        numba.set_num_threads(before)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba has a single thread here")
def test_bits_do_not_depend_on_the_number_of_threads():
    x, w, b = random(37, 13, 13, 17), random(3, 3, 17, 257), random(257)
    for function, m in (
        (convolved, 2),
        (convolved, 4),
        (lambda x, w, b, _: pooled(fast, x, w, b), 2),
    ):
        one, two = (with_threads(threads, function, x, w, b, m) for threads in (1, 2))
        for first, second in zip(one, two, strict=True):
            np.testing.assert_array_equal(first, second)


def test_the_choice_depends_on_shapes_and_suits_no_other_geometry():
    images, dtype = (8, 56, 56, 64), np.dtype(np.float32)
    same, full = ((1, 1), (1, 1)), ((2, 2), (2, 2))
    plain = ((3, 3), (1, 1), same, (1, 1), 1)
    assert winograd.best_patch(images, images, *plain, dtype) == 4
    assert winograd.best_patch((1, 3, 3, 64), (1, 3, 3, 64), *plain, dtype) == winograd.DIRECTLY
    for other in (
        ((5, 5), (1, 1), same, (1, 1), 1),
        ((3, 3), (2, 2), same, (1, 1), 1),
        ((3, 3), (1, 1), same, (2, 1), 1),
        ((3, 3), (1, 1), same, (1, 1), 2),
    ):
        assert winograd.best_patch(images, images, *other, dtype) == winograd.DIRECTLY
        assert not winograd.wins_before_pooling(
            images, (*other[0], 64, 64), (27, 27), (2, 2), *other[1:], dtype
        )
    # Of the nine products for each output most lie in the padding here, and cost nothing directly.
    small = ((3, 3), (1, 1), full, (1, 1), 1)
    assert winograd.best_patch((64, 3, 3, 64), (64, 5, 5, 64), *small, dtype) == winograd.DIRECTLY
    assert winograd.best_patch((64, 30, 30, 64), (64, 32, 32, 64), *small, dtype) == 4


def test_the_bound_is_tight_enough_to_see_a_wrong_pixel():
    x, w, b = random(5, 8, 8, 32), random(3, 3, 32, 64), random(64)
    x_off = x.copy()
    x_off[2, 3, 3, 5] += 1e-2
    y, _ = pooled(fast, x_off, w, b)
    expected, _ = pooled(by_definition, *wide(x, w, b))
    bound = winograd_bound(*wide(x, w, b), NO_PADDING, (6, 6), 2) * np.finfo(np.float32).eps
    assert (np.abs(y - expected) > in_windows(bound).max(-1)).any()
