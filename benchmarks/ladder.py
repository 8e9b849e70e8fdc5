"""The ladder of chapter 12: one convolution, computed in every way that the chapter writes down.

The functions are the chapter's own, executed from its source, so that what is timed is what a
reader sees. Each has a process of its own, since the threads of one library get in the way of those
of another, and its shortest time counts: whatever else the machine does can only make a call
longer. Loops in Python take so long that something always comes between, so for them it is the time
of their thread.
"""

import json
import subprocess
import sys
import time

import jupytext
import numpy as np

from benchmarks.measure import ROOT
from benchmarks.settings import Settings

CHAPTER = ROOT / "chapters" / "12_fast_on_the_cpu.py"
TAG = "ladder"  # of the cells that define the ways
LAYERS = {"3×3, 13×13, 32 → 64": (13, 32, 64), "3×3, 28×28, 1 → 32": (28, 1, 32)}
BATCH = 16  # so few that most calls end before something else gets its turn
SLICE = 2.0  # seconds
BASE = "register tiles"
FIGURES: dict[str, str | None] = {}

COLUMNS = [
    ["layer", "s"],
    ["way", "s"],
    ["images", "d"],
    ["µs an image", ",.1f"],
    ["to the register tiles' time", ",.2f"],
]


def measure(settings: Settings) -> dict:
    """Time every way on two layers of the text's network."""
    ways, _ = chapter_ways()
    measured = {name: timed(name, 0) if settings.is_quick else timed_apart(name) for name in ways}
    rows = []
    for layer in LAYERS:
        for name, layers in measured.items():
            images, seconds = layers[layer]
            ratio = seconds / measured[BASE][layer][1]
            rows.append([layer, name, images, 1e6 * seconds, ratio])
    caption = "One convolution, computed in the ways of chapter 12"
    return {"tables": [{"caption": caption, "columns": COLUMNS, "rows": rows}], "figures": {}}


def chapter_ways() -> tuple[dict, set[str]]:
    """Return the chapter's ways by name, and the names of those too slow for many images."""
    namespace: dict = {}
    for cell in jupytext.read(CHAPTER, fmt="py:percent").cells:
        if TAG in cell.metadata.get("tags", []):
            exec(compile(cell.source, CHAPTER.name, "exec"), namespace)
    return namespace["ways"], namespace["slow"]


def timed_apart(name: str) -> dict[str, tuple[int, float]]:
    """Return the same as `timed`, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ladder", name]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    return json.loads(run.stdout.splitlines()[-1])


def timed(name: str, slice_seconds: float) -> dict[str, tuple[int, float]]:
    """Return a way's number of images and its shortest time for one, in seconds, by layer."""
    ways, slow = chapter_ways()
    clock = time.thread_time if name in slow else time.perf_counter
    images = 1 if name in slow else BATCH
    random, times = np.random.default_rng(12), {}
    for layer, (size, channels, filters) in LAYERS.items():
        w = random.normal(size=(3, 3, channels, filters)).astype(np.float32)
        x = random.normal(size=(images, size, size, channels)).astype(np.float32)
        if name not in slow:
            ways[name](x, w)  # compiles
        times[layer] = images, shortest(ways[name], (x, w), clock, slice_seconds) / images
    return times


def shortest(function, arguments: tuple, clock, slice_seconds: float) -> float:
    """Return the shortest time of as many calls as fit into a slice, in seconds; one at least."""
    best, end = float("inf"), time.perf_counter() + slice_seconds
    while best == float("inf") or time.perf_counter() < end:
        start = clock()
        function(*arguments)
        best = min(best, clock() - start)
    return best


if __name__ == "__main__":
    print(json.dumps(timed(sys.argv[1], SLICE)))
