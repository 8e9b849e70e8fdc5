"""The README's paragraph on speed, written from the results so that no number is typed."""

import json
from pathlib import Path

from benchmarks import gpu_network, layers, network
from benchmarks.measure import ROOT
from benchmarks.settings import PEERS

README = ROOT / "README.md"
BEGIN = "<!-- What follows is written by `python3 book.py bench`, from benchmarks/results. -->\n"
END = "<!-- Here that ends. -->\n"


def update(results: Path, readme: Path = README) -> None:
    """Replace the paragraph in the README by one made from the results in a folder."""
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    readme.write_text(before + BEGIN + paragraph(results) + END + after, encoding="utf-8")


def paragraph(results: Path) -> str:
    """Return pictures and sentences about the tables that are there, and what is not measured."""
    parts = [
        about(json.loads((results / f"{name}.json").read_text(encoding="utf-8")))
        for name, about in ABOUT.items()
        if (results / f"{name}.json").exists()
    ]
    if not (results / "gpu-network.json").exists():
        parts.append(
            "How fast convlib is on a GPU has not been measured yet; "
            "`python3 book.py bench --backend cuda` does that where there is one."
        )
    return "".join(f"\n{part}\n" for part in parts)


def about_network(result: dict) -> str:
    """Return a picture and a sentence on training and predicting."""
    figures, machine = result["figures"], result["machine"]
    rows = {(row[0], row[1]): row for row in result["tables"][0]["rows"]}
    speed = rows[64, "convlib"][3]
    sentences = [
        f"On {machine['cores']} cores ({machine['processor']}) convlib trains the text's network "
        f"on {speed:,.0f} images a second in batches of 64."
    ]
    for module, name in PEERS.items():
        if network.training_figure(64, module) in figures:
            version = machine["versions"][name.split("/")[-1]]
            training = figures[network.training_figure(64, module)]
            predicting = figures[network.prediction_figure(module)]
            sentences.append(
                f"{name} {version} takes {training:.1f} times as long, and {predicting:.1f} times "
                f"as long to predict."
            )
    sentences.append(
        f"Dense arithmetic at the machine's measured peak would take "
        f"{figures[network.EPOCH_FIGURE]:.2f} times as long as convlib does for an epoch."
    )
    alternative = "Images per second in training, for three sizes of batches"
    return f"![{alternative}](benchmarks/results/network.png)\n\n" + " ".join(sentences)


def about_layers(result: dict) -> str:
    """Return a picture and a sentence on single convolutions."""
    figures, rows = result["figures"], result["tables"][0]["rows"]
    if layers.MEAN_FIGURE not in figures:
        return ""
    count = len({(row[0], row[1]) for row in rows})
    alternative = "For each layer and pass, oneDNN's time as a multiple of convlib's"
    return (
        f"![{alternative}](benchmarks/results/layers.png)\n\n"
        f"For {count} kinds of convolution, forward and both gradients, oneDNN through PyTorch "
        f"takes {figures[layers.MEAN_FIGURE]:.2f} times as long as convlib in the geometric mean, "
        f"and {figures[layers.SMALLEST_FIGURE]:.2f} times in the worst case."
    )


def about_gpu_network(result: dict) -> str:
    """Return a sentence for each size of batches on a GPU."""
    rows = {(row[0], row[1]): row for row in result["tables"][0]["rows"]}
    sentences = [f"On a GPU ({result['machine']['GPU']}):"]
    for batch in gpu_network.SLICES:
        words = [
            f"{name} takes {row[4]:.2f} times as long"
            for (size, name), row in rows.items()
            if size == batch and name != "convlib"
        ]
        speed = rows[batch, "convlib"][3]
        sentences.append(
            f"convlib trains the text's network on {speed:,.0f} images a second in batches of "
            f"{batch}; {', '.join(words)}."
        )
    return " ".join(sentences)


ABOUT = {"network": about_network, "layers": about_layers, "gpu-network": about_gpu_network}
