"""Where a training step's time goes, kernel by kernel, beside the machine's two limits.

Operations are counted densely from the shapes of the arguments, bytes as every array once. Several
rounds are recorded, and the machine's peak and bandwidth measured in each; medians are reported.
"""

import statistics

from benchmarks.measure import prepare
from benchmarks.settings import Settings

BATCH = 64
STEPS = 150
COPIED = 1 << 23  # bytes, about as much as the arrays of a step
PYTHON_FIGURE = f"training in batches of {BATCH}: Python's share of a step"
FIGURES = {PYTHON_FIGURE: None}


def measure(settings: Settings) -> dict:
    """Record the training of the text's network."""
    ours, steps = settings.contestants["ours"], settings.count(STEPS, 2)
    path = str(settings.data_path)
    profile = prepare(ours, "profile", "profile", path=path, batch=BATCH, steps=steps)
    peak = prepare(ours, "peak", "multiply_add")
    copy = prepare(ours, "copy", "copy", nbytes=COPIED, slice_seconds=0.02)
    peak_flops, copied_bytes = peak.result(), copy.result()

    records, flops_speeds, copy_speeds = [], [], []
    for _ in range(settings.rounds):
        flops_speeds.append(peak_flops / peak.seconds())
        copy_speeds.append(copied_bytes / copy.seconds())
        records.append(profile.result())
    for job in (profile, peak, copy):
        job.drop()

    step = statistics.median(record["step"] for record in records)
    python = statistics.median(1 - record["compiled"] / record["step"] for record in records)
    rows = [
        kernel_row(
            name, [record["kernels"][name] for record in records], step, flops_speeds, copy_speeds
        )
        for name in records[0]["kernels"]
    ]
    rows.sort(key=lambda row: -row[1])
    between = step - sum(row[1] for row in rows) / 1e6
    rows.append(["Python between the kernels", 1e6 * between, between / step, 1e6 * between])
    rows.append(["a step", 1e6 * step, 1.0, 1e6 * python * step])
    for row in rows[-2:]:
        row += [None] * (len(COLUMNS) - len(row))
    caption = f"One training step of the text's network, {BATCH} images, kernel by kernel"
    table = {"caption": caption, "columns": COLUMNS, "rows": rows}
    return {"tables": [table], "figures": {PYTHON_FIGURE: python}}


COLUMNS = [
    ["kernel", "s"],
    ["µs", ".0f"],
    ["share", ".1%"],
    ["of it Python, µs", ".0f"],
    ["Mflop", ",.1f"],
    ["MB", ",.2f"],
    ["of the FMA peak", ".1%"],
    ["of copy bandwidth", ".1%"],
]


def kernel_row(name, records, step, flops_speeds, copy_speeds):
    """Return one kernel's row: medians over the rounds."""
    seconds = statistics.median(record["seconds"] for record in records)
    in_python = statistics.median(record["seconds"] - record["compiled"] for record in records)
    of_peak, of_copy = (
        statistics.median(
            record[quantity] / record["seconds"] / speed
            for record, speed in zip(records, speeds, strict=True)
        )
        for quantity, speeds in (("flops", flops_speeds), ("bytes", copy_speeds))
    )
    flops, nbytes = records[0]["flops"], records[0]["bytes"]
    return [
        name,
        1e6 * seconds,
        seconds / step,
        1e6 * in_python,
        flops / 1e6 or None,
        nbytes / 1e6,
        of_peak or None,
        of_copy,
    ]
