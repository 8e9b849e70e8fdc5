"""Wrong answers to the exercises of chapter 9, and the hints they get."""

import numpy as np
import pytest

from convlib import layers, models
from convlib.notebook.checks import hierarchies as checks


def right_field(steps):
    size, jump = 1, 1
    for kernel_size, stride in steps:
        size += (kernel_size - 1) * jump
        jump *= stride
    return size, jump


def jump_first(steps):
    size, jump = 1, 1
    for kernel_size, stride in steps:
        jump *= stride
        size += (kernel_size - 1) * jump
    return size, jump


def whole_windows(steps):
    size, jump = 1, 1
    for kernel_size, stride in steps:
        size += kernel_size * jump
        jump *= stride
    return size, jump


def adding_jumps(steps):
    size, jump = 1, 1
    for kernel_size, stride in steps:
        size += (kernel_size - 1) * jump
        jump += stride - 1
    return size, jump


def without_jump(steps):
    return 1 + sum(kernel_size - 1 for kernel_size, _ in steps), right_field(steps)[1]


WRONG_FIELDS = [
    ("too early", jump_first),
    ("k − 1", whole_windows),
    ("do not add up", adding_jumps),
    ("further apart", without_jump),
    ("by every stride", lambda steps: (without_jump(steps)[0], 1)),
    ("size 1, not 0", lambda steps: (right_field(steps)[0] - 1, right_field(steps)[1])),
    ("last layer's own", lambda steps: steps[-1]),
    ("not simply added", lambda steps: (sum(k for k, _ in steps), right_field(steps)[1])),
    ("First the size", lambda steps: right_field(steps)[::-1]),
    ("two numbers", lambda steps: right_field(steps)[0]),
    ("the size is 5", lambda steps: (99, right_field(steps)[1])),
    ("the jump is 1", lambda steps: (right_field(steps)[0], 99)),
    ("stopped with", lambda steps: steps[99]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_FIELDS)
def test_wrong_fields(hint, answer):
    result = checks.check_receptive_field(answer)
    assert not result and hint in repr(result)


def test_the_right_field():
    assert checks.check_receptive_field(right_field)
    assert checks.check_receptive_field(lambda steps: list(right_field(steps)))


def units_and_rests(size, steps):
    rests = 0
    for kernel_size, stride in steps:
        rests += (size - kernel_size) % stride
        size = (size - kernel_size) // stride + 1
    return size, rests


def seen(size, steps):
    field, jump = right_field(steps)
    return (units_and_rests(size, steps)[0] - 1) * jump + field


def right_rows(size, steps):
    return size - seen(size, steps)


WRONG_ROWS = [
    ("How many are not", seen),
    ("a jump of pixels wide", lambda size, steps: units_and_rests(size, steps)[1]),
    ("number of units", lambda size, steps: units_and_rests(size, steps)[0]),
    ("How many rows?", lambda size, steps: size**2 - seen(size, steps) ** 2),
    (
        "overlap",
        lambda size, steps: size - units_and_rests(size, steps)[0] * right_field(steps)[0],
    ),
    ("one jump less", lambda size, steps: right_rows(size, steps) - right_field(steps)[1]),
    (
        "sees a whole field",
        lambda size, steps: right_rows(size, steps) + right_field(steps)[0],
    ),
    ("beside each other", lambda size, steps: size - right_field(steps)[0]),
    ("do get lost", lambda size, steps: 0),
    ("2 are blind, not 77", lambda size, steps: 77),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_ROWS)
def test_wrong_rows(hint, answer):
    result = checks.check_blind_rows(answer)
    assert not result and hint in repr(result)


def test_the_right_rows():
    assert checks.check_blind_rows(right_rows)


def stack(padding="vvvvv", filters=(32, 64, 64), strides=None, pool_size=2, kernel_size=3):
    """Return a function that makes the five layers, padded where the letter is an s."""
    words = [{"v": "valid", "s": "same"}[letter] for letter in padding]

    def repaired():
        result = []
        for position, count in enumerate(filters):
            result.append(layers.Conv2D(count, kernel_size, padding=words[2 * position]))
            if position < 2:
                word = words[2 * position + 1]
                result.append(layers.MaxPooling2D(pool_size, strides=strides, padding=word))
        return result

    return repaired


WRONG_REPAIRS = [
    ("Nothing is padded, so 108", stack()),
    ("comes too late", stack("vvvvs")),
    ("divides 26 without a rest", stack("vsvvv")),
    ("still blind", stack("vsvvs")),
    ("55,744", stack("svvvv", filters=(32, 64, 65))),
    ("55,744", stack("svvvv", kernel_size=2)),
    ("Keep the strides", stack("vvvvv", strides=1)),
    ("Keep the strides", stack("vvvvv", strides=2, pool_size=3)),
    ("Keep the five layers", lambda: stack("svvvv")()[:4]),
    ("a list of layers", lambda: "same"),
    ("stopped with", lambda: layers.Conv2D(32, (3, 3), padding="equal")),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_REPAIRS)
def test_wrong_repairs(hint, answer):
    result = checks.check_repaired(answer)
    assert not result and hint in repr(result)


@pytest.mark.parametrize("padding", ["svvvv", "vvsvv", "vvvsv", "sssss", "svsvs"])
def test_right_repairs(padding):
    assert checks.check_repaired(stack(padding))
    assert checks.check_repaired(lambda: models.Sequential(stack(padding)()))


def right_side(gradient, share, function=np.square, total=None):
    energy, size = function(gradient), len(gradient)
    total = energy.sum() if total is None else total
    for margin in range((size - 1) // 2, -1, -1):
        if energy[margin : size - margin, margin : size - margin].sum() >= share * total:
            return size - 2 * margin
    return size


WRONG_SIDES = [
    ("Square the gradient", lambda g, share: right_side(g, share, np.positive)),
    ("not squares", lambda g, share: right_side(g, share, np.abs)),
    ("which is not 1", lambda g, share: right_side(g, share, total=1)),
    ("One step further", lambda g, share: right_side(g, share) - 2),
    ("more than needed", lambda g, share: right_side(g, share) + 2),
    ("from the middle", lambda g, share: right_side(g, share) // 2),
    ("left over", lambda g, share: (len(g) - right_side(g, share)) // 2),
    ("area", lambda g, share: right_side(g, share) ** 2),
    ("whole window", lambda g, share: len(g)),
    ("even or odd", lambda g, share: right_side(g, share) + 1),
    ("lie in a square of", lambda g, share: right_side(g, share) + 40),
    ("shape", lambda g, share: g),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_SIDES)
def test_wrong_sides(hint, answer):
    result = checks.check_effective_field(answer)
    assert not result and hint in repr(result)


def test_the_right_side():
    assert checks.check_effective_field(right_side)


def test_untouched_skeletons():
    for check in (
        checks.check_receptive_field,
        checks.check_blind_rows,
        checks.check_effective_field,
    ):
        assert repr(check(lambda *arguments: ...)).startswith("Not tried yet")

    def repaired():
        return [layers.Conv2D(32, (3, 3), padding=..., activation="relu")]

    assert repr(checks.check_repaired(repaired)).startswith("Not tried yet")
