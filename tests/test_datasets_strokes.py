"""Drawn digits: the same for everybody, balanced, well placed, and where `trace` says they are."""

import hashlib
import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from convlib.datasets import _skeletons, strokes


def fingerprint(data):
    digest = hashlib.sha256()
    for part in data:
        for array in part:
            digest.update(array.tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def data():
    return strokes.load_data(seed=5, train=2003, test=501)


def test_shapes_and_types(data):
    (x_train, y_train), (x_test, y_test) = data
    assert x_train.shape == (2003, 28, 28)
    assert y_train.shape == (2003,)
    assert x_test.shape == (501, 28, 28)
    assert y_test.shape == (501,)
    assert {array.dtype for part in data for array in part} == {np.dtype(np.uint8)}


def test_the_default_sizes_are_mnists():
    (x_train, y_train), (x_test, y_test) = strokes.load_data()
    assert (len(x_train), len(y_train), len(x_test), len(y_test)) == (
        60_000,
        60_000,
        10_000,
        10_000,
    )
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10


def test_labels_are_balanced_and_shuffled(data):
    for _, labels in data:
        whole = labels[: len(labels) // 10 * 10].reshape(-1, 10)
        assert (np.sort(whole, axis=1) == np.arange(10)).all()
        assert len(np.unique(whole, axis=0)) > 0.9 * len(whole)


@pytest.mark.parametrize("threads", range(1, numba.config.NUMBA_NUM_THREADS + 1))
def test_the_same_bytes_for_any_number_of_threads(data, threads):
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        again = strokes.load_data(seed=5, train=2003, test=501)
    finally:
        numba.set_num_threads(before)
    assert fingerprint(again) == fingerprint(data)


def test_the_same_bytes_in_another_process(data):
    program = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from test_datasets_strokes import fingerprint, strokes\n"
        "print(fingerprint(strokes.load_data(seed=5, train=2003, test=501)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.strip() == fingerprint(data), ran.stderr


def test_a_shorter_set_begins_a_longer_one(data):
    for count in (0, 1, 7, 64, 65, 500):
        shorter = strokes.load_data(seed=5, train=count, test=count)
        for part, longer in zip(shorter, data, strict=True):
            for array, all_of_it in zip(part, longer, strict=True):
                np.testing.assert_array_equal(array, all_of_it[:count])


def test_no_two_digits_are_the_same(data):
    images = np.concatenate([data[0][0], data[1][0], strokes.load_data(6, 1000, 0)[0][0]])
    assert len({image.tobytes() for image in images}) == len(images)


def test_values_and_place(data):
    (images, labels), _ = data
    mass = images.sum((1, 2), dtype=float)
    # From a thin one to a thick eight, the paper is never empty nor full.
    assert 5 < (mass / 784).min() < (mass / 784).max() < 100
    assert images.max((1, 2)).min() > 200
    assert (images.min((1, 2)) == 0).all()
    middles = np.arange(28) + 0.5
    for axis in (1, 2):
        centre = images.sum(axis, dtype=float) @ middles / mass
        assert abs(centre.mean() - 14.5) < 0.03
        # Up to half a pixel; more only where ink reaches the edge of the image.
        assert np.percentile(np.abs(centre - 14.5), 99) < 0.6
    inked = images > 127
    extents = np.stack([inked.any(axis).sum(1) for axis in (1, 2)]).max(0)
    assert np.percentile(extents, 5) >= 18
    assert np.percentile(extents, 95) <= 21


def test_draw_depends_on_seed_index_and_label_alone():
    images = strokes.draw([3, 1, 4, 1, 5], seed=2)
    np.testing.assert_array_equal(strokes.draw([0, 1, 0, 1], seed=2)[[1, 3]], images[[1, 3]])
    assert (strokes.draw([3], seed=3) != images[0]).any()
    assert (images[1] != images[3]).any()
    np.testing.assert_array_equal(strokes.draw(np.array([3, 1], np.int32), seed=2), images[:2])
    assert strokes.draw([]).shape == (0, 28, 28)


def test_trace_tells_where_the_ink_is():
    """Every pixel that lies deep in a line is black, every one that lies far from all is white."""
    labels = np.arange(10).repeat(5)
    images = strokes.draw(labels, seed=1)
    x, y = np.meshgrid(np.arange(28) + 0.5, np.arange(28) + 0.5)
    for image, ways in zip(images, strokes.trace(labels, seed=1), strict=True):
        depth = np.full((28, 28), -np.inf)
        for way in ways:
            assert way.shape[1] == 3
            for (x0, y0, w0), (x1, y1, w1) in zip(way[:-1], way[1:], strict=True):
                for t in np.linspace(0, 1, 9):
                    there = np.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0))
                    depth = np.maximum(depth, w0 + t * (w1 - w0) - there)
        assert (image[depth > 1.5] == 255).all()
        assert (image[depth < -1.5] == 0).all()
        assert (image[depth > 0.1] > 100).all()


def test_every_style_is_used():
    images = strokes.draw([0] * 4000)
    assert len(images) == 4000
    traced = strokes.trace([4] * 400)
    assert {len(ways) for ways in traced} >= {1, 2}


@pytest.mark.parametrize("style", [s for styles in _skeletons.SKELETONS for s in styles])
def test_skeletons_are_well_formed(style):
    for stroke in style.split("|"):
        points = [point.rstrip("!").split(",") for point in stroke.split()]
        assert len(points) >= 2
        for x, y in points:
            assert -20 <= float(x) <= 125
            assert -10 <= float(y) <= 110
        assert not stroke.split()[-1].endswith("!")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [10]}, "labels must lie in 0–9, got 10 to 10"),
        ({"labels": [-1, 3]}, "labels must lie in 0–9, got -1 to 3"),
        ({"labels": [0.5]}, "labels must be a sequence of integers 0–9, got an array of float64"),
        ({"labels": 3}, "labels must be a sequence of integers"),
        ({"labels": [[1, 2]]}, r"labels must be a sequence .* shape \(1, 2\)"),
        ({"labels": [1], "seed": -1}, "seed must not be negative, got -1"),
    ],
)
@pytest.mark.parametrize("function", [strokes.draw, strokes.trace])
def test_mistakes_are_named(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(**arguments)


def test_negative_numbers_of_digits_are_named():
    with pytest.raises(ValueError, match="train must not be negative, got -3"):
        strokes.load_data(train=-3)
    with pytest.raises(ValueError, match="test must not be negative, got -1"):
        strokes.load_data(test=-1)
    with pytest.raises(TypeError, match="train must be an integer, got 1.5"):
        strokes.load_data(train=1.5)
