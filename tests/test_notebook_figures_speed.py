"""The figures of chapter 12 say what the numbers they are given say."""

import numpy as np
import pytest
from matplotlib.text import Text

from convlib.notebook.figures import speed
from convlib.notebook.style import BLUE, GREY, ORANGE


def texts(fig):
    return [text.get_text().strip() for text in fig.findobj(Text) if text.get_text().strip()]


def test_the_roof_is_the_smaller_limit():
    assert speed.attainable(2.0, 100.0, 20.0) == 40.0
    assert speed.attainable(50.0, 100.0, 20.0) == 100.0


def test_what_lies_above_the_roof_is_orange():
    dots = [speed.Dot("slow", 2.0, 39.0), speed.Dot("shortcut", 50.0, 150.0, "above")]
    fig = speed.roofline(100.0, {"memory": 20.0}, dots, "a machine")
    (axes,) = fig.axes
    points = {
        line.get_xdata()[0]: line.get_color() for line in axes.lines if len(line.get_xdata()) == 1
    }
    assert points == {2.0: BLUE, 50.0: ORANGE}
    assert {"slow", "shortcut", "memory: 20 GB/s", "peak: 100 GFLOP/s", "a machine"} <= set(
        texts(fig)
    )


def test_the_roof_bends_where_both_limits_meet():
    fig = speed.roofline(100.0, {"caches": 40.0, "memory": 20.0}, [])
    slopes = [line for line in fig.axes[0].lines if len(line.get_xdata()) == 2]
    ends = {float(line.get_xdata()[1]) for line in slopes if line.get_ydata()[0] < 100}
    assert ends == {2.5, 5.0}


def test_bars_have_the_length_of_their_values():
    values = {"slow": 5000.0, "base": 1.0, "faster": 0.5}
    fig = speed.bars(values, "times", "base")
    bars = fig.axes[0].patches
    assert [bar.get_x() + bar.get_width() for bar in bars] == [5000.0, 1.0, 0.5]
    assert bars[0].get_x() == 0.5
    assert {"5,000 ×", "1 ×", "0.5 ×"} <= set(texts(fig))


def test_error_strips_name_the_median():
    errors = {"a": {"one": np.array([1.0, 2.0, 9.0]), "two": np.array([4.0, 4.0, 4.0])}}
    fig = speed.error_strips(errors, "one")
    assert {"2.0", "4.0", "a", "one", "two"} <= set(texts(fig))
    assert sorted(fig.axes[0].lines[0].get_xdata()) == [1.0, 2.0, 9.0]


@pytest.mark.parametrize(("step", "loads"), [(0, 10), (7, 80), (15, 160)])
def test_a_tile_counts_its_loads(step, loads):
    fig = speed.tile_frame(12, 8, 4, (6, 4), step)
    found = texts(fig)
    assert f"{loads}" in found and f"{24 * (step + 1)}" in found and f"{48 * (step + 1)}" in found
    orange = [
        p
        for p in fig.axes[0].patches
        if p.get_facecolor()[:3] == pytest.approx((0xD5 / 255, 0x5E / 255, 0))
    ]
    assert len(orange) == 6 + 4


def test_a_winograd_tile_shows_its_numbers():
    d, g = np.full((4, 4), 7.0), np.full((3, 3), 2.0)
    v, u, y = np.full((4, 4), 3.0), np.full((4, 4), 5.0), np.full((2, 2), 11.0)
    found = texts(speed.winograd_steps(d, g, v, u, y))
    assert [found.count(n) for n in ("7", "2", "3", "5", "15", "11")] == [16, 9, 16, 16, 16, 4]


def test_pairs_are_grey_before_and_blue_after():
    fig = speed.before_and_after({"bytes": {"a": (10.0, 2.0)}, "work": {"a": (8.0, 1.0)}})
    first, second = fig.axes
    assert [bar.get_width() for bar in (*first.patches, *second.patches)] == [10.0, 2.0, 8.0, 1.0]
    colours = [
        "#%02X%02X%02X" % tuple(round(255 * c) for c in bar.get_facecolor()[:3])
        for bar in first.patches
    ]
    assert colours == [GREY, BLUE]
