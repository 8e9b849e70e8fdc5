"""Figures of strides: how sizes step, and what becomes of stripes that are too fine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from convlib.notebook.style import BLUE, GREY, ORANGE, figure


def stripes(rows: dict[str, np.ndarray], title: str = "") -> Figure:
    """Draw rows of pixels as bands of one length, however many pixels each has.

    Parameters
    ----------
    rows : dict of str to numpy.ndarray, shape (n,)
        Values between 0 and 1 by label.
    title : str, optional
        What to write above.
    """
    fig, axes = figure(7.2, 0.62 * len(rows) + 0.3, len(rows), 1, squeeze=False)
    for panel, (label, values) in zip(axes.flat, rows.items(), strict=True):
        panel.imshow(
            np.asarray(values)[None],
            cmap="gray",
            vmin=0,
            vmax=1,
            aspect="auto",
            extent=(0, 1, 0, 1),
        )
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5)
        for spine in panel.spines.values():
            spine.set_visible(True)
            spine.set_color("#CCCCCC")
    if title:
        axes[0, 0].set_title(title, fontsize=9)
    return fig


def size_steps(
    sizes: range, lines: dict[str, Callable[[int], int]], marked: dict[str, int]
) -> Figure:
    """Draw output sizes against input sizes, with one marked point on each line.

    Parameters
    ----------
    sizes : range
        Input sizes.
    lines : dict of str to callable
        Functions that give the output's size, by label; the first is drawn in blue.
    marked : dict of str to int
        For each line the input size whose point is labelled.
    """
    fig, axes = figure(5.2, 2.9)
    axes.plot(sizes, [size / 2 for size in sizes], color=GREY, lw=1)
    axes.text(sizes[-1] + 0.15, sizes[-1] / 2 - 0.35, "half", color="#666666", va="center")
    for (label, function), colour, side in zip(
        lines.items(), (BLUE, ORANGE), (-1, 1), strict=False
    ):
        values = [function(size) for size in sizes]
        axes.plot(sizes, values, "o", color=colour, ms=5)
        size = marked[label]
        axes.annotate(
            f"{label}: {size} → {function(size)}",
            (size, function(size)),
            (size + 1.2 * max(0, -side) - 1.2 * max(0, side), function(size) + 1.6 * side),
            color=colour,
            ha="left" if side < 0 else "right",
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.8},
        )
    axes.set(xlabel="pixels of the input, n", ylabel="places of the output")
    axes.set(xlim=(sizes[0] - 0.7, sizes[-1] + 1.6), xticks=sizes[::2])
    axes.set_yticks(range(sizes[0] // 2 - 1, sizes[-1] // 2 + 2, 2))
    return fig


def gains(
    frequencies: np.ndarray, gain: np.ndarray, measured: tuple[np.ndarray, np.ndarray], limit: float
) -> Figure:
    """Draw how much of a pattern's contrast a blur leaves, by the pattern's frequency.

    Parameters
    ----------
    frequencies, gain : numpy.ndarray
        The formula, as a line.
    measured : (numpy.ndarray, numpy.ndarray)
        Frequencies and gains that were measured, as dots.
    limit : float
        The highest frequency that the kept pixels can carry; what is above is shaded.
    """
    fig, axes = figure(5.2, 2.4)
    axes.axvspan(limit, frequencies[-1], color=ORANGE, alpha=0.15, lw=0)
    axes.plot(frequencies, gain, color=BLUE)
    axes.plot(*measured, "o", color=BLUE, ms=5)
    axes.plot(frequencies, np.ones_like(frequencies), color=ORANGE)
    axes.text(0.02, 1.04, "no blur", color=ORANGE, va="bottom")
    axes.text(0.262, 0.42, "blurred: line by formula,\ndots measured", color=BLUE, va="center")
    middle = (limit + frequencies[-1]) / 2
    axes.text(middle, 0.8, "comes back coarser", color=ORANGE, ha="center", va="center")
    axes.set(xlim=(0, frequencies[-1] + 0.005), ylim=(0, 1.18), yticks=(0, 0.5, 1))
    axes.set(xlabel="frequency of the stripes, cycles per pixel", ylabel="contrast left")
    return fig
