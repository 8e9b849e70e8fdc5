"""Optimizers: how a gradient changes the weights.

All trainable weights of a model form one vector, so a training step is one call of one kernel.
"""

from types import ModuleType

import numpy as np

from convlib.kernels import memory
from convlib.kernels.scratch import Scratch

__all__ = ["SGD", "Adam", "Optimizer", "RMSprop", "get"]


class Optimizer:
    """Changes the weights, and remembers what it needs to between steps.

    The base of the others: it has no rule of its own.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    learning_rate : float
        At least 0.

    Attributes
    ----------
    learning_rate : float
        May be changed between steps.
    iterations : int
        Steps taken.
    state : dict of arrays (parameters,)
        One array per name in ``state_names``, each as long as the weights.
    owner : Sequential or None
        The model that was last compiled with it, whose weights the state is about.

    Raises
    ------
    ValueError
        If ``learning_rate`` is no number, or negative or infinite.

    Examples
    --------
    >>> from convlib import layers, models
    >>> model = models.Sequential([layers.Dense(1, kernel_initializer="zeros")])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> model.optimizer.learning_rate = 0.5
    >>> model.train_on_batch([[1.0]], [[1.0]])
    1.0
    >>> model.optimizer.iterations
    1
    """

    state_names: tuple[str, ...] = ()

    def __init__(self, learning_rate: float):
        self.learning_rate = _at_least_zero("learning_rate", learning_rate)
        self.owner = None
        self.forget()

    def forget(self) -> None:
        """Begin anew: no state, no steps taken."""
        self.iterations = 0
        self.state: dict[str, np.ndarray] = {}

    def build(self, parameters: np.ndarray, place: ModuleType = memory) -> None:
        """Make the state for these weights, unless it is there already.

        Parameters
        ----------
        parameters : array (parameters,)
        place : module
            The ``memory`` in which the state is to lie.
        """
        if any(self.state.get(name, _NOTHING).size != parameters.size for name in self.state_names):
            shape, dtype = parameters.shape, parameters.dtype
            self.state = {name: place.zeros(shape, dtype) for name in self.state_names}
            self.iterations = 0
        for name, array in self.state.items():
            if not place.holds(array):
                self.state[name] = place.from_host(memory.to_host(array))

    def update(
        self,
        kernels: ModuleType,
        parameters: np.ndarray,
        gradients: np.ndarray,
        scratch: Scratch,
    ) -> bool:
        """Complete the gradients and take one step, unless one of them is NaN or infinite.

        Parameters
        ----------
        kernels : module
            The backend.
        parameters : array (parameters,), updated
        gradients : array (parameters,), completed
            Some may still lie in ``scratch`` as partial sums.
        scratch : Scratch

        Returns
        -------
        bool
            Whether the step was taken; if not, the parameters are as before.
        """
        numbers = self.prepare(scratch, parameters.dtype)
        is_taken = self.step(kernels, parameters, gradients, numbers, scratch)
        self.iterations += is_taken
        return is_taken

    def prepare(self, scratch: Scratch, dtype) -> tuple:
        """Return learning rate and number of the coming step as `step` takes them.

        Parameters
        ----------
        scratch : Scratch
            Where they lie if the step is recorded, so that a repetition finds the new ones.
        dtype : data type
            Of the parameters.

        Returns
        -------
        tuple
            Two numbers, or on a GPU two arrays of one number each.
        """
        numbers = {"learning_rate": self.learning_rate, "step": self.iterations + 1}
        return tuple(scratch.changing(name, value, dtype) for name, value in numbers.items())

    def settings(self) -> list:
        """Return what else decides on a step: with other settings a recorded one is of no use.

        Returns
        -------
        list
            Numbers, and arrays that are compared by identity.
        """
        apart = "learning_rate", "iterations"
        others = [value for name, value in vars(self).items() if name not in apart]
        return [self, *others, *self.state.values()]

    def step(self, kernels, parameters, gradients, numbers, scratch) -> bool:
        """Do what `update` does with numbers from `prepare`, but do not count the step.

        Parameters
        ----------
        kernels : module
            Of `convlib.kernels`, the backend.
        parameters, gradients : array, shape (n,)
            On the backend's device; the parameters are overwritten.
        numbers : tuple
            From `prepare`.
        scratch : Scratch
            Holds the partial sums of gradients that were postponed.

        Returns
        -------
        bool
            Whether the step was taken. In training on a GPU nothing is waited for, and it is True.

        Raises
        ------
        NotImplementedError
            By this class, which has no formula.
        """
        raise NotImplementedError

    def get_config(self) -> dict:
        """Return the constructor arguments that make an equal optimizer.

        Returns
        -------
        dict
        """
        return {k: v for k, v in vars(self).items() if k not in ("state", "iterations", "owner")}


_NOTHING = np.empty(0)


def _at_least_zero(name, value):
    if not isinstance(value, (int, float, np.number)) or not 0 <= value < np.inf:
        raise ValueError(f"{name} must be a number, 0 or more, got {value!r}")
    return float(value)


def _share(name, value):
    if not isinstance(value, (int, float, np.number)) or not 0 <= value < 1:
        raise ValueError(f"{name} must lie from 0 to below 1, got {value!r}")
    return float(value)


class RMSprop(Optimizer):
    """Divide each gradient by the size of its recent values (Tieleman & Hinton, 2012).

    ``mean_square ← rho·mean_square + (1 − rho)·gradient²``, then ``weight ← weight −
    learning_rate·gradient / √(mean_square + epsilon)``.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    learning_rate : float, default 0.001
    rho : float, default 0.9
        Share of its old value that the running mean of squares keeps; at least 0, below 1.
    epsilon : float, default 1e-7
        Keeps the division from zero.

    Raises
    ------
    ValueError
        If a number lies elsewhere.

    Examples
    --------
    The first step does not depend on the size of the gradient. With ``rho=0.75`` it is twice the
    learning rate, since the root of ``(1 − rho)·gradient²`` is half the gradient:

    >>> from convlib import layers, models, optimizers
    >>> dense = layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    >>> model = models.Sequential([layers.Input((1,)), dense])
    >>> model.compile(optimizers.RMSprop(learning_rate=0.1, rho=0.75), loss="mse")
    >>> loss = model.train_on_batch([[1.0]], [[30.0]])
    >>> round(float(model.get_weights()[0][0, 0]), 3)
    0.2
    """

    state_names = ("mean_square",)

    def __init__(self, learning_rate=0.001, rho=0.9, *, epsilon=1e-7):
        super().__init__(learning_rate)
        self.rho, self.epsilon = _share("rho", rho), _at_least_zero("epsilon", epsilon)

    def step(self, kernels, parameters, gradients, numbers, scratch):
        learning_rate, _ = numbers
        return kernels.rmsprop_update(
            parameters,
            gradients,
            self.state["mean_square"],
            learning_rate,
            self.rho,
            self.epsilon,
            scratch,
        )


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    ``velocity ← momentum·velocity − learning_rate·gradient``, then ``weight ← weight + velocity``.

    See chapter 11, "The smallest example".

    Parameters
    ----------
    learning_rate : float, default 0.01
    momentum : float, default 0
        Share of its old value that the velocity keeps; at least 0, below 1.
    nesterov : bool, default False
        Take the step from where momentum will have led (Sutskever et al., 2013).

    Raises
    ------
    ValueError
        If a number lies elsewhere.

    Examples
    --------
    The loss ``(w − 1)²`` has the slope −2 at w = 0, so that a learning rate of ½ leads to its
    minimum:

    >>> from convlib import layers, models, optimizers
    >>> dense = layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    >>> model = models.Sequential([layers.Input((1,)), dense])
    >>> model.compile(optimizers.SGD(learning_rate=0.5), loss="mse")
    >>> loss = model.train_on_batch([[1.0]], [[1.0]])
    >>> model.get_weights()[0].tolist()
    [[1.0]]
    """

    state_names = ("velocity",)

    def __init__(self, learning_rate=0.01, momentum=0.0, nesterov=False):
        super().__init__(learning_rate)
        self.momentum, self.nesterov = _share("momentum", momentum), bool(nesterov)

    def step(self, kernels, parameters, gradients, numbers, scratch):
        learning_rate, _ = numbers
        return kernels.sgd_update(
            parameters,
            gradients,
            self.state["velocity"],
            learning_rate,
            self.momentum,
            self.nesterov,
            scratch,
        )


class Adam(Optimizer):
    """Momentum, divided by the size of recent gradients (Kingma & Ba, 2015).

    Running means of the gradients and of their squares begin at zero and are corrected for that.

    See chapter 2, "Which one learns better?".

    Parameters
    ----------
    learning_rate : float, default 0.001
    beta_1, beta_2 : float, default 0.9 and 0.999
        Shares that the running means of gradients and of their squares keep; at least 0, below 1.
    epsilon : float, default 1e-7
        Keeps the division from zero.

    Raises
    ------
    ValueError
        If a number lies elsewhere.

    Examples
    --------
    The first step has the length of the learning rate, however large the gradient is:

    >>> from convlib import layers, models, optimizers
    >>> dense = layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    >>> model = models.Sequential([layers.Input((1,)), dense])
    >>> model.compile(optimizers.Adam(learning_rate=0.1), loss="mse")
    >>> loss = model.train_on_batch([[1.0]], [[30.0]])
    >>> round(float(model.get_weights()[0][0, 0]), 3)
    0.1
    """

    state_names = ("mean", "mean_square")

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        super().__init__(learning_rate)
        self.beta_1, self.beta_2 = _share("beta_1", beta_1), _share("beta_2", beta_2)
        self.epsilon = _at_least_zero("epsilon", epsilon)

    def step(self, kernels, parameters, gradients, numbers, scratch):
        learning_rate, step = numbers
        return kernels.adam_update(
            parameters,
            gradients,
            self.state["mean"],
            self.state["mean_square"],
            learning_rate,
            self.beta_1,
            self.beta_2,
            self.epsilon,
            step,
            scratch,
        )


_BY_CLASS = {cls.__name__: cls for cls in (Adam, RMSprop, SGD)}
_BY_NAME = {name.lower(): cls for name, cls in _BY_CLASS.items()}


def get(identifier) -> Optimizer:
    """Return an optimizer from its name, from its saved form, or as it is.

    See chapter 14, "The text's program".

    Parameters
    ----------
    identifier : str, dict or Optimizer
        'rmsprop', 'sgd' or 'adam', or what a model's file holds.

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If there is none of that name.

    Examples
    --------
    >>> from convlib import optimizers
    >>> optimizers.get("rmsprop").learning_rate
    0.001
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str) and identifier.lower() in _BY_NAME:
        return _BY_NAME[identifier.lower()]()
    if isinstance(identifier, dict) and identifier.get("class") in _BY_CLASS:
        return _BY_CLASS[identifier["class"]](**identifier["config"])
    raise ValueError(
        f"optimizer must be one of {', '.join(map(repr, sorted(_BY_NAME)))} or an object from "
        f"convlib.optimizers, got {identifier!r}"
    )
