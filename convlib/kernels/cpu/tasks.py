"""How work on long arrays is shared among threads.

To start a parallel loop takes some microseconds, in which one thread reads a hundred kilobytes. So
a kernel that may be called with little to do has two loops, and asks `is_small` which one to take.
Work that has to be cut by hand is cut into `task_count` tasks, whose number depends on the arrays
alone, never on the number of threads.
"""

import numpy as np
from numba import njit

TASKS = 64
SMALLEST_TASK = 16384  # elements

# How such kernels are compiled, and how the functions that their loops call. Python's exception for
# a division by zero would stand in the way of vector instructions, so division is NumPy's.
PARALLEL = {"cache": True, "parallel": True, "error_model": "numpy"}
INNER = {
    "forceinline": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
# Longer ones are called. Neither needs an entrance for Python.
HELPER = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@njit
def is_small(elements):
    """Whether one thread is done with so many elements before another has begun."""
    return elements < SMALLEST_TASK


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
