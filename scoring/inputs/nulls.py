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
    asked = {column.name for column in contract.features if column.is_whole}
    asked -= {name for footer in footers for name in footer.with_nulls}

    return {
        footer.file: tuple(sorted(names))
        for footer in footers
        if (names := footer.uncounted & asked)
    }


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
        of_file = _nulls_of(store, file, unknown) if unknown else set()
        known |= of_file
        with_nulls[file] = frozenset(of_file)

    return with_nulls


def with_found(
    footers: Sequence[Footer], found: Mapping[InputFile, frozenset[str]]
) -> list[Footer]:
    """The footers as they would be if they stated these nulls."""
    return [
        replace(
            footer,
            with_nulls=footer.with_nulls | found.get(footer.file, frozenset()),
            uncounted=frozenset(),
        )
        for footer in footers
    ]


def _nulls_of(store: Store, file: InputFile, names: Sequence[str]) -> set[str]:
    with_nulls: set[str] = set()
    with open_parquet(store, file, buffer_size=REMOTE_BUFFER_BYTES) as parquet:
        for group in range(parquet.metadata.num_row_groups):
            unknown = [name for name in names if name not in with_nulls]
            if not unknown:
                break
            for batch in parquet.iter_batches(
                BATCH_ROWS, [group], columns=unknown, use_threads=False
            ):
                with_nulls |= {name for name in unknown if batch.column(name).null_count}

    return with_nulls
