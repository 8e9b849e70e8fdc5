"""Work memory that grows to what a kernel needs and is then reused."""

from math import prod
from typing import NamedTuple

import numpy as np

_REMEMBERED = 256  # different requests: more than the steps of a network make
_LINE = 64  # bytes: every array begins at a cache line


class PartialSums(NamedTuple):
    """Where the partial sums of a gradient lie, and where their total goes.

    The gradient is cut into ``runs`` of ``length`` elements; all numbers count elements.
    """

    target: int  # from the beginning of the vector of all gradients
    runs: int
    length: int
    source: int  # from the beginning of the memory for sums
    spacing: int  # there, from one run to the next
    parts: int
    step: int  # and from one part to the next


def partial_sums(target, sums, place, rows) -> PartialSums:
    """Return how one gradient lies in one array of sums; see `Scratch.postpone`."""
    length, spacing = rows or (target.size, target.size)
    return PartialSums(0, target.size // length, length, place, spacing, *sums.shape)


class Memory:
    """Bytes that grow to what is asked for, and the arrays that were made of them."""

    def __init__(self):
        self.bytes = None
        self._arrays: dict[tuple, list[np.ndarray]] = {}  # that lie in them
        self.known: dict[tuple, tuple] = {}  # about such arrays

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 0 if self.bytes is None else self.bytes.nbytes

    def arrays(self, requests, first: int) -> list[np.ndarray]:
        """Return an array for each ``(shape, dtype)``, the first at so many bytes.

        What lies before them is kept.
        """
        arrays = self._arrays.get((first, requests))
        if arrays is None:
            arrays = self._place(requests, first)
            if len(self._arrays) == _REMEMBERED:
                self._arrays.clear()
            self._arrays[first, requests] = arrays
        return arrays

    def _place(self, requests, first):
        offsets, end = [], first
        for shape, dtype in requests:
            offsets.append(end)
            end += _whole_lines(prod(shape) * np.dtype(dtype).itemsize)
        if self.bytes is None or end > self.bytes.nbytes:
            grown = self.allocate(max(end, _LINE))
            if first:
                grown[:first] = self.bytes[:first]
            self.bytes = grown
            # What there was lies in the old bytes.
            self._arrays.clear()
            self.known.clear()
        return [
            self.array(shape, dtype, offset)
            for offset, (shape, dtype) in zip(offsets, requests, strict=True)
        ]

    def allocate(self, nbytes: int) -> np.ndarray:
        """Return so many bytes, from the beginning of a cache line."""
        memory = np.empty(nbytes + _LINE, np.uint8)
        return memory[-memory.ctypes.data % _LINE :][:nbytes]

    def array(self, shape, dtype, offset: int) -> np.ndarray:
        """Return the array that begins at a byte."""
        return np.ndarray(shape, dtype, self.bytes.data, offset)


def _whole_lines(nbytes):
    return -(-nbytes // _LINE) * _LINE


class Scratch:
    """Work memory for kernels, owned by whoever calls them.

    One block of bytes is handed out again and again: what `take` returned is valid until the
    next `take`. A training loop owns one `Scratch`, so that only its first step allocates.
    Two calls that run at the same time need two of them.

    A second block is for the partial sums of gradients, which may outlast the call: see `postpone`.

    Parameters
    ----------
    postpones_sums : bool, default False
        Whether an operation may leave a gradient as partial sums for the optimizer to add up.
    """

    memory_kind = Memory

    def __init__(self, postpones_sums: bool = False):
        self.postpones_sums = postpones_sums
        self._work, self._sums = self.memory_kind(), self.memory_kind()
        self.forget_sums()

    @property
    def nbytes(self) -> int:
        """Bytes held, all of which stay held."""
        return self._work.nbytes + self._sums.nbytes

    def take(self, *requests: tuple[tuple[int, ...], type]) -> list[np.ndarray]:
        """Return one uninitialised array for each ``(shape, dtype)``, aligned to 64 bytes.

        All of an operation's arrays are taken in one call; the next call reuses their memory. To
        ask for the same again, as a training loop does, gives the same arrays and costs little.
        """
        return list(self._work.arrays(requests, 0))

    # Partial sums

    def take_sums(self, *requests: tuple[tuple[int, int], type]) -> list[np.ndarray]:
        """Return arrays ``(parts, size)`` for partial sums, otherwise as `take` does.

        The next call reuses their memory as well, but for what has been postponed until then.
        """
        return list(self._sums.arrays(requests, self._end))

    def postpone(self, target: np.ndarray, sums: np.ndarray, place=0, rows=None) -> None:
        """Leave it to the next optimizer to let ``target`` be the total of partial sums.

        Parameters
        ----------
        target : array
            The gradient, part of the vector that the optimizer will get.
        sums : (parts, size) array
            From `take_sums`, filled. The parts are added in their order.
        place : int, default 0
            Where within a part the gradient begins.
        rows : (length, spacing), optional
            The length of the rows in which it lies there, and how far apart these are; by default
            it lies in one piece.
        """
        # A training loop brings the same arrays in every step. They are kept with what is found out
        # about them, so that nobody else gets their identities.
        known, key = self._sums.known, (id(target), id(sums), place, rows)
        if key not in known:
            if len(known) == _REMEMBERED:
                known.clear()
            start = sums.ctypes.data - self._sums.bytes.ctypes.data
            where = partial_sums(target, sums, start // sums.itemsize + place, rows)
            end = start + _whole_lines(sums.nbytes)
            known[key] = target.ctypes.data, where, end, target, sums
        address, where, end, *_ = known[key]
        self._postponed[address] = where
        self._end = max(self._end, end)

    def postponed(self, gradients: np.ndarray) -> tuple[np.ndarray, tuple[PartialSums, ...]]:
        """Return the memory for sums and what was postponed there, and forget it.

        Parameters
        ----------
        gradients : (parameters,)
            The vector that all targets are parts of.

        Raises
        ------
        ValueError
            If a target is no part of it.
        """
        start, itemsize = gradients.ctypes.data, gradients.itemsize
        found = tuple(
            PartialSums((address - start) // itemsize, *where[1:])
            for address, where in self._postponed.items()
        )
        self.forget_sums()
        for target, runs, length, *_ in found:
            if not 0 <= target <= gradients.size - runs * length:
                raise ValueError("a postponed gradient is no part of the optimizer's vector")
        memory = self._sums.bytes if found else np.empty(0, np.uint8)
        return memory.view(gradients.dtype), found

    # Training

    def changing(self, name, value, dtype):
        """Return a number that changes from step to step as kernels are to get it: here, itself.

        On a GPU it is put where recorded steps read it, before each of them.

        Parameters
        ----------
        name : str or tuple
            One for each such number.
        value : float or int
        dtype : dtype
            Of the number on a GPU.
        """
        return value

    def repeat(self, key, settings, compute) -> bool:
        """Take a step of training that may have been taken before: here, as any other.

        Parameters
        ----------
        key : int
            The number of samples. Equal ones have the same arrays.
        settings : function
            Returns a list of whatever else decides what is computed, in a fixed order, but for
            what lies in arrays.
        compute : function
            Takes the step, and returns whether it was taken. What it computes must change arrays
            alone, and what changes from step to step must come from `changing`.

        Returns
        -------
        bool
            What ``compute`` returned; where a GPU replays the step, True.
        """
        return compute()

    def admits(self, losses: np.ndarray) -> bool:
        """Whether training may go on with a batch: whether the sum of its losses is finite."""
        return bool(np.isfinite(losses.sum(dtype=np.float64)))

    def forget_sums(self) -> None:
        """Forget what was postponed, as every step of training does when it begins.

        The step before may have been abandoned, by an exception, before its update.
        """
        self._postponed: dict[int, PartialSums] = {}  # by the targets' addresses
        self._end = 0  # of their sums, in bytes
