"""The columns of a run: what a worker reads, what it gives to the model, what it writes."""

from dataclasses import dataclass

import pyarrow as pa

REPEATED_TEXT = pa.dictionary(pa.int32(), pa.string())
"""Texts that many rows share, such as the model version."""


CHAMPION_PREFIX = "champion_"


def champion_name(name: str) -> str:
    """The column of a challenger's table that has the champion's prediction of a row.

    It is null where the champion has refused the row.
    """
    return CHAMPION_PREFIX + name


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column of a validated batch."""

    name: str
    type: pa.DataType
    wanted: str = ""
    """For a feature, the type that the model states."""
    has_nulls: bool = False
    """For a boolean feature: some value in the partition is null. Pandas then uses another type."""

    @property
    def is_whole(self) -> bool:
        """Whether values are integers or booleans, for which pandas has no nulls."""
        return bool(pa.types.is_integer(self.type) or pa.types.is_boolean(self.type))


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """A prediction column and where it comes from."""

    name: str
    type: pa.DataType
    kind: str
    """`prediction`, `probability`, `decision` or `raw`."""
    index: int = 0
    """Position among the columns that the model returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What the files must have for the model. It is settled before a row is read."""

    features: tuple[InputColumn, ...]
    """The model's columns, in its order."""
    passthrough: tuple[InputColumn, ...]
    """Keys, then pass-through columns."""
    predictions: tuple[OutputColumn, ...]
    """Prediction columns, in the order of the output."""
    has_position: bool
    """The job names no keys: source file and row number travel with each prediction."""
    extra: tuple[str, ...] = ()
    """Columns of the files that the run does not read."""
    types: tuple[tuple[str, str], ...] = ()
    """Columns to read, and their Arrow types in the files before any cast, encodings aside."""
    dictionaries: frozenset[str] = frozenset()
    """Text features that the files store as dictionaries. Batches keep them so, and no text is
    decoded row by row."""
    champion: tuple[OutputColumn, ...] = ()
    """Of a challenger: the champion's prediction columns, which stand beside its own."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns to read, each once."""
        names = [column.name for column in (*self.features, *self.passthrough)]
        return tuple(dict.fromkeys(names))

    @property
    def nullable_flags(self) -> list[str]:
        """Boolean features that have a null in some batch."""
        with_nulls = [column for column in self.features if column.has_nulls]
        return [column.name for column in with_nulls if pa.types.is_boolean(column.type)]

    def feature_types(self) -> dict[str, pa.DataType]:
        """Type of each feature as the model's library is given it, by name."""
        return {column.name: column.type for column in self.features}

    def output_schema(self) -> pa.Schema:
        """The columns of the predictions, in their order on the store."""
        fields: list[tuple[str, pa.DataType]] = []
        if self.has_position:
            fields += [("source_file", REPEATED_TEXT), ("source_row", pa.int64())]

        fields += [(column.name, column.type) for column in self.passthrough]
        fields += [(column.name, column.type) for column in self.predictions]
        fields += [(champion_name(column.name), column.type) for column in self.champion]
        fields += [("model_version", REPEATED_TEXT), ("run_id", REPEATED_TEXT)]
        return pa.schema(fields)
