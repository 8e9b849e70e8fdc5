"""Figures of dense and local connections: who sees what, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib.notebook.figures.digits import picture, probability_bars
from convlib.notebook.style import BLUE, GREY, ORANGE, POSITIVE, SIGNED, figure

COLOUR_OF = {"dense": ORANGE, "convnet": BLUE}
"""Colours of the two kinds of network in every figure of this module."""


def _palette(count: int) -> list:
    """Return `count` colours that are told apart by their lightness too; none is near white."""
    return [colormaps[POSITIVE](0.02 + 0.9 * k / max(1, count - 1)) for k in range(count)]


def connections(matrices: dict[str, np.ndarray]) -> Figure:
    """Draw matrices as lines from inputs to outputs; equal weights have one colour.

    Parameters
    ----------
    matrices : dict of str to numpy.ndarray, shape (outputs, inputs)
        By title. Zeros are no lines.
    """
    fig, axes = figure(7.2, 2.1, 1, len(matrices), squeeze=False)
    for panel, (title, matrix) in zip(axes.flat, matrices.items(), strict=True):
        outputs, inputs = matrix.shape
        left = (inputs - outputs) / 2
        weights = np.unique(matrix[matrix != 0])
        shared = len(weights) < np.count_nonzero(matrix)
        colours = _palette(len(weights)) if shared else [GREY] * len(weights)
        for i, j in np.argwhere(matrix):
            number = int(np.searchsorted(weights, matrix[i, j]))
            panel.plot(
                [j, left + i], [0, 1], color=colours[number], linewidth=2.2 if shared else 1.1
            )
        panel.plot(range(inputs), [0] * inputs, "o", color="#333333", markersize=7)
        panel.plot(left + np.arange(outputs), [1] * outputs, "o", color="#333333", markersize=7)
        panel.set_title(title, loc="center")
        panel.text(
            (inputs - 1) / 2,
            -0.42,
            f"{np.count_nonzero(matrix)} connections, {len(weights)} weights",
            ha="center",
            fontsize=8.5,
        )
        panel.set(xlim=(-0.5, inputs - 0.5), ylim=(-0.5, 1.12))
        panel.set_axis_off()
    axes[0, 0].text(-0.6, 1, "outputs", ha="right", va="center", fontsize=8, color="#555555")
    axes[0, 0].text(-0.6, 0, "inputs", ha="right", va="center", fontsize=8, color="#555555")
    axes[0, 0].set_xlim(-1.6, axes[0, 0].get_xlim()[1])
    return fig


def windows(image: np.ndarray, places: dict[str, tuple[int, int]], side: int) -> Figure:
    """Draw an image as a dense unit sees it, and the small windows that a convolution sees.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        A digit.
    places : dict of str to (int, int)
        Row and column of the first pixel of each window, by the window's name.
    side : int
        Rows and columns of a window.
    """
    fig = figure(7.2, 2.5)[0]
    fig.clear()
    count = len(places)
    columns = -(-count // 2)
    whole, local, patches = fig.subfigures(1, 3, width_ratios=(1, 1, 0.19 + 0.38 * columns))
    height, width = image.shape
    for part, colour, title in (
        (whole, ORANGE, f"a dense unit:\none window of {height}×{width}"),
        (local, BLUE, f"a convolution:\nthe same window of {side}×{side}, everywhere"),
    ):
        panel = part.subplots()
        picture(panel, image)
        panel.set_title(title, loc="center", fontsize=8.5)
        if colour == ORANGE:
            for spine in panel.spines.values():
                spine.set_color(ORANGE)
                spine.set_linewidth(3)
            continue
        for number, (row, column) in enumerate(places.values(), start=1):
            panel.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5), side, side, fill=False, edgecolor=BLUE, linewidth=1.8
                )
            )
            panel.text(
                column + side, row + side - 0.4, str(number), color=BLUE, fontsize=9, va="top"
            )
    grid = patches.subplots(2, columns, squeeze=False)
    for panel in grid.flat[count:]:
        panel.set_axis_off()
    named = enumerate(places.items(), start=1)
    for panel, (number, (name, (row, column))) in zip(grid.flat, named, strict=False):
        picture(panel, image[row : row + side, column : column + side], vmin=0, vmax=image.max())
        panel.set_title(f"{number}  {name}", loc="center", fontsize=8.5, color=BLUE, pad=3)
        for spine in panel.spines.values():
            spine.set_color(BLUE)
            spine.set_linewidth(1.5)
    return fig


def _colours_of_weights(axes: Axes, values: np.ndarray, count: int) -> None:
    """Draw an array of numbers of weights, 1 to `count`; zeros stay white."""
    colours = ListedColormap(["white", *_palette(count)])
    axes.imshow(values, cmap=colours, vmin=-0.5, vmax=count + 0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color("#BBBBBB")


def matrix_of_convolution(matrix: np.ndarray, kernel: np.ndarray, width: int) -> Figure:
    """Draw the matrix of a convolution beside its kernel, each weight in a colour of its own.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (outputs, inputs)
        Holds the weights of `kernel`, and zeros.
    kernel : numpy.ndarray, shape (side, side)
        Its weights, all different and none of them zero.
    width : int
        Columns of the image, to rule the matrix row of pixels by row of pixels.
    """
    numbered = _numbers(matrix, kernel)
    fig, (left, right) = figure(7.2, 4.0, 1, 2, width_ratios=(1, 6.2))
    _colours_of_weights(left, _numbers(kernel, kernel), kernel.size)
    for (row, column), weight in np.ndenumerate(kernel):
        number = kernel[:row].size + column
        left.text(
            column,
            row,
            f"{weight:g}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if number < kernel.size / 2 else "black",
        )
    left.set_title("the kernel", loc="center", fontsize=9)
    _colours_of_weights(right, numbered, kernel.size)
    outputs, inputs = matrix.shape
    across = width - kernel.shape[1] + 1
    for line in range(width, inputs, width):
        right.axvline(line - 0.5, color="#DDDDDD", linewidth=0.6, zorder=2)
    for line in range(across, outputs, across):
        right.axhline(line - 0.5, color="#DDDDDD", linewidth=0.6, zorder=2)
    right.set_title(
        f"the matrix: {outputs}×{inputs} places, {np.count_nonzero(matrix)} of them not zero",
        fontsize=9,
    )
    right.set_xlabel(f"pixels of the image, row after row ({inputs // width} rows of {width})")
    right.set_ylabel(f"outputs, row after row ({outputs // across} rows of {across})")
    return fig


def _numbers(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return for each value which weight of the kernel it is, from 1 on, and 0 for zero."""
    result = np.zeros(values.shape, int)
    for number, weight in enumerate(kernel.ravel(), start=1):
        result[values == weight] = number
    return result


def window_and_row(
    image: np.ndarray, matrix: np.ndarray, kernel: np.ndarray, output: np.ndarray, place: int
) -> Figure:
    """Draw one step of a convolution twice: as a window on the image, and as a row of the matrix.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        What is convolved.
    matrix : numpy.ndarray, shape (outputs, height · width)
        The convolution as a matrix.
    kernel : numpy.ndarray, shape (side, side)
        Its weights, all different and none of them zero.
    output : numpy.ndarray, shape (rows, columns)
        The result.
    place : int
        Which output, counted row after row.
    """
    side = kernel.shape[0]
    row, column = divmod(place, output.shape[1])
    fig, (left, middle, right) = figure(7.2, 2.2, 1, 3, width_ratios=(1, 1.8, 0.75))
    picture(left, image)
    left.add_patch(
        Rectangle((column - 0.5, row - 0.5), side, side, fill=False, edgecolor=BLUE, linewidth=2.5)
    )
    left.set_title("window on the image", loc="center", fontsize=9)
    _colours_of_weights(middle, _numbers(matrix, kernel), kernel.size)
    others = np.arange(len(matrix)) != place
    middle.images[0].set_alpha(np.where(others, 0.22, 1)[:, None] * np.ones_like(matrix))
    middle.add_patch(
        Rectangle(
            (-0.5, place - 0.5), matrix.shape[1], 1, fill=False, edgecolor=BLUE, linewidth=1.2
        )
    )
    middle.set_title("row of the matrix", loc="center", fontsize=9)
    limit = np.abs(output).max()
    shown = np.where(np.arange(output.size) <= place, output.ravel(), np.nan)
    picture(right, shown.reshape(output.shape), SIGNED, vmin=-limit, vmax=limit)
    right.add_patch(
        Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=BLUE, linewidth=2)
    )
    right.set_title("outputs", loc="center", fontsize=9)
    return fig


def global_and_local_weights(units: np.ndarray, kernels: np.ndarray) -> Figure:
    """Draw the weights of dense units as images, and under them the filters of a convolution.

    Parameters
    ----------
    units : numpy.ndarray, shape (n, height, width)
        Weights of dense units, in the arrangement of the image.
    kernels : numpy.ndarray, shape (n, side, side)
        Filters.
    """
    count = len(units)
    fig, axes = figure(7.2, 1.75, 2, count)
    for row, (values, name) in enumerate(((units, "dense units"), (kernels, "filters"))):
        for panel, weights in zip(axes[row], values, strict=True):
            limit = np.abs(weights).max()
            picture(panel, weights, SIGNED, vmin=-limit, vmax=limit)
        sides = "×".join(str(size) for size in values.shape[1:])
        axes[row, 0].set_ylabel(f"{name}\n{sides}", fontsize=8)
    return fig


def misreadings(
    images: dict[str, np.ndarray], answers: dict[str, dict[str, np.ndarray]], labels: np.ndarray
) -> Figure:
    """Draw variants of digits in rows, under each what two networks read.

    Parameters
    ----------
    images : dict of str to numpy.ndarray, shape (n, height, width)
        The same digits in several variants, by the name of the variant.
    answers : dict of str to dict of str to numpy.ndarray of int, shape (n,)
        What was read, by network and variant.
    labels : numpy.ndarray of int, shape (n,)
        The truth.
    """
    rows, count = len(images), len(labels)
    fig, axes = figure(7.2, 1.32 * rows, rows, count, squeeze=False)
    for row, (variant, pictures) in enumerate(images.items()):
        for column, panel in enumerate(axes[row]):
            picture(panel, pictures[column])
            for height, (network, read) in zip((-0.04, -0.2), answers.items(), strict=True):
                answer = int(read[variant][column])
                is_right = answer == labels[column]
                panel.text(
                    0.5,
                    height,
                    f"{network}: {answer}",
                    transform=panel.transAxes,
                    ha="center",
                    va="top",
                    fontsize=8,
                    color="#555555" if is_right else ORANGE,
                    fontweight="normal" if is_right else "bold",
                )
        axes[row, 0].set_ylabel(variant, fontsize=9)
    fig.get_layout_engine().set(h_pad=0.09)
    return fig


def accuracy_by_size(
    sizes: Sequence[int], panels: dict[str, dict[str, np.ndarray]], lowest: float = 60
) -> Figure:
    """Draw accuracy against the number of training digits, every seed as a point.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of training digits.
    panels : dict of str to dict of str to numpy.ndarray, shape (seeds, sizes)
        Accuracies 0..1, by title of the panel and network.
    lowest : float, default 60
        Where the axis begins, in per cent.
    """
    fig, axes = figure(7.2, 2.9, 1, len(panels), sharey=True, squeeze=False)
    for panel, (title, networks) in zip(axes.flat, panels.items(), strict=True):
        for name, accuracies in networks.items():
            values, colour = 100 * np.asarray(accuracies), COLOUR_OF[name]
            panel.plot(sizes, values.mean(axis=0), color=colour)
            for seed in values:
                panel.plot(sizes, seed, "o", color=colour, markersize=3.5, alpha=0.55)
            panel.annotate(
                name,
                (sizes[-1], values[:, -1].mean()),
                (8, 0),
                textcoords="offset points",
                color=colour,
                va="center",
            )
        panel.set(xscale="log", xlabel="training digits", ylim=(lowest, 100))
        panel.set_xlim(sizes[0] * 0.75, sizes[-1] * 3.2)
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
        panel.minorticks_off()
        panel.set_title(title)
    axes[0, 0].set_ylabel("read correctly, %")
    return fig


def scrambling(
    image: np.ndarray, scrambled: np.ndarray, accuracies: dict[str, np.ndarray]
) -> Figure:
    """Draw a digit and its scrambled version, and what scrambling does to two networks.

    Parameters
    ----------
    image, scrambled : numpy.ndarray, shape (height, width)
        One digit before and after.
    accuracies : dict of str to numpy.ndarray, shape (2, seeds)
        By network, 0..1: with the pixels as they are, and scrambled.
    """
    fig, (left, middle, right) = figure(7.2, 2.3, 1, 3, width_ratios=(1, 1, 1.9))
    fig.get_layout_engine().set(w_pad=0.12)
    picture(left, image)
    left.set_title("as it is", loc="center", fontsize=9)
    picture(middle, scrambled)
    middle.set_title("scrambled", loc="center", fontsize=9)
    for name, values in accuracies.items():
        values, colour = 100 * np.asarray(values), COLOUR_OF[name]
        right.plot([0, 1], values.mean(axis=1), color=colour)
        for seed in values.T:
            right.plot([0, 1], seed, "o", color=colour, markersize=3.5, alpha=0.55)
        right.annotate(
            name,
            (0, values[0].mean()),
            (-10, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            ha="right",
        )
    right.set(xlim=(-0.75, 1.3), ylabel="read correctly, %")
    right.set_xticks([0, 1], ["as it is", "scrambled"])
    return fig


def two_readings(
    image: np.ndarray, probabilities: dict[str, np.ndarray], truth: int | None = None
) -> Figure:
    """Draw a digit beside the probabilities that two networks give it.

    Parameters
    ----------
    image : numpy.ndarray, shape (height, width)
        The digit.
    probabilities : dict of str to numpy.ndarray, shape (10,)
        By network.
    truth : int, optional
        The label; a wrong answer is orange.
    """
    fig, axes = figure(7.2, 2.4, 1, 1 + len(probabilities))
    picture(axes[0], image)
    axes[0].set_title("the image", loc="center", fontsize=9)
    for panel, (name, values) in zip(axes[1:], probabilities.items(), strict=True):
        probability_bars(panel, values, truth)
        panel.set_title(name, loc="center", fontsize=9)
    return fig
