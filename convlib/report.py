"""What a run over batches gives: the means of the loss and of the metrics.

On the CPU each batch is looked at as soon as it is done. To look at what a GPU has computed means
to wait for it and to copy, so there losses and predictions are gathered on the device, and looked
at once in an epoch, or when somebody asks in between.
"""

import math

import numpy as np

from convlib.plan import Plan

MOST_BYTES = 1 << 26
"""Of losses and predictions that may wait on a device."""


class Report:
    """Losses and metrics of a run of batches.

    Parameters
    ----------
    plan : Plan
        What computes the batches.
    y : array (samples, ...)
        The targets, for the metrics.
    measures : sequence of Metric
        Without samples so far.
    order : array of int, optional
        In which order the samples are taken, if not as they are.

    Attributes
    ----------
    refused : int or None
        Number of the batch that training refused, because its loss or a gradient is not finite.
    assumed : int
        Steps that counted as taken until a GPU said that they were refused.
    """

    def __init__(self, plan: Plan, y: np.ndarray, measures, order: np.ndarray | None = None):
        self._plan, self._y, self._measures, self._order = plan, y, measures, order
        self._memory = plan.kernels.memory
        self._total, self._seen = 0.0, 0
        self._waiting, self._batches, self._first_batch = 0, 0, 0
        self.refused = self._buffer = None
        self.assumed = 0
        if not self._memory.IS_DEVICE:
            self._buffer = np.empty((plan.batch_size, *y.shape[1:]), y.dtype)
        else:
            losses, predictions = plan.results(plan.batch_size)
            row = losses.dtype.itemsize * (1 + math.prod(predictions.shape[1:]))
            batches = -(-len(y) // plan.batch_size)
            plan.scratch.forget_refusal()
            self._capacity = max(1, min(MOST_BYTES // (row * plan.batch_size), batches))
            samples = self._capacity * plan.batch_size
            self._losses = self._memory.empty((samples,), losses.dtype)
            self._predictions = self._memory.empty((samples, *predictions.shape[1:]), losses.dtype)
            self._refusals = self._memory.zeros((self._capacity,), np.int32)

    def add(self, samples: int, is_taken: bool = True) -> None:
        """Take in the batch of so many samples that the plan has just computed.

        ``is_taken`` says whether training went on with it, as far as that is known.
        """
        losses, predictions = self._plan.results(samples)
        if not self._memory.IS_DEVICE:
            if not is_taken and self.refused is None:
                self.refused = self._batches
            self._batches += 1
            self._look_at(losses, predictions)
            return
        if self._batches - self._first_batch == self._capacity:
            self.read()
        place, batch = self._waiting, self._batches - self._first_batch
        self._memory.copy(losses, self._losses[place : place + samples])
        self._memory.copy(predictions, self._predictions[place : place + samples])
        self._memory.copy(self._plan.scratch.refusal, self._refusals[batch : batch + 1])
        self._waiting, self._batches = place + samples, self._batches + 1

    def read(self) -> None:
        """Wait for the batches that a GPU has computed, and look at them."""
        if not self._waiting:
            return
        count, self._waiting = self._waiting, 0
        refused = np.flatnonzero(self._memory.to_host(self._refusals))
        if refused.size and self.refused is None:
            self.refused = self._first_batch + int(refused[0])
            self.assumed = self._batches - self.refused
        self._first_batch = self._batches
        losses, predictions = map(self._memory.to_host, (self._losses, self._predictions))
        self._look_at(losses[:count], predictions[:count])

    def _look_at(self, losses, predictions):
        first, last = self._seen, self._seen + len(losses)
        self._seen = last
        self._total += float(losses.sum(dtype=np.float64))
        if self._measures:
            wanted = self._targets(first, last)
            for measure in self._measures:
                measure.update_state(wanted, predictions)

    def _targets(self, first, last):
        """Return the targets of the samples from one place to another."""
        if self._order is None:
            return self._y[first:last]
        out = None if self._buffer is None else self._buffer[: last - first]
        # 'clip' only keeps NumPy from buffering: the indices are in range.
        return np.take(self._y, self._order[first:last], axis=0, out=out, mode="clip")

    def logs(self) -> dict[str, float]:
        """Return the means over all batches so far."""
        self.read()
        return {"loss": self._total / self._seen} | {m.name: m.result() for m in self._measures}
