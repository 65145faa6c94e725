"""The rows of a canary: each by the model of its arm, and none lost."""

import numpy as np
import pyarrow as pa

from nightscore.arrow.arrays import repeated
from nightscore.engine.worker.arm_merge import merge_arm
from nightscore.inputs.batches import Batch, Stretch
from nightscore.schemas.contract import Contract, OutputColumn

CONTRACT = Contract(
    features=(),
    passthrough=(),
    predictions=(
        OutputColumn("prediction", pa.string(), "prediction"),
        OutputColumn("probability", pa.float64(), "probability"),
    ),
    has_position=True,
)
N_ROWS = 8
IS_SCORED = np.array([1, 1, 0, 1, 1, 1, 0, 1], np.bool_)
"""By the champion."""


def rows_of(version: str, is_scored: np.ndarray) -> pa.Table:
    """The rows that a version has scored: its predictions say which version and row they are of."""
    rows = np.flatnonzero(is_scored)
    n = len(rows)
    columns = [
        repeated("part.parquet", n),
        pa.array(rows),
        pa.array([f"{version}-{row}" for row in rows], pa.string()),
        pa.array([None if row == 4 else row / 10 for row in rows], pa.float64()),
        repeated(version, n),
        repeated("the-run", n),
    ]
    return pa.table(columns, schema=CONTRACT.output_schema())


def test_rows_of_the_arm_are_the_challengers() -> None:
    arm = np.array([0, 1, 1, 0, 1, 0, 0, 1], np.bool_)
    merged = merge_arm(CONTRACT, rows_of("7", IS_SCORED), IS_SCORED, rows_of("8", arm), arm)

    assert merged.schema == CONTRACT.output_schema()
    assert merged.column("prediction").to_pylist() == ["7-0", "8-1", "7-3", "8-4", "7-5", "8-7"]
    assert merged.column("probability").to_pylist() == [0.0, 0.1, 0.3, None, 0.5, 0.7]
    assert merged.column("model_version").to_pylist() == ["7", "8", "7", "8", "7", "8"]
    assert merged.column("source_row").to_pylist() == [0, 1, 3, 4, 5, 7]
    assert set(merged.column("run_id").to_pylist()) == {"the-run"}


def test_rows_that_the_challenger_has_not_scored_stay_the_champions() -> None:
    champion = rows_of("7", IS_SCORED)
    for places in ([], [2], [2, 6]):
        scored = np.isin(np.arange(N_ROWS), places)
        assert merge_arm(CONTRACT, champion, IS_SCORED, rows_of("8", scored), scored) == champion

    nothing = np.zeros(N_ROWS, np.bool_)
    arm = np.ones(N_ROWS, np.bool_)
    merged = merge_arm(CONTRACT, rows_of("7", nothing), nothing, rows_of("8", arm), arm)
    assert merged.num_rows == 0


def test_some_rows_of_a_batch_are_a_batch_of_their_own() -> None:
    columns = {"x": pa.array(range(6))}
    stretches = (Stretch("a", 10, 2), Stretch("b", 0, 1), Stretch("c", 5, 3))
    changed = {"x": np.arange(6) == 3}
    batch = Batch(pa.table(columns), pa.table({"id": range(6)}), stretches, changed, True)

    some = batch.only(np.array([0, 1, 0, 1, 0, 1], np.bool_))
    assert some.n_rows == 3 and some.is_last
    assert some.features.column("x").to_pylist() == [1, 3, 5]
    assert some.passthrough.column("id").to_pylist() == [1, 3, 5]
    assert some.changed["x"].tolist() == [False, True, False]

    places = [(one.path, one.positions.tolist()) for one in some.stretches]
    assert places == [("a", [11]), ("c", [5, 7])]
    assert batch.only(np.zeros(6, np.bool_)).n_rows == 0
