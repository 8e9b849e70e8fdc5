"""Moving pictures as animated PNGs: small, without scripts, the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Iterable

from matplotlib.figure import Figure

from convlib.notebook.display import reduced, rendered, require_sentence, show_png


def animated_png(figures: Iterable[Figure], seconds: float = 0.5) -> bytes:
    """Return figures of one size as the frames of an endlessly repeating animated PNG.

    Parameters
    ----------
    figures : iterable of matplotlib.figure.Figure
        The frames; viewers that cannot animate show the first.
    seconds : float, default 0.5
        How long each frame stays.

    Raises
    ------
    ValueError
        If there is no frame, or if the frames differ in size.
    """
    frames = [rendered(fig) for fig in figures]
    if not frames:
        raise ValueError("An animation needs at least one figure, got none.")
    sizes = {frame.size for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"All frames must have one size in pixels, got {sorted(sizes)}.")
    first, *others = reduced(frames)
    buffer = io.BytesIO()
    first.save(
        buffer,
        format="PNG",
        save_all=True,
        append_images=others,
        duration=round(1000 * seconds),
        loop=0,
    )
    return buffer.getvalue()


def show_animation(figures: Iterable[Figure], sentence: str, seconds: float = 0.5) -> None:
    """Show figures as an animation, and under it the sentence that says what to see.

    See chapter 1, "The smallest example".

    Parameters
    ----------
    figures : iterable of matplotlib.figure.Figure
        The frames, all of one size.
    sentence : str
        What to see.
    seconds : float, default 0.5
        How long each frame stays.

    Raises
    ------
    ValueError
        If there is no frame, if the frames differ in size, or if there is no proper sentence.

    Examples
    --------
    >>> from convlib.notebook import figure, show_animation
    >>> frames = []
    >>> for height in (1, 2, 3):
    ...     fig, axes = figure(2, 1)
    ...     bar = axes.bar([0], [height])
    ...     limits = axes.set_ylim(0, 3)
    ...     frames.append(fig)
    >>> show_animation(frames, "A bar grows from one to three.", seconds=0.3)
    """
    require_sentence(sentence)
    show_png(animated_png(figures, seconds), sentence)
