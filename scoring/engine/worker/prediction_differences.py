"""Counting how a challenger's predictions of a shard differ from the champion's."""

import logging

import numpy as np
import numpy.typing as npt

from nightscore.engine.shard import ShardTask
from nightscore.engine.worker.model_pass import ScoredBatch
from nightscore.inputs.batches import Batch
from nightscore.profiles.differences.difference_counter import DifferenceCounter, Scored
from nightscore.profiles.differences.stored_counts import to_text

log = logging.getLogger("nightscore")


class PredictionDifferences:
    """Counts of one shard. What goes wrong costs these counts, never the predictions."""

    def __init__(self, task: ShardTask) -> None:
        """Begin with no rows, if the task compares anything.

        Args:
            task: Of the challenger.
        """
        self._task = task
        self._counter: DifferenceCounter | None = None
        if task.difference is not None:
            self._counter = DifferenceCounter(task.difference)

    def add(self, champion: ScoredBatch, challenger: ScoredBatch) -> None:
        """Compare what both models made of a batch.

        Args:
            champion: The batch as the champion was given it, and what became of its rows.
            challenger: The same batch as the challenger was given it.
        """
        if self._counter is None or champion.output is None or challenger.output is None:
            return

        batch = champion.batch

        try:
            self._counter.add(
                batch.features,
                batch.passthrough,
                _positions(batch),
                champion=Scored(champion.outcome.scored_mask, champion.output),
                challenger=Scored(challenger.outcome.scored_mask, challenger.output),
            )
        except Exception as error:  # noqa: BLE001 (the predictions are right without it)
            self._give_up(error)

    def to_text(self) -> str:
        """The counts; empty: nobody has counted."""
        return "" if self._counter is None else to_text(self._counter.counts())

    def _give_up(self, error: Exception) -> None:
        task, self._counter = self._task, None
        note = "run_id=%s partition=%s the difference is not counted: %s: %s"
        log.warning(note, task.run_id, task.folder, type(error).__name__, error)


def _positions(batch: Batch) -> npt.NDArray[np.int64]:
    """The numbers of a batch's rows in their files."""
    positions = [stretch.positions for stretch in batch.stretches]
    return positions[0] if len(positions) == 1 else np.concatenate(positions)
