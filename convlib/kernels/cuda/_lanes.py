"""Sums and maxima over some threads of a block, its lanes, in an order that the shapes decide.

Each lane has one number; half of them take over the numbers of the other half, and again, until one
is left. That goes through shared memory, between barriers. Whoever calls these functions therefore
does so with all threads of a block, those that have no work included.

Two ways to lie in a block are in use. The lanes of a row of a matrix are neighbours, as the row's
elements are in memory (`row_lanes`). Those of a column are a warp's width apart, so that each warp
reads whole runs of neighbouring columns (`column_lanes`).
"""

from numba import cuda

from convlib.kernels.cuda._device import THREADS, block_of, launch

ELEMENTS = 8
"""Elements, at least, that are worth one more lane."""
MOST_SUMS = 256
"""Blocks that add up columns: enough to keep a GPU busy, and few sums to put together."""


def launch_with_lanes(kernel, rows: int, length: int, *arguments) -> None:
    """Run a kernel on a matrix, with `row_lanes` for each row: one if it is short, else more."""
    lanes = min(THREADS, 1 << max(length // ELEMENTS, 1).bit_length() - 1)
    height = THREADS // lanes
    launch(kernel, -(-rows // height), (lanes, height), *arguments)


def chunks_of(rows: int, columns: int) -> tuple[int, int]:
    """Return into how many chunks the rows of a matrix are cut to be added up, and their length.

    The last chunk may be shorter. If there are no rows there is one chunk, of none.
    """
    width, height = block_of(columns)
    blocks = min(-(-rows // (height * ELEMENTS)), MOST_SUMS // -(-columns // width))
    length = max(-(-rows // max(blocks, 1)), 1)
    return max(-(-rows // length), 1), length


def launch_columns(kernel, columns: int, chunks: int, *arguments, parts: int = 1) -> None:
    """Run a kernel with `column_lanes` for each column, ``cuda.grid(1)``, and each chunk of rows.

    The last threads of a block may have no column. ``parts`` is the size of the grid's third
    dimension.
    """
    width, height = block_of(columns)
    launch(kernel, (-(-columns // width), chunks, parts), (width, height), *arguments)


@cuda.jit(device=True)
def row_lanes():
    """Return the lanes of this thread's row of the block, see `sum_of_lanes`."""
    lane, lanes = cuda.threadIdx.x, cuda.blockDim.x
    return cuda.threadIdx.y * lanes + lane, 1, lane, lanes


@cuda.jit(device=True)
def column_lanes():
    """Return the lanes of this thread's column of the block, see `sum_of_lanes`."""
    width, lane = cuda.blockDim.x, cuda.threadIdx.y
    return lane * width + cuda.threadIdx.x, width, lane, cuda.blockDim.y


@cuda.jit(device=True)
def row_of(rows, length):
    """Return this thread's row, and where it begins and ends: empty for a row too many."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    first = row * length
    return row, first + cuda.threadIdx.x, first + length if row < rows else 0


@cuda.jit(device=True)
def chunk_of(rows, length):
    """Return the first and last (excluded) row of this block's chunk."""
    first = cuda.blockIdx.y * length
    return first, min(first + length, rows)


@cuda.jit(device=True)
def _over_lanes(shared, group, value, is_sum):
    place, step, lane, lanes = group
    if lanes == 1:
        return value
    shared[place] = value
    half = lanes // 2
    while half > 0:
        cuda.syncthreads()
        if lane < half:
            other = shared[place + half * step]
            shared[place] = shared[place] + other if is_sum else max(shared[place], other)
        half //= 2
    cuda.syncthreads()
    result = shared[place - lane * step]
    # What others have still to read, the next call would overwrite.
    cuda.syncthreads()
    return result


@cuda.jit(device=True)
def sum_of_lanes(shared, group, value):
    """Return the sum of the values of all lanes, to each of them.

    ``shared`` is an array of one element per thread of the block. ``group`` tells of the lanes, a
    power of two of them: where in it this thread's value lies, the step to the next lane's, which
    lane this thread is, and how many there are.
    """
    return _over_lanes(shared, group, value, True)


@cuda.jit(device=True)
def largest_of_lanes(shared, group, value):
    """Return the largest of the values of all lanes, where none is NaN; see `sum_of_lanes`."""
    return _over_lanes(shared, group, value, False)
