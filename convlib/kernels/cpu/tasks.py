"""How work is shared among threads, and how kernels are compiled.

A parallel loop is cut by Numba, or by hand into `task_count` tasks, whose number depends on the
arrays alone, never on the number of threads. To start one costs one or two microseconds.

Compiling is what a reader waits for at first. LLVM optimises each function once for itself and once
more within each function that calls it, and a parallel loop takes each integer as an argument. So a
kernel is one loop nest that calls little, its integers come as one record, and it exists once for
each shape of tiles, of which only those are compiled that are used.
"""

import numpy as np
from numba import njit

TASKS = 64
SMALLEST_TASK = 16384  # elements

# How kernels are compiled, and the functions that they call: short ones are copied into the caller,
# longer ones are not. Python's exception for a division by zero would stand in the way of vector
# instructions, so division is NumPy's. Nobody calls these functions from C.
PARALLEL = {"cache": True, "parallel": True, "error_model": "numpy"}
HELPER = {"error_model": "numpy", "no_cfunc_wrapper": True}
INNER = {"forceinline": True, **HELPER}


@njit
def task_count(elements):
    """Return how many tasks to make of work that reads or writes so many elements."""
    return max(1, min(TASKS, elements // SMALLEST_TASK))


@njit
def chunk_range(chunk, chunks, rows):
    """Return the first of the rows that belong to a chunk, and the one after its last."""
    return np.int64(chunk) * rows // chunks, (np.int64(chunk) + 1) * rows // chunks


@njit
def chunk_slice(chunk, chunks, rows):
    """Return the same as a slice.

    A loop over a slice counts from zero. Of a loop that begins elsewhere the compiler does not
    know that it never counts below zero, where Python's indices would mean another element.
    """
    first, last = chunk_range(chunk, chunks, rows)
    return slice(first, last)


def record_of(integers):
    """Return a named tuple of integers, or of such tuples, as an array of one record.

    A kernel takes one array in the place of dozens of arguments, which is compiled sooner and
    called sooner.
    """
    return np.array([tuple(integers)], _record_type(integers))


def _record_type(integers):
    fields = zip(integers._fields, integers, strict=True)
    kinds = [(name, _record_type(v) if isinstance(v, tuple) else np.int64) for name, v in fields]
    return np.dtype(kinds, align=True)
