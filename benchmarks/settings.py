"""What all tables need: the contestants that are there, the data, and how long to measure."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.measure import Contestant, ContestantFailed
from convlib.datasets import mnist, strokes

PYTORCH = "pip install torch==2.13.0"


@dataclass(frozen=True)
class Entry:
    """Who may take part.

    Attributes
    ----------
    title : str
        What it is called in tables.
    module : str
        The module of `benchmarks.contestants` that does the work.
    install : str or None
        How a peer is installed, if it is one.
    environment : dict
        Variables of its process besides those that all have.
    """

    title: str
    module: str
    install: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


CONTESTANTS = {
    "cpu": {
        "ours": Entry("convlib", "ours"),
        "pytorch": Entry("PyTorch", "pytorch", PYTORCH),
        "keras_tensorflow": Entry("Keras/TensorFlow", "keras_tensorflow", "pip install tensorflow"),
    },
    "cuda": {
        "ours": Entry("convlib", "ours_on_gpu", environment={"CONVLIB_CUDA_GRAPHS": "1"}),
        "plain": Entry(
            "convlib (plain launches)", "ours_on_gpu", environment={"CONVLIB_CUDA_GRAPHS": "0"}
        ),
        "pytorch": Entry("PyTorch", "pytorch_on_gpu", PYTORCH),
        "pytorch_graphs": Entry("PyTorch (CUDA graphs)", "pytorch_on_gpu", PYTORCH),
    },
}
PEERS = {
    name: entry.title
    for entries in CONTESTANTS.values()
    for name, entry in entries.items()
    if entry.install
}
"""What the peers are called, on either backend."""


@dataclass
class Settings:
    """Who takes part, on what, and for how long.

    Attributes
    ----------
    backend : str
        What convlib computes on: 'cpu' or 'cuda'.
    contestants : dict
        'ours' and the others that are installed, by their names in `CONTESTANTS`.
    introductions : dict
        What each contestant said of itself.
    data_path : Path
        Where the images are, and ``data_name`` which they are.
    rounds : int
        How often contestants take turns.
    is_quick : bool
        Whether only to show that everything runs.
    """

    backend: str
    contestants: dict[str, Contestant]
    introductions: dict[str, dict]
    data_path: Path
    data_name: str
    rounds: int
    is_quick: bool

    @property
    def peers(self) -> list[str]:
        """The others that take part."""
        return [name for name in self.contestants if name != "ours"]

    def title(self, name: str) -> str:
        """Return what a contestant is called."""
        return CONTESTANTS[self.backend][name].title

    def count(self, wanted: int, quick: int) -> int:
        """Return how much is wanted, or less if this is only to show that everything runs."""
        return min(wanted, quick) if self.is_quick else wanted


@contextmanager
def prepared(
    peers_python: str = sys.executable, is_quick: bool = False, backend: str = "cpu"
) -> Iterator[Settings]:
    """Start the contestants that are installed and write the images where they find them."""
    with ExitStack() as stack:
        environment = contestant_environment()
        contestants, introductions = {}, {}
        for name, entry in CONTESTANTS[backend].items():
            python = peers_python if entry.install else sys.executable
            contestant = Contestant(entry.module, python, environment | entry.environment)
            stack.callback(contestant.stop)
            try:
                introductions[name] = contestant.ask("introduce")
                contestants[name] = contestant
            except ContestantFailed as failure:
                # Either it is not there, or it says that it cannot be used.
                kind, _, reason = str(failure).strip().splitlines()[-1].partition(": ")
                if not entry.install or kind not in ("ModuleNotFoundError", "ImportError"):
                    raise
                print(f"{entry.title} is left out: {reason} ({entry.install}).")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data_name = write_images(folder / "images.npz", is_quick)
        yield Settings(
            backend=backend,
            contestants=contestants,
            introductions=introductions,
            data_path=folder / "images.npz",
            data_name=data_name,
            rounds=1 if is_quick else 7,
            is_quick=is_quick,
        )


def write_images(path: Path, is_quick: bool) -> str:
    """Write images and labels of both sets to one file; return which they are."""
    if is_quick:
        name, sets = "drawn digits", strokes.load_data(train=256, test=64)
    elif mnist.is_available():
        name, sets = "MNIST", mnist.load_data()
    else:
        name, sets = "drawn digits (MNIST is not on this computer)", strokes.load_data()
    (x_train, y_train), (x_test, y_test) = sets
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return name


def core_count() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def contestant_environment() -> dict[str, str]:
    """Return the environment in which contestants run: every core, no chatter, no page faults.

    glibc gives large arrays back to the system and gets them again, page by page, at every step.
    Peers that allocate their results would pay for that, so it is told to keep them.
    """
    threads = str(core_count())
    return os.environ | {
        "OMP_NUM_THREADS": threads,
        "NUMBA_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
