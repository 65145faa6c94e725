"""Rows that cannot be scored are kept whole with their reason; all others are scored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.engine.worker import row_isolation
from nightscore.ledger.layout import state_store
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from tests.fakes.pool import InProcessPool
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, make_frame

DAY = "2024-02-29"
LOOSE = {"max_quarantined_rows": 1_000}


def quarantined(job: ScoringJob, manifest: Manifest) -> pd.DataFrame:
    store = state_store(job)
    frames = []
    for file in manifest.quarantine.files:
        with pq.ParquetFile(store.open_input(file.path)) as parquet:
            frames.append(parquet.read().to_pandas())
    return pd.concat(frames, ignore_index=True)


def poisoned(n_rows: int = 4_000) -> tuple[pd.DataFrame, dict[int, str]]:
    frame = make_frame(n_rows)
    bad = {10: "null", 1_200: "infinite", 1_201: "infinite", 2_500: "null", 3_999: "infinite"}
    for row, reason in bad.items():
        frame.loc[row, "b"] = {"null": None, "infinite": np.inf}[reason]
    return frame, bad


def test_bad_rows_are_kept_whole_and_the_others_scored(
    any_lake: Lake, models: dict[str, KnownModel]
) -> None:
    frame, bad = poisoned()
    any_lake.write(DAY, frame.iloc[:1_500], "a", row_group_size=400)
    any_lake.write(DAY, frame.iloc[1_500:], "b", row_group_size=400)
    job = any_lake.job("logistic", limits=LOOSE)

    manifest = any_lake.run(job)

    assert manifest.error is None
    assert manifest.counts.rows_quarantined == len(bad)
    assert manifest.counts.rows_scored == len(frame) - len(bad)
    assert manifest.quarantine.by_reason == {"null": 2, "infinite": 3}
    assert manifest.quarantine.by_column == {"b: null": 2, "b: infinite": 3}
    kept = quarantined(job, manifest).sort_values("id")
    assert kept["id"].tolist() == list(bad)
    assert kept["_reason"].tolist() == list(bad.values())
    assert kept["_source_row"].tolist() == [10, 1_200, 1_201, 1_000, 2_499]
    assert kept["_source_file"].tolist() == [
        f"ds={DAY}/{'a' if i < 1_500 else 'b'}.parquet" for i in bad
    ]
    assert kept["color"].tolist() == frame.loc[list(bad), "color"].tolist()
    assert set(frame.columns) <= set(kept.columns)
    published = any_lake.read(job).sort_values("id")
    good = frame.drop(index=list(bad))
    assert published["id"].tolist() == good["id"].tolist()
    own = models["logistic"].estimator.predict_proba(good[NUMBERS])[:, 1]
    assert np.allclose(published["probability"], own, rtol=1e-14, atol=0)


def test_by_default_one_bad_row_fails_the_run_and_all_are_named(lake: Lake) -> None:
    frame, _ = poisoned()
    lake.write(DAY, frame)
    job = lake.job("logistic")

    manifest = lake.run(job)

    assert manifest.status == "failed"
    assert manifest.error
    assert manifest.error.type == "QuarantineLimitError"
    text = manifest.error.message
    assert "5 of 4,000 rows cannot be scored" in text
    assert "infinite 3, null 2" in text
    assert f"ds={DAY}/part-0.parquet row 10: null in b" in text
    assert "at most 0 rows" in text
    assert quarantined(job, manifest)["id"].tolist() == [10, 1_200, 1_201, 2_500, 3_999]
    assert not lake.features.sibling("/../predictions").list_files()


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        ({"max_quarantined_rows": 5}, True),
        ({"max_quarantined_rows": 4}, False),
        ({"max_quarantined_share": 0.002}, True),
        ({"max_quarantined_share": 0.001}, False),
        ({"max_quarantined_rows": 5, "max_quarantined_share": 0.001}, False),
        ({"max_quarantined_rows": 5, "max_quarantined_share": 0.5}, True),
    ],
)
def test_limits_in_rows_and_share(lake: Lake, limits: dict[str, float], passes: bool) -> None:
    lake.write(DAY, poisoned()[0])

    manifest = lake.run(lake.job("logistic", limits=limits))

    assert (manifest.status == "published") is passes


def test_a_model_that_takes_missing_values_gets_them(
    lake: Lake, models: dict[str, KnownModel]
) -> None:
    frame, bad = poisoned()
    lake.write(DAY, frame)
    job = lake.job("hgb_binary")

    manifest = lake.run(job)

    assert manifest.counts.rows_quarantined == 0
    own = models["hgb_binary"].estimator.predict_proba(frame[NUMBERS])[:, 1]
    assert np.array_equal(lake.read(job)["probability"], own)
    assert bad


def test_nan_and_null_are_told_apart_and_overflow_is_named(lake: Lake) -> None:
    frame = make_frame(300)
    values = frame["b"].tolist()
    values[5], values[6], values[7] = None, float("nan"), 1e300
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.set_column(table.column_names.index("b"), "b", pa.array(values, pa.float64()))
    lake.write(DAY, table)

    linear = lake.run(lake.job("logistic_numpy", limits=LOOSE))
    forest = lake.run(lake.job("forest_numpy", limits=LOOSE, output={"uri": f"{lake.root}/forest"}))
    assert (linear.error, forest.error) == (None, None)

    assert linear.quarantine.by_reason == {"null": 1, "nan": 1}
    assert forest.quarantine.by_reason == {"overflow": 1}


def test_a_value_that_the_model_does_not_know_costs_its_row_only(
    lake: Lake, models: dict[str, KnownModel]
) -> None:
    frame = make_frame(500)
    frame.loc[[7, 300], "color"] = "purple"
    lake.write(DAY, frame)
    job = lake.job("pipeline_strict", limits=LOOSE)

    manifest = lake.run(job)

    assert manifest.quarantine.by_reason == {"unseen_category": 2}
    assert manifest.quarantine.by_column == {"color: unseen_category": 2}
    assert "Found unknown categories" in manifest.quarantine.examples[0].message
    assert [e.source_row for e in manifest.quarantine.examples] == [7, 300]
    known = models["pipeline_strict"]
    own = known.estimator.predict(frame.drop(index=[7, 300])[known.columns])
    assert np.array_equal(lake.read(job)["prediction"], own)


def test_integers_that_float64_cannot_hold_never_pass(lake: Lake) -> None:
    frame = make_frame(200)
    frame["a"] = np.arange(200)
    frame.loc[3, "a"] = 2**53 + 1
    frame.loc[4, "a"] = -(2**53) - 1
    frame.loc[5, "a"] = 2**53
    lake.write(DAY, frame)

    strict = lake.run(lake.job("hgb_binary"))
    loose_job = lake.job("hgb_binary", limits=LOOSE)
    loose = lake.run(loose_job)

    assert strict.error
    assert strict.error.type == "ContractError"
    assert "a: has integers beyond 2**53" in strict.error.message
    assert loose.error is None
    assert loose.quarantine.by_column == {"a: cast": 2}
    assert quarantined(loose_job, loose)["a"].tolist() == [2**53 + 1, -(2**53) - 1]


def test_nullable_integers_that_became_floats_are_taken_if_whole(
    lake: Lake, models: dict[str, KnownModel]
) -> None:
    frame = make_frame(200)
    frame["count"] = frame["count"].astype(float)
    frame.loc[8, "count"] = None
    frame.loc[9, "count"] = 2.5
    lake.write(DAY, frame)
    job = lake.job("hgb_ints", limits=LOOSE)

    manifest = lake.run(job)

    assert manifest.error is None
    assert manifest.quarantine.by_column == {"count: cast": 1}
    known = models["hgb_ints"]
    own = known.estimator.predict(frame.drop(index=[9])[known.columns])
    assert np.array_equal(lake.read(job)["prediction"], own)


@pytest.fixture
def impatient_lake(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Scores in this process, and gives up the search of refused rows early."""
    monkeypatch.setattr(row_isolation, "BISECTION_SLACK", 20)
    return replace(lake, pool=InProcessPool())


def test_when_every_row_is_refused_the_run_says_so(impatient_lake: Lake) -> None:
    lake = impatient_lake
    lake.write(DAY, make_frame(60).assign(color="purple"))

    manifest = lake.run(lake.job("pipeline_strict"))

    assert manifest.error
    assert manifest.error.type == "QuarantineLimitError"
    assert "unknown categories" in manifest.error.message
    assert manifest.quarantine.files


def test_all_rows_quarantined_within_the_limits_publishes_none(lake: Lake) -> None:
    lake.write(DAY, make_frame(50).assign(b=float("nan")))
    job = lake.job("logistic", limits={"max_quarantined_share": 1.0})

    manifest = lake.run(job)

    assert (manifest.status, manifest.counts.rows_scored, manifest.counts.rows_quarantined) == (
        "published",
        0,
        50,
    )
    assert len(lake.read(job)) == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"b": float("nan")}, "nan"), ({"b": None}, "null"), ({"b": np.inf, "c": None}, "null")],
)
def test_a_column_that_is_bad_throughout_costs_no_search(
    lake: Lake, change: dict[str, Any], reason: str
) -> None:
    """Row by row, 100,000 rows would take minutes."""
    n_rows = 100_000
    frame = make_frame(n_rows).assign(**change).astype(dict.fromkeys(NUMBERS, "float64"))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if reason == "nan":
        i = table.column_names.index("b")
        table = table.set_column(i, "b", pa.array([float("nan")] * n_rows, from_pandas=False))
    lake.write(DAY, table)

    loose = lake.run(lake.job("logistic", limits={"max_quarantined_share": 1.0}))
    strict = lake.run(lake.job("logistic"), force=True)

    assert loose.counts.rows_quarantined == n_rows
    assert reason in loose.quarantine.by_reason or set(loose.quarantine.by_reason) == {"infinite"}
    assert loose.counts.rows_scored == 0
    assert strict.error
    assert "100,000 of 100,000 rows cannot be scored" in strict.error.message
    assert "row 0" in strict.error.message


def test_a_model_that_refuses_every_row_ends_the_search_and_names_places(
    impatient_lake: Lake,
) -> None:
    lake = impatient_lake
    lake.write(DAY, make_frame(100_000).assign(color="purple"))
    manifest = lake.run(lake.job("pipeline_strict", limits={"max_quarantined_share": 1.0}))
    assert manifest.error
    assert manifest.error.type == "QuarantineLimitError"
    for part in (
        "At least",
        "every row that was tried",
        "Found unknown categories",
        f"ds={DAY}/part-0.parquet row",
    ):
        assert part in manifest.error.message


def test_a_row_that_only_a_combination_spoils_is_found(lake: Lake, tmp_path: Path) -> None:
    import warnings

    import mlflow
    from mlflow.models import infer_signature

    from tests.support.models import register

    class Picky(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            if ((model_input["a"] > 2) & (model_input["b"] > 0)).any():
                raise ValueError("a and b are too large together")
            return model_input["a"].to_numpy()

    frame = make_frame(3_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            tmp_path / "picky",
            python_model=Picky(),
            signature=infer_signature(frame[["a", "b"]], np.array([0.5])),
            pip_requirements=[],
        )
        register(mlflow.MlflowClient(tracking_uri=lake.registry), "picky", tmp_path / "picky")
    lake.write(DAY, frame)
    job = lake.job("picky", limits=LOOSE)

    manifest = lake.run(job)

    bad = (frame["a"] > 2) & (frame["b"] > 0)
    assert bad.sum() > 5
    assert quarantined(job, manifest)["id"].tolist() == frame[bad]["id"].tolist()
    assert lake.read(job)["id"].tolist() == frame[~bad]["id"].tolist()
