"""Wrong answers to the exercises of chapter 5, and the hints they get."""

import numpy as np
import pytest

from convlib import shapes
from convlib.notebook.checks import borders_and_padding as checks


def windows(n, s):
    return -(-n // s)


def from_total(total):
    """Return an answer that shares this total as it should be shared."""

    def same_padding(n, k, s):
        rows = max(0, total(n, k, s))
        return rows // 2, rows - rows // 2

    return same_padding


right_padding = from_total(lambda n, k, s: (windows(n, s) - 1) * s + k - n)


def unbounded(n, k, s):
    total = (windows(n, s) - 1) * s + k - n
    return total // 2, total - total // 2


WRONG_PADDINGS = [
    ("to the end", lambda n, k, s: right_padding(n, k, s)[::-1]),
    ("cut in two", lambda n, k, s: (sum(right_padding(n, k, s)) / 2,) * 2),
    ("as equal as they can be", lambda n, k, s: (0, sum(right_padding(n, k, s)))),
    ("does not keep the size", from_total(lambda n, k, s: (n - 1) * s + k - n)),
    ("right at stride 1", from_total(lambda n, k, s: k - 1)),
    ("leave pixels out", unbounded),
    ("not alike", lambda n, k, s: (k // 2, k // 2)),
    ("in all, not on each side", lambda n, k, s: (k - 1, k - 1)),
    ("rounded up", from_total(lambda n, k, s: (n // s - 1) * s + k - n)),
    (
        "there are 13 steps",
        lambda n, k, s: (
            right_padding(n, k, s)
            if s == 1
            else from_total(lambda n, k, s: windows(n, s) * s + k - n)(n, k, s)
        ),
    ),
    ("it is not (3, 4)", lambda n, k, s: (3, 4)),
    ("Return two numbers", lambda n, k, s: sum(right_padding(n, k, s))),
    ("one number", lambda n, k, s: ("1", "1")),
    ("stopped with", lambda n, k, s: n[0]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_PADDINGS)
def test_wrong_paddings(hint, answer):
    result = checks.check_same_padding(answer)
    assert not result and hint in repr(result)


@pytest.mark.parametrize("answer", [right_padding, shapes.same_padding])
def test_the_right_padding(answer):
    assert checks.check_same_padding(answer)


SIZES = {
    "5×5, valid": 24,
    "4×4, same": 28,
    "3×3, same, stride 2": 14,
    "three times 3×3, valid": 22,
    "7×7, padding=2": 26,
}

WRONG_SIZES = [
    ("on every pixel", {"5×5, valid": 28}),
    ("loses more", {"5×5, valid": 26}),
    ("once, not zero times", {"5×5, valid": 23}),
    ("that is valid", {"4×4, same": 25}),
    ("(1, 2)", {"4×4, same": 29}),
    ("(1, 2)", {"4×4, same": 27}),
    ("at stride 1 only", {"3×3, same, stride 2": 28}),
    ("rounded up", {"3×3, same, stride 2": 13}),
    ("and not more", {"3×3, same, stride 2": 15}),
    ("the first of them", {"three times 3×3, valid": 26}),
    ("the second of them", {"three times 3×3, valid": 24}),
    ("two rows, three times", {"three times 3×3, valid": 20}),
    ("two rows, not three", {"three times 3×3, valid": 19}),
    ("two rows, three times", {"three times 3×3, valid": 25}),
    ("without padding", {"7×7, padding=2": 22}),
    ("two at the bottom", {"7×7, padding=2": 24}),
    ("a padding of three", {"7×7, padding=2": 28}),
    ("once, not zero times", {"7×7, padding=2": 25}),
    ("not 5", {"7×7, padding=2": 5}),
]


@pytest.mark.parametrize(("hint", "change"), WRONG_SIZES)
def test_wrong_sizes(hint, change):
    result = checks.check_sizes(SIZES | change)
    assert not result and hint in repr(result)


def test_the_right_sizes():
    assert checks.check_sizes(SIZES)
    assert "Not tried" in repr(checks.check_sizes(SIZES | {"4×4, same": ...}))
    assert "keys" in repr(checks.check_sizes({"4×4, same": 28}))


def test_the_right_sizes_are_those_of_the_library():
    def size(k, s, padding, n=28):
        return shapes.window_geometry((n, n), (k, k), (s, s), padding).output_size[0]

    thrice = size(3, 1, "valid", size(3, 1, "valid", size(3, 1, "valid")))
    computed = [size(5, 1, "valid"), size(4, 1, "same"), size(3, 2, "same"), thrice, size(7, 1, 2)]
    assert computed == list(SIZES.values())


WRONG_SIDES = [
    ("A window of k loses k − 1", lambda a, b, d: (a - b) // d),
    ("How much does one", lambda a, b, d: a - b + 1),
    ("How much does one", lambda a, b, d: (a - b) // d + 1 if d == 1 else a - b),
    ("before minus after", lambda a, b, d: (b - a) // d + 1),
    ("then add one", lambda a, b, d: (a - b + 1) / d),
    ("then add one", lambda a, b, d: (a - b + 1) // d),
    ("it is not 50", lambda a, b, d: 50),
    ("one number", lambda a, b, d: (3, 3)),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_SIDES)
def test_wrong_sides(hint, answer):
    result = checks.check_kernel_side(answer)
    assert not result and hint in repr(result)


def test_the_right_side():
    assert checks.check_kernel_side(lambda a, b, d: (a - b) // d + 1)


def padded_uses(n, k, before, after, last=0, reach=0):
    counts = np.zeros(before + n + after, dtype=int)
    for start in range(before + n + after - k + 1 - last):
        counts[start : start + k + reach] += 1
    return counts


def right_uses(n, k, before, after, **changes):
    return padded_uses(n, k, before, after, **changes)[before : before + n]


def starts(n, k, before, after):
    counts = np.zeros(before + n + after, dtype=int)
    counts[: before + n + after - k + 1] = 1
    return counts[before : before + n]


WRONG_USES = [
    ("Cut it off", padded_uses),
    ("not for each window", lambda n, k, b, a: np.full(n + b + a - k + 1, k)),
    ("more places to stand", lambda n, k, b, a: right_uses(n, k, 0, 0)),
    ("changed places", lambda n, k, b, a: right_uses(n, k, b, a)[::-1]),
    ("last place is missing", lambda n, k, b, a: right_uses(n, k, b, a, last=1)),
    ("than one inside", lambda n, k, b, a: np.full(n, k)),
    ("where it starts", starts),
    ("too short", lambda n, k, b, a: right_uses(n, k, b, a, reach=-1)),
    ("too long", lambda n, k, b, a: right_uses(n, k, b, a, reach=1)),
    ("begin at before", lambda n, k, b, a: padded_uses(n, k, b, a)[:n]),
    ("should be [1, 2, 3, 3, 3, 2, 1]", lambda n, k, b, a: np.arange(n)),
    ("shape", lambda n, k, b, a: np.ones((n, n))),
    ("stopped with", lambda n, k, b, a: n[0]),
]


@pytest.mark.parametrize(("hint", "answer"), WRONG_USES)
def test_wrong_uses(hint, answer):
    result = checks.check_uses_in_a_row(answer)
    assert not result and hint in repr(result)


@pytest.mark.parametrize("answer", [right_uses, lambda *numbers: right_uses(*numbers).tolist()])
def test_the_right_uses(answer):
    assert checks.check_uses_in_a_row(answer)


def test_skeletons_are_not_tried_yet():
    for checked in (
        checks.check_same_padding,
        checks.check_kernel_side,
        checks.check_uses_in_a_row,
    ):
        assert "Not tried" in repr(checked(lambda *arguments: ...))
