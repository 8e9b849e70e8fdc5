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

from convlib.kernels.cpu.panels import TASKS, pack, pack_transposed
from convlib.kernels.cpu.regions import SMALL
from convlib.kernels.cpu.tasks import HELPER, PARALLEL, chunk_range
from convlib.kernels.cpu.tile import (
    ROWS_FOR,
    tile_bias,
    tile_fma,
    tile_offsets,
    tile_relu,
    tile_store_rows,
    tile_zero,
    vector_lanes,
)

BLOCK = 240  # windows that a panel serves in one go; whole tiles of 6, 8 or 10
SPARE = 12  # places in a list of windows behind the last, as many as a tile has rows
CACHED = 1 << 18  # numbers that fit comfortably in a second-level cache


@njit(**HELPER)
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


def _correlation(rows, columns):
    """Return the kernel whose tiles have so many windows × vectors of output channels."""

    @njit(**PARALLEL)
    def correlate(x, b, y, regions, layouts, is_rectified, splits, panels, lists):
        for index in prange(len(lists)):
            layout, width = layouts[0], columns * vector_lanes(x)
            chunk, split = divmod(np.int64(index), splits)
            starts, targets = lists[index, 0], lists[index, 1]
            first_tile, last_tile = chunk_range(chunk, len(lists) // splits, layout.tiles)
            first_panel, last_panel = chunk_range(split, splits, layout.groups * layout.blocks)
            for number in range(len(regions)):
                region = regions[number]
                windows = layout.images * region.rows * region.columns
                first = max(0, first_tile - region.first_tile) * rows
                last = min(windows, (last_tile - region.first_tile) * rows)
                for start in range(first, last, BLOCK):
                    end = min(last, start + BLOCK)
                    list_windows(region, layout, start, end, starts, targets)
                    for panel in range(first_panel, last_panel):
                        group, block = divmod(panel, layout.blocks)
                        shift = group * layout.source_group
                        channel = group * layout.outputs + block * width
                        channels = min(width, layout.outputs - block * width)
                        first_weights = (panel * layout.terms + region.weights) * width
                        for window in range(0, end - start, rows):
                            if len(b):
                                acc = tile_bias(b, channel, channels, rows, columns)
                            else:
                                acc = tile_zero(x, rows, columns)
                            places = tile_offsets(starts, window, rows)
                            for down in range(region.runs_down):
                                for across in range(region.runs_across):
                                    offset = shift + down * region.run_down
                                    offset += across * region.run_across
                                    weights = down * region.weights_down
                                    weights += across * region.weights_across
                                    weights = first_weights + weights * width
                                    for k in range(offset, offset + region.run):
                                        acc = tile_fma(acc, x, places, k, panels, weights)
                                        weights += width
                            if is_rectified:
                                acc = tile_relu(acc)
                            outputs = tile_offsets(targets, window, rows)
                            tile_store_rows(acc, y, outputs, channel, channels)

    return correlate


# One kernel for each width of tiles, compiled when it is first needed.
_correlate = {columns: _correlation(rows, columns) for columns, rows in ROWS_FOR.items()}


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
    if is_transposed:
        pack_transposed(kernel, plan.groups, plan.inputs, plan.taps, plan.tile_width, panels)
    elif packs:
        pack(kernel, plan.groups, len(plan.taps) * plan.inputs, plan.tile_width, panels)
    b = kernel[:0] if b is None else b
    _correlate[plan.tile_columns](
        *(x.reshape(-1), b, y.reshape(-1), plan.regions, plan.layout, is_rectified, splits),
        *(panels if packs else kernel, lists),
    )
