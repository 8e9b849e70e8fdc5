"""Figures of speed: a machine's two limits, times and errors of ways, traffic, a tile's way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib.notebook.figures.image_kernels import table
from convlib.notebook.style import BLUE, GREY, ORANGE, figure

_DARK = "#222222"


class Dot(NamedTuple):
    """A piece of work on a roofline.

    Attributes
    ----------
    name : str
        What it is called in the figure.
    intensity : float
        Operations for each byte that has to move.
    speed : float
        Operations in a second, in 10⁹.
    side : str
        Where its name stands: 'left', 'right', 'above', 'below', 'lower left' or 'lower right'.
    """

    name: str
    intensity: float
    speed: float
    side: str = "right"


_NAMES = {
    "left": {"xytext": (-7, 0), "ha": "right", "va": "center"},
    "right": {"xytext": (7, 0), "ha": "left", "va": "center"},
    "above": {"xytext": (0, 7), "ha": "center", "va": "bottom"},
    "below": {"xytext": (0, -7), "ha": "center", "va": "top"},
    "lower right": {"xytext": (7, -7), "ha": "left", "va": "top"},
    "lower left": {"xytext": (-7, -7), "ha": "right", "va": "top"},
}


def attainable(intensity: float, peak: float, bandwidth: float) -> float:
    """Return the largest speed that both limits allow, in the unit of the peak."""
    return min(peak, intensity * bandwidth)


def roofline(
    peak: float, bandwidths: dict[str, float], dots: Sequence[Dot], title: str = ""
) -> Figure:
    """Draw what a machine allows, and where pieces of work lie; those above the roof are orange.

    Parameters
    ----------
    peak : float
        Operations in a second, in 10⁹.
    bandwidths : dict of str to float
        Bytes in a second, in 10⁹, by where the bytes are; the largest bounds the roof.
    dots : sequence of Dot
    title : str, optional
        Which machine this is.
    """
    fig, axes = figure(7.2, 3.5)
    axes.set_title(title, color=GREY, fontsize=8)
    least = min([0.4, *(dot.intensity / 1.6 for dot in dots)])
    most = max([400, *(1.6 * dot.intensity for dot in dots)])
    fastest = max(bandwidths.values())
    for bandwidth in bandwidths.values():
        ridge = peak / bandwidth
        colour = _DARK if bandwidth == fastest else GREY
        axes.plot([least, ridge], [least * bandwidth, peak], color=colour, linewidth=1.4)
    axes.plot([peak / fastest, most], [peak, peak], color=_DARK, linewidth=1.4)
    axes.annotate(
        f"peak: {peak:.0f} GFLOP/s",
        (most, peak),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=_DARK,
    )
    for dot in dots:
        is_above = dot.speed > 1.001 * attainable(dot.intensity, peak, fastest)
        colour = ORANGE if is_above else BLUE
        axes.plot(dot.intensity, dot.speed, "o", color=colour, markersize=7)
        axes.annotate(
            dot.name,
            (dot.intensity, dot.speed),
            textcoords="offset points",
            color=colour,
            fontsize=8.5,
            **_NAMES[dot.side],
        )
    slowest = min([least * min(bandwidths.values()), *(dot.speed for dot in dots)])
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(least, most),
        ylim=(slowest / 2, 4 * peak),
        xlabel="operations for each byte that has to move",
        ylabel="GFLOP/s",
    )
    fig.draw_without_rendering()  # only then is it known how steep the lines are on paper
    for name, bandwidth in bandwidths.items():
        is_fastest = bandwidth == fastest
        start = least * (1.25 if is_fastest else 2.6)
        ends = axes.transData.transform([(x, x * bandwidth) for x in (start, 2 * start)])
        axes.annotate(
            f"{name}: {bandwidth:.0f} GB/s",
            (start, start * bandwidth),
            xytext=(-3, 4) if is_fastest else (4, -4),
            textcoords="offset points",
            va="bottom" if is_fastest else "top",
            rotation=np.degrees(np.arctan2(*(ends[1] - ends[0])[::-1])),
            rotation_mode="anchor",
            color=_DARK if is_fastest else GREY,
            fontsize=8,
        )
    return fig


def bars(
    values: dict[str, float], xlabel: str, marked: str, title: str = "", start: float = 0.5
) -> Figure:
    """Draw values on a logarithmic axis as bars with their numbers, one of them marked blue.

    Parameters
    ----------
    values : dict of str to float
        From top to bottom.
    xlabel : str
        What they are.
    marked : str
        The one that the others are compared with.
    title : str, optional
        On which machine they were measured.
    start : float
        Where bars start.
    """
    fig, axes = figure(7.2, 0.3 * len(values) + 0.75)
    for row, (name, value) in enumerate(values.items()):
        colour = BLUE if name == marked else GREY
        left, right = sorted((start, value))
        axes.barh(row, right - left, left=left, height=0.66, color=colour)
        text = f"{value:,.0f} ×" if value >= 10 else f"{value:.2g} ×"
        axes.annotate(
            text,
            (right, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=BLUE if name == marked else _DARK,
            fontsize=8.5,
        )
    axes.set_title(title, color=GREY, fontsize=8)
    lowest = min([start, *values.values()])
    axes.set(
        xscale="log",
        xlim=(0.75 * lowest, 6 * max(values.values())),
        ylim=(len(values) - 0.5, -0.5),
        yticks=range(len(values)),
        yticklabels=list(values),
        xlabel=xlabel,
    )
    axes.tick_params(axis="y", length=0)
    return fig


def error_strips(errors: dict[str, dict[str, np.ndarray]], marked: str) -> Figure:
    """Draw errors of several ways, a panel for each layer, a dot for each seed, and their medians.

    Parameters
    ----------
    errors : dict of str to dict of str to numpy.ndarray
        By layer and by way, in units of half an epsilon.
    marked : str
        The way that the others are compared with.
    """
    fig, axes = figure(
        7.2, 0.33 * len(next(iter(errors.values()))) + 1.0, 1, len(errors), sharey=True, sharex=True
    )
    for panel, (layer, ways) in zip(np.atleast_1d(axes), errors.items(), strict=True):
        for row, (name, values) in enumerate(ways.items()):
            colour = BLUE if name == marked else _DARK
            heights = row + 0.3 * ((np.arange(len(values)) * 0.618) % 1 - 0.5)  # spread, not random
            panel.plot(values, heights, "o", color=colour, markersize=3, alpha=0.5, mew=0)
            median = float(np.median(values))
            panel.annotate(
                f"{median:.1f}",
                (values.max(), row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=colour,
                fontsize=8.5,
            )
        panel.set_title(layer)
        panel.tick_params(axis="y", length=0)
    first = np.atleast_1d(axes)[0]
    ways = next(iter(errors.values()))
    everything = np.concatenate([v for layer in errors.values() for v in layer.values()])
    first.set(
        xscale="log",
        xlim=(everything.min() / 1.5, everything.max() * 2.6),
        ylim=(len(ways) - 0.5, -0.5),
        yticks=range(len(ways)),
        yticklabels=list(ways),
    )
    fig.supxlabel("error, in roundings of a typical output", fontsize=9)
    return fig


def tile_frame(pixels: int, vectors: int, terms: int, tile: tuple[int, int], step: int) -> Figure:
    """Draw one step of a register tile's way over the product of pixels and filters.

    Parameters
    ----------
    pixels, vectors, terms : int
        Rows of x, vectors in a row of w, and length of the sums.
    tile : (int, int)
        Rows and columns of the tile; they divide pixels and vectors.
    step : int
        How many steps, each of one term of one tile, are done before this one.
    """
    rows, columns = tile
    across = vectors // columns
    number, term = divmod(step, terms)
    top, left = number // across * rows, number % across * columns
    unit, gap = 0.2, 0.3
    wide = terms * unit + gap + vectors * unit
    width, height = 7.2, (terms + pixels) * unit + gap + 0.55
    fig = figure(width, height)[0]
    fig.clear()
    fig.set_layout_engine("none")
    axes = fig.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    x0, y0 = 0.75, 0.3

    def cells(x, y, count_down, count_across, colour, edge="white"):
        for i in range(count_down):
            for j in range(count_across):
                place = (x + j * unit, y + i * unit)
                axes.add_patch(Rectangle(place, unit, unit, fc=colour(i, j), ec=edge, lw=0.8))

    def shade(i, j):
        """Return how far the sums of an output have come, as a blue."""
        done = (i // rows * across + j // columns) < number
        is_here = top <= i < top + rows and left <= j < left + columns
        share = 1 if done else (term + 1) / terms if is_here else 0
        blue = np.array([0, 0x72, 0xB2]) / 255
        return tuple(1 - (1 - blue) * (0.10 + 0.65 * share))

    pale = "#DDDDDD"
    w_x, w_y = x0 + terms * unit + gap, y0
    y_x, y_y = w_x, y0 + terms * unit + gap
    cells(
        *(x0, y_y, pixels, terms),
        lambda i, k: ORANGE if k == term and top <= i < top + rows else pale,
    )
    cells(
        *(w_x, w_y, terms, vectors),
        lambda k, j: ORANGE if k == term and left <= j < left + columns else pale,
    )
    cells(y_x, y_y, pixels, vectors, shade)
    axes.add_patch(
        Rectangle(
            (y_x + left * unit, y_y + top * unit),
            *(columns * unit, rows * unit),
            fill=False,
            ec=BLUE,
            lw=2.4,
        )
    )
    text = {"fontsize": 8.5, "color": _DARK, "va": "center"}
    axes.text(x0 + terms * unit / 2, y_y + pixels * unit + 0.13, "x", ha="center", **text)
    axes.text(x0 - 0.1, y_y + pixels * unit / 2, "pixels", ha="right", **text)
    axes.text(w_x + vectors * unit / 2, w_y - 0.13, "w: vectors of filters", ha="center", **text)
    axes.text(
        y_x + vectors * unit / 2, y_y + pixels * unit + 0.13, "y = x · w", ha="center", **text
    )
    done, each = step + 1, rows * columns
    lines = [
        ("in registers", f"{each} sums", BLUE),
        ("loaded in this step", f"{rows} numbers + {columns} vectors", ORANGE),
        ("loads so far", f"{done * (rows + columns)}", _DARK),
        ("vector multiply-adds so far", f"{done * each}", _DARK),
        ("loads, one output at a time", f"{2 * done * each}", GREY),
    ]
    for line, (name, value, colour) in enumerate(lines):
        y = y_y + 0.25 + 0.33 * line
        left_of_text = x0 + wide + 0.25
        axes.text(left_of_text, y, name, fontsize=9, color=colour, va="center")
        axes.text(left_of_text + 1.9, y, value, fontsize=9, color=colour, va="center")
    return fig


def winograd_steps(d: np.ndarray, g: np.ndarray, v: np.ndarray, u: np.ndarray, y: np.ndarray):
    """Draw a Winograd tile: patch and kernel, both transformed, their product, the outputs.

    Parameters
    ----------
    d, g : numpy.ndarray, shapes (4, 4) and (3, 3)
        Patch and kernel.
    v, u : numpy.ndarray, shape (4, 4)
        Both transformed.
    y : numpy.ndarray, shape (2, 2)
        The outputs.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width, height, unit = 7.2, 3.0, 0.27
    fig = figure(width, height)[0]
    fig.clear()
    fig.set_layout_engine("none")

    def draw(values, x, y, name, below="", colour=_DARK):
        side = unit * len(values)
        box = (x / width, 1 - (y + side) / height, side / width, side / height)
        axes = fig.add_axes(box)
        table(axes, values, size=7.5)
        axes.set_title(name, loc="center", fontsize=8.5, pad=4, color=colour)
        if below:
            axes.set_xlabel(below, fontsize=8, labelpad=4, color=colour)

    def sign(x, y, text, size=13):
        fig.text(x / width, 1 - y / height, text, ha="center", va="center", fontsize=size)

    full = 4 * unit
    upper, lower, middle = 0.28, 1.75, 1.0
    draw(d, 0.35, upper, "patch d")
    draw(v, 2.3, upper, "V = Bᵀ d B")
    draw(g, 0.35 + unit / 2, lower + unit / 2, "kernel g")
    draw(u, 2.3, lower, "U = G g Gᵀ")
    for row in (upper, lower):
        sign(1.87, row + full / 2, "→")
    sign(1.87, upper + full / 2 - 0.2, "adds", 7.5)
    sign(1.87, lower + full / 2 - 0.2, "adds, halves", 7.5)
    sign(3.72, middle + full / 2, "⊙")
    draw(v * u, 4.05, middle, "U ⊙ V", "16 products", ORANGE)
    sign(5.6, middle + full / 2, "→")
    sign(5.6, middle + full / 2 - 0.2, "adds", 7.5)
    draw(y, 6.1, middle + unit, "y", "four outputs", BLUE)
    return fig


def before_and_after(groups: dict[str, dict[str, tuple[float, float]]]) -> Figure:
    """Draw pairs of bars, a panel for each group: what something cost before, and what after.

    Parameters
    ----------
    groups : dict of str to dict of str to (float, float)
        By the title of a panel and the name of a pair.
    """
    most = max(len(pairs) for pairs in groups.values())
    fig, axes = figure(7.2, 0.52 * most + 0.8, 1, len(groups))
    for panel, (title, pairs) in zip(np.atleast_1d(axes), groups.items(), strict=True):
        largest = max(max(pair) for pair in pairs.values())
        for row, (before, after) in enumerate(pairs.values()):
            for value, shift, colour in ((before, -0.19, GREY), (after, 0.19, BLUE)):
                panel.barh(row + shift, value, height=0.36, color=colour)
                panel.text(
                    value + 0.02 * largest,
                    row + shift,
                    f"{value:,.0f}",
                    va="center",
                    fontsize=8.5,
                    color=_DARK if colour == GREY else BLUE,
                )
        panel.set(
            xlim=(0, 1.22 * largest),
            ylim=(len(pairs) - 0.5, -0.5),
            yticks=range(len(pairs)),
            yticklabels=list(pairs),
            xticks=[],
        )
        panel.set_title(title)
        panel.tick_params(axis="y", length=0)
        panel.spines["bottom"].set_visible(False)
    return fig
