"""Work memory, and the directory of compiled kernels."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convlib
from convlib.kernels import _cache
from convlib.kernels.scratch import Scratch

requests = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5), max_size=3).map(tuple),
        st.sampled_from([np.uint8, np.int64, np.float32, np.float64]),
    ),
    max_size=4,
)


@settings(derandomize=True, deadline=None)
@given(st.lists(requests, max_size=4))
def test_arrays_are_separate_aligned_and_as_asked(calls):
    scratch = Scratch()
    for request in calls:
        arrays = scratch.take(*request)
        assert [(array.shape, array.dtype) for array in arrays] == [
            (shape, np.dtype(dtype)) for shape, dtype in request
        ]
        for number, array in enumerate(arrays):
            assert array.flags.c_contiguous
            assert array.flags.writeable
            assert array.ctypes.data % 64 == 0
            array.fill(number + 1)
        for number, array in enumerate(arrays):
            assert (array == number + 1).all()


def test_memory_is_reused_and_only_grows():
    scratch = Scratch()
    (first,) = scratch.take(((100,), np.float32))
    held = scratch.nbytes
    (second,) = scratch.take(((4, 5), np.float64))
    assert np.shares_memory(first, second)
    assert scratch.nbytes == held
    scratch.take(((1000,), np.float32))
    assert scratch.nbytes >= 4000
    grown = scratch.nbytes
    (third,) = scratch.take(((1000,), np.float32))
    assert scratch.nbytes == grown
    third.fill(7)
    assert (scratch.take(((1000,), np.float32))[0] == 7).all()


def test_taken_arrays_outlive_growth():
    scratch = Scratch()
    (first,) = scratch.take(((10,), np.float32))
    first.fill(3)
    scratch.take(((100_000,), np.float32))[0].fill(4)
    assert (first == 3).all()


@pytest.fixture
def fresh_cache():
    """Forget the directory of this process, before and after."""
    _cache.cache_directory.cache_clear()
    yield
    _cache.cache_directory.cache_clear()


def test_cache_lies_where_it_is_told(tmp_path, monkeypatch, fresh_cache):
    monkeypatch.setenv("CONVLIB_CACHE", str(tmp_path))
    directory = _cache.cache_directory()
    assert directory.is_dir()
    assert directory.parent.parent == tmp_path


def test_cache_changes_with_any_compiled_source(tmp_path, monkeypatch, fresh_cache):
    sources = tmp_path / "package"
    for folder in _cache._WITH_KERNELS:
        (sources / folder / "deeper").mkdir(parents=True)
        (sources / folder / "deeper" / "kernel.py").write_text("a = 1\n")
    monkeypatch.setattr(_cache, "_PACKAGE", sources)
    monkeypatch.setenv("CONVLIB_CACHE", str(tmp_path / "cache"))
    seen = {_cache.cache_directory()}
    for number, folder in enumerate(_cache._WITH_KERNELS):
        _cache.cache_directory.cache_clear()
        assert _cache.cache_directory() in seen
        _cache.cache_directory.cache_clear()
        (sources / folder / "deeper" / "kernel.py").write_text("a = 2\n")
        seen.add(_cache.cache_directory())
        assert len(seen) == number + 2


def test_cache_covers_every_compiled_source():
    """Wherever a kernel is compiled with a cache, its folder is part of the stamp."""
    package = Path(convlib.__file__).parent
    covered = {path for folder in _cache._WITH_KERNELS for path in (package / folder).rglob("*.py")}
    cached = {path for path in package.rglob("*.py") if "cache=True" in path.read_text("utf-8")}
    cached -= {Path(_cache.__file__)}  # which only speaks of it
    assert cached
    assert cached <= covered


def test_cache_falls_back_when_nothing_is_writeable(tmp_path, monkeypatch, fresh_cache):
    obstacle = tmp_path / "file"
    obstacle.write_text("not a directory")
    for variable in ("CONVLIB_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(obstacle))
    monkeypatch.setattr(Path, "home", lambda: obstacle)
    monkeypatch.setattr(_cache.tempfile, "tempdir", str(tmp_path))
    directory = _cache.cache_directory()
    assert directory.is_dir()
    assert directory.parent == tmp_path
    if os.name == "posix":
        assert directory.stat().st_mode & 0o077 == 0


def test_other_peoples_cache_is_left_alone():
    """Numba's own setting is back in place once our kernels have been decorated."""
    script = (
        "import numba; before = numba.config.CACHE_DIR\n"
        "from convlib.kernels import get_backend; get_backend('cpu')\n"
        "assert numba.config.CACHE_DIR == before\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
