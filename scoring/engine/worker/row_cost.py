"""What a model takes for a row, measured with the first rows of a partition."""

import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from nightscore.engine.worker.padding import predict_padded
from nightscore.engine.worker.worker_model import library_predictor
from nightscore.inputs.reader import read_batches
from nightscore.models.protocol import Predictor
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Input
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Shard
from nightscore.storage.store import Store

FEW_ROWS, MORE_ROWS = 64, 1_024
"""A call has a cost of its own, which the difference between the two does not have."""
ENOUGH_S = 0.25
"""If the few rows take that long, the others would only take longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRows:
    """A model of which the library predicts, and rows to try it on."""

    place: Input
    shard: Shard
    contract: Contract
    facts: ModelFacts
    model_folder: Path
    fallback_reason: str


def measure_row_s(first_rows: FirstRows) -> float | None:
    """Wall seconds that the library takes to predict a row, its calls aside.

    None: it does not predict these rows. Why not, their shard will tell.
    """
    try:
        predictor = library_predictor(
            first_rows.model_folder,
            first_rows.facts,
            first_rows.fallback_reason,
            first_rows.contract.feature_types(),
        )
        return _measure(predictor, first_rows)
    except Exception:  # noqa: BLE001 (models and files may raise anything)
        return None


def _measure(predictor: Predictor, first_rows: FirstRows) -> float:
    store = Store(first_rows.place.uri, first_rows.place.storage_options)
    batches = read_batches(store, first_rows.shard, first_rows.contract, MORE_ROWS)
    features = next(batches).features
    few = features.slice(0, FEW_ROWS)
    n_few: int = few.num_rows

    _predict_s(predictor, first_rows, few.slice(0, 1))  # imports, and makes what stays
    few_s = _predict_s(predictor, first_rows, few)

    n_more: int = features.num_rows - n_few
    if few_s >= ENOUGH_S or n_more < FEW_ROWS:
        return few_s / n_few

    all_s = _predict_s(predictor, first_rows, features)

    return max(0.0, all_s - few_s) / n_more


def _predict_s(predictor: Predictor, first_rows: FirstRows, features: pa.Table) -> float:
    """The seconds that a prediction takes."""
    started = time.perf_counter()
    predict_padded(predictor, first_rows.contract, first_rows.facts, features, 0)
    return time.perf_counter() - started
