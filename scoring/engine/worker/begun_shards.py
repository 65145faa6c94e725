"""Shards on their way from input files to parts. The first batches of some are scored ahead.

Where several shards are counted over bins that are not known yet, somebody scores a batch to cut
them. This is the first batch of the first shard, which stays here, scored, until that shard begins.
The first batches of the shards beside it are scored meanwhile.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from nightscore.engine.row_counts import note_rows
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.batch_source import BatchSource
from nightscore.engine.worker.challenger import Challenger
from nightscore.engine.worker.challenger_failures import (
    MAY_BE_THEIRS,
    ChallengerEndedError,
    known_end,
    without_challengers,
)
from nightscore.engine.worker.model_pass import ModelPass, ScoredBatch
from nightscore.engine.worker.row_origins import RowOrigins
from nightscore.engine.worker.stage_clock import StageClock
from nightscore.engine.worker.worker_model import predictor_of
from nightscore.models.compiled.checked import CheckedPredictor
from nightscore.process import limited_address_space

NOT_FINISHED = "the champion has not finished the shard"


class ShardScoring:
    """A shard whose batches are scored one after another. One thread at a time may use it.

    Each batch is read once. The champion scores it, and then its challengers do.
    """

    def __init__(self, task: ShardTask, predictor: CheckedPredictor, clock: StageClock) -> None:
        """Read nothing yet; the challengers' models are loaded.

        Args:
            task: What to score.
            predictor: Of the task's model, for this shard alone.
            clock: Counts the time of its stages.
        """
        self.clock = clock
        self.cpu_s_ahead = 0.0
        """CPU seconds of what was done before anybody asked for the shard, but for challengers."""

        self._task = task

        others = [other for other in task.challengers if not known_end(other, task)]
        self._source = BatchSource(task, others, clock)
        origins = RowOrigins(task, self._source.store)

        self._champion = ModelPass(task, predictor, self._source.store, origins, clock)
        self._challengers = [
            Challenger(challenger, task, self._source, origins) for challenger in task.challengers
        ]
        self._ahead: ScoredBatch | None = None

    @property
    def challengers_cpu_s(self) -> float:
        """CPU seconds of all challengers so far."""
        return sum(challenger.cpu_s for challenger in self._challengers)

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
        try:
            return self._finish(task)
        finally:
            # Without effect on those that have finished.
            for challenger in self._challengers:
                challenger.end(ChallengerEndedError(NOT_FINISHED))

    def _finish(self, task: ShardTask) -> ShardResult:
        champion = self._champion
        for challenger, its_task in zip(self._challengers, task.challengers, strict=True):
            challenger.open(its_task)

        with champion.open(task, self.cpu_s_ahead, self._now):
            while not champion.give_up_reason and self._score_next():
                pass

            part = champion.close()

        result = champion.result(part)
        if result.give_up_reason:
            return result

        challengers = tuple(challenger.finish() for challenger in self._challengers)
        return replace(result, challengers=challengers)

    def _score_next(self) -> bool:
        """Score and write the next batch, if there is one.

        No batch is held while the next one is decoded: it is gone with this function's names.
        """
        scored, self._ahead = self._ahead, None
        scored = scored or self._score_batch()
        if scored is None:
            return False

        self._champion.count(scored)
        if scored.output is None:
            return True

        if self._task.has_canary:
            self._write_mixed(scored)
        else:
            self._champion.write(scored.output)
        note_rows(self._task.row_counts, self._task.shard.index, self._champion.rows_in)

        if not self._task.has_canary:
            for challenger in self._challengers:
                challenger.follow(scored, self._champion_s())

        return True

    def _write_mixed(self, scored: ScoredBatch) -> None:
        """Write the champion's rows, of which those of a canary's arm are the challenger's."""
        assert scored.output is not None  # noqa: S101
        output = scored.output

        for challenger in self._challengers:
            challenger.follow(scored, self._champion_s())
            output = challenger.published(self._task.contract, scored)

        self._champion.write(output)

    def _score_batch(self) -> ScoredBatch | None:
        """Read and score the next batch; None: there is none."""
        batch = self._source.next()
        return None if batch is None else self._champion.score(batch)

    def _champion_s(self) -> float:
        """Wall seconds of the champion so far, without those that its model took to load."""
        seconds = self.clock.seconds
        return sum(seconds.values()) - seconds.get("load", 0.0)

    def _now(self) -> float:
        """CPU seconds of this thread, but for those of challengers."""
        return time.thread_time() - self.challengers_cpu_s


def begin_shard(task: ShardTask, now: Callable[[], float] = time.perf_counter) -> ShardScoring:
    """A shard whose models are loaded, and nothing else. Its memory is for the caller to limit.

    Args:
        task: What to score.
        now: Wall seconds since any moment.
    """
    clock = StageClock(now)
    with clock("load"):
        # Before the limit: within it, a library that cannot be mapped is no MemoryError.
        import pyarrow.parquet  # noqa: F401

        predictor = predictor_of(task, task.challengers)

    return ShardScoring(task, predictor, clock)


def begin_ahead(task: ShardTask) -> tuple[ShardScoring, ScoredBatch | None]:
    """A shard before its turn, and its first batch, scored within the shard's memory.

    Only the champion scores it. If that fails because of the challengers, they have ended.
    """
    try:
        return _begin_ahead(task)
    except MAY_BE_THEIRS as error:
        if not task.challengers:
            raise
        task = without_challengers(task, error)

    return _begin_ahead(task)


def _begin_ahead(task: ShardTask) -> tuple[ShardScoring, ScoredBatch | None]:
    cpu_started = time.thread_time()
    shard = begin_shard(task)

    with limited_address_space(task.memory_bytes):
        first = shard.score_ahead()

    shard.cpu_s_ahead = time.thread_time() - cpu_started - shard.challengers_cpu_s
    return shard, first


_Key = tuple[str, int, int, int, tuple[str, ...]]


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
    challengers = tuple(challenger.run_id for challenger in task.challengers)
    return task.run_id, task.shard.index, task.part_attempt, task.batch_rows, challengers
