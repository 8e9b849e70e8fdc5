"""The figures of chapter 13 say what was recorded."""

from types import SimpleNamespace

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from convlib.notebook.figures import memory_accesses as pictures
from convlib.notebook.style import BLUE, ORANGE


def texts(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def colours(axes):
    """Return the colours of an axes' cells by row and column; frames are not among them."""
    cells = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_fill()]
    return {(cell.get_y(), cell.get_x()): to_hex(cell.get_facecolor()).upper() for cell in cells}


def test_counts_are_written_and_shaded():
    counts = np.array([[0, 1], [9, 2]])
    fig = pictures.count_maps({"one": counts, "two": counts + 1}, {"one": (0, 1, 2, 1)})
    assert texts(fig.axes[0]) == ["1", "9", "2"] and texts(fig.axes[1]) == ["1", "2", "10", "3"]
    assert colours(fig.axes[0])[0, 0] == pictures.PALE.upper()
    assert colours(fig.axes[1])[1, 0] == BLUE
    (frame,) = [patch for patch in fig.axes[0].patches if not patch.get_fill()]
    assert (*frame.get_xy(), frame.get_height(), frame.get_width()) == (1, 0, 2, 1)
    fig = pictures.count_maps({"one": counts}, limit=1)
    assert [colour == ORANGE for colour in colours(fig.axes[0]).values()] == [False, False] + [
        True,
        True,
    ]


def test_values_are_written_and_nan_is_orange():
    fig = pictures.value_maps({"a": np.array([[1.25, np.nan], [-0.5, 3]])})
    assert texts(fig.axes[0]) == ["1.2", "NaN", "−0.5", "3.0"]
    assert [place for place, c in colours(fig.axes[0]).items() if c == ORANGE] == [(0, 1)]


def test_sectors_show_what_is_moved_without_being_read():
    fig = pictures.sector_maps({"along": {0: 0, 1: 1}, "across": {0: 0, 8: 1}}, 2, 8, numbers=4)
    titles = [axes.get_title(loc="left") for axes in fig.axes]
    assert titles == ["along: 1 sectors", "across: 2 sectors"]
    moved = [list(colours(axes).values()).count(pictures.PALE_ORANGE) for axes in fig.axes]
    read = [list(colours(axes).values()).count(BLUE) for axes in fig.axes]
    assert moved == [2, 6] and read == [2, 2]


def accesses(elements, threads, steps):
    columns = map(np.array, (elements, threads, steps))
    return SimpleNamespace(**dict(zip(("element", "thread", "step"), columns, strict=True)))


def test_a_tile_is_filled_then_read_then_the_sum_is_stored():
    fetch = accesses([0, 1, 2, 3], [0, 1, 0, 1], [0, 0, 1, 1])
    recorded = {
        ("x", False): fetch,
        ("shared 0", True): fetch,
        ("shared 0", False): accesses([0, 1, 2, 3], [0, 0, 0, 0], [0, 1, 2, 3]),
        ("y", True): accesses([0], [0], [0]),
    }
    recording = SimpleNamespace(accesses=lambda name, writes=False: recorded[name, writes])
    frames = list(pictures.tile_frames(recording, 2, 1))
    assert [frame.get_suptitle().split()[0].strip(":") for frame in frames] == (
        ["Fetch"] * 2 + ["Barrier"] + ["Term"] * 4 + ["Store"]
    )
    image, tile, _ = frames[1].axes
    assert texts(image) == texts(tile) == ["0", "1"]
    assert [c == BLUE for c in colours(image).values()] == [False, False, True, True]
    assert pictures.PALE.upper() not in colours(frames[2].axes[1]).values()
    assert texts(frames[4].axes[2]) == ["2"]
    assert colours(frames[4].axes[1])[0, 1] == ORANGE


def test_rungs_have_bars_as_long_as_their_costs():
    fig = pictures.ladder({"slow": (1000, 2), "quick": (10, 0.5)}, ("reads", "shared"))
    widths = [[bar.get_width() for bar in axes.patches] for axes in fig.axes]
    assert widths == [[1000, 10], [2, 0.5]]
    assert texts(fig.axes[0]) == ["1,000", "10"] and texts(fig.axes[1]) == ["2", "0.5"]


def test_the_halo_marks_the_chosen_block():
    fig = pictures.halo(np.ones((6, 6)), 2, np.array([1.0, 2, 4]), {1: 9.0, 2: 4.0, 4: 2.25})
    line, dots, chosen = fig.axes[1].lines[:3]
    assert np.allclose(line.get_ydata(), [9, 4, 2.25]) and list(dots.get_ydata()) == [9, 4, 2.25]
    assert (chosen.get_xdata()[0], chosen.get_ydata()[0]) == (2, 4)
    assert "4.00" in [text.get_text() for text in fig.findobj(Text)]


def test_orders_are_counted_by_result():
    fig = pictures.order_spread(np.array([-1, -1, 2]), 0)
    bars = {
        round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in fig.axes[0].patches
    }
    assert bars == {-1: 2, 2: 1} and list(fig.axes[0].lines[0].get_xdata()) == [0, 0]
