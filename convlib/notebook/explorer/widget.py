"""The explorer in a notebook: a network that a reader draws for, and looks into.

Everything is computed in the page by JavaScript, also where a kernel runs. So there is one code for
the notebook and the web site; a stroke waits neither for a message to Python and back nor for a
kernel that is training; and what is shown is the network of one moment, with its products and
weights. That the JavaScript computes what the library's kernels compute is held by
``tests/test_notebook_explorer.py``, layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from convlib import layers
from convlib.datasets import strokes
from convlib.models import Sequential
from convlib.notebook.display import png_bytes, png_output, require_sentence, show_png
from convlib.notebook.explorer.export import describe, script
from convlib.notebook.figures import picture, probability_bars
from convlib.notebook.style import POSITIVE, SIGNED
from convlib.notebook.widgets import widget_view

SENTENCE = (
    "An image, the maps of some layers of a network, and what the network answers. With a running "
    "kernel this is a pad to draw on."
)


_ROWS, _COLUMNS, _CLASSES = 4, 5, 20  # at most, in the still picture


class Explorer(anywidget.AnyWidget):
    """A pad to draw on, all that the layers make of the drawing, and how each value comes about.

    Pointing at a value shows the patch that it was made from, the kernel, the products and their
    sum, and frames in all earlier layers what it rests on. A click on a map shows its filter and
    its response to a gallery of images. All of it is also reached by keyboard.

    The weights are those that the model has when the explorer is made: make another after training.
    Where no kernel runs, a still picture of the first image of the gallery is shown.

    See chapter 14, "Touch it: draw your own".

    Parameters
    ----------
    model : Sequential
        Built, with images ``(height, width, channels)`` as input, of 1 channel or of 3. Grey ink
        goes into all channels.
    gallery : array (n, height, width) or (n, height, width, channels), optional
        Images in the numbers that the model was trained on; the first is on the pad at the start.
        Paper is 0, and ink is the gallery's largest value. If not given: ten drawn digits for
        images of 28×28 and one channel, none for others, and ink is 1.
    labels : sequence of n, optional
        What the gallery shows; numbers from 0 on if not given.

    Attributes
    ----------
    still : bytes
        The still picture, a PNG.

    Raises
    ------
    TypeError
        If `model` is no `Sequential`, or has a layer that cannot be shown.
    ValueError
        If it is not built, does not take such images, or the gallery does not fit.

    Examples
    --------
    >>> from convlib import layers, models
    >>> from convlib.notebook import Explorer
    >>> model = models.Sequential([layers.Input((28, 28, 1))])
    >>> model.add(layers.Conv2D(4, 3, activation="relu"))
    >>> Explorer(model).description["layers"][0]["window"]
    [3, 3]
    """

    _esm = script()
    description = traitlets.Dict().tag(sync=True)
    numbers = traitlets.Bytes().tag(sync=True)

    def __init__(
        self,
        model: Sequential,
        gallery: np.ndarray | None = None,
        labels: Sequence | None = None,
    ) -> None:
        shape = model.input_shape[1:] if isinstance(model, Sequential) and model.built else None
        if gallery is None and shape == (28, 28, 1):
            gallery = strokes.draw(range(10), seed=1).astype(np.float32) / 255
        description, numbers = describe(model, gallery, labels)
        if shape[-1] not in (1, 3):
            raise ValueError(f"the pad draws images of 1 or 3 channels; the model takes {shape}")
        example = np.zeros(shape) if gallery is None else np.asarray(gallery)[0].reshape(shape)
        self.still = png_bytes(still(model, example), colours=128)
        super().__init__(description=description, numbers=numbers.tobytes())

    def _repr_mimebundle_(self, **_kwargs) -> tuple[dict, dict]:
        return png_output(self.still, SENTENCE, extra=widget_view(self))


def still(model: Sequential, image: np.ndarray) -> Figure:
    """Draw an image, the strongest maps of the first layers that make some, and the probabilities.

    Parameters
    ----------
    model : Sequential
    image : array (height, width, channels)
    """
    outputs = [output[0] for output in model.layer_outputs(image[None].astype(np.float32))]
    makers = (layers.Conv2D, layers.DepthwiseConv2D, layers.MaxPooling2D, layers.AveragePooling2D)
    pairs = zip(model.layers, outputs, strict=True)
    named = [(layer.name, maps) for layer, maps in pairs if isinstance(layer, makers)][:_ROWS]
    answer = outputs[-1]
    if answer.ndim > 1 or len(answer) > _CLASSES or abs(answer.sum() - 1) > 1e-3:
        answer = None  # these are no probabilities
    ratios = [4] + [6] * bool(named) + [3] * (answer is not None)
    fig = Figure(figsize=(0.55 * sum(ratios), 2.8))
    parts = iter(fig.subfigures(1, len(ratios), width_ratios=ratios, squeeze=False)[0])
    ink = image if image.shape[-1] == 3 else image.mean(axis=-1)
    picture(next(parts).subplots(), ink / (image.max() or 1), title="the image")
    if named:
        grid = next(parts).subplots(len(named), _COLUMNS, squeeze=False)
        for row, (name, maps) in enumerate(named):
            largest = float(np.abs(maps).max()) or 1.0
            colours, low = (SIGNED, -largest) if maps.min() < 0 else (POSITIVE, 0.0)
            strongest = np.argsort(-np.abs(maps).mean(axis=(0, 1)), kind="stable")[:_COLUMNS]
            for panel in grid[row, len(strongest) :]:
                panel.set_axis_off()
            for panel, channel in zip(grid[row], strongest, strict=False):
                picture(panel, maps[..., channel], colours, vmin=low, vmax=largest)
            grid[row, 0].set_title(name, fontsize=7, pad=2)
    if answer is not None:
        bars = next(parts).subplots()
        probability_bars(bars, answer)
        bars.set_xlim(0, 1.4)
        bars.set_title("probability of each class", loc="center", fontsize=8, pad=3)
    return fig


def show_explorer(
    model: Sequential,
    sentence: str,
    gallery: np.ndarray | None = None,
    labels: Sequence | None = None,
) -> None:
    """Show an `Explorer`; without a running kernel, a picture of the gallery's first image.

    See chapter 14, "Touch it: draw your own".

    Parameters
    ----------
    model : Sequential
        As for `Explorer`.
    sentence : str
        What to see in the still picture.
    gallery : array (n, height, width) or (n, height, width, channels), optional
        As for `Explorer`.
    labels : sequence of n, optional
        As for `Explorer`.

    Raises
    ------
    TypeError
        If `model` is no `Sequential`, or has a layer that cannot be shown.
    ValueError
        If the sentence is empty, the model is not built or does not take images, or the gallery
        does not fit.

    Examples
    --------
    >>> from convlib import layers, models
    >>> from convlib.notebook import show_explorer
    >>> model = models.Sequential([layers.Input((28, 28, 1))])
    >>> model.add(layers.Conv2D(4, 3, activation="relu"))
    >>> show_explorer(model, "A drawn zero, and what four untrained filters make of it.")
    """
    require_sentence(sentence)
    explorer = Explorer(model, gallery, labels)
    show_png(explorer.still, sentence, extra=widget_view(explorer))
