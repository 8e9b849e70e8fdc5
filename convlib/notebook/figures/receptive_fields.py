"""Figures of receptive fields: what feeds a unit, how strongly, and what excites it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from convlib.notebook.figures.digits import INK, picture
from convlib.notebook.style import BLUE, GREY, ORANGE, POSITIVE, SIGNED, figure

_LIGHT_BLUE = "#CFE3F1"


def _frame(axes: Axes, corner: tuple[int, int], size: int, colour: str = BLUE, width: float = 2):
    row, column = corner
    axes.add_patch(
        Rectangle(
            (column - 0.5, row - 0.5),
            size,
            size,
            fill=False,
            edgecolor=colour,
            linewidth=width,
            zorder=3,
        )
    )


def cross_section(
    size: int, steps: Sequence[tuple[int, int]], names: Sequence[str], unit: int
) -> Figure:
    """Draw one row through a network: which units of each layer feed one unit of the last.

    Parameters
    ----------
    size : int
        Pixels in a row of the image.
    steps : sequence of (kernel_size, stride)
        The layers, without padding.
    names : sequence of str
        What to call the image and each layer.
    unit : int
        Which unit of the last layer.
    """
    sizes, jump, centre = [size], 1, 0.0
    jumps, centres = [jump], [centre]
    for kernel_size, stride in steps:
        sizes.append((sizes[-1] - kernel_size) // stride + 1)
        centre += (kernel_size - 1) / 2 * jump
        jump *= stride
        jumps.append(jump)
        centres.append(centre)
    fed = [(unit, unit)]
    for kernel_size, stride in reversed(steps):
        first, last = fed[0]
        fed.insert(0, (first * stride, last * stride + kernel_size - 1))
    fig, axes = figure(7.2, 0.56 * len(sizes) + 0.25)
    half = 0.42
    for level, (first, last) in enumerate(fed):
        place = np.arange(sizes[level]) * jumps[level] + centres[level]
        if level:
            low, high = fed[level - 1]
            under = [centres[level - 1] + jumps[level - 1] * k for k in (low, high)]
            corners = [
                (place[first] - half, level - 0.2),
                (place[last] + half, level - 0.2),
                (under[1] + half, level - 0.8),
                (under[0] - half, level - 0.8),
            ]
            axes.add_patch(Polygon(corners, facecolor=_LIGHT_BLUE, alpha=0.6, edgecolor="none"))
        for k, x in enumerate(place):
            axes.add_patch(
                Rectangle(
                    (x - half, level - 0.2),
                    2 * half,
                    0.4,
                    facecolor=BLUE if first <= k <= last else "white",
                    edgecolor=BLUE if first <= k <= last else "#AAAAAA",
                    linewidth=0.8,
                )
            )
        axes.text(-1.3, level, names[level], ha="right", va="center", fontsize=8.5)
        count = last - first + 1
        axes.text(
            size + 0.3,
            level,
            f"{count} of {sizes[level]}",
            va="center",
            fontsize=8.5,
            color=BLUE,
        )
    axes.set(xlim=(-8.5, size + 4.5), ylim=(-0.4, len(sizes) - 0.6))
    axes.set_axis_off()
    return fig


def what_feeds_a_unit(
    image: np.ndarray, fields: Sequence[tuple[str, int, tuple[int, int]]]
) -> Figure:
    """Draw an image with the window of one unit of each layer, and what is in that window.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        The input.
    fields : sequence of (name, size, (row, column))
        For each layer its name, the side of the window and its first row and column.
    """
    fig, axes = figure(7.2, 3.25, 2, len(fields))
    for (name, size, corner), above, below in zip(fields, *axes, strict=True):
        row, column = corner
        picture(above, 0.25 * image, vmin=0, vmax=1, title=name)
        inside = image[row : row + size, column : column + size]
        extent = (column - 0.5, column + size - 0.5, row + size - 0.5, row - 0.5)
        above.imshow(inside, cmap=INK, vmin=0, vmax=1, extent=extent, zorder=2)
        _frame(above, corner, size)
        side = image.shape[0]
        above.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
        picture(below, inside, vmin=0, vmax=1)
        for spine in below.spines.values():
            spine.set_color(BLUE)
            spine.set_linewidth(2)
        below.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        below.set_xlabel(f"{size}×{size}", fontsize=9, color=BLUE)
    axes[0, 0].set_ylabel("its window", fontsize=8.5)
    axes[1, 0].set_ylabel("all it sees", fontsize=8.5)
    return fig


def walking_unit(
    image: np.ndarray, corner: tuple[int, int], size: int, unit: tuple[int, int], units: int
) -> Figure:
    """Draw one unit of a small map beside its window on the image.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        The input.
    corner : tuple of int
        First row and column of the window.
    size : int
        Side of the window.
    unit : tuple of int
        Row and column of the unit.
    units : int
        Side of the map.
    """
    fig, (left, right) = figure(4.3, 2.35, 1, 2, width_ratios=(1, 0.62))
    row, column = corner
    picture(left, 0.25 * image, vmin=0, vmax=1)
    inside = image[row : row + size, column : column + size]
    extent = (column - 0.5, column + size - 0.5, row + size - 0.5, row - 0.5)
    left.imshow(inside, cmap=INK, vmin=0, vmax=1, extent=extent, zorder=2)
    _frame(left, corner, size)
    left.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    last = (row + size - 1, column + size - 1)
    left.set_title(
        f"rows {row}–{last[0]}, columns {column}–{last[1]}", loc="center", fontsize=8.5, pad=3
    )
    for i in range(units):
        for j in range(units):
            right.add_patch(
                Rectangle(
                    (j - 0.5, i - 0.5),
                    1,
                    1,
                    facecolor=BLUE if (i, j) == unit else "white",
                    edgecolor="#AAAAAA",
                )
            )
    right.set(xlim=(-0.6, units - 0.4), ylim=(units - 0.4, -0.6), xticks=[], yticks=[])
    right.set_aspect("equal")
    right.set_title(f"unit ({unit[0]}, {unit[1]})", loc="center", fontsize=8.5, pad=3)
    for spine in right.spines.values():
        spine.set_visible(False)
    return fig


def gradient_maps(
    maps: dict[str, np.ndarray], frames: Sequence[tuple[tuple[int, int], int]]
) -> Figure:
    """Draw how strongly each pixel acts on a unit, each map on its own scale.

    Parameters
    ----------
    maps : dict of str to numpy.ndarray, shape (height, width)
        Strength by title; exact zeros stay white.
    frames : sequence of ((row, column), size)
        One square for each map.
    """
    fig, axes = figure(7.2, 7.2 / len(maps) + 0.3, 1, len(maps), squeeze=False)
    for panel, (title, values), (corner, size) in zip(axes[0], maps.items(), frames, strict=True):
        strength = np.where(values > 0, values, np.nan)
        picture(panel, strength, POSITIVE, title=title, vmin=0, vmax=np.nanmax(strength))
        _frame(panel, corner, size, ORANGE, 1.6)
    return fig


def blind_strip(image: np.ndarray, strength: np.ndarray) -> Figure:
    """Draw a digit beside how strongly each pixel acts on the answers; white: not at all.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        An example.
    strength : numpy.ndarray, shape (height, width)
        Root mean square gradient.
    """
    fig, (left, right) = figure(5.6, 2.95, 1, 2)
    blind = strength == 0
    picture(left, image, title="an image")
    cover = np.zeros((*image.shape, 4))
    cover[blind] = (0xD5 / 255, 0x5E / 255, 0, 0.45)
    left.imshow(cover, zorder=2)
    picture(
        right,
        np.where(blind, np.nan, strength),
        POSITIVE,
        vmin=0,
        title=f"gradient: {blind.sum()} of {blind.size} pixels have none",
    )
    return fig


def effective_fields(energies: dict[str, np.ndarray], sides: Sequence[int], share: float) -> Figure:
    """Draw where the gradient's energy lies in a window, and the square that holds most of it.

    Parameters
    ----------
    energies : dict of str to numpy.ndarray, shape (size, size)
        Mean squared gradients by title.
    sides : sequence of int
        For each the side of the smallest centred square that holds `share` of the sum.
    share : float
        Between 0 and 1.
    """
    fig, axes = figure(6.4, 3.15, 1, len(energies), squeeze=False)
    for panel, (title, energy), side in zip(axes[0], energies.items(), sides, strict=True):
        size = len(energy)
        picture(panel, energy, POSITIVE, title=title, vmin=0)
        corner = (size - side) // 2
        _frame(panel, (corner, corner), side, ORANGE, 2)
        panel.set_xlabel(f"{side}×{side} of {size}×{size} hold {100 * share:.0f} %", fontsize=8.5)
    return fig


def depth_lines(
    depths: Sequence[int], theoretical: Sequence[int], effective: Sequence[float]
) -> Figure:
    """Draw the theoretical and the effective side of the field against the number of layers."""
    fig, axes = figure(5.2, 2.6)
    for values, colour, name, offset in (
        (theoretical, GREY, "what can reach the unit", (-8, 0)),
        (effective, BLUE, "what holds 90 % of the energy", (-8, 9)),
    ):
        axes.plot(depths, values, "o-", color=colour, markersize=4)
        axes.annotate(
            name,
            (depths[-1], values[-1]),
            offset,
            textcoords="offset points",
            ha="right",
            color="#555555" if colour == GREY else colour,
        )
    axes.set(
        xlabel="layers of 3×3",
        ylabel="side, pixels",
        xlim=(0, None),
        ylim=(0, 1.12 * max(theoretical)),
    )
    axes.set_xticks(depths)
    return fig


def exciting_patches(patches: dict[str, np.ndarray], kernels: np.ndarray | None = None) -> Figure:
    """Draw for some filters of each layer the patches that excite them most, one filter a row.

    Parameters
    ----------
    patches : dict of str to numpy.ndarray, shape (filters, patches, size, size)
        By the layer's name.
    kernels : numpy.ndarray, shape (filters, 3, 3), optional
        The first layer's filters, to stand at the beginning of its rows.
    """
    gap, columns, rows = 0.35, 0.0, max(len(sheet) for sheet in patches.values())
    for sheet in patches.values():
        columns += sheet.shape[1] + gap
    if kernels is not None:
        columns += 1.25
    side = 7.2 / (columns - gap + 0.1)
    title = 0.3
    height = rows * side + title
    fig = figure(7.2, height)[0]
    fig.clear()
    fig.set_layout_engine("none")
    left = 0.0
    for number, (name, sheet) in enumerate(patches.items()):
        start = left
        for row in range(len(sheet)):
            left = start if number else 0.05
            tiles = [(tile, INK, 0.0, 1.0) for tile in sheet[row]]
            if number == 0 and kernels is not None:
                limit = np.abs(kernels).max()
                tiles.insert(0, (kernels[row], SIGNED, -limit, limit))
            for k, (tile, colours, low, high) in enumerate(tiles):
                bounds = (
                    (left + 0.03) * side / 7.2,
                    ((rows - 1 - row) * side + 0.03 * side) / height,
                    0.94 * side / 7.2,
                    0.94 * side / height,
                )
                panel = fig.add_axes(bounds)
                picture(panel, tile, colours, vmin=low, vmax=high)
                left += 1.25 if k == 0 and number == 0 and kernels is not None else 1
        size = sheet.shape[-1]
        middle = (start + left) / 2 * side / 7.2
        fig.text(
            middle,
            1 - 0.5 * title / height,
            f"{name}: {size}×{size}",
            ha="center",
            va="center",
            fontsize=8.5,
        )
        left += gap
    return fig


def selectivity(names: Sequence[str], lines: dict[str, np.ndarray], by_chance: float) -> Figure:
    """Draw, layer by layer, how far the favourites of a unit are digits of one kind.

    Parameters
    ----------
    names : sequence of str
        The layers.
    lines : dict of str to numpy.ndarray, shape (runs, layers)
        Shares by the kind of network, first the one that is discussed.
    by_chance : float
        The share if the favourites were drawn by lot.
    """
    fig, axes = figure(7.2, 2.7)
    x = np.arange(len(names))
    for (name, runs), colour in zip(lines.items(), (BLUE, ORANGE), strict=False):
        axes.plot(x, 100 * runs.mean(axis=0), color=colour)
        for run in runs:
            axes.plot(x, 100 * run, "o", color=colour, alpha=0.4, markersize=4)
        axes.text(x[-1] + 0.12, 100 * runs[:, -1].mean(), name, color=colour, va="center")
    axes.plot(x[[0, -1]], [100 * by_chance] * 2, color=GREY, linewidth=1, linestyle="--")
    axes.text(x[-1] + 0.12, 100 * by_chance, "by lot", color="#666666", va="center")
    axes.set(ylim=(0, 100), xlim=(-0.2, len(names) - 0.3), ylabel="one kind, %")
    axes.set_xticks(x, names)
    axes.tick_params(axis="x", length=0)
    return fig
