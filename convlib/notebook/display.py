"""Show figures and source code in a notebook so that everybody can read them."""

from __future__ import annotations

import ast
import base64
import html
import inspect
import io
import sys
import textwrap
from collections.abc import Sequence

import numpy as np
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

PIXELS_PER_INCH = 120
_CSS_PIXELS_PER_INCH = 96  # the size at which a browser shows the figure
COLOURS = 64


def rendered(fig: Figure) -> Image.Image:
    """Draw a figure on white and return it as an RGB image."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=PIXELS_PER_INCH)
    return Image.open(buffer).convert("RGB")


def reduced(frames: Sequence[Image.Image], count: int = COLOURS) -> list[Image.Image]:
    """Return RGB images of one size with one common palette of at most `count` colours."""
    pixels = np.stack([np.asarray(frame) for frame in frames])
    sheet = Image.fromarray(pixels.reshape(-1, *pixels.shape[2:]))
    # Maximum coverage keeps the colour of a thin line, which the median cut would give up.
    palette = sheet.quantize(count, method=Image.Quantize.MAXCOVERAGE).getpalette()
    colours = np.array(palette[: 3 * count], dtype=np.int64).reshape(-1, 3)
    colours[colours.sum(axis=1).argmax()] = 255  # the ground is to be white, not nearly white
    # Pillow finds the nearest colour only roughly and would dither; here each colour is looked up.
    packed = pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1)
    present, place = np.unique(packed, return_inverse=True)
    channels = present[:, None] >> (16, 8, 0) & 255
    distances = ((channels[:, None] - colours) ** 2).sum(axis=-1)
    indices = distances.argmin(axis=1).astype(np.uint8)[place.reshape(packed.shape)]
    images = [Image.frombytes("P", frames[0].size, index.tobytes()) for index in indices]
    for image in images:
        image.putpalette(colours.astype(np.uint8).tobytes())
    return images


def png_bytes(fig: Figure, colours: int = COLOURS) -> bytes:
    """Return a figure as a PNG of few colours.

    The same figure gives the same bytes: the file carries no date, version or other metadata.

    See chapter 0, "Drawn digits and real ones".

    Parameters
    ----------
    fig : matplotlib.figure.Figure
        The figure.
    colours : int, default 64
        How many, at most 256. A figure with several colour maps needs more than 64.

    Returns
    -------
    bytes
        A PNG with a palette, 120 pixels to the inch.

    Examples
    --------
    >>> from convlib.notebook import figure, png_bytes
    >>> fig, axes = figure(2, 1)
    >>> line = axes.plot([0, 1], [0, 1])
    >>> png_bytes(fig)[1:4]
    b'PNG'
    """
    (image,) = reduced([rendered(fig)], colours)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def require_sentence(sentence: str) -> None:
    """Refuse a caption that does not say, in a sentence, what there is to see."""
    if not isinstance(sentence, str) or len(sentence) < 20 or not sentence.endswith("."):
        raise ValueError(
            "A figure needs a sentence that says what to see in it: at least 20 characters and "
            f"a full stop at the end. Got {sentence!r}."
        )


def png_output(png: bytes, sentence: str, extra: dict | None = None) -> tuple[dict, dict]:
    """Return PNG bytes as one output, with the sentence as alternative text.

    Parameters
    ----------
    png, sentence, extra
        As for `show_png`.

    Returns
    -------
    data : dict
        The representations by MIME type.
    metadata : dict
        What belongs to them, by MIME type: the alternative text, and the size in a browser.
    """
    width, height = Image.open(io.BytesIO(png)).size
    scale = _CSS_PIXELS_PER_INCH / PIXELS_PER_INCH
    size = {"width": round(width * scale), "height": round(height * scale)}
    picture = {"image/png": base64.b64encode(png).decode(), "text/plain": sentence}
    return picture | (extra or {}), {"image/png": {"alt": sentence, **size}}


def show_png(png: bytes, sentence: str, extra: dict | None = None) -> None:
    """Display PNG bytes with the sentence as alternative text and, printed, underneath.

    Parameters
    ----------
    png : bytes
        The picture, drawn at `PIXELS_PER_INCH`.
    sentence : str
        What to see in it.
    extra : dict, optional
        Further representations of the same output by MIME type, such as a live widget.
    """
    require_sentence(sentence)
    data, metadata = png_output(png, sentence, extra)
    display(data, metadata=metadata, raw=True)
    display({"text/markdown": f"*{sentence}*", "text/plain": sentence}, raw=True)


def show(fig: Figure, sentence: str, colours: int = COLOURS) -> None:
    """Show a figure, and under it the sentence that says what to see in it.

    See chapter 0, "Drawn digits and real ones".

    Parameters
    ----------
    fig : matplotlib.figure.Figure
        The figure, from `convlib.notebook.figure` or from pyplot.
    sentence : str
        One sentence, which also becomes the picture's alternative text.
    colours : int, default 64
        How many colours the picture may have.

    Raises
    ------
    ValueError
        If the sentence has less than 20 characters or no full stop at its end.

    Examples
    --------
    >>> from convlib.notebook import figure, show
    >>> fig, axes = figure(2, 1)
    >>> line = axes.plot([0, 1], [0, 1])
    >>> show(fig, "A straight line rises from the left to the right.")
    """
    require_sentence(sentence)
    show_png(png_bytes(fig, colours), sentence)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(fig)  # else the notebook would show it a second time


def source_text(thing: object, docstring: bool = False) -> str:
    """Return the source of a function or class, taken from the library itself.

    Parameters
    ----------
    thing : function, class or Numba dispatcher
        What to show.
    docstring : bool, default False
        Keep the docstring.
    """
    # A Numba dispatcher keeps the Python function that it was made from.
    text = textwrap.dedent(inspect.getsource(getattr(thing, "py_func", thing)))
    if docstring:
        return text.rstrip()
    definition = ast.parse(text).body[0]
    lines = text.splitlines()
    if ast.get_docstring(definition) is not None and len(definition.body) > 1:
        node = definition.body[0]
        after = node.end_lineno
        while after < len(lines) and not lines[after].strip():
            after += 1
        del lines[node.lineno - 1 : after]
    return "\n".join(lines).rstrip()


def source(*things: object, docstring: bool = False) -> None:
    """Show the source of functions, several of them side by side.

    The text is read from the installed library, so it cannot differ from what runs.

    Without ``docstring`` one sees what is computed, and the reference has the rest.

    See chapter 1, "How the library does it".

    Parameters
    ----------
    *things : function, class or Numba dispatcher
        What to show, for example a reference kernel and its fast version.
    docstring : bool, default False
        Keep the docstrings.

    Raises
    ------
    ValueError
        If nothing is given.

    Examples
    --------
    >>> from convlib import shapes
    >>> from convlib.notebook import source
    >>> source(shapes.same_padding)
    >>> source(shapes.output_size, shapes.same_padding)  # side by side
    """
    if not things:
        raise ValueError("source() expects at least one function or class to show, got none.")
    texts = [source_text(thing, docstring) for thing in things]
    if len(texts) == 1:
        plain = texts[0]
        display({"text/markdown": f"```python\n{plain}\n```", "text/plain": plain}, raw=True)
        return
    names = [
        f"{getattr(thing, 'py_func', thing).__module__}.{getattr(thing, 'py_func', thing).__name__}"
        for thing in things
    ]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    cells = "".join(
        f'<td style="text-align:left;vertical-align:top"><pre>{html.escape(text)}</pre></td>'
        for text in texts
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody><tr>{cells}</tr></tbody></table>"
    plain = "\n\n".join(f"# {name}\n{text}" for name, text in zip(names, texts, strict=True))
    display({"text/html": table, "text/plain": plain}, raw=True)
