"""Work memory that grows to what a kernel needs and is then reused."""

from math import prod

import numpy as np

_REMEMBERED = 256  # different requests: more than the steps of a network make


class Scratch:
    """Work memory for kernels, owned by whoever calls them.

    One block of bytes is handed out again and again: what `take` returned is valid until the
    next `take`. A training loop owns one `Scratch`, so that only its first step allocates.
    Two calls that run at the same time need two of them.
    """

    def __init__(self):
        self._bytes = None
        self._arrays: dict[tuple, list[np.ndarray]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held, all of which stay held."""
        return 0 if self._bytes is None else self._bytes.nbytes

    def take(self, *requests: tuple[tuple[int, ...], type]) -> list[np.ndarray]:
        """Return one uninitialised array for each ``(shape, dtype)``, aligned to 64 bytes.

        All of an operation's arrays are taken in one call; the next call reuses their memory. To
        ask for the same again, as a training loop does, gives the same arrays and costs little.
        """
        arrays = self._arrays.get(requests)
        if arrays is None:
            arrays = self._place(requests)
            if len(self._arrays) == _REMEMBERED:
                self._arrays.clear()
            self._arrays[requests] = arrays
        return list(arrays)

    def _place(self, requests):
        offsets, end = [], 0
        for shape, dtype in requests:
            offsets.append(end)
            end += -(-prod(shape) * np.dtype(dtype).itemsize // 64) * 64
        if self._bytes is None or end > self._bytes.nbytes:
            self._bytes = self._allocate(max(end, 64))
            self._arrays.clear()  # they hold the old memory
        return [
            self._view(shape, dtype, offset)
            for offset, (shape, dtype) in zip(offsets, requests, strict=True)
        ]

    def _allocate(self, nbytes):
        memory = np.empty(nbytes + 64, np.uint8)
        start = -memory.ctypes.data % 64
        return memory[start : start + nbytes]

    def _view(self, shape, dtype, offset):
        return np.ndarray(shape, dtype, self._bytes.data, offset)
