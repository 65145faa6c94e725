"""The partitions of a job in their order, each with its latest results."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cached_property
from typing import Any

from nightscore.ledger.comparison_records import newest_comparison
from nightscore.ledger.history import LatestResults, PartitionHistory
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.manifest import DriftRecord, Manifest
from nightscore.schemas.partition import decode_folder, order_of, parse_time

WEEKS = 4
"""Weeks whose same weekdays are pooled."""
READ_THREADS = 16


def recorded_values(workspace: Workspace) -> list[str]:
    """The partitions that have records, in order. Hive's default partition has no place in it."""
    decoded = [decode_folder(folder) for folder in workspace.state.list_folders("runs")]
    values = [pair[1] for pair in decoded if pair is not None and pair[1] is not None]
    pattern = workspace.job.input.partition_format
    return sorted(values, key=lambda value: order_of(value, pattern))


def earlier_values(workspace: Workspace, value: str | None) -> list[str]:
    """The partitions before this one that have records, nearest first.

    None are before Hive's default partition.
    """
    return Timeline(workspace).before(value)


def latest_publications(
    workspace: Workspace, values: Iterable[str], *, or_held: bool = False
) -> Iterator[Manifest]:
    """The latest publication of each partition that has one, in the given order.

    Each is read when it is asked for.

    Args:
        workspace: Of the job.
        values: Partitions, say of `earlier_values`.
        or_held: Also a run that is held, if it is newer.
    """
    for value in values:
        latest = PartitionHistory(workspace, value).latest()
        manifest = latest.with_held if or_held else latest.published
        if manifest is not None:
            yield manifest


class Timeline:
    """The partitions as the store lists them when it is first asked.

    Make a new timeline for each question.
    """

    def __init__(
        self, workspace: Workspace, results: Mapping[str, LatestResults] | None = None
    ) -> None:
        """Nothing is read yet. Records of published runs may come from the run cache.

        Args:
            workspace: Of the job.
            results: What another timeline has read already.
        """
        self.workspace, self.job = workspace, workspace.job
        self.store = workspace.state
        self._results: dict[str, LatestResults] = dict(results or {})
        self._comparisons: dict[str, DriftRecord | None] = {}

    @cached_property
    def values(self) -> list[str]:
        """The partitions that have records, in order; see `recorded_values`."""
        return recorded_values(self.workspace)

    def before(self, value: str | None) -> list[str]:
        """The partitions before this one, nearest first; none before Hive's default partition."""
        if value is None:
            return []
        return self.values[: bisect_left(self._orders, self._order(value))][::-1]

    def after(self, value: str | None) -> list[str]:
        """The partitions after this one, nearest first."""
        return self.values[bisect_right(self._orders, self._order(value)) :]

    def _order(self, value: str | None) -> tuple[int, Any, str]:
        return order_of(value, self.job.input.partition_format)

    @cached_property
    def _orders(self) -> list[tuple[int, Any, str]]:
        return [self._order(value) for value in self.values]

    def weekdays_before(self, value: str | None) -> list[str]:
        """The same weekdays of the weeks before that have records, nearest first.

        They are at the same time of the day.
        """
        return self._same_weekdays(value, -1)

    def weekdays_after(self, value: str | None) -> list[str]:
        """The partitions that have this one among their same weekdays, nearest first."""
        return self._same_weekdays(value, 1)

    def results(self, value: str) -> LatestResults:
        """The latest results of a partition."""
        if value not in self._results:
            self._results[value] = PartitionHistory(self.workspace, value).latest()
        return self._results[value]

    def knows(self, value: str) -> bool:
        """Whether the results of a partition were read already."""
        return value in self._results

    def read(self, values: Iterable[str]) -> None:
        """Read the results of several partitions, at once where the store's answers take long."""
        unknown = [value for value in dict.fromkeys(values) if value not in self._results]
        if self.store.is_local:
            for value in unknown:
                self.results(value)
        elif unknown:
            with ThreadPoolExecutor(READ_THREADS) as threads:
                list(threads.map(self.results, unknown))

    def comparison(self, manifest: Manifest) -> DriftRecord | None:
        """The newest comparison of a run."""
        if manifest.run_id not in self._comparisons:
            self._comparisons[manifest.run_id] = newest_comparison(self.store, manifest)
        return self._comparisons[manifest.run_id]

    def note(self, manifest: Manifest, drift: DriftRecord) -> None:
        """Remember a comparison as the run's newest."""
        self._comparisons[manifest.run_id] = drift

    def _same_weekdays(self, value: str | None, direction: int) -> list[str]:
        pattern = self.job.input.partition_format
        time = parse_time(value, pattern)
        if time is None:
            return []

        others = [
            (time + direction * timedelta(weeks=week)).strftime(pattern)
            for week in range(1, WEEKS + 1)
        ]
        known = set(self.values)

        return [other for other in others if other in known]
