"""Wrong answers to the exercises of chapter 0, and the hints they get."""

import subprocess
import sys

import numba
import numpy as np
import pytest

from convlib.notebook.checks import start_here as checks


def test_the_set_up_works_here():
    assert checks.check_set_up()


def test_a_broken_kernel_is_noticed(monkeypatch):
    from convlib.kernels import get_backend

    cpu = get_backend("cpu")
    right = cpu.conv2d_forward

    def wrong(x, w, b, y, *others):
        right(x, w, b, y, *others)
        y += 1

    monkeypatch.setattr(cpu, "conv2d_forward", wrong)
    assert "does not agree" in repr(checks.check_set_up())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    result = checks.check_set_up()
    assert not result and "anywidget" in repr(result)


def described(monkeypatch, gpus="", packages=()):
    """Return the lines about the set-up, by their first word, on a machine with these GPUs."""

    def answer(command, **options):
        assert command[0].endswith("nvidia-smi") and options["timeout"] > 0
        if gpus is None:
            raise subprocess.CalledProcessError(9, command)
        return subprocess.CompletedProcess(command, 0, stdout=gpus)

    monkeypatch.setattr(checks.shutil, "which", lambda name: f"/bin/{name}" if gpus != "" else None)
    monkeypatch.setattr(checks.subprocess, "run", answer)
    monkeypatch.setattr(checks, "_is_installed", lambda name: name in packages)
    lines = checks.describe_set_up().splitlines()
    assert all(len(line) <= 100 for line in lines)
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


def test_versions_threads_and_vectors_are_those_of_this_process(monkeypatch):
    lines = described(monkeypatch)
    assert lines["Python"] == sys.version.split()[0]
    assert lines["NumPy"] == np.__version__ and lines["Numba"] == numba.__version__
    assert lines["threads"].startswith(f"{numba.get_num_threads()} ")


CODE_THAT_DESCRIBES = """
from convlib.notebook.checks import start_here as checks
print(checks.describe_set_up())
"""


def test_narrower_vectors_hold_fewer_numbers():
    printed = subprocess.run(
        [sys.executable, "-c", CODE_THAT_DESCRIBES],
        env={**checks.os.environ, "CONVLIB_VECTOR_BITS": "128"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.split("vectors")[1].split()[0] == "4"


@pytest.mark.parametrize(
    ("gpus", "packages", "expected"),
    [
        ("", (), "none found, and no chapter needs one"),
        ("", ("numba_cuda", "convlib.kernels.cuda"), "none found, and no chapter needs one"),
        (None, (), "none found"),
        ("\n", (), "none found"),
        ("NVIDIA T4\n", ("convlib.kernels.cuda",), "NVIDIA T4, not used: numba-cuda is not inst"),
        ("NVIDIA T4\n", ("numba_cuda",), "NVIDIA T4, not used by this version of convlib"),
        ("A\nB\n", ("numba_cuda", "convlib.kernels.cuda"), "A; B, used by backend='cuda'"),
    ],
)
def test_the_gpu_is_described_without_asking_cuda(monkeypatch, gpus, packages, expected):
    assert described(monkeypatch, gpus, packages)["GPU"].startswith(expected)


def test_a_driver_that_hangs_is_no_gpu(monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(checks.shutil, "which", lambda name: name)
    monkeypatch.setattr(checks.subprocess, "run", hang)
    assert "none found" in checks.describe_set_up()


def test_describing_does_not_load_cuda():
    code = CODE_THAT_DESCRIBES + (
        "import sys\n"
        "assert 'numba.cuda.cudadrv.driver' not in sys.modules\n"
        "assert 'numba.cuda' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_where_compiled_kernels_are_kept(monkeypatch, tmp_path):
    folder = tmp_path / "convlib"
    monkeypatch.setattr(checks, "cache_folder", lambda: folder)
    monkeypatch.setattr(checks, "cache_directory", lambda: folder / "kernels-0123")
    assert described(monkeypatch)["kernels"] == f"kept in {folder}"
    # What the library does where it may not write: it takes a folder that is gone next time.
    monkeypatch.setattr(checks, "cache_directory", lambda: tmp_path / "convlib-x")
    line = described(monkeypatch)["kernels"]
    assert line.startswith("compiled anew in every run") and "CONVLIB_CACHE" in line


@pytest.mark.parametrize(
    ("hint", "answer"),
    [
        ("product", 60_000 * 64),
        ("no half step", 60_000 / 64),
        ("last 32", 60_000 // 64),
        ("all five epochs", 938 * 5),
        ("Divide", 64),
        ("one number", "938"),
        ("Not tried", ...),
    ],
)
def test_wrong_steps(hint, answer):
    result = checks.check_steps_per_epoch(answer)
    assert not result and hint in repr(result)


def test_the_right_steps():
    assert checks.check_steps_per_epoch(938)


@pytest.fixture
def readings():
    """Return probabilities and labels of 400 digits with every kind of mistake among them."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 10, 400)
    answers = np.where(random.random(400) < 0.02 * labels + 0.1, 3, labels)
    probabilities = np.full((400, 10), 0.001 / 9)
    probabilities[np.arange(400), answers] = 0.999
    unsure = random.random(400) < np.where(answers == labels, 0.25, 0.7)
    probabilities[unsure] = 0.05
    probabilities[unsure, answers[unsure]] = 0.55
    return probabilities, labels


def test_shares_of_sure_readings(readings):
    probabilities, labels = readings
    correct = probabilities.argmax(axis=1) == labels
    sure = probabilities.max(axis=1) > 0.99
    wrong = {
        "per cent": 100 * correct[sure].mean(),
        "Divide by the sure ones": (correct & sure).mean(),
        "right or wrong": sure.mean(),
        "other way round": sure[correct].mean(),
        "share that is wrong": 1 - correct[sure].mean(),
        "all digits": correct.mean(),
        "a number of digits": (correct & sure).sum(),
        "average `correct`": 0.123,
        "Not tried": ...,
    }
    for hint, answer in wrong.items():
        result = checks.check_share_of_sure_readings(answer, probabilities, labels)
        assert not result and hint in repr(result)
    assert checks.check_share_of_sure_readings(correct[sure].mean(), probabilities, labels)


def test_the_hardest_digit(readings):
    probabilities, labels = readings
    correct = probabilities.argmax(axis=1) == labels
    shares = [correct[labels == digit].mean() for digit in range(10)]
    hardest, easiest = int(np.argmin(shares)), int(np.argmax(shares))
    assert easiest == 3
    assert checks.check_hardest_digit(hardest, probabilities, labels)
    middle = int(np.argsort(shares)[5])
    for answer, hint in (
        (easiest, "easiest"),
        (middle, "each of the ten"),
        (4.5, "whole number"),
        (12, "whole number"),
        (..., "Not tried"),
    ):
        result = checks.check_hardest_digit(answer, probabilities, labels)
        assert not result and hint in repr(result)


def test_the_digit_that_is_most_often_read_wrongly_is_another_question():
    labels = np.repeat(np.arange(10), 10)
    read = labels.copy()
    read[-4:] = 8  # four nines are read as eights: nines are hard, eights are often wrong
    probabilities = np.eye(10)[read]
    assert checks.check_hardest_digit(9, probabilities, labels)
    assert "read as this digit" in repr(checks.check_hardest_digit(8, probabilities, labels))
