"""Single convolutions and operations on a GPU, beside its two limits and beside PyTorch.

The peak is that of fused multiply-adds in registers, the bandwidth that of the driver's copy: both
are measured, in the same rounds. cuDNN is asked through PyTorch, and multiplies in float32 too.
"""

import math
from dataclasses import replace

from benchmarks import layers, memory
from benchmarks.measure import prepare
from benchmarks.settings import Settings
from benchmarks.workload import Convolution

LAYERS = (
    Convolution(56, 64, 64, 3, batch=128),
    Convolution(28, 128, 128, 3, batch=128),
    Convolution(14, 256, 256, 3, batch=128),
)
IMAGE = (56, 56, 256)  # what operations work on
IMAGES = 336  # 1.08 GB
SHARE = 24  # of the GPU's memory one array at most: PyTorch's two layouts are there side by side

PLACE = "on a GPU, "
PEAK_FIGURE = f"{PLACE}3×3 with 64 to 256 channels: smallest share of the peak"
CUDNN_FIGURE = f"{PLACE}3×3 with 64 to 256 channels: cuDNN's time to ours, smallest"
FIGURES: dict[str, str | None] = {PEAK_FIGURE: None, CUDNN_FIGURE: "pytorch"}
FIGURES |= memory.figures_of(PLACE)

COLUMNS = [
    ["layer", "s"],
    ["batch", "d"],
    ["pass", "s"],
    ["ms", ".3f"],
    ["TFLOP/s", ".1f"],
    ["of the peak", ".0%"],
    ["cuDNN's time to ours", ".2f"],
    ["its layout", "s"],
]


def measure(settings: Settings) -> dict:
    """Measure convolutions, then operations that hardly compute."""
    convolutions, figures = measure_convolutions(settings)
    shape = (images(settings), *IMAGE)
    operations, more = memory.measure_operations(settings, shape, PLACE)
    return {"tables": [convolutions, operations], "figures": figures | more}


def measure_convolutions(settings: Settings) -> tuple[dict, dict]:
    """Measure every convolution's three passes."""
    ours = settings.contestants["ours"]
    peak = prepare(ours, "peak", "multiply_add", slice_seconds=layers.SLICE)
    rows, shares, ratios = [], [], []
    for layer in LAYERS:
        layer = replace(layer, batch=settings.count(layer.batch, 1))
        for name, title in layers.PASSES.items():
            seconds, share, ratio, layout = layers.measure_pass(settings, peak, layer, name)
            speed = layer.flops / seconds / 1e12
            rows.append(
                [layer.name, layer.batch, title, 1e3 * seconds, speed, share, ratio, layout]
            )
            shares.append(share)
            ratios += [ratio] if ratio else []
    peak.drop()
    figures = {PEAK_FIGURE: min(shares)} | ({CUDNN_FIGURE: min(ratios)} if ratios else {})
    caption = "Convolutions in float32; cuDNN's better layout of the two counts"
    return {"caption": caption, "columns": COLUMNS, "rows": rows}, figures


def images(settings: Settings) -> int:
    """Return how many images make an array of a gigabyte, or what a smaller GPU can hold."""
    room = settings.introductions["ours"].get("GPU memory", math.inf)
    return max(1, int(min(IMAGES, room / SHARE / (4 * math.prod(IMAGE)))))
