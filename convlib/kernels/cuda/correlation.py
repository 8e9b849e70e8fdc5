"""Products of matrices whose left operand is gathered from images: the implicit GEMM.

With a pixel m for each output position of all samples, a tap k for each kernel element and input
channel, and a filter n,

    y[m, n] = b[n] + Σ_k x[start(m) + place(k)] · w[k, n]

where an element counts only if its row and column, each a pixel's plus a tap's, lie in the image.
The matrix of patches on the left would be as many times larger than x as a kernel has elements, and
is never stored. Forward convolution is this, and so is its gradient by the input: there x is dy,
the taps are mirrored, and w is read transposed. With strides, a pixel of dx sees only every so
many-th row and column of the kernel, so that dx falls apart into classes of pixels which see the
same taps; each class is a correlation at stride 1 of its own, and nothing is multiplied with
inserted zeros. A dense layer has images of one pixel.

Blocking: as `tiles` says, with tiles of pixels × filters. A thread fetches for one pixel, which it
finds by division once, one or two quads of taps in each step. What it needs to know of a tap was
worked out on the host: its place from the pixel's start, its row and column there, and its place in
w; the table stays on the device. Neighbouring threads have neighbouring pixels and read the same
taps, so that a warp reads whole sectors of memory, and writes them to shared memory without
conflicts. Where channels and filters are multiples of four, a quad is one load of 128 bits.

While a step's operands are multiplied, those of the next are on their way from global memory to
registers; they are then stored in the other half of shared memory, so that one barrier is enough:
what a step reads was stored before the last barrier, and what it overwrites was read before it.

Traffic: each block reads ``height + width`` numbers from global memory, or from the cache, for
``height · width`` products. Every sum belongs to one thread, which adds its terms in order.

If there are few blocks with long sums, the sums are cut into parts, as many as the shapes say. They
are added up, in order, by a second kernel, which then does what else is to be done with a sum.
"""

import math
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numba import cuda, int32, uint32

from convlib.kernels._cache import stamped_cache
from convlib.kernels.cuda import _device
from convlib.kernels.cuda._device import launch
from convlib.kernels.cuda._vec import inlined, load4, multiply_add, store4
from convlib.kernels.cuda.sums import finish_parts
from convlib.kernels.cuda.tiles import LARGE, QUAD, STEP, best_split, best_tile

OUTSIDE = -(2**30)  # a row that is in no image, whichever tap's row is added


PIXELS = 4  # of the pooling windows whose maximum is taken at once, 2×2
CLIPPED = 255


class Geometry(NamedTuple):
    """The integers of a correlation, all of them 32-bit numbers as kernels get them."""

    items: int  # pixels whose sums are wanted, in all samples
    row_length: int  # of them in one row, or of pooling windows where these are wanted
    image_length: int
    row_step: int  # in x from one of them to the next below, and to the next in its row
    column_step: int
    first_row: int  # in x, of the first one
    first_column: int
    height: int  # of x
    width: int
    channels: int
    groups: int
    group_channels: int
    filters: int  # of one group
    depth: int  # taps
    steps: int  # of one part of a sum
    w_group: int  # in w from one group to the next, and from one filter to the next
    w_filter: int
    y_first: int  # in y, and the distances there
    y_image: int
    y_row: int
    y_pixel: int
    y_part: int
    is_rectified: int
    has_bias: int
    stores_quads: int


@inlined
def place_of(item, row_length, image_length):
    """Return the sample, row and column of an item where a row and an image have so many."""
    # Unsigned, because Numba would otherwise divide numbers of 64 bits, and round down.
    item, row_length, image_length = uint32(item), uint32(row_length), uint32(image_length)
    sample = uint32(item // image_length)
    item = uint32(item - sample * image_length)
    row = uint32(item // row_length)
    return int32(sample), int32(row), int32(item - row * row_length)


# By Numba: LLVM would do it too late to see the constant `at`, and put the numbers into memory.
@cuda.jit(device=True, inline="always")
def fetch_patch(numbers, at, x, taps, k, start, row, column, geometry, by_quads):
    """Fetch what a pixel sees under four taps; zeros outside of the image."""
    length = taps.size // 4
    if by_quads:
        # Four channels of one kernel element.
        down, across = row + taps[uint32(length + k)], column + taps[uint32(2 * length + k)]
        is_inside = 0 <= down < geometry.height and 0 <= across < geometry.width
        if is_inside:
            quad = load4(x, start + taps[uint32(k)])
            for lane in range(QUAD):
                numbers[at + lane] = quad[lane]
        else:
            for lane in range(QUAD):
                numbers[at + lane] = x.dtype.type(0)
    else:
        for lane in range(QUAD):
            tap = k + lane
            down, across = row + taps[uint32(length + tap)], column + taps[uint32(2 * length + tap)]
            number = x.dtype.type(0)
            if 0 <= down < geometry.height and 0 <= across < geometry.width:
                number = x[uint32(start + taps[uint32(tap)])]
            numbers[at + lane] = number


@inlined
def fetch_weights(numbers, w, taps, k, start, filters, geometry, by_quads, is_transposed):
    """Fetch weights of four taps and one filter if transposed, else of one tap and four filters.

    So many ``filters`` are left from the first one on; beyond them, and beyond the taps, are zeros.
    """
    places = uint32(3 * (taps.size // 4))
    if by_quads:
        if k < geometry.depth and filters > 0:
            quad = load4(w, start + taps[uint32(places + k)])
            for lane in range(QUAD):
                numbers[lane] = quad[lane]
        else:
            for lane in range(QUAD):
                numbers[lane] = w.dtype.type(0)
    else:
        for lane in range(QUAD):
            tap, beside = (k + lane, 0) if is_transposed else (k, lane)
            number = w.dtype.type(0)
            if tap < geometry.depth and beside < filters:
                number = w[uint32(start + beside + taps[uint32(places + tap)])]
            numbers[lane] = number


@inlined
def add_products(
    sums, from_left, from_right, next_left, next_right, left, right,
    x, taps, w, item, sample, row, column, part, group, first_filter, geometry,
    left_quads, right_quads, is_transposed,
):  # fmt: skip
    """Add up a block's sums, while this thread fetches for one pixel; see the module's text.

    All threads of a block must call it, with tiles in shared memory and the rest in their own.
    """
    height, width = left.shape[1], right.shape[1]
    rows, columns = sums.shape
    for i in range(rows):
        for j in range(columns):
            sums[i, j] = x.dtype.type(0)
    start = (sample * geometry.height + row) * geometry.width + column
    start = int32(start * geometry.channels + group * geometry.group_channels)
    if item >= geometry.items:
        row = int32(OUTSIDE)
    # Threads that share a pixel divide the step's quads of taps among themselves. All of this is
    # unsigned: then the compiler sees multiples of four, and loads so many numbers at once.
    thread = uint32(cuda.threadIdx.x)
    left_item, left_tap = uint32(thread % uint32(height)), uint32(thread // uint32(height) * QUAD)
    next_quad = QUAD * (cuda.blockDim.x // height)
    if is_transposed:
        right_filter, right_tap = (
            uint32(thread % uint32(width)),
            uint32(thread // uint32(width) * QUAD),
        )
    else:
        quads = width // QUAD
        right_filter, right_tap = (
            uint32(thread % uint32(quads) * QUAD),
            uint32(thread // uint32(quads)),
        )
    right_filters = int32(geometry.filters - first_filter - right_filter)
    right_start = (first_filter + right_filter) * geometry.w_filter + group * geometry.w_group
    right_start = int32(right_start)
    first_row = uint32(thread // uint32(width // columns) * rows)
    first_column = uint32(thread % uint32(width // columns) * QUAD)

    first = int32(part * geometry.steps)
    end = min(first + geometry.steps, (geometry.depth + STEP - 1) // STEP)
    for step in range(first, end + 1):
        here, there = (step & 1) * STEP, (step + 1 & 1) * STEP
        if step < end:
            for at in range(0, next_left.size, QUAD):
                k = step * STEP + left_tap + at // QUAD * next_quad
                fetch_patch(next_left, at, x, taps, k, start, row, column, geometry, left_quads)
            k = step * STEP + right_tap
            fetch_weights(
                next_right, w, taps, k, right_start, right_filters, geometry, right_quads,
                is_transposed,
            )  # fmt: skip
        if step > first:
            multiply_add(
                sums, from_left, from_right, left, first_row, right, first_column,
                width // columns * QUAD, there, STEP,
            )  # fmt: skip
        if step < end:
            for at in range(next_left.size):
                line = here + left_tap + at // QUAD * next_quad + at % QUAD
                left[uint32(line), left_item] = next_left[at]
            for lane in range(QUAD):
                if is_transposed:
                    right[uint32(here + right_tap + lane), right_filter] = next_right[lane]
                else:
                    right[uint32(here + right_tap), uint32(right_filter + lane)] = next_right[lane]
        cuda.syncthreads()


@inlined
def finish(sums, biases, b, first_filter, group, width, geometry):
    """Add the bias, of this thread's columns, and cut off below zero, if these are wanted."""
    rows, columns = sums.shape
    zero = b.dtype.type(0)
    for j in range(columns):
        n = first_filter + column_of(j, width, columns)
        biases[j] = zero
        if geometry.has_bias and n < geometry.filters:
            biases[j] = b[uint32(group * geometry.filters + n)]
    for i in range(rows):
        for j in range(columns):
            sums[i, j] += biases[j]
    if geometry.is_rectified:
        for i in range(rows):
            for j in range(columns):
                # A NaN is not below zero.
                sums[i, j] = zero if sums[i, j] <= zero else sums[i, j]


@inlined
def row_of(i, width, rows, columns):
    """Return which row of a block's tile is row i of this thread."""
    return int32(uint32(cuda.threadIdx.x) // uint32(width // columns) * rows + i)


@inlined
def column_of(j, width, columns):
    """Return which column of a block's tile is column j of this thread."""
    across = uint32(width // columns)
    return int32(uint32(cuda.threadIdx.x) % across * QUAD + j // QUAD * (across * QUAD) + j % QUAD)


@inlined
def store_row(sums, i, y, place, first_filter, width, geometry):
    """Store row i of this thread's sums, from ``place`` on for the tile's first filter."""
    columns = sums.shape[1]
    for at in range(0, columns, QUAD):
        column = column_of(at, width, columns)
        if geometry.stores_quads:
            if first_filter + column < geometry.filters:
                quad = sums[i, at], sums[i, at + 1], sums[i, at + 2], sums[i, at + 3]
                store4(y, place + column, quad)
        else:
            for lane in range(QUAD):
                if first_filter + column + lane < geometry.filters:
                    y[uint32(place + column + lane)] = sums[i, at + lane]


@inlined
def is_better(value, best):
    """Whether a value wins over the best one before it, as a maximum that keeps NaN has it."""
    return value > best or (math.isnan(value) and not math.isnan(best))


@inlined
def compete(sums, first, j):
    """Leave the maximum of four rows from ``first`` on in the first of them; return its code.

    That is the first of them that holds the maximum, or `CLIPPED` if that is not above zero.
    """
    best, winner = sums[first, j], 0
    for pixel in range(1, PIXELS):
        if is_better(sums[first + pixel, j], best):
            best, winner = sums[first + pixel, j], pixel
    # A NaN is not below zero: it keeps its place.
    if best <= sums.dtype.type(0):
        best, winner = sums.dtype.type(0), CLIPPED
    sums[first, j] = best
    return winner


def _kernel(height, width, rows, columns, left_quads, right_quads, is_transposed, lies_apart):
    """Return the kernel for a tile; with or without 128-bit loads of each of the operands."""
    lines = 2 * STEP
    threads = height * width // (rows * columns)
    fetched = height * STEP // threads

    @cuda.jit(cache=True)
    def correlate(x, taps, w, b, y, geometry):
        left = cuda.shared.array((lines, height), x.dtype, 16)
        right = cuda.shared.array((lines, width), x.dtype, 16)
        sums = cuda.local.array((rows, columns), x.dtype)
        from_left = cuda.local.array(rows, x.dtype)
        from_right = cuda.local.array(columns, x.dtype)
        next_left = cuda.local.array(fetched, x.dtype)
        next_right = cuda.local.array(QUAD, x.dtype)

        part = int32(uint32(cuda.blockIdx.z) // uint32(geometry.groups))
        group = int32(uint32(cuda.blockIdx.z) % uint32(geometry.groups))
        first_item, first_filter = int32(cuda.blockIdx.x * height), int32(cuda.blockIdx.y * width)
        item = int32(first_item + uint32(cuda.threadIdx.x) % uint32(height))
        sample, row, column = place_of(item, geometry.row_length, geometry.image_length)
        row = int32(row * geometry.row_step + geometry.first_row)
        column = int32(column * geometry.column_step + geometry.first_column)
        add_products(
            sums, from_left, from_right, next_left, next_right, left, right,
            x, taps, w, item, sample, row, column, part, group, first_filter, geometry,
            left_quads, right_quads, is_transposed,
        )  # fmt: skip
        finish(sums, from_right, b, first_filter, group, width, geometry)
        for i in range(rows):
            item = first_item + row_of(i, width, rows, columns)
            if item < geometry.items:
                place = item * geometry.y_pixel
                if lies_apart:
                    sample, row, column = place_of(item, geometry.row_length, geometry.image_length)
                    place = sample * geometry.y_image + row * geometry.y_row
                    place += geometry.y_first + column * geometry.y_pixel
                place += part * geometry.y_part + group * geometry.filters + first_filter
                store_row(sums, i, y, place, first_filter, width, geometry)

    return correlate


@cache
def _correlate(tile, left_quads, right_quads, is_transposed, lies_apart):
    """Return the kernel, which is compiled when it is first needed."""
    with stamped_cache():
        return _kernel(*tile, left_quads, right_quads, is_transposed, lies_apart)


class Pass(NamedTuple):
    """One launch of a correlation, and into how many parts it cuts the sums."""

    kernel: object
    blocks: tuple[int, int, int]
    threads: int
    taps: object
    geometry: Geometry
    parts: int


def tap_table(elements, next_row, next_column, channels, next_weight):
    """Return the places, rows, columns and places in w of all taps, on the device.

    Parameters
    ----------
    elements : (count, 3) array of int
        Of each kernel element its row and column from a pixel's first ones, and its first weight.
    next_row, next_column : int
        Elements of the image from one row to the next, and from one column to the next.
    channels, next_weight : int
        Taps of one kernel element, which are neighbours in the image and so far apart in w.
    """
    count = len(elements) * channels
    table = np.zeros((4, -(-max(1, count) // LARGE.height) * LARGE.height), np.int32)
    table[1] = OUTSIDE  # the taps that fill up the last step or tile
    rows, columns, weights = np.repeat(elements, channels, 0).T
    channel = np.tile(np.arange(channels), len(elements))
    table[0, :count] = rows * next_row + columns * next_column + channel
    table[1, :count], table[2, :count] = rows, columns
    table[3, :count] = weights + channel * next_weight
    return _device.to_device(table.reshape(-1))


def kernel_elements(kernel_size, dilation):
    """Return the row, column and number of each kernel element."""
    down, across = np.divmod(np.arange(kernel_size[0] * kernel_size[1]), kernel_size[1])
    return down * dilation[0], across * dilation[1], np.arange(len(down))


@lru_cache(maxsize=1024)
def forward_taps(x_shape, w_shape, dilation):
    """Return the taps of a convolution's windows; only the images' width and channels count."""
    width, channels = x_shape
    rows, columns, number = kernel_elements(w_shape[:2], dilation)
    elements = np.stack([rows, columns, number * w_shape[2] * w_shape[3]], 1)
    return tap_table(elements, width * channels, channels, w_shape[2], w_shape[3])


@lru_cache(maxsize=1024)
def backward_taps(dy_shape, groups, w_shape, dilation, strides, shift):
    """Return the taps that one class of dx's pixels sees in dy, and their number.

    ``shift`` is the class's first row and column within the padded image. A pixel that lies some
    rows below a window's first is a pixel for which this window lies as many rows above.
    """
    width, filters = dy_shape
    rows, columns, number = kernel_elements(w_shape[:2], dilation)
    rows, columns = shift[0] - rows, shift[1] - columns
    seen = (rows % strides[0] == 0) & (columns % strides[1] == 0)
    weights = number * w_shape[2] * filters
    elements = np.stack([rows // strides[0], columns // strides[1], weights], 1)[seen]
    taps = tap_table(elements, width * filters, filters, filters // groups, 1)
    return taps, len(elements) * (filters // groups)


def _pass(taps, geometry, is_transposed, lies_apart, dtype, are_aligned, has_bias, is_rectified):
    """Choose the tile for a geometry, and complete it."""
    groups, filters = geometry["groups"], geometry["filters"]
    tile = best_tile(geometry["items"], filters, groups, dtype)
    blocks = *tile.blocks(geometry["items"], filters), groups
    steps = -(-geometry["depth"] // STEP)
    parts, steps = (1, steps) if lies_apart else best_split(blocks[0] * blocks[1] * groups, steps)
    left_quads = are_aligned and geometry["group_channels"] % QUAD == 0
    stores_quads = are_aligned and filters % QUAD == 0
    # Along filters or, if w is read transposed, along taps.
    right_quads = left_quads if is_transposed else stores_quads
    if parts > 1:
        has_bias = is_rectified = False
    geometry |= {
        "steps": steps,
        "is_rectified": is_rectified,
        "has_bias": has_bias,
        "stores_quads": stores_quads,
    }
    return Pass(
        _correlate(tile, left_quads, right_quads, is_transposed, lies_apart),
        (blocks[0], blocks[1], groups * parts),
        tile.threads,
        taps,
        integers_of(Geometry, geometry),
        parts,
    )


def window_geometry(x_shape, w_shape, y_shape, strides, padding, groups):
    """Return the part of a geometry that says where the windows of a convolution lie."""
    _, height, width, channels = x_shape
    n, rows, columns, filters = y_shape
    return {
        "items": n * rows * columns,
        # At least one, since there is a division by them even where there are no items.
        "row_length": max(1, columns),
        "image_length": max(1, rows * columns),
        "row_step": strides[0],
        "column_step": strides[1],
        "first_row": -padding[0][0],
        "first_column": -padding[1][0],
        "height": height,
        "width": width,
        "channels": channels,
        "groups": groups,
        "group_channels": channels // groups,
        "filters": filters // groups,
        "depth": w_shape[0] * w_shape[1] * w_shape[2],
    }


def forward_geometry(x_shape, w_shape, y_shape, strides, padding, groups):
    """Return what is known of a forward convolution's geometry before a kernel is chosen."""
    return window_geometry(x_shape, w_shape, y_shape, strides, padding, groups) | {
        "w_group": y_shape[3] // groups,
        "w_filter": 1,
        "y_first": 0,
        "y_image": 0,
        "y_row": 0,
        "y_pixel": y_shape[3],
        "y_part": math.prod(y_shape),
    }


def integers_of(kind, geometry):
    """Return a geometry as kernels get it."""
    return kind(**{name: np.int32(value) for name, value in geometry.items()})


@lru_cache(maxsize=1024)
def forward_pass(
    x_shape, w_shape, y_shape, strides, padding, dilation, groups, dtype, are_aligned, has_bias,
    is_rectified,
):  # fmt: skip
    """Return the correlation of a forward convolution."""
    geometry = forward_geometry(x_shape, w_shape, y_shape, strides, padding, groups)
    taps = forward_taps(x_shape[2:], w_shape, dilation)
    return _pass(taps, geometry, False, False, dtype, are_aligned, has_bias, is_rectified)


@lru_cache(maxsize=1024)
def backward_passes(
    dy_shape, w_shape, dx_shape, strides, padding, dilation, groups, dtype, are_aligned
):
    """Return the correlations for the classes of dx's pixels."""
    n, height, width, channels = dx_shape
    _, rows, columns, filters = dy_shape
    lies_apart = strides != (1, 1)
    passes = []
    for down, across in np.ndindex(min(strides[0], height), min(strides[1], width)):
        shift = down + padding[0][0], across + padding[1][0]
        taps, depth = backward_taps(dy_shape[2:], groups, w_shape, dilation, strides, shift)
        row_length = -(-(width - across) // strides[1])
        image_length = -(-(height - down) // strides[0]) * row_length
        geometry = {
            "items": n * image_length,
            "row_length": row_length,
            "image_length": image_length,
            "row_step": 1,
            "column_step": 1,
            "first_row": 0,
            "first_column": 0,
            "height": rows,
            "width": columns,
            "channels": filters,
            "groups": groups,
            "group_channels": filters // groups,
            "filters": channels // groups,
            "depth": depth,
            "w_group": filters // groups,
            "w_filter": filters,
            "y_first": (down * width + across) * channels,
            "y_image": height * width * channels,
            "y_row": strides[0] * width * channels,
            "y_pixel": strides[1] * channels,
            "y_part": n * height * width * channels,
        }
        passes.append(_pass(taps, geometry, True, lies_apart, dtype, are_aligned, False, False))
    return passes


def parts_request(step, size, dtype):
    """Return what a pass asks of the work memory: nothing, or room for the parts of its sums."""
    return (((step.parts, size), dtype),) if step.parts > 1 else ()


def correlate(step, x, w, b, y, is_rectified, parts=None):
    """Launch one pass, and the adding up of its parts if it has any."""
    x, w = x.reshape(-1), w.reshape(-1)
    bias = w if b is None else b
    sums = (y if parts is None else parts).reshape(-1)
    launch(step.kernel, step.blocks, step.threads, x, step.taps, w, bias, sums, step.geometry)
    if parts is not None:
        finish_parts(sums, bias, y.reshape(-1), b is not None, is_rectified)
