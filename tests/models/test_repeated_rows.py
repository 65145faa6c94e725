"""Equal rows are predicted once where that pays, and every row gets what it would get by itself."""

from collections.abc import Collection
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.models import repeated_rows
from nightscore.models.protocol import Answer
from nightscore.models.repeated_rows import OncePredictor, RepeatFindings, find_distinct
from tests.support.lake import Lake
from tests.support.models import KnownModel, make_frame, with_nulls

N_ROWS = 4_160
KINDS = ("prediction", "probability")


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


class Model:
    """A model that takes a second for a row, and notes which rows it has seen."""

    def __init__(self, clock: Clock, row_s: float = 1.0) -> None:
        self.clock, self.row_s = clock, row_s
        self.calls: list[list[int]] = []

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        self.clock.now_s += self.row_s * features.num_rows
        values = features["x"].to_numpy()
        self.calls.append(values.tolist())
        return {
            "prediction": np.array([f"label {value}" for value in values], object).reshape(-1, 1),
            "probability": np.stack([np.sqrt(values), -np.sqrt(values)], axis=1),
        }


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(repeated_rows, "time", clock)

    def find(rows: pa.Table) -> Any:
        clock.now_s += 0.1 * rows.num_rows
        return find_distinct(rows)

    monkeypatch.setattr(repeated_rows, "find_distinct", find)
    return clock


def batch(n_rows: int = N_ROWS, n_distinct: int = 100) -> pa.Table:
    return pa.table({"x": pa.array(np.arange(n_rows) * 7 % n_distinct)})


def same(answer: Answer, expected: Answer) -> bool:
    return all(np.array_equal(answer[kind], expected[kind]) for kind in KINDS)


@pytest.mark.parametrize("n_rows", [N_ROWS, N_ROWS + 1, N_ROWS + 63])
def test_equal_rows_are_predicted_once_and_the_last_rows_as_they_stand(
    n_rows: int, clock: Clock
) -> None:
    model, findings = Model(clock), RepeatFindings()
    predictor = OncePredictor(model, findings)
    features = batch(n_rows)
    expected = Model(clock).predict(features, KINDS)

    assert same(predictor.predict(features, KINDS), expected)
    assert findings.pays is True
    n_repeated = predictor.n_repeated
    model.calls.clear()
    assert same(predictor.predict(features, KINDS), expected)

    once, *last = model.calls
    assert len(once) == 128
    assert len(set(once)) == 100
    assert predictor.n_repeated == 2 * n_repeated > 0
    values = features["x"].to_pylist()
    n_last = n_rows % 64
    assert last == ([values[-64 - n_last :]] if n_last else [])
    assert predictor.why_each_row == ""


@pytest.mark.parametrize(
    ("features", "row_s", "why"),
    [
        (batch(n_distinct=4_000), 1.0, "98% of the first 4,096 rows are distinct"),
        (batch(), 0.1, "the model takes 1e+05 microseconds for a row"),
        (
            pa.table({"x": pa.array(np.arange(N_ROWS) % 9), "y": pa.array([[1.0]] * N_ROWS)}),
            1.0,
            "a column has values that are not compared",
        ),
    ],
    ids=["few repeat", "the model is fast", "lists"],
)
def test_where_it_does_not_pay_each_row_is_predicted(
    features: pa.Table, row_s: float, why: str, clock: Clock
) -> None:
    model, findings = Model(clock, row_s), RepeatFindings()
    predictor = OncePredictor(model, findings)
    expected = Model(clock).predict(features, KINDS)

    assert same(predictor.predict(features, KINDS), expected)
    assert predictor.why_each_row.startswith(why)

    model.calls.clear()
    assert same(OncePredictor(model, findings).predict(features, KINDS), expected)
    assert [len(call) for call in model.calls] == [N_ROWS], "it is measured once a process"
    assert predictor.n_repeated == 0


def test_a_model_that_looks_at_all_rows_predicts_each(clock: Clock) -> None:
    class Ranker(Model):
        def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
            answer = super().predict(features, kinds)
            centred = answer["probability"] - answer["probability"].mean(axis=0)
            return {**answer, "probability": centred}

    predictor = OncePredictor(Ranker(clock), RepeatFindings())
    features = batch()
    assert same(predictor.predict(features, KINDS), Ranker(clock).predict(features, KINDS))
    assert "the model gives another probability" in predictor.why_each_row
    assert predictor.n_repeated == 0


def test_a_later_batch_of_distinct_rows_ends_it(clock: Clock) -> None:
    model, findings = Model(clock), RepeatFindings()
    predictor = OncePredictor(model, findings)
    predictor.predict(batch(), KINDS)
    features = batch(n_distinct=4_000)

    assert same(predictor.predict(features, KINDS), Model(clock).predict(features, KINDS))

    assert findings.pays is False
    assert predictor.why_each_row == "4,000 of a batch's 4,160 rows are distinct"
    assert predictor.n_repeated > 0


def test_small_batches_are_not_measured(clock: Clock) -> None:
    model, findings = Model(clock), RepeatFindings()
    OncePredictor(model, findings).predict(batch(1_000), KINDS)
    assert [len(call) for call in model.calls] == [1_000]
    assert findings.pays is None


def test_an_answer_of_another_length_is_the_models_own(clock: Clock) -> None:
    class Short(Model):
        def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
            return super().predict(features.slice(1), kinds)

    findings = RepeatFindings()
    findings.settle()
    answer = OncePredictor(Short(clock), findings).predict(batch(), KINDS)
    assert len(answer["prediction"]) == N_ROWS - 1


def estimators() -> list[Any]:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    return [KNeighborsClassifier(), SVC(), MLPClassifier((8,), max_iter=3, random_state=0)]


class Library:
    """A model of scikit-learn's."""

    def __init__(self, model: Any) -> None:
        has_probabilities = hasattr(model, "predict_proba")
        self.own = model.predict_proba if has_probabilities else model.decision_function

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        matrix = np.stack([column.to_numpy() for column in features.columns], axis=1)
        return {"raw": self.own(matrix).reshape(len(matrix), -1)}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_slow_libraries_give_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    training = rng.integers(0, 6, (300, 5)) * 0.1
    labels = training.sum(axis=1) > 1.2
    rows = training[rng.integers(0, 40, 1_601)]
    features = pa.table({f"f{i}": pa.array(rows[:, i]) for i in range(5)})

    for estimator in estimators():
        library = Library(estimator.fit(training, labels))
        findings = RepeatFindings()
        findings.settle()
        once = OncePredictor(library, findings)
        answer, expected = once.predict(features, ()), library.predict(features, ())
        assert answer["raw"].tobytes() == expected["raw"].tobytes(), type(estimator).__name__
        assert once.n_repeated > 1_000


def test_rows_are_equal_if_their_bytes_are() -> None:
    n = 600
    rng = np.random.default_rng(1)
    nan = np.array([0x7FF8000000000001], np.uint64).view(np.float64)[0]
    choices: dict[str, tuple[pa.DataType, list[Any]]] = {
        "float": (pa.float64(), [0.0, -0.0, float("nan"), nan, None]),
        "int": (pa.int16(), [-1, 0, None]),
        "bool": (pa.bool_(), [True, False, None]),
        "text": (pa.string(), ["", "a", None]),
        "day": (pa.date32(), [date(2024, 1, 1), None]),
        "moment": (pa.timestamp("us", "UTC"), [0, 1]),
        "coded": (pa.dictionary(pa.int32(), pa.string()), ["x", "y", None]),
    }
    columns = {}
    for name, (arrow_type, values) in choices.items():
        drawn = [values[i] for i in rng.integers(0, len(values), n)]
        columns[name] = pa.chunked_array(
            [pa.array(drawn[:250], arrow_type), pa.array(drawn[250:], arrow_type)]
        )
    table = pa.table(columns).slice(3)

    distinct = find_distinct(table)

    assert distinct is not None
    bits = np.frombuffer(
        np.ascontiguousarray(table["float"].combine_chunks().fill_null(0.5).to_numpy()).tobytes(),
        np.uint64,
    )
    plain = table.drop_columns(["float"]).to_pylist()
    keys = [(word, *row.values()) for word, row in zip(bits.tolist(), plain, strict=True)]
    seen: dict[Any, int] = {}
    places = [seen.setdefault(key, len(seen)) for key in keys]
    assert distinct.place.tolist() == places
    assert distinct.first.tolist() == [places.index(i) for i in range(len(seen))]


def test_rows_with_equal_hashes_are_not_taken_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_rows, "_FACTOR", np.uint64(0))
    assert find_distinct(batch()) is None


@pytest.mark.parametrize("repeated_rows_setting", ["auto", "each"])
def test_a_run_predicts_the_same_and_says_what_was_found(
    lake: Lake, models: dict[str, KnownModel], repeated_rows_setting: str
) -> None:
    known = models["pipeline_ordinal"]
    frame = with_nulls(make_frame(40))
    frame = pd.concat([frame] * 110, ignore_index=True)
    lake.write("2024-02-29", frame)
    job = lake.job("pipeline_ordinal", engine="library", repeated_rows=repeated_rows_setting)

    manifest = lake.run(job)

    assert manifest.predictor is not None
    found = (manifest.predictor.rows_repeated > 0, manifest.predictor.why_each_row != "")
    # How fast the library is here decides between the two.
    assert any(found) == (repeated_rows_setting == "auto")
    own = known.estimator.predict(frame[known.columns])
    assert np.array_equal(lake.read(job)["prediction"], own)
