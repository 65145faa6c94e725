"""Steps that Numba cannot express, written as LLVM instructions.

They work on vectors of 64 codes, and give comparisons as the bits of a word. LLVM turns them into
what the machine has: with AVX-512 one comparison and a mask register, with less several
comparisons.
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
    """Count the `FANOUT` float64 at an address that are below a value. NaN is not."""
    return types.int64(types.uintp, types.float64), _count_below(FANOUT)


@intrinsic  # type: ignore[untyped-decorator]
def count_edges_below(_context: Any, keys: Any, value: Any) -> Any:
    """Count the `BIN_FANOUT` float64 at an address that are below a value. NaN is not."""
    return types.int64(types.uintp, types.float64), _count_below(BIN_FANOUT)


def _count_below(lanes: int) -> Any:
    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, value = arguments
        vector = ir.VectorType(_F64, lanes)
        keys = builder.load(builder.inttoptr(address, vector.as_pointer()), align=8)
        below = builder.fcmp_ordered("<", keys, _splat(builder, value, lanes))
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
    """Write the number of the leaf that each row of a block reaches, counted from the left.

    The first two arguments give the types of codes and of leaf numbers. The others are numbers and
    the addresses of arrays, see `tree_kernels.sum_split`.
    """

    def generate(_target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code_type = ir.IntType(signature.args[0].bitwidth)
        leaf_type = ir.IntType(signature.args[1].bitwidth)
        _, _, codes, feature, cut, shift, left, right, jump, *rest = arguments
        word, words, n_words, first, last, masks, leaves = rest

        code_vector = ir.VectorType(code_type, BLOCK_ROWS)
        leaf_vector = ir.VectorType(leaf_type, BLOCK_ROWS)
        row_vector = ir.VectorType(ir.IntType(1), BLOCK_ROWS)
        nothing = ir.Constant(leaf_vector, [0] * BLOCK_ROWS)

        def load(address: Any, kind: Any, index: Any) -> Any:
            return builder.load(_at(builder, address, kind, index))

        def is_in_set(row_codes: Any, first_word: Any, goes_left: Any) -> None:
            """Set a row's bit where the bit of its code is set in the words of the node."""
            wide = ir.VectorType(_I32, BLOCK_ROWS)
            value = row_codes if code_type == _I32 else builder.zext(row_codes, wide)
            place = builder.lshr(value, _splat(builder, ir.Constant(_I32, 5), BLOCK_ROWS))
            last_bit = ir.Constant(_I32, WORD_BITS - 1)
            bit = builder.and_(value, _splat(builder, last_bit, BLOCK_ROWS))

            builder.store(ir.Constant(_I64, 0), goes_left)

            with cgutils.for_range(builder, n_words, intp=_I64) as loop:
                index = builder.add(builder.sext(first_word, _I64), loop.index)
                node_word = _splat(builder, load(words, _I32, index), BLOCK_ROWS)
                bits = builder.lshr(node_word, bit)

                number = _splat(builder, builder.trunc(loop.index, _I32), BLOCK_ROWS)
                is_in_word = builder.icmp_unsigned("==", place, number)
                both = builder.and_(builder.trunc(bits, row_vector), is_in_word)
                more = builder.bitcast(both, _I64)
                builder.store(builder.or_(builder.load(goes_left), more), goes_left)

        def is_not_above(row_codes: Any, node: Any, goes_left: Any) -> None:
            """Set a row's bit where its code is not above the node's."""
            # NaN has the greatest code: shifted by one it is 0, and goes to the left.
            shifted = builder.add(
                row_codes, _splat(builder, load(shift, code_type, node), BLOCK_ROWS)
            )
            limit = _splat(builder, load(cut, code_type, node), BLOCK_ROWS)
            rows = builder.bitcast(builder.icmp_unsigned("<=", shifted, limit), _I64)
            builder.store(rows, goes_left)

        reached = cgutils.alloca_once(builder, leaf_vector)  # becomes a register
        builder.store(nothing, reached)
        goes_left = cgutils.alloca_once(builder, _I64)
        step = ir.Constant(_I64, 1)

        with cgutils.for_range_slice(builder, first, last, step, _I64) as (node, _):
            place = builder.sext(load(feature, _I32, node), _I64)
            address = _at(builder, codes, code_type, place)
            row_codes = builder.load(builder.bitcast(address, code_vector.as_pointer()), align=1)

            first_word = load(word, _I32, node)
            is_set = builder.icmp_signed(">=", first_word, ir.Constant(_I32, 0))
            with builder.if_else(is_set, likely=False) as (in_set, ordered):
                with in_set:
                    is_in_set(row_codes, first_word, goes_left)
                with ordered:
                    is_not_above(row_codes, node, goes_left)

            rows = load(masks, _I64, builder.sub(node, first))
            to_left = builder.and_(rows, builder.load(goes_left))
            to_right = builder.xor(rows, to_left)
            left_child = builder.zext(load(left, _I32, node), _I64)
            right_child = builder.zext(load(right, _I32, node), _I64)

            builder.store(to_left, _at(builder, masks, _I64, left_child))
            builder.store(to_right, _at(builder, masks, _I64, right_child))

            passed = _splat(builder, load(jump, leaf_type, node), BLOCK_ROWS)
            more = builder.select(builder.bitcast(to_right, row_vector), passed, nothing)
            builder.store(builder.add(builder.load(reached), more), reached)

        target = builder.inttoptr(leaves, leaf_vector.as_pointer())
        builder.store(builder.load(reached), target, align=1)

        return _target.get_dummy_value()

    addresses = [types.uintp] * 9
    numbers = [types.intp] * 3
    signature = types.void(code, leaf, *addresses, *numbers, types.uintp, types.uintp)

    return signature, generate


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
        word = builder.load(builder.inttoptr(bits, _I64.as_pointer()), align=1)
        is_valid = builder.bitcast(word, ir.VectorType(ir.IntType(1), BLOCK_ROWS))
        nan = _splat(builder, ir.Constant(kind, float("nan")), BLOCK_ROWS)

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
        vector = ir.VectorType(_F64, MOMENT_LANES)

        extreme_addresses = []
        for i in range(2):
            place = ir.Constant(_I64, 2 + i * MOMENT_LANES)
            address = _at(builder, moments, _F64, place)
            extreme_addresses.append(builder.bitcast(address, vector.as_pointer()))

        # These become registers.
        shifted, squares, least, greatest = (cgutils.alloca_once(builder, vector) for _ in range(4))
        for total in (shifted, squares):
            builder.store(ir.Constant(vector, [0.0] * MOMENT_LANES), total)

        for extreme, address in zip((least, greatest), extreme_addresses, strict=True):
            builder.store(builder.load(address, align=8), extreme)

        middle = _splat(builder, pivot, MOMENT_LANES)

        with cgutils.for_range(builder, n_vectors, intp=_I64) as loop:
            first = builder.mul(loop.index, ir.Constant(_I64, MOMENT_LANES))
            address = builder.bitcast(_at(builder, values, _F64, first), vector.as_pointer())
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
            builder.store(one, _at(builder, moments, _F64, ir.Constant(_I64, i)))

        for extreme, address in zip((least, greatest), extreme_addresses, strict=True):
            builder.store(builder.load(extreme), address, align=8)

        return _target.get_dummy_value()

    return types.void(types.uintp, types.intp, types.float64, types.uintp), generate


def _sum_lanes(builder: Any, lanes: Any) -> Any:
    """The sum of `MOMENT_LANES` lanes, halves first."""
    n_lanes = MOMENT_LANES // 2
    while n_lanes:
        low = _lanes(builder, lanes, range(n_lanes))
        high = _lanes(builder, lanes, range(n_lanes, 2 * n_lanes))
        lanes = builder.fadd(low, high)
        n_lanes //= 2
    return builder.extract_element(lanes, ir.Constant(_I32, 0))


def _lanes(builder: Any, vector: Any, wanted: range) -> Any:
    """Some lanes of a vector."""
    mask = ir.Constant(ir.VectorType(_I32, len(wanted)), list(wanted))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)
