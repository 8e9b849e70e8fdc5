"""The vector operations that the CPU kernels are written in, one by one, against NumPy."""

from importlib import metadata

import numba
import numpy as np
import pytest

from convlib.kernels import get_backend
from convlib.kernels.cpu import tile
from convlib.kernels.cpu.tile import (
    ROWS,
    tile_add,
    tile_fma,
    tile_load,
    tile_rows_of,
    tile_store,
    tile_zero,
    vector_fma,
    vector_lanes,
)

DTYPES = [np.float32, np.float64]
COLUMNS = [1, 2, 4]


def operations(columns):
    """Return functions that put one operation each between arrays."""

    @numba.njit
    def store(x, y, stride, rows, channels):
        acc = tile_load(tile_zero(x, ROWS, columns), x, 1, stride)
        tile_store(acc, y, 2, stride, rows, channels)

    @numba.njit
    def zero(y, width):
        tile_store(tile_zero(y, ROWS, columns), y, 0, width, ROWS, width)

    @numba.njit
    def rows_of(b, y, width):
        tile_store(tile_rows_of(b, 3, ROWS, columns), y, 0, width, ROWS, width)

    @numba.njit
    def product(x, offsets, w, y, terms, width):
        acc = tile_load(tile_zero(w, ROWS, columns), y, 0, width)
        for k in range(terms):
            acc = tile_fma(acc, x, offsets, k, w, k * width)
        tile_store(acc, y, 0, width, ROWS, width)

    @numba.njit
    def add(x, factor, y, width):
        acc = tile_load(tile_zero(x, ROWS, columns), y, 0, width)
        tile_store(tile_add(acc, x, 5, factor), y, 0, width, ROWS, width)

    return store, zero, rows_of, product, add


@pytest.fixture(scope="module", params=COLUMNS)
def compiled(request):
    """The number of columns and the operations on such tiles."""
    return request.param, *operations(request.param)


def numbers(dtype, *shape):
    """Return small whole numbers: their sums and products are exact in any order."""
    return np.random.default_rng(0).integers(-9, 10, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_part_of_a_tile_is_stored_and_nothing_else(compiled, dtype):
    columns, store, *_ = compiled
    width = columns * tile.lanes(np.dtype(dtype))
    stride = width + 3
    x = numbers(dtype, ROWS * stride + 1)
    for rows, channels in [(ROWS, width), (1, width), (ROWS - 1, 1), (ROWS, width - 1), (2, 0)]:
        y = np.full(ROWS * stride + 2, np.nan, dtype)
        store(x, y, stride, rows, channels)
        expected = np.full_like(y, np.nan)
        for row in range(rows):
            expected[2 + row * stride :][:channels] = x[1 + row * stride :][:channels]
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_begin_as_zeros_or_as_a_repeated_row(compiled, dtype):
    columns, _, zero, rows_of, *_ = compiled
    width = columns * tile.lanes(np.dtype(dtype))
    y = np.full(ROWS * width, np.nan, dtype)
    zero(y, width)
    np.testing.assert_array_equal(y, np.zeros_like(y))
    b = numbers(dtype, width + 3)
    rows_of(b, y, width)
    np.testing.assert_array_equal(y.reshape(ROWS, width), np.tile(b[3:], (ROWS, 1)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_outer_products_sum_to_a_matrix_product(compiled, dtype):
    columns, _, _, _, product, _ = compiled
    width, terms = columns * tile.lanes(np.dtype(dtype)), 7
    x, w, start = numbers(dtype, 40), numbers(dtype, terms, width), numbers(dtype, ROWS, width)
    offsets = (3, 0, 30, 11, 11, 22)
    y = start.copy()
    product(x, offsets, w.ravel(), y.reshape(-1), terms, width)
    patches = np.stack([x[offset : offset + terms] for offset in offsets])
    np.testing.assert_array_equal(y, start + patches @ w)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_multiple_of_a_run_is_added(compiled, dtype):
    columns, *_, add = compiled
    size = ROWS * columns * tile.lanes(np.dtype(dtype))
    x, y = numbers(dtype, size + 5), numbers(dtype, size)
    expected = y + 3 * x[5:]
    add(x, dtype(3), y, size // ROWS)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_vector_is_added_in_place(dtype):
    @numba.njit
    def add(y, x, factor):
        vector_fma(y, 2, x, 1, factor)
        return vector_lanes(y)

    lanes = tile.lanes(np.dtype(dtype))
    x, y = numbers(dtype, lanes + 1), numbers(dtype, lanes + 4)
    expected = y.copy()
    expected[2 : 2 + lanes] += -2 * x[1:]
    assert add(y, x, dtype(-2)) == lanes
    np.testing.assert_array_equal(y, expected)


def test_a_tile_covers_the_channels_and_no_vector_more_than_it_must():
    for dtype in map(np.dtype, DTYPES):
        lanes = tile.lanes(dtype)
        assert tile.columns_for(1, dtype) == tile.columns_for(lanes, dtype) == 1
        assert tile.columns_for(lanes + 1, dtype) == tile.columns_for(2 * lanes, dtype) == 2
        assert tile.columns_for(2 * lanes + 1, dtype) == (4 if tile.HAS_32_REGISTERS else 2)


def test_tbb_shares_the_work_where_it_is_installed():
    try:
        metadata.version("tbb")
    except metadata.PackageNotFoundError:
        pytest.skip("tbb is not installed")
    x = np.ones(9, np.float32)
    get_backend("cpu").relu_forward(x, x, np.inf, 0.0, 0.0)
    assert numba.threading_layer() == "tbb"
