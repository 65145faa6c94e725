"""A challenger of a shard: a model that scores the rows that the champion has scored.

Whatever it raises ends it in this shard. The champion never learns of it.
"""

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from nightscore.engine.bad_values import Mask
from nightscore.engine.shard import ChallengerResult, ShardResult, ShardTask
from nightscore.engine.worker.arm_merge import merge_arm
from nightscore.engine.worker.batch_source import BatchSource
from nightscore.engine.worker.challenger_failures import (
    ChallengerEndedError,
    check_overhead,
    describe,
    known_end,
    note_ended,
)
from nightscore.engine.worker.champion_columns import champion_columns
from nightscore.engine.worker.model_pass import ModelPass, ScoredBatch
from nightscore.engine.worker.prediction_differences import PredictionDifferences
from nightscore.engine.worker.row_origins import RowOrigins
from nightscore.engine.worker.stage_clock import StageClock
from nightscore.engine.worker.worker_model import predictor_of
from nightscore.inputs.shared_columns import SharedCasts
from nightscore.schemas.contract import Contract


class Challenger:
    """One challenger beside the champion. No method raises what the challenger raises."""

    def __init__(
        self, task: ShardTask, champion: ShardTask, source: BatchSource, origins: RowOrigins
    ) -> None:
        """Load its model, unless it has ended already.

        Args:
            task: The challenger's own task for the shard.
            champion: The champion's task, with all its challengers.
            source: The shard's batches.
            origins: Where the rows stand in the input.
        """
        self.cpu_s = 0.0
        """CPU seconds that it has taken."""
        self.failure = known_end(task, champion)
        """Why it has ended; empty: it has not."""

        self._task, self._champion = task, champion
        self._source, self._origins = source, origins
        self._pass: ModelPass | None = None
        self._casts = SharedCasts(champion.contract, task.contract)
        self._arm: tuple[pa.Table, Mask] | None = None
        """Of a canary's batch: the rows that it has scored, and which of the batch these are."""
        self._merged: pa.Table

        self._n_refused_alone = 0
        self._n_published = 0
        self._predict_cpu_s = 0.0
        self._differences = PredictionDifferences(task)
        self._difference = ""
        self._result: ShardResult | None = None
        self._step_started = 0.0

        self._try(self._load)

    def open(self, task: ShardTask) -> None:
        """Open its part.

        Args:
            task: Its task, with the bins that were cut meanwhile.
        """
        self._try(functools.partial(self._open, task))

    def follow(self, champion: ScoredBatch, champion_s: float) -> None:
        """Score, count and write a batch that the champion has scored.

        Args:
            champion: The batch, and what the champion has made of it.
            champion_s: Wall seconds of the champion in this shard so far.
        """
        self._try(functools.partial(self._follow, champion, champion_s))

    def published(self, contract: Contract, champion: ScoredBatch) -> pa.Table:
        """The rows of the last batch as readers see them: with its predictions of a canary's arm.

        Args:
            contract: Of the champion.
            champion: The batch, and what the champion has made of it.
        """
        assert champion.output is not None  # noqa: S101
        self._merged = champion.output
        self._try(functools.partial(self._merge, contract, champion))
        return self._merged

    def finish(self) -> ChallengerResult:
        """Make its files durable; then what it has done with the shard."""
        self._try(self._finish)

        if self.failure:
            note_ended(self._task.run_id, self.failure)

        return ChallengerResult(
            result=self._result and replace(self._result, cpu_s=self.cpu_s),
            failure=self.failure,
            cpu_s=self.cpu_s,
            predict_cpu_s=self._predict_cpu_s,
            n_refused_alone=self._n_refused_alone,
            n_published=self._n_published,
            difference=self._difference,
        )

    def end(self, error: BaseException) -> None:
        """End it, and remove its files; without effect if it has ended or finished."""
        if self.failure or self._result is not None:
            return

        self.failure = describe(error)
        own, self._pass = self._pass, None

        if own is not None:
            # The store may be what has failed. `nightscore clean` removes what is left.
            with contextlib.suppress(Exception):
                own.remove_files(error)

    @property
    def _own(self) -> ModelPass:
        assert self._pass is not None  # noqa: S101
        return self._pass

    def _try(self, step: Callable[[], None]) -> None:
        """Take a step, unless it has ended; whatever the step raises ends it."""
        if self.failure:
            return

        self._step_started = time.thread_time()
        try:
            step()
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a model may raise anything)
            self.end(error)
        finally:
            self.cpu_s += time.thread_time() - self._step_started

    def _load(self) -> None:
        clock = StageClock(self._source.clock.now)
        with clock("load"):
            beside = (self._champion, *self._champion.challengers)
            predictor = predictor_of(self._task, beside)

        self._pass = ModelPass(self._task, predictor, self._source.store, self._origins, clock)

    def _open(self, task: ShardTask) -> None:
        self._task, self._differences = task, PredictionDifferences(task)
        self._own.open(task, elapsed_s=0.0, now=self._now)

    def _follow(self, champion: ScoredBatch, champion_s: float) -> None:
        own = self._own
        with own.clock("cast"):
            batch = self._casts.cast(champion.batch)

        is_wanted = None
        if self._task.assignment is not None:
            is_wanted = self._task.assignment.arm(batch.passthrough)
            batch, champion = batch.only(is_wanted), champion.only(is_wanted)
            if not batch.n_rows:
                return

        beside = functools.partial(champion_columns, self._task.contract, champion)
        scored = own.score(batch, beside)
        self._predict_cpu_s = own.predict_cpu_s
        check_overhead(own.clock.seconds["predict"], champion_s, self._champion.max_overhead)

        own.count(scored)
        if scored.output is None:
            raise ChallengerEndedError(own.give_up_reason)

        is_refused_alone = champion.outcome.scored_mask & ~scored.outcome.scored_mask
        self._n_refused_alone += int(is_refused_alone.sum())
        with own.clock("difference"):
            self._differences.add(champion, scored)
        own.write(scored.output)

        if is_wanted is not None:
            is_wanted[is_wanted] = scored.outcome.scored_mask
            self._arm = scored.output, is_wanted

    def _merge(self, contract: Contract, champion: ScoredBatch) -> None:
        arm, self._arm = self._arm, None
        if arm is None or champion.output is None:
            return

        output, is_scored = arm
        is_of_champion = champion.outcome.scored_mask
        self._merged = merge_arm(contract, champion.output, is_of_champion, output, is_scored)
        self._n_published += int((is_of_champion & is_scored).sum())

    def _finish(self) -> None:
        part = self._own.close()
        with self._own.clock("difference"):
            self._difference = self._differences.to_text()
        self._result = self._own.result(part)

    def _now(self) -> float:
        """CPU seconds of its run, if it were alone: it would read the rows, too."""
        step_s = time.thread_time() - self._step_started
        return self._source.cpu_s + self.cpu_s + step_s
