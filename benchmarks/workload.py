"""How many operations and bytes work takes, counted from shapes alone.

A multiply-add counts as two operations, as in the machine's peak. The count is dense: multiplying
by a zero counts, whether or not a kernel skips it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


def product_flops(output_shape: Sequence[int], terms: int) -> int:
    """Return the operations of one output array, each element of which is a sum of products."""
    return 2 * math.prod(output_shape) * terms


def training_flops(forward: Sequence[int]) -> int:
    """Return the operations of a training step, given those of each layer's forward pass.

    Each of the two gradients takes as many again, but nobody needs the gradient of the images.
    """
    return 3 * sum(forward) - forward[0]


@dataclass(frozen=True)
class Convolution:
    """One convolution of the table of layers; sizes in pixels."""

    size: int  # height and width of the images
    channels: int
    filters: int
    kernel: int  # height and width
    strides: int = 1
    dilation: int = 1
    groups: int = 1  # as many as channels: depthwise
    batch: int = 8
    padding: int | None = None  # on every side; by default half the kernel, rounded down

    @property
    def margin(self) -> int:
        """Padding on every side."""
        reach = self.dilation * (self.kernel - 1)
        return reach // 2 if self.padding is None else self.padding

    @property
    def output_size(self) -> int:
        """Height and width of the output."""
        reach = self.dilation * (self.kernel - 1)
        return (self.size + 2 * self.margin - reach - 1) // self.strides + 1

    @property
    def terms(self) -> int:
        """Products in the sum of one output."""
        return self.kernel**2 * self.channels // self.groups

    @property
    def flops(self) -> int:
        """Operations of one pass: forward, input gradient and parameter gradient alike."""
        output_shape = (self.batch, self.output_size, self.output_size, self.filters)
        return product_flops(output_shape, self.terms)

    @property
    def name(self) -> str:
        """The convolution in a few words; the batch and the padding are left out."""
        parts = [f"{self.kernel}×{self.kernel}"]
        parts += [f"/{self.strides}"] if self.strides > 1 else []
        parts += [f" dilated {self.dilation}"] if self.dilation > 1 else []
        parts += [" depthwise"] if self.groups > 1 else []
        parts += [f", {self.size}×{self.size}, {self.channels} → {self.filters}"]
        return "".join(parts)
