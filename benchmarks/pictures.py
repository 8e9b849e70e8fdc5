"""Pictures of the results: white, as wide as the README, safe for colour-blind eyes."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from convlib.notebook.style import BLUE, GREY, ORANGE, figure

PEER_COLOURS = {"convlib": BLUE, "PyTorch": ORANGE, "Keras/TensorFlow": GREY}
PASS_MARKERS = {
    "forward": ("o", BLUE, -0.2),
    "input gradient": ("s", ORANGE, 0.0),
    "parameter gradient": ("^", "#009E73", 0.2),
}


def network(result: dict) -> Figure:
    """Draw bars of images per second, for each size of batches and each contestant."""
    rows = result["tables"][0]["rows"]
    names = [name for name in PEER_COLOURS if any(row[1] == name for row in rows)]
    batches = sorted({row[0] for row in rows})
    fig, ax = figure(height=0.8 + 0.3 * len(batches) * len(names))
    height = 0.8 / len(names)
    for place, name in enumerate(names):
        speeds = [next(row[3] for row in rows if row[:2] == [batch, name]) for batch in batches]
        positions = [
            group + (place - (len(names) - 1) / 2) * height for group in range(len(batches))
        ]
        ax.barh(positions, speeds, 0.9 * height, color=PEER_COLOURS[name])
        for position, speed in zip(positions, speeds, strict=True):
            ax.annotate(
                f"{name}, {speed:,.0f}",
                (speed, position),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    ax.set_yticks(range(len(batches)), [f"batches of {batch}" for batch in batches])
    ax.invert_yaxis()
    ax.tick_params("y", length=0)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.margins(x=0.28)
    ax.set_xlim(left=0)
    ax.set_xlabel("images per second")
    ax.set_title("Training the text's network")
    return fig


def layers(result: dict) -> Figure | None:
    """Draw a dot for each layer and pass: how many times as long as ours oneDNN takes."""
    table = result["tables"][0]
    rows = [row for row in table["rows"] if row[7] is not None]
    labels = list(dict.fromkeys((row[0], row[1]) for row in rows))
    if not rows:
        return None
    fig, ax = figure(height=0.9 + 0.17 * len(labels))
    for title, (marker, colour, shift) in PASS_MARKERS.items():
        points = [
            (row[7], labels.index((row[0], row[1])) + shift) for row in rows if row[3] == title
        ]
        ax.scatter(
            *zip(*points, strict=True), s=16, marker=marker, color=colour, label=title, zorder=3
        )
    ax.axvline(1, color="#444444", linewidth=1)
    ax.set_yticks(range(len(labels)), [f"{layer}   {network}" for network, layer in labels])
    ax.tick_params("y", length=0, labelsize=7)
    ax.grid(axis="y", color="#EEEEEE", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("oneDNN's time, as a multiple of convlib's (right of the line convlib is faster)")
    fig.legend(loc="outside upper right", ncols=3, fontsize=8)
    return fig


PICTURES = {"network": network, "layers": layers}
