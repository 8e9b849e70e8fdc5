"""The figures of the chapters. Each function takes arrays or a model and returns a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from convlib.notebook.style import BLUE, GREY, ORANGE, POSITIVE, SIGNED, figure

INK = "Greys"
"""Colour map for digits: ink is dark on white paper, as one writes."""


def picture(
    axes: Axes, image: np.ndarray, colours: str = INK, title: str = "", **options: object
) -> None:
    """Draw one two-dimensional array without ticks."""
    axes.imshow(np.squeeze(image), cmap=colours, **options)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color("#CCCCCC")
    if title:
        axes.set_title(title, loc="center", fontsize=8, pad=3)


def gallery(
    images: np.ndarray, columns: int = 10, titles: Sequence[str] | None = None, side: float = 0.7
) -> Figure:
    """Draw a grid of digits.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width) or (n, height, width, 1)
        The digits; ink is high.
    columns : int, default 10
        Digits per row.
    titles : sequence of str, optional
        One for each digit.
    side : float, default 0.7
        Side of one digit in inches.
    """
    rows = -(-len(images) // columns)
    extra = 0.2 if titles is not None else 0.0
    fig, axes = figure(columns * side, rows * (side + extra), rows, columns, squeeze=False)
    for number, panel in enumerate(axes.flat):
        if number < len(images):
            picture(panel, images[number], title=titles[number] if titles is not None else "")
        else:
            panel.set_axis_off()
    return fig


def side_by_side(groups: dict[str, np.ndarray], columns: int = 10, side: float = 0.32) -> Figure:
    """Draw sheets of digits next to each other, each under its name.

    Parameters
    ----------
    groups : dict of str to numpy.ndarray, shape (n, height, width)
        Sheets by title; `n` is a multiple of `columns`.
    columns : int, default 10
        Digits per row of a sheet.
    side : float, default 0.32
        Side of one digit in inches.
    """
    rows = len(next(iter(groups.values()))) // columns
    width = len(groups) * columns * side + 0.3 * (len(groups) - 1)
    fig, axes = figure(width, rows * side + 0.3, 1, len(groups), squeeze=False)
    for panel, (title, images) in zip(axes.flat, groups.items(), strict=True):
        grid = np.asarray(images).reshape(rows, columns, *np.shape(images)[1:3])
        picture(panel, grid.swapaxes(1, 2).reshape(rows * grid.shape[2], -1))
        panel.set_title(title)
    return fig


def probability_bars(axes: Axes, probabilities: np.ndarray, truth: int | None = None) -> None:
    """Draw ten horizontal bars; the largest is blue, or orange if it is not the truth."""
    probabilities = np.asarray(probabilities)
    best = int(probabilities.argmax())
    colours = [GREY] * len(probabilities)
    colours[best] = BLUE if truth in (None, best) else ORANGE
    axes.barh(np.arange(len(probabilities)), probabilities, color=colours, height=0.75)
    axes.set(xlim=(0, 1.16), yticks=range(len(probabilities)), xticks=[])
    axes.invert_yaxis()
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.text(probabilities[best] + 0.02, best, f"{probabilities[best]:.2f}", va="center")


def reading(image: np.ndarray, probabilities: np.ndarray, truth: int | None = None) -> Figure:
    """Draw a digit beside the probabilities that a network gives it."""
    fig, (left, right) = figure(4.6, 2.2, 1, 2, width_ratios=(1, 1.1))
    picture(left, image, title="the image")
    probability_bars(right, probabilities, truth)
    right.set_title("probability of each digit", loc="center", fontsize=8, pad=3)
    return fig


def readings(
    images: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, columns: int = 10
) -> Figure:
    """Draw digits, above each what was read and how surely; mistakes in orange with the truth.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width) or (n, height, width, 1)
        The digits.
    probabilities : numpy.ndarray, shape (n, classes)
        What the network answered.
    labels : numpy.ndarray of int, shape (n,)
        The truth.
    columns : int, default 10
        Digits per row.
    """
    rows = -(-len(images) // columns)
    fig, axes = figure(7.2, rows * (7.2 / columns + 0.28), rows, columns, squeeze=False)
    for panel in axes.flat[len(images) :]:
        panel.set_axis_off()
    for panel, image, probability, label in zip(
        axes.flat, images, probabilities, labels, strict=False
    ):
        read = int(probability.argmax())
        text = f"{read}  ({100 * probability[read]:.0f} %)"
        picture(panel, image)
        panel.set_title(text, loc="center", fontsize=8, pad=3)
        if read != label:
            panel.title.set_color(ORANGE)
            panel.title.set_fontweight("bold")
            panel.set_xlabel(f"is a {label}", fontsize=8, labelpad=2, color=ORANGE)
            for spine in panel.spines.values():
                spine.set_color(ORANGE)
                spine.set_linewidth(2)
    return fig


# --- the network and what it costs ---------------------------------------------------------------

_COLOUR_OF_KIND = {
    "Conv2D": BLUE,
    "MaxPooling2D": "#E69F00",
    "Flatten": GREY,
    "Dense": "#009E73",
}


def _shape_text(shape: Sequence[int]) -> str:
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
        axes.text(middle, -21, _shape_text(shape), ha="center", va="top", fontsize=7.5)
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


# --- training ------------------------------------------------------------------------------------


def learning_curves(histories: Sequence[dict[str, Sequence[float]]]) -> Figure:
    """Draw loss and error per epoch of several runs, on training and on held-out images.

    Parameters
    ----------
    histories : sequence of dict
        `History.history` of each run, with ``accuracy``, ``loss`` and their ``val_`` companions.
    """
    fig, (left, right) = figure(7.2, 2.5, 1, 2)
    for history in histories:
        epochs = np.arange(1, len(history["loss"]) + 1)
        for prefix, colour in (("", GREY), ("val_", BLUE)):
            left.plot(epochs, history[prefix + "loss"], color=colour, alpha=0.8, linewidth=1.2)
            errors = 100 * (1 - np.asarray(history[prefix + "accuracy"]))
            right.plot(epochs, errors, color=colour, alpha=0.8, linewidth=1.2)
    left.set_title("loss")
    right.set_title("errors, %")
    for panel in (left, right):
        panel.set(xlabel="epoch", xticks=epochs, ylim=(0, None))
    first = histories[0]
    right.annotate(
        "training images, while they are learned",
        (1, 100 * (1 - first["accuracy"][0])),
        (12, 0),
        textcoords="offset points",
        color="#555555",
        fontsize=8,
        va="center",
    )
    lowest = min(min(history["val_accuracy"][1:], default=1.0) for history in histories)
    right.annotate(
        "test images, after the epoch",
        (epochs[len(epochs) // 2], 100 * (1 - lowest)),
        (0, 14),
        textcoords="offset points",
        color=BLUE,
        fontsize=8,
    )
    return fig


def labelled_lines(
    x: Sequence[float], lines: dict[str, Sequence[float]], x_label: str, y_label: str
) -> Figure:
    """Draw shares from 0 to 1 against `x`, with each line's name at its middle.

    Parameters
    ----------
    x : sequence of float
        Common to all lines.
    lines : dict of str to sequence of float
        Shares by name.
    x_label, y_label : str
        What the axes show.
    """
    fig, axes = figure(5.2, 2.6)
    for (name, shares), colour in zip(lines.items(), (BLUE, ORANGE, GREY), strict=False):
        axes.plot(x, 100 * np.asarray(shares), "o-", markersize=4, color=colour)
        middle = len(x) // 2
        axes.annotate(
            name,
            (x[middle], 100 * shares[middle]),
            (6, 6),
            textcoords="offset points",
            color=colour,
        )
    axes.set(ylim=(0, 103), xlabel=x_label, ylabel=f"{y_label}, %")
    return fig


def accuracies_beside_claim(
    accuracies: Sequence[float], claim: float, interval: tuple[float, float]
) -> Figure:
    """Draw each run's accuracy as a point beside one published figure and its interval.

    Parameters
    ----------
    accuracies : sequence of float
        Test accuracies of repeated runs, 0..1.
    claim : float
        The published accuracy.
    interval : tuple of float
        Where the accuracy of a network that was measured as `claim` may lie.
    """
    values = 100 * np.asarray(accuracies)
    mean, deviation = values.mean(), values.std(ddof=1)
    fig, axes = figure(7.2, 1.7)
    axes.plot([100 * interval[0], 100 * interval[1]], [1, 1], color=ORANGE, linewidth=5, alpha=0.45)
    axes.plot(100 * claim, 1, "o", color=ORANGE, markersize=7)
    axes.plot([mean - deviation, mean + deviation], [0, 0], color=BLUE, linewidth=5, alpha=0.35)
    axes.plot(values, np.zeros_like(values), "o", color=BLUE, markersize=6, alpha=0.8)
    axes.plot([mean, mean], [-0.22, 0.22], color=BLUE)
    axes.set(yticks=[1, 0], ylim=(-0.6, 1.6), xlabel="test accuracy, %")
    axes.set_yticklabels(["the text: one run,\n95 % interval", "here: each seed,\nmean ± sd"])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return fig


def confusion(matrix: np.ndarray) -> Figure:
    """Draw a confusion matrix whose diagonal does not drown the mistakes.

    Parameters
    ----------
    matrix : numpy.ndarray of int, shape (classes, classes)
        How often a digit (row) was read as another (column).
    """
    classes = len(matrix)
    mistakes = matrix - np.diag(np.diag(matrix))
    fig, axes = figure(4.6, 4.0)
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1, mistakes.max()) * 1.6)
    for row in range(classes):
        for column in range(classes):
            if matrix[row, column]:
                axes.text(
                    column,
                    row,
                    matrix[row, column],
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=GREY if row == column else "black",
                )
    axes.set(xticks=range(classes), yticks=range(classes), xlabel="read as", ylabel="is")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#DDDDDD", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    return fig


# --- looking inside ------------------------------------------------------------------------------


def filters(kernels: np.ndarray, columns: int = 16) -> Figure:
    """Draw two-dimensional filters on one symmetric colour scale: red adds, blue subtracts.

    Parameters
    ----------
    kernels : numpy.ndarray, shape (height, width, n)
        The filters.
    columns : int, default 16
        Filters per row.
    """
    count = kernels.shape[-1]
    rows = -(-count // columns)
    limit = np.abs(kernels).max()
    fig, axes = figure(7.2, rows * 0.62, rows, columns, squeeze=False)
    for number, panel in enumerate(axes.flat):
        if number < count:
            picture(
                panel,
                kernels[..., number],
                SIGNED,
                title=str(number),
                norm=TwoSlopeNorm(0, -limit, limit),
            )
        else:
            panel.set_axis_off()
    return fig


def response_maps(
    image: np.ndarray, outputs: Sequence[np.ndarray], names: Sequence[str], columns: int = 10
) -> Figure:
    """Draw, for each layer, the channels that respond most to one image.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width) or (height, width, 1)
        The input.
    outputs : sequence of numpy.ndarray, shape (h, w, channels)
        One for each layer; the scale of each row is its own.
    names : sequence of str
        One for each layer.
    columns : int, default 10
        Channels per layer.
    """
    fig, axes = figure(7.2, 0.68 * len(outputs), len(outputs), columns + 1, squeeze=False)
    for row, (output, name) in enumerate(zip(outputs, names, strict=True)):
        axes[row, 0].set_axis_off()
        axes[row, 0].text(
            0.0,
            0.5,
            f"{name}\n{_shape_text(output.shape)}",
            transform=axes[row, 0].transAxes,
            va="center",
            fontsize=7,
        )
        strongest = np.argsort(-output.mean(axis=(0, 1)), kind="stable")[:columns]
        for panel, channel in zip(axes[row, 1:], strongest, strict=True):
            picture(panel, output[..., channel], POSITIVE, vmin=0, vmax=output.max())
            panel.set_xlabel(str(channel), fontsize=6, labelpad=1)
    return fig


def explanations(
    images: np.ndarray,
    maps: dict[str, np.ndarray],
    titles: Sequence[str],
    signed: Sequence[str] = (),
) -> Figure:
    """Draw images, and under each one row for every way to explain what a network saw in it.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width)
        The inputs.
    maps : dict of str to numpy.ndarray, shape (n, height, width)
        Explanations by name, each map on its own scale.
    titles : sequence of str
        One for each image.
    signed : sequence of str
        Names of the maps whose sign matters.
    """
    count = len(images)
    rows = 1 + len(maps)
    fig, axes = figure(1.03 * count + 1.0, 1.05 * rows + 0.2, rows, count, squeeze=False)
    for column in range(count):
        picture(axes[0, column], images[column], title=titles[column])
    axes[0, 0].set_ylabel("image", fontsize=8.5)
    for row, (name, values) in enumerate(maps.items(), start=1):
        for column in range(count):
            panel, value = axes[row, column], np.asarray(values[column])
            limit = max(np.abs(value).max(), 1e-12)
            lowest = -limit if name in signed else 0
            colours = SIGNED if name in signed else POSITIVE
            picture(panel, value, colours, vmin=lowest, vmax=limit)
            ink = np.squeeze(images[column])
            outline = "white" if lowest == 0 else "black"
            panel.contour(ink, [ink.max() / 2], colors=outline, linewidths=0.5)
        axes[row, 0].set_ylabel(name, fontsize=8.5)
    return fig


def network_reading(
    image: np.ndarray,
    outputs: Sequence[np.ndarray],
    names: Sequence[str],
    probabilities: np.ndarray,
) -> Figure:
    """Draw one image on its way through a network, in one wide strip.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        The input.
    outputs : sequence of numpy.ndarray, shape (h, w, channels)
        Responses of the layers; the eight strongest channels of each are drawn, each on a scale of
        its own.
    names : sequence of str
        What to call each layer.
    probabilities : numpy.ndarray, shape (classes,)
        The answer.
    """
    width, height, map_side, gap = 10.4, 2.72, 0.5, 0.05
    fig = figure(width, height)[0]
    fig.clear()
    fig.set_layout_engine("none")

    def axes_at(left: float, bottom: float, wide: float, high: float) -> Axes:
        return fig.add_axes((left / width, bottom / height, wide / width, high / height))

    def caption(left: float, wide: float, above: str, below: str) -> None:
        middle = (left + wide / 2) / width
        fig.text(middle, 2.47 / height, above, ha="center", fontsize=9, color="#222222")
        fig.text(middle, 0.06 / height, below, ha="center", fontsize=8.5, color="#666666")

    grid = 4 * map_side + 3 * gap
    picture(axes_at(0.05, 0.27, grid, grid), image)
    caption(0.05, grid, "somebody's handwriting", _shape_text(image.shape))
    left = 0.05 + grid + 0.22
    for output, name in zip(outputs, names, strict=True):
        strongest = np.argsort(-output.mean(axis=(0, 1)), kind="stable")[:8]
        for place, channel in enumerate(strongest):
            row, column = divmod(place, 2)
            panel = axes_at(
                left + column * (map_side + gap),
                0.27 + (3 - row) * (map_side + gap),
                map_side,
                map_side,
            )
            picture(panel, output[..., channel], POSITIVE, vmin=0)
        caption(left, 2 * map_side + gap, name, _shape_text(output.shape))
        left += 2 * map_side + gap + 0.2
    bars = axes_at(left + 0.1, 0.27, width - left - 0.2, grid)
    probability_bars(bars, probabilities)
    bars.set_xlim(0, 1.35)
    caption(left + 0.1, width - left - 0.2, "read as", "probability of each digit")
    return fig


def occlusion_frame(
    image: np.ndarray, square: tuple[int, int, int], probabilities: np.ndarray, truth: int
) -> Figure:
    """Draw a digit with a grey square over it beside the probabilities that remain.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        The digit, already covered.
    square : tuple of int
        Row, column and side of the square.
    probabilities : numpy.ndarray, shape (classes,)
        What the network answers.
    truth : int
        The digit's label.
    """
    fig, (left, right) = figure(4.6, 2.2, 1, 2, width_ratios=(1, 1.1))
    picture(left, image, vmin=0, vmax=1, title="the image, partly covered")
    row, column, side = square
    left.add_patch(
        Rectangle(
            (column - 0.5, row - 0.5), side, side, fill=False, edgecolor=ORANGE, linewidth=1.5
        )
    )
    probability_bars(right, probabilities, truth)
    right.set_title("probability of each digit", loc="center", fontsize=8, pad=3)
    return fig
