"""convlib as a contestant on a GPU: in Numba's simulator, and by what the compiler makes of it."""

import re
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from simulated import in_the_simulator, needs_no_simulator, needs_simulator

from benchmarks import layers, memory
from benchmarks.contestants import ours
from benchmarks.worker import Worker
from benchmarks.workload import Convolution
from convlib import models
from convlib.layers import Dense, Flatten, Input
from convlib.utils import set_random_seed


@pytest.fixture
def on_gpu(monkeypatch):
    """The module, with stand-ins for what the simulator does not know."""
    monkeypatch.setenv("CONVLIB_BACKEND", "cuda")
    from benchmarks.contestants import ours_on_gpu

    gpu = SimpleNamespace(name="A GPU", MULTIPROCESSOR_COUNT=2, compute_capability=(9, 0))
    monkeypatch.setattr(ours_on_gpu.cuda, "get_current_device", lambda: gpu, raising=False)
    return ours_on_gpu


@pytest.fixture
def queue(on_gpu, monkeypatch):
    """What is recorded in the GPU's queue; from one event to the next it takes 40 ms."""
    happened = []

    class Event:
        def record(self):
            happened.append("event")
            self.place = happened.count("event")

        def synchronize(self):
            happened.append("wait")

        def elapsed_time(self, end):
            return 40.0 * (end.place - self.place)

    monkeypatch.setattr(on_gpu.cuda, "event", Event, raising=False)
    return happened


@needs_no_simulator
def test_this_file_in_the_simulator():
    in_the_simulator(__file__)


@needs_simulator
def test_the_time_of_several_runs_lies_between_two_events(queue):
    worker = Worker("ours_on_gpu")
    worker._jobs["work"] = lambda: queue.append("work")
    assert worker.seconds("work", 2) == pytest.approx(0.02)
    assert queue == ["work", "event", "work", "work", "event", "wait"]


@needs_simulator
@pytest.mark.parametrize("direction", layers.PASSES)
def test_convolutions_run_on_the_device(direction, on_gpu, monkeypatch):
    from convlib.kernels import get_backend

    seen = []
    name = f"conv2d_{direction}"
    kernel = getattr(get_backend("cuda"), name)
    monkeypatch.setattr(
        get_backend("cuda"), name, lambda *given: seen.append(given) or kernel(*given)
    )
    layer = Convolution(size=5, channels=3, filters=2, kernel=3, batch=2)
    on_gpu.JOBS["convolution"](direction, **vars(layer))()
    holds = get_backend("cuda").memory.holds
    arrays = [value for value in seen[0] if hasattr(value, "shape")]
    assert len(arrays) >= 3 and all(map(holds, arrays))


@needs_simulator
@pytest.mark.parametrize("kind", memory.OPERATIONS)
def test_operations_count_the_bytes_that_move(kind, on_gpu):
    shape = [2, 6, 6, 4]
    size = 4 * np.prod(shape)
    pooled = size // 4 if "2×2" in kind else 2 * 2 * 2 * 4 * 4
    winners = pooled // 4 if kind.startswith("max") else 0
    expected = {"ReLU": (2, 3), "softmax": (2, 3), "batch normalisation": (3, 5)}
    for place, direction in enumerate(memory.PASSES):
        moved = on_gpu.JOBS["operation"](kind, direction, shape)()
        wanted = size * expected[kind][place] if kind in expected else size + pooled + winners
        assert moved == wanted, direction


@needs_simulator
def test_the_peak_is_counted_by_the_multiply_adds_that_are_done(on_gpu, monkeypatch):
    monkeypatch.setattr(on_gpu, "THREADS", 2)
    arrays, make = [], on_gpu.cuda.device_array
    monkeypatch.setattr(
        on_gpu.cuda, "device_array", lambda *given: arrays.append(make(*given)) or arrays[-1]
    )
    assert on_gpu.multiply_add(repeats=1)() == 2 * (2 * 8 * 2) * (8 * 16)
    # From t + c, sixteen times x → x / 2 + 1.
    starts = np.arange(8) + np.arange(2)[:, np.newaxis]
    ends = (starts / 2**16 + 2 * (1 - 1 / 2**16)).sum(1)
    np.testing.assert_allclose(arrays[0].copy_to_host(), np.tile(ends, 16), rtol=1e-6)


@needs_simulator
def test_the_second_epoch_counts_and_its_data_are_there_before(
    on_gpu, queue, monkeypatch, tmp_path
):
    def network():
        set_random_seed(0)
        return models.Sequential([Input((28, 28, 1)), Flatten(), Dense(10, activation="softmax")])

    from convlib.kernels.cuda import _device

    upload = _device.from_host
    monkeypatch.setattr(
        _device, "from_host", lambda array: queue.append(array.shape) or upload(array)
    )
    monkeypatch.setattr(ours, "text_network", network)
    x, y = np.full((6, 28, 28), 9, np.uint8), np.arange(6, dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x_train=x, y_train=y)
    work = on_gpu.train(str(tmp_path / "images.npz"), 6, 4)
    assert work() == {"seconds": pytest.approx(0.04)}
    first = queue.index("event")
    assert {(6, 28, 28, 1), (6, 10)} <= set(queue[:first])
    in_epochs = [item for item in queue[first:] if item != (6,)]  # their order may be uploaded
    assert in_epochs == 2 * ["event", "event", "wait"]


@needs_simulator
def test_the_driver_copies_and_both_ways_count(on_gpu):
    assert on_gpu.copy(4096)() == 8192


@needs_simulator
def test_the_gpu_is_described(on_gpu):
    gpu = on_gpu.cuda.get_current_device()
    words = "A GPU, 2 multiprocessors, compute capability 9.0, 80 GB"
    assert on_gpu.description(gpu, 80 * 10**9) == words


@needs_no_simulator
def test_the_peak_is_one_of_nothing_but_multiply_adds_in_registers():
    pytest.importorskip("numba_cuda", reason="needs the extra 'cuda': the GPU's compiler")
    from numba import cuda

    from benchmarks.contestants import ours_on_gpu

    arguments = numba.float32[::1], numba.float32, numba.float32, numba.int64
    code, _ = cuda.compile(
        ours_on_gpu._multiply_add.py_func,
        numba.void(*arguments),
        device=False,
        cc=(9, 0),
        output="ptx",
        abi="numba",
    )
    expected = ours_on_gpu.CHAINS * ours_on_gpu.UNROLLED
    assert len(re.findall(r"fma\.rn\.f32", code)) == expected
    assert "local" not in code and "mul.f32" not in code
