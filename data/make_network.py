"""Make data/network.npz, the text's network trained on drawn digits: python data/make_network.py.

Needs convlib alone, and two to ten minutes. The digits are drawn for it, larger and smaller than
MNIST's and anywhere on the image, because that is how people draw on a pad. Nothing depends on the
number of threads, so machines of the same type make the same bytes. Only who changes the recipe
makes the file again: ``data/network.md`` and what is tested of it go with the file.
"""

import hashlib
from pathlib import Path

import numpy as np

from convlib import layers
from convlib.datasets import strokes
from convlib.models import Sequential
from convlib.optimizers import Adam
from convlib.utils import set_random_seed

FILE = Path(__file__).resolve().parent / "network.npz"
EPOCHS = 60
DRAWINGS = 60_000  # in each epoch, and other ones in the next
LEARNING_RATE = 0.001  # at the start; a cosine takes it down to nothing

SIDE = 28  # pixels
SIZES = 0.55, 1.25  # times the size of MNIST's digits
STRETCH = 0.08  # standard deviation of the logarithm, in each direction
DARKEST = 1.6  # factors on the ink from 1 to this make edges harder
CHUNK = 1000  # drawings that are changed at a time


def main() -> None:
    """Train the network, write it, and say which file came out."""
    model = trained(EPOCHS, DRAWINGS)
    model.save(FILE)
    content = FILE.read_bytes()
    print(f"{FILE}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


def trained(epochs: int, drawings: int) -> Sequential:
    """Return the text's network after some epochs, each on drawings of its own."""
    set_random_seed(0)
    learner = text_network()
    learner.compile(Adam(LEARNING_RATE), "sparse_categorical_crossentropy", metrics=["accuracy"])
    for epoch in range(epochs):
        # Seed 0 is what everybody else draws with, and is left for testing.
        (images, labels), _ = strokes.load_data(seed=1 + epoch, train=drawings, test=0)
        images = scattered(images, np.random.default_rng(epoch))
        learner.optimizer.learning_rate = LEARNING_RATE * (1 + np.cos(np.pi * epoch / epochs)) / 2
        learner.fit(images, labels, batch_size=64, verbose=2)
    # Without what only further training would need.
    plain = text_network()
    plain.set_weights(learner.get_weights())
    return plain


def text_network() -> Sequential:
    """Return the text's network, untrained."""
    return Sequential(
        [
            layers.Conv2D(32, (3, 3), activation="relu", input_shape=(SIDE, SIDE, 1)),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="drawn_digits",
    )


def scattered(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return digits in other sizes and at other places, with harder edges.

    Parameters
    ----------
    images : uint8 array (n, 28, 28)
        0 for paper and 255 for ink.
    generator : numpy.random.Generator

    Returns
    -------
    float32 array (n, 28, 28, 1)
        0 for paper and 1 for ink.
    """
    result = np.empty((*images.shape, 1), np.float32)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK].astype(np.float32) / 255
        count = len(part)
        scales = generator.uniform(*SIZES, (count, 1))
        scales = scales * np.exp(generator.normal(0, STRETCH, (count, 2)))
        rows, columns = (
            _resampling(part.any(axis=other), scale, generator)
            for other, scale in zip((2, 1), scales.T, strict=True)
        )
        part = rows @ part @ columns.transpose(0, 2, 1)
        part *= generator.uniform(1, DARKEST, (count, 1, 1)).astype(np.float32)
        result[start : start + CHUNK, ..., 0] = np.minimum(part, 1)
    return result


def _resampling(inked, scales, generator):
    """Return for each image the matrix (28, 28) that scales and moves one of its axes.

    ``inked`` (n, 28) says where the image has ink. This lands anywhere inside, as a whole if it has
    room. The weights are those of linear interpolation, widened where the image shrinks.
    """
    first, end = inked.argmax(1), SIDE - inked[:, ::-1].argmax(1)
    room = SIDE - (end - first) * scales
    corner = room * np.where(room > 0, generator.uniform(0, 1, len(inked)), 0.5)
    centres = np.arange(SIDE) + 0.5
    scales = scales[:, np.newaxis, np.newaxis]
    source = centres[:, np.newaxis] - corner[:, np.newaxis, np.newaxis]
    source = source / scales + first[:, np.newaxis, np.newaxis]
    sharpness = np.minimum(scales, 1)
    weights = sharpness * np.maximum(1 - sharpness * np.abs(source - centres), 0)
    return weights.astype(np.float32)


if __name__ == "__main__":
    main()
