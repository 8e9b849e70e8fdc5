"""The IDX format, in which MNIST and its relatives are distributed.

A file is a four-byte magic number (two zero bytes, a type code, the number of dimensions), one
big-endian four-byte integer for each dimension, and the values in row-major order. Only unsigned
bytes (type code 8) are read here, which is all that these data sets use.
"""

import math
import struct

import numpy as np

from convlib.datasets._common import DatasetError

_UNSIGNED_BYTE = 8
_KINDS = {1: "labels", 3: "images"}


def header_size(dimensions: int) -> int:
    """Return how many bytes come before the values."""
    return 4 + 4 * dimensions


def magic_number(dimensions: int) -> int:
    """Return the first four bytes as a number: 2049 for labels, 2051 for images."""
    return (_UNSIGNED_BYTE << 8) + dimensions


def parse(content: bytes, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return the array that ``content`` holds, if it holds exactly one of ``shape``.

    Parameters
    ----------
    content : bytes
        The uncompressed file.
    shape : tuple of int
        What the array must look like: ``(n,)`` for labels, ``(n, height, width)`` for images.
    name : str
        The file, as errors should call it.

    Returns
    -------
    uint8 array, read-only and without a copy of ``content``.

    Raises
    ------
    DatasetError
        If the magic number, the sizes or the number of bytes differ from what ``shape`` asks for.
    """
    dimensions = len(shape)
    start = header_size(dimensions)
    if content[:64].lstrip()[:1] == b"<":
        raise DatasetError(f"{name} is a web page, not an IDX file")
    magic = int.from_bytes(content[:4])
    if len(content) >= 4 and magic != magic_number(dimensions):
        raise DatasetError(
            f"{name} has the magic number {magic}{_meaning(magic)}; expected "
            f"{magic_number(dimensions)}, an IDX file of {_describe(shape)}"
        )
    if len(content) < start:
        raise DatasetError(
            f"{name} ends early: an IDX file of {_describe(shape)} begins with {start} bytes of "
            f"header, and there are {len(content)} bytes in all"
        )
    sizes = struct.unpack(f">{dimensions}I", content[4:start])
    if sizes != shape:
        raise DatasetError(f"{name} announces {_describe(sizes)}; expected {_describe(shape)}")
    values = len(content) - start
    if values != math.prod(shape):
        problem = "ends early" if values < math.prod(shape) else "has extra bytes at the end"
        raise DatasetError(
            f"{name} {problem}: expected {math.prod(shape)} values for {_describe(shape)}, "
            f"and there are {values}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _describe(shape: tuple[int, ...]) -> str:
    count, *sizes = shape
    described = f"{count} {_KINDS.get(len(shape), 'arrays')}"
    return f"{described} of {'×'.join(map(str, sizes))}" if sizes else described


def _meaning(magic: int) -> str:
    for dimensions, kind in _KINDS.items():
        if magic == magic_number(dimensions):
            return f", which says {kind}"
    return ""
