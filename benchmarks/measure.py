"""Comparing speeds on a machine whose own speed changes from minute to minute.

Contestants take turns, round after round: ours, the peer, ours, the peer. What is compared is
always the two times of one round, and what is reported is the median of these ratios.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class ContestantFailed(Exception):
    """A contestant could not do what it was asked to; the message is its own."""


class Contestant:
    """A process that runs the jobs of one module of `benchmarks.contestants`.

    Parameters
    ----------
    module : str
    python : str, optional
        The interpreter that has the contestant's packages; by default this one.
    environment : dict, optional
        Environment variables of the process; by default those of this one.
    """

    def __init__(self, module: str, python: str = sys.executable, environment: dict | None = None):
        self.python = python
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
            cwd=ROOT,
            env=environment,
        )

    def ask(self, request: str, **arguments):
        """Send a request to `benchmarks.worker.Worker` and return the answer."""
        try:
            self._process.stdin.write(json.dumps([request, arguments]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._errors.seek(0)
            raise ContestantFailed(self._errors.read()[-2000:] or "it ended without a word")
        answer = json.loads(line)
        if "error" in answer:
            raise ContestantFailed(answer["error"])
        return answer["value"]

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


@dataclass
class Job:
    """Work that one contestant has prepared, and how often it runs in a row when it is timed."""

    contestant: Contestant
    name: str
    runs: int = 1

    def seconds(self) -> float:
        """Time it once."""
        return self.contestant.ask("seconds", name=self.name, runs=self.runs)

    def result(self):
        """Run it once and return what it returns."""
        return self.contestant.ask("result", name=self.name)

    def drop(self) -> None:
        """Free its memory."""
        self.contestant.ask("drop", name=self.name)


def prepare(
    contestant: Contestant, name: str, job: str, slice_seconds: float = 0.0, **options
) -> Job:
    """Prepare and warm up a job that will run for at least ``slice_seconds`` when it is timed."""
    contestant.ask("prepare", name=name, job=job, options=options)
    prepared = Job(contestant, name)
    if slice_seconds:
        prepared.runs = max(1, math.ceil(slice_seconds / prepared.seconds()))
    return prepared


def alternate(jobs: dict[str, Job], rounds: int) -> dict[str, list[float]]:
    """Let the jobs take turns; return the seconds of each, round by round."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(job.seconds())
    return times


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Return the median over the rounds of numerator / denominator."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def fastest(times: dict[str, list[float]]) -> str:
    """Return the name whose median time is the smallest."""
    return min(times, key=lambda name: statistics.median(times[name]))


def geometric_mean(values: list[float]) -> float:
    """Return exp of the mean logarithm, which treats 2 × and ½ × alike."""
    return math.exp(statistics.fmean(map(math.log, values)))
