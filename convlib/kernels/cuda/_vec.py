"""What Numba does not offer, made of LLVM's instructions.

`load4` and `store4` move four numbers at once, which is one instruction of 128 bits for float32 and
two for float64. The address must be a multiple of 16 bytes: see `_device.is_aligned`.

`inlined` marks functions that become part of the kernels that call them. LLVM puts them in, in a
third of the time that Numba's ``inline="always"`` takes to do so.

`number` makes one kernel of two: for a number that the host knows, and for one on the device.
"""

from numbers import Number

from numba import config, cuda, uint32

LANES = 4

# The simulator knows no such thing.
inlined = cuda.jit(device=True, **({} if config.ENABLE_CUDASIM else {"forceinline": True}))

if config.ENABLE_CUDASIM:

    @cuda.jit(device=True)
    def load4(array, index):
        """Return four neighbouring elements of a flat array."""
        return (array[index], array[index + 1], array[index + 2], array[index + 3])

    @cuda.jit(device=True)
    def store4(array, index, values):
        """Write four neighbouring elements of a flat array."""
        for lane in range(LANES):
            array[index + lane] = values[lane]

    @cuda.jit(device=True)
    def number(value):
        """Return a number, or the only element of an array."""
        return value if isinstance(value, Number) else value[0]

else:
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.cuda.extending import intrinsic

    _INDEX = ir.IntType(64)

    def _vectors(context, builder, array_type, array, index):
        """Return the addresses of the vectors that hold four elements, and lanes per vector."""
        number = context.get_value_type(array_type.dtype)
        lanes = LANES if array_type.dtype.bitwidth == 32 else LANES // 2
        data = context.make_array(array_type)(context, builder, array).data
        vector = ir.VectorType(number, lanes)
        addresses = []
        for lane in range(0, LANES, lanes):
            place = builder.add(index, ir.Constant(_INDEX, lane))
            addresses.append(builder.bitcast(builder.gep(data, [place]), vector.as_pointer()))
        return addresses, lanes

    def _index(context, builder, index_type, index):
        return context.cast(builder, index, index_type, types.int64)

    def _lane(number):
        return ir.Constant(ir.IntType(32), number)

    @intrinsic
    def load4(typing_context, array, index):
        """Return four neighbouring elements of a flat array."""

        def generate(context, builder, signature, arguments):
            place = _index(context, builder, index, arguments[1])
            addresses, lanes = _vectors(context, builder, array, arguments[0], place)
            values = []
            for address in addresses:
                vector = builder.load(address, align=16)
                values += [builder.extract_element(vector, _lane(k)) for k in range(lanes)]
            return cgutils.pack_array(builder, values)

        return types.UniTuple(array.dtype, LANES)(array, index), generate

    @intrinsic
    def store4(typing_context, array, index, values):
        """Write four neighbouring elements of a flat array."""

        def generate(context, builder, signature, arguments):
            place = _index(context, builder, index, arguments[1])
            addresses, lanes = _vectors(context, builder, array, arguments[0], place)
            numbers = cgutils.unpack_tuple(builder, arguments[2], LANES)
            for address in addresses:
                vector = ir.Constant(address.type.pointee, ir.Undefined)
                for lane in range(lanes):
                    vector = builder.insert_element(vector, numbers.pop(0), _lane(lane))
                builder.store(vector, address, align=16)
            return context.get_dummy_value()

        return types.void(array, index, values), generate

    @intrinsic
    def number(typing_context, value):
        """Return a number, or the only element of an array."""

        def generate(context, builder, signature, arguments):
            if not isinstance(value, types.Array):
                return arguments[0]
            return builder.load(context.make_array(value)(context, builder, arguments[0]).data)

        return getattr(value, "dtype", value)(value), generate


if config.ENABLE_CUDASIM:

    @cuda.jit(device=True)
    def multiply_add(sums, from_left, from_right, left, row, right, column, gap, first, terms):
        """Add a product of matrices; see below. NumPy does it at once."""
        rows, columns = sums.shape
        above = left[first : first + terms, row : row + rows].T
        for j in range(0, columns, LANES):
            start = column + j // LANES * gap
            beside = right[first : first + terms, start : start + LANES]
            sums[:, j : j + LANES] += above @ beside

else:

    @inlined
    def multiply_add(sums, from_left, from_right, left, row, right, column, gap, first, terms):
        """Add ``left[k, row + i] · right[k, column + j]`` to ``sums[i, j]`` for some terms k.

        All but ``left`` and ``right`` stays in registers: the loops over i and j are unrolled,
        since a local array's shape is known. Columns are quads, which lie ``gap`` apart.
        """
        rows, columns = sums.shape
        for k in range(first, first + terms):
            for i in range(rows):
                from_left[i] = left[uint32(k), uint32(row + i)]
            for j in range(columns):
                from_right[j] = right[uint32(k), uint32(column + j // LANES * gap + j % LANES)]
            for i in range(rows):
                for j in range(columns):
                    sums[i, j] += from_left[i] * from_right[j]
