"""The vector operations that the CPU kernels are written in, one by one, against NumPy."""

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from typing import NamedTuple

import numba
import numpy as np
import pytest

from convlib.kernels.cpu import tile
from convlib.kernels.cpu.tile import (
    ROWS,
    prefetch,
    tile_add_runs,
    tile_append_winners,
    tile_fma,
    tile_fma_sliding,
    tile_fma_windows,
    tile_fma_won,
    tile_fma_won_patch,
    tile_load,
    tile_load_codes,
    tile_load_part,
    tile_pool,
    tile_rows_of,
    tile_scatter,
    tile_square,
    tile_store,
    tile_transpose_lanes,
    tile_zero,
    vector_lanes,
)

DTYPES = [np.float32, np.float64]
COLUMNS = [1, 2, 4]


class Operations(NamedTuple):
    """Functions that put one operation each between arrays."""

    store: Callable
    zero: Callable
    rows_of: Callable
    product: Callable
    add_runs: Callable
    scatter: Callable
    sliding: Callable
    won: Callable
    pool: Callable


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
    def add_runs(x, offsets, factor, y, width, count):
        acc = tile_load(tile_zero(x, 3, columns), y, 0, width)
        acc = tile_add_runs(acc, x, 1, offsets, factor, count)
        tile_store(acc, y, 0, width, 3, width)
        return vector_lanes(x)

    @numba.njit
    def scatter(x, offsets, factor, y, width, count):
        tile_scatter(tile_load(tile_zero(x, 3, columns), x, 0, width), y, 1, offsets, factor, count)

    @numba.njit
    def sliding(x, step, w, down, y, width):
        acc = tile_load(tile_zero(x, 4, columns), y, 0, width)
        acc = tile_fma_sliding(acc, x, 2, step, w, 5, down, 3)
        tile_store(acc, y, 0, width, 4, width)

    @numba.njit
    def won(x, offsets, dy, code, channels, place, y, width):
        acc = tile_load(tile_zero(dy, 3, columns), y, 0, width)
        acc = tile_fma_won(acc, x, offsets, 1, dy, code, 2, channels, place)
        tile_store(acc, y, 0, width, 3, width)

    @numba.njit
    def pool(x, y, code, stride, windows, channels, place):
        acc = tile_load(tile_zero(x, 6, columns), x, place * 3 * stride, stride)
        tile_pool(acc, y, code, 1, stride, windows, channels, place, 255, 2)

    return Operations(store, zero, rows_of, product, add_runs, scatter, sliding, won, pool)


@pytest.fixture(scope="module", params=COLUMNS)
def compiled(request):
    """The number of columns and the operations on such tiles."""
    return request.param, operations(request.param)


def numbers(dtype, *shape):
    """Return small whole numbers: their sums and products are exact in any order."""
    return np.random.default_rng(0).integers(-9, 10, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_part_of_a_tile_is_stored_and_nothing_else(compiled, dtype):
    columns, run = compiled
    width = columns * tile.lanes(np.dtype(dtype))
    stride = width + 3
    x = numbers(dtype, ROWS * stride + 1)
    for rows, channels in [(ROWS, width), (1, width), (ROWS - 1, 1), (ROWS, width - 1), (2, 0)]:
        y = np.full(ROWS * stride + 2, np.nan, dtype)
        run.store(x, y, stride, rows, channels)
        expected = np.full_like(y, np.nan)
        for row in range(rows):
            expected[2 + row * stride :][:channels] = x[1 + row * stride :][:channels]
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_begin_as_zeros_or_as_a_repeated_row(compiled, dtype):
    columns, run = compiled
    width = columns * tile.lanes(np.dtype(dtype))
    y = np.full(ROWS * width, np.nan, dtype)
    run.zero(y, width)
    np.testing.assert_array_equal(y, np.zeros_like(y))
    b = numbers(dtype, width + 3)
    run.rows_of(b, y, width)
    np.testing.assert_array_equal(y.reshape(ROWS, width), np.tile(b[3:], (ROWS, 1)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_outer_products_sum_to_a_matrix_product(compiled, dtype):
    columns, run = compiled
    width, terms = columns * tile.lanes(np.dtype(dtype)), 7
    x, w, start = numbers(dtype, 40), numbers(dtype, terms, width), numbers(dtype, ROWS, width)
    offsets = (3, 0, 30, 11, 11, 22)
    y = start.copy()
    run.product(x, offsets, w.ravel(), y.reshape(-1), terms, width)
    patches = np.stack([x[offset : offset + terms] for offset in offsets])
    np.testing.assert_array_equal(y, start + patches @ w)


@pytest.mark.parametrize("dtype", DTYPES)
def test_multiples_of_runs_are_added(compiled, dtype):
    columns, run = compiled
    width = columns * tile.lanes(np.dtype(dtype))
    offsets = (7, 0, 3 * width)
    x, start = numbers(dtype, 4 * width + 8), numbers(dtype, 3, width)
    for count in (width, width - 1, 1, 0):
        y = start.copy()
        lanes = run.add_runs(x, offsets, dtype(-3), y.reshape(-1), width, count)
        assert lanes * columns == width
        expected = start.copy()
        for row, offset in enumerate(offsets):
            expected[row, :count] += -3 * x[1 + offset :][:count]
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_multiples_of_rows_are_scattered_to_runs(compiled, dtype):
    columns, run = compiled
    width = columns * tile.lanes(np.dtype(dtype))
    offsets = (0, 2 * width, width)
    x, start = numbers(dtype, 3, width), numbers(dtype, 3 * width + 2)
    for count in (width, width - 1, 1, 0):
        y = start.copy()
        run.scatter(x.reshape(-1), offsets, dtype(2), y, width, count)
        expected = start.copy()
        for row, offset in enumerate(offsets):
            expected[1 + offset :][:count] += 2 * x[row, :count]
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_of_a_kernel_slides_along_windows(compiled, dtype):
    columns, run = compiled
    width = columns * tile.lanes(np.dtype(dtype))
    for step, down in [(width, width), (width + 3, 5), (1, -2)]:
        x, w = numbers(dtype, 2 + 5 * step + width), numbers(dtype, 5 + 3 * width + 10)
        start = numbers(dtype, 4, width)
        y = start.copy()
        run.sliding(x, step, w, down, y.reshape(-1), width)
        expected = start.copy()
        for window, tap in np.ndindex(4, 3):
            pixel, weights = 2 + (window + tap) * step, 5 + tap * down
            expected[window] += x[pixel:][:width] * w[weights:][:width]
        np.testing.assert_array_equal(y, expected)


@numba.njit
def _add_three_windows(x, runs, steps, dy, y, channels):
    width = vector_lanes(x)
    acc = tile_load(tile_zero(x, 5, 1), y, 0, width)
    acc = tile_fma_windows(acc, x, runs, 1, steps, dy, 2, 3, channels)
    tile_store(acc, y, 0, width, 5, width)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("runs", [(0, 7), (9, 0, 3, 3)], ids=len)
def test_products_of_windows_with_their_gradients_are_added(runs, dtype):
    width, taps = tile.lanes(np.dtype(dtype)), 4 // len(runs)
    across, down = width + 1, width + 2
    for channels in (width, width - 1, 1):
        x = np.full(10 + (2 + taps) * across + width, np.nan, dtype)
        for run, place in np.ndindex(len(runs), 2 + taps):
            first = 1 + runs[run] + place * across
            x[first : first + channels] = numbers(dtype, channels) + place
        dy, start = numbers(dtype, 2 + 3 * down), numbers(dtype, 5, width)
        y = start.copy()
        _add_three_windows(x, runs, (across, down), dy, y.reshape(-1), channels)
        expected = start.copy()
        for window in range(3):
            gradient = dy[2 + window * down :][:channels]
            expected[4, :channels] += gradient
            for run, tap in np.ndindex(len(runs), taps):
                pixel = 1 + runs[run] + (window + tap) * across
                expected[run * taps + tap, :channels] += x[pixel:][:channels] * gradient
        np.testing.assert_array_equal(y, expected)


def test_what_is_fetched_ahead_may_lie_anywhere():
    @numba.njit
    def fetch(x, place):
        prefetch(x, place, 0)
        prefetch(x, place, 1)

    x = np.arange(3.0)
    for place in (0, -5, 1 << 40):
        fetch(x, place)
    np.testing.assert_array_equal(x, [0, 1, 2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_gradients_that_a_pixel_won_are_multiplied(compiled, dtype):
    columns, run = compiled
    width = columns * tile.lanes(np.dtype(dtype))
    x, dy, start = numbers(dtype, 9), numbers(dtype, width + 2), numbers(dtype, 3, width)
    code = np.random.default_rng(1).choice(np.array([0, 1, 255], np.uint8), width + 2)
    dy[code == 255] = np.nan  # what nobody won is not even multiplied by zero
    for channels, place in [(width, 1), (width - 1, 0), (1, 1), (0, 0)]:
        y = start.copy()
        run.won(x, (4, 0, 7), dy, code, channels, place, y.reshape(-1), width)
        gradients = np.where(code == place, dy, 0)[2:][:channels]
        expected = start.copy()
        expected[:, :channels] += np.outer(x[[5, 1, 8]], gradients)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_largest_number_above_zero_wins(compiled, dtype):
    columns, run = compiled
    width = columns * tile.lanes(np.dtype(dtype))
    stride, nan = width + 2, np.nan
    candidates = numbers(dtype, 4, 3, stride)  # many ties
    candidates[:, 0, 0] = nan, 5, nan, 6
    candidates[:, 1, 0] = 2, nan, 9, nan
    y, code = np.full(3 * stride + 1, nan, dtype), np.full(3 * stride + 1, 77, np.uint8)
    # Two pixels of each window at a time.
    rows = candidates.reshape(2, 2, 3, stride).transpose(0, 2, 1, 3).copy()
    for place in (0, 2):
        run.pool(rows.reshape(-1), y, code, stride, 2, width - 1, place)
    for row, channel in np.ndindex(3, stride):
        place = 1 + row * stride + channel
        if row == 2 or channel >= width - 1:  # beyond the part that was asked for
            assert code[place] == 77
            continue
        entries = candidates[:, row, channel]
        best = np.nan if np.isnan(entries).any() else max(entries.max(), 0)
        np.testing.assert_equal(y[place], best)
        winner = np.isnan(entries).argmax() if np.isnan(best) else entries.argmax()
        assert code[place] == (winner if best != 0 else 255)


@numba.njit
def list_winners_by_channel(dy, code, stride, rows, channels, keys, values, counts):
    square, room = tile_square(dy), keys.shape[1]
    gradients = tile_load_part(square, dy, 1, stride, rows, channels)
    codes = tile_load_codes(square, code, 1, stride, rows, channels)
    gradients, codes = tile_transpose_lanes(gradients), tile_transpose_lanes(codes)
    tile_append_winners(gradients, codes, 100, 4, room, keys, values, counts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("missing", [(0, 0), (1, 3)])
def test_winners_are_listed_by_channel(missing, dtype):
    lanes = tile.lanes(np.dtype(dtype))
    rows, channels, stride = lanes - missing[0], max(1, lanes - missing[1]), lanes + 3
    dy = numbers(dtype, lanes * stride + 1)
    code = np.random.default_rng(2).choice(np.array([0, 3, 255], np.uint8), dy.shape)
    keys = np.full((lanes, lanes + 9), -1, f"i{dy.itemsize}")
    values, counts = np.full(keys.shape, np.nan, dtype), np.full(lanes, 2)
    list_winners_by_channel(dy, code, stride, rows, channels, keys, values, counts)
    for channel in range(lanes):
        places = [1 + row * stride + channel for row in range(rows)] if channel < channels else []
        won = [(row, place) for row, place in enumerate(places) if code[place] != 255]
        assert counts[channel] == 2 + len(won)
        listed = slice(2, counts[channel])
        assert keys[channel, listed].tolist() == [100 + 4 * row + code[p] for row, p in won]
        assert values[channel, listed].tolist() == [dy[place] for _, place in won]


@numba.njit
def add_won_patch(x, start, down, across, dy, code, place, channels, total, width):
    acc = tile_load(tile_zero(dy, 10, 1), total, 0, width)
    acc = tile_fma_won_patch(acc, x, start, down, across, dy, code, place, channels)
    tile_store(acc, total, 0, width, 10, width)


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_lane_picks_the_patch_that_its_winner_saw(dtype):
    lanes = tile.lanes(np.dtype(dtype))
    x, dy, start = numbers(dtype, 60), numbers(dtype, lanes + 3), numbers(dtype, 10, lanes)
    code = np.random.default_rng(3).choice(np.array([0, 1, 2, 3, 255], np.uint8), lanes + 3)
    dy[code == 255] = np.nan
    for channels in (lanes, 1):
        total = start.copy()
        add_won_patch(x, 5, 14, 3, dy, code, 3, channels, total.reshape(-1), lanes)
        expected = start.copy()
        for o in range(channels):
            if code[3 + o] != 255:
                i, j = divmod(code[3 + o], 2)
                for u, v in np.ndindex(3, 3):
                    number = x[5 + (i + u) * 14 + (j + v) * 3]
                    expected[3 * u + v, o] += number * dy[3 + o]
                expected[9, o] += dy[3 + o]
        np.testing.assert_array_equal(total, expected)


def test_a_tile_covers_the_channels_and_no_vector_more_than_it_must():
    for dtype in map(np.dtype, DTYPES):
        lanes = tile.lanes(dtype)
        assert tile.columns_for(1, dtype) == tile.columns_for(lanes, dtype) == 1
        assert tile.columns_for(lanes + 1, dtype) == tile.columns_for(2 * lanes, dtype) == 2
        assert tile.columns_for(2 * lanes + 1, dtype) == (4 if tile.HAS_32_REGISTERS else 2)


@pytest.mark.parametrize(
    "first_parallel_call",
    [
        "import numpy as np\nfrom convlib import functional as F\nF.relu(np.ones(9))",
        "from convlib.datasets import strokes\nstrokes.draw([7], seed=0)",
    ],
)
def test_tbb_shares_the_work_where_it_is_installed(first_parallel_call):
    try:
        metadata.version("tbb")
    except metadata.PackageNotFoundError:
        pytest.skip("tbb is not installed")
    program = f"{first_parallel_call}\nimport numba\nprint(numba.threading_layer())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "tbb\n", done.stderr
