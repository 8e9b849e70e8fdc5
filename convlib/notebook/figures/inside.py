"""Figures of what a trained network learned: filters, maps, explanations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib.notebook.figures.digits import picture, probability_bars
from convlib.notebook.figures.networks import shape_text
from convlib.notebook.style import ORANGE, POSITIVE, SIGNED, figure


def filters(kernels: np.ndarray, columns: int = 16) -> Figure:
    """Draw two-dimensional filters on one symmetric colour scale: red adds, blue subtracts.

    Parameters
    ----------
    kernels : numpy.ndarray, shape (height, width, n)
        The filters.
    columns : int, default 16
        Filters per row.
    """
    count = kernels.shape[-1]
    rows = -(-count // columns)
    limit = np.abs(kernels).max()
    fig, axes = figure(7.2, rows * 0.62, rows, columns, squeeze=False)
    for number, panel in enumerate(axes.flat):
        if number < count:
            picture(
                panel,
                kernels[..., number],
                SIGNED,
                title=str(number),
                norm=TwoSlopeNorm(0, -limit, limit),
            )
        else:
            panel.set_axis_off()
    return fig


def response_maps(
    image: np.ndarray, outputs: Sequence[np.ndarray], names: Sequence[str], columns: int = 10
) -> Figure:
    """Draw, for each layer, the channels that respond most to one image.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width) or (height, width, 1)
        The input.
    outputs : sequence of numpy.ndarray, shape (h, w, channels)
        One for each layer; the scale of each row is its own.
    names : sequence of str
        One for each layer.
    columns : int, default 10
        Channels per layer.
    """
    fig, axes = figure(7.2, 0.68 * len(outputs), len(outputs), columns + 1, squeeze=False)
    for row, (output, name) in enumerate(zip(outputs, names, strict=True)):
        axes[row, 0].set_axis_off()
        axes[row, 0].text(
            0.0,
            0.5,
            f"{name}\n{shape_text(output.shape)}",
            transform=axes[row, 0].transAxes,
            va="center",
            fontsize=7,
        )
        strongest = np.argsort(-output.mean(axis=(0, 1)), kind="stable")[:columns]
        for panel, channel in zip(axes[row, 1:], strongest, strict=True):
            picture(panel, output[..., channel], POSITIVE, vmin=0, vmax=output.max())
            panel.set_xlabel(str(channel), fontsize=6, labelpad=1)
    return fig


def explanations(
    images: np.ndarray,
    maps: dict[str, np.ndarray],
    titles: Sequence[str],
    signed: Sequence[str] = (),
) -> Figure:
    """Draw images, and under each one row for every way to explain what a network saw in it.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width)
        The inputs.
    maps : dict of str to numpy.ndarray, shape (n, height, width)
        Explanations by name, each map on its own scale.
    titles : sequence of str
        One for each image.
    signed : sequence of str
        Names of the maps whose sign matters.
    """
    count = len(images)
    rows = 1 + len(maps)
    fig, axes = figure(1.03 * count + 1.0, 1.05 * rows + 0.2, rows, count, squeeze=False)
    for column in range(count):
        picture(axes[0, column], images[column], title=titles[column])
    axes[0, 0].set_ylabel("image", fontsize=8.5)
    for row, (name, values) in enumerate(maps.items(), start=1):
        for column in range(count):
            panel, value = axes[row, column], np.asarray(values[column])
            limit = max(np.abs(value).max(), 1e-12)
            lowest = -limit if name in signed else 0
            colours = SIGNED if name in signed else POSITIVE
            picture(panel, value, colours, vmin=lowest, vmax=limit)
            ink = np.squeeze(images[column])
            outline = "white" if lowest == 0 else "black"
            panel.contour(ink, [ink.max() / 2], colors=outline, linewidths=0.5)
        axes[row, 0].set_ylabel(name, fontsize=8.5)
    return fig


def network_reading(
    image: np.ndarray,
    outputs: Sequence[np.ndarray],
    names: Sequence[str],
    probabilities: np.ndarray,
) -> Figure:
    """Draw one image on its way through a network, in one wide strip.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        The input.
    outputs : sequence of numpy.ndarray, shape (h, w, channels)
        Responses of the layers; the eight strongest channels of each are drawn, each on a scale of
        its own.
    names : sequence of str
        What to call each layer.
    probabilities : numpy.ndarray, shape (classes,)
        The answer.
    """
    width, height, map_side, gap = 10.4, 2.72, 0.5, 0.05
    fig = figure(width, height)[0]
    fig.clear()
    fig.set_layout_engine("none")

    def axes_at(left: float, bottom: float, wide: float, high: float) -> Axes:
        return fig.add_axes((left / width, bottom / height, wide / width, high / height))

    def caption(left: float, wide: float, above: str, below: str) -> None:
        middle = (left + wide / 2) / width
        fig.text(middle, 2.47 / height, above, ha="center", fontsize=9, color="#222222")
        fig.text(middle, 0.06 / height, below, ha="center", fontsize=8.5, color="#666666")

    grid = 4 * map_side + 3 * gap
    picture(axes_at(0.05, 0.27, grid, grid), image)
    caption(0.05, grid, "somebody's handwriting", shape_text(image.shape))
    left = 0.05 + grid + 0.22
    for output, name in zip(outputs, names, strict=True):
        strongest = np.argsort(-output.mean(axis=(0, 1)), kind="stable")[:8]
        for place, channel in enumerate(strongest):
            row, column = divmod(place, 2)
            panel = axes_at(
                left + column * (map_side + gap),
                0.27 + (3 - row) * (map_side + gap),
                map_side,
                map_side,
            )
            picture(panel, output[..., channel], POSITIVE, vmin=0)
        caption(left, 2 * map_side + gap, name, shape_text(output.shape))
        left += 2 * map_side + gap + 0.2
    bars = axes_at(left + 0.1, 0.27, width - left - 0.2, grid)
    probability_bars(bars, probabilities)
    bars.set_xlim(0, 1.35)
    caption(left + 0.1, width - left - 0.2, "read as", "probability of each digit")
    return fig


def occlusion_frame(
    image: np.ndarray, square: tuple[int, int, int], probabilities: np.ndarray, truth: int
) -> Figure:
    """Draw a digit with a grey square over it beside the probabilities that remain.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        The digit, already covered.
    square : tuple of int
        Row, column and side of the square.
    probabilities : numpy.ndarray, shape (classes,)
        What the network answers.
    truth : int
        The digit's label.
    """
    fig, (left, right) = figure(4.6, 2.2, 1, 2, width_ratios=(1, 1.1))
    picture(left, image, vmin=0, vmax=1, title="the image, partly covered")
    row, column, side = square
    left.add_patch(
        Rectangle(
            (column - 0.5, row - 0.5), side, side, fill=False, edgecolor=ORANGE, linewidth=1.5
        )
    )
    probability_bars(right, probabilities, truth)
    right.set_title("probability of each digit", loc="center", fontsize=8, pad=3)
    return fig
