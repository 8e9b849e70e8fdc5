"""The figures of chapter 6 say what the arrays and functions they are given say."""

import numpy as np
from matplotlib.text import Annotation, Text

from convlib.notebook.figures import strides as pictures
from convlib.notebook.style import BLUE, ORANGE


def texts(fig):
    return [text.get_text().strip() for text in fig.findobj(Text) if text.get_text().strip()]


def test_rows_of_pixels_are_bands_of_one_length():
    rows = {"all": np.array([0.0, 1.0, 0.0, 1.0]), "half": np.array([0.0, 0.0])}
    fig = pictures.stripes(rows, "a title")
    drawn = [panel.images[0] for panel in fig.axes]
    assert [image.get_array().shape for image in drawn] == [(1, 4), (1, 2)]
    assert drawn[0].get_extent() == drawn[1].get_extent()
    assert {image.get_clim() for image in drawn} == {(0, 1)}
    assert {"all", "half", "a title"} <= set(texts(fig))


def test_sizes_are_drawn_as_the_functions_give_them():
    lines = {"down": lambda n: n // 2, "up": lambda n: -(-n // 2)}
    fig = pictures.size_steps(range(5, 11), lines, {"down": 9, "up": 9})
    dots = {line.get_color(): line.get_ydata() for line in fig.axes[0].lines[1:]}
    assert list(dots[BLUE]) == [2, 3, 3, 4, 4, 5] and list(dots[ORANGE]) == [3, 3, 4, 4, 5, 5]
    notes = {note.get_text(): note.xy for note in fig.findobj(Annotation) if note.get_text()}
    assert notes == {"down: 9 → 4": (9, 4), "up: 9 → 5": (9, 5)}


def test_gains_shade_what_cannot_be_carried():
    frequencies = np.linspace(0, 0.5, 11)
    measured = (np.array([0.1, 0.2]), np.array([0.8, 0.4]))
    fig = pictures.gains(frequencies, np.cos(np.pi * frequencies) ** 4, measured, 0.25)
    lines = fig.axes[0].lines
    assert np.allclose(lines[0].get_ydata()[[0, -1]], [1, 0])
    assert np.array_equal(lines[1].get_ydata(), [0.8, 0.4])
    (shade,) = fig.axes[0].patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (0.25, 0.5)
