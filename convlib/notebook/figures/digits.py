"""Figures of digits, alone and with what a network reads in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convlib.notebook.style import BLUE, GREY, ORANGE, figure

INK = "Greys"
"""Colour map for digits: ink is dark on white paper, as one writes."""


def picture(
    axes: Axes, image: np.ndarray, colours: str = INK, title: str = "", **options: object
) -> None:
    """Draw one two-dimensional array without ticks."""
    axes.imshow(np.squeeze(image), cmap=colours, **options)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color("#CCCCCC")
    if title:
        axes.set_title(title, loc="center", fontsize=8, pad=3)


def gallery(
    images: np.ndarray, columns: int = 10, titles: Sequence[str] | None = None, side: float = 0.7
) -> Figure:
    """Draw a grid of digits.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width) or (n, height, width, 1)
        The digits; ink is high.
    columns : int, default 10
        Digits per row.
    titles : sequence of str, optional
        One for each digit.
    side : float, default 0.7
        Side of one digit in inches.
    """
    rows = -(-len(images) // columns)
    extra = 0.2 if titles is not None else 0.0
    fig, axes = figure(columns * side, rows * (side + extra), rows, columns, squeeze=False)
    for number, panel in enumerate(axes.flat):
        if number < len(images):
            picture(panel, images[number], title=titles[number] if titles is not None else "")
        else:
            panel.set_axis_off()
    return fig


def side_by_side(groups: dict[str, np.ndarray], columns: int = 10, side: float = 0.32) -> Figure:
    """Draw sheets of digits next to each other, each under its name.

    Parameters
    ----------
    groups : dict of str to numpy.ndarray, shape (n, height, width)
        Sheets by title; `n` is a multiple of `columns`.
    columns : int, default 10
        Digits per row of a sheet.
    side : float, default 0.32
        Side of one digit in inches.
    """
    rows = len(next(iter(groups.values()))) // columns
    width = len(groups) * columns * side + 0.3 * (len(groups) - 1)
    fig, axes = figure(width, rows * side + 0.3, 1, len(groups), squeeze=False)
    for panel, (title, images) in zip(axes.flat, groups.items(), strict=True):
        grid = np.asarray(images).reshape(rows, columns, *np.shape(images)[1:3])
        picture(panel, grid.swapaxes(1, 2).reshape(rows * grid.shape[2], -1))
        panel.set_title(title)
    return fig


def probability_bars(axes: Axes, probabilities: np.ndarray, truth: int | None = None) -> None:
    """Draw ten horizontal bars; the largest is blue, or orange if it is not the truth."""
    probabilities = np.asarray(probabilities)
    best = int(probabilities.argmax())
    colours = [GREY] * len(probabilities)
    colours[best] = BLUE if truth in (None, best) else ORANGE
    axes.barh(np.arange(len(probabilities)), probabilities, color=colours, height=0.75)
    axes.set(xlim=(0, 1.16), yticks=range(len(probabilities)), xticks=[])
    axes.invert_yaxis()
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.text(probabilities[best] + 0.02, best, f"{probabilities[best]:.2f}", va="center")


def reading(image: np.ndarray, probabilities: np.ndarray, truth: int | None = None) -> Figure:
    """Draw a digit beside the probabilities that a network gives it."""
    fig, (left, right) = figure(4.6, 2.2, 1, 2, width_ratios=(1, 1.1))
    picture(left, image, title="the image")
    probability_bars(right, probabilities, truth)
    right.set_title("probability of each digit", loc="center", fontsize=8, pad=3)
    return fig


def readings(
    images: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, columns: int = 10
) -> Figure:
    """Draw digits, above each what was read and how surely; mistakes in orange with the truth.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width) or (n, height, width, 1)
        The digits.
    probabilities : numpy.ndarray, shape (n, classes)
        What the network answered.
    labels : numpy.ndarray of int, shape (n,)
        The truth.
    columns : int, default 10
        Digits per row.
    """
    rows = -(-len(images) // columns)
    fig, axes = figure(7.2, rows * (7.2 / columns + 0.28), rows, columns, squeeze=False)
    for panel in axes.flat[len(images) :]:
        panel.set_axis_off()
    for panel, image, probability, label in zip(
        axes.flat, images, probabilities, labels, strict=False
    ):
        read = int(probability.argmax())
        text = f"{read}  ({100 * probability[read]:.0f} %)"
        picture(panel, image)
        panel.set_title(text, loc="center", fontsize=8, pad=3)
        if read != label:
            panel.title.set_color(ORANGE)
            panel.title.set_fontweight("bold")
            panel.set_xlabel(f"is a {label}", fontsize=8, labelpad=2, color=ORANGE)
            for spine in panel.spines.values():
                spine.set_color(ORANGE)
                spine.set_linewidth(2)
    return fig
