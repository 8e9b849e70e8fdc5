"""The machine: what it is, and how fast it multiplies and copies in the same minutes."""

import datetime
import importlib.util
import platform
import re
from pathlib import Path

import numba

from benchmarks.measure import prepare
from benchmarks.settings import Settings
from convlib.kernels import get_backend

LARGE_COPY = 1 << 28  # bytes
SPEEDS = {
    "cpu": {
        "GFLOP/s, one thread": ("multiply_add", {"threads": 1}),
        "GFLOP/s, all threads": ("multiply_add", {}),
        "GB/s, copy": ("copy", {"nbytes": LARGE_COPY}),
    },
    # A GPU's jobs take so little time that they are run in a row, lest it waits for the host.
    "cuda": {
        "GFLOP/s": ("multiply_add", {"slice_seconds": 0.05}),
        "GB/s, copy": ("copy", {"nbytes": 1 << 30, "slice_seconds": 0.05}),
    },
}


def speed(settings: Settings) -> dict[str, float]:
    """Return the peak of multiply-adds and the bandwidth of a large copy, in GFLOP/s and GB/s."""
    ours = settings.contestants["ours"]
    speeds = {}
    for name, (kind, options) in SPEEDS[settings.backend].items():
        if "nbytes" in options:
            options = options | {"nbytes": settings.count(options["nbytes"], 1 << 20)}
        job = prepare(ours, name, kind, **options)
        work = job.result()
        speeds[name] = work / min(job.seconds() for _ in range(3)) / 1e9
        job.drop()
    return speeds


def description(settings: Settings) -> dict:
    """Return what the machine is and which versions ran on it, without its name or paths."""
    ours = settings.introductions["ours"]
    versions = {}
    for introduction in settings.introductions.values():
        versions = introduction["versions"] | versions
    gpu = {"GPU": ours["GPU"]} if "GPU" in ours else {}
    return gpu | {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": ours["threads"],
        "vector bits": ours["vector_bits"],
        "versions": versions,
        "images": settings.data_name,
        "date": datetime.date.today().isoformat(),
    }


def missing_gpu() -> str | None:
    """Return in one sentence why there is no GPU to measure and what to do, None if there is."""
    if numba.config.ENABLE_CUDASIM:
        return "NUMBA_ENABLE_CUDASIM asks for the simulator instead of a GPU; unset it."
    if importlib.util.find_spec("numba_cuda") is None:
        return (
            "the GPU's compiler is not installed; install what requirements-cuda.txt names, "
            "python -m pip install -r requirements-cuda.txt, with the Python that runs this."
        )
    try:
        get_backend("cuda")
    except RuntimeError as error:
        return f"{error}."
    return None


def processor() -> str:
    """Return the processor's name as the system knows it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.search(r"model name\s*: (.+)", information.read_text(encoding="utf-8"))
        if found:
            return found[1]
    return platform.processor() or "unknown"
