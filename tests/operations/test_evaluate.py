"""What came true, compared with what was published."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import yaml
from sklearn.metrics import brier_score_loss, mean_absolute_error, roc_auc_score

import nightscore.operations.evaluate as module
from nightscore.cli.app import build_app
from nightscore.cli.realised import print_records
from nightscore.errors import (
    CorruptFileError,
    InvalidJobError,
    LabelError,
    PartitionNotFoundError,
)
from nightscore.ledger import evaluation_files
from nightscore.ledger.fingerprint import fingerprint
from nightscore.ledger.layout import state_store
from nightscore.monitoring.performance import (
    label_digest,
    label_partitions,
    label_rows,
    label_values,
)
from nightscore.operations.clean import clean
from nightscore.operations.evaluate import evaluate
from nightscore.operations.metric_history import measure_together, metric_history
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import Partition
from tests.support.lake import Lake
from tests.support.outcomes import (
    DAY,
    DAYS,
    NOW,
    labelled_day,
    labelled_job,
    labels_of,
    predictions,
    publish,
    write_labels,
)


def publish_days(job: ScoringJob, n_rows: int = 200) -> dict[str, pl.DataFrame]:
    """Predictions of some days. The same keys come back on each of them."""
    rows = {day: predictions(n_rows, seed=i) for i, day in enumerate(DAYS)}
    for i, day in enumerate(DAYS):
        publish(job, day, rows[day], n=i)
    return rows


def one_day(
    lake: Lake, labels: pl.DataFrame | pa.Table, now: datetime = NOW, **section: Any
) -> Any:
    """The only record of 100 predictions with these labels."""
    job = labelled_job(lake, labels=section)
    publish(job, DAY, predictions(100))
    write_labels(lake, labels)
    done = evaluate(job, now)
    done.check()
    (record,) = done.records
    return record


def value_of(record: EvaluationRecord, name: str) -> float:
    metric = record.metric(name)
    assert metric is not None
    assert metric.value is not None, metric.note
    return metric.value


@pytest.mark.parametrize("rows_at_once", [1_000_000, 70])
def test_each_day_is_measured_once(
    bare_lake: Lake, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_partitions, "DIVIDED_AT_ONCE", rows_at_once)
    monkeypatch.setattr(label_values, "ROWS_AT_ONCE", rows_at_once)
    monkeypatch.setattr(label_rows, "READ_ROWS", 50)
    job = labelled_job(bare_lake)
    rows = publish_days(job)
    labels = {day: labels_of(rows[day], day, seed=i) for i, day in enumerate(DAYS)}
    write_labels(bare_lake, pl.concat(labels.values()))

    done = evaluate(job, NOW)
    assert [record.partition for record in done.records] == list(DAYS)
    for record in done.records:
        late = labels[record.partition or ""]["late"]
        score = rows[record.partition or ""]["probability"]
        assert value_of(record, "roc_auc") == pytest.approx(roc_auc_score(late, score))
        assert value_of(record, "brier") == pytest.approx(brier_score_loss(late, score))
        assert record.counts.labelled == 200
        assert record.confusion is not None
        assert record.confusion.tp == late.filter(score > 0.5).sum()
        assert sum(one.n for one in record.calibration) == 200
        assert (record.model_version, record.is_matured) == ("3", True)

    again = evaluate(job, NOW + timedelta(days=1))
    assert (again.records, again.unchanged) == ((), DAYS)


def test_days_together_are_the_rows_together(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake)
    rows = publish_days(job)
    labels = {day: labels_of(rows[day], day, seed=i) for i, day in enumerate(DAYS)}
    write_labels(bare_lake, pl.concat(labels.values()))

    together = {metric.name: metric for metric in measure_together(job, evaluate(job, NOW).records)}
    late = pl.concat(labels[day]["late"] for day in DAYS)
    score = pl.concat(rows[day]["probability"] for day in DAYS)
    auc, brier = together["roc_auc"], together["brier"]
    assert auc.value == pytest.approx(roc_auc_score(late, score), abs=1e-12)
    assert brier.value == pytest.approx(brier_score_loss(late, score), abs=1e-12)
    assert auc.n == 600


def test_only_what_has_changed_is_evaluated_again(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake)
    rows = publish_days(job)
    labels = {day: labels_of(rows[day], day) for day in DAYS}
    write_labels(bare_lake, pl.concat(labels.values()))
    evaluate(job, NOW)

    # Another file with one more label: the others' content is the same.
    flipped = labels[DAYS[1]].with_columns(late=1 - pl.col("late"))
    write_labels(bare_lake, pl.concat([labels[DAYS[2]], flipped, labels[DAYS[0]]]))
    (record,) = evaluate(job, NOW + timedelta(days=1)).records
    assert (record.partition, record.number) == (DAYS[1], 2)
    assert evaluate(job, NOW + timedelta(days=2)).records == ()

    publish(job, DAYS[0], rows[DAYS[0]].with_columns(probability=0.5), n=7)
    (record,) = evaluate(job, NOW + timedelta(days=3)).records
    assert (record.partition, record.run_id[-1]) == (DAYS[0], "7")

    # What was known before comes back: it is the newest again.
    write_labels(bare_lake, pl.concat(labels.values()))
    (record,) = evaluate(job, NOW + timedelta(days=4)).records
    assert (record.partition, record.number) == (DAYS[1], 3)


def test_history_tells_what_was_known_when(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake)
    rows = predictions(100)
    publish(job, DAY, rows)
    labels = labels_of(rows, DAY)
    write_labels(bare_lake, labels)
    evaluate(job, NOW)
    write_labels(bare_lake, labels.with_columns(late=1 - pl.col("late")))
    evaluate(job, NOW + timedelta(days=5))

    (then,) = metric_history(job, "roc_auc", NOW + timedelta(days=1))
    (now,) = metric_history(job, "roc_auc")
    assert then.value == pytest.approx(roc_auc_score(labels["late"], rows["probability"]))
    assert now.value == pytest.approx(1 - then.value)
    assert metric_history(job, "roc_auc", NOW - timedelta(days=1)) == []


def test_a_lost_index_costs_reading_and_no_record(bare_lake: Lake) -> None:
    job = labelled_day(bare_lake)
    evaluate(job, NOW)

    state_store(job).write_bytes("index/labels.json.gz", b"broken")
    again = evaluate(job, NOW)
    assert (again.records, again.unchanged) == ((), (DAY,))


@pytest.mark.parametrize("is_index_lost", [False, True])
def test_records_of_the_older_digest_stay(
    bare_lake: Lake, is_index_lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = labelled_job(bare_lake)
    publish(job, DAY, predictions(100))
    labels = labels_of(predictions(100), DAY)
    write_labels(bare_lake, labels)
    with monkeypatch.context() as patch:
        patch.setattr(label_digest, "content_digest", label_digest.old_content_digest)
        (record,) = evaluate(job, NOW).records
    assert not record.labels.content.startswith(label_digest.SCHEME)

    if is_index_lost:
        state_store(job).write_bytes("index/labels.json.gz", b"broken")
    write_labels(bare_lake, labels[::-1])
    assert evaluate(job, NOW).unchanged == (DAY,), "other files, and the same labels"

    write_labels(bare_lake, labels.with_columns(late=1 - pl.col("late")))
    (record,) = evaluate(job, NOW).records
    assert record.labels.content.startswith(label_digest.SCHEME)


def test_nothing_new_reads_no_label(bare_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    job = labelled_day(bare_lake)
    evaluate(job, NOW)

    monkeypatch.setattr(module._Session, "reading", pytest.fail)
    assert evaluate(job, NOW).unchanged == (DAY,)


def test_of_two_evaluations_at_once_one_record_stays(
    bare_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = labelled_day(bare_lake)
    write, others = module.write_evaluation, []

    def write_after_another(*arguments: Any) -> EvaluationRecord:
        monkeypatch.setattr(module, "write_evaluation", write)
        others.extend(evaluate(job, NOW - timedelta(seconds=1)).records)
        return write(*arguments)

    monkeypatch.setattr(module, "write_evaluation", write_after_another)
    mine = evaluate(job, NOW).records
    assert list(mine) == others
    assert len(evaluation_files.list_evaluations(state_store(job))[f"ds={DAY}"]) == 1


def test_killed_between_its_files_it_gives_the_same(
    bare_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = labelled_day(bare_lake)

    with monkeypatch.context() as patch:
        patch.setattr("nightscore.storage.store.Store.create", kill)
        with pytest.raises(KeyboardInterrupt):
            evaluate(job, NOW)
    assert metric_history(job, "roc_auc") == []

    (record,) = evaluate(job, NOW).records
    written = [entry.path for entry in state_store(job).list_files("evaluations")]
    assert written == [record.rows.replace(".parquet", ".json"), record.rows]


def kill(*arguments: Any, **options: Any) -> None:
    raise KeyboardInterrupt


def test_early_labels_are_marked(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, labels={"matured_after": "7d"})
    publish(job, DAY, predictions(100))
    write_labels(bare_lake, labels_of(predictions(100), DAY).head(30))

    early = datetime(2024, 3, 4, tzinfo=UTC)
    (record,) = evaluate(job, early).records
    assert not record.is_matured
    assert any("not matured" in note for note in record.notes)
    assert record.counts.share == pytest.approx(0.3)
    assert measure_together(job, [record]) == []
    assert evaluate(job, early + timedelta(days=1)).records == ()

    (record,) = evaluate(job, early + timedelta(days=10)).records
    assert record.is_matured, "the same labels, now as all that there are"


def test_a_selection_by_score_is_told(bare_lake: Lake) -> None:
    rows = predictions(1_000)
    for labelled, is_told in ((rows.filter(pl.col("probability") > 0.6), True), (rows[::2], False)):
        job = labelled_job(bare_lake)
        publish(job, DAY, rows, n=int(is_told))
        write_labels(bare_lake, labels_of(labelled, DAY))
        (record,) = evaluate(job, NOW).records
        assert any("selection" in note for note in record.notes) is is_told


def test_early_labels_are_weighted_by_score(
    bare_lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of low scores few labels are known early."""
    rows = predictions(3_000)
    labels = labels_of(rows, DAY)
    is_known = (rows["id"] % 10 == 0) | (rows["probability"] > 0.8)
    job = labelled_job(bare_lake, labels={"matured_after": "7d"})
    publish(job, DAY, rows)
    write_labels(bare_lake, labels.filter(is_known))

    (record,) = evaluate(job, datetime(2024, 3, 4, tzinfo=UTC)).records
    weighted = {metric.name: metric for metric in record.weighted}
    assert [*weighted] == [metric.name for metric in record.metrics]

    truth = brier_score_loss(labels["late"], rows["probability"])
    off = abs((weighted["brier"].value or 0) - truth)
    assert off < abs(value_of(record, "brier") - truth) / 2
    assert any("selection by score" in note for note in record.notes)

    print_records(job, [record], [])
    assert f"{DAY}, weighted" in capsys.readouterr().out

    # Once the partition has matured, a selection is weighted all the same, and is in no sum.
    (matured,) = evaluate(job, NOW).records
    assert matured.weighted == record.weighted
    assert matured.selection is not None
    assert matured.selection > 0.2
    assert not matured.is_complete
    assert measure_together(job, [matured]) == []
    print_records(job, [matured], [])
    assert f"{DAY}, weighted" in capsys.readouterr().out

    # With all labels there is one kind of metrics.
    write_labels(bare_lake, labels)
    (whole,) = evaluate(job, NOW).records
    assert (whole.weighted, whole.selection, whole.is_complete) == ((), None, True)


@pytest.mark.parametrize(("n_labelled", "note"), [(10, "fewer than 20 rows"), (100, "")])
def test_early_labels_that_are_not_weighted(bare_lake: Lake, n_labelled: int, note: str) -> None:
    labels = labels_of(predictions(100), DAY).head(n_labelled)
    record = one_day(bare_lake, labels, datetime(2024, 3, 4, tzinfo=UTC), matured_after="7d")

    assert record.weighted == ()
    assert any("not weighted" in text and note in text for text in record.notes) is bool(note)


def test_coverage_by_age(bare_lake: Lake) -> None:
    labels = labels_of(predictions(100), DAY).with_columns(
        known=pl.Series([datetime(2024, 3, 1 + min(9, i // 10)) for i in range(100)])
    )
    record = one_day(bare_lake, labels, known_at="known")
    shares = {one.days: one.share for one in record.coverage}
    assert shares == {1.0: 0.2, 3.0: 0.4, 7.0: 0.8, 14.0: 1.0}


def test_by_segment_worst_first(bare_lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    job = labelled_job(bare_lake, pass_through=["color"], drift={"segments": ["color", "size"]})
    rows = predictions(400)
    publish(job, DAY, rows)
    late = np.where(rows["color"] == "red", rows["probability"] < 0.5, rows["probability"] > 0.5)
    labels = pl.DataFrame({"id": rows["id"], "ds": [DAY] * 400, "late": late})
    write_labels(bare_lake, labels)

    (record,) = evaluate(job, NOW).records
    assert [one.segment for one in record.segments] == ["color=red", "color=green"]
    assert sum(one.n for one in record.segments) == 400
    assert any("no segments by size" in note for note in record.notes)

    print_records(job, [record, record], [])
    told = capsys.readouterr().out
    assert told.count("no segments by size") == 1, "once, below the table"


def test_long_notes_are_below_the_table(
    bare_lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    record = one_day(bare_lake, labels_of(predictions(100), DAY))
    canary = "what readers saw is of two models: version 8, 20 % by id with the salt 2024-03"
    of_canary = record.model_copy(update={"notes": (canary, "a short one")})
    print_records(labelled_job(bare_lake), [record, of_canary, of_canary], [])

    told = capsys.readouterr().out.splitlines()
    assert told[-1] == f"Note 1: {canary}."
    assert sum("note 1; a short one" in line for line in told) == 2
    assert sum("two models" in line for line in told) == 1


def test_labels_in_folders_of_their_days(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake)
    rows = publish_days(job)
    for day in DAYS[:2]:
        write_labels(bare_lake, labels_of(rows[day], day).drop("ds"), f"ds={day}/part-0.parquet")
    write_labels(bare_lake, labels_of(rows[DAY], DAY).drop("ds"), "ds=2025-01-01/part-0.parquet")

    done = evaluate(job, NOW)
    assert [record.counts.labelled for record in done.records] == [200, 200, 0]
    assert (done.n_orphans, done.n_of_others, done.n_others) == (0, 200, 1)

    write_labels(bare_lake, labels_of(rows[DAYS[2]], DAYS[2]).drop("ds"), f"ds={DAYS[2]}/x.parquet")
    assert [record.partition for record in evaluate(job, NOW).records] == [DAYS[2]]


def test_labels_in_a_delta_table(bare_lake: Lake) -> None:
    from deltalake import write_deltalake

    job = labelled_job(bare_lake)
    rows = publish_days(job)
    uri = f"{bare_lake.root}/labels"
    for day in DAYS:
        write_deltalake(uri, labels_of(rows[day], day), partition_by=["ds"], mode="append")
    flipped = labels_of(rows[DAY], DAY).with_columns(late=1 - pl.col("late"))
    write_deltalake(uri, flipped, mode="overwrite", predicate=f"ds = '{DAY}'")

    first, second, _ = evaluate(job, NOW).records
    assert value_of(first, "roc_auc") < 0.5, "the replaced file does not count"
    assert value_of(second, "roc_auc") > 0.5


PARTITION_TYPES = {
    "date": pl.Date,
    "time": pl.Datetime("us"),
    "time with zone": pl.Datetime("ms", "UTC"),
}


@pytest.mark.parametrize("name", PARTITION_TYPES)
def test_the_partition_may_be_a_date(bare_lake: Lake, name: str) -> None:
    day = pl.col("ds").str.to_date().cast(PARTITION_TYPES[name])
    record = one_day(bare_lake, labels_of(predictions(100), DAY).with_columns(day))
    assert record.counts.labelled == 100


KEY_TYPES = {
    "narrow": (pl.Int16, ""),
    "unsigned": (pl.UInt32, ""),
    "text": (pl.String, "id: is large_string in the labels, and id is int64 in the predictions"),
    "float": (pl.Float64, "id: is double in the labels, and id is int64 in the predictions"),
}


@pytest.mark.parametrize("name", KEY_TYPES)
def test_keys_of_other_types(bare_lake: Lake, name: str) -> None:
    dtype, problem = KEY_TYPES[name]
    labels = labels_of(predictions(100), DAY).with_columns(pl.col("id").cast(dtype))
    if not problem:
        assert one_day(bare_lake, labels).counts.labelled == 100
        return

    with pytest.raises(LabelError) as caught:
        one_day(bare_lake, labels)
    assert caught.value.problems == (problem,)


def test_all_that_is_wrong_with_the_columns_is_named(bare_lake: Lake) -> None:
    labels = labels_of(predictions(100), DAY)
    with pytest.raises(LabelError) as caught:
        one_day(bare_lake, labels, column="outcome", known_at="seen")
    assert "has no outcome, seen; it has id, ds, late" in caught.value.problems[0]

    wrong = labels.with_columns(seen=pl.lit("yesterday"), acted=pl.lit(1))
    with pytest.raises(LabelError) as caught:
        one_day(bare_lake, wrong, known_at="seen", acted_on="acted")
    assert len(caught.value.problems) == 2

    for path in ("part-0.parquet", "part-1.parquet"):
        write_labels(bare_lake, labels, path)
    with pytest.raises(LabelError) as caught:
        evaluate(labelled_job(bare_lake, labels={"column": "outcome"}), NOW)
    (problem,) = caught.value.problems
    assert "and 1 other file like it: has no outcome" in problem, "said once for all files"


LATE = pl.col("late")
OTHER_TYPES = {
    "a decimal": (LATE.cast(pl.Decimal(12, 2)), {}),
    "a dictionary": (LATE.cast(pl.String).cast(pl.Categorical), {}),
    "time of an offset": (pl.lit(datetime(2024, 3, 1)), {"known_at": "at"}),
}


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_labels_of_other_types(bare_lake: Lake, name: str) -> None:
    column, section = OTHER_TYPES[name]
    labels = labels_of(predictions(100), DAY).with_columns(
        column.alias(section.get("known_at", "late"))
    )
    table = labels.to_arrow()
    if section:
        at = table.column("at").cast(pa.timestamp("us", "+05:30"))
        table = table.set_column(table.schema.get_field_index("at"), "at", at)

    record = one_day(bare_lake, table, **section)
    assert record.counts.labelled == 100
    expected = roc_auc_score(
        labels_of(predictions(100), DAY)["late"], predictions(100)["probability"]
    )
    assert value_of(record, "roc_auc") == pytest.approx(expected)


def test_files_with_missing_labels_have_floats(bare_lake: Lake) -> None:
    labels = labels_of(predictions(100), DAY)
    write_labels(bare_lake, labels[:50], "part-1.parquet")
    floats = labels[50:].with_columns(
        pl.when(pl.col("id") < 99).then(LATE.cast(pl.Float64)).alias("late")
    )
    record = one_day(bare_lake, floats)
    assert (record.counts.labelled, record.counts.null_labels) == (99, 1)


def test_columns_that_occur_twice_or_only_as_folders_are_named(bare_lake: Lake) -> None:
    table = labels_of(predictions(3), DAY).to_arrow()
    with pytest.raises(LabelError, match="has several columns late"):
        one_day(bare_lake, table.append_column("late", table.column("late")))

    write_labels(bare_lake, table.drop_columns(["id"]), "id=7/part-0.parquet")
    with pytest.raises(LabelError, match="id only names its folder"):
        one_day(bare_lake, table)


def test_predictions_without_the_keys_are_named(bare_lake: Lake) -> None:
    bare_lake.formats = "parquet"
    job = labelled_job(bare_lake)
    publish(job, DAYS[0], predictions(10).drop("id"), n=1)
    publish(job, DAYS[1], predictions(10), n=2)
    write_labels(bare_lake, pl.concat(labels_of(predictions(10), day) for day in DAYS[:2]))

    done = evaluate(job, NOW)
    assert [record.partition for record in done.records] == [DAYS[1]]
    assert "id: not published" in done.problems[0]

    publish(job, DAYS[1], predictions(10).drop("id"), n=3)
    with pytest.raises(LabelError, match="id: not published"):
        evaluate(job, NOW)


def test_a_damaged_page_is_no_fault_of_the_disk(bare_lake: Lake) -> None:
    job = labelled_day(bare_lake)
    path = Path(bare_lake.root) / "labels" / "part-0.parquet"
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)

    with pytest.raises(CorruptFileError, match=r"part-0\.parquet"):
        evaluate(job, NOW)


def test_an_unknown_class_is_an_error_and_stops_no_other_day(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake)
    rows = publish_days(job)
    labels = [labels_of(rows[day], day) for day in DAYS]
    strange = labels[1].with_columns(late=pl.Series([7] * 3 + [0] * 197))
    write_labels(bare_lake, pl.concat([labels[0], strange, labels[2]]))

    done = evaluate(job, NOW)
    assert [record.partition for record in done.records] == [DAYS[0], DAYS[2]]
    with pytest.raises(LabelError) as caught:
        done.check()
    assert "the others were" in caught.value.what
    assert f"{DAYS[1]}: 3 labels of no class" in caught.value.problems[0]
    assert "expected 0, 1" in caught.value.problems[0]
    assert "7: 3 labels" in caught.value.problems[0]
    assert evaluate(job, NOW).problems, "it is looked at again"


SPELLINGS = {
    "flags": (lambda late: late == 1, None),
    "texts": (lambda late: pl.Series(["yes" if one else "no" for one in late]), "yes"),
    "floats": (lambda late: late.cast(pl.Float64), None),
    "other numbers": (lambda late: late * 2 - 1, 1),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_classes_spelled_otherwise(bare_lake: Lake, name: str) -> None:
    spell, positive = SPELLINGS[name]
    labels = labels_of(predictions(100), DAY)
    expected = roc_auc_score(labels["late"], predictions(100)["probability"])
    spelled = labels.with_columns(late=spell(labels["late"]))
    record = one_day(bare_lake, spelled, positive=positive)
    assert value_of(record, "roc_auc") == pytest.approx(expected)


def test_labels_without_a_partition(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, labels={"partition": None})
    rows = {day: predictions(50, seed=i, first_id=100 * i) for i, day in enumerate(DAYS)}
    for i, day in enumerate(DAYS):
        publish(job, day, rows[day], n=i)
    labels = pl.concat(labels_of(rows[day], day).drop("ds") for day in DAYS)
    stray = labels.head(1).with_columns(id=pl.lit(9_999, pl.Int64))
    write_labels(bare_lake, pl.concat([labels, stray]))

    done = evaluate(job, NOW)
    assert [record.counts.labelled for record in done.records] == [50, 50, 50]
    assert (done.n_orphans, done.n_of_others) == (1, 0)
    assert evaluate(job, NOW).records == ()

    publish(job, "2024-03-04", predictions(10, first_id=100), n=9)
    with pytest.raises(LabelError) as caught:
        evaluate(job, NOW)
    assert len(caught.value.problems) == 5
    assert all(f"in {DAYS[1]}, 2024-03-04" in problem for problem in caught.value.problems)
    assert "latest_before" in caught.value.next_step


def test_labels_of_the_latest_prediction_before(bare_lake: Lake) -> None:
    section = {"partition": None, "match": "latest_before", "observed_at": "at"}
    job = labelled_job(bare_lake, labels=section)
    rows = publish_days(job, n_rows=3)
    at = [datetime(2024, 3, 1, 12), datetime(2024, 3, 2), datetime(2024, 2, 1)]
    labels = labels_of(rows[DAY], DAY).drop("ds").with_columns(at=pl.Series(at))
    later = labels.head(1).with_columns(at=pl.lit(datetime(2024, 3, 9)))
    write_labels(bare_lake, pl.concat([labels, later]))

    done = evaluate(job, NOW)
    assert [record.counts.labelled for record in done.records] == [1, 1, 1]
    assert done.n_orphans == 1, "observed before any prediction"


def test_quarantined_rows_and_rows_that_were_acted_on(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, labels={"acted_on": "treated"})
    rows = predictions(100)
    publish(job, DAY, rows, quarantined=pl.DataFrame({"_reason": ["x"], "id": [500]}))
    more = predictions(2, first_id=500)
    labels = pl.concat([labels_of(rows, DAY), labels_of(more, DAY)])
    write_labels(bare_lake, labels.with_columns(treated=pl.col("id") < 10))

    counts = evaluate(job, NOW).records[0].counts
    assert (counts.labelled, counts.acted_on) == (90, 10)
    assert (counts.orphans, counts.quarantined) == (1, 1)


def test_a_regression(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, labels={"column": "minutes"})
    rows = predictions(100).drop("probability").with_columns(pl.col("prediction").cast(pl.Float64))
    publish(job, DAY, rows)
    minutes = np.random.default_rng(5).normal(size=100)
    labels = pl.DataFrame({"id": rows["id"], "ds": [DAY] * 100, "minutes": minutes})
    write_labels(bare_lake, labels.with_columns(pl.when(pl.col("id") > 0).then("minutes")))

    (record,) = evaluate(job, NOW).records
    expected = mean_absolute_error(minutes[1:], rows["prediction"].to_numpy()[1:])
    assert value_of(record, "mae") == pytest.approx(expected)
    assert record.counts.null_labels == 1


def test_several_classes(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake)
    names = ["high", "low", "mid"]
    shares = np.random.default_rng(5).dirichlet([1, 1, 1], size=90)
    rows = pl.DataFrame({"id": range(90), "prediction": [names[i] for i in shares.argmax(axis=1)]})
    rows = rows.with_columns(
        pl.Series(f"probability_{name}", shares[:, i]) for i, name in enumerate(names)
    )
    publish(job, DAY, rows)
    labels = pl.DataFrame({"id": range(90), "ds": [DAY] * 90, "late": names * 30})
    write_labels(bare_lake, labels)

    (record,) = evaluate(job, NOW).records
    accuracy = float((rows["prediction"] == labels["late"]).mean() or 0)
    assert value_of(record, "accuracy") == pytest.approx(accuracy)
    (together,) = [one for one in measure_together(job, [record]) if one.name == "log_loss"]
    assert together.value == pytest.approx(value_of(record, "log_loss"))


def test_labels_score_nothing_again(bare_lake: Lake) -> None:
    partition = Partition("ds", DAY, f"ds={DAY}")
    digests = {
        fingerprint(job, partition, "m", "1", "sha256:x")
        for job in (bare_lake.job(), labelled_job(bare_lake))
    }
    assert len(digests) == 1


def test_evaluations_stay_as_long_as_their_results(bare_lake: Lake) -> None:
    job = labelled_day(bare_lake)
    (record,) = evaluate(job, NOW).records
    store = state_store(job)
    orphan = record.rows.replace(record.run_id, "01a2095c-1262-7217-9c92-00000000ffff")
    store.write_bytes(orphan, b"of a run without record")
    orphan_table = orphan.replace("evaluations/", "performance/")
    store.write_bytes(orphan_table, b"of the same")

    later = datetime.now(UTC) + timedelta(days=60)
    assert sorted(clean(job, later, timedelta(days=1), delete=True)) == [orphan, orphan_table]
    assert store.exists(record.rows)
    assert store.exists(record.table)


PROBLEMS = {
    "without keys": ({"keys": []}, {}, "labels are joined by key, and the job has no keys"),
    "too many": ({}, {"key": ["id", "day"]}, "expected the job's keys, id"),
    "match without a time": (
        {},
        {"partition": None, "match": "latest_before"},
        "latest_before needs observed_at",
    ),
    "a time without match": ({}, {"observed_at": "at"}, "has no effect without match"),
    "one column twice": ({}, {"known_at": "late"}, "late is the column with the labels"),
    "no duration": ({}, {"matured_after": "soon"}, "a time such as 90m, 12h, 7d or 2w"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_sections_that_cannot_be_right(bare_lake: Lake, name: str) -> None:
    changes, section, problem = PROBLEMS[name]
    with pytest.raises(InvalidJobError) as caught:
        labelled_job(bare_lake, labels=section, **changes)
    assert problem in str(caught.value)


def test_by_command(bare_lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = labelled_job(bare_lake)
    rows = publish_days(job)
    write_labels(bare_lake, pl.concat(labels_of(rows[day], day) for day in DAYS))
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))

    def call(*arguments: str) -> str:
        build_app()([*arguments], standalone_mode=False)
        return capsys.readouterr().out

    table = call("evaluate", str(path), "--from", DAYS[1])
    assert DAYS[0] not in table
    assert "100.0%" in table
    assert table.count("2024-03-0") == 2
    assert "\nall" in table

    document = json.loads(call("evaluate", str(path), "--json"))
    assert [record["partition"] for record in document["evaluated"]] == [DAYS[0]]
    assert document["unchanged"] == [DAYS[1], DAYS[2]]
    assert (document["labels_without_prediction"], document["labels_of_other_partitions"]) == (0, 0)
    assert "3 partitions have no new predictions or labels" in call("evaluate", str(path))
    unread = json.loads(call("evaluate", str(path), "--json"))
    assert unread["labels_without_prediction"] is None, "nothing was read"
    assert unread["labels_of_other_partitions"] is None

    assert call("history", str(path), "roc_auc").count("2024-03-0") == 3
    assert call("history", str(path), "AUC") == call("history", str(path), "roc_auc")
    with pytest.raises(PartitionNotFoundError, match="Nothing was known of roc_auc by then"):
        call("history", str(path), "roc_auc", "--as-known-at", "2024-03-05")
    days = json.loads(call("history", str(path), "roc_auc", "--last", "1", "--json"))
    assert [day["partition"] for day in days] == [DAYS[2]]
