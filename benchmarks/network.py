"""Training the text's network, and asking it, beside PyTorch and Keras and beside the machine.

Each round times one slice of every contestant: an epoch of so many images, by `fit` as a user calls
it. Before that all variants of a peer are timed, and its fastest takes part.
"""

import statistics

from benchmarks.measure import ContestantFailed, alternate, fastest, median_ratio, prepare
from benchmarks.settings import PEERS, Settings

SLICES = {16: 6400, 64: 12800, 512: 12800}  # images in a slice, for each size of batches
VARIANT_IMAGES = 5120
EPOCH = 60_000
PREDICTED = 10_000
PREDICT_BATCHES = (32, 100, 250, 1000)  # 32 is the default of Keras and convlib

TRAINING_VARIANTS = {
    "pytorch": [
        {"layout": "channels-last", "compiled": False},
        {"layout": "contiguous", "compiled": False},
        {"layout": "channels-last", "compiled": True},
    ],
    "keras_tensorflow": [{"compiled": False}, {"compiled": True}],
}
PREDICTION_VARIANTS = {
    "pytorch": TRAINING_VARIANTS["pytorch"][:2],
    "keras_tensorflow": TRAINING_VARIANTS["keras_tensorflow"],
    "ours": [{}],
}


def training_figure(batch: int, peer: str, place: str = "") -> str:
    """Return the name of a ratio; ``place`` says where, if not on the CPU."""
    return f"{place}training in batches of {batch}: {PEERS[peer]}'s time to ours"


def prediction_figure(peer: str) -> str:
    """Return the name of a ratio."""
    return f"predicting: {PEERS[peer]}'s time to ours"


EPOCH_FIGURE = "an epoch: dense arithmetic's time at the peak to ours"
THREADS_FIGURE = "training: one thread's time to two threads'"

FIGURES = {training_figure(batch, peer): peer for batch in SLICES for peer in TRAINING_VARIANTS}
FIGURES |= {prediction_figure(peer): peer for peer in PREDICTION_VARIANTS if peer in PEERS}
FIGURES |= {EPOCH_FIGURE: None, THREADS_FIGURE: None}


def describe(variant: dict) -> str:
    """Return a variant in words."""
    words = [variant["layout"]] if "layout" in variant else []
    if "compiled" in variant:
        words.append("compiled" if variant["compiled"] else "not compiled")
    if "batch" in variant:
        words.append(f"batches of {variant['batch']}")
    return ", ".join(words)


def best_variant(
    settings: Settings, who: str, job: str, variants: list[dict], **options
) -> dict | None:
    """Time each variant of a job twice and return the fastest one's options, None if all fail."""
    if len(variants) == 1:
        return variants[0]
    times = {}
    for place, variant in enumerate(variants[: settings.count(len(variants), 1)]):
        try:
            candidate = prepare(settings.contestants[who], "candidate", job, **options, **variant)
        except ContestantFailed as failure:
            reason = str(failure).strip().splitlines()[-1]
            print(f"{settings.title(who)}, {describe(variant)}: left out, {reason}", flush=True)
            continue
        times[place] = [candidate.seconds() for _ in range(2)]
        candidate.drop()
        print(
            f"{settings.title(who)}, {job}, {describe(variant)}: {min(times[place]):.3f} s",
            flush=True,
        )
    return variants[fastest(times)] if times else None


def measure(settings: Settings) -> dict:
    """Measure everything and return tables and figures."""
    training, figures = measure_training(settings)
    predicting, more = measure_predicting(settings)
    alone, rest = measure_alone(settings)
    return {"tables": [training, predicting, alone], "figures": figures | more | rest}


def measure_training(
    settings: Settings, slices=SLICES, candidates=TRAINING_VARIANTS, figure=training_figure
) -> tuple[dict, dict]:
    """Let all contestants train in turns, for each size of batches.

    Parameters
    ----------
    settings : Settings
    slices : dict
        For each size of batches, how many images are trained on.
    candidates : dict of lists
        The variants of the contestants that have some.
    figure : function of (int, str)
        Gives the name of a contestant's ratio to ours for a size of batches.
    """
    rows, figures = [], {}
    for batch, images in slices.items():
        images = settings.count(images, 256)
        work = {"path": str(settings.data_path), "batch": batch}
        jobs, variants = {}, {}
        for name in [*settings.peers, "ours"]:
            some = min(images, VARIANT_IMAGES)
            choice = candidates.get(name, [{}])
            variant = best_variant(settings, name, "train", choice, images=some, **work)
            if variant is not None:
                variants[name] = describe(variant)
                jobs[name] = prepare(
                    settings.contestants[name], "train", "train", images=images, **work, **variant
                )
        times = alternate(jobs, settings.rounds)
        for name, seconds in times.items():
            ratio = median_ratio(seconds, times["ours"])
            if name != "ours":
                figures[figure(batch, name)] = ratio
            speed = images / statistics.median(seconds)
            rows.append([batch, settings.title(name), variants[name], speed, ratio])
        for job in jobs.values():
            job.drop()
    columns = [["batch", "d"], ["", "s"], ["variant", "s"], ["images/s", ",.0f"], ["× ours", ".2f"]]
    caption = "Training, by `fit` as a user calls it; time as a multiple of ours"
    return {"caption": caption, "columns": columns, "rows": rows}, figures


def measure_predicting(settings: Settings) -> tuple[dict, dict]:
    """Let all contestants predict in turns, each in batches of its favourite size."""
    images = settings.count(PREDICTED, 64)
    work = {"path": str(settings.data_path), "images": images}
    rows, figures, jobs, variants = [], {}, {}, {}
    for peer in [*settings.peers, "ours"]:
        candidates = [
            {**variant, "batch": batch}
            for variant in PREDICTION_VARIANTS[peer]
            for batch in PREDICT_BATCHES
        ]
        variant = best_variant(settings, peer, "predict", candidates, **work)
        if variant is None:
            continue
        variants[peer] = describe(variant)
        jobs[peer] = prepare(settings.contestants[peer], "predict", "predict", **work, **variant)
    times = alternate(jobs, settings.rounds)
    for name, seconds in times.items():
        ratio = median_ratio(seconds, times["ours"])
        if name != "ours":
            figures[prediction_figure(name)] = ratio
        rows.append(
            [settings.title(name), variants[name], images / statistics.median(seconds), ratio]
        )
    for job in jobs.values():
        job.drop()
    columns = [["", "s"], ["variant", "s"], ["images/s", ",.0f"], ["× ours", ".2f"]]
    caption = f"Predicting {images:,} images; time as a multiple of ours"
    return {"caption": caption, "columns": columns, "rows": rows}, figures


def measure_alone(settings: Settings) -> tuple[dict, dict]:
    """Compare a whole epoch with dense arithmetic at the peak, and two threads with one."""
    images, ours = settings.count(EPOCH, 256), settings.contestants["ours"]
    cores = settings.introductions["ours"]["threads"]
    work = {"path": str(settings.data_path), "images": images, "batch": 64}
    flops = prepare(ours, "flops", "flops_of_network").result()["training"] * images
    peak = prepare(ours, "peak", "multiply_add")
    jobs = {"peak": peak, "epoch": prepare(ours, "epoch", "train", **work)}
    slice_work = work | {"images": settings.count(SLICES[64], 256)}
    jobs["one thread"] = prepare(ours, "one", "train", **slice_work, threads=1)
    jobs["all threads"] = prepare(ours, "all", "train", **slice_work)
    times = alternate(jobs, settings.rounds)
    share = flops / peak.result()
    dense = [share * seconds for seconds in times["peak"]]
    rows = [
        [f"an epoch of {images:,} images", statistics.median(times["epoch"])],
        [f"its {flops / 1e9:,.0f} GFLOP at the measured peak", statistics.median(dense)],
        [f"{slice_work['images']:,} images, one thread", statistics.median(times["one thread"])],
        [f"the same, {cores} threads", statistics.median(times["all threads"])],
    ]
    figures = {EPOCH_FIGURE: median_ratio(dense, times["epoch"])}
    if cores == 2:
        figures[THREADS_FIGURE] = median_ratio(times["one thread"], times["all threads"])
    for job in jobs.values():
        job.drop()
    caption = "Training in batches of 64 with convlib alone"
    return {"caption": caption, "columns": [["", "s"], ["seconds", ".3f"]], "rows": rows}, figures
