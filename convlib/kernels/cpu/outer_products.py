"""The gradient of a kernel, by register tiles.

``dw[k, o] = Σ_p x[start(p) + place(k)] · dy[p, o]`` and ``db[o] = Σ_p dy[p, o]``

p runs over windows, k over the elements (u, v, c) of the kernel. A tile of dw, some k × a few
vectors of output channels, stays in registers while p runs: each step multiplies one row of dy
with the few numbers of x that lie under the tile's elements.

Blocking: the rows of dy that belong to a *panel* of output channels are copied side by side, a
block of windows at a time, so that they stay in the first-level cache while all tiles of the
panel add them up. Windows are taken region by region (see `regions`); a tile leaves out those
rows of the kernel that the region's windows do not see.

Tasks share the panels and, where there are many, ranges of k. Only if that gives too few of them
are the windows cut into chunks as well, whose number depends on the shapes alone: each chunk has
sums of its own, which are added in order, so that the bits do not depend on the number of threads.
"""

from functools import lru_cache

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.correlation import SMALL, SPARE, TASKS, list_windows
from convlib.kernels.cpu.sums import chunk_range
from convlib.kernels.cpu.tile import (
    HAS_32_REGISTERS,
    NEIGHBOURS_FOR,
    lanes,
    tile_add_runs,
    tile_bias,
    tile_fma,
    tile_fma_run,
    tile_load_rows,
    tile_offsets,
    tile_store,
    tile_store_rows,
    tile_zero,
    vector_lanes,
)

BLOCK_SIZE = 1 << 13  # numbers of dy that stay in the first-level cache
LONGEST_BLOCK = 512  # windows
TILES_PER_TASK = 24  # so that copying dy once more for each task is a small part of the work
CHUNK = 1024  # windows at least, so that adding up the chunks' sums is a small part of the work
LARGEST_PARTIAL_SUM = 1 << 24  # numbers in all partial sums of dw together


def _tile_rows(plan, dtype):
    return NEIGHBOURS_FOR[int(plan.layout[0]["width"]) // lanes(dtype)]


@lru_cache(maxsize=256)
def elements_under_windows(plan, tile_rows):
    """Return where the kernel's elements lie under each region's windows, and where in dw.

    Two arrays (regions, terms rounded up to whole tiles): the place, counted from where the window
    starts, and the offset of the row of dw, −1 for elements that the windows do not see.
    """
    layout = plan.layout[0]
    padded = -(-layout["terms"] // tile_rows) * tile_rows
    elements = np.zeros((2, len(plan.regions), padded), np.int64)
    places, rows = elements
    rows[...] = -1
    for index, region in enumerate(plan.regions):
        down, across, inside = np.ogrid[
            : region["runs_down"], : region["runs_across"], : region["run"]
        ]
        term = region["weights"] + down * region["weights_down"]
        term = (term + across * region["weights_across"] + inside).ravel()
        place = down * region["run_down"] + across * region["run_across"] + inside
        places[index, term] = place.ravel()
        rows[index, term] = term * layout["filters"]
    return elements


def _add_products(rows, columns):
    """Return the function that adds a block of windows to tiles of so many k × vectors."""

    @njit
    def add_products(
        x, dy, starts, targets, windows, shift, places, terms, tiles, output, gradients, total, bias
    ):
        width = columns * vector_lanes(x)
        channel, channels = output
        like = tile_zero(x, rows, columns)
        for window in range(0, windows, rows):
            block = tile_load_rows(like, dy, tile_offsets(targets, window, rows), channel, channels)
            tile_store(block, gradients, window * width, width, rows, width)
        if tiles[0] == 0:
            one = gradients.dtype.type(1)
            acc = tile_bias(bias, channel, channels, 1, columns)
            for window in range(windows):
                acc = tile_add_runs(acc, gradients, window * width, (0,), one, width)
            tile_store(acc, bias, channel, 0, 1, channels)
        for tile in range(tiles[0], tiles[1]):
            seen = tile_offsets(places, tile * rows, rows)
            targets_in_dw = tile_offsets(terms, tile * rows, rows)
            acc = tile_load_rows(like, total, targets_in_dw, channel, channels)
            if _are_neighbours(places, tile * rows, rows):
                first = shift + places[tile * rows]
                for window in range(windows):
                    acc = tile_fma_run(acc, x, first + starts[window], gradients, window * width)
            else:
                for window in range(windows):
                    acc = tile_fma(acc, x, seen, shift + starts[window], gradients, window * width)
            tile_store_rows(acc, total, targets_in_dw, channel, channels)

    return add_products


@njit
def _are_neighbours(places, first, rows):
    """Tell whether a tile's elements follow each other in memory: one address will do for all."""
    for row in range(1, rows):
        if places[first + row] != places[first] + row:
            return False
    return True


_add_1, _add_2, _add_3, _add_4 = (
    _add_products(NEIGHBOURS_FOR.get(columns, 1), columns) for columns in (1, 2, 3, 4)
)


@njit
def _add_block(
    x, dy, starts, targets, windows, shift, places, terms, tiles, output, gradients, total, bias,
    width,
):  # fmt: skip
    """Copy a block of windows' gradients and add it to a range of the tiles of one panel."""
    columns = width // vector_lanes(x)
    if columns == 1:
        _add_1(
            x, dy, starts, targets, windows, shift, places, terms, tiles, output, gradients, total,
            bias,
        )  # fmt: skip
    elif columns == 2:
        _add_2(
            x, dy, starts, targets, windows, shift, places, terms, tiles, output, gradients, total,
            bias,
        )  # fmt: skip
    elif HAS_32_REGISTERS:  # known to the compiler, which leaves out the rest without them
        if columns == 3:
            _add_3(
                x, dy, starts, targets, windows, shift, places, terms, tiles, output, gradients,
                total, bias,
            )  # fmt: skip
        else:
            _add_4(
                x, dy, starts, targets, windows, shift, places, terms, tiles, output, gradients,
                total, bias,
            )  # fmt: skip


@njit
def _sum_panel(
    x, dy, regions, layout, elements, panel, tiles, tile_rows, chunk, chunks, total, bias, lists,
    gradients,
):  # fmt: skip
    """Sum a chunk of all windows, for a range of tiles of one panel."""
    group, block = divmod(panel, layout.blocks)
    width, shift = layout.width, group * layout.source_group
    channel = group * layout.outputs + block * width
    channels = min(width, layout.outputs - block * width)
    starts, targets = lists[0], lists[1]
    for k in range(tiles[0] * tile_rows, min(layout.terms, tiles[1] * tile_rows)):
        first = k * layout.filters + channel
        total[first : first + channels] = 0
    if tiles[0] == 0:
        bias[channel : channel + channels] = 0
    longest = min(LONGEST_BLOCK, BLOCK_SIZE // width)
    for index in range(len(regions)):
        region = regions[index]
        first, last = chunk_range(chunk, chunks, layout.images * region.rows * region.columns)
        for start in range(first, last, longest):
            windows = min(last - start, longest)
            list_windows(region, layout, start, start + windows, starts, targets)
            _add_block(
                x, dy, starts, targets, windows, shift, elements[0, index], elements[1, index],
                tiles, (channel, channels), gradients, total, bias, width,
            )  # fmt: skip


@njit
def add_chunks(totals, total, first, last):
    """Write the sum of the chunks' totals, added in order, for a range of elements."""
    total[first:last] = totals[0, first:last]
    for chunk in range(1, len(totals)):
        for i in range(first, last):
            total[i] += totals[chunk, i]


@njit(cache=True, parallel=True)
def _outer_products(
    x, dy, dw, db, regions, layouts, elements, labour, totals, biases, lists, gradients
):
    chunks, splits, tile_rows = labour
    tiles = elements.shape[2] // tile_rows
    panels = layouts[0].groups * layouts[0].blocks
    if chunks * splits * panels == 1:
        _sum_panel(
            x, dy, regions, layouts[0], elements, 0, (0, tiles), tile_rows, 0, 1, dw, db, lists[0],
            gradients[0],
        )  # fmt: skip
    else:
        for index in prange(chunks * panels * splits):
            task = np.int64(index)  # prange counts in uint64
            chunk, part = divmod(task, panels * splits)
            panel, split = divmod(part, splits)
            total, bias = (dw, db) if chunks == 1 else (totals[chunk], biases[chunk])
            mine = chunk_range(split, splits, tiles)
            _sum_panel(
                x, dy, regions, layouts[0], elements, panel, mine, tile_rows, chunk, chunks, total,
                bias, lists[task], gradients[task],
            )  # fmt: skip
    if chunks > 1:
        for index in prange(TASKS):
            add_chunks(totals, dw, *chunk_range(index, TASKS, len(dw)))
        add_chunks(biases, db, 0, len(db))


@lru_cache(maxsize=1024)
def _division_of_labour(plan, size, tile_rows):
    """Return into how many chunks of windows and ranges of tiles the work is split."""
    layout = plan.layout[0]
    if plan.multiply_adds <= SMALL:
        return 1, 1
    windows = layout["images"] * (plan.regions["rows"] * plan.regions["columns"]).sum()
    most = min(windows // CHUNK, LARGEST_PARTIAL_SUM // size)
    chunks = int(max(1, min(-(-TASKS // plan.panels), most)))
    tiles = -(-layout["terms"] // tile_rows)
    return chunks, int(max(1, min(-(-TASKS // (plan.panels * chunks)), tiles // TILES_PER_TASK)))


def add_outer_products(plan, x, dy, dw, db, scratch):
    """Run a plan of forward for the gradients of kernel and bias."""
    if dy.size == 0:
        dw[...] = 0
        if db is not None:
            db[...] = 0
        return
    tile_rows = _tile_rows(plan, x.dtype)
    chunks, splits = _division_of_labour(plan, dw.size, tile_rows)
    tasks, parts = chunks * splits * plan.panels, chunks if chunks > 1 else 0
    filters = dy.shape[-1]
    totals, biases, bias, lists, gradients = scratch.take(
        ((parts, dw.size), x.dtype),
        ((parts, filters), x.dtype),
        ((filters,), x.dtype),
        ((tasks, 2, LONGEST_BLOCK + SPARE), np.int64),
        ((tasks, BLOCK_SIZE + SPARE * 64), x.dtype),
    )
    _outer_products(
        x.reshape(-1),
        dy.reshape(-1),
        dw.reshape(-1),
        bias if db is None else db,
        plan.regions,
        plan.layout,
        elements_under_windows(plan, tile_rows),
        (chunks, splits, tile_rows),
        totals,
        biases,
        lists,
        gradients,
    )
