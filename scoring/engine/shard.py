"""A shard's task and its result: what crosses the process boundary."""

from dataclasses import dataclass, field
from pathlib import Path

from nightscore.outputs.writer import WrittenPart
from nightscore.profiles.profile_spec import NO_PROFILE, ProfileSpec
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import ColumnRecord, FileRecord, PredictorRecord, QuarantineExample
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Shard


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Everything that a worker needs."""

    job: ScoringJob
    run_id: str
    folder: str
    """Of the partition, on the output."""
    model_folder: Path
    model_version: str
    facts: ModelFacts
    contract: Contract
    shard: Shard
    batch_rows: int
    max_quarantined: int
    n_rows: int
    """Of the whole partition."""
    memory_bytes: int
    """That the shard may take beyond what its worker has: more ends in MemoryError, not in the kernel's killer."""
    cut_for: int
    """Number of workers that the partition was cut into shards for."""
    profile_spec: ProfileSpec = NO_PROFILE
    """Columns to profile."""
    prefetch_bytes: int = 0
    """Of a remote file, that may be held before they are decoded."""
    in_threads: bool = False
    """Beside other shards in the same process."""
    fallback_reason: str = ""
    """Why the library's own predicts; empty: a compiled predictor does, where there is one."""
    is_unchecked: bool = False
    """The compiled predictor is compared with the library's own, whatever this process has seen."""
    is_fresh: bool = False
    """The compiled form is made anew from the model: who checks a run does not take the one that the run has used."""
    from_quarantine: bool = False
    """The rows come from a quarantine, whose columns say where they stand in the input."""
    is_alone: bool = False
    """No other shard is scored at the same time."""
    attempt: int = 0
    n_hung: int = 0
    """Attempts that did not end in time."""
    first_attempt: int = 0
    """The run's earlier attempts count on: none writes over another's part."""

    @property
    def where(self) -> str:
        """For errors."""
        first = self.shard.pieces[0]
        return f"{first.file.path}, {self.shard.n_rows:,} rows from row {first.first_row:,}"

    @property
    def part_attempt(self) -> int:
        """Number of the attempt in the names of its files."""
        return self.first_attempt + self.attempt


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What a worker did."""

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
    """Of the watched columns: a Parquet file in base64."""
    profile_errors: dict[str, str]
    profile_cpu_s: float
    """That the counting took, of the shard's."""
    n_unprofiled: int
    """Rows that were not counted, since that took more than its share."""
    gave_up: str
    """Why the count of refused rows was given up; empty: it was not."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of the shard."""
    process_cpu_s: float = 0.0
    """Of the worker's process since it was started, its imports included."""
    stages_s: dict[str, float] = field(default_factory=dict)
    pid: int = 0
    peak_bytes: int = 0
    """Of the worker's process."""
    predictor: PredictorRecord = field(default_factory=PredictorRecord)
    """What has predicted; a checkpoint of an earlier version does not say."""
