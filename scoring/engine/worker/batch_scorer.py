"""The model and the job's policy, applied to one batch of a shard after another."""

import functools

from nightscore.engine.bad_values import Cause
from nightscore.engine.shard import ShardTask
from nightscore.engine.value_policy import find_rejected
from nightscore.engine.worker.padding import PAD_ROWS, predict_padded
from nightscore.engine.worker.row_isolation import Isolator, Outcome
from nightscore.inputs.batches import Batch
from nightscore.models.protocol import Predictor


class BatchScorer:
    """Scores batches; what it learns of the rows that a model refuses holds for the whole shard."""

    def __init__(self, task: ShardTask, predictor: Predictor) -> None:
        """Nothing is learnt yet."""
        self._task = task
        predict = functools.partial(predict_padded, predictor, task.contract, task.facts)
        self._isolator = Isolator(predict, task.max_quarantined, task.facts.categories)

    def find_rejected(self, batch: Batch) -> dict[int, Cause]:
        """The rows that the job's policy does not let the model see."""
        task = self._task
        return find_rejected(
            batch.features, batch.changed, task.job.policy, task.contract, task.facts
        )

    def score(self, batch: Batch, rejected: dict[int, Cause]) -> Outcome:
        """Predictions of all other rows but those that the model refuses."""
        remainder = self._task.n_rows % PAD_ROWS if batch.is_last else 0
        return self._isolator.score(batch.features, rejected, remainder=remainder)
