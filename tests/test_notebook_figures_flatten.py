"""The figure of Flatten says what Flatten does."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from convlib import layers, models
from convlib.notebook.figures.flatten import flatten_frame
from convlib.notebook.style import BLUE


def cells(fig):
    """Return the text of each cell and whether it is the one being written, in drawing order."""
    (axes,) = fig.axes
    centres = {
        (round(t.get_position()[0], 3), round(t.get_position()[1], 3)): t for t in axes.texts
    }
    result = []
    for patch in axes.patches:
        x, y = patch.get_x() + patch.get_width() / 2, patch.get_y() + patch.get_height() / 2
        text = centres[round(x, 3), round(y, 3)].get_text()
        result.append((text, to_hex(patch.get_facecolor()).upper() == BLUE.upper()))
    return result


@pytest.mark.parametrize(("shape", "place"), [((3, 3, 4), 0), ((3, 3, 4), 5), ((2, 4, 3), 7)])
def test_a_place_of_every_channel_becomes_the_next_part_of_the_row(shape, place):
    maps = np.arange(np.prod(shape)).reshape(shape)
    model = models.Sequential([layers.Input(shape), layers.Flatten()])
    row = model.predict(maps[None].astype(np.float32), verbose=0)[0].astype(int)
    channels = shape[2]
    drawn = cells(flatten_frame(maps, place))
    above, below = drawn[: maps.size], drawn[maps.size :]
    assert [text for text, _ in above] == [
        str(v) for c in range(channels) for v in maps[..., c].flat
    ]
    written = (place + 1) * channels
    expected = [str(v) for v in row[:written]] + [""] * (maps.size - written)
    assert [text for text, _ in below] == expected
    now = sorted(text for text, is_now in above if is_now)
    assert now == sorted(text for text, is_now in below if is_now)
    assert now == sorted(str(v) for v in row[written - channels : written])


def test_the_frame_names_the_place_and_its_numbers():
    fig = flatten_frame(np.zeros((3, 3, 4), dtype=int), 5)
    found = [text.get_text() for text in fig.axes[0].texts]
    assert "place (1, 2)" in found and "20 … 23" in found and "35" in found
    assert [f"channel {c}" in found for c in range(5)] == [True] * 4 + [False]
    last = [text.get_text() for text in flatten_frame(np.zeros((3, 3, 4), int), 8).axes[0].texts]
    assert "32 … 35" in last and "35" not in last
