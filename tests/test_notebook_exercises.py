"""The mechanism by which exercises check themselves."""

import numpy as np
import pytest

from convlib.notebook.exercises import Hint, Result, array_of_shape, call, check, number


@check
def check_double(answer):
    value = number(call(answer, 3), "double(3)")
    if value == 9:
        raise Hint("This is the square.")
    if value != 6:
        raise Hint(f"double(3) is {value:g}.")
    return "Doubling it is."


def untouched(x):
    """Return twice x."""
    ...


def untouched_in_part(x):
    result = ...
    return result


def not_implemented(x):
    raise NotImplementedError


@pytest.mark.parametrize("answer", [untouched, untouched_in_part, not_implemented, ...])
def test_an_untouched_skeleton_was_not_tried(answer):
    result = check_double(answer)
    assert not result
    assert repr(result).startswith("Not tried yet")


def test_three_dots_inside_a_collection_were_not_tried():
    @check
    def check_values(values):
        return "unreachable"

    for answer in ([1, ...], {"a": ...}, (1, [2, ...])):
        assert repr(check_values(answer)).startswith("Not tried yet")


def test_a_right_answer_passes():
    result = check_double(lambda x: 2 * x)
    assert result and repr(result) == "Correct. Doubling it is."


def forgets_to_return(x):
    2 * x


def stops(x):
    return x / 0


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda x: x * x, "square"),
        (lambda x: x, "double(3) is 3"),
        (forgets_to_return, "return statement missing"),
        (stops, "ZeroDivisionError"),
        (lambda x: "6", "one number"),
        (lambda x: [6, 6], "one number"),
        (lambda x: float("nan"), "nan"),
        (6, "A function is expected"),
    ],
)
def test_a_wrong_answer_gets_a_hint(answer, hint):
    result = check_double(answer)
    assert not result
    assert repr(result).startswith("Not yet.") and hint in repr(result)


def test_a_function_that_writes_into_its_argument_does_not_spoil_the_check():
    x = np.ones(3)

    def overwrite(values):
        values[:] = 7
        return values

    call(overwrite, x)
    assert np.all(x == 1)


def test_arrays_are_checked_for_shape_and_finite_numbers():
    assert array_of_shape([[1, 2]], (1, 2), "it").dtype == np.float64
    for value, word in ((np.ones(2), "shape"), ([[1, np.inf]], "finite"), ("text", "numbers")):
        with pytest.raises(Hint, match=word):
            array_of_shape(value, (1, 2), "it")


def test_a_result_is_true_only_if_passed():
    assert Result(True, "") and not Result(False, "")
