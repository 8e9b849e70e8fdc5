"""What the checks for a machine with a GPU say, without one."""

import sys
import time

import pytest

from benchmarks import on_a_gpu


def refuse(name):
    raise RuntimeError("there is no GPU; take backend='cpu'.")


@pytest.fixture
def with_gpu(monkeypatch):
    monkeypatch.setattr(on_a_gpu, "missing", lambda: None)
    monkeypatch.setattr(on_a_gpu, "repeats", lambda backend: True)


def test_one_sentence_says_that_there_is_no_gpu(monkeypatch, capsys):
    monkeypatch.setattr(on_a_gpu, "get_backend", refuse)
    monkeypatch.setattr(on_a_gpu.numba.config, "ENABLE_CUDASIM", 0)
    assert on_a_gpu.main() == 1
    printed = capsys.readouterr().out
    assert printed == "Nothing was run: there is no GPU; take backend='cpu'.\n"


def test_training_repeats_itself_and_a_difference_is_seen(monkeypatch):
    assert on_a_gpu.repeats("cpu", images=100)
    runs = iter((100, 99))
    trained = on_a_gpu.trained
    monkeypatch.setattr(on_a_gpu, "trained", lambda backend, _: trained(backend, next(runs)))
    assert not on_a_gpu.repeats("cpu")


@pytest.mark.parametrize("broken", [None, "pytest", "memcheck", "racecheck"])
def test_any_check_that_fails_is_named_and_decides_the_exit_status(
    broken, with_gpu, monkeypatch, capsys
):
    def passes(command, end):
        tool = command[2] if command[0] == on_a_gpu.SANITIZER else "pytest"
        return tool != broken

    monkeypatch.setattr(on_a_gpu, "passes", passes)
    monkeypatch.setattr(on_a_gpu.shutil, "which", lambda name: name)
    assert on_a_gpu.main() == int(broken is not None)
    assert capsys.readouterr().out.count("FAILED") == int(broken is not None)


def test_a_sanitizer_that_is_not_there_is_left_out(with_gpu, monkeypatch, capsys):
    monkeypatch.setattr(on_a_gpu, "passes", lambda command, end: True)
    monkeypatch.setattr(on_a_gpu.shutil, "which", lambda name: None)
    assert on_a_gpu.main() == 0
    assert "left out  compute-sanitizer" in capsys.readouterr().out


def test_a_command_passes_by_its_exit_status_and_within_the_time():
    later = time.monotonic() + 60
    assert on_a_gpu.passes([sys.executable, "-c", ""], later)
    assert not on_a_gpu.passes([sys.executable, "-c", "raise SystemExit(3)"], later)
    assert not on_a_gpu.passes([sys.executable, "-c", "import time; time.sleep(9)"], 0.0)
