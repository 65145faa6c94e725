"""The manifest: the record of a run, which stays readable for years."""

from datetime import datetime
from typing import Literal, TypeVar

from pydantic import Field

from nightscore.schemas.base_record import Stored
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.challenger import ChallengerRecord
from nightscore.schemas.drift import Severity
from nightscore.schemas.flag import FlagRecord
from nightscore.schemas.job import Policy
from nightscore.schemas.performance import EstimateRecord

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or is removed. A new optional field does not raise it."""

Status = Literal["running", "prepared", "published", "unchanged", "held", "rejected", "failed"]
"""`prepared`: everything is written and reconciled, the commit is under way. `held`: complete, but
a gate waits for a person. `rejected`: a person dropped the held run. `unchanged` is returned, never
stored."""


class VersionedRecord(Stored):
    """A record that has a file of its own."""

    schema_version: int = SCHEMA_VERSION


class ModelRecord(Stored):
    """The exact version of a registered model, or the logged model."""

    uri: str
    """The URI in the job."""
    name: str
    version: str
    """The number of a version, or the id of a logged model."""
    digest: str = ""
    """`sha256:` and the digest of the artifact tree. Empty until it was fetched."""
    is_pinned: bool = False
    """The artifacts match the version's digest tag. Or it is a logged model, which is not meant to
    change."""
    flavor: str = ""
    estimator: str = ""
    """Class of the final estimator."""
    classes: tuple[str | int | float | bool, ...] = ()
    """Labels of a classifier, in the order of its probabilities. Empty: it is none, or the record
    is older than this field."""
    trained_with: dict[str, str] = {}
    """Library versions that the model version records."""


class InputRecord(Stored):
    """One input file, as it was when the run was planned."""

    path: str
    size_bytes: int
    version: str


class InputsRecord(Stored):
    """What was read."""

    uri: str
    files: tuple[InputRecord, ...] = ()
    extra_columns: tuple[str, ...] = ()
    """Columns of the files that the run did not read."""
    files_left_out: int = 0
    """Files of the partition whose names the job's `input.files` does not match."""


class FileRecord(Stored):
    """One file that the run wrote."""

    path: str
    """Path below the output's URI, or for quarantine below the state folder."""
    size_bytes: int
    rows: int
    sha256: str


class Counts(Stored):
    """Numbers of rows. A run is published only if rows_in = rows_scored + rows_quarantined."""

    rows_in: int = 0
    rows_scored: int = 0
    rows_quarantined: int = 0


class QuarantineExample(Stored):
    """One of the first quarantined rows."""

    source_file: str
    source_row: int
    """Position in the file, from 0."""
    reason: str
    column: str | None = None
    message: str


class QuarantineRecord(Stored):
    """Rows that could not be scored."""

    by_reason: dict[str, int] = {}
    by_column: dict[str, int] = {}
    """`column: reason` to rows."""
    examples: tuple[QuarantineExample, ...] = ()
    files: tuple[FileRecord, ...] = ()


class ColumnRecord(Stored):
    """A feature or prediction column of the run, in a few numbers."""

    name: str
    role: Literal["feature", "prediction"]
    rows: int = 0
    """Rows read for a feature, rows scored for a prediction."""
    missing: int = 0
    """Values that are null or NaN."""
    nulled: int = 0
    """Feature values that could not be cast. The job's policy passes them to the model as
    missing."""
    infinite: int = 0
    """Infinite predictions."""
    finite: int = 0
    """Finite predictions; the following fields are computed from them."""
    low: float = 0.0
    high: float = 0.0
    mean: float | None = 0.0
    """None if a sum of the values exceeds float64, as with `squares`."""
    squares: float | None = 0.0
    """Sum of squared distances from the mean."""


class PredictorRecord(Stored):
    """What computed the predictions, and how it compares with the model's library."""

    engine: Literal["library", "compiled"] = "library"
    why: str = ""
    """Why the library was used: the job says so, there is no compiled form, or they differed."""
    has_differed: bool = False
    """A compiled predictor was tried, and its predictions differed from the library's."""
    checked_rows: int = 0
    """First rows of shards that both predicted."""
    checked_earlier: bool = False
    """Checked in an earlier run of this host, with the same model and library versions."""
    difference: float = 0.0
    """Greatest relative difference among the checked rows. 0: equal to the bit."""
    library_s: float = 0.0
    """CPU seconds that the library took for the checked rows."""
    compiled_s: float = 0.0
    """CPU seconds that the compiled predictor took for them."""
    speed_up: float | None = None
    """`library_s` divided by `compiled_s`."""
    rows_by_library: int = 0
    """Rows of batches that only the library predicted, since the compiled predictor does not take
    their values."""
    trouble: str = ""
    """Error of the compiled predictor on a batch that the library then predicted."""
    rows_repeated: int = 0
    """Rows that the library did not predict, since an equal row of their batch was."""
    why_each_row: str = ""
    """Why the library predicted each row by itself, at least from some batch on. Empty: it did not,
    or nothing was measured."""


class GateRecord(Stored):
    """The result of one gate."""

    gate: str
    action: Literal["fail", "hold", "warn"]
    passed: bool
    expected: str
    found: str


class DriverRecord(Stored):
    """How much a segment contributes to the drift of a column."""

    segment: str
    """`column=value`."""
    kind: Literal["mix", "within"]
    """`mix`: the segment's share of the rows changed. `within`: the values of its rows changed."""
    share: float
    """Share of the whole difference; 1 is all of it. Negative: it works against the others."""


class FindingRecord(Stored):
    """A column that differs from its reference."""

    column: str
    role: str
    """`feature`, `prediction` or `pass_through`. `schema`: a column appeared, disappeared or
    changed its type. `rows`: the number of rows."""
    reference: str
    """The comparison that found it: with the `baseline`, the same `weekdays` or the `previous`
    day."""
    severity: Severity
    reasons: tuple[str, ...] = ()
    is_seasonal: bool = False
    """It differs from the baseline, but not from the same weekdays before. It counts as `info`."""
    impact: float | None = None
    """How much the column's new distribution moves the mean score, all else equal. Null without a
    baseline."""
    status: Literal["new", "ongoing"] = "new"
    since: str | None = None
    """The partition in which the finding began."""
    was: Severity | None = None
    """Its severity in the previous partition. Null: it had no finding there."""
    drivers: tuple[DriverRecord, ...] = ()
    """The segments of the job's `drift.segments` that contribute most, the greatest first."""


class DriftRecord(Stored):
    """How the partition's columns differ from their references."""

    verdict: Severity
    references: dict[str, str] = {}
    """What the columns were compared with: the baseline's sha256, ids of earlier runs. Empty: there
    was nothing to compare with."""
    days: dict[str, tuple[str, ...]] = {}
    """The partitions that `weekdays` and `previous` stand for. Empty in records of older
    versions."""
    habit_runs: dict[str, str] = {}
    """Partition to run. These runs' distances from the baseline show what is usual for a column."""
    neighbours: str = ""
    """sha256 of everything that was compared with. Once it changes, the comparison is made
    again."""
    made_at: datetime | None = None
    """When the comparison was made again, in UTC. Null: the run made it itself."""
    findings: tuple[FindingRecord, ...] = ()
    """Findings above `ok`: the most severe first, then those that move the score most."""
    resolved: tuple[str, ...] = ()
    """Columns that were a warning or worse in the previous partition and no longer are."""
    score: str = ""
    """The prediction column whose mean is the score."""
    score_movement: float | None = None
    """Current mean of the score minus the baseline's."""
    n_columns: int = 0
    """Columns that were compared."""
    cpu_share: float = 0.0
    """CPU time of profiling, as a share of the workers' CPU time."""
    unprofiled_rows: int = 0
    """Rows that were not profiled, to stay within `drift.max_share`. Rates are of the others."""
    expected_rate: float | None = None
    """Expected mean label, from the scores and the baseline's mean label in each bin of the
    score."""
    baseline_rate: float | None = None
    """Mean label of the baseline. Both rates are null if the baseline has no labels."""
    errors: dict[str, str] = {}
    """Columns that could not be profiled or compared, and why."""
    profile: str = ""
    """Path of the profile below the state folder."""
    table: str = ""
    """Path of the table of all statistics below the state folder."""


class ComparisonRecord(VersionedRecord):
    """A run's columns, compared again because the partitions around it have new results."""

    run_id: str
    job: str
    partition_key: str
    partition: str | None
    engine: str
    """Version of nightscore that made the comparison."""
    drift: DriftRecord


class DecisionRecord(Stored):
    """What a person decided about a held run."""

    verdict: Literal["approved", "rejected"]
    at: datetime
    by: str
    note: str = ""


class OutputRecord(Stored):
    """What was written."""

    uri: str
    format: str
    """Of the job: `delta` or `parquet`."""
    files: tuple[FileRecord, ...] = ()
    table_version: int | None = None
    """Version of the Delta table that holds this run."""


class SampleRecord(Stored):
    """A sample of the scored rows, with features and score."""

    rows: int = 0
    """Rows that the job wanted (`estimate.sample_rows`): those with the least hashes of all the
    files' rows."""
    files: tuple[FileRecord, ...] = ()
    """Below the state folder, one a shard. `nightscore clean --samples-days` removes them."""


class Measures(Stored):
    """What the run cost. Seconds are wall-clock seconds unless they are named CPU."""

    stages_s: dict[str, float] = {}
    total_s: float = 0.0
    startup_s: float = 0.0
    """From the start of the process until the run began, if it was the first run of a command or a
    flow; else 0."""
    cpu_s: float = 0.0
    """CPU seconds of driver and workers."""
    peak_worker_bytes: tuple[int, ...] = ()
    """Peak resident memory of each worker."""
    peak_driver_bytes: int = 0
    rows_per_s: float = 0.0
    """Rows read by this attempt, divided by the seconds of its scoring stage."""
    bytes_in: int = 0
    """Compressed bytes of the columns that the run read."""
    bytes_out: int = 0
    n_shards: int = 0
    n_shards_resumed: int = 0
    """Shards that an earlier attempt had scored before it died."""
    n_workers: int = 0
    slowest_shard_s: float = 0.0


class ErrorRecord(Stored):
    """Why a run failed, with the message that its user saw, and its parts.

    Records of older versions have no parts, and nor have errors that are not our own.
    """

    type: str
    message: str
    retryable: bool = False
    what: str = ""
    """What failed, without the partition."""
    where: str = ""
    expected: str = ""
    found: str = ""
    next_step: str = ""
    """What to do about it, if possible a command."""

    def __str__(self) -> str:
        """The message."""
        return self.message


class Manifest(VersionedRecord):
    """One run of a job on one partition."""

    run_id: str
    """A UUIDv7, so that runs sort by their start."""
    status: Status
    job: str
    partition_key: str
    partition: str | None
    fingerprint: str = ""
    forced: bool = False
    restores: str | None = None
    """The run whose results a rollback restored. Their rows and files carry that run's id."""
    replays: str | None = None
    """The run whose quarantined rows were scored again. The other rows are that run's own."""
    in_order: bool = True
    """Published rows have the order of the input. A replay without the input appends its rows."""
    attempts: int = 1
    """How often the run was started. A run that died is resumed under the same id, with its
    shards."""
    started_at: datetime
    finished_at: datetime | None = None
    host: str
    pid: int
    engine: str
    """Version of nightscore."""
    libraries: dict[str, str] = {}
    model: ModelRecord
    inputs: InputsRecord
    output: OutputRecord
    counts: Counts = Counts()
    quarantine: QuarantineRecord = QuarantineRecord()
    measures: Measures = Measures()
    columns: tuple[ColumnRecord, ...] = ()
    predictor: PredictorRecord | None = None
    sample: SampleRecord | None = None
    """Rows for estimates that are adjusted for covariate shift. Null: the job wanted none, or not
    all shards have one."""
    policy: Policy | None = None
    """The job's policy."""
    gates: tuple[GateRecord, ...] = ()
    replaces: str | None = None
    """The run whose results readers saw when this one was planned."""
    drift: DriftRecord | None = None
    estimate: EstimateRecord | None = None
    """How right the predictions are likely to be. Null: it could not be estimated, as without a
    baseline that has labels."""
    challengers: tuple[ChallengerRecord, ...] = ()
    """Versions that scored the same rows beside the job's model. Their predictions are in tables of
    their own."""
    canary: CanaryRecord | None = None
    """Readers see predictions of two models. Null: of one."""
    flag: FlagRecord | None = None
    """What `release.flag` said to the run. Null: there is none, it did not answer, or it was not
    asked, as for dates before the newest entry of the release log."""
    champion_run_id: str | None = None
    """Of a challenger's run: the run of the job's own model that it was part of."""
    champion_model: ModelRecord | None = None
    """Of a challenger's run: the job's own model, whose predictions stand beside the
    challenger's."""
    decision: DecisionRecord | None = None
    warnings: tuple[str, ...] = ()
    error: ErrorRecord | None = None
    location: str = Field(default="")
    """URI of this manifest."""

    @property
    def result_id(self) -> str:
        """The run whose files readers see after this run."""
        return self.restores or self.run_id

    @property
    def work(self) -> str:
        """Fingerprint of the work, whichever arms a canary has. Empty: it has to be done again."""
        return self.canary.champion_fingerprint if self.canary is not None else self.fingerprint

    @property
    def has_unfinished_challengers(self) -> bool:
        """Whether it was written before the runs of its challengers ended."""
        return any(challenger.status == "unfinished" for challenger in self.challengers)


StoredRecord = TypeVar("StoredRecord", bound=VersionedRecord)


def read_record(text: str | bytes, kind: type[StoredRecord]) -> StoredRecord:
    """The record in a JSON document.

    Raises:
        ValueError: A later version of nightscore wrote it, or it is not such a record.
    """
    record = kind.model_validate_json(text)
    if record.schema_version > SCHEMA_VERSION:
        raise ValueError(
            f"the {kind.__name__} has schema version {record.schema_version}; "
            f"this nightscore reads up to version {SCHEMA_VERSION}"
        )

    return record
