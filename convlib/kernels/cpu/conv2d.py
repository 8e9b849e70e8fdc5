"""Convolution and dense layers on the CPU, as matrix products whose left side is never gathered.

Forward computes ``y[p, o] = b[o] + Σ_k x[start(p) + place(k)] · w[k, o]``: p runs over windows, k
over the kernel's elements (u, v, c) and o over output channels. In memory order (height, width,
channels) the elements under one kernel row are one contiguous run, so a window is described by its
first element and a handful of runs (`Windows`), and the patch matrix of im2col is never written.

Blocking: `ROWS` windows × a few vectors of output channels are summed in registers over all k. The
kernel is packed once per call into panels, in the order in which the sum reads it, and filled with
zeros to whole vectors. Images with padding are copied, one at a time, into a frame of zeros that
stays in the second-level cache; then there are no borders to treat.

The input gradient is the same computation: dy, with zeros between its pixels where the stride is
above one and a frame around it, correlated with the flipped and transposed kernel.

The parameter gradient ``dw[k, o] = Σ_p x[start(p) + place(k)] · dy[p, o]`` keeps a tile of dw in
registers and runs over p. Windows are cut into chunks, whose number depends on the shapes alone,
and the chunks' sums are added in order, so the bits do not depend on the number of threads.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.elementwise import relu_forward
from convlib.kernels.cpu.sums import chunk_range, sum_rows
from convlib.kernels.cpu.tile import (
    ROWS,
    columns_for,
    lanes,
    tile_fma,
    tile_load,
    tile_rows_of,
    tile_store,
    tile_zero,
)

TASKS = 32  # parallel tasks a region is split into; fixed, so that results are
BLOCK = 256  # windows that are summed before the next tile of dw takes its turn
LARGEST_PARTIAL_SUM = 1 << 24  # numbers in all partial sums of dw together


class Windows(NamedTuple):
    """Where windows and the elements under them lie, counted in elements of the array."""

    rows: int  # windows of an image, down and across
    columns: int
    next_column: int  # from a window to its neighbour
    next_row: int  # from the last window of a row to the first of the next, less next_column
    next_image: int  # likewise from image to image, less the steps before
    runs: int  # contiguous runs under a window
    runs_across: int  # runs of one kernel row
    run_down: int  # from a run to the one below
    run_across: int  # from a run to its neighbour
    run: int  # elements in a run
    group: int  # from one group's channels to the next's


class Frame(NamedTuple):
    """How an image is copied into the middle of zeros; sizes in pixels."""

    height: int
    width: int
    channels: int
    top: int  # where the first pixel goes; negative if it is cut off
    left: int
    step_down: int  # 1, or the stride whose gaps are filled with zeros
    step_across: int
    framed_height: int
    framed_width: int


class Tiling(NamedTuple):
    """How the work is cut into tiles and tasks."""

    images: int
    is_framed: int
    tasks: int
    terms: int  # length of the sum over k
    groups: int
    outputs: int  # output channels of one group
    columns: int  # of a tile
    width: int  # of a tile, in output channels
    blocks: int  # tiles that cover a group's output channels


class Plan(NamedTuple):
    """All integers of one convolution, in flat parts because a parallel loop takes no others."""

    windows: Windows
    frame: Frame
    tiling: Tiling


def _plan(images, frame, kernel_size, strides, dilation, groups, outputs, output_size, dtype):
    """Return the `Plan` of a correlation whose input is described by ``frame``."""
    channels, row = frame.channels, frame.framed_width * frame.channels
    size = frame.framed_height * row
    is_framed = frame[:2] != frame[-2:] or frame[3:5] != (0, 0)
    rows, columns = output_size
    run, runs_across = channels // groups, kernel_size[1]
    if groups == 1 and dilation[1] == 1:
        run, runs_across = run * kernel_size[1], 1
    next_column = strides[1] * channels
    next_row = strides[0] * row - columns * next_column
    windows = Windows(
        rows=rows,
        columns=columns,
        next_column=next_column,
        next_row=next_row,
        next_image=size - rows * (next_row + columns * next_column),
        runs=kernel_size[0] * runs_across,
        runs_across=runs_across,
        run_down=dilation[0] * row,
        run_across=dilation[1] * channels,
        run=run,
        group=channels // groups,
    )
    tile_columns = columns_for(outputs, dtype)
    width = tile_columns * lanes(dtype)
    tiling = Tiling(
        images=images,
        is_framed=int(is_framed),
        tasks=min(TASKS, images if is_framed else -(-images * rows * columns // (4 * ROWS))),
        terms=kernel_size[0] * kernel_size[1] * channels // groups,
        groups=groups,
        outputs=outputs,
        columns=tile_columns,
        width=width,
        blocks=-(-outputs // width),
    )
    return Plan(windows, frame, tiling)


@lru_cache(maxsize=1024)
def forward_plan(x_shape, w_shape, output_size, strides, padding, dilation, groups, dtype):
    """Return the plan of a convolution; windows beyond the output size are left out."""
    images, height, width, channels = x_shape
    (top, bottom), (left, right) = padding
    frame = Frame(
        height, width, channels, top, left, 1, 1, top + height + bottom, left + width + right
    )
    outputs = w_shape[3] // groups
    return _plan(images, frame, w_shape[:2], strides, dilation, groups, outputs, output_size, dtype)


@lru_cache(maxsize=1024)
def _backward_input_plan(dy_shape, w_shape, input_size, strides, padding, dilation, groups, dtype):
    images, height, width, filters = dy_shape
    reach = [dilation[i] * (w_shape[i] - 1) for i in (0, 1)]
    frame = Frame(
        height,
        width,
        filters,
        reach[0] - padding[0][0],
        reach[1] - padding[1][0],
        *strides,
        input_size[0] + reach[0],
        input_size[1] + reach[1],
    )
    return _plan(
        images, frame, w_shape[:2], (1, 1), dilation, groups, w_shape[2], input_size, dtype
    )


@njit
def next_window(start, row, column, windows):
    """Return where the next window starts, and its row and column."""
    start += windows.next_column
    column += 1
    if column == windows.columns:
        start += windows.next_row
        column = 0
        row += 1
        if row == windows.rows:
            start += windows.next_image
            row = 0
    return start, row, column


@njit
def window_at(index, windows):
    """Return where window ``index`` starts, and its row and column."""
    row_length = windows.columns * windows.next_column + windows.next_row
    image_length = windows.rows * row_length + windows.next_image
    image, place = divmod(index, windows.rows * windows.columns)
    row, column = divmod(place, windows.columns)
    return image * image_length + row * row_length + column * windows.next_column, row, column


@njit
def _element(k, windows):
    """Return where element k of a window lies, counted from the window's start."""
    run, inside = divmod(k, windows.run)
    down, across = divmod(run, windows.runs_across)
    return down * windows.run_down + across * windows.run_across + inside


@njit
def fill_frame(source, image, frame, framed):
    """Copy one image to its place in ``framed``, whose other elements are zero and stay so."""
    first = max(0, -(frame.left // frame.step_across))
    for i in range(frame.height):
        row = frame.top + i * frame.step_down
        if row < 0 or row >= frame.framed_height:
            continue
        start = (image * frame.height + i) * frame.width * frame.channels
        for j in range(first, frame.width):
            column = frame.left + j * frame.step_across
            if column >= frame.framed_width:
                break
            pixel = (row * frame.framed_width + column) * frame.channels
            for c in range(frame.channels):
                framed[pixel + c] = source[start + j * frame.channels + c]


@njit(cache=True, parallel=True)
def _pack(kernel, panels, width):
    """Lay out the kernel (group, u, v, in, out) as panels (group, block, u·v·in, width)."""
    groups, height, across, inputs, outputs = kernel.shape
    blocks = -(-outputs // width)
    terms = height * across * inputs
    for panel in prange(groups * blocks):
        group, block = divmod(np.int64(panel), blocks)  # prange counts in uint64
        target = np.int64(panel) * terms * width
        for u in range(height):
            for v in range(across):
                for i in range(inputs):
                    for lane in range(width):
                        o = block * width + lane
                        value = kernel[group, u, v, i, o] if o < outputs else 0.0
                        panels[target + lane] = value
                    target += width


def _correlate_some(columns):
    """Return the function that computes a range of windows with tiles of so many columns."""

    @njit
    def correlate_some(x, first, last, windows, tiling, panels, bias, y, y_first):
        width, filters = tiling.width, tiling.groups * tiling.outputs
        final, _, _ = window_at(last - 1, windows)
        for panel in range(tiling.groups * tiling.blocks):
            group, block = divmod(panel, tiling.blocks)
            channel = group * tiling.outputs + block * width
            channels = min(width, tiling.outputs - block * width)
            shift = group * windows.group
            start, row, column = window_at(first, windows)
            for window in range(first, last, ROWS):
                # The last tile may be shorter; its spare rows repeat the last window.
                s0 = min(start, final) + shift
                start, row, column = next_window(start, row, column, windows)
                s1 = min(start, final) + shift
                start, row, column = next_window(start, row, column, windows)
                s2 = min(start, final) + shift
                start, row, column = next_window(start, row, column, windows)
                s3 = min(start, final) + shift
                start, row, column = next_window(start, row, column, windows)
                s4 = min(start, final) + shift
                start, row, column = next_window(start, row, column, windows)
                s5 = min(start, final) + shift
                start, row, column = next_window(start, row, column, windows)

                acc = tile_rows_of(bias, panel * width, ROWS, columns)
                weights = panel * tiling.terms * width
                for run in range(windows.runs):
                    down, across = divmod(run, windows.runs_across)
                    offset = down * windows.run_down + across * windows.run_across
                    for k in range(offset, offset + windows.run):
                        acc = tile_fma(acc, x, (s0, s1, s2, s3, s4, s5), k, panels, weights)
                        weights += width
                target = (y_first + window) * filters + channel
                tile_store(acc, y, target, filters, last - window, channels)

    return correlate_some


_correlate_1, _correlate_2, _correlate_4 = (_correlate_some(columns) for columns in (1, 2, 4))


@njit
def correlate_range(x, first, last, windows, tiling, panels, bias, y, y_first):
    """Write the windows from first to last to ``y``, whose first row is window ``−y_first``."""
    if tiling.columns == 1:
        _correlate_1(x, first, last, windows, tiling, panels, bias, y, y_first)
    elif tiling.columns == 2:
        _correlate_2(x, first, last, windows, tiling, panels, bias, y, y_first)
    else:
        _correlate_4(x, first, last, windows, tiling, panels, bias, y, y_first)


@njit(cache=True, parallel=True)
def _correlate(x, windows, frame, tiling, panels, bias, y, frames):
    per_image = windows.rows * windows.columns
    for index in prange(tiling.tasks):
        task = np.int64(index)  # prange counts in uint64, which mixes with int64 to float64
        if tiling.is_framed:
            framed = frames[task]
            framed[:] = 0
            for image in range(*chunk_range(task, tiling.tasks, tiling.images)):
                fill_frame(x, image, frame, framed)
                first = image * per_image
                correlate_range(framed, 0, per_image, windows, tiling, panels, bias, y, first)
        else:
            total = tiling.images * per_image
            first, last = chunk_range(task, tiling.tasks, -(-total // ROWS))
            last = min(last * ROWS, total)
            correlate_range(x, first * ROWS, last, windows, tiling, panels, bias, y, 0)


def _run_correlation(plan, x, kernel, b, y, scratch):
    """Correlate with a kernel given as a view (group, u, v, in, out)."""
    if y.size == 0:
        return
    panels, bias, frames = scratch.take(
        *panel_requests(plan, x.dtype),
        ((plan.tiling.tasks if plan.tiling.is_framed else 0, frame_size(plan)), x.dtype),
    )
    pack(plan, kernel, b, panels, bias)
    _correlate(x.reshape(-1), *plan, panels, bias, y.reshape(-1), frames)


def frame_size(plan):
    """Return how many numbers one framed image has."""
    return plan.frame.framed_height * plan.frame.framed_width * plan.frame.channels


def panel_requests(plan, dtype):
    """Return what `pack` needs: the shapes of panels and bias, for `Scratch.take`."""
    panels = plan.tiling.groups * plan.tiling.blocks
    return (
        ((panels * plan.tiling.terms * plan.tiling.width,), dtype),
        ((panels * plan.tiling.width,), dtype),
    )


def pack(plan, kernel, b, panels, bias):
    """Lay out a kernel, given as a view (group, u, v, in, out), and a bias in whole tiles."""
    _pack(kernel, panels, plan.tiling.width)
    bias[...] = 0
    if b is not None:
        by_group = bias.reshape(plan.tiling.groups, -1)
        by_group[:, : plan.tiling.outputs] = b.reshape(plan.tiling.groups, -1)


def grouped(w, groups):
    """Return a view (group, u, v, in, out) of a kernel."""
    return w.reshape(*w.shape[:3], groups, -1).transpose(3, 0, 1, 2, 4)


def conv2d_forward(x, w, b, y, strides, padding, dilation, groups, scratch):
    """Compute tiles of windows × output channels; see the module's text and the contract."""
    plan = forward_plan(x.shape, w.shape, y.shape[1:3], strides, padding, dilation, groups, x.dtype)
    _run_correlation(plan, x, grouped(w, groups), b, y, scratch)


def conv2d_relu_forward(x, w, b, y, strides, padding, dilation, groups, scratch):
    """Convolve, then cut off below zero in place; see the contract."""
    conv2d_forward(x, w, b, y, strides, padding, dilation, groups, scratch)
    relu_forward(y, y, np.inf, 0.0, 0.0)


def conv2d_backward_input(dy, w, dx, strides, padding, dilation, groups, scratch):
    """Correlate the framed dy with the flipped, transposed kernel; see the module's text."""
    plan = _backward_input_plan(
        dy.shape, w.shape, dx.shape[1:3], strides, padding, dilation, groups, dy.dtype
    )
    flipped = grouped(w, groups)[:, ::-1, ::-1].transpose(0, 1, 2, 4, 3)
    _run_correlation(plan, dy, flipped, None, dx, scratch)


def _outer_products(columns):
    """Return the function that adds a range of windows to tiles of dw with so many columns."""

    @njit
    def outer_products(x, first, last, windows, tiling, dy, dy_first, tiles, total):
        width = tiling.width
        row_length = tiling.groups * tiling.blocks * width
        start_0, row_0, column_0 = window_at(first, windows)
        for panel in range(tiling.groups * tiling.blocks):
            shift = panel // tiling.blocks * windows.group
            for tile in range(*tiles):
                k, final = tile * ROWS, tiling.terms - 1
                places = (
                    shift + _element(k, windows),
                    shift + _element(min(k + 1, final), windows),
                    shift + _element(min(k + 2, final), windows),
                    shift + _element(min(k + 3, final), windows),
                    shift + _element(min(k + 4, final), windows),
                    shift + _element(min(k + 5, final), windows),
                )
                target = k * row_length + panel * width
                acc = tile_load(tile_zero(dy, ROWS, columns), total, target, row_length)
                start, row, column = start_0, row_0, column_0
                gradient = (dy_first + first) * row_length + panel * width
                for _ in range(first, last):
                    acc = tile_fma(acc, x, places, start, dy, gradient)
                    gradient += row_length
                    start, row, column = next_window(start, row, column, windows)
                tile_store(acc, total, target, row_length, ROWS, width)

    return outer_products


_outer_1, _outer_2, _outer_4 = (_outer_products(columns) for columns in (1, 2, 4))


@njit
def add_block(x, first, last, windows, tiling, dy, dy_first, tiles, total):
    """Add ``x · dy`` for the windows from first to last to a range of dw's tiles.

    Row ``dy_first`` of ``dy``, whose rows have whole tiles, belongs to window 0.
    """
    if tiling.columns == 1:
        _outer_1(x, first, last, windows, tiling, dy, dy_first, tiles, total)
    elif tiling.columns == 2:
        _outer_2(x, first, last, windows, tiling, dy, dy_first, tiles, total)
    else:
        _outer_4(x, first, last, windows, tiling, dy, dy_first, tiles, total)


@njit(cache=True, parallel=True)
def _partial_sums(x, windows, frame, tiling, chunks, splits, dy, totals, frames):
    """Sum dw over each chunk of windows, each split of its tiles being a task of its own."""
    per_image = windows.rows * windows.columns
    length = tiling.groups * tiling.blocks * tiling.width
    tiles = -(-tiling.terms // ROWS)
    for index in prange(chunks * splits):
        task = np.int64(index)
        chunk, split = divmod(task, splits)
        first_tile, last_tile = split * tiles // splits, (split + 1) * tiles // splits
        total = totals[chunk]
        total[first_tile * ROWS * length : last_tile * ROWS * length] = 0
        tiles_here = (first_tile, last_tile)
        if tiling.is_framed:
            framed = frames[task]
            framed[:] = 0
            for image in range(*chunk_range(chunk, chunks, tiling.images)):
                fill_frame(x, image, frame, framed)
                first = image * per_image
                add_block(framed, 0, per_image, windows, tiling, dy, first, tiles_here, total)
        else:
            start, end = chunk_range(chunk, chunks, tiling.images * per_image)
            for first in range(start, end, BLOCK):
                last = min(first + BLOCK, end)
                add_block(x, first, last, windows, tiling, dy, 0, tiles_here, total)


@njit(cache=True, parallel=True)
def _align_rows(dy, rows, outputs, width):
    """Copy dy (windows · groups, outputs) to rows of ``width``, filled with zeros."""
    for index in prange(len(rows) // width):
        row = np.int64(index)
        for o in range(outputs):
            rows[row * width + o] = dy[row * outputs + o]
        for o in range(outputs, width):
            rows[row * width + o] = 0


@njit(cache=True, parallel=True)
def _add_chunks(totals, dw, groups, outputs, width):
    """Add the chunks' sums in order: dw[k, group · outputs + o] = Σ totals[chunk, k, group, o]."""
    filters = groups * outputs
    for index in prange(len(dw) // filters):
        k = np.int64(index)
        for group in range(groups):
            target = k * filters + group * outputs
            source = (k * groups + group) * width
            for o in range(outputs):
                dw[target + o] = totals[0, source + o]
            for chunk in range(1, len(totals)):
                for o in range(outputs):
                    dw[target + o] += totals[chunk, source + o]


@lru_cache(maxsize=1024)
def _division_of_labour(plan):
    """Return how many chunks of windows and splits of dw's tiles there are."""
    tiles = -(-plan.tiling.terms // ROWS)
    most = max(1, LARGEST_PARTIAL_SUM // total_size(plan))
    if plan.tiling.is_framed:
        return min(plan.tiling.images, TASKS, most), 1
    windows = plan.tiling.images * plan.windows.rows * plan.windows.columns
    chunks = max(1, min(windows // (8 * BLOCK), TASKS, most))
    return chunks, min(tiles, -(-TASKS // chunks))


def _run_outer_products(plan, x, dy, dw, db, scratch):
    if dy.size == 0:
        dw[...] = 0
    else:
        chunks, splits = _division_of_labour(plan)
        windows = plan.tiling.images * plan.windows.rows * plan.windows.columns
        is_aligned = plan.tiling.groups * plan.tiling.outputs == row_length(plan)
        totals, frames, rows = scratch.take(
            ((chunks, total_size(plan)), x.dtype),
            ((chunks * splits if plan.tiling.is_framed else 0, frame_size(plan)), x.dtype),
            ((0 if is_aligned else windows * row_length(plan),), x.dtype),
        )
        if is_aligned:
            rows = dy.reshape(-1)
        else:
            width = plan.tiling.blocks * plan.tiling.width
            _align_rows(dy.reshape(-1), rows, plan.tiling.outputs, width)
        _partial_sums(x.reshape(-1), *plan, chunks, splits, rows, totals, frames)
        add_chunks(plan, totals, dw)
    if db is not None:
        sum_rows(dy.reshape(-1, len(db)), db, scratch)


def row_length(plan):
    """Return how many numbers cover all output channels in whole tiles."""
    return plan.tiling.groups * plan.tiling.blocks * plan.tiling.width


def total_size(plan):
    """Return how many numbers cover dw in whole tiles."""
    return -(-plan.tiling.terms // ROWS) * ROWS * row_length(plan)


def add_chunks(plan, totals, dw):
    """Write the sum of the chunks' tiles to dw."""
    width = plan.tiling.blocks * plan.tiling.width
    _add_chunks(totals, dw.reshape(-1), plan.tiling.groups, plan.tiling.outputs, width)


def conv2d_backward_params(x, dy, dw, db, strides, padding, dilation, groups, scratch):
    """Keep tiles of dw in registers and run over the windows; see the module's text."""
    plan = forward_plan(
        x.shape, dw.shape, dy.shape[1:3], strides, padding, dilation, groups, x.dtype
    )
    _run_outer_products(plan, x, dy, dw, db, scratch)


@lru_cache(maxsize=1024)
def _dense_plan(rows, inputs, outputs, dtype):
    """Treat a dense layer as a 1×1 convolution of one image that is one row of pixels."""
    frame = Frame(1, rows, inputs, 0, 0, 1, 1, 1, rows)
    return _plan(1, frame, (1, 1), (1, 1), (1, 1), 1, outputs, (1, rows), dtype)


def dense_forward(x, w, b, y, scratch):
    """Multiply with the same tiles as a 1×1 convolution."""
    plan = _dense_plan(*x.shape, w.shape[1], x.dtype)
    _run_correlation(plan, x, w[None, None, None], b, y, scratch)


def dense_relu_forward(x, w, b, y, scratch):
    """Multiply, then cut off below zero in place; see the contract."""
    dense_forward(x, w, b, y, scratch)
    relu_forward(y, y, np.inf, 0.0, 0.0)


def dense_backward_input(dy, w, dx, scratch):
    """Multiply with the transposed matrix, packed by rows."""
    plan = _dense_plan(*dy.shape, w.shape[0], dy.dtype)
    _run_correlation(plan, dy, w.T[None, None, None], None, dx, scratch)


def dense_backward_params(x, dy, dw, db, scratch):
    """Add outer products of samples in tiles of dw."""
    plan = _dense_plan(*x.shape, dw.shape[1], x.dtype)
    _run_outer_products(plan, x, dy, dw, db, scratch)
