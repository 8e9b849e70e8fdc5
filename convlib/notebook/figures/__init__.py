"""The figures of the chapters. Each function takes arrays or a model and returns a figure.

A chapter with figures of its own has a module of its own here, named after its subject.
"""

from convlib.notebook.figures.digits import (
    INK,
    gallery,
    picture,
    probability_bars,
    reading,
    readings,
    side_by_side,
)
from convlib.notebook.figures.inside import (
    explanations,
    filters,
    network_reading,
    occlusion_frame,
    response_maps,
)
from convlib.notebook.figures.networks import (
    cost_bars,
    network_picture,
)
from convlib.notebook.figures.training import (
    accuracies_beside_claim,
    confusion,
    labelled_lines,
    learning_curves,
)

__all__ = [
    "INK",
    "accuracies_beside_claim",
    "confusion",
    "cost_bars",
    "explanations",
    "filters",
    "gallery",
    "labelled_lines",
    "learning_curves",
    "network_picture",
    "network_reading",
    "occlusion_frame",
    "picture",
    "probability_bars",
    "reading",
    "readings",
    "response_maps",
    "side_by_side",
]
