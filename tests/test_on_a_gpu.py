"""What the script for a machine with a GPU says, without one."""

import sys
import time

import pytest

from benchmarks import on_a_gpu

LONG = 60.0  # seconds


def ending(seconds=LONG):
    return time.monotonic() + seconds


def test_one_sentence_says_that_there_is_no_gpu(monkeypatch, capsys):
    monkeypatch.setattr(on_a_gpu, "missing_gpu", lambda: "there is no GPU; take a CPU.")
    assert on_a_gpu.main() == 1
    assert capsys.readouterr().out == "Nothing was run: there is no GPU; take a CPU.\n"


@pytest.fixture
def commands(monkeypatch):
    """The commands that are run, of which those fail that hold the name in ``broken``."""
    seen = SimpleCommands()
    monkeypatch.setattr(on_a_gpu, "missing_gpu", lambda: None)
    monkeypatch.setattr(on_a_gpu, "run", seen.run)
    monkeypatch.setattr(on_a_gpu.shutil, "which", lambda name: name)
    return seen


class SimpleCommands:
    def __init__(self):
        self.broken, self.seen = None, []

    def run(self, command, end, catch=False, **environment):
        self.seen.append((command, end - time.monotonic(), environment))
        if self.broken in command:
            raise on_a_gpu.Problem("it ended with exit status 3")
        if catch:
            launches = 900 if environment.get("CONVLIB_CUDA_GRAPHS") == "0" else 90
            return f'compiling\n{{"weights": "abc", "launches": {launches}}}\n'


@pytest.mark.parametrize(
    ("broken", "part"),
    [
        (None, None),
        ("tests/test_contract.py", "contract"),
        ("memcheck", "memcheck"),
        ("racecheck", "racecheck"),
        ("benchmarks", "speed"),
    ],
)
def test_a_part_that_fails_is_named_and_decides_the_exit_status(broken, part, commands, capsys):
    commands.broken = broken
    assert on_a_gpu.main(["--peers", "other-python"]) == int(broken is not None)
    lines = capsys.readouterr().out.splitlines()[-6:]
    assert [line.split()[0] for line in lines] == [
        "failed" if broken and f"  {part}, " in line else "passed" for line in lines
    ]
    assert sum("it ended with exit status 3" in line for line in lines) == int(broken is not None)
    *_, speed = commands.seen
    assert speed[0][-2:] == ["--peers", "other-python"]
    assert all(0 < left <= on_a_gpu.MOST_SECONDS for _, left, _ in commands.seen)


def test_all_parts_end_within_eight_minutes_and_leave_time_for_the_tables():
    *checks, speed = on_a_gpu.parts([])
    assert speed[0] == "speed"
    assert on_a_gpu.MOST_SECONDS < 8 * 60
    assert sum(seconds for _, seconds, _ in checks) <= on_a_gpu.MOST_SECONDS - 90


def test_a_sanitizer_that_is_not_there_is_named_and_fails_nothing(commands, monkeypatch, capsys):
    monkeypatch.setattr(on_a_gpu.shutil, "which", lambda name: None)
    assert on_a_gpu.main() == 0
    printed = capsys.readouterr().out
    assert "not run   memcheck, 0 s: compute-sanitizer is not on the PATH" in printed
    assert not any(on_a_gpu.SANITIZER in command for command, _, _ in commands.seen)


def test_a_part_is_not_begun_when_the_time_is_over_and_has_no_more_than_is_left():
    given = []
    assert on_a_gpu.went(given.append, 60, ending(-1)) == ("not run", "the time is over")
    assert not given
    assert on_a_gpu.went(given.append, 60, ending(5)) == ("passed", "")
    assert on_a_gpu.went(given.append, 5, ending(60)) == ("passed", "")
    assert all(end - time.monotonic() <= 5 for end in given)


@pytest.mark.parametrize(
    ("graphs", "plain", "problem"),
    [
        (("a", 90), ("a", 900), None),
        (("a", 90), ("b", 900), "the weights differ"),
        (("a", 900), ("a", 900), "no graph was used: 900 kernels"),
    ],
)
def test_graphs_must_be_used_and_change_no_bit(graphs, plain, problem, monkeypatch):
    def train(end, **environment):
        weights, launches = plain if environment == on_a_gpu.PLAIN else graphs
        return {"weights": weights, "launches": launches}

    monkeypatch.setattr(on_a_gpu, "train", train)
    outcome, why = on_a_gpu.went(on_a_gpu.graphs_change_nothing, LONG, ending())
    assert outcome == ("failed" if problem else "passed")
    assert why.startswith(problem or "")


def test_trainings_that_differ_are_seen(monkeypatch):
    runs = iter("aab")
    monkeypatch.setattr(on_a_gpu, "train", lambda end: {"weights": next(runs)})
    on_a_gpu.repeats(ending())
    runs = iter("ab")
    with pytest.raises(on_a_gpu.Problem, match="the weights differ"):
        on_a_gpu.repeats(ending())


def test_training_in_a_process_gives_a_digest_that_depends_on_the_weights(monkeypatch):
    monkeypatch.setenv("CONVLIB_BACKEND", "cpu")
    here = on_a_gpu.trained()
    assert on_a_gpu.train(ending(), CONVLIB_BACKEND="cpu") == here
    assert here["launches"] == 0
    assert on_a_gpu.trained(images=99)["weights"] != here["weights"]


def test_launches_are_noted(monkeypatch):
    from numba.cuda import dispatcher

    class Launch:
        def __call__(self, *arguments):
            return arguments

    monkeypatch.setattr(dispatcher, "_LaunchConfiguration", Launch)
    launches = on_a_gpu.noted_launches()
    assert Launch()(1, 2) == (1, 2)
    assert len(launches) == 1


def test_a_command_passes_by_its_exit_status_and_within_its_time():
    say = "import os; print(os.environ['SAID'])"
    assert on_a_gpu.run([sys.executable, "-c", say], ending(), True, SAID="word") == "word\n"
    with pytest.raises(on_a_gpu.Problem, match="exit status 3"):
        on_a_gpu.run([sys.executable, "-c", "raise SystemExit(3)"], ending())
    with pytest.raises(on_a_gpu.Problem, match="its time was over"):
        on_a_gpu.run([sys.executable, "-c", "import time; time.sleep(99)"], ending(0.5))


def test_what_a_command_has_started_ends_with_it(tmp_path):
    child = f"import time; time.sleep(2); open({str(tmp_path / 'alive')!r}, 'w')"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(on_a_gpu.Problem):
        on_a_gpu.run([sys.executable, "-c", start], ending(1))
    time.sleep(3)
    assert not (tmp_path / "alive").exists()
