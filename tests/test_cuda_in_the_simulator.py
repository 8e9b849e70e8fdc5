"""The GPU's kernels compute what the contract says, and every barrier in them is needed.

That is seen in Numba's simulator, which must be asked for before Numba is imported: hence the
processes of their own. On a machine with a GPU the same tests run there with
``CONVLIB_TEST_BACKENDS=cuda python -m pytest tests/test_contract.py``.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest

if numba.config.ENABLE_CUDASIM:
    pytest.skip("this is the simulator's process", allow_module_level=True)

TESTS = Path(__file__).parent


@pytest.mark.parametrize(
    "name",
    ["contract", "cuda_barriers", "cuda_kernels", "cuda_replay", "cuda_tiles", "cuda_training"],
)
def test_in_the_simulator(name):
    settings = {"NUMBA_ENABLE_CUDASIM": "1", "CONVLIB_TEST_BACKENDS": "cuda"}
    # What pytest-xdist and its likes tell their workers is not for this process.
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS / f"test_{name}.py"],
        env=environment | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 1, done.stdout[-500:]
