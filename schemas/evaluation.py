"""The record of an evaluation: published predictions, compared with what came true."""

from datetime import datetime
from typing import Literal

from nightscore.schemas.base_record import Stored
from nightscore.schemas.comparison import PairedRecord
from nightscore.schemas.decision import DecisionValues
from nightscore.schemas.manifest import VersionedRecord
from nightscore.schemas.performance import (
    AdjustedRecord,
    CalibrationBinRecord,
    ConfusionRecord,
    MetricRecord,
    SegmentRecord,
)

Task = Literal["binary", "classes", "regression"]
"""What the model predicts: one of two classes with a probability, a class, or a number."""


class LabelsRecord(Stored):
    """The labels that were read."""

    uri: str
    n_files: int = 0
    files: str = ""
    """Digest of the files' paths, sizes and versions."""
    content: str = ""
    """Digest of the partition's labels, whatever files they are in."""


class OutcomeCounts(Stored):
    """Numbers of rows. predictions = labelled + acted_on + not_labelled."""

    predictions: int = 0
    """Published rows."""
    labelled: int = 0
    """Rows whose label is known. The metrics are of these."""
    acted_on: int = 0
    """Rows with a label that the prediction itself has changed. They are in no metric."""
    not_labelled: int = 0
    """Rows whose label is not known yet."""
    null_labels: int = 0
    """Labels that are null: not known yet."""
    orphans: int = 0
    """Labels without a published prediction."""
    quarantined: int = 0
    """Labels of rows that were quarantined. They are no orphans."""
    repeated: int = 0
    """Labels that were given again with the same value; they count once."""
    corrected: int = 0
    """Rows whose label differs from an earlier one. The newest label counts."""

    @property
    def share(self) -> float | None:
        """Share of the published rows whose label is known. None: there are no rows."""
        if not self.predictions:
            return None
        return (self.labelled + self.acted_on) / self.predictions


class CoverageRecord(Stored):
    """How many labels were known at an age of the prediction."""

    days: float
    share: float
    """Share of the published rows."""


class EvaluationRecord(VersionedRecord):
    """The predictions of one run, compared with the labels as they were known at one time."""

    evaluation_id: str
    """A UUIDv7: sorts by time."""
    job: str
    partition_key: str
    partition: str | None
    run_id: str
    """The run that wrote the predictions."""
    is_replaced: bool = False
    """Readers saw another run's results when this one was evaluated."""
    model_name: str = ""
    model_version: str = ""
    made_at: datetime
    """In UTC."""
    engine: str
    """Version of nightscore."""
    number: int = 1
    """Counts the evaluations of the partition."""
    work: str = ""
    """Digest of the run, its labels and the settings: the same work is not done again."""
    task: Task
    threshold: float = 0.5
    """Scores above it are decided as positive."""
    values: DecisionValues | None = None
    """What each outcome of a decision is worth."""
    classes: tuple[str, ...] = ()
    """Names of the classes, of a model of classes."""
    has_probabilities: bool = False
    """Each of these classes has a probability."""
    is_matured: bool = True
    """The partition is old enough to have all its labels."""
    labels: LabelsRecord
    counts: OutcomeCounts = OutcomeCounts()
    coverage: tuple[CoverageRecord, ...] = ()
    """By age, if the job's labels have `known_at`."""
    selection: float | None = None
    """How far the scores of the labelled rows are from those of all rows, if they are a selection
    by score: the largest difference of the two distribution functions, from 0 to 1. None: they are
    none, or the record is from before this was stored."""
    metrics: tuple[MetricRecord, ...] = ()
    """Of the labelled rows, each counted once."""
    weighted: tuple[MetricRecord, ...] = ()
    """The same metrics of a partition that has not matured, or whose labelled rows are a selection,
    with these weighted by score to stand for all of its rows. Never compared with those of complete
    labels. Empty: all rows are labelled or like those that are, or a note says why there are none.
    """
    adjusted: AdjustedRecord | None = None
    """The estimate of all rows, adjusted for covariate shift, at the same threshold and values.
    Null: not stored. The run has no sample of its rows, or an older version has evaluated it."""
    confusion: ConfusionRecord | None = None
    """Of a binary model, at the threshold."""
    calibration: tuple[CalibrationBinRecord, ...] = ()
    """Of a binary model, by ascending score."""
    segments: tuple[SegmentRecord, ...] = ()
    """By the columns of `drift.segments` that the predictions carry, worst first."""
    paired: PairedRecord | None = None
    """Of a challenger: its losses beside the champion's on the same labelled rows. Null: the
    predictions are no challenger's."""
    notes: tuple[str, ...] = ()
    """What a reader should know: early labels, a selection, segments that are not stored."""
    rows: str = ""
    """Path of the scores and labels below the state folder. Empty: there are none."""
    table: str = ""
    """Path of the metrics as a table below the state folder. Empty: there is none."""

    @property
    def is_complete(self) -> bool:
        """It has matured, and its labels are no selection by score: metrics stand for all rows."""
        return self.is_matured and self.selection is None

    def metric(self, name: str) -> MetricRecord | None:
        """The metric of this name. None: it was not computed."""
        return next((metric for metric in self.metrics if metric.name == name), None)
