"""Compares two Parquet datasets, column by column, without a job."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.drift import DriftReport
from schemas.partition import InputFile
from scoring.errors import InvalidJobError, LocationNotFoundError
from scoring.inputs.footers import Footer, open_parquet, read_footers
from scoring.inputs.partitions import PARQUET_SUFFIXES, is_hidden
from scoring.monitoring.compare import Pair, compare_columns, worst
from scoring.monitoring.profile import CategoryProfile, Edges, NumberProfile, as_numbers, kind_of
from scoring.storage import Store

READ_ROWS = 131_072


class Dataset:
    """A Parquet file, or all below a folder; columns are read one at a time."""

    def __init__(self, uri: str) -> None:
        """Read the footers.

        Raises:
            LocationNotFoundError: There is no Parquet file.
            CorruptFileError: Some cannot be read; all of them are named.
        """
        self.uri = uri
        folder, _, name = uri.rstrip("/").rpartition("/")
        is_file = name.endswith(PARQUET_SUFFIXES) and not _is_folder(uri)
        self._store = Store(folder or ".") if is_file else Store(uri)
        entries = [self._store.describe(name)] if is_file else self._store.list_files()
        self._files = [
            InputFile(entry.path, entry.size_bytes, entry.version)
            for entry in entries
            if entry.path.endswith(PARQUET_SUFFIXES) and not any(map(is_hidden, entry.path.split("/")))
        ]
        if not self._files:
            raise LocationNotFoundError(
                "There is no Parquet file.", uri, expected=f"files that end in {', '.join(PARQUET_SUFFIXES)}"
            )
        self._footers: list[Footer] = read_footers(self._store, self._files)

    @property
    def schema(self) -> dict[str, pa.DataType]:
        """Of the first file that has the column."""
        return {field.name: field.type for footer in reversed(self._footers) for field in footer.schema}

    def read(self, column: str) -> Iterator[pa.ChunkedArray]:
        """One column's batches; files that lack it give nulls."""
        for file, footer in zip(self._files, self._footers, strict=True):
            if column not in footer.schema.names:
                yield pa.chunked_array([pa.nulls(footer.n_rows, self.schema[column])])
                continue
            with open_parquet(self._store, file) as parquet:
                for batch in parquet.iter_batches(READ_ROWS, columns=[column]):
                    yield pa.chunked_array([batch.column(0)])


def compare_datasets(reference: Dataset, current: Dataset, columns: Sequence[str] = ()) -> DriftReport:
    """What differs, column by column.

    Args:
        reference: What is compared with: its quantiles cut the bins.
        current: What may have drifted.
        columns: Only these; none: all that both have.

    Raises:
        InvalidJobError: A column is in neither.
    """
    then, now = reference.schema, current.schema
    unknown = [name for name in columns if name not in then and name not in now]
    if unknown:
        raise InvalidJobError(
            "Some columns are in neither dataset.",
            f"{reference.uri} and {current.uri}",
            expected=", ".join([*dict.fromkeys([*then, *now])][:40]),
            found=", ".join(unknown),
        )
    wanted = [name for name in (columns or then) if name in then and name in now]
    pairs: dict[str, Pair] = {}
    errors: dict[str, str] = {}
    for name in wanted:
        try:
            pairs[name] = _profiles(reference, current, name)
        except (pa.ArrowException, TypeError, ValueError) as error:
            errors[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    found = compare_columns(pairs)
    chosen = set(columns)
    missing = tuple(name for name in then if name not in now and (not chosen or name in chosen))
    verdict = worst([*(column.severity for column in found), *(["critical"] if missing else [])])  # type: ignore[list-item]
    return DriftReport(
        columns=tuple(found),
        missing_columns=missing,
        new_columns=tuple(name for name in now if name not in then and (not chosen or name in chosen)),
        changed_types={name: f"{then[name]}, {now[name]}" for name in wanted if then[name] != now[name]},
        errors=errors,
        verdict=verdict,
    )


def _profiles(reference: Dataset, current: Dataset, name: str) -> Pair:
    kinds = kind_of(reference.schema[name]), kind_of(current.schema[name])
    if kinds[0] is None or kinds[0] != kinds[1]:
        raise TypeError(f"{reference.schema[name]} and {current.schema[name]} cannot be compared")
    if kinds[0] == "category":
        pair: Any = CategoryProfile(), CategoryProfile()
        for profile, dataset in zip(pair, (reference, current), strict=True):
            for column in dataset.read(name):
                profile.add(column)
        return pair  # type: ignore[no-any-return]
    batches = list(reference.read(name))
    values = np.concatenate([np.empty(0), *(as_numbers(column)[0] for column in batches)])
    edges = Edges.of(values[np.isfinite(values)])
    then = NumberProfile(edges)
    for column in batches:
        then.add(column)
    now = NumberProfile(edges, bounds=(then.least, then.greatest))
    for column in current.read(name):
        now.add(column)
    return then, now


def _is_folder(uri: str) -> bool:
    store = Store(uri)
    return bool(store.list_folders()) or bool(store.list_files())
