"""Pieces of LLVM's language that the intrinsics share."""

from typing import Any

from llvmlite import ir

I32, I64, F64 = ir.IntType(32), ir.IntType(64), ir.DoubleType()
AVX_LANES = 4
"""float64 in a register of AVX2."""


def splat(builder: Any, value: Any, lanes: int) -> Any:
    """A vector of the same value in all lanes."""
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def at(builder: Any, address: Any, kind: Any, index: Any) -> Any:
    """A pointer to an element of an array that starts at an address."""
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])


def load(builder: Any, address: Any, kind: Any, index: Any, align: int | None = None) -> Any:
    """An element of an array that starts at an address."""
    return builder.load(at(builder, address, kind, index), align=align)


def count_below_by_bits(lanes: int) -> Any:
    """Code that counts how many of some float64 at an address are below a value. NaN is not.

    The bits of the comparison are counted.
    """

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, value = arguments[-2:]
        below = _compare(builder, address, splat(builder, value, lanes))
        return builder.zext(builder.ctpop(builder.bitcast(below, ir.IntType(lanes))), I64)

    return generate


def count_below_by_lanes(lanes: int) -> Any:
    """The same. Where a comparison gives lanes, adding them up takes less than collecting bits."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, value = arguments[-2:]
        values = splat(builder, value, AVX_LANES)
        counts = ir.VectorType(I64, AVX_LANES)

        total = ir.Constant(counts, None)
        for first in range(0, lanes, AVX_LANES):
            place = builder.add(address, ir.Constant(I64, 8 * first))
            # A lane is -1 where the comparison holds.
            total = builder.sub(total, builder.sext(_compare(builder, place, values), counts))

        n_lanes = AVX_LANES
        while n_lanes > 1:
            n_lanes //= 2
            low = pick_lanes(builder, total, range(n_lanes))
            high = pick_lanes(builder, total, range(n_lanes, 2 * n_lanes))
            total = builder.add(low, high)

        return builder.extract_element(total, ir.Constant(I32, 0))

    return generate


def pick_lanes(builder: Any, vector: Any, wanted: range) -> Any:
    """Some lanes of a vector."""
    mask = ir.Constant(ir.VectorType(I32, len(wanted)), list(wanted))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _compare(builder: Any, address: Any, values: Any) -> Any:
    """Which of the float64 at an address are below the values."""
    vector = values.type
    keys = builder.load(builder.inttoptr(address, vector.as_pointer()), align=8)
    return builder.fcmp_ordered("<", keys, values)
