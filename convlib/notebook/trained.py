"""The network that comes with the book, for those who do not want to train one first."""

from __future__ import annotations

from convlib.datasets._common import embedded
from convlib.models import Sequential, load_model


def trained_network() -> Sequential:
    """Return the text's network, trained on drawn digits; see ``data/network.md``.

    It takes images of shape ``(n, 28, 28, 1)``, 0 for paper and 1 for ink, and gives the
    probabilities of the ten digits. Digits may be larger or smaller than MNIST's, and anywhere on
    the image.

    See chapter 14, "Touch it: draw your own".

    Returns
    -------
    Sequential
        Not compiled; its ``predict`` is ready.

    Raises
    ------
    DatasetError
        If the file is missing.
    ValueError
        If it is damaged.

    Examples
    --------
    >>> from convlib.datasets import strokes
    >>> from convlib.notebook import trained_network
    >>> seven = strokes.draw([7]).reshape(1, 28, 28, 1).astype("float32") / 255
    >>> int(trained_network().predict(seven, verbose=0).argmax())
    7
    """
    return load_model(embedded("network.npz"))
