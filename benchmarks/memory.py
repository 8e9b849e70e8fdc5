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


def copy_figure(operation: str, direction: str, place: str = "") -> str:
    """Return the name of a share; ``place`` says where, if not on the CPU."""
    return f"{place}{operation}, {direction}: share of the copy's bandwidth"


def peer_figure(operation: str, direction: str, place: str = "") -> str:
    """Return the name of a ratio."""
    return f"{place}{operation}, {direction}: PyTorch's time to ours"


def figures_of(place: str = "") -> dict[str, str | None]:
    """Return the names of all shares and ratios, with the peer that each needs."""
    works = [(operation, direction, place) for operation in OPERATIONS for direction in PASSES]
    shares = {copy_figure(*work): None for work in works}
    return shares | {peer_figure(*work): "pytorch" for work in works}


FIGURES = figures_of()

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
    table, figures = measure_operations(settings, SHAPE)
    return {"tables": [table], "figures": figures}


def measure_operations(settings: Settings, shape: tuple, place: str = "") -> tuple[dict, dict]:
    """Measure every operation's two passes on images of an NHWC shape."""
    shape = [2, 8, 8, 16] if settings.is_quick else list(shape)
    nbytes = 4 * math.prod(shape)
    ours = settings.contestants["ours"]
    copy = prepare(ours, "copy", "copy", slice_seconds=SLICE, nbytes=nbytes)
    rows, figures = [], {}
    for operation in OPERATIONS:
        for direction in PASSES:
            options = {"kind": operation, "direction": direction, "shape": shape}
            seconds, speed, share, ratio, layout = measure_pass(settings, copy, options)
            rows.append([operation, direction, 1e3 * seconds, speed / 1e9, share, ratio, layout])
            figures[copy_figure(operation, direction, place)] = share
            if ratio:
                figures[peer_figure(operation, direction, place)] = ratio
    copy.drop()
    size = "×".join(map(str, shape))
    caption = f"Operations on {size} numbers of 4 bytes; PyTorch's better layout counts"
    return {"caption": caption, "columns": COLUMNS, "rows": rows}, figures


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
