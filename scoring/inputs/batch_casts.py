"""Gives the columns of files the contract's types, and finds values that do not survive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.texts import as_text, broken_texts, stated_schema, without
from nightscore.errors import CorruptFileError
from nightscore.inputs.batches import Batch, FileColumns, Stretch
from nightscore.inputs.casts import Cast, agreed_cast, cast_column, feature_cast, is_text_of_bytes
from nightscore.schemas.contract import Contract, InputColumn
from nightscore.schemas.model import FeatureType

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FileCasts:
    """How each column of one file gets the contract's type. Columns of folders are in neither."""

    contract: Contract
    features: dict[str, Cast]
    passthrough: dict[str, Cast]
    folders: Mapping[str, str | None]
    """Values that the file's folders give."""

    @classmethod
    def for_file(
        cls, schema: pa.Schema, contract: Contract, folders: Mapping[str, str | None]
    ) -> "FileCasts":
        """The casts of a file.

        Raises:
            CorruptFileError: Its schema is not the one of its footer.
        """
        features: dict[str, Cast] = {}
        for column in contract.features:
            found = _type_of(schema, column.name)
            if found is not None:
                features[column.name] = _feature_cast(column, found, contract)

        passthrough: dict[str, Cast] = {}
        for column in contract.passthrough:
            found = _type_of(schema, column.name)
            if found is not None:
                passthrough[column.name] = _passthrough_cast(column, found)

        return cls(contract, features, passthrough, folders)

    def cast(self, rows: pa.Table, stretches: tuple[Stretch, ...]) -> Batch:
        """The rows with the contract's types.

        Args:
            rows: Of one file, or of several that are alike.
            stretches: Where they come from.
        """
        casting = _Casting(rows, self.folders)
        features = casting.table(self.contract.features, self.features)
        passthrough = casting.table(self.contract.passthrough, self.passthrough)
        return Batch(features, passthrough, stretches, casting.changed)


class ContractCasts:
    """The casts to one contract's types, by file. Most files are like the one before."""

    def __init__(self, contract: Contract) -> None:
        """No file is known yet."""
        self._contract = contract
        self._last: tuple[FileColumns, FileCasts] | None = None

    def of(self, columns: FileColumns) -> FileCasts:
        """How the columns of a file are cast.

        Raises:
            CorruptFileError: Its schema is not the one of its footer.
        """
        if self._last is None or self._last[0] is not columns:
            schema = stated_schema(columns.schema)
            casts = FileCasts.for_file(schema, self._contract, dict(columns.folders))
            self._last = columns, casts
        return self._last[1]


def _feature_cast(column: InputColumn, found: pa.DataType, contract: Contract) -> Cast:
    wanted: FeatureType = column.wanted or "any"  # type: ignore[assignment]
    cast = feature_cast(found, wanted)
    if isinstance(cast, str):
        raise CorruptFileError(
            "A file's schema is not the one of its footer.",
            problems=[cast],
            next_step="write this file again, then run again",
        )

    if column.name in contract.dictionaries:
        return Cast(pa.dictionary(pa.int32(), column.type))

    return agreed_cast(found, cast, column.type)


def _passthrough_cast(column: InputColumn, found: pa.DataType) -> Cast:
    are_times = pa.types.is_timestamp(column.type) and pa.types.is_timestamp(found)
    is_cut = are_times and found.unit == "ns" and column.type.unit != "ns"
    return Cast(column.type, "exact" if is_cut else "none")


def _type_of(schema: pa.Schema, name: str) -> pa.DataType | None:
    index = schema.get_field_index(name)
    if index >= 0:
        return schema.field(index).type
    return None


@dataclass(slots=True)
class _Casting:
    """The cast of some rows."""

    rows: pa.Table
    folders: Mapping[str, str | None]
    changed: dict[str, Mask] = field(default_factory=dict)
    """Column to the rows whose values do not survive."""
    _broken: dict[tuple[str, pa.DataType], Mask | None] = field(default_factory=dict)
    """Rows of text that is not UTF-8. A column may be a feature and a key: it is looked at once."""

    def table(self, columns: Sequence[InputColumn], casts: Mapping[str, Cast]) -> pa.Table:
        """These columns."""
        arrays: dict[str, pa.ChunkedArray] = {}
        for column in columns:
            cast = casts.get(column.name)
            if cast is None:
                arrays[column.name] = self._from_folder(column)
                continue

            texts, broken = self._readable(column, cast)
            arrays[column.name], unfit = cast_column(texts, cast)
            self._note(column.name, broken)
            self._note(column.name, unfit)

        return pa.table(arrays)

    def _from_folder(self, column: InputColumn) -> pa.ChunkedArray:
        text = pa.scalar(self.folders.get(column.name), pa.string())
        return pa.chunked_array([pa.repeat(text, self.rows.num_rows).cast(column.type)])

    def _readable(self, column: InputColumn, cast: Cast) -> tuple[pa.ChunkedArray, Mask | None]:
        """The column without text that is not UTF-8, and the rows of such text."""
        index = self.rows.schema.get_field_index(column.name)
        values = self.rows.column(index)
        if is_text_of_bytes(values.type, cast.type):
            values = as_text(values)

        key = (column.name, values.type)
        if key not in self._broken:
            self._broken[key] = broken_texts(values)

        broken = self._broken[key]
        if broken is None:
            return (values, None)

        return (without(values, broken), broken)

    def _note(self, name: str, rows: Mask | None) -> None:
        if rows is not None:
            self.changed[name] = self.changed.get(name, np.False_) | rows
