"""The batches of a shard, read once for all models that score it."""

import time
from collections.abc import Sequence

from nightscore.arrow.chunks import combine_small_chunks
from nightscore.engine.shard import ShardTask
from nightscore.engine.worker.stage_clock import StageClock
from nightscore.inputs.batches import Batch
from nightscore.inputs.reader import read_batches
from nightscore.storage.store import Store


class BatchSource:
    """Reads one batch after another."""

    def __init__(self, task: ShardTask, others: Sequence[ShardTask], clock: StageClock) -> None:
        """Read nothing yet.

        Args:
            task: Whose contract the batches meet.
            others: Tasks of challengers, whose columns are read too.
            clock: Counts the time of reading.
        """
        self.store = Store(task.job.input.uri, task.job.input.storage_options)

        self.clock = clock
        self.cpu_s = 0.0

        self._batches = read_batches(
            self.store,
            task.shard,
            task.contract,
            task.batch_rows,
            task.prefetch_bytes,
            [other.contract for other in others],
        )

    def next(self) -> Batch | None:
        """The next batch; None at the end."""
        started = time.thread_time()
        batch = self.clock.next("read", self._batches)

        if batch is not None:
            # Each chunk of each column is a call of its own: of the model, the profile, the writer.
            batch.features = combine_small_chunks(batch.features)
            batch.passthrough = combine_small_chunks(batch.passthrough)

        self.cpu_s += time.thread_time() - started
        return batch
