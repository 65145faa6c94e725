"""What came true, and what was estimated, in a notebook."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from nightscore.errors import InvalidJobError
from nightscore.operations.notebook import Job
from tests.support.lake import Lake
from tests.support.outcomes import (
    DAYS,
    labelled_job,
    labels_of,
    predictions,
    publish,
    write_labels,
)


@pytest.fixture
def job(bare_lake: Lake) -> Job:
    """Three days that are published. The labels of the last one contradict each other."""
    spec = labelled_job(bare_lake, drift={"segments": ["color"]})
    labels = []
    for n, day in enumerate(DAYS):
        rows = predictions(200, seed=n)
        publish(spec, day, rows, n=n)
        labels.append(labels_of(rows, day))

    write_labels(bare_lake, pl.concat([*labels, labels[-1].with_columns(late=1 - pl.col("late"))]))
    return Job(spec, cache_dir=bare_lake.cache.root)


def test_evaluations_are_a_table_and_a_frame(job: Job) -> None:
    done = job.evaluate(date(2024, 3, 1))
    title, header, first, second, problem = repr(done).splitlines()
    assert title == "2 partitions evaluated, 0 unchanged"
    assert header.split()[:4] == ["partition", "rows", "labelled", "roc_auc"]
    assert first.startswith(f"{DAYS[0]}  200   100.0%    0.")
    assert second.startswith(DAYS[1])
    assert problem.startswith(f"{DAYS[2]}: ")

    html = done._repr_html_()
    assert html.startswith("<table><caption><b>2 partitions evaluated, 0 unchanged</b>")
    assert html.count("<tr>") == 4, "a header, two partitions, and the one that is wrong"

    metrics = done.metrics()
    assert set(metrics["segment"]) == {"", "color=red", "color=green"}
    (auc,) = metrics.filter(partition=DAYS[0], name="roc_auc", segment="")["value"]
    rows = predictions(200, seed=0)
    assert auc == pytest.approx(
        roc_auc_score(labels_of(rows, DAYS[0])["late"], rows["probability"])
    )

    nothing = job.evaluate(DAYS[0], DAYS[1])
    assert repr(nothing) == "0 partitions evaluated, 2 unchanged"
    assert nothing.metrics().schema == metrics.schema
    assert "0 partitions evaluated" in nothing._repr_html_()
    with pytest.raises(InvalidJobError, match="ends before it starts"):
        job.evaluate(DAYS[1], DAYS[0])


def test_performance_is_a_page_and_a_frame(job: Job, tmp_path: Path) -> None:
    job.evaluate()
    page = job.performance(last=2)
    assert repr(page) == "Performance of 2 partitions"
    assert page._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert "1 of 2 partitions have been compared with labels." in page.html
    assert page.save(tmp_path / "page.html").read_text() == page.html

    metrics = page.metrics()
    assert set(metrics["partition"]) == {DAYS[1]}, "the last day has no labels that count"
    assert set(metrics["kind"]) == {"realised"}
    assert metrics.filter(name="roc_auc")["low"].null_count() == 0
