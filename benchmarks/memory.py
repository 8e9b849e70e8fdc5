"""Operations that hardly compute, beside the speed at which memory can be copied.

Bytes are those that have to move: every array once, and twice what has to be read again because a
sum over all of it comes first. The copy is one of an array of the same size, in the same round.
"""

import math
import statistics

from benchmarks.measure import Job, alternate, fastest, median_ratio, prepare
from benchmarks.settings import Settings

SHAPE = (32, 56, 56, 64)
OPERATIONS = (
    "max-pool 2×2/2",
    "max-pool 3×3/2",
    "average-pool 2×2/2",
    "average-pool 3×3/2",
    "batch normalisation",
    "ReLU",
    "softmax",
)
PASSES = ("forward", "backward")
LAYOUTS = ("channels-last", "contiguous")
SLICE = 0.05  # seconds


def copy_figure(operation: str, direction: str) -> str:
    """Return the name of a share."""
    return f"{operation}, {direction}: share of the copy's bandwidth"


def peer_figure(operation: str, direction: str) -> str:
    """Return the name of a ratio."""
    return f"{operation}, {direction}: PyTorch's time to ours"


FIGURES = {copy_figure(operation, name): None for operation in OPERATIONS for name in PASSES}
FIGURES |= {peer_figure(operation, name): "pytorch" for operation in OPERATIONS for name in PASSES}

COLUMNS = [
    ["operation", "s"],
    ["pass", "s"],
    ["ms", ".2f"],
    ["GB/s", ".1f"],
    ["of copy bandwidth", ".0%"],
    ["PyTorch's time to ours", ".2f"],
    ["its layout", "s"],
]


def measure(settings: Settings) -> dict:
    """Measure every operation's two passes."""
    shape = [2, 8, 8, 16] if settings.is_quick else list(SHAPE)
    nbytes = 4 * math.prod(shape)
    ours = settings.contestants["ours"]
    copy = prepare(ours, "copy", "copy", slice_seconds=SLICE, nbytes=nbytes)
    rows, figures = [], {}
    for operation in OPERATIONS:
        for direction in PASSES:
            options = {"kind": operation, "direction": direction, "shape": shape}
            seconds, speed, share, ratio, layout = measure_pass(settings, copy, options)
            rows.append([operation, direction, 1e3 * seconds, speed / 1e9, share, ratio, layout])
            figures[copy_figure(operation, direction)] = share
            if ratio:
                figures[peer_figure(operation, direction)] = ratio
    copy.drop()
    size = "×".join(map(str, shape))
    caption = f"Operations on {size} numbers of 4 bytes; PyTorch's better layout counts"
    return {"tables": [{"caption": caption, "columns": COLUMNS, "rows": rows}], "figures": figures}


def measure_pass(settings: Settings, copy: Job, options: dict) -> tuple:
    """Return seconds, bytes per second, share of the copy's, and PyTorch's ratio and layout."""
    job = prepare(settings.contestants["ours"], "ours", "operation", slice_seconds=SLICE, **options)
    jobs = {"copy": copy, "ours": job}
    if "pytorch" in settings.peers:
        for layout in LAYOUTS:
            jobs[layout] = prepare(
                settings.contestants["pytorch"],
                layout,
                "operation",
                slice_seconds=SLICE,
                layout=layout,
                **options,
            )
    times = alternate(jobs, settings.rounds)
    moved, copied = job.result(), copy.result()
    for name, each in jobs.items():
        if name != "copy":
            each.drop()
    seconds = statistics.median(times["ours"])
    share = moved / copied * median_ratio(times["copy"], times["ours"])
    peers = {layout: times[layout] for layout in LAYOUTS if layout in times}
    layout = fastest(peers) if peers else None
    ratio = median_ratio(times[layout], times["ours"]) if peers else None
    return seconds, moved / seconds, share, ratio, layout
