"""Correlation by register tiles: forward, and the input gradient, which is one as well.

``y[p, o] = b[o] + Σ_k x[start(p) + place(k)] · w[k, o]``

is a matrix product whose left side is never gathered: p runs over windows, k over the elements
(u, v, c) of the kernel that the window sees, o over output channels. `regions` says where windows
start, and which runs of x lie under them.

Blocking, from the inside:

* a tile of some windows × a few vectors of output channels is summed in registers over all k. Each
  step loads one row of weights and one number of x for each window;
* the weights of a tile's output channels, a *panel*, are laid out in the order in which the sum
  reads them. A panel serves `BLOCK` windows before the next one takes its turn: they stream
  through the second-level cache, while what the windows see of x stays in the first;
* tasks share the windows, or the panels where these are what fills the caches.

Bias and ReLU are applied to the tile before it is stored, so y is written once and never read.
"""

from functools import lru_cache

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.sums import chunk_range
from convlib.kernels.cpu.tile import (
    HAS_32_REGISTERS,
    ROWS_FOR,
    tile_bias,
    tile_fma,
    tile_load_part,
    tile_offsets,
    tile_relu,
    tile_square,
    tile_store,
    tile_store_rows,
    tile_transpose_lanes,
    tile_zero,
    vector_lanes,
)

TASKS = 32  # parallel tasks a region is split into, at most
BLOCK = 240  # windows that a panel serves in one go; whole tiles of 6, 8 or 10
SPARE = 12  # places in a list of windows behind the last, as many as a tile has rows
SMALL = 1 << 18  # multiply-adds that are done before a second core has begun
CACHED = 1 << 18  # numbers that fit comfortably in a second-level cache


@njit
def list_windows(region, layout, first, last, starts, targets):
    """List where windows first to last of a region start in x, and where their outputs lie."""
    image, place = divmod(first, region.rows * region.columns)
    row, column = divmod(place, region.columns)
    count = last - first
    window = 0
    while window < count:
        length = min(region.columns - column, count - window)
        start = image * layout.source_image + region.source + row * region.source_down
        target = image * layout.target_image + region.target + row * region.target_down
        for i in range(length):
            starts[window + i] = start + (column + i) * region.source_across
            targets[window + i] = target + (column + i) * region.target_across
        window += length
        column = 0
        row += 1
        if row == region.rows:
            row = 0
            image += 1
    # Spare rows of the last tile read what the last window sees, and store nothing.
    for spare in range(count, count + SPARE):
        starts[spare] = starts[count - 1]
        targets[spare] = -1


@njit
def _pack_rows(kernel, layout, first, last, panels):
    """Lay out rows first to last of the kernel, each a term of the sum, filled with zeros."""
    width, outputs = layout.width, layout.outputs
    for term in range(first, last):
        for panel in range(layout.groups * layout.blocks):
            group, block = divmod(panel, layout.blocks)
            source = term * layout.filters + group * outputs + block * width
            target = (panel * layout.terms + term) * width
            channels = min(width, outputs - block * width)
            for lane in range(channels):
                panels[target + lane] = kernel[source + lane]
            for lane in range(channels, width):
                panels[target + lane] = 0


@njit
def _pack_columns(kernel, taps, layout, panel, piece, panels):
    """Lay out the transpose of the kernel's element (u, v), for one panel.

    In square blocks, which are transposed in registers.
    """
    width, inputs, outputs = layout.width, layout.source_group, layout.outputs
    group, block = divmod(panel, layout.blocks)
    stride = layout.groups * inputs
    channels = min(width, outputs - block * width)
    source = (taps[piece] * outputs + block * width) * stride + group * inputs
    target = (panel * len(taps) + piece) * inputs * width
    square, lane_count = tile_square(kernel), vector_lanes(kernel)
    for lane in range(0, width, lane_count):
        for row in range(0, inputs, lane_count):
            place = source + lane * stride + row
            part = tile_load_part(square, kernel, place, stride, channels - lane, inputs - row)
            to = target + row * width + lane
            tile_store(tile_transpose_lanes(part), panels, to, width, inputs - row, lane_count)


def _correlate_tiles(rows, columns):
    """Return the function that sums tiles of so many windows × vectors of output channels."""

    @njit
    def correlate_tiles(
        x, starts, targets, windows, region, layout, panel, panels, b, y, is_rectified
    ):
        width = layout.width
        group, block = divmod(panel, layout.blocks)
        shift = group * layout.source_group
        channel = group * layout.outputs + block * width
        channels = min(width, layout.outputs - block * width)
        first_weights = (panel * layout.terms + region.weights) * width
        for window in range(0, windows, rows):
            if len(b):
                acc = tile_bias(b, channel, channels, rows, columns)
            else:
                acc = tile_zero(x, rows, columns)
            places = tile_offsets(starts, window, rows)
            for down in range(region.runs_down):
                for across in range(region.runs_across):
                    offset = shift + down * region.run_down + across * region.run_across
                    weights = down * region.weights_down + across * region.weights_across
                    weights = first_weights + weights * width
                    for k in range(offset, offset + region.run):
                        acc = tile_fma(acc, x, places, k, panels, weights)
                        weights += width
            if is_rectified:
                acc = tile_relu(acc)
            tile_store_rows(acc, y, tile_offsets(targets, window, rows), channel, channels)

    return correlate_tiles


_correlate_1, _correlate_2, _correlate_3, _correlate_4 = (
    _correlate_tiles(ROWS_FOR.get(columns, 1), columns) for columns in (1, 2, 3, 4)
)


@njit
def correlate_windows(x, starts, targets, windows, region, layout, panel, panels, b, y, relu):
    """Compute one panel's output channels of the windows that are listed."""
    columns = layout.width // vector_lanes(x)
    if columns == 1:
        _correlate_1(x, starts, targets, windows, region, layout, panel, panels, b, y, relu)
    elif columns == 2:
        _correlate_2(x, starts, targets, windows, region, layout, panel, panels, b, y, relu)
    elif HAS_32_REGISTERS:  # known to the compiler, which leaves out the rest without them
        if columns == 3:
            _correlate_3(x, starts, targets, windows, region, layout, panel, panels, b, y, relu)
        else:
            _correlate_4(x, starts, targets, windows, region, layout, panel, panels, b, y, relu)


@njit
def _correlate_some(x, regions, layout, tiles, some_panels, panels, b, y, relu, lists):
    """Compute a range of tiles, numbered through all regions, for a range of panels."""
    starts, targets = lists[0], lists[1]
    for index in range(len(regions)):
        region = regions[index]
        windows = layout.images * region.rows * region.columns
        first = max(0, tiles[0] - region.first_tile) * layout.tile_rows
        last = min(windows, (tiles[1] - region.first_tile) * layout.tile_rows)
        for start in range(first, last, BLOCK):
            end = min(last, start + BLOCK)
            list_windows(region, layout, start, end, starts, targets)
            for panel in range(*some_panels):
                correlate_windows(
                    x, starts, targets, end - start, region, layout, panel, panels, b, y, relu
                )


@njit(cache=True, parallel=True)
def _correlate(
    x, kernel, b, y, regions, layouts, taps, is_transposed, is_rectified, labour, panels, lists
):
    chunks, splits, packs = labour
    count, tiles = layouts[0].groups * layouts[0].blocks, layouts[0].tiles
    if chunks * splits == 1:
        if packs and not is_transposed:
            _pack_rows(kernel, layouts[0], 0, layouts[0].terms, panels)
        elif packs:
            for panel in range(count):
                for piece in range(len(taps)):
                    _pack_columns(kernel, taps, layouts[0], panel, piece, panels)
        _correlate_some(
            x, regions, layouts[0], (0, tiles), (0, count), panels, b, y, is_rectified, lists[0]
        )
    else:
        if packs and not is_transposed:
            for index in prange(TASKS):
                first, last = chunk_range(np.int64(index), TASKS, layouts[0].terms)
                _pack_rows(kernel, layouts[0], first, last, panels)
        elif packs:
            for index in prange(count * len(taps)):
                panel, piece = divmod(np.int64(index), len(taps))  # prange counts in uint64
                _pack_columns(kernel, taps, layouts[0], panel, piece, panels)
        for index in prange(chunks * splits):
            task = np.int64(index)
            chunk, split = divmod(task, splits)
            mine = chunk_range(chunk, chunks, tiles)
            my_panels = chunk_range(split, splits, count)
            _correlate_some(
                x, regions, layouts[0], mine, my_panels, panels, b, y, is_rectified, lists[task]
            )


@lru_cache(maxsize=1024)
def _division_of_labour(plan):
    """Return into how many chunks of windows and ranges of panels the work is split."""
    if plan.multiply_adds <= SMALL:
        return 1, 1
    chunks = max(1, min(TASKS, plan.tiles // 8))
    if plan.panels * plan.panel_size > CACHED:
        splits = min(TASKS, plan.panels)
        return min(chunks, -(-TASKS // splits)), splits
    return chunks, min(plan.panels, -(-TASKS // chunks))


def correlate(plan, x, kernel, b, y, is_transposed, is_rectified, scratch):
    """Run a plan on a kernel (u, v, in, out), for the input gradient with in and out exchanged."""
    if y.size == 0:
        return
    chunks, splits = _division_of_labour(plan)
    # A single panel that the kernel fills has the kernel's own layout.
    packs = is_transposed or plan.panels > 1 or plan.panel_size != kernel.size
    panels, lists = scratch.take(
        ((plan.panels * plan.panel_size if packs else 0,), x.dtype),
        ((chunks * splits, 2, BLOCK + SPARE), np.int64),
    )
    kernel = kernel.reshape(-1)
    _correlate(
        x.reshape(-1),
        kernel,
        kernel[:0] if b is None else b,
        y.reshape(-1),
        plan.regions,
        plan.layout,
        plan.taps,
        is_transposed,
        is_rectified,
        (chunks, splits, packs),
        panels if packs else kernel,
        lists,
    )
