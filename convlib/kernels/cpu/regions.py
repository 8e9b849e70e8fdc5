"""Which windows of a convolution see which part of its kernel: integers, computed once per shape.

Windows at the border hang over it, and what they see of the kernel is less. So the output is cut
into regions: rectangles of pixels whose windows all see the same rows and columns of the kernel
inside the image. A 3×3 kernel with a padding of one has nine: the interior, four edges and four
corners. Kernels walk through the windows of one region after the other, over all images, and
treat no border, copy no frame of zeros and multiply none.

The input gradient has regions as well. A pixel of dx got into the outputs whose windows cover it;
under a stride s those are, seen from pixels s apart, the same rows and columns of the kernel. So
there is a set of regions for each of the s·s phases, and a region's pixels are s apart. What
connects a pixel with dy is again a correlation, with the flipped kernel, whose rows are sorted by
phase here so that a region finds those that it needs in a row.

In memory order (height, width, channels) the elements of x under one row of a kernel are one
contiguous run, and so are their weights, unless dilation or groups part them. A region is
therefore described by where its windows start and by a few runs.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convlib.kernels.cpu.tile import ROWS_FOR, columns_of_tile, lanes

SMALL = 1 << 18  # multiply-adds that are done before a second core has begun


def record(*names):
    """Return the type of a record of integers."""
    return np.dtype([(name, np.int64) for name in names], align=True)


# Places are counted in elements of the arrays, weights in terms of the sum (rows of a panel).
REGION = record(
    "first_tile",  # how many tiles the regions before this one have
    "rows",  # windows of one image, down and across
    "columns",
    "source",  # where in an image of x the first window starts, and the steps to its neighbours
    "source_down",
    "source_across",
    "target",  # where in an image of y its output lies, and the steps
    "target_down",
    "target_across",
    "runs_down",  # runs under a window: how many, how long, and the steps between them in x
    "runs_across",
    "run",
    "run_down",
    "run_across",
    "weights",  # the first run's weights, and the steps
    "weights_down",
    "weights_across",
)

LAYOUT = record(
    "images",
    "source_image",  # from an image of x to the next, and likewise in y
    "target_image",
    "groups",
    "source_group",  # from a group's channels of x to the next group's
    "outputs",  # output channels of a group, and of all
    "filters",
    "terms",  # length of the sum: kernel elements × input channels of a group
    "width",  # of a tile, in output channels
    "blocks",  # tiles that cover a group's outputs
    "tile_rows",
    "tiles",  # tiles of windows, in all regions and images
    "windows",
)


@dataclass(frozen=True, eq=False)
class Plan:
    """All integers of one convolution."""

    regions: np.ndarray
    layout: np.ndarray  # one record
    groups: int
    inputs: int  # of a group
    tile_columns: int
    tile_width: int  # in output channels
    taps: np.ndarray  # which element (u, v) of the kernel comes where in a panel
    panels: int  # of all groups
    panel_size: int
    tiles: int
    multiply_adds: int


class Span(NamedTuple):
    """Outputs along one axis that see the same part of the kernel."""

    first: int
    step: int
    count: int
    source: int  # under the first of the kernel's elements that the first output sees
    source_step: int
    tap: int  # the first element in the order of the plan, and how many follow it
    taps: int
    tap_step: int  # from what is under an element to what is under the next


class Axis(NamedTuple):
    """All that is to know of a convolution along one axis."""

    order: list[int]  # the kernel's elements along this axis, as panels have them
    spans: list[Span]


def _spans(outputs, step, sees):
    """Cut outputs into spans, where ``sees(output)`` lists what it sees: (tap, source) pairs."""
    spans = []
    for phase in range(min(step, outputs)):
        previous = None
        for output in range(phase, outputs, step):
            seen = sees(output)
            part = [tap for tap, _ in seen]
            source = seen[0][1] if seen else 0
            if part != previous:
                tap_step = seen[1][1] - source if len(seen) > 1 else 1
                tap = part[0] if part else 0
                spans.append(Span(output, step, 1, source, 0, tap, len(part), tap_step))
                previous = part
            else:
                span = spans[-1]
                source_step = (source - span.source) // span.count
                spans[-1] = span._replace(count=span.count + 1, source_step=source_step)
    return spans


@lru_cache(maxsize=1024)
def forward_axis(size, outputs, taps, stride, dilation, before):
    """Return the axis on which pixels of y are the outputs, and x has ``size`` pixels."""

    def sees(output):
        sources = [(tap, output * stride + tap * dilation - before) for tap in range(taps)]
        return [(tap, source) for tap, source in sources if 0 <= source < size]

    return Axis(list(range(taps)), _spans(outputs, 1, sees))


@lru_cache(maxsize=1024)
def backward_axis(size, outputs, taps, stride, dilation, before):
    """Return the axis on which pixels of dx are the outputs, and dy has ``size`` pixels."""
    order = sorted(range(taps), key=lambda tap: (tap * dilation % stride, -tap))

    def sees(output):
        places = [
            (rank, divmod(output + before - tap * dilation, stride))
            for rank, tap in enumerate(order)
        ]
        return [
            (rank, source)
            for rank, (source, remainder) in places
            if remainder == 0 and 0 <= source < size
        ]

    return Axis(order, _spans(outputs, stride, sees))


def _region(down, across, source_shape, target_shape, groups, kernel_columns):
    """Return the record of the region where two spans cross, but for the number of its tile."""
    (_, width, channels), (_, target_width, filters) = source_shape, target_shape
    inputs = channels // groups
    # One run for a row of the kernel, if nothing lies between what its elements see.
    is_contiguous = across.tap_step == 1 and groups == 1
    return (
        0,
        down.count,
        across.count,
        (down.source * width + across.source) * channels,
        down.source_step * width * channels,
        across.source_step * channels,
        (down.first * target_width + across.first) * filters,
        down.step * target_width * filters,
        across.step * filters,
        down.taps if across.taps else 0,
        1 if is_contiguous else across.taps,
        across.taps * inputs if is_contiguous else inputs,
        down.tap_step * width * channels,
        across.tap_step * channels,
        (down.tap * kernel_columns + across.tap) * inputs,
        kernel_columns * inputs,
        inputs,
    )


def _plan(images, source_shape, target_shape, kernel_size, axes, groups, dtype):
    down, across = axes
    regions = np.array(
        [
            _region(rows, columns, source_shape, target_shape, groups, kernel_size[1])
            for rows in down.spans
            for columns in across.spans
        ],
        REGION,
    )
    seen = regions["rows"] * regions["columns"] * regions["runs_down"] * regions["runs_across"]
    multiply_adds = images * int((seen * regions["run"]).sum()) * target_shape[2]
    inputs, outputs = source_shape[2] // groups, target_shape[2] // groups
    columns = columns_of_tile(outputs, dtype)
    if multiply_adds <= SMALL and groups == 1:
        columns = max(ROWS_FOR)  # not worth the time to compile another kernel
    width, tile_rows = columns * lanes(dtype), ROWS_FOR[columns]
    tiles = -(-images * regions["rows"] * regions["columns"] // tile_rows)
    regions["first_tile"] = np.cumsum(tiles) - tiles
    terms = kernel_size[0] * kernel_size[1] * inputs
    layout = (
        images,
        np.prod(source_shape),
        np.prod(target_shape),
        groups,
        inputs,
        outputs,
        target_shape[2],
        terms,
        width,
        -(-outputs // width),
        tile_rows,
        tiles.sum(),
        images * (regions["rows"] * regions["columns"]).sum(),
    )
    taps = np.array([u * kernel_size[1] + v for u in down.order for v in across.order])
    layout = np.array([layout], LAYOUT)
    panels, panel_size = groups * -(-outputs // width), terms * width
    return Plan(
        *(regions, layout, groups, inputs, columns, width, taps, panels, panel_size),
        *(int(tiles.sum()), multiply_adds),
    )


@lru_cache(maxsize=1024)
def forward_plan(x_shape, w_shape, y_shape, strides, padding, dilation, groups, dtype):
    """Return the plan of a convolution of x that gives y."""
    axes = [
        forward_axis(
            x_shape[1 + i], y_shape[1 + i], w_shape[i], strides[i], dilation[i], padding[i][0]
        )
        for i in (0, 1)
    ]
    return _plan(x_shape[0], x_shape[1:], y_shape[1:], w_shape[:2], axes, groups, dtype)


@lru_cache(maxsize=1024)
def backward_input_plan(dy_shape, w_shape, dx_shape, strides, padding, dilation, groups, dtype):
    """Return the plan of the correlation of dy that gives dx."""
    axes = [
        backward_axis(
            dy_shape[1 + i], dx_shape[1 + i], w_shape[i], strides[i], dilation[i], padding[i][0]
        )
        for i in (0, 1)
    ]
    return _plan(dy_shape[0], dy_shape[1:], dx_shape[1:], w_shape[:2], axes, groups, dtype)


@lru_cache(maxsize=1024)
def dense_plan(rows, inputs, outputs, dtype):
    """Treat a dense layer as a 1×1 convolution of one image that is one row of pixels."""
    x, w, y = (1, 1, rows, inputs), (1, 1, inputs, outputs), (1, 1, rows, outputs)
    return forward_plan(x, w, y, (1, 1), ((0, 0), (0, 0)), (1, 1), 1, dtype)
