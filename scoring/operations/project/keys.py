"""Guesses which columns identify a row: by their names, and by what is in them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.engine.pool import Pool
from nightscore.inputs.casts import plain_type
from nightscore.inputs.footers import Footer
from nightscore.inputs.parquet_files import open_parquet
from nightscore.operations.project.records import Guess, Layout
from nightscore.schemas.job import OUTPUT_COLUMNS, OUTPUT_PREFIXES
from nightscore.schemas.partition import InputFile
from nightscore.schemas.text import counted
from nightscore.storage.store import Store

READ_ROWS = 200_000
"""Of one file. What is unique there is probably unique."""
MAX_CANDIDATES = 8
MAX_PAIRED = 5
READ_S = 120.0

_ID_NAME = re.compile(r"(^|_)(id|key|uuid|guid|nr|no|number|code)$|^id_", re.IGNORECASE)

_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """What the rows of a file say about columns that may be keys."""

    n_rows: int
    n_nulls: dict[str, int]
    n_different: dict[tuple[str, ...], int]
    """By one column, or two that are no key by themselves."""


def guess_keys(
    layout: Layout, footers: Sequence[Footer], features: Iterable[str], pool: Pool
) -> tuple[list[str], Guess]:
    """Columns that identify a row; none if none do.

    Args:
        layout: Of the data.
        footers: Of the newest partition.
        features: The model's columns, if they are known.
        pool: One of its workers reads the columns.
    """
    keys, guess = _guess(layout, footers, set(features), pool)
    left_out = pandas_indexes(footers)
    if not left_out:
        return keys, guess

    reason = f"{guess.reason}; {', '.join(left_out)} left out: pandas numbers rows with it"
    return keys, replace(guess, reason=reason)


def pandas_indexes(footers: Sequence[Footer]) -> list[str]:
    """Columns that pandas makes of an index without a name. They say nothing about a row."""
    names = footers[0].schema.names if footers else []
    return [name for name in names if _PANDAS_INDEX.fullmatch(name)]


def _guess(
    layout: Layout, footers: Sequence[Footer], features: set[str], pool: Pool
) -> tuple[list[str], Guess]:
    candidates = _candidates(layout, footers, features)
    with_rows = [footer for footer in footers if footer.n_rows]
    if not candidates or not with_rows:
        return [], Guess("keys", "none", "no column looks like a key: file and row number stand in")

    counts = pool.call(count_keys, layout.store, with_rows[0].file, candidates, timeout_s=READ_S)

    for names, n_different in counts.n_different.items():
        has_nulls = any(counts.n_nulls[name] for name in names)
        if n_different == counts.n_rows and not has_nulls:
            values = "its values differ" if len(names) == 1 else "their values differ together"
            reason = f"{values} in all {counted(counts.n_rows, 'row')} that were read"
            return list(names), Guess("keys", ", ".join(names), reason)

    return [], Guess("keys", "none", "; ".join(_why_not(counts)))


def _why_not(counts: KeyCounts) -> list[str]:
    """Why each candidate is no key."""
    reasons = []
    for (name, *others), n_different in counts.n_different.items():
        if others:
            continue
        if counts.n_nulls[name]:
            reasons.append(f"{name} is null in {counted(counts.n_nulls[name], 'row')}")
        else:
            n_rows = counted(counts.n_rows, "row")
            values = counted(n_different, "different value")
            reasons.append(f"{name} has {values} in {n_rows}")
    return reasons


def _plain(table: pa.Table) -> pa.Table:
    """The same values without an encoding such as a dictionary: Arrow cannot count those."""
    fields = [pa.field(field.name, plain_type(field.type)) for field in table.schema]
    return table.cast(pa.schema(fields))


def _candidates(layout: Layout, footers: Sequence[Footer], features: set[str]) -> list[str]:
    """Columns that may be keys: by their names; or texts and integers that are no features."""
    named: list[str] = []
    others: list[str] = []
    schema = footers[0].schema if footers else pa.schema([])

    for field in schema:
        plain = plain_type(field.type)
        is_countable = pa.types.is_integer(plain) or pa.types.is_string(plain)
        if not is_countable or field.name == layout.key or not _may_be_key(field.name):
            continue

        if _ID_NAME.search(field.name):
            named.append(field.name)
        elif features and field.name not in features:
            others.append(field.name)

    named.sort(key=lambda name: name in features)
    return [*named, *others][:MAX_CANDIDATES]


def _may_be_key(name: str) -> bool:
    """Whether a job file takes the name, and it is no mere number of a row.

    The output has columns of its own.
    """
    lowered = name.lower()  # tables compare names without case
    is_taken = lowered in OUTPUT_COLUMNS or lowered.startswith(OUTPUT_PREFIXES)
    return bool(name) and not is_taken and not _PANDAS_INDEX.fullmatch(name)


def count_keys(store: Store, file: InputFile, names: Sequence[str]) -> KeyCounts:
    """Count different values of columns. Run it in a worker: it decodes unverified content."""
    batches = []
    n_rows = 0

    with open_parquet(store, file) as parquet:
        for batch in parquet.iter_batches(columns=list(names), use_threads=False):
            batches.append(batch)
            n_rows += batch.num_rows
            if n_rows >= READ_ROWS:
                break

    table = _plain(pa.Table.from_batches(batches))
    n_nulls = {name: table[name].null_count for name in names}
    n_different: dict[tuple[str, ...], int] = {}

    for name in names:
        n_different[name,] = pc.count_distinct(table[name], mode="only_valid").as_py()

    if n_rows not in n_different.values():
        for pair in combinations(names[:MAX_PAIRED], 2):
            groups = table.group_by(list(pair)).aggregate([])
            n_different[pair] = groups.num_rows

    return KeyCounts(n_rows, n_nulls, n_different)
