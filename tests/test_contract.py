"""Every backend computes what the reference says: every operation, case and precision.

The expected value is the reference in float64, run on the very numbers (float32 or float64) that
the backend gets. The tolerance is elementwise and derived, never tuned:

* A sum of K products, in any order and with or without fused multiply-adds, is within
  ``K·u / (1 − K·u) · Σ|x||w|`` of the exact one (Higham, "Accuracy and Stability of Numerical
  Algorithms", section 3.1), where the unit roundoff u is half the machine epsilon. Hence
  ``|got − expected| ≤ c · epsilon · K · op(|x|, |w|)`` with c = 1: one half for the backend, the
  other half for the expected value, which has the same error when the test itself is in float64.
* Other formulas round a fixed number of times besides; the functions above `OPERATIONS` in
  contract_cases.py say how often, and what magnifies it.
* What is copied, chosen or counted (im2col, maxima, saved indices, dropped elements) is exact.

Arrays lie between guard zones, at addresses that are no multiple of a vector; outputs are filled
with NaN first. A kernel that reads beyond its inputs or its outputs' old content gets NaN, one
that writes beyond its outputs is seen.
"""

from inspect import signature

import numba
import numpy as np
import pytest
from contract_cases import CASES, OPERATIONS, call, expected, is_float, postpone_all
from devices import BACKENDS, Host, device_of

from convlib.kernels import get_backend, reference

WITH_THREADS = [name for name in BACKENDS if name == "cpu"]
ON_HOST = [name for name in BACKENDS if name != "cuda"]
DTYPES = (np.float32, np.float64)
# Elements before and after each array: 67 put it where no vector begins. Vectors on the GPU are
# used only where arrays are aligned, so there one of the two precisions is tried in each way.
GUARD = {np.float32: 64 if BACKENDS == ["cuda"] else 67, np.float64: 67}
SENTINEL = 0x5A


def _is_quick(case):
    """Whether a case is small enough to be tried more than once in the GPU's simulator."""
    arrays = [value for value in case.arguments.values() if isinstance(value, np.ndarray)]
    return not numba.config.ENABLE_CUDASIM or sum(array.size for array in arrays) < 500


# In the simulator large cases are run in one precision, once.
IN_BOTH_PRECISIONS = [
    pytest.param(case, dtype, id=f"{case}-{dtype.__name__}")
    for case in CASES
    for dtype in DTYPES
    if dtype is np.float32 or _is_quick(case)
]
REPEATED = [case for case in CASES if _is_quick(case)]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return get_backend(request.param)


class Guarded:
    """An array between two guard zones."""

    def __init__(self, values, dtype, guard):
        self.guard = guard
        self.buffer = np.empty(values.size + 2 * guard, dtype)
        self.buffer.fill(np.nan if is_float(self.buffer) else SENTINEL)
        self.array = self.within(self.buffer, values.shape)
        self.poisoned = self.buffer.copy()
        self.array[...] = values
        self.initial = self.buffer.copy()

    def within(self, buffer, shape):
        """Return what lies between the guard zones of a buffer, here or on a device."""
        return buffer[self.guard : len(buffer) - self.guard].reshape(shape)

    def poison(self):
        """Forget the values: this is an output."""
        self.buffer[...] = self.poisoned

    def assert_unchanged(self):
        """Check that nobody wrote to the array or around it."""
        np.testing.assert_array_equal(_bytes(self.buffer), _bytes(self.initial))

    def assert_guards_unchanged(self):
        """Check that nobody wrote around the array."""
        for zone in (slice(self.guard), slice(-self.guard, None)):
            np.testing.assert_array_equal(_bytes(self.buffer[zone]), _bytes(self.poisoned[zone]))


def _bytes(array):
    return array.view(np.uint8)


def dirty_scratch(device, nbytes=1 << 16, postpones_sums=False):
    """Return work memory in which every float is NaN."""
    scratch = device.Scratch(postpones_sums)
    for take in (scratch.take, scratch.take_sums):
        (block,) = take(((1, nbytes), np.uint8))
        device.poison(block)
    return scratch


class Call:
    """The arguments of one call of a case, guarded and poisoned."""

    def __init__(self, case, dtype, alias=None):
        self.case = case
        self.operation = OPERATIONS[case.operation]
        self.guarded = {
            name: Guarded(value, dtype if is_float(value) else value.dtype, GUARD[dtype])
            for name, value in case.arguments.items()
            if isinstance(value, np.ndarray)
        }
        self.arguments = dict(case.arguments) | {
            name: guarded.array for name, guarded in self.guarded.items()
        }
        self.values = {  # the numbers as the backend gets them, kept from being changed
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in self.arguments.items()
        }
        self.scratch = None
        for name in self.operation.outputs:
            if name in self.guarded:
                self.guarded[name].poison()
        if alias:
            output, source = alias
            self.arguments[output] = self.arguments[source]
            self.guarded[output] = self.guarded[source]

    def run(self, backend, scratch_size=1 << 16):
        """Make the call and return what it changed."""
        device = device_of(backend)
        if self.case.arguments.get("postponed") and not device.postpones:
            pytest.skip("no sums are postponed there")
        # An array that is two arguments goes to the device once.
        buffers = {id(guarded): guarded for guarded in self.guarded.values()}
        there = {key: device.upload(guarded.buffer) for key, guarded in buffers.items()}
        arguments = dict(self.arguments)
        if device.moves:
            for name, guarded in self.guarded.items():
                arguments[name] = guarded.within(there[id(guarded)], self.arguments[name].shape)
        self.scratch = self.scratch or dirty_scratch(device, scratch_size)
        postpone_all(self.scratch, arguments)
        with np.errstate(all="ignore"):
            arguments["scratch"] = self.scratch
            self.returned = call(backend, self.case.operation, arguments)
        for key, guarded in buffers.items():
            device.download(there[key], guarded.buffer)
        return {
            name: self.arguments[name]
            for name in self.operation.changed
            if self.arguments[name] is not None
        }

    def assert_nothing_else_changed(self):
        written = [id(self.guarded.get(name)) for name in self.operation.changed]
        for guarded in self.guarded.values():
            if id(guarded) in written:
                guarded.assert_guards_unchanged()
            else:
                guarded.assert_unchanged()

    def assert_as_expected(self, changed):
        values, tolerances, returned = expected(self.case.operation, self.values)
        assert self.returned is returned
        for name, got in changed.items():
            assert_within(got, values[name], tolerances[name], name)


def assert_within(got, expected, tolerance, name):
    """Check NaN and infinities in place, and everything else to the tolerance."""
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), f"NaN in {name}")
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite], f"infinities in {name}")
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(float) - expected)
        # Written so that a NaN tolerance or error fails.
        bad = finite & ~(error <= tolerance)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        limit = np.broadcast_to(tolerance, error.shape)[place]
        pytest.fail(
            f"{bad.sum()} of {bad.size} elements of {name} are off; first at {place}: "
            f"got {got[place]!r}, expected {expected[place]!r}, "
            f"error {error[place]:.3g} above {limit:.3g}"
        )


def assert_same_bits(first, second):
    for name in first:
        np.testing.assert_array_equal(
            _bytes(np.ascontiguousarray(first[name])),
            _bytes(np.ascontiguousarray(second[name])),
            name,
        )


def copies(changed):
    return {name: value.copy() for name, value in changed.items()}


def test_backend_exports_exactly_the_contract(backend):
    assert sorted(backend.__all__) == sorted(reference.__all__)
    for name in reference.__all__:
        function, contract = getattr(backend, name), getattr(reference, name)
        assert signature(function) == signature(contract), name
        assert function.__name__ == name
        assert function.__doc__


def test_every_operation_has_cases():
    assert sorted(OPERATIONS) == sorted(reference.__all__)
    assert {case.operation for case in CASES} == set(reference.__all__)
    names = [str(case) for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("case", "dtype"), IN_BOTH_PRECISIONS)
def test_contract(case, backend, dtype):
    this = Call(case, dtype)
    changed = this.run(backend)
    this.assert_nothing_else_changed()
    this.assert_as_expected(changed)


@pytest.mark.parametrize("case", REPEATED, ids=str)
def test_same_call_gives_same_bits(case, backend):
    first, second = Call(case, np.float32), Call(case, np.float32)
    before = copies(first.run(backend))
    # The second call finds as much work memory as it needs, all of it NaN.
    assert_same_bits(before, second.run(backend, first.scratch.nbytes))


ALIASED = [
    pytest.param(case, alias, id=f"{case}-{alias[0]}_is_{alias[1]}")
    for case in CASES
    for alias in OPERATIONS[case.operation].aliases
]


@pytest.mark.parametrize(("case", "alias"), ALIASED)
def test_allowed_aliases(case, alias, backend):
    this = Call(case, np.float32, alias)
    changed = this.run(backend)
    this.assert_nothing_else_changed()
    this.assert_as_expected(changed)


MANY_ROWS = [
    case
    for case in CASES
    if any(is_float(value) and len(value) >= 37 for value in case.arguments.values())
]


@pytest.mark.parametrize("backend", WITH_THREADS, indirect=True)
@pytest.mark.parametrize("case", MANY_ROWS, ids=str)
def test_bits_do_not_depend_on_the_number_of_threads(case, backend):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this machine runs Numba with a single thread")
    results = []
    before = numba.get_num_threads()
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(copies(Call(case, np.float32).run(backend)))
    finally:
        numba.set_num_threads(before)
    assert_same_bits(*results)


OF_PARAMETERS = [case for case in CASES if case.operation.endswith("_params")]


def step_of_size_zero(backend, dw, scratch):
    """Complete the gradients; return whether they are finite."""
    w, velocity = np.zeros_like(dw), np.zeros_like(dw)
    return backend.sgd_update(w, dw, velocity, 0.0, 0.0, False, scratch)


@pytest.mark.parametrize("backend", ON_HOST, indirect=True)
@pytest.mark.parametrize("case", OF_PARAMETERS, ids=str)
def test_postponed_sums_have_the_same_bits(case, backend):
    at_once = Call(case, np.float32)
    expected = at_once.run(backend)
    # dw and db are parts of one vector, with something between them.
    sizes = [expected[name].size for name in expected]
    vector, place = np.full(sum(sizes) + 3 * len(sizes), 7, np.float32), 3
    later = Call(case, np.float32)
    later.scratch = dirty_scratch(Host, postpones_sums=True)
    for name, size in zip(expected, sizes, strict=True):
        later.arguments[name] = vector[place : place + size].reshape(expected[name].shape)
        later.arguments[name].fill(np.nan)
        place += size + 3
    changed = later.run(backend)
    finite = all(np.isfinite(value).all() for value in expected.values())
    assert step_of_size_zero(backend, vector, later.scratch) is finite
    assert_same_bits(expected, changed)
    assert (vector == 7).sum() >= 3 * len(sizes)


@pytest.mark.skipif("cpu" not in BACKENDS, reason="the CPU's kernels are not under test here")
def test_each_kind_of_kernel_postpones_sums():
    """The test above would see nothing if no sum ever was postponed."""
    postponing = set()
    for case in OF_PARAMETERS:
        this = Call(case, np.float32)
        this.scratch = dirty_scratch(Host, postpones_sums=True)
        this.run(get_backend("cpu"))
        if this.scratch._postponed:
            postponing.add(case.operation)
    assert postponing == {case.operation for case in OF_PARAMETERS}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", WITH_THREADS, indirect=True)
def test_partial_sums_are_added_in_order(threads, backend):
    if numba.config.NUMBA_NUM_THREADS < threads:
        pytest.skip("this machine runs Numba with a single thread")
    parts = np.random.default_rng(0).standard_normal((7, 50_000), np.float32)
    dw, scratch, before = np.zeros(60_000, np.float32), Host.Scratch(True), numba.get_num_threads()
    (sums,) = scratch.take_sums((parts.shape, np.float32))
    sums[...] = parts
    scratch.postpone(dw[:50_000], sums)
    try:
        numba.set_num_threads(threads)
        assert step_of_size_zero(backend, dw, scratch)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(dw[:50_000], sum(parts))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("backend", ON_HOST, indirect=True)
@pytest.mark.parametrize("operation", ["sgd_update", "rmsprop_update", "adam_update"])
def test_a_total_that_overflows_is_refused(operation, dtype, backend):
    case = next(case for case in CASES if case.operation == operation and "1000" in case.label)
    this = Call(case, dtype)
    largest = np.full((2, 1, 1), np.finfo(dtype).max)
    this.arguments["postponed"] = {900: largest}
    this.run(backend)
    assert this.returned is False
    assert this.arguments["dw"][900] == np.inf
    for name in OPERATIONS[operation].changed:
        if name != "dw":
            this.guarded[name].assert_unchanged()


def test_every_operation_is_tested_with_threads():
    assert {case.operation for case in MANY_ROWS} == set(OPERATIONS)


def test_the_tolerance_is_tight():
    """A value that is off by a few more roundings than allowed is refused."""
    case = next(case for case in CASES if str(case) == "conv2d_forward-not_square")
    this = Call(case, np.float32)
    changed = this.run(reference)
    changed["y"][0, 0, 0, 0] *= 1 + 1e-4
    with pytest.raises(pytest.fail.Exception, match=r"1 of 350 elements of y are off"):
        this.assert_as_expected(changed)
