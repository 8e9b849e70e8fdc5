"""Single convolutions beside oneDNN, through PyTorch, and beside the machine's peak.

The list has every distinct convolution of VGG-16 and ResNet-18 on images of 224×224, of a ResNet
with 20 layers on 32×32, the text's own, and kinds that those lack. Each pass is timed alone.
"""

import statistics
from dataclasses import asdict, replace

from benchmarks.measure import Job, alternate, fastest, geometric_mean, median_ratio, prepare
from benchmarks.settings import Settings
from benchmarks.workload import Convolution

LAYERS = {
    "VGG-16": [
        Convolution(224, 3, 64, 3),
        Convolution(224, 64, 64, 3),
        Convolution(112, 64, 128, 3),
        Convolution(112, 128, 128, 3),
        Convolution(56, 128, 256, 3),
        Convolution(56, 256, 256, 3),
        Convolution(28, 256, 512, 3),
        Convolution(28, 512, 512, 3),
        Convolution(14, 512, 512, 3),
    ],
    "ResNet-18": [
        Convolution(224, 3, 64, 7, strides=2, batch=16),
        Convolution(56, 64, 64, 3, batch=16),
        Convolution(56, 64, 128, 3, strides=2, batch=16),
        Convolution(56, 64, 128, 1, strides=2, batch=16),
        Convolution(28, 128, 128, 3, batch=16),
        Convolution(28, 128, 256, 3, strides=2, batch=16),
        Convolution(28, 128, 256, 1, strides=2, batch=16),
        Convolution(14, 256, 256, 3, batch=16),
        Convolution(14, 256, 512, 3, strides=2, batch=16),
        Convolution(14, 256, 512, 1, strides=2, batch=16),
        Convolution(7, 512, 512, 3, batch=16),
    ],
    "ResNet-20": [
        Convolution(32, 3, 16, 3, batch=32),
        Convolution(32, 16, 16, 3, batch=32),
        Convolution(32, 16, 32, 3, strides=2, batch=32),
        Convolution(32, 16, 32, 1, strides=2, batch=32),
        Convolution(16, 32, 32, 3, batch=32),
        Convolution(16, 32, 64, 3, strides=2, batch=32),
        Convolution(16, 32, 64, 1, strides=2, batch=32),
        Convolution(8, 64, 64, 3, batch=32),
    ],
    "the text": [
        Convolution(28, 1, 32, 3, padding=0, batch=32),
        Convolution(13, 32, 64, 3, padding=0, batch=32),
        Convolution(5, 64, 64, 3, padding=0, batch=32),
    ],
    "others": [
        Convolution(28, 32, 32, 3, batch=32),
        Convolution(28, 32, 64, 5, batch=16),
        Convolution(14, 96, 128, 5, batch=16),
        Convolution(28, 64, 64, 3, dilation=2, batch=16),
        Convolution(56, 64, 256, 1, batch=8),
        Convolution(28, 256, 64, 1, batch=16),
        Convolution(56, 64, 64, 3, groups=64, batch=16),
        Convolution(56, 128, 128, 3, strides=2, groups=128, batch=16),
        Convolution(27, 13, 29, 3, batch=32),
        Convolution(28, 17, 35, 3, batch=32),
        Convolution(19, 50, 70, 5, batch=16),
    ],
}
PASSES = {
    "forward": "forward",
    "backward_input": "input gradient",
    "backward_params": "parameter gradient",
}
LAYOUTS = ("channels-last", "contiguous")
SLICE = 0.02  # seconds

MEAN_FIGURE = "layers: oneDNN's time to ours, geometric mean"
SMALLEST_FIGURE = "layers: oneDNN's time to ours, smallest"
PEAK_FIGURE = "3×3 forward, 32 channels or more, 13×13 to 56×56: smallest share of the peak"
PASS_FIGURES = {
    name: f"{title}: oneDNN's time to ours, geometric mean" for name, title in PASSES.items()
}
FIGURES = dict.fromkeys([MEAN_FIGURE, SMALLEST_FIGURE, *PASS_FIGURES.values()], "pytorch")
FIGURES |= {PEAK_FIGURE: None}

COLUMNS = [
    ["network", "s"],
    ["layer", "s"],
    ["batch", "d"],
    ["pass", "s"],
    ["ms", ".2f"],
    ["GFLOP/s", ".0f"],
    ["of the peak", ".0%"],
    ["oneDNN's time to ours", ".2f"],
    ["its layout", "s"],
]


def measure(settings: Settings) -> dict:
    """Measure every layer's three passes."""
    peak = prepare(settings.contestants["ours"], "peak", "multiply_add")
    rows, ratios, shares = [], {name: [] for name in PASSES}, []
    for network, convolutions in chosen(settings).items():
        for convolution in convolutions:
            for name, title in PASSES.items():
                seconds, share, ratio, layout = measure_pass(settings, peak, convolution, name)
                speed = convolution.flops / seconds / 1e9
                layer = [network, convolution.name, convolution.batch, title]
                rows.append([*layer, 1e3 * seconds, speed, share, ratio, layout])
                if ratio:
                    ratios[name].append(ratio)
                if name == "forward" and counts_for_the_peak(convolution):
                    shares.append(share)
                print(
                    f"{convolution.name}, {title}: {share:.0%} of the peak, {ratio or 0:.2f}",
                    flush=True,
                )
    peak.drop()
    caption = "Convolutions; oneDNN's better layout of the two counts"
    figures = {PEAK_FIGURE: min(shares)} if shares else {}
    if "pytorch" in settings.peers:
        everything = [ratio for each in ratios.values() for ratio in each]
        figures |= {MEAN_FIGURE: geometric_mean(everything), SMALLEST_FIGURE: min(everything)}
        figures |= {PASS_FIGURES[name]: geometric_mean(each) for name, each in ratios.items()}
    return {"tables": [{"caption": caption, "columns": COLUMNS, "rows": rows}], "figures": figures}


def chosen(settings: Settings) -> dict[str, list[Convolution]]:
    """Return the layers to measure: all, or two small ones."""
    if settings.is_quick:
        return {"others": [replace(layer, batch=1) for layer in LAYERS["the text"][1:]]}
    return LAYERS


def counts_for_the_peak(layer: Convolution) -> bool:
    """Return whether a layer is of the kind that should come close to the machine's peak."""
    is_plain = (layer.kernel, layer.strides, layer.dilation, layer.groups) == (3, 1, 1, 1)
    return is_plain and min(layer.channels, layer.filters) >= 32 and 13 <= layer.size <= 56


def measure_pass(settings: Settings, peak: Job, layer: Convolution, name: str) -> tuple:
    """Return our seconds, the share of the peak, and oneDNN's ratio and layout, None without it."""
    options = {"direction": name, "slice_seconds": SLICE, **asdict(layer)}
    jobs = {"peak": peak}
    jobs["ours"] = prepare(settings.contestants["ours"], "ours", "convolution", **options)
    if "pytorch" in settings.peers:
        for layout in LAYOUTS:
            torch = settings.contestants["pytorch"]
            jobs[layout] = prepare(torch, layout, "convolution", layout=layout, **options)
    times = alternate(jobs, settings.rounds)
    for job in jobs.values():
        if job is not peak:
            job.drop()
    dense = [layer.flops / peak.result() * seconds for seconds in times["peak"]]
    share = median_ratio(dense, times["ours"])
    peers = {layout: times[layout] for layout in LAYOUTS if layout in times}
    layout = fastest(peers) if peers else None
    ratio = median_ratio(times[layout], times["ours"]) if peers else None
    return statistics.median(times["ours"]), share, ratio, layout
