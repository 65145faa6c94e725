"""Which class of the model a label is."""

import math
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from nightscore.errors import LabelError
from nightscore.monitoring.performance.label_values import as_classes, as_flags
from nightscore.monitoring.performance.prediction_rows import class_text
from nightscore.schemas.labels import ClassValue

NAN = math.nan

# Predicted classes, their probabilities, labels, the model's classes, and which labels are positive.
MEANINGS: dict[str, tuple[Any, Any, Any, Sequence[ClassValue], list[bool]]] = {
    "both are predicted": (["0", "1"], [0.2, 0.7], [0, 1], (), [False, True]),
    "a low threshold, only true predicted": (["1", "1"], [0.1, 0.2], [0, 1], (), [False, True]),
    "a high threshold, only false": (["0", "0"], [0.7, 0.8], [0, 1], (), [False, True]),
    "texts, only no": (["no", "no"], [0.7, 0.8], ["no", "yes"], (), [False, True]),
    "texts, only yes": (["yes", "yes"], [0.1, 0.2], ["no", "yes"], (), [False, True]),
    "numbers by size": (["2", "2"], [0.9, 0.8], [10, 2], (), [True, False]),
    "a score that is NaN": (["0", "1"], [NAN, 0.9], [0, 1], (), [False, True]),
    "no score but NaN": (["0", "1"], [NAN, NAN], [0, 1], (), [False, True]),
    "the record knows": (
        ["good", "good"],
        [0.1, 0.2],
        ["good", "bad"],
        ("good", "bad"),
        [False, True],
    ),
    "flags": (["0", "0"], [0.9, 0.8], [False, True], (False, True), [False, True]),
    "halves": (["0.5", "-0.5"], [0.9, 0.1], [0.5, -0.5], (), [True, False]),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_the_second_class_is_positive(name: str) -> None:
    predicted, scores, labels, classes, positive = MEANINGS[name]
    predictions = pl.DataFrame({"predicted": predicted, "score": scores})
    flags = as_flags(pl.DataFrame({"label": labels}), predictions, None, classes)
    assert flags["label"].to_list() == positive


def test_labels_that_are_no_finite_number_are_named() -> None:
    predictions = pl.DataFrame({"predicted": ["0", "1"], "score": [0.1, 0.9]})
    labels = pl.DataFrame({"label": [math.inf, -math.inf, 0.5, 1e300, 1.0]})
    with pytest.raises(LabelError) as caught:
        as_flags(labels, predictions, None)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "-inf",
        "0.5",
        "1e+300",
        "inf",
    ]


def test_names_of_classes() -> None:
    names = pl.select(class_text(pl.lit(pl.Series([1.0, -0.0, 0.5, NAN, None])), pl.Float64()))
    assert names.to_series().to_list() == ["1", "0", "0.5", None, None]
    flags = pl.select(class_text(pl.lit(pl.Series([True, False, None])), pl.Boolean()))
    assert flags.to_series().to_list() == ["1", "0", None]


def test_two_classes_without_probabilities_may_be_spelled_otherwise() -> None:
    predictions = pl.DataFrame({"predicted": ["0", "1"]})
    labels = pl.DataFrame({"label": ["yes", "no", "yes"]})
    named, classes = as_classes(labels, predictions, ("0", "1"), "yes")
    assert (named["label"].to_list(), classes) == (["1", "0", "1"], ("0", "1"))

    with pytest.raises(LabelError, match="3 labels of no class"):
        as_classes(labels, predictions, ("0", "1"))
