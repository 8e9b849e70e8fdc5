"""What to run first on a machine with a GPU: ``python -m benchmarks.on_a_gpu``, eight minutes.

The contract on the GPU, whether training repeats itself bit by bit, and compute-sanitizer where
it is installed. Each check prints one line; the exit status is 1 if one of them fails.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np

from benchmarks.contestants import ours
from convlib.datasets import strokes
from convlib.kernels import get_backend
from convlib.utils import to_categorical

ROOT = Path(__file__).resolve().parent.parent
MOST_SECONDS = 8 * 60
TESTS = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
CONTRACT = ["tests/test_contract.py", "tests/test_cuda_kernels.py"]
# Under the sanitizer kernels run up to a hundred times slower.
FEW = ["tests/test_cuda_kernels.py"]
SANITIZER = "compute-sanitizer"


def main() -> int:
    """Run all checks; return 1 if one fails, or if there is no GPU."""
    if problem := missing():
        print(f"Nothing was run: {problem}")
        return 1
    end = time.monotonic() + MOST_SECONDS
    outcomes = [
        reported("contract", passes([*TESTS, *CONTRACT], end)),
        reported("training twice gives the same bits", repeats("cuda")),
    ]
    if shutil.which(SANITIZER):
        for tool in ("memcheck", "racecheck"):
            command = [SANITIZER, "--tool", tool, "--error-exitcode", "1", *TESTS, *FEW]
            outcomes.append(reported(tool, passes(command, end)))
    else:
        print(f"left out  {SANITIZER} is not on the PATH")
    return int(not all(outcomes))


def missing() -> str | None:
    """Return in one sentence why there is no GPU to run on, None if there is one."""
    if numba.config.ENABLE_CUDASIM:
        return "NUMBA_ENABLE_CUDASIM asks for the simulator instead of a GPU."
    try:
        get_backend("cuda")
    except RuntimeError as error:
        return str(error)
    return None


def reported(name: str, holds: bool) -> bool:
    """Print how a check went and return it."""
    print(f"{'holds' if holds else 'FAILED':8}  {name}", flush=True)
    return holds


def passes(command: list[str], end: float) -> bool:
    """Run a command on the GPU's kernels; return whether it succeeds before the time is over."""
    environment = os.environ | {"CONVLIB_TEST_BACKENDS": "cuda"}
    try:
        left = max(0.0, end - time.monotonic())
        done = subprocess.run(command, cwd=ROOT, env=environment, timeout=left)
    except subprocess.TimeoutExpired:
        print("The time is over.")
        return False
    return done.returncode == 0


def repeats(backend: str, images: int = 1000) -> bool:
    """Train the network of the text twice; return whether all weights agree bit by bit."""
    first, second = (trained(backend, images) for _ in range(2))
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def trained(backend: str, images: int) -> list[np.ndarray]:
    """Return the weights after one epoch on drawn digits, whose last batch is smaller."""
    (x, y), _ = strokes.load_data(train=images, test=1)
    model = ours.text_network()  # seeds the weights and the order of the images
    model.compile("rmsprop", "categorical_crossentropy", backend=backend)
    model.fit(x[..., np.newaxis].astype(np.float32) / 255, to_categorical(y, 10), 64, verbose=0)
    return model.get_weights()


if __name__ == "__main__":
    sys.exit(main())
