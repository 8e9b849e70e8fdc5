"""The embedded digits: untouched, well described, and at MNIST's size."""

import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from convlib.datasets import DatasetError, digits
from convlib.datasets._common import embedded

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def original():
    return digits.load_original()


@pytest.fixture(scope="module")
def data():
    return digits.load_data()


def test_the_file_is_the_one_that_its_datasheet_describes():
    sheet = (ROOT / "data" / "digits.md").read_text(encoding="utf-8")
    content = gzip.decompress(embedded(digits._FILE).read_bytes())
    (published,) = re.findall(r"\b[0-9a-f]{64}\b", sheet)
    assert hashlib.sha256(content).hexdigest() == published
    for fact in ("10.24432/C50P49", "CC BY 4.0", "Alpaydin", "Kaynak", "make_digits.py"):
        assert fact in sheet


def test_the_original_images(original):
    images, labels = original
    assert images.shape == (1797, 8, 8)
    assert (images.min(), images.max()) == (0, 16)
    # The counts that UCI's description of the test set gives.
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_shapes_and_split(data, original):
    (x_train, y_train), (x_test, y_test) = data
    assert x_train.shape == (1347, 28, 28)
    assert x_test.shape == (450, 28, 28)
    assert {array.dtype for part in data for array in part} == {np.dtype(np.uint8)}
    # A cut, not a draw: writers stay together.
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), original[1])


def test_placed_like_mnist(data):
    (images, _), _ = data
    mass = images.sum((1, 2), dtype=float)
    middles = np.arange(28) + 0.5
    for axis in (1, 2):
        centre = images.sum(axis, dtype=float) @ middles / mass
        assert np.abs(centre - 14.5).max() <= 0.5 + 1e-9
    inked = images > 0
    for axis in (1, 2):
        lines = inked.any(axis)
        extent = 28 - lines.argmax(1) - lines[:, ::-1].argmax(1)
        assert extent.max() <= 20
    assert images.max((1, 2)).min() > 200
    assert images[:, 0].max() == 0


def test_enlarging_keeps_what_was_there(original):
    """Averages over the areas of the old pixels go with the old values."""
    images, _ = original
    enlarged = digits._enlarge(images).astype(float)
    parts = np.kron(enlarged, np.ones((1, 2, 2))).reshape(-1, 8, 5, 8, 5).mean((2, 4))
    assert np.corrcoef(parts.ravel(), images.ravel())[0, 1] > 0.98


def test_interpolation_of_polynomials():
    """Cubic convolution is exact for polynomials up to the second degree, away from the border."""
    matrix = digits._interpolation(8, 20)
    old = np.arange(8.0)
    new = (np.arange(20) + 0.5) * 8 / 20 - 0.5
    inside = (new >= 1) & (new <= 6)
    for degree in range(3):
        np.testing.assert_allclose((matrix @ old**degree)[inside], new[inside] ** degree)


def test_a_missing_file_is_named(monkeypatch):
    monkeypatch.setattr(digits, "_FILE", "gone.csv.gz")
    with pytest.raises(DatasetError, match="gone.csv.gz is missing: expected in .*data"):
        digits.load_data()
