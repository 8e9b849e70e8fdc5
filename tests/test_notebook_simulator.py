"""What the simulator notes of kernels: their launches, and every read and write."""

import numba
import numpy as np
import pytest
from simulated import in_the_simulator, needs_no_simulator, needs_simulator

if numba.config.ENABLE_CUDASIM:
    from numba import cuda, float32

    from convlib.notebook import simulator


@needs_no_simulator
def test_this_file_in_the_simulator():
    in_the_simulator(__file__)


def neighbours(x, y):
    i = cuda.grid(1)
    if i < y.size:
        y[i] = x[i] + x[i + 1]


def through_a_tile(x, y):
    tile = cuda.shared.array((2, 3), float32)
    tile[cuda.threadIdx.y, cuda.threadIdx.x] = x[cuda.threadIdx.y, cuda.threadIdx.x]
    cuda.syncthreads()
    row = tile[cuda.threadIdx.y, 0:3]
    y[cuda.threadIdx.y, cuda.threadIdx.x] = row[0] + row[1] + row[2]


def recorded(kernel, grid, block, *arrays, **options):
    there = [cuda.to_device(array) for array in arrays]
    with simulator.recording(**options) as record:
        cuda.jit(kernel)[grid, block](*there)
    return there[-1].copy_to_host(), record


@needs_simulator
def test_reads_and_writes_are_noted_with_their_threads():
    x, y = np.arange(6, dtype=np.float32), np.zeros(5, np.float32)
    result, record = recorded(neighbours, 2, 3, x, y)
    assert result.tolist() == [1, 3, 5, 7, 9]
    reads = record.accesses("x")
    assert reads.element.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert reads.block.tolist() == [0] * 6 + [1] * 4
    assert reads.thread.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1]
    assert reads.step.tolist() == [0, 1] * 5 and not reads.phase.any()
    assert record.counts("x").tolist() == [1, 2, 2, 2, 2, 1]
    assert record.counts("x", block=1).tolist() == [0, 0, 0, 1, 2, 1]
    assert record.counts("y", writes=True).tolist() == [1] * 5
    assert (record.count("x"), record.count("x", True), record.count("y")) == (10, 0, 0)
    assert record.launches == [("neighbours", 2, 3, 2)]
    with pytest.raises(ValueError, match="no kernel had an array 'z', only x, y"):
        record.counts("z")


@needs_simulator
def test_shared_memory_barriers_and_slices_are_noted():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    result, record = recorded(through_a_tile, 1, (3, 2), x, np.zeros_like(x))
    assert result.tolist() == [[3] * 3, [12] * 3]
    written, read = record.accesses("shared 0", writes=True), record.accesses("shared 0")
    assert sorted(written.element) == list(range(6)) and not written.phase.any()
    assert len(read.element) == 18 and (read.phase == 1).all()
    assert record.counts("shared 0").tolist() == [[3] * 3] * 2
    # After a barrier the last thread goes first.
    assert read.thread[0] == 5 and read.element[:3].tolist() == [3, 4, 5]


def rows(x, y):
    j, i = cuda.grid(2)
    y[i, j] = x[i, j]


def columns(x, y):
    i, j = cuda.grid(2)
    y[i, j] = x[i, j]


@needs_simulator
@pytest.mark.parametrize(("kernel", "sectors"), [(rows, 32), (columns, 128)])
def test_a_warp_moves_whole_sectors(kernel, sectors):
    x = np.zeros((16, 16), np.float32)
    _, record = recorded(kernel, (1, 8), (16, 2), x, x)
    assert record.sectors("x") == record.sectors("y", writes=True) == sectors
    assert record.sectors("x", numbers=1) == 256


@needs_simulator
def test_launches_alone_can_be_noted_and_nothing_outside():
    x, y = np.arange(6, dtype=np.float32), np.zeros(5, np.float32)
    _, record = recorded(neighbours, 2, 3, x, y, accesses=False)
    assert len(record.launches) == 1 and not record.shapes
    cuda.jit(neighbours)[2, 3](cuda.to_device(x), cuda.to_device(y))
    assert len(record.launches) == 1
