"""Compares the predictions of one partition with its labels."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from nightscore.arrow.parsing.files import read_facts, read_tables
from nightscore.errors import LocationNotFoundError
from nightscore.ledger.manifest_files import find_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.performance.champion_columns import compare_with_champion
from nightscore.monitoring.performance.column_kinds import common_type, kind_of
from nightscore.monitoring.performance.label_files import labels_of
from nightscore.monitoring.performance.label_partitions import PartitionLabels
from nightscore.monitoring.performance.label_rows import READ_ROWS, LabelRows
from nightscore.monitoring.performance.label_values import (
    as_classes,
    as_flags,
    as_numbers,
    class_name,
)
from nightscore.monitoring.performance.outcomes import Outcomes, join_outcomes
from nightscore.monitoring.performance.prediction_rows import (
    PREDICTED,
    PredictionColumns,
    PredictionRows,
)
from nightscore.monitoring.performance.realised import (
    Measuring,
    coverage_by_age,
    known_at_notes,
    labelled_rows,
)
from nightscore.monitoring.performance.score_bins import count_by_score, weighted_metrics
from nightscore.schemas.comparison import PairedRecord
from nightscore.schemas.contract import CHAMPION_PREFIX, champion_name
from nightscore.schemas.decision import Decision
from nightscore.schemas.evaluation import CoverageRecord, OutcomeCounts
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.performance import (
    CalibrationBinRecord,
    ConfusionRecord,
    MetricRecord,
    SegmentRecord,
)
from nightscore.schemas.text import counted

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisedPerformance:
    """What came true of a partition's predictions."""

    measuring: Measuring
    counts: OutcomeCounts
    metrics: tuple[MetricRecord, ...]
    weighted: tuple[MetricRecord, ...] = ()
    """Of early labels and of selections, with the rows weighted by score to stand for all."""
    confusion: ConfusionRecord | None = None
    calibration: tuple[CalibrationBinRecord, ...] = ()
    segments: tuple[SegmentRecord, ...] = ()
    coverage: tuple[CoverageRecord, ...] = ()
    selection: float | None = None
    notes: tuple[str, ...] = ()
    paired: PairedRecord | None = None
    """Of a challenger: its losses beside the champion's on the same rows."""
    rows: bytes
    """Scores, labels and segments of the labelled rows, as a Parquet file."""


@dataclass(frozen=True)
class PartitionOutcomes:
    """The predictions of one partition and run, to be compared with labels."""

    workspace: Workspace
    value: str | None
    predictions: PredictionRows
    labels: LabelRows
    manifest: Manifest | None = field(default=None)
    """The run's record. None: it cannot be read."""

    @property
    def _keys(self) -> list[str]:
        """The key columns of the job that labels are joined by."""
        job = self.workspace.job
        return [joined for _, joined in labels_of(job).key_pairs(job.keys.columns)]

    @property
    def _is_of_challenger(self) -> bool:
        """The table has the champion's predictions of the same rows."""
        return self.manifest is not None and self.manifest.champion_run_id is not None

    def compare(
        self, labels: PartitionLabels, since: datetime, now: datetime
    ) -> RealisedPerformance:
        """Join, count and measure.

        Args:
            labels: Of this partition. They are taken, so that their memory can be freed.
            since: The partition's date, in UTC.
            now: In UTC.

        Raises:
            LabelError: The labels cannot be joined, or some are of no known class.
        """
        columns = self.predictions.columns
        self.labels.check_keys(self.predictions.key_types(self._keys))
        key_types = list(self.labels.key_types.values())
        predictions = self.predictions.read(
            self._keys, key_types, with_champion=self._is_of_challenger
        )

        named, classes = self._name_values(labels.take(), predictions)
        if columns.task == "binary":
            predictions = predictions.drop(PREDICTED, champion_name(PREDICTED), strict=False)

        outcomes = join_outcomes(predictions, named, self.labels.keys, self.quarantined_keys)
        del predictions, named

        measuring = measuring_of(columns, classes, self.workspace.job.decision)
        rows = labelled_rows(outcomes.frame, measuring)

        metrics, confusion, calibration = _measure(measuring, rows)
        is_early = now - since < labels_of(self.workspace.job).time_to_mature
        sample = _compare_with_all(outcomes, rows, measuring, is_early=is_early)
        key_notes = _key_notes(outcomes)
        time_notes = known_at_notes(outcomes.frame, since, now)

        return RealisedPerformance(
            measuring=measuring,
            counts=outcomes.counts,
            metrics=tuple(metrics),
            weighted=tuple(sample.weighted),
            confusion=confusion,
            calibration=tuple(calibration),
            segments=tuple(measuring.measure_segments(rows)),
            coverage=tuple(coverage_by_age(outcomes.frame, since, now)),
            selection=sample.selection,
            notes=(
                *self._early_notes(is_early),
                *sample.notes,
                *key_notes,
                *time_notes,
                *self._notes(outcomes, rows),
            ),
            paired=self._compare_with_champion(outcomes, measuring),
            rows=as_parquet(rows, measuring),
        )

    def _compare_with_champion(
        self, outcomes: Outcomes, measuring: Measuring
    ) -> PairedRecord | None:
        """The losses of both models. None: the predictions are no challenger's."""
        manifest = self.manifest
        if manifest is None or not self._is_of_challenger:
            return None

        wanted = [name for name in outcomes.frame.columns if name.startswith(CHAMPION_PREFIX)]
        rows = labelled_rows(outcomes.frame, measuring, wanted)
        pairs = compare_with_champion(rows, measuring.task, measuring.threshold, measuring.classes)

        champion = manifest.champion_model
        return pairs.model_copy(
            update={
                "champion_run_id": manifest.champion_run_id or "",
                "champion_name": champion.name if champion is not None else "",
                "champion_version": champion.version if champion is not None else "",
            }
        )

    def _name_values(
        self, labels: "pl.DataFrame", predictions: "pl.DataFrame"
    ) -> "tuple[pl.DataFrame, Sequence[str]]":
        """The labels in the model's own terms, and the names of its classes."""
        columns = self.predictions.columns
        if columns.task == "regression":
            return as_numbers(labels), ()

        positive = labels_of(self.workspace.job).positive
        classes = self.manifest.model.classes if self.manifest is not None else ()
        if columns.task == "binary":
            return as_flags(labels, predictions, positive, classes), ()

        names = columns.classes or tuple(map(class_name, classes))
        return as_classes(labels, predictions, names, positive)

    def published_keys(self) -> "pl.DataFrame":
        """Keys of the published rows."""
        self.labels.check_keys(self.predictions.key_types(self._keys))
        return self.predictions.keys(self._keys, list(self.labels.key_types.values()))

    def quarantined_keys(self) -> "pl.DataFrame":
        """Keys of the run's quarantined rows, as far as they have the types of the others."""
        import polars as pl

        types = self.labels.key_types
        found = [pl.DataFrame(schema=types)]
        files = self.manifest.quarantine.files if self.manifest is not None else ()

        for file in files:
            found += self._keys_in(file.path, types)
        return pl.concat(found)

    def _keys_in(self, path: str, types: "dict[str, pl.DataType]") -> "list[pl.DataFrame]":
        import polars as pl

        state = self.workspace.state
        try:
            schema = read_facts(state, path).schema
        except LocationNotFoundError:
            return []

        for name, dtype in zip(self._keys, types.values(), strict=True):
            if name not in schema.names or common_type([kind_of(schema.field(name).type)]) != dtype:
                return []

        casts = [
            pl.col(name).cast(dtype).alias(key)
            for name, (key, dtype) in zip(self._keys, types.items(), strict=True)
        ]
        tables = read_tables(state, path, self._keys, READ_ROWS)

        return [pl.DataFrame(pl.from_arrow(table)).select(casts) for table in tables]

    def _early_notes(self, is_early: bool) -> list[str]:
        if not is_early:
            return []
        matured_after = labels_of(self.workspace.job).matured_after
        return [f"not matured: labels are complete {matured_after} after the partition's date"]

    def _notes(self, outcomes: Outcomes, labelled: "pl.DataFrame") -> list[str]:
        job = self.workspace.job
        notes: list[str] = []
        canary = self.manifest.canary if self.manifest is not None else None
        if canary is not None:
            notes.append(f"what readers saw is of two models: {canary}")

        n_without_score = outcomes.counts.labelled - labelled.height
        if n_without_score:
            notes.append(f"{n_without_score:,} labelled rows have no score")

        unknown = [name for name in job.drift.segments if name not in self._segment_names]
        if unknown:
            notes.append(
                f"no segments by {', '.join(unknown)}: not a column of the predictions; "
                "name it in pass_through"
            )

        return notes

    @property
    def _segment_names(self) -> Sequence[str]:
        return self.predictions.columns.segments


def _key_notes(outcomes: Outcomes) -> list[str]:
    """What keeps published rows from ever having a label."""
    notes: list[str] = []
    if outcomes.n_repeated_keys:
        n_keys = counted(outcomes.n_repeated_keys, "key")
        notes.append(
            f"published more than once: {n_keys}; a label of such a key would be an error, so set "
            "keys.unique"
        )
    if outcomes.n_without_key:
        n_rows = counted(outcomes.n_without_key, "row")
        notes.append(f"published without a key, so never labelled: {n_rows}")
    return notes


def _measure(
    measuring: Measuring, rows: "pl.DataFrame"
) -> tuple[list[MetricRecord], ConfusionRecord | None, list[CalibrationBinRecord]]:
    """The metrics; of a binary model also the confusion and the calibration curve."""
    if measuring.task != "binary":
        return measuring.measure(rows), None, []

    metrics, confusion, curve = measuring.measure_binary(rows)
    if confusion is None:
        return metrics, None, curve
    return metrics, ConfusionRecord(**confusion._asdict()), curve


class _Sample(NamedTuple):
    """How the labelled rows stand for all rows."""

    weighted: Sequence[MetricRecord] = ()
    selection: float | None = None
    notes: Sequence[str] = ()


def _compare_with_all(
    outcomes: Outcomes, labelled: "pl.DataFrame", measuring: Measuring, *, is_early: bool
) -> _Sample:
    """Whether the labelled rows are like all rows; else, and if early, also weighted metrics."""
    if not outcomes.counts.not_labelled:
        return _Sample()

    bins = count_by_score(outcomes.frame, labelled, measuring)
    selection = bins.selection.distance_from_all if bins is not None else None
    weighted: list[MetricRecord] = []
    notes: list[str] = []

    if bins is not None and bins.selection.is_finding:
        notes.append(
            "selection by score: labelled rows have other scores than the rest; the shares below "
            f"a score differ by up to {bins.selection.distance:.0%}"
        )

    if is_early or selection is not None:
        weighted, note = weighted_metrics(bins, labelled, measuring)
        notes += [note] if note else []

    return _Sample(weighted, selection, notes)


def measuring_of(
    columns: PredictionColumns, classes: Sequence[str], decision: Decision
) -> Measuring:
    """How the rows of a job are measured."""
    segments = {f"segment_{index}": name for index, name in enumerate(columns.segments)}
    return Measuring(
        task=columns.task,
        threshold=decision.threshold,
        values=decision.values,
        classes=classes,
        has_probabilities=bool(columns.classes),
        segments=segments,
    )


def find_outcomes(
    workspace: Workspace, value: str | None, predictions: PredictionRows, labels: LabelRows
) -> PartitionOutcomes:
    """The predictions of a partition, with the record of their run."""
    run_id = predictions.live.run_id or ""
    manifest = find_manifest(workspace.state, workspace.folder(value), run_id)
    return PartitionOutcomes(workspace, value, predictions, labels, manifest)


def as_parquet(rows: "pl.DataFrame", measuring: Measuring) -> bytes:
    """Labelled rows as a file. Segments have the names of their columns."""
    buffer = io.BytesIO()
    renamed = {column: f"segment:{name}" for column, name in measuring.segments.items()}
    rows.rename(renamed).write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()
