"""Depthwise convolution on the CPU: every channel for itself, so lanes are channels throughout.

``y[p, c] = b[c] + Σ_t x[start(p) + place(t) + c] · w[t, c]``        t runs over (u, v)

A tile is some windows × one vector of channels; each step multiplies the vectors of x under one
element of the kernel with that element's weights. The input gradient is the same with dy for x and
the kernel's elements in the order of its regions (see `regions`); only the end of the last vector
of channels is masked. There are as many loads as multiply-adds, so the caches set the pace, and
windows are taken in an order in which neighbours find each other's pixels there.

For the gradient ``dw[t, c] = Σ_p x[start(p) + place(t) + c] · dy[p, c]`` the rows of a tile are the
kernel's elements, and p runs over a block of windows.

With more than one filter for each channel the inputs would have to be spread over the lanes: that
is left to grouped convolution, one channel being one group.
"""

from functools import lru_cache

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.conv2d import (
    conv2d_backward_input,
    conv2d_backward_params,
    conv2d_forward,
)
from convlib.kernels.cpu.correlation import BLOCK, SPARE, list_windows
from convlib.kernels.cpu.outer_products import add_chunks, elements_under_windows
from convlib.kernels.cpu.panels import TASKS
from convlib.kernels.cpu.regions import SMALL, backward_input_plan, forward_plan
from convlib.kernels.cpu.tasks import chunk_range
from convlib.kernels.cpu.tile import (
    ROWS_FOR,
    tile_bias,
    tile_fma_lanes,
    tile_load_rows,
    tile_offsets,
    tile_store_rows,
    tile_zero,
    vector_lanes,
)

ROWS = ROWS_FOR[1]
ELEMENTS = 9  # rows of a tile of dw: a kernel of 3×3 is one tile
CHUNK = 512  # windows at least that one task sums for dw


@njit
def _correlate_block(x, starts, targets, windows, region, layout, taps, w, b, y):
    """Compute all channels of the windows that are listed."""
    for window in range(0, windows, ROWS):
        places = tile_offsets(starts, window, ROWS)
        outputs = tile_offsets(targets, window, ROWS)
        for channel in range(0, layout.filters, vector_lanes(x)):
            channels = layout.filters - channel
            if len(b):
                acc = tile_bias(b, channel, channels, ROWS, 1)
            else:
                acc = tile_zero(x, ROWS, 1)
            for down in range(region.runs_down):
                for across in range(region.runs_across):
                    offset = channel + down * region.run_down + across * region.run_across
                    tap = region.weights + down * region.weights_down + across
                    for k in range(region.run):  # one element, but of a single channel several
                        weights = taps[tap + k] * layout.filters + channel
                        acc = tile_fma_lanes(acc, x, places, offset + k, w, weights, channels)
            tile_store_rows(acc, y, outputs, channel, channels)


@njit(cache=True, parallel=True)
def _correlate(x, w, b, y, regions, layouts, taps, lists):
    tasks, tiles = len(lists), layouts[0].tiles
    for index in prange(tasks):
        task = np.int64(index)  # prange counts in uint64
        layout = layouts[0]
        starts, targets = lists[task, 0], lists[task, 1]
        first_tile, last_tile = chunk_range(task, tasks, tiles)
        for number in range(len(regions)):
            region = regions[number]
            windows = layout.images * region.rows * region.columns
            first = max(0, first_tile - region.first_tile) * ROWS
            last = min(windows, (last_tile - region.first_tile) * ROWS)
            for start in range(first, last, BLOCK):
                end = min(last, start + BLOCK)
                list_windows(region, layout, start, end, starts, targets)
                _correlate_block(x, starts, targets, end - start, region, layout, taps, w, b, y)


def _run(plan, x, w, b, y, scratch):
    if y.size == 0:
        return
    tasks = 1 if plan.multiply_adds <= SMALL // 8 else min(TASKS, plan.tiles)
    (lists,) = scratch.take(((tasks, 2, BLOCK + SPARE), np.int64))
    w = w.reshape(-1)
    b = w[:0] if b is None else b
    _correlate(x.reshape(-1), w, b, y.reshape(-1), plan.regions, plan.layout, plan.taps, lists)


def _as_groups(w):
    """Return the kernel as that of a convolution in as many groups as there are channels."""
    return w.reshape(*w.shape[:2], 1, w.shape[2] * w.shape[3])


def depthwise_conv2d_forward(x, w, b, y, strides, padding, dilation, scratch):
    """Compute tiles of windows × channels; see the module's text and the contract."""
    kernel, groups = _as_groups(w), w.shape[2]
    if w.shape[3] > 1:
        conv2d_forward(x, kernel, b, y, strides, padding, dilation, groups, scratch)
        return
    plan = forward_plan(x.shape, kernel.shape, y.shape, strides, padding, dilation, groups, x.dtype)
    _run(plan, x, w, b, y, scratch)


def depthwise_conv2d_backward_input(dy, w, dx, strides, padding, dilation, scratch):
    """Correlate dy with the flipped kernel, phase by phase of the strides; see the contract."""
    kernel, groups = _as_groups(w), w.shape[2]
    if w.shape[3] > 1:
        conv2d_backward_input(dy, kernel, dx, strides, padding, dilation, groups, scratch)
        return
    plan = backward_input_plan(
        dy.shape, kernel.shape, dx.shape, strides, padding, dilation, groups, dy.dtype
    )
    _run(plan, dy, w, None, dx, scratch)


@njit
def _add_block(x, dy, starts, targets, windows, places, terms, filters, ones, total, bias):
    """Add the products of a block of windows to all elements of the kernel and the bias."""
    for channel in range(0, filters, vector_lanes(x)):
        channels = filters - channel
        for first in range(0, len(places), ELEMENTS):
            seen = tile_offsets(places, first, ELEMENTS)
            rows = tile_offsets(terms, first, ELEMENTS)
            acc = tile_load_rows(tile_zero(x, ELEMENTS, 1), total, rows, channel, channels)
            for window in range(windows):
                place, gradient = starts[window] + channel, targets[window] + channel
                acc = tile_fma_lanes(acc, x, seen, place, dy, gradient, channels)
            tile_store_rows(acc, total, rows, channel, channels)
        sums = tile_bias(bias, channel, channels, 1, 1)
        for window in range(windows):
            gradient = targets[window] + channel
            sums = tile_fma_lanes(sums, dy, (0,), gradient, ones, 0, channels)
        tile_store_rows(sums, bias, (0,), channel, channels)


@njit(cache=True, parallel=True)
def _outer_products(x, dy, dw, db, regions, layouts, elements, totals, biases, lists, ones):
    chunks = len(totals)
    for index in prange(chunks):
        chunk = np.int64(index)
        layout = layouts[0]
        starts, targets = lists[chunk, 0], lists[chunk, 1]
        totals[chunk] = 0
        biases[chunk] = 0
        for number in range(len(regions)):
            region = regions[number]
            windows = layout.images * region.rows * region.columns
            first, last = chunk_range(chunk, chunks, windows)
            for start in range(first, last, BLOCK):
                end = min(last, start + BLOCK)
                list_windows(region, layout, start, end, starts, targets)
                _add_block(
                    x, dy, starts, targets, end - start, elements[0, number], elements[1, number],
                    layout.filters, ones, totals[chunk], biases[chunk],
                )  # fmt: skip
    add_chunks(totals, dw, 0, len(dw))
    add_chunks(biases, db, 0, len(db))


@lru_cache(maxsize=1024)
def _chunks(plan):
    windows = plan.layout[0]["images"] * (plan.regions["rows"] * plan.regions["columns"]).sum()
    return int(max(1, min(TASKS, windows // CHUNK)))


def depthwise_conv2d_backward_params(x, dy, dw, db, strides, padding, dilation, scratch):
    """Sum tiles of the kernel's elements × channels over the windows; see the contract."""
    kernel, groups = _as_groups(dw), dw.shape[2]
    if dw.shape[3] > 1 or dy.size == 0:
        conv2d_backward_params(x, dy, kernel, db, strides, padding, dilation, groups, scratch)
        return
    plan = forward_plan(
        x.shape, kernel.shape, dy.shape, strides, padding, dilation, groups, x.dtype
    )
    chunks, filters = _chunks(plan), dy.shape[-1]
    totals, biases, bias, lists, ones = scratch.take(
        ((chunks, dw.size), x.dtype),
        ((chunks, filters), x.dtype),
        ((filters,), x.dtype),
        ((chunks, 2, BLOCK + SPARE), np.int64),
        ((16,), x.dtype),
    )
    ones[...] = 1
    _outer_products(
        x.reshape(-1),
        dy.reshape(-1),
        dw.reshape(-1),
        bias if db is None else db,
        plan.regions,
        plan.layout,
        elements_under_windows(plan, ELEMENTS),
        totals,
        biases,
        lists,
        ones,
    )
