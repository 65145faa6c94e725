"""Decides which partitions need an evaluation: those of which predictions or labels are new."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from nightscore.ledger.evaluation_files import (
    EvaluationFile,
    KnownLabels,
    list_all_evaluations,
    recall_labels,
    remember_labels,
)
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.performance.label_files import LabelFiles, labels_of
from nightscore.monitoring.performance.partition_reading import Value
from nightscore.monitoring.performance.replaced_results import ReplacedResults
from nightscore.schemas.partition import order_of

if TYPE_CHECKING:
    import polars as pl

EVALUATION_VERSION = "3"
"""Part of the digest of an evaluation's work. Raised when the same labels give other records."""

PAIRS_VERSION = "2"
"""The same of records of challengers. 2: they name the champion's registered model."""


class EvaluationWork:
    """What is published of each partition, what is known of its labels, and what was evaluated."""

    def __init__(
        self, workspace: Workspace, files: LabelFiles, live: dict[Value, Live], now: datetime
    ) -> None:
        """List the evaluations, and recall the labels of the call before.

        Args:
            workspace: Of the job.
            files: Of its labels.
            live: What is published of each partition.
            now: In UTC.
        """
        self._job, self._workspace = workspace.job, workspace
        self._files, self._now = files, now
        self.live = live
        self.replaced: ReplacedResults | None = None
        """Results in `live` that readers no longer see."""

        self._evaluations = list_all_evaluations(workspace.state)
        self._digests = self._file_digests()
        self._known = recall_labels(workspace.state)
        self._known_before = dict(self._known)

    def has_evaluations(self) -> bool:
        """Whether any partition was ever evaluated."""
        return bool(self._evaluations)

    def take_replaced(self, replaced: ReplacedResults) -> None:
        """Take these results of a partition, in place of those that readers see."""
        self.replaced = replaced
        self.live[replaced.value] = replaced.live
        self._digests = self._file_digests()

    def choose(self, start: Value, end: Value) -> tuple[list[Value], list[Value]]:
        """The partitions whose labels must be read, and those that are unchanged, both in order."""
        pattern = self._job.input.partition_format
        pending: list[Value] = []
        unchanged: list[Value] = []

        for value in sorted(self.live, key=lambda value: order_of(value, pattern)):
            place = order_of(value, pattern)
            is_before = start is not None and place < order_of(start, pattern)

            if is_before or (end is not None and place > order_of(end, pattern)):
                continue

            known = self._known.get(self._workspace.folder(value))
            is_read = known is not None and known.files == self._digests[value]

            if is_read and known is not None and self._is_done(value, known.content):
                unchanged.append(value)
            else:
                pending.append(value)

        return pending, unchanged

    def note_digest(self, value: Value, rows: "pl.DataFrame") -> bool:
        """Note the digest of a partition's labels. Returns whether they need an evaluation."""
        content, is_done = self._compare_digests(value, rows)
        self._known[self._workspace.folder(value)] = KnownLabels(self._digests[value], content)
        return not is_done

    def labels_of(self, value: Value) -> KnownLabels:
        """The digests that were noted of a partition's labels."""
        return self._known[self._workspace.folder(value)]

    def save_digests(self) -> None:
        """Save the digests for the next call, which reads only labels that have changed."""
        is_of_published = self.replaced is None
        if is_of_published and self._known != self._known_before:
            remember_labels(self._workspace.state, self._known)

    def digest(self, value: Value, content: str) -> str:
        """A digest of all that decides what a record says: run, labels, age and settings."""
        parts = [self.live[value].run_id, content, self.is_matured(value), self._settings]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def newest_number(self, value: Value) -> int:
        """The number of a partition's newest evaluation; 0 if there is none."""
        done = self.earlier(value)
        return done[-1].number if done else 0

    def earlier(self, value: Value) -> Sequence[EvaluationFile]:
        """A partition's evaluations that there were at the beginning, oldest first."""
        return self._evaluations.get(self._workspace.folder(value), [])

    def is_matured(self, value: Value) -> bool:
        """Whether the partition is old enough to have all its labels."""
        from nightscore.monitoring.performance.label_partitions import time_of

        run_id = self.live[value].run_id or ""
        since = time_of(value, self._job.input.partition_format, run_id)
        return self._now - since >= labels_of(self._job).time_to_mature

    def is_replaced(self, value: Value) -> bool:
        """Whether readers see other results of the partition."""
        return self.replaced is not None and self.replaced.value == value

    def _compare_digests(self, value: Value, rows: "pl.DataFrame") -> tuple[str, bool]:
        """The digest of a partition's labels, and whether the newest record is of it.

        A record that was made before digests were independent of libraries has the older digest,
        which then stays the partition's until its labels change.
        """
        from nightscore.monitoring.performance.label_digest import (
            content_digest,
            old_content_digest,
        )

        content = content_digest(rows)
        if self._is_done(value, content):
            return content, True

        if not self.newest_number(value):
            return content, False

        older = old_content_digest(rows)
        if self._is_done(value, older):
            return older, True

        return content, False

    def _is_done(self, value: Value, content: str) -> bool:
        """Whether the newest record is of these labels, run and settings.

        Of a partition's results as they are published, or else of the run.
        """
        done = self._evaluations.get(self._workspace.folder(value), [])
        if self.is_replaced(value):
            done = [file for file in done if file.run_id == self.live[value].run_id]
        else:
            done = [file for file in done if not file.is_replaced]

        return bool(done) and done[-1].work == self.digest(value, content)

    @cached_property
    def _settings(self) -> str:
        """The settings of the job that decide what a record says."""
        labels = labels_of(self._job).model_dump(
            mode="json", exclude={"uri", "storage_options"}, exclude_defaults=True
        )
        job = self._job
        decision = job.decision.model_dump(mode="json")
        parts = [EVALUATION_VERSION, labels, decision, job.keys.columns, job.drift.segments]
        if job.champion is not None:
            parts.append(PAIRS_VERSION)

        return json.dumps(parts, sort_keys=True)

    def _file_digests(self) -> dict[Value, str]:
        """For each partition a digest of the files that may have labels of it.

        Labels without a partition are found by the keys of all partitions.
        """
        digests = self._files.digests(list(self.live))
        if labels_of(self._job).partition is not None:
            return digests

        runs = sorted(live.run_id or "" for live in self.live.values())
        of_runs = hashlib.sha256(json.dumps(runs).encode()).hexdigest()[:16]
        return {value: f"{digest}-{of_runs}" for value, digest in digests.items()}
