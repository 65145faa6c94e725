"""How right a model is: metrics with their bands."""

from nightscore.schemas.base_record import Stored

MOST_CLASSES = 100
"""Of a model whose performance is estimated. Of more classes rows are not counted: their rows are
too few for an estimate, and the labelled rows of a baseline would take megabytes."""


class MetricRecord(Stored):
    """A metric of a model's predictions, estimated or realised, with its 95 % band."""

    name: str
    """As scikit-learn names it, if it does: `roc_auc`, `brier`, `rmse`."""
    value: float | None = None
    """Null: not known. Then `note` says why."""
    low: float | None = None
    """Lower end of the 95 % band. Null where there is no band."""
    high: float | None = None
    n: int = 0
    """Rows that it is of."""
    note: str = ""
    """What a reader should know: why there is no value or no band, or what is approximate."""


class SegmentRecord(Stored):
    """The metrics of the rows of one segment."""

    segment: str
    """The values of its columns, such as `origin=JFK`."""
    n: int = 0
    """Rows that it has."""
    metrics: tuple[MetricRecord, ...] = ()

    def metric(self, name: str) -> MetricRecord | None:
        """The metric of this name."""
        return next((metric for metric in self.metrics if metric.name == name), None)


class EstimateRecord(Stored):
    """What is expected of a run's predictions, before any label is known."""

    metrics: tuple[MetricRecord, ...] = ()
    """With 95 % bands."""
    baseline: tuple[MetricRecord, ...] = ()
    """The same metrics, as they came true in the baseline's labelled rows."""
    reference: str = ""
    """The baseline's sha256."""


class AdjustedRecord(Stored):
    """What is expected of a run's predictions, adjusted for covariate shift.

    It outlives the sample of rows that it was made from.
    """

    metrics: tuple[MetricRecord, ...] = ()
    """With 95 % bands. Empty: there is no estimate, and `note` says why."""
    note: str = ""
    """What has moved, or why there is no estimate."""
    reference: str = ""
    """The baseline's sha256. Empty: no baseline was read."""


class ConfusionRecord(Stored):
    """Rows by what was predicted at the threshold, and what came."""

    tp: float = 0.0
    fp: float = 0.0
    fn: float = 0.0
    tn: float = 0.0


class CalibrationBinRecord(Stored):
    """Rows of similar scores: what was predicted of them, and what came."""

    low: float
    """The least score."""
    high: float
    """The greatest score."""
    n: int = 0
    mean_score: float
    share: MetricRecord
    """The share of positive rows, with its band."""
