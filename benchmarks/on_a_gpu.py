"""All that there is to check on a machine with a GPU: ``python -m benchmarks.on_a_gpu``.

The contract on the GPU; whether training repeats itself bit by bit, and gives the same bits with
CUDA graphs and without; compute-sanitizer where it is installed; and then the tables of
``book.py bench --backend cuda`` in what is left of `MOST_SECONDS`. Each part is a process with a
time of its own. At the end one line for each says how it went; the exit status is 1 if one failed.
Arguments, such as ``--peers PYTHON``, are handed on to the tables.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.contestants import ours
from benchmarks.machine import missing_gpu
from benchmarks.measure import ROOT
from convlib.datasets import strokes
from convlib.utils import to_categorical

MOST_SECONDS = 7.5 * 60
TESTS = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
CONTRACT = ["--numprocesses=4", "tests/test_contract.py", "tests/test_cuda_kernels.py"]
# Under the sanitizer kernels run up to a hundred times slower.
FEW = ["tests/test_cuda_kernels.py"]
SANITIZER = "compute-sanitizer"
TRAINING = [sys.executable, "-m", "benchmarks.on_a_gpu", "train"]
BENCH = [sys.executable, "-m", "benchmarks", "--backend", "cuda", "--check"]
PLAIN = {"CONVLIB_CUDA_GRAPHS": "0"}


class Problem(Exception):
    """A part failed; the message says how."""


class NotRun(Exception):
    """A part was not run; the message says why."""


def main(for_bench: Sequence[str] = ()) -> int:
    """Run all parts and say how they went; return 1 if one failed, or if there is no GPU."""
    if problem := missing_gpu():
        print(f"Nothing was run: {problem}")
        return 1
    end, lines, status = time.monotonic() + MOST_SECONDS, [], 0
    for name, seconds, part in parts(for_bench):
        print(f"\n{name}", flush=True)
        start = time.monotonic()
        outcome, why = went(part, seconds, end)
        status = max(status, int(outcome == "failed"))
        took = time.monotonic() - start
        lines.append(f"{outcome:8}  {name}, {took:.0f} s" + (f": {why}" if why else ""))
    print("\n" + "\n".join(lines))
    return status


def parts(for_bench: Sequence[str]) -> list[tuple[str, float, Callable[[float], None]]]:
    """Return for each part its name, the most seconds that it may take, and what runs it."""
    return [
        ("contract", 170, contract),
        ("training twice gives the same bits", 60, repeats),
        ("graphs and plain launches give the same bits", 45, graphs_change_nothing),
        ("memcheck", 40, partial(sanitizer, "memcheck")),
        ("racecheck", 40, partial(sanitizer, "racecheck")),
        ("speed", MOST_SECONDS, partial(run, [*BENCH, *for_bench])),
    ]


def went(part: Callable, seconds: float, end: float) -> tuple[str, str]:
    """Run a part in its own time, or in what is left of all; return how it went and why."""
    now = time.monotonic()
    if now >= end:
        return "not run", "the time is over"
    try:
        part(min(now + seconds, end))
    except NotRun as reason:
        return "not run", str(reason)
    except Problem as problem:
        return "failed", str(problem)
    return "passed", ""


def run(command: list[str], end: float, catch: bool = False, **environment: str) -> str | None:
    """Run a command within a time; return what it prints if that is to be caught."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE if catch else None,
        text=True,
        # A group of its own, since what it has started must end with it.
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=max(0.0, end - time.monotonic()))
    except BaseException as stop:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.communicate()
        if not isinstance(stop, subprocess.TimeoutExpired):
            raise
        raise Problem("it was stopped, its time was over") from None
    if process.returncode:
        raise Problem(f"it ended with exit status {process.returncode}")
    return printed


def contract(end: float) -> None:
    """Hold the kernels to the contract."""
    run([*TESTS, *CONTRACT], end, CONVLIB_TEST_BACKENDS="cuda")


def sanitizer(tool: str, end: float) -> None:
    """Run some kernels under a tool of compute-sanitizer."""
    if not shutil.which(SANITIZER):
        raise NotRun(f"{SANITIZER} is not on the PATH")
    command = [SANITIZER, "--tool", tool, "--error-exitcode", "1", *TESTS, *FEW]
    run(command, end, CONVLIB_TEST_BACKENDS="cuda")


def repeats(end: float) -> None:
    """Train twice and compare all weights bit by bit."""
    if train(end)["weights"] != train(end)["weights"]:
        raise Problem("the weights differ")


def graphs_change_nothing(end: float) -> None:
    """Train with graphs and with plain launches and compare all weights bit by bit."""
    graphs, plain = train(end), train(end, **PLAIN)
    if graphs["launches"] >= plain["launches"]:
        raise Problem(f"no graph was used: {graphs['launches']} kernels were launched one by one")
    if graphs["weights"] != plain["weights"]:
        raise Problem("the weights differ")


def train(end: float, **environment: str) -> dict:
    """Train in a process of its own; return a digest of the weights, and how many launches."""
    environment = {"CONVLIB_BACKEND": "cuda", "CONVLIB_CUDA_GRAPHS": "1"} | environment
    return json.loads(run(TRAINING, end, catch=True, **environment).splitlines()[-1])


def trained(images: int = 1000) -> dict:
    """Train one epoch on drawn digits, whose last batch is smaller; return the same as `train`."""
    (x, y), _ = strokes.load_data(train=images, test=1)
    model = ours.compiled_network()  # seeds the weights and the order of the images
    launches = noted_launches()
    model.fit(x[..., np.newaxis].astype(np.float32) / 255, to_categorical(y, 10), 64, verbose=0)
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights()))
    return {"weights": digest.hexdigest(), "launches": len(launches)}


def noted_launches() -> list:
    """Return a list that grows with each kernel that Python launches by itself from now on."""
    from numba.cuda.dispatcher import _LaunchConfiguration

    launches, launch = [], _LaunchConfiguration.__call__

    def note(configuration, *arguments):
        launches.append(configuration)
        return launch(configuration, *arguments)

    _LaunchConfiguration.__call__ = note
    return launches


if __name__ == "__main__":
    if sys.argv[1:] == ["train"]:
        print(json.dumps(trained()))
    else:
        sys.exit(main(sys.argv[1:]))
