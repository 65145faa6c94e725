"""Rows that are decoded once, and cast to the types of several contracts."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from nightscore.arrow.chunks import combine_small_chunks
from nightscore.inputs.batch_casts import ContractCasts
from nightscore.inputs.batches import Batch
from nightscore.inputs.blocks import cast_blocks
from nightscore.schemas.contract import Contract, InputColumn


class SharedColumns:
    """Which columns are decoded, and how, so that several contracts can be met."""

    def __init__(self, contract: Contract, others: Sequence[Contract]) -> None:
        """Add the columns of other contracts to those of one.

        Args:
            contract: Decides how its columns are decoded, as if there were no others.
            others: Further contracts.
        """
        self.contract = contract
        self.are_cast_again = any(set(other.needed) - alike(contract, other) for other in others)
        """Some column is not cast alike for all contracts."""

        names = dict.fromkeys(contract.needed)

        coded = set(contract.dictionaries)

        for other in others:
            coded |= other.dictionaries - set(contract.needed)
            names.update(dict.fromkeys(other.needed))

        self.names = list(names)
        """Columns to read, each once."""
        self.coded = sorted(coded)
        """Columns whose texts stay dictionary codes."""


class SharedCasts:
    """Gives rows the types of a second contract. What the first one has cast alike is taken over.

    A column is cast alike if both contracts have it in the same places, with the same types.
    """

    def __init__(self, first: Contract, second: Contract) -> None:
        """Compare the contracts.

        Args:
            first: Whose batches are there already.
            second: Whose batches are wanted.
        """
        self._second = second

        self._alike = alike(first, second)

        own = replace(
            second,
            features=self._without_alike(second.features),
            passthrough=self._without_alike(second.passthrough),
            dictionaries=second.dictionaries.intersection(SharedColumns(first, [second]).coded),
        )

        self._has_own = bool(own.needed)
        self._casts = ContractCasts(own)

    def cast(self, batch: Batch) -> Batch:
        """The rows of a batch of the first contract with the types of the second.

        Args:
            batch: With the blocks that it was cast from.

        Raises:
            CorruptFileError: The schema of a file is not the one of its footer.
            pyarrow.ArrowException: A value cannot be cast.
        """
        own = cast_blocks(batch.blocks, self._casts) if self._has_own else None
        changed = {name: rows for name, rows in batch.changed.items() if name in self._alike}
        if own is not None:
            changed |= own.changed

        features = self._table(self._second.features, batch.features, own and own.features)
        passthrough = self._table(
            self._second.passthrough, batch.passthrough, own and own.passthrough
        )
        return Batch(features, passthrough, batch.stretches, changed, batch.is_last)

    def _without_alike(self, columns: Sequence[InputColumn]) -> tuple[InputColumn, ...]:
        return tuple(column for column in columns if column.name not in self._alike)

    def _table(
        self, columns: Sequence[InputColumn], first: pa.Table, own: pa.Table | None
    ) -> pa.Table:
        """These columns, each from where it was cast."""
        arrays: dict[str, pa.ChunkedArray] = {}
        for column in columns:
            source = first if own is None or column.name in self._alike else own
            arrays[column.name] = source.column(column.name)
        return combine_small_chunks(pa.table(arrays))


def alike(first: Contract, second: Contract) -> frozenset[str]:
    """Columns that both contracts have in the same places, with the same types."""
    same = _columns(first).items() & _columns(second).items()
    return frozenset(name for name, _ in same)


_Places = tuple[tuple[pa.DataType, str] | None, pa.DataType | None, bool]


def _columns(contract: Contract) -> dict[str, _Places]:
    """What decides how each column is cast: its types as feature and as pass-through column."""
    features = {column.name: (column.type, column.wanted) for column in contract.features}
    passthrough = {column.name: column.type for column in contract.passthrough}

    columns: dict[str, _Places] = {}
    for name in contract.needed:
        is_coded = name in contract.dictionaries
        columns[name] = features.get(name), passthrough.get(name), is_coded
    return columns
