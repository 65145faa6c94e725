"""One model's way through the batches of a shard: predictions, counts and files of its own."""

import base64
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.engine.bad_values import Mask
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.value_policy import nulled_masks
from nightscore.engine.worker.batch_scorer import BatchScorer
from nightscore.engine.worker.output_table import output_table
from nightscore.engine.worker.rejected_rows import RejectedRows
from nightscore.engine.worker.row_isolation import Outcome
from nightscore.engine.worker.row_origins import RowOrigins
from nightscore.engine.worker.row_sample import RowSample
from nightscore.engine.worker.stage_clock import StageClock
from nightscore.inputs.batches import Batch
from nightscore.ledger.layout import part_path, parts_folder, parts_store, state_store
from nightscore.ledger.output_formats import format_of
from nightscore.models.compiled.checked import CheckedPredictor
from nightscore.outputs.writer import PartWriter, WrittenPart, discard
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

    def only(self, wanted: Mask) -> "ScoredBatch":
        """Some of the rows, and what became of these. It has no answer of the model.

        Args:
            wanted: Which rows of the batch, shape (n,).
        """
        is_scored = self.outcome.scored_mask
        output = self.output
        if output is not None:
            output = output.filter(from_numpy(wanted[is_scored]))
        return ScoredBatch(self.batch.only(wanted), Outcome(None, is_scored[wanted]), output)


class ModelPass:
    """A model that scores the batches of a shard, and what it makes of them.

    Use it in this order: `score` as often as batches are scored ahead; `open`; then for each batch
    `score`, `count` and `write`; then `result`.
    """

    def __init__(
        self,
        task: ShardTask,
        predictor: CheckedPredictor,
        store: Store,
        origins: RowOrigins,
        clock: StageClock,
    ) -> None:
        """Score nothing yet.

        Args:
            task: What to score.
            predictor: Of the task's model, for this shard alone.
            store: The input.
            origins: Where the rows stand in the input.
            clock: Counts the time of its stages.
        """
        self.clock = clock
        self.give_up_reason = ""
        """Why the search of refused rows was given up; empty: it was not."""

        self.rows_in = 0
        self.predict_cpu_s = 0.0

        self._task, self._predictor, self._origins = task, predictor, origins
        self._scorer = BatchScorer(task, predictor)
        self._rejects = RejectedRows(task, store, origins)

        self._profiler: Profiler
        """Made by the thread that counts, whose time it watches."""
        self._sample: RowSample
        """Made with it: only then it is known whether there are labels."""
        self._columns: tuple[ColumnRecord, ...] = ()
        self._writer: PartWriter | None = None
        self._part_path = ""

    def score(
        self, batch: Batch, beside: Callable[[Outcome], Mapping[str, pa.ChunkedArray]] | None = None
    ) -> ScoredBatch:
        """Score the rows of a batch.

        Args:
            batch: All rows.
            beside: Gives further columns of the scored rows.
        """
        rejected = self._scorer.find_rejected(batch)

        started = time.thread_time()
        with self.clock("predict"):
            outcome = self._scorer.score(batch, rejected)
        self.predict_cpu_s += time.thread_time() - started

        if outcome.give_up_reason:
            return ScoredBatch(batch, outcome, None)

        columns = beside(outcome) if beside else {}
        output = output_table(self._task, batch, outcome, self._origins, columns)
        return ScoredBatch(batch, outcome, output)

    def open(self, task: ShardTask, elapsed_s: float, now: Callable[[], float]) -> PartWriter:
        """Open the part, and begin to count.

        Args:
            task: The same as at the beginning, or with the bins that were cut meanwhile.
            elapsed_s: CPU seconds that were taken for the shard before.
            now: CPU seconds of the shard and of this thread, without those of other models.
        """
        self._task = task
        self._profiler = Profiler(task.profile_spec, elapsed_s=elapsed_s, now=now)
        self._sample = RowSample(task)

        folder = parts_folder(task.job, task.folder, task.run_id)
        path = part_path(folder, task.run_id, task.shard.index, task.part_attempt)
        keep_types = format_of(task.job).stores_arrow_schema
        schema = task.contract.output_schema()

        self._part_path = path

        self._writer = PartWriter(parts_store(task.job), path, schema, keep_types=keep_types)
        return self._writer

    def count(self, scored: ScoredBatch) -> None:
        """Count the rows of a batch: what was refused, the profile and the sample."""
        batch, outcome, output = scored.batch, scored.outcome, scored.output
        self.rows_in += batch.n_rows
        self._rejects.add(batch, outcome.rejected)

        if output is None:
            self.give_up_reason = outcome.give_up_reason
            return

        with self.clock("profile"):
            self._profiler.add(batch.features, batch.passthrough, outcome.scored_mask, output)
            self._count_columns(batch, output)

        with self.clock("sample"):
            self._sample.add(batch, outcome, output)

    def write(self, output: pa.Table) -> None:
        """Write rows to the part."""
        assert self._writer is not None  # noqa: S101
        with self.clock("write"):
            self._writer.write(output)

    def close(self) -> WrittenPart:
        """Make the part durable."""
        assert self._writer is not None  # noqa: S101
        with self.clock("write"):
            part = self._writer.close()
        self._writer = None
        return part

    def result(self, part: WrittenPart) -> ShardResult:
        """What has become of the rows, with quarantine and sample written."""
        with self.clock("quarantine"):
            self._rejects.flush()

        with self.clock("sample"):
            sample_files = self._sample.write()

        return self._result(part, sample_files)

    def remove_files(self, error: BaseException) -> None:
        """Remove whatever was written."""
        if self._writer is not None:
            self._writer.__exit__(type(error), error, error.__traceback__)
        elif self._part_path:
            discard(parts_store(self._task.job), self._part_path)

        for file in self._rejects.files:
            discard(state_store(self._task.job), file.path)

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
            rows_in=self.rows_in,
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
            give_up_reason=self.give_up_reason,
            pid=os.getpid(),
            predictor=self._predictor.record,
            stages_s=self.clock.seconds,
        )
