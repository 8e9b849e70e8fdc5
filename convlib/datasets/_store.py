"""Find, check and fetch the files of a data set that comes as four IDX files."""

import gzip
import hashlib
import http.client
import io
import math
import os
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from convlib.datasets import _idx
from convlib.datasets._common import Arrays, DatasetError, DatasetUnavailable
from convlib.kernels._cache import cache_folder

_FOLDERS = ("mnist", "fashion_mnist")
_BLOCK = 1 << 16
_TIMEOUT = 20  # seconds without an answer before the next mirror is tried
_LARGEST_DOWNLOAD = 64 << 20  # bytes; the largest real file has 26 MB


class Digest(NamedTuple):
    """A published digest: of the uncompressed content, or else of the gzip file."""

    algorithm: str
    value: str
    of_content: bool


@dataclass(frozen=True)
class IdxFile:
    """One file of a set: its name without ``.gz``, the array it holds and how to know it."""

    name: str
    shape: tuple[int, ...]
    digest: Digest


@dataclass(frozen=True)
class IdxSet:
    """A data set: what to call it, its folder's name, where it is published, its files.

    ``files`` are the training images and labels, then the test images and labels.
    """

    title: str
    folder: str
    mirrors: tuple[str, ...]
    files: tuple[IdxFile, IdxFile, IdxFile, IdxFile]


def four_files(
    algorithm: str,
    of_content: bool,
    train_images: str,
    train_labels: str,
    test_images: str,
    test_labels: str,
) -> tuple[IdxFile, IdxFile, IdxFile, IdxFile]:
    """Return the files of a set of MNIST's size and file names, from their four digests."""
    return tuple(
        IdxFile(name, shape, Digest(algorithm, value, of_content))
        for name, shape, value in (
            ("train-images-idx3-ubyte", (60_000, 28, 28), train_images),
            ("train-labels-idx1-ubyte", (60_000,), train_labels),
            ("t10k-images-idx3-ubyte", (10_000, 28, 28), test_images),
            ("t10k-labels-idx1-ubyte", (10_000,), test_labels),
        )
    )


def load(data_set: IdxSet, path: str | os.PathLike | None = None) -> Arrays:
    """Return ``(x_train, y_train), (x_test, y_test)`` from a folder, the cache or a mirror."""
    folder = _find(data_set, path)
    if folder is not None:
        arrays = [_read_from(folder, file) for file in data_set.files]
    else:
        arrays = [_read_cached_or_download(data_set, file) for file in data_set.files]
    x_train, y_train, x_test, y_test = (array.copy() for array in arrays)  # writable
    return (x_train, y_train), (x_test, y_test)


def is_available(data_set: IdxSet, path: str | os.PathLike | None = None) -> bool:
    """Return whether all four files are on this computer; the network is not asked."""
    try:
        folder = _find(data_set, path) or cache_folder() / data_set.folder
    except DatasetUnavailable:
        return False
    return all(_located(folder, file) for file in data_set.files)


def _find(data_set: IdxSet, path: str | os.PathLike | None) -> Path | None:
    """Return the folder to read from: the caller's or the environment's; None for the cache."""
    if path is not None:
        for folder in (Path(path), Path(path) / data_set.folder):
            if _holds_any(folder, data_set):
                return folder
        raise DatasetUnavailable(
            f"there is no file of {data_set.title} in the folder {os.fspath(path)!r}: "
            f"expected {_file_list(data_set)}"
        )
    if os.environ.get("CONVLIB_DATA"):
        folder = Path(os.environ["CONVLIB_DATA"])
        if _holds_any(folder / data_set.folder, data_set):
            return folder / data_set.folder
        # Related sets use the same file names: a folder named after another set is not ours.
        another = folder.name in _FOLDERS and folder.name != data_set.folder
        if _holds_any(folder, data_set) and not another:
            return folder
    return None


def _holds_any(folder: Path, data_set: IdxSet) -> bool:
    return any(_located(folder, file) for file in data_set.files)


def _located(folder: Path, file: IdxFile) -> Path | None:
    """Return the file in ``folder``, gzipped as published or else plain; None if absent."""
    for path in (folder / f"{file.name}.gz", folder / file.name):
        if path.is_file():
            return path
    return None


def _read_from(folder: Path, file: IdxFile) -> np.ndarray:
    path = _located(folder, file)
    if path is None:
        raise DatasetUnavailable(
            f"{folder / file.name}.gz is missing beside the other files of its set"
        )
    return _read(path, file)


def _read(path: Path, file: IdxFile) -> np.ndarray:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    return _decode(raw, file, str(path))


def _decode(raw: bytes, file: IdxFile, name: str) -> np.ndarray:
    """Return the array in ``raw``, gzipped or not, after every check that can be made on it."""
    zipped = raw[:2] == b"\x1f\x8b"
    content = _unzip(raw, file, name) if zipped else raw
    array = _idx.parse(content, file.shape, name)
    algorithm, expected, of_content = file.digest
    if of_content or zipped:
        found = hashlib.new(algorithm, content if of_content else raw).hexdigest()
        if found != expected:
            what = "content" if of_content else "gzip file"
            raise DatasetError(
                f"{name} is not the published file: expected a {what} with the "
                f"{algorithm.upper()} {expected}, found {found}"
            )
    if array.ndim == 1 and array.max() > 9:
        raise DatasetError(f"{name} holds the label {array.max()}; expected labels 0–9")
    return array


def _unzip(raw: bytes, file: IdxFile, name: str) -> bytes:
    # One byte more than expected is enough to tell that there is too much, however much it is.
    limit = _idx.header_size(len(file.shape)) + math.prod(file.shape) + 1
    try:
        with gzip.open(io.BytesIO(raw)) as stream:
            return stream.read(limit)
    except EOFError as error:
        raise DatasetError(f"{name} is a gzip file that ends early; expected all of it") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(f"{name} is a damaged gzip file: {error}") from error


def _read_cached_or_download(data_set: IdxSet, file: IdxFile) -> np.ndarray:
    folder = cache_folder() / data_set.folder
    reasons = []
    path = _located(folder, file)
    if path is not None:
        try:
            return _read(path, file)
        except DatasetError as error:
            reasons.append(str(error))  # worthless as it is: fetch it anew
    # The new file is opened first, so that an unusable cache does not cost a download.
    with _replacing(folder / f"{file.name}.gz") as stream:
        raw, array = _download(data_set, file, reasons)
        stream.write(raw)
    return array


def _download(data_set: IdxSet, file: IdxFile, reasons: list[str]) -> tuple[bytes, np.ndarray]:
    """Return the first mirror's file that passes the checks, as bytes and as array."""
    for mirror in data_set.mirrors:
        address = f"{mirror}{file.name}.gz"
        try:
            raw = _fetch(address)
            return raw, _decode(raw, file, address)
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{address}: {error}")
        except DatasetError as error:
            reasons.append(str(error))
    raise DatasetUnavailable(
        f"{data_set.title} is not on this computer and could not be downloaded: put "
        f"{_file_list(data_set)} into {cache_folder() / data_set.folder}, or into a folder that "
        "the environment variable CONVLIB_DATA names, or use datasets.strokes or datasets.digits, "
        f"which need no files ({'; '.join(reasons)})"
    )


def _fetch(address: str) -> bytes:
    received = bytearray()
    with urllib.request.urlopen(address, timeout=_TIMEOUT) as response:
        size = response.length  # None if the server does not say
        with tqdm(total=size, unit="B", unit_scale=True, desc=address.rpartition("/")[2]) as bar:
            while block := response.read(_BLOCK):
                received += block
                bar.update(len(block))
                if len(received) > _LARGEST_DOWNLOAD:
                    raise DatasetError(f"{address} is far larger than the file expected there")
    if size is not None and len(received) < size:
        raise DatasetError(f"{address} ended after {len(received)} of {size} bytes")
    return bytes(received)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a stream whose content appears at ``path`` at once, when all went well, or not at all.

    An interrupted or failed write leaves neither a piece of the new file nor a change of the old.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False)
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(stream.name, path)
        except BaseException:
            os.unlink(stream.name)
            raise
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written ({error.strerror or error}): make room, or set the "
            "environment variable CONVLIB_CACHE to a folder that can be written to"
        ) from error


def _file_list(data_set: IdxSet) -> str:
    *most, last = (f"{file.name}.gz" for file in data_set.files)
    return f"{', '.join(most)} and {last}"
