"""What each contestant does when it is asked to, in a process of its own.

Each module here has a function `introduce`, which returns names and versions, and a table `JOBS`:
a job takes options, prepares everything and returns a function that does the work once. A module
whose work goes on after such a function has returned has a class `Clock` as well, in place of
`HostClock`.
"""

import os
import time
from pathlib import Path


class HostClock:
    """Takes the time of work that is done when the call returns."""

    def start(self) -> None:
        """Begin."""
        self._start = time.perf_counter()

    def stop(self) -> float:
        """Return the seconds since."""
        return time.perf_counter() - self._start


def resident_megabytes() -> float:
    """Return how much memory this process has resident; its peak where only that can be known."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes
