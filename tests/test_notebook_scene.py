"""The computed photograph is a picture, and always the same one."""

import numpy as np
import pytest

from convlib.notebook import scene


@pytest.fixture(scope="module")
def photograph():
    return scene.photograph(100, 150)


def test_values_are_those_of_a_file_with_eight_bits_for_a_pixel(photograph):
    assert photograph.shape == (100, 150) and photograph.dtype == np.float32
    levels = photograph * 255
    assert np.allclose(levels, np.round(levels), atol=1e-4)
    assert photograph.min() < 0.15 and photograph.max() > 0.9


def test_it_is_the_same_every_time_and_the_callers_own(photograph):
    again = scene.photograph(100, 150)
    assert np.array_equal(again, photograph)
    again[:] = 0
    assert np.array_equal(scene.photograph(100, 150), photograph)


def test_other_seeds_and_sizes_are_other_pictures_of_one_scene(photograph):
    other = scene.photograph(100, 150, seed=1)
    assert not np.array_equal(other, photograph)
    large = scene.photograph(200, 300)
    halved = large.reshape(100, 2, 150, 2).mean((1, 3))
    assert np.abs(halved - photograph).mean() < 0.05
    assert np.corrcoef(halved.ravel(), photograph.ravel())[0, 1] > 0.95


def test_it_has_sky_shadow_and_a_white_fence(photograph):
    assert photograph[:40].mean() > photograph[60:].mean()
    fence = photograph[78:95, :55]
    assert np.quantile(fence, 0.9) > 0.8 and np.quantile(fence, 0.1) < 0.5


def test_neighbouring_pixels_are_alike_as_in_a_photograph(photograph):
    left, right = photograph[:, :-1].ravel(), photograph[:, 1:].ravel()
    assert np.corrcoef(left, right)[0, 1] > 0.8
