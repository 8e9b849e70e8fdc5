"""Figures of networks: their shapes and what each layer costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from convlib.notebook.style import BLUE, GREY, figure

_COLOUR_OF_KIND = {
    "Conv2D": BLUE,
    "MaxPooling2D": "#E69F00",
    "Flatten": GREY,
    "Dense": "#009E73",
}


def shape_text(shape: Sequence[int]) -> str:
    """Return sizes as a text, as in 26×26×32."""
    return "×".join(str(size) for size in shape)


def _box(axes: Axes, left: float, size: Sequence[float], colour: str) -> float:
    """Draw a box in oblique projection around height zero; return its right end."""
    height, depth, width = size
    shift = 0.35 * depth
    bottom, top, right = -height / 2 - shift / 2, height / 2 - shift / 2, left + width
    faces = (
        ([(left, bottom), (right, bottom), (right, top), (left, top)], 0.55),
        (
            [(left, top), (right, top), (right + shift, top + shift), (left + shift, top + shift)],
            0.3,
        ),
        (
            [(right, bottom), (right + shift, bottom + shift), (right + shift, top + shift)]
            + [(right, top)],
            0.8,
        ),
    )
    for corners, opacity in faces:
        axes.add_patch(Polygon(corners, facecolor="white", edgecolor="none"))
        axes.add_patch(
            Polygon(corners, facecolor=colour, alpha=opacity, edgecolor="white", linewidth=0.6)
        )
    return right + shift


def network_picture(model: object) -> Figure:
    """Draw what flows through a network: one box for the input and one for each layer's output.

    Heights and depths of the boxes are the feature map's height and width, and their widths the
    number of channels, on scales that the picture states. Vectors are upright bars.

    Parameters
    ----------
    model : convlib.models.Sequential
        A network that has been built.
    """
    first = model.layers[0]
    stages = [("input", "", "#BBBBBB", tuple(first.input_shape)[1:])] + [
        (
            type(layer).__name__,
            layer.name,
            _COLOUR_OF_KIND.get(type(layer).__name__, GREY),
            tuple(layer.output_shape)[1:],
        )
        for layer in model.layers
    ]
    channel_width, vector_height, gap = 0.14, 0.05, 7.0
    fig, axes = figure(7.2, 2.9)
    x = 0.0
    for kind, name, colour, shape in stages:
        if len(shape) == 3:
            size = (shape[0], shape[1], max(0.6, channel_width * shape[2]))
        else:
            size = (max(0.6, vector_height * shape[0]), 2.0, 1.0)
        start = x
        x = _box(axes, x, size, colour)
        middle = (start + x) / 2
        axes.text(middle, 21.5, kind, ha="center", fontsize=7.5, color="#222222")
        axes.text(middle, -21, shape_text(shape), ha="center", va="top", fontsize=7.5)
        axes.text(middle, -24.5, name, ha="center", va="top", fontsize=6, color=GREY)
        x += gap
    axes.set(xlim=(-2, x - gap + 3), ylim=(-28, 25))
    axes.set_aspect("equal")
    axes.set_axis_off()
    return fig


def cost_bars(model: object) -> Figure:
    """Draw, layer by layer, the share of numbers kept, of parameters and of multiply-adds.

    Parameters
    ----------
    model : convlib.models.Sequential
        A network that has been built.
    """
    names = [layer.name for layer in model.layers]
    columns = {
        "numbers in its output": [int(np.prod(layer.output_shape[1:])) for layer in model.layers],
        "parameters": [layer.count_params() for layer in model.layers],
        "multiply-adds for one image": [layer.multiply_adds() for layer in model.layers],
    }
    fig, axes = figure(7.2, 0.3 * len(names) + 0.5, 1, 3, sharey=True)
    for panel, (title, values) in zip(axes, columns.items(), strict=True):
        total = sum(values)
        shares = np.array(values) / total
        largest = shares.max()
        panel.barh(
            names,
            shares,
            color=[BLUE if share == largest else GREY for share in shares],
            height=0.7,
        )
        for row, (value, share) in enumerate(zip(values, shares, strict=True)):
            text = f" {value:,}  ({100 * share:.1f} %)" if value else " 0"
            inside = share > 0.55 * largest and share > 0.3
            panel.text(
                share if not inside else 0.0,
                row,
                text,
                va="center",
                fontsize=7.5,
                color="white" if inside else "#222222",
            )
        panel.set_title(f"{title}\n{total:,} in all", fontsize=8.5)
        panel.set(xlim=(0, max(1.9 * shares[shares <= 0.3].max(initial=0), 1.05 * largest)))
        panel.set_xticks([])
        panel.spines["bottom"].set_visible(False)
        panel.tick_params(axis="y", length=0)
    axes[0].invert_yaxis()
    return fig
