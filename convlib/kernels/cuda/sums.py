"""Sums that several blocks computed in parts, added up in order.

A thread adds all parts of one sum, in their order, so that the result is the same every time;
neighbouring threads have neighbouring sums. The parts are read once.
"""

from numba import cuda

from convlib.kernels.cuda._device import launch, launch_over


@cuda.jit(cache=True)
def _finish_parts(parts, b, y, has_bias, is_rectified):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        total = y.dtype.type(0)
        for place in range(i, parts.size, y.size):
            total += parts[place]
        if has_bias:
            total += b[i % b.size]
        if is_rectified and total <= y.dtype.type(0):
            total = y.dtype.type(0)
        y[i] = total


def finish_parts(parts, b, y, has_bias, is_rectified):
    """Let y be the total of its parts, plus a bias for its last axis, cut off below zero or not."""
    launch_over(_finish_parts, y.size, parts, b, y, int(has_bias), int(is_rectified))


@cuda.jit(cache=True)
def _add_parts(parts, size, first, second):
    count = first.size + second.size
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        total = first.dtype.type(0)
        for place in range(i, parts.size, size):
            total += parts[place]
        if i < first.size:
            first[i] = total
        else:
            second[i - first.size] = total


def add_parts(parts, dw, db):
    """Let dw, and db behind it unless that is None, be the total of the rows of ``parts``."""
    first, second = dw.reshape(-1), dw.reshape(-1)[:0] if db is None else db
    launch_over(
        _add_parts, first.size + second.size, parts.reshape(-1), parts.shape[1], first, second
    )


def sums_request(plan, dw):
    """Return what a plan asks of the work memory: nothing, or room for the parts of its sums."""
    return (((plan.parts, int(plan.geometry.part_size)), dw.dtype),) if plan.parts > 1 else ()


def add_sums(plan, operands, dw, db, parts):
    """Launch what adds up dw and db, and the adding up of its parts if there are any.

    Parameters
    ----------
    plan
        With a kernel, its blocks, threads and geometry, and the number of parts.
    operands : tuple of flat arrays
        What the kernel takes before dw and db.
    parts : list
        What `sums_request` was granted.
    """
    if parts:
        sums = parts[0].reshape(-1), parts[0].reshape(-1)
    else:
        sums = dw.reshape(-1), dw.reshape(-1) if db is None else db
    launch(plan.kernel, plan.blocks, plan.threads, *operands, *sums, plan.geometry)
    if parts:
        add_parts(parts[0], dw, db)
