"""Figures of feature maps, their channels, and the filters that have as many slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib.notebook.figures.digits import picture
from convlib.notebook.figures.networks import shape_text
from convlib.notebook.style import BLUE, GREY, ORANGE, POSITIVE, SIGNED, figure

_DARK = "#222222"


def _canvas(width: float, height: float) -> tuple[Figure, Callable, Callable]:
    """Return an empty figure, and what places axes and text on it in inches from top left."""
    fig = figure(width, height)[0]
    fig.clear()
    fig.set_layout_engine("none")

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        return fig.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))

    def write(left: float, top: float, text: str, **options: object) -> None:
        options = {"ha": "center", "va": "center", "fontsize": 9, "color": _DARK} | options
        fig.text(left / width, 1 - top / height, text, **options)

    return fig, place, write


def _numbers(axes: Axes, values: np.ndarray, colour: str) -> None:
    """Draw a small table of numbers as tiles of one colour."""
    rows, columns = values.shape
    for row in range(rows):
        for column in range(columns):
            axes.add_patch(
                Rectangle((column, row), 1, 1, facecolor=colour, alpha=0.25, edgecolor="white")
            )
            axes.text(
                column + 0.5,
                row + 0.53,
                f"{values[row, column]:g}".replace("-", "−"),
                ha="center",
                va="center",
                fontsize=9.5,
            )
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.set_aspect("equal")
    axes.set_axis_off()


def depth_sum(patch: np.ndarray, weights: np.ndarray, bias: float) -> Figure:
    """Draw how a patch and a filter of the same shape make one number, channel by channel.

    Parameters
    ----------
    patch, weights : numpy.ndarray, shape (height, width, channels)
        What lies under the window, and the filter.
    bias : float
        Added once.
    """
    channels = patch.shape[2]
    side, step = 0.78, 1.0
    fig, place, write = _canvas(6.4, step * channels + 0.42)
    write(1.65, 0.16, f"patch {shape_text(patch.shape)}", fontsize=8.5, color=BLUE)
    write(3.1, 0.16, f"filter {shape_text(weights.shape)}", fontsize=8.5, color=ORANGE)
    write(4.4, 0.16, "sum of products", fontsize=8.5)
    middle = 0.4 + step * (channels - 1) / 2 + side / 2
    for channel in range(channels):
        top = 0.36 + step * channel
        write(0.55, top + side / 2, f"channel {channel}", fontsize=8.5, color="#666666")
        _numbers(place(1.26, top, side, side), patch[:, :, channel], BLUE)
        write(2.37, top + side / 2, "·", fontsize=15)
        _numbers(place(2.71, top, side, side), weights[:, :, channel], ORANGE)
        write(3.8, top + side / 2, "=", fontsize=12)
        total = float((patch[:, :, channel] * weights[:, :, channel]).sum())
        write(4.4, top + side / 2, f"{total:g}".replace("-", "−"), fontsize=12)
        if channel:
            write(4.4, top - (step - side) / 2, "+", fontsize=12)
    answer = float((patch * weights).sum() + bias)
    signed_bias = f"{'+' if bias >= 0 else '−'} {abs(bias):g}"
    write(5.0, middle, signed_bias, fontsize=12)
    write(5.0, middle + 0.24, "bias", fontsize=7.5, color="#666666")
    write(5.75, middle, f"=  {answer:g}".replace("-", "−"), fontsize=14, color=_DARK)
    write(5.75, middle + 0.27, "one number", fontsize=7.5, color="#666666")
    return fig


def colour_and_grey(image: np.ndarray, grey: np.ndarray) -> Figure:
    """Draw a colour picture, its three channels, and what is left of it in grey.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width, 3)
        Red, green and blue between 0 and 1.
    grey : numpy.ndarray, shape (height, width)
        Its brightness.
    """
    fig, axes = figure(7.2, 1.62, 1, 5)
    panels = {f"picture, {shape_text(image.shape)}": image}
    for channel, name in enumerate(("red", "green", "blue")):
        panels[f"channel {channel}: {name}"] = image[:, :, channel]
    panels["brightness only"] = grey
    for panel, (name, values) in zip(axes, panels.items(), strict=True):
        picture(panel, values, "gray", title=name, vmin=0, vmax=1)
    return fig


def slices_and_sum(parts: Sequence[np.ndarray], total: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw what each slice of a filter answers, and the sum of these, on one signed scale.

    Parameters
    ----------
    parts : sequence of numpy.ndarray, shape (height, width)
        One for each slice.
    total : numpy.ndarray, shape (height, width)
        Their sum.
    names : sequence of str
        One for each part, and one for the sum.
    """
    count = len(parts)
    side, gap = 1.5, 0.3
    width = (count + 1) * side + count * gap + 0.1
    fig, place, write = _canvas(width, side + 0.34)
    limit = max(np.abs(part).max() for part in (*parts, total))
    for number, (part, name) in enumerate(zip((*parts, total), names, strict=True)):
        left = 0.05 + number * (side + gap)
        panel = place(left, 0.28, side, side)
        picture(panel, part, SIGNED, norm=TwoSlopeNorm(0, -limit, limit))
        write(left + side / 2, 0.14, name, fontsize=8.5)
        if number:
            write(left - gap / 2, 0.28 + side / 2, "=" if number == count else "+", fontsize=14)
    return fig


def filter_bank(image: np.ndarray, kernels: np.ndarray, maps: np.ndarray) -> Figure:
    """Draw one image, and for each filter of a layer its weights beside its response map.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width) or (height, width, 1)
        The input.
    kernels : numpy.ndarray, shape (k, k, filters)
        The filters on one signed scale: red adds, blue subtracts.
    maps : numpy.ndarray, shape (h, w, filters)
        What they answer, each map on a signed scale of its own.
    """
    columns, cell, side, small = 8, 0.9, 0.62, 0.2
    rows = -(-kernels.shape[2] // columns)
    head = 1.05
    fig, place, write = _canvas(7.2, head + rows * 0.72)
    picture(place(0.05, 0.05, 0.85, 0.85), image)
    shapes = [shape_text(np.squeeze(image).shape + (1,)), shape_text(maps.shape)]
    write(1.05, 0.3, f"input {shapes[0]}", ha="left", fontsize=9)
    write(
        1.05,
        0.52,
        f"{kernels.shape[2]} filters of {shape_text(kernels.shape[:2])}×1, each beside the map "
        "that it makes",
        ha="left",
    )
    write(1.05, 0.74, f"output {shapes[1]}: one map after the other", ha="left")
    limit = np.abs(kernels).max()
    for number in range(kernels.shape[2]):
        row, column = divmod(number, columns)
        left, top = 0.04 + column * cell, head + row * 0.72
        picture(
            place(left, top + 0.21, small, small),
            kernels[:, :, number],
            SIGNED,
            norm=TwoSlopeNorm(0, -limit, limit),
        )
        write(left + small / 2, top + 0.11, str(number), fontsize=7, color="#555555")
        panel = place(left + small + 0.03, top, side, side)
        largest = max(float(np.abs(maps[:, :, number]).max()), 1e-12)
        picture(panel, maps[:, :, number], SIGNED, norm=TwoSlopeNorm(0, -largest, largest))
    return fig


def slice_frame(
    channel: int,
    source: np.ndarray,
    weights: np.ndarray,
    part: np.ndarray,
    so_far: np.ndarray,
    largest: Sequence[float],
) -> Figure:
    """Draw one step of adding up a deep filter: a channel, its slice, the answer, the sum so far.

    Parameters
    ----------
    channel : int
        Which channel is being added.
    source : numpy.ndarray, shape (height, width)
        That channel of the input.
    weights : numpy.ndarray, shape (k, k)
        The slice of the filter for it.
    part, so_far : numpy.ndarray, shape (h, w)
        What the slice answers, and the sum including it.
    largest : sequence of float
        Largest value of any source, and largest size of a weight, of an answer and of a sum: the
        scales of all frames.
    """
    side, top = 1.25, 0.32
    fig, place, write = _canvas(5.9, side + 0.4)
    picture(place(0.05, top, side, side), source, POSITIVE, vmin=0, vmax=largest[0])
    write(0.05 + side / 2, 0.16, f"channel {channel}", fontsize=9)
    small = 0.5
    picture(
        place(1.55, top + (side - small) / 2, small, small),
        weights,
        SIGNED,
        norm=TwoSlopeNorm(0, -largest[1], largest[1]),
    )
    write(1.8, 0.16, f"slice {channel}", fontsize=9)
    write(1.43, top + side / 2, "∗", fontsize=12)
    write(2.2, top + side / 2, "=", fontsize=12)
    norm = TwoSlopeNorm(0, -largest[2], largest[2])
    picture(place(2.35, top, side, side), part, SIGNED, norm=norm)
    norm = TwoSlopeNorm(0, -largest[3], largest[3])
    write(2.35 + side / 2, 0.16, "its answer", fontsize=9)
    write(3.95, top + side / 2, "adds to", fontsize=8.5, color="#555555")
    picture(place(4.3, top, side, side), so_far, SIGNED, norm=norm)
    write(4.3 + side / 2, 0.16, f"sum of {channel + 1}", fontsize=9)
    return fig


def place_and_vector(
    image: np.ndarray, values: np.ndarray, place: tuple[int, int], side: int, limit: float
) -> Figure:
    """Draw a window on an image beside the numbers that all filters make of what it shows.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        The input.
    values : numpy.ndarray, shape (filters,)
        The output at this place.
    place : (int, int)
        Row and column of the output.
    side : int
        Of the window.
    limit : float
        The largest value of the scale.
    """
    fig, (left, right) = figure(7.0, 2.2, 1, 2, width_ratios=(1, 2.1))
    picture(left, image)
    row, column = place
    left.add_patch(
        Rectangle((column - 0.5, row - 0.5), side, side, fill=False, edgecolor=BLUE, linewidth=2)
    )
    left.set_title(f"the window of row {row}, column {column}", loc="center", fontsize=8.5, pad=3)
    right.bar(np.arange(len(values)), values, color=BLUE, width=0.75)
    right.set(
        ylim=(0, 1.05 * limit), xlim=(-0.7, len(values) - 0.3), xlabel="channel of the output"
    )
    right.set_title(
        f"output[{row}, {column}, :] is a vector of {len(values)} numbers", fontsize=8.5, pad=3
    )
    return fig


def accuracy_dots(groups: dict[str, Sequence[float]], chance: float | None = None) -> Figure:
    """Draw the accuracy of each run of several kinds of networks, with the mean of each kind.

    Parameters
    ----------
    groups : dict of str to sequence of float
        Accuracies between 0 and 1 by name; the first kind is drawn in blue.
    chance : float, optional
        Accuracy of a guess, as a grey line.
    """
    fig, axes = figure(6.4, 0.5 * len(groups) + 0.55)
    for row, (name, values) in enumerate(groups.items()):
        percent = 100 * np.asarray(values)
        colour = ORANGE if row else BLUE
        axes.plot(percent, np.full(len(percent), row), "o", color=colour, alpha=0.65, ms=6)
        axes.plot([percent.mean()] * 2, [row - 0.25, row + 0.25], color=colour, lw=2)
        text = f"{name}: mean {percent.mean():.0f} %"
        axes.text(percent.min() - 0.6, row, text, ha="right", va="center", color=colour)
    if chance is not None:
        axes.axvline(100 * chance, color=GREY, lw=1)
    low = min(100 * np.min(values) for values in groups.values())
    axes.set(ylim=(len(groups) - 0.5, -0.5), yticks=[], xlim=(low - 22, 100))
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("drawn test digits read correctly, %")
    return fig
