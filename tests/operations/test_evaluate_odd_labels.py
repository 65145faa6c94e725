"""Labels, keys and moments that are not as one would like them."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import nightscore.operations.evaluate as module
from nightscore.cli.commands.evaluate import _print
from nightscore.errors import CorruptFileError, InputChangedError, LabelError
from nightscore.flows.ui.evaluation_page import evaluation_message
from nightscore.monitoring.performance import label_rows
from nightscore.monitoring.performance.column_kinds import ColumnKind, kind_of
from nightscore.monitoring.performance.label_files import find_label_files, read_label_footers
from nightscore.monitoring.performance.label_partitions import time_of
from nightscore.operations.evaluate import evaluate
from nightscore.operations.metric_history import metric_history
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
from tests.support.publications import run_id


def test_before_the_first_labels_nothing_is_compared(
    bare_lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    job = labelled_job(bare_lake)
    publish(job, DAY, predictions(100))
    done = evaluate(job, NOW)
    _print(job, done)
    assert "no files of labels yet" in capsys.readouterr().out
    assert (done.records, metric_history(job, "roc_auc")) == ((), [])


def test_labels_that_are_gone_withdraw_no_evaluation(bare_lake: Lake) -> None:
    job = labelled_day(bare_lake)
    evaluate(job, NOW)
    folder = Path(bare_lake.root) / "labels"
    shutil.move(folder, folder.with_name("elsewhere"))

    with pytest.raises(LabelError, match="no files of labels, though"):
        evaluate(job, NOW)
    shutil.move(folder.with_name("elsewhere"), folder)
    assert evaluate(job, NOW).unchanged == (DAY,)


@pytest.mark.parametrize("in_folders", [False, True])
def test_partitions_of_labels_that_are_not_published_are_named(
    bare_lake: Lake, in_folders: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    job = labelled_job(bare_lake)
    publish(job, DAY, predictions(100))
    labels = labels_of(predictions(100), DAY)
    if in_folders:
        write_labels(bare_lake, labels.drop("ds"), "ds=20240301/part-0.parquet")
    else:
        write_labels(bare_lake, labels.with_columns(ds=pl.lit(20240301)))

    _print(job, evaluate(job, NOW))
    text = " ".join(capsys.readouterr().out.split())
    said = "100 labels of 1 other partition, which is not published, are not counted: 20240301."
    assert said in text
    assert "no published prediction" not in text


def test_files_that_are_no_parquet_are_named_in_the_words_of_labels(bare_lake: Lake) -> None:
    job = labelled_day(bare_lake)
    Path(bare_lake.root, "labels", "notes.parquet").write_text("no table")

    with pytest.raises(CorruptFileError, match=r"notes\.parquet") as caught:
        evaluate(job, NOW)
    assert "1 of 2 files of labels" in caught.value.what
    assert "labels.uri" in caught.value.next_step
    assert "input.files" not in str(caught.value)
    assert "published" not in str(caught.value)


def test_a_file_that_is_gone_is_told_in_the_words_of_labels(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake)
    write_labels(bare_lake, labels_of(predictions(100), DAY))
    files = find_label_files(job)
    Path(bare_lake.root, "labels", "part-0.parquet").unlink()

    with pytest.raises(InputChangedError, match="A file of labels is gone") as caught:
        read_label_footers(files)
    assert "labels.uri" in caught.value.next_step
    assert "published" not in str(caught.value)


def test_orphans_are_of_evaluated_partitions(bare_lake: Lake) -> None:
    """Labels of a year, of which one day is published: they are no orphans, and are told apart."""
    job = labelled_job(bare_lake)
    publish(job, DAY, predictions(100))
    labels = labels_of(predictions(104), DAY)
    others = [labels_of(predictions(10), f"2023-03-{n:02}") for n in range(1, 11)]
    write_labels(bare_lake, pl.concat([labels, *others]))

    done = evaluate(job, NOW)
    assert (done.n_orphans, done.n_of_others, done.n_others) == (4, 100, 10)
    assert done.describe_orphans() == "4 labels have no published prediction"
    assert done.describe_others().startswith(
        "100 labels of 10 other partitions, which are not published, are not counted: 2023-03-"
    )
    assert done.describe_others().endswith(" and 7 more")
    assert done.describe_orphans() in evaluation_message(done)
    assert done.describe_others() in evaluation_message(done)


def test_an_object_that_is_replaced_while_it_is_read_is_not_recorded(
    bare_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_lake.formats = "parquet"
    job = labelled_job(bare_lake)
    rows = predictions(100)
    for n, day in enumerate(DAYS):
        publish(job, day, rows, n=n)
    write_labels(bare_lake, pl.concat(labels_of(rows, day) for day in DAYS))
    note_digest = module.EvaluationWork.note_digest

    def publish_then_note(session: Any, value: str, labels: pl.DataFrame) -> bool:
        if value == DAYS[1]:
            publish(job, value, rows.with_columns(probability=0.5), n=9)
        return note_digest(session, value, labels)

    with monkeypatch.context() as patch:
        patch.setattr(module.EvaluationWork, "note_digest", publish_then_note)
        done = evaluate(job, NOW)
    assert [record.partition for record in done.records] == [DAYS[0], DAYS[2]]
    assert done.problems == (f"{DAYS[1]}: It was published again while it was evaluated.",)

    (record,) = evaluate(job, NOW).records
    assert (record.partition, record.run_id) == (DAYS[1], run_id(9))


def test_keys_that_can_never_have_a_label_are_told(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake)
    rows = predictions(10)
    without_key = rows[:1].with_columns(id=pl.lit(None, pl.Int64))
    publish(job, DAY, pl.concat([rows, rows[:2], rows[:1], without_key]))
    write_labels(bare_lake, labels_of(rows[5:], DAY))

    (record,) = evaluate(job, NOW).records
    assert any("published more than once: 2 keys" in note for note in record.notes)
    assert any("never labelled: 1 row" in note for note in record.notes)

    write_labels(bare_lake, labels_of(rows, DAY))
    assert "2 labelled keys. 0; 1" in evaluate(job, NOW).problems[0]


def test_times_that_cannot_be_right_are_told(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, labels={"known_at": "at"})
    publish(job, DAY, predictions(10))
    times = [datetime(2024, 3, 2), datetime(2024, 2, 1), datetime(9999, 12, 31), None]
    at = pl.Series([*times, *times[:1] * 6], dtype=pl.Datetime("ms"))
    write_labels(bare_lake, labels_of(predictions(10), DAY).with_columns(at=at))

    (record,) = evaluate(job, NOW).records
    assert record.counts.labelled == 10
    assert list(record.notes) == [
        "known_at is before the partition's date: 1 label",
        "known_at is in the future: 1 label",
        "known_at is null: 1 label",
    ]


TIMES = {
    ("2024-W10", "%G-W%V"): datetime(2024, 3, 4, tzinfo=UTC),
    ("2024-10", "%Y-%W"): datetime(2024, 3, 4, tzinfo=UTC),
    ("2024-10", "%Y-%U"): datetime(2024, 3, 10, tzinfo=UTC),
    ("2024-03", "%Y-%m"): datetime(2024, 3, 1, tzinfo=UTC),
    ("2024-03-01T05", "%Y-%m-%dT%H"): datetime(2024, 3, 1, 5, tzinfo=UTC),
    ("2024-03-01T01+0200", "%Y-%m-%dT%H%z"): datetime(2024, 2, 29, 23, tzinfo=UTC),
}


@pytest.mark.parametrize(("value", "pattern"), TIMES)
def test_the_date_from_which_a_partition_ages(value: str, pattern: str) -> None:
    time = time_of(value, pattern, run_id(1))
    assert (time, time.utcoffset()) == (TIMES[value, pattern], timedelta(0))


def test_models_of_two_kinds_are_printed_and_not_added_up(
    bare_lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    bare_lake.formats = "parquet"
    job = labelled_job(bare_lake)
    rows = predictions(30)
    numbers = rows.drop("probability").with_columns(pl.col("prediction").cast(pl.Float64))
    publish(job, DAYS[0], numbers, n=1)
    publish(job, DAYS[1], rows, n=2)
    write_labels(bare_lake, pl.concat(labels_of(rows, day) for day in DAYS[:2]))

    _print(job, evaluate(job, NOW))
    table = capsys.readouterr().out
    assert "rmse" in table
    assert "roc_auc" in table
    assert "\nall" not in table


def test_types_of_many_files_are_looked_at_once(
    bare_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = labelled_job(bare_lake)
    rows = predictions(10)
    for n, day in enumerate(DAYS):
        publish(job, day, rows, n=n)
    for i in range(20):
        write_labels(bare_lake, labels_of(rows, DAY), f"part-{i}.parquet")
    looked_at = []

    def note(dtype: pa.DataType) -> ColumnKind:
        looked_at.append(dtype)
        return kind_of(dtype)

    monkeypatch.setattr(label_rows, "kind_of", note)
    assert len(evaluate(job, NOW).records) == 3
    assert len(looked_at) < 10, "not once for each file and partition"
