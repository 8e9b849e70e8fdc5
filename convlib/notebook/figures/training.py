"""Figures of training: curves, accuracies, confusions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from convlib.notebook.style import BLUE, GREY, ORANGE, figure


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
