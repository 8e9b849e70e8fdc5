"""A program that trains for one step, and says how long it took to get there, and to compile what.

Run in a fresh process by `benchmarks.fixed`. Only the clock is imported before the clock starts.
"""

import time

start = time.perf_counter()

import json  # noqa: E402
from collections import defaultdict  # noqa: E402

from convlib import layers, models  # noqa: E402
from convlib.kernels import get_backend  # noqa: E402

get_backend()
imported = time.perf_counter()


def seconds_to_compile(records: list) -> dict[str, float]:
    """Return the time that each compiled function took, with all that it calls.

    ``records`` are Numba's, in pairs that enclose those of the functions called.
    """
    seconds, open_since = defaultdict(float), []
    for moment, record in records:
        if record.is_start:
            open_since.append(moment)
        else:
            began = open_since.pop()
            if not open_since:
                function = record.data["dispatcher"].py_func
                seconds[f"{function.__module__}.{function.__name__}"] += moment - began
    return dict(seconds)


def main() -> None:
    """Build the text's network, train on one batch, and print the seconds as JSON."""
    import numpy as np
    from numba.core import event

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
    listener = event.RecordingListener()
    before = time.perf_counter()
    with event.install_listener("numba:compile", listener):
        model.fit(x, y, batch_size=64, verbose=0)
    seconds = {"import": imported - start, "step": time.perf_counter() - before}
    print(json.dumps(seconds | {"compiled": seconds_to_compile(listener.buffer)}))


if __name__ == "__main__":
    main()
