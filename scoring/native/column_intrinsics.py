"""Steps of the kernels of columns that Numba cannot express, written as LLVM instructions.

LLVM turns vectors into what the machine has.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from nightscore.native.constants import BIN_FANOUT, BLOCK_ROWS, MOMENT_LANES
from nightscore.native.vectors import F64, I32, I64, at, count_below_by_bits, pick_lanes, splat


@intrinsic  # type: ignore[untyped-decorator]
def count_edges_below(_context: Any, keys: Any, value: Any) -> Any:
    """Count the `BIN_FANOUT` float64 at an address that are below a value. NaN is not."""
    return types.int64(types.uintp, types.float64), count_below_by_bits(BIN_FANOUT)


@intrinsic  # type: ignore[untyped-decorator]
def array_at(_context: Any, item: Any, address: Any, size: Any) -> Any:
    """The array of so many items at an address. The first argument gives their type.

    Numba's `carray` would count references.
    """
    array_type = types.Array(item, 1, "C")

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, address, size = arguments
        kind = target.get_data_type(item)
        item_bytes = ir.Constant(I64, target.get_abi_sizeof(kind))

        array = make_array(array_type)(target, builder)
        populate_array(
            array,
            data=builder.inttoptr(address, kind.as_pointer()),
            shape=[size],
            strides=[item_bytes],
            itemsize=item_bytes,
            meminfo=None,
        )
        return array._getvalue()

    return array_type(item, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def fill_block(_context: Any, number: Any, values: Any, bits: Any, target: Any) -> Any:
    """Copy 64 floats between addresses, with NaN where their bit is not set in the word at a third.

    The first argument gives their type.
    """

    def generate(_target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, bits, target = arguments
        kind = ir.FloatType() if signature.args[0] == types.float32 else ir.DoubleType()
        vector = ir.VectorType(kind, BLOCK_ROWS)

        floats = builder.load(builder.inttoptr(source, vector.as_pointer()), align=1)
        word = builder.load(builder.inttoptr(bits, I64.as_pointer()), align=1)
        is_valid = builder.bitcast(word, ir.VectorType(ir.IntType(1), BLOCK_ROWS))
        nan = splat(builder, ir.Constant(kind, float("nan")), BLOCK_ROWS)

        filled = builder.select(is_valid, floats, nan)
        builder.store(filled, builder.inttoptr(target, vector.as_pointer()), align=1)

        return _target.get_dummy_value()

    return types.void(number, types.uintp, types.uintp, types.uintp), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_moments(_context: Any, values: Any, n_vectors: Any, pivot: Any, moments: Any) -> Any:
    """Sum distances from a pivot and their squares over vectors of `MOMENT_LANES` finite float64.

    Each lane is summed by itself, then halves of the lanes, so the order does not depend on the
    machine. The address `moments` is that of float64: both sums, which are written; the least and
    the greatest value of each lane, which are read first.
    """

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        values, n_vectors, pivot, moments = arguments
        vector = ir.VectorType(F64, MOMENT_LANES)

        extreme_addresses = []
        for i in range(2):
            place = ir.Constant(I64, 2 + i * MOMENT_LANES)
            address = at(builder, moments, F64, place)
            extreme_addresses.append(builder.bitcast(address, vector.as_pointer()))

        # These become registers.
        shifted, squares, least, greatest = (cgutils.alloca_once(builder, vector) for _ in range(4))
        for total in (shifted, squares):
            builder.store(ir.Constant(vector, [0.0] * MOMENT_LANES), total)

        for extreme, address in zip((least, greatest), extreme_addresses, strict=True):
            builder.store(builder.load(address, align=8), extreme)

        middle = splat(builder, pivot, MOMENT_LANES)

        with cgutils.for_range(builder, n_vectors, intp=I64) as loop:
            first = builder.mul(loop.index, ir.Constant(I64, MOMENT_LANES))
            address = builder.bitcast(at(builder, values, F64, first), vector.as_pointer())
            lanes = builder.load(address, align=8)

            distance = builder.fsub(lanes, middle)
            builder.store(builder.fadd(builder.load(shifted), distance), shifted)
            square = builder.fmul(distance, distance)
            builder.store(builder.fadd(builder.load(squares), square), squares)

            for extreme, order in ((least, "<"), (greatest, ">")):
                so_far = builder.load(extreme)
                is_beyond = builder.fcmp_ordered(order, lanes, so_far)
                builder.store(builder.select(is_beyond, lanes, so_far), extreme)

        for i, total in enumerate((shifted, squares)):
            one = _sum_lanes(builder, builder.load(total))
            builder.store(one, at(builder, moments, F64, ir.Constant(I64, i)))

        for extreme, address in zip((least, greatest), extreme_addresses, strict=True):
            builder.store(builder.load(extreme), address, align=8)

        return _target.get_dummy_value()

    return types.void(types.uintp, types.intp, types.float64, types.uintp), generate


def _sum_lanes(builder: Any, lanes: Any) -> Any:
    """The sum of `MOMENT_LANES` lanes, halves first."""
    n_lanes = MOMENT_LANES // 2
    while n_lanes:
        low = pick_lanes(builder, lanes, range(n_lanes))
        high = pick_lanes(builder, lanes, range(n_lanes, 2 * n_lanes))
        lanes = builder.fadd(low, high)
        n_lanes //= 2
    return builder.extract_element(lanes, ir.Constant(I32, 0))
