"""Figures of moved images: what moves along, and what is still read correctly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib.notebook.figures.digits import picture, probability_bars
from convlib.notebook.style import BLUE, GREY, ORANGE, POSITIVE, figure


def strips(columns: dict[str, dict[str, np.ndarray]], window: int = 2) -> Figure:
    """Draw rows of numbers as strips of cells, and pooled ones under the cells they come from.

    Parameters
    ----------
    columns : dict of str to dict of str to numpy.ndarray, shape (n,)
        For each column of the figure, strips by name; all but the first are pooled ones, whose
        cells are `window` times as wide.
    window : int, default 2
        Cells of the first strip in one window, marked by its ground.
    """
    fig, axes = figure(7.2, 1.75, 1, len(columns), squeeze=False)
    for panel, (title, rows) in zip(axes.flat, columns.items(), strict=True):
        highest = max(np.max(values) for values in rows.values())
        for row, values in enumerate(rows.values()):
            wide = 1 if row == 0 else window
            for cell, value in enumerate(values):
                shade = 0.75 * value / highest
                panel.add_patch(
                    Rectangle(
                        (cell * wide, -1.5 * row),
                        wide,
                        1,
                        facecolor=(1 - shade, 1 - 0.65 * shade, 1 - 0.4 * shade),
                        edgecolor="#999999",
                        linewidth=0.8,
                    )
                )
                panel.text(
                    (cell + 0.5) * wide,
                    -1.5 * row + 0.47,
                    f"{value:g}",
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="#BBBBBB" if value == 0 else "black",
                )
        length = len(next(iter(rows.values())))
        for border in range(0, length + 1, window):
            panel.plot([border, border], [-0.32, 1.12], color=ORANGE, linewidth=2)
        panel.set(xlim=(-0.2, length + 0.2), ylim=(-1.5 * (len(rows) - 1) - 0.2, 1.4))
        panel.set_title(title, loc="center", fontsize=9)
        panel.set_yticks([0.5 - 1.5 * row for row in range(len(rows))], list(rows), fontsize=8.5)
        panel.tick_params(length=0)
        panel.set_xticks([])
        for spine in panel.spines.values():
            spine.set_visible(False)
        if panel is not axes[0, 0]:
            panel.set_yticks([])
    return fig


def error_by_shift(errors: dict[str, Sequence[float]]) -> Figure:
    """Draw, for each function, how far its output is from the unmoved one, moved along.

    Parameters
    ----------
    errors : dict of str to sequence of float
        Error for shifts of 0, 1, 2 … pixels, by the name of the function. Each has a panel.
    """
    fig, axes = figure(7.2, 1.9, 1, len(errors), sharey=True, squeeze=False)
    for panel, (name, values) in zip(axes.flat, errors.items(), strict=True):
        steps = np.arange(len(values))
        is_zero = np.asarray(values) == 0
        panel.vlines(steps, 0, values, color=ORANGE, linewidth=3)
        panel.plot(steps[is_zero], np.zeros(is_zero.sum()), "o", color=BLUE, markersize=6)
        panel.set_title(name, loc="center", fontsize=9)
        panel.set(xticks=steps[::2], xlabel="moved by, pixels", xlim=(-0.6, len(steps) - 0.4))
    axes[0, 0].set_ylabel("relative error")
    axes[0, 0].set_ylim(-0.03, 1.15 * max(np.max(values) for values in errors.values()))
    return fig


def _heat_map(axes: Axes, steps: Sequence[int], values: np.ndarray, inside: int) -> None:
    half = (steps[1] - steps[0]) / 2
    low, high = steps[0] - half, steps[-1] + half
    axes.imshow(values, cmap=POSITIVE, vmin=0, vmax=1, extent=(low, high, high, low))
    axes.add_patch(
        Rectangle(
            (-inside - half, -inside - half),
            2 * (inside + half),
            2 * (inside + half),
            fill=False,
            edgecolor="white",
            linewidth=1.4,
            linestyle=(0, (2, 1.5)),
        )
    )
    axes.set(xticks=(steps[0], 0, steps[-1]), yticks=(steps[0], 0, steps[-1]))
    axes.tick_params(length=2, labelsize=7.5)


def heat_maps(steps: Sequence[int], accuracies: dict[str, np.ndarray], inside: int = 4) -> Figure:
    """Draw the share that is read correctly for every shift, one map for each network.

    Parameters
    ----------
    steps : sequence of int
        Shifts in pixels, the same downwards and to the right, in equal steps around zero.
    accuracies : dict of str to numpy.ndarray, shape (steps, steps)
        Shares 0..1, for shifts down (rows) and right (columns), by network.
    inside : int, default 4
        The shift up to which whole digits stay inside the image; marked by a dashed square.
    """
    fig, axes = figure(7.2, 2.45, 1, len(accuracies), squeeze=False)
    distance = ring_of(steps)
    for panel, (name, values) in zip(axes.flat, accuracies.items(), strict=True):
        _heat_map(panel, steps, values, inside)
        panel.set_anchor("N")
        panel.set_title(name, loc="center", fontsize=8.5)
        rings = (0, inside, max(steps))
        shares = [f"{100 * values[distance == ring].mean():.0f} %" for ring in rings]
        lines = [
            f"{ring} pixels: {share}" if ring else f"unmoved: {share}"
            for ring, share in zip(rings, shares, strict=True)
        ]
        panel.set_xlabel("moved right, pixels", fontsize=8)
        panel.text(
            0.5,
            -0.4,
            "\n".join(lines),
            transform=panel.transAxes,
            ha="center",
            va="top",
            fontsize=8.5,
            linespacing=1.35,
        )
        if panel is not axes[0, 0]:
            panel.set_yticklabels([])
    axes[0, 0].set_ylabel("moved down, pixels", fontsize=8)
    return fig


def ring_of(steps: Sequence[int]) -> np.ndarray:
    """Return for each pair of shifts the larger of the two distances."""
    distances = np.abs(np.asarray(steps))
    return np.maximum(distances[:, None], distances)


def agreement_by_shift(agreement: np.ndarray, period: int) -> Figure:
    """Draw the share of images that are read as if they had not been moved.

    Parameters
    ----------
    agreement : numpy.ndarray, shape (seeds, shifts)
        Shares 0..1, for shifts of 0, 1, 2 … pixels.
    period : int
        Multiples of it are marked.
    """
    steps = np.arange(agreement.shape[1])
    values = 100 * np.asarray(agreement)
    fig, axes = figure(5.4, 2.4)
    on_grid = steps % period == 0
    axes.plot(steps, values.mean(axis=0), color=GREY, linewidth=1.2, zorder=1)
    for seed in values:
        axes.plot(steps[~on_grid], seed[~on_grid], "o", color=ORANGE, markersize=4, alpha=0.6)
    axes.plot(steps[on_grid], values[:, on_grid].mean(axis=0), "o", color=BLUE, markersize=8)
    axes.annotate(
        f"multiples of {period}",
        (period, 100),
        (0, 8),
        textcoords="offset points",
        ha="center",
        color=BLUE,
    )
    axes.annotate(
        "each seed",
        (steps[-1] - period / 2, values[:, steps[-1] - period // 2].min()),
        (0, -13),
        textcoords="offset points",
        ha="center",
        color=ORANGE,
    )
    axes.set(xlabel="moved by, pixels", ylabel="read as before, %", xticks=steps)
    axes.set(ylim=(values.min() - 6, 107), yticks=range(100, int(values.min() - 6), -5))
    return fig


def journey_frame(
    image: np.ndarray,
    maps: dict[str, tuple[np.ndarray, float]],
    probabilities: dict[str, np.ndarray],
    truth: int,
) -> Figure:
    """Draw one moment of a digit's way through the image: maps, and what networks read.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        The digit, moved.
    maps : dict of str to (numpy.ndarray, float)
        Response maps of one channel by title, each with the value of its brightest colour.
    probabilities : dict of str to numpy.ndarray, shape (10,)
        Answers by network.
    truth : int
        The digit's label.
    """
    count = 1 + len(maps)
    fig, axes = figure(7.2, 1.9, 1, count + len(probabilities))
    picture(axes[0], image, vmin=0, vmax=1, title="the image")
    for panel, (title, (values, highest)) in zip(axes[1:count], maps.items(), strict=True):
        picture(panel, values, POSITIVE, vmin=0, vmax=highest, title=title)
    for panel, (name, values) in zip(axes[count:], probabilities.items(), strict=True):
        probability_bars(panel, values, truth)
        panel.set_title(name, loc="center", fontsize=8, pad=3)
        panel.set_xlim(0, 1.6)
        panel.tick_params(labelsize=7)
    return fig
