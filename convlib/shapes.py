"""Integer geometry of convolution and pooling: output sizes, padding, receptive fields."""

import operator
from collections.abc import Iterable
from typing import NamedTuple

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


def pair(value: int | Iterable[int], name: str, minimum: int = 1) -> Pair:
    """Return ``value`` as ``(height, width)``.

    See chapter 6, "Sizes, and what floor throws away".

    Parameters
    ----------
    value : int or two ints
        One number for both directions, or one for each.
    name : str
        What the caller calls it; appears in the error.
    minimum : int, default 1
        The smallest number allowed.

    Returns
    -------
    (int, int)

    Raises
    ------
    ValueError
        If ``value`` is neither an integer nor two of them, or one is below ``minimum``.

    Examples
    --------
    >>> from convlib.shapes import pair
    >>> pair(3, "strides"), pair([2, 1], "strides")
    ((3, 3), (2, 1))
    """
    try:
        numbers = tuple(value) if isinstance(value, Iterable) else (value, value)
        height, width = (_integer(number) for number in numbers)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an integer or two integers, got {value!r}") from None
    if min(height, width) < minimum:
        raise ValueError(f"{name} must be at least {minimum} in both directions, got {value!r}")
    return height, width


def _integer(number) -> int:
    if isinstance(number, bool):
        raise TypeError("a truth value is not a size")
    return operator.index(number)


def effective_size(kernel_size: int, dilation: int) -> int:
    """Return the extent of a dilated kernel, ``dilation·(kernel_size − 1) + 1`` pixels.

    See chapter 9, "The definition".

    Parameters
    ----------
    kernel_size : int
        Pixels that the kernel reads, in one direction.
    dilation : int
        Distance of neighbouring ones, in pixels; 1 for a kernel without gaps.

    Returns
    -------
    int

    Examples
    --------
    >>> from convlib.shapes import effective_size
    >>> effective_size(3, dilation=1), effective_size(3, dilation=2)
    (3, 5)
    """
    return dilation * (kernel_size - 1) + 1


def output_size(size: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> int:
    """Return how many windows fit: ``⌊(size − effective kernel) / stride⌋ + 1``, at least 0.

    See chapter 6, "Sizes, and what floor throws away".

    Parameters
    ----------
    size : int
        Pixels of the (already padded) input, in one direction.
    kernel_size : int
    stride : int, default 1
        Pixels from one window to the next.
    dilation : int, default 1
        Pixels from one element of the kernel to the next.

    Returns
    -------
    int

    Examples
    --------
    >>> from convlib.shapes import output_size
    >>> output_size(28, 3), output_size(11, 2, stride=2)
    (26, 5)
    """
    return max(0, (size - effective_size(kernel_size, dilation)) // stride + 1)


def same_padding(size: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> Pair:
    """Return the ``(before, after)`` zeros that give ``⌈size / stride⌉`` windows.

    An odd number of zeros puts the extra one after (bottom or right), as TensorFlow and Keras do.

    See chapter 5, "What same means".

    Parameters
    ----------
    size : int
        Pixels of the input, in one direction.
    kernel_size : int
    stride, dilation : int, default 1

    Returns
    -------
    (int, int)
        Zeros before (top or left) and after (bottom or right), in pixels.

    Examples
    --------
    >>> from convlib.shapes import same_padding
    >>> same_padding(28, 3), same_padding(28, 4), same_padding(28, 3, stride=2)
    ((1, 1), (1, 2), (0, 1))
    """
    windows = -(-size // stride)
    total = max(0, (windows - 1) * stride + effective_size(kernel_size, dilation) - size)
    return total // 2, total - total // 2


def resolve_padding(
    padding: str | int | Iterable,
    input_size: Pair,
    kernel_size: Pair,
    strides: Pair = (1, 1),
    dilation: Pair = (1, 1),
) -> Padding:
    """Return any way of writing padding as ``((top, bottom), (left, right))``.

    See chapter 5, "Padding".

    Parameters
    ----------
    padding : 'valid', 'same', int, (int, int) or ((int, int), (int, int))
        A number pads all four sides, two numbers pad (top and bottom, left and right).
    input_size, kernel_size : (int, int)
        Height and width of each, in pixels; only 'same' needs them.
    strides, dilation : (int, int), default (1, 1)
        Likewise.

    Returns
    -------
    ((int, int), (int, int))
        Pixels at the top and bottom, left and right.

    Raises
    ------
    ValueError
        If ``padding`` is none of these, or negative.

    Examples
    --------
    >>> from convlib.shapes import resolve_padding
    >>> resolve_padding((1, 2), (28, 28), (3, 3))
    ((1, 1), (2, 2))
    >>> resolve_padding("same", (28, 28), (3, 5))
    ((1, 1), (2, 2))
    """
    if isinstance(padding, str):
        if padding.lower() == "valid":
            return (0, 0), (0, 0)
        if padding.lower() == "same":
            vertical, horizontal = (
                same_padding(*arguments)
                for arguments in zip(input_size, kernel_size, strides, dilation, strict=True)
            )
            return vertical, horizontal
        raise ValueError(
            f"padding must be 'valid', 'same', an integer or pairs of integers, got {padding!r}"
        )
    sides = tuple(padding) if isinstance(padding, Iterable) else (padding, padding)
    if len(sides) != 2:
        raise ValueError(
            f"padding must have one entry for height and one for width, got {padding!r}"
        )
    vertical, horizontal = (pair(side, "padding", minimum=0) for side in sides)
    return vertical, horizontal


class Geometry(NamedTuple):
    """Everything that a sliding window needs to know, in integers.

    See chapter 5, "The kernel".

    Attributes
    ----------
    output_size : (int, int)
        How many windows fit, vertically and horizontally.
    padding : ((int, int), (int, int))
        Pixels at the top and bottom, left and right.

    Examples
    --------
    >>> from convlib.shapes import Geometry
    >>> size, padding = Geometry(output_size=(26, 26), padding=((0, 0), (0, 0)))
    >>> size
    (26, 26)
    """

    output_size: Pair
    padding: Padding


def window_geometry(
    input_size: Pair,
    kernel_size: Pair,
    strides: Pair,
    padding: str | int | Iterable,
    dilation: Pair = (1, 1),
) -> Geometry:
    """Return output size and padding of a convolution or pooling step.

    See chapter 6, "Sizes, and what floor throws away".

    Parameters
    ----------
    input_size, kernel_size, strides : (int, int)
        Height and width of each, in pixels.
    padding : 'valid', 'same', int, (int, int) or ((int, int), (int, int))
        As in `resolve_padding`.
    dilation : (int, int), default (1, 1)

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If the (dilated) kernel is larger than the padded input, or ``padding`` is none of these.

    Examples
    --------
    >>> from convlib.shapes import window_geometry
    >>> window_geometry((28, 28), (3, 3), strides=(2, 2), padding="same")
    Geometry(output_size=(14, 14), padding=((0, 1), (0, 1)))
    """
    resolved = resolve_padding(padding, input_size, kernel_size, strides, dilation)
    padded = tuple(size + sum(zeros) for size, zeros in zip(input_size, resolved, strict=True))
    height, width = (
        output_size(*arguments)
        for arguments in zip(padded, kernel_size, strides, dilation, strict=True)
    )
    if min(height, width) < 1:
        extent = tuple(
            effective_size(*arguments) for arguments in zip(kernel_size, dilation, strict=True)
        )
        raise ValueError(
            f"the kernel covers {extent[0]}×{extent[1]} pixels, more than the "
            f"{padded[0]}×{padded[1]} of the padded input; use a smaller kernel or padding='same'"
        )
    return Geometry((height, width), resolved)


class ReceptiveField(NamedTuple):
    """What one unit sees, in one direction.

    See chapter 9, "The definition".

    Attributes
    ----------
    size : int
        Input pixels that reach the unit.
    jump : int
        Pixels between the fields of neighbouring units.

    Examples
    --------
    >>> from convlib.shapes import ReceptiveField
    >>> pixel = ReceptiveField(size=1, jump=1)
    >>> pixel.size
    1
    """

    size: int
    jump: int


def receptive_field(steps: Iterable[tuple[int, int, int]]) -> list[ReceptiveField]:
    """Return the receptive field after each step, in one direction.

    See chapter 9, "The definition".

    Parameters
    ----------
    steps : iterable of (kernel_size, stride, dilation)
        The convolution and pooling steps from the input on.

    Returns
    -------
    list of ReceptiveField
        One for each step.

    Notes
    -----
    With jump j and size r, a step gives ``r + (effective kernel − 1)·j`` and ``j·stride``
    (Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks", 2019).

    Examples
    --------
    >>> from convlib.shapes import receptive_field
    >>> convolution, pooling = (3, 1, 1), (2, 2, 1)
    >>> receptive_field([convolution, pooling, convolution])[-1]
    ReceptiveField(size=8, jump=2)
    """
    fields, size, jump = [], 1, 1
    for kernel_size, stride, dilation in steps:
        size += (effective_size(kernel_size, dilation) - 1) * jump
        jump *= stride
        fields.append(ReceptiveField(size, jump))
    return fields
