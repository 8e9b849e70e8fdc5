"""The trained network: the file that its datasheet describes, how well it reads, how it is made."""

import hashlib
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from convlib.datasets import digits, strokes
from convlib.datasets._common import embedded
from convlib.notebook import trained_network

DATA = Path(__file__).resolve().parent.parent / "data"
SHEET = (DATA / "network.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def network():
    return trained_network()


@pytest.fixture(scope="module")
def recipe():
    """The names in the program that made the file."""
    return runpy.run_path(str(DATA / "make_network.py"))


@pytest.fixture(scope="module")
def drawn():
    _, test = strokes.load_data(train=0)
    return test


def share_read(network, images, labels):
    """Return the percentage that is read correctly."""
    if images.ndim == 3:
        images = images[..., np.newaxis].astype(np.float32) / 255
    return 100 * (network.predict(images, verbose=0).argmax(axis=1) == labels).mean()


def stated(row):
    """Return the percentage in a row of the datasheet's table."""
    (number,) = re.findall(rf"^\| {re.escape(row)} \| ([\d.]+) % \|$", SHEET, re.MULTILINE)
    return pytest.approx(float(number), abs=0.1)  # another machine may round a few otherwise


def test_the_file_is_the_one_that_its_datasheet_describes(network):
    content = embedded("network.npz").read_bytes()
    assert hashlib.sha256(content).hexdigest() in SHEET
    assert len(content) < 500_000
    assert network.input_shape == (None, 28, 28, 1)
    assert network.output_shape == (None, 10)
    assert f"{network.count_params():,}".replace(",", " ") in SHEET


def test_it_is_the_texts_network(network, recipe):
    untrained = recipe["text_network"]()
    for one, other in zip(network.layers, untrained.layers, strict=True):
        assert type(one) is type(other) and one.get_config() == other.get_config()
    assert network.count_params() == 93_322  # as the text's summary says


def test_it_reads_drawn_digits_as_its_datasheet_says(network, drawn):
    assert share_read(network, *drawn) == stated("drawn, as `strokes` draws them")


def test_it_reads_digits_of_any_size_and_anywhere_as_its_datasheet_says(network, drawn, recipe):
    images, labels = drawn
    images = recipe["scattered"](images, np.random.default_rng(0))
    assert share_read(network, images, labels) == stated("drawn, in other sizes and places")


def test_it_reads_handwriting_as_its_datasheet_says(network):
    images, labels = (np.concatenate(parts) for parts in zip(*digits.load_data(), strict=True))
    assert share_read(network, images, labels) == stated("`digits`, all 1 797")


def test_it_reads_mnist_as_its_datasheet_says(network, mnist_data):
    _, test = mnist_data
    assert share_read(network, *test) == stated("MNIST's test set")


def test_training_sees_whole_digits_anywhere(recipe):
    inked = np.zeros((1000, 28), bool)
    inked[:, 4:24] = True
    place = recipe["_resampling"]
    small = place(inked, np.full(1000, 0.6), np.random.default_rng(0)) @ inked[0].astype(float)
    assert np.abs(small.sum(axis=1) - 12).max() < 0.6, "half a pixel may be beyond the border"
    assert set((small > 0.5).argmax(axis=1)) == set(range(17))
    large = place(inked, np.full(1000, 1.5), np.random.default_rng(0)) @ inked[0].astype(float)
    assert np.allclose(large[:, 1:-1], 1), "what has no room is cut off on both sides alike"


def test_the_same_recipe_gives_the_same_bytes(recipe, tmp_path):
    for name in ("one", "other"):
        recipe["trained"](epochs=2, drawings=640).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
