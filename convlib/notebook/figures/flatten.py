"""Figures of Flatten: how a feature map becomes one row of numbers."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib.notebook.style import BLUE, GREY, figure

_PALE = "#D6E6F2"


def _cell(axes: Axes, left: float, lower: float, side: float, text: str, colour: str) -> None:
    axes.add_patch(
        Rectangle((left, lower), side, side, facecolor=colour, edgecolor="#BBBBBB", linewidth=0.6)
    )
    axes.text(left + side / 2, lower + side / 2, text, ha="center", va="center", fontsize=8)


def flatten_frame(maps: np.ndarray, place: int) -> Figure:
    """Draw how far Flatten has come: the channels of a map above, the row that it writes below.

    Parameters
    ----------
    maps : numpy.ndarray, shape (height, width, channels)
        A small feature map of whole numbers.
    place : int
        The place that is being written, counted row by row.
    """
    height, width, channels = maps.shape
    row, column = divmod(place, width)
    flat = maps.reshape(-1)
    side = 1.5  # of a cell of the maps, in cells of the row
    gap = min((len(flat) - channels * width * side) / max(channels - 1, 1), 5.0)
    start = (len(flat) - channels * width * side - (channels - 1) * gap) / 2
    top = 5.2
    high, wide = top + height * side + 2.1, len(flat) + 1.6
    fig, axes = figure(7.2, 7.2 * high / wide + 0.1)
    for channel in range(channels):
        left = start + channel * (width * side + gap)
        for i in range(height):
            for j in range(width):
                number = i * width + j
                colour = BLUE if number == place else _PALE if number < place else "white"
                lower = top + (height - 1 - i) * side
                _cell(axes, left + j * side, lower, side, str(maps[i, j, channel]), colour)
                if number == place:
                    axes.texts[-1].set_color("white")
        axes.text(
            left + width * side / 2,
            top + height * side + 0.3,
            f"channel {channel}",
            ha="center",
            va="bottom",
            fontsize=8.5,
        )
    first = place * channels
    for k, value in enumerate(flat):
        is_now = first <= k < first + channels
        colour = BLUE if is_now else _PALE if k < first else "white"
        _cell(axes, k, 1.4, 1.0, str(value) if k < first + channels else "", colour)
        if is_now:
            axes.texts[-1].set_color("white")
    for k in range(0, len(flat) + 1, channels):  # the channels of a place stay together
        axes.plot([k, k], [1.3, 2.5], color=GREY, linewidth=1.2)
    axes.text(
        first + channels / 2,
        2.85,
        f"place ({row}, {column})",
        ha="center",
        va="bottom",
        fontsize=8.5,
        color=BLUE,
    )
    for k in {0, len(flat) - 1} - {first, first + channels - 1}:
        axes.text(k + 0.5, 1.1, str(k), ha="center", va="top", fontsize=8, color=GREY)
    axes.text(
        first + channels / 2,
        1.1,
        f"{first} … {first + channels - 1}",
        ha="center",
        va="top",
        fontsize=8,
        color=BLUE,
    )
    axes.set(xlim=(-0.8, wide - 0.8), ylim=(-0.1, high - 0.1))
    axes.set_aspect("equal")
    axes.set_axis_off()
    return fig
