"""Callbacks: what happens between epochs and batches of training."""

import os
from collections.abc import Callable

import numpy as np

__all__ = ["Callback", "EarlyStopping", "History", "LambdaCallback", "ModelCheckpoint"]


class Callback:
    """Base class: override what is needed.

    See chapter 14, "The text's program".

    Attributes
    ----------
    model : Sequential
        Set before training begins. ``model.stop_training = True`` ends it after the epoch.
    params : dict
        ``epochs``, ``steps`` (batches per epoch) and ``verbose``.

    Examples
    --------
    >>> from convlib import callbacks, layers, models
    >>> class Count(callbacks.Callback):
    ...     batches = 0
    ...     def on_train_batch_end(self, batch, logs=None):
    ...         self.batches += 1
    >>> model = models.Sequential([layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> count, x, y = Count(), [[0.0], [1.0]], [0.0, 1.0]
    >>> history = model.fit(x, y, batch_size=1, verbose=0, callbacks=count)
    >>> count.batches
    2
    """

    model = None
    params: dict = {}

    def set_model(self, model) -> None:
        """Remember the model."""
        self.model = model

    def set_params(self, params: dict) -> None:
        """Remember what `fit` was asked to do."""
        self.params = params

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Run when `fit` begins."""

    def on_train_end(self, logs: dict | None = None) -> None:
        """Run when `fit` ends of itself."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Run before epoch ``epoch``, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Run after an epoch with its loss and metrics, those of validation included."""

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Run before batch ``batch`` of an epoch, counted from 0."""

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Run after a batch with the epoch's loss and metrics so far."""


class History(Callback):
    """Keeps the loss and the metrics of every epoch; `fit` returns one.

    See chapter 14, "One number has a width".

    Attributes
    ----------
    history : dict of lists
        ``loss``, the metrics, and the same of validation with ``val_`` before.
    epoch : list of int
        The epochs, counted from 0.

    Examples
    --------
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> history = model.fit([[0.0], [1.0]], [0, 1], epochs=3, verbose=0)
    >>> history.epoch, len(history.history["loss"])
    ([0, 1, 2], 3)
    """

    def __init__(self):
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch, logs=None):
        """Append the epoch's values."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class _Monitor(Callback):
    """Watches one value and knows whether it got better."""

    def __init__(self, monitor, mode, min_delta=0.0):
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', got {mode!r}")
        if mode == "auto":
            mode = "max" if "acc" in monitor else "min"
        self.monitor, self.mode, self.min_delta = monitor, mode, abs(min_delta)
        self.best = None

    def _value(self, logs):
        if self.monitor not in logs:
            hint = "; give fit validation data" if self.monitor.startswith("val_") else ""
            raise ValueError(
                f"{type(self).__name__} cannot find {self.monitor!r} among "
                f"{', '.join(map(repr, logs))}{hint}"
            )
        return logs[self.monitor]

    def _is_better(self, value, than) -> bool:
        if than is None:
            return not np.isnan(value)
        gain = value - than if self.mode == "max" else than - value
        return gain > self.min_delta


class EarlyStopping(_Monitor):
    """Stop training when a value has not got better for some epochs.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    monitor : str, default 'val_loss'
    min_delta : float, default 0
        What counts as better.
    patience : int, default 0
        Epochs without anything better that are allowed.
    verbose : {0, 1}, default 0
    mode : {'auto', 'min', 'max'}, default 'auto'
        'auto' takes accuracies for better when larger, everything else when smaller.
    baseline : float, optional
        The first value has to be better than this one.
    restore_best_weights : bool, default False
        Whether to go back to the weights of the best epoch at the end.
    start_from_epoch : int, default 0
        Epochs before this one are not looked at.

    Attributes
    ----------
    stopped_epoch : int
        The epoch, counted from 0, after which training stopped; 0 if it ran to its end.
    best_epoch : int

    Raises
    ------
    ValueError
        If ``mode`` is none of these; in training, if there is no value named ``monitor``.

    Examples
    --------
    With a learning rate of 0 nothing gets better, so that the second epoch is the last:

    >>> from convlib import callbacks, layers, models, optimizers
    >>> model = models.Sequential([layers.Dense(1)])
    >>> model.compile(optimizers.SGD(learning_rate=0), loss="mse")
    >>> stop = callbacks.EarlyStopping(monitor="loss", verbose=1)
    >>> x, y = [[0.0], [1.0]], [0.0, 1.0]
    >>> history = model.fit(x, y, epochs=10, verbose=0, callbacks=stop)
    Epoch 2: early stopping
    """

    def __init__(
        self,
        monitor="val_loss",
        min_delta=0,
        patience=0,
        verbose=0,
        mode="auto",
        baseline=None,
        restore_best_weights=False,
        start_from_epoch=0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch

    def on_train_begin(self, logs=None):
        """Begin anew."""
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = self._best_weights = None

    def on_epoch_end(self, epoch, logs=None):
        """Compare, and stop if patience is over."""
        value = self._value(logs or {})
        if epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self._is_better(value, self.best):
            if self.baseline is None or self._is_better(value, self.baseline):
                self.wait = 0
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self._best_weights = self.model.get_weights()
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        """Say that training stopped, and restore the best weights."""
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)


class ModelCheckpoint(_Monitor):
    """Save the model after every epoch, or after every one that is the best so far.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    filepath : str or path
        May contain ``{epoch}`` (counted from 1) and the names of logged values, as in
        ``'model-{epoch:02d}-{val_loss:.3f}.npz'``.
    monitor : str, default 'val_loss'
    verbose : {0, 1}, default 0
    save_best_only : bool, default False
    mode : {'auto', 'min', 'max'}, default 'auto'

    Raises
    ------
    ValueError
        If ``mode`` is none of these; in training, if there is no value named ``monitor``.

    Examples
    --------
    >>> import os, tempfile
    >>> from convlib import callbacks, layers, models
    >>> model = models.Sequential([layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> x, y = [[0.0], [1.0]], [0.0, 1.0]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save = callbacks.ModelCheckpoint(folder + "/after-{epoch}.npz")
    ...     history = model.fit(x, y, epochs=2, verbose=0, callbacks=save)
    ...     sorted(os.listdir(folder))
    ['after-1.npz', 'after-2.npz']
    """

    def __init__(
        self, filepath, monitor="val_loss", verbose=0, save_best_only=False, *, mode="auto"
    ):
        super().__init__(monitor, mode)
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only = save_best_only

    def on_epoch_end(self, epoch, logs=None):
        """Save if it is time to."""
        if self.save_best_only:
            value = self._value(logs or {})
            if not self._is_better(value, self.best):
                return
            self.best = value
        path = self.filepath.format(epoch=epoch + 1, **(logs or {}))
        self.model.save(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")


class LambdaCallback(Callback):
    """Calls the given functions, each with the arguments of the method of the same name.

    See chapter 14, "The text's program".

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : function, optional
        Of the epoch, counted from 0, and its logs.
    on_train_begin, on_train_end : function, optional
        Of the logs.
    on_train_batch_begin, on_train_batch_end : function, optional
        Of the batch, counted from 0 within its epoch, and the logs.

    Examples
    --------
    >>> from convlib import callbacks, layers, models
    >>> model = models.Sequential([layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> def say(epoch, logs):
    ...     print(epoch, *logs)
    >>> callback = callbacks.LambdaCallback(on_epoch_end=say)
    >>> x, y = [[0.0], [1.0]], [0.0, 1.0]
    >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=callback)
    0 loss
    1 loss
    """

    def __init__(
        self,
        on_epoch_begin: Callable | None = None,
        on_epoch_end: Callable | None = None,
        on_train_begin: Callable | None = None,
        on_train_end: Callable | None = None,
        on_train_batch_begin: Callable | None = None,
        on_train_batch_end: Callable | None = None,
    ):
        given = {name: value for name, value in locals().items() if name.startswith("on_")}
        for name, function in given.items():
            if function is not None:
                setattr(self, name, function)


class Hooks:
    """The callbacks of one `fit`."""

    def __init__(self, given, model, params):
        for callback in given:
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks must be objects from convlib.callbacks, got {callback!r}"
                )
            callback.set_model(model)
            callback.set_params(params)
        self._callbacks = given
        # Most callbacks leave the batches alone; they need not be called thousands of times.
        self._by_batch = {
            name: [callback for callback in given if _overrides(callback, name)]
            for name in ("on_train_batch_begin", "on_train_batch_end")
        }

    def call(self, method: str, *arguments) -> None:
        """Call this method of every callback."""
        for callback in self._callbacks:
            getattr(callback, method)(*arguments)

    def call_batch(self, method: str, batch: int, logs: Callable[[], dict] = dict) -> None:
        """Call this method of those callbacks that have it; only then are the logs computed."""
        for callback in self._by_batch[method]:
            getattr(callback, method)(batch, logs())


def _overrides(callback, method):
    inherited = getattr(Callback, method)
    return getattr(getattr(callback, method), "__func__", None) is not inherited
