"""What weights hold before training."""

import math

import numpy as np

from convlib import utils

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "Ones",
    "RandomNormal",
    "RandomUniform",
    "Zeros",
    "get",
]


class Initializer:
    """Draws the first values of a weight; called with its shape.

    Every constructor argument is kept as an attribute of its own name.
    """

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return values of the given shape, in float64."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """Return the arguments that make an equal one."""
        return dict(vars(self))


class Constant(Initializer):
    """One value everywhere."""

    def __init__(self, value: float = 0.0):
        self.value = value

    def __call__(self, shape):
        """Return an array of that value."""
        return np.full(shape, self.value, np.float64)


class Zeros(Initializer):
    """Zeros, the usual start of a bias."""

    def __call__(self, shape):
        """Return zeros."""
        return np.zeros(shape)


class Ones(Initializer):
    """Ones, the usual start of a scale."""

    def __call__(self, shape):
        """Return ones."""
        return np.ones(shape)


class RandomNormal(Initializer):
    """Independent draws from a normal distribution."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05):
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape):
        """Draw the values."""
        return utils.random_generator().normal(self.mean, self.stddev, shape)


class RandomUniform(Initializer):
    """Independent draws from ``[minval, maxval)``."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05):
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape):
        """Draw the values."""
        return utils.random_generator().uniform(self.minval, self.maxval, shape)


class _VarianceScaling(Initializer):
    """Draws whose variance is ``1 / fan``, so that signals neither grow nor fade with depth."""

    def _variance(self, fan_in: float, fan_out: float) -> float:
        raise NotImplementedError

    def variance(self, shape: tuple[int, ...]) -> float:
        """Return the variance for a kernel of this shape, ``(..., in, out)``."""
        window = math.prod(shape[:-2])
        return self._variance(window * shape[-2], window * shape[-1])


class _Uniform(_VarianceScaling):
    def __call__(self, shape):
        """Draw the values."""
        limit = math.sqrt(3 * self.variance(shape))
        return utils.random_generator().uniform(-limit, limit, shape)


class _Normal(_VarianceScaling):
    # Standard deviation of a standard normal variable that is cut off at ±2.
    _TRUNCATED_DEVIATION = 0.87962566103423978

    def __call__(self, shape):
        """Draw the values, none further than two standard deviations from zero."""
        generator = utils.random_generator()
        values = generator.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = generator.standard_normal(np.count_nonzero(outside))
        return values * (math.sqrt(self.variance(shape)) / self._TRUNCATED_DEVIATION)


class _Glorot(_VarianceScaling):
    def _variance(self, fan_in, fan_out):
        return 2 / (fan_in + fan_out)


class _He(_VarianceScaling):
    def _variance(self, fan_in, fan_out):
        return 2 / fan_in


class GlorotUniform(_Uniform, _Glorot):
    """Uniform in ``±√(6 / (fan_in + fan_out))`` (Glorot & Bengio, 2010)."""


class GlorotNormal(_Normal, _Glorot):
    """Truncated normal of variance ``2 / (fan_in + fan_out)`` (Glorot & Bengio, 2010)."""


class HeUniform(_Uniform, _He):
    """Uniform in ``±√(6 / fan_in)``, for layers followed by ReLU (He et al., 2015)."""


class HeNormal(_Normal, _He):
    """Truncated normal of variance ``2 / fan_in``, for ReLU (He et al., 2015)."""


_BY_NAME = {
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "ones": Ones,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "zeros": Zeros,
}
_BY_CLASS = {cls.__name__: cls for cls in (*_BY_NAME.values(), Constant)}


def get(identifier) -> Initializer:
    """Return an initializer from its name, from its saved form, or as it is.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if isinstance(identifier, Initializer):
        return identifier
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    if isinstance(identifier, dict) and identifier.get("class") in _BY_CLASS:
        return _BY_CLASS[identifier["class"]](**identifier["config"])
    raise ValueError(
        f"an initializer must be one of {', '.join(map(repr, sorted(_BY_NAME)))} or an object "
        f"from convlib.initializers, got {identifier!r}"
    )


def serialize(initializer: Initializer) -> dict:
    """Return what `get` takes back, in terms that JSON knows."""
    return {"class": type(initializer).__name__, "config": initializer.get_config()}
