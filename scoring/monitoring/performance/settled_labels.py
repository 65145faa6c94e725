"""Settles which label of a row counts, where there are several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightscore.errors import LabelError
from nightscore.monitoring.performance.label_rows import ACTED_ON, KNOWN_AT, LABEL
from nightscore.schemas.text import counted

if TYPE_CHECKING:
    import polars as pl

MAX_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledLabels:
    """One label a key, none of them null."""

    frame: "pl.DataFrame"
    """Keys, label, and where the job names them `known_at` and `acted_on`."""
    n_null: int = 0
    """Keys whose label is null."""
    n_without_key: int = 0
    """Labels with a null in their key, which belong to no row."""
    n_repeated: int = 0
    n_corrected: int = 0


def settle(labels: "pl.DataFrame", keys: Sequence[str]) -> SettledLabels:
    """The label of each key that counts.

    With `known_at` it is the newest one; if that is null, the label is not known (any more).

    Args:
        labels: Of one partition: keys, label, and where the job names them `known_at` and
            `acted_on`.
        keys: Names of the key columns.

    Raises:
        LabelError: Keys have different labels, and nothing tells which is the newer one.
    """
    import polars as pl

    with_key = labels.drop_nulls(keys)
    n_without_key = labels.height - with_key.height

    n_repeated = n_corrected = 0
    if with_key.select(keys).n_unique() < with_key.height:
        is_repeated = pl.struct(keys).is_duplicated()
        several = with_key.filter(is_repeated)
        newest, n_repeated, n_corrected = _settle_repeated(several, keys)
        with_key = pl.concat([with_key.filter(~is_repeated), newest.select(with_key.columns)])

    frame = with_key.drop_nulls(LABEL)

    return SettledLabels(
        frame=frame,
        n_null=with_key.height - frame.height,
        n_without_key=n_without_key,
        n_repeated=n_repeated,
        n_corrected=n_corrected,
    )


def _settle_repeated(
    labels: "pl.DataFrame", keys: Sequence[str]
) -> "tuple[pl.DataFrame, int, int]":
    """One label a key, the number of repetitions, and that of corrected keys."""
    import polars as pl

    time = [KNOWN_AT] if KNOWN_AT in labels.columns else []
    known = pl.col(LABEL).drop_nulls()
    of_group = [known.first(), known.n_unique().alias("n_values")]

    if ACTED_ON in labels.columns:
        of_group.append(pl.col(ACTED_ON).max())

    settled = labels.group_by([*keys, *time]).agg(*of_group)
    _check_contradictions(labels, settled.filter(pl.col("n_values") > 1), [*keys, *time])

    if time:
        # Labels that do not say when they became known are older than those that do.
        settled = settled.sort(KNOWN_AT, nulls_last=False).group_by(keys).agg(pl.all().last())

    counted = settled.select(*keys, pl.col(LABEL).alias("counted"))
    beside = labels.join(counted, on=keys, how="left")
    n_same = beside.filter(pl.col(LABEL).eq_missing(pl.col("counted"))).height
    others = beside.filter(pl.col(LABEL).ne_missing(pl.col("counted"))).drop_nulls(LABEL)

    return settled, n_same - settled.height, others.select(keys).n_unique()


def _check_contradictions(
    labels: "pl.DataFrame", contradictory: "pl.DataFrame", group: Sequence[str]
) -> None:
    """Refuse groups of labels that have several values; some are named."""
    import polars as pl

    if not contradictory.height:
        return

    keys = [name for name in group if name != KNOWN_AT]
    some = contradictory.select(group).sort(group).head(MAX_NAMED)
    values = some.join(
        labels.drop_nulls(LABEL), on=group, how="left", nulls_equal=True, maintain_order="left"
    )
    by_group = values.group_by(group, maintain_order=True).agg(
        pl.col(LABEL).unique().sort().cast(pl.String)
    )
    rows = by_group.select(*keys, LABEL).iter_rows()

    n_keys = contradictory.select(keys).n_unique()
    raise LabelError(
        f"Different labels at the same time: {counted(n_keys, 'key')}.",
        expected="one label a key, or known_at that tells which is the newest",
        found="labels without known_at" if keys == [*group] else "several with the same known_at",
        problems=[f"{show_key(row[:-1])}: {', '.join(row[-1])}" for row in rows],
        next_step="remove the wrong ones, or name the column with the time as labels.known_at",
    )


def show_key(values: Sequence[object]) -> str:
    """A key for messages."""
    return ", ".join(map(str, values))
