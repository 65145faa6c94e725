"""Labels are settled and joined by key: rows are never multiplied, and nothing is lost unseen."""

from datetime import datetime
from typing import Any

import polars as pl
import pytest

from nightscore.errors import LabelError
from nightscore.monitoring.performance import outcomes
from nightscore.monitoring.performance.outcomes import join_outcomes
from nightscore.monitoring.performance.settled_labels import settle
from nightscore.schemas.evaluation import OutcomeCounts

OLD, NEW = datetime(2024, 3, 2), datetime(2024, 3, 9)
PREDICTIONS = pl.DataFrame({"key_0": [1, 2, 3, 4], "score": [0.1, 0.2, 0.3, 0.4]})
KEYS = ["key_0"]


def labels(*rows: tuple[Any, ...], **columns: str) -> pl.DataFrame:
    names = ["key_0", "label", *columns]
    types: dict[str, Any] = {"key_0": pl.Int64, "label": pl.Boolean}
    for name in columns:
        types[name] = pl.Boolean if name == "acted_on" else pl.Datetime("us")
    return pl.DataFrame(list(rows), schema={name: types[name] for name in names}, orient="row")


CASES = {
    "all known": (
        labels((1, True), (2, False), (3, True), (4, False)),
        [True, False, True, False],
        {"labelled": 4},
    ),
    "some delayed": (labels((2, True)), [None, True, None, None], {"labelled": 1}),
    "none yet": (labels(), [None] * 4, {}),
    "null is not known yet": (
        labels((1, None), (2, True)),
        [None, True, None, None],
        {"labelled": 1, "null_labels": 1},
    ),
    "null beside a value": (
        labels((1, None), (1, True)),
        [True, None, None, None],
        {"labelled": 1},
    ),
    "the same again counts once": (
        labels((1, True), (1, True), (1, True)),
        [True, None, None, None],
        {"labelled": 1, "repeated": 2},
    ),
    "an orphan": (labels((9, True)), [None] * 4, {"orphans": 1}),
    "without a key": (labels((None, True)), [None] * 4, {"orphans": 1}),
    "corrected": (
        labels((1, True, OLD), (1, False, NEW), (2, True, OLD), known_at=""),
        [False, True, None, None],
        {"labelled": 2, "corrected": 1},
    ),
    "confirmed": (
        labels((1, True, OLD), (1, True, NEW), known_at=""),
        [True, None, None, None],
        {"labelled": 1, "repeated": 1},
    ),
    "taken back": (
        labels((1, True, OLD), (1, None, NEW), known_at=""),
        [None] * 4,
        {"null_labels": 1, "corrected": 1},
    ),
    "a time beats none": (
        labels((1, True, None), (1, False, OLD), known_at=""),
        [False, None, None, None],
        {"labelled": 1, "corrected": 1},
    ),
    "acted on": (
        labels((1, True, True), (2, False, False), (3, True, None), acted_on=""),
        [True, False, True, None],
        {"labelled": 2, "acted_on": 1},
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rows_at_once", [outcomes.ROWS_AT_ONCE, 2])
def test_each_prediction_has_its_label(
    name: str, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "ROWS_AT_ONCE", rows_at_once)
    given, expected, counts = CASES[name]
    joined = join_outcomes(PREDICTIONS, given, KEYS)

    by_score = joined.frame.sort("score")
    assert by_score["score"].to_list() == PREDICTIONS["score"].to_list()
    assert by_score["label"].to_list() == expected
    n_known = sum(value is not None for value in expected)
    assert joined.counts == OutcomeCounts(
        **{"predictions": 4, "not_labelled": 4 - n_known, **counts}
    )


CONTRADICTIONS = {
    "without a time": labels((1, True), (1, False), (2, True)),
    "at the same time": labels((1, True, NEW), (1, False, NEW), known_at=""),
    "at the same time, with a newer one": labels(
        (1, True, OLD), (1, False, OLD), (1, True, NEW), known_at=""
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_labels_that_contradict_each_other_are_named(name: str) -> None:
    with pytest.raises(LabelError) as caught:
        settle(CONTRADICTIONS[name], KEYS)
    assert caught.value.problems == ("1: false, true",)
    assert "1 key." in caught.value.what


def test_a_label_of_two_predictions_is_refused() -> None:
    twice = pl.concat([PREDICTIONS, PREDICTIONS.head(2)])
    with pytest.raises(LabelError) as caught:
        join_outcomes(twice, labels((2, True), (3, True)), KEYS)
    assert caught.value.problems == ("2",)

    joined = join_outcomes(twice, labels((3, True)), KEYS)
    assert joined.frame.height == 6, "keys without labels may be repeated"


def test_labels_of_quarantined_rows_are_no_orphans() -> None:
    def quarantined() -> pl.DataFrame:
        return pl.DataFrame({"key_0": [8, 9]})

    counts = join_outcomes(PREDICTIONS, labels((8, True), (7, True)), KEYS, quarantined).counts
    assert (counts.orphans, counts.quarantined) == (1, 1)


def test_keys_of_several_columns() -> None:
    keys = ["key_0", "key_1"]
    rows = pl.DataFrame({"key_0": [1, 1, 2], "key_1": ["a", "b", "a"], "score": [0.1, 0.2, 0.3]})
    given = pl.DataFrame({"key_0": [1, 2, 2], "key_1": ["b", "a", None], "label": [True] * 3})
    joined = join_outcomes(rows, given, keys)
    assert joined.frame["label"].to_list() == [None, True, True]
    assert joined.counts.orphans == 1
