"""The record of a run, written so that it can be read years later."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from nightscore.schemas.drift import Severity
from nightscore.schemas.job import Policy
from nightscore.schemas.record import Record

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or goes; a new optional field does not raise it."""

Status = Literal["running", "prepared", "published", "unchanged", "held", "rejected", "failed"]
"""`prepared`: all is written and reconciled, the commit is under way. `held`: complete, but a gate wants a person to
look; `rejected`: one did. `unchanged` is an answer, never stored."""


class Stored(Record):
    """A part of the manifest: a field that a later version of nightscore added is skipped, not an error."""

    model_config = ConfigDict(extra="ignore")


class ModelRecord(Stored):
    """The exact model."""

    uri: str
    """As the job names it."""
    name: str
    version: str
    digest: str = ""
    """`sha256:` and the digest over the artifact tree; empty until it was fetched."""
    is_pinned: bool = False
    """The model version carries a digest tag, and the artifacts were equal to it."""
    flavor: str = ""
    estimator: str = ""
    trained_with: dict[str, str] = {}


class InputRecord(Stored):
    """One input file as it was planned against."""

    path: str
    size_bytes: int
    version: str


class InputsRecord(Stored):
    """What was read."""

    uri: str
    files: tuple[InputRecord, ...] = ()
    extra_columns: tuple[str, ...] = ()
    files_left_out: int = 0
    """Files of the partition whose names the job's `input.files` does not match."""


class FileRecord(Stored):
    """One file that the run wrote."""

    path: str
    """Relative to the output's URI, or for quarantine to the state folder's."""
    size_bytes: int
    rows: int
    sha256: str


class Counts(Stored):
    """Rows; published only if rows_in = rows_scored + rows_quarantined."""

    rows_in: int = 0
    rows_scored: int = 0
    rows_quarantined: int = 0


class QuarantineExample(Stored):
    """Where one of the first quarantined rows stands."""

    source_file: str
    source_row: int
    """Counted from 0."""
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
    """A feature or a prediction column of the run, in few numbers."""

    name: str
    role: Literal["feature", "prediction"]
    rows: int = 0
    """Of a feature all rows that were read, of a prediction the scored ones."""
    missing: int = 0
    """null or NaN."""
    nulled: int = 0
    """Of a feature: values that do not cast and are missing to the model, since the job's policy lets them pass."""
    infinite: int = 0
    """Of a prediction."""
    finite: int = 0
    """Of a prediction that is a number: rows behind the following."""
    low: float = 0.0
    high: float = 0.0
    mean: float | None = 0.0
    """None where a sum of the values exceeds float64, as with `squares`."""
    squares: float | None = 0.0
    """Sum of squared distances from the mean."""


class PredictorRecord(Stored):
    """What computed the predictions, and how it compares with the library's own."""

    engine: Literal["library", "compiled"] = "library"
    why: str = ""
    """Why the library's own: the job says so, there is no compiled form, or it gave something else."""
    has_differed: bool = False
    """A compiled predictor was tried and gave something else than the library's own."""
    checked_rows: int = 0
    """First rows of shards, predicted by both."""
    checked_earlier: bool = False
    """In an earlier run of this host, with the same model and versions of the libraries."""
    difference: float = 0.0
    """The greatest among them, relative; 0: equal to the bit."""
    library_s: float = 0.0
    """CPU seconds of the checked rows."""
    compiled_s: float = 0.0
    speed_up: float | None = None
    """How many times less CPU the compiled predictor took for the checked rows."""
    rows_by_library: int = 0
    """Rows of batches that were left to the library's own, having values that it refuses."""
    trouble: str = ""
    """An error of the compiled predictor on a batch that the library's own then took."""


class GateRecord(Stored):
    """What a gate saw."""

    gate: str
    action: Literal["fail", "hold", "warn"]
    passed: bool
    expected: str
    found: str


class DriverRecord(Stored):
    """A segment's part in what a column's distribution moved."""

    segment: str
    """`column=value`."""
    kind: Literal["mix", "within"]
    """`mix`: the segment has another share of the rows; `within`: its rows have other values."""
    share: float
    """Of the whole difference, 1 being all of it; negative: it works against the others."""


class FindingRecord(Stored):
    """A column that differs from what it looked like before."""

    column: str
    role: str
    """`feature`, `prediction` or `pass_through`; `schema`: a type that changed, a column that came or went; `rows`:
    how many there are."""
    reference: str
    """`baseline`, `weekdays` or `previous`: which comparison says so."""
    severity: Severity
    reasons: tuple[str, ...] = ()
    is_seasonal: bool = False
    """It differs from the baseline, but not from the same weekdays of the weeks before: it counts as information."""
    impact: float | None = None
    """What the column's other distribution adds to the mean score, all else equal; null without a baseline."""
    status: Literal["new", "ongoing"] = "new"
    since: str | None = None
    """The partition in which it was seen first."""
    was: Severity | None = None
    """What it counted as in the previous partition; null: it had no finding there."""
    drivers: tuple[DriverRecord, ...] = ()
    """Of the job's `drift.segments`, those with the greatest part, the greatest first."""


class DriftRecord(Stored):
    """The partition's columns against what they looked like before."""

    verdict: Severity
    references: dict[str, str] = {}
    """What was compared with: the baseline's sha256, ids of earlier runs. None: there is nothing yet."""
    days: dict[str, tuple[str, ...]] = {}
    """The partitions that `weekdays` and `previous` stand for, by reference; empty in records of older versions."""
    habit_runs: dict[str, str] = {}
    """Partition to the run whose distances from the baseline say what is usual for a column."""
    neighbours: str = ""
    """sha256 over all that was compared with: a comparison is made again once this would be another."""
    made_at: datetime | None = None
    """When the comparison was made again, in UTC; null: by the run itself."""
    findings: tuple[FindingRecord, ...] = ()
    """Of any severity above `ok`, the most severe first and within those what moves the score most."""
    resolved: tuple[str, ...] = ()
    """Columns that counted as a warning or worse in the previous partition, and do no longer."""
    score: str = ""
    """The prediction column whose mean is the score."""
    score_movement: float | None = None
    """Its mean now minus the baseline's."""
    n_columns: int = 0
    cpu_share: float = 0.0
    """CPU time of the counting, as a share of that of the workers."""
    unprofiled_rows: int = 0
    """Rows that were not counted, since that took more than `drift.max_share`: rates are of the others."""
    expected_rate: float | None = None
    """Mean label that the scores let expect, by the baseline's mean label in each bin of the score."""
    baseline_rate: float | None = None
    """Mean label of the baseline; both null where it was made without labels."""
    errors: dict[str, str] = {}
    """Columns that could not be profiled or compared."""
    profile: str = ""
    """Path below the state folder."""
    table: str = ""
    """All statistics, as rows; path below the state folder."""


class ComparisonRecord(Stored):
    """A run's columns compared again, since the partitions around it have other results than when it ran."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    job: str
    partition_key: str
    partition: str | None
    engine: str
    """Version of nightscore that compared."""
    drift: DriftRecord


class DecisionRecord(Stored):
    """What a person made of a run that was held."""

    verdict: Literal["approved", "rejected"]
    at: datetime
    by: str
    note: str = ""


class OutputRecord(Stored):
    """What was written."""

    uri: str
    format: Literal["delta", "parquet"]
    files: tuple[FileRecord, ...] = ()
    table_version: int | None = None
    """Version of the Delta table that holds this run."""


class Measures(Stored):
    """What the run cost. Seconds are wall seconds unless named CPU."""

    stages_s: dict[str, float] = {}
    total_s: float = 0.0
    cpu_s: float = 0.0
    """Driver and workers."""
    peak_worker_bytes: tuple[int, ...] = ()
    """Peak resident memory of each worker."""
    peak_driver_bytes: int = 0
    rows_per_s: float = 0.0
    """Rows read by this attempt over the seconds of its scoring stage."""
    bytes_in: int = 0
    """Compressed bytes of the columns that were read."""
    bytes_out: int = 0
    n_shards: int = 0
    n_shards_resumed: int = 0
    """Of them, scored by an earlier attempt that died."""
    n_workers: int = 0
    slowest_shard_s: float = 0.0


class ErrorRecord(Stored):
    """Why a run failed, in the words that its user saw."""

    type: str
    message: str
    retryable: bool = False


class Manifest(Stored):
    """One run of a job on one partition."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    """UUIDv7: sorts by start."""
    status: Status
    job: str
    partition_key: str
    partition: str | None
    fingerprint: str = ""
    forced: bool = False
    restores: str | None = None
    """The run whose results a rollback has put back; their rows and files carry that run's id."""
    replays: str | None = None
    """The run whose quarantined rows were scored again; the other rows are its own."""
    in_order: bool = True
    """Published rows stand as in the input. A replay without the input puts its rows at the end."""
    attempts: int = 1
    """Times that the run was begun: one that died goes on under its own id, with the shards that it had."""
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
    policy: Policy | None = None
    """Of the job."""
    gates: tuple[GateRecord, ...] = ()
    replaces: str | None = None
    """The run whose results readers saw when this one was planned."""
    drift: DriftRecord | None = None
    decision: DecisionRecord | None = None
    warnings: tuple[str, ...] = ()
    error: ErrorRecord | None = None
    location: str = Field(default="")
    """URI of this record."""

    @property
    def result_id(self) -> str:
        """The run whose files readers see after this one."""
        return self.restores or self.run_id


def read_comparison(text: str | bytes) -> ComparisonRecord:
    """The comparison in a JSON document.

    Raises:
        ValueError: It was written under a later schema version, or is no comparison.
    """
    found = ComparisonRecord.model_validate_json(text)
    if found.schema_version > SCHEMA_VERSION:
        raise ValueError(
            f"the comparison has schema version {found.schema_version}, this nightscore knows {SCHEMA_VERSION}"
        )
    return found


def read_manifest(text: str | bytes) -> Manifest:
    """The manifest in a JSON document.

    Raises:
        ValueError: It was written under a later schema version, or is no manifest.
    """
    found = Manifest.model_validate_json(text)
    if found.schema_version > SCHEMA_VERSION:
        raise ValueError(
            f"the manifest has schema version {found.schema_version}, this nightscore knows {SCHEMA_VERSION}"
        )
    return found
