"""Work memory that grows to what a kernel needs and is then reused."""

from math import prod

import numpy as np


class Scratch:
    """Work memory for kernels, owned by whoever calls them.

    One block of bytes is handed out again and again: what `take` returned is valid until the
    next `take`. A training loop owns one `Scratch`, so that only its first step allocates.
    Two calls that run at the same time need two of them.
    """

    def __init__(self):
        self._bytes = np.empty(0, np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes held, all of which stay held."""
        return self._bytes.nbytes

    def take(self, *requests: tuple[tuple[int, ...], type]) -> list[np.ndarray]:
        """Return one uninitialised array for each ``(shape, dtype)``, aligned to 64 bytes.

        All of an operation's arrays are taken in one call; the next call reuses their memory.
        """
        offsets, end = [], 0
        for shape, dtype in requests:
            offsets.append(end)
            end += -(-prod(shape) * np.dtype(dtype).itemsize // 64) * 64
        if end + 64 > self._bytes.nbytes:
            self._bytes = np.empty(end + 64, np.uint8)
        start = -self._bytes.ctypes.data % 64
        return [
            np.ndarray(shape, dtype, self._bytes.data, start + offset)
            for offset, (shape, dtype) in zip(offsets, requests, strict=True)
        ]
