"""Rows by predicted class and winning probability: sums that can be added up."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nightscore.profiles.bins import Floats
from nightscore.profiles.class_codes import class_codes, class_name
from nightscore.profiles.class_counter import ClassColumns, ClassCounter
from nightscore.profiles.class_counts import (
    CLASS_FIELDS,
    GRID,
    MOST_LABEL_BINS,
    N_BINS,
    WINNING_EDGES,
    ClassCounts,
)
from nightscore.profiles.edges import Edges
from nightscore.profiles.table import (
    ColumnProfile,
    from_bytes,
    merge_profiles,
    to_bytes,
    to_profile_table,
)
from nightscore.schemas.performance import MOST_CLASSES
from tests.monitoring.performance.estimates.made_class_days import (
    Rows,
    draw_rows,
    edges_of,
    profile_of,
)

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ("1", "2", "10")
PREDICTED_OF_GOLDEN = [99, 149, 152]
LABELS_OF_GOLDEN = [114, 141, 145]
"""Rows by class in the golden baseline."""


def counts_of(columns: list[ColumnProfile]) -> ClassCounts:
    (counts,) = [column.classes for column in columns if column.classes is not None]
    return counts


def drawn(n_rows: int, seed: int = 1) -> Rows:
    return draw_rows(np.random.default_rng(seed), n_rows, 3, 1.5)


def test_edges_are_between_parts_of_the_unit_interval() -> None:
    assert (np.diff(WINNING_EDGES) > 0).all()
    assert (np.round(WINNING_EDGES * GRID) == WINNING_EDGES * GRID).all()
    assert (WINNING_EDGES[0], WINNING_EDGES[-1]) == (1 / 32, 1 - 1 / GRID)


def test_rows_are_counted_by_predicted_class_and_winning_probability() -> None:
    rows = drawn(20_000)
    counts = counts_of(profile_of(rows, edges_of(rows)))
    expected = np.zeros((3, N_BINS), np.int64)
    bins = np.searchsorted(WINNING_EDGES, rows.probabilities.max(1), side="right")
    np.add.at(expected, (rows.predicted, bins), 1)
    np.testing.assert_array_equal(counts.rows, expected)
    assert counts.labels is None
    assert counts.n_rows == 20_000


def test_labelled_rows_are_counted_by_label_and_the_bin_of_its_probability() -> None:
    rows = drawn(10_000)
    edges = edges_of(rows)
    labelled = counts_of(profile_of(rows, edges, label="y")).labelled_rows()
    assert labelled.rows.sum() == 10_000

    bins = np.searchsorted(WINNING_EDGES, rows.probabilities.max(1), side="right")
    own = rows.probabilities[np.arange(10_000), rows.labels]
    label_bins = np.empty(10_000, np.int64)
    for place, of_column in enumerate(edges.values()):
        is_class = rows.labels == place
        label_bins[is_class] = np.searchsorted(of_column.both, own[is_class])

    keys = np.stack([rows.predicted, bins, rows.labels, label_bins])
    expected, n_rows = np.unique(keys, axis=1, return_counts=True)
    found = np.stack([labelled.predicted, labelled.bins, labelled.labels, labelled.label_bins])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(labelled.rows, n_rows)
    assert label_bins.max() < MOST_LABEL_BINS


def test_probabilities_of_the_classes_have_labels_by_bin() -> None:
    rows = drawn(5_000)
    for column in profile_of(rows, edges_of(rows), label="y"):
        if column.name == "prediction":
            continue
        assert column.scores is not None
        n_true = np.count_nonzero(rows.labels == rows.names.index(column.name[-2:]))
        assert column.scores.rows.total() == 5_000
        assert sum(column.scores.sums.values()) == n_true


def test_parts_add_up_to_the_whole_in_the_table() -> None:
    rows = drawn(900)
    edges = edges_of(rows)
    whole = counts_of(profile_of(rows, edges, label="y"))
    parts = []
    for start, end in pairwise((0, 200, 200, 900)):
        some = Rows(rows.probabilities[start:end], rows.labels[start:end])
        parts.append(from_bytes(to_bytes(profile_of(some, edges, label="y"))))

    merged, failed = merge_profiles(parts)
    assert failed == {}
    together = counts_of([*merged.values()])
    np.testing.assert_array_equal(together.rows, whole.rows)
    assert together.labels == whole.labels
    assert counts_of(parts[0]).n_rows == 200, "a copy was merged"


def test_counts_of_other_classes_or_without_any_leave_none_of_the_sum() -> None:
    one = ClassCounts.empty(NAMES)
    assert one.plus(ClassCounts.empty(("1", "2"))) is None

    rows = drawn(50)
    edges = edges_of(rows)
    (column,) = [c for c in profile_of(rows, edges) if c.name == "prediction"]
    older = column.copy()
    older.classes = None
    column.merge(older)
    assert column.classes is None


def test_rows_without_a_class_or_a_probability_are_left_out() -> None:
    columns = ClassColumns.of(["prediction", *(f"probability_{name}" for name in NAMES)])
    assert columns is not None
    counter = ClassCounter(columns, with_labels=True)
    nan = float("nan")
    of_classes = [[0.7, nan, 0.2, 0.1], [0.2, 0.5, 0.7, 0.8], [0.1, 0.5, None, 0.1]]
    predictions = {"prediction": pa.array([1, 2, 2, 3])}
    for name, values in zip(NAMES, of_classes, strict=True):
        predictions[f"probability_{name}"] = pa.array(values, pa.float64())

    edges = dict.fromkeys(columns.probabilities, Edges.from_values(np.array([0.1, 0.9])))
    counter.add(pa.table(predictions), np.array([0, 0, 0, 0], np.int32), edges)
    assert counter.counts.n_rows == 1
    assert counter.counts.labelled_rows().rows.tolist() == [1]


@pytest.mark.parametrize(
    ("values", "arrow_type"),
    [
        ([10, 1, 7, None, 2], pa.int64()),
        ([10.0, 1.0, 1.5, float("nan"), 2.0], pa.float64()),
        (["10", "1", "x", None, "2"], pa.string()),
        (["10", "1", "x", None, "2"], pa.dictionary(pa.int32(), pa.string())),
    ],
)
def test_classes_are_found_by_name_whatever_their_type(
    values: list[object], arrow_type: pa.DataType
) -> None:
    column = pa.chunked_array([pa.array(values[:2], arrow_type), pa.array(values[2:], arrow_type)])
    assert class_codes(column, NAMES).tolist() == [2, 0, 3, 3, 1]
    assert class_codes(pa.chunked_array([], pa.int64()), NAMES).tolist() == []
    far = ("1", str(10**12), "2")
    if arrow_type == pa.int64():
        assert class_codes(column, far).tolist() == [3, 0, 3, 3, 2]


def test_names_of_classes_are_those_of_their_columns() -> None:
    assert [class_name(value) for value in (1, 1.0, True, 1.5, "a")] == ["1", "1", "1", "1.5", "a"]


def test_only_models_of_a_class_and_its_probabilities_are_counted() -> None:
    assert ClassColumns.of(["prediction", "probability"]) is None
    assert ClassColumns.of(["prediction"]) is None
    assert ClassColumns.of(["prediction_0", "probability_a", "probability_b"]) is None
    many = [f"probability_{place}" for place in range(MOST_CLASSES + 1)]
    assert ClassColumns.of(["prediction", *many]) is None
    assert ClassColumns.of(["prediction", *many[1:]]) is not None


def test_profiles_without_classes_have_no_columns_for_them() -> None:
    older = from_bytes((GOLDEN / "classes-run-1.parquet").read_bytes())
    assert all(column.classes is None for column in older)
    names = to_profile_table(older).schema.names
    assert not {field.name for field in CLASS_FIELDS} & {*names}


def test_what_is_no_count_of_these_classes_is_refused() -> None:
    row = ClassCounts.empty(NAMES, with_labels=True).to_row()
    keys: Floats = np.array([-1])
    with pytest.raises(ValueError, match="classes or bins that there are not"):
        ClassCounts.from_row(row | {"class_label_keys": keys, "class_label_rows": np.array([1])})


def test_a_baseline_of_classes_written_once_is_read_for_ever() -> None:
    columns = from_bytes((GOLDEN / "classes-baseline-1.parquet").read_bytes())
    counts = counts_of(columns)
    assert (counts.n_rows, counts.names) == (400, ("c0", "c1", "c2"))
    assert counts.labelled_rows().rows.sum() == 400
    assert counts.rows.sum(1).tolist() == PREDICTED_OF_GOLDEN
    assert np.bincount(counts.labelled_rows().labels, counts.labelled_rows().rows).tolist() == (
        LABELS_OF_GOLDEN
    )
