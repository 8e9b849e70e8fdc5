"""Keras 3 with TensorFlow: the text's program, compiled by XLA or not, whichever is faster.

Only the epoch itself is timed. When a call of `fit` or `predict` ends, TensorFlow takes its input
pipeline down, and in version 2.21 that can take as long again: a matter of short calls.
"""

import os
import platform
import time

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from keras import layers, models


def introduce() -> dict:
    """Return the versions of what computes."""
    return {
        "name": "Keras/TensorFlow",
        "versions": {
            "Keras": keras.__version__,
            "TensorFlow": tf.__version__,
            "Python": platform.python_version(),
        },
    }


def text_network() -> models.Sequential:
    """Return the network of the text, not compiled."""
    keras.utils.set_random_seed(0)
    return models.Sequential(
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


def load(path: str, part: str, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images as the text prepares them, and labels one-hot."""
    with np.load(path) as arrays:
        x, y = arrays[f"x_{part}"][:images], arrays[f"y_{part}"][:images]
    x = x[..., np.newaxis].astype(np.float32) / 255
    return x, keras.utils.to_categorical(y, 10)


class Stopwatch(keras.callbacks.Callback):
    """Takes the time from the beginning of an epoch, or of a prediction, to its end."""

    def on_epoch_begin(self, epoch, logs=None):
        """Start."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Stop."""
        self.seconds = time.perf_counter() - self._start

    def on_predict_begin(self, logs=None):
        """Start."""
        self.on_epoch_begin(0)

    def on_predict_end(self, logs=None):
        """Stop."""
        self.on_epoch_end(0)


def train(path: str, images: int, batch: int, compiled: bool):
    """Fit for one epoch, as a user calls it."""
    x, y = load(path, "train", images)
    model = text_network()
    model.compile(
        optimizer="rmsprop",
        loss="categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=compiled,
    )
    stopwatch = Stopwatch()

    def work():
        model.fit(x, y, epochs=1, batch_size=batch, callbacks=[stopwatch])
        return {"seconds": stopwatch.seconds}

    return work


def predict(path: str, images: int, batch: int, compiled: bool):
    """Predict the class probabilities of test images."""
    x, _ = load(path, "test", images)
    model = text_network()
    model.compile(jit_compile=compiled)
    stopwatch = Stopwatch()

    def work():
        model.predict(x, batch_size=batch, callbacks=[stopwatch])
        return {"seconds": stopwatch.seconds}

    return work


JOBS = {"train": train, "predict": predict}
