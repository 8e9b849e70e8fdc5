"""Sums over the rows of a matrix, with the same bits for any number of threads.

Rows are cut into chunks, whose number depends on the number of rows alone; each chunk is summed by
one task, and the chunks' sums are added in order.
"""

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.tasks import chunk_range

CHUNKS = 64


def chunk_count(rows):
    """Return how many chunks so many rows are cut into: at least 64 rows in each."""
    return max(1, min(CHUNKS, rows // 64))


@njit(cache=True, parallel=True)
def _sum_chunks(x, partial):
    for chunk in prange(len(partial)):
        first, last = chunk_range(chunk, len(partial), len(x))
        partial[chunk] = 0
        for row in range(first, last):
            for c in range(x.shape[1]):
                partial[chunk, c] += x[row, c]


def sum_rows(x, total, scratch):
    """Write ``total[c] = Σ_row x[row, c]``."""
    (partial,) = scratch.take(((chunk_count(len(x)), x.shape[1]), x.dtype))
    _sum_chunks(x, partial)
    np.sum(partial, 0, out=total)
