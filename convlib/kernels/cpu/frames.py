"""Windows of images that are copied into frames of zeros, for convolution fused with pooling.

A window is described by its first element and a handful of contiguous runs (`Windows`). Images with
padding are copied, one at a time, into a frame of zeros that stays in the second-level cache; then
there are no borders to treat.
"""

from functools import lru_cache
from typing import NamedTuple

from numba import njit

from convlib.kernels.cpu.tasks import HELPER
from convlib.kernels.cpu.tile import (
    lanes,
)

TASKS = 32  # parallel tasks a region is split into; fixed, so that results are
BLOCK = 256  # windows that a panel of weights serves before the next one takes its turn
LARGEST_PARTIAL_SUM = 1 << 24  # numbers in all partial sums of dw together


class Windows(NamedTuple):
    """Where windows and the elements under them lie, counted in elements of the array."""

    rows: int  # windows of an image, down and across
    columns: int
    next_column: int  # from a window to its neighbour
    next_row: int  # from the last window of a row to the first of the next, less next_column
    next_image: int  # likewise from image to image, less the steps before
    runs: int  # contiguous runs under a window
    runs_across: int  # runs of one kernel row
    run_down: int  # from a run to the one below
    run_across: int  # from a run to its neighbour
    run: int  # elements in a run
    group: int  # from one group's channels to the next's


class Frame(NamedTuple):
    """How an image is copied into the middle of zeros; sizes in pixels."""

    height: int
    width: int
    channels: int
    top: int  # where the first pixel goes
    left: int
    framed_height: int
    framed_width: int


class Tiling(NamedTuple):
    """How the work is cut into tiles and tasks."""

    images: int
    is_framed: int
    parts: int  # of an image, for few images
    tasks: int
    terms: int  # length of the sum over k
    groups: int
    outputs: int  # output channels of one group
    columns: int  # of a tile
    width: int  # of a tile, in output channels
    blocks: int  # tiles that cover a group's output channels


class Plan(NamedTuple):
    """All integers of one convolution; kernels take them as a record."""

    windows: Windows
    frame: Frame
    tiling: Tiling


def _plan(
    images, frame, kernel_size, strides, dilation, groups, outputs, output_size, columns, dtype
):
    """Return the `Plan` of a correlation whose input is described by ``frame``."""
    channels, row = frame.channels, frame.framed_width * frame.channels
    size = frame.framed_height * row
    is_framed = frame[:2] != frame[-2:] or frame[3:5] != (0, 0)
    windows_down, windows_across = output_size
    run, runs_across = channels // groups, kernel_size[1]
    if groups == 1 and dilation[1] == 1:
        run, runs_across = run * kernel_size[1], 1
    next_column = strides[1] * channels
    next_row = strides[0] * row - windows_across * next_column
    windows = Windows(
        rows=windows_down,
        columns=windows_across,
        next_column=next_column,
        next_row=next_row,
        next_image=size - windows_down * (next_row + windows_across * next_column),
        runs=kernel_size[0] * runs_across,
        runs_across=runs_across,
        run_down=dilation[0] * row,
        run_across=dilation[1] * channels,
        run=run,
        group=channels // groups,
    )
    width = columns * lanes(dtype)
    # A frame is filled for a whole image; else few images are cut so that there is enough to share.
    parts = 1 if is_framed else max(1, TASKS // (2 * max(images, 1)))
    tiling = Tiling(
        images=images,
        is_framed=int(is_framed),
        parts=parts,
        tasks=min(TASKS, images * parts),
        terms=kernel_size[0] * kernel_size[1] * channels // groups,
        groups=groups,
        outputs=outputs,
        columns=columns,
        width=width,
        blocks=-(-outputs // width),
    )
    return Plan(windows, frame, tiling)


@lru_cache(maxsize=1024)
def forward_plan(x_shape, w_shape, output_size, strides, padding, dilation, groups, columns, dtype):
    """Return the plan of a convolution in tiles of so many columns.

    Windows beyond the output size are left out.
    """
    images, height, width, channels = x_shape
    (top, bottom), (left, right) = padding
    frame = Frame(height, width, channels, top, left, top + height + bottom, left + width + right)
    outputs = w_shape[3] // groups
    kernel = w_shape[:2], strides, dilation, groups, outputs
    return _plan(images, frame, *kernel, output_size, columns, dtype)


@njit(**HELPER)
def fill_frame(source, image, frame, framed):
    """Copy one image to its place in ``framed``, whose other elements are zero and stay so."""
    for row in range(frame.height):
        source_row = (image * frame.height + row) * frame.width * frame.channels
        target = ((frame.top + row) * frame.framed_width + frame.left) * frame.channels
        for element in range(frame.width * frame.channels):
            framed[target + element] = source[source_row + element]


def frame_size(plan):
    """Return how many numbers one framed image has."""
    return plan.frame.framed_height * plan.frame.framed_width * plan.frame.channels


def row_length(plan):
    """Return how many numbers cover all output channels in whole tiles."""
    return plan.tiling.groups * plan.tiling.blocks * plan.tiling.width
