"""Calls of a model on padded batches, and the check of the shape of its answers."""

import numpy as np
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.errors import ModelAnswerError
from nightscore.models.features import mark_nullable
from nightscore.models.protocol import Answer, Predictor
from nightscore.schemas.contract import Contract
from nightscore.schemas.model import ModelFacts

PAD_ROWS = 64
"""Vector kernels treat the last few rows of a matrix apart from the rest, and BLAS sums them in
another order. A batch is filled up to a multiple of this by repeating its last row, so that a row's
prediction does not depend on how the partition is cut. The partition's last batch is filled up to
the remainder that the whole partition leaves, so that it equals the model's own on the whole
partition."""


def predict_padded(
    predictor: Predictor, contract: Contract, facts: ModelFacts, features: pa.Table, remainder: int
) -> Answer:
    """The model's answer for each row.

    Args:
        predictor: The model.
        contract: The columns.
        facts: What the model is.
        features: One batch.
        remainder: Rows that the filled-up batch has beyond a multiple of `PAD_ROWS`.

    Raises:
        ModelAnswerError: It has another shape than the model's description says.
    """
    n_rows = features.num_rows
    n_padding = (remainder - n_rows) % PAD_ROWS if facts.pads_batches else 0
    if n_padding:
        # As one chunk: each chunk of each column is a call of its own.
        last_row = features.slice(n_rows - 1)
        padding = last_row.take(from_numpy(np.zeros(n_padding, np.int64)))
        features = pa.concat_tables([features, padding])

    kinds = {column.kind for column in contract.predictions}
    answer = predictor.predict(mark_nullable(features, contract.nullable_flags), kinds)

    for kind in kinds:
        # Before the padding is cut off: a model that drops rows would shift all that come after.
        expected = n_rows + n_padding, _n_columns(kind, contract, facts)
        _check_shape(kind, (len(answer[kind]), answer[kind].shape[1]), expected)

    return {kind: answer[kind][:n_rows] for kind in kinds}


def _check_shape(kind: str, shape: tuple[int, int], expected: tuple[int, int]) -> None:
    if shape != expected:
        raise ModelAnswerError(
            "The model's answer has another shape than its description.",
            expected=f"{expected[0]} rows, {expected[1]} columns of {kind}",
            found=f"{shape[0]} rows, {shape[1]} columns",
            next_step="a model must give one prediction a row; "
            "log it with a signature that states its outputs",
        )


def _n_columns(kind: str, contract: Contract, facts: ModelFacts) -> int:
    if kind == "probability":
        return len(facts.classes or ())
    return sum(column.kind == kind for column in contract.predictions)
