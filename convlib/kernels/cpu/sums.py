"""Totals of partial sums: gradients whose sum was split among tasks.

A gradient's partial sums are added in order, so that the bits do not depend on the number of
threads: at once, in a launch of their own, or in the optimizer's, which looks at all gradients
anyway. Either way the work is cut into pieces, listed in a table of integers with a row for each.
"""

from functools import lru_cache

import numpy as np
from numba import njit, prange

from convlib.kernels.cpu.tasks import HELPER, PARALLEL
from convlib.kernels.scratch import partial_sums

PIECE = 1 << 13  # numbers that are read for a piece, about

# To add up so many numbers takes far longer than the launch that postponing saves, and it is done
# faster while they are still in the cache. It also bounds the memory that waits.
MOST_POSTPONED = 1 << 18


@lru_cache(maxsize=1024)
def pieces_of(size, postponed):
    """Return the table of pieces of a vector with so many gradients.

    Each row has a piece's place in the vector, its length, where its partial sums begin, their
    number, and the step from one to the next. There are none for what has its totals already. The
    numbers are unsigned, so that loops need not ask whether an index counts from the end.
    """
    table = []

    def cut(first, length, source, parts, step):
        most = max(64, PIECE // max(1, parts))
        table.extend(
            (first + start, min(most, length - start), source + start, parts, step)
            for start in range(0, length, most)
        )

    done = 0
    for where in sorted(postponed):
        cut(done, where.target - done, 0, 0, 0)
        for run in range(where.runs):
            first, source = where.target + run * where.length, where.source + run * where.spacing
            cut(first, where.length, source, where.parts, where.step)
        done = where.target + where.runs * where.length
    cut(done, size - done, 0, 0, 0)
    return np.array(table, np.uint64).reshape(-1, 5)


def take_postponed(gradients, scratch):
    """Return the memory in which partial sums of the gradients are, and the table of pieces."""
    sums, postponed = scratch.postponed(gradients)
    return sums, pieces_of(gradients.size, postponed)


@njit(**HELPER)
def _add_piece(gradients, sums, pieces, piece):
    """Add up a piece's partial sums; return how many of its gradients are NaN or infinite."""
    first, length, source = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
    parts, step = pieces[piece, 3], pieces[piece, 4]
    if parts:
        for i in range(length):
            gradients[first + i] = 0
    for _ in range(parts):
        for i in range(length):
            gradients[first + i] += sums[source + i]
        source += step
    broken = 0
    for i in range(length):
        broken += not np.isfinite(gradients[first + i])
    return broken


@njit(**PARALLEL)
def add_pieces(gradients, sums, pieces):
    """Add up the partial sums of all pieces; return whether all gradients are finite then."""
    broken = 0
    for piece in prange(len(pieces)):
        broken += _add_piece(gradients, sums, pieces, piece)
    return broken == 0


def add_parts(target, sums, scratch, place=0, rows=None):
    """Let a gradient be the total of partial sums, now or in the optimizer.

    The arguments are those of `Scratch.postpone`; None as ``target`` means that nobody wants it.
    """
    if target is None:
        return
    if scratch.postpones_sums and sums.size <= MOST_POSTPONED:
        scratch.postpone(target, sums, place, rows)
    else:
        pieces = pieces_of(target.size, (partial_sums(target, sums, place, rows),))
        add_pieces(target.reshape(-1), sums.reshape(-1), pieces)
