"""Checks of chapter 0: does everything work here, and how checks work."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys

import numba
import numpy as np

from convlib import __version__
from convlib.kernels import get_backend
from convlib.kernels._cache import cache_directory, cache_folder
from convlib.kernels.scratch import Scratch
from convlib.notebook.display import png_bytes
from convlib.notebook.exercises import Hint, Result, check, number
from convlib.notebook.style import figure


def check_set_up() -> Result:
    """Try on a small scale whatever the chapters rely on, and say what does not work."""
    return _check_set_up()


@check
def _check_set_up() -> str:
    if sys.version_info < (3, 11):
        raise Hint(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    results = {}
    for name in ("reference", "cpu"):
        x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
        w = np.ones((3, 3, 1, 2), dtype=np.float32)
        results[name] = np.empty((1, 2, 2, 2), dtype=np.float32)
        backend = get_backend(name)
        no_padding = ((0, 0), (0, 0))
        backend.conv2d_forward(x, w, None, results[name], (1, 1), no_padding, (1, 1), 1, Scratch())
    if not np.allclose(results["reference"], results["cpu"]):
        raise Hint("The compiled convolution does not agree with its definition on this computer.")
    fig, axes = figure(2, 1)
    axes.plot([0, 1])
    if not png_bytes(fig).startswith(b"\x89PNG"):
        raise Hint("matplotlib does not draw here.")
    try:
        import anywidget
        import ipywidgets
    except ImportError as error:
        raise Hint(f"The sliders and the drawing pad will not work: {error}.") from None
    assert anywidget and ipywidgets
    return "Python, the compiled kernels, the figures and the sliders work here."


def describe_set_up() -> str:
    """Return, line by line, what the library runs on here.

    Nothing in it is asked of CUDA, which would take a second and some of the GPU's memory.
    """
    from convlib.kernels.cpu.tile import lanes

    rows = {
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "Numba": numba.__version__,
        "convlib": __version__,
        "threads": f"{numba.get_num_threads()} on {os.cpu_count()} cores",
        "vectors": f"{lanes(np.dtype(np.float32))} numbers of 32 bits in one instruction",
        "GPU": _describe_gpu(),
        "kernels": _describe_cache(),
    }
    return "\n".join(f"{name:<9}{value}" for name, value in rows.items())


def _describe_gpu() -> str:
    gpus = "; ".join(_gpus())
    if not gpus:
        return "none found, and no chapter needs one"
    if not _is_installed("convlib.kernels.cuda"):
        return f"{gpus}, not used by this version of convlib"
    if not _is_installed("numba_cuda"):
        return f"{gpus}, not used: numba-cuda is not installed"
    return f"{gpus}, used by backend='cuda'"


def _gpus() -> list[str]:
    """Return the names of NVIDIA's GPUs, which its driver's own tool knows without CUDA."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _describe_cache() -> str:
    if cache_directory().parent == cache_folder():
        return f"kept in {cache_folder()}"
    return "compiled anew in every run: name a folder that can be written in CONVLIB_CACHE"


@check
def check_steps_per_epoch(steps: object) -> str:
    """Check how many batches of 64 it takes to show 60 000 images once."""
    value = number(steps, "steps_per_epoch")
    if value == 60_000 * 64:
        raise Hint("That is the product. How many groups of 64 do 60 000 images make?")
    if value == 937.5:
        raise Hint("There is no half step. What happens to the images that do not fill a batch?")
    if value == 937:
        raise Hint("937 batches hold 59 968 images. The last 32 are shown too.")
    if value == 938 * 5:
        raise Hint("That is for all five epochs. One epoch shows every image once.")
    if value != 938:
        raise Hint("Divide the number of training images by the size of a batch.")
    return "937 full batches, and one of 32 images."


@check
def check_share_of_sure_readings(
    share: object, probabilities: np.ndarray, labels: np.ndarray
) -> str:
    """Check which share of the readings with a probability above 0.99 is correct."""
    value = number(share, "share_correct")
    correct = probabilities.argmax(axis=1) == labels
    sure = probabilities.max(axis=1) > 0.99
    expected = correct[sure].mean()
    if np.isclose(value, expected, rtol=0, atol=5e-4):
        return f"{sure.sum()} readings are that sure, and not all of them are right."
    hints = {
        "Give a share between 0 and 1, not per cent.": 100 * expected,
        "That is the share of all digits that are sure and correct. Divide by the sure ones.": (
            correct & sure
        ).mean(),
        "That is how many of all readings are sure, right or wrong.": sure.mean(),
        "That is the share of the correct readings that are sure: the other way round.": sure[
            correct
        ].mean(),
        "That is the share that is wrong.": 1 - expected,
        "That is the accuracy on all digits. Choose the sure ones first.": correct.mean(),
        "That is a number of digits. Divide by the number of sure ones.": (correct & sure).sum(),
    }
    for hint, wrong in hints.items():
        if np.isclose(value, wrong, rtol=0, atol=5e-4):
            raise Hint(hint)
    raise Hint("Choose the digits whose largest probability is above 0.99, then average `correct`.")


@check
def check_hardest_digit(digit: object, probabilities: np.ndarray, labels: np.ndarray) -> str:
    """Check which digit is most rarely read correctly."""
    value = number(digit, "hardest_digit")
    if value != int(value) or not 0 <= value <= 9:
        raise Hint("A digit is a whole number from 0 to 9.")
    read = probabilities.argmax(axis=1)
    correct = read == labels
    shares = np.array([correct[labels == k].mean() for k in range(10)])
    if shares[int(value)] == shares.min():
        return f"Of its examples {100 * shares.min():.0f} % are read correctly."
    if value == shares.argmax():
        raise Hint("That one is the easiest.")
    precision = [correct[read == k].mean() if np.any(read == k) else 1.0 for k in range(10)]
    if value == np.argmin(precision):
        raise Hint(
            "Of the images read as this digit the fewest are right. The question begins with the "
            "images that are this digit."
        )
    raise Hint("Compute the share of correct readings for each of the ten labels.")
