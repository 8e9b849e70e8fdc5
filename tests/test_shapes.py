"""Window geometry against what actually happens when a window slides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlib import shapes

exhaustive = settings(derandomize=True, deadline=None, max_examples=200)

sizes = st.integers(1, 30)
small = st.integers(1, 5)


def starts(size, kernel_size, stride, dilation):
    """Return where windows start, found by sliding one until it no longer fits."""
    positions, start = [], 0
    while start + dilation * (kernel_size - 1) < size:
        positions.append(start)
        start += stride
    return positions


@exhaustive
@given(sizes, small, small, small)
def test_output_size_counts_windows(size, kernel_size, stride, dilation):
    expected = len(starts(size, kernel_size, stride, dilation))
    assert shapes.output_size(size, kernel_size, stride, dilation) == expected


@exhaustive
@given(sizes, small, small, small)
def test_same_padding_is_the_least_that_serves(size, kernel_size, stride, dilation):
    before, after = shapes.same_padding(size, kernel_size, stride, dilation)
    wanted = -(-size // stride)
    assert shapes.output_size(size + before + after, kernel_size, stride, dilation) == wanted
    assert 0 <= after - before <= 1
    if before + after:
        assert shapes.output_size(size + before + after - 1, kernel_size, stride, dilation) < wanted


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "expected"),
    [
        (28, 3, 2, (0, 1)),
        (28, 4, 1, (1, 2)),
        (5, 3, 1, (1, 1)),
        (5, 1, 1, (0, 0)),
        (4, 2, 3, (0, 1)),
    ],
)
def test_same_padding_by_hand(size, kernel_size, stride, expected):
    assert shapes.same_padding(size, kernel_size, stride) == expected


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        ("valid", ((0, 0), (0, 0))),
        ("VALID", ((0, 0), (0, 0))),
        ("same", ((0, 1), (1, 2))),
        (2, ((2, 2), (2, 2))),
        (np.int64(2), ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (((1, 2), (3, 4)), ((1, 2), (3, 4))),
        (np.array([[1, 2], [3, 4]]), ((1, 2), (3, 4))),
        ((0, (3, 4)), ((0, 0), (3, 4))),
    ],
)
def test_ways_of_writing_padding(padding, expected):
    assert shapes.resolve_padding(padding, (28, 28), (3, 4), (2, 1)) == expected


@pytest.mark.parametrize(
    ("padding", "message"),
    [
        ("full", "'valid', 'same', an integer or pairs of integers, got 'full'"),
        (-1, "at least 0"),
        (1.5, "integer"),
        (True, "integer"),
        (None, "integer"),
        ((1, 2, 3), "one entry for height and one for width"),
        (((1, 2, 3), (1, 2)), "two integers"),
        (((1, -2), (1, 2)), "at least 0"),
    ],
)
def test_padding_that_means_nothing(padding, message):
    with pytest.raises(ValueError, match=message):
        shapes.resolve_padding(padding, (28, 28), (3, 3))


@pytest.mark.parametrize(
    ("value", "expected"), [(3, (3, 3)), ((2, 5), (2, 5)), ([2, 5], (2, 5)), (np.int32(4), (4, 4))]
)
def test_pairs(value, expected):
    assert shapes.pair(value, "strides") == expected


@pytest.mark.parametrize(
    "value", [0, -1, (1, 0), (1, 2, 3), (), 1.0, "3", "33", None, True, (1, "2")]
)
def test_what_is_no_pair(value):
    with pytest.raises(ValueError, match="strides must be") as error:
        shapes.pair(value, "strides")
    assert repr(value) in str(error.value)


def test_window_geometry_of_the_text():
    assert shapes.window_geometry((28, 28), (3, 3), (1, 1), "valid").output_size == (26, 26)
    assert shapes.window_geometry((26, 26), (2, 2), (2, 2), "valid").output_size == (13, 13)
    assert shapes.window_geometry((11, 11), (2, 2), (2, 2), "valid").output_size == (5, 5)
    assert shapes.window_geometry((28, 28), (3, 3), (1, 1), "same") == ((28, 28), ((1, 1), (1, 1)))
    assert shapes.window_geometry((28, 28), (3, 3), (2, 2), "same") == ((14, 14), ((0, 1), (0, 1)))


def test_kernel_larger_than_image():
    with pytest.raises(ValueError, match=r"3×5 pixels, more than the 9×4 of the padded input"):
        shapes.window_geometry((9, 4), (3, 3), (1, 1), "valid", (1, 2))
    assert shapes.window_geometry((9, 4), (3, 3), (1, 1), 1, (1, 2)).output_size == (9, 2)


def test_receptive_field_of_the_text():
    steps = [(3, 1, 1), (2, 2, 1), (3, 1, 1), (2, 2, 1), (3, 1, 1)]
    assert shapes.receptive_field(steps) == [(3, 1), (4, 2), (8, 2), (10, 4), (18, 4)]


@exhaustive
@given(st.lists(st.tuples(small, small, small), max_size=4))
def test_receptive_field_is_what_a_unit_sees(steps):
    """Follow two neighbouring units of the last layer back to the input."""
    seen = [{0}, {1}]
    for kernel_size, stride, dilation in reversed(steps):
        seen = [
            {unit * stride + u * dilation for unit in units for u in range(kernel_size)}
            for units in seen
        ]
    size, jump = shapes.receptive_field(steps)[-1] if steps else (1, 1)
    assert max(seen[0]) - min(seen[0]) + 1 == size
    assert min(seen[1]) - min(seen[0]) == jump
