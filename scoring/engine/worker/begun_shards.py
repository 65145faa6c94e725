"""Shards on their way from input files to parts. The first batches of some are scored ahead.

Where several shards are counted over bins that are not known yet, somebody scores a batch to cut
them. This is the first batch of the first shard, which stays here, scored, until that shard begins.
The first batches of the shards beside it are scored meanwhile.
"""

import base64
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from nightscore.arrow.chunks import combine_small_chunks
from nightscore.engine.row_counts import note_rows
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.value_policy import nulled_masks
from nightscore.engine.worker.batch_scorer import BatchScorer
from nightscore.engine.worker.output_table import output_table
from nightscore.engine.worker.rejected_rows import RejectedRows
from nightscore.engine.worker.row_isolation import Outcome
from nightscore.engine.worker.row_origins import RowOrigins
from nightscore.engine.worker.row_sample import RowSample
from nightscore.engine.worker.stage_clock import StageClock
from nightscore.engine.worker.worker_model import predictor_of
from nightscore.inputs.batches import Batch
from nightscore.inputs.reader import read_batches
from nightscore.ledger.layout import part_path, parts_folder, parts_store
from nightscore.ledger.output_formats import format_of
from nightscore.models.compiled.checked import CheckedPredictor
from nightscore.outputs.writer import PartWriter, WrittenPart
from nightscore.process import limited_address_space
from nightscore.profiles.column_records import feature_records, merge_records, prediction_records
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import to_profile_table, write_parquet, write_stream
from nightscore.schemas.manifest import ColumnRecord, FileRecord
from nightscore.storage.store import Store


@dataclass(slots=True)
class ScoredBatch:
    """A batch, and what became of its rows."""

    batch: Batch
    outcome: Outcome
    output: pa.Table | None
    """The rows as they are written. None: the search of refused rows was given up."""


class ShardScoring:
    """A shard whose batches are scored one after another. One thread at a time may use it."""

    def __init__(self, task: ShardTask, predictor: CheckedPredictor, clock: StageClock) -> None:
        """Read nothing yet.

        Args:
            task: What to score.
            predictor: Of the task's model, for this shard alone.
            clock: Counts the time of its stages.
        """
        self.clock = clock
        self.cpu_s_ahead = 0.0
        """CPU seconds of what was done before anybody asked for the shard."""

        self._task, self._predictor = task, predictor
        self._store = Store(task.job.input.uri, task.job.input.storage_options)
        self._schema = task.contract.output_schema()
        self._scorer = BatchScorer(task, predictor)
        self._origins = RowOrigins(task, self._store)
        self._rejects = RejectedRows(task, self._store, self._origins)
        self._batches = read_batches(
            self._store, task.shard, task.contract, task.batch_rows, task.prefetch_bytes
        )
        self._ahead: ScoredBatch | None = None

        self._profiler: Profiler
        """Made by the thread that counts, whose time it watches."""
        self._sample: RowSample
        """Made with it: only then it is known whether there are labels."""
        self._columns: tuple[ColumnRecord, ...] = ()
        self._rows_in = 0
        self._give_up_reason = ""

    def score_ahead(self) -> ScoredBatch | None:
        """The first batch, scored. It is kept until the shard is finished. None: it has no rows."""
        self._ahead = self._score_batch()
        return self._ahead

    def finish(self, task: ShardTask) -> ShardResult:
        """Score all batches; the part and the quarantine are written at the end.

        Args:
            task: The same as at the beginning, or with the bins that were cut meanwhile.
        """
        self._task = task
        self._profiler = Profiler(task.profile_spec, elapsed_s=self.cpu_s_ahead)
        self._sample = RowSample(task)

        with self._open_part() as writer:
            while not self._give_up_reason and self._score_next(writer):
                pass

            with self.clock("write"):
                part = writer.close()

        with self.clock("quarantine"):
            self._rejects.flush()

        with self.clock("sample"):
            sample_files = self._sample.write()

        return self._result(part, sample_files)

    def _open_part(self) -> PartWriter:
        task = self._task
        folder = parts_folder(task.job, task.folder, task.run_id)
        path = part_path(folder, task.run_id, task.shard.index, task.part_attempt)
        keep_types = format_of(task.job).stores_arrow_schema
        return PartWriter(parts_store(task.job), path, self._schema, keep_types=keep_types)

    def _score_next(self, writer: PartWriter) -> bool:
        """Score and write the next batch, if there is one.

        No batch is held while the next one is decoded: it is gone with this function's names.
        """
        scored, self._ahead = self._ahead, None
        scored = scored or self._score_batch()
        if scored is None:
            return False

        batch, outcome, output = scored.batch, scored.outcome, scored.output
        self._rows_in += batch.n_rows
        self._rejects.add(batch, outcome.rejected)

        if output is None:
            self._give_up_reason = outcome.give_up_reason
            return True

        with self.clock("profile"):
            self._profiler.add(batch.features, batch.passthrough, outcome.scored_mask, output)
            self._count_columns(batch, output)

        with self.clock("sample"):
            self._sample.add(batch, outcome, output)

        with self.clock("write"):
            writer.write(output)

        note_rows(self._task.row_counts, self._task.shard.index, self._rows_in)

        return True

    def _score_batch(self) -> ScoredBatch | None:
        """Read and score the next batch; None: there is none."""
        batch = self.clock.next("read", self._batches)
        if batch is None:
            return None

        # Each chunk of each column is a call of its own: of the model, the profile and the writer.
        batch.features = combine_small_chunks(batch.features)
        batch.passthrough = combine_small_chunks(batch.passthrough)

        rejected = self._scorer.find_rejected(batch)

        with self.clock("predict"):
            outcome = self._scorer.score(batch, rejected)

        if outcome.give_up_reason:
            return ScoredBatch(batch, outcome, None)

        output = output_table(self._task, batch, outcome, self._schema, self._origins)
        return ScoredBatch(batch, outcome, output)

    def _count_columns(self, batch: Batch, output: pa.Table) -> None:
        contract = self._task.contract
        nulled = nulled_masks(batch.changed, self._task.job.policy, contract)
        features = feature_records(batch.features, nulled, self._profiler.missing)
        predictions = output.select([column.name for column in contract.predictions])
        records = [*self._columns, *features, *prediction_records(predictions)]
        self._columns = merge_records(records)

    def _result(self, part: WrittenPart, sample_files: tuple[FileRecord, ...]) -> ShardResult:
        rejects, profiler = self._rejects, self._profiler
        counted = to_profile_table(profiler.columns)

        return ShardResult(
            index=self._task.shard.index,
            part=part,
            rows_in=self._rows_in,
            rows_quarantined=rejects.n_rows,
            by_reason=rejects.by_reason,
            by_column=rejects.by_column,
            columns=self._columns,
            examples=tuple(rejects.examples),
            quarantine_files=tuple(rejects.files),
            profile=base64.b64encode(write_parquet(counted)).decode(),
            counted=write_stream(counted),
            profile_errors=profiler.errors,
            profile_cpu_s=profiler.cpu_s,
            n_unprofiled=profiler.n_skipped,
            sample_files=sample_files,
            give_up_reason=self._give_up_reason,
            pid=os.getpid(),
            predictor=self._predictor.record,
        )


def begin_shard(task: ShardTask) -> ShardScoring:
    """A shard whose model is loaded, and nothing else. Its memory is for the caller to limit."""
    clock = StageClock()
    with clock("load"):
        # Before the limit: within it, a library that cannot be mapped is no MemoryError.
        import pyarrow.parquet  # noqa: F401

        predictor = predictor_of(task)

    return ShardScoring(task, predictor, clock)


def begin_ahead(task: ShardTask) -> tuple[ShardScoring, ScoredBatch | None]:
    """A shard before its turn, and its first batch, scored within the shard's memory."""
    cpu_started = time.thread_time()
    shard = begin_shard(task)

    with limited_address_space(task.memory_bytes):
        first = shard.score_ahead()

    shard.cpu_s_ahead = time.thread_time() - cpu_started
    return shard, first


_Key = tuple[str, int, int, int]


class _BegunShards:
    """The shards that have begun before their turn, of one run at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shards: dict[_Key, ShardScoring] = {}

    def keep(self, pairs: Iterable[tuple[ShardTask, ShardScoring]]) -> None:
        """Keep these. Others are of a run that has ended: nobody comes for them."""
        with self._lock:
            self._shards = {_key(task): shard for task, shard in pairs}

    def take(self, task: ShardTask) -> ShardScoring | None:
        with self._lock:
            return self._shards.pop(_key(task), None)


_begun = _BegunShards()


def keep_begun(pairs: Iterable[tuple[ShardTask, ShardScoring]]) -> None:
    """Keep shards of a run until somebody asks for them, in place of those of any other run."""
    _begun.keep(pairs)


def take_begun(task: ShardTask) -> ShardScoring | None:
    """The shard of a task, if it has begun already. Another attempt begins anew."""
    return _begun.take(task)


def _key(task: ShardTask) -> _Key:
    return task.run_id, task.shard.index, task.part_attempt, task.batch_rows
