"""Which kernels compute, and what somebody is told who asks for a GPU that is not there."""

import sys
import warnings
from types import ModuleType, SimpleNamespace

import numba
import pytest

from convlib import kernels, layers, models
from convlib.kernels import get_backend

pytestmark = pytest.mark.skipif(
    bool(numba.config.ENABLE_CUDASIM), reason="the simulator stands for a GPU"
)


@pytest.fixture
def machine(monkeypatch):
    """A machine whose packages and driver are as a test says."""

    def pretend(installed=True, driver=None, nvvm="13.5.37"):
        find_spec, version = kernels.importlib.util.find_spec, kernels.importlib.metadata.version
        monkeypatch.setattr(
            kernels.importlib.util,
            "find_spec",
            lambda name: installed or None if name == "numba_cuda" else find_spec(name),
        )
        monkeypatch.setattr(
            kernels.importlib.metadata,
            "version",
            lambda name: nvvm if name == "nvidia-nvvm" else version(name),
        )
        module = ModuleType("numba.cuda.cudadrv.driver")
        module.driver = driver
        monkeypatch.setitem(sys.modules, "numba.cuda.cudadrv.driver", module)

    monkeypatch.delenv("CONVLIB_BACKEND", raising=False)
    for function in (kernels._gpu_can_be_used, kernels._problem_with_gpu):
        function.cache_clear()
    yield pretend
    for function in (kernels._gpu_can_be_used, kernels._problem_with_gpu):
        function.cache_clear()


def driver(available=True, error="", version=(13, 1), devices=1):
    return SimpleNamespace(
        is_available=available,
        initialization_error=error,
        get_version=lambda: version,
        get_device_count=lambda: devices,
    )


LACKS = {
    "packages": (dict(installed=False), "numba-cuda is not installed; .* 'convlib\\[cuda\\]'"),
    "driver": (
        dict(driver=driver(False, "\nCUDA driver library\n cannot be found.\n")),
        r"no NVIDIA driver could be used \(CUDA driver library cannot be found.\); install one",
    ),
    "newer driver": (
        dict(driver=driver(version=(12, 4))),
        "the NVIDIA driver is made for CUDA 12.4 and the installed packages need CUDA 13; update",
    ),
    "GPU": (dict(driver=driver(devices=0)), "the driver sees no GPU; check nvidia-smi"),
}


@pytest.mark.parametrize("lack", LACKS)
def test_asking_for_a_gpu_in_vain_says_what_to_do(lack, machine):
    facts, sentence = LACKS[lack]
    machine(**facts)
    with pytest.raises(RuntimeError, match=sentence) as refusal:
        get_backend("cuda")
    assert str(refusal.value).count("\n") == 0 and "backend='cpu'" in str(refusal.value)


@pytest.mark.parametrize("lack", ["driver", "newer driver", "GPU"])
def test_auto_falls_back_and_says_so_once(lack, machine):
    facts, sentence = LACKS[lack]
    machine(**facts)
    with pytest.warns(UserWarning, match=f"convlib computes on the CPU: .*{sentence}"):
        assert get_backend("auto").__name__ == "convlib.kernels.cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get_backend("auto").__name__ == "convlib.kernels.cpu"


def test_auto_is_quiet_where_nobody_asked_for_a_gpu(machine):
    machine(installed=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get_backend("auto").__name__ == "convlib.kernels.cpu"


def test_a_usable_gpu_is_taken(machine):
    machine(driver=driver())
    assert kernels._gpu_can_be_used()
    assert kernels._automatic() == "cuda"


def test_packages_that_pip_does_not_know_are_trusted(machine, monkeypatch):
    machine(driver=driver(version=(12, 4)))

    def unknown(name):
        raise kernels.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(kernels.importlib.metadata, "version", unknown)
    assert kernels._problem_with_gpu() is None


def test_the_environment_decides_for_auto(machine, monkeypatch):
    machine(driver=driver())
    monkeypatch.setenv("CONVLIB_BACKEND", "reference")
    assert get_backend("auto").__name__ == "convlib.kernels.reference"
    monkeypatch.setenv("CONVLIB_BACKEND", "gpu")
    with pytest.raises(ValueError, match="CONVLIB_BACKEND must be one of 'auto', 'cpu'"):
        get_backend("auto")


def test_a_model_that_cannot_have_its_gpu_says_so_when_it_is_compiled(machine):
    machine(installed=False)
    model = models.Sequential([layers.Dense(2, input_shape=(3,))])
    with pytest.raises(RuntimeError, match="backend='cuda' cannot be used"):
        model.compile(loss="mean_squared_error", backend="cuda")
