"""One look for every figure of the book: white, quiet, readable by colour-blind readers.

Importing this module makes the look matplotlib's default, so that a figure which a reader makes
in a chapter looks like those that are there.
"""

from __future__ import annotations

import numpy as np
from cycler import cycler
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE = "#0072B2"
"""First colour of the Okabe-Ito palette used in the book, for what is discussed."""
ORANGE = "#D55E00"
"""Second colour, for what it is compared with, and for mistakes."""
GREY = "#8A8A8A"
"""Context, which should not draw the eye."""

SIGNED = "RdBu_r"
"""Colour map for values with a sign; centre it on zero."""
POSITIVE = "cividis"
"""Colour map for values without a sign."""

STYLE = {
    "figure.facecolor": "white",
    "figure.dpi": 120,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # it comes with matplotlib: the same letters everywhere
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "normal",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, "#009E73", "#CC79A7", GREY]),
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "lines.linewidth": 1.6,
    "image.cmap": POSITIVE,
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "savefig.facecolor": "white",
}
"""Matplotlib settings of the book."""

rcParams.update(STYLE)


def figure(
    width: float = 7.2, height: float = 2.8, rows: int = 1, columns: int = 1, **subplots
) -> tuple[Figure, Axes | np.ndarray]:
    """Make a figure in the house style, independent of pyplot and of any window system.

    See chapter 0, "Drawn digits and real ones".

    Parameters
    ----------
    width, height : float
        Size in inches; 7.2 inches fill the text column of a notebook.
    rows, columns : int
        Grid of axes.
    **subplots
        Passed to `matplotlib.figure.Figure.subplots`.

    Returns
    -------
    fig : matplotlib.figure.Figure
    axes : matplotlib.axes.Axes or numpy.ndarray
        One axes, or an array of them.

    Examples
    --------
    >>> from convlib.notebook import figure
    >>> fig, axes = figure(columns=3)
    >>> fig.get_size_inches().tolist(), axes.shape
    ([7.2, 2.8], (3,))
    """
    fig = Figure(figsize=(width, height))
    return fig, fig.subplots(rows, columns, **subplots)
