"""What the contract test needs to know of each operation: its outputs, its rounding, its cases.

To add a kernel, add one row to `OPERATIONS` and its cases to `CASES`.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from math import inf, nan, prod
from types import SimpleNamespace

import numpy as np

from convlib import shapes
from convlib.kernels import reference
from convlib.kernels.cpu.winograd import INPUT, KERNEL, OUTPUT
from convlib.kernels.scratch import Scratch


@dataclass(frozen=True)
class Operation:
    """What a call of one operation changes, and how far rounding may carry it.

    ``roundings(before, after)`` gives for each output the tolerated error in units of the machine
    epsilon, from the float64 arguments ``before`` the call and the expected ones ``after`` it.
    Outputs that it leaves out are compared exactly.
    """

    roundings: Callable[[SimpleNamespace, SimpleNamespace], dict[str, np.ndarray]]
    outputs: tuple[str, ...]
    updated: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()

    @property
    def changed(self) -> tuple[str, ...]:
        return self.outputs + self.updated


@dataclass(frozen=True)
class Case:
    """One call of an operation; outputs are given as arrays of the right shape and dtype."""

    operation: str
    label: str
    arguments: dict

    def __str__(self):
        return f"{self.operation}-{self.label.replace(' ', '_')}"


def call(backend, operation, arguments):
    """Call a backend's operation with arguments by name, in the order of the contract."""
    names = signature(getattr(reference, operation)).parameters
    return getattr(backend, operation)(*(arguments[name] for name in names))


def postpone(scratch, dw, parts, place):
    """Postpone that dw becomes the total of ``parts`` (parts, rows, length), from a place on.

    In memory the rows lie three numbers apart, which are NaN.
    """
    count, rows, length = parts.shape
    (sums,) = scratch.take_sums(((count, rows * (length + 3)), dw.dtype))
    sums.fill(nan)
    sums.reshape(count, rows, -1)[:, :, 2 : 2 + length] = parts
    target = dw[place : place + rows * length]
    scratch.postpone(target, sums, 2, (length, length + 3))


def postpone_all(scratch, arguments):
    """Postpone what a case's ``postponed`` says: a dict from places in dw to partial sums."""
    for place, parts in arguments.get("postponed", {}).items():
        postpone(scratch, arguments["dw"], parts, place)


# Rounding ---------------------------------------------------------------------------------------

# A library's exp, log or tanh is right to 4 ulp at worst; with the few operations around it, no
# elementwise formula here rounds more often than this.
ELEMENTWISE = 8


def _exact(before, after):
    return {}


def _linear(terms: Callable[[SimpleNamespace], int]):
    """Return the bound ``K · op(|x|, |w|)`` of sums of ``K = terms(arguments)`` products."""

    def roundings(before, after):
        sizes = {
            name: np.abs(value) if is_float(value) else value
            for name, value in vars(before).items()
        }
        call(reference, before.operation, sizes)
        outputs = OPERATIONS[before.operation].outputs
        return {name: terms(before) * sizes[name] for name in outputs if is_float(sizes[name])}

    return roundings


def is_float(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _patch_terms(a):
    """Kernel elements × channels of one group, and the bias."""
    return prod(a.w.shape[:3]) + 1


def _filter_terms(a):
    """Kernel elements × filters of one group."""
    return prod(a.w.shape[:2]) * a.w.shape[3] // a.groups


def _position_terms(a):
    """Samples × output positions."""
    return prod(a.dy.shape[:3])


def winograd_bound(x, w, b, padding, output_size, m):
    """Return the error bound of 3×3 convolution by Winograd's way with m×m outputs to a patch.

    In units of epsilon, ``(channels + 4·n + 8) · |Aᵀ| [(|G| |g| |G|ᵀ) ⊙ (|Bᵀ| |d| |B|)] |A|``, as
    `convlib.kernels.cpu.winograd` derives it; 0 where it is not finite, as such patches are summed
    directly.
    """
    n = m + 2
    from_input, from_kernel, to_output = (
        np.abs(np.array(matrices[m])) for matrices in (INPUT, KERNEL, OUTPUT)
    )
    down, across = (-(-size // m) for size in output_size)
    field = np.zeros((len(x), 2 + down * m, 2 + across * m, x.shape[3]))
    (top, _), (left, _) = padding
    inside = field[:, max(0, top) :, max(0, left) :]
    seen = np.abs(x)[:, max(0, -top) :, max(0, -left) :][:, : inside.shape[1], : inside.shape[2]]
    inside[:, : seen.shape[1], : seen.shape[2]] = seen
    u = np.einsum("iu,uvco,jv->ijco", from_kernel, np.abs(w), from_kernel)
    bound = np.zeros((len(x), down * m, across * m, w.shape[3]))
    for row, column in np.ndindex(down, across):
        i, j = row * m, column * m
        patch = field[:, i : i + n, j : j + n]
        v = np.einsum("iu,xuvc,jv->xijc", from_input, patch, from_input)
        products = np.einsum("xijc,ijco->xijo", v, u)
        y = np.einsum("pi,xijo,qj->xpqo", to_output, products, to_output)
        bound[:, i : i + m, j : j + m] = y
    bound = bound[:, : output_size[0], : output_size[1]] + (0 if b is None else np.abs(b))
    return np.where(np.isfinite(bound), (x.shape[3] + 4 * n + 8) * bound, 0)


def _plain(before):
    """Return whether a convolution may be taken by Winograd's way."""
    geometry = (before.w.shape[:2], before.strides, before.dilation, before.groups)
    return geometry == ((3, 3), (1, 1), (1, 1), 1)


def _convolution(before, after):
    """Return the larger of the bounds of direct summation and of Winograd's way."""
    a, bounds = before, _linear(_patch_terms)(before, after)
    if _plain(a):
        ways = [winograd_bound(a.x, a.w, a.b, a.padding, a.y.shape[1:3], m) for m in (2, 4)]
        bounds["y"] = np.fmax.reduce([bounds["y"], *ways])
    return bounds


def _convolution_backward(before, after):
    """Return the same for the input gradient, which convolves dy with the turned kernel."""
    a, bounds = before, _linear(_filter_terms)(before, after)
    if _plain(a):
        turned = a.w[::-1, ::-1].transpose(0, 1, 3, 2)
        padding = [(2 - before, 2 - after) for before, after in a.padding]
        ways = [winograd_bound(a.dy, turned, None, padding, a.dx.shape[1:3], m) for m in (2, 4)]
        bounds["dx"] = np.fmax.reduce([bounds["dx"], *ways])
    return bounds


def _before_pooling(before, after):
    """Return the bound of a convolution that is pooled, and may be taken by Winograd's way."""
    a, bounds = before, _linear(_patch_terms)(before, after)
    if _plain(a) and a.pool_size == (2, 2):
        n, height, width, filters = after.y.shape
        bound = winograd_bound(a.x, a.w, a.b, a.padding, (2 * height, 2 * width), 2)
        windows = bound.reshape(n, height, 2, width, 2, filters)
        bounds["y"] = np.fmax(bounds["y"], windows.max((2, 4)))
    return bounds


def _overlaps(a):
    """Windows that share one pixel, at most."""
    return prod(-(-size // stride) for size, stride in zip(a.pool_size, a.strides, strict=True))


def _relu_forward(a, e):
    sloped = abs(a.negative_slope) * (np.abs(a.x) + abs(a.threshold))
    return {"y": ELEMENTWISE * np.where(a.x > a.threshold, 0, sloped)}


def _relu_backward(a, e):
    sloped = np.abs(a.negative_slope * a.dy)
    return {"dx": ELEMENTWISE * np.where(a.x > a.threshold, 0, sloped)}


def _relative(a, e):
    return {name: ELEMENTWISE * np.abs(value) for name, value in vars(e).items()}


def _sigmoid_backward(a, e):
    return {"dx": ELEMENTWISE * np.abs(a.dy * a.y) * (1 + np.abs(a.y))}


def _tanh_backward(a, e):
    return {"dx": ELEMENTWISE * np.abs(a.dy) * (1 + a.y**2)}


def _softmax(x, probabilities):
    # x − m is rounded once, which e^{x−m} turns into a relative error of |x − m|; in the sum of
    # the exponentials that is at most 1/e for each of them.
    distance = x.max(1, keepdims=True) - x
    with np.errstate(invalid="ignore"):
        return np.where(
            probabilities == 0, 0, probabilities * (distance + 2 * x.shape[1] + ELEMENTWISE)
        )


def _softmax_forward(a, e):
    return {"y": _softmax(a.x, e.y)}


def _softmax_backward(a, e):
    size = np.abs(a.dy) + np.abs(a.dy * a.y).sum(1, keepdims=True)
    return {"dx": (a.y.shape[1] + ELEMENTWISE) * a.y * size}


def _softmax_cross_entropy_forward(a, e):
    distance = a.x.max(1, keepdims=True) - a.x
    logarithm = np.log(np.exp(-distance).sum(1, keepdims=True))
    terms = 2 * a.x.shape[1] + ELEMENTWISE
    losses = terms * (np.abs(a.target) * (1 + logarithm + distance)).sum(1)
    return {"losses": losses, "probabilities": _softmax(a.x, e.probabilities)}


def _softmax_cross_entropy_backward(a, e):
    total = np.abs(a.target).sum(1, keepdims=True)
    terms = a.target.shape[1] + ELEMENTWISE
    return {"dx": terms * abs(a.scale) * (a.probabilities * total + np.abs(a.target))}


def _clipped(p):
    return np.clip(p, reference.PROBABILITY_FLOOR, 1 - reference.PROBABILITY_FLOOR)


def _categorical_cross_entropy_forward(a, e):
    q = _clipped(a.p / a.p.sum(1, keepdims=True))
    terms = 2 * a.p.shape[1] + ELEMENTWISE
    return {"losses": terms * (np.abs(a.target) * (1 + np.abs(np.log(q)))).sum(1)}


def _categorical_cross_entropy_backward(a, e):
    total = a.p.sum(1, keepdims=True)
    q = a.p / total
    g = np.abs(a.target) / _clipped(q)
    terms = 3 * a.p.shape[1] + ELEMENTWISE
    return {"dp": terms * abs(a.scale) * (g + (g * q).sum(1, keepdims=True)) / total}


def _sigmoid_cross_entropy_forward(a, e):
    size = np.maximum(a.x, 0) + np.abs(a.x * a.target) + np.log1p(np.exp(-np.abs(a.x)))
    return {"losses": (a.x.shape[1] + ELEMENTWISE) * size.mean(1)}


def _sigmoid_cross_entropy_backward(a, e):
    size = 1 / (1 + np.exp(-a.x)) + np.abs(a.target)
    return {"dx": ELEMENTWISE * abs(a.scale) * size / a.x.shape[1]}


def _binary_cross_entropy_forward(a, e):
    q = _clipped(a.p)
    one, zero = np.abs(a.target), np.abs(1 - a.target)
    # 1 − q is rounded before its logarithm is taken, and the upper clipping point 1 − 1e-7 as well.
    clipping = np.where(a.p > q, one / q + zero / (1 - q), 0)
    size = one * np.abs(np.log(q)) + zero * (1 + np.abs(np.log(1 - q))) + clipping
    return {"losses": (a.p.shape[1] + ELEMENTWISE) * size.mean(1)}


def _binary_cross_entropy_backward(a, e):
    q = _clipped(a.p)
    size = (q + np.abs(a.target)) / (q * (1 - q)) / a.p.shape[1]
    return {"dp": np.where(a.p == q, ELEMENTWISE * abs(a.scale) * size, 0)}


def _mean_squared_error_forward(a, e):
    size = ((np.abs(a.x) + np.abs(a.target)) ** 2).mean(1)
    return {"losses": (a.x.shape[1] + ELEMENTWISE) * size}


def _mean_squared_error_backward(a, e):
    return {"dx": ELEMENTWISE * abs(a.scale) * (np.abs(a.x) + np.abs(a.target)) / a.x.shape[1]}


def _batch_norm_statistics(a, e):
    rows = len(a.x)
    mean = rows * np.abs(a.x).mean(0)
    # Squares of the deviations from the *rounded* mean: its error enters squared. Subtracting the
    # square of the mean from the mean of squares would lose everything when the mean is large.
    shift = np.finfo(a.dtype).eps * mean**2
    return {"mean": mean, "variance": (rows + ELEMENTWISE) * e.variance + shift}


def _batch_norm_forward(a, e):
    deviation = np.sqrt(a.variance + a.epsilon)
    size = np.abs(a.gamma) * (np.abs(a.x) + np.abs(a.mean)) / deviation + np.abs(a.beta)
    return {"y": ELEMENTWISE * size}


def _batch_norm_backward(a, e):
    rows, deviation = len(a.x), np.sqrt(a.variance + a.epsilon)
    normalised = (np.abs(a.x) + np.abs(a.mean)) / deviation
    dbeta, dgamma = np.abs(a.dy).sum(0), (np.abs(a.dy) * normalised).sum(0)
    size = np.abs(a.dy) + dbeta / rows + normalised * dgamma / rows
    terms = rows + ELEMENTWISE
    return {
        "dbeta": terms * dbeta,
        "dgamma": terms * dgamma,
        "dx": terms * np.abs(a.gamma) / deviation * size,
    }


def _moving_average(a, e):
    """Three roundings of numbers no larger than these."""
    return {"average": ELEMENTWISE * (np.abs(a.average) + np.abs(a.x))}


def _of_a_step(roundings):
    """Return the bound of an optimizer, which is exact where it takes no step."""
    return lambda a, e: roundings(a, e) if np.isfinite(e.dw).all() else {}


@_of_a_step
def _sgd(a, e):
    velocity = np.abs(a.momentum * a.velocity) + np.abs(a.learning_rate * e.dw)
    size = np.abs(a.w) + velocity + np.abs(a.learning_rate * e.dw)
    return {"velocity": ELEMENTWISE * velocity, "w": ELEMENTWISE * size}


# A running mean keeps the shares beta and 1 − beta. Both carry an absolute rounding of epsilon,
# which is why the sizes below are |old| + |new| and not beta·|old| + (1 − beta)·|new|.


@_of_a_step
def _rmsprop(a, e):
    square = a.mean_square + e.dw**2
    inside = e.mean_square + a.epsilon
    step = a.learning_rate * np.abs(e.dw) / np.sqrt(inside) * (1 + square / inside)
    return {"mean_square": ELEMENTWISE * square, "w": ELEMENTWISE * (np.abs(a.w) + step)}


@_of_a_step
def _adam(a, e):
    mean, square = np.abs(a.mean) + np.abs(e.dw), a.mean_square + e.dw**2
    rate = a.learning_rate * np.sqrt(1 - a.beta_2**a.step) / (1 - a.beta_1**a.step)
    root = np.sqrt(e.mean_square)
    magnified = 1 + square / np.maximum(e.mean_square, np.finfo(float).tiny)
    step = rate * (mean + np.abs(e.mean) * magnified) / (root + a.epsilon)
    return {
        "mean": ELEMENTWISE * mean,
        "mean_square": ELEMENTWISE * square,
        "w": ELEMENTWISE * (np.abs(a.w) + step),
    }


OPERATIONS = {
    "adam_update": Operation(_adam, (), ("w", "dw", "mean", "mean_square")),
    "average_pool2d_backward": Operation(_linear(lambda a: _overlaps(a) + 2), ("dx",)),
    "average_pool2d_forward": Operation(_linear(lambda a: prod(a.pool_size) + 2), ("y",)),
    "batch_norm_backward": Operation(
        _batch_norm_backward, ("dx", "dgamma", "dbeta"), aliases=(("dx", "dy"),)
    ),
    "batch_norm_forward": Operation(_batch_norm_forward, ("y",), aliases=(("y", "x"),)),
    "batch_norm_statistics": Operation(_batch_norm_statistics, ("mean", "variance")),
    "binary_cross_entropy_backward": Operation(_binary_cross_entropy_backward, ("dp",)),
    "binary_cross_entropy_forward": Operation(_binary_cross_entropy_forward, ("losses",)),
    "categorical_cross_entropy_backward": Operation(_categorical_cross_entropy_backward, ("dp",)),
    "categorical_cross_entropy_forward": Operation(_categorical_cross_entropy_forward, ("losses",)),
    "col2im": Operation(_linear(lambda a: prod(a.kernel_size)), ("x",)),
    "conv2d_backward_input": Operation(_convolution_backward, ("dx",)),
    "conv2d_backward_params": Operation(_linear(_position_terms), ("dw", "db")),
    "conv2d_forward": Operation(_convolution, ("y",)),
    "conv2d_relu_forward": Operation(_convolution, ("y",)),
    "conv2d_relu_max_pool2d_backward_input": Operation(_linear(_filter_terms), ("dx",)),
    "conv2d_relu_max_pool2d_backward_params": Operation(_linear(_position_terms), ("dw", "db")),
    "conv2d_relu_max_pool2d_forward": Operation(_before_pooling, ("y", "code")),
    "dense_backward_input": Operation(_linear(lambda a: a.w.shape[1]), ("dx",)),
    "dense_backward_params": Operation(_linear(lambda a: len(a.x)), ("dw", "db")),
    "dense_forward": Operation(_linear(lambda a: len(a.w) + 1), ("y",)),
    "dense_relu_forward": Operation(_linear(lambda a: len(a.w) + 1), ("y",)),
    "depthwise_conv2d_backward_input": Operation(
        _linear(lambda a: prod(a.w.shape[:2]) * a.w.shape[3]), ("dx",)
    ),
    "depthwise_conv2d_backward_params": Operation(_linear(_position_terms), ("dw", "db")),
    "depthwise_conv2d_forward": Operation(_linear(lambda a: prod(a.w.shape[:2]) + 1), ("y",)),
    "dropout": Operation(_relative, ("y",), aliases=(("y", "x"),)),
    "gather": Operation(_exact, ("y",)),
    "im2col": Operation(_exact, ("columns",)),
    "max_pool2d_backward": Operation(_linear(_overlaps), ("dx",)),
    "max_pool2d_forward": Operation(_exact, ("y", "argmax")),
    "mean_squared_error_backward": Operation(_mean_squared_error_backward, ("dx",)),
    "mean_squared_error_forward": Operation(_mean_squared_error_forward, ("losses",)),
    "moving_average_update": Operation(_moving_average, (), ("average",)),
    "pad2d_backward": Operation(_exact, ("dx",)),
    "pad2d_forward": Operation(_exact, ("y",)),
    "relu_backward": Operation(_relu_backward, ("dx",), aliases=(("dx", "dy"),)),
    "relu_forward": Operation(_relu_forward, ("y",), aliases=(("y", "x"),)),
    "rmsprop_update": Operation(_rmsprop, (), ("w", "dw", "mean_square")),
    "sgd_update": Operation(_sgd, (), ("w", "dw", "velocity")),
    "sigmoid_backward": Operation(_sigmoid_backward, ("dx",), aliases=(("dx", "dy"),)),
    "sigmoid_cross_entropy_backward": Operation(_sigmoid_cross_entropy_backward, ("dx",)),
    "sigmoid_cross_entropy_forward": Operation(_sigmoid_cross_entropy_forward, ("losses",)),
    "sigmoid_forward": Operation(_relative, ("y",), aliases=(("y", "x"),)),
    "softmax_backward": Operation(_softmax_backward, ("dx",), aliases=(("dx", "dy"),)),
    "softmax_cross_entropy_backward": Operation(
        _softmax_cross_entropy_backward, ("dx",), aliases=(("dx", "probabilities"),)
    ),
    "softmax_cross_entropy_forward": Operation(
        _softmax_cross_entropy_forward,
        ("losses", "probabilities"),
        aliases=(("probabilities", "x"),),
    ),
    "softmax_forward": Operation(_softmax_forward, ("y",), aliases=(("y", "x"),)),
    "tanh_backward": Operation(_tanh_backward, ("dx",), aliases=(("dx", "dy"),)),
    "tanh_forward": Operation(_relative, ("y",), aliases=(("y", "x"),)),
}


# Cases ------------------------------------------------------------------------------------------


def _random(label, *shape):
    return np.random.default_rng(zlib.crc32(f"{label} {shape}".encode())).standard_normal(shape)


def _with(array, value, *places):
    """Return ``array`` with ``value`` written at some of its elements."""
    for place in places:
        array[place] = value
    return array


def _output(*shape, dtype=float):
    return np.zeros(shape, dtype)


def _conv2d(label, x, w, /, strides=(1, 1), padding="valid", dilation=(1, 1), groups=1, **values):
    """Yield forward and both backward calls for images ``x`` and kernels ``w``, given as shapes.

    ``values`` replace the random x, w, b or dy; ``b=None`` goes with ``db=None``.
    """
    (height, width), padding = shapes.window_geometry(x[1:3], w[:2], strides, padding, dilation)
    window = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
    yield from _convolution_calls(
        "conv2d", label, x, w, (x[0], height, width, w[3]), window, values
    )


def _depthwise_conv2d(label, x, w, /, strides=(1, 1), padding="valid", dilation=(1, 1), **values):
    """Yield the same for depthwise convolution."""
    (height, width), padding = shapes.window_geometry(x[1:3], w[:2], strides, padding, dilation)
    window = {"strides": strides, "padding": padding, "dilation": dilation}
    y = (x[0], height, width, w[2] * w[3])
    yield from _convolution_calls("depthwise_conv2d", label, x, w, y, window, values)


def _convolution_calls(name, label, x, w, y, window, values):
    random = {
        "x": _random(f"{label} x", *x),
        "w": _random(f"{label} w", *w),
        "b": _random(f"{label} b", y[-1]),
        "dy": _random(f"{label} dy", *y),
        **values,
    }
    outputs = {"y": _output(*y), "dx": _output(*x), "dw": _output(*w), "db": _output(y[-1])}
    if random["b"] is None:
        outputs["db"] = None
    arguments = random | outputs | window
    directions = ["forward", "backward_input", "backward_params"]
    if name == "conv2d":
        directions.append("relu_forward")
    for direction in directions:
        yield _case(f"{name}_{direction}", label, arguments)


def _case(operation, label, arguments):
    names = signature(getattr(reference, operation)).parameters
    values = {name: arguments.get(name) for name in names if name != "scratch"}
    if "postponed" in arguments:
        values["postponed"] = arguments["postponed"]
    return Case(operation, label, values)


CONVOLUTIONS = [
    # label, x, kernel, filters, options
    ("first layer of the text", (2, 28, 28, 1), (3, 3), 32, {}),
    ("second layer of the text", (2, 13, 13, 32), (3, 3), 64, {}),
    ("third layer of the text", (2, 5, 5, 64), (3, 3), 64, {}),
    ("not square", (2, 7, 11, 3), (3, 5), 5, {}),
    ("stride does not divide", (2, 11, 8, 3), (3, 2), 10, {"strides": (2, 3)}),
    ("stride above kernel", (1, 9, 10, 5), (2, 2), 3, {"strides": (3, 4)}),
    ("even kernel same", (2, 6, 7, 4), (4, 2), 3, {"padding": "same"}),
    ("same stride 2", (2, 9, 8, 3), (3, 3), 17, {"padding": "same", "strides": (2, 2)}),
    ("same 3x3 32 channels", (2, 7, 7, 32), (3, 3), 32, {"padding": "same"}),
    # Enough of everything for Winograd's way to be the faster one.
    ("many patches", (5, 15, 14, 32), (3, 3), 32, {"padding": ((0, 2), (1, 1))}),
    ("image 1x1", (3, 1, 1, 10), (1, 1), 10, {}),
    ("image 1x1 same", (1, 1, 1, 3), (3, 3), 2, {"padding": "same"}),
    ("kernel as large as image", (2, 5, 4, 3), (5, 4), 33, {}),
    # No multiple of a tile of the GPU's, in any direction.
    ("ragged large tiles", (1, 11, 13, 12), (3, 3), 67, {}),
    ("kernel 1x1", (2, 4, 5, 31), (1, 1), 17, {}),
    ("kernel 1x1 stride 2", (2, 5, 6, 16), (1, 1), 16, {"strides": (2, 2)}),
    ("one row", (1, 1, 9, 2), (1, 3), 4, {}),
    ("one column", (1, 9, 1, 2), (3, 1), 4, {"padding": "same"}),
    ("kernel 5x5", (2, 9, 8, 2), (5, 5), 6, {"padding": "same"}),
    ("dilation", (2, 11, 12, 3), (3, 2), 5, {"dilation": (2, 3)}),
    (
        "dilation stride same",
        (2, 10, 9, 3),
        (3, 3),
        16,
        {"dilation": (3, 2), "strides": (2, 1), "padding": "same"},
    ),
    ("groups 3", (2, 6, 5, 6), (3, 3), 9, {"groups": 3}),
    ("groups as channels", (2, 6, 5, 5), (3, 2), 10, {"groups": 5, "padding": "same"}),
    ("groups 2 of 16 to 32", (2, 5, 5, 32), (3, 3), 64, {"groups": 2}),
    (
        "groups 2 stride dilation",
        (2, 9, 9, 4),
        (2, 3),
        6,
        {"groups": 2, "strides": (2, 3), "dilation": (3, 2), "padding": ((1, 0), (0, 2))},
    ),
    ("asymmetric padding", (2, 5, 6, 3), (3, 4), 7, {"padding": ((0, 2), (1, 3))}),
    ("padding one side", (2, 5, 6, 3), (3, 3), 7, {"padding": ((2, 0), (0, 0))}),
    ("windows of padding alone", (2, 3, 4, 5), (2, 2), 3, {"padding": ((4, 5), (3, 6))}),
    (
        "padding and stride above kernel",
        (2, 4, 4, 2),
        (2, 2),
        3,
        {"padding": ((3, 3), (3, 3)), "strides": (3, 3)},
    ),
    ("no bias", (2, 5, 6, 3), (3, 3), 5, {"b": None}),
    ("no samples", (0, 5, 6, 3), (3, 3), 5, {}),
    ("no samples no bias", (0, 5, 6, 3), (3, 3), 5, {"b": None}),
    # Enough work for the CPU to cut sums into chunks, of 1024 windows and more.
    ("3000 windows", (37, 11, 12, 2), (3, 3), 5, {}),
    ("4000 windows in groups", (40, 11, 12, 4), (2, 3), 6, {"groups": 2}),
    ("3000 windows same", (16, 14, 14, 1), (3, 3), 12, {"padding": "same"}),
    ("batch 37", (37, 6, 5, 3), (3, 3), 10, {"padding": "same"}),
    ("batch 37 of 16 channels", (37, 5, 5, 16), (3, 3), 16, {}),
    ("batch 130", (130, 3, 3, 2), (2, 2), 3, {}),
    ("wide image", (1, 3, 70, 2), (3, 3), 4, {"padding": "same"}),
    ("tall image", (1, 70, 3, 2), (3, 3), 4, {"padding": "same"}),
    *(
        (f"channels {inputs} to {filters}", (2, 4, 5, inputs), (3, 3), filters, {})
        for inputs, filters in (
            *((1, 33), (3, 1), (5, 31), (10, 17), (17, 10), (31, 5), (33, 3), (1, 1)),
            *((16, 16), (32, 64), (64, 32), (16, 48), (48, 80), (3, 65), (2, 129)),
        )
    ),
]

# One filter for each channel, in rows that are long enough for tiles of neighbouring windows, and
# some that are just too short.
DEPTHWISE = [
    # label, x, kernel, options
    ("rows of whole tiles", (2, 5, 14, 16), (3, 3), {}),
    ("rows of tiles same", (2, 6, 21, 35), (3, 3), {"padding": "same"}),
    ("rows of one tile", (1, 5, 8, 40), (3, 3), {"padding": "same"}),
    ("rows below a tile", (1, 5, 7, 17), (3, 3), {"padding": "same"}),
    ("two rows of tiles", (3, 2, 9, 16), (3, 3), {"padding": "same"}),
    ("long rows", (3, 4, 71, 33), (3, 3), {"padding": "same"}),
    ("few channels in long rows", (2, 4, 40, 3), (3, 3), {"padding": "same"}),
    ("tiles stride 2", (2, 9, 29, 20), (3, 3), {"padding": "same", "strides": (2, 2)}),
    ("tiles stride 3 and 2", (2, 11, 31, 17), (4, 3), {"strides": (3, 2)}),
    ("tiles 5x5", (2, 9, 17, 18), (5, 5), {"padding": "same"}),
    ("tiles 2x6", (2, 6, 19, 16), (2, 6), {"padding": ((0, 1), (2, 4))}),
    ("tiles 7x1", (2, 9, 9, 16), (7, 1), {"padding": "same"}),
    ("tiles dilated", (2, 9, 22, 19), (3, 3), {"padding": "same", "dilation": (2, 2)}),
    (
        "tiles dilated as far as strided",
        (2, 9, 29, 16),
        (3, 3),
        {"padding": ((1, 2), (3, 2)), "dilation": (2, 2), "strides": (2, 2)},
    ),
    (
        "tiles dilated and strided",
        (2, 13, 30, 21),
        (3, 4),
        {"padding": ((4, 3), (1, 5)), "dilation": (3, 2), "strides": (2, 3)},
    ),
    ("tiles without bias", (2, 5, 14, 16), (3, 3), {"b": None, "padding": "same"}),
    ("tiles beside windows of padding", (1, 3, 9, 16), (2, 2), {"padding": ((3, 3), (9, 9))}),
    ("many rows", (37, 15, 13, 17), (3, 3), {"padding": "same"}),
    ("many rows stride 2", (37, 15, 27, 33), (3, 3), {"padding": "same", "strides": (2, 2)}),
    ("many channels", (37, 4, 3, 150), (3, 3), {"padding": "same"}),
]

# Where NaN is, exactly: planted at one element, it must reach what is computed from it, only that.
_SMALL = {"x": (2, 6, 7, 5), "w": (3, 3, 5, 18)}


def _planted(label, *shape, value=nan):
    """Return random numbers with ``value`` at two elements that have no special place."""
    array = _random(label, *shape)
    if array.size:
        array.flat[[array.size // 3, (2 * array.size) // 3]] = value
    return array


def _convolution_cases():
    for label, x, kernel, filters, options in CONVOLUTIONS:
        groups = options.get("groups", 1)
        w = (*kernel, x[3] // groups, filters)
        yield from _conv2d(label, x, w, **options)
    x, w = _SMALL["x"], _SMALL["w"]
    yield from _conv2d("NaN in x", x, w, padding="same", x=_planted("x", *x))
    yield from _conv2d("NaN in x strided", x, w, (2, 2), x=_planted("x", *x))
    # A NaN weight over padding would ask whether 0·NaN takes part, which the contract leaves open:
    # no padding, and not the input gradient, whose windows may hang over the border of dy.
    for case in _conv2d("NaN in w", x, w, w=_planted("w", *w)):
        if case.operation != "conv2d_backward_input":
            yield case
    yield from _conv2d("NaN in dy", x, w, dy=_planted("dy", 2, 4, 5, 18))
    yield from _conv2d("infinity in x", x, w, x=_planted("x", *x, value=inf))
    sparse = _random("dy", 2, 4, 5, 18)
    yield from _conv2d("three in four zero", x, w, dy=np.where(sparse > 0.67, sparse, -0.0))
    yield from _conv2d("all zero", x, w, x=np.zeros(x), dy=np.zeros((2, 4, 5, 18)))
    yield from _conv2d("large and small", x, w, x=np.exp(4 * _random("x", *x)))


def _depthwise_cases():
    for label, x, kernel, filters, options in CONVOLUTIONS:
        if "groups" not in options:
            multiplier = 1 + filters % 3
            yield from _depthwise_conv2d(label, x, (*kernel, x[3], multiplier), **options)
    x, w = (2, 6, 7, 5), (3, 3, 5, 2)
    yield from _depthwise_conv2d("NaN in x", x, w, padding="same", x=_planted("x", *x))
    yield from _depthwise_conv2d("NaN in w", x, w, w=_planted("w", *w))
    yield from _depthwise_conv2d("NaN in dy", x, w, dy=_planted("dy", 2, 4, 5, 10))
    x, w = (2, 6, 17, 20), (3, 3, 20, 1)
    yield from _depthwise_conv2d("NaN in x of tiles", x, w, padding="same", x=_planted("x", *x))
    yield from _depthwise_conv2d("NaN in dy of tiles", x, w, dy=_planted("dy", 2, 4, 15, 20))
    for channels, multiplier in ((16, 1), (32, 1), (64, 1), (17, 1), (33, 4), (16, 5), (1, 32)):
        label = f"channels {channels} times {multiplier}"
        yield from _depthwise_conv2d(label, (2, 4, 5, channels), (3, 3, channels, multiplier))
    for label, x, kernel, options in DEPTHWISE:
        yield from _depthwise_conv2d(label, x, (*kernel, x[3], 1), **options)


def _im2col_cases():
    for label, x, kernel, _, options in CONVOLUTIONS:
        if "groups" in options or x[3] > 33:
            continue
        window = {"strides": (1, 1), "padding": "valid", "dilation": (1, 1), **options}
        (height, width), window["padding"] = shapes.window_geometry(
            x[1:3], kernel, window["strides"], window["padding"], window["dilation"]
        )
        columns = (x[0], height, width, prod(kernel) * x[3])
        arguments = window | {"kernel_size": kernel}
        image = _planted(label, *x)
        yield _case("im2col", label, arguments | {"x": image, "columns": _output(*columns)})
        patches = _random(label, *columns)
        yield _case("col2im", label, arguments | {"x": _output(*x), "columns": patches})


POOLS = [
    # label, x, pool, strides, padding
    ("first pool of the text", (2, 26, 26, 32), (2, 2), (2, 2), "valid"),
    ("drops a row and a column", (2, 11, 11, 64), (2, 2), (2, 2), "valid"),
    ("overlapping", (2, 9, 8, 5), (3, 3), (2, 2), "valid"),
    ("overlapping stride 1", (2, 5, 6, 3), (3, 2), (1, 1), "valid"),
    ("overlapping same", (2, 7, 6, 17), (3, 3), (1, 1), "same"),
    ("stride above pool", (2, 9, 10, 3), (2, 2), (3, 4), "valid"),
    ("not square", (2, 7, 11, 10), (3, 2), (1, 4), "valid"),
    ("even same", (2, 5, 7, 3), (2, 2), (2, 2), "same"),
    ("even 4 same", (2, 6, 7, 3), (4, 2), (1, 1), "same"),
    ("asymmetric padding", (2, 6, 5, 3), (3, 4), (2, 3), ((2, 1), (0, 3))),
    ("image 1x1", (3, 1, 1, 16), (1, 1), (1, 1), "valid"),
    ("image 1x1 same", (1, 1, 1, 3), (2, 2), (2, 2), "same"),
    ("pool as large as image", (2, 5, 4, 31), (5, 4), (5, 4), "valid"),
    ("no samples", (0, 4, 4, 3), (2, 2), (2, 2), "valid"),
    ("batch 37", (37, 6, 6, 5), (2, 2), (2, 2), "valid"),
    ("batch 37 overlapping", (37, 5, 5, 3), (3, 3), (2, 2), "same"),
    ("batch 130", (130, 3, 3, 1), (2, 2), (1, 1), "valid"),
    *(
        (f"channels {channels}", (2, 5, 6, channels), (2, 2), (2, 2), "valid")
        for channels in (1, 3, 5, 10, 16, 17, 31, 32, 33, 64)
    ),
]


def _values(label, *shape):
    """Yield labelled images that put a maximum to the test."""
    normal = _random(label, *shape)
    yield "", normal
    yield " ties", np.round(normal)
    yield " negative", -np.abs(normal) - 1
    yield " zeros of both signs", np.where(normal > 0, 0.0, -0.0)


def _max_pool_cases():
    for label, x, pool, strides, padding in POOLS:
        for kind, values in _values(label, *x):
            yield from _max_pool2d(label + kind, values, pool, strides, padding)
    x = (2, 6, 7, 5)
    window = {"pool": (3, 3), "strides": (2, 2), "padding": "same"}
    yield from _max_pool2d("all minus infinity", np.full(x, -inf), **window)
    mixed = np.where(_random("mixed", *x) > 0.5, 1.0, -inf)
    yield from _max_pool2d("minus infinity and one", mixed, **window)
    yield from _max_pool2d("infinity", _planted("x", *x, value=inf), **window)
    yield from _max_pool2d("NaN", _planted("x", *x), **window)
    yield from _max_pool2d("all NaN", np.full(x, nan), **window)
    several = np.where(_random("several", *x) > 0, nan, _random("x", *x))
    yield from _max_pool2d("many NaN", several, **window)
    corners = _with(np.full(x, -inf), nan, (0, 0, 0), (0, 5, 6), (1, 0, 6), (1, 5, 0))
    yield from _max_pool2d("NaN in corners", corners, **window)
    yield from _max_pool2d("NaN 2x2", _planted("x", 2, 6, 6, 16), (2, 2), (2, 2), "valid")
    yield from _max_pool2d("many NaN 2x2", several[:, :, :6], (2, 2), (2, 2), "valid")
    yield from _max_pool2d(
        "window of 272", _random("x", 1, 20, 18, 2), (17, 16), (3, 2), "valid", np.uint16
    )


def _max_pool2d(label, values, pool, strides, padding, index=np.uint8):
    x = values.shape
    (height, width), padding = shapes.window_geometry(x[1:3], pool, strides, padding)
    window = {"pool_size": pool, "strides": strides, "padding": padding}
    outputs = (x[0], height, width, x[3])
    y, argmax = _output(*outputs), np.zeros(outputs, index)
    forward = _case("max_pool2d_forward", label, window | {"x": values, "y": y, "argmax": argmax})
    yield forward
    saved = np.zeros_like(argmax)
    call(reference, "max_pool2d_forward", forward.arguments | {"y": y.copy(), "argmax": saved})
    backward = window | {"dy": _random(label, *outputs), "argmax": saved, "dx": _output(*x)}
    yield _case("max_pool2d_backward", label, backward)


FUSED = [
    # label, x, kernel, filters, pool, options
    ("first layer of the text", (2, 28, 28, 1), (3, 3), 32, (2, 2), {}),
    ("second layer of the text", (2, 13, 13, 32), (3, 3), 64, (2, 2), {}),
    ("whole vectors, padded", (2, 9, 10, 32), (3, 3), 20, (2, 2), {"padding": "same"}),
    ("whole vectors, strided", (2, 11, 11, 16), (3, 3), 18, (2, 2), {"strides": (2, 2)}),
    ("whole vectors, dilated", (1, 11, 11, 16), (3, 3), 18, (2, 2), {"dilation": (2, 1)}),
    ("whole vectors, groups", (2, 8, 8, 32), (3, 3), 20, (2, 2), {"groups": 2}),
    ("more than six vectors in a run", (2, 8, 8, 40), (4, 3), 5, (2, 2), {}),
    ("many patches", (4, 13, 12, 32), (3, 3), 64, (2, 2), {"padding": ((0, 0), (2, 1))}),
    ("not square", (2, 9, 12, 3), (3, 5), 5, (3, 2), {}),
    (
        "stride and dilation",
        (2, 15, 17, 3),
        (3, 2),
        10,
        (2, 2),
        {"strides": (2, 1), "dilation": (1, 3)},
    ),
    ("same even kernel", (2, 7, 8, 4), (4, 2), 17, (2, 2), {"padding": "same"}),
    ("asymmetric padding", (2, 5, 6, 3), (3, 3), 33, (2, 3), {"padding": ((0, 2), (3, 1))}),
    ("groups", (2, 8, 8, 6), (3, 3), 9, (2, 2), {"groups": 3}),
    ("image 1x1", (3, 1, 1, 10), (1, 1), 16, (1, 1), {}),
    ("one pooled pixel", (2, 5, 5, 5), (2, 2), 31, (4, 4), {}),
    ("pool of one", (2, 5, 6, 3), (3, 3), 5, (1, 1), {}),
    ("pool of 255", (1, 19, 21, 2), (3, 3), 3, (15, 17), {"padding": "same"}),
    ("no bias", (2, 6, 6, 3), (3, 3), 5, (2, 2), {"b": None}),
    ("no samples", (0, 6, 6, 3), (3, 3), 5, (2, 2), {}),
    ("batch 37", (37, 6, 7, 3), (3, 3), 10, (2, 2), {}),
    ("batch 37 of 16 channels", (37, 6, 6, 16), (3, 3), 16, (2, 2), {}),
    ("batch 130", (130, 4, 4, 1), (3, 3), 3, (2, 2), {}),
    ("3000 windows", (37, 11, 12, 2), (3, 3), 5, (2, 2), {}),
    *(
        (f"channels {inputs} to {filters}", (2, 6, 7, inputs), (3, 3), filters, (2, 2), {})
        for inputs, filters in ((1, 33), (3, 1), (5, 31), (10, 17), (31, 5), (33, 3), (32, 48))
    ),
]


def _eighths(label, *shape):
    """Return random multiples of 1/8, whose sums of products are exact: codes must be, too."""
    return np.round(8 * _random(label, *shape)) / 8


def _fused_cases():
    for label, x, kernel, filters, pool, options in FUSED:
        yield from _conv2d_relu_max_pool2d(label, x, kernel, filters, pool, **options)
    small = ((2, 8, 8, 5), (3, 3), 18, (2, 2))
    yield from _conv2d_relu_max_pool2d("ties", *small, w=np.ones((3, 3, 5, 18)))
    yield from _conv2d_relu_max_pool2d("exact zeros", *small, x=np.zeros(small[0]), b=np.zeros(18))
    yield from _conv2d_relu_max_pool2d("all clipped", *small, b=np.full(18, -1000.0))
    # Whether a NaN pixel that no winner has seen takes part in dw is left open: forward alone.
    image = _planted("x", *small[0]).round()
    yield next(_conv2d_relu_max_pool2d("NaN in x", *small, x=image))


def _conv2d_relu_max_pool2d(
    label,
    x,
    kernel,
    filters,
    pool,
    /,
    *,
    strides=(1, 1),
    padding="valid",
    dilation=(1, 1),
    groups=1,
    **values,
):
    (height, width), padding = shapes.window_geometry(x[1:3], kernel, strides, padding, dilation)
    w, y = (*kernel, x[3] // groups, filters), (x[0], height // pool[0], width // pool[1], filters)
    arguments = {
        "x": _eighths(f"{label} x", *x),
        "w": _eighths(f"{label} w", *w),
        "b": _eighths(f"{label} b", filters),
        "dy": _random(f"{label} dy", *y),
        "y": _output(*y),
        "code": np.zeros(y, np.uint8),
        "dx": _output(*x),
        "dw": _output(*w),
        "db": _output(filters),
        "pool_size": pool,
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "scratch": None,
        **values,
    }
    if arguments["b"] is None:
        arguments["db"] = None
    yield _case("conv2d_relu_max_pool2d_forward", label, arguments)
    saved = {"y": _output(*y), "code": np.zeros(y, np.uint8)}
    call(reference, "conv2d_relu_max_pool2d_forward", arguments | saved)
    for direction in ("backward_input", "backward_params"):
        operation = f"conv2d_relu_max_pool2d_{direction}"
        yield _case(operation, label, arguments | {"code": saved["code"]})


def _average_pool_cases():
    planted = ("NaN", (2, 6, 7, 5), (3, 3), (2, 2), "same")
    for label, x, pool, strides, padding in [*POOLS, planted]:
        (height, width), padding = shapes.window_geometry(x[1:3], pool, strides, padding)
        window = {"pool_size": pool, "strides": strides, "padding": padding}
        y = (x[0], height, width, x[3])
        make = _planted if label == "NaN" else _random
        forward = window | {"x": make(label, *x), "y": _output(*y)}
        yield _case("average_pool2d_forward", label, forward)
        backward = window | {"dy": make(label, *y), "dx": _output(*x)}
        yield _case("average_pool2d_backward", label, backward)


def _padding_cases():
    for label, x, padding in (
        ("around", (2, 3, 4, 5), ((1, 1), (1, 1))),
        ("asymmetric", (37, 3, 4, 3), ((0, 2), (3, 1))),
        ("none", (1, 2, 3, 16), ((0, 0), (0, 0))),
        ("one side", (2, 1, 1, 33), ((0, 0), (4, 0))),
        ("no samples", (0, 3, 4, 5), ((1, 1), (1, 1))),
    ):
        y = (x[0], x[1] + sum(padding[0]), x[2] + sum(padding[1]), x[3])
        image = _planted(label, *x)
        yield _case("pad2d_forward", label, {"x": image, "y": _output(*y), "padding": padding})
        dy = _planted(label, *y)
        yield _case("pad2d_backward", label, {"dy": dy, "dx": _output(*x), "padding": padding})


def _dense_cases():
    for n, inputs, outputs in (
        *(
            (1, 1, 1),
            (2, 3, 5),
            (1, 64, 10),
            (3, 576, 64),
            (37, 10, 33),
            (37, 31, 17),
            (64, 16, 16),
        ),
        *((5, 1, 32), (5, 65, 1), (130, 7, 3), (12, 128, 128), (0, 6, 5)),
        # Enough work for the CPU to cut the parameters' gradients into chunks.
        (2100, 12, 12),
    ):
        yield from _dense(f"{n} of {inputs} to {outputs}", n, inputs, outputs)
    # Enough for the GPU's large tiles where rows are samples, and no multiple of any tile.
    for case in _dense("8200 of 37 to 35", 8200, 37, 35):
        if case.operation != "dense_backward_params":
            yield case
    yield from _dense("no bias", 4, 6, 5, b=None)
    yield from _dense("NaN in x", 7, 6, 18, x=_planted("x", 7, 6))
    yield from _dense("NaN in w", 7, 6, 18, w=_planted("w", 6, 18))
    yield from _dense("NaN in dy", 7, 6, 18, dy=_planted("dy", 7, 18))
    # What is multiplied with zeros to fill up a tile must not be a weight.
    for inputs, outputs in ((36, 20), (35, 18)):
        w = _with(_random("w", inputs, outputs), inf, (0, 0))
        yield from _dense(f"infinity in w of {inputs}", 7, inputs, outputs, w=w)


def _dense(label, n, inputs, outputs, **values):
    arguments = {
        "x": _random(f"{label} x", n, inputs),
        "w": _random(f"{label} w", inputs, outputs),
        "b": _random(f"{label} b", outputs),
        "dy": _random(f"{label} dy", n, outputs),
        "y": _output(n, outputs),
        "dx": _output(n, inputs),
        "dw": _output(inputs, outputs),
        "db": _output(outputs),
        **values,
    }
    if arguments["b"] is None:
        arguments["db"] = None
    for direction in ("forward", "backward_input", "backward_params", "relu_forward"):
        yield _case(f"dense_{direction}", label, arguments)


# Around zero, around the ReLU's bounds, far out on both sides, and NaN.
_SPECIAL = [0.0, -0.0, 0.5, 1.0, 6.0, -1.0, 1e-30, -1e-30, 1e-4, 20.0, 100.0, -20.0, -100.0, nan]


def _elementwise_arrays():
    yield "special values", np.array(_SPECIAL)
    yield "one element", np.array([0.7])
    yield "nothing", np.zeros((0, 3))
    yield "vector 1000", 3 * _random("elementwise", 1000)
    yield "images", 3 * _random("elementwise", 37, 3, 5, 7)


def _elementwise_cases():
    for label, x in _elementwise_arrays():
        y, dy = _output(*x.shape), _random(f"{label} dy", *x.shape)
        for kind, parameters in (
            ("", (inf, 0.0, 0.0)),
            (" at most 6", (6.0, 0.0, 0.0)),
            (" leaky", (inf, 0.3, 0.0)),
            (" threshold", (6.0, 0.0, 1.0)),
            (" all", (6.0, 0.1, 0.5)),
        ):
            relu = dict(zip(("max_value", "negative_slope", "threshold"), parameters, strict=True))
            yield _case("relu_forward", label + kind, {"x": x, "y": y} | relu)
            yield _case("relu_backward", label + kind, {"x": x, "dy": dy, "dx": y} | relu)
        yield _case("sigmoid_forward", label, {"x": x, "y": y})
        yield _case("tanh_forward", label, {"x": x, "y": y})
        yield _case("sigmoid_backward", label, {"y": 1 / (1 + np.exp(-x)), "dy": dy, "dx": y})
        yield _case("tanh_backward", label, {"y": np.tanh(x), "dy": dy, "dx": y})
        for rate, seed in ((0.0, 1), (0.25, 7), (0.5, 0), (0.9, 2**64 - 1), (0.999, 123456789)):
            dropout = {"x": x, "y": y, "rate": rate, "seed": seed}
            yield _case("dropout", f"{label} rate {rate}", dropout)


def _dropout_bounds():
    """Yield a rate that is just the random fraction of one element, and the next larger one."""
    seed, element, mask = 3, 5, 2**64 - 1
    state = (seed + 0x9E3779B97F4A7C15 * (element + 1)) & mask
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = ((state ^ (state >> shift)) * factor) & mask
    fraction = (state ^ (state >> 31)) >> 11
    for label, rate in (("at its rate", fraction), ("above its rate", fraction + 1)):
        x = np.arange(1.0, 2 * element)
        arguments = {"x": x, "y": _output(*x.shape), "rate": rate * 2.0**-53, "seed": seed}
        yield _case("dropout", f"an element {label}", arguments)


def _gather_cases():
    for label, samples, indices in (
        ("images", (9, 4, 5, 3), [3, 3, 0, 8, 1]),
        ("one", (1, 28, 28, 1), [0]),
        ("vectors", (40, 17), list(range(39, 2, -1))),
        ("scalars", (5,), [4, 0, 4]),
        ("nothing", (5, 3), []),
    ):
        x = _with(_random(label, *samples), nan, -1)
        y = _output(len(indices), *samples[1:])
        yield _case("gather", label, {"x": x, "indices": np.array(indices, np.int64), "y": y})


def _batch_norm_cases():
    for label, rows, channels, scale, offset in (
        ("one channel", 6, 1, 1, 0),
        ("small", 5, 3, 1, 0),
        ("many rows", 1000, 5, 1, 0),
        ("5000 rows", 5000, 3, 1, 0),
        ("700 rows 17 channels", 700, 17, 1, 2),
        ("37 rows 33 channels", 37, 33, 1, 0),
        ("16 channels", 64, 16, 2, 1),
        ("large mean", 50, 10, 1, 1000),
        ("one row", 1, 4, 1, 0),
        ("constant", 8, 4, 0, 3),
    ):
        x = offset + scale * _random(f"{label} x", rows, channels)
        arguments = {
            "x": x,
            "dy": _random(f"{label} dy", rows, channels),
            "mean": x.mean(0),
            "variance": x.var(0),
            "gamma": _random(f"{label} gamma", channels),
            "beta": _random(f"{label} beta", channels),
            "y": _output(rows, channels),
            "dx": _output(rows, channels),
            "dgamma": _output(channels),
            "dbeta": _output(channels),
            "epsilon": 1e-3,
        }
        for part in ("statistics", "forward", "backward"):
            yield _case(f"batch_norm_{part}", label, arguments)
    arguments["x"] = _planted("x", *arguments["x"].shape)
    for part in ("statistics", "forward", "backward"):
        yield _case(f"batch_norm_{part}", "NaN", arguments)


def _class_scores():
    """Yield labelled logits, (rows, classes)."""
    for rows, classes in ((0, 3), (1, 1), (1, 10), (64, 10), (37, 3), (5, 100), (130, 17)):
        yield f"{rows} of {classes}", 3 * _random("logits", rows, classes)
    yield "equal", np.full((3, 10), 2.5)
    yield "far apart", np.array([[1000.0, -1000, 0], [90, -90, 89], [-5000, -5000, -5001]])
    yield "far apart, 100 of them", 300 * _random("logits", 3, 100)
    yield "NaN", _planted("logits", 6, 10)


def _targets(rows, classes):
    """Yield labelled targets: one-hot, smoothed, and with rows that do not sum to one."""
    one_hot = np.eye(classes)[np.arange(rows) * 7 % classes]
    yield "one-hot", one_hot
    yield "smoothed", 0.9 * one_hot + 0.1 / classes
    yield "weighted", one_hot * np.linspace(0, 2, rows)[:, None]


def _loss_cases():
    for label, x in _class_scores():
        rows, classes = x.shape
        y, losses = _output(rows, classes), _output(rows)
        probabilities = np.empty_like(x)
        reference.softmax_forward(x, probabilities)
        dy = _random(f"{label} dy", rows, classes)
        yield _case("softmax_forward", label, {"x": x, "y": y})
        yield _case("softmax_backward", label, {"y": probabilities, "dy": dy, "dx": y})
        for kind, target in _targets(rows, classes):
            common = {
                "target": target,
                "losses": losses,
                "scale": 1 / (rows or 1),
                "dx": y,
                "dp": y,
            }
            unscaled = 1.7 * probabilities
            for name, arguments in (
                ("softmax_cross_entropy", {"x": x, "probabilities": y}),
                ("categorical_cross_entropy", {"p": unscaled}),
                ("sigmoid_cross_entropy", {"x": x}),
                ("binary_cross_entropy", {"p": probabilities}),
                ("mean_squared_error", {"x": x}),
            ):
                yield _case(f"{name}_forward", f"{label} {kind}", common | arguments)
                if name == "softmax_cross_entropy":
                    arguments = {"probabilities": probabilities}
                yield _case(f"{name}_backward", f"{label} {kind}", common | arguments)
    infinite = _with(_random("logits", 4, 5), -inf, (0, 0), (2, 3))
    yield _case("softmax_forward", "minus infinity", {"x": infinite, "y": _output(4, 5)})


def _gradients():
    """Yield labelled gradients, and what was postponed: places in them, and partial sums."""
    for label, size in (("one", 1), ("33", 33), ("1000", 1000)):
        dw = 0.1 * _random(f"{label} dw", size)
        dw[: size // 10] = 0
        yield label, dw, {}
    # Sums of such integers are exact, so that the total may be added in any precision.
    parts = np.random.default_rng(1).integers(-50, 50, (9, 40_000)) / 64
    yield "all postponed", _output(7), {0: parts[:3, :7].reshape(3, 1, 7)}
    dw = np.full(41_000, 0.25)
    some = {500: parts[:1, :18].reshape(1, 3, 6), 3: parts[:4, :400].reshape(4, 1, 400)}
    yield "some postponed", dw[:1000], some
    yield "much postponed", dw, some | {1000: parts.reshape(9, 1, -1)}
    for value in (nan, inf, -inf):
        yield f"{value}", _with(_random("dw", 100), value, 70), {}
        spoilt = parts[:4, :20].copy()
        spoilt[2, 13] = value
        yield f"{value} in a part", np.full(100, 0.25), {50: spoilt.reshape(4, 5, 4)}
    # What dw holds before is of no account where the total is postponed.
    yield "NaN before", _with(np.full(100, 0.25), nan, 60), {50: parts[:4, :20].reshape(4, 5, 4)}


def _moving_average_cases():
    for size in (1, 37, 300):
        average, x = _random(f"average {size}", size), _random(f"x {size}", size)
        arguments = {"average": average, "x": x, "share": 0.01}
        yield _case("moving_average_update", f"{size} channels", arguments)
    broken = {"average": _random("average", 37), "x": _planted("x", 37), "share": 0.25}
    yield _case("moving_average_update", "NaN", broken)


def _optimizer_cases():
    for label, dw, postponed in _gradients():
        size = len(dw)
        w, state = _random(f"{label} w", size), 0.1 * _random(f"{label} state", size)
        state[: size // 20] = 0
        arguments = {"w": w, "dw": dw, "postponed": postponed, "learning_rate": 0.01}
        for nesterov in (False, True):
            sgd = arguments | {"velocity": state, "momentum": 0.9, "nesterov": nesterov}
            yield _case("sgd_update", f"{label} nesterov {nesterov}", sgd)
        plain = {"velocity": np.zeros(size), "momentum": 0.0, "nesterov": False}
        yield _case("sgd_update", f"{label} plain", arguments | plain)
        averages = {"mean": state, "mean_square": state**2, "epsilon": 1e-7}
        yield _case("rmsprop_update", label, arguments | averages | {"rho": 0.9})
        fresh = averages | {"mean": np.zeros(size), "mean_square": np.zeros(size)}
        yield _case("rmsprop_update", f"{label} fresh", arguments | fresh | {"rho": 0.9})
        betas = {"beta_1": 0.9, "beta_2": 0.999}
        yield _case("adam_update", f"{label} fresh", arguments | fresh | betas | {"step": 1})
        yield _case("adam_update", f"{label} later", arguments | averages | betas | {"step": 100})


CASES = [
    *_convolution_cases(),
    *_depthwise_cases(),
    *_im2col_cases(),
    *_max_pool_cases(),
    *_fused_cases(),
    *_average_pool_cases(),
    *_padding_cases(),
    *_dense_cases(),
    *_elementwise_cases(),
    *_dropout_bounds(),
    *_gather_cases(),
    *_batch_norm_cases(),
    *_loss_cases(),
    *_moving_average_cases(),
    *_optimizer_cases(),
]


def expected(operation, arguments):
    """Return what a call changes, the tolerated error, and what it returns.

    All from the reference run in float64.
    """
    dtype = next(value.dtype for value in arguments.values() if is_float(value))
    wide = {
        name: value.astype(float) if is_float(value) else value for name, value in arguments.items()
    }
    wide["scratch"] = None  # only the optimizers of the reference need one
    before = SimpleNamespace(operation=operation, dtype=dtype, **wide)
    changed = [name for name in OPERATIONS[operation].changed if wide[name] is not None]
    after = wide | {name: wide[name].copy() for name in changed} | {"scratch": Scratch()}
    postpone_all(after["scratch"], after)
    with np.errstate(all="ignore"):
        returned = call(reference, operation, after)
        after = SimpleNamespace(**{name: after[name] for name in changed})
        roundings = OPERATIONS[operation].roundings(before, after)
    limits = np.finfo(dtype)
    # Below the smallest normal number a result may be flushed to zero.
    tolerances = {
        name: limits.eps * roundings[name] + limits.tiny if name in roundings else 0.0
        for name in changed
    }
    return vars(after), tolerances, returned
