"""Convolution, ReLU and max-pooling in one pass, and the sparse way back.

Forward: a task computes the convolution of one image with the tiles of `conv2d`, into memory that
stays in the second-level cache, and writes only the pooled maxima and a one-byte code for each:
which pixel of the window won, or `CLIPPED` if ReLU stops the gradient. Rows that pooling drops are
not computed at all.

Backward: of the pixels under a pooling window one has a gradient, or none. So for each image and
output channel o the winners are listed. One with gradient g, whose patch starts at s, contributes

    dw[k, o] += g · x[s + place(k)]        dx[s + place(k)] += g · w[k, o]

along contiguous runs of k: a quarter of the dense work, less what was clipped. Sums for dw stay in
registers while the list is walked through; dx is added up in a frame that stays in the cache.
Where runs are shorter than a vector (one or three input channels) dw is computed densely instead,
from one image's gradients at a time.
"""

from functools import lru_cache

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.conv2d import (
    LARGEST_PARTIAL_SUM,
    TASKS,
    add_block,
    add_chunks,
    correlate_range,
    fill_frame,
    forward_plan,
    frame_size,
    grouped,
    pack,
    panel_requests,
    row_length,
    total_size,
)
from convlib.kernels.cpu.sums import chunk_range
from convlib.kernels.cpu.tile import (
    ROWS,
    lanes,
    tile_add,
    tile_load,
    tile_store,
    tile_zero,
    vector_fma,
    vector_lanes,
)

CLIPPED = 255


def _plan(x_shape, w_shape, pooled_size, pool_size, strides, padding, dilation, groups, dtype):
    """Return the `Plan` of the convolution, for those windows only that pooling keeps."""
    kept = (pooled_size[0] * pool_size[0], pooled_size[1] * pool_size[1])
    return forward_plan(x_shape, w_shape, kept, strides, padding, dilation, groups, dtype)


@njit
def _pool_image(convolved, y, code, pool_height, pool_width):
    """Write maxima and codes of one image; all arrays are (height, width, channels)."""
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            for o in range(y.shape[2]):
                y[i, j, o] = 0
                code[i, j, o] = CLIPPED
            for u in range(pool_height):
                for v in range(pool_width):
                    place = u * pool_width + v
                    for o in range(y.shape[2]):
                        best = y[i, j, o]
                        candidate = convolved[i * pool_height + u, j * pool_width + v, o]
                        # NaN is the only number that differs from itself; it wins once.
                        wins = (candidate > best) | ((candidate != candidate) & (best == best))
                        y[i, j, o] = candidate if wins else best
                        code[i, j, o] = place if wins else code[i, j, o]


@njit(cache=True, parallel=True)
def _forward(x, windows, frame, tiling, panels, bias, y, code, pool_size, frames, convolutions):
    per_image = windows.rows * windows.columns
    for index in prange(len(convolutions)):
        task = np.int64(index)
        convolved, framed = convolutions[task], frames[task]
        framed[:] = 0
        for image in range(*chunk_range(task, len(convolutions), tiling.images)):
            first = image * per_image
            if tiling.is_framed:
                fill_frame(x, image, frame, framed)
                correlate_range(framed, 0, per_image, windows, tiling, panels, bias, convolved, 0)
            else:
                last = first + per_image
                correlate_range(x, first, last, windows, tiling, panels, bias, convolved, -first)
            as_image = convolved.reshape(windows.rows, windows.columns, y.shape[3])
            _pool_image(as_image, y[image], code[image], pool_size[0], pool_size[1])


def conv2d_relu_max_pool2d_forward(
    x, w, b, y, code, pool_size, strides, padding, dilation, groups, scratch
):
    """Pool each image while it is in the cache; see the module's text and the contract."""
    if y.size == 0:
        return
    plan = _plan(
        x.shape, w.shape, y.shape[1:3], pool_size, strides, padding, dilation, groups, x.dtype
    )
    tasks = min(TASKS, len(x))
    panels, bias, frames, convolutions = scratch.take(
        *panel_requests(plan, x.dtype),
        ((tasks, frame_size(plan) if plan.tiling.is_framed else 0), x.dtype),
        ((tasks, plan.windows.rows * plan.windows.columns * w.shape[3]), x.dtype),
    )
    pack(plan, grouped(w, groups), b, panels, bias)
    _forward(x.reshape(-1), *plan, panels, bias, y, code, pool_size, frames, convolutions)


@lru_cache(maxsize=256)
def _places(plan, pool_size):
    """Return where runs lie in a window, and the winner of each code in its pooling window."""
    windows = plan.windows
    row = windows.columns * windows.next_column + windows.next_row
    down, across = np.divmod(np.arange(windows.runs), windows.runs_across)
    runs = down * windows.run_down + across * windows.run_across
    codes = np.zeros(CLIPPED + 1, np.int64)
    down, across = np.divmod(np.arange(pool_size[0] * pool_size[1]), pool_size[1])
    codes[: len(down)] = down * row + across * windows.next_column
    return runs, codes, (pool_size[0] * row, pool_size[1] * windows.next_column)


@njit
def _list_winners(dy, code, image, o, shift, codes, steps, starts, gradients):
    """List where the winners' windows start, and their gradients; return how many there are."""
    count = 0
    for i in range(dy.shape[1]):
        for j in range(dy.shape[2]):
            # Written in any case and counted only if it won: nothing to mispredict.
            place = code[image, i, j, o]
            starts[count] = shift + i * steps[0] + j * steps[1] + codes[place]
            gradients[count] = dy[image, i, j, o]
            count += place != CLIPPED
    return count


@njit
def _sum_winners(total, target, x, place, length, starts, gradients, count):
    """``total[target + k] += Σ gradients · x[starts + place + k]`` for k < length."""
    lane_count = vector_lanes(x)
    k = 0
    while k + ROWS * lane_count <= length:
        acc = tile_load(tile_zero(x, ROWS, 1), total, target + k, lane_count)
        for winner in range(count):
            acc = tile_add(acc, x, starts[winner] + place + k, gradients[winner])
        tile_store(acc, total, target + k, lane_count, ROWS, lane_count)
        k += ROWS * lane_count
    for winner in range(count):
        _add_run(total, target, x, starts[winner] + place, gradients[winner], k, length)


@njit
def _add_run(y, y_start, x, x_start, factor, first, last):
    """``y[y_start + k] += factor · x[x_start + k]`` for first ≤ k < last."""
    lane_count = vector_lanes(y)
    whole = last - (last - first) % lane_count
    for k in range(first, whole, lane_count):
        vector_fma(y, y_start + k, x, x_start + k, factor)
    for k in range(whole, last):
        y[y_start + k] += factor * x[x_start + k]


@njit
def _image_length(windows):
    """Return how many numbers lie from one image's first window to the next one's."""
    rows = windows.rows * (windows.columns * windows.next_column + windows.next_row)
    return rows + windows.next_image


@njit(cache=True, parallel=True)
def _sparse_params(
    x, windows, frame, tiling, dy, code, runs, codes, steps, totals, bias_totals, frames, lists
):
    for index in prange(len(totals)):
        chunk = np.int64(index)
        total, bias_total, framed = totals[chunk], bias_totals[chunk], frames[chunk]
        starts, gradients = lists[0][chunk], lists[1][chunk]
        total[:] = 0
        bias_total[:] = 0
        framed[:] = 0
        for image in range(*chunk_range(chunk, len(totals), tiling.images)):
            first, source = image * _image_length(windows), x
            if tiling.is_framed:
                fill_frame(x, image, frame, framed)
                first, source = 0, framed
            for o in range(dy.shape[3]):
                shift = first + o // tiling.outputs * windows.group
                count = _list_winners(dy, code, image, o, shift, codes, steps, starts, gradients)
                for winner in range(count):
                    bias_total[o] += gradients[winner]
                for run in range(windows.runs):
                    target = o * tiling.terms + run * windows.run
                    _sum_winners(
                        total, target, source, runs[run], windows.run, starts, gradients, count
                    )


@njit(cache=True, parallel=True)
def _transpose_chunks(totals, dw):
    """Write ``dw[k, o] = Σ_chunk totals[chunk, o, k]``, the chunks in order."""
    for k in prange(dw.shape[0]):
        for o in range(dw.shape[1]):
            total = totals[0, o, k]
            for chunk in range(1, len(totals)):
                total += totals[chunk, o, k]
            dw[k, o] = total


@njit
def _expand(dy, code, pool_size, tiling, gradients, bias_total):
    """Write one image's gradients before pooling, a row of whole tiles for each window."""
    width = tiling.blocks * tiling.width
    columns = dy.shape[1] * pool_size[1]
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            for o in range(dy.shape[2]):
                bias_total[o] += dy[i, j, o] if code[i, j, o] != CLIPPED else 0
            for u in range(pool_size[0]):
                for v in range(pool_size[1]):
                    place = u * pool_size[1] + v
                    window = (i * pool_size[0] + u) * columns + j * pool_size[1] + v
                    for group in range(tiling.groups):
                        target = (window * tiling.groups + group) * width
                        o = group * tiling.outputs
                        for lane in range(tiling.outputs):
                            wins = code[i, j, o + lane] == place
                            gradients[target + lane] = dy[i, j, o + lane] if wins else 0


@njit(cache=True, parallel=True)
def _dense_params(
    x, windows, frame, tiling, dy, code, pool_size, tiles, totals, bias_totals, frames, expanded
):
    per_image = windows.rows * windows.columns
    for index in prange(len(totals)):
        chunk = np.int64(index)
        total, bias_total, framed = totals[chunk], bias_totals[chunk], frames[chunk]
        gradients = expanded[chunk]
        total[:] = 0
        bias_total[:] = 0
        framed[:] = 0
        gradients[:] = 0
        for image in range(*chunk_range(chunk, len(totals), tiling.images)):
            _expand(dy[image], code[image], pool_size, tiling, gradients, bias_total)
            first, source = image * per_image, x
            if tiling.is_framed:
                fill_frame(x, image, frame, framed)
                first, source = 0, framed
            last = first + per_image
            add_block(source, first, last, windows, tiling, gradients, -first, (0, tiles), total)


def conv2d_relu_max_pool2d_backward_params(
    x, dy, code, dw, db, pool_size, strides, padding, dilation, groups, scratch
):
    """Walk through the winners, or through all pixels where runs are short; see the module."""
    if dy.size == 0:
        dw[...] = 0
        if db is not None:
            db[...] = 0
        return
    plan = _plan(
        x.shape, dw.shape, dy.shape[1:3], pool_size, strides, padding, dilation, groups, x.dtype
    )
    is_sparse = plan.windows.run >= lanes(x.dtype)
    size = dw.size if is_sparse else total_size(plan)
    chunks = max(1, min(len(x), TASKS, LARGEST_PARTIAL_SUM // size))
    windows = plan.windows.rows * plan.windows.columns
    pooled = dy.shape[1] * dy.shape[2]
    totals, bias_totals, frames, expanded, starts, gradients = scratch.take(
        ((chunks, size), x.dtype),
        ((chunks, dw.shape[3]), x.dtype),
        ((chunks, frame_size(plan) if plan.tiling.is_framed else 0), x.dtype),
        ((0, 0) if is_sparse else (chunks, windows * row_length(plan)), x.dtype),
        ((chunks, pooled + 1), np.int64),
        ((chunks, pooled + 1), x.dtype),
    )
    x = x.reshape(-1)
    if is_sparse:
        places = _places(plan, pool_size)
        _sparse_params(
            x, *plan, dy, code, *places, totals, bias_totals, frames, (starts, gradients)
        )
        filters = dw.shape[3]
        _transpose_chunks(totals.reshape(chunks, filters, -1), dw.reshape(-1, filters))
    else:
        tiles = total_size(plan) // row_length(plan) // ROWS
        _dense_params(x, *plan, dy, code, pool_size, tiles, totals, bias_totals, frames, expanded)
        add_chunks(plan, totals, dw)
    if db is not None:
        np.sum(bias_totals, 0, out=db)


@njit(cache=True, parallel=True)
def _scatter(dy, code, kernel, dx, windows, frame, tiling, runs, codes, steps, frames, lists):
    row_size = frame.width * frame.channels
    for index in prange(len(frames)):
        task = np.int64(index)
        framed, starts, gradients = frames[task], lists[0][task], lists[1][task]
        for image in range(*chunk_range(task, len(frames), tiling.images)):
            framed[:] = 0
            for o in range(dy.shape[3]):
                shift = o // tiling.outputs * windows.group
                count = _list_winners(dy, code, image, o, shift, codes, steps, starts, gradients)
                for winner in range(count):
                    for run in range(windows.runs):
                        element = starts[winner] + runs[run]
                        weights = o * tiling.terms + run * windows.run
                        _add_run(
                            framed, element, kernel, weights, gradients[winner], 0, windows.run
                        )
            for row in range(frame.height):
                inside = (frame.top + row) * frame.framed_width + frame.left
                inside *= frame.channels
                target = (image * frame.height + row) * row_size
                dx[target : target + row_size] = framed[inside : inside + row_size]


def conv2d_relu_max_pool2d_backward_input(
    dy, code, w, dx, pool_size, strides, padding, dilation, groups, scratch
):
    """Add each winner's gradient to its patch, in a frame; see the module's text."""
    if dy.size == 0:
        dx[...] = 0
        return
    plan = _plan(
        dx.shape, w.shape, dy.shape[1:3], pool_size, strides, padding, dilation, groups, dy.dtype
    )
    filters = w.shape[3]
    tasks, pooled = min(TASKS, len(dx)), dy.shape[1] * dy.shape[2]
    kernel, frames, starts, gradients = scratch.take(
        ((filters, w.size // filters), w.dtype),
        ((tasks, frame_size(plan)), dx.dtype),
        ((tasks, pooled + 1), np.int64),
        ((tasks, pooled + 1), dx.dtype),
    )
    np.copyto(kernel, w.reshape(-1, filters).T)
    places = _places(plan, pool_size)
    kernel, pixels = kernel.reshape(-1), dx.reshape(-1)
    _scatter(dy, code, kernel, pixels, *plan, *places, frames, (starts, gradients))
