"""The gradient of a convolution's kernel: a sum of outer products over all output pixels.

With the taps m and filters n of `correlation`, and the output's pixels k,

    dw[m, n] = Σ_k x[start(k) + place(m)] · dy[k, n]      db[n] = Σ_k dy[k, n]

so that the operand on the left is the same matrix of patches, transposed, and again gathered.

Blocking: as `tiles` says, with tiles of taps × filters. In each step a block fetches for eight
pixels. The threads that share a pixel have neighbouring quads of its taps and of its filters, which
are neighbours in memory; shared memory gets them as they are. A thread's next pixel is eight
further, and finds its row and column without division: those of eight are added, with carry. The
blocks of the first taps add up db beside, from the strip of dy that lies in shared memory.

There are few tiles and long sums, so the pixels are cut into parts, as many as the shapes say. What
each part adds up to lies in work memory, dw's sums and behind them db's, and a second kernel adds
the parts in order.

Traffic: x is read once for every 32 or 64 filters and every kernel element (mostly from the cache),
dy once for every 32 or 128 taps, and each part is written and read once.
"""

from functools import cache, lru_cache
from typing import NamedTuple

from numba import cuda, int32, uint32

from convlib.kernels._cache import stamped_cache
from convlib.kernels.cuda._device import is_aligned
from convlib.kernels.cuda._vec import inlined, load4, multiply_add
from convlib.kernels.cuda.correlation import (
    OUTSIDE,
    fetch_patch,
    forward_taps,
    integers_of,
    place_of,
    row_of,
    store_row,
    window_geometry,
)
from convlib.kernels.cuda.sums import add_sums, sums_request
from convlib.kernels.cuda.tiles import FEWEST_STEPS, QUAD, STEP, best_split, best_tile


class Geometry(NamedTuple):
    """The integers of a sum of outer products, 32-bit numbers; see `correlation.Geometry`."""

    items: int
    row_length: int
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
    length: int  # pixels of one part
    next_image: int  # images, rows and columns that make up the pixels of a step
    next_row: int
    next_column: int
    rows: int  # of an image
    part_size: int
    first_bias: int  # place of the first one
    has_bias: int
    stores_quads: int


@inlined
def advance(sample, row, column, geometry):
    """Return the sample, row and column of a thread's next item, without division."""
    column += geometry.next_column
    row += geometry.next_row
    sample += geometry.next_image
    if column >= geometry.row_length:
        column -= geometry.row_length
        row += 1
    if row >= geometry.rows:
        row -= geometry.rows
        sample += 1
    return sample, row, column


def strides_of(items, rows, columns):
    """Return how far to advance for so many items: ``next_image``, ``next_row``, ``next_column``.

    ``rows`` is part of the geometry as well, for the carry.
    """
    rows, columns = max(1, rows), max(1, columns)
    next_row, next_column = divmod(items, columns)
    next_image, next_row = divmod(next_row, rows)
    return {
        "next_image": next_image,
        "next_row": next_row,
        "next_column": next_column,
        "rows": rows,
    }


@inlined
def fetch_filters(numbers, dy, place, filters, by_quads):
    """Fetch four neighbouring gradients, of which so many belong to filters; others are zeros."""
    if by_quads:
        if filters > 0:
            quad = load4(dy, place)
            for lane in range(QUAD):
                numbers[lane] = quad[lane]
        else:
            for lane in range(QUAD):
                numbers[lane] = dy.dtype.type(0)
    else:
        for lane in range(QUAD):
            number = dy.dtype.type(0)
            if lane < filters:
                number = dy[uint32(place + lane)]
            numbers[lane] = number


def _kernel(height, width, rows, columns, left_quads, right_quads):
    """Return the kernel for a tile; with or without 128-bit loads of each of the operands."""
    lines = 2 * STEP
    threads = height * width // (rows * columns)
    fetched = height * STEP // threads
    per_pixel = threads // STEP

    @cuda.jit(cache=True)
    def add_outer_products(x, taps, dy, dw, db, geometry):
        left = cuda.shared.array((lines, height), x.dtype, 16)
        right = cuda.shared.array((lines, width), x.dtype, 16)
        sums = cuda.local.array((rows, columns), x.dtype)
        from_left = cuda.local.array(rows, x.dtype)
        from_right = cuda.local.array(columns, x.dtype)
        next_left = cuda.local.array(fetched, x.dtype)
        next_right = cuda.local.array(QUAD, x.dtype)
        bias = x.dtype.type(0)
        for i in range(rows):
            for j in range(columns):
                sums[i, j] = x.dtype.type(0)

        thread = uint32(cuda.threadIdx.x)
        part = int32(uint32(cuda.blockIdx.z) // uint32(geometry.groups))
        group = int32(uint32(cuda.blockIdx.z) % uint32(geometry.groups))
        first_tap, first_filter = int32(cuda.blockIdx.x * height), int32(cuda.blockIdx.y * width)
        adds_bias = geometry.has_bias and first_tap == 0 and thread < width
        # The first pixel for which this thread fetches.
        line, quad = uint32(thread // uint32(per_pixel)), uint32(thread % uint32(per_pixel) * QUAD)
        first = int32(part * geometry.length)
        end = min(first + geometry.length, geometry.items)
        pixel = int32(first + line)
        sample, row, column = place_of(pixel, geometry.row_length, geometry.image_length)
        filters = int32(geometry.filters - first_filter - quad)
        first_row = uint32(thread // uint32(width // columns) * rows)
        first_column = uint32(thread % uint32(width // columns) * QUAD)

        steps = (end - first + STEP - 1) // STEP
        for step in range(steps + 1):
            here, there = (step & 1) * STEP, (step + 1 & 1) * STEP
            if step < steps:
                down = row * geometry.row_step + geometry.first_row
                across = column * geometry.column_step + geometry.first_column
                start = (sample * geometry.height + down) * geometry.width + across
                start = int32(start * geometry.channels + group * geometry.group_channels)
                if pixel >= end:
                    down = OUTSIDE
                for at in range(0, fetched, QUAD):
                    tap = first_tap + quad + at * per_pixel
                    fetch_patch(
                        next_left, at, x, taps, tap, start, down, across, geometry, left_quads
                    )
                place = (pixel * geometry.groups + group) * geometry.filters + first_filter + quad
                some = filters if pixel < end else 0
                fetch_filters(next_right, dy, place, some, right_quads)
                pixel += STEP
                sample, row, column = advance(sample, row, column, geometry)
            if step > 0:
                multiply_add(
                    sums, from_left, from_right, left, first_row, right, first_column,
                    width // columns * QUAD, there, STEP,
                )  # fmt: skip
                if adds_bias:
                    for k in range(there, there + STEP):
                        bias += right[uint32(k), uint32(thread)]
            if step < steps:
                for at in range(fetched):
                    tap = quad + at // QUAD * (QUAD * per_pixel) + at % QUAD
                    left[uint32(here + line), uint32(tap)] = next_left[at]
                for lane in range(QUAD):
                    right[uint32(here + line), uint32(quad + lane)] = next_right[lane]
            cuda.syncthreads()

        first_place = part * geometry.part_size + group * geometry.filters + first_filter
        for i in range(rows):
            tap = first_tap + row_of(i, width, rows, columns)
            if tap < geometry.depth:
                place = first_place + tap * (geometry.groups * geometry.filters)
                store_row(sums, i, dw, place, first_filter, width, geometry)
        if adds_bias and first_filter + thread < geometry.filters:
            db[uint32(first_place + geometry.first_bias + thread)] = bias

    return add_outer_products


@cache
def _add_outer_products(tile, left_quads, right_quads):
    """Return the kernel, which is compiled when it is first needed."""
    with stamped_cache():
        return _kernel(*tile, left_quads, right_quads)


class Plan(NamedTuple):
    """How the sums for one set of shapes are launched."""

    kernel: object
    blocks: tuple[int, int, int]
    threads: int
    geometry: Geometry
    parts: int
    taps: object


@lru_cache(maxsize=1024)
def plan_of(
    x_shape, w_shape, y_shape, strides, padding, dilation, groups, dtype, are_aligned, has_bias
):
    """Return the plan for the gradient of a convolution's kernel."""
    geometry = window_geometry(x_shape, w_shape, y_shape, strides, padding, groups)
    depth, filters, items = (geometry[name] for name in ("depth", "filters", "items"))
    steps = -(-items // STEP)
    left_quads = are_aligned and geometry["group_channels"] % QUAD == 0
    # Without quads, the places of all its taps would take a thread of a large tile's registers.
    copies = groups * (steps // FEWEST_STEPS) if left_quads else 0
    tile = best_tile(depth, filters, copies, dtype)
    down, across = tile.blocks(depth, filters)
    parts, steps = best_split(down * across * groups, steps)
    size, all_filters = depth * filters * groups, filters * groups
    right_quads = are_aligned and filters % QUAD == 0
    geometry |= strides_of(STEP, *y_shape[1:3]) | {
        "length": steps * STEP,
        # Parts are rows of work memory, dw's sums and behind them db's.
        "part_size": size + all_filters,
        "first_bias": size if parts > 1 else 0,
        "has_bias": has_bias,
        "stores_quads": right_quads,
    }
    return Plan(
        _add_outer_products(tile, left_quads, right_quads),
        (down, across, groups * parts),
        tile.threads,
        integers_of(Geometry, geometry),
        parts,
        forward_taps(x_shape[2:], w_shape, dilation),
    )


def add_outer_products(x, dy, dw, db, strides, padding, dilation, groups, scratch):
    """Launch the sums, and the adding up of their parts; the arrays are those of the contract."""
    are_aligned, has_bias = is_aligned(x, dy, dw), db is not None
    plan = plan_of(
        x.shape, dw.shape, dy.shape, strides, padding, dilation, groups, x.dtype, are_aligned,
        has_bias,
    )  # fmt: skip
    operands = x.reshape(-1), plan.taps, dy.reshape(-1)
    add_sums(plan, operands, dw, db, scratch.take(*sums_request(plan, dw)))
