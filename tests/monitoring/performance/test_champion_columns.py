"""The champion's predictions in a challenger's table."""

import polars as pl
import pyarrow as pa
import pytest

from nightscore.monitoring.performance.champion_columns import (
    OTHER_OUTPUT,
    champion_columns,
    compare_with_champion,
)

TEXT, NUMBER = pa.string(), pa.float64()
CLASSES = ("a", "b")
OF_CLASSES = ["prediction", "probability_a", "probability_b"]


@pytest.mark.parametrize(
    ("columns", "needed", "task", "found"),
    [
        (
            {"champion_prediction": pa.int64(), "champion_probability": NUMBER},
            ["prediction", "probability"],
            "binary",
            ["champion_prediction", "champion_probability"],
        ),
        ({"champion_prediction": NUMBER}, ["prediction", "probability"], "binary", []),
        ({"champion_prediction": NUMBER}, ["prediction"], "regression", ["champion_prediction"]),
        ({"champion_prediction": TEXT}, ["prediction"], "regression", []),
        ({"prediction": NUMBER}, ["prediction"], "regression", []),
        (
            {f"champion_{name}": TEXT if name == "prediction" else NUMBER for name in OF_CLASSES},
            OF_CLASSES,
            "classes",
            [f"champion_{name}" for name in OF_CLASSES],
        ),
        (
            {"champion_prediction": TEXT, "champion_probability_a": NUMBER},
            OF_CLASSES,
            "classes",
            ["champion_prediction"],
        ),
    ],
)
def test_columns_are_taken_if_losses_can_be_compared(
    columns: dict[str, pa.DataType], needed: list[str], task: str, found: list[str]
) -> None:
    assert champion_columns(pa.schema(columns), needed, task) == found


def test_numbers_that_are_not_finite_are_in_no_pair() -> None:
    frame = pl.DataFrame(
        {
            "score": [1.0, 2.0, 3.0, 4.0, 5.0],
            "champion_score": [2.0, float("nan"), None, 4.5, float("inf")],
            "label": [1.0, 2.0, 3.0, 4.0, 5.0],
        }
    )
    pairs = compare_with_champion(frame, "regression", 0.5, ())

    assert (pairs.n, pairs.losses[0].name) == (2, "squared_error")
    assert pairs.losses[0].champion == pytest.approx((1 + 0.25) / 2)
    assert pairs.losses[0].difference == pytest.approx(-(1 + 0.25) / 2)


def test_classes_with_and_without_probabilities() -> None:
    frame = pl.DataFrame(
        {
            "predicted": ["a", "b", "a"],
            "probability_0": [0.9, 0.2, 0.6],
            "probability_1": [0.1, 0.8, 0.4],
            "champion_predicted": ["b", "b", "of the champion alone"],
            "champion_probability_0": [0.4, 0.3, 0.1],
            "champion_probability_1": [0.6, 0.7, 0.9],
            "label": ["a", "b", "a"],
        }
    ).cast({"predicted": pl.Categorical, "champion_predicted": pl.Categorical})

    pairs = compare_with_champion(frame, "classes", 0.5, CLASSES)
    assert [sums.name for sums in pairs.losses] == ["log_loss", "error"]
    assert pairs.losses[0].difference < 0
    assert (pairs.only_champion_right, pairs.only_challenger_right) == (0, 2)

    without = frame.drop("champion_probability_0", "champion_probability_1")
    pairs = compare_with_champion(without, "classes", 0.5, CLASSES)
    assert [sums.name for sums in pairs.losses] == ["error"]
    assert pairs.losses[0].difference == pytest.approx(-2 / 3)


def test_other_outputs_are_not_compared() -> None:
    frame = pl.DataFrame({"score": [0.5], "label": [True]})
    assert compare_with_champion(frame, "binary", 0.5, ()).notes == (OTHER_OUTPUT,)
