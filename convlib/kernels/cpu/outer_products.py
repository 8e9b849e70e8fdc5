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
are the windows, region after region, cut into chunks as well, whose number depends on the shapes
alone: each chunk has sums of its own, which are added in order (see `sums`), so that the bits do
not depend on the number of threads.
"""

from functools import lru_cache

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.correlation import SPARE, list_windows
from convlib.kernels.cpu.panels import TASKS
from convlib.kernels.cpu.regions import SMALL
from convlib.kernels.cpu.sums import add_parts
from convlib.kernels.cpu.tasks import HELPER, PARALLEL, chunk_range
from convlib.kernels.cpu.tile import (
    NEIGHBOURS_FOR,
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


@njit(**HELPER)
def _are_neighbours(places, first, rows):
    """Tell whether a tile's elements follow each other in memory: one address will do for all."""
    for row in range(1, rows):
        if places[first + row] != places[first] + row:
            return False
    return True


def _outer_product(rows, columns):
    """Return the kernel whose tiles have so many elements of the kernel × vectors of outputs."""

    @njit(**PARALLEL)
    def outer_product(x, dy, regions, layouts, elements, splits, totals, biases, lists, memory):
        for index in prange(len(lists)):
            layout, gradients = layouts[0], memory[index]
            starts, targets = lists[index, 0], lists[index, 1]
            width = columns * vector_lanes(x)
            panels, chunks = layout.groups * layout.blocks, len(totals)
            chunk, part = divmod(np.int64(index), panels * splits)  # prange counts in uint64
            panel, split = divmod(part, splits)
            group, block = divmod(panel, layout.blocks)
            channel = group * layout.outputs + block * width
            channels = min(width, layout.outputs - block * width)
            first_tile, last_tile = chunk_range(split, splits, elements.shape[2] // rows)
            shift, total, bias = group * layout.source_group, totals[chunk], biases[chunk]
            like = tile_zero(x, rows, columns)
            for k in range(first_tile * rows, min(layout.terms, last_tile * rows)):
                for o in range(channels):
                    total[k * layout.filters + channel + o] = 0
            if split == 0:
                for o in range(channels):
                    bias[channel + o] = 0
            longest = min(LONGEST_BLOCK, BLOCK_SIZE // width)
            first, last = chunk_range(chunk, chunks, layout.windows)
            for number in range(len(regions)):
                region = regions[number]
                places, terms = elements[0, number], elements[1, number]
                windows = layout.images * region.rows * region.columns
                stop = min(windows, last)
                for start in range(max(first, 0), stop, longest):
                    count = min(stop - start, longest)
                    list_windows(region, layout, start, start + count, starts, targets)
                    for window in range(0, count, rows):
                        outputs = tile_offsets(targets, window, rows)
                        part = tile_load_rows(like, dy, outputs, channel, channels)
                        tile_store(part, gradients, window * width, width, rows, width)
                    if split == 0:
                        sums, one = tile_bias(bias, channel, channels, 1, columns), x.dtype.type(1)
                        for window in range(count):
                            sums = tile_add_runs(sums, gradients, window * width, (0,), one, width)
                        tile_store(sums, bias, channel, 0, 1, channels)
                    for tile in range(first_tile, last_tile):
                        seen = tile_offsets(places, tile * rows, rows)
                        outputs = tile_offsets(terms, tile * rows, rows)
                        acc = tile_load_rows(like, total, outputs, channel, channels)
                        if _are_neighbours(places, tile * rows, rows):
                            place = shift + places[tile * rows]
                            for window in range(count):
                                here = place + starts[window]
                                acc = tile_fma_run(acc, x, here, gradients, window * width)
                        else:
                            for window in range(count):
                                here = shift + starts[window]
                                acc = tile_fma(acc, x, seen, here, gradients, window * width)
                        tile_store_rows(acc, total, outputs, channel, channels)
                first, last = first - windows, last - windows

    return outer_product


# One kernel for each width of tiles, compiled when it is first needed.
_outer_products = {
    columns: _outer_product(rows, columns) for columns, rows in NEIGHBOURS_FOR.items()
}


@lru_cache(maxsize=1024)
def _division_of_labour(plan, size, tile_rows):
    """Return into how many chunks of windows and ranges of tiles the work is split."""
    layout = plan.layout[0]
    if plan.multiply_adds <= SMALL:
        return 1, 1
    most = min(layout["windows"] // CHUNK, LARGEST_PARTIAL_SUM // size)
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
    tile_rows = NEIGHBOURS_FOR[plan.tile_columns]
    chunks, splits = _division_of_labour(plan, dw.size, tile_rows)
    tasks, parts = chunks * splits * plan.panels, chunks if chunks > 1 else 0
    filters = dy.shape[-1]
    # The bias' sums come first: they are postponed more often.
    biases, totals = scratch.take_sums(((parts, filters), x.dtype), ((parts, dw.size), x.dtype))
    bias, lists, gradients = scratch.take(
        ((filters,), x.dtype),
        ((tasks, 2, LONGEST_BLOCK + SPARE), np.int64),
        ((tasks, BLOCK_SIZE + SPARE * 64), x.dtype),
    )
    if parts == 0:
        totals, biases = dw.reshape(1, -1), (bias if db is None else db).reshape(1, -1)
    _outer_products[plan.tile_columns](
        *(x.reshape(-1), dy.reshape(-1), plan.regions, plan.layout),
        *(elements_under_windows(plan, tile_rows), splits, totals, biases, lists, gradients),
    )
    if parts:
        add_parts(db, biases, scratch)
        add_parts(dw, totals, scratch)
