"""Run a test file in Numba's simulator, which must be asked for before Numba is imported."""

import os
import re
import subprocess
import sys

import numba
import pytest

if numba.config.ENABLE_CUDASIM:
    from convlib.notebook import simulator

    simulator.install()

needs_simulator = pytest.mark.skipif(
    not numba.config.ENABLE_CUDASIM, reason="runs in the simulator's process"
)
needs_no_simulator = pytest.mark.skipif(
    bool(numba.config.ENABLE_CUDASIM), reason="this is the simulator's process"
)


def in_the_simulator(file):
    """Run the tests of a file in a process with the simulator."""
    # What pytest-xdist and its likes tell their workers is not for this process.
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
        env=environment | {"NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 1, done.stdout[-500:]
