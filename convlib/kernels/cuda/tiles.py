"""Tiles: what a block of threads computes of a product of matrices, and which size suits.

A block computes a tile of ``height`` × ``width`` sums, each thread ``rows`` × ``columns`` of them
in registers, and all walk along the sums' terms together, `STEP` of them at a time. For each step
the block copies a strip of both operands to shared memory, where every number is read by many
threads: ``width / columns`` times those on the left, ``height / rows`` times those on the right.

Of the strip on the right, each thread fetches one `QUAD` of neighbouring numbers, so a tile has
``rows · columns · STEP = QUAD · height``. A thread's columns are quads as well, and lie so far
apart that neighbouring threads have neighbouring quads: then a warp reads shared memory without
conflicts of its banks, and writes whole lines of global memory.
"""

from typing import NamedTuple

import numpy as np

QUAD = 4  # numbers of one 128-bit load or store
STEP = 8  # terms of the sums for which operands lie in shared memory

# A GPU has 20 to 150 multiprocessors. With fewer large blocks than this most of a large one would
# idle, and so many more small blocks are better, although they read shared memory twice as often.
FEWEST_BLOCKS = 64
# Sums are cut into parts until there are about so many blocks, as several share a multiprocessor.
ENOUGH_BLOCKS = 256
FEWEST_STEPS = 8  # of a part of a sum, so that adding up the parts is little against it


class Tile(NamedTuple):
    """The sums of a block, and of each of its threads."""

    height: int
    width: int
    rows: int
    columns: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.height * self.width // (self.rows * self.columns)

    def blocks(self, height: int, width: int) -> tuple[int, int]:
        """Return how many blocks cover a matrix, in both directions."""
        return -(-height // self.height), -(-width // self.width)


LARGE = Tile(128, 64, 8, 8)
SMALL = Tile(32, 32, 4, 4)


def best_tile(height: int, width: int, copies: int, dtype) -> Tile:
    """Return the tile that suits so many matrices of this size.

    64 sums of float64 would take all registers of a thread.
    """
    down, across = LARGE.blocks(height, width)
    is_large = down * across * copies >= FEWEST_BLOCKS
    is_filled = 2 * height > LARGE.height and 2 * width > LARGE.width
    return LARGE if is_large and is_filled and np.dtype(dtype).itemsize == 4 else SMALL


def best_split(blocks: int, steps: int) -> tuple[int, int]:
    """Return into how many parts to cut sums of so many steps, and the steps of each part."""
    parts = max(1, min(ENOUGH_BLOCKS // max(blocks, 1), steps // FEWEST_STEPS))
    length = -(-steps // parts)
    return max(1, -(-steps // max(length, 1))), length
