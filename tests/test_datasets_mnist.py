"""MNIST itself, where it can be had."""

import os

import numpy as np
import pytest

from convlib.datasets import DatasetError, fashion_mnist, mnist

FOLDER = os.environ.get("CONVLIB_DATA")


@pytest.fixture(scope="module")
def data():
    if not FOLDER or not mnist.is_available(FOLDER):
        pytest.skip("MNIST is not here: CONVLIB_DATA names no folder that holds it")
    return mnist.load_data()


def test_shapes_and_labels(data):
    (x_train, y_train), (x_test, y_test) = data
    assert x_train.shape == (60_000, 28, 28)
    assert x_test.shape == (10_000, 28, 28)
    # The counts that every description of MNIST gives.
    assert np.bincount(y_train).tolist() == [
        *(5923, 6742, 5958, 6131, 5842),
        *(5421, 5918, 6265, 5851, 5949),
    ]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert {array.dtype for part in data for array in part} == {np.dtype(np.uint8)}


def test_ink_is_bright_on_a_dark_border(data):
    (x_train, _), _ = data
    assert x_train[:, 0].mean() < 1
    assert x_train[:, 10:18, 10:18].mean() > 60


def test_mnist_is_not_taken_for_fashion(data):
    with pytest.raises(DatasetError, match="not the published file: expected .*MD5"):
        fashion_mnist.load_data(FOLDER)
