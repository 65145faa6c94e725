"""Joins the predictions of a partition with their labels. Rows are never multiplied."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nightscore.errors import LabelError
from nightscore.monitoring.performance.label_rows import ACTED_ON, LABEL
from nightscore.monitoring.performance.settled_labels import (
    MAX_NAMED,
    SettledLabels,
    settle,
    show_key,
)
from nightscore.schemas.evaluation import OutcomeCounts
from nightscore.schemas.text import counted

if TYPE_CHECKING:
    import polars as pl

ROWS_AT_ONCE = 500_000
"""Predictions and labels that are joined at once. The index of a join takes more memory than its
rows, so more rows are divided by the hash of their keys."""
MAX_PARTS = 65_536
PARTS_OF_A_BYTE = 256
PART = "part"
"""The column that says in which part a row is joined."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The predictions of a partition, with what came true."""

    frame: "pl.DataFrame"
    """A row for each prediction: its columns but the keys, then `label`, `known_at`, `acted_on`.
    The label is null where it is not known."""
    counts: OutcomeCounts
    n_repeated_keys: int = 0
    """Keys that several predictions have. None of them has a label."""
    n_without_key: int = 0
    """Predictions with a null in their key."""


def join_outcomes(
    predictions: "pl.DataFrame",
    labels: "pl.DataFrame",
    keys: Sequence[str],
    quarantined_keys: "Callable[[], pl.DataFrame] | None" = None,
) -> Outcomes:
    """Each prediction with its label.

    Args:
        predictions: Of one partition: keys, and columns to keep.
        labels: Of the same partition, perhaps several a key.
        keys: Names of the key columns, of the same types on both sides.
        quarantined_keys: Reads the keys of the run's quarantined rows. None: it has none.

    Raises:
        LabelError: Keys have different labels, or labelled predictions have the same key.
    """
    import polars as pl

    n_rows = predictions.height + labels.height
    n_parts = min(max(1, -(-n_rows // ROWS_AT_ONCE)), MAX_PARTS)
    predictions = _with_parts(predictions, keys, n_parts)
    labels = _with_parts(labels, keys, n_parts)
    parts: list[pl.DataFrame] = []
    orphans: list[pl.DataFrame] = []
    settled: list[SettledLabels] = []
    n_repeated = n_without_key = 0

    for index in range(n_parts):
        some = _part(predictions, index)
        of_labels = settle(_part(labels, index), keys)
        joined = some.join(of_labels.frame, on=keys, how="left", maintain_order="left")

        with_key = _with_key(some, keys)
        n_without_key += some.height - with_key.height
        if with_key.n_unique() < with_key.height:
            _check_keys(joined, keys)
            n_repeated += with_key.filter(pl.struct(keys).is_duplicated()).n_unique()

        # With fewer matches than labels, some labels have no prediction.
        n_matched = joined.height - joined[LABEL].null_count()
        if n_matched < of_labels.frame.height:
            orphans.append(of_labels.frame.select(keys).join(some, on=keys, how="anti"))

        parts.append(joined.drop(keys))
        # Only the counts are still needed. The rows would hold all keys in memory.
        settled.append(replace(of_labels, frame=of_labels.frame.clear()))

    frame = pl.concat(parts)
    n_orphans, n_quarantined = _count_orphans(orphans, keys, quarantined_keys)

    counts = _counts(frame, settled, n_orphans, n_quarantined)
    return Outcomes(frame, counts, n_repeated, n_without_key)


def _with_parts(frame: "pl.DataFrame", keys: Sequence[str], n_parts: int) -> "pl.DataFrame":
    """The rows, and if there are several parts, in which one they are joined."""
    import polars as pl

    if n_parts == 1:
        return frame

    hashes = pl.struct(keys).hash() if len(keys) > 1 else pl.col(keys[0]).hash()
    dtype = pl.UInt8 if n_parts <= PARTS_OF_A_BYTE else pl.UInt16
    part = (hashes % n_parts).cast(dtype).alias(PART)

    # Hashes of all rows would take as much memory as the scores.
    some_rows = [frame.clear(), *frame.iter_slices(ROWS_AT_ONCE)]
    return pl.concat(some.with_columns(part) for some in some_rows)


def _part(frame: "pl.DataFrame", index: int) -> "pl.DataFrame":
    """The rows of one part. Equal keys are in the same one, and rows stay in order."""
    if PART not in frame.columns:
        return frame

    return frame.drop(PART).filter(frame[PART] == index)


def _with_key(predictions: "pl.DataFrame", keys: Sequence[str]) -> "pl.DataFrame":
    """The keys without a null."""
    of_rows = predictions.select(keys)
    has_nulls = any(column.null_count() for column in of_rows)
    return of_rows.drop_nulls() if has_nulls else of_rows


def _check_keys(joined: "pl.DataFrame", keys: Sequence[str]) -> None:
    """Refuse a label that belongs to several predictions: it would count several times."""
    import polars as pl

    labelled = joined.filter(pl.col(LABEL).is_not_null()).select(keys)
    if labelled.n_unique() == labelled.height:
        return

    repeated = labelled.filter(pl.struct(keys).is_duplicated()).unique().sort(keys)
    raise LabelError(
        f"Published more than once in the partition: {counted(repeated.height, 'labelled key')}.",
        expected="one prediction for each label",
        problems=[show_key(row) for row in repeated.head(MAX_NAMED).iter_rows()],
        next_step="name all columns that identify a row as keys.columns, set keys.unique, and "
        "score the partition again",
    )


def _count_orphans(
    orphans: "list[pl.DataFrame]",
    keys: Sequence[str],
    quarantined_keys: "Callable[[], pl.DataFrame] | None",
) -> tuple[int, int]:
    """Labels without any row, and those of quarantined rows."""
    import polars as pl

    if not orphans:
        return 0, 0

    without_row = pl.concat(orphans)
    if quarantined_keys is None:
        return without_row.height, 0

    n_quarantined = without_row.join(quarantined_keys(), on=keys, how="semi").height
    return without_row.height - n_quarantined, n_quarantined


def _counts(
    frame: "pl.DataFrame", settled: Sequence[SettledLabels], n_orphans: int, n_quarantined: int
) -> OutcomeCounts:
    import polars as pl

    n_with_label = frame.height - frame[LABEL].null_count()
    n_acted_on = 0

    if ACTED_ON in frame.columns:
        n_acted_on = frame.filter(pl.col(LABEL).is_not_null() & pl.col(ACTED_ON)).height

    return OutcomeCounts(
        predictions=frame.height,
        labelled=n_with_label - n_acted_on,
        acted_on=n_acted_on,
        not_labelled=frame.height - n_with_label,
        null_labels=sum(part.n_null for part in settled),
        orphans=n_orphans + sum(part.n_without_key for part in settled),
        quarantined=n_quarantined,
        repeated=sum(part.n_repeated for part in settled),
        corrected=sum(part.n_corrected for part in settled),
    )
