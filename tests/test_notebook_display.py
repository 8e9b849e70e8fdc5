"""Figures, animations, sliders and sources as the chapters show them."""

import io

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

from convlib import shapes
from convlib.notebook import explore, figure, png_bytes, show, show_animation, source
from convlib.notebook.animation import animated_png
from convlib.notebook.digit_pad import DigitPad, as_mnist, show_digit_pad
from convlib.notebook.widgets import WIDGET_VIEW, explorer

SENTENCE = "A straight line rises from the left to the right."


def line(slope=1.0):
    fig, axes = figure(3, 2)
    axes.plot([0, 1], [0, slope])
    axes.set_ylim(0, 5)
    return fig


@pytest.fixture
def outputs():
    """Return a function that collects what a call displays, as a notebook's front end would."""
    InteractiveShell.instance()

    def collect(function, *arguments, **keywords):
        with capture_output() as captured:
            function(*arguments, **keywords)
        return [(item.data, item.metadata) for item in captured.outputs]

    return collect


def test_a_figure_is_a_small_palette_png_with_white_ground_and_no_metadata():
    image = Image.open(io.BytesIO(png_bytes(line())))
    assert image.mode == "P"
    assert len(image.convert("RGB").getcolors(10_000)) <= 64
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert image.info.keys() <= {"dpi"}


def test_the_same_figure_gives_the_same_bytes():
    assert png_bytes(line()) == png_bytes(line())
    assert png_bytes(line()) != png_bytes(line(2.0))


def test_show_prints_the_sentence_and_gives_it_as_alternative_text(outputs):
    (picture, metadata), (caption, _) = outputs(show, line(), SENTENCE)
    assert metadata["image/png"]["alt"] == SENTENCE
    assert picture["text/plain"] == SENTENCE == caption["text/plain"]
    assert SENTENCE in caption["text/markdown"]
    assert metadata["image/png"]["width"] == 3 * 96


@pytest.mark.parametrize("sentence", ["", "a line", "no full stop at the end of this", None])
def test_a_figure_without_a_sentence_is_refused(sentence):
    with pytest.raises(ValueError, match="sentence"):
        show(line(), sentence)


def test_show_leaves_no_pyplot_figure_to_be_shown_twice(outputs):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    fig = pyplot.figure()
    outputs(show, fig, SENTENCE)
    assert not pyplot.fignum_exists(fig.number)


def test_an_animation_holds_all_frames_with_one_palette_and_repeats_byte_for_byte():
    def frames():
        return [line(slope) for slope in (1, 2, 4)]

    png = animated_png(frames(), seconds=0.25)
    assert png == animated_png(frames(), seconds=0.25)
    image = Image.open(io.BytesIO(png))
    assert image.n_frames == 3
    seen = []
    for number, fig in enumerate(frames()):
        image.seek(number)
        assert image.info["duration"] == 250
        seen.append(np.asarray(image.convert("RGB")).astype(int))
        still = np.asarray(Image.open(io.BytesIO(png_bytes(fig))).convert("RGB")).astype(int)
        assert np.abs(seen[-1] - still).mean() < 2
    assert np.abs(seen[0] - seen[2]).max() > 100


def test_an_animation_refuses_nothing_and_frames_of_different_sizes():
    with pytest.raises(ValueError, match="at least one"):
        animated_png([])
    with pytest.raises(ValueError, match="one size"):
        animated_png([line(), figure(4, 2)[0]])


def test_show_animation_shows_one_picture_and_its_sentence(outputs):
    shown = outputs(show_animation, [line(1), line(2)], SENTENCE)
    assert [data["text/plain"] for data, _ in shown] == [SENTENCE, SENTENCE]


def test_a_slider_redraws_the_picture():
    box = explorer(line, {"slope": (1.0, 2.0, 4.0)}, start={"slope": 2.0})
    slider, picture = box.children
    assert picture.value == png_bytes(line(2.0))
    slider.value = 4.0
    assert picture.value == png_bytes(line(4.0))


def test_a_slider_has_a_still_picture_and_a_text_in_the_same_output(outputs):
    (data, _), _ = outputs(explore, line, SENTENCE, slope=(1.0, 2.0))
    assert {WIDGET_VIEW, "image/png", "text/plain"} == set(data)
    assert data["text/plain"] == SENTENCE


def test_the_digit_pad_reads_every_drawing():
    def read(image):
        assert image.shape == (28, 28) and image.dtype == np.float32 and image.max() == 1.0
        return np.arange(10) / 45

    pad = DigitPad(read)
    pad.pixels = [255] * 784
    assert pad.probabilities == pytest.approx(list(np.arange(10) / 45))
    pad.pixels = [0] * 784
    assert pad.probabilities == [0.0] * 10


def test_a_drawing_is_scaled_and_centred_as_mnist_digits_are():
    corner = np.zeros((28, 28), dtype=np.float32)
    corner[1:6, 2:4] = 1
    digit = as_mnist(corner)
    rows, columns = np.nonzero(digit)
    assert rows.max() - rows.min() + 1 == 20 and columns.max() - columns.min() + 1 == 8
    assert abs((digit.sum(axis=1) @ np.arange(28)) / digit.sum() - 14) < 0.6
    assert abs((digit.sum(axis=0) @ np.arange(28)) / digit.sum() - 14) < 0.6
    assert as_mnist(corner, centred=False) is corner


def test_the_digit_pad_reads_again_when_centring_is_switched_off():
    seen = []
    pad = DigitPad(lambda image: seen.append(image) or np.eye(10)[0])
    drawing = np.zeros((28, 28), dtype=int)
    drawing[1:6, 2:4] = 255
    pad.pixels = drawing.ravel().tolist()
    pad.centred = False
    assert len(seen) == 2
    assert np.array_equal(seen[1] > 0, drawing > 0) and not np.array_equal(*seen)


def test_the_digit_pad_has_a_still_picture(outputs):
    image = np.eye(28, dtype=np.float32)
    sentence = "A diagonal stroke, which is read as a one."
    (data, _), _ = outputs(show_digit_pad, lambda _: np.eye(10)[1], image, sentence)
    assert {WIDGET_VIEW, "image/png", "text/plain"} == set(data)


def documented(x):
    """Say something.

    And more.
    """
    return x + 1


def test_source_shows_the_code_without_and_with_its_docstring(outputs):
    ((data, _),) = outputs(source, documented)
    assert data["text/plain"] == "def documented(x):\n    return x + 1"
    ((data, _),) = outputs(source, documented, docstring=True)
    assert "And more." in data["text/plain"]


def test_source_shows_two_functions_side_by_side_and_escapes_them(outputs):
    public = [getattr(shapes, name) for name in dir(shapes) if callable(getattr(shapes, name))]
    functions = [thing for thing in public if getattr(thing, "__module__", "") == shapes.__name__]
    ((data, _),) = outputs(source, functions[0], documented)
    assert data["text/html"].count("<pre>") == 2
    assert "x + 1" in data["text/html"]
    assert "->" not in data["text/html"].replace("-&gt;", "")


def test_source_shows_the_python_behind_a_compiled_function(outputs):
    numba = pytest.importorskip("numba")
    ((data, _),) = outputs(source, numba.njit(documented))
    assert "return x + 1" in data["text/plain"]
