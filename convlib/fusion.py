"""The table of fusions: which neighbouring steps become one.

A fused step computes what its parts compute, up to rounding, in fewer passes over memory or more
accurately. The loss counts as the last step. A new fusion is one more row of `FUSIONS`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from convlib.layers import Conv2D, Dense, MaxPooling2D, ReLU, Softmax, Step
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


class ConvolutionReluMaxPooling(Step):
    """Convolution, ReLU and max-pooling: only winners are stored, with a byte for the way back."""

    def __init__(self, convolution: Conv2D, relu: ReLU, pooling: MaxPooling2D):
        self.owner, self._pooling = convolution, pooling
        self._arguments = pooling.pool_size, *convolution._arguments

    def compute_output_shape(self, input_shape):  # noqa: D102
        return self._pooling.compute_output_shape(self.owner.compute_output_shape(input_shape))

    def saved(self, input_shape):  # noqa: D102
        return {"code": (self.compute_output_shape(input_shape), np.uint8)}

    def forward(self, x, y, work, training):  # noqa: D102
        weights, code = (self.owner.kernel, self.owner.bias), work.saved["code"]
        work.kernels.conv2d_relu_max_pool2d_forward(
            x, *weights, y, code, *self._arguments, work.scratch
        )

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        kernels, code = work.kernels, work.saved["code"]
        if work.gradients:
            dw, db = (*work.gradients, None)[:2]
            kernels.conv2d_relu_max_pool2d_backward_params(
                x, dy, code, dw, db, *self._arguments, work.scratch
            )
        if dx is not None:
            kernels.conv2d_relu_max_pool2d_backward_input(
                dy, code, self.owner.kernel, dx, *self._arguments, work.scratch
            )


class WithReLU(Step):
    """A convolution or dense layer whose kernel cuts off below zero before it stores anything."""

    needs_output = True

    def __init__(self, layer: Conv2D | Dense, relu: ReLU, kernel: str):
        self.owner, self._relu, self._kernel = layer, relu, kernel

    def compute_output_shape(self, input_shape):  # noqa: D102
        return self.owner.compute_output_shape(input_shape)

    def forward(self, x, y, work, training):  # noqa: D102
        self.owner.forward_with(getattr(work.kernels, self._kernel), x, y, work)

    def backward(self, x, y, dy, dx, work):  # noqa: D102
        # y is above zero where ReLU's input was, and nobody needs dy afterwards.
        self._relu.backward(y, y, dy, dy, work)
        self.owner.backward(x, y, dy, dx, work)


def _is_plain_relu(step) -> bool:
    return isinstance(step, ReLU) and (step.max_value, step.negative_slope, step.threshold) == (
        None,
        0,
        0,
    )


def _is_pooling_in_blocks(step) -> bool:
    return (
        isinstance(step, MaxPooling2D)
        and step.padding == "valid"
        and step.strides == step.pool_size
        and math.prod(step.pool_size) <= 255
    )


def _is_class_loss_of_probabilities(step) -> bool:
    kinds = CategoricalCrossentropy, SparseCategoricalCrossentropy
    return isinstance(step, kinds) and not step.from_logits


FUSIONS = [
    Fusion(
        pattern=(lambda step: isinstance(step, Conv2D), _is_plain_relu, _is_pooling_in_blocks),
        combine=ConvolutionReluMaxPooling,
    ),
    Fusion(
        pattern=(lambda step: isinstance(step, Conv2D), _is_plain_relu),
        combine=partial(WithReLU, kernel="conv2d_relu_forward"),
    ),
    Fusion(
        pattern=(lambda step: isinstance(step, Dense), _is_plain_relu),
        combine=partial(WithReLU, kernel="dense_relu_forward"),
    ),
    Fusion(
        pattern=(lambda step: isinstance(step, Softmax), _is_class_loss_of_probabilities),
        combine=SoftmaxCrossEntropy,
    ),
]
