"""The process of one contestant: it answers one request after the other, and sleeps in between.

Contestants have thread pools of their own, which would compete for the cores within one process:
idle threads of one spin while another computes. Requests and answers are lines of JSON.
"""

import importlib
import json
import os
import sys
import time
import traceback

from benchmarks.contestants import HostClock

PAUSE = 0.01  # seconds, in which the threads of whoever ran before come to rest


class Worker:
    """Keeps prepared jobs by name, and runs them."""

    def __init__(self, contestant: str):
        self._contestant = importlib.import_module(f"benchmarks.contestants.{contestant}")
        self._jobs = {}

    def introduce(self) -> dict:
        """Return the names and versions of what computes."""
        return self._contestant.introduce()

    def prepare(self, name: str, job: str, options: dict) -> None:
        """Make a job ready and run it once, so that everything is compiled and allocated."""
        self._jobs[name] = self._contestant.JOBS[job](**options)
        self._jobs[name]()

    def seconds(self, name: str, runs: int) -> float:
        """Return how long a job takes, the mean of so many runs in a row.

        The clock is the contestant's. A job that returns ``{"seconds": ...}`` has taken the time
        of what counts itself.
        """
        job, clock = self._jobs[name], getattr(self._contestant, "Clock", HostClock)()
        time.sleep(PAUSE)
        if runs > 1:
            job()  # brings data back to the caches and threads back from their sleep
        clock.start()
        results = [job() for _ in range(runs)]
        total = clock.stop()
        if isinstance(results[0], dict) and "seconds" in results[0]:
            total = sum(result["seconds"] for result in results)
        return total / runs

    def result(self, name: str):
        """Run a job once and return what it returns."""
        return self._jobs[name]()

    def drop(self, name: str) -> None:
        """Forget a job and its memory."""
        del self._jobs[name]


def main() -> None:
    """Answer requests until there are no more."""
    # What the contestant prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    worker = None
    for line in sys.stdin:
        try:
            request, arguments = json.loads(line)
            if worker is None:
                worker = Worker(sys.argv[1])
            answer = {"value": getattr(worker, request)(**arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
