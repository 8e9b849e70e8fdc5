"""Register tiles: the few vector operations that the convolution kernels are written in.

A tile of some rows and some columns of vectors is a block of a matrix product that stays in the
processor's vector registers while its sums run. Each row belongs to one pixel (or one input
channel), each column to as many neighbouring output channels as a vector has lanes:

    acc = tile_zero(w, rows, columns)
    for k in range(terms):
        acc = tile_fma(acc, x, offsets, k, w, k * width)    # acc[r] += x[offsets[r] + k] · w[k]
    tile_store(acc, y, first, stride, rows, channels)

Elements of a NumPy array would be loaded and stored at every step of the sum. A tile is a value
instead, an LLVM array of vectors, so the compiler keeps it in registers; every operation emits
straight-line code, with one fused multiply-add per vector.

Offsets count elements of the array. Nothing is checked: the caller stays within the arrays.
"""

import os

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

# Six rows of four vectors fill 24 of the 32 vector registers of AVX-512 and NEON, six rows of two
# fill 12 of AVX2's 16; the others hold a row of weights and the pixel that multiplies it.
ROWS = 6


def _vector_bits() -> int:
    """Return the width of the host's vectors; CONVLIB_VECTOR_BITS may ask for narrower ones."""
    features = llvm.get_host_cpu_features()
    widest = 512 if features.get("avx512f") else 256 if features.get("avx2") else 128
    return min(widest, int(os.environ.get("CONVLIB_VECTOR_BITS", widest)))


VECTOR_BITS = _vector_bits()
HAS_32_REGISTERS = VECTOR_BITS == 512 or "arm" in llvm.get_process_triple().replace(
    "aarch64", "arm"
)


def lanes(dtype) -> int:
    """Return how many numbers of a NumPy dtype one vector holds."""
    return VECTOR_BITS // (8 * dtype.itemsize)


def columns_for(channels: int, dtype) -> int:
    """Return how many columns (1, 2 or 4) a tile should have to cover so many output channels."""
    vectors = -(-channels // lanes(dtype))
    if vectors == 1:
        return 1
    return 4 if vectors > 2 and HAS_32_REGISTERS else 2


class Tile(types.Type):
    """The Numba type of a tile: ``rows`` × ``columns`` vectors of ``dtype``."""

    def __init__(self, dtype: types.Float, rows: int, columns: int):
        self.dtype = dtype
        self.rows = rows
        self.columns = columns
        self.lanes = VECTOR_BITS // dtype.bitwidth
        super().__init__(f"Tile({dtype}, {rows}, {columns}, {self.lanes} lanes)")

    @property
    def vector(self) -> ir.VectorType:
        """The LLVM type of one entry."""
        element = ir.FloatType() if self.dtype == types.float32 else ir.DoubleType()
        return ir.VectorType(element, self.lanes)

    def entries(self):
        """Yield (row, column, index of the entry)."""
        for row in range(self.rows):
            for column in range(self.columns):
                yield row, column, row * self.columns + column


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, data_model_manager, tile):
        super().__init__(data_model_manager, tile, ir.ArrayType(tile.vector, tile.rows * tile.columns))


def _pointer(context, builder, array_type, array, *offsets):
    """Return the address of the element at the sum of the offsets."""
    address = context.make_array(array_type)(context, builder, array).data
    for offset in offsets:
        address = builder.gep(address, [offset])
    return address


def _load_vector(builder, tile, address):
    typed = builder.bitcast(address, tile.vector.as_pointer())
    return builder.load(typed, align=tile.dtype.bitwidth // 8)


def _integer(value):
    return ir.Constant(ir.IntType(64), value)


def _spread(builder, value, count):
    """Return the vector each of whose ``count`` lanes holds ``value``."""
    undefined = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    first = ir.Constant(ir.VectorType(ir.IntType(32), count), None)
    return builder.shuffle_vector(single, undefined, first)


def _llvm_function(builder, name, tile, result, *arguments):
    suffix = f"v{tile.lanes}f{tile.dtype.bitwidth}"
    function_type = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, function_type, name.format(vector=suffix))


@intrinsic(prefer_literal=True)
def tile_zero(typing_context, like, rows, columns):
    """Return a tile of zeros of the dtype of the array ``like``."""
    tile = Tile(like.dtype, rows.literal_value, columns.literal_value)

    def code(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(tile), None)

    return tile(like, rows, columns), code


@intrinsic(prefer_literal=True)
def tile_rows_of(typing_context, b, first, rows, columns):
    """Return a tile each row of which is ``b[first : first + width]``."""
    tile = Tile(b.dtype, rows.literal_value, columns.literal_value)

    def code(context, builder, signature, arguments):
        array, start, _, _ = arguments
        result = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for _, column, index in tile.entries():
            address = _pointer(context, builder, b, array, start, _integer(column * tile.lanes))
            result = builder.insert_value(result, _load_vector(builder, tile, address), index)
        return result

    return tile(b, first, rows, columns), code


@intrinsic
def tile_load(typing_context, like, x, first, stride):
    """Return the tile of ``like``'s shape whose row r is ``x[first + r·stride : ... + width]``."""
    tile = like

    def code(context, builder, signature, arguments):
        _, array, start, row_stride = arguments
        result = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for row, column, index in tile.entries():
            down = builder.mul(row_stride, _integer(row))
            right = _integer(column * tile.lanes)
            address = _pointer(context, builder, x, array, start, down, right)
            result = builder.insert_value(result, _load_vector(builder, tile, address), index)
        return result

    return tile(like, x, first, stride), code


@intrinsic
def tile_fma(typing_context, acc, x, offsets, k, w, start):
    """Add an outer product: ``acc[r] + x[offsets[r] + k] · w[start : start + width]``."""
    tile = acc

    def code(context, builder, signature, arguments):
        old, x_array, rows, term, w_array, w_start = arguments
        multiply_add = _llvm_function(
            builder, "llvm.fmuladd.{vector}", tile, tile.vector, *[tile.vector] * 3
        )
        weights = []
        for column in range(tile.columns):
            address = _pointer(context, builder, w, w_array, w_start, _integer(column * tile.lanes))
            weights.append(_load_vector(builder, tile, address))
        result = old
        for row in range(tile.rows):
            offset = builder.extract_value(rows, row)
            number = builder.load(_pointer(context, builder, x, x_array, offset, term))
            broadcast = _spread(builder, number, tile.lanes)
            for column in range(tile.columns):
                index = row * tile.columns + column
                entry = builder.extract_value(old, index)
                entry = builder.call(multiply_add, [broadcast, weights[column], entry])
                result = builder.insert_value(result, entry, index)
        return result

    return tile(acc, x, offsets, k, w, start), code


@intrinsic
def tile_store(typing_context, acc, y, first, stride, rows, channels):
    """Store part of a tile: ``y[first + r·stride + o] = acc[r][o]``, r < rows, o < channels."""
    tile = acc

    def code(context, builder, signature, arguments):
        value, array, start, row_stride, row_count, channel_count = arguments
        mask_type = ir.VectorType(ir.IntType(1), tile.lanes)
        pointer_type = tile.vector.as_pointer()
        store = _llvm_function(
            builder,
            "llvm.masked.store.{vector}.p0",
            tile,
            ir.VoidType(),
            tile.vector,
            pointer_type,
            ir.IntType(32),
            mask_type,
        )
        alignment = ir.Constant(ir.IntType(32), tile.dtype.bitwidth // 8)
        lane = ir.Constant(ir.VectorType(ir.IntType(64), tile.lanes), list(range(tile.lanes)))
        masks = []
        for column in range(tile.columns):
            remaining = builder.sub(channel_count, _integer(column * tile.lanes))
            limit = _spread(builder, remaining, tile.lanes)
            masks.append(builder.icmp_signed("<", lane, limit))
        for row in range(tile.rows):
            with builder.if_then(builder.icmp_signed("<", _integer(row), row_count)):
                down = builder.mul(row_stride, _integer(row))
                for column in range(tile.columns):
                    right = _integer(column * tile.lanes)
                    address = _pointer(context, builder, y, array, start, down, right)
                    entry = builder.extract_value(value, row * tile.columns + column)
                    target = builder.bitcast(address, pointer_type)
                    builder.call(store, [entry, target, alignment, masks[column]])
        return context.get_dummy_value()

    return types.void(acc, y, first, stride, rows, channels), code


@intrinsic
def tile_add(typing_context, acc, x, first, factor):
    """Add a multiple of one run as long as the tile: ``acc + factor · x[first : ...]``, by rows."""
    tile = acc

    def code(context, builder, signature, arguments):
        old, array, start, scale = arguments
        multiply_add = _llvm_function(
            builder, "llvm.fmuladd.{vector}", tile, tile.vector, *[tile.vector] * 3
        )
        factors = _spread(builder, scale, tile.lanes)
        result = old
        for _, _, index in tile.entries():
            address = _pointer(context, builder, x, array, start, _integer(index * tile.lanes))
            terms = _load_vector(builder, tile, address)
            entry = builder.extract_value(old, index)
            entry = builder.call(multiply_add, [factors, terms, entry])
            result = builder.insert_value(result, entry, index)
        return result

    return tile(acc, x, first, factor), code


@intrinsic
def vector_lanes(typing_context, like):
    """Return how many elements of the array ``like`` one vector holds, a constant."""

    def code(context, builder, signature, arguments):
        return _integer(VECTOR_BITS // like.dtype.bitwidth)

    return types.int64(like), code


@intrinsic
def vector_fma(typing_context, y, y_start, x, x_start, factor):
    """Add a multiple of one vector: ``y[y_start + i] += factor · x[x_start + i]``, i < lanes."""
    tile = Tile(y.dtype, 1, 1)

    def code(context, builder, signature, arguments):
        y_array, y_first, x_array, x_first, scale = arguments
        multiply_add = _llvm_function(
            builder, "llvm.fmuladd.{vector}", tile, tile.vector, *[tile.vector] * 3
        )
        source = _pointer(context, builder, x, x_array, x_first)
        target = _pointer(context, builder, y, y_array, y_first)
        terms = _load_vector(builder, tile, source)
        old = _load_vector(builder, tile, target)
        new = builder.call(multiply_add, [_spread(builder, scale, tile.lanes), terms, old])
        typed = builder.bitcast(target, tile.vector.as_pointer())
        builder.store(new, typed, align=tile.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(y, y_start, x, x_start, factor), code
