"""What the chapters use and the library does not: figures, animations, widgets, exercise checks.

Importing this package imports matplotlib; ``import convlib`` does not import this package.
"""

from convlib.notebook.animation import show_animation
from convlib.notebook.display import png_bytes, show, source
from convlib.notebook.style import BLUE, GREY, ORANGE, STYLE, figure

__all__ = [
    "BLUE",
    "Explorer",
    "GREY",
    "ORANGE",
    "STYLE",
    "explore",
    "figure",
    "png_bytes",
    "show",
    "show_animation",
    "show_digit_pad",
    "show_explorer",
    "source",
]


def __getattr__(name: str):
    # The widgets are imported on first use: a chapter without a slider does not wait for them.
    if name == "explore":
        from convlib.notebook.widgets import explore

        return explore
    if name == "show_digit_pad":
        from convlib.notebook.digit_pad import show_digit_pad

        return show_digit_pad
    if name in ("Explorer", "show_explorer"):
        from convlib.notebook.explorer import widget

        return getattr(widget, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
