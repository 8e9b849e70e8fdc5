"""Plans: steps laid out in memory once, then run batch after batch without allocating.

A plan gives every step of a network its arrays. Where a step may write over its input it does; a
batch smaller than the plan uses the leading part of the same arrays.
"""

import math
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from convlib.base import Layer, Step, Work
from convlib.kernels import memory
from convlib.losses import Loss

_CACHE_LINE = 64  # bytes


class Parameters:
    """The trainable weights of some layers as one vector, and their gradients as another.

    The layers' weights become views of ``values``, each from the beginning of a cache line; the
    few elements between them stay zero.

    Attributes
    ----------
    values, gradients : (parameters,) arrays
    gradients_of : dict
        For each layer with trainable weights, the views of ``gradients`` that belong to them.
    """

    def __init__(self, layers: Sequence[Layer], dtype: str, kernels: ModuleType):
        weights = _trainable(layers)
        line = _CACHE_LINE // np.dtype(dtype).itemsize
        offsets = [0]
        for layer, name in weights:
            offsets.append(offsets[-1] + -(-getattr(layer, name).size // line) * line)
        self.values, self.gradients = (
            kernels.memory.zeros((offsets[-1],), dtype) for _ in range(2)
        )
        self.gradients_of: dict[Layer, list[np.ndarray]] = {}
        self._trainable, self._views = weights, []
        for (layer, name), start in zip(weights, offsets, strict=False):
            weight = getattr(layer, name)
            place = slice(start, start + weight.size)
            view = self.values[place].reshape(weight.shape)
            memory.write(view, memory.to_host(weight))
            setattr(layer, name, view)
            self._views.append(view)
            gradient = self.gradients[place].reshape(weight.shape)
            self.gradients_of.setdefault(layer, []).append(gradient)

    def are_current(self, layers: Sequence[Layer]) -> bool:
        """Whether these are the layers' trainable weights.

        Another model may have taken the weights over, and ``trainable`` may have changed.
        """
        weights = _trainable(layers)
        return weights == self._trainable and all(
            getattr(layer, name) is view
            for (layer, name), view in zip(weights, self._views, strict=True)
        )


def _trainable(layers):
    return [(layer, name) for layer in layers for name in layer.trainable_names]


class Plan:
    """A chain of steps and all the memory that it needs for one batch.

    With ``parameters`` to train, the plan's `scratch` postpones sums: after `backward_from_loss`
    the gradients are complete only when an optimizer has got the scratch.

    Parameters
    ----------
    steps : sequence of Step
    input_shape : tuple of int
        Of one sample.
    batch_size : int
        The largest number of samples that will come at once.
    kernels : module
        The backend.
    dtype : str
    parameters : Parameters, optional
        The weights to train; None if `backward` will not be called for them.
    loss : Loss, optional
    input_gradient : bool, default False
        Whether `backward` goes on to the gradient of the input.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        input_shape: tuple[int, ...],
        batch_size: int,
        kernels: ModuleType,
        dtype: str,
        parameters: Parameters | None = None,
        loss: Loss | None = None,
        input_gradient: bool = False,
    ):
        self.batch_size = batch_size
        self.kernels, self._steps, self._dtype, self._loss = kernels, steps, dtype, loss
        self.scratch = kernels.memory.Scratch(postpones_sums=parameters is not None)
        self._gradients_of = parameters.gradients_of if parameters else {}
        trained = [place for place, step in enumerate(steps) if step.owner in self._gradients_of]
        # Backward ends at the first step with something to learn, unless the input's own
        # gradient is wanted.
        self._first = 0 if input_gradient else (trained or [len(steps)])[0]
        self._input_gradient = input_gradient
        self._keeps = input_gradient or bool(trained)

        self._shapes = [tuple(input_shape)]
        for step in steps:
            self._shapes.append(step.compute_output_shape((None, *self._shapes[-1]))[1:])
        self._values = self._place_values()
        self._gradients = self._place_gradients()
        self._saved = [
            {
                name: kernels.memory.empty(self._sized(shape), own or dtype)
                for name, (shape, own) in step.saved((None, *before)).items()
            }
            for step, before in zip(steps, self._shapes, strict=False)
        ]
        if loss:
            outputs = math.prod(self._shapes[-1])
            self._target = kernels.memory.empty((batch_size, outputs), dtype)
            self._losses = kernels.memory.empty((batch_size,), dtype)
            self._loss_saved = {
                name: kernels.memory.empty(self._sized(shape), own or dtype)
                for name, (shape, own) in loss.saved((None, outputs)).items()
            }
        self._bound, self._targets = {}, {}

    # Memory

    def _sized(self, shape):
        return tuple(self.batch_size if size is None else size for size in shape)

    def _alternating(self):
        """Return a function that gives memory for a shape, valid until the next call but one."""
        size = self.batch_size * max(math.prod(shape) for shape in self._shapes)
        blocks = [self.kernels.memory.empty((size,), self._dtype) for _ in range(2)]

        def take(shape):
            blocks.reverse()
            full = (self.batch_size, *shape)
            return blocks[0][: math.prod(full)].reshape(full)

        return take

    def _fresh(self, shape):
        return self.kernels.memory.empty((self.batch_size, *shape), self._dtype)

    def _place_values(self):
        """Return the array of the input and of every step's output."""
        take = self._fresh if self._keeps else self._alternating()
        values, writable = [take(self._shapes[0])], True
        for step, shape in zip(self._steps, self._shapes[1:], strict=True):
            if step.is_view:
                values.append(values[-1].reshape(-1, *shape))
                continue
            if step.overwrites_input and writable:
                values.append(values[-1])
            else:
                values.append(take(shape))
            writable = not (self._keeps and step.needs_output)
        return values

    def _place_gradients(self):
        """Return the array of the gradient of each value, None for those that nobody needs."""
        gradients = [None] * len(self._values)
        if not self._keeps:
            return gradients
        # A gradient is read by one step only, so that two blocks of memory do for all.
        take = self._alternating()
        gradients[-1] = take(self._shapes[-1])
        last = 0 if self._input_gradient else self._first + 1
        for place in range(len(self._steps) - 1, last - 1, -1):
            step, shape = self._steps[place], self._shapes[place]
            if step.is_view or step.overwrites_gradient:
                gradients[place] = gradients[place + 1].reshape(-1, *shape)
            else:
                gradients[place] = take(shape)
        return gradients

    def _bind(self, samples: int) -> "_Bound":
        """Return the arrays' leading parts for so many samples; made once for each number."""
        if samples not in self._bound:
            self._bound[samples] = _Bound(self, samples)
        return self._bound[samples]

    # Running

    def load(self, x: np.ndarray, start: int, stop: int, order: np.ndarray | None = None) -> int:
        """Copy the samples from ``start`` to ``stop`` into the plan and return their number.

        Parameters
        ----------
        x : array (samples, ...)
            In the backend's memory if there is an ``order``, else anywhere.
        start, stop : int
            Places in ``order`` if that is given, else in ``x``. ``stop`` may lie beyond the end.
        order : array of int64, optional
            In the backend's memory.
        """
        samples = min(stop, len(x)) - start
        target = self._bind(samples).values[0]
        if order is None:
            memory.write(target, x[start : start + samples])
        else:
            self.kernels.gather(x, order[start : start + samples], target)
        return samples

    def prepare(self, samples: int) -> None:
        """Let the steps place what is new in this step of training, before `forward`."""
        for step, _, _, work in self._bind(samples).forward:
            step.prepare(work)

    def forward(self, samples: int, training: bool) -> np.ndarray:
        """Run all steps on what was loaded and return the last one's output."""
        bound = self._bind(samples)
        for step, x, y, work in bound.forward:
            step.forward(x, y, work, training)
        return bound.values[-1]

    def each_output(self, samples: int):
        """Run the steps in inference mode, yielding after each its output, valid until the next."""
        for step, x, y, work in self._bind(samples).forward:
            step.forward(x, y, work, False)
            yield y

    def load_targets(
        self, y: np.ndarray, start: int, stop: int, order: np.ndarray | None = None
    ) -> None:
        """Say what the outputs of the samples that were loaded should be.

        Parameters
        ----------
        y : array (samples,) of int64, or (samples, outputs)
            As `Loss.wanted` returned it, in the backend's memory.
        start, stop, order
            As for `load`.
        """
        bound = self._bind(min(stop, len(y)) - start)
        # They come to lie in memory of the plan in any case: a step that is replayed looks there.
        rows, places = self._chosen(y, bound.samples), slice(start, start + bound.samples)
        if order is None:
            self.kernels.memory.copy(y[places], rows)
        else:
            self.kernels.gather(y, order[places], rows)
        bound.target = self._loss.encode(rows, bound.target_buffer, bound.loss_work)

    def _chosen(self, y, samples):
        """Return memory for the targets of a batch."""
        key = samples, *y.shape[1:], y.dtype
        if key not in self._targets:
            self._targets[key] = self.kernels.memory.empty((samples, *y.shape[1:]), y.dtype)
        return self._targets[key]

    def losses(self, samples: int) -> np.ndarray:
        """Return the loss of each sample, after `forward` and `load_targets`."""
        bound = self._bind(samples)
        self._loss.forward(bound.output, bound.target, bound.losses, bound.loss_work)
        return bound.losses

    def results(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the losses of so many samples are, and what the model predicted for them."""
        bound = self._bind(samples)
        prediction = self._loss.prediction(bound.output, bound.loss_work)
        return bound.losses, prediction.reshape(bound.values[-1].shape)

    def backward_from_loss(self, samples: int) -> None:
        """Write the gradients of the mean loss, after `losses`."""
        bound = self._bind(samples)
        if bound.output_gradient is not None:
            self._loss.backward(
                bound.output, bound.target, bound.output_gradient, 1 / samples, bound.loss_work
            )
            self._backward(bound)

    def backward_from(self, dy: np.ndarray) -> np.ndarray | None:
        """Send the gradient of the output back, after `forward`; return that of the input."""
        bound = self._bind(len(dy))
        memory.write(bound.gradients[-1], dy)
        self._backward(bound)
        return bound.gradients[0]

    def _backward(self, bound):
        self.scratch.forget_sums()
        for step, x, y, dy, dx, work in bound.backward:
            step.backward(x, y, dy, dx, work)

    def commit(self, samples: int) -> None:
        """Let the steps keep what else this training batch taught them."""
        for step, _, _, work in self._bind(samples).forward:
            step.commit(work)


class _Bound:
    """The arrays of a plan for one number of samples, ready to be handed to the steps."""

    def __init__(self, plan: Plan, samples: int):
        self.samples = samples

        def leading(arrays):
            # The same array stays the same object, so that a step sees that it works in place.
            views = {id(array): array[:samples] for array in arrays if array is not None}
            return [None if array is None else views[id(array)] for array in arrays]

        def leading_saved(step_saved, arrays):
            return {
                name: array[:samples] if step_saved[name][0][0] is None else array
                for name, array in arrays.items()
            }

        self.values, self.gradients = leading(plan._values), leading(plan._gradients)
        kernels, scratch = plan.kernels, plan.scratch
        works = [
            Work(
                kernels,
                scratch,
                leading_saved(step.saved((None, *shape)), saved),
                plan._gradients_of.get(step.owner),
            )
            for step, shape, saved in zip(plan._steps, plan._shapes, plan._saved, strict=False)
        ]
        self.forward = list(zip(plan._steps, self.values[:-1], self.values[1:], works, strict=True))
        self.backward = [
            (step, x, y, self.gradients[place + 1], self.gradients[place], works[place])
            for place, (step, x, y, _) in reversed(list(enumerate(self.forward)))
            if plan._keeps and place >= plan._first
        ]
        if plan._loss:
            rows = (samples, -1)
            self.output = self.values[-1].reshape(rows)
            gradient = self.gradients[-1]
            self.output_gradient = None if gradient is None else gradient.reshape(rows)
            self.target_buffer, self.losses = plan._target[:samples], plan._losses[:samples]
            shapes = plan._loss.saved((None, plan._target.shape[1]))
            self.loss_work = Work(kernels, scratch, leading_saved(shapes, plan._loss_saved))
