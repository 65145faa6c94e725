"""Reads a Parquet dataset without a job: a file, or all files below a folder."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from nightscore.arrow.parsing.client import stream
from nightscore.arrow.parsing.files import checked, stream_bytes
from nightscore.arrow.texts import as_text, broken_texts, without
from nightscore.errors import InputError, LocationNotFoundError
from nightscore.inputs.casts import is_text_of_bytes
from nightscore.inputs.files import choose_files, is_named_parquet
from nightscore.inputs.footers import Footer, read_footers
from nightscore.inputs.listing import Listing, list_all
from nightscore.inputs.parquet_files import read_columns
from nightscore.inputs.schema_groups import count_columns
from nightscore.inputs.tables import check_listing, check_no_table
from nightscore.schemas.partition import InputFile
from nightscore.storage.store import Store

READ_ROWS = 131_072


class Dataset:
    """A Parquet file, or all files below a folder. Columns are read one at a time."""

    def __init__(self, uri: str, options: Mapping[str, Any] | None = None) -> None:
        """Read the footers.

        Args:
            uri: Of the file or the folder.
            options: Open the store, as in a job file.

        Raises:
            LocationNotFoundError: There is no Parquet file.
            InputError: It is a table with a format of its own, or not all of it can be read.
            CorruptFileError: Some files cannot be read; the error lists all of them.
        """
        self.uri = uri
        self.store, self.files = list_dataset(uri, options or {})

        if not self.files:
            raise LocationNotFoundError(
                "There is no Parquet file.",
                uri,
                expected="a Parquet file whose name starts with neither _ nor .",
                next_step="name a folder or a file with data, or with profiles",
            )

        self.footers: list[Footer] = read_footers(self.store, self.files)

    @property
    def schema(self) -> dict[str, pa.DataType]:
        """Each column's type, from the first file that has the column with a value in it."""
        types: dict[str, pa.DataType] = {}
        for footer in self.footers:
            for field in footer.schema:
                if field.name not in types or pa.types.is_null(types[field.name]):
                    types[field.name] = field.type

        return types

    def read(self, column: str) -> Iterator[pa.ChunkedArray]:
        """One column's batches.

        Files without the column give nulls, and so does text that is not UTF-8.
        """
        for file, footer in zip(self.files, self.footers, strict=True):
            if not count_columns(footer.schema, column):
                yield pa.chunked_array([pa.nulls(footer.n_rows, self.schema[column])])
                continue

            where = self.store.locate_url(file.path)
            batches = stream(
                read_columns,
                self.store,
                file,
                [column],
                READ_ROWS,
                where=where,
                memory_bytes=stream_bytes(),
            )

            stated_type = footer.schema.field(column).type

            for table in checked(batches, where):
                yield _readable(table.column(0), stated_type)


def list_dataset(uri: str, options: Mapping[str, Any]) -> tuple[Store, tuple[InputFile, ...]]:
    """The store and the Parquet files of a dataset, in the order of their paths; perhaps none.

    Raises:
        InputError: It is a table with a format of its own, or not all of it can be read.
    """
    store, listing = _list(uri, options)

    choice = choose_files(listing)
    if choice.problems:
        raise InputError(
            f"{len(choice.problems)} of the dataset's files or folders cannot be read.",
            uri,
            expected="files that can all be read, so that no row is left out",
            problems=choice.problems,
            next_step="repair them, or move them away; names that start with _ or . are skipped",
        )

    return store, choice.files


def _list(uri: str, options: Mapping[str, Any]) -> tuple[Store, Listing]:
    """The store and the files of a dataset: below a folder, or the one file of that name."""
    store = Store(uri, options)
    listing = list_all(store, [""])

    folder, slash, name = uri.rstrip("/").rpartition("/")
    if listing.is_empty and is_named_parquet(name):
        store = Store(folder or slash or ".", options)
        return store, Listing([store.describe(name)])

    check_no_table(store)
    check_listing(listing, uri)

    return store, listing


def _readable(column: pa.ChunkedArray, stated: pa.DataType) -> pa.ChunkedArray:
    """The column as text where that is stated; text that is not UTF-8 becomes null."""
    if is_text_of_bytes(column.type, stated):
        column = as_text(column)

    broken = broken_texts(column)
    if broken is None:
        return column
    return without(column, broken)
