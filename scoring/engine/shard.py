"""A shard's task and its result: what crosses the process boundary."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from nightscore.arrow.assignment import Assignment
from nightscore.outputs.writer import WrittenPart
from nightscore.profiles.differences.difference_spec import DifferenceSpec
from nightscore.profiles.profile_spec import NO_PROFILE, ProfileSpec
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import ColumnRecord, FileRecord, PredictorRecord, QuarantineExample
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import MIN_SHARD_ROWS, Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """Everything that a worker needs to score one shard."""

    job: ScoringJob
    run_id: str
    folder: str
    """The partition's folder, on the output."""
    model_folder: Path
    model_version: str
    facts: ModelFacts
    contract: Contract
    shard: Shard
    batch_rows: int
    max_quarantined: int
    n_rows: int
    """Rows of the whole partition."""
    memory_bytes: int
    """What the shard may take beyond what its worker has. More ends in a MemoryError, instead of in
    the kernel's killer."""
    cut_for: int
    """Number of workers that the partition was cut into shards for."""
    least_shard_rows: int = MIN_SHARD_ROWS
    """Rows below which no shard was cut."""
    profile_spec: ProfileSpec = NO_PROFILE
    """Columns to profile."""
    prefetch_bytes: int = 0
    """Bytes of a remote file that may be held before they are decoded."""
    in_threads: bool = False
    """The shard is scored beside others in the same process."""
    fallback_reason: str = ""
    """Why the library's own predictor is used; empty: a compiled one is, where there is one."""
    is_unchecked: bool = False
    """The compiled predictor is compared with the library's own, whatever this process has seen."""
    is_fresh: bool = False
    """The compiled form is made anew from the model. Who checks a run does not take the form that
    the run has used."""
    from_quarantine: bool = False
    """The rows come from a quarantine, whose columns say where they stand in the input."""
    is_alone: bool = False
    """No other shard is scored at the same time."""
    attempt: int = 0
    n_hung: int = 0
    """Attempts that did not end in time."""
    row_counts: str = ""
    """Path of the file in which the worker notes how many rows it has scored. Empty: nobody asks,
    or the worker is on another machine."""
    difference: DifferenceSpec | None = None
    """Of a challenger: what is compared with the champion's predictions. None: nothing is."""
    first_attempt: int = 0
    """Number of the run's first attempt at any shard: none writes over an earlier one's part."""
    challengers: "tuple[ShardTask, ...]" = ()
    """For each challenger a task of its own for the same shard: with its job, run, model, contract
    and profile. Batches are read once for all of them, so that `shard`, `batch_rows` and
    `memory_bytes` are the champion's."""
    assignment: Assignment | None = None
    """Of a canary's challenger: which rows it scores. Readers see its predictions of them, in place
    of the champion's. None: it scores all rows, and readers see none of it."""
    max_overhead: float = 1.0
    """What a challenger's predictions may take of the champion's wall seconds for the shard, as a
    multiple. A slower one ends."""
    end_reason: str = ""
    """Of a challenger: why it does not score the shard; empty: it does."""

    @property
    def where(self) -> str:
        """The shard's rows, as errors name them."""
        first = self.shard.pieces[0]
        return f"{first.file.path}, {self.shard.n_rows:,} rows from row {first.first_row:,}"

    @property
    def part_attempt(self) -> int:
        """Number of the attempt in the names of its files."""
        return self.first_attempt + self.attempt

    @property
    def has_canary(self) -> bool:
        """Whether the part has predictions of a challenger in place of some of the champion's."""
        return any(challenger.is_canary for challenger in self.challengers)

    @property
    def is_canary(self) -> bool:
        """Whether this is a challenger's task whose predictions readers see."""
        return self.assignment is not None

    @property
    def is_first_try(self) -> bool:
        """Nothing has gone wrong with the shard in this run. Only then challengers score it too."""
        return self.attempt == 0 and self.n_hung == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """What a worker did with one shard. Checkpoints have it as JSON: new fields need defaults."""

    index: int
    part: WrittenPart
    rows_in: int
    rows_quarantined: int
    by_reason: dict[str, int]
    by_column: dict[str, int]
    columns: tuple[ColumnRecord, ...]
    examples: tuple[QuarantineExample, ...]
    quarantine_files: tuple[FileRecord, ...]
    profile: str
    """Profile of the columns as a checkpoint has it: a Parquet file in base64. Empty where there
    are several shards: see `counted`."""
    profile_errors: dict[str, str]
    profile_cpu_s: float
    """What the counting took of the shard's CPU seconds."""
    n_unprofiled: int
    """Rows that were not counted, since that took more than its share."""
    give_up_reason: str = ""
    """Why the search of refused rows was given up; empty: it was not. Checkpoints of earlier
    versions call it `gave_up`, and it is empty there."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """CPU seconds of the shard."""
    process_cpu_s: float = 0.0
    """CPU seconds of the worker's process since it was started, its imports included."""
    stages_s: dict[str, float] = field(default_factory=dict)
    pid: int = 0
    peak_bytes: int = 0
    """Peak memory of the worker's process."""
    counted: bytes = b""
    """Profile of the columns as it comes from a worker: an Arrow stream. Checkpoints do not have
    it."""
    sample_files: tuple[FileRecord, ...] = ()
    """The sample of the shard's rows: one file, or none if the job wants no sample."""
    predictor: PredictorRecord = field(default_factory=PredictorRecord)
    """What has predicted; a checkpoint of an earlier version does not say."""
    challengers: "tuple[ChallengerResult, ...]" = ()
    """One for each challenger of the task, in its order."""

    def for_checkpoint(self) -> "ShardResult":
        """The same with each profile once, as a checkpoint has it."""
        challengers = tuple(
            replace(one, result=one.result and one.result.for_checkpoint())
            for one in self.challengers
        )
        return replace(self, counted=b"", challengers=challengers)

    def for_driver(self) -> "ShardResult":
        """The same with each profile once, as it comes from a worker."""
        challengers = tuple(
            replace(one, result=one.result and one.result.for_driver()) for one in self.challengers
        )
        return replace(self, profile="", challengers=challengers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengerResult:
    """What a challenger did with a shard, beside the champion. Checkpoints have it as JSON."""

    result: ShardResult | None = None
    """As of a run of its own, but that somebody else has read the rows. `wall_s`, `process_cpu_s`
    and `peak_bytes` are those of the shard with all its models. None: it has ended in this shard,
    and its files were removed."""
    failure: str = ""
    """Why it has ended: one sentence; empty: it has not."""
    cpu_s: float = 0.0
    """CPU seconds that it took, until it ended. They are not in the champion's."""
    predict_cpu_s: float = 0.0
    """What its predictions took of them."""
    n_refused_alone: int = 0
    """Rows that the champion has scored and the challenger has refused."""
    n_published: int = 0
    """Of a canary: rows of the champion's part that have the challenger's predictions."""
    difference: str = ""
    """Counts of the difference between both; empty: nobody has counted."""

    @property
    def is_complete(self) -> bool:
        """Whether it has scored the shard to its end."""
        return self.result is not None
