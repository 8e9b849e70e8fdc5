"""The exponential functions that kernels use: their error, their special values, their vectors."""

import re

import numpy as np
import pytest
from numba import njit

from convlib.kernels.cpu.exponential import (
    exponential,
    exponential_minus_one,
    tile_exponential,
)
from convlib.kernels.cpu.tile import (
    tile_load_run,
    tile_store_run,
    tile_width,
    tile_zero,
)

DTYPES = (np.float32, np.float64)


@njit
def exponentials(x, y):
    for i in range(len(x)):
        y[i] = exponential(x[i])


@njit
def exponentials_minus_one(x, y):
    for i in range(len(x)):
        y[i] = exponential_minus_one(x[i])


@njit
def exponentials_in_tiles(x, y):
    zeros = tile_zero(x, 1, 2)
    for first in range(0, len(x), tile_width(zeros)):
        numbers = tile_load_run(zeros, x, first, len(x) - first)
        tile_store_run(tile_exponential(numbers), y, first, len(x) - first)


each_exponential = pytest.mark.parametrize("function", [exponentials, exponentials_in_tiles])


def computed(function, x):
    y = np.full_like(x, np.nan)
    function(x, y)
    return y


def units_in_the_last_place(got, exact):
    """Return the error of ``got``, where one is the distance of neighbouring numbers."""
    spacing = np.spacing(np.abs(exact).astype(got.dtype)).astype(np.longdouble)
    return np.abs(got - exact) / spacing


def arguments(dtype):
    """Return numbers over the whole range in which the result is normal, and next to zero."""
    smallest = float(np.log(np.finfo(dtype).tiny))
    generator = np.random.default_rng(0)
    return np.concatenate(
        [
            np.linspace(smallest, 0, 200_001),
            smallest * generator.random(100_000),
            -np.exp(generator.uniform(smallest, 0, 100_000)),
        ]
    ).astype(dtype)[1:]


@each_exponential
@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_is_right_to_one_and_a_half_units(dtype, function):
    x = arguments(dtype)
    error = units_in_the_last_place(computed(function, x), np.exp(x.astype(np.longdouble)))
    assert error.max() < 1.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_minus_one_is_right_to_two_units(dtype):
    x = arguments(dtype)
    got = computed(exponentials_minus_one, x)
    assert units_in_the_last_place(got, np.expm1(x.astype(np.longdouble))).max() < 2


@each_exponential
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype, function):
    limits = np.finfo(dtype)
    x = np.array([0.0, -0.0, -limits.smallest_subnormal, -limits.max, -np.inf, np.nan], dtype)
    np.testing.assert_array_equal(computed(function, x), [1, 1, 1, 0, 0, np.nan])
    expected = [0, 0, -limits.smallest_subnormal, -1, -1, np.nan]
    got = computed(exponentials_minus_one, x)
    np.testing.assert_allclose(got, np.array(expected, dtype), rtol=0, atol=limits.tiny)


@each_exponential
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_too_small_to_be_normal_is_zero_or_right(dtype, function):
    tiny = float(np.finfo(dtype).tiny)
    x = np.linspace(3, 1, 10_000, dtype=dtype) * dtype(np.log(tiny))
    got = computed(function, x)
    below = np.exp(x.astype(np.longdouble)) < tiny
    assert below.any()
    assert (got[below] <= tiny).all() and (got[below] >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [exponentials, exponentials_minus_one])
def test_loops_become_vector_code(function, dtype):
    x = np.zeros(3, dtype)
    function(x, x.copy())
    code = next(
        text
        for types, text in function.inspect_llvm().items()
        if types[0].dtype.name == dtype.__name__
    )
    kind = "float" if dtype == np.float32 else "double"
    assert re.search(rf"fmul contract <\d+ x {kind}>", code)
