"""Convolutions in tiles of every width: small ones would all take the widest otherwise."""

import numpy as np
import pytest

from convlib.kernels import get_backend, reference
from convlib.kernels.cpu import outer_products, regions
from convlib.kernels.cpu.tile import ROWS_FOR, columns_of_tile, lanes
from convlib.kernels.scratch import Scratch

cpu = get_backend("cpu")
DTYPES = (np.float32, np.float64)


@pytest.fixture
def tiles_as_for_much_work(monkeypatch):
    """Choose tiles as if every convolution were large."""

    def forget():
        regions.forward_plan.cache_clear()
        regions.backward_input_plan.cache_clear()
        regions.dense_plan.cache_clear()

    monkeypatch.setattr(regions, "SMALL", 0)
    forget()
    yield
    forget()


def filters_for(columns, dtype):
    """Return numbers of output channels that tiles of so many columns suit: whole, and less one."""
    most = columns * lanes(np.dtype(dtype))
    return [n for n in (most, most - 1) if columns_of_tile(n, np.dtype(dtype)) == columns]


@pytest.mark.parametrize("columns", ROWS_FOR)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_width_computes_the_same(columns, dtype, tiles_as_for_much_work):
    random = np.random.default_rng(columns)
    for filters in filters_for(columns, dtype):
        shapes = (3, 6, 5, filters), (5, 2, filters, filters), (filters,)
        x, w, b = (random.integers(-9, 10, shape).astype(dtype) for shape in shapes)
        geometry = (2, 1), ((2, 1), (0, 1)), (1, 1), 1
        y = np.full((3, 3, 5, filters), np.nan, dtype)
        plan = regions.forward_plan(x.shape, w.shape, y.shape, *geometry, x.dtype)
        assert plan.tile_columns == columns
        dy = random.integers(-9, 10, y.shape).astype(dtype)
        dx, dw, db = (np.full_like(array, np.nan) for array in (x, w, b))
        cpu.conv2d_forward(x, w, b, y, *geometry, Scratch())
        cpu.conv2d_backward_input(dy, w, dx, *geometry, Scratch())
        cpu.conv2d_backward_params(x, dy, dw, db, *geometry, Scratch())

        wide = [array.astype(float) for array in (x, w, b, dy)]
        expected = [np.empty(array.shape) for array in (y, dx, dw, db)]
        reference.conv2d_forward(*wide[:3], expected[0], *geometry, None)
        reference.conv2d_backward_input(wide[3], wide[1], expected[1], *geometry, None)
        reference.conv2d_backward_params(wide[0], wide[3], *expected[2:], *geometry, None)
        for got, exact in zip((y, dx, dw, db), expected, strict=True):
            # Whole numbers of this size are exact in any order.
            np.testing.assert_array_equal(got, exact)


@pytest.mark.parametrize("dtype", DTYPES)
def test_chunks_of_many_windows_cut_through_regions(dtype):
    """Chunks begin and end within regions, small ones at the border among them."""
    random = np.random.default_rng(1)
    x, dy = (random.integers(-3, 4, (3, 31, 29, c)).astype(dtype) for c in (5, 8))
    geometry = (1, 1), ((2, 2), (2, 2)), (1, 1), 1
    dw, db = np.full((5, 5, 5, 8), np.nan, dtype), np.full(8, np.nan, dtype)
    plan = regions.forward_plan(x.shape, dw.shape, dy.shape, *geometry, x.dtype)
    assert plan.layout["windows"] == 3 * 31 * 29
    assert outer_products._division_of_labour(plan, dw.size, 6)[0] > 1
    cpu.conv2d_backward_params(x, dy, dw, db, *geometry, Scratch())
    expected = np.empty(dw.shape), np.empty(db.shape)
    wide = x.astype(float), dy.astype(float)
    reference.conv2d_backward_params(*wide, *expected, *geometry, None)
    np.testing.assert_array_equal(dw, expected[0])
    np.testing.assert_array_equal(db, expected[1])
