"""Convolution, ReLU and max-pooling in one pass, and the sparse way back.

Forward, for pools of 2×2: a `correlation` whose pixels are so ordered that the four of a pooling
window follow one another, ``m = 4·window + q``. A thread's rows are then one or two windows, whose
sums compete in its registers. Only the maximum is stored, and a byte that says which of the four it
was, or `CLIPPED` if ReLU stops the gradient: the convolution's output is neither written nor read,
and pixels that fill no window are not computed. Convolutions of few taps do the same with whole
windows in a thread's registers (see `direct`). Other pools are taken from the convolution's output,
which lies in work memory.

Backward: of the pixels under a pooling window one has a gradient, or none. One with gradient g,
whose window into x starts at s, contributes ``dw[k, n] += g · x[s + place(k)]``. There are two ways
to do that much and no more, for pools of 2×2; both keep some sums of dw in a thread's registers and
walk along the pooling windows.

* Many input channels: neighbouring threads have neighbouring channels of one filter. So all threads
  of a warp have the same winner, none waits for another, and what they read lies side by side.
* Few taps: neighbouring threads have neighbouring filters, and each keeps all taps of its filter.
  Winners differ within a warp, but lie in the same few pixels.

Either cuts the windows into parts, as many as the shapes say, whose sums are added up in order by a
second kernel. What is left (other pools, and numbers of channels between the two) expands dy to the
gradient of the convolution's output, in work memory, and goes on as a convolution does; and so does
the gradient by the input.

Each sum belongs to one thread, and each element of the outputs is written by one.
"""

import math
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numba import cuda, int32, uint32

from convlib.kernels._cache import stamped_cache
from convlib.kernels.cuda._device import is_aligned, launch, launch_over
from convlib.kernels.cuda._vec import inlined
from convlib.kernels.cuda.correlation import (
    CLIPPED,
    PIXELS,
    Geometry,
    add_products,
    backward_passes,
    column_of,
    compete,
    correlate,
    finish,
    forward_geometry,
    forward_taps,
    integers_of,
    is_better,
    parts_request,
    place_of,
    row_of,
    store_row,
    window_geometry,
)
from convlib.kernels.cuda.direct import best_forward_pass, direct_launch, suits_four
from convlib.kernels.cuda.outer_products import advance, strides_of
from convlib.kernels.cuda.outer_products import plan_of as outer_plan
from convlib.kernels.cuda.sums import add_sums, sums_request
from convlib.kernels.cuda.tiles import ENOUGH_BLOCKS, QUAD, STEP, best_tile

POOL = (2, 2)  # the one that is fused

# What the sums over winners keep in registers: all taps of a filter, if there are so few of them,
# or one channel of all kernel elements, for one of the filters of a block.
MOST_TAPS = 32
MOST_ELEMENTS = 12
FILTERS = 8
FEWEST_CHANNELS = 16  # fewer would leave most of a warp idle
WARP = 32
FEWEST_ROUNDS = 32  # along the windows, of a part of the sums


def _kernel(height, width, rows, columns, left_quads, right_quads):
    """Return the kernel for a tile; with or without 128-bit loads of each of the operands."""
    lines = 2 * STEP
    threads = height * width // (rows * columns)
    fetched = height * STEP // threads

    @cuda.jit(cache=True)
    def correlate_and_pool(x, taps, w, b, y, code, geometry):
        left = cuda.shared.array((lines, height), x.dtype, 16)
        right = cuda.shared.array((lines, width), x.dtype, 16)
        sums = cuda.local.array((rows, columns), x.dtype)
        from_left = cuda.local.array(rows, x.dtype)
        from_right = cuda.local.array(columns, x.dtype)
        next_left = cuda.local.array(fetched, x.dtype)
        next_right = cuda.local.array(QUAD, x.dtype)
        winners = cuda.local.array(columns, int32)

        group = int32(cuda.blockIdx.z)
        first_item, first_filter = int32(cuda.blockIdx.x * height), int32(cuda.blockIdx.y * width)
        item = uint32(first_item + uint32(cuda.threadIdx.x) % uint32(height))
        pixel = uint32(item % uint32(PIXELS))
        sample, row, column = place_of(
            uint32(item // uint32(PIXELS)), geometry.row_length, geometry.image_length
        )
        row = int32((2 * row + pixel // uint32(2)) * geometry.row_step + geometry.first_row)
        column = 2 * column + pixel % uint32(2)
        column = int32(column * geometry.column_step + geometry.first_column)
        add_products(
            sums, from_left, from_right, next_left, next_right, left, right,
            x, taps, w, item, sample, row, column, 0, group, first_filter, geometry,
            left_quads, right_quads, False,
        )  # fmt: skip
        finish(sums, from_right, b, first_filter, group, width, geometry)
        for first in range(0, rows, PIXELS):
            for j in range(columns):
                winners[j] = compete(sums, first, j)
            item = first_item + row_of(first, width, rows, columns)
            if item < geometry.items:
                place = item // PIXELS * geometry.y_pixel + group * geometry.filters + first_filter
                store_row(sums, first, y, place, first_filter, width, geometry)
                for j in range(columns):
                    column = column_of(j, width, columns)
                    if first_filter + column < geometry.filters:
                        code[uint32(place + column)] = winners[j]

    return correlate_and_pool


@cache
def _correlate_and_pool(tile, left_quads, right_quads):
    """Return the kernel, which is compiled when it is first needed."""
    with stamped_cache():
        return _kernel(*tile, left_quads, right_quads)


@lru_cache(maxsize=1024)
def fused_pass(
    x_shape, w_shape, y_shape, strides, padding, dilation, groups, dtype, are_aligned, has_bias
):
    """Return kernel, blocks, threads, taps and geometry of the fused forward pass."""
    geometry = forward_geometry(x_shape, w_shape, y_shape, strides, padding, groups)
    filters, geometry["items"] = geometry["filters"], PIXELS * geometry["items"]
    left_quads = are_aligned and geometry["group_channels"] % QUAD == 0
    right_quads = are_aligned and filters % QUAD == 0
    geometry |= {
        "steps": -(-geometry["depth"] // STEP),
        "is_rectified": False,
        "has_bias": has_bias,
        "stores_quads": right_quads,
    }
    if suits_four(geometry["depth"], dtype):
        kernel, blocks, threads = direct_launch(geometry, True, dtype)
    else:
        tile = best_tile(geometry["items"], filters, groups, dtype)
        kernel, threads = _correlate_and_pool(tile, left_quads, right_quads), tile.threads
        blocks = *tile.blocks(geometry["items"], filters), groups
    taps = forward_taps(x_shape[2:], w_shape, dilation)
    return kernel, blocks, threads, taps, integers_of(Geometry, geometry)


@cuda.jit(cache=True)
def _pool(convolved, y, code, filters, rows, columns, pool_rows, pool_columns):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        window = uint32(i) // uint32(filters)
        sample, row, column = place_of(window, columns, rows * columns)
        row_length = columns * pool_columns
        start = (sample * rows + row) * pool_rows * row_length + column * pool_columns
        start = start * filters + i - window * filters
        best, winner = convolved[uint32(start)], 0
        for pixel in range(1, pool_rows * pool_columns):
            down = pixel // pool_columns
            across = pixel - down * pool_columns
            value = convolved[uint32(start + (down * row_length + across) * filters)]
            if is_better(value, best):
                best, winner = value, pixel
        if best <= y.dtype.type(0):
            best, winner = y.dtype.type(0), CLIPPED
        y[i] = best
        code[i] = winner


def conv2d_relu_max_pool2d_forward(
    x, w, b, y, code, pool_size, strides, padding, dilation, groups, scratch
):
    """Let the pixels of each pooling window compete; see the module's text and the contract."""
    if y.size == 0:
        return
    window = strides, padding, dilation, groups, x.dtype
    if pool_size == POOL:
        *how, taps, geometry = fused_pass(
            x.shape, w.shape, y.shape, *window, is_aligned(x, w, y), b is not None
        )
        flat = w.reshape(-1)
        operands = x.reshape(-1), taps, flat, flat if b is None else b
        launch(*how, *operands, y.reshape(-1), code.reshape(-1), geometry)
        return
    shape = _covered(y.shape, pool_size)
    # Work memory is aligned.
    are_aligned = is_aligned(x, w)
    step = best_forward_pass(x.shape, w.shape, shape, *window, are_aligned, b is not None, False)
    request = parts_request(step, math.prod(shape), y.dtype)
    convolved, *parts = scratch.take((shape, y.dtype), *request)
    correlate(step, x, w, b, convolved, False, *parts)
    sizes = y.shape[3], *y.shape[1:3], *pool_size
    launch_over(_pool, y.size, convolved.reshape(-1), y.reshape(-1), code.reshape(-1), *sizes)


def _covered(y_shape, pool_size):
    """Return the shape of what pooling windows cover of a convolution's output."""
    n, rows, columns, filters = y_shape
    return n, rows * pool_size[0], columns * pool_size[1], filters


@cuda.jit(cache=True)
def _expand(dy, code, gradient, filters, rows, columns, pool_rows, pool_columns):
    for i in range(cuda.grid(1), dy.size, cuda.gridsize(1)):
        window = uint32(i) // uint32(filters)
        sample, row, column = place_of(window, columns, rows * columns)
        row_length = columns * pool_columns
        start = (sample * rows + row) * pool_rows * row_length + column * pool_columns
        start = start * filters + i - window * filters
        value, winner, pixel = dy[i], code[i], 0
        for down in range(pool_rows):
            for across in range(pool_columns):
                place = uint32(start + (down * row_length + across) * filters)
                gradient[place] = value if winner == pixel else dy.dtype.type(0)
                pixel += 1


def expand(dy, code, gradient, pool_size):
    """Write the gradient of the pixels that are covered by pooling windows."""
    sizes = dy.shape[3], *dy.shape[1:3], *pool_size
    launch_over(_expand, dy.size, dy.reshape(-1), code.reshape(-1), gradient.reshape(-1), *sizes)


def conv2d_relu_max_pool2d_backward_input(
    dy, code, w, dx, pool_size, strides, padding, dilation, groups, scratch
):
    """Expand the gradient, and see what each pixel of x sees of it; see the module's text."""
    shape = _covered(dy.shape, pool_size)
    window = strides, padding, dilation, groups, dy.dtype
    passes = backward_passes(shape, w.shape, dx.shape, *window, is_aligned(w, dx))
    expanded = ((shape, dy.dtype),) if dy.size else ()
    arrays = scratch.take(*expanded, *parts_request(passes[0], dx.size, dx.dtype))
    gradient = arrays.pop(0) if dy.size else dy
    expand(dy, code, gradient, pool_size)
    for step in passes:
        correlate(step, gradient, w, None, dx, False, *arrays)


class Winners(NamedTuple):
    """The integers of a sum over winners, 32-bit numbers; see `correlation.Geometry`."""

    items: int  # pooling windows
    row_length: int  # of them
    image_length: int
    row_step: int
    column_step: int
    first_row: int
    first_column: int
    height: int
    width: int
    channels: int
    groups: int
    group_channels: int
    filters: int
    depth: int
    next_image: int
    next_row: int
    next_column: int
    rows: int
    length: int  # windows of one part
    row_dilation: int
    column_dilation: int
    part_size: int
    first_bias: int
    has_bias: int


@inlined
def patch_of(winner, sample, row, column, geometry):
    """Return the row and column in x where a winner's patch begins, and their place."""
    row = (2 * row + winner // 2) * geometry.row_step + geometry.first_row
    column = (2 * column + winner % 2) * geometry.column_step + geometry.first_column
    start = ((sample * geometry.height + row) * geometry.width + column) * geometry.channels
    return row, column, start


@inlined
def add_patch(sums, gradient, x, row, column, start, kernel_width, depth, is_padded, geometry):
    """Add a multiple of a patch, of so many channels for each kernel element, in registers."""
    for k in range(sums.size):
        element, channel = k // depth, k % depth
        down = element // kernel_width * geometry.row_dilation
        across = element % kernel_width * geometry.column_dilation
        is_inside = (
            0 <= row + down < geometry.height and 0 <= column + across < geometry.width
            if is_padded
            else True
        )
        if is_inside:
            place = start + (down * geometry.width + across) * geometry.channels + channel
            sums[k] += gradient * x[uint32(place)]


def _kernel_over_channels(kernel_height, kernel_width, is_padded):
    """Return the kernel whose neighbouring threads have neighbouring channels of one filter."""
    elements = kernel_height * kernel_width
    spaced = FILTERS + 1  # so that neighbouring channels lie in different banks

    @cuda.jit(cache=True)
    def add_over_channels(x, dy, code, dw, db, geometry):
        together = cuda.shared.array((elements, WARP, spaced), x.dtype)
        sums = cuda.local.array(elements, x.dtype)
        bias = x.dtype.type(0)
        for k in range(elements):
            sums[k] = x.dtype.type(0)
        lane, of_block = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
        blocks = int32(uint32(geometry.filters + FILTERS - 1) // uint32(FILTERS))
        group = int32(uint32(cuda.blockIdx.y) // uint32(blocks))
        first_filter = int32((cuda.blockIdx.y - group * blocks) * FILTERS)
        first_channel = int32(cuda.blockIdx.x * WARP)
        channel, n = first_channel + lane, first_filter + of_block
        first = int32(cuda.blockIdx.z * geometry.length)
        end = min(first + geometry.length, geometry.items)
        sample, row, column = place_of(first, geometry.row_length, geometry.image_length)
        if channel < geometry.group_channels and n < geometry.filters:
            for window in range(first, end):
                place = (window * geometry.groups + group) * geometry.filters + n
                winner = int32(code[uint32(place)])
                if winner != CLIPPED:
                    gradient = dy[uint32(place)]
                    bias += gradient
                    down, across, start = patch_of(winner, sample, row, column, geometry)
                    start += group * geometry.group_channels + channel
                    add_patch(
                        sums, gradient, x, down, across, start, kernel_width, 1, is_padded,
                        geometry,
                    )  # fmt: skip
                sample, row, column = advance(sample, row, column, geometry)
        # Threads exchange their sums, so that neighbours write neighbouring filters.
        for k in range(elements):
            together[k, lane, of_block] = sums[k]
        cuda.syncthreads()
        first_place = cuda.blockIdx.z * geometry.part_size + group * geometry.filters + first_filter
        thread = of_block * WARP + lane
        channel, n = thread // FILTERS, thread % FILTERS
        if (
            first_filter + n < geometry.filters
            and first_channel + channel < geometry.group_channels
        ):
            for k in range(elements):
                row = k * geometry.group_channels + first_channel + channel
                place = first_place + row * (geometry.groups * geometry.filters) + n
                dw[uint32(place)] = together[k, channel, n]
        is_first = geometry.has_bias and first_channel == 0 and lane == 0
        if is_first and first_filter + of_block < geometry.filters:
            db[uint32(first_place + geometry.first_bias + of_block)] = bias

    return add_over_channels


def _kernel_over_filters(kernel_height, kernel_width, depth, is_padded, lines):
    """Return the kernel whose neighbouring threads have neighbouring filters, with all taps."""
    taps = kernel_height * kernel_width * depth
    rows = taps + 1  # and the bias

    @cuda.jit(cache=True)
    def add_over_filters(x, dy, code, dw, db, geometry):
        together = cuda.shared.array((lines, rows, WARP), x.dtype)
        sums = cuda.local.array(taps, x.dtype)
        bias = x.dtype.type(0)
        for k in range(taps):
            sums[k] = x.dtype.type(0)
        lane, line = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
        first_filter, group = int32(cuda.blockIdx.x * WARP), int32(cuda.blockIdx.y)
        n = first_filter + lane
        first = int32(cuda.blockIdx.z * geometry.length)
        end = min(first + geometry.length, geometry.items)
        sample, row, column = place_of(first + line, geometry.row_length, geometry.image_length)
        if n < geometry.filters:
            for window in range(first + line, end, lines):
                place = (window * geometry.groups + group) * geometry.filters + n
                winner = int32(code[uint32(place)])
                if winner != CLIPPED:
                    gradient = dy[uint32(place)]
                    bias += gradient
                    down, across, start = patch_of(winner, sample, row, column, geometry)
                    start += group * geometry.group_channels
                    add_patch(
                        sums, gradient, x, down, across, start, kernel_width, depth, is_padded,
                        geometry,
                    )  # fmt: skip
                sample, row, column = advance(sample, row, column, geometry)
        # The lines of a block have taken turns with the windows.
        for k in range(taps):
            together[line, k, lane] = sums[k]
        together[line, taps, lane] = bias
        cuda.syncthreads()
        first_place = cuda.blockIdx.z * geometry.part_size + group * geometry.filters + n
        for k in range(line, rows, lines):
            total = x.dtype.type(0)
            for other in range(lines):
                total += together[other, k, lane]
            if n < geometry.filters:
                if k < taps:
                    dw[uint32(first_place + k * (geometry.groups * geometry.filters))] = total
                elif geometry.has_bias:
                    db[uint32(first_place + geometry.first_bias)] = total

    return add_over_filters


@cache
def _add_over_channels(*integers):
    """Return the kernel, which is compiled when it is first needed."""
    with stamped_cache():
        return _kernel_over_channels(*integers)


@cache
def _add_over_filters(*integers):
    """Return the kernel, which is compiled when it is first needed."""
    with stamped_cache():
        return _kernel_over_filters(*integers)


class Plan(NamedTuple):
    """How the sums over winners are launched."""

    kernel: object
    blocks: tuple[int, int, int]
    threads: tuple[int, int]
    geometry: Winners
    parts: int


@lru_cache(maxsize=1024)
def sparse_plan(x_shape, w_shape, y_shape, strides, padding, dilation, groups, dtype, has_bias):
    """Return the plan for the sums over winners, or None where there is no such way."""
    geometry = window_geometry(x_shape, w_shape, y_shape, strides, padding, groups)
    filters, depth = geometry["filters"], w_shape[2]
    elements = w_shape[0] * w_shape[1]
    reach = [
        2 * y_shape[1 + i] * strides[i] - strides[i] + dilation[i] * (w_shape[i] - 1) + 1
        for i in (0, 1)
    ]
    is_padded = any(
        before > 0 or size > before + length
        for (before, _), size, length in zip(padding, reach, x_shape[1:3], strict=True)
    )
    if elements * depth <= MOST_TAPS:
        # Shared memory is 48 KB.
        lines = 64 // np.dtype(dtype).itemsize // 2
        kernel = _add_over_filters(*w_shape[:3], is_padded, lines)
        blocks = -(-filters // WARP), groups
    elif elements <= MOST_ELEMENTS and depth >= FEWEST_CHANNELS:
        kernel, lines = _add_over_channels(*w_shape[:2], is_padded), 1
        blocks = -(-depth // WARP), -(-filters // FILTERS) * groups
    else:
        return None
    rounds = -(-geometry["items"] // lines)
    parts = max(1, min(ENOUGH_BLOCKS // math.prod(blocks), rounds // FEWEST_ROUNDS))
    length = -(-rounds // parts) * lines
    parts = max(1, -(-geometry["items"] // max(1, length)))
    size = math.prod(w_shape)
    geometry |= strides_of(lines, *y_shape[1:3]) | {
        "length": length,
        "row_dilation": dilation[0],
        "column_dilation": dilation[1],
        # Parts are rows of work memory, dw's sums and behind them db's.
        "part_size": size + w_shape[3],
        "first_bias": size if parts > 1 else 0,
        "has_bias": has_bias,
    }
    threads = WARP, lines if elements * depth <= MOST_TAPS else FILTERS
    return Plan(kernel, (*blocks, parts), threads, integers_of(Winners, geometry), parts)


def conv2d_relu_max_pool2d_backward_params(
    x, dy, code, dw, db, pool_size, strides, padding, dilation, groups, scratch
):
    """Walk along the winners, or expand them where there is no way for that; see the module."""
    window = strides, padding, dilation, groups
    plan = None
    if pool_size == POOL:
        plan = sparse_plan(x.shape, dw.shape, dy.shape, *window, x.dtype, db is not None)
    if plan is not None:
        operands = x.reshape(-1), dy.reshape(-1), code.reshape(-1)
        add_sums(plan, operands, dw, db, scratch.take(*sums_request(plan, dw)))
        return
    shape = _covered(dy.shape, pool_size)
    plan = outer_plan(x.shape, dw.shape, shape, *window, x.dtype, is_aligned(x, dw), db is not None)
    expanded = ((shape, dy.dtype),) if dy.size else ()
    arrays = scratch.take(*expanded, *sums_request(plan, dw))
    gradient = arrays.pop(0) if dy.size else dy
    expand(dy, code, gradient, pool_size)
    add_sums(plan, (x.reshape(-1), plan.taps, gradient.reshape(-1)), dw, db, arrays)
