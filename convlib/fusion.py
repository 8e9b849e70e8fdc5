"""The table of fusions: which neighbouring steps become one.

A fused step computes what its parts compute, up to rounding, in fewer passes over memory or more
accurately. The loss counts as the last step. A new fusion is one more row of `FUSIONS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convlib.layers import Softmax
from convlib.losses import CategoricalCrossentropy, Loss, SparseCategoricalCrossentropy


@dataclass(frozen=True)
class Fusion:
    """One row of the table.

    Attributes
    ----------
    pattern : tuple of functions
        One for each neighbouring step: whether it fits in that place.
    combine : function
        Takes the steps and returns the one that replaces them.
    """

    pattern: tuple[Callable[[object], bool], ...]
    combine: Callable[..., object]

    def matches(self, steps: Sequence) -> bool:
        """Whether exactly these steps can be fused."""
        return len(steps) == len(self.pattern) and all(
            fits(step) for fits, step in zip(self.pattern, steps, strict=True)
        )


def fuse(steps: Sequence) -> list:
    """Return the steps with every run that a row of the table matches replaced, first row first."""
    fused, place = [], 0
    while place < len(steps):
        for fusion in FUSIONS:
            run = steps[place : place + len(fusion.pattern)]
            if fusion.matches(run):
                fused.append(fusion.combine(*run))
                place += len(run)
                break
        else:
            fused.append(steps[place])
            place += 1
    return fused


class SoftmaxCrossEntropy(Loss):
    """Softmax and a categorical cross-entropy: the derivative is just ``softmax(x) − target``."""

    def __init__(self, softmax: Softmax, loss: Loss):
        self.check_output, self.targets, self.encode = loss.check_output, loss.targets, loss.encode

    def saved(self, output_shape):  # noqa: D102
        return {"probabilities": (output_shape, None)}

    def prediction(self, x, work):
        """Return the probabilities: they, not the logits, are what the model predicts."""
        return work.saved["probabilities"]

    def forward(self, x, target, losses, work):  # noqa: D102
        probabilities = work.saved["probabilities"]
        work.kernels.softmax_cross_entropy_forward(x, target, losses, probabilities)

    def backward(self, x, target, dx, scale, work):  # noqa: D102
        probabilities = work.saved["probabilities"]
        work.kernels.softmax_cross_entropy_backward(probabilities, target, dx, scale)


def _is_class_loss_of_probabilities(step) -> bool:
    kinds = CategoricalCrossentropy, SparseCategoricalCrossentropy
    return isinstance(step, kinds) and not step.from_logits


FUSIONS = [
    Fusion(
        pattern=(lambda step: isinstance(step, Softmax), _is_class_loss_of_probabilities),
        combine=SoftmaxCrossEntropy,
    ),
]
