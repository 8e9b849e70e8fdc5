"""What is paid once or all the time, whatever is computed: starting, compiling, memory.

Every row comes from fresh processes. Memory is what the process has resident after each epoch.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks.measure import ROOT, Contestant, prepare
from benchmarks.settings import Settings

IMAGES = 12_800
EPOCHS = 4  # two while the job is prepared, two when it is asked for its result

IMPORT_FIGURE = "import with NumPy and Numba, seconds"
COLD_FIGURE = "first training step, nothing compiled yet, seconds"
WARM_FIGURE = "first training step, kernels on disk, seconds"
GROWTH_FIGURE = "memory after the last epoch to that after the first"
PEER_FIGURE = "memory: ours to PyTorch's"
FIGURES = {
    IMPORT_FIGURE: None,
    COLD_FIGURE: None,
    WARM_FIGURE: None,
    GROWTH_FIGURE: None,
    PEER_FIGURE: "pytorch",
}


def measure(settings: Settings) -> dict:
    """Start fresh processes and ask them."""
    starting, figures = measure_start(settings)
    memory, more = measure_memory(settings)
    return {"tables": [*starting, memory], "figures": figures | more}


def measure_start(settings: Settings) -> tuple[list[dict], dict]:
    """Time the import and the first step with an empty folder for kernels and with a filled one."""
    if settings.is_quick:
        cold = warm = [first_step(os.environ.get("CONVLIB_CACHE"))]
    else:
        with tempfile.TemporaryDirectory() as folder:
            cold = [first_step(folder)]
            warm = [first_step(folder) for _ in range(settings.rounds)]
    figures = {
        IMPORT_FIGURE: statistics.median(times["import"] for times in warm),
        COLD_FIGURE: statistics.median(times["step"] for times in cold),
        WARM_FIGURE: statistics.median(times["step"] for times in warm),
    }
    columns = [["", "s"], ["seconds", ".2f"]]
    starting = {
        "caption": "Starting, in a fresh process",
        "columns": columns,
        "rows": [[name.removesuffix(", seconds"), value] for name, value in figures.items()],
    }
    compiling = {
        "caption": "What that first step compiles, each with all that it calls",
        "columns": columns,
        "rows": sorted(cold[0]["compiled"].items(), key=lambda row: -row[1]),
    }
    return [starting, compiling], figures


def first_step(cache: str | None) -> dict:
    """Run `benchmarks.first_step` with kernels kept in a folder; return its seconds."""
    environment = os.environ | ({"CONVLIB_CACHE": cache} if cache else {})
    command = [sys.executable, "-m", "benchmarks.first_step"]
    # Before the last line there may be a message that kernels are being compiled.
    printed = subprocess.check_output(command, cwd=ROOT, env=environment, text=True)
    return json.loads(printed.splitlines()[-1])


def measure_memory(settings: Settings) -> tuple[dict, dict]:
    """Train for some epochs in fresh processes, with memory as the system manages it."""
    images = settings.count(IMAGES, 256)
    work = {"path": str(settings.data_path), "images": images, "batch": 64}
    memory = {"ours": resident(Contestant("ours"), **work)}
    if "pytorch" in settings.peers:
        python = settings.contestants["pytorch"].python
        memory["pytorch"] = resident(Contestant("pytorch", python), **work)
    figures = {GROWTH_FIGURE: memory["ours"][-1] / memory["ours"][0]}
    if "pytorch" in memory:
        figures[PEER_FIGURE] = memory["ours"][-1] / memory["pytorch"][-1]
    table = {
        "caption": f"Memory in MB, training on {images:,} images in batches of 64",
        "columns": [["", "s"]] + [[f"after epoch {epoch + 1}", ".0f"] for epoch in range(EPOCHS)],
        "rows": [[settings.title(name), *each] for name, each in memory.items()],
    }
    return table, figures


def resident(contestant: Contestant, **work) -> list[float]:
    """Return the memory of a contestant after each epoch, in MB, and end its process."""
    try:
        return prepare(contestant, "memory", "memory", **work).result()
    finally:
        contestant.stop()
