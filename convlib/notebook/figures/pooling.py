"""Figures of pooling: windows and their winners, what no window reaches, an ablation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib.notebook.figures.digits import picture
from convlib.notebook.style import BLUE, GREY, ORANGE, POSITIVE, figure

_LIGHT_BLUE = "#CFE3F1"
_LIGHT_ORANGE = "#F7DCC9"
_CELL = 0.36


def _paint_none(_row: int, _column: int) -> tuple[str, str]:
    return "white", "#222222"


def number_grid(
    axes: Axes,
    values: np.ndarray,
    title: str = "",
    paint: Callable[[int, int], tuple[str, str]] = _paint_none,
    written: Callable[[float], str] = "{:g}".format,
) -> None:
    """Draw a table of numbers as squares.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    values : numpy.ndarray, shape (height, width)
        The numbers; NaN leaves a square empty.
    title : str
        Goes above.
    paint : callable
        Takes row and column; returns the colours of the square and of the number.
    written : callable
        Turns a number into text.
    """
    height, width = values.shape
    for row in range(height):
        for column in range(width):
            ground, ink = paint(row, column)
            axes.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5),
                    1,
                    1,
                    facecolor=ground,
                    edgecolor="#BBBBBB",
                    linewidth=0.7,
                )
            )
            if not np.isnan(values[row, column]):
                axes.text(
                    column,
                    row + 0.03,
                    written(values[row, column]),
                    ha="center",
                    va="center",
                    color=ink,
                    fontsize=9,
                )
    axes.set(xlim=(-0.6, width - 0.4), ylim=(height - 0.4, -0.6), xticks=[], yticks=[])
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, loc="center", fontsize=8.5, pad=4)


def _frame(axes: Axes, row: int, column: int, size: int, colour: str = BLUE) -> None:
    axes.add_patch(
        Rectangle(
            (column - 0.5, row - 0.5),
            size,
            size,
            fill=False,
            edgecolor=colour,
            linewidth=2.2,
            zorder=3,
        )
    )


def winner_of(values: np.ndarray, row: int, column: int, size: int) -> tuple[int, int]:
    """Return row and column of the first largest value in a window of a map."""
    window = values[row : row + size, column : column + size]
    place = int(window.argmax())
    return row + place // window.shape[1], column + place % window.shape[1]


def pooling_step(
    values: np.ndarray, pooled: np.ndarray, step: int, pool_size: int = 2, stride: int = 2
) -> Figure:
    """Draw a map under its pooling windows beside what has been pooled so far.

    Parameters
    ----------
    values : numpy.ndarray, shape (height, width)
        The map.
    pooled : numpy.ndarray
        What pooling makes of it.
    step : int
        Number of the window that is looked at, row by row. After the last one comes a picture
        of all winners, and of what no window covers.
    pool_size, stride : int, default 2
        Of the windows.
    """
    height, width = pooled.shape
    windows = [(i * stride, j * stride) for i in range(height) for j in range(width)]
    over = step >= len(windows)
    seen = windows[: step + 1]
    winners = {winner_of(values, *corner, pool_size) for corner in seen}
    covered = np.zeros(values.shape, bool)
    for row, column in windows:
        covered[row : row + pool_size, column : column + pool_size] = True

    def paint(row: int, column: int) -> tuple[str, str]:
        if (row, column) in winners:
            return BLUE, "white"
        if over and not covered[row, column]:
            return _LIGHT_ORANGE, ORANGE
        return "white", "#222222" if covered[row, column] or not over else GREY

    def paint_pooled(row: int, column: int) -> tuple[str, str]:
        if row * width + column == step:
            return BLUE, "white"
        return (_LIGHT_BLUE if row * width + column < step else "white"), "#222222"

    shown = np.where(np.arange(pooled.size).reshape(pooled.shape) <= step, pooled, np.nan)
    fig, (left, right) = figure(
        (values.shape[1] + width + 2) * _CELL,
        values.shape[0] * _CELL + 0.35,
        1,
        2,
        width_ratios=(values.shape[1], width),
    )
    number_grid(left, values, f"{values.shape[0]}×{values.shape[1]} map", paint)
    for row, column in windows if over else seen[-1:]:
        _frame(left, row, column, pool_size)
    number_grid(right, shown, f"{height}×{width} pooled", paint_pooled)
    return fig


def pooled_maps(image: np.ndarray, response: np.ndarray, pooled: dict[str, np.ndarray]) -> Figure:
    """Draw an image, a filter's response to it, and what poolings make of the response.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        The input.
    response : numpy.ndarray, shape (height, width)
        One channel; its largest value sets the scale of all.
    pooled : dict of str to numpy.ndarray
        Pooled maps by the name of the pooling.
    """
    fig, axes = figure(7.2, 7.2 / (2 + len(pooled)) + 0.25, 1, 2 + len(pooled))
    picture(axes[0], image, title=f"image, {image.shape[0]}×{image.shape[1]}")
    panels = {"response": response, **pooled}
    for panel, (name, values) in zip(axes[1:], panels.items(), strict=True):
        title = f"{name}, {values.shape[0]}×{values.shape[1]}"
        picture(panel, values, POSITIVE, title=title, vmin=0, vmax=response.max())
    return fig


def dropped_strip(
    image: np.ndarray, map_size: int, pool_size: int, seen: int, map_name: str
) -> Figure:
    """Draw the places of a map that no pooling window covers, and the strip of image they cost.

    Parameters
    ----------
    image : numpy.ndarray, shape (side, side)
        What the network reads.
    map_size : int
        Side of the map.
    pool_size : int
        Side of the windows, which touch.
    seen : int
        How many rows and columns of the image, from the first on, reach what is kept.
    map_name : str
        What to call the map.
    """
    windows = map_size // pool_size
    fig, (left, right) = figure(6.4, 3.35, 1, 2)
    last = windows * pool_size

    def paint(row: int, column: int) -> tuple[str, str]:
        return (_LIGHT_ORANGE if max(row, column) >= last else "white"), GREY

    number_grid(left, np.full((map_size, map_size), np.nan), paint=paint)
    for row in range(0, last, pool_size):
        for column in range(0, last, pool_size):
            _frame(left, row, column, pool_size)
    lost = map_size**2 - last**2
    left.set_title(
        f"{map_name}: {lost} of {map_size**2} places\nlie in no window",
        loc="center",
        fontsize=8.5,
    )
    picture(right, image)
    side = image.shape[0]
    for corner, width, height in (
        ((seen - 0.5, -0.5), side - seen, side),
        ((-0.5, seen - 0.5), seen, side - seen),
    ):
        right.add_patch(
            Rectangle(corner, width, height, facecolor=ORANGE, alpha=0.45, edgecolor="none")
        )
    right.set_title(
        f"image: {side**2 - seen**2} of {side**2} pixels\nhave no say", loc="center", fontsize=8.5
    )
    return fig


def gradient_routes(
    values: np.ndarray, dy: np.ndarray, gradients: dict[str, np.ndarray], pool_size: int = 2
) -> Figure:
    """Draw a map, the gradient of its pooled version, and what comes back for each pooling.

    Parameters
    ----------
    values : numpy.ndarray, shape (height, width)
        What was pooled, by windows that touch.
    dy : numpy.ndarray
        The gradient that arrives from above.
    gradients : dict of str to numpy.ndarray, shape (height, width)
        What goes on to the map, by the name of the pooling.
    pool_size : int, default 2
        Side of the windows.
    """
    height, width = values.shape
    corners = [
        (row, column)
        for row in range(0, height - pool_size + 1, pool_size)
        for column in range(0, width - pool_size + 1, pool_size)
    ]
    winners = {winner_of(values, *corner, pool_size) for corner in corners}
    fig, axes = figure(
        7.2,
        1.95,
        1,
        2 + len(gradients),
        width_ratios=(width, dy.shape[1], *[width] * len(gradients)),
    )

    def paint_winners(row: int, column: int) -> tuple[str, str]:
        return (BLUE, "white") if (row, column) in winners else ("white", "#222222")

    number_grid(axes[0], values, "the map and its winners", paint_winners)
    number_grid(axes[1], dy, "gradient\nfrom above", lambda _r, _c: (_LIGHT_BLUE, "#222222"))
    for panel, (name, gradient) in zip(axes[2:], gradients.items(), strict=True):

        def paint(row: int, column: int, gradient: np.ndarray = gradient) -> tuple[str, str]:
            return (_LIGHT_BLUE, "#222222") if gradient[row, column] else ("white", GREY)

        number_grid(panel, gradient, name, paint)
    for panel in (axes[0], *axes[2:]):
        for corner in corners:
            _frame(panel, *corner, pool_size)
    return fig


def ablation(results: dict[str, np.ndarray], tests: tuple[str, ...]) -> Figure:
    """Draw the accuracy of every run of several networks, one panel for each test set.

    Parameters
    ----------
    results : dict of str to numpy.ndarray, shape (runs, tests)
        Accuracies from 0 to 1 by the name of the network; the best mean of a panel is blue.
    tests : tuple of str
        Names of the test sets.
    """
    names = list(results)
    fig, axes = figure(7.2, 0.42 * len(names) + 0.75, 1, len(tests), sharey=True, squeeze=False)
    for column, (panel, test) in enumerate(zip(axes[0], tests, strict=True)):
        means = [100 * results[name][:, column].mean() for name in names]
        for row, name in enumerate(names):
            values = 100 * results[name][:, column]
            colour = BLUE if means[row] == max(means) else "#555555"
            panel.plot(values, np.full(len(values), row), "o", color=colour, alpha=0.5, ms=5)
            panel.plot([means[row]] * 2, [row - 0.28, row + 0.28], color=colour, linewidth=2.2)
            panel.text(
                means[row],
                row - 0.34,
                f"{means[row]:.1f}",
                ha="center",
                va="bottom",
                fontsize=8,
                color=colour,
            )
        panel.set_title(f"{test}, % read correctly", fontsize=9)
        panel.set(yticks=range(len(names)), ylim=(len(names) - 0.5, -0.75))
        panel.set_yticklabels(names)
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        panel.grid(axis="x", color="#EEEEEE")
        panel.set_axisbelow(True)
    return fig
