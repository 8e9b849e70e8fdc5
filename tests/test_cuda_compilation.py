"""Every GPU kernel compiles for three generations of GPUs, into registers alone. No GPU is needed.

The operations of the contract are called with arrays that only claim to lie on a device, and each
launch compiles the kernel for the types of its arguments instead of running it. The linker's report
then says what the machine code needs: no spills and no local memory (both are main memory), and at
most `MOST_REGISTERS` per thread, so that 512 threads fit on a multiprocessor at once.
"""

import os
import re
import sys
from functools import cache
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from contract_cases import CASES, OPERATIONS, call, is_float

pytest.importorskip("numba_cuda", reason="needs the extra 'cuda': the GPU's compiler")
if numba.config.ENABLE_CUDASIM:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

from cuda.core import Linker, LinkerOptions, ObjectCode, Stream
from numba import cuda
from numba.cuda import dispatcher

from convlib.kernels import cuda as kernels
from convlib.kernels.cuda import (
    _device,
    conv2d_pool,
    correlation,
    direct,
    outer_products,
    tiles,
)

GENERATIONS = ((7, 5), (8, 0), (9, 0))
MOST_REGISTERS = 128


class Claimed(np.ndarray):
    """A host's array that passes for one on the device."""


def claimed(array):
    return np.ascontiguousarray(array).view(Claimed)


@pytest.fixture
def launches(monkeypatch):
    """Note every launch as (kernel, types of its arguments) instead of doing it."""
    noted = {}
    forget_tables()

    def configured(kernel, _configuration):
        def note(*arguments):
            noted[kernel.py_func, tuple(map(_numba_type, arguments))] = None

        return note

    monkeypatch.setattr(dispatcher.CUDADispatcher, "__getitem__", configured)
    # Asked for when a device function is compiled, whose code is the same for all of them.
    oldest = SimpleNamespace(compute_capability=GENERATIONS[0])
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: oldest)
    monkeypatch.setattr(_device, "empty", lambda shape, dtype: claimed(np.empty(shape, dtype)))
    monkeypatch.setattr(_device, "to_device", claimed)
    yield noted
    forget_tables()


def forget_tables():
    """Empty the caches of tables on the device, which are not to meet those of other tests."""
    for name, module in sys.modules.items():
        if name.startswith("convlib.kernels.cuda."):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def _numba_type(value):
    if isinstance(value, np.ndarray):
        assert isinstance(value, Claimed), "an array of the host was handed to a kernel"
        assert value.flags.c_contiguous
        return numba.types.Array(numba.from_dtype(value.dtype), value.ndim, "C")
    return numba.typeof(value)


def run_cases(operation, dtype, labels=(), **others):
    """Call an operation with its cases, or some, of which arguments may be given others."""
    for case in CASES:
        if case.operation == operation and (not labels or case.label in labels):
            arguments = {
                name: claimed(value.astype(dtype) if is_float(value) else value)
                if isinstance(value, np.ndarray)
                else value
                for name, value in (case.arguments | others).items()
            }
            arguments["scratch"] = _device.DeviceScratch()
            call(kernels, operation, arguments)


@cache
def _compiled(function, types):
    """Return a kernel as the compiler's intermediate code, from which any generation is linked.

    The oldest generation's can be linked for all: of 39 launches compared on sm_90 one differed
    from code made for that, by a register.
    """
    code, _ = cuda.compile(
        function, numba.void(*types), device=False, cc=GENERATIONS[0], output="ltoir", abi="numba"
    )
    return ObjectCode.from_ltoir(code)


def _linker(function, types, generation, **options):
    arch = "sm_{}{}".format(*generation)
    options = LinkerOptions(arch=arch, link_time_optimization=True, **options)
    return Linker(_compiled(function, types), options=options)


@cache
def report(function, types, generation):
    """Return what the linker says of a kernel: registers, and bytes on the stack and spilled."""
    linker = _linker(function, types, generation, ptxas_options=["-v"], verbose=True)
    linker.link("cubin")
    text = linker.get_info_log()
    number = r"(\d+)"
    return {
        "registers": int(re.search(rf"Used {number} registers", text)[1]),
        "stack": int(re.search(rf"{number} bytes stack frame", text)[1]),
        "spilled": int(re.search(rf"{number} bytes spill stores", text)[1]),
        "local": int((re.search(rf"{number} bytes lmem", text) or "00")[1]),
    }


def ptx_of(function, types, generation=(8, 0)):
    """Return the instructions of a kernel as text."""
    return _linker(function, types, generation, ptx=True).link("ptx").code.decode()


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda cc: "sm_{}{}".format(*cc))
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_kernels_live_in_registers(operation, generation, launches):
    run_cases(operation, np.float32)
    assert launches, "the operation launched nothing"
    if generation == (8, 0):
        assert_single_precision(launches)
        run_cases(operation, np.float64)
    assert_in_registers(launches, generation)


def assert_in_registers(launches, generation):
    for function, types in launches:
        facts = report(function, types, generation)
        name = f"{function.__module__}.{function.__qualname__}{types}"
        if os.environ.get("CONVLIB_SHOW_REGISTERS"):
            print(f"sm_{generation[0]}{generation[1]} {facts['registers']:4d} {name}")
        assert facts["stack"] == facts["spilled"] == facts["local"] == 0, f"{name}: {facts}"
        assert facts["registers"] <= MOST_REGISTERS, f"{name}: {facts}"


# Numbers that change from step to step, and the types of the arrays of one that may hold them.
NUMBERS = [
    ("adam_update", "learning_rate", np.float32),
    ("adam_update", "step", np.int64),
    ("dropout", "seed", np.uint64),
    ("dropout", "seed", np.int64),
    ("rmsprop_update", "learning_rate", np.float32),
    ("sgd_update", "learning_rate", np.float32),
]


@pytest.mark.parametrize(("operation", "name", "dtype"), NUMBERS)
def test_numbers_on_the_device_keep_the_precision(operation, name, dtype, launches):
    run_cases(operation, np.float32, **{name: np.ones(1, dtype)})
    assert_single_precision(launches)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_what_training_launches_besides(dtype, launches):
    scratch, array = _device.DeviceScratch(postpones_sums=True), claimed(np.ones(5, dtype))
    _device.copy(array, array)
    scratch.changing("number", 1, dtype)
    assert {function.__name__ for function, _ in launches} == {"_copy", "_put"}
    if dtype is np.float32:
        assert_single_precision(launches)
    for generation in GENERATIONS:
        assert_in_registers(launches, generation)


def test_recorded_launches_go_to_the_stream_of_the_recording():
    assert _device.DeviceScratch.recorder is _device.Graph
    stream = Stream.from_handle(7)
    assert _device._configured(_device._put, 200, 1, stream).stream is stream
    plain = _device._configured(_device._put, 200, 1)
    assert int(plain.stream.handle) == int(Stream.from_handle(0).handle) == 0


@pytest.mark.filterwarnings("error")
def test_nobody_is_warned_of_small_grids():
    with pytest.raises(Warning, match="Grid size 3 will"):
        _device._put[3, 1]
    _device._configured(_device._put, 3, 1)


def assert_single_precision(launches):
    """An integer literal beside a float32 makes float64, which most GPUs compute slowly."""
    for function, types in launches:
        assert ".f64" not in ptx_of(function, types), f"{function.__module__}.{function.__name__}"


MATRICES = (
    *("conv2d_forward", "conv2d_backward_input", "conv2d_backward_params"),
    *("conv2d_relu_max_pool2d_forward", "dense_forward"),
)


# With and without quads on either side.
OF_LARGE_TILES = (
    *("second layer of the text", "third layer of the text", "channels 33 to 3", "groups 3"),
    *("channels 16 to 48", "ragged large tiles", "3 of 576 to 64", "8200 of 37 to 35"),
)


@pytest.fixture
def large_tiles(monkeypatch):
    """Take large tiles, as for large problems, wherever these would."""
    plans = (
        *(correlation.forward_pass, correlation.backward_passes, direct.best_forward_pass),
        *(outer_products.plan_of, conv2d_pool.fused_pass),
    )

    def best_tile(height, width, copies, dtype):
        return tiles.LARGE if copies else tiles.SMALL

    for module in (correlation, outer_products, conv2d_pool):
        monkeypatch.setattr(module, "best_tile", best_tile)
    for plan in plans:
        plan.cache_clear()
    yield
    for plan in plans:
        plan.cache_clear()


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda cc: "sm_{}{}".format(*cc))
@pytest.mark.parametrize("operation", MATRICES)
def test_large_tiles_live_in_registers(operation, generation, launches, large_tiles):
    run_cases(operation, np.float32, OF_LARGE_TILES)
    assert_in_registers(launches, generation)


INSTRUCTIONS = "ld.global.v4", "st.global.v4", "ld.shared.v4", "fma.rn.f32"


@pytest.mark.parametrize(
    ("operation", "layer", "kernel", "counts"),
    [
        # Three quads are fetched per step; a term needs 8 + 8 numbers for 64 products.
        ("conv2d_forward", "second", "correlate", (3, 16, 4, 64)),
        ("conv2d_backward_input", "third", "correlate", (3, 16, 4, 64)),
        ("conv2d_backward_params", "second", "add_outer_products", (3, 16, 4, 64)),
        ("conv2d_relu_max_pool2d_forward", "second", "correlate_and_pool", (3, 4, 4, 64)),
        # Four pixels, nine taps, four filters.
        ("conv2d_forward", "first", "convolve_directly", (0, 4, 9, 144)),
        ("conv2d_relu_max_pool2d_forward", "first", "convolve_and_pool_directly", (0, 1, 9, 144)),
    ],
)
def test_products_are_unrolled_and_move_quads(
    operation, layer, kernel, counts, launches, large_tiles
):
    run_cases(operation, np.float32, [f"{layer} layer of the text"])
    ((function, types),) = [key for key in launches if key[0].__name__ == kernel]
    code = ptx_of(function, types)
    assert tuple(map(code.count, INSTRUCTIONS)) == counts
    assert ".local" not in code
