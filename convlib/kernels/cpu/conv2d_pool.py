"""Convolution, ReLU and max-pooling in one pass, and the sparse way back.

Forward: ``y[p, o] = max(0, max_q b[o] + Σ_k x[start(p, q) + place(k)] · w[k, o])``: p runs over
pooling windows, q over the pixels of one. A tile holds the sums of all q of a few windows (or, for
large windows, of one q at a time). When they are complete they compete in registers. The maximum
is stored, and a byte that remembers the q that won, or `CLIPPED` if ReLU stops the gradient. The
convolution's output is never stored, and pixels that pooling drops are not computed. With many
channels, Winograd's way is faster and ends in the same competition (see `winograd`).

Backward: of the pixels under a pooling window one has a gradient, or none. One with gradient g,
whose patch starts at s, contributes

    dw[k, o] += g · x[s + place(k)]        dx[s + place(k)] += g · w[k, o]

along contiguous runs of k: a quarter of the dense work, less what was clipped. No loop asks whether
a pixel won, for the processor would guess wrong every other time; the winners are listed first, a
vector of them at once. There are four ways through the lists, each with a few runs in registers:

* dw, with many input channels: one output channel's list after the other, a tile of its sums;
* dw, with few (`PATCH_GEOMETRY`): no list, but each lane selects its winner's patch by its code;
* dx, for `PATCH_GEOMETRY`: a tile is the 4×4 pixels under a pooling window, for one vector of
  input channels; all that won there add their multiples of w to it;
* dx in general: a tile of one output channel's weights, of which each winner adds a multiple to an
  image that stays in the cache.

Few input channels under another geometry are left to a dense sum over q and p in tiles of rows k
and columns o, with gradients that are zero where the code is not q.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from convlib.kernels._cache import stamped_cache
from convlib.kernels.cpu import winograd
from convlib.kernels.cpu.frames import (
    BLOCK,
    LARGEST_PARTIAL_SUM,
    TASKS,
    Plan,
    fill_frame,
    forward_plan,
    frame_size,
    row_length,
)
from convlib.kernels.cpu.panels import pack
from convlib.kernels.cpu.sums import add_parts
from convlib.kernels.cpu.tasks import HELPER, PARALLEL, chunk_range, record_of
from convlib.kernels.cpu.tile import (
    HAS_32_REGISTERS,
    columns_for,
    lanes,
    list_winners,
    tile_add,
    tile_add_patch,
    tile_add_runs,
    tile_append_winners,
    tile_bias,
    tile_fma,
    tile_fma_won,
    tile_fma_won_patch,
    tile_load,
    tile_load_codes,
    tile_load_grid,
    tile_load_part,
    tile_offsets,
    tile_pool,
    tile_scatter,
    tile_square,
    tile_store,
    tile_store_grid,
    tile_transpose_lanes,
    tile_zero,
    vector_lanes,
)

CLIPPED = 255
IMAGES_PER_CHUNK = 8  # at least, so that adding up the chunks stays small against filling them

# The rows of a tile of dw, by its columns: what leaves registers for operands and addresses. Nine
# suit kernels of 3×3 (9 elements for one input channel, 27 for three).
DENSE_ROWS = {1: 9, 2: 9, 4: 6} if HAS_32_REGISTERS else {1: 9, 2: 6}

# Winners are added up in tiles of up to three runs with so many vectors each, or as many in all.
RUN_VECTORS = 6 if HAS_32_REGISTERS else 4


# Vectors of the tiles in which pixels compete.
LARGEST_TILE = 24 if HAS_32_REGISTERS else 12

# What the 4×4 pixels under one pooling window can be kept in registers for.
PATCH_GEOMETRY = (3, 3), (2, 2), (1, 1), (1, 1), 1


class Pooling(NamedTuple):
    """Offsets, in elements of x, from the first element under a pooling window."""

    pixels: np.ndarray  # to the patch of each pixel, by its code; 0 for codes that mean none
    runs: np.ndarray  # from a patch's start to its contiguous runs
    elements: np.ndarray  # and to all its elements, the last one repeated to whole tiles
    # From the first patch of an image to those of all windows and pixels: window by window, and in
    # the order of forward's tiles, some pixels of all windows before the next, with spare windows.
    patches: np.ndarray
    places: np.ndarray


def _pixels_at_once(pool_size):
    """Return how many pixels of a pooling window have a row of the same tile."""
    pixels = pool_size[0] * pool_size[1]
    return pixels if pixels <= LARGEST_TILE else 1


@lru_cache(maxsize=1024)
def _plan(x_shape, w_shape, pooled_size, pool_size, strides, padding, dilation, groups, dtype):
    """Return the convolution's plan with pooling windows as windows, its record, and offsets."""
    at_once = _pixels_at_once(pool_size)
    columns = columns_for(w_shape[3] // groups, dtype)
    columns = max(c for c in (1, 2, 4) if c == 1 or c <= columns and c * at_once <= LARGEST_TILE)
    windows, frame, tiling = forward_plan(
        x_shape, w_shape, pooled_size, strides, padding, dilation, groups, columns, dtype
    )
    row = windows.columns * windows.next_column + windows.next_row
    image = windows.rows * row + windows.next_image
    pixels = np.zeros(CLIPPED + 1, np.int64)
    down, across = np.divmod(np.arange(pool_size[0] * pool_size[1]), pool_size[1])
    pixels[: len(down)] = down * row + across * windows.next_column
    down, across = np.divmod(np.arange(windows.runs), windows.runs_across)
    runs = down * windows.run_down + across * windows.run_across
    elements = np.add.outer(runs, np.arange(windows.run)).reshape(-1)
    spare = -tiling.terms % DENSE_ROWS[tiling.columns]
    row, across = row * pool_size[0], windows.next_column * pool_size[1]
    windows = windows._replace(
        next_column=across,
        next_row=row - windows.columns * across,
        next_image=image - windows.rows * row,
    )
    row = windows.columns * windows.next_column + windows.next_row
    starts = np.add.outer(
        np.arange(windows.rows) * row, np.arange(windows.columns) * windows.next_column
    )
    patches = np.add.outer(starts.reshape(-1), pixels[: pool_size[0] * pool_size[1]])
    places = np.pad(patches, ((0, LARGEST_TILE), (0, 0)), "edge")
    places = places.reshape(len(places), -1, at_once).transpose(1, 0, 2)
    elements = np.pad(elements, (0, spare), "edge")
    plan = Plan(windows, frame, tiling)
    pooling = Pooling(pixels, runs, elements, patches.reshape(-1), places.reshape(-1).copy())
    return plan, record_of(plan), pooling


def _convolution_and_pooling(columns, pixels):
    """Return the kernel whose tiles have so many columns, and rows for so many pixels at once."""
    windows_in_tile = max(1, LARGEST_TILE // (columns * pixels))
    rows = windows_in_tile * pixels

    @njit(**PARALLEL)
    def convolve_and_pool(x, plans, places, runs, panels, b, y, code, frames):
        for index in prange(len(frames)):
            windows, frame, tiling = plans[0].windows, plans[0].frame, plans[0].tiling
            per_image, framed = windows.rows * windows.columns, frames[index]
            width = columns * vector_lanes(x)
            filters, length = tiling.groups * tiling.outputs, per_image + LARGEST_TILE
            for element in range(len(framed)):
                framed[element] = 0
            first, last = chunk_range(index, len(frames), tiling.images * tiling.parts)
            for part in range(first, last):
                image, number = divmod(part, tiling.parts)
                source, origin = x, _first_patch(image, windows)
                if tiling.is_framed:
                    fill_frame(x, image, frame, framed)
                    source, origin = framed, 0
                tiles = chunk_range(number, tiling.parts, -(-per_image // windows_in_tile))
                stop = min(per_image, tiles[1] * windows_in_tile)
                for start in range(tiles[0] * windows_in_tile, stop, BLOCK):
                    end = min(stop, start + BLOCK)
                    for panel in range(tiling.groups * tiling.blocks):
                        group, block = divmod(panel, tiling.blocks)
                        channel = group * tiling.outputs + block * width
                        channels = min(width, tiling.outputs - block * width)
                        shift = origin + group * windows.group
                        for window in range(start, end, windows_in_tile):
                            target = (image * per_image + window) * filters + channel
                            for q in range(0, len(places) // length, pixels):
                                if len(b):
                                    acc = tile_bias(b, channel, channels, rows, columns)
                                else:
                                    acc = tile_zero(x, rows, columns)
                                patches = tile_offsets(places, q * length + window * pixels, rows)
                                weights = panel * tiling.terms * width
                                for run in range(len(runs)):
                                    offset = shift + runs[run]
                                    for k in range(offset, offset + windows.run):
                                        acc = tile_fma(acc, source, patches, k, panels, weights)
                                        weights += width
                                some = end - window
                                tile_pool(
                                    acc, y, code, target, filters, some, channels, q, CLIPPED,
                                    pixels,
                                )  # fmt: skip

    return convolve_and_pool


@lru_cache(maxsize=None)
def _convolve_and_pool(columns, pixels):
    """Return the kernel, which is compiled when it is first needed."""
    with stamped_cache():
        return _convolution_and_pooling(columns, pixels)


def conv2d_relu_max_pool2d_forward(
    x, w, b, y, code, pool_size, strides, padding, dilation, groups, scratch
):
    """Let the pixels of each pooling window compete; see the module's text and the contract."""
    if y.size == 0:
        return
    window = (pool_size, strides, padding, dilation, groups, x.dtype)
    if winograd.wins_before_pooling(
        x.shape, w.shape, y.shape[1:3], *window
    ) and winograd.conv2d_relu_max_pool2d_forward(x, w, b, y, code, padding, scratch):
        return
    plan, plans, pooling = _plan(
        x.shape, w.shape, y.shape[1:3], pool_size, strides, padding, dilation, groups, x.dtype
    )
    tiling = plan.tiling
    panels, frames = scratch.take(
        ((tiling.groups * tiling.blocks * tiling.terms * tiling.width,), x.dtype),
        ((tiling.tasks, frame_size(plan) if tiling.is_framed else 0), x.dtype),
    )
    w = w.reshape(-1)
    pack(w, groups, tiling.terms, tiling.width, panels)
    b = w[:0] if b is None else b
    _convolve_and_pool(tiling.columns, _pixels_at_once(pool_size))(
        *(x.reshape(-1), plans, pooling.places, pooling.runs, panels, b),
        *(y.reshape(-1), code.reshape(-1), frames),
    )


@njit(**HELPER)
def _list_by_channel(dy, code, first, windows, filters, o, pixels, keys, gradients, counts):
    """List an image's winners for each of a vector of output channels, from o on.

    ``first`` is the place of the image's first maximum. A winner's key is the number of its pooling
    window times ``pixels``, the pixels in one, plus its code.
    """
    room, square = keys.shape[1], tile_square(dy)
    for lane in range(vector_lanes(dy)):
        counts[lane] = 0
    for window in range(0, windows, vector_lanes(dy)):
        place, rows, channels = first + window * filters + o, windows - window, filters - o
        values = tile_transpose_lanes(tile_load_part(square, dy, place, filters, rows, channels))
        codes = tile_transpose_lanes(tile_load_codes(square, code, place, filters, rows, channels))
        tile_append_winners(values, codes, window * pixels, pixels, room, keys, gradients, counts)


@njit(**HELPER)
def _first_patch(image, windows):
    """Return where the first patch of an image starts."""
    rows = windows.rows * (windows.columns * windows.next_column + windows.next_row)
    return image * (rows + windows.next_image)


@njit(**HELPER)
def _add_gradients(total, dy, code, first, last):
    """Add the gradients that are not clipped to the bias' sums."""
    filters = len(total)
    for place in range(first * filters, last * filters, filters):
        gradients, codes = dy[place : place + filters], code[place : place + filters]
        for o in range(filters):
            total[o] += gradients[o] if codes[o] != CLIPPED else 0


@lru_cache(maxsize=256)
def _run_tile(runs, run, lane_count):
    """Return how many runs and vectors of each a tile has, and whether such tiles cover them.

    If not, the vectors at the end of a run are masked, and only one run's masks find registers.
    """
    if run % lane_count:
        return 1, min(RUN_VECTORS, -(-run // lane_count)), False
    sizes = [
        (rows, vectors)
        for rows in range(1, runs + 1)
        for vectors in range(1, run // lane_count + 1)
        if runs % rows == 0 and run // lane_count % vectors == 0
        if rows * vectors <= 3 * RUN_VECTORS
    ]
    return *max(sizes, key=lambda size: size[0] * size[1]), True


def _sparse_sum(rows, vectors, is_whole):
    """Return the kernel that sums winners' patches in tiles of so many runs and vectors of each."""

    @njit(**PARALLEL)
    def sparse_sum(
        x, plans, runs, patches, dy, code, totals, bias_totals, frames, key_lists, gradient_lists,
        list_lengths,
    ):  # fmt: skip
        for index in prange(len(totals)):
            windows, frame, tiling = plans[0].windows, plans[0].frame, plans[0].tiling
            filters, per_image = tiling.groups * tiling.outputs, windows.rows * windows.columns
            pixels, width = len(patches) // per_image, vectors * vector_lanes(x)
            total, bias_total, framed = totals[index], bias_totals[index], frames[index]
            keys, gradients, counts = key_lists[index], gradient_lists[index], list_lengths[index]
            for element in range(len(total)):
                total[element] = 0
            for element in range(len(framed)):
                framed[element] = 0
            for o in range(filters):
                bias_total[o] = 0
            for image in range(*chunk_range(index, len(totals), tiling.images)):
                origin, source = _first_patch(image, windows), x
                if tiling.is_framed:
                    fill_frame(x, image, frame, framed)
                    origin, source = 0, framed
                place = image * per_image * filters
                for o in range(filters):
                    lane, first = o % vector_lanes(x), origin + o // tiling.outputs * windows.group
                    if lane == 0:
                        _list_by_channel(
                            dy, code, place, per_image, filters, o, pixels, keys, gradients, counts
                        )
                    for n in range(counts[lane]):
                        bias_total[o] += gradients[lane, n]
                    for k in range(0, windows.run, width):
                        length = width if is_whole else min(width, windows.run - k)
                        for run in range(0, len(runs), rows):
                            offsets = tile_offsets(runs, run, rows)
                            row = o * tiling.terms + run * windows.run + k
                            acc = tile_load(tile_zero(x, rows, vectors), total, row, windows.run)
                            for n in range(counts[lane]):
                                start = first + patches[keys[lane, n]] + k
                                acc = tile_add_runs(
                                    acc, source, start, offsets, gradients[lane, n], length
                                )
                            tile_store(acc, total, row, windows.run, rows, length)

    return sparse_sum


@lru_cache(maxsize=None)
def _sparse_params(rows, vectors, is_whole):
    """Return the kernel, which is compiled when it is first needed."""
    with stamped_cache():
        return _sparse_sum(rows, vectors, is_whole)


@njit(**PARALLEL)
def _transpose_chunks(totals, dw, terms):
    """Write ``dw[k, o] = Σ_chunk totals[chunk, o · terms + k]``, the chunks in order."""
    filters, lane_count = len(dw) // terms, vector_lanes(dw)
    for index in prange(-(-filters // lane_count)):
        o = np.int64(index) * lane_count  # prange counts in uint64
        square, outputs = tile_square(dw), filters - o
        for k in range(0, terms, lane_count):
            place = o * terms + k
            acc = tile_load_part(square, totals[0], place, terms, outputs, terms - k)
            for chunk in range(1, len(totals)):
                more = tile_load_part(square, totals[chunk], place, terms, outputs, terms - k)
                acc = tile_add(acc, more)
            acc = tile_transpose_lanes(acc)
            tile_store(acc, dw, k * filters + o, filters, terms - k, outputs)


def _dense_sum(rows, columns):
    """Return the kernel that sums tiles of so many elements of dw × vectors of channels."""

    @njit(**PARALLEL)
    def dense_sum(x, plans, patches, elements, dy, code, totals, bias_totals, frames):
        for index in prange(len(totals)):
            windows, frame, tiling = plans[0].windows, plans[0].frame, plans[0].tiling
            per_image, width = windows.rows * windows.columns, tiling.width
            filters, panels = tiling.groups * tiling.outputs, tiling.groups * tiling.blocks
            total, bias_total, framed = totals[index], bias_totals[index], frames[index]
            for element in range(len(total)):
                total[element] = 0
            for o in range(filters):
                bias_total[o] = 0
            for element in range(len(framed)):
                framed[element] = 0
            pixels = len(patches) // per_image
            for image in range(*chunk_range(index, len(totals), tiling.images)):
                _add_gradients(bias_total, dy, code, image * per_image, (image + 1) * per_image)
                first, source = _first_patch(image, windows), x
                if tiling.is_framed:
                    fill_frame(x, image, frame, framed)
                    first, source = 0, framed
                for panel in range(panels):
                    group, block = divmod(panel, tiling.blocks)
                    channel = group * tiling.outputs + block * width
                    channels = min(width, tiling.outputs - block * width)
                    shift = first + group * windows.group
                    for k in range(0, len(elements), rows):
                        places = tile_offsets(elements, k, rows)
                        target = (k * panels + panel) * width
                        acc = tile_load(tile_zero(dy, rows, columns), total, target, panels * width)
                        for window in range(per_image):
                            gradient = (image * per_image + window) * filters + channel
                            for q in range(pixels):
                                patch = shift + patches[window * pixels + q]
                                acc = tile_fma_won(
                                    acc, source, places, patch, dy, code, gradient, channels, q
                                )
                        tile_store(acc, total, target, panels * width, rows, width)

    return dense_sum


_dense_params = {columns: _dense_sum(rows, columns) for columns, rows in DENSE_ROWS.items()}


@njit(**HELPER)
def _select_image(x, first, windows, patches, dy, code, place, filters, total, row_length):
    """Add an image's pooling windows to the sums of a 3×3 kernel and of the bias.

    Rows of ``total``: nine times the input channels, then the bias.
    """
    channels = len(total) // (10 * row_length)
    down, across = patches[2], patches[1]
    for o in range(0, filters, vector_lanes(x)):
        for c in range(channels):
            start, window = first + c, place + o
            target, step = c * row_length + o, channels * row_length
            acc = tile_load(tile_zero(dy, 10, 1), total, target, step)
            for _ in range(windows.rows):
                for _ in range(windows.columns):
                    acc = tile_fma_won_patch(
                        acc, x, start, down, across, dy, code, window, filters - o
                    )
                    start += windows.next_column
                    window += filters
                start += windows.next_row
            tile_store(acc, total, target, step, 10, vector_lanes(x))


@njit(**PARALLEL)
def _select_params(x, plans, patches, dy, code, totals, frames):
    for index in prange(len(totals)):
        chunk = np.int64(index)
        windows, frame, tiling = plans[0].windows, plans[0].frame, plans[0].tiling
        filters = tiling.outputs
        total, framed = totals[chunk], frames[chunk]
        for element in range(len(total)):
            total[element] = 0
        for element in range(len(framed)):
            framed[element] = 0
        for image in range(*chunk_range(chunk, len(totals), tiling.images)):
            first, source = _first_patch(image, windows), x
            if tiling.is_framed:
                fill_frame(x, image, frame, framed)
                first, source = 0, framed
            place = image * windows.rows * windows.columns * filters
            row_length = tiling.blocks * tiling.width
            _select_image(
                source, first, windows, patches, dy, code, place, filters, total, row_length
            )


def _winner_requests(tasks, dy):
    """Return what lists of winners need of the work memory, by channel, for each task."""
    lane_count = lanes(dy.dtype)
    room = dy.shape[1] * dy.shape[2] + lane_count  # a whole vector may be written at the end
    return (
        ((tasks, lane_count, room), np.dtype(f"i{dy.itemsize}")),
        ((tasks, lane_count, room), dy.dtype),
        ((tasks, lane_count), np.int64),
    )


def conv2d_relu_max_pool2d_backward_params(
    x, dy, code, dw, db, pool_size, strides, padding, dilation, groups, scratch
):
    """Walk through the winners, or through all pixels where runs are short; see the module."""
    if dy.size == 0:
        dw[...] = 0
        if db is not None:
            db[...] = 0
        return
    plan, plans, pooling = _plan(
        x.shape, dw.shape, dy.shape[1:3], pool_size, strides, padding, dilation, groups, x.dtype
    )
    filters, width = dw.shape[3], RUN_VECTORS * lanes(x.dtype)
    is_sparse = plan.windows.run >= lanes(x.dtype)
    has_patches = (dw.shape[:2], pool_size, strides, dilation, groups) == PATCH_GEOMETRY
    if is_sparse:
        size = dw.size + width  # A tile may be read, though not written, beyond the last run's end.
    elif has_patches:
        size = 10 * dw.shape[2] * row_length(plan)
    else:
        size = len(pooling.elements) * row_length(plan)
    chunks = min(TASKS, -(-len(x) // IMAGES_PER_CHUNK), LARGEST_PARTIAL_SUM // size)
    chunks = max(1, chunks)
    bias_totals, totals = scratch.take_sums(((chunks, filters), x.dtype), ((chunks, size), x.dtype))
    frames, *lists = scratch.take(
        ((chunks, frame_size(plan) if plan.tiling.is_framed else 0), x.dtype),
        *_winner_requests(chunks, dy),
    )
    x, dy, code = x.reshape(-1), dy.reshape(-1), code.reshape(-1)
    rows = plan.tiling.outputs, plan.tiling.blocks * plan.tiling.width  # for one group
    if is_sparse:
        tile = _run_tile(len(pooling.runs), plan.windows.run, lanes(x.dtype))
        _sparse_params(*tile)(
            *(x, plans, pooling.runs, pooling.patches, dy, code, totals, bias_totals, frames),
            *lists,
        )
        _transpose_chunks(totals, dw.reshape(-1), plan.tiling.terms)
        add_parts(db, bias_totals, scratch)
    elif has_patches:
        _select_params(x, plans, pooling.pixels, dy, code, totals, frames)
        add_parts(dw, totals, scratch, rows=rows)
        add_parts(db, totals, scratch, plan.tiling.terms * row_length(plan))
    else:
        _dense_params[plan.tiling.columns](
            *(x, plans, pooling.patches, pooling.elements, dy, code),
            *(totals, bias_totals, frames),
        )
        add_parts(dw, totals, scratch, rows=rows)
        add_parts(db, bias_totals, scratch)


@njit(**HELPER)
def _copy_from_frame(framed, frame, image):
    """Copy what lies within the frame."""
    row_size = frame.width * frame.channels
    for row in range(frame.height):
        inside = ((frame.top + row) * frame.framed_width + frame.left) * frame.channels
        for element in range(row_size):
            image[row * row_size + element] = framed[inside + element]


def _scattering(rows, vectors, is_whole):
    """Return the kernel that keeps so many runs of weights, and vectors of each, in registers."""

    @njit(**PARALLEL)
    def scatter(
        dy, code, kernel, dx, plans, runs, patches, frames, key_lists, gradient_lists, list_lengths
    ):
        for index in prange(len(frames)):
            windows, frame, tiling = plans[0].windows, plans[0].frame, plans[0].tiling
            image_size = frame.height * frame.width * frame.channels
            filters, per_image = tiling.groups * tiling.outputs, windows.rows * windows.columns
            pixels, width = len(patches) // per_image, vectors * vector_lanes(dx)
            keys, gradients, counts = key_lists[index], gradient_lists[index], list_lengths[index]
            for image in range(*chunk_range(index, len(frames), tiling.images)):
                here = dx[image * image_size : (image + 1) * image_size]
                target = frames[index] if tiling.is_framed else here
                for element in range(len(target)):
                    target[element] = 0
                place = image * per_image * filters
                for o in range(filters):
                    lane, first = o % vector_lanes(dx), o // tiling.outputs * windows.group
                    if lane == 0:
                        _list_by_channel(
                            dy, code, place, per_image, filters, o, pixels, keys, gradients, counts
                        )
                    for k in range(0, windows.run, width):
                        length = width if is_whole else min(width, windows.run - k)
                        for run in range(0, len(runs), rows):
                            offsets = tile_offsets(runs, run, rows)
                            row = o * tiling.terms + run * windows.run + k
                            like = tile_zero(dx, rows, vectors)
                            weights = tile_load(like, kernel, row, windows.run)
                            for n in range(counts[lane]):
                                start = first + patches[keys[lane, n]] + k
                                tile_scatter(
                                    weights, target, start, offsets, gradients[lane, n], length
                                )
                if tiling.is_framed:
                    _copy_from_frame(target, frame, here)

    return scatter


@lru_cache(maxsize=None)
def _scatter(rows, vectors, is_whole):
    """Return the kernel, which is compiled when it is first needed."""
    with stamped_cache():
        return _scattering(rows, vectors, is_whole)


@njit(**HELPER)
def _list_by_pixel(dy, code, image, windows, filters, winners, gradients, ends):
    """List an image's winners by pooling window and pixel, and where each list ends."""
    lane_count = vector_lanes(dy)
    count, entry = 0, 0
    first = image * windows.rows * windows.columns * filters
    for start in range(first, first + windows.rows * windows.columns * filters, filters):
        for pixel in range(4):
            for o in range(0, filters, lane_count):
                count = list_winners(
                    dy, code, start + o, filters - o, pixel, o, winners, gradients, count
                )
            ends[entry] = count
            entry += 1


@njit(**HELPER)
def _add_patches(kernel, first, dx, start, windows, down, across, winners, gradients, ends):
    """Add to one vector of dx's channels what all winners of an image send to it."""
    begin = 0
    for window in range(windows.rows * windows.columns):
        acc = tile_load_grid(tile_zero(dx, 4, 4), dx, start, down, across)
        # Registers have no addresses, so each pixel of the pooling window has its own loop.
        end_0, end_1, end_2, end_3 = tile_offsets(ends, 4 * window, 4)
        for n in range(begin, end_0):
            source = first + winners[n] * 9 * vector_lanes(kernel)
            acc = tile_add_patch(acc, kernel, source, gradients[n], 0, 0, 3, 3)
        for n in range(end_0, end_1):
            source = first + winners[n] * 9 * vector_lanes(kernel)
            acc = tile_add_patch(acc, kernel, source, gradients[n], 0, 1, 3, 3)
        for n in range(end_1, end_2):
            source = first + winners[n] * 9 * vector_lanes(kernel)
            acc = tile_add_patch(acc, kernel, source, gradients[n], 1, 0, 3, 3)
        for n in range(end_2, end_3):
            source = first + winners[n] * 9 * vector_lanes(kernel)
            acc = tile_add_patch(acc, kernel, source, gradients[n], 1, 1, 3, 3)
        begin = end_3
        tile_store_grid(acc, dx, start, (down, across), (4, 4, vector_lanes(dx)))
        start += windows.next_column
        if (window + 1) % windows.columns == 0:
            start += windows.next_row


@njit(**PARALLEL)
def _gather(dy, code, kernel, dx, plans, patches, frames, winner_lists, gradient_lists, list_ends):
    for index in prange(len(frames)):
        task = np.int64(index)
        windows, frame, tiling = plans[0].windows, plans[0].frame, plans[0].tiling
        row_size = frame.width * frame.channels
        image_size = frame.height * row_size
        winners, gradients, ends = winner_lists[task], gradient_lists[task], list_ends[task]
        for image in range(*chunk_range(task, len(frames), tiling.images)):
            here = dx[image * image_size : (image + 1) * image_size]
            target = frames[task] if tiling.is_framed else here
            for element in range(len(target)):
                target[element] = 0
            _list_by_pixel(dy, code, image, windows, tiling.outputs, winners, gradients, ends)
            for c in range(0, frame.channels, vector_lanes(dx)):
                first = c * 9 * tiling.outputs
                _add_patches(
                    *(kernel, first, target, c, windows, patches[2], patches[1]),
                    *(winners, gradients, ends),
                )
            if tiling.is_framed:
                _copy_from_frame(target, frame, here)


def conv2d_relu_max_pool2d_backward_input(
    dy, code, w, dx, pool_size, strides, padding, dilation, groups, scratch
):
    """Add each winner's multiple of w to its patch; see the module's text."""
    if dy.size == 0:
        dx[...] = 0
        return
    plan, plans, pooling = _plan(
        dx.shape, w.shape, dy.shape[1:3], pool_size, strides, padding, dilation, groups, dy.dtype
    )
    geometry = w.shape[:2], pool_size, strides, dilation, groups
    if geometry == PATCH_GEOMETRY and HAS_32_REGISTERS and w.shape[2] % lanes(w.dtype) == 0:
        _backward_input_by_patches(dy, code, w, dx, plan, plans, pooling, scratch)
    else:
        _backward_input_by_scattering(dy, code, w, dx, plan, plans, pooling, scratch)


def _backward_input_by_patches(dy, code, w, dx, plan, plans, pooling, scratch):
    filters, lane_count = w.shape[3], lanes(w.dtype)
    tasks, windows = min(TASKS, len(dx)), dy.shape[1] * dy.shape[2]
    kernel, frames, winners, gradients, ends = scratch.take(
        ((w.shape[2] // lane_count, filters, 9, lane_count), w.dtype),
        ((tasks, frame_size(plan) if plan.tiling.is_framed else 0), dx.dtype),
        ((tasks, windows * filters + lane_count), np.dtype(f"i{dx.itemsize}")),
        ((tasks, windows * filters + lane_count), dx.dtype),
        ((tasks, windows * 4), np.int64),
    )
    np.copyto(kernel, w.reshape(9, -1, lane_count, filters).transpose(1, 3, 0, 2))
    _gather(
        *(dy.reshape(-1), code.reshape(-1), kernel.reshape(-1), dx.reshape(-1)),
        *(plans, pooling.pixels, frames, winners, gradients, ends),
    )


def _backward_input_by_scattering(dy, code, w, dx, plan, plans, pooling, scratch):
    filters, width = w.shape[3], RUN_VECTORS * lanes(dy.dtype)
    tasks = min(TASKS, len(dx))
    # A tile may be read beyond the last run's end.
    kernel, frames, *lists = scratch.take(
        ((w.size + width,), w.dtype),
        ((tasks, frame_size(plan) if plan.tiling.is_framed else 0), dx.dtype),
        *_winner_requests(tasks, dy),
    )
    np.copyto(kernel[: w.size].reshape(filters, -1), w.reshape(-1, filters).T)
    maxima = dy.reshape(-1), code.reshape(-1)
    tile = _run_tile(len(pooling.runs), plan.windows.run, lanes(dy.dtype))
    _scatter(*tile)(
        *(*maxima, kernel, dx.reshape(-1), plans, pooling.runs, pooling.patches, frames, *lists)
    )
