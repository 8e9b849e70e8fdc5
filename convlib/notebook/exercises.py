"""Exercises that check themselves.

A check is a function decorated with `check`. It calls what the reader wrote through `call` and
raises `Hint` with a sentence that helps as soon as something is wrong. What comes back is a
`Result`: it shows itself in a notebook, and it is true only if the exercise is solved.
"""

from __future__ import annotations

import dis
import functools
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_OPERATIONS_OF_AN_EMPTY_BODY = {
    "RESUME",
    "NOP",
    "LOAD_CONST",
    "RETURN_CONST",
    "RETURN_VALUE",
}


class Hint(Exception):
    """Says what is wrong with an answer and where to look."""


class NotTried(Exception):
    """Says that the reader has not written anything yet."""


@dataclass(frozen=True)
class Result:
    """Outcome of a check.

    Attributes
    ----------
    passed : bool
        Whether the exercise is solved.
    message : str
        What to tell the reader.
    """

    passed: bool
    message: str

    def __bool__(self) -> bool:
        """Return whether the exercise is solved."""
        return self.passed

    def __repr__(self) -> str:
        """Return the message, so that a notebook shows it."""
        return self.message


def check(function: Callable[..., str]) -> Callable[..., Result]:
    """Make a check out of a function that raises `Hint`, or returns what to say on success."""

    @functools.wraps(function)
    def checked(*answers: object) -> Result:
        try:
            for answer in answers:
                require_tried(answer)
            return Result(True, f"Correct. {function(*answers)}")
        except NotTried:
            return Result(False, "Not tried yet. Replace the three dots and run the cell again.")
        except Hint as hint:
            return Result(False, f"Not yet. {hint}")

    return checked


def require_tried(answer: object) -> None:
    """Raise `NotTried` for three dots, in any place of a tuple, list or dict of answers."""
    if answer is ...:
        raise NotTried
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, tuple | list):
        for part in answer:
            require_tried(part)


def call(function: Callable, *arguments: object) -> object:
    """Call what the reader wrote.

    Arrays among the arguments are copied first, so that a function which writes into its
    arguments does not spoil the check.

    Raises
    ------
    NotTried
        If the body is still the skeleton, or the result contains three dots.
    Hint
        If the function fails, returns nothing, or is no function.
    """
    if not callable(function):
        raise Hint(f"A function is expected here, this is a {type(function).__name__}.")
    copies = [x.copy() if isinstance(x, np.ndarray) else x for x in arguments]
    try:
        result = function(*copies)
    except NotImplementedError:
        raise NotTried from None
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        raise Hint(
            f"{function.__name__} stopped with {type(error).__name__}: {error} "
            f"(line {line} of the code that was running)."
        ) from None
    if result is None:
        if _body_is_empty(function):
            raise NotTried
        raise Hint(f"{function.__name__} returns nothing: is the return statement missing?")
    require_tried(result)
    return result


def _body_is_empty(function: Callable) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and all(
        step.opname in _OPERATIONS_OF_AN_EMPTY_BODY for step in dis.get_instructions(code)
    )


def number(value: object, what: str) -> float:
    """Return `value` as a float, or raise a hint that says what is expected in its place."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.size != 1:
        raise Hint(f"{what} should be one number, got {value!r}.")
    result = float(array.reshape(()))
    if not np.isfinite(result):
        raise Hint(f"{what} is {result}: something was divided by zero or overflowed.")
    return result


def array_of_shape(value: object, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Return `value` as an array of the given shape, or raise a hint that names both shapes."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise Hint(f"{what} should be an array of numbers, got {type(value).__name__}.")
    if array.shape != shape:
        raise Hint(f"{what} should have shape {shape}, yours has {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise Hint(f"{what} contains values that are not finite numbers.")
    return array.astype(np.float64)
