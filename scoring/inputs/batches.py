"""Batches of validated rows, and the decoded rows that they are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where consecutive rows of a batch come from: consecutive rows of one file."""

    path: str
    first_row: int
    n_rows: int
    rows: npt.NDArray[np.int64] | None = None
    """Their numbers in the file, where rows between them were left out. None: they are
    consecutive."""

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """The numbers of the rows in the file."""
        if self.rows is not None:
            return self.rows
        return np.arange(self.first_row, self.first_row + self.n_rows)

    def only(self, wanted: npt.NDArray[np.bool_]) -> "Stretch":
        """Some of the rows, in their order."""
        rows = self.positions[wanted]
        first_row = int(rows[0]) if len(rows) else self.first_row
        return Stretch(self.path, first_row, len(rows), rows)

    def cut(self, n_rows: int) -> "tuple[Stretch, Stretch]":
        """The first rows, and the others."""
        rest = Stretch(self.path, self.first_row + n_rows, self.n_rows - n_rows)
        return Stretch(self.path, self.first_row, n_rows), rest


@dataclass(frozen=True, slots=True)
class FileColumns:
    """The columns of a file as they are decoded, and the values that its folders give."""

    schema: pa.Schema
    """Without the file's metadata."""
    folders: tuple[tuple[str, str | None], ...]

    def is_like(self, schema: pa.Schema, folders: tuple[tuple[str, str | None], ...]) -> bool:
        """Whether another file has the same."""
        return self.folders == folders and bool(self.schema.equals(schema, check_metadata=True))


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of one file, as they were decoded."""

    rows: pa.Table
    stretch: Stretch
    columns: FileColumns
    """The same object for files that are alike."""

    def cut(self, n_rows: int) -> "tuple[Block, Block]":
        """The first rows, and the others. Nothing is copied."""
        head, rest = self.stretch.cut(n_rows)
        return (
            Block(self.rows.slice(0, n_rows), head, self.columns),
            Block(self.rows.slice(n_rows), rest, self.columns),
        )


@dataclass(slots=True)
class Batch:
    """Rows in the order of their files."""

    features: pa.Table
    """The model's columns with the contract's types; null where a value would have changed."""
    passthrough: pa.Table
    """Keys and pass-through columns, likewise."""
    stretches: tuple[Stretch, ...]
    changed: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """Column to the rows whose value the cast would have changed, or is text that is not UTF-8."""
    is_last: bool = False
    """Its last row is the partition's last."""
    blocks: tuple[Block, ...] = ()
    """The same rows before any cast. Empty unless another contract needs other casts."""

    @property
    def n_rows(self) -> int:
        """Rows of all stretches."""
        return sum(stretch.n_rows for stretch in self.stretches)

    def only(self, wanted: npt.NDArray[np.bool_]) -> "Batch":
        """Some of the rows, in their order: as if the others had not been read.

        Args:
            wanted: Which, shape (n,).
        """
        ends = np.cumsum([stretch.n_rows for stretch in self.stretches])
        parts = np.split(wanted, ends[:-1])

        stretches = []
        for stretch, part in zip(self.stretches, parts, strict=True):
            if part.any():
                stretches.append(stretch.only(part))

        return Batch(
            self.features.filter(from_numpy(wanted)),
            self.passthrough.filter(from_numpy(wanted)),
            tuple(stretches),
            {name: rows[wanted] for name, rows in self.changed.items()},
            self.is_last,
        )


def join_batches(batches: Sequence[Batch]) -> Batch:
    """One batch of all rows."""
    if len(batches) == 1:
        return batches[0]

    names: set[str] = set()
    stretches: list[Stretch] = []
    for batch in batches:
        names.update(batch.changed)
        stretches += batch.stretches

    changed = {}
    for name in names:
        masks = [batch.changed.get(name, np.zeros(batch.n_rows, np.bool_)) for batch in batches]
        changed[name] = np.concatenate(masks)

    return Batch(
        pa.concat_tables([batch.features for batch in batches]),
        pa.concat_tables([batch.passthrough for batch in batches]),
        tuple(stretches),
        changed,
    )
