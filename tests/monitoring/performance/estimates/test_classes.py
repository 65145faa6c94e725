"""Records of estimates of several classes: from stored profiles to what people read."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from nightscore.monitoring.performance.estimates.class_calibration import (
    LEAST_IN_CELL,
    ClassCalibration,
)
from nightscore.monitoring.performance.estimates.class_placement import (
    NOT_STORED,
    add_up_classes,
    place_classes,
)
from nightscore.monitoring.performance.estimates.classes import (
    OF_ALL_CLASSES,
    baseline_classes,
    estimate_classes,
)
from nightscore.monitoring.performance.estimates.estimation import (
    calibrate,
    estimate_run,
    is_estimated,
)
from nightscore.profiles.table import ColumnProfile, from_bytes, to_bytes
from nightscore.schemas.decision import Decision
from nightscore.schemas.performance import MetricRecord
from tests.monitoring.performance.estimates.made_class_days import (
    SURENESS,
    ClassDay,
    Rows,
    class_days,
    draw_rows,
    edges_of,
    profile_of,
    realised,
)

GOLDEN = Path(__file__).parents[3] / "golden"
OLDER = GOLDEN / "classes-run-1.parquet"
"""The profile of a run of a version that did not count rows by class."""
SHA256 = "sha256:ab"


@pytest.fixture(scope="module")
def known() -> Rows:
    return draw_rows(np.random.default_rng(1), 4_000, 3, SURENESS["too sure"])


@pytest.fixture(scope="module")
def baseline(known: Rows) -> list[ColumnProfile]:
    return from_bytes(to_bytes(profile_of(known, edges_of(known), label="y")))


@pytest.fixture(scope="module")
def calibration(baseline: list[ColumnProfile]) -> ClassCalibration:
    return ClassCalibration.of(baseline)


def draw(n_rows: int, seed: int) -> Rows:
    return draw_rows(np.random.default_rng(seed), n_rows, 3, SURENESS["too sure"])


def estimated(rows: Rows, known: Rows, calibration: ClassCalibration) -> dict[str, MetricRecord]:
    placement = place_classes(profile_of(rows, edges_of(known)), calibration)
    return {record.name: record for record in estimate_classes(placement, calibration)}


def test_the_baseline_has_what_came_true_in_it(known: Rows, calibration: ClassCalibration) -> None:
    truth = realised(known)
    for record in baseline_classes(calibration):
        # What depends on probabilities is known by bin.
        is_exact = not record.name.startswith(("roc_auc", "log_loss", "brier"))
        tolerance = 1e-9 if is_exact else 0.01
        assert record.value == pytest.approx(truth[record.name], rel=tolerance), record.name
        assert (record.low, record.high, record.n) == (None, None, 4_000)


def test_bands_hold_what_comes_true_of_a_model_that_is_too_sure(
    known: Rows, calibration: ClassCalibration
) -> None:
    day = draw(3_000, seed=2)
    found, truth = estimated(day, known, calibration), realised(day)
    assert tuple(found)[:7] == OF_ALL_CLASSES
    for name, record in found.items():
        assert (record.note, record.n) == ("", 3_000)
        assert None not in (record.value, record.low, record.high)
        half_width = (record.high - record.low) / 2  # type: ignore[operator]
        assert abs(truth[name] - record.value) < 1.5 * half_width, name  # type: ignore[operator]

    # The mean of the winning probability, which calibration corrects, is far off.
    assert day.probabilities.max(1).mean() > (found["accuracy"].high or 1.0)


def test_days_added_up_are_one_estimate(known: Rows, calibration: ClassCalibration) -> None:
    day = draw(3_000, seed=3)
    parts = [slice(0, 1_000), slice(1_000, 1_200), slice(1_200, 3_000)]
    edges = edges_of(known)
    placed = [
        place_classes(
            profile_of(Rows(day.probabilities[part], day.labels[part]), edges), calibration
        )
        for part in parts
    ]
    together = estimate_classes(add_up_classes(placed), calibration)
    whole = estimate_classes(place_classes(profile_of(day, edges), calibration), calibration)
    for mine, others in zip(together, whole, strict=True):
        assert mine.value == pytest.approx(others.value, rel=1e-12)
        assert mine.low == pytest.approx(others.low, rel=1e-9)


def test_other_bins_of_probabilities_are_approximate_and_widen_the_band(
    known: Rows, calibration: ClassCalibration
) -> None:
    day = draw(2_000, seed=4)
    exact = estimated(day, known, calibration)
    rough = estimated(day, draw(300, seed=5), calibration)
    for name, record in rough.items():
        if not name.startswith(("roc_auc", "log_loss", "brier")):
            assert record == exact[name], "the winning probability has the same bins everywhere"
            continue
        assert record.note == "approximate: the scores were counted over other bins"
        assert record.value == pytest.approx(exact[name].value, rel=0.05)
        width, sharp = ((one.high or 0) - (one.low or 0) for one in (record, exact[name]))
        assert width > sharp


def test_log_loss_has_no_band_where_probabilities_of_0_come_true(known: Rows) -> None:
    def rounded(rows: Rows) -> Rows:
        probabilities = rows.probabilities.round(1)
        return Rows(probabilities / probabilities.sum(1, keepdims=True), rows.labels)

    coarse = rounded(known)
    calibration = ClassCalibration.of(profile_of(coarse, edges_of(coarse), label="y"))
    found = estimated(rounded(draw(2_000, seed=12)), coarse, calibration)
    assert (found["log_loss"].low, found["log_loss"].high) == (None, None)
    assert found["log_loss"].note.startswith("no band: rows of a class that is given")
    assert found["brier"].low is not None


def test_every_cell_has_enough_labelled_rows(calibration: ClassCalibration) -> None:
    assert calibration.labelled.min() >= LEAST_IN_CELL
    assert calibration.shares.sum(1) == pytest.approx(1.0)
    for place, cells in enumerate(calibration.cell_of_bin):
        assert (np.diff(cells) >= 0).all()
        assert {*calibration.predicted[cells]} == {place}


@pytest.mark.parametrize(
    ("n_rows", "name", "why"),
    [
        (99, "accuracy", "too few: 99 rows, at least 100 are needed"),
        (999, "f1_macro", "too few: 999 rows, at least 1,000 are needed"),
        (999, "recall[c1]", "too few: 999 rows, at least 1,000 are needed"),
    ],
)
def test_few_rows_are_no_number(
    n_rows: int, name: str, why: str, known: Rows, calibration: ClassCalibration
) -> None:
    record = estimated(draw(n_rows, seed=6), known, calibration)[name]
    assert (record.value, record.note) == (None, why)


def test_a_baseline_with_few_labels_gives_no_number() -> None:
    few = draw(499, seed=7)
    small = ClassCalibration.of(profile_of(few, edges_of(few), label="y"))
    record = estimated(draw(2_000, seed=8), few, small)["accuracy"]
    assert record.note == "too few: the baseline has 499 labelled rows, at least 500 are needed"


def test_a_class_that_the_baseline_hardly_has_is_named(known: Rows) -> None:
    keeps = known.predicted != 0
    rest = Rows(known.probabilities[keeps], known.labels[keeps])
    partial = ClassCalibration.of(profile_of(rest, edges_of(rest), label="y"))
    assert np.isfinite(partial.shares).all()

    found = estimated(draw(2_000, seed=9), rest, partial)
    assert {record.value for record in found.values()} == {None}
    assert "rows are predicted to be c0; of rows predicted so, the baseline has fewer than 20" in (
        found["accuracy"].note
    )


def test_an_older_run_says_that_its_rows_by_class_are_not_stored(
    baseline: list[ColumnProfile], calibration: ClassCalibration
) -> None:
    older = from_bytes(OLDER.read_bytes())
    assert is_estimated(older)
    assert sum(column.role == "prediction" for column in older) == 4
    with pytest.raises(ValueError, match="not stored: an older version scored the partition"):
        place_classes(older, calibration)
    assert estimate_run(older, baseline, SHA256, Decision()) is None
    with pytest.raises(ValueError, match="it has no labels"):
        calibrate(older)
    assert NOT_STORED.startswith("not stored")


def test_a_run_records_the_metrics_of_few_classes_and_the_means_of_many() -> None:
    rng = np.random.default_rng(10)
    for n_classes, has_own in ((4, True), (21, False)):
        known = draw_rows(rng, 3_000, n_classes, 1.0)
        day = draw_rows(rng, 1_500, n_classes, 1.0)
        edges = edges_of(known)
        estimate = estimate_run(
            profile_of(day, edges), profile_of(known, edges, label="y"), SHA256, Decision()
        )
        assert estimate is not None
        names = {metric.name for metric in (*estimate.metrics, *estimate.baseline)}
        assert ("precision[c1]" in names) is has_own
        assert {*OF_ALL_CLASSES} <= names


OF_SMALL_DAYS = ("roc_auc_macro", "log_loss", "brier", "accuracy")


def covered(days: Iterable[ClassDay]) -> dict[str, float]:
    """The share of days whose realised metric is in the band, by metric; classes taken together.

    A metric that few days have, such as one of a class near the least number of rows, is left out:
    its share is known less well.
    """
    is_in: dict[str, list[bool]] = defaultdict(list)
    for day in days:
        calibration = ClassCalibration.of(day.baseline)
        truth = realised(day.rows)
        for record in estimate_classes(place_classes(day.profile, calibration), calibration):
            if record.value is None or record.name not in truth:
                continue
            assert record.low is not None
            assert record.high is not None
            name = record.name.replace("[", " [").split()[0]
            name = f"{name} of a class" if "[" in record.name else name
            is_in[name].append(record.low <= truth[record.name] <= record.high)

    n_usual = len(is_in["accuracy"])
    return {name: float(np.mean(one)) for name, one in is_in.items() if len(one) > 0.9 * n_usual}


def test_bands_of_a_few_days_cover_what_comes_true() -> None:
    """40 days x 4 metrics. The thorough run has 1,000 days of each kind."""
    shares = covered(class_days(40, 3, 1_000, 200, sureness=1 / 0.6, seed=11))
    assert {*OF_SMALL_DAYS} <= {*shares}
    assert 0.88 <= np.mean([shares[name] for name in OF_SMALL_DAYS]) <= 1


@pytest.mark.thorough
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("sureness", SURENESS)
@pytest.mark.parametrize(
    ("n_classes", "n_labelled", "n_rows", "spread"),
    [
        (3, 1_000, 200, 1.0),
        (3, 5_000, 200, 1.0),
        (3, 2_000, 1_000, 1.0),
        (3, 5_000, 1_000, 4.0),
        (3, 5_000, 2_000, 4.0),
        (10, 2_000, 200, 1.0),
        (10, 5_000, 1_000, 1.0),
    ],
)
def test_bands_cover_what_comes_true(
    n_classes: int, n_labelled: int, n_rows: int, spread: float, sureness: str
) -> None:
    days = class_days(
        1_000,
        n_classes,
        n_labelled,
        n_rows,
        sureness=SURENESS[sureness],
        seed=n_labelled + n_rows,
        spread=spread,
    )
    shares = covered(days)
    for name, share in shares.items():
        assert 0.93 <= share <= 0.97, (name, share)
