"""Work memory, and the directory of compiled kernels."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

import convlib
from convlib.kernels import _cache, compiling
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


def test_asking_again_costs_no_new_arrays_and_holds_no_old_memory():
    scratch, request = Scratch(), ((100,), np.float32)
    (first,) = scratch.take(request)
    assert scratch.take(request)[0] is first
    scratch.take(((10_000,), np.float32))
    (moved,) = scratch.take(request)
    assert not np.shares_memory(moved, first)
    assert np.shares_memory(moved, scratch.take(((10_000,), np.float32))[0])


def test_it_does_not_remember_requests_without_end():
    scratch = Scratch()
    for size in range(2000):
        scratch.take(((size,), np.uint8))
    assert len(scratch._work._arrays) <= 256


def test_postponed_sums_outlast_growth_and_other_calls():
    scratch, gradients = Scratch(postpones_sums=True), np.zeros(1200)
    expected = np.zeros_like(gradients)
    for number, (place, size) in enumerate([(0, 3), (10, 50), (100, 1000)], 1):
        (sums,) = scratch.take_sums(((number, size), np.float64))
        sums[...] = np.arange(number)[:, None] + number
        expected[place : place + size] = sums.sum(0)
        scratch.postpone(gradients[place : place + size], sums)
        scratch.take_sums(((1, 100_000), np.float64))[0].fill(np.nan)  # not postponed
        scratch.take(((100_000,), np.float64))[0].fill(np.nan)
    memory, postponed = scratch.postponed(gradients)
    for where in postponed:
        for part in range(where.parts):
            start = where.source + part * where.step
            target = slice(where.target, where.target + where.length)
            gradients[target] += memory[start : start + where.length]
    np.testing.assert_array_equal(gradients, expected)


def test_the_same_sums_step_after_step_cost_no_new_arrays():
    scratch, gradients = Scratch(postpones_sums=True), np.zeros(100)

    def step(samples):
        arrays = []
        for place, size in ((0, 30), (40, 60)):
            arrays += scratch.take_sums(((samples, size), np.float64))
            scratch.postpone(gradients[place : place + size], arrays[-1])
        return arrays, scratch.postponed(gradients)[1]

    step(9)
    (arrays, postponed), (smaller, _) = step(8), step(5)
    again, postponed_again = step(8)
    assert all(one is other for one, other in zip(arrays, again, strict=True))
    assert postponed == postponed_again
    assert not np.shares_memory(*arrays) and not np.shares_memory(*smaller)


def test_it_does_not_remember_gradients_without_end():
    scratch, gradients = Scratch(postpones_sums=True), np.zeros(2000)
    for place in range(2000):
        scratch.postpone(gradients[place:], *scratch.take_sums(((1, 2000 - place), np.float64)))
        scratch.forget_sums()
    assert len(scratch._sums.known) <= 256


def test_arrays_at_a_former_address_are_not_mistaken():
    scratch, gradients = Scratch(postpones_sums=True), np.zeros(100)
    (sums,) = scratch.take_sums(((2, 5), np.float64))
    for place in (0, 7, 80):
        # Each view is gone, and its identity free, before the next is made.
        scratch.postpone(gradients[place : place + 5], sums)
        (where,) = scratch.postponed(gradients)[1]
        assert where.target == place


def test_without_postponing_sums_share_one_memory():
    scratch = Scratch()
    (first,) = scratch.take_sums(((3, 100), np.float32))
    (second,) = scratch.take_sums(((2, 50), np.float32))
    assert np.shares_memory(first, second)
    (work,) = scratch.take(((300,), np.float32))
    assert not np.shares_memory(work, first)


def test_sums_of_an_abandoned_step_are_forgotten():
    scratch, gradients = Scratch(postpones_sums=True), np.zeros(4)
    (sums,) = scratch.take_sums(((2, 4), np.float64))
    scratch.postpone(gradients, sums)
    scratch.forget_sums()
    assert scratch.take_sums(((2, 4), np.float64))[0] is sums
    assert scratch.postponed(gradients)[1] == ()


def test_a_gradient_postponed_twice_is_overwritten():
    scratch, gradients = Scratch(postpones_sums=True), np.zeros(4)
    for parts in (3, 2):
        scratch.postpone(gradients, *scratch.take_sums(((parts, 4), np.float64)))
    (where,) = scratch.postponed(gradients)[1]
    assert where.parts == 2


def test_gradients_that_the_optimizer_does_not_get_are_refused():
    scratch, gradients = Scratch(postpones_sums=True), np.zeros(9)
    for target in (gradients[:3], gradients[5:], np.zeros(4)):
        scratch.postpone(target, *scratch.take_sums(((2, target.size), np.float64)))
        with pytest.raises(ValueError, match="no part of"):
            scratch.postponed(gradients[1:8])
        assert scratch.postponed(gradients)[1] == ()


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


def _directory_last_used(folder, days_ago):
    folder.mkdir(parents=True)
    (folder / "kernel.nbc").write_bytes(b"code")
    then = time.time() - days_ago * 24 * 3600
    os.utime(folder, (then, then))
    return folder


def test_directories_of_former_sources_go_after_a_month(tmp_path, monkeypatch, fresh_cache):
    monkeypatch.setenv("CONVLIB_CACHE", str(tmp_path))
    folder = tmp_path / "convlib"
    old = _directory_last_used(folder / "kernels-old", 31)
    recent = _directory_last_used(folder / "kernels-recent", 29)
    in_use = _directory_last_used(folder / "kernels-running", 400)
    other = _directory_last_used(folder / "datasets", 400)
    script = "import sys; from convlib.kernels import _cache; from pathlib import Path\n"
    script += f"_cache._hold(Path({str(in_use)!r})); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        then = time.time() - 400 * 24 * 3600
        os.utime(in_use, (then, then))  # it has been running for long
        current = _cache.cache_directory()
        process.stdin.close()
    assert {path for path in folder.iterdir()} == {recent, in_use, other, current}
    assert not old.exists() and (in_use / "kernel.nbc").exists()


def test_to_use_a_directory_keeps_it(tmp_path, monkeypatch, fresh_cache):
    monkeypatch.setenv("CONVLIB_CACHE", str(tmp_path))
    directory = _cache.cache_directory()
    os.utime(directory, (0, 0))
    _cache.cache_directory.cache_clear()
    assert _cache.cache_directory() == directory
    assert directory.stat().st_mtime > 1


def test_long_compilation_is_noticed_once(monkeypatch):
    def compile_two():
        for _ in range(2):
            njit(lambda x: x + 1)(1)

    said = []
    monkeypatch.setattr(compiling, "SECONDS_BEFORE_MESSAGE", 0)
    with compiling.notice_compilation(said.append):
        assert said == []
        compile_two()
    assert said == [compiling.MESSAGE]
    compile_two()  # nobody is listening any more
    monkeypatch.setattr(compiling, "SECONDS_BEFORE_MESSAGE", 1e9)
    with compiling.notice_compilation(said.append):
        compile_two()
    assert said == [compiling.MESSAGE]


FIRST_STEP = """
import numpy as np
from convlib import layers, models
from convlib.kernels import compiling
compiling.SECONDS_BEFORE_MESSAGE = 0
model = models.Sequential([layers.Activation("tanh", input_shape=(3,))])
model.predict(np.ones((2, 3)), verbose={verbose})
"""


def test_a_model_says_that_it_compiles_when_the_cache_is_empty(tmp_path):
    def messages(verbose):
        run = subprocess.run(
            [sys.executable, "-c", FIRST_STEP.format(verbose=verbose)],
            env=os.environ | {"CONVLIB_CACHE": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stderr

    assert messages(verbose=1) == f"Prediction - {compiling.MESSAGE}\n"
    assert messages(verbose=1) == ""  # the kernel comes from the cache


def test_a_silent_model_does_not_say_that_it_compiles(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", FIRST_STEP.format(verbose=0)],
        env=os.environ | {"CONVLIB_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout + run.stderr == ""


def test_other_peoples_cache_is_left_alone():
    """Numba's own setting is back in place once our kernels have been decorated."""
    script = (
        "import numba; before = numba.config.CACHE_DIR\n"
        "from convlib.kernels import get_backend; get_backend('cpu')\n"
        "assert numba.config.CACHE_DIR == before\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
