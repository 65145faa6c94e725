"""Steps that Numba has no words for, written in LLVM's own: vectors of 64 codes, and comparisons as bits of a word.

LLVM makes of them what the machine has: one comparison and a mask register with AVX-512, several with less.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nightscore.native.constants import BIN_FANOUT, BLOCK_ROWS, FANOUT, MOMENT_LANES

WORD_BITS = 32
_I32, _I64, _F64 = ir.IntType(32), ir.IntType(64), ir.DoubleType()


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    """A vector of the same value in all lanes."""
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(
        first, empty, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    )


def _at(builder: Any, address: Any, kind: Any, index: Any) -> Any:
    """A pointer to an element of an array that starts at an address."""
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])


@intrinsic  # type: ignore[untyped-decorator]
def count_below(_context: Any, keys: Any, value: Any) -> Any:
    """How many of the `FANOUT` float64 at an address are below a value; a NaN is not."""
    return types.int64(types.uintp, types.float64), _count_below(FANOUT)


@intrinsic  # type: ignore[untyped-decorator]
def count_edges_below(_context: Any, keys: Any, value: Any) -> Any:
    """The same of `BIN_FANOUT` float64."""
    return types.int64(types.uintp, types.float64), _count_below(BIN_FANOUT)


def _count_below(lanes: int) -> Any:
    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, value = arguments
        vector = ir.VectorType(_F64, lanes)
        found = builder.load(builder.inttoptr(address, vector.as_pointer()), align=8)
        below = builder.fcmp_ordered("<", found, _splat(builder, value, lanes))
        return builder.zext(builder.ctpop(builder.bitcast(below, ir.IntType(lanes))), _I64)

    return generate


@intrinsic  # type: ignore[untyped-decorator]
def split_rows(
    _context: Any,
    code: Any,
    leaf: Any,
    codes: Any,
    feature: Any,
    cut: Any,
    shift: Any,
    left: Any,
    right: Any,
    jump: Any,
    word: Any,
    words: Any,
    n_words: Any,
    first: Any,
    last: Any,
    masks: Any,
    leaves: Any,
) -> Any:
    """Write the number of the leaf that each row of a block reaches in one tree, leaves counted from the left.

    The first two arguments give the types of codes and of leaf numbers, the others are addresses of arrays (see
    `SplitTrees` in `models.compiled.forest`), numbers, and the addresses of the rows that reach each node and of the
    result.
    """

    def generate(_target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code_type = ir.IntType(signature.args[0].bitwidth)
        leaf_type = ir.IntType(signature.args[1].bitwidth)
        (
            _,
            _,
            codes,
            feature,
            cut,
            shift,
            left,
            right,
            jump,
            word,
            words,
            n_words,
            first,
            last,
            masks,
            leaves,
        ) = arguments
        code_vector = ir.VectorType(code_type, BLOCK_ROWS)
        leaf_vector = ir.VectorType(leaf_type, BLOCK_ROWS)
        row_vector = ir.VectorType(ir.IntType(1), BLOCK_ROWS)
        nothing = ir.Constant(leaf_vector, [0] * BLOCK_ROWS)

        def load(address: Any, kind: Any, index: Any) -> Any:
            return builder.load(_at(builder, address, kind, index))

        reached = cgutils.alloca_once(builder, leaf_vector)  # becomes a register
        builder.store(nothing, reached)
        goes_left = cgutils.alloca_once(builder, _I64)
        step = ir.Constant(_I64, 1)
        with cgutils.for_range_slice(builder, first, last, step, _I64) as (node, _):
            where = _at(builder, codes, code_type, builder.sext(load(feature, _I32, node), _I64))
            found = builder.load(builder.bitcast(where, code_vector.as_pointer()), align=1)
            first_word = load(word, _I32, node)
            is_set = builder.icmp_signed(">=", first_word, ir.Constant(_I32, 0))
            with builder.if_else(is_set, likely=False) as (among, ordered):
                with among:
                    wide = ir.VectorType(_I32, BLOCK_ROWS)
                    value = found if code_type == _I32 else builder.zext(found, wide)
                    place = builder.lshr(value, _splat(builder, ir.Constant(_I32, 5), BLOCK_ROWS))
                    bit = builder.and_(
                        value, _splat(builder, ir.Constant(_I32, WORD_BITS - 1), BLOCK_ROWS)
                    )
                    builder.store(ir.Constant(_I64, 0), goes_left)
                    with cgutils.for_range(builder, n_words, intp=_I64) as loop:
                        index = builder.add(builder.sext(first_word, _I64), loop.index)
                        bits = builder.lshr(
                            _splat(builder, load(words, _I32, index), BLOCK_ROWS), bit
                        )
                        here = builder.icmp_unsigned(
                            "==",
                            place,
                            _splat(builder, builder.trunc(loop.index, _I32), BLOCK_ROWS),
                        )
                        both = builder.bitcast(
                            builder.and_(builder.trunc(bits, row_vector), here), _I64
                        )
                        builder.store(builder.or_(builder.load(goes_left), both), goes_left)
                with ordered:
                    # NaN's code is the greatest: shifted by one it is 0, and goes to the left.
                    shifted = builder.add(
                        found, _splat(builder, load(shift, code_type, node), BLOCK_ROWS)
                    )
                    limit = _splat(builder, load(cut, code_type, node), BLOCK_ROWS)
                    builder.store(
                        builder.bitcast(builder.icmp_unsigned("<=", shifted, limit), _I64),
                        goes_left,
                    )
            rows = load(masks, _I64, builder.sub(node, first))
            to_left = builder.and_(rows, builder.load(goes_left))
            to_right = builder.xor(rows, to_left)
            builder.store(
                to_left, _at(builder, masks, _I64, builder.zext(load(left, _I32, node), _I64))
            )
            builder.store(
                to_right, _at(builder, masks, _I64, builder.zext(load(right, _I32, node), _I64))
            )
            passed = _splat(builder, load(jump, leaf_type, node), BLOCK_ROWS)
            more = builder.select(builder.bitcast(to_right, row_vector), passed, nothing)
            builder.store(builder.add(builder.load(reached), more), reached)
        builder.store(
            builder.load(reached), builder.inttoptr(leaves, leaf_vector.as_pointer()), align=1
        )
        return _target.get_dummy_value()

    return types.void(
        code, leaf, *[types.uintp] * 9, types.intp, types.intp, types.intp, types.uintp, types.uintp
    ), (generate)


@intrinsic  # type: ignore[untyped-decorator]
def fill_block(_context: Any, number: Any, values: Any, bits: Any, target: Any) -> Any:
    """Copy 64 floats from one address to another, NaN where their bit of a word at a third is not set.

    The first argument gives their type.
    """

    def generate(_target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, bits, target = arguments
        kind = ir.FloatType() if signature.args[0] == types.float32 else ir.DoubleType()
        vector = ir.VectorType(kind, BLOCK_ROWS)
        found = builder.load(builder.inttoptr(source, vector.as_pointer()), align=1)
        word = builder.load(builder.inttoptr(bits, _I64.as_pointer()), align=1)
        is_valid = builder.bitcast(word, ir.VectorType(ir.IntType(1), BLOCK_ROWS))
        nan = _splat(builder, ir.Constant(kind, float("nan")), BLOCK_ROWS)
        builder.store(
            builder.select(is_valid, found, nan),
            builder.inttoptr(target, vector.as_pointer()),
            align=1,
        )
        return _target.get_dummy_value()

    return types.void(number, types.uintp, types.uintp, types.uintp), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_moments(_context: Any, values: Any, n_vectors: Any, pivot: Any, found: Any) -> Any:
    """Sums of distances from a pivot and of their squares, over vectors of `MOMENT_LANES` finite float64.

    Each lane is summed by itself, then halves of the lanes, so that the order does not depend on the machine.

    The address of the result is that of float64: both sums, written; the least and the greatest value of each lane,
    which are read before.
    """

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        values, n_vectors, pivot, found = arguments
        vector = ir.VectorType(_F64, MOMENT_LANES)
        places = [
            builder.bitcast(
                _at(builder, found, _F64, ir.Constant(_I64, 2 + i * MOMENT_LANES)),
                vector.as_pointer(),
            )
            for i in range(2)
        ]
        shifted, squares, least, greatest = (
            cgutils.alloca_once(builder, vector) for _ in range(4)
        )  # registers
        for total in (shifted, squares):
            builder.store(ir.Constant(vector, [0.0] * MOMENT_LANES), total)
        for extreme, place in zip((least, greatest), places, strict=True):
            builder.store(builder.load(place, align=8), extreme)
        middle = _splat(builder, pivot, MOMENT_LANES)
        with cgutils.for_range(builder, n_vectors, intp=_I64) as loop:
            first = builder.mul(loop.index, ir.Constant(_I64, MOMENT_LANES))
            here = builder.load(
                builder.bitcast(_at(builder, values, _F64, first), vector.as_pointer()), align=8
            )
            distance = builder.fsub(here, middle)
            builder.store(builder.fadd(builder.load(shifted), distance), shifted)
            builder.store(
                builder.fadd(builder.load(squares), builder.fmul(distance, distance)), squares
            )
            for extreme, order in ((least, "<"), (greatest, ">")):
                so_far = builder.load(extreme)
                builder.store(
                    builder.select(builder.fcmp_ordered(order, here, so_far), here, so_far), extreme
                )
        for i, total in enumerate((shifted, squares)):
            lanes = builder.load(total)
            for n_lanes in (2**k for k in reversed(range(MOMENT_LANES.bit_length() - 1))):
                halves = [
                    _lanes(builder, lanes, range(start, start + n_lanes)) for start in (0, n_lanes)
                ]
                lanes = builder.fadd(*halves)
            one = builder.extract_element(lanes, ir.Constant(_I32, 0))
            builder.store(one, _at(builder, found, _F64, ir.Constant(_I64, i)))
        for extreme, place in zip((least, greatest), places, strict=True):
            builder.store(builder.load(extreme), place, align=8)
        return _target.get_dummy_value()

    return types.void(types.uintp, types.intp, types.float64, types.uintp), generate


def _lanes(builder: Any, vector: Any, wanted: range) -> Any:
    """Some lanes of a vector."""
    mask = ir.Constant(ir.VectorType(_I32, len(wanted)), list(wanted))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)
