"""What the GPU's kernels do beyond the contract, on a GPU or in the simulator."""

import numpy as np
import pytest
from contract_cases import CASES, OPERATIONS, call, is_float
from devices import BACKENDS

from convlib.kernels import get_backend

if BACKENDS != ["cuda"]:
    pytest.skip("needs CONVLIB_TEST_BACKENDS=cuda", allow_module_level=True)

from convlib.kernels.cuda import _device

NUMBERS = [
    # operation, label of a case, argument, type of the array of one that may stand for it
    ("adam_update", "1000 later", "learning_rate", np.float32),
    ("adam_update", "1000 later", "step", np.float32),
    ("adam_update", "1000 later", "step", np.int64),
    ("adam_update", "1000 fresh", "step", np.int64),
    ("dropout", "vector 1000 rate 0.25", "seed", np.uint64),
    ("dropout", "vector 1000 rate 0.9", "seed", np.int64),
    ("rmsprop_update", "1000", "learning_rate", np.float32),
    ("sgd_update", "1000 nesterov True", "learning_rate", np.float32),
]


def results(operation, arguments):
    """Return what a call in float32 changes."""
    there = {
        name: _device.to_device(value.astype(np.float32) if is_float(value) else value)
        if isinstance(value, np.ndarray)
        else value
        for name, value in arguments.items()
    }
    with np.errstate(all="ignore"):
        call(get_backend("cuda"), operation, there | {"scratch": _device.DeviceScratch()})
    return [there[name].copy_to_host() for name in OPERATIONS[operation].changed]


@pytest.mark.parametrize(("operation", "label", "name", "dtype"), NUMBERS)
def test_a_number_may_lie_on_the_device(operation, label, name, dtype):
    case = next(case for case in CASES if (case.operation, case.label) == (operation, label))
    value = case.arguments[name]
    if dtype == np.int64:
        value = (value + 2**63) % 2**64 - 2**63  # the same bits, signed
    expected = results(operation, case.arguments)
    got = results(operation, case.arguments | {name: np.array([value], dtype)})
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_array_equal(one, other)
