"""Finds columns with nulls where the files' statistics do not say so.

The type that a model is given depends on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nightscore.inputs.footers import Footer
from nightscore.inputs.parquet_files import open_parquet
from nightscore.inputs.reader import REMOTE_BUFFER_BYTES
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Input
from nightscore.schemas.partition import InputFile
from nightscore.storage.store import Store

BATCH_ROWS = 65_536


def uncounted_columns(
    contract: Contract, footers: Sequence[Footer]
) -> dict[InputFile, tuple[str, ...]]:
    """The files that do not say whether features of integers or booleans have nulls.

    Returns:
        File to these features.
    """
    uncertain = {column.name for column in contract.features if column.is_whole}
    for footer in footers:
        uncertain -= footer.with_nulls

    uncounted: dict[InputFile, tuple[str, ...]] = {}
    for footer in footers:
        names = footer.uncounted & uncertain
        if names:
            uncounted[footer.file] = tuple(sorted(names))

    return uncounted


def find_nulls(
    place: Input, columns: Mapping[InputFile, Sequence[str]]
) -> dict[InputFile, frozenset[str]]:
    """Columns that have nulls, by file.

    A column is read up to its first null, and in no file after that. Run it in a worker: it
    decodes unverified content.
    """
    store = Store(place.uri, place.storage_options)
    with_nulls: dict[InputFile, frozenset[str]] = {}
    known: set[str] = set()

    for file, names in columns.items():
        unknown = [name for name in names if name not in known]
        nulls_of_file = _read_nulls(store, file, unknown) if unknown else set()
        known |= nulls_of_file
        with_nulls[file] = frozenset(nulls_of_file)

    return with_nulls


def add_nulls(
    footers: Sequence[Footer], with_nulls: Mapping[InputFile, frozenset[str]]
) -> list[Footer]:
    """The footers as they would be if they stated these nulls.

    Args:
        footers: Of the partition's files.
        with_nulls: Columns that have nulls, by file, as `find_nulls` gives them.
    """
    stated = []
    for footer in footers:
        names = footer.with_nulls | with_nulls.get(footer.file, frozenset())
        stated.append(replace(footer, with_nulls=names, uncounted=frozenset()))
    return stated


def _read_nulls(store: Store, file: InputFile, names: Sequence[str]) -> set[str]:
    """Those of the columns that have a null in this file."""
    with_nulls: set[str] = set()

    with open_parquet(store, file, buffer_size=REMOTE_BUFFER_BYTES) as parquet:
        for group in range(parquet.metadata.num_row_groups):
            unknown = [name for name in names if name not in with_nulls]
            if not unknown:
                break

            batches = parquet.iter_batches(BATCH_ROWS, [group], columns=unknown, use_threads=False)
            for batch in batches:
                with_nulls |= {name for name in unknown if batch.column(name).null_count}

    return with_nulls
