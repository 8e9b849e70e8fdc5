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

    See chapter 14, "One number has a width".

    Examples
    --------
    A kind of one's own says what to do with a shape:

    >>> import numpy as np
    >>> from convlib import initializers, layers
    >>> class Identity(initializers.Initializer):
    ...     def __call__(self, shape):
    ...         return np.eye(*shape)
    >>> layer = layers.Dense(2, kernel_initializer=Identity())
    >>> layer.build((None, 2))
    >>> layer.kernel.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return values of the given shape, in float64.

        Parameters
        ----------
        shape : tuple of int
            Of the weight; a kernel's ends with ``in, out``.

        Returns
        -------
        array of float64, of that shape
        """
        raise NotImplementedError

    def get_config(self) -> dict:
        """Return the arguments that make an equal one."""
        return dict(vars(self))


class Constant(Initializer):
    """One value everywhere.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    value : float, default 0

    Examples
    --------
    >>> from convlib.initializers import Constant
    >>> Constant(0.5)((3,)).tolist()
    [0.5, 0.5, 0.5]
    """

    def __init__(self, value: float = 0.0):
        self.value = value

    def __call__(self, shape):
        """Return an array of that value."""
        return np.full(shape, self.value, np.float64)


class Zeros(Initializer):
    """Zeros, the usual start of a bias.

    See chapter 14, "One number has a width".

    Examples
    --------
    >>> from convlib.initializers import Zeros
    >>> Zeros()((3,)).tolist()
    [0.0, 0.0, 0.0]
    """

    def __call__(self, shape):
        """Return zeros."""
        return np.zeros(shape)


class Ones(Initializer):
    """Ones, the usual start of a scale.

    See chapter 14, "One number has a width".

    Examples
    --------
    >>> from convlib.initializers import Ones
    >>> Ones()((3,)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __call__(self, shape):
        """Return ones."""
        return np.ones(shape)


class RandomNormal(Initializer):
    """Independent draws from a normal distribution.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    mean : float, default 0
    stddev : float, default 0.05
        Standard deviation.

    Examples
    --------
    >>> from convlib.initializers import RandomNormal
    >>> values = RandomNormal(stddev=0.1)((100, 100))
    >>> round(float(values.std()), 1)
    0.1
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05):
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape):
        """Draw the values."""
        return utils.random_generator().normal(self.mean, self.stddev, shape)


class RandomUniform(Initializer):
    """Independent draws from ``[minval, maxval)``.

    See chapter 14, "One number has a width".

    Parameters
    ----------
    minval, maxval : float, default −0.05 and 0.05

    Examples
    --------
    >>> from convlib.initializers import RandomUniform
    >>> values = RandomUniform(0, 1)((100, 100))
    >>> bool((values >= 0).all() and (values < 1).all())
    True
    """

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
    """Uniform in ``±√(6 / (fan_in + fan_out))`` (Glorot & Bengio, 2010).

    ``fan_in`` is how many inputs reach one output, kernel height · kernel width · channels, and
    ``fan_out`` is kernel height · kernel width · filters. The default of all kernels, as in Keras.

    See chapter 14, "One number has a width".

    Examples
    --------
    >>> import numpy as np
    >>> from convlib.initializers import GlorotUniform
    >>> kernel = GlorotUniform()((3, 3, 2, 4))
    >>> limit = np.sqrt(6 / (3 * 3 * 2 + 3 * 3 * 4))
    >>> bool(np.abs(kernel).max() <= limit)
    True
    """


class GlorotNormal(_Normal, _Glorot):
    """Truncated normal of variance ``2 / (fan_in + fan_out)`` (Glorot & Bengio, 2010).

    Draws further than two standard deviations from zero are made again; ``fan_in`` and ``fan_out``
    as in `GlorotUniform`.

    See chapter 14, "One number has a width".

    Examples
    --------
    >>> from convlib.initializers import GlorotNormal
    >>> kernel = GlorotNormal()((100, 100))  # variance 2 / 200
    >>> round(float(kernel.std()), 1)
    0.1
    """


class HeUniform(_Uniform, _He):
    """Uniform in ``±√(6 / fan_in)``, for layers followed by ReLU (He et al., 2015).

    ``fan_in`` as in `GlorotUniform`.

    See chapter 14, "One number has a width".

    Examples
    --------
    >>> from convlib.initializers import HeUniform
    >>> kernel = HeUniform()((6, 1000))  # limit 1
    >>> round(float(abs(kernel).max()), 1)
    1.0
    """


class HeNormal(_Normal, _He):
    """Truncated normal of variance ``2 / fan_in``, for ReLU (He et al., 2015).

    Draws further than two standard deviations from zero are made again; ``fan_in`` as in
    `GlorotUniform`.

    See chapter 14, "One number has a width".

    Examples
    --------
    >>> from convlib.initializers import HeNormal
    >>> kernel = HeNormal()((200, 100))  # variance 2 / 200
    >>> round(float(kernel.std()), 1)
    0.1
    """


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

    See chapter 14, "One number has a width".

    Parameters
    ----------
    identifier : str, dict or Initializer
        'glorot_uniform', for example, or what `serialize` returned.

    Returns
    -------
    Initializer

    Raises
    ------
    ValueError
        If there is none of that name.

    Examples
    --------
    >>> from convlib import initializers
    >>> initializers.get("zeros")((2,)).tolist()
    [0.0, 0.0]
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
