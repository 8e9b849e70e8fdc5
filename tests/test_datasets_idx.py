"""The IDX parser: what it reads, and that it reads nothing else."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convlib.datasets import DatasetError, _idx

SHAPES = st.one_of(
    st.tuples(st.integers(1, 30)),
    st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
)
ARRAYS = hnp.arrays(np.uint8, SHAPES)


def encode(array, magic=None, sizes=None):
    magic = _idx.magic_number(array.ndim) if magic is None else magic
    sizes = array.shape if sizes is None else sizes
    return struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + array.tobytes()


@given(ARRAYS)
def test_a_well_formed_file_gives_its_array(array):
    parsed = _idx.parse(encode(array), array.shape, "file")
    assert parsed.dtype == np.uint8
    np.testing.assert_array_equal(parsed, array)


def test_the_header_is_the_published_one():
    assert encode(np.array([[[7, 8]]], np.uint8)) == bytes.fromhex(
        "00000803 00000001 00000001 00000002 0708"
    )


@given(ARRAYS, st.data())
def test_a_shortened_file_is_refused(array, data):
    whole = encode(array)
    with pytest.raises(DatasetError, match="^file ends early"):
        _idx.parse(whole[: data.draw(st.integers(0, len(whole) - 1))], array.shape, "file")


@given(ARRAYS, st.binary(min_size=1, max_size=9))
def test_extra_bytes_are_refused(array, extra):
    with pytest.raises(DatasetError, match="extra bytes.*expected"):
        _idx.parse(encode(array) + extra, array.shape, "file")


@given(ARRAYS, st.integers(0, 2**32 - 1))
def test_another_magic_number_is_refused(array, magic):
    if magic == _idx.magic_number(array.ndim) or magic >> 24 == ord("<"):
        return
    with pytest.raises(DatasetError, match="magic number .*expected 20(49|51)|web page"):
        _idx.parse(encode(array, magic=magic), array.shape, "file")


@given(ARRAYS, SHAPES)
def test_other_sizes_are_refused(array, shape):
    if array.ndim != len(shape) or array.shape == shape:
        return
    with pytest.raises(DatasetError, match="announces .*; expected"):
        _idx.parse(encode(array), shape, "file")


@given(ARRAYS, SHAPES)
def test_sizes_that_only_the_header_claims_are_refused(array, shape):
    if math.prod(shape) == array.size:
        return
    with pytest.raises(DatasetError):
        _idx.parse(encode(array, _idx.magic_number(len(shape)), shape), shape, "file")


@given(st.binary(max_size=60), SHAPES)
def test_arbitrary_bytes_are_refused_or_are_the_array(content, shape):
    try:
        array = _idx.parse(content, shape, "file")
    except DatasetError as error:
        assert str(error).startswith("file ")
    else:
        assert encode(array) == content


def test_swapped_images_and_labels_are_named():
    images, labels = np.zeros((2, 3, 3), np.uint8), np.zeros(20, np.uint8)
    with pytest.raises(DatasetError, match="2051, which says images; expected 2049.*20 labels"):
        _idx.parse(encode(images), labels.shape, "file")
    with pytest.raises(
        DatasetError, match="2049, which says labels; expected 2051.*2 images of 3×3"
    ):
        _idx.parse(encode(labels), images.shape, "file")


def test_a_web_page_is_named():
    page = b"<!DOCTYPE html><html><body>Log in to the network</body></html>"
    with pytest.raises(DatasetError, match="^file is a web page"):
        _idx.parse(page, (3,), "file")
    with pytest.raises(DatasetError, match="^file is a web page"):
        _idx.parse(b"\n  <html>", (3,), "file")
