"""Figures of what the threads of a GPU read and write, drawn from what they did."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib.notebook.style import BLUE, GREY, ORANGE, figure

INK = "#222222"
"""Digits."""
PALE = "#EBEBEB"
"""What is there, and not touched."""
SHADES = ("#DCEAF5", "#A9CDE8", "#6DAAD6", BLUE)
"""From few to many, all in the colour of the thing that is discussed."""
PALE_ORANGE = "#F6C9A8"


def _cells(axes: Axes, rows: int, columns: int) -> None:
    axes.set(xlim=(-0.08, columns + 0.08), ylim=(rows + 0.08, -0.08), aspect="equal")
    axes.axis("off")


def _cell(axes, row, column, colour, text="", size=8.0, ink=INK):
    axes.add_patch(
        Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=1.2)
    )
    if text:
        axes.text(
            column + 0.5, row + 0.53, text, ha="center", va="center", fontsize=size, color=ink
        )


def _shade(count: float, largest: float) -> tuple[str, str]:
    """Return the colour of a cell, and of the digits in it."""
    if not count:
        return PALE, GREY
    level = 0 if largest <= 1 else round((count - 1) / (largest - 1) * (len(SHADES) - 1))
    return SHADES[level], "white" if level == len(SHADES) - 1 else INK


def _frame(axes, box, colour=ORANGE):
    row, column, height, width = box
    axes.add_patch(
        Rectangle((column, row), width, height, fill=False, edgecolor=colour, linewidth=2.2)
    )


def _draw_counts(axes, counts, largest, size, limit=np.inf):
    _cells(axes, *counts.shape)
    for (i, j), count in np.ndenumerate(counts):
        colour, ink = (ORANGE, "white") if count > limit else _shade(count, largest)
        _cell(axes, i, j, colour, f"{count:g}" if count else "", size, ink)


def count_maps(
    panels: dict[str, np.ndarray],
    frames: dict[str, tuple[int, int, int, int]] | None = None,
    limit: float = np.inf,
) -> Figure:
    """Draw grids of counts side by side; more is darker, nothing is blank.

    Parameters
    ----------
    panels : dict of str to numpy.ndarray
        Two-dimensional counts by what stands above them.
    frames : dict, optional
        By the same words: row, column, height and width of what is framed in orange.
    limit : float, optional
        Larger counts are a mistake, and orange.
    """
    grids = {title: np.asarray(counts) for title, counts in panels.items()}
    largest = min(limit, max(counts.max() for counts in grids.values()))
    fig, axes = figure(7.2, 2.75, 1, len(grids), squeeze=False)
    for panel, (title, counts) in zip(axes.flat, grids.items(), strict=True):
        _draw_counts(panel, counts, largest, 8.5, limit)
        panel.set_title(title, fontsize=9)
        if title in (frames or {}):
            _frame(panel, frames[title])
    return fig


def value_maps(panels: dict[str, np.ndarray]) -> Figure:
    """Draw grids of values side by side, in digits; NaN is orange.

    Parameters
    ----------
    panels : dict of str to numpy.ndarray
        Two-dimensional values by what stands above them.
    """
    fig, axes = figure(7.2, 2.75, 1, len(panels), squeeze=False)
    for panel, (title, values) in zip(axes.flat, panels.items(), strict=True):
        _cells(panel, *values.shape)
        for (i, j), value in np.ndenumerate(values):
            if np.isnan(value):
                _cell(panel, i, j, ORANGE, "NaN", 7.5, "white")
            else:
                _cell(panel, i, j, SHADES[0], f"{value:.1f}".replace("-", "−"), 7.5)
        panel.set_title(title, fontsize=9)
    return fig


def sector_maps(
    panels: dict[str, dict[int, int]], rows: int, columns: int, numbers: int = 8
) -> Figure:
    """Draw an image as it lies in memory, sector by sector, and which thread reads which number.

    Parameters
    ----------
    panels : dict of str to dict of int to int
        Threads by the place in memory that they read, by what stands above. Numbers that are moved
        along with these, in their sectors, are pale orange.
    rows, columns : int
        Shape of the image; sectors are pieces of its rows, with a gap between them.
    numbers : int
        Numbers of a sector.
    """
    gap = 0.5
    fig, axes = figure(7.2, 0.21 * rows + 0.45, 1, len(panels), squeeze=False)
    for panel, (title, readers) in zip(axes.flat, panels.items(), strict=True):
        _cells(panel, rows, columns + gap * ((columns - 1) // numbers))
        touched = {place // numbers for place in readers}
        for place in range(rows * columns):
            row, column = divmod(place, columns)
            column += gap * (column // numbers)
            if place in readers:
                _cell(panel, row, column, BLUE, f"{readers[place]}", 6.5, "white")
            else:
                _cell(panel, row, column, PALE_ORANGE if place // numbers in touched else PALE)
        panel.set_title(f"{title}: {len(touched)} sectors", fontsize=9)
    return fig


def tile_frames(recording, side: int, block: int) -> Iterator[Figure]:
    """Draw how a block fills its tile, waits, computes and writes, step by step.

    Parameters
    ----------
    recording : convlib.notebook.simulator.Recording
        Of one block's kernel with an image "x" as large as its tile, "shared 0", and "y".
    side : int
        Pixels of the tile's side.
    block : int
        Outputs of the block's side.
    """
    fetched, taken = recording.accesses("x"), recording.accesses("shared 0")
    filled, written = recording.accesses("shared 0", writes=True), recording.accesses("y", True)
    shapes = (side, side), (side, side), (block, block)

    def by_place(accesses, chosen):
        pairs = zip(accesses.element[chosen], accesses.thread[chosen], strict=True)
        return {int(element): f"{thread}" for element, thread in pairs}

    def drawn(title, colours, labels):
        fig, axes = figure(7.2, 3.0, 1, 3, width_ratios=(side, side, block))
        names = "image, in global memory", "tile, in shared memory", "outputs"
        for k, (panel, (rows, columns)) in enumerate(zip(axes, shapes, strict=True)):
            _cells(panel, rows, columns)
            panel.set_title(names[k], fontsize=9)
            for place in range(rows * columns):
                colour = colours[k].get(place, PALE)
                ink = "white" if colour in (BLUE, ORANGE) else INK
                text = labels[k].get(place, "")
                _cell(panel, place // columns, place % columns, colour, text, 7.5, ink)
        fig.suptitle(title, x=0.01, ha="left", fontsize=10)
        return fig

    full = {}
    for step in range(fetched.step.max() + 1):
        now, there = fetched.step == step, filled.step == step
        threads, held = by_place(fetched, now), by_place(filled, there)
        title = f"Fetch {step + 1}: {now.sum()} threads bring a pixel each (their numbers)"
        read = dict.fromkeys(threads, BLUE)
        yield drawn(title, (read, full | dict.fromkeys(held, BLUE), {}), (threads, held, {}))
        full |= dict.fromkeys(held, SHADES[1])
    yield drawn("Barrier: nobody goes on until the tile is full", ({}, full, {}), ({}, {}, {}))
    for step in range(taken.step.max() + 1):
        now = taken.step == step
        one = int(taken.element[now & (taken.thread == 0)][0])
        tile = full | dict.fromkeys(map(int, taken.element[now]), BLUE) | {one: ORANGE}
        sums = dict.fromkeys(range(block * block), SHADES[0]) | {0: ORANGE}
        counts = dict.fromkeys(range(block * block), f"{step + 1}")
        title = f"Term {step + 1}: every thread reads one number of the tile (thread 0 in orange)"
        yield drawn(title, ({}, tile, sums), ({}, {}, counts))
    done = dict.fromkeys(map(int, written.element), BLUE)
    title = f"Store: {len(done)} threads write a sum each"
    yield drawn(title, ({}, full, done), ({}, {}, {}))


def ladder(rungs: dict[str, tuple[float, ...]], columns: tuple[str, ...]) -> Figure:
    """Draw what each way of computing costs, a column of bars for each kind of cost.

    Parameters
    ----------
    rungs : dict of str to tuple of float
        Costs by the name of the rung, the first on top.
    columns : tuple of str
        What the costs are.
    """
    fig, axes = figure(7.2, 0.42 * len(rungs) + 0.85, 1, len(columns), sharey=True)
    places = np.arange(len(rungs))
    for k, (panel, title) in enumerate(zip(axes, columns, strict=True)):
        values = np.array([costs[k] for costs in rungs.values()], np.float64)
        panel.barh(places, values, color=BLUE, height=0.62)
        for place, value in zip(places, values, strict=True):
            text = f"{value:,.0f}" if value == int(value) else f"{value:.1f}"
            panel.text(value + 0.02 * values.max(), place, text, va="center", fontsize=8.5)
        panel.set(xlim=(0, 1.36 * values.max()), xticks=[], yticks=places)
        panel.set_yticklabels(rungs)
        panel.set_title(title, fontsize=9)
        panel.spines["bottom"].set_visible(False)
        panel.tick_params(length=0)
    axes[0].invert_yaxis()
    return fig


def halo(
    counts: np.ndarray, block: int, sides: np.ndarray, measured: dict[int, float], window: int = 3
) -> Figure:
    """Draw how often each pixel is read with blocks of one size, and reads per output with all.

    Parameters
    ----------
    counts : numpy.ndarray
        Reads of each pixel.
    block : int
        The side of a block.
    sides : numpy.ndarray
        Sides for which the formula is drawn.
    measured : dict of int to float
        Counted reads per output by side.
    window : int
        Side of the kernel's window.
    """
    fig, axes = figure(7.2, 3.1, 1, 2, width_ratios=(1, 1.25))
    _draw_counts(axes[0], np.asarray(counts, np.float64), 9, 6.5)
    _frame(axes[0], (0, 0, block + window - 1, block + window - 1))
    axes[0].set_title(f"reads of each pixel, blocks of {block}×{block}", fontsize=9)
    axes[1].plot(sides, ((sides + window - 1) / sides) ** 2, color=GREY, lw=1.2)
    axes[1].plot(list(measured), list(measured.values()), "o", color=BLUE, ms=5)
    axes[1].plot(block, measured[block], "o", color=ORANGE, ms=8)
    axes[1].annotate(
        f"{measured[block]:.2f}", (block, measured[block]), (7, 6), textcoords="offset points",
        color=ORANGE, fontsize=10,
    )  # fmt: skip
    axes[1].axhline(window**2, color=GREY, lw=0.8, ls=(0, (4, 3)))
    axes[1].text(sides[-1], window**2 - 0.15, "no tile", color="#666666", ha="right", va="top")
    axes[1].text(2.4, 4.3, "(b + 2)² / b², dots counted", color=BLUE)
    axes[1].set(xlabel="side b of a block", ylim=(0, window**2 + 1), xticks=list(measured))
    axes[1].set_title("pixels read per output", fontsize=9)
    return fig


def order_spread(units: np.ndarray, fixed: int) -> Figure:
    """Draw how often random orders of a sum end in each result.

    Parameters
    ----------
    units : numpy.ndarray of int
        Results, in units of the last binary place, from some origin.
    fixed : int
        The result of the fixed order, counted alike.
    """
    fig, axes = figure(7.2, 2.3)
    values, counts = np.unique(units, return_counts=True)
    axes.bar(values, counts, color=ORANGE, width=0.8)
    axes.axvline(fixed, color=BLUE, lw=1.6)
    top = counts.max()
    axes.text(fixed, 1.12 * top, "the fixed order, every time ", color=BLUE, ha="right", va="top")
    axes.text(values[-1], 0.62 * top, "orders of arrival", color=ORANGE, ha="right")
    axes.set(ylim=(0, 1.15 * top), ylabel="orders")
    axes.set_xlabel("the sum, in units of its last binary place, from the exact one")
    return fig
