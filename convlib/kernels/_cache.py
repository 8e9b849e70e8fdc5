"""Where compiled kernels are kept on disk."""

import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numba

_PACKAGE = Path(__file__).resolve().parent.parent
_WITH_KERNELS = ("kernels/cpu", "datasets")


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
            return directory
    except OSError:
        # A shared, predictable folder could hold somebody else's code: take a private one.
        return Path(tempfile.mkdtemp(prefix="convlib-"))


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
