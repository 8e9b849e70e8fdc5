"""What the data and numbers that a user hands to a model must be like."""

import warnings

import numpy as np


def count(name: str, value, minimum: int = 1) -> int:
    """Return ``value`` if it is a whole number and not below the minimum."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"{name} must be a whole number, {minimum} or more, got {value!r}")
    return int(value)


def numbers(x) -> np.ndarray:
    """Return x as an array of at least one sample."""
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"x must be numbers, got an array of {x.dtype}")
    if x.ndim < 2 or x.size == 0:
        raise ValueError(
            f"x must hold at least one sample, with its first axis counting them, got shape "
            f"{x.shape}"
        )
    return x


def same_sample_shape(x: np.ndarray, sample_shape: tuple[int, ...], first_layer: str) -> None:
    """Raise ValueError unless x holds samples of this shape."""
    if x.shape[1:] == sample_shape:
        return
    hint = ""
    if (*x.shape[1:], 1) == sample_shape:
        hint = "; add the axis of channels with x[..., None]"
    elif x.shape == sample_shape:
        hint = "; one sample alone is x[None]"
    elif x.ndim == 4 and x.shape[1:3] == sample_shape[:2]:
        hint = (
            f": the images have {x.shape[3]} channels, but {first_layer} was built for "
            f"{sample_shape[2]}"
        )
    sizes = ", ".join(map(str, sample_shape))
    raise ValueError(f"x must have the shape (samples, {sizes}), got {x.shape}{hint}")


def same_number_of_samples(x: np.ndarray, y) -> None:
    """Raise ValueError unless there is one target for each sample."""
    shape = np.shape(y)
    if not shape or shape[0] != len(x):
        arrived = shape[0] if shape else repr(y)
        raise ValueError(
            f"x and y must hold the same number of samples, got {len(x)} and {arrived}"
        )


def not_finite(samples: np.ndarray) -> np.ndarray:
    """Return for each sample whether it holds NaN or infinity."""
    return ~np.isfinite(samples).reshape(len(samples), -1).all(1)


def split(x: np.ndarray, y: np.ndarray, share: float) -> tuple[tuple, tuple]:
    """Return the samples without the last ones, and these: ``share`` of all."""
    if not isinstance(share, (int, float)) or not 0 < share < 1:
        raise ValueError(f"validation_split must lie between 0 and 1, got {share!r}")
    first = int(len(x) * (1 - share))
    if first in (0, len(x)):
        purpose = "train on" if first == 0 else "validate on"
        raise ValueError(f"validation_split={share} of {len(x)} samples leaves none to {purpose}")
    return (x[:first], y[:first]), (x[first:], y[first:])


def warn_if_unscaled(x: np.ndarray) -> None:
    """Warn of images with values 0 … 255, which make training slow or impossible."""
    if x.dtype.kind == "b" or x.ndim < 3:
        return
    largest = x.max()
    # Integers are never scaled images; floats might be standardised, but not as far as 16.
    limit = 1 if x.dtype.kind in "iu" else 16
    if limit < largest <= 255 and x.min() >= 0:
        warnings.warn(
            f"x holds values up to {largest:g}; networks learn badly from unscaled images. "
            f"Write x.astype('float32') / 255",
            stacklevel=5,
        )
