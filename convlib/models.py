"""Models: a stack of layers that can be trained, asked, looked into, saved and loaded."""

import itertools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from convlib import base, checks, fusion, layers, losses, optimizers, storage, utils
from convlib import callbacks as callbacks_module
from convlib import metrics as metrics_module
from convlib import summary as summary_table
from convlib.kernels import get_backend, memory
from convlib.kernels.compiling import notice_compilation
from convlib.layers import Input, Layer
from convlib.plan import Parameters, Plan
from convlib.progress import Progress, checked_verbosity
from convlib.report import Report

__all__ = ["Sequential", "load_model"]

# Without a way back only the latest values are kept, so that batches may be larger than in
# training. Larger ones than these gain no more time.
_INFERENCE_BATCH = 256
_INFERENCE_ELEMENTS = 1 << 24  # of the largest layer's output: 64 MB in float32


class Sequential:
    """Layers, one after the other.

    See chapter 10, "The smallest network".

    Parameters
    ----------
    layers : sequence of Layer, optional
        May begin with an `Input`.
    name : str, default 'sequential'
    dtype : {'float32', 'float64'}, default 'float32'
        Of weights and computations; float64 is for checking gradients.

    Attributes
    ----------
    layers : list of Layer
    history : History or None
        Of the latest `fit`, also if that was interrupted.
    stop_training : bool
        A callback sets it to end `fit` after the epoch.

    Raises
    ------
    TypeError
        If something else than a layer is given.
    ValueError
        If ``dtype`` is none of these, or the layers do not fit together.

    Examples
    --------
    Two numbers, whose sum is to be learned:

    >>> import numpy as np
    >>> from convlib import layers, models, optimizers, utils
    >>> utils.set_random_seed(0)
    >>> model = models.Sequential([layers.Input((2,)), layers.Dense(1)])
    >>> model.output_shape, model.count_params()
    ((None, 1), 3)
    >>> model.compile(optimizers.SGD(learning_rate=0.5), loss="mse")
    >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> history = model.fit(x, x.sum(1), epochs=100, verbose=0)
    >>> model.predict(np.array([[1.0, 1.0]]), verbose=0).round(2).tolist()
    [[2.0]]
    """

    def __init__(
        self, layers: Sequence[Layer] | None = None, name: str = "sequential", dtype="float32"
    ):
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
        self.name, self.dtype = name, dtype
        self.layers: list[Layer] = []
        self.optimizer = self.loss = self.history = None
        self.stop_training = False
        self._metrics: list = []
        self._backend, self._fuse = "auto", True
        self._sample_shape: tuple[int, ...] | None = None
        self._forget_plans()
        for layer in layers or ():
            self.add(layer)

    def __getstate__(self):
        """Return what a copy or a pickle needs: everything but the memory of the plans."""
        return {**vars(self), "_parameters": None, "_training": None, "_inference": {}}

    # Building

    def add(self, layer: Layer | Input) -> None:
        """Put a layer on top.

        Parameters
        ----------
        layer : Layer or Input

        Raises
        ------
        TypeError
            If it is no layer.
        ValueError
            If the layer does not fit on what is there, or it or its name is there already; the
            model is not changed then.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential()
        >>> model.add(layers.Conv2D(32, (3, 3), input_shape=(28, 28, 1)))
        >>> model.add(layers.MaxPooling2D((2, 2)))
        >>> model.output_shape
        (None, 13, 13, 32)
        """
        if isinstance(layer, Input):
            if self.layers or self._sample_shape is not None:
                raise ValueError("Input must come first, and only once")
            self._sample_shape = layer.shape
            return
        if not isinstance(layer, Layer):
            hint = ""
            if isinstance(layer, type):
                hint = f"; the class itself was given, write {layer.__name__}(...)"
            raise TypeError(f"add takes a layer from convlib.layers, got {layer!r}{hint}")
        if layer in self.layers:
            raise ValueError(f"{layer.label} is in the model already; make a new layer")
        name_before, layer.name = layer.name, self._name_for(layer)
        try:
            sample_shape = self._checked_sample_shape(layer)
            if sample_shape is not None:
                self._build_layer(layer, self.output_shape or (None, *sample_shape))
        except ValueError:
            layer.name = name_before
            raise
        self._sample_shape = sample_shape
        self.layers.append(layer)
        self._forget_plans()

    def _checked_sample_shape(self, layer):
        """Return the shape of the model's samples once ``layer`` is added, None if not known."""
        given = layer.given_shape
        if given is None or given == self._sample_shape and not self.layers:
            return self._sample_shape
        if not self.layers and self._sample_shape is None:
            return given
        if self.output_shape is None and self.layers:
            raise ValueError(
                f"only the first layer of a model takes input_shape, not {layer.label}"
            )
        before = self.layers[-1].label if self.layers else "Input"
        arriving = self.output_shape[1:] if self.layers else self._sample_shape
        if given != arriving:
            raise ValueError(
                f"{layer.label} was given input_shape={given}, but {before} before it gives "
                f"{arriving}; leave input_shape out"
            )
        return self._sample_shape

    def _name_for(self, layer):
        taken = {other.name for other in self.layers}
        if layer.name is None:
            kind = type(layer).__name__.lower()
            numbered = (f"{kind}_{number}" for number in itertools.count(1))
            return next(name for name in numbered if name not in taken)
        if layer.name in taken:
            raise ValueError(f"there is a layer named {layer.name!r} in the model already")
        return layer.name

    def _build_layer(self, layer, input_shape):
        if layer.built and layer.dtype != self.dtype:
            raise ValueError(
                f"{layer.label} has weights of {layer.dtype}, the model works in {self.dtype}"
            )
        layer.dtype = self.dtype
        layer.build(input_shape)

    def pop(self) -> Layer:
        """Take the top layer off and return it.

        Returns
        -------
        Layer

        Raises
        ------
        ValueError
            If there is no layer.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Dense(3), layers.Softmax()])
        >>> model.pop().name, len(model.layers)
        ('softmax_1', 1)
        """
        if not self.layers:
            raise ValueError("there is no layer to take off")
        self._forget_plans()
        if len(self.layers) == 1:
            self._sample_shape = None
        return self.layers.pop()

    def build(self, input_shape: tuple) -> None:
        """Create the weights of a model whose first layer had no ``input_shape``.

        Parameters
        ----------
        input_shape : tuple
            Number of samples, given as None, and the shape of one, as in ``(None, 28, 28, 1)``.

        Raises
        ------
        ValueError
            If the shape does not begin with None, is another one than before, or does not suit a
            layer.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Flatten(), layers.Dense(10)])
        >>> model.build((None, 28, 28, 1))
        >>> model.output_shape
        (None, 10)
        """
        input_shape = tuple(input_shape)
        if not input_shape or input_shape[0] is not None:
            raise ValueError(
                f"input_shape must begin with None for the number of samples, got {input_shape}"
            )
        sample_shape = base.checked_shape(input_shape[1:], "input_shape")
        if self._sample_shape not in (None, sample_shape):
            raise ValueError(
                f"the model was built for samples of shape {self._sample_shape}, got {sample_shape}"
            )
        shape, fresh = (None, *sample_shape), [layer for layer in self.layers if not layer.built]
        try:
            for layer in self.layers:
                self._build_layer(layer, shape)
                shape = layer.output_shape
        except ValueError:
            # A shape that one layer refuses must not stay with those below it.
            for layer in fresh:
                layer.forget()
            raise
        self._sample_shape = sample_shape

    @property
    def built(self) -> bool:
        """Whether the shapes are known and the weights are there."""
        return bool(self.layers) and self._sample_shape is not None

    @property
    def input_shape(self) -> tuple | None:
        """Shape of the input, None first for the number of samples."""
        return None if self._sample_shape is None else (None, *self._sample_shape)

    @property
    def output_shape(self) -> tuple | None:
        """Shape of the output, None first for the number of samples."""
        return self.layers[-1].output_shape if self.layers else None

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return a layer by its name or by its place.

        Parameters
        ----------
        name : str, optional
        index : int, optional
            From 0 on, or from −1 downwards; one of the two must be given.

        Returns
        -------
        Layer

        Raises
        ------
        ValueError
            If there is no such layer, or not one of the two is given.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Dense(3), layers.Dense(2, name="last")])
        >>> model.get_layer("last").units, model.get_layer(index=0).name
        (2, 'dense_1')
        """
        if (name is None) == (index is None):
            raise ValueError("get_layer takes a name or an index, one of them")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"there are {len(self.layers)} layers, got index {index}")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = ", ".join(repr(layer.name) for layer in self.layers)
        raise ValueError(f"there is no layer named {name!r}; there are {known}")

    def _require_built(self, purpose):
        if not self.layers:
            raise ValueError(f"the model has no layers yet; add some before {purpose}")
        if not self.built:
            raise ValueError(
                f"the shape of the samples is not known yet; give the first layer "
                f"input_shape=..., or call build, before {purpose}"
            )

    # Weights

    @property
    def weights(self) -> list[np.ndarray]:
        """The weight arrays themselves, layer by layer; on a GPU if one computed last."""
        return [weight for layer in self.layers for weight in layer.weights]

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of all weights, in Keras' order and layout.

        Returns
        -------
        list of arrays
            Of the shapes that the layers' descriptions give.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Input((28, 28, 1)), layers.Conv2D(32, 3)])
        >>> [weight.shape for weight in model.get_weights()]
        [(3, 3, 1, 32), (32,)]
        """
        return [memory.to_host(weight).copy() for weight in self.weights]

    def set_weights(self, weights: Iterable) -> None:
        """Replace the values of all weights.

        Parameters
        ----------
        weights : sequence of arrays
            Of the shapes and in the order of `get_weights`.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs, or the model has no weights yet; nothing is
            changed then.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Input((2,)), layers.Dense(1)])
        >>> model.set_weights([[[1.0], [1.0]], [0.0]])
        >>> model.predict([[2.0, 3.0]], verbose=0).tolist()
        [[5.0]]
        """
        self._require_built("set_weights")
        base.assign_weights(self.weights, weights, f"model {self.name!r}")

    def count_params(self) -> int:
        """Return the number of weights.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            If there are no layers, or the shape of the samples is not known.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Input((28, 28, 1)), layers.Conv2D(32, 3)])
        >>> model.count_params()  # 3 · 3 · 1 · 32 weights and 32 biases
        320
        """
        self._require_built("count_params")
        return sum(layer.count_params() for layer in self.layers)

    def summary(self, line_length: int | None = None, *, print_fn: Callable | None = None) -> None:
        """Print a table of the layers, their output shapes and numbers of weights.

        Parameters
        ----------
        line_length : int, optional
            Width in characters; 65, or more where a name is long, if not given.
        print_fn : function, optional
            Called with each line instead of `print`.

        Raises
        ------
        ValueError
            If there are no layers, or the shape of the samples is not known.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Dense(3), layers.Softmax()])
        >>> model.build((None, 4))
        >>> model.summary(line_length=50)
        __________________________________________________
        Layer (type)          Output Shape        Param #
        ==================================================
        dense_1 (Dense)       (None, 3)           15
        __________________________________________________
        softmax_1 (Softmax)   (None, 3)           0
        ==================================================
        Total params: 15
        Trainable params: 15
        Non-trainable params: 0
        """
        self._require_built("summary")
        for line in summary_table.lines(self.layers, line_length):
            (print_fn or print)(line)

    # Compiling

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        *,
        metrics: Sequence | None = None,
        backend: str = "auto",
        fuse: bool = True,
    ) -> None:
        """Say how to train.

        Parameters
        ----------
        optimizer : str or Optimizer, default 'rmsprop'
        loss : str or Loss
            Must be given.
        metrics : sequence of str or Metric, optional
            'accuracy' stands for the kind that fits the model.
        backend : {'auto', 'cpu', 'cuda', 'reference'}, default 'auto'
            Which kernels compute: see `convlib.kernels.get_backend`.
        fuse : bool, default True
            Whether neighbouring steps are computed as one where `convlib.fusion` knows how.

        Raises
        ------
        ValueError
            If there is no loss, or a name is not known.
        RuntimeError
            If the backend is 'cuda' and there is no GPU that can be used.

        Examples
        --------
        >>> from convlib import layers, models, optimizers
        >>> model = models.Sequential([layers.Dense(3, activation="softmax")])
        >>> model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
        >>> model.compile(optimizers.SGD(0.1), loss="mse")
        """
        if loss is None:
            raise ValueError("compile needs a loss, for instance loss='categorical_crossentropy'")
        wanted = [metrics] if isinstance(metrics, str) else list(metrics or ())
        for metric in wanted:
            metrics_module.check(metric)
        new_optimizer, new_loss = optimizers.get(optimizer), losses.get(loss)
        get_backend(backend)
        if new_optimizer.owner is not self:
            new_optimizer.owner = self
            new_optimizer.forget()
        self.optimizer, self.loss, self._metrics = new_optimizer, new_loss, wanted
        self._backend, self._fuse = backend, bool(fuse)
        self._forget_plans()

    def _require_compiled(self, purpose):
        if self.loss is None:
            raise ValueError(
                f"the model must be compiled before {purpose}: call "
                f"compile(optimizer=..., loss=..., metrics=[...])"
            )

    # Plans

    def _forget_plans(self):
        self._parameters = self._training = None
        self._inference: dict[bool, Plan] = {}  # with the loss, and without

    def _steps(self):
        return [step for layer in self.layers for step in layer.steps()]

    def _kernels(self) -> ModuleType:
        """Return the backend's module, with all weights where it can read them."""
        kernels = get_backend(self._backend)
        for layer in self.layers:
            layer.move_to(kernels.memory)
        return kernels

    def _plan(self, steps, batch_size, **options) -> Plan:
        kernels = self._kernels()
        return Plan(steps, self._sample_shape, batch_size, kernels, self.dtype, **options)

    def _training_plan(self, batch_size: int) -> Plan:
        """Return the plan that trains."""
        kernels = self._kernels()
        if self._parameters is None or not self._parameters.are_current(self.layers):
            self._parameters = Parameters(self.layers, self.dtype, kernels)
            self._training = None
        if self.optimizer.owner is not self:
            raise ValueError(
                "this model's optimizer was given to another model since; compile this one again, "
                "with an optimizer of its own"
            )
        self.optimizer.build(self._parameters.values, kernels.memory)
        if self._training is None or self._training.batch_size < batch_size:
            steps = [*self._steps(), self.loss]
            *steps, loss = fusion.fuse(steps) if self._fuse else steps
            options = {"parameters": self._parameters, "loss": loss}
            self._training = self._plan(steps, batch_size, **options)
        return self._training

    def _inference_plan(self, samples: int, with_loss: bool) -> Plan:
        """Return the plan that predicts, or evaluates, so many samples in batches of its own."""
        self._kernels()
        size = min(samples, self._inference_batch())
        plan = self._inference.get(with_loss)
        if plan is None or plan.batch_size < size:
            steps = [*self._steps(), self.loss] if with_loss else self._steps()
            steps = fusion.fuse(steps) if self._fuse else steps
            loss = steps.pop() if with_loss else None
            plan = self._inference[with_loss] = self._plan(steps, size, loss=loss)
        return plan

    def _inference_batch(self) -> int:
        """Return how many samples to take at once when nothing is kept for a way back.

        Enough to keep all threads busy, but no more than fit into a moderate block of memory.
        """
        shapes = [self._sample_shape, *(layer.output_shape[1:] for layer in self.layers)]
        largest = max(math.prod(shape) for shape in shapes)
        return max(1, min(_INFERENCE_BATCH, _INFERENCE_ELEMENTS // largest))

    # Data

    def _samples(self, x, purpose: str) -> np.ndarray:
        """Return x checked, in the model's dtype; build the model if its shape was not known."""
        if not self.layers:
            self._require_built(purpose)
        x = checks.numbers(x)
        if not self.built:
            self.build((None, *x.shape[1:]))
        checks.same_sample_shape(x, self._sample_shape, self.layers[0].label)
        checks.warn_if_unscaled(x)
        return np.ascontiguousarray(x, self.dtype)

    def _samples_and_targets(self, x, y, purpose):
        self._require_compiled(purpose)
        x = self._samples(x, purpose)
        checks.same_number_of_samples(x, y)
        self.loss.check_output(self.output_shape)
        return x, self.loss.targets(y, self.output_shape, self.dtype)

    def _resolved_metrics(self, y):
        labels = y.ndim == 1
        resolved = [
            metrics_module.get(metric, self.output_shape, labels) for metric in self._metrics
        ]
        for metric in resolved:
            metric.reset_state()
        return resolved

    # Training

    def fit(
        self,
        x,
        y,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose="auto",
        callbacks: Sequence | None = None,
        validation_split: float = 0.0,
        validation_data: tuple | None = None,
        shuffle: bool = True,
        *,
        initial_epoch: int = 0,
    ) -> callbacks_module.History:
        """Train.

        Parameters
        ----------
        x : array (samples, ...)
            Numbers near 0 to 1 or −1 to 1; converted to the model's dtype.
        y : array
            What the loss wants: one-hot rows, labels, numbers.
        batch_size : int, default 32
        epochs : int, default 1
            The number of the last epoch; as many are run as there are after ``initial_epoch``.
        verbose : {'auto', 0, 1, 2}
            Nothing (0), a progress bar and one line per epoch (1, 'auto'), or the lines alone (2).
        callbacks : Callback or sequence of them, optional
        validation_split : float, default 0
            Share of the samples, the last ones, that are kept for validation.
        validation_data : tuple (x, y), optional
            Data for validation; takes precedence.
        shuffle : bool, default True
            Whether to take the samples in a new random order in every epoch.
        initial_epoch : int, default 0

        Returns
        -------
        History
            The loss and metrics of each epoch; also kept as ``model.history``.

        Raises
        ------
        FloatingPointError
            If the loss or a gradient is NaN or infinite. The weights are then those from before
            that batch, and the message says whether the data or the training is to blame.
        TypeError
            If x holds no numbers, or a callback is none.
        ValueError
            If the model is not compiled, the data do not fit it or each other, or an argument is
            none of those above.
        RuntimeError
            If the model's backend cannot be used.

        Examples
        --------
        >>> import numpy as np
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Dense(3, activation="softmax")])
        >>> model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> x, y = np.zeros((10, 2)), np.ones(10)
        >>> history = model.fit(x, y, epochs=2, validation_split=0.2, verbose=0)
        >>> list(history.history)
        ['loss', 'accuracy', 'val_loss', 'val_accuracy']
        """
        x, y = self._samples_and_targets(x, y, "fit")
        batch_size = checks.count("batch_size", 32 if batch_size is None else batch_size)
        epochs = checks.count("epochs", epochs, 0)
        initial_epoch = checks.count("initial_epoch", initial_epoch, 0)
        verbose = checked_verbosity(verbose)
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise ValueError("validation_data must be a pair (x, y)")
            try:
                validation = self._samples_and_targets(*validation_data, "fit")
            except (TypeError, ValueError) as error:
                raise type(error)(f"validation_data: {error}") from None
        elif validation_split:
            (x, y), validation = checks.split(x, y, validation_split)

        batch_size = min(batch_size, len(x))
        plan = self._training_plan(batch_size)
        if validation:
            validation_plan = self._inference_plan(len(validation[0]), with_loss=True)
        placed = [plan.kernels.memory.from_host(array) for array in (x, self.loss.wanted(y))]
        steps = math.ceil(len(x) / batch_size)
        self.history = callbacks_module.History()
        self.stop_training = False
        params = {"epochs": epochs, "steps": steps, "verbose": verbose}
        if isinstance(callbacks, callbacks_module.Callback):
            callbacks = [callbacks]
        hooks = callbacks_module.Hooks([self.history, *(callbacks or ())], self, params)
        order = np.arange(len(x))
        hooks.call("on_train_begin")
        for epoch in range(initial_epoch, epochs):
            hooks.call("on_epoch_begin", epoch)
            if shuffle:
                utils.random_generator().shuffle(order)
            with _running(steps, f"Epoch {epoch + 1}/{epochs}", verbose) as progress:
                run = x, y, batch_size, order, epoch, hooks, progress, placed
                logs = self._run_epoch(plan, *run)
                if validation:
                    validated = self._evaluate(validation_plan, *validation)
                    logs |= {f"val_{name}": value for name, value in validated.items()}
                progress.finish(logs)
            hooks.call("on_epoch_end", epoch, logs)
            if self.stop_training:
                break
        hooks.call("on_train_end")
        return self.history

    def _run_epoch(self, plan, x, y, batch_size, order, epoch, hooks, progress, placed):
        """Train on every sample once and return the means of loss and metrics.

        ``placed`` holds x and the wanted outputs where the backend reads them.
        """
        order_there = plan.kernels.memory.from_host(order)
        report = Report(plan, y, self._resolved_metrics(y), order)

        def check():
            if report.refused is not None:
                self.optimizer.iterations -= report.assumed
                first = report.refused * batch_size
                raise FloatingPointError(
                    f"stopped in batch {report.refused + 1} of epoch {epoch + 1}: "
                    f"{self._diagnosis(x, y, order[first : first + batch_size])}"
                )

        def logs():
            so_far = report.logs()
            check()
            return so_far

        for batch, start in enumerate(range(0, len(x), batch_size)):
            hooks.call_batch("on_train_batch_begin", batch)
            self._train(plan, report, *placed, start, start + batch_size, order_there)
            check()
            progress.update(batch + 1, logs)
            hooks.call_batch("on_train_batch_end", batch, logs)
        return logs()

    def _train(self, plan, report, x, wanted, start, stop, order=None):
        """Take one step, unless the loss or a gradient is not finite; let the report know.

        On a GPU it is the report that will know whether the step was taken.
        """
        samples = plan.load(x, start, stop, order)
        plan.load_targets(wanted, start, stop, order)
        plan.prepare(samples)
        numbers = self.optimizer.prepare(plan.scratch, self.dtype)

        def compute():
            plan.forward(samples, training=True)
            is_taken = plan.scratch.admits(plan.losses(samples))
            if is_taken:
                plan.backward_from_loss(samples)
                vectors = self._parameters.values, self._parameters.gradients
                is_taken = self.optimizer.step(plan.kernels, *vectors, numbers, plan.scratch)
            if is_taken:
                plan.commit(samples)
            return is_taken

        is_taken = plan.scratch.repeat(samples, self._settings, compute)
        self.optimizer.iterations += is_taken
        report.add(samples, is_taken)

    def _settings(self):
        """Return what decides on a step of training besides the batch; see `Scratch.repeat`.

        It is all that the layers, the loss and the optimizer have, so that nobody need think of it
        who adds a setting.
        """
        owners = *self.layers, self.loss
        settings = [value for owner in owners for value in vars(owner).values()]
        return [*settings, *self.optimizer.settings()]

    def _diagnosis(self, x, y, chosen):
        """Return why the loss or a gradient of these samples is not finite."""
        kept = "The weights are those from before this batch."
        for name, data in (("x", x), ("y", y)):
            bad = checks.not_finite(data[chosen])
            if bad.any():
                return f"sample {chosen[bad][0]} of {name} holds NaN or infinity. {kept}"
        return (
            f"the data are finite, but the loss or a gradient is not: training has diverged. Try "
            f"a smaller learning_rate than {self.optimizer.learning_rate:g}, or inputs scaled to "
            f"0 … 1. {kept}"
        )

    def train_on_batch(self, x, y, *, return_dict: bool = False):
        """Take one training step on these samples.

        Parameters
        ----------
        x, y : arrays
            As for `fit`.
        return_dict : bool, default False

        Returns
        -------
        float, list or dict
            The batch's loss, followed by the metrics if there are any; see `evaluate`.

        Raises
        ------
        FloatingPointError, TypeError, ValueError, RuntimeError
            As in `fit`.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", loss="mse")
        >>> model.train_on_batch([[1.0]], [[3.0]])  # the loss before the step
        9.0
        """
        x, y = self._samples_and_targets(x, y, "train_on_batch")
        plan = self._training_plan(len(x))
        report = Report(plan, y, self._resolved_metrics(y))
        wanted = plan.kernels.memory.from_host(self.loss.wanted(y))
        self._train(plan, report, x, wanted, 0, len(x))
        logs = report.logs()
        if report.refused is not None:
            self.optimizer.iterations -= report.assumed
            raise FloatingPointError(f"stopped: {self._diagnosis(x, y, np.arange(len(x)))}")
        return _results(logs, return_dict)

    # Asking

    def evaluate(
        self, x, y, batch_size: int | None = None, verbose="auto", *, return_dict: bool = False
    ):
        """Return loss and metrics, without training.

        Parameters
        ----------
        x, y : arrays
            As for `fit`.
        batch_size : int, optional
            As in Keras; the result does not depend on it, nor does the memory that is used.
        verbose : {'auto', 0, 1, 2}
            As for `fit`.
        return_dict : bool, default False

        Returns
        -------
        float, list or dict
            The mean loss alone if there are no metrics, else ``[loss, metric, ...]``; with
            ``return_dict`` always a dict.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As in `fit`.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Activation("linear")])
        >>> model.compile(loss="mse")
        >>> model.evaluate([[1.0], [2.0]], [[1.0], [4.0]], verbose=0)
        2.0
        """
        x, y = self._samples_and_targets(x, y, "evaluate")
        checks.count("batch_size", 32 if batch_size is None else batch_size)
        verbose = checked_verbosity(verbose)
        plan = self._inference_plan(len(x), with_loss=True)
        with _running(math.ceil(len(x) / plan.batch_size), "Evaluation", verbose) as progress:
            logs = self._evaluate(plan, x, y, progress)
            progress.finish(logs)
        return _results(logs, return_dict)

    def test_on_batch(self, x, y, *, return_dict: bool = False):
        """Return loss and metrics of these samples, taken as one batch.

        Parameters
        ----------
        x, y, return_dict
            As for `evaluate`.

        Returns
        -------
        float, list or dict
            As from `evaluate`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As in `fit`.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Activation("linear")])
        >>> model.compile(loss="mse")
        >>> model.test_on_batch([[1.0], [2.0]], [[1.0], [4.0]], return_dict=True)
        {'loss': 2.0}
        """
        return self.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=return_dict)

    def _evaluate(self, plan, x, y, progress=None):
        report = Report(plan, y, self._resolved_metrics(y))
        wanted = plan.kernels.memory.from_host(self.loss.wanted(y))
        for batch, start in enumerate(range(0, len(x), plan.batch_size)):
            stop = start + plan.batch_size
            samples = plan.load(x, start, stop)
            plan.load_targets(wanted, start, stop)
            plan.forward(samples, training=False)
            plan.losses(samples)
            report.add(samples)
            if progress:
                progress.update(batch + 1, dict)
        return report.logs()

    def predict(self, x, batch_size: int | None = None, verbose="auto") -> np.ndarray:
        """Return the model's output for every sample.

        Parameters
        ----------
        x : array (samples, ...)
        batch_size : int, optional
            As in Keras; the result does not depend on it, nor does the memory that is used.
        verbose : {'auto', 0, 1, 2}
            A progress bar (1, 'auto') or nothing.

        Returns
        -------
        array (samples, ...)

        Raises
        ------
        TypeError
            If x holds no numbers.
        ValueError
            If the model has no layers, or the samples do not fit it.
        RuntimeError
            If the model's backend cannot be used.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Input((2,)), layers.Softmax()])
        >>> model.predict([[1.0, 1.0], [0.0, 1000.0]], verbose=0).tolist()
        [[0.5, 0.5], [0.0, 1.0]]
        """
        x = self._samples(x, "predict")
        checks.count("batch_size", 32 if batch_size is None else batch_size)
        plan = self._inference_plan(len(x), with_loss=False)
        result = np.empty((len(x), *self.output_shape[1:]), self.dtype)
        bar = 1 if checked_verbosity(verbose) == 1 else 0
        with _running(math.ceil(len(x) / plan.batch_size), "Prediction", bar) as progress:
            for batch, start in enumerate(range(0, len(x), plan.batch_size)):
                samples = plan.load(x, start, start + plan.batch_size)
                outputs = plan.forward(samples, training=False)
                result[start : start + samples] = memory.to_host(outputs)
                progress.update(batch + 1, dict)
        return result

    def predict_on_batch(self, x) -> np.ndarray:
        """Return the model's output for these samples, taken as one batch.

        Parameters
        ----------
        x : array (samples, ...)

        Returns
        -------
        array (samples, ...)

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As in `predict`.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Input((2,)), layers.ReLU()])
        >>> model.predict_on_batch([[1.0, -1.0]]).tolist()
        [[1.0, 0.0]]
        """
        return self.predict(x, batch_size=len(x), verbose=0)

    # Looking inside

    def layer_outputs(self, x) -> list[np.ndarray]:
        """Return what every layer makes of x, after its activation, in inference mode.

        Parameters
        ----------
        x : array (samples, ...)

        Returns
        -------
        list of arrays
            One for each of ``layers``, ``(samples, ...)``.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As in `predict`.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.ReLU(), layers.Softmax()])
        >>> for output in model.layer_outputs([[0.0, -3.0]]):
        ...     print(output.tolist())
        [[0.0, 0.0]]
        [[0.5, 0.5]]
        """
        x = self._samples(x, "layer_outputs")
        steps_of = [layer.steps() for layer in self.layers]
        plan = self._plan([step for steps in steps_of for step in steps], len(x))
        plan.load(x, 0, len(x))
        outputs, current, running = [], x, plan.each_output(len(x))
        for steps in steps_of:
            for _ in steps:
                current = next(running)
            outputs.append(memory.to_host(current).copy())
        return outputs

    def input_gradient(self, x, output=None, before_softmax: bool = False) -> np.ndarray:
        """Return the derivative of one output with respect to every number in x.

        Inference mode: no dropout, running statistics.

        Parameters
        ----------
        x : array (samples, ...)
        output : int or array of int (samples,), optional
            Which output, one for all samples or one for each (counted through the flattened
            output); by default each sample's largest.
        before_softmax : bool, default False
            Whether to differentiate the score that goes into a final softmax instead of the
            probability that comes out. A sure network's probabilities hardly move any more, so
            that their gradients fade; scores do not.

        Returns
        -------
        array of the shape of x

        Raises
        ------
        TypeError, RuntimeError
            As in `predict`.
        ValueError
            If there is no such output, or no softmax at the end; else as in `predict`.

        Examples
        --------
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Input((2,)), layers.Dense(1)])
        >>> model.set_weights([[[10.0], [100.0]], [0.5]])
        >>> model.input_gradient([[1.0, 1.0]]).tolist()
        [[10.0, 100.0]]
        """
        x = self._samples(x, "input_gradient")
        steps = self._steps()
        if before_softmax:
            if not steps or not isinstance(steps[-1], layers.Softmax):
                raise ValueError("before_softmax=True needs a model that ends with a softmax")
            steps.pop()
        plan = self._plan(steps, len(x), input_gradient=True)
        plan.load(x, 0, len(x))
        result = memory.to_host(plan.forward(len(x), training=False))
        scores = result.reshape(len(x), -1)
        chosen = scores.argmax(1) if output is None else np.asarray(output)
        if chosen.dtype.kind not in "iu" or chosen.shape not in ((), (len(x),)):
            raise ValueError("output must be a whole number, or one for each sample")
        if chosen.min() < 0 or chosen.max() >= scores.shape[1]:
            raise ValueError(f"output must lie from 0 to {scores.shape[1] - 1}, got {output}")
        wanted = np.zeros_like(scores)
        wanted[np.arange(len(x)), chosen] = 1
        return memory.to_host(plan.backward_from(wanted.reshape(result.shape))).copy()

    # Saving

    def save(self, filepath: str | os.PathLike) -> None:
        """Write the model to one file: layers, weights, and how it was compiled and trained.

        The file appears complete or not at all. `load_model` reads it back.

        Parameters
        ----------
        filepath : str or path
            'model.npz', for example; a file of that name is replaced.

        Raises
        ------
        ValueError
            If there are no layers, or the shape of the samples is not known.

        Examples
        --------
        >>> import os, tempfile
        >>> from convlib import layers, models
        >>> model = models.Sequential([layers.Input((2,)), layers.Dense(1)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "model.npz"))
        ...     os.listdir(folder)
        ['model.npz']
        """
        self._require_built("save")
        config = {
            "name": self.name,
            "dtype": self.dtype,
            "sample_shape": self._sample_shape,
            "layers": [
                {"class": type(layer).__name__, "config": layer.get_config()}
                for layer in self.layers
            ],
            "compiled": None,
        }
        arrays = {f"weight_{k}": weight for k, weight in enumerate(self.get_weights())}
        if self.loss is not None:
            config["compiled"] = {
                "optimizer": _described(self.optimizer),
                "loss": _described(self.loss),
                "metrics": [
                    metric if isinstance(metric, str) else _described(metric)
                    for metric in self._metrics
                ],
                "fuse": self._fuse,
            }
            config["iterations"] = self.optimizer.iterations
            arrays |= {
                f"optimizer_{name}": memory.to_host(array)
                for name, array in self.optimizer.state.items()
            }
        storage.write(filepath, config, arrays)


def load_model(filepath: str | os.PathLike) -> Sequential:
    """Return the model that `Sequential.save` wrote to a file.

    See chapter 14, "The text's program".

    Parameters
    ----------
    filepath : str or path

    Returns
    -------
    Sequential
        With its weights; compiled, and with the optimizer's state, if it was.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or is no saved model.

    Examples
    --------
    >>> import os, tempfile
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.Input((2,)), layers.Dense(1)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     model.save(path)
    ...     copy = models.load_model(path)
    >>> copy.get_weights()[0].tolist() == model.get_weights()[0].tolist()
    True
    """
    config, arrays = storage.read(filepath)
    try:
        model = Sequential(name=config["name"], dtype=config["dtype"])
        model.add(Input(config["sample_shape"]))
        for saved in config["layers"]:
            model.add(layers.from_config(saved["class"], saved["config"]))
        count = sum(name.startswith("weight_") for name in arrays)
        model.set_weights([arrays[f"weight_{k}"] for k in range(count)])
        if compiled := config["compiled"]:
            model.compile(**compiled)
            optimizer = model.optimizer
            optimizer.iterations = config["iterations"]
            prefix = "optimizer_"
            optimizer.state = {
                name.removeprefix(prefix): array
                for name, array in arrays.items()
                if name.startswith(prefix)
            }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{os.fspath(filepath)} is no model that can be loaded: {error}"
        ) from error
    return model


@contextmanager
def _running(batches, label, verbose):
    """Give the `Progress` of a run of batches, which also says if kernels must be compiled."""
    with Progress(batches, label, verbose) as progress, notice_compilation(progress.note):
        yield progress


def _described(thing) -> dict:
    return {"class": type(thing).__name__, "config": thing.get_config()}


def _results(logs, as_dict):
    if as_dict:
        return logs
    return logs["loss"] if len(logs) == 1 else list(logs.values())
