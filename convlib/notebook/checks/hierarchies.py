"""Checks of chapter 9: receptive fields, blind strips, effective fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from convlib import layers, models, shapes
from convlib.notebook.exercises import Hint, NotTried, array_of_shape, call, check, number

Steps = Sequence[tuple[int, int]]

_STACKS: tuple[list[tuple[int, int]], ...] = (
    [(3, 1), (3, 1)],
    [(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)],
    [(7, 2), (3, 2), (3, 1)],
    [(5, 3), (1, 1), (4, 2), (3, 1)],
)


def _field(steps: Steps) -> tuple[int, int]:
    return tuple(shapes.receptive_field((size, stride, 1) for size, stride in steps)[-1])


def _mistaken_fields(steps: Steps) -> dict[str, tuple[float, float]]:
    """Return by hint what common mistakes give."""
    size, jump = _field(steps)
    after, without_one, late, stride_sum = [1, 1], [1, 1], [0, 1], [1, 1]
    for kernel_size, stride in steps:
        after[1] *= stride
        after[0] += (kernel_size - 1) * after[1]
        without_one[0] += kernel_size * without_one[1]
        without_one[1] *= stride
        late[0] += (kernel_size - 1) * late[1]
        late[1] *= stride
        stride_sum[0] += (kernel_size - 1) * stride_sum[1]
        stride_sum[1] += stride - 1
    flat = 1 + sum(kernel_size - 1 for kernel_size, _ in steps)
    return {
        "A window of k adds k − 1 units, since it lies on one already.": tuple(without_one),
        "A layer's own stride comes too early: first the size grows, with the old jump.": tuple(
            after
        ),
        "A single pixel has size 1, not 0.": tuple(late),
        "Jumps multiply, they do not add up.": tuple(stride_sum),
        "Units of a higher layer lie further apart: multiply by the jump.": (flat, jump),
        "The jump is multiplied by every stride.": (flat, 1),
        "These are the last layer's own window and stride, not its field.": steps[-1],
        "The sizes of the windows are not simply added up.": (sum(k for k, _ in steps), jump),
        "First the size, then the jump.": (jump, size),
    }


def _pair(value: object) -> tuple[float, float]:
    if not isinstance(value, tuple | list | np.ndarray) or len(value) != 2:
        raise Hint("Return two numbers: the size, and the jump.")
    return number(value[0], "The size"), number(value[1], "The jump")


@check
def check_receptive_field(receptive_field: Callable) -> str:
    """Check a function that gives size and jump after some steps."""
    got = [_pair(call(receptive_field, list(steps))) for steps in _STACKS]
    expected = [_field(steps) for steps in _STACKS]
    if got == expected:
        return "3 → 4 → 8 → 10 → 18 for the text's network, and any other stack."
    mistakes = [_mistaken_fields(steps) for steps in _STACKS]
    for hint in mistakes[0]:
        if got == [mistake[hint] for mistake in mistakes]:
            raise Hint(hint)
    place = next(k for k in range(len(got)) if got[k] != expected[k])
    which = "size" if got[place][0] != expected[place][0] else "jump"
    raise Hint(
        f"After {_STACKS[place]} the {which} is {expected[place][which == 'jump']}, "
        f"not {got[place][which == 'jump']:g}."
    )


_IMAGES = (28, 29, 30, 31, 26)


def _seen(size: int, steps: Steps) -> tuple[int, int, int]:
    """Return how many rows are seen, how many units there are, and how many rests were dropped."""
    units, rests = size, 0
    for kernel_size, stride in steps:
        rests += (units - kernel_size) % stride
        units = shapes.output_size(units, kernel_size, stride)
    field, jump = _field(steps)
    return (units - 1) * jump + field, units, rests


@check
def check_blind_rows(blind_rows: Callable) -> str:
    """Check a function that counts the rows that cannot reach the last layer."""
    text_stack = _STACKS[1]
    cases = [(size, text_stack) for size in _IMAGES] + [(33, _STACKS[2]), (40, _STACKS[3])]
    got = [
        number(call(blind_rows, size, list(steps)), "The number of rows") for size, steps in cases
    ]
    details = [(size, steps, *_seen(size, steps), *_field(steps)) for size, steps in cases]
    expected = [size - seen for size, _, seen, *_ in details]
    if got == expected:
        return "Rows that no unit sees: nothing that is learned can bring them back."
    hints = {
        "That is how many rows are seen. How many are not?": [d[2] for d in details],
        "That counts the rows of maps that are dropped. Each is a jump of pixels wide.": [
            d[4] for d in details
        ],
        "That is the number of units of the last layer.": [d[3] for d in details],
        "That counts pixels. How many rows?": [d[0] ** 2 - d[2] ** 2 for d in details],
        "The units' windows overlap: from one to the next it is a jump, not a field.": [
            d[0] - d[3] * d[5] for d in details
        ],
        "One field and a jump for each further unit: there is one jump less than units.": [
            d[0] - (d[3] * d[6] + d[5]) for d in details
        ],
        "You forgot that the last unit sees a whole field.": [
            d[0] - (d[3] - 1) * d[6] for d in details
        ],
        "A single unit's field is not all that is seen: the units stand beside each other.": [
            d[0] - d[5] for d in details
        ],
        "What does not fit is dropped, so some rows do get lost.": [0] * len(details),
    }
    for hint, mistake in hints.items():
        if got == mistake:
            raise Hint(hint)
    place = next(k for k in range(len(got)) if got[k] != expected[k])
    size, steps = cases[place]
    raise Hint(f"{size} rows through {steps}: {expected[place]} are blind, not {got[place]:g}.")


_KINDS = ("Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D", "Conv2D")


@check
def check_repaired(repaired: Callable) -> str:
    """Check changed layers: the text's parameters, and a gradient for each of 784 pixels."""
    try:
        part = call(repaired)
    except Hint as hint:
        # An untouched skeleton hands the three dots to a layer, which refuses them.
        if "Ellipsis" in str(hint):
            raise NotTried from None
        raise
    if isinstance(part, models.Sequential):
        part = part.layers
    if not isinstance(part, list | tuple) or not all(hasattr(one, "steps") for one in part):
        raise Hint("Return a list of layers.")
    if tuple(type(one).__name__ for one in part) != _KINDS:
        raise Hint("Keep the five layers: three convolutions, and a pooling after the first two.")
    network = models.Sequential([layers.Input((28, 28, 1)), *part])
    if network.count_params() != 55_744:
        raise Hint(
            f"The filters stay as they are: 55,744 parameters, yours has "
            f"{network.count_params():,}."
        )
    if any(one.strides != (1, 1) for one in part[::2]) or any(
        one.strides != (2, 2) or one.pool_size != (2, 2) for one in part[1::2]
    ):
        raise Hint("Keep the strides and the windows of the poolings; change the padding.")
    blind = blind_pixels(network)
    if blind == 0:
        height, width, channels = network.output_shape[1:]
        return f"All 784 pixels reach the output, which is {height}×{width}×{channels} now."
    padded = [one.padding == "same" for one in part]
    if not any(padded):
        raise Hint(f"Nothing is padded, so {blind} pixels are still blind.")
    if padded[4] and not any(padded[:4]):
        raise Hint(
            f"{blind} pixels are blind: padding the last layer comes too late, the strip was lost "
            "at the second pooling."
        )
    if padded[1] and not any(padded[2:]) and not padded[0]:
        raise Hint(
            f"{blind} pixels are blind: the first pooling divides 26 without a rest, so padding "
            "it changes nothing. Which pooling has a rest?"
        )
    raise Hint(f"{blind} pixels are still blind. At which pooling is there a rest?")


def blind_pixels(network: models.Sequential) -> int:
    """Return how many pixels have no gradient for any unit of a network's output."""
    # All-positive weights and images let something through every ReLU, and noise decides the
    # maxima, so that in enough images each pixel that can win does.
    random = np.random.default_rng(9)
    network.set_weights([np.abs(random.normal(size=w.shape)) for w in network.get_weights()])
    network.compile(loss="mse", backend="reference")
    height, width, channels = network.output_shape[1:]
    units = np.arange(height * width)
    reached = np.zeros((28, 28), bool)
    for _ in range(12):
        images = random.uniform(size=(len(units), 28, 28, 1)).astype(np.float32)
        outputs = units * channels + random.integers(0, channels, len(units))
        reached |= (network.input_gradient(images, output=outputs)[..., 0] != 0).any(axis=0)
    return int((~reached).sum())


def _sides(values: np.ndarray, share: float, total: float) -> int:
    size = len(values)
    for margin in range((size - 1) // 2, -1, -1):
        if values[margin : size - margin, margin : size - margin].sum() >= share * total:
            return size - 2 * margin
    return size


@check
def check_effective_field(effective_field: Callable) -> str:
    """Check a function that measures the square that holds a share of the squared gradient."""
    random = np.random.default_rng(90)
    cases = []
    for size, width, share in ((18, 4.0, 0.9), (17, 2.5, 0.9), (18, 3.0, 0.5), (33, 5.0, 0.95)):
        place = np.arange(size) - (size - 1) / 2
        bell = np.exp(-(place**2)[:, np.newaxis] / width**2 / 2 - place**2 / width**2 / 2)
        cases.append((3 * bell * random.normal(size=(size, size)), share))
    got = []
    for gradient, share in cases:
        value = array_of_shape(call(effective_field, gradient, share), (), "The side")
        got.append(float(value))
    squares = [(gradient**2, share) for gradient, share in cases]
    expected = [_sides(square, share, square.sum()) for square, share in squares]
    if got == expected:
        return "The field that counts is smaller than the field that is possible."
    hints = {
        "Square the gradient: where it is negative a pixel acts as well.": [
            _sides(gradient, share, gradient.sum()) for gradient, share in cases
        ],
        "You sum sizes, not squares: the square of the gradient is asked for.": [
            _sides(np.abs(gradient), share, np.abs(gradient).sum()) for gradient, share in cases
        ],
        "The share is a share of the whole sum, which is not 1.": [
            _sides(square, share, 1) for square, share in squares
        ],
        "That is the largest square that does not hold the share. One step further.": [
            side - 2 for side in expected
        ],
        "That is one step more than needed.": [side + 2 for side in expected],
        "That is how far it reaches from the middle. The side is asked for.": [
            side // 2 for side in expected
        ],
        "That is how many rows are left over at one end. The side is asked for.": [
            (len(gradient) - side) // 2 for (gradient, _), side in zip(cases, expected, strict=True)
        ],
        "That is the area of the square. The side is asked for.": [side**2 for side in expected],
        "That is the whole window. How much of it is needed?": [len(g) for g, _ in cases],
    }
    for hint, mistake in hints.items():
        if got == mistake:
            raise Hint(hint)
    place = next(k for k in range(len(got)) if got[k] != expected[k])
    size, share = len(cases[place][0]), cases[place][1]
    if got[place] % 2 != size % 2:
        raise Hint(f"A centred square in a window of {size} has a side that is as even or odd.")
    raise Hint(
        f"In a window of {size}, {100 * share:g} % lie in a square of {expected[place]}, "
        f"not {got[place]:g}."
    )
