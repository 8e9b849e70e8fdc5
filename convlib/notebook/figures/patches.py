"""Figures of a convolution as products of patches: which numbers go into one output, and where."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convlib.notebook.figures.digits import INK, picture
from convlib.notebook.figures.image_kernels import frame, number, table
from convlib.notebook.style import BLUE, GREY, ORANGE, SIGNED, figure


class _Sheet:
    """A figure on which axes are placed in inches from the upper left corner."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.fig = figure(width, height)[0]
        self.fig.clear()
        self.fig.set_layout_engine("none")

    def axes(self, left: float, upper: float, across: float, high: float) -> Axes:
        return self.fig.add_axes(
            (
                left / self.width,
                1 - (upper + high) / self.height,
                across / self.width,
                high / self.height,
            )
        )

    def text(self, left: float, upper: float, text: str, **options: object) -> None:
        options = {"ha": "center", "va": "center", "fontsize": 8.5, "color": "#222222"} | options
        self.fig.text(left / self.width, 1 - upper / self.height, text, **options)


def _results(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the correlation of small arrays, place by place."""
    k, m = w.shape[:2]
    rows, columns = x.shape[0] - k + 1, x.shape[1] - m + 1
    return np.array(
        [[np.tensordot(x[i : i + k, j : j + m], w, 3) for j in range(columns)] for i in range(rows)]
    )


def patch_frame(x: np.ndarray, w: np.ndarray, row: int, column: int) -> Figure:
    """Draw one step of a convolution: a patch, its products with all filters, a cell of the output.

    Parameters
    ----------
    x : numpy.ndarray, shape (height, width, channels)
        A small input.
    w : numpy.ndarray, shape (k, l, channels, filters)
        The kernel.
    row, column : int
        The upper left pixel of the patch; the output is filled in up to this place, row by row.
    """
    k, m, channels, filters = w.shape
    y = _results(x, w)
    rows, columns = y.shape[:2]
    is_done = np.arange(rows * columns).reshape(rows, columns) <= row * columns + column
    patch = x[row : row + k, column : column + m].reshape(-1, 1)
    matrix = w.reshape(-1, filters)
    unit, high, wide, cell = 0.27, 0.158, 0.42, 0.26
    length = len(patch)
    top = 0.42
    sheet = _Sheet(7.2, top + length * high + 0.62)
    middle = top + length * high / 2
    limits = {"values": 1.6 * np.abs(w).max(), "results": 2.2 * np.abs(y).max()}

    left, side = 0.1, x.shape[1] * unit
    gap = 0.3
    stack = channels * x.shape[0] * unit + (channels - 1) * gap
    for c in range(channels):
        upper = middle - stack / 2 + c * (x.shape[0] * unit + gap) + 0.08
        axes = sheet.axes(left, upper, side, x.shape[0] * unit)
        table(axes, x[..., c], INK, limit=2.2 * x.max(), size=7.5)
        axes.set_title(f"channel {c}", loc="center", fontsize=7.5, pad=4, color=GREY)
        frame(axes, row, column, k, m, BLUE)
    sheet.text(left + side / 2, 0.14, f"input {x.shape[0]}×{x.shape[1]}×{channels}")

    left += side + 0.84
    sheet.text(left - 0.42, middle, "→", fontsize=14)
    axes = sheet.axes(left, top, wide, length * high)
    table(axes, patch, INK, limit=2.2 * x.max(), size=7)
    axes.set_aspect("auto")
    for end in range(channels, length, channels):  # the channels of a pixel belong together
        axes.axhline(end - 0.5, color=BLUE, linewidth=0.7)
    frame(axes, 0, 0, length, 1, BLUE)
    sheet.text(left + wide / 2, 0.14, f"patch: {length}")
    sheet.text(left + wide / 2, 0.29, "numbers", fontsize=8.5)

    left += wide + 0.6
    sheet.text(left - 0.3, middle, "×", fontsize=14)
    across = filters * wide
    axes = sheet.axes(left, top, across, length * high)
    table(axes, matrix, limit=limits["values"], size=7)
    axes.set_aspect("auto")
    for place in np.flatnonzero(patch == 0):  # what meets a zero adds nothing
        axes.axhspan(place - 0.5, place + 0.5, color="white", alpha=0.75, linewidth=0, zorder=4)
    sheet.text(left + across / 2, 0.14, f"weights {length}×{filters},")
    sheet.text(left + across / 2, 0.29, "one column a filter")
    sums = sheet.axes(left, top + length * high + 0.22, across, 0.26)
    table(sums, y[row, column][None], limit=limits["results"], size=9)
    sums.set_aspect("auto")
    frame(sums, 0, 0, 1, filters, ORANGE)
    sheet.text(left + across / 2, top + length * high + 0.1, "↓  sum of products", fontsize=8)
    sheet.text(
        left - 0.08,
        top + length * high + 0.35,
        f"vector of shape ({filters},)",
        ha="right",
        color=ORANGE,
    )

    left += across + 1.15
    side, gap = columns * cell, 0.24
    stack = filters * rows * cell + (filters - 1) * gap
    for o in range(filters):
        upper = middle - stack / 2 + o * (rows * cell + gap) + 0.06
        axes = sheet.axes(left, upper, side, rows * cell)
        table(axes, np.where(is_done, y[..., o], np.nan), limit=limits["results"], size=8.5)
        axes.set_title(f"channel {o}", loc="center", fontsize=7.5, pad=4, color=GREY)
        frame(axes, row, column, 1, 1, ORANGE)
    sheet.text(left + side / 2, 0.14, f"output {rows}×{columns}×{filters}")
    sheet.text(
        left - 1.0,
        top + length * high + 0.35,
        f"→  placed at ({row}, {column}) of every channel",
        ha="left",
        color=ORANGE,
    )
    return sheet.fig


def one_output_pixel(
    image: np.ndarray, kernels: dict[str, np.ndarray], row: int, column: int
) -> Figure:
    """Draw the patch of a digit that one place of the output sees, and what kernels say to it.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        A digit from 0, paper, to 1, ink.
    kernels : dict of str to numpy.ndarray, shape (k, l)
        By name.
    row, column : int
        The place in the output, which is the upper left pixel of the patch.
    """
    w = np.stack(list(kernels.values()), -1)[:, :, None]
    y = _results(image[..., None], w)
    k, m = w.shape[:2]
    sheet = _Sheet(7.2, 2.5)
    axes = sheet.axes(0.1, 0.42, 1.75, 1.75)
    picture(axes, image, vmin=0, vmax=1)
    frame(axes, row, column, k, m, BLUE)
    sheet.text(0.98, 0.2, f"image {image.shape[0]}×{image.shape[1]}")
    sheet.text(2.05, 1.3, "→", fontsize=14)
    axes = sheet.axes(2.25, 0.85, 0.9, 0.9)
    patch = image[row : row + k, column : column + m]
    table(axes, patch, INK, limit=1.5, size=7)
    for text, value in zip(axes.texts, patch.ravel(), strict=True):
        text.set_color("white" if value > 0.7 else "#222222")
    frame(axes, 0, 0, k, m, BLUE)
    sheet.text(2.7, 0.65, f"patch at ({row}, {column})")
    left, width = 3.46, 0.9
    sheet.text(left - 0.18, 1.3, "→", fontsize=14)
    for o, (name, kernel) in enumerate(kernels.items()):
        upper = sheet.axes(left + 0.19, 0.32, 0.54, 0.54)
        table(upper, kernel, size=5.5)
        sheet.text(left + width / 2, 0.18, name)
        sheet.text(
            left + width / 2,
            1.04,
            number(y[row, column, o]),
            fontsize=11,
            color=ORANGE,
            fontweight="bold",
        )
        lower = sheet.axes(left, 1.22, width, width)
        limit = np.abs(y[..., o]).max()
        shown = np.where(np.abs(y[..., o]) < 1e-9, np.nan, y[..., o])  # zero is white
        picture(lower, shown, SIGNED, vmin=-limit, vmax=limit)
        frame(lower, row, column, 1, 1, ORANGE)
        left += width + 0.02
    sheet.text(
        5.4,
        2.32,
        f"output {y.shape[0]}×{y.shape[1]}×{y.shape[2]}: each number in its channel, at its place",
        fontsize=8,
    )
    return sheet.fig


def share_strips(groups: dict[str, np.ndarray], marked: dict[str, float]) -> Figure:
    """Draw shares between 0 and 1 as dots, one row for each group, with the mean of each.

    Parameters
    ----------
    groups : dict of str to numpy.ndarray, shape (n,)
        Shares by group.
    marked : dict of str to float
        Single shares by name, drawn in a row of their own above the groups.
    """
    fig, axes = figure(7.2, 0.62 * len(groups) + 1.15)
    for name, share in marked.items():
        axes.plot(share, 0, "o", color=ORANGE, markersize=7)
        axes.text(share, -0.26, name, ha="center", va="bottom", color=ORANGE)
    for row, shares in enumerate(groups.values(), start=1):
        heights = row + 0.3 * ((np.arange(len(shares)) * 0.618) % 1 - 0.5)  # spread, not random
        axes.plot(shares, heights, "o", color=GREY, markersize=3, alpha=0.5)
        mean = float(np.mean(shares))
        axes.plot([mean, mean], [row - 0.3, row + 0.3], color=BLUE, linewidth=2.5)
        axes.text(mean, row - 0.32, f"mean {mean:.2f}", ha="center", va="bottom", color=BLUE)
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(len(groups) + 0.5, -0.75),
        yticks=range(len(groups) + 1),
        yticklabels=["known kernels,\non digits", *groups],
        xlabel="share of the output that the middle pixel explains",
    )
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return fig
