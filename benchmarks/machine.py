"""The machine: what it is, and how fast it multiplies and copies in the same minutes."""

import datetime
import platform
import re
from pathlib import Path

from benchmarks.measure import prepare
from benchmarks.settings import Settings

LARGE_COPY = 1 << 28  # bytes


def speed(settings: Settings) -> dict[str, float]:
    """Return the peak of multiply-adds and the bandwidth of a large copy, in GFLOP/s and GB/s."""
    ours = settings.contestants["ours"]
    jobs = {
        "GFLOP/s, one thread": prepare(ours, "one", "multiply_add", threads=1),
        "GFLOP/s, all threads": prepare(ours, "all", "multiply_add"),
        "GB/s, copy": prepare(ours, "copy", "copy", nbytes=settings.count(LARGE_COPY, 1 << 20)),
    }
    speeds = {}
    for name, job in jobs.items():
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
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": ours["threads"],
        "vector bits": ours["vector_bits"],
        "versions": versions,
        "images": settings.data_name,
        "date": datetime.date.today().isoformat(),
    }


def processor() -> str:
    """Return the processor's name as the system knows it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.search(r"model name\s*: (.+)", information.read_text(encoding="utf-8"))
        if found:
            return found[1]
    return platform.processor() or "unknown"
