"""Scores one shard. Runs in a worker process; only small records come back."""

import base64
import os
import time
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from nightscore.arrow.chunks import combine_small_chunks
from nightscore.engine.checkpoints import write_checkpoint
from nightscore.engine.row_counts import note_rows
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.value_policy import nulled_masks
from nightscore.engine.worker.batch_scorer import BatchScorer
from nightscore.engine.worker.output_table import output_table
from nightscore.engine.worker.rejected_rows import RejectedRows
from nightscore.engine.worker.row_origins import RowOrigins
from nightscore.engine.worker.stage_clock import StageClock
from nightscore.engine.worker.worker_model import predictor_of
from nightscore.errors import ScoringError, ShardError
from nightscore.inputs.batches import Batch
from nightscore.inputs.reader import read_batches
from nightscore.ledger.layout import part_path, parts_folder, parts_store
from nightscore.ledger.output_formats import format_of
from nightscore.models.compiled.checked import CheckedPredictor
from nightscore.outputs.writer import PartWriter, WrittenPart
from nightscore.process import limited_address_space, peak_resident_bytes
from nightscore.profiles.column_records import feature_records, merge_records, prediction_records
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import to_profile_table, write_parquet, write_stream
from nightscore.schemas.manifest import ColumnRecord
from nightscore.storage.store import Store

LEAST_BATCH_ROWS = 1_024
"""Below this a batch that does not fit is not halved any more."""


def score_shard(task: ShardTask) -> ShardResult:
    """Score the rows of one shard and write their predictions.

    Raises:
        ScoringError: The input, the model or a store; nothing was published.
        MemoryError: Even the smallest batch does not fit.
    """
    try:
        return _score_halving(task)
    except (ScoringError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001
        # A library's own exception may not even pickle: only its words cross the process boundary.
        raise ShardError(
            "A shard could not be scored; nothing was published.",
            task.where,
            found=f"{type(error).__name__}: {str(error)[:500]}",
            next_step="run again with --verbose; if the error persists, try the model on these "
            "rows by hand",
        ) from None


def _score_halving(task: ShardTask) -> ShardResult:
    """Score with half the rows at once, and again half, while they do not fit into memory."""
    batch_rows = task.batch_rows
    while True:
        try:
            return _score_shard(replace(task, batch_rows=batch_rows))
        except MemoryError as error:
            if batch_rows <= LEAST_BATCH_ROWS:
                message = f"{error or 'no memory'}, with {batch_rows:,} rows at once"
                raise MemoryError(message) from None
            batch_rows //= 2


def _score_shard(task: ShardTask) -> ShardResult:
    started, cpu_started = time.perf_counter(), time.thread_time()
    clock = StageClock()

    with clock("load"):
        # Before the limit: within it, a library that cannot be mapped is no MemoryError.
        import pyarrow.parquet  # noqa: F401

        predictor = predictor_of(task)

    with limited_address_space(task.memory_bytes):
        result = _ShardScoring(task, predictor, clock).run()

    result = replace(
        result,
        wall_s=time.perf_counter() - started,
        cpu_s=time.thread_time() - cpu_started,
        process_cpu_s=time.process_time(),
        stages_s=clock.seconds,
        peak_bytes=peak_resident_bytes(),
    )
    write_checkpoint(task, replace(result, counted=b""))

    # The driver holds the results of all shards: each profile once. That of an only shard is stored
    # as it is, if nothing is added to it.
    is_only_shard = task.shard.n_rows == task.n_rows
    return result if is_only_shard else replace(result, profile="")


class _ShardScoring:
    """A shard on its way from input files to a part, batch by batch."""

    def __init__(self, task: ShardTask, predictor: CheckedPredictor, clock: StageClock) -> None:
        self._task, self._predictor, self._clock = task, predictor, clock
        self._store = Store(task.job.input.uri, task.job.input.storage_options)
        self._schema = task.contract.output_schema()
        self._scorer = BatchScorer(task, predictor)
        self._origins = RowOrigins(task, self._store)
        self._rejects = RejectedRows(task, self._store, self._origins)
        self._profiler = Profiler(task.profile_spec)
        self._columns: tuple[ColumnRecord, ...] = ()
        self._rows_in = 0
        self._give_up_reason = ""

    def run(self) -> ShardResult:
        """Score all batches; the part and the quarantine are written at the end."""
        task, clock = self._task, self._clock
        batches = read_batches(
            self._store, task.shard, task.contract, task.batch_rows, task.prefetch_bytes
        )

        with self._open_part() as writer:
            while not self._give_up_reason and self._score_next(batches, writer):
                pass

            with clock("write"):
                part = writer.close()

        with clock("quarantine"):
            self._rejects.flush()

        return self._result(part)

    def _open_part(self) -> PartWriter:
        task = self._task
        folder = parts_folder(task.job, task.folder, task.run_id)
        path = part_path(folder, task.run_id, task.shard.index, task.part_attempt)
        keep_types = format_of(task.job).stores_arrow_schema
        return PartWriter(parts_store(task.job), path, self._schema, keep_types=keep_types)

    def _score_next(self, batches: Iterator[Batch], writer: PartWriter) -> bool:
        """Score and write the next batch, if there is one.

        No batch is held while the next one is decoded: it is gone with this function's names.
        """
        clock = self._clock
        batch = clock.next("read", batches)
        if batch is None:
            return False

        # Each chunk of each column is a call of its own: of the model, the profile and the writer.
        batch.features = combine_small_chunks(batch.features)
        batch.passthrough = combine_small_chunks(batch.passthrough)

        rejected = self._scorer.find_rejected(batch)

        with clock("predict"):
            outcome = self._scorer.score(batch, rejected)

        self._rows_in += batch.n_rows
        self._rejects.add(batch, outcome.rejected)

        if outcome.give_up_reason:
            self._give_up_reason = outcome.give_up_reason
            return True

        output = output_table(self._task, batch, outcome, self._schema, self._origins)

        with clock("profile"):
            self._profiler.add(batch.features, batch.passthrough, outcome.scored_mask, output)
            self._count_columns(batch, output)

        with clock("write"):
            writer.write(output)

        note_rows(self._task.row_counts, self._task.shard.index, self._rows_in)

        return True

    def _count_columns(self, batch: Batch, output: pa.Table) -> None:
        contract = self._task.contract
        nulled = nulled_masks(batch.changed, self._task.job.policy, contract)
        features = feature_records(batch.features, nulled, self._profiler.missing)
        predictions = output.select([column.name for column in contract.predictions])
        records = [*self._columns, *features, *prediction_records(predictions)]
        self._columns = merge_records(records)

    def _result(self, part: WrittenPart) -> ShardResult:
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
            give_up_reason=self._give_up_reason,
            pid=os.getpid(),
            predictor=self._predictor.record,
        )
