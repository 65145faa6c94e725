"""Steps of the kernels of trees that Numba cannot express, written as LLVM instructions.

They work on vectors of 64 codes. LLVM turns them into what the machine has.
"""

import functools
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nightscore.native.constants import BLOCK_ROWS, FANOUT
from nightscore.native.vectors import (
    I32,
    I64,
    at,
    count_below_by_bits,
    count_below_by_lanes,
    load,
    splat,
)

WORD_BITS = 32
_ROWS = ir.VectorType(ir.IntType(1), BLOCK_ROWS)


@intrinsic  # type: ignore[untyped-decorator]
def count_keys_below(_context: Any, mask: Any, keys: Any, value: Any) -> Any:
    """Count the `FANOUT` float64 at an address that are below a value. NaN is not.

    The first argument gives the type of masks, see `tree_buffers.mask_type`.
    """
    count_below = count_below_by_bits if mask == types.uint64 else count_below_by_lanes
    return types.int64(mask, types.uintp, types.float64), count_below(FANOUT)


@intrinsic  # type: ignore[untyped-decorator]
def next_node(_context: Any, key: Any, nodes: Any, keys: Any, node: Any, row: Any) -> Any:
    """The child of a node that a row of a block goes to.

    The first argument gives the type of keys. The others are the addresses of the nodes (see
    `WalkedTrees` of `models.compiled.forest`) and of the block's keys, and two numbers.
    """

    def generate(_target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, nodes, keys, node, row = arguments
        kind = ir.IntType(signature.args[0].bitwidth)
        first = builder.shl(node, ir.Constant(I64, 2))

        def part(index: int) -> Any:
            return load(builder, nodes, kind, builder.or_(first, ir.Constant(I64, index)))

        cut, feature, left, shift = (part(i) for i in range(4))
        place = builder.add(_wide(builder, feature), row)
        shifted = builder.add(load(builder, keys, kind, place), shift)
        goes_right = builder.icmp_signed(">", shifted, cut)

        return builder.add(_wide(builder, left), builder.zext(goes_right, I64))

    return types.intp(key, types.uintp, types.uintp, types.intp, types.intp), generate


def _wide(builder: Any, number: Any) -> Any:
    return number if number.type == I64 else builder.sext(number, I64)


@intrinsic  # type: ignore[untyped-decorator]
def split_rows(
    _context: Any,
    code: Any,
    leaf: Any,
    mask: Any,
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

    The first three arguments give the types of codes, of leaf numbers and of masks. The others are
    numbers and the addresses of arrays, see `tree_kernels.sum_split`.
    """

    def generate(_target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code_type, leaf_type, mask_type = (ir.IntType(one.bitwidth) for one in signature.args[:3])
        mask = _Words() if mask_type == I64 else _Lanes(mask_type)
        nodes = _Nodes(builder, code_type, *arguments[3:13])
        first, last, masks, leaves = arguments[13:]

        leaf_vector = ir.VectorType(leaf_type, BLOCK_ROWS)
        reached = cgutils.alloca_once(builder, leaf_vector)  # becomes a register
        builder.store(ir.Constant(leaf_vector, [0] * BLOCK_ROWS), reached)
        mask.store(builder, mask.all_rows, masks, ir.Constant(I64, 0))

        def split(node: Any, goes_left: Any) -> None:
            """Give the rows of a node to its children."""
            rows = mask.load(builder, masks, builder.sub(node, first))
            to_left = builder.and_(rows, goes_left)
            to_right = builder.xor(rows, to_left)

            for rows, child in ((to_left, nodes.left), (to_right, nodes.right)):
                place = builder.zext(load(builder, child, I32, node), I64)
                mask.store(builder, rows, masks, place)

            passed = splat(builder, load(builder, nodes.jump, leaf_type, node), BLOCK_ROWS)
            more = mask.chosen(builder, to_right, passed)
            builder.store(builder.add(builder.load(reached), more), reached)

        nodes_of_tree = functools.partial(
            cgutils.for_range_slice, builder, first, last, ir.Constant(I64, 1), I64
        )
        has_sets = builder.icmp_signed("!=", nodes.n_words, ir.Constant(I64, 0))

        with builder.if_else(has_sets, likely=False) as (with_sets, without_sets):
            with with_sets, nodes_of_tree() as (node, _):
                split(node, nodes.rows_to_left(node, mask))
            with without_sets, nodes_of_tree() as (node, _):
                split(node, mask.from_rows(builder, nodes.rows_not_above(node)))

        target = builder.inttoptr(leaves, leaf_vector.as_pointer())
        builder.store(builder.load(reached), target, align=1)

        return _target.get_dummy_value()

    addresses = [types.uintp] * 9
    numbers = [types.intp] * 3
    signature = types.void(code, leaf, mask, *addresses, *numbers, types.uintp, types.uintp)

    return signature, generate


class _Words:
    """A mask is a word: AVX-512 compares and chooses by its bits."""

    all_rows = ir.Constant(I64, (1 << BLOCK_ROWS) - 1)
    kind = I64

    def load(self, builder: Any, masks: Any, index: Any) -> Any:
        return load(builder, masks, I64, index)

    def store(self, builder: Any, rows: Any, masks: Any, index: Any) -> None:
        builder.store(rows, at(builder, masks, I64, index))

    def from_rows(self, builder: Any, rows: Any) -> Any:
        return builder.bitcast(rows, I64)

    def chosen(self, builder: Any, rows: Any, values: Any) -> Any:
        """Values in some rows, 0 in the others."""
        nothing = ir.Constant(values.type, [0] * BLOCK_ROWS)
        return builder.select(builder.bitcast(rows, _ROWS), values, nothing)


@dataclass(frozen=True, slots=True)
class _Lanes:
    """A mask has a lane for each row, as wide as a code, with all bits set or none.

    Without AVX-512, comparisons give such masks, and their bits would have to be collected.
    """

    lane: Any

    @property
    def kind(self) -> Any:
        return ir.VectorType(self.lane, BLOCK_ROWS)

    @property
    def all_rows(self) -> Any:
        return ir.Constant(self.kind, [(1 << self.lane.width) - 1] * BLOCK_ROWS)

    def load(self, builder: Any, masks: Any, index: Any) -> Any:
        return load(builder, masks, self.kind, index, align=1)

    def store(self, builder: Any, rows: Any, masks: Any, index: Any) -> None:
        builder.store(rows, at(builder, masks, self.kind, index), align=1)

    def from_rows(self, builder: Any, rows: Any) -> Any:
        return builder.sext(rows, self.kind)

    def chosen(self, builder: Any, rows: Any, values: Any) -> Any:
        """Values in some rows, 0 in the others."""
        lane = values.type.element
        if lane.width > self.lane.width:
            rows = builder.sext(rows, values.type)
        elif lane.width < self.lane.width:
            rows = builder.trunc(rows, values.type)
        return builder.and_(rows, values)


@dataclass(frozen=True, slots=True)
class _Nodes:
    """The nodes of trees, by the addresses of their arrays."""

    builder: Any
    code_type: Any
    codes: Any
    feature: Any
    cut: Any
    shift: Any
    left: Any
    right: Any
    jump: Any
    word: Any
    words: Any
    n_words: Any

    def rows_to_left(self, node: Any, mask: Any) -> Any:
        """The mask of the rows that a node of either kind sends to the left."""
        builder = self.builder
        goes_left = cgutils.alloca_once(builder, mask.kind)
        first_word = load(builder, self.word, I32, node)
        is_set = builder.icmp_signed(">=", first_word, ir.Constant(I32, 0))

        with builder.if_else(is_set, likely=False) as (in_set, ordered):
            with in_set:
                self._store_rows_in_set(node, first_word, mask, goes_left)
            with ordered:
                builder.store(mask.from_rows(builder, self.rows_not_above(node)), goes_left)

        return builder.load(goes_left)

    def rows_not_above(self, node: Any) -> Any:
        """Which rows' codes are not above the node's."""
        builder = self.builder
        # NaN has the greatest code: shifted by one it is 0, and goes to the left.
        shift = splat(builder, load(builder, self.shift, self.code_type, node), BLOCK_ROWS)
        limit = splat(builder, load(builder, self.cut, self.code_type, node), BLOCK_ROWS)
        shifted = builder.add(self._row_codes(node), shift)
        return builder.icmp_unsigned("<=", shifted, limit)

    def _row_codes(self, node: Any) -> Any:
        builder = self.builder
        place = builder.sext(load(builder, self.feature, I32, node), I64)
        address = at(builder, self.codes, self.code_type, place)
        vector = ir.VectorType(self.code_type, BLOCK_ROWS)
        return builder.load(builder.bitcast(address, vector.as_pointer()), align=1)

    def _store_rows_in_set(self, node: Any, first_word: Any, mask: Any, goes_left: Any) -> None:
        """Store the mask of the rows whose codes' bits are set in the words of the node."""
        builder = self.builder
        row_codes = self._row_codes(node)
        wide = ir.VectorType(I32, BLOCK_ROWS)
        value = row_codes if self.code_type == I32 else builder.zext(row_codes, wide)
        place = builder.lshr(value, splat(builder, ir.Constant(I32, 5), BLOCK_ROWS))
        last_bit = ir.Constant(I32, WORD_BITS - 1)
        bit = builder.and_(value, splat(builder, last_bit, BLOCK_ROWS))

        nothing = ir.Constant(mask.kind, None)
        builder.store(nothing, goes_left)

        with cgutils.for_range(builder, self.n_words, intp=I64) as loop:
            index = builder.add(builder.sext(first_word, I64), loop.index)
            node_word = splat(builder, load(builder, self.words, I32, index), BLOCK_ROWS)
            bits = builder.lshr(node_word, bit)

            number = splat(builder, builder.trunc(loop.index, I32), BLOCK_ROWS)
            is_in_word = builder.icmp_unsigned("==", place, number)
            both = builder.and_(builder.trunc(bits, _ROWS), is_in_word)
            more = mask.from_rows(builder, both)
            builder.store(builder.or_(builder.load(goes_left), more), goes_left)
