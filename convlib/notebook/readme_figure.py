"""Draw the README's picture: ``python -m convlib.notebook.readme_figure``.

The text's network is trained on drawn digits, then reads one that a person wrote.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from convlib import layers, models
from convlib.datasets import digits, strokes
from convlib.notebook.display import png_bytes
from convlib.notebook.figures import network_reading
from convlib.utils import set_random_seed

WRITTEN_DIGIT = 24
"""Which of the test digits of `convlib.datasets.digits` is read."""


def trained_on_strokes() -> models.Sequential:
    """Return the text's network, trained on 60 000 drawn digits."""
    set_random_seed(0)
    (images, labels), _ = strokes.load_data(test=1)
    model = models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    x = images[..., np.newaxis].astype(np.float32) / 255
    model.fit(x, labels, epochs=5, batch_size=64)
    return model


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m convlib.notebook.readme_figure", description=__doc__
    )
    parser.add_argument("--output", type=Path, default=Path("chapters/figures/readme.png"))
    options = parser.parse_args()
    _, (images, labels) = digits.load_data()
    image, label = images[WRITTEN_DIGIT], labels[WRITTEN_DIGIT]
    model = trained_on_strokes()
    outputs = model.layer_outputs(image[np.newaxis, ..., np.newaxis].astype(np.float32) / 255)
    probabilities = outputs[-1][0]
    if probabilities.argmax() != label:
        raise SystemExit(f"The digit is a {label} and was read as {probabilities.argmax()}.")
    names = [type(layer).__name__ for layer in model.layers[:5]]
    fig = network_reading(image, [output[0] for output in outputs[:5]], names, probabilities)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(png_bytes(fig))
    print(f"{options.output} written: a {label}, read with {probabilities.max():.3f}")


if __name__ == "__main__":
    main()
