"""What becomes of values that a model may refuse: as the job's policy says, and by default as the model does."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.engine.value_policy import unseen
from nightscore.inputs.casts import Cast, cast_column
from nightscore.schemas.manifest import Manifest
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, make_frame

DAY = "2024-02-29"
LOOSE = {"max_quarantined_rows": 1_000}
BAD: dict[str, tuple[int, Any]] = {
    "missing": (10, None),
    "infinite": (20, np.inf),
    "overflow": (30, 1e300),
}
REASONS = {"missing": "null", "infinite": "infinite", "overflow": "overflow"}


def spoilt(*kinds: str) -> pd.DataFrame:
    frame = make_frame(200)
    for kind in kinds or BAD:
        row, value = BAD[kind]
        frame.loc[row, "b"] = value
    return frame


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ("hgb_binary", set()),
        ("logistic", {"missing", "infinite"}),
        ("extra_multi_output", {"infinite", "overflow"}),
    ],
)
def test_by_default_the_model_decides(lake: Lake, model: str, refused: set[str]) -> None:
    lake.write(DAY, spoilt())
    manifest = lake.run(lake.job(model, limits=LOOSE))
    assert manifest.quarantine.by_reason == {REASONS[kind]: 1 for kind in refused}


@pytest.mark.parametrize("kind", BAD)
def test_quarantine_although_the_model_would_take_it(lake: Lake, kind: str) -> None:
    lake.write(DAY, spoilt())
    manifest = lake.run(lake.job(limits=LOOSE, policy={kind: "quarantine"}))
    assert manifest.status == "published"
    assert manifest.quarantine.by_reason == {REASONS[kind]: 1}
    (example,) = manifest.quarantine.examples
    assert (example.source_row, example.column) == (BAD[kind][0], "b")
    assert f"policy.{kind} is quarantine" in example.message


@pytest.mark.parametrize("kind", BAD)
def test_error_whatever_the_limits_and_all_rows_are_kept(lake: Lake, kind: str) -> None:
    frame = spoilt(kind)
    frame.loc[[40, 50], "c"] = BAD[kind][1]
    lake.write(DAY, frame)
    manifest = lake.run(lake.job(limits=LOOSE, policy={kind: "error"}))
    assert manifest.error
    assert manifest.error.type == "QuarantineLimitError"
    assert f"no row: policy says error for {kind}" in manifest.error.message
    assert f"{REASONS[kind]} 3" in manifest.error.message
    assert sum(file.rows for file in manifest.quarantine.files) == 3


def test_what_passes_and_is_refused_is_quarantined_all_the_same(lake: Lake) -> None:
    lake.write(DAY, spoilt("missing"))
    manifest = lake.run(lake.job("logistic", limits=LOOSE, policy={"missing": "pass"}))
    assert manifest.counts.rows_quarantined == 1


def casts(lake: Lake, **policy: str) -> Manifest:
    table = pa.Table.from_pandas(make_frame(100), preserve_index=False)
    values = table["a"].to_pylist()
    wide = pa.array(
        [2**53 + 1 if i == 5 else int(value * 10) for i, value in enumerate(values)], pa.int64()
    )
    lake.write(DAY, table.set_column(table.column_names.index("a"), "a", wide))
    return lake.run(lake.job(limits=LOOSE, policy=policy))


@pytest.mark.parametrize(("policy", "n_quarantined"), [("auto", 1), ("quarantine", 1), ("pass", 0)])
def test_values_that_do_not_cast(lake: Lake, policy: str, n_quarantined: int) -> None:
    manifest = casts(lake, cast=policy)
    assert manifest.status == "published"
    assert manifest.counts.rows_quarantined == n_quarantined
    if policy == "pass":
        (note,) = (
            warning for warning in manifest.warnings if "a missing value in place of" in warning
        )
        assert "1 value of a" in note


def test_a_value_that_does_not_cast_can_be_an_error(lake: Lake) -> None:
    manifest = casts(lake, cast="error")
    assert manifest.error
    assert "policy says error for cast" in manifest.error.message


def test_a_value_that_does_not_cast_is_not_missing_as_well(lake: Lake) -> None:
    manifest = casts(lake, missing="error")
    assert manifest.status == "published"
    assert manifest.quarantine.by_reason == {"cast": 1}


@pytest.mark.parametrize("kind", [pa.float64(), pa.float16()])
def test_a_fraction_that_passes_is_missing_to_the_model(kind: pa.DataType) -> None:
    values = pa.chunked_array([pa.array([1.0, 1.5, None, 3.0]).cast(kind)])
    column, bad = cast_column(values, Cast(kind, "integral"))
    assert column.type == kind
    assert column.to_pylist() == [1.0, None, None, 3.0]
    assert bad is not None
    assert bad.tolist() == [False, True, False, False]


STRANGE = ["pipeline_onehot", "pipeline_ordinal", "hgb_categories", "pipeline_strict"]


@pytest.mark.parametrize("model", STRANGE)
def test_unseen_categories(lake: Lake, models: dict[str, KnownModel], model: str) -> None:
    frame = make_frame(200)
    frame.loc[[3, 4], "color"] = "purple"
    frame.loc[[4, 9], "size"] = "xxl"
    lake.write(DAY, frame)

    by_default = lake.run(lake.job(model, limits=LOOSE))
    apart = lake.run(lake.job(model, limits=LOOSE, policy={"unseen_category": "quarantine"}))
    refused = lake.run(lake.job(model, limits=LOOSE, policy={"unseen_category": "error"}))

    takes = model != "pipeline_strict"
    assert by_default.quarantine.by_reason == ({} if takes else {"unseen_category": 3})
    assert apart.quarantine.by_reason == {"unseen_category": 3}
    assert apart.quarantine.by_column == {"color: unseen_category": 2, "size: unseen_category": 1}
    assert refused.error
    assert "policy says error for unseen_category" in refused.error.message


def test_a_policy_on_categories_needs_a_model_that_states_them(lake: Lake) -> None:
    lake.write(DAY, make_frame(10))
    manifest = lake.run(lake.job(policy={"unseen_category": "quarantine"}))
    assert manifest.error
    assert manifest.error.type == "ContractError"
    assert "no encoder of the model says what it was fitted on" in manifest.error.message


@pytest.mark.parametrize(
    ("column", "known", "expected"),
    [
        (pa.array(["a", None, "z"]), ("a",), [2]),
        (pa.array(["a", None, "z"]).dictionary_encode(), ("a",), [2]),
        (pa.array(["a", None, "z"], pa.large_string()), ("a",), [2]),
        (pa.array([1, 2, None]), (1,), [1]),
        (pa.array([1.0, float("nan"), 2.0]), (1.0,), [2]),
        (pa.array([True, False]), (True,), [1]),
        (pa.array(["a"]), ("a",), []),
        (pa.array([2**53 + 1, 2**53, -(2**63)]), (2**53, 2.5, 1e300), [0, 2]),
        (pa.array([2**64 - 1, 5], pa.uint64()), (5, -1), [0]),
        (pa.array([1, 2]), ("a", 1, float("nan")), [1]),
        (pa.array([1.5, 2.5]), ("a", 1.5), [1]),
        (pa.array([1, 2], pa.timestamp("s")), ("a",), []),
    ],
)
def test_what_is_unseen(column: pa.Array, known: tuple[Any, ...], expected: list[int]) -> None:
    is_unseen = unseen(pa.chunked_array([column]), known)
    assert ([] if is_unseen is None else np.flatnonzero(is_unseen).tolist()) == expected


def test_another_policy_is_another_fingerprint_and_the_default_none(lake: Lake) -> None:
    lake.write(DAY, make_frame(20)[["id", *NUMBERS]])
    assert lake.run(lake.job()).status == "published"
    assert lake.run(lake.job(policy={"missing": "auto"})).status == "unchanged"
    assert lake.run(lake.job(policy={"missing": "quarantine"})).status == "published"
