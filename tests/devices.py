"""Which backends are under test in this process, and where they keep their arrays.

``CONVLIB_TEST_BACKENDS=cuda`` asks for the GPU's kernels alone: on a GPU, or in the simulator where
``NUMBA_ENABLE_CUDASIM=1`` is set as well. Numba reads that when it is imported, so it needs a
process of its own; `test_cuda_in_the_simulator` starts one.
"""

import os

import numba
import numpy as np

from convlib.kernels.scratch import Scratch

if numba.config.ENABLE_CUDASIM:
    from convlib.notebook import simulator

    simulator.install()

BACKENDS = os.environ.get("CONVLIB_TEST_BACKENDS", "cpu,reference").split(",")


class Host:
    """Arrays stay where they are."""

    Scratch = Scratch
    moves, postpones = False, True

    @staticmethod
    def upload(array):
        return array

    @staticmethod
    def download(array, into):
        assert array is into

    @staticmethod
    def poison(block):
        block.fill(0xFF)


class Device:
    """Arrays are copied to the device and back."""

    moves, postpones = True, False

    def __init__(self):
        from convlib.kernels.cuda import _device

        self.upload = _device.to_device
        self.Scratch = _device.DeviceScratch

    @staticmethod
    def download(array, into):
        array.copy_to_host(into)

    @staticmethod
    def poison(block):
        block.copy_to_device(np.full(block.shape, 0xFF, np.uint8))


def device_of(backend):
    """Return what moves arrays to where a backend wants them."""
    return Device() if backend.__name__.endswith(".cuda") else Host()
