"""Register tiles: the few vector operations that convolution, pooling and softmax are written in.

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
CACHE_LINE = 64  # bytes; a processor with longer lines is asked twice for each
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


# Some 24 sums fill the registers of AVX-512 and NEON, 12 those of AVX2. At least 8 independent ones
# keep two multiply-add units busy, and with more than some 10 rows their addresses need memory.
ROWS_FOR = {4: 6, 3: 8, 2: 10, 1: 10} if HAS_32_REGISTERS else {2: 6, 1: 10}
# The same where rows are neighbours in memory, so that one address is enough.
NEIGHBOURS_FOR = {4: 6, 3: 8, 2: 12, 1: 12} if HAS_32_REGISTERS else {2: 6, 1: 12}


def columns_of_tile(channels: int, dtype) -> int:
    """Return the columns of tiles that cover so many output channels with the least waste.

    Single columns load as many numbers as they multiply, which costs about as much as a quarter
    more of them.
    """
    vectors = -(-channels // lanes(dtype))

    def cost(columns):
        return -(-vectors // columns) * columns * (1.25 if columns == 1 else 1)

    return min(ROWS_FOR, key=cost)


_ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


class Tile(types.Type):
    """The Numba type of a tile: ``rows`` × ``columns`` vectors of ``dtype``.

    Vectors fill a register, or have as many ``lanes`` as those that they belong to: a tile of
    maxima has one of small integers beside it, which say where each maximum was.
    """

    def __init__(self, dtype: types.Number, rows: int, columns: int, lanes: int | None = None):
        self.dtype = dtype
        self.rows = rows
        self.columns = columns
        self.lanes = lanes or VECTOR_BITS // dtype.bitwidth
        super().__init__(f"Tile({dtype}, {rows}, {columns}, {self.lanes} lanes)")

    @property
    def vector(self) -> ir.VectorType:
        """The LLVM type of one entry."""
        return ir.VectorType(_ELEMENTS.get(self.dtype, ir.IntType(self.dtype.bitwidth)), self.lanes)

    def entries(self):
        """Yield (row, column, index of the entry)."""
        for row in range(self.rows):
            for column in range(self.columns):
                yield row, column, row * self.columns + column


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, data_model_manager, tile):
        super().__init__(
            data_model_manager, tile, ir.ArrayType(tile.vector, tile.rows * tile.columns)
        )


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


def multiply_add(builder, tile, a, b, c):
    """Return a · b + c of vectors of a tile."""
    vector = tile.vector
    function = _llvm_function(builder, "llvm.fmuladd.{vector}", tile, vector, *[vector] * 3)
    return builder.call(function, [a, b, c])


def _masks(builder, tile, count):
    """Return for each column which of its lanes are among the first ``count`` of a row."""
    lane = ir.Constant(ir.VectorType(ir.IntType(64), tile.lanes), list(range(tile.lanes)))
    masks = []
    for column in range(tile.columns):
        remaining = builder.sub(count, _integer(column * tile.lanes))
        masks.append(builder.icmp_signed("<", lane, _spread(builder, remaining, tile.lanes)))
    return masks


def _row_masks(builder, tile, masks, offset):
    """Return the masks for a row, all false where its offset is negative."""
    exists = builder.icmp_signed(">=", offset, _integer(0))
    return [builder.and_(mask, _spread(builder, exists, tile.lanes)) for mask in masks]


def _masked_function(builder, operation, vector, result, arguments):
    element = vector.element
    element = str(element) if isinstance(element, ir.IntType) else element.intrinsic_name
    name = f"llvm.masked.{operation}.v{vector.count}{element}.p0"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _masked_load(builder, vector, address, mask, others=None):
    """Load the lanes that the mask names, and ``others`` (or zeros) without touching memory."""
    pointer, alignment = vector.as_pointer(), ir.IntType(32)
    arguments = [pointer, alignment, mask.type, vector]
    function = _masked_function(builder, "load", vector, vector, arguments)
    address, others = builder.bitcast(address, pointer), others or ir.Constant(vector, None)
    return builder.call(function, [address, alignment(1), mask, others])


def _masked_store(builder, value, address, mask):
    """Store the lanes that the mask names."""
    pointer, alignment = value.type.as_pointer(), ir.IntType(32)
    arguments = [value.type, pointer, alignment, mask.type]
    function = _masked_function(builder, "store", value.type, ir.VoidType(), arguments)
    builder.call(function, [value, builder.bitcast(address, pointer), alignment(1), mask])


def _compressed(builder, values, mask):
    """Return the vector that begins with those lanes that the mask names, in their order."""
    vector = values.type
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector, mask.type, vector]),
        f"llvm.experimental.vector.compress.v{vector.count}{vector.element.intrinsic_name}",
    )
    return builder.call(function, [values, mask, ir.Constant(vector, None)])


def _prefetch_line(builder, address, is_written, level):
    """Ask for a cache line of data; level 3 stands for all caches, 2 for all but the first."""
    byte, integer = ir.IntType(8).as_pointer(), ir.IntType(32)
    function_type = ir.FunctionType(ir.VoidType(), [byte, integer, integer, integer])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    hints = integer(is_written), integer(level), integer(1)
    builder.call(function, [builder.bitcast(address, byte), *hints])


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
                entry = multiply_add(builder, tile, broadcast, weights[column], entry)
                result = builder.insert_value(result, entry, index)
        return result

    return tile(acc, x, offsets, k, w, start), code


@intrinsic
def tile_fma_run(typing_context, acc, x, first, w, start):
    """Add an outer product: ``acc[r] + x[first + r] · w[start : start + width]``."""
    tile = acc

    def code(context, builder, signature, arguments):
        old, x_array, x_first, w_array, w_start = arguments
        weights = []
        for column in range(tile.columns):
            address = _pointer(context, builder, w, w_array, w_start, _integer(column * tile.lanes))
            weights.append(_load_vector(builder, tile, address))
        result = old
        for row in range(tile.rows):
            number = builder.load(_pointer(context, builder, x, x_array, x_first, _integer(row)))
            broadcast = _spread(builder, number, tile.lanes)
            for column in range(tile.columns):
                index = row * tile.columns + column
                entry = builder.extract_value(old, index)
                entry = multiply_add(builder, tile, broadcast, weights[column], entry)
                result = builder.insert_value(result, entry, index)
        return result

    return tile(acc, x, first, w, start), code


@intrinsic
def tile_fma_lanes(typing_context, acc, x, offsets, k, w, start, channels):
    """Multiply lane by lane: ``acc[r][o] + x[offsets[r] + k + o] · w[start + o]``, o < channels."""
    tile = acc

    def code(context, builder, signature, arguments):
        old, x_array, rows, place, w_array, w_start, channel_count = arguments
        result = old
        for column, mask in enumerate(_masks(builder, tile, channel_count)):
            right = _integer(column * tile.lanes)
            address = _pointer(context, builder, w, w_array, w_start, right)
            weights = _masked_load(builder, tile.vector, address, mask)
            for row in range(tile.rows):
                offset = builder.extract_value(rows, row)
                address = _pointer(context, builder, x, x_array, offset, place, right)
                numbers = _masked_load(builder, tile.vector, address, mask)
                index = row * tile.columns + column
                entry = builder.extract_value(old, index)
                entry = multiply_add(builder, tile, numbers, weights, entry)
                result = builder.insert_value(result, entry, index)
        return result

    return tile(acc, x, offsets, k, w, start, channels), code


@intrinsic
def tile_store(typing_context, acc, y, first, stride, rows, channels):
    """Store part of a tile: ``y[first + r·stride + o] = acc[r][o]``, r < rows, o < channels."""
    tile = acc

    def code(context, builder, signature, arguments):
        value, array, start, row_stride, row_count, channel_count = arguments
        masks = _masks(builder, tile, channel_count)
        for row in range(tile.rows):
            with builder.if_then(builder.icmp_signed("<", _integer(row), row_count)):
                down = builder.mul(row_stride, _integer(row))
                for column in range(tile.columns):
                    right = _integer(column * tile.lanes)
                    address = _pointer(context, builder, y, array, start, down, right)
                    entry = builder.extract_value(value, row * tile.columns + column)
                    _masked_store(builder, entry, address, masks[column])
        return context.get_dummy_value()

    return types.void(acc, y, first, stride, rows, channels), code


@intrinsic
def vector_lanes(typing_context, like):
    """Return how many elements of the array ``like`` one vector holds, a constant."""

    def code(context, builder, signature, arguments):
        return _integer(VECTOR_BITS // like.dtype.bitwidth)

    return types.int64(like), code


@intrinsic
def tile_add_runs(typing_context, acc, x, start, offsets, factor, count):
    """Add a multiple of a run to each row: ``acc[r] + factor · x[start + offsets[r] + i]``.

    Lanes from ``count`` on stay as they are.
    """
    tile = acc

    def code(context, builder, signature, arguments):
        old, array, first, rows, scale, lane_count = arguments
        factors = _spread(builder, scale, tile.lanes)
        masks = _masks(builder, tile, lane_count)
        origin = _pointer(context, builder, x, array, first)
        result = old
        for row, column, index in tile.entries():
            run = builder.gep(origin, [builder.extract_value(rows, row)])
            address = builder.gep(run, [_integer(column * tile.lanes)])
            terms = _masked_load(builder, tile.vector, address, masks[column])
            entry = multiply_add(builder, tile, factors, terms, builder.extract_value(old, index))
            result = builder.insert_value(result, entry, index)
        return result

    return tile(acc, x, start, offsets, factor, count), code


@intrinsic
def tile_scatter(typing_context, acc, y, start, offsets, factor, count):
    """Add a multiple of each row to a run: ``y[start + offsets[r] + i] += factor · acc[r][i]``.

    Runs may not overlap; only lanes before ``count`` are touched.
    """
    tile = acc

    def code(context, builder, signature, arguments):
        value, array, first, rows, scale, lane_count = arguments
        factors = _spread(builder, scale, tile.lanes)
        masks = _masks(builder, tile, lane_count)
        origin = _pointer(context, builder, y, array, first)
        for row, column, index in tile.entries():
            run = builder.gep(origin, [builder.extract_value(rows, row)])
            address = builder.gep(run, [_integer(column * tile.lanes)])
            old = _masked_load(builder, tile.vector, address, masks[column])
            entry = multiply_add(builder, tile, factors, builder.extract_value(value, index), old)
            _masked_store(builder, entry, address, masks[column])
        return context.get_dummy_value()

    return types.void(acc, y, start, offsets, factor, count), code


@intrinsic
def tile_fma_won(typing_context, acc, x, offsets, k, dy, code, start, channels, place):
    """Add an outer product with the gradients that go to one pixel of the pooling windows.

    As `tile_fma` with ``w[o] = dy[start + o] if code[start + o] == place else 0``, for channels
    o < channels.
    """
    tile = acc

    def generate(context, builder, signature, arguments):
        old, x_array, rows, term, dy_array, code_array, first, channel_count, winner = arguments
        masks = _masks(builder, tile, channel_count)
        bytes_type = ir.VectorType(ir.IntType(8), tile.lanes)
        winners = _spread(builder, builder.trunc(winner, ir.IntType(8)), tile.lanes)
        gradients = []
        for column in range(tile.columns):
            right = _integer(column * tile.lanes)
            address = _pointer(context, builder, code, code_array, first, right)
            codes = _masked_load(builder, bytes_type, address, masks[column])
            won = builder.and_(masks[column], builder.icmp_unsigned("==", codes, winners))
            address = _pointer(context, builder, dy, dy_array, first, right)
            gradients.append(_masked_load(builder, tile.vector, address, won))
        result = old
        for row in range(tile.rows):
            offset = builder.extract_value(rows, row)
            number = builder.load(_pointer(context, builder, x, x_array, offset, term))
            broadcast = _spread(builder, number, tile.lanes)
            for column in range(tile.columns):
                index = row * tile.columns + column
                entry = builder.extract_value(old, index)
                entry = multiply_add(builder, tile, broadcast, gradients[column], entry)
                result = builder.insert_value(result, entry, index)
        return result

    return tile(acc, x, offsets, k, dy, code, start, channels, place), generate


@intrinsic(prefer_literal=True)
def tile_pool(
    typing_context, acc, y, code, start, stride, windows, channels, place, clipped, pixels
):
    """Let the rows of a tile compete for the maxima ``y``, each beginning as 0, code ``clipped``.

    Each ``pixels`` rows belong to one pooling window, w < windows of them. Where ``acc[r][o]`` is
    above ``y[start + w·stride + o]``, or the first NaN, it replaces it and the row's number within
    the window plus ``place`` replaces the code, for o < channels. With place 0 come the first
    competitors, which find y and code unwritten.
    """
    tile, count = acc, pixels.literal_value

    def generate(context, builder, signature, arguments):
        value, y_array, codes, first, row_stride, window_count, channel_count, number, loser = (
            arguments[:-1]
        )
        masks = _masks(builder, tile, channel_count)
        byte = ir.IntType(8)
        bytes_type = ir.VectorType(byte, tile.lanes)
        is_first = builder.icmp_signed("==", number, _integer(0))
        no_winner = _spread(builder, builder.trunc(loser, byte), tile.lanes)
        base = builder.trunc(number, byte)

        def beginnings(y_address, code_address, mask):
            """Return maximum and code so far: from memory, or none."""
            with builder.if_else(is_first) as (then, otherwise):
                with then:
                    begin = builder.block
                with otherwise:
                    best = _masked_load(builder, tile.vector, y_address, mask)
                    winner = _masked_load(builder, bytes_type, code_address, mask)
                    later = builder.block
            pairs = (ir.Constant(tile.vector, None), best), (no_winner, winner)
            result = []
            for at_first, from_memory in pairs:
                phi = builder.phi(at_first.type)
                phi.add_incoming(at_first, begin)
                phi.add_incoming(from_memory, later)
                result.append(phi)
            return result

        for window in range(tile.rows // count):
            with builder.if_then(builder.icmp_signed("<", _integer(window), window_count)):
                down = builder.mul(row_stride, _integer(window))
                for column in range(tile.columns):
                    offsets = first, down, _integer(column * tile.lanes)
                    addresses = (
                        _pointer(context, builder, y, y_array, *offsets),
                        _pointer(context, builder, code, codes, *offsets),
                    )
                    best, winner = beginnings(*addresses, masks[column])
                    for pixel in range(count):
                        row = window * count + pixel
                        entry = builder.extract_value(value, row * tile.columns + column)
                        # Unordered: also true where one of the two is NaN.
                        wins = builder.and_(
                            builder.fcmp_unordered(">", entry, best),
                            builder.fcmp_ordered("ord", best, best),
                        )
                        best = builder.select(wins, entry, best)
                        own = builder.add(base, ir.Constant(byte, pixel))
                        winner = builder.select(wins, _spread(builder, own, tile.lanes), winner)
                    _masked_store(builder, best, addresses[0], masks[column])
                    _masked_store(builder, winner, addresses[1], masks[column])
        return context.get_dummy_value()

    signature = types.void(acc, y, code, start, stride, windows, channels, place, clipped, pixels)
    return signature, generate


@intrinsic
def tile_load_grid(typing_context, like, x, first, down, across):
    """Return a tile like ``like`` whose vector (r, c) begins at ``first + r·down + c·across``."""
    tile = like

    def code(context, builder, signature, arguments):
        _, array, start, row_stride, column_stride = arguments
        result = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for row, column, index in tile.entries():
            below = builder.mul(row_stride, _integer(row))
            right = builder.mul(column_stride, _integer(column))
            address = _pointer(context, builder, x, array, start, below, right)
            result = builder.insert_value(result, _load_vector(builder, tile, address), index)
        return result

    return tile(like, x, first, down, across), code


@intrinsic
def tile_store_grid(typing_context, acc, y, first, steps, limits):
    """Store the vectors of a tile at ``first + r·down + c·across``, or some of them.

    ``steps`` is ``(down, across)``, ``limits`` is ``(rows, columns, channels)``: as much of the
    tile, and of each vector, is stored.
    """
    tile = acc

    def code(context, builder, signature, arguments):
        value, array, start, step, limit = arguments
        down, across = (builder.extract_value(step, i) for i in (0, 1))
        rows, columns, channels = (builder.extract_value(limit, i) for i in (0, 1, 2))
        mask = _masks(builder, tile, channels)[0]
        for row, column, index in tile.entries():
            is_row = builder.icmp_signed("<", _integer(row), rows)
            is_column = builder.icmp_signed("<", _integer(column), columns)
            with builder.if_then(builder.and_(is_row, is_column)):
                below = builder.mul(down, _integer(row))
                right = builder.mul(across, _integer(column))
                address = _pointer(context, builder, y, array, start, below, right)
                _masked_store(builder, builder.extract_value(value, index), address, mask)
        return context.get_dummy_value()

    return types.void(acc, y, first, steps, limits), code


@intrinsic
def tile_exchange(typing_context, operand):
    """Return the tile with rows and columns of vectors exchanged, which moves nothing."""
    tile, result_tile = operand, Tile(operand.dtype, operand.columns, operand.rows)

    def code(context, builder, signature, arguments):
        result = ir.Constant(context.get_value_type(result_tile), ir.Undefined)
        for row, column, index in result_tile.entries():
            entry = builder.extract_value(arguments[0], column * tile.columns + row)
            result = builder.insert_value(result, entry, index)
        return result

    return result_tile(operand), code


@intrinsic
def tile_relu(typing_context, acc):
    """Return the tile with zeros for what is not above zero; NaN stays NaN."""
    tile = acc

    def code(context, builder, signature, arguments):
        (result,) = arguments
        zeros = ir.Constant(tile.vector, None)
        for _, _, index in tile.entries():
            entry = builder.extract_value(result, index)
            is_cut_off = builder.fcmp_ordered("<=", entry, zeros)
            entry = builder.select(is_cut_off, zeros, entry)
            result = builder.insert_value(result, entry, index)
        return result

    return tile(acc), code


@intrinsic
def tile_is_finite(typing_context, operand):
    """Return whether no number of a tile is infinite or NaN."""
    tile = operand

    def code(context, builder, signature, arguments):
        odd = ir.Constant(ir.VectorType(ir.IntType(1), tile.lanes), None)
        for _, _, index in tile.entries():
            entry = builder.extract_value(arguments[0], index)
            # NaN if the entry is either.
            difference = builder.fsub(entry, entry)
            odd = builder.or_(odd, builder.fcmp_unordered("uno", difference, difference))
        lanes_as_bits = ir.IntType(tile.lanes)
        none = ir.Constant(lanes_as_bits, 0)
        return builder.icmp_unsigned("==", builder.bitcast(odd, lanes_as_bits), none)

    return types.boolean(operand), code


def transform_code(tile, matrix):
    """Return the type of ``matrix · tile`` and what generates its code, for an intrinsic.

    Row r of the result is ``Σ_s matrix[r][s] · tile[s]``; zeros cost nothing, ±1 an addition.
    """
    result_tile = Tile(tile.dtype, len(matrix), tile.columns)

    def code(context, builder, signature, arguments):
        old = arguments[0]
        result = ir.Constant(context.get_value_type(result_tile), ir.Undefined)
        for row, column, index in result_tile.entries():
            terms = [
                (factor, builder.extract_value(old, s * tile.columns + column))
                for s, factor in enumerate(matrix[row])
                if factor
            ]
            entry = _linear_combination(builder, tile, terms)
            result = builder.insert_value(result, entry, index)
        return result

    return result_tile, code


def _linear_combination(builder, tile, terms):
    """Return ``Σ factor · vector`` of the pairs, beginning with a factor of one if there is any."""
    multiply_add = _llvm_function(
        builder, "llvm.fmuladd.{vector}", tile, tile.vector, *[tile.vector] * 3
    )
    total = None
    for factor, vector in sorted(terms, key=lambda term: term[0] != 1):
        factors = ir.Constant(tile.vector, [float(factor)] * tile.lanes)
        if total is None:
            total = vector if factor == 1 else builder.fmul(factors, vector)
        elif factor == 1:
            total = builder.fadd(total, vector)
        elif factor == -1:
            total = builder.fsub(total, vector)
        else:
            total = builder.call(multiply_add, [factors, vector, total])
    return total


@intrinsic
def tile_store_maximum(typing_context, acc, y, code, first, channels, clipped):
    """Store the largest vector of a tile, lane by lane and cut off below zero, and which it was.

    ``y[first + o] = max(0, max_i acc[i][o])`` for o < channels, with i counting rows and columns in
    row-major order; of equal ones the first counts, a NaN is larger than everything. ``code`` is i,
    or ``clipped`` where no number is above zero.
    """
    tile = acc

    def code_(context, builder, signature, arguments):
        value, y_array, code_array, start, channel_count, clipped_code = arguments
        codes_type = ir.VectorType(ir.IntType(8), tile.lanes)
        zero = ir.Constant(tile.vector, None)
        best, winner = builder.extract_value(value, 0), ir.Constant(codes_type, None)
        for index in range(1, tile.rows * tile.columns):
            candidate = builder.extract_value(value, index)
            # Not below or equal: above, or one of the two is NaN.
            is_above = builder.fcmp_unordered(">", candidate, best)
            wins = builder.and_(is_above, builder.fcmp_ordered("ord", best, best))
            best = builder.select(wins, candidate, best)
            place = ir.Constant(codes_type, [index] * tile.lanes)
            winner = builder.select(wins, place, winner)
        is_clipped = builder.fcmp_ordered("<=", best, zero)
        narrow = builder.trunc(clipped_code, ir.IntType(8))
        best = builder.select(is_clipped, zero, best)
        winner = builder.select(is_clipped, _spread(builder, narrow, tile.lanes), winner)
        mask = _masks(builder, tile, channel_count)[0]
        for numbers, array_type, array in ((best, y, y_array), (winner, code, code_array)):
            address = _pointer(context, builder, array_type, array, start)
            _masked_store(builder, numbers, address, mask)
        return context.get_dummy_value()

    return types.void(acc, y, code, first, channels, clipped), code_


@intrinsic(prefer_literal=True)
def tile_add_patch(typing_context, acc, x, start, factor, down, right, height, width):
    """Add a multiple of ``height × width`` vectors to as many of a tile, from (down, right) on.

    ``acc[down + i][right + j] + factor · x[start + (i · width + j) · lanes : ...]``. Where they go
    and how many they are must be literals: registers have no addresses.
    """
    tile = acc
    top, left, rows, columns = (a.literal_value for a in (down, right, height, width))

    def code(context, builder, signature, arguments):
        result, array, first, scale = arguments[:4]
        factors = _spread(builder, scale, tile.lanes)
        for i in range(rows):
            for j in range(columns):
                place = _integer((i * columns + j) * tile.lanes)
                address = _pointer(context, builder, x, array, first, place)
                terms = _load_vector(builder, tile, address)
                index = (top + i) * tile.columns + left + j
                entry = builder.extract_value(result, index)
                entry = multiply_add(builder, tile, factors, terms, entry)
                result = builder.insert_value(result, entry, index)
        return result

    return tile(acc, x, start, factor, down, right, height, width), code


@intrinsic
def list_winners(typing_context, dy, code, start, channels, place, o, winners, gradients, count):
    """Append the channels that a pixel won to two lists; return the new count.

    For each lane i < channels with ``code[start + i] == place``, ``winners`` gets ``o + i`` and
    ``gradients`` gets ``dy[start + i]``. Both lists need room for a whole vector from ``count`` on;
    ``winners`` holds integers as wide as the gradients.
    """
    tile = Tile(dy.dtype, 1, 1)

    def generate(context, builder, signature, arguments):
        dy_array, codes, first, channel_count, number, first_o, *lists, old_count = arguments
        mask = _masks(builder, tile, channel_count)[0]
        bytes_type = ir.VectorType(ir.IntType(8), tile.lanes)
        wanted = _spread(builder, builder.trunc(number, ir.IntType(8)), tile.lanes)
        address = _pointer(context, builder, code, codes, first)
        found = _masked_load(builder, bytes_type, address, mask)
        won = builder.and_(mask, builder.icmp_unsigned("==", found, wanted))

        integer = ir.IntType(dy.dtype.bitwidth)
        lane = ir.Constant(ir.VectorType(integer, tile.lanes), list(range(tile.lanes)))
        here = _spread(builder, builder.trunc(first_o, integer), tile.lanes)
        address = _pointer(context, builder, dy, dy_array, first)
        kinds = builder.add(here, lane), _masked_load(builder, tile.vector, address, mask)
        for values, array_type, array in zip(kinds, (winners, gradients), lists, strict=True):
            packed, vector = _compressed(builder, values, won), values.type
            target = _pointer(context, builder, array_type, array, old_count)
            target = builder.bitcast(target, vector.as_pointer())
            builder.store(packed, target, align=dy.dtype.bitwidth // 8)
        bits = builder.bitcast(won, ir.IntType(tile.lanes))
        return builder.add(old_count, builder.zext(builder.ctpop(bits), ir.IntType(64)))

    signature = types.int64(dy, code, start, channels, place, o, winners, gradients, count)
    return signature, generate


@intrinsic(prefer_literal=True)
def tile_offsets(typing_context, offsets, first, rows):
    """Return ``offsets[first : first + rows]`` as the tuple that names the rows of a tile."""
    count = rows.literal_value
    result_type = types.UniTuple(types.int64, count)

    def code(context, builder, signature, arguments):
        array, start, _ = arguments
        result = ir.Constant(context.get_value_type(result_type), ir.Undefined)
        for row in range(count):
            address = _pointer(context, builder, offsets, array, start, _integer(row))
            result = builder.insert_value(result, builder.load(address), row)
        return result

    return result_type(offsets, first, rows), code


@intrinsic(prefer_literal=True)
def tile_bias(typing_context, b, first, channels, rows, columns):
    """Return a tile each row of which is ``b[first : first + channels]``, then zeros."""
    tile = Tile(b.dtype, rows.literal_value, columns.literal_value)

    def code(context, builder, signature, arguments):
        array, start, channel_count, _, _ = arguments
        masks = _masks(builder, tile, channel_count)
        vectors = []
        for column in range(tile.columns):
            address = _pointer(context, builder, b, array, start, _integer(column * tile.lanes))
            vectors.append(_masked_load(builder, tile.vector, address, masks[column]))
        result = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for _, column, index in tile.entries():
            result = builder.insert_value(result, vectors[column], index)
        return result

    return tile(b, first, channels, rows, columns), code


@intrinsic
def tile_square(typing_context, like):
    """Return a tile of zeros of one column that has as many rows as lanes."""
    tile = Tile(like.dtype, VECTOR_BITS // like.dtype.bitwidth, 1)

    def code(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(tile), None)

    return tile(like), code


@intrinsic
def tile_load_part(typing_context, like, x, first, stride, rows, channels):
    """Return a tile of which rows × channels are filled: row r from ``x[first + r·stride :]``."""
    tile = like

    def code(context, builder, signature, arguments):
        _, array, start, row_stride, row_count, channel_count = arguments
        masks = _masks(builder, tile, channel_count)
        result = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for row in range(tile.rows):
            down = builder.mul(row_stride, _integer(row))
            spare = builder.sub(builder.sub(row_count, _integer(1)), _integer(row))
            row_masks = _row_masks(builder, tile, masks, spare)
            for column in range(tile.columns):
                right = _integer(column * tile.lanes)
                address = _pointer(context, builder, x, array, start, down, right)
                entry = _masked_load(builder, tile.vector, address, row_masks[column])
                result = builder.insert_value(result, entry, row * tile.columns + column)
        return result

    return tile(like, x, first, stride, rows, channels), code


@intrinsic
def tile_load_rows(typing_context, like, x, offsets, shift, channels):
    """Return the tile whose row r is ``x[offsets[r] + shift : ... + channels]``, then zeros.

    A row with a negative offset is all zeros.
    """
    tile = like

    def code(context, builder, signature, arguments):
        _, array, rows, start, channel_count = arguments
        masks = _masks(builder, tile, channel_count)
        result = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for row in range(tile.rows):
            offset = builder.extract_value(rows, row)
            row_masks = _row_masks(builder, tile, masks, offset)
            for column in range(tile.columns):
                right = _integer(column * tile.lanes)
                address = _pointer(context, builder, x, array, offset, start, right)
                entry = _masked_load(builder, tile.vector, address, row_masks[column])
                result = builder.insert_value(result, entry, row * tile.columns + column)
        return result

    return tile(like, x, offsets, shift, channels), code


@intrinsic
def tile_store_rows(typing_context, acc, y, offsets, shift, channels):
    """Store rows: ``y[offsets[r] + shift + o] = acc[r][o]`` for o < channels, offsets[r] ≥ 0."""
    tile = acc

    def code(context, builder, signature, arguments):
        value, array, rows, start, channel_count = arguments
        masks = _masks(builder, tile, channel_count)
        for row in range(tile.rows):
            offset = builder.extract_value(rows, row)
            row_masks = _row_masks(builder, tile, masks, offset)
            for column in range(tile.columns):
                right = _integer(column * tile.lanes)
                address = _pointer(context, builder, y, array, offset, start, right)
                entry = builder.extract_value(value, row * tile.columns + column)
                _masked_store(builder, entry, address, row_masks[column])
        return context.get_dummy_value()

    return types.void(acc, y, offsets, shift, channels), code


@intrinsic
def tile_transpose_lanes(typing_context, acc):
    """Return the transpose of a tile of one column and as many rows as lanes.

    A riffle of the upper with the lower half of the rows, lane by lane, moves the first bit of an
    element's place (row, lane) to the end; as many riffles as a row has bits swap row and lane.
    """
    tile = acc

    def code(context, builder, signature, arguments):
        (value,) = arguments
        half = tile.lanes // 2
        vectors = [builder.extract_value(value, row) for row in range(tile.rows)]
        halves = []
        for first in (0, half):
            pairs = [(first + lane, first + lane + tile.lanes) for lane in range(half)]
            order = [ir.Constant(ir.IntType(32), place) for pair in pairs for place in pair]
            halves.append(ir.Constant(ir.VectorType(ir.IntType(32), tile.lanes), order))
        for _ in range(tile.lanes.bit_length() - 1):
            vectors = [
                builder.shuffle_vector(vectors[row], vectors[row + half], order)
                for row in range(half)
                for order in halves
            ]
        for row, vector in enumerate(vectors):
            value = builder.insert_value(value, vector, row)
        return value

    return tile(acc), code


@intrinsic
def tile_load_codes(typing_context, like, code, first, stride, rows, channels):
    """Return a tile of ``like``'s shape that holds bytes, as integers in the place of numbers.

    Row r has ``code[first + r·stride : ... + channels]``; where nothing is loaded stands 255.
    """
    tile = like

    def generate(context, builder, signature, arguments):
        _, array, start, row_stride, row_count, channel_count = arguments
        masks = _masks(builder, tile, channel_count)
        bytes_type = ir.VectorType(ir.IntType(8), tile.lanes)
        wide_type = ir.VectorType(ir.IntType(tile.dtype.bitwidth), tile.lanes)
        none = ir.Constant(bytes_type, [255] * tile.lanes)
        result = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for row in range(tile.rows):
            down = builder.mul(row_stride, _integer(row))
            spare = builder.sub(builder.sub(row_count, _integer(1)), _integer(row))
            row_masks = _row_masks(builder, tile, masks, spare)
            for column in range(tile.columns):
                right = _integer(column * tile.lanes)
                address = _pointer(context, builder, code, array, start, down, right)
                codes = _masked_load(builder, bytes_type, address, row_masks[column])
                codes = builder.select(row_masks[column], codes, none)
                entry = builder.bitcast(builder.zext(codes, wide_type), tile.vector)
                result = builder.insert_value(result, entry, row * tile.columns + column)
        return result

    return tile(like, code, first, stride, rows, channels), generate


@intrinsic
def tile_append_winners(typing_context, gradients, codes, key, step, room, keys, values, counts):
    """Append what won, row by row, to as many lists; codes are those of `tile_load_codes`.

    Lane i of row r won unless its code is 255. Then ``key + i·step + code`` goes to
    ``keys[r·room + counts[r]]`` and the gradient to the same place in ``values``, and the count
    grows. Lists need room for a whole vector behind their ends; keys are as wide as gradients.
    """
    tile = gradients

    def generate(context, builder, signature, arguments):
        value, code_tile, first, lane_step, list_room, key_array, value_array, count_array = (
            arguments
        )
        integer = ir.IntType(tile.dtype.bitwidth)
        integers = ir.VectorType(integer, tile.lanes)
        lane = ir.Constant(integers, list(range(tile.lanes)))
        steps = builder.mul(lane, _spread(builder, builder.trunc(lane_step, integer), tile.lanes))
        start = _spread(builder, builder.trunc(first, integer), tile.lanes)
        places = builder.add(start, steps)
        clipped = ir.Constant(integers, [255] * tile.lanes)
        for row in range(tile.rows):
            code = builder.bitcast(builder.extract_value(code_tile, row), integers)
            won = builder.icmp_unsigned("!=", code, clipped)
            place = _pointer(context, builder, counts, count_array, _integer(row))
            count = builder.load(place)
            end = builder.add(builder.mul(list_room, _integer(row)), count)
            lists = (
                (builder.add(places, code), keys, key_array),
                (builder.extract_value(value, row), values, value_array),
            )
            for entries, array_type, array in lists:
                packed = _compressed(builder, entries, won)
                target = _pointer(context, builder, array_type, array, end)
                target = builder.bitcast(target, packed.type.as_pointer())
                builder.store(packed, target, align=tile.dtype.bitwidth // 8)
            bits = builder.bitcast(won, ir.IntType(tile.lanes))
            more = builder.zext(builder.ctpop(bits), ir.IntType(64))
            builder.store(builder.add(count, more), place)
        return context.get_dummy_value()

    signature = types.void(gradients, codes, key, step, room, keys, values, counts)
    return signature, generate


@intrinsic
def tile_fma_won_patch(typing_context, acc, x, start, down, across, dy, code, place, channels):
    """Add what one 2×2 pooling window's winners give to a 3×3 kernel, and to the bias.

    ``acc[3·u + v][o] + x[start + (i + u)·down + (j + v)·across] · dy[place + o]`` for o < channels,
    where ``code[place + o]`` is 2·i + j, and ``acc[9][o] + dy[place + o]``; where the code is 255
    nothing is added. The 4×4 numbers under the window are spread over the lanes, and each lane
    picks its own by the two bits of its code.
    """
    tile = acc

    def generate(context, builder, signature, arguments):
        result, x_array, first, row_step, step, dy_array, codes, offset, channel_count = arguments
        bytes_type = ir.VectorType(ir.IntType(8), tile.lanes)
        mask = _masks(builder, tile, channel_count)[0]
        won = _masked_load(
            builder, bytes_type, _pointer(context, builder, code, codes, offset), mask
        )
        clipped = ir.Constant(bytes_type, [255] * tile.lanes)
        is_winner = builder.and_(mask, builder.icmp_unsigned("!=", won, clipped))
        address = _pointer(context, builder, dy, dy_array, offset)
        gradients = _masked_load(builder, tile.vector, address, is_winner)

        def has_bit(bit):
            bits = builder.and_(won, ir.Constant(bytes_type, [bit] * tile.lanes))
            return builder.icmp_unsigned("!=", bits, ir.Constant(bytes_type, None))

        is_lower, is_right = has_bit(2), has_bit(1)
        rows = []
        for i in range(4):
            below = builder.mul(row_step, _integer(i))
            numbers = []
            for j in range(4):
                right = builder.mul(step, _integer(j))
                number = builder.load(_pointer(context, builder, x, x_array, first, below, right))
                numbers.append(_spread(builder, number, tile.lanes))
            rows.append([builder.select(is_right, numbers[v + 1], numbers[v]) for v in range(3)])
        for u in range(3):
            for v in range(3):
                numbers = builder.select(is_lower, rows[u + 1][v], rows[u][v])
                entry = builder.extract_value(result, 3 * u + v)
                entry = multiply_add(builder, tile, numbers, gradients, entry)
                result = builder.insert_value(result, entry, 3 * u + v)
        bias = builder.fadd(builder.extract_value(result, 9), gradients)
        return builder.insert_value(result, bias, 9)

    return tile(acc, x, start, down, across, dy, code, place, channels), generate


# Tiles of one row, for operations that hardly compute: the vectors are neighbouring channels of a
# pixel. Where ``channels`` is a constant after inlining, such as the width of the tile, masked
# loads and stores become plain ones.


@intrinsic
def tile_width(typing_context, like):
    """Return how many numbers a row of a tile holds, a constant."""
    tile = like

    def code(context, builder, signature, arguments):
        return _integer(tile.columns * tile.lanes)

    return types.int64(like), code


@intrinsic
def tile_fill(typing_context, like, number):
    """Return a tile like ``like`` that is filled with a number."""
    tile = like

    def code(context, builder, signature, arguments):
        number = context.cast(builder, arguments[1], signature.args[1], tile.dtype)
        vector = _spread(builder, number, tile.lanes)
        result = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for _, _, index in tile.entries():
            result = builder.insert_value(result, vector, index)
        return result

    return tile(like, number), code


@intrinsic
def tile_places(typing_context, like, codes, place):
    """Return a tile of ``codes``' integers with the shape of ``like``, filled with ``place``."""
    tile = Tile(codes.dtype, like.rows, like.columns, like.lanes)

    def code(context, builder, signature, arguments):
        number = context.cast(builder, arguments[2], signature.args[2], tile.dtype)
        vector = _spread(builder, number, tile.lanes)
        result = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for _, _, index in tile.entries():
            result = builder.insert_value(result, vector, index)
        return result

    return tile(like, codes, place), code


@intrinsic
def tile_load_run(typing_context, like, x, first, channels):
    """Return the tile of one row that holds ``x[first : first + channels]``, then ``like``."""
    tile = like

    def code(context, builder, signature, arguments):
        result, array, start, channel_count = arguments
        for column, mask in enumerate(_masks(builder, tile, channel_count)):
            address = _pointer(context, builder, x, array, start, _integer(column * tile.lanes))
            others = builder.extract_value(result, column)
            entry = _masked_load(builder, tile.vector, address, mask, others)
            result = builder.insert_value(result, entry, column)
        return result

    return tile(like, x, first, channels), code


@intrinsic
def tile_store_run(typing_context, acc, y, first, channels):
    """Store a tile of one row: ``y[first + o] = acc[o]`` for o < channels."""
    tile = acc

    def code(context, builder, signature, arguments):
        value, array, start, channel_count = arguments
        for column, mask in enumerate(_masks(builder, tile, channel_count)):
            address = _pointer(context, builder, y, array, start, _integer(column * tile.lanes))
            _masked_store(builder, builder.extract_value(value, column), address, mask)
        return context.get_dummy_value()

    return types.void(acc, y, first, channels), code


@intrinsic
def tile_add(typing_context, acc, terms):
    """Return the sum of two tiles."""
    tile = acc

    def code(context, builder, signature, arguments):
        result, more = arguments
        for _, _, index in tile.entries():
            entries = (builder.extract_value(operand, index) for operand in arguments)
            result = builder.insert_value(result, builder.fadd(*entries), index)
        return result

    return tile(acc, terms), code


def _with_number(operation, text):
    """Return the operation between each number of a tile and one number, by its LLVM name."""

    @intrinsic
    def with_number(typing_context, acc, number):
        tile = acc

        def code(context, builder, signature, arguments):
            result = arguments[0]
            number = context.cast(builder, arguments[1], signature.args[1], tile.dtype)
            operand = _spread(builder, number, tile.lanes)
            for _, _, index in tile.entries():
                entry = builder.extract_value(result, index)
                entry = getattr(builder, operation)(entry, operand)
                result = builder.insert_value(result, entry, index)
            return result

        return tile(acc, number), code

    with_number.__doc__ = text
    return with_number


tile_subtract = _with_number("fsub", "Return a tile less a number.")
tile_multiply = _with_number("fmul", "Return a tile times a number.")
tile_divide = _with_number("fdiv", "Return a tile divided by a number.")


def _larger(builder, a, b):
    """Return the larger of two vectors, lane by lane, and either where one is NaN."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@intrinsic
def tile_larger(typing_context, acc, candidates):
    """Return the larger of two tiles, lane by lane, and either where one is NaN."""
    tile = acc

    def code(context, builder, signature, arguments):
        result = arguments[0]
        for _, _, index in tile.entries():
            entries = (builder.extract_value(operand, index) for operand in arguments)
            result = builder.insert_value(result, _larger(builder, *entries), index)
        return result

    return tile(acc, candidates), code


def _reduction(combine, text):
    """Return the operation that makes one number of a tile, half and half at every step."""

    @intrinsic
    def reduction(typing_context, acc):
        tile = acc

        def code(context, builder, signature, arguments):
            vectors = [builder.extract_value(arguments[0], i) for _, _, i in tile.entries()]
            while len(vectors) > 1:
                half = len(vectors) // 2
                pairs = zip(vectors[:half], vectors[half:], strict=True)
                vectors = [combine(builder, *pair) for pair in pairs]
            (vector,) = vectors
            half = tile.lanes // 2
            while half:
                lanes = [half + lane if lane < half else 0 for lane in range(tile.lanes)]
                order = ir.Constant(ir.VectorType(ir.IntType(32), tile.lanes), lanes)
                vector = combine(builder, vector, builder.shuffle_vector(vector, vector, order))
                half //= 2
            return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

        return tile.dtype(acc), code

    reduction.__doc__ = text
    return reduction


tile_sum = _reduction(
    lambda builder, a, b: builder.fadd(a, b), "Return the sum of a tile of 1, 2 or 4 vectors."
)
tile_largest = _reduction(
    _larger, "Return the largest number of a tile of 1, 2 or 4 vectors; NaN may or may not count."
)


@intrinsic
def tile_compete(typing_context, best, winners, candidates, place):
    """Return the larger of two tiles, lane by lane, and the winners with ``place`` where it is new.

    Of equal ones the old stays; a NaN is larger than everything, and the first NaN stays.
    """
    result_type = types.Tuple((best, winners))

    def code(context, builder, signature, arguments):
        numbers, places, new, place = arguments
        place = context.cast(builder, place, signature.args[3], winners.dtype)
        place = _spread(builder, place, winners.lanes)
        for _, _, index in best.entries():
            old = builder.extract_value(numbers, index)
            candidate = builder.extract_value(new, index)
            # Not below or equal: above, or one of the two is NaN.
            is_above = builder.fcmp_unordered(">", candidate, old)
            wins = builder.and_(is_above, builder.fcmp_ordered("ord", old, old))
            numbers = builder.insert_value(numbers, builder.select(wins, candidate, old), index)
            code = builder.select(wins, place, builder.extract_value(places, index))
            places = builder.insert_value(places, code, index)
        return context.make_tuple(builder, result_type, (numbers, places))

    return result_type(best, winners, candidates, place), code


@intrinsic
def tile_add_won(typing_context, acc, dy, codes, start, place, channels):
    """Add gradients that were won: ``acc[o] + dy[start + o]`` where ``codes`` is ``place``."""
    tile = acc
    code_tile = Tile(codes.dtype, 1, tile.columns, tile.lanes)

    def code(context, builder, signature, arguments):
        result, dy_array, code_array, first, place, channel_count = arguments
        place = context.cast(builder, place, signature.args[4], codes.dtype)
        places = _spread(builder, place, tile.lanes)
        zeros = ir.Constant(tile.vector, None)
        for column, mask in enumerate(_masks(builder, tile, channel_count)):
            right = _integer(column * tile.lanes)
            address = _pointer(context, builder, codes, code_array, first, right)
            won = builder.icmp_unsigned(
                "==", _masked_load(builder, code_tile.vector, address, mask), places
            )
            address = _pointer(context, builder, dy, dy_array, first, right)
            gradients = _masked_load(builder, tile.vector, address, mask)
            entry = builder.extract_value(result, column)
            entry = builder.fadd(entry, builder.select(won, gradients, zeros))
            result = builder.insert_value(result, entry, column)
        return result

    return tile(acc, dy, codes, start, place, channels), code


@intrinsic
def tile_prefetch(typing_context, like, x, first):
    """Ask for memory that is soon to be loaded: ``x[first : first + width]``, or near an end of x.

    What lies outside the array is not touched, nor is it an error.
    """
    tile = like
    line = 8 * CACHE_LINE // x.dtype.bitwidth  # elements

    def code(context, builder, signature, arguments):
        _, array, start = arguments
        for place in range(0, tile.columns * tile.lanes, line):
            address = _pointer(context, builder, x, array, start, _integer(place))
            _prefetch_line(builder, address, is_written=0, level=3)
        return context.get_dummy_value()

    return types.void(like, x, first), code


@intrinsic(prefer_literal=True)
def tile_fma_sliding(typing_context, acc, x, first, step, w, start, down, taps):
    """Slide a row of a kernel along x, lane by lane: each row of the tile is one window.

    ``acc[r] + Σ_t x[first + (r + t)·step : ... + width] · w[start + t·down : ... + width]`` for so
    many taps, a literal. What neighbouring windows share of x is loaded once.
    """
    tile, count = acc, taps.literal_value

    def code(context, builder, signature, arguments):
        result, x_array, x_first, x_step, w_array, w_start, w_step, _ = arguments
        for column in range(tile.columns):
            right = _integer(column * tile.lanes)
            weights = []
            for tap in range(count):
                below = builder.mul(w_step, _integer(tap))
                address = _pointer(context, builder, w, w_array, w_start, below, right)
                weights.append(_load_vector(builder, tile, address))
            for place in range(tile.rows + count - 1):
                along = builder.mul(x_step, _integer(place))
                address = _pointer(context, builder, x, x_array, x_first, along, right)
                numbers = _load_vector(builder, tile, address)
                for tap in range(count):
                    row = place - tap
                    if 0 <= row < tile.rows:
                        index = row * tile.columns + column
                        entry = builder.extract_value(result, index)
                        entry = multiply_add(builder, tile, numbers, weights[tap], entry)
                        result = builder.insert_value(result, entry, index)
        return result

    return tile(acc, x, first, step, w, start, down, taps), code


@intrinsic(prefer_literal=True)
def tile_fma_windows(typing_context, acc, x, runs, first, steps, dy, start, windows, channels):
    """Add the products of neighbouring windows with their gradients, and these gradients.

    ``acc[i·t + j] + Σ_r x[runs[i] + first + (r + j)·across + o] · dy[start + r·down + o]`` for the
    literal number of windows r and channels o < channels; ``acc[-1] + Σ_r dy[...]``. The tile has
    t rows for each of the runs, and ``steps`` is ``(across, down)``. What neighbouring windows
    share of x is loaded once.
    """
    tile, count = acc, windows.literal_value
    taps = (tile.rows - 1) // len(runs)

    def code(context, builder, signature, arguments):
        result, x_array, starts, x_first, step, dy_array, dy_start, _, channel_count = arguments
        across, down = (builder.extract_value(step, i) for i in (0, 1))
        mask = _masks(builder, tile, channel_count)[0]
        gradients = []
        for window in range(count):
            below = builder.mul(down, _integer(window))
            address = _pointer(context, builder, dy, dy_array, dy_start, below)
            gradients.append(_masked_load(builder, tile.vector, address, mask))
            total = builder.extract_value(result, tile.rows - 1)
            total = builder.fadd(total, gradients[-1])
            result = builder.insert_value(result, total, tile.rows - 1)
        for place in range(count + taps - 1):
            along = builder.mul(across, _integer(place))
            for run in range(len(runs)):
                offset = builder.extract_value(starts, run)
                address = _pointer(context, builder, x, x_array, offset, x_first, along)
                numbers = _masked_load(builder, tile.vector, address, mask)
                for tap in range(taps):
                    if 0 <= place - tap < count:
                        index = run * taps + tap
                        entry = builder.extract_value(result, index)
                        gradient = gradients[place - tap]
                        entry = multiply_add(builder, tile, numbers, gradient, entry)
                        result = builder.insert_value(result, entry, index)
        return result

    return tile(acc, x, runs, first, steps, dy, start, windows, channels), code


@intrinsic(prefer_literal=True)
def prefetch(typing_context, x, place, is_written):
    """Ask for the cache line of ``x[place]``, to be read or, a literal, written.

    Nothing is read or written, so the place may lie outside the array.
    """
    how = int(is_written.literal_value)

    def code(context, builder, signature, arguments):
        array, start, _ = arguments
        address = _pointer(context, builder, x, array, start)
        _prefetch_line(builder, address, how, level=2)
        return context.get_dummy_value()

    return types.void(x, place, is_written), code
