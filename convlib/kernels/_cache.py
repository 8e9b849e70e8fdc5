"""Where compiled kernels are kept on disk."""

import hashlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numba

try:
    import fcntl
except ImportError:  # Windows, which protects open files by itself
    fcntl = None

_PACKAGE = Path(__file__).resolve().parent.parent
_WITH_KERNELS = ("kernels/cpu", "kernels/cuda", "datasets")
_DAYS_KEPT = 30
_MARK = "in use"  # a file that every process holds open in the directory of its kernels


def cache_folder() -> Path:
    """Return the user's folder for what convlib keeps on disk: kernels and downloads.

    That is below ``CONVLIB_CACHE`` if this environment variable is set, else below the place that
    the operating system provides for such files.
    """
    if os.environ.get("CONVLIB_CACHE"):
        base = Path(os.environ["CONVLIB_CACHE"])
    elif platform.system() == "Windows":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif platform.system() == "Darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "convlib"


@cache
def cache_directory() -> Path:
    """Return the directory for compiled kernels, which carries a hash of convlib's sources.

    Numba notices that a cached function's own file has changed, but not that a helper in another
    file has, and would go on running the old code. A new directory for every state of the sources
    makes that impossible.
    """
    vectors = os.environ.get("CONVLIB_VECTOR_BITS", "")
    stamp = hashlib.sha256(f"{numba.__version__} {sys.version} {vectors}".encode())
    for folder in _WITH_KERNELS:
        for path in sorted((_PACKAGE / folder).rglob("*.py")):
            stamp.update(path.read_bytes())
    name = f"kernels-{stamp.hexdigest()[:16]}"
    directory = cache_folder() / name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        _hold(directory)
        _remove_unused(directory)
        return directory
    except OSError:
        # A shared, predictable folder could hold somebody else's code: take a private one.
        return Path(tempfile.mkdtemp(prefix="convlib-"))


_held = []


def _hold(directory: Path) -> None:
    """Note that the directory was used today, and that it is in use until this process ends."""
    os.utime(directory)
    mark = open(directory / _MARK, "ab")  # noqa: SIM115, closed when the process ends
    _held.append(mark)
    if fcntl:
        # Where files cannot be locked, nobody can lock them to remove them either.
        with suppress(OSError):
            fcntl.flock(mark, fcntl.LOCK_SH)


def _remove_unused(current: Path) -> None:
    """Remove the directories of former sources that nobody has used for a month."""
    oldest = time.time() - _DAYS_KEPT * 24 * 3600
    for directory in current.parent.glob("kernels-*"):
        try:
            if directory != current and directory.stat().st_mtime < oldest:
                _remove(directory)
        except OSError:
            continue  # in use, somebody else's, or being removed by another process
    for directory in current.parent.glob("removed-*"):
        shutil.rmtree(directory, ignore_errors=True)


def _remove(directory: Path) -> None:
    """Remove a directory, or raise OSError if a process is using it."""
    with open(directory / _MARK, "ab") as mark:
        if fcntl:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Windows refuses to rename a directory while a file in it is open.
    directory.rename(directory.with_name(f"removed-{directory.name}"))


@contextmanager
def stamped_cache() -> Iterator[None]:
    """Let functions that are decorated with ``cache=True`` inside use `cache_directory`.

    Numba reads the setting when a function is decorated, so it is put back afterwards and other
    people's functions keep their own cache.
    """
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_directory())
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before
