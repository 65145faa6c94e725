"""Batches filled up to whole vectors."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pytest

from nightscore.engine.worker.padding import PAD_ROWS, predict_padded
from nightscore.models.protocol import Answer
from nightscore.schemas.contract import Contract, InputColumn, OutputColumn
from nightscore.schemas.model import ModelFacts

FACTS = ModelFacts(flavor="sklearn", estimator="Ridge", pads_batches=True)
CONTRACT = Contract(
    features=(InputColumn("a", pa.float64()), InputColumn("b", pa.string())),
    passthrough=(),
    predictions=(OutputColumn("prediction", pa.float64(), "prediction"),),
    has_position=False,
)


class Watched:
    """Predicts the column `a`, and keeps what it was given."""

    def __init__(self) -> None:
        self.seen = pa.table({})

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        self.seen = features
        return {"prediction": np.array(features.column("a").to_pylist()).reshape(-1, 1)}


@pytest.mark.parametrize(("n_rows", "remainder", "n_padded"), [(3, 0, 64), (70, 5, 133)])
def test_the_last_row_fills_a_batch_up_as_one_chunk(
    n_rows: int, remainder: int, n_padded: int
) -> None:
    predictor = Watched()
    texts = pa.array([f"t{i}" for i in range(n_rows)]).dictionary_encode()
    features = pa.table({"a": pa.array(range(n_rows), pa.float64()), "b": texts})

    answer = predict_padded(predictor, CONTRACT, FACTS, features, remainder)

    assert answer["prediction"][:, 0].tolist() == list(range(n_rows))
    assert predictor.seen.num_rows == n_padded
    assert n_padded % PAD_ROWS == remainder
    assert {column.num_chunks for column in predictor.seen.columns} == {2}
    padding = predictor.seen.slice(n_rows).to_pylist()
    assert padding == [{"a": n_rows - 1.0, "b": f"t{n_rows - 1}"}] * (n_padded - n_rows)
