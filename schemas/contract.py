"""The columns of a run: what a worker reads, what it gives to the model, what it writes."""

from dataclasses import dataclass

import pyarrow as pa

MODEL_VERSION = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column that a batch has after validation."""

    name: str
    type: pa.DataType
    wanted: str = ""
    """For a feature, the type that the model states."""
    has_nulls: bool = False
    """Of a feature of truth values: some are null somewhere in the partition, and pandas' type is then another."""

    @property
    def is_whole(self) -> bool:
        """Integers or truth values: pandas has no nulls among them."""
        return bool(pa.types.is_integer(self.type) or pa.types.is_boolean(self.type))


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """A prediction column and where it comes from."""

    name: str
    type: pa.DataType
    kind: str
    """`prediction`, `probability`, `decision` or `raw`."""
    index: int = 0
    """Column of the model's answer."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What the files must have for the model, checked and agreed before a row is read."""

    features: tuple[InputColumn, ...]
    """In the order the model wants them."""
    kept: tuple[InputColumn, ...]
    """Keys, then pass-through columns."""
    predictions: tuple[OutputColumn, ...]
    has_position: bool
    """The job names no keys: source file and row number travel with each prediction."""
    extra: tuple[str, ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    """Needed columns and their Arrow types in the files, encodings apart: before any cast."""
    dictionaries: frozenset[str] = frozenset()
    """Features of texts that batches have as dictionaries, since the files do: no text is decoded a row at a time."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns to read, each once."""
        return tuple(dict.fromkeys(column.name for column in (*self.features, *self.kept)))

    @property
    def nullable_flags(self) -> list[str]:
        """Features of truth values that have nulls in some batch."""
        return [c.name for c in self.features if c.has_nulls and pa.types.is_boolean(c.type)]

    def feature_types(self) -> dict[str, pa.DataType]:
        """Of each feature as the model's own library is given it."""
        return {column.name: column.type for column in self.features}

    def output_schema(self) -> pa.Schema:
        """The columns of the predictions, in their order on the store."""
        position = (
            [("source_file", MODEL_VERSION), ("source_row", pa.int64())]
            if self.has_position
            else []
        )
        return pa.schema(
            position
            + [(column.name, column.type) for column in self.kept]
            + [(column.name, column.type) for column in self.predictions]
            + [("model_version", MODEL_VERSION), ("run_id", MODEL_VERSION)]
        )
