"""Depthwise convolution on the CPU: every channel for itself, so lanes are channels throughout.

``y[p, c] = b[c] + Σ_t x[start(p) + place(t) + c] · w[t, c]``        t runs over (u, v)

Each number of x meets only as many weights as the kernel has elements. What counts is therefore
that it comes from memory once, and that it comes in time. Images are walked through row by row of
the output. Meanwhile the rows of x that the next row of y will see, and that row of y itself, are
fetched ahead into the second-level cache, a few lines after each tile.

A row is cut into spans of windows that see the same columns of the kernel (see `regions`): a long
one in the middle, short ones at the borders, and under a stride, for the input gradient, such a
set for each phase. From the inside:

* a tile is `WINDOWS` neighbouring windows of a span × one vector of channels. It slides over the
  rows of the kernel that lie in the image, three of their elements at a time, so that pixels that
  neighbours share are loaded once;
* all vectors of channels take their turn before the tile moves on to the next windows, for they
  lie side by side in memory;
* tasks share the rows of all images.

The last tile of a span and the last vector of channels are moved back until they are whole: what
they compute a second time comes out the same. Spans that are shorter than a tile, and images with
fewer channels than a vector has lanes, are computed window by window with masks.

The input gradient is the same with dy for x and the kernel's elements in the order of its spans.

For the gradient ``dw[t, c] = Σ_p x[start(p) + place(t) + c] · dy[p, c]`` a tile is `ELEMENTS`
elements of the kernel × one vector of channels, and one more row for ``db[c] = Σ_p dy[p, c]``. It
stays in registers while p runs through a block of `BLOCK` windows × `GROUP` rows. Tasks share the
rows, in chunks with sums of their own that are added in order, and if these are few the channels.

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
from convlib.kernels.cpu.regions import backward_axis, forward_axis, record
from convlib.kernels.cpu.sums import add_parts
from convlib.kernels.cpu.tasks import HELPER, PARALLEL, TASKS, chunk_range
from convlib.kernels.cpu.tile import (
    lanes,
    prefetch,
    tile_bias,
    tile_fma_lanes,
    tile_fma_sliding,
    tile_fma_windows,
    tile_offsets,
    tile_rows_of,
    tile_scatter,
    tile_store,
    tile_zero,
    vector_lanes,
)

WINDOWS = 6  # to a tile: enough independent sums, and few of a row are computed twice
ELEMENTS = 9  # of the kernel to a tile of dw: 3×3 is one tile
SUMS = ELEMENTS + 1
BLOCK = 30  # windows of a row, whole tiles of them, that a tile of dw runs through
GROUP = 4  # rows: what they see of one vector of channels stays in the first-level cache
CHUNK = 128  # windows at least that have sums of dw of their own
TASK = 1 << 16  # multiply-adds at least that are worth a task
TILES = WINDOWS, WINDOWS  # the shortest span that is cut into tiles of windows, and their length
BLOCKS = 1, BLOCK  # the same for dw
LINE = 64  # bytes that come from memory together

# Places and steps are counted in elements of the arrays.
ROW = record(
    "source",  # where in an image of x lies the first of the rows that a row of y sees
    "taps",  # how many rows of the kernel it sees, and from what is under one of them
    "tap_step",  # to what is under the next
    "weights",  # the first of these rows of the kernel, and the step to the next
    "weights_step",
)
SPAN = record(
    "windows",
    "source",  # where in a row of x the first window starts, and the step to the next
    "source_step",
    "target",  # where in a row of y its output lies, and the step to the next
    "target_step",
    "taps",  # as those of a row, along the columns of the kernel
    "tap_step",
    "weights",
    "weights_step",
)
LAYOUT = record(
    "images",
    "channels",
    "source_image",  # the length of an image of x, and of its rows
    "source_row",
    "source_down",  # by how much of x a row of y is ahead of the one above
    "target_row",
    "line",  # the length of a cache line
    "lines_x",  # lines of x and y to prefetch after each tile
    "lines_y",
)


@lru_cache(maxsize=1024)
def _walk(axis, source_shape, kernel_size, target_shape, strides, padding, dilation, dtype, cuts):
    """Return the rows of an image of y, the spans of a row, and the layout, as records.

    ``axis`` is `forward_axis`, or `backward_axis` where y stands for dx and x for dy. ``cuts`` are
    the shortest span that is cut into tiles, and their length.
    """
    images, height, width, channels = source_shape
    down, across = (
        axis(
            source_shape[1 + i],
            target_shape[1 + i],
            kernel_size[i],
            strides[i],
            dilation[i],
            padding[i][0],
        )
        for i in (0, 1)
    )
    source_row, target_row = width * channels, target_shape[2] * channels
    rows = np.zeros(target_shape[1], ROW)
    for span in down.spans:
        for i in range(span.count):
            rows[span.first + i * span.step] = (
                (span.source + i * span.source_step) * source_row,
                span.taps,
                span.tap_step * source_row,
                *_weights(down.order, span, kernel_size[1] * channels),
            )
    spans = [
        (
            span.count,
            span.source * channels,
            span.source_step * channels,
            span.first * channels,
            span.step * channels,
            span.taps,
            span.tap_step * channels,
            *_weights(across.order, span, channels),
        )
        for span in across.spans
    ]
    spans = np.array(spans, SPAN)
    source_down = (strides[0] if axis is forward_axis else 1) * source_row
    # What the next row needs is fetched in equal parts, one after each tile of a long span.
    (shortest, length), line = cuts, LINE // dtype.itemsize
    tiles = sum(-(-span.count // length) for span in across.spans if span.count >= shortest)
    parts = max(1, tiles * -(-channels // lanes(dtype))) * line
    layout = (
        images,
        channels,
        height * source_row,
        source_row,
        source_down,
        target_row,
        line,
        1 + source_down // parts,
        1 + target_row // parts,
    )
    return rows, spans, np.array([layout], LAYOUT)


def _weights(order, span, size):
    """Return where a span's first elements of the kernel are, and the step to the next."""
    first, second = (*order[span.tap : span.tap + span.taps], 0, 0)[:2]
    return first * size, (second - first) * size


@njit(**HELPER)
def _fetch_ahead(x, place, lines, line, is_written):
    """Prefetch lines from a place on; return the place behind them."""
    for _ in range(lines):
        if is_written:
            prefetch(x, place, 1)
        else:
            prefetch(x, place, 0)
        place += line
    return place


@njit(**HELPER)
def _correlate_tile(x, w, b, y, source, target, row, span, channel):
    """Compute neighbouring windows, of one whole vector of channels."""
    if len(b):
        acc = tile_rows_of(b, channel, WINDOWS, 1)
    else:
        acc = tile_zero(x, WINDOWS, 1)
    # Neighbours share what they see if they are as far apart as the kernel's elements.
    triples = span.taps // 3 if span.source_step == span.tap_step else 0
    for down in range(row.taps):
        place = source + down * row.tap_step
        weights = row.weights + down * row.weights_step + span.weights + channel
        for _ in range(triples):
            acc = tile_fma_sliding(acc, x, place, span.tap_step, w, weights, span.weights_step, 3)
            place += 3 * span.tap_step
            weights += 3 * span.weights_step
        for _ in range(3 * triples, span.taps):
            acc = tile_fma_sliding(acc, x, place, span.source_step, w, weights, 0, 1)
            place += span.tap_step
            weights += span.weights_step
    tile_store(acc, y, target, span.target_step, WINDOWS, vector_lanes(x))


@njit(**HELPER)
def _correlate_window(x, w, b, y, source, target, row, span, channel, channels):
    """Compute one window, of a vector of channels that may be cut off."""
    if len(b):
        acc = tile_bias(b, channel, channels, 1, 1)
    else:
        acc = tile_zero(x, 1, 1)
    for down in range(row.taps):
        place = source + down * row.tap_step
        weights = row.weights + down * row.weights_step + span.weights + channel
        for _ in range(span.taps):
            acc = tile_fma_lanes(acc, x, (0,), place, w, weights, channels)
            place += span.tap_step
            weights += span.weights_step
    tile_store(acc, y, target, 0, 1, channels)


@njit(**HELPER)
def _correlate_row(x, w, b, y, source, target, row, spans, layout):
    """Compute a row of y."""
    width, channels, line = vector_lanes(x), layout.channels, layout.line
    ahead_x = source + (row.taps - 1) * row.tap_step + layout.source_row
    ahead_y = target + layout.target_row
    for index in range(len(spans)):
        span = spans[index]
        if span.windows >= WINDOWS and channels >= width:
            for start in range(0, span.windows, WINDOWS):
                window = min(start, span.windows - WINDOWS)
                first = source + span.source + window * span.source_step
                output = target + span.target + window * span.target_step
                for lane in range(0, channels, width):
                    c = min(lane, channels - width)
                    _correlate_tile(x, w, b, y, first + c, output + c, row, span, c)
                    ahead_x = _fetch_ahead(x, ahead_x, layout.lines_x, line, False)
                    ahead_y = _fetch_ahead(y, ahead_y, layout.lines_y, line, True)
        else:
            for window in range(span.windows):
                first = source + span.source + window * span.source_step
                output = target + span.target + window * span.target_step
                for c in range(0, channels, width):
                    _correlate_window(x, w, b, y, first + c, output + c, row, span, c, channels - c)


@njit(**PARALLEL)
def _correlate(x, w, b, y, rows, spans, layouts, tasks):
    for index in prange(tasks):
        layout = layouts[0]
        first, last = chunk_range(index, tasks, layout.images * len(rows))
        for number in range(first, last):
            image, place = divmod(number, len(rows))
            row, target = rows[place], number * layout.target_row
            source = image * layout.source_image + row.source
            _correlate_row(x, w, b, y, source, target, row, spans, layout)


def _correlate_images(walk, x, w, b, y):
    if y.size == 0:
        return
    w = w.reshape(-1)
    b = w[:0] if b is None else b
    multiply_adds = y.size * (w.size // y.shape[3])
    tasks = max(1, min(TASKS, multiply_adds // TASK, y.shape[0] * y.shape[1]))
    _correlate(x.reshape(-1), w, b, y.reshape(-1), *walk, tasks)


def _as_groups(w):
    """Return the kernel as that of a convolution in as many groups as there are channels."""
    return w.reshape(*w.shape[:2], 1, w.shape[2] * w.shape[3])


def depthwise_conv2d_forward(x, w, b, y, strides, padding, dilation, scratch):
    """Slide tiles of windows × channels along rows; see the module's text and the contract."""
    if w.shape[3] > 1:
        kernel, groups = _as_groups(w), w.shape[2]
        conv2d_forward(x, kernel, b, y, strides, padding, dilation, groups, scratch)
        return
    shapes = x.shape, w.shape[:2], y.shape
    walk = _walk(forward_axis, *shapes, strides, padding, dilation, x.dtype, TILES)
    _correlate_images(walk, x, w, b, y)


def depthwise_conv2d_backward_input(dy, w, dx, strides, padding, dilation, scratch):
    """Correlate dy with the flipped kernel, phase by phase of the strides; see the contract."""
    if w.shape[3] > 1:
        kernel, groups = _as_groups(w), w.shape[2]
        conv2d_backward_input(dy, kernel, dx, strides, padding, dilation, groups, scratch)
        return
    shapes = dy.shape, w.shape[:2], dx.shape
    walk = _walk(backward_axis, *shapes, strides, padding, dilation, dy.dtype, TILES)
    _correlate_images(walk, dy, w, None, dx)


@njit(**HELPER)
def _list_elements(row, span, places, terms, spare):
    """List the kernel's elements that a row's windows see; return how many.

    Their places under a window, and their offsets in dw. To fill the last tile, elements follow
    that read what the window sees first; their sums go to a spare row.
    """
    count = row.taps * span.taps
    for element in range(count):
        down, across = divmod(element, span.taps)
        weights = down * row.weights_step + across * span.weights_step
        places[element] = down * row.tap_step + across * span.tap_step
        terms[element] = row.weights + span.weights + weights
    for element in range(count, count + ELEMENTS):
        places[element] = 0
        terms[element] = spare
    return count


@njit(**HELPER)
def _add_windows(acc, x, dy, source, target, windows, span, seen, channels):
    """Add the products of neighbouring windows to a tile of dw, of a whole vector of channels."""
    whole, done = vector_lanes(x), 0
    # Three by three elements that neighbours share, as they are as far apart as these.
    if span.taps % 3 == 0 and span.source_step == span.tap_step:
        done = windows - windows % WINDOWS
        runs, steps = (seen[0], seen[3], seen[6]), (span.source_step, channels)
        for _ in range(0, done, WINDOWS):
            acc = tile_fma_windows(acc, x, runs, source, steps, dy, target, WINDOWS, whole)
            source += WINDOWS * span.source_step
            target += WINDOWS * channels
    for _ in range(done, windows):
        acc = tile_fma_windows(acc, x, seen, source, (0, 0), dy, target, 1, whole)
        source += span.source_step
        target += channels
    return acc


@njit(**HELPER)
def _add_masked(acc, x, dy, source, target, windows, span, seen, channels, kept):
    """Do the same for the last vector of channels, which is cut off."""
    for _ in range(windows):
        acc = tile_fma_windows(acc, x, seen, source, (0, 0), dy, target, 1, kept)
        source += span.source_step
        target += channels
    return acc


@njit(**HELPER)
def _add_block(
    x, dy, source, target, count, windows, span, places, terms, elements, layout, c, total, ahead
):
    """Add a block of some rows and windows to the sums of one vector of channels.

    Return how far has been prefetched, having begun ``ahead``.
    """
    channels, line, one = layout.channels, layout.line, x.dtype.type(1)
    kept = min(channels - c, vector_lanes(x))
    ahead_x, ahead_y = ahead
    # Windows that see nothing of the image have a bias all the same.
    for element in range(0, max(1, elements), ELEMENTS):
        seen = tile_offsets(places, element, ELEMENTS)
        bias = len(total) - (2 if element == 0 else 1) * channels
        sums = (*tile_offsets(terms, element, ELEMENTS), bias)
        acc = tile_zero(x, SUMS, 1)
        for down in range(count):
            first = source + down * layout.source_down
            gradient = target + down * layout.target_row
            if kept == vector_lanes(x):
                acc = _add_windows(acc, x, dy, first, gradient, windows, span, seen, channels)
            else:
                acc = _add_masked(acc, x, dy, first, gradient, windows, span, seen, channels, kept)
            if element == 0:
                ahead_x = _fetch_ahead(x, ahead_x, layout.lines_x, line, False)
                ahead_y = _fetch_ahead(dy, ahead_y, layout.lines_y, line, False)
        tile_scatter(acc, total, c, sums, one, kept)
    return ahead_x, ahead_y


@njit(**HELPER)
def _sum_rows(x, dy, source, target, count, row, spans, lists, layout, mine, total):
    """Add some rows of dy that see the same rows of the kernel, for a range of channels."""
    channels = layout.channels
    places, terms = lists[0], lists[1]
    below = source + (count - 1) * layout.source_down + (row.taps - 1) * row.tap_step
    ahead = below + layout.source_row, target + count * layout.target_row
    for index in range(len(spans)):
        span = spans[index]
        elements = _list_elements(row, span, places, terms, len(total) - channels)
        for window in range(0, span.windows, BLOCK):
            windows = min(BLOCK, span.windows - window)
            first = source + span.source + window * span.source_step
            gradient = target + span.target + window * channels
            for c in range(mine[0], mine[1], vector_lanes(x)):
                ahead = _add_block(
                    x, dy, first + c, gradient + c, count, windows, span, places, terms, elements,
                    layout, c, total, ahead,
                )  # fmt: skip


@njit(**HELPER)
def _alike(rows, place, most):
    """Return how many rows from a place on see the same rows of the kernel, at most so many."""
    if rows[place].taps == 0:  # these see nothing, and stand at no place in x
        return 1
    count = 1
    while count < min(most, len(rows) - place):
        row, other = rows[place], rows[place + count]
        if row.taps != other.taps or row.weights != other.weights:
            break
        count += 1
    return count


@njit(**PARALLEL)
def _outer_products(x, dy, rows, spans, layouts, splits, totals, lists):
    chunks = len(totals)
    for index in prange(chunks * splits):
        task, layout = np.int64(index), layouts[0]  # prange counts in uint64
        chunk, split = divmod(task, splits)
        channels, width = layout.channels, vector_lanes(x)
        first_vector, last_vector = chunk_range(split, splits, -(-channels // width))
        mine = first_vector * width, min(channels, last_vector * width)
        total = totals[chunk]
        for start in range(0, len(total), channels):
            for c in range(start + mine[0], start + mine[1]):
                total[c] = 0
        number, last = chunk_range(chunk, chunks, layout.images * len(rows))
        while number < last:
            image, place = divmod(number, len(rows))
            row, count = rows[place], _alike(rows, place, min(GROUP, last - number))
            source = image * layout.source_image + row.source
            target = number * layout.target_row
            _sum_rows(x, dy, source, target, count, row, spans, lists[task], layout, mine, total)
            number += count


def depthwise_conv2d_backward_params(x, dy, dw, db, strides, padding, dilation, scratch):
    """Sum tiles of the kernel's elements × channels along rows; see the contract."""
    if dw.shape[3] > 1 or dy.size == 0:
        kernel, groups = _as_groups(dw), dw.shape[2]
        conv2d_backward_params(x, dy, kernel, db, strides, padding, dilation, groups, scratch)
        return
    shapes = x.shape, dw.shape[:2], dy.shape
    walk = _walk(forward_axis, *shapes, strides, padding, dilation, x.dtype, BLOCKS)
    channels = dy.shape[3]
    elements, vectors = dw.size // channels, -(-channels // lanes(x.dtype))
    chunks = max(1, min(TASKS, dy.shape[0] * dy.shape[1], dy.size // channels // CHUNK))
    tasks = min(TASKS, dy.size * elements // TASK)
    splits = max(1, min(tasks // chunks, vectors))
    # A part holds the sums of dw, those of db and a spare row.
    (totals,) = scratch.take_sums(((chunks, dw.size + 2 * channels), x.dtype))
    (lists,) = scratch.take(((chunks * splits, 2, elements + ELEMENTS), np.int64))
    _outer_products(x.reshape(-1), dy.reshape(-1), *walk, splits, totals, lists)
    add_parts(dw, totals, scratch)
    add_parts(db, totals, scratch, dw.size)
