"""What the compiler makes of the register tiles: the machine code of the innermost loops.

A loop is what lies between a label and the last jump back to it; it is innermost if it holds no
other. In the main loop of a kernel every fused multiply-add must take whole vectors of the host,
there must be as many as the tile has entries (or a multiple, if the loop was unrolled), and nothing
may be kept on the stack, for that is where a tile goes that is too large for the registers.
"""

import platform
import re
from contextlib import contextmanager
from dataclasses import dataclass

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from numba.core.registry import CPUDispatcher

from convlib.kernels import get_backend
from convlib.kernels.cpu import tile
from convlib.kernels.cpu.tile import ROWS, tile_fma, tile_store, tile_zero
from convlib.kernels.scratch import Scratch

pytestmark = pytest.mark.skipif(
    not llvm.get_host_cpu_features().get("fma"),
    reason=f"the test reads the assembly of x86 with FMA; this computer is a {platform.machine()}",
)

REGISTER = {512: "zmm", 256: "ymm", 128: "xmm"}[tile.VECTOR_BITS]
COLUMNS = tile.columns_for(64, np.dtype(np.float32))
MULTIPLY_ADD = re.compile(r"\tvfn?m(?:add|sub)\w*p[sd]\t(.*)")
LABEL = re.compile(r"([.\w$]+):")
JUMP = re.compile(r"\tj\w+\t([.\w$]+)$")


@dataclass(frozen=True)
class Loop:
    """One innermost loop: its instructions, and whether rbp points into the stack there."""

    lines: tuple[str, ...]
    has_frame_pointer: bool

    @property
    def multiply_adds(self) -> list[str]:
        """The operands of every fused multiply-add of vectors."""
        return [found[1] for line in self.lines if (found := MULTIPLY_ADD.match(line))]

    @property
    def spills(self) -> list[str]:
        """The instructions that move vectors from or to the stack."""
        stack = r"\(%r[sb]p\b" if self.has_frame_pointer else r"\(%rsp\b"
        return [
            line for line in self.lines if re.search(stack, line) and re.search("[xyz]mm", line)
        ]


def innermost_loops(assembly: str) -> list[Loop]:
    """Return the innermost loops of all functions of a listing."""
    loops = []
    # Labels of functions stand alone and do not begin with a dot, those inside functions do.
    for function in re.split(r"\n(?=[^.\s#][^\n]*:\n)", assembly):
        lines = [line.split("#")[0].rstrip() for line in function.splitlines()]
        has_frame_pointer = "\tmovq\t%rsp, %rbp" in lines
        labels = {
            found[1]: place for place, line in enumerate(lines) if (found := LABEL.match(line))
        }
        ends = {}
        for place, line in enumerate(lines):
            found = JUMP.match(line)
            if found and labels.get(found[1], place) < place:
                ends[labels[found[1]]] = place
        for start, end in ends.items():
            if not any(start < other and ends[other] < end for other in ends):
                loops.append(Loop(tuple(lines[start : end + 1]), has_frame_pointer))
    return loops


def main_loop(assembly: str) -> Loop:
    """Return the innermost loop with the most multiply-adds."""
    return max(innermost_loops(assembly), key=lambda loop: len(loop.multiply_adds))


@contextmanager
def compiled_calls():
    """Collect what Python calls of compiled functions, with the types of the arguments."""
    plain, calls = CPUDispatcher.__call__, {}

    def call(dispatcher, *arguments):
        calls[dispatcher] = tuple(map(numba.typeof, arguments))
        return plain(dispatcher, *arguments)

    CPUDispatcher.__call__ = call
    try:
        yield calls
    finally:
        del CPUDispatcher.__call__


def assembly_of(dispatcher, signature) -> str:
    """Compile a function once more, since Numba does not show what it has read from its cache."""
    options = {
        name: value for name, value in dispatcher.targetoptions.items() if name != "nopython"
    }
    again = numba.njit(**options)(dispatcher.py_func)
    again.compile(signature)
    return again.inspect_asm(again.signatures[0])


def product_with_tile(rows: int, columns: int):
    """Return a matrix product in tiles of a shape, as convolutions are written."""

    @numba.njit
    def product(x, w, y, terms, width):
        acc = tile_zero(w, rows, columns)
        for k in range(terms):
            acc = tile_fma(acc, x, offsets, k, w, k * width)
        tile_store(acc, y, 0, width, rows, width)

    offsets = tuple(range(0, 100 * rows, 100))
    vector = numba.types.Array(numba.float32, 1, "C")
    product.compile((vector, vector, vector, numba.int64, numba.int64))
    return product.inspect_asm(product.signatures[0])


def test_a_tile_stays_in_registers():
    loop = main_loop(product_with_tile(ROWS, COLUMNS))
    assert all(REGISTER in operands for operands in loop.multiply_adds)
    assert loop.multiply_adds and len(loop.multiply_adds) % (ROWS * COLUMNS) == 0
    assert not loop.spills


def test_a_tile_that_is_too_large_is_seen_to_spill():
    assert main_loop(product_with_tile(10, 4)).spills


def test_loops_are_found_by_their_jumps_alone():
    outer_and_inner = (
        "f:\n.A:\n\tnop\n.B:\n\tvfmadd231ps\t%zmm0, %zmm1, %zmm2\n\tjne\t.B\n\tjl\t.A\n"
    )
    (loop,) = innermost_loops(outer_and_inner)
    assert loop.multiply_adds == ["%zmm0, %zmm1, %zmm2"]
    assert not loop.spills
    (spilling,) = innermost_loops("f:\n.A:\n\tvmovaps\t%zmm0, 64(%rsp)\n\tjne\t.A\n")
    assert spilling.spills
    pointer = "f:\n{}.A:\n\tvmovaps\t(%rbp,%rax,4), %zmm0\n\tjne\t.A\n"
    (array,) = innermost_loops(pointer.format(""))
    (frame,) = innermost_loops(pointer.format("\tmovq\t%rsp, %rbp\n"))
    assert not array.spills and frame.spills


# The kernels whose main loop counts: how each is called, and the entries of its main tile.

STRIDES, PADDING, DILATION = (1, 1), ((0, 0), (0, 0)), (1, 1)
POOL = (2, 2)


def numbers(*shape):
    return np.ones(shape, np.float32)


def call_forward(kernels):
    arrays = numbers(2, 13, 13, 32), numbers(3, 3, 32, 64), None, numbers(2, 11, 11, 64)
    kernels.conv2d_forward(*arrays, STRIDES, PADDING, DILATION, 1, Scratch())


def call_params(kernels):
    arrays = numbers(2, 13, 13, 32), numbers(2, 11, 11, 64), numbers(3, 3, 32, 64), None
    kernels.conv2d_backward_params(*arrays, STRIDES, PADDING, DILATION, 1, Scratch())


def call_pooled_forward(kernels):
    x, w, b = numbers(2, 13, 13, 32), numbers(3, 3, 32, 64), numbers(64)
    y, code = numbers(2, 5, 5, 64), np.empty((2, 5, 5, 64), np.uint8)
    rest = POOL, STRIDES, PADDING, DILATION, 1, Scratch()
    kernels.conv2d_relu_max_pool2d_forward(x, w, b, y, code, *rest)


MAIN_TILES = {
    call_forward: ROWS * COLUMNS,
    call_params: ROWS * COLUMNS,
    call_pooled_forward: 4 * COLUMNS,  # a row for each pixel of a 2×2 window
}


@pytest.mark.parametrize("call", MAIN_TILES)
def test_the_main_loop_of_a_kernel_is_full_vectors_in_registers(call):
    with compiled_calls() as calls:
        call(get_backend("cpu"))
    listings = "\n".join(assembly_of(*each) for each in calls.items())
    loop = main_loop(listings)
    assert all(REGISTER in operands for operands in loop.multiply_adds)
    assert len(loop.multiply_adds) % MAIN_TILES[call] == 0
    assert not loop.spills, "\n".join(loop.spills)
