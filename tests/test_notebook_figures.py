"""The chapters' figures say what the arrays and models they are given say."""

import numpy as np
import pytest
from matplotlib.text import Text

from convlib import layers, models
from convlib.datasets import digits
from convlib.notebook import figures, readme_figure
from convlib.notebook.style import BLUE, ORANGE


@pytest.fixture(scope="module")
def network():
    return models.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def texts(fig):
    return [text.get_text().strip() for text in fig.findobj(Text) if text.get_text().strip()]


def test_the_picture_of_a_network_names_every_shape(network):
    found = texts(figures.network_picture(network))
    for shape in ("28×28×1", "26×26×32", "13×13×32", "11×11×64", "5×5×64", "3×3×64", "576"):
        assert found.count(shape) == 1
    assert found.count("Conv2D") == 3 and found.count("Dense") == 2


def test_the_bars_give_shares_of_parameters_and_of_work(network):
    found = texts(figures.cost_bars(network))
    assert "18,496  (19.8 %)" in found and "2,230,272  (79.8 %)" in found
    assert found.count("36,928  (39.6 %)") == 2 and "36,864  (1.3 %)" in found
    assert any("93,322 in all" in text for text in found)


def test_a_mistake_is_orange_and_names_the_truth():
    probabilities = np.eye(10)[[3, 5]]
    fig = figures.readings(np.zeros((2, 28, 28)), probabilities, np.array([3, 8]), columns=2)
    right, wrong = fig.axes
    assert wrong.title.get_color() == ORANGE and wrong.get_xlabel() == "is a 8"
    assert right.title.get_color() != ORANGE and right.get_xlabel() == ""


def test_bars_of_probabilities_mark_the_largest():
    fig = figures.reading(np.zeros((28, 28)), np.eye(10)[4], truth=6)
    colours = [bar.get_facecolor()[:3] for bar in fig.axes[1].patches]
    assert colours[4] == pytest.approx((0xD5 / 255, 0x5E / 255, 0))
    fig = figures.reading(np.zeros((28, 28)), np.eye(10)[4], truth=4)
    assert fig.axes[1].patches[4].get_facecolor()[2] == pytest.approx(int(BLUE[5:], 16) / 255)


def test_the_confusion_matrix_writes_every_count():
    matrix = np.diag([90, 80, 70])
    matrix[2, 0] = 7
    found = texts(figures.confusion(matrix))
    assert {"90", "80", "70", "7"} <= set(found) and "read as" in found


def test_accuracies_are_drawn_at_their_values():
    fig = figures.accuracies_beside_claim([0.99, 0.992, 0.991], 0.9908, (0.9889, 0.9927))
    points = [line.get_xdata() for line in fig.axes[0].lines]
    assert any(np.allclose(x, [99.0, 99.2, 99.1]) for x in points if len(x) == 3)
    assert any(np.allclose(x, [98.89, 99.27]) for x in points if len(x) == 2)


def test_learning_curves_draw_errors_in_per_cent():
    history = {
        "loss": [0.2, 0.1],
        "accuracy": [0.9, 0.95],
        "val_loss": [0.1, 0.05],
        "val_accuracy": [0.96, 0.97],
    }
    fig = figures.learning_curves([history, history])
    drawn = [line.get_ydata() for line in fig.axes[1].lines]
    assert any(np.allclose(y, [10, 5]) for y in drawn)
    assert any(np.allclose(y, [4, 3]) for y in drawn)


def test_response_maps_choose_the_channels_that_respond_most():
    output = np.zeros((4, 4, 12))
    output[..., 7], output[..., 2] = 3, 2
    fig = figures.response_maps(np.zeros((6, 6)), [output], ["conv"], columns=2)
    assert [panel.get_xlabel() for panel in fig.axes[1:]] == ["7", "2"]


def test_signed_maps_are_centred_on_zero():
    maps = {"signed": np.array([[[-1.0, 0.5]] * 2]), "positive": np.array([[[0.0, 2.0]] * 2])}
    fig = figures.explanations(np.array([[[0, 1.0]] * 2]), maps, ["one"], signed=["signed"])
    limits = [panel.images[0].get_clim() for panel in fig.axes]
    assert limits[1:] == [(-1, 1), (0, 2)]


def test_filters_share_one_symmetric_scale():
    kernels = np.zeros((3, 3, 3))
    kernels[0, 0, 1] = -2
    fig = figures.filters(kernels, columns=3)
    assert {panel.images[0].get_clim() for panel in fig.axes} == {(-2, 2)}


def test_sheets_keep_the_order_of_the_digits():
    images = np.arange(6)[:, None, None] * np.ones((6, 2, 2))
    fig = figures.side_by_side({"sheet": images}, columns=3)
    drawn = fig.axes[0].images[0].get_array()
    assert np.array_equal(drawn[::2, ::2], [[0, 1, 2], [3, 4, 5]])


class Answering:
    """Stands in for a trained network that gives one answer to everything."""

    def __init__(self, network, answer):
        self.layers, self._network, self._answer = network.layers, network, answer

    def layer_outputs(self, x):
        return [*self._network.layer_outputs(x)[:-1], np.eye(10)[[self._answer]]]


def test_the_picture_for_the_readme_shows_a_right_reading(network, tmp_path, monkeypatch):
    label = int(digits.load_data()[1][1][readme_figure.WRITTEN_DIGIT])
    path = tmp_path / "figures" / "readme.png"
    monkeypatch.setattr("sys.argv", ["readme_figure", "--output", str(path)])
    monkeypatch.setattr(readme_figure, "trained_on_strokes", lambda: Answering(network, label))
    readme_figure.main()
    assert path.read_bytes().startswith(b"\x89PNG")
    other = (label + 1) % 10
    monkeypatch.setattr(readme_figure, "trained_on_strokes", lambda: Answering(network, other))
    with pytest.raises(SystemExit, match=f"was read as {other}"):
        readme_figure.main()
