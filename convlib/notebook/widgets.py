"""Sliders that redraw a picture, with a still picture where no kernel runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets
from matplotlib.figure import Figure

from convlib.notebook.display import png_bytes, require_sentence, show_png

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def widget_view(widget: ipywidgets.Widget) -> dict:
    """Return the representation of a live widget for one output among other formats."""
    return {WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}}


def explorer(
    draw: Callable[..., Figure], choices: dict[str, Sequence], start: dict | None = None
) -> ipywidgets.VBox:
    """Build a picture with one slider per argument of `draw`; see `explore`.

    Returns
    -------
    ipywidgets.VBox
        Its children are the sliders, in order, and the picture last.
    """
    start = {name: options[0] for name, options in choices.items()} | (start or {})
    sliders = {
        name: ipywidgets.SelectionSlider(
            options=list(options),
            value=start[name],
            description=name.replace("_", " "),
            continuous_update=False,
            style={"description_width": "initial"},
        )
        for name, options in choices.items()
    }
    picture = ipywidgets.Image(format="png", layout={"max_width": "100%", "width": "720px"})

    def redraw(_change: object = None) -> None:
        picture.value = png_bytes(draw(**{name: slider.value for name, slider in sliders.items()}))

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*sliders.values(), picture])


def explore(
    draw: Callable[..., Figure], sentence: str, start: dict | None = None, **choices: Sequence
) -> None:
    """Show a picture that sliders redraw; without a running kernel, its first state.

    See chapter 1, "Touch it".

    Parameters
    ----------
    draw : callable
        Called with one value for each name in `choices`; returns a figure.
    sentence : str
        What to see in the first state.
    start : dict, optional
        Value of a slider before it is touched, by name; the first choice if not given.
    **choices : sequence
        The values each slider offers.

    Raises
    ------
    ValueError
        If the sentence has less than 20 characters or no full stop at its end.

    Examples
    --------
    >>> from convlib.notebook import explore, figure
    >>> def draw(height):
    ...     fig, axes = figure(2, 1)
    ...     bar = axes.bar([0], [height])
    ...     return fig
    >>> explore(draw, "A bar as high as the slider says.", height=[1, 2, 3])
    """
    require_sentence(sentence)
    box = explorer(draw, choices, start)
    show_png(box.children[-1].value, sentence, extra=widget_view(box))
