"""Says which columns have nulls, where the files' statistics do not: the type that a model is given depends on it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nightscore.inputs.footers import Footer, open_parquet
from nightscore.inputs.reader import REMOTE_BUFFER_BYTES
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Input
from nightscore.schemas.partition import InputFile
from nightscore.storage.store import Store

BATCH_ROWS = 65_536


def uncounted_columns(
    contract: Contract, footers: Sequence[Footer]
) -> dict[InputFile, tuple[str, ...]]:
    """The files that do not say whether features of integers or truth values have nulls, and these."""
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
    """Of each file the columns that have nulls; a column is read up to the first one, and in no file after it.

    Run it in a worker: it decodes what nobody has verified.
    """
    store = Store(place.uri, place.storage_options)
    found: dict[InputFile, frozenset[str]] = {}
    seen: set[str] = set()
    for file, names in columns.items():
        left = [name for name in names if name not in seen]
        here = _nulls_of(store, file, left) if left else set()
        seen |= here
        found[file] = frozenset(here)
    return found


def with_found(
    footers: Sequence[Footer], found: Mapping[InputFile, frozenset[str]]
) -> list[Footer]:
    """The footers as they would be if they had said so."""
    return [
        replace(
            footer,
            with_nulls=footer.with_nulls | found.get(footer.file, frozenset()),
            uncounted=frozenset(),
        )
        for footer in footers
    ]


def _nulls_of(store: Store, file: InputFile, names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    with open_parquet(store, file, buffer_size=REMOTE_BUFFER_BYTES) as parquet:
        for group in range(parquet.metadata.num_row_groups):
            left = [name for name in names if name not in found]
            if not left:
                break
            for batch in parquet.iter_batches(BATCH_ROWS, [group], columns=left, use_threads=False):
                found |= {name for name in left if batch.column(name).null_count}
    return found
