"""The exponential function in plain arithmetic, so that a loop over it becomes vector code.

A loop that calls the C library computes one number at a time. Here

    e^x = 2^n · e^r    with  n = round(x / ln 2)  and  |r| ≤ ln 2 / 2,

where e^r − 1 is the beginning of its Taylor series, as long as the precision asks for, and 2^n is
made by writing n into the exponent of a floating-point number. No step has a branch or a table.

Softmax, sigmoid and tanh can all be written with arguments that are not above zero, so nothing can
overflow, and only those are accepted. Results are within 2.5 units in the last place of the exact
ones; those below the smallest normal number are zero, and NaN gives NaN.
"""

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from convlib.kernels.cpu.tile import multiply_add


class _Format(NamedTuple):
    """What the computation must know of a floating-point format."""

    number: type
    integer: type  # of as many bits
    fraction_bits: int
    terms: int  # of the series; the next would be less than half a unit in the last place
    ln2_high: float  # ln 2 to so few digits that n times it is exact
    ln2_low: float  # the digits that follow


_FORMATS = {
    types.float32: _Format(np.float32, np.int32, 23, 7, 0.693359375, -2.12194440054690583e-4),
    types.float64: _Format(np.float64, np.int64, 52, 13, 0.693145751953125, 1.42860682030941723e-6),
}


def exponential(x):
    """Return e^x for x ≤ 0; a name for compiled code to call."""


def exponential_minus_one(x):
    """Return e^x − 1 for x ≤ 0, with as many right digits near zero as elsewhere; likewise."""


class _Constants(NamedTuple):
    """The numbers of the computation in one format."""

    high: np.floating
    low: np.floating
    per_ln2: np.floating
    rounder: np.floating
    shift: np.integer
    lowest: np.floating
    factors: tuple  # of the series, the highest power first


def _constants(kind):
    """Return the `_Constants` of a type of numbers."""
    number, integer, fraction_bits, terms, *ln2 = _FORMATS[kind]
    high, low = map(number, ln2)
    # Adding this number leaves no bits for a fraction: the sum is rounded, and n stands in its
    # lowest bits.
    rounder = number(1.5 * 2**fraction_bits)
    bias = 1 - np.finfo(number).minexp  # the exponent 0 as the format writes it
    return _Constants(
        high,
        low,
        number(1 / math.log(2)),
        rounder,
        bias - rounder.view(integer),
        number(-bias * math.log(2)),  # there 2^n is written as zero, which it is then
        tuple(number(1 / math.factorial(k)) for k in range(terms, 0, -1)),
    )


def _scale_and_rest(kind):
    """Return a compiled function that gives 2^n and e^r − 1 for x."""
    number, integer, fraction_bits, *_ = _FORMATS[kind]
    high, low, per_ln2, rounder, shift, lowest, factors = _constants(kind)

    @njit(fastmath={"contract"})
    def reduce(x):
        x = lowest if x < lowest else x
        rounded = x * per_ln2 + rounder
        n = rounded - rounder
        r = (x - n * high) - n * low
        series = factors[0]
        for factor in factors[1:]:
            series = series * r + factor
        scale = integer((number(rounded).view(integer) + shift) << fraction_bits)
        return scale.view(number), series * r

    return reduce


@overload(exponential)
def _exponential(x):
    reduce = _scale_and_rest(x)

    @njit(fastmath={"contract"})
    def combine(scale, rest):
        return scale * rest + scale

    def implementation(x):
        scale, rest = reduce(x)
        return combine(scale, rest)

    return implementation


@overload(exponential_minus_one)
def _exponential_minus_one(x):
    reduce = _scale_and_rest(x)
    one = _FORMATS[x].number(1)

    @njit(fastmath={"contract"})
    def combine(scale, rest):
        return scale * rest + (scale - one)

    def implementation(x):
        scale, rest = reduce(x)
        return combine(scale, rest)

    return implementation


@intrinsic
def tile_exponential(typing_context, operand):
    """Return e^x of each number x ≤ 0 of a tile."""
    tile = operand
    fraction_bits = _FORMATS[tile.dtype].fraction_bits
    integers = ir.VectorType(ir.IntType(tile.dtype.bitwidth), tile.lanes)

    def code(context, builder, signature, arguments):
        def everywhere(number, vector=tile.vector):
            as_python = int if vector is integers else float
            return ir.Constant(vector, [as_python(number)] * tile.lanes)

        def product_and(a, b, c):
            return multiply_add(builder, tile, a, b, c)

        constants = _constants(tile.dtype)
        rounder, lowest = everywhere(constants.rounder), everywhere(constants.lowest)
        (result,) = arguments
        for _, _, index in tile.entries():
            x = builder.extract_value(result, index)
            x = builder.select(builder.fcmp_ordered("<", x, lowest), lowest, x)
            rounded = product_and(x, everywhere(constants.per_ln2), rounder)
            n = builder.fsub(rounded, rounder)
            r = product_and(n, everywhere(-constants.high), x)
            r = product_and(n, everywhere(-constants.low), r)
            series = everywhere(constants.factors[0])
            for factor in constants.factors[1:]:
                series = product_and(series, r, everywhere(factor))
            exponent = builder.add(
                builder.bitcast(rounded, integers), everywhere(constants.shift, integers)
            )
            exponent = builder.shl(exponent, everywhere(fraction_bits, integers))
            scale = builder.bitcast(exponent, tile.vector)
            entry = product_and(scale, builder.fmul(series, r), scale)
            result = builder.insert_value(result, entry, index)
        return result

    return tile(operand), code
