"""The partitions of a job in their order, each with its latest results: what is before, what is after."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cached_property
from typing import Any

from nightscore.ledger.comparisons import newest_comparison
from nightscore.ledger.manifests import latest_results, recorded_values
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.manifest import DriftRecord, Manifest
from nightscore.schemas.partition import order_of, parse_time

WEEKS = 4
"""Weeks whose same weekdays are pooled."""
READ_THREADS = 16


class Timeline:
    """As the store has it when it is first asked: made anew for each question, never kept."""

    def __init__(self, workspace: Workspace) -> None:
        """Nothing is read yet. Records of published runs may come from the run cache."""
        self.workspace, self.job = workspace, workspace.job
        self.store = workspace.state
        self._results: dict[str, tuple[Manifest | None, Manifest | None]] = {}
        self._comparisons: dict[str, DriftRecord | None] = {}

    @cached_property
    def values(self) -> list[str]:
        """The partitions that have records, in order; Hive's default partition has no place in it."""
        return recorded_values(self.store, self.job.input.partition_format)

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
        """The same weekdays of the weeks before that have records, nearest first; at the same time of the day."""
        return self._same_weekdays(value, -1)

    def weekdays_after(self, value: str | None) -> list[str]:
        """The partitions that have this one among their same weekdays, nearest first."""
        return self._same_weekdays(value, 1)

    def results(self, value: str) -> tuple[Manifest | None, Manifest | None]:
        """A partition's latest results: without runs that wait for a decision, and with them."""
        if value not in self._results:
            self._results[value] = latest_results(
                self.store, self.job.input.partition_key, value, self.workspace.run_cache
            )
        return self._results[value]

    def knows(self, value: str) -> bool:
        """Whether a partition's results were asked for already."""
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
        """A run's newest comparison."""
        if manifest.run_id not in self._comparisons:
            self._comparisons[manifest.run_id] = newest_comparison(self.store, manifest)
        return self._comparisons[manifest.run_id]

    def note(self, manifest: Manifest, drift: DriftRecord) -> None:
        """From now on this is the run's newest comparison."""
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
