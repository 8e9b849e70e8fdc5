"""Kernels laid out for tiles: the weights of a tile's output channels, in the order of the sum.

A *panel* has one row for each term of the sum, a kernel element (u, v) and an input channel, and in
it the weights of as many output channels as a tile is wide, filled with zeros. There is one for
each tile of each group's outputs. The sums that read it then run through memory without a jump.
"""

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.tasks import PARALLEL, chunk_range
from convlib.kernels.cpu.tile import (
    tile_load_part,
    tile_square,
    tile_store,
    tile_transpose_lanes,
    tile_zero,
    vector_lanes,
)

TASKS = 32


@njit(**PARALLEL)
def pack(kernel, groups, terms, width, panels):
    """Lay out the rows of a kernel (terms, output channels of all groups)."""
    for index in prange(TASKS):
        filters, vector = len(kernel) // terms, tile_zero(kernel, 1, 1)
        outputs = filters // groups
        blocks = -(-outputs // width)
        first, last = chunk_range(index, TASKS, terms)
        for term in range(first, last):
            for panel in range(groups * blocks):
                group, block = divmod(panel, blocks)
                source = term * filters + group * outputs + block * width
                target = (panel * terms + term) * width
                for lane in range(0, width, vector_lanes(kernel)):
                    channels = outputs - block * width - lane
                    weights = tile_load_part(vector, kernel, source + lane, 0, 1, channels)
                    tile_store(weights, panels, target + lane, 0, 1, vector_lanes(kernel))


@njit(**PARALLEL)
def pack_transposed(kernel, groups, inputs, taps, width, panels):
    """Lay out the transposes of a kernel's elements (u, v), in the order of ``taps``.

    ``inputs`` of a group, which are the outputs forward, are the terms of the sum here. Square
    blocks are transposed in registers.
    """
    pieces = len(taps)
    stride = groups * inputs
    outputs = len(kernel) // (pieces * stride)
    blocks = -(-outputs // width)
    for index in prange(groups * blocks * pieces):
        panel, piece = divmod(np.int64(index), pieces)  # prange counts in uint64
        group, block = divmod(panel, blocks)
        source = (taps[piece] * outputs + block * width) * stride + group * inputs
        target = (panel * pieces + piece) * inputs * width
        square, lane_count = tile_square(kernel), vector_lanes(kernel)
        for lane in range(0, width, lane_count):
            channels = outputs - block * width - lane
            for row in range(0, inputs, lane_count):
                place = source + lane * stride + row
                part = tile_load_part(square, kernel, place, stride, channels, inputs - row)
                to = target + row * width + lane
                tile_store(tile_transpose_lanes(part), panels, to, width, inputs - row, lane_count)
