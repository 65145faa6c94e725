"""Divides labels by the partition that they belong to."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nightscore.errors import LabelError
from nightscore.monitoring.performance.label_files import LabelFiles
from nightscore.monitoring.performance.label_rows import OBSERVED_AT, PARTITION, LabelRows
from nightscore.monitoring.performance.settled_labels import MAX_NAMED, show_key
from nightscore.schemas.partition import parse_time, show_value

if TYPE_CHECKING:
    import polars as pl

LABELS_AT_ONCE = 12_000_000
"""Labels of several partitions that are in memory at once. More are read in several passes."""

DIVIDED_AT_ONCE = 1_000_000
"""Labels that are divided by partition at once."""

Value = str | None
KeysOf = Callable[[Value], "pl.DataFrame"]
"""Reads the keys that are published for a partition."""


@dataclass(slots=True)
class PartitionLabels:
    """The labels of one partition."""

    rows: "pl.DataFrame"
    """As `LabelRows.read` gives them, without the partition's column."""

    def take(self) -> "pl.DataFrame":
        """The rows, which are not held here any more: whoever takes them can free their memory."""
        rows, self.rows = self.rows, self.rows.clear()
        return rows


class LabelPartitions:
    """The labels of a job, partition by partition."""

    def __init__(self, rows: LabelRows, files: LabelFiles, published: Collection[Value]) -> None:
        """Read nothing yet.

        Args:
            rows: Reads them.
            files: As they were listed.
            published: All partitions that have predictions.
        """
        self._rows, self._files = rows, files
        self._published = published
        self.unpublished: Counter[Value] = Counter()
        """Labels of each partition that is not published. Known once all are read."""
        self.n_unassigned = 0
        """Labels that name no partition, and whose key no partition has published."""

    def by_folder(self, values: Sequence[Value]) -> Iterator[tuple[Value, PartitionLabels]]:
        """Labels whose files are in the folders of their partitions, one partition at a time."""
        import polars as pl

        for value in values:
            batches = self._rows.read(self._files.of(value))
            yield value, PartitionLabels(pl.concat([self._rows.empty(), *batches]))

        for file in self._files.files:
            partition = self._files.partition_of(file)
            if partition not in self._published:
                self.unpublished[partition] += self._rows.n_rows_of(file)

    def by_column(self, values: Sequence[Value]) -> Iterator[tuple[Value, PartitionLabels]]:
        """Labels that name their partition in a column."""
        n_passes = max(1, -(-self._rows.n_rows // LABELS_AT_ONCE))
        step = max(1, -(-len(values) // n_passes))

        for start in range(0, len(values), step):
            some = values[start : start + step]
            yield from self._read_some(some, is_first=start == 0)

    def _read_some(
        self, values: Sequence[Value], *, is_first: bool
    ) -> Iterator[tuple[Value, PartitionLabels]]:
        import polars as pl

        wanted = pl.Series(PARTITION, list(values), pl.String)
        published = pl.Series(PARTITION, list(self._published), pl.String)
        divided = _DividedRows(self._rows.empty())

        for batch in self._rows.read(self._files.files):
            divided.add(batch.filter(pl.col(PARTITION).is_in(wanted.implode(), nulls_equal=True)))

            if is_first:
                is_published = pl.col(PARTITION).is_in(published.implode(), nulls_equal=True)
                counts = batch.filter(~is_published)[PARTITION].value_counts(name="n")
                self.unpublished.update(dict(counts.iter_rows()))

        for value in values:
            yield value, PartitionLabels(divided.pop(value))

    def by_key(
        self, keys_of: KeysOf, quarantined_of: KeysOf
    ) -> Iterator[tuple[Value, PartitionLabels]]:
        """Labels that name no partition. Each belongs to the only one that has published its key.

        Raises:
            LabelError: Several partitions have published a key; some are named.
        """
        import polars as pl

        unassigned = pl.concat([self._rows.empty(), *self._rows.read(self._files.files)])
        assigned: list[tuple[Value, pl.DataFrame]] = []
        repeated: list[pl.DataFrame] = []
        keys = self._rows.keys

        assigned_keys = unassigned.clear().select(keys)
        for value in self._published:
            published = keys_of(value).unique()
            repeated.append(assigned_keys.join(published, on=keys, how="semi").head(MAX_NAMED))

            own = unassigned.join(published, on=keys, how="semi", maintain_order="left")
            unassigned = unassigned.join(published, on=keys, how="anti", maintain_order="left")
            assigned_keys = pl.concat([assigned_keys, own.select(keys)])
            assigned.append((value, own))

        some = pl.concat([assigned_keys.clear(), *repeated]).unique(maintain_order=True)
        if some.height:
            raise _published_again(self._places_of(some.head(MAX_NAMED), keys_of))

        yield from self._with_quarantined(assigned, unassigned, quarantined_of)

    def _places_of(self, some: "pl.DataFrame", keys_of: KeysOf) -> dict[str, list[str]]:
        """All partitions that have published some keys, by key."""
        places: dict[str, list[str]] = {show_key(key): [] for key in some.iter_rows()}

        for value in self._published:
            published = some.join(keys_of(value), on=self._rows.keys, how="semi")
            for key in published.iter_rows():
                places[show_key(key)].append(show_value(value))

        return places

    def by_time(
        self, times: Mapping[Value, datetime], keys_of: KeysOf, quarantined_of: KeysOf
    ) -> Iterator[tuple[Value, PartitionLabels]]:
        """Labels that name a time. Each belongs to the latest partition before it that has its key.

        Args:
            times: The date of each published partition, in UTC.
            keys_of: Reads a partition's keys.
            quarantined_of: Reads the keys of its quarantined rows.
        """
        import polars as pl

        unassigned = pl.concat([self._rows.empty(), *self._rows.read(self._files.files)])
        assigned: list[tuple[Value, pl.DataFrame]] = []
        keys = self._rows.keys

        for value in sorted(times, key=lambda value: times[value], reverse=True):
            moment = pl.lit(times[value].replace(tzinfo=None)).cast(pl.Datetime("us"))
            is_later = pl.col(OBSERVED_AT) >= moment
            own = unassigned.filter(is_later).join(
                keys_of(value).unique(), on=keys, how="semi", maintain_order="left"
            )
            unassigned = pl.concat(
                [
                    unassigned.filter(is_later).join(
                        own.select(keys).unique(), on=keys, how="anti", maintain_order="left"
                    ),
                    unassigned.filter(~is_later.fill_null(False)),
                ]
            )
            assigned.append((value, own))

        yield from self._with_quarantined(assigned, unassigned, quarantined_of)

    def _with_quarantined(
        self,
        assigned: "Sequence[tuple[Value, pl.DataFrame]]",
        unassigned: "pl.DataFrame",
        quarantined_of: KeysOf,
    ) -> Iterator[tuple[Value, PartitionLabels]]:
        """Add the labels of quarantined rows to their partitions, and count those without a row."""
        import polars as pl

        keys = self._rows.keys
        for value, own in assigned:
            if unassigned.height:
                quarantined = quarantined_of(value).unique()
                before = unassigned
                unassigned = before.join(quarantined, on=keys, how="anti", maintain_order="left")
                of_quarantined = before.join(
                    quarantined, on=keys, how="semi", maintain_order="left"
                )
                own = pl.concat([own, of_quarantined])

            yield value, PartitionLabels(own)

        self.n_unassigned = unassigned.height


class _DividedRows:
    """Rows by partition.

    They are divided a million at a time. All rows at once would be in memory twice, and batches
    as small as they are read would leave many small frames.
    """

    def __init__(self, empty: "pl.DataFrame") -> None:
        """Begin without rows.

        Args:
            empty: Has the columns of all rows.
        """
        self._nothing = empty.drop(PARTITION)
        self._waiting: list[pl.DataFrame] = []
        self._n_waiting = 0
        self._by_value: dict[Value, list[pl.DataFrame]] = {}

    def add(self, rows: "pl.DataFrame") -> None:
        """Add rows of any partitions."""
        self._waiting.append(rows)
        self._n_waiting += rows.height

        if self._n_waiting >= DIVIDED_AT_ONCE:
            self._divide()

    def pop(self, value: Value) -> "pl.DataFrame":
        """The rows of a partition, without its column. They are not held here any more."""
        import polars as pl

        self._divide()
        return pl.concat([self._nothing, *self._by_value.pop(value, [])])

    def _divide(self) -> None:
        import polars as pl

        if not self._n_waiting:
            return

        rows = pl.concat(self._waiting)
        self._waiting, self._n_waiting = [], 0

        parts = rows.partition_by(PARTITION, as_dict=True, include_key=False)
        for (value,), part in parts.items():
            self._by_value.setdefault(value, []).append(part)


def time_of(value: Value, pattern: str, run_id: str) -> datetime:
    """The date of a partition in UTC; without one the time at which its run began."""
    time = parse_time(value, pattern)
    if time is not None:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    milliseconds = int(run_id.replace("-", "")[:12], 16)
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _published_again(places: Mapping[str, Sequence[str]]) -> LabelError:
    problems = []
    for key, values in places.items():
        named = ", ".join(sorted(values)[:MAX_NAMED])
        more = f" and {len(values) - MAX_NAMED:,} more" if len(values) > MAX_NAMED else ""
        problems.append(f"{key}: in {named}{more}")

    return LabelError(
        "Some labelled keys are published in more than one partition.",
        expected="a partition for each label",
        problems=problems,
        next_step="name the column with the partition as labels.partition; or set "
        "labels.match: latest_before and labels.observed_at",
    )
