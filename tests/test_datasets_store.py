"""Finding, checking and fetching the files of a set, on a tiny set and a mirror on this machine."""

import errno
import gzip
import hashlib
import io
import os
import struct
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from convlib.datasets import (
    DatasetError,
    DatasetUnavailable,
    _idx,
    _store,
    fashion_mnist,
    mnist,
)

ARRAYS = {
    "train-images-idx3-ubyte": np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4),
    "train-labels-idx1-ubyte": np.array([3, 1, 4, 1, 5], np.uint8),
    "t10k-images-idx3-ubyte": np.arange(100, 100 + 3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4),
    "t10k-labels-idx1-ubyte": np.array([9, 2, 6], np.uint8),
}
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def encode(array):
    header = struct.pack(f">{1 + array.ndim}I", _idx.magic_number(array.ndim), *array.shape)
    return header + array.tobytes()


def pack(content):
    return gzip.compress(content, mtime=0)


def tiny_set(mirrors=(), of_content=True):
    """Return the description of the tiny set, its digests of the content or of the gzip file."""
    files = []
    for name, array in ARRAYS.items():
        content = encode(array)
        if of_content:
            digest = _store.Digest("sha256", hashlib.sha256(content).hexdigest(), True)
        else:
            digest = _store.Digest("md5", hashlib.md5(pack(content)).hexdigest(), False)
        files.append(_store.IdxFile(name, array.shape, digest))
    return _store.IdxSet("Tiny", "tiny", tuple(mirrors), tuple(files))


def write_set(folder, zipped=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ARRAYS.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(pack(encode(array)))
        else:
            (folder / name).write_bytes(encode(array))
    return folder


def check(loaded):
    (x_train, y_train), (x_test, y_test) = loaded
    for got, expected in zip((x_train, y_train, x_test, y_test), ARRAYS.values(), strict=True):
        assert got.dtype == np.uint8
        assert got.flags.writeable
        np.testing.assert_array_equal(got, expected)


def contents(folder):
    """Return every file below ``folder`` with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give every test an empty cache and no data folder."""
    monkeypatch.delenv("CONVLIB_DATA", raising=False)
    monkeypatch.setenv("CONVLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "convlib" / "tiny"


class Mirror:
    """A web server on this machine that serves a folder and remembers what it was asked for."""

    def __init__(self, folder):
        self.requests = requests = []

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path.rpartition("/")[2])
                super().do_GET()

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirror(tmp_path):
    with Mirror(write_set(tmp_path / "mirror")) as running:
        running.folder = tmp_path / "mirror"
        yield running


# ---- from a folder


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("of_content", [True, False])
@pytest.mark.parametrize("place", [".", "tiny"])
def test_a_given_folder(tmp_path, zipped, of_content, place):
    write_set(tmp_path / "data" / place, zipped)
    data_set = tiny_set(of_content=of_content)
    assert _store.is_available(data_set, tmp_path / "data")
    check(_store.load(data_set, tmp_path / "data"))
    check(_store.load(data_set, str(tmp_path / "data")))


@pytest.mark.parametrize("place", [".", "tiny"])
def test_the_folder_of_the_environment(tmp_path, monkeypatch, place):
    assert not _store.is_available(tiny_set())
    write_set(tmp_path / "data" / place)
    monkeypatch.setenv("CONVLIB_DATA", str(tmp_path / "data"))
    assert _store.is_available(tiny_set())
    check(_store.load(tiny_set()))


def test_a_folder_named_after_another_set_is_passed_over(tmp_path, monkeypatch, cache):
    write_set(tmp_path / "mnist")
    monkeypatch.setenv("CONVLIB_DATA", str(tmp_path / "mnist"))
    assert not _store.is_available(tiny_set())
    write_set(cache)
    check(_store.load(tiny_set()))


def test_a_given_folder_without_the_files(tmp_path, mirror):
    with pytest.raises(DatasetUnavailable, match="no file of Tiny in the folder.*t10k-labels"):
        _store.load(tiny_set([mirror.address]), tmp_path / "nowhere")
    assert not _store.is_available(tiny_set(), tmp_path / "nowhere")
    assert mirror.requests == []


def test_one_file_is_missing(tmp_path):
    folder = write_set(tmp_path / "data")
    (folder / f"{LABELS}.gz").unlink()
    with pytest.raises(DatasetUnavailable, match=f"{LABELS}.gz is missing"):
        _store.load(tiny_set(), folder)
    assert not _store.is_available(tiny_set(), folder)


# What is put in place of a file, and what the error says besides the file's name.
whole, images, labels = pack(encode(ARRAYS[IMAGES])), encode(ARRAYS[IMAGES]), encode(ARRAYS[LABELS])
DAMAGES = {
    "truncated gzip": (IMAGES, whole[:-9], "gzip file that ends early"),
    "truncated to the gzip header": (IMAGES, whole[:12], "gzip file that ends early"),
    "flipped bits in gzip": (IMAGES, whole[:-8] + b"\0\0\0\0" + whole[-4:], "damaged gzip file"),
    "no gzip but bytes": (IMAGES, b"\x1f\x8bnot gzip at all", "damaged gzip file"),
    "empty": (IMAGES, b"", "ends early.*5 images of 4×4"),
    "magic number": (
        IMAGES,
        pack(b"\0\0\x09\x03" + images[4:]),
        "magic number 2307; expected 2051",
    ),
    "images in place of labels": (LABELS, whole, "says images; expected 2049.*5 labels"),
    "labels in place of images": (IMAGES, pack(labels), "says labels; expected 2051.*5 images"),
    "other count": (
        IMAGES,
        pack(encode(ARRAYS["t10k-images-idx3-ubyte"])),
        "announces 3 images of 4×4; expected 5 images of 4×4",
    ),
    "extra bytes": (IMAGES, pack(images + b"\0"), "extra bytes"),
    "too few values": (IMAGES, pack(images[:-1]), "ends early: expected 80 values.*79"),
    "other values": (IMAGES, pack(images[:-1] + b"\0"), "not the published file: expected.*SHA256"),
    "web page": (IMAGES, b"<html>Sign in</html>", "web page"),
    "zipped web page": (IMAGES, pack(b"<html>Sign in</html>"), "web page"),
}
damaged = pytest.mark.parametrize(("name", "damage", "message"), DAMAGES.values(), ids=DAMAGES)


@damaged
def test_a_damaged_file_in_a_given_folder(tmp_path, mirror, name, damage, message):
    folder = write_set(tmp_path / "data")
    (folder / f"{name}.gz").write_bytes(damage)
    before = contents(folder)
    with pytest.raises(DatasetError, match=f"data.{name}.gz.*{message}"):
        _store.load(tiny_set([mirror.address]), folder)
    assert contents(folder) == before
    assert mirror.requests == []


@damaged
def test_a_damaged_file_on_the_mirror(cache, mirror, name, damage, message):
    (mirror.folder / f"{name}.gz").write_bytes(damage)
    with pytest.raises(DatasetUnavailable, match=f"{mirror.address}{name}.gz.*{message}"):
        _store.load(tiny_set([mirror.address]))
    assert f"{name}.gz" not in contents(cache)
    for left in contents(cache):
        assert (cache / left).read_bytes() == pack(encode(ARRAYS[left.removesuffix(".gz")]))


@damaged
def test_a_damaged_file_in_the_cache_is_fetched_anew(cache, mirror, name, damage, message):
    write_set(cache)
    (cache / f"{name}.gz").write_bytes(damage)
    check(_store.load(tiny_set([mirror.address])))
    assert mirror.requests == [f"{name}.gz"]
    assert contents(cache) == contents(mirror.folder)


def test_a_damaged_file_in_the_cache_is_named_when_there_is_no_network(cache):
    write_set(cache)
    (cache / f"{LABELS}.gz").write_bytes(b"<html>")
    before = contents(cache)
    with pytest.raises(DatasetUnavailable, match=f"{LABELS}.gz is a web page"):
        _store.load(tiny_set())
    assert contents(cache) == before


def test_the_digest_of_a_gzip_file(tmp_path):
    folder = write_set(tmp_path / "data")
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(images, compresslevel=1, mtime=7))
    check(_store.load(tiny_set(), folder))
    with pytest.raises(DatasetError, match="expected a gzip file with the MD5"):
        _store.load(tiny_set(of_content=False), folder)


def test_labels_beyond_nine(tmp_path):
    folder = write_set(tmp_path / "data", zipped=False)
    (folder / LABELS).write_bytes(labels[:-1] + b"\x0a")
    with pytest.raises(DatasetError, match=f"{LABELS} holds the label 10; expected labels 0–9"):
        _store.load(tiny_set(of_content=False), folder)


def test_an_enormous_zipped_file_is_not_unpacked(tmp_path):
    folder = write_set(tmp_path / "data")
    bomb = io.BytesIO()
    with gzip.open(bomb, "wb") as stream:
        stream.write(images)
        for _ in range(64):
            stream.write(bytes(1 << 20))
    (folder / f"{IMAGES}.gz").write_bytes(bomb.getvalue())
    with pytest.raises(DatasetError, match="extra bytes at the end: expected 80 .* there are 81"):
        _store.load(tiny_set(), folder)


# ---- from a mirror


def test_download_then_cache(cache, mirror):
    data_set = tiny_set([mirror.address])
    check(_store.load(data_set))
    assert contents(cache) == contents(mirror.folder)
    assert mirror.requests == [f"{name}.gz" for name in ARRAYS]
    assert _store.is_available(data_set)
    check(_store.load(data_set))
    assert len(mirror.requests) == len(ARRAYS)


def test_the_download_shows_its_progress(mirror, capsys):
    _store.load(tiny_set([mirror.address]))
    assert f"{IMAGES}.gz: 100%" in capsys.readouterr().err


def test_a_second_call_goes_on_where_the_first_stopped(cache, mirror):
    data_set = tiny_set([mirror.address])
    (mirror.folder / "t10k-images-idx3-ubyte.gz").rename(mirror.folder / "away")
    with pytest.raises(DatasetUnavailable, match="t10k-images-idx3-ubyte.gz: HTTP Error 404"):
        _store.load(data_set)
    assert set(contents(cache)) == {f"{IMAGES}.gz", f"{LABELS}.gz"}
    (mirror.folder / "away").rename(mirror.folder / "t10k-images-idx3-ubyte.gz")
    mirror.requests.clear()
    check(_store.load(data_set))
    assert mirror.requests == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]


def test_the_next_mirror_helps(tmp_path, mirror):
    other = write_set(tmp_path / "other")
    (mirror.folder / f"{LABELS}.gz").write_bytes(b"<html>")
    with Mirror(other) as second:
        check(_store.load(tiny_set(["http://127.0.0.1:9/", mirror.address, second.address])))
        assert second.requests == [f"{LABELS}.gz"]


def test_an_answer_that_breaks_off(cache, mirror, monkeypatch):
    length = len(whole)
    handler = mirror.server.RequestHandlerClass.func

    def send_part(self):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(whole[: length // 2])

    monkeypatch.setattr(handler, "do_GET", send_part)
    with pytest.raises(DatasetUnavailable, match=f"ended after {length // 2} of {length} bytes"):
        _store.load(tiny_set([mirror.address]))
    assert contents(cache) == {}


def test_an_endless_answer_is_cut_off(cache, mirror, monkeypatch):
    monkeypatch.setattr(_store, "_LARGEST_DOWNLOAD", 50)
    with pytest.raises(DatasetUnavailable, match="far larger than the file expected"):
        _store.load(tiny_set([mirror.address]))
    assert contents(cache) == {}


def test_interruption_leaves_nothing_behind(cache, mirror, monkeypatch):
    good = {f"{LABELS}.gz": b"<html> as bad as can be"}
    cache.mkdir(parents=True)
    (cache / f"{LABELS}.gz").write_bytes(good[f"{LABELS}.gz"])
    monkeypatch.setattr(_store, "_fetch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _store.load(tiny_set([mirror.address]))
    assert contents(cache) == good


def interrupt(address):
    raise KeyboardInterrupt


def test_offline_is_one_sentence_that_helps(cache):
    with pytest.raises(DatasetUnavailable) as caught:
        _store.load(tiny_set(["http://127.0.0.1:9/"]))
    sentence = str(caught.value)
    for part in ("Tiny", str(cache), "CONVLIB_DATA", "datasets.strokes", "datasets.digits"):
        assert part in sentence
    for name in ARRAYS:
        assert f"{name}.gz" in sentence
    assert "\n" not in sentence
    assert contents(cache) == {}


# ---- a cache that cannot be written


def test_a_cache_below_a_file(tmp_path, monkeypatch, mirror):
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("CONVLIB_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(DatasetError, match=f"{IMAGES}.gz cannot be written .*CONVLIB_CACHE"):
        _store.load(tiny_set([mirror.address]))
    assert mirror.requests == []
    assert (tmp_path / "occupied").read_text() == "a file"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="a folder cannot be made read-only for this user",
)
def test_a_read_only_cache(cache, mirror):
    cache.mkdir(parents=True)
    cache.chmod(0o500)
    try:
        with pytest.raises(DatasetError, match=f"{IMAGES}.gz cannot be written .*CONVLIB_CACHE"):
            _store.load(tiny_set([mirror.address]))
    finally:
        cache.chmod(0o700)
    assert mirror.requests == []
    assert contents(cache) == {}


def test_a_read_only_file_system(cache, mirror, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(_store.tempfile, "NamedTemporaryFile", refuse)
    with pytest.raises(DatasetError, match=f"{IMAGES}.gz cannot be written .Read-only file system"):
        _store.load(tiny_set([mirror.address]))
    assert mirror.requests == []
    assert contents(cache) == {}


def test_a_read_only_cache_that_holds_the_files_is_read(cache):
    write_set(cache)
    cache.chmod(0o500)
    try:
        check(_store.load(tiny_set()))
    finally:
        cache.chmod(0o700)


@pytest.mark.parametrize("step", ["write", "replace"])
def test_a_full_disk(cache, mirror, monkeypatch, step):
    write_set(cache)
    (cache / f"{IMAGES}.gz").write_bytes(b"old")
    before = contents(cache)

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, {"write": "fsync", "replace": "replace"}[step], full)
    with pytest.raises(DatasetError, match=f"{IMAGES}.gz cannot be written .No space left"):
        _store.load(tiny_set([mirror.address]))
    assert contents(cache) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_that_fills_while_writing(cache, mirror):
    """In a process of its own that may write no file of more than 40 bytes."""
    program = f"""
import resource, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_datasets_store import DatasetError, _store, tiny_set
resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))
try:
    _store.load(tiny_set([{mirror.address!r}]))
except DatasetError as error:
    sys.stdout.write(str(error))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"{IMAGES}.gz cannot be written (File too large)" in ran.stdout, ran.stderr
    assert contents(cache) == {}


# ---- the two sets


@pytest.mark.parametrize("module", [mnist, fashion_mnist])
def test_real_sets_offline(module, monkeypatch, tmp_path):
    offline = replace(module._SET, mirrors=())
    monkeypatch.setattr(module, "_SET", offline)
    assert not module.is_available()
    with pytest.raises(DatasetUnavailable, match=f"{module._SET.title} is not on this computer"):
        module.load_data()
    with pytest.raises(DatasetUnavailable, match="no file of"):
        module.load_data(tmp_path)


@pytest.mark.parametrize("module", [mnist, fashion_mnist])
def test_real_sets_are_well_described(module):
    digests = [file.digest for file in module._SET.files]
    assert len({digest.value for digest in digests}) == 4
    for digest in digests:
        assert len(bytes.fromhex(digest.value)) == hashlib.new(digest.algorithm).digest_size
    assert module._SET.folder in _store._FOLDERS
    assert all(address.endswith("/") for address in module._SET.mirrors)
