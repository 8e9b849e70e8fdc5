"""A program that trains for one step, and says how long it took to get there.

Run in a fresh process by `benchmarks.fixed`. Only the clock is imported before the clock starts.
"""

import time

start = time.perf_counter()

import json  # noqa: E402

from convlib import layers, models  # noqa: E402
from convlib.kernels import get_backend  # noqa: E402

get_backend()
imported = time.perf_counter()


def main() -> None:
    """Build the text's network, train on one batch, and print the seconds as JSON."""
    import numpy as np

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
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    x = np.zeros((64, 28, 28, 1), np.float32)
    y = np.eye(10, dtype=np.float32)[np.arange(64) % 10]
    before = time.perf_counter()
    model.fit(x, y, batch_size=64, verbose=0)
    step = time.perf_counter() - before
    print(json.dumps({"import": imported - start, "step": step}))


if __name__ == "__main__":
    main()
