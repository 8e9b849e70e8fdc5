"""Figures of small kernels on grey images: their numbers, where they lie, what they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib.notebook.display import PIXELS_PER_INCH
from convlib.notebook.figures.digits import picture
from convlib.notebook.style import BLUE, GREY, ORANGE, SIGNED, figure

_PALE = 2.2
"""The colours of a table end at so many times its largest number: dark digits stay readable."""


def number(value: float) -> str:
    """Return a number as one writes it into a small table: no zeros behind the point, a real −."""
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".").replace("-", "−")


def table(
    axes: Axes,
    values: np.ndarray,
    colours: str = SIGNED,
    limit: float | None = None,
    size: float = 8,
) -> None:
    """Draw a two-dimensional array as coloured squares with its numbers; NaN stays empty.

    Zeros are white, but in shades of grey, where the largest number is.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    values : numpy.ndarray, shape (rows, columns)
        The numbers.
    colours : str
        Colour map; a signed one is centred on zero, and 'gray' begins at a middle shade.
    limit : float, optional
        The number at which the colours end; by default somewhat above the largest.
    size : float, default 8
        Of the digits, in points.
    """
    values = np.asarray(values, float)
    largest = max(np.nanmax(np.abs(values), initial=0), 1e-12)
    if colours == "gray":
        axes.imshow(values, cmap=colours, vmin=-1.6 * largest, vmax=largest)
    else:
        limit = limit or _PALE * largest
        lowest = -limit if colours == SIGNED else 0
        axes.imshow(np.where(values == 0, np.nan, values), cmap=colours, vmin=lowest, vmax=limit)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="#CCCCCC")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(
                *(column, row, number(value)),
                ha="center",
                va="center",
                fontsize=size,
                color="#222222",
            )
    for k in range(1, values.shape[0]):
        axes.axhline(k - 0.5, color="#E4E4E4", linewidth=0.7)
    for k in range(1, values.shape[1]):
        axes.axvline(k - 0.5, color="#E4E4E4", linewidth=0.7)


def frame(axes: Axes, row: int, column: int, height: int, width: int, colour: str) -> None:
    """Draw a frame around some squares of a table or pixels of a picture."""
    axes.add_patch(
        Rectangle(
            (column - 0.5, row - 0.5),
            width,
            height,
            fill=False,
            edgecolor=colour,
            linewidth=2.2,
            clip_on=False,
            zorder=3,
        )
    )


def sliding_frame(image: np.ndarray, kernel: np.ndarray, row: int, column: int) -> Figure:
    """Draw one step of a kernel's way over an image: the window, the products and their sum.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        A small image; 0 is dark.
    kernel : numpy.ndarray, shape (k, l)
        The kernel, laid on the image as it is.
    row, column : int
        The upper left pixel of the window; results up to this place, row by row, are filled in.
    """
    height, width = np.shape(kernel)
    rows, columns = image.shape[0] - height + 1, image.shape[1] - width + 1
    result = np.array(
        [
            [(image[i : i + height, j : j + width] * kernel).sum() for j in range(columns)]
            for i in range(rows)
        ]
    )
    limit = _PALE * np.abs(result).max()
    shown = np.where(
        np.arange(rows * columns).reshape(rows, columns) <= row * columns + column, result, np.nan
    )
    products = image[row : row + height, column : column + width] * kernel
    unit, gap, top = 0.285, 0.42, 0.3
    wide = [image.shape[1], width, width, columns]
    total = sum(wide) * unit + 3 * gap + 0.1
    tall = image.shape[0] * unit + top + 0.3
    fig = figure(total, tall)[0]
    fig.clear()
    fig.set_layout_engine("none")
    left, middle = 0.05, 0.26 + image.shape[0] * unit / 2
    parts = (
        ("image", image, {"colours": "gray"}, ""),
        ("kernel", kernel, {}, "×"),
        ("products", products, {}, "="),
        ("result", shown, {"limit": limit}, "→"),
    )
    panels = []
    for title, values, options, sign in parts:
        high, across = np.shape(values)
        if sign:
            fig.text(
                *((left - gap / 2) / total, middle / tall, sign),
                ha="center",
                va="center",
                fontsize=13,
            )
        axes = fig.add_axes(
            (
                left / total,
                (middle - high * unit / 2) / tall,
                across * unit / total,
                high * unit / tall,
            )
        )
        table(axes, values, **options)
        axes.set_title(title, loc="center", fontsize=9, pad=4)
        panels.append(axes)
        left += across * unit + gap
    frame(panels[0], row, column, height, width, BLUE)
    frame(panels[3], row, column, 1, 1, BLUE)
    panels[2].set_xlabel(f"sum {number(products.sum())}", fontsize=9, color=BLUE, labelpad=4)
    return fig


def filtered_gallery(
    kernels: dict[str, tuple[np.ndarray, float]],
    results: dict[str, np.ndarray],
    signed: Sequence[str] = (),
) -> Figure:
    """Draw what kernels make of one photograph, each beside its numbers, in two columns.

    A pixel of a result is a pixel of the picture as long as it is at most 300 pixels wide.

    Parameters
    ----------
    kernels : dict of str to (numpy.ndarray, float)
        By name, the kernel in whole numbers and what to divide them by.
    results : dict of str to numpy.ndarray, shape (height, width)
        By the same names; grey from 0, black, to 1, white.
    signed : sequence of str
        Names of the results that are around zero: red is positive, blue negative.
    """
    height, width = next(iter(results.values())).shape
    rows = -(-len(results) // 2)
    wide, tall = 864, rows * (height + 32) + 4
    fig = figure(wide / PIXELS_PER_INCH, tall / PIXELS_PER_INCH)[0]
    fig.clear()
    fig.set_layout_engine("none")

    def axes_at(left: int, upper: int, across: int, high: int) -> Axes:
        return fig.add_axes((left / wide, 1 - (upper + high) / tall, across / wide, high / tall))

    for position, (name, result) in enumerate(results.items()):
        row, column = divmod(position, 2)
        left, upper = 8 + column * 434, 28 + row * (height + 32)
        kernel, divisor = kernels[name]
        side = 112
        grid = axes_at(left, upper + (height - side) // 2, side, side)
        table(grid, kernel, size=9 if len(kernel) == 3 else 6.5)
        if divisor != 1:
            grid.set_xlabel(f"÷ {number(divisor)}", fontsize=8.5, labelpad=3)
        panel = axes_at(left + side + 6, upper, width, height)
        if name in signed:
            limit = np.quantile(np.abs(result), 0.995)
            picture(panel, result, SIGNED, vmin=-limit, vmax=limit)
        else:
            picture(panel, result, "gray", vmin=0, vmax=1)
        panel.set_title(name, loc="left", fontsize=9.5, pad=4)
    return fig


def before_and_after(
    image: np.ndarray, result: np.ndarray, titles: tuple[str, str], is_signed: bool = False
) -> Figure:
    """Draw a photograph and what was made of it, side by side.

    Parameters
    ----------
    image, result : numpy.ndarray, shape (height, width)
        Grey from 0, black, to 1, white.
    titles : tuple of str
        One for each.
    is_signed : bool, default False
        Whether the result is around zero: red is positive, blue negative.
    """
    fig, (left, right) = figure(7.2, 7.2 / 2 * image.shape[0] / image.shape[1] + 0.3, 1, 2)
    picture(left, image, "gray", vmin=0, vmax=1)
    if is_signed:
        limit = max(np.quantile(np.abs(result), 0.995), 1e-12)
        picture(right, result, SIGNED, vmin=-limit, vmax=limit)
    else:
        picture(right, result, "gray", vmin=0, vmax=1)
    for panel, title in zip((left, right), titles, strict=True):
        panel.set_title(title, loc="left")
    return fig


def flip_picture(point: np.ndarray, kernel: np.ndarray, results: dict[str, np.ndarray]) -> Figure:
    """Draw a single point, a kernel, and what two ways of sliding it make of the point.

    Parameters
    ----------
    point : numpy.ndarray, shape (height, width)
        The image.
    kernel : numpy.ndarray, shape (k, l)
        The kernel.
    results : dict of str to numpy.ndarray, shape (height, width)
        By name; a result that shows the kernel as it is is framed blue, one that turns it orange.
    """
    panels = {"the image: one point": point, "the kernel": kernel, **results}
    fig, axes = figure(7.2, 2.3, 1, len(panels))
    for place, (panel, (title, values)) in enumerate(zip(axes, panels.items(), strict=True)):
        shown = values
        if title == "the kernel":  # at the scale of the images
            space = [(a - b) // 2 for a, b in zip(point.shape, kernel.shape, strict=True)]
            shown = np.full(point.shape, np.nan)
            shown[space[0] : space[0] + kernel.shape[0], space[1] : space[1] + kernel.shape[1]] = (
                kernel
            )
        picture(panel, shown, "Greys", vmin=0, vmax=1.15)
        for k in range(1, shown.shape[0]):
            panel.axhline(k - 0.5, color="#DDDDDD", linewidth=0.5)
            panel.axvline(k - 0.5, color="#DDDDDD", linewidth=0.5)
        panel.set_title(title, loc="center", fontsize=9)
        if title == "the kernel":
            for spine in panel.spines.values():
                spine.set_visible(False)
            frame(panel, *space, *kernel.shape, GREY)
        if place >= 2:
            corner = np.argwhere(values).min(0)
            inside = tuple(
                slice(first, first + size) for first, size in zip(corner, kernel.shape, strict=True)
            )
            is_upright = np.array_equal(values[inside], kernel)
            colour = BLUE if is_upright else ORANGE
            frame(panel, *corner, *kernel.shape, colour)
            word = "as it is" if is_upright else "turned by 180°"
            panel.set_xlabel(word, fontsize=9, color=colour)
    return fig


def learned_kernels(given: np.ndarray, learned: dict[str, np.ndarray]) -> Figure:
    """Draw a kernel beside those that layers learned.

    Parameters
    ----------
    given : numpy.ndarray, shape (k, l)
        The kernel that made the examples.
    learned : dict of str to numpy.ndarray, shape (k, l)
        What was learned, by how the examples were made.
    """
    panels = {"the kernel": given, **learned}
    fig, axes = figure(6.2, 2.4, 1, len(panels))
    limit = _PALE * np.abs(given).max()
    for panel, (title, values) in zip(axes, panels.items(), strict=True):
        table(panel, np.round(values, 2), limit=limit, size=11)
        panel.set_title(title, loc="center", fontsize=9)
    return fig


def difference_bars(differences: dict[str, float]) -> Figure:
    """Draw, kernel by kernel, how far correlation and convolution are apart; zeros are named.

    Parameters
    ----------
    differences : dict of str to float
        The largest absolute difference by the kernel's name.
    """
    fig, axes = figure(6.2, 0.28 * len(differences) + 0.25)
    names, values = list(differences), np.array(list(differences.values()))
    axes.barh(names, values, color=BLUE, height=0.65)
    for row, value in enumerate(values):
        text, colour = (f"{value:.1f}", BLUE) if value else ("0, exactly", GREY)
        axes.text(value + 0.01 * values.max(), row, f" {text}", va="center", color=colour)
    axes.set(xlim=(0, 1.12 * values.max()), xticks=[])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    return fig
