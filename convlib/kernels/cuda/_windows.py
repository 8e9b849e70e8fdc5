"""Which pixels lie under which windows, as tables on the device.

Forward, each window walks over the pixels under it; backward, each pixel walks over the windows
above it. Both are the same walk, over pairs of a place (a window's element, or tap) and a source (a
pixel, or a window): in each of the two dimensions it begins somewhere, makes so many steps, and at
each of them place and source change by a constant. Where it begins and how long it is depends on
the position alone. So these numbers are worked out once for a geometry, cut at the borders:

    forward     at window i    all places u                   source i·s + u·d − p
    backward    at pixel r     u where s divides r + p − u·d    source (r + p − u·d) / s

with stride s, dilation d, and padding p before the image. From one window over a pixel to the next
the place changes by s/g and the source by −d/g, with g the common divisor of s and d. So no kernel
divides to find its way, and none meets padding.

A table is a run of 32-bit integers. Its head holds the four steps, then there are three numbers for
each position down and after that for each position across: first place, first source, and count.
Places down count in rows of taps and sources in rows of pixels, so that sums of the two dimensions'
numbers are places and sources of the image.
"""

from functools import lru_cache
from math import gcd

import numpy as np
from numba import cuda

from convlib.kernels.cuda import _device

HEAD = 4
NUMBERS = 3


def _forward_axis(positions, size, taps, stride, before, dilation):
    """Return a walk's start and length at each window, and its steps, in one dimension."""
    walks = []
    for i in range(positions):
        start = i * stride - before
        seen = [u for u in range(taps) if 0 <= start + u * dilation < size]
        walks.append((seen[0], start + seen[0] * dilation, len(seen)) if seen else (0, 0, 0))
    return walks, (1, dilation)


def _backward_axis(positions, windows, taps, stride, before, dilation):
    """Return the same for each pixel, which walks over windows."""
    walks = []
    for r in range(positions):
        seen = [
            u
            for u in range(taps)
            if (r + before - u * dilation) % stride == 0
            and 0 <= (r + before - u * dilation) // stride < windows
        ]
        first = (seen[0], (r + before - seen[0] * dilation) // stride) if seen else (0, 0)
        walks.append((*first, len(seen)))
    common = gcd(stride, dilation)
    return walks, (stride // common, -dilation // common)


def _table(axis, positions, sources, taps, strides, padding, dilation):
    (down, down_steps), (across, across_steps) = (
        axis(positions[k], sources[k], taps[k], strides[k], padding[k][0], dilation[k])
        for k in (0, 1)
    )
    rows = np.array([taps[1], sources[1]])  # from rows to places and sources of the image
    numbers = [
        rows * down_steps,
        across_steps,
        *((*(rows * walk[:2]), walk[2]) for walk in down),
        *across,
    ]
    flat = [number for part in numbers for number in part]
    return _device.to_device(np.array(flat, np.int32))


@lru_cache(maxsize=1024)
def forward_table(pixels, windows, taps, strides, padding, dilation=(1, 1)):
    """Return the table of the walks of windows over pixels; both are sizes, (down, across)."""
    return _table(_forward_axis, windows, pixels, taps, strides, padding, dilation)


@lru_cache(maxsize=1024)
def backward_table(pixels, windows, taps, strides, padding, dilation=(1, 1)):
    """Return the table of the walks of pixels over windows."""
    return _table(_backward_axis, pixels, windows, taps, strides, padding, dilation)


@lru_cache(maxsize=1024)
def pixels_per_window(pixels, windows, taps, strides, padding):
    """Return how many pixels each window of an image covers, as a table."""
    down, across = (
        _forward_axis(windows[k], pixels[k], taps[k], strides[k], padding[k][0], 1)[0]
        for k in (0, 1)
    )
    return _device.to_device(np.array([[a[2] * b[2] for b in across] for a in down], np.int32))


@cuda.jit(device=True)
def walk_steps(table):
    """Return how place and source change on the way down, and on the way across."""
    return table[0], table[1], table[2], table[3]


@cuda.jit(device=True)
def walk_at(table, position):
    """Return where the walk of a row, or of a column after all rows, begins, and its length."""
    first = HEAD + NUMBERS * position
    return table[first], table[first + 1], table[first + 2]
