"""Training the text's network on a GPU, in batches that hardly keep it busy and in large ones.

The data lie on the GPU, as PyTorch's do. convlib takes part twice: with a step's launches captured
in a CUDA graph and, as ``CONVLIB_CUDA_GRAPHS=0`` asks, with each one launched by itself.
"""

from benchmarks import network
from benchmarks.settings import Settings

IMAGES = 60_000
SLICES = {64: IMAGES, 1024: IMAGES}
LAYOUTS = ("contiguous", "channels-last")
VARIANTS = {
    "pytorch": [{"layout": layout, "graphs": False} for layout in LAYOUTS],
    "pytorch_graphs": [{"layout": layout, "graphs": True} for layout in LAYOUTS],
}
PLACE = "on a GPU, "


def figure(batch: int, name: str) -> str:
    """Return the name of a ratio to ours."""
    if name == "plain":
        return f"{PLACE}training in batches of {batch}: plain launches' time to graphs'"
    return network.training_figure(batch, name, PLACE)


FIGURES: dict[str, str | None] = {figure(batch, "plain"): None for batch in SLICES}
FIGURES |= {figure(batch, peer): peer for batch in SLICES for peer in VARIANTS}


def measure(settings: Settings) -> dict:
    """Let all contestants train in turns."""
    table, figures = network.measure_training(settings, SLICES, VARIANTS, figure)
    images = settings.count(IMAGES, 256)
    caption = f"An epoch of {images:,} images that are on the GPU; time as a multiple of convlib's"
    return {"tables": [table | {"caption": caption}], "figures": figures}
