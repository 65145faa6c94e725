"""Labels by bin of the score, and the errors of a regression: sums that can be added up."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nightscore.profiles.bins import Floats
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile_spec import ProfiledColumn, ProfileSpec
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.scores import ERROR_FIELDS, Errors, Scores
from nightscore.profiles.table import (
    ColumnProfile,
    from_bytes,
    merge_profiles,
    read_whole,
    to_bytes,
    to_profile_table,
)

GOLDEN = Path(__file__).parents[1] / "golden"
WITHOUT_ERRORS, WITH_ERRORS = "regression-baseline-1.parquet", "regression-baseline-2.parquet"
MEAN_LABEL = 9.920225921
TOTAL_ERRORS = (4.121008, 301.139118, 378.852368, 1218.052998)
"""Of the golden baselines."""
EDGES = Edges.from_values(np.arange(100.0))


def profiled(
    name: str, predictions: list[float | None], labels: list[float | None]
) -> ColumnProfile:
    spec = ProfileSpec((ProfiledColumn("prediction", name, EDGES),), score=name, label="y")
    profiler = Profiler(spec)
    profiler.add(
        pa.table({"x": pa.array(predictions, pa.float64())}),
        pa.table({"y": pa.array(labels, pa.float64())}),
        np.ones(len(predictions), np.bool_),
        pa.table({name: pa.array(predictions, pa.float64())}),
    )
    (column,) = profiler.columns
    return column


def errors_of(column: ColumnProfile) -> dict[str | None, Errors]:
    assert column.scores is not None
    assert column.scores.errors is not None
    return column.scores.errors


def drawn(n_rows: int, seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 99, n_rows), rng.uniform(0, 99, n_rows)


def test_errors_are_summed_by_bin_of_the_prediction() -> None:
    predictions, labels = drawn(500, seed=1)
    found = errors_of(profiled("prediction", predictions.tolist(), labels.tolist()))
    places = np.searchsorted(EDGES.both, predictions)
    assert {*found} == {str(place) for place in places.tolist()}

    for place in np.unique(places).tolist():
        errors = (predictions - labels)[places == place]
        expected = [errors.sum(), abs(errors).sum(), (errors**2).sum(), (errors**4).sum()]
        assert found[str(place)] == pytest.approx(expected, rel=1e-9)


def test_rows_without_prediction_or_label_have_no_error() -> None:
    column = profiled("prediction", [50.0, None, 50.0, np.nan], [47.0, 1.0, None, 2.0])
    assert [*errors_of(column).values()] == [(3.0, 3.0, 9.0, 81.0)]
    assert column.scores is not None
    assert column.scores.rows[None] == 2


def test_a_probability_has_no_errors() -> None:
    column = profiled("probability", [0.5, 0.7], [1.0, 0.0])
    assert column.scores is not None
    assert column.scores.errors is None
    assert ERROR_FIELDS[0].name not in to_profile_table([column]).schema.names


def test_parts_add_up_to_the_whole_in_the_table() -> None:
    predictions, labels = drawn(900, seed=2)
    whole = profiled("prediction", predictions.tolist(), labels.tolist())
    ends = (0, 200, 200, 900)
    parts = []
    for start, end in pairwise(ends):
        part = profiled("prediction", predictions[start:end].tolist(), labels[start:end].tolist())
        parts.append(from_bytes(to_bytes([part])))

    merged, failed = merge_profiles(parts)
    assert failed == {}
    (together,) = merged.values()
    expected = errors_of(whole)
    assert errors_of(together) == {
        key: pytest.approx(errors, rel=1e-9) for key, errors in expected.items()
    }


def test_a_part_without_stored_errors_leaves_none_of_the_sum() -> None:
    one, older = Scores(errors={}), Scores()
    one.add("1", 2, 3.0, Errors(1.0, 1.0, 1.0, 1.0))
    older.add("1", 1, 2.0)

    first = one.copy()
    first.merge(older)
    assert (first.rows["1"], first.sums["1"], first.errors) == (3, 5.0, None)
    older.merge(one)
    assert (older.rows["1"], older.errors) == (3, None)
    assert one.errors == {"1": (1.0, 1.0, 1.0, 1.0)}, "a copy was merged"


@pytest.mark.parametrize("name", [WITHOUT_ERRORS, WITH_ERRORS])
def test_a_baseline_written_once_is_read_for_ever(name: str) -> None:
    content = (GOLDEN / name).read_bytes()
    (column,) = from_bytes(content)
    assert column.scores is not None
    assert column.scores.rows.total() == 400
    assert column.scores.mean == pytest.approx(MEAN_LABEL)

    if name == WITHOUT_ERRORS:
        assert column.scores.errors is None
        return

    total = Errors()
    for errors in errors_of(column).values():
        total = total.plus(errors)
    assert total == pytest.approx(TOTAL_ERRORS)

    written = to_profile_table([column]).to_pylist()
    assert written == read_whole(content).to_pylist(), "a field was added: write the next file"
