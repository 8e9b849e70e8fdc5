"""Help Numba to find TBB where pip has put it.

Numba shares a parallel loop among threads through TBB, OpenMP or a pool of its own, whichever it
can load. TBB copes best when other programs want the cores too: a thread that is ready takes over
what a delayed one has not begun, where OpenMP waits. pip puts the library in the environment's own
folder, in which the system's loader does not look; once it is loaded, Numba finds it. Numba decides
at the first parallel call, for good: every package with parallel loops loads TBB before.
"""

import ctypes
from functools import cache
from importlib import metadata

LIBRARY = "libtbb.so.12"


@cache
def load_tbb() -> None:
    """Load TBB if it was installed with pip, so that Numba's first parallel call can use it."""
    try:
        files = metadata.files("tbb") or ()
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == LIBRARY:
            try:
                ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
            except OSError:
                return  # Numba will take OpenMP.
