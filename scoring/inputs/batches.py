"""Batches of validated rows: what they hold, and how they are joined."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where consecutive rows of a batch come from: consecutive rows of one file."""

    path: str
    first_row: int
    n_rows: int

    def cut(self, n_rows: int) -> "tuple[Stretch, Stretch]":
        """The first rows, and the others."""
        rest = Stretch(self.path, self.first_row + n_rows, self.n_rows - n_rows)
        return Stretch(self.path, self.first_row, n_rows), rest


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

    @property
    def n_rows(self) -> int:
        """Rows of all stretches."""
        return sum(stretch.n_rows for stretch in self.stretches)


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
