"""Reads the labels and the predictions of partitions, to be compared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.performance.label_files import LabelFiles, labels_of
from nightscore.monitoring.performance.replaced_results import ReplacedResults

if TYPE_CHECKING:
    import polars as pl

    from nightscore.monitoring.performance.label_partitions import (
        LabelPartitions,
        PartitionLabels,
    )
    from nightscore.monitoring.performance.label_rows import LabelRows
    from nightscore.monitoring.performance.partition_outcomes import PartitionOutcomes
    from nightscore.monitoring.performance.prediction_rows import PredictionRows

Value = str | None


@dataclass(frozen=True)
class PartitionReading:
    """Reads labels and predictions of some partitions, when they are asked for."""

    workspace: Workspace
    files: LabelFiles
    live: dict[Value, Live]
    """What is read as the predictions of each partition."""
    replaced: ReplacedResults | None = None
    """Results in `live` that readers no longer see. Their files are elsewhere."""
    _outcomes: "dict[Value, PartitionOutcomes]" = field(default_factory=dict)

    @cached_property
    def rows(self) -> "LabelRows":
        """The labels, of types that fit the keys of the predictions."""
        from nightscore.monitoring.performance.label_rows import LabelRows

        job = self.workspace.job
        newest = max(self.live, key=lambda value: self.live[value].run_id or "")

        labels = labels_of(job)
        keys = [joined for _, joined in labels.key_pairs(job.keys.columns)]
        return LabelRows(job, labels, self.files, self._predictions(newest).key_types(keys))

    @cached_property
    def partitions(self) -> "LabelPartitions":
        """The same, by partition."""
        from nightscore.monitoring.performance.label_partitions import LabelPartitions

        return LabelPartitions(self.rows, self.files, list(self.live))

    def outcomes_of(self, value: Value) -> "PartitionOutcomes":
        """The predictions of a partition."""
        from nightscore.monitoring.performance.partition_outcomes import find_outcomes

        if value not in self._outcomes:
            predictions = self._predictions(value)
            self._outcomes[value] = find_outcomes(self.workspace, value, predictions, self.rows)
        return self._outcomes[value]

    def labels_of(self, values: Sequence[Value]) -> "Iterator[tuple[Value, PartitionLabels]]":
        """The labels of some partitions."""
        labels = labels_of(self.workspace.job)
        if labels.partition is None:
            wanted = set(values)
            found = self._by_key()
            return ((value, rows) for value, rows in found if value in wanted)
        if self.files.folder_key is not None:
            return self.partitions.by_folder(values)
        return self.partitions.by_column(values)

    def _predictions(self, value: Value) -> "PredictionRows":
        from nightscore.monitoring.performance.prediction_rows import PredictionRows

        store = self.workspace.predictions
        if self.replaced is not None and self.replaced.value == value:
            store = self.replaced.store
        return PredictionRows(self.workspace.job, store, self.live[value])

    def _by_key(self) -> "Iterator[tuple[Value, PartitionLabels]]":
        from nightscore.monitoring.performance.label_partitions import time_of

        if labels_of(self.workspace.job).match != "latest_before":
            return self.partitions.by_key(self._keys_of, self._quarantined_of)

        pattern = self.workspace.job.input.partition_format
        times = {
            value: time_of(value, pattern, live.run_id or "") for value, live in self.live.items()
        }
        return self.partitions.by_time(times, self._keys_of, self._quarantined_of)

    def _keys_of(self, value: Value) -> "pl.DataFrame":
        return self.outcomes_of(value).published_keys()

    def _quarantined_of(self, value: Value) -> "pl.DataFrame":
        return self.outcomes_of(value).quarantined_keys()
