"""Figures of windows on small grids: where they fit, what padding adds, how often pixels count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib import shapes
from convlib.notebook.figures.digits import picture
from convlib.notebook.style import BLUE, ORANGE, POSITIVE, SIGNED, figure

_LINE = "#B8B8B8"
_PADDING = "#F3E3D3"


def draw_grid(
    axes: Axes,
    size: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    window: tuple[int, int, int, int] | None = None,
) -> None:
    """Draw the pixels of an image, the padding around them, and one window.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw; pixel (0, 0) of the image has its corner at (0, 0).
    size : (int, int)
        Height and width of the image.
    padding : ((top, bottom), (left, right))
        Rows and columns around it, drawn in sand with dashed lines.
    window : (row, column, height, width), optional
        Where the window starts, in pixels of the image (negative in the padding), and its size.
    """
    (height, width), ((top, bottom), (left, right)) = size, padding
    for row in range(-top, height + bottom):
        for column in range(-left, width + right):
            inside = 0 <= row < height and 0 <= column < width
            axes.add_patch(
                Rectangle(
                    (column, row),
                    1,
                    1,
                    facecolor="white" if inside else _PADDING,
                    edgecolor=_LINE,
                    linewidth=0.6,
                    linestyle="-" if inside else ":",
                )
            )
    axes.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor="#555555", linewidth=1))
    if window is not None:
        row, column, tall, wide = window
        corner = (column, row)
        axes.add_patch(Rectangle(corner, wide, tall, facecolor=BLUE, alpha=0.3, edgecolor="none"))
        axes.add_patch(Rectangle(corner, wide, tall, fill=False, edgecolor=BLUE, linewidth=1.8))
    axes.set(xlim=(-left - 0.1, width + right + 0.1), ylim=(height + bottom + 0.1, -top - 0.1))
    axes.set_aspect("equal")
    axes.set_axis_off()


def window_places(
    size: int, kernel_size: int, stride: int = 1, padding: object = "valid", side: float = 0.95
) -> Figure:
    """Draw every place of a square window on a square image, arranged as the output is.

    Parameters
    ----------
    size, kernel_size, stride : int
        Of the image, of the window, and its step.
    padding : str, int or pairs, default 'valid'
        As in `convlib.functional.conv2d`.
    side : float, default 0.95
        Side of one picture in inches.
    """
    output, padded = shapes.window_geometry(
        (size, size), (kernel_size, kernel_size), (stride, stride), padding
    )
    (top, _), (left, _) = padded
    fig, axes = figure(output[1] * side, output[0] * side, *output, squeeze=False)
    for (i, j), panel in np.ndenumerate(axes):
        row, column = i * stride - top, j * stride - left
        draw_grid(panel, (size, size), padded, (row, column, kernel_size, kernel_size))
        middle = (kernel_size - 1) / 2 + 0.5
        panel.plot(column + middle, row + middle, "o", color=BLUE, ms=3.5)
    return fig


def _write_numbers(axes: Axes, values: np.ndarray, size: float, limit: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value) and value:
            light = value < 0.55 * limit
            colour = "white" if light else "#222222"
            axes.text(column, row, f"{value:g}", ha="center", va="center", color=colour, size=size)


def uses_per_pixel(uses: dict[str, np.ndarray]) -> Figure:
    """Draw how many windows hold each pixel, one small table for each way to pad.

    Parameters
    ----------
    uses : dict of str to numpy.ndarray of int, shape (height, width)
        Counts by title, all on one colour scale.
    """
    limit = max(counts.max() for counts in uses.values())
    fig, axes = figure(2.3 * len(uses), 2.45, 1, len(uses), squeeze=False)
    for panel, (title, counts) in zip(axes.flat, uses.items(), strict=True):
        picture(panel, counts, POSITIVE, vmin=0, vmax=limit)
        panel.set_title(title, loc="center", fontsize=9, pad=4)
        _write_numbers(panel, counts, min(11, 85 / len(counts)), limit)
    return fig


def counting_frame(
    size: int,
    kernel_size: int,
    padding: tuple[tuple[int, int], tuple[int, int]],
    place: tuple[int, int],
    counts: np.ndarray,
    limit: int,
) -> Figure:
    """Draw one window on the padded image beside what has been counted so far.

    Parameters
    ----------
    size, kernel_size : int
        Of the square image and the square window.
    padding : ((top, bottom), (left, right))
        Rows and columns around the image.
    place : (int, int)
        Row and column of the output whose window is drawn.
    counts : numpy.ndarray of int, shape (size, size)
        How many windows, up to this one, held each pixel.
    limit : int
        Where the colour scale ends.
    """
    fig, (left, right) = figure(4.6, 2.3, 1, 2)
    (top, _), (before, _) = padding
    corner = (place[0] - top, place[1] - before)
    draw_grid(left, (size, size), padding, (*corner, kernel_size, kernel_size))
    left.set_title("the window", loc="center", fontsize=9, pad=3)
    picture(right, counts, POSITIVE, vmin=0, vmax=limit)
    _write_numbers(right, counts, 10, limit)
    right.set_title("how often each pixel was used", loc="center", fontsize=9, pad=3)
    return fig


def strip(size: int, kernel_size: int, stride: int, padding: str = "same") -> Figure:
    """Draw one row of pixels with its padding, and below it the windows of the row.

    Pixels that lie in no window have an orange cross.

    Parameters
    ----------
    size, kernel_size, stride : int
        Of the row, of the window, and its step.
    padding : {'same', 'valid'}, default 'same'
        As in `convlib.functional.conv2d`.
    """
    ((before, after), _) = shapes.resolve_padding(
        padding, (size, size), (kernel_size, kernel_size), (stride, stride)
    )
    windows = shapes.output_size(size + before + after, kernel_size, stride)
    levels = min(windows, -(-kernel_size // stride))  # so that neighbours do not lie on each other
    fig, axes = figure(7.2, 1.05 + 0.2 * levels)
    for pixel in range(-before, size + after):
        inside = 0 <= pixel < size
        axes.add_patch(
            Rectangle(
                (pixel, 0),
                1,
                1,
                facecolor="white" if inside else _PADDING,
                edgecolor="#999999",
                linewidth=0.8,
                linestyle="-" if inside else ":",
            )
        )
    starts = [number * stride - before for number in range(windows)]
    read = {start + element for start in starts for element in range(kernel_size)}
    for pixel in set(range(size)) - read:
        axes.text(pixel + 0.5, 0.52, "×", ha="center", va="center", color=ORANGE, fontsize=11)
    for number, start in enumerate(starts):
        depth = 1.25 + 0.42 * (number % levels)
        axes.plot([start + 0.12, start + kernel_size - 0.12], [depth] * 2, color=BLUE, lw=3)
    text = (
        f"{size} pixels, window {kernel_size}, stride {stride}, {padding}: "
        f"{before} before, {after} after, {windows} windows"
    )
    axes.set_title(text, fontsize=9)
    room = 0.4
    axes.set(xlim=(-before - room, size + after + room), ylim=(1.35 + 0.42 * levels, -0.15))
    axes.set_axis_off()
    return fig


def labelled_pictures(
    images: dict[str, np.ndarray],
    colours: str = "gray",
    limits: tuple[float, float] = (0, 1),
    side: float = 1.75,
) -> Figure:
    """Draw pictures side by side on one scale, each under its title.

    Parameters
    ----------
    images : dict of str to numpy.ndarray, shape (height, width)
        Pictures by title.
    colours : str, default 'gray'
        Colour map.
    limits : (float, float), default (0, 1)
        Values of its ends.
    side : float, default 1.75
        Width of one picture in inches.
    """
    fig, axes = figure(side * len(images), side + 0.25, 1, len(images), squeeze=False)
    for panel, (title, image) in zip(axes.flat, images.items(), strict=True):
        picture(panel, image, colours, title=title, vmin=limits[0], vmax=limits[1])
    return fig


def responses(images: dict[str, np.ndarray], limit: float, side: float = 2.3) -> Figure:
    """Draw signed maps side by side: red above zero, blue below, white at zero.

    Parameters
    ----------
    images : dict of str to numpy.ndarray, shape (height, width)
        Maps by title.
    limit : float
        The value at the ends of the colour scale.
    side : float, default 2.3
        Width of one picture in inches.
    """
    fig, axes = figure(side * len(images), side + 0.25, 1, len(images), squeeze=False)
    for panel, (title, image) in zip(axes.flat, images.items(), strict=True):
        picture(panel, image, SIGNED, title=title, norm=TwoSlopeNorm(0, -limit, limit))
    return fig


def reach_of_the_border(maps: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """Draw which places of some maps differ from the middle: orange ones do, white ones do not.

    Parameters
    ----------
    maps : sequence of numpy.ndarray of bool, shape (height, width)
        True where a map is not what it is in the middle.
    titles : sequence of str
        One for each map.
    """
    fig, axes = figure(7.2, 7.2 / len(maps) + 0.3, 1, len(maps), squeeze=False)
    for panel, differs, title in zip(axes.flat, maps, titles, strict=True):
        colours = np.where(differs[..., None], np.array([0xD5, 0x5E, 0x00]) / 255, 1.0)
        picture(panel, colours, title=title)
    return fig
