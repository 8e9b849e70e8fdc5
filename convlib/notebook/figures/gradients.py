"""Figures of gradients: how they flow back through a layer, and how they are checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from convlib.notebook.figures.digits import INK, picture
from convlib.notebook.style import BLUE, GREY, ORANGE, SIGNED, figure

_PALE = 2.2  # how far the colour scale of a grid reaches beyond its numbers, to keep these legible
_RULE = {"color": "#CCCCCC", "linewidth": 0.7, "zorder": 2, "clip_on": False}


def _text(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def number_grid(
    axes: Axes,
    values: np.ndarray,
    title: str = "",
    limit: float | None = None,
    frame: tuple[int, int, int, int] | None = None,
) -> None:
    """Draw a small array as a grid of numbers on pale red (positive) and blue (negative).

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    values : numpy.ndarray, shape (rows, columns)
        The numbers.
    title : str
        Written above, in the middle.
    limit : float, optional
        The largest number of the colour scale; that of `values` if not given; 0 for no colour.
    frame : tuple of int, optional
        First row, first column, rows and columns of a block to outline.
    """
    rows, columns = values.shape
    limit = _PALE * (max(np.abs(values).max(), 1e-12) if limit is None else limit)
    tinted = np.ma.masked_equal(values if limit else np.zeros(values.shape), 0)  # zeros stay white
    axes.imshow(tinted, cmap=SIGNED, vmin=-(limit or 1), vmax=limit or 1)
    for row in range(rows):
        for column in range(columns):
            value = values[row, column]
            axes.text(
                column,
                row,
                _text(value),
                ha="center",
                va="center",
                fontsize=9,
                color="#BBBBBB" if value == 0 else "black",
            )
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), xticks=[], yticks=[])
    for edge in np.arange(rows + 1) - 0.5:
        axes.plot([-0.5, columns - 0.5], [edge, edge], **_RULE)
    for edge in np.arange(columns + 1) - 0.5:
        axes.plot([edge, edge], [-0.5, rows - 0.5], **_RULE)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if frame is not None:
        top, left, down, across = frame
        axes.add_patch(
            Rectangle(
                (left - 0.5, top - 0.5),
                across,
                down,
                fill=False,
                edgecolor=ORANGE,
                linewidth=2.4,
                zorder=3,
                clip_on=False,
            )
        )
    if title:
        axes.set_title(title, loc="center", fontsize=9)


def _grids(shapes: Sequence[tuple[int, int]], signs: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Return axes for grids side by side, with cells of one size and a sign before each grid."""
    cell, gap, above = 0.36, 0.42, 0.3
    width = 7.2
    height = max(rows for rows, _ in shapes) * cell + above + 0.08
    content = sum(columns for _, columns in shapes) * cell + gap * (len(shapes) - 1)
    fig = Figure(figsize=(width, height), layout="none")
    left, axes = (width - content) / 2, []
    for (rows, columns), sign in zip(shapes, signs, strict=True):
        bottom = (height - above - rows * cell) / 2
        place = (left / width, bottom / height, columns * cell / width, rows * cell / height)
        axes.append(fig.add_axes(place))
        middle = bottom + rows * cell / 2
        fig.text(
            (left - gap / 2) / width, middle / height, sign, ha="center", va="center", fontsize=13
        )
        left += columns * cell + gap
    return fig, axes


def arrows(x: Sequence[float], w: Sequence[float], dy: Sequence[float]) -> Figure:
    """Draw three inputs, two weights and two outputs: forward, and the same arrows backward.

    Parameters
    ----------
    x : sequence of three floats
        The inputs.
    w : sequence of two floats
        The weights.
    dy : sequence of two floats
        The gradient of the loss with respect to the outputs.
    """
    x, w, dy = (np.asarray(numbers, float) for numbers in (x, w, dy))
    y = np.correlate(x, w, "valid")
    dx = np.convolve(dy, w)
    fig, axes = figure(7.2, 2.5, 1, 2)
    inputs, outputs = (2, 1, 0), (1.5, 0.5)
    for panel, title, left, right, signs in (
        (axes[0], "forward: each output sums its arrows", x, y, ("x", "y")),
        (axes[1], "backward: each input sums its arrows", dx, dy, ("dx", "dy")),
    ):
        is_forward = signs[0] == "x"
        for place in range(2):
            for tap, colour in ((0, BLUE), (1, ORANGE)):
                start, end = (0.16, inputs[place + tap]), (1.84, outputs[place])
                if not is_forward:
                    start, end = end, start
                panel.annotate(
                    "",
                    end,
                    start,
                    arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.5},
                )
                middle = 0.62 if tap == 0 else 0.95
                height = inputs[place + tap] + (outputs[place] - inputs[place + tap]) * (
                    (middle - 0.16) / 1.68
                )
                panel.text(
                    middle,
                    height,
                    f"×{_text(w[tap])}" if w[tap] >= 0 else f"×({_text(w[tap])})",
                    color=colour,
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
                )
        for side, heights, numbers, name, align in (
            (0.1, inputs, left, signs[0], "right"),
            (1.9, outputs, right, signs[1], "left"),
        ):
            for number, (height, value) in enumerate(zip(heights, numbers, strict=True)):
                sign = f"${'d' if len(name) > 1 else ''}{name[-1]}_{number}$"
                panel.text(
                    side, height, f"{sign} = {_text(value)}", ha=align, va="center", fontsize=10
                )
        panel.set(xlim=(-0.75, 2.75), ylim=(-0.35, 2.35))
        panel.set_axis_off()
        panel.set_title(title, loc="center")
    return fig


def spread_frame(dy: np.ndarray, w: np.ndarray, last: int) -> Figure:
    """Draw one moment of the input gradient: cell after cell of dy is spread over its window.

    Parameters
    ----------
    dy : numpy.ndarray, shape (rows, columns)
        The gradient of the loss with respect to a layer's output.
    w : numpy.ndarray, shape (height, width)
        Its kernel.
    last : int
        The cell of dy, counted row by row, that is being spread; those before it are done.
    """
    rows, columns = dy.shape
    height, width = w.shape
    shape = (rows + height - 1, columns + width - 1)
    total, final = np.zeros(shape), np.zeros(shape)
    for cell in range(rows * columns):
        i, j = divmod(cell, columns)
        patch = dy[i, j] * w
        final[i : i + height, j : j + width] += patch
        if cell <= last:
            total[i : i + height, j : j + width] += patch
    i, j = divmod(last, columns)
    patch = dy[i, j] * w
    fig, axes = _grids((dy.shape, w.shape, w.shape, shape), ("", "×", "=", "→"))
    limit = max(np.abs(final).max(), np.abs(dy).max() * np.abs(w).max())
    number_grid(axes[0], dy, "dy", np.abs(dy).max(), (i, j, 1, 1))
    number_grid(axes[1], w, "kernel w", np.abs(w).max())
    number_grid(axes[2], patch, "patch", limit, (0, 0, height, width))
    number_grid(axes[3], total, "added to dx", limit, (i, j, height, width))
    return fig


def gathered(dy: np.ndarray, w: np.ndarray, row: int, column: int) -> Figure:
    """Draw how one pixel of dx is a window of the padded dy, times the flipped kernel.

    Parameters
    ----------
    dy : numpy.ndarray, shape (rows, columns)
        The gradient of the loss with respect to a layer's output.
    w : numpy.ndarray, shape (height, width)
        Its kernel.
    row, column : int
        The pixel of dx.
    """
    height, width = w.shape
    padded = np.pad(dy, ((height - 1,) * 2, (width - 1,) * 2))
    flipped = w[::-1, ::-1]
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape)
    dx = (windows * flipped).sum((2, 3))
    limit = np.abs(dx).max()
    fig, axes = _grids((padded.shape, w.shape, dx.shape), ("", "×", "="))
    number_grid(axes[0], padded, "dy with a border of zeros", frame=(row, column, height, width))
    number_grid(axes[1], flipped, "flipped w", np.abs(w).max(), (0, 0, height, width))
    number_grid(axes[2], dx, "one pixel of dx", limit, (row, column, 1, 1))
    return fig


def routed(x: np.ndarray, dy: np.ndarray, dx: np.ndarray, pool: int = 2) -> Figure:
    """Draw what a pooling sends back: every window's gradient at the place of its maximum.

    Parameters
    ----------
    x : numpy.ndarray, shape (height, width)
        What was pooled.
    dy : numpy.ndarray, shape (rows, columns)
        The gradient with respect to the pooled values.
    dx : numpy.ndarray, shape (height, width)
        The gradient that goes back.
    pool : int, default 2
        Side of the window.
    """
    fig, axes = _grids((x.shape, dy.shape, x.shape), ("", "", "→"))
    limit = np.abs(dy).max()
    number_grid(axes[0], x, "x, winners framed", 0)
    number_grid(axes[1], dy, "dy", limit)
    number_grid(axes[2], dx, "dx", limit)
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            window = x[i * pool : (i + 1) * pool, j * pool : (j + 1) * pool]
            u, v = divmod(int(window.argmax()), window.shape[1])
            for panel in (axes[0], axes[2]):
                panel.add_patch(
                    Rectangle(
                        (j * pool + v - 0.5, i * pool + u - 0.5),
                        1,
                        1,
                        fill=False,
                        edgecolor=ORANGE,
                        linewidth=2.2,
                        zorder=4,
                    )
                )
    for panel in (axes[0], axes[2]):
        for i in range(dy.shape[0]):
            for j in range(dy.shape[1]):
                panel.add_patch(
                    Rectangle(
                        (j * pool - 0.5, i * pool - 0.5),
                        pool,
                        pool,
                        fill=False,
                        edgecolor="#555555",
                        linewidth=1.4,
                        zorder=3,
                        clip_on=False,
                    )
                )
    return fig


def there_and_back(
    names: Sequence[str], values: Sequence[np.ndarray], gradients: Sequence[np.ndarray]
) -> Figure:
    """Draw one image on its way through a network, and under each step the gradient coming back.

    Parameters
    ----------
    names : sequence of str
        What to call each step.
    values : sequence of numpy.ndarray, shape (height, width)
        One channel of each step, on a scale of its own.
    gradients : sequence of numpy.ndarray, shape (height, width)
        Of the loss with respect to the values; exact zeros stay white.
    """
    fig, axes = figure(7.2, 2.5, 2, len(names), squeeze=False)
    for column, (name, value, gradient) in enumerate(zip(names, values, gradients, strict=True)):
        size = "×".join(str(side) for side in value.shape)
        lowest = value.min() if value.min() < 0 else 0
        colours = SIGNED if lowest < 0 else INK
        limit = max(np.abs(value).max(), 1e-12)
        picture(
            axes[0, column],
            value,
            colours,
            f"{name}\n{size}",
            vmin=-limit if lowest < 0 else 0,
            vmax=limit,
        )
        limit = max(np.abs(gradient).max(), 1e-12)
        share = np.count_nonzero(gradient) / gradient.size
        picture(axes[1, column], gradient, SIGNED, vmin=-limit, vmax=limit)
        axes[1, column].set_xlabel(f"{100 * share:.0f} % not 0", fontsize=8, labelpad=3)
    axes[0, 0].set_ylabel("values  →", fontsize=9)
    axes[1, 0].set_ylabel("←  gradients", fontsize=9)
    return fig


def step_errors(
    steps: np.ndarray, errors: dict[str, np.ndarray], order: int, truncation: np.ndarray
) -> Figure:
    """Draw the error of a difference quotient against its step, on logarithmic scales.

    Parameters
    ----------
    steps : numpy.ndarray
        The steps h.
    errors : dict of str to numpy.ndarray
        Relative errors of the slope at each step, by name of the number format.
    order : int
        The power of h that the error of the formula grows with.
    truncation : numpy.ndarray
        The error that the formula would have at each step without rounding.
    """
    fig, axes = figure(7.2, 3.5)
    for (name, error), colour in zip(errors.items(), (ORANGE, BLUE), strict=True):
        drawn = np.maximum(error, 1e-16)
        axes.loglog(steps, drawn, ".", markersize=4, color=colour, alpha=0.55)
        # A running median shows the course of what rounding scatters.
        smooth = [np.median(np.log10(drawn[max(0, k - 3) : k + 4])) for k in range(len(drawn))]
        axes.loglog(steps, 10 ** np.array(smooth), color=colour)
        place = int(np.argmin(np.abs(np.log10(steps) - (-5 if name == "float32" else -9.5))))
        axes.annotate(
            name,
            (steps[place], 10 ** smooth[place]),
            (10, 10),
            textcoords="offset points",
            color=colour,
            fontsize=11,
            fontweight="bold",
        )
        best = int(np.argmin(smooth))
        digits, power = f"{steps[best]:.0e}".split("e")
        axes.plot(steps[best], 10 ** smooth[best], "o", color=colour, markersize=7, zorder=5)
        axes.annotate(
            f"best near h = {digits} · $10^{{{int(power)}}}$",
            (steps[best], 10 ** smooth[best]),
            (2, -14) if order == 2 else (6, -18),
            textcoords="offset points",
            ha="right" if order == 2 else "left",
            color=colour,
            fontsize=8.5,
        )
        lost = np.flatnonzero(error == 1)
        if len(lost):
            axes.annotate(
                "too small to change w at all",
                (steps[lost[len(lost) // 2]], 1),
                (0, 6),
                textcoords="offset points",
                ha="center",
                color=colour,
                fontsize=8.5,
            )
    axes.loglog(steps, np.maximum(truncation, 1e-18), "--", color=GREY, linewidth=1)
    power = "h" if order == 1 else f"h^{order}"
    axes.annotate(
        f"cut-off series:\nerror grows as ${power}$",
        (0.985, 0.30 if order == 2 else 0.45),
        xycoords="axes fraction",
        ha="right",
        color="#555555",
        fontsize=8.5,
    )
    axes.annotate(
        "rounding: error grows as $1/h$",
        (0.06, 0.27) if order == 2 else (0.005, 0.4),
        xycoords="axes fraction",
        color="#555555",
        fontsize=8.5,
    )
    axes.set(
        xlabel="step h",
        ylabel="relative error of the slope",
        ylim=(1e-13, 30),
        xlim=(steps.min() / 1.5, steps.max() * 1.5),
    )
    return fig


def right_and_broken(
    accuracies: dict[str, Sequence[float]],
    errors: dict[str, Sequence[float]],
    parameters: Sequence[str],
) -> Figure:
    """Draw how well networks learn, and beside it what a gradient check says about each.

    Parameters
    ----------
    accuracies : dict of str to sequence of float
        Test accuracies 0..1 of several seeds, by what is broken; the first is right.
    errors : dict of str to sequence of float
        Relative error of the gradient of each parameter, with the same keys.
    parameters : sequence of str
        Their names.
    """
    names = list(accuracies)
    fig, (left, right) = figure(7.2, 0.4 * len(names) + 0.75, 1, 2, width_ratios=(1, 1.15))
    lowest = 60.0
    for row, name in enumerate(names):
        values = 100 * np.asarray(accuracies[name])
        colour = BLUE if row == 0 else ORANGE
        shown = values[values >= lowest]
        left.plot(shown, np.full(len(shown), row), "o", color=colour, alpha=0.55, markersize=5)
        if values.mean() >= lowest:
            left.plot([values.mean()] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=2)
        else:
            left.text(lowest, row, "◀ far below", va="center", fontsize=8.5, color=colour)
        left.text(
            99.5,
            row,
            f"{values.mean():.1f} ± {values.std(ddof=1):.1f}",
            va="center",
            fontsize=8.5,
            color=colour,
        )
    right_mean = 100 * np.mean(accuracies[names[0]])
    left.axvline(right_mean, color=BLUE, linewidth=0.8, linestyle=":", zorder=0)
    left.set(yticks=range(len(names)), xlim=(lowest, 98), ylim=(len(names) - 0.4, -0.6))
    left.set_xticks([60, 70, 80, 90])
    left.set_yticklabels(names)
    left.tick_params(axis="y", length=0)
    left.spines["left"].set_visible(False)
    left.set_xlabel("test accuracy, %")
    left.set_title("each seed, mean ± sd")
    found = np.array([errors[name] for name in names])
    right.imshow(np.log10(np.maximum(found, 1e-12)), cmap="Oranges", vmin=-7, vmax=3, aspect="auto")
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            error = found[row, column]
            text = "✓" if error < 1e-5 else f"{100 * error:.0f} %"
            right.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="#999999" if error < 1e-5 else "black",
            )
    right.set(xticks=range(len(parameters)), yticks=[], ylim=(len(names) - 0.4, -0.6))
    right.set_xticklabels(parameters)
    right.tick_params(length=0)
    for spine in right.spines.values():
        spine.set_visible(False)
    right.set_title("error found by the gradient check")
    return fig
