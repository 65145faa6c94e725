"""The flows in this process, on a real Prefect server."""

import asyncio
import functools
import json
import os
import re
import threading
import time
import warnings
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import yaml
from sklearn.base import BaseEstimator, RegressorMixin

from nightscore.engine import retry
from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.events import Event, RowsScored, RunPlanned, ShardScored
from nightscore.ledger.comparison_records import with_newest_comparisons
from nightscore.ledger.layout import state_store
from nightscore.ledger.workspace import Workspace
from nightscore.operations.history import run_history
from nightscore.outputs.publish import open_publisher
from nightscore.runs.run import run
from tests.models.test_odd_models import add_model
from tests.support.lake import Lake
from tests.support.lent_pool import lender
from tests.support.models import NUMBERS, make_frame
from tests.support.outcomes import (
    DAYS,
    labelled_job,
    labels_of,
    predictions,
    publish,
    write_labels,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        ArtifactFilter,
        ArtifactFilterKey,
        FlowRunFilter,
        FlowRunFilterParentFlowRunId,
        LogFilter,
        LogFilterFlowRunId,
    )
    from prefect.states import Completed

    from nightscore.flows.backfill import backfill
    from nightscore.flows.children import run_child
    from nightscore.flows.evaluate import evaluate
    from nightscore.flows.nightly import logical_date, nightly
    from nightscore.flows.outcome import Outcome
    from nightscore.flows.parameters import Mode, Order
    from nightscore.flows.partition import score_partition, score_partitions
    from nightscore.flows.pools import run_within, within_time
    from nightscore.flows.ui.artifacts import artifact_key
    from nightscore.flows.ui.backfill_page import backfill_markdown, resume_command
    from nightscore.flows.ui.progress import BackfillProgress, RunProgress, progress_artifact
    from nightscore.flows.ui.run_page import run_markdown

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("flows_use_server"),
]


@pytest.fixture
def warm_workers(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's workers for one flow at a time. Tests without this start their own."""
    monkeypatch.setattr("nightscore.flows.pools.open_pool", lender(pool))


@pytest.fixture
def job_file(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_workers: None
) -> str:
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(lake.job().model_dump(mode="json")))
    return str(path)


def finish(awaitable: Any) -> Any:
    async def ended() -> Any:
        return await awaitable

    return asyncio.run(ended())


async def artifacts(key: str) -> list[Any]:
    """The newest last: the server gives them in no order of its own."""
    async with get_client() as client:
        stored = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        )
    return sorted(stored, key=lambda artifact: artifact.created)


async def child_runs(parent: Any) -> list[Any]:
    async with get_client() as client:
        return await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent])
            )
        )


async def children(parent: Any) -> dict[str, str]:
    return {run.name: run.state_name for run in await child_runs(parent)}


def test_what_a_gate_holds_is_no_success(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    job = lake.job(keys={"columns": ["id"], "unique": True}, gates={"unique_keys": "hold"})
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    frame = make_frame(50)
    frame.loc[7, "id"] = 3
    lake.write("2024-02-28", frame)
    state = finish(score_partition(str(path), "2024-02-28", return_state=True))
    assert state.is_failed()
    assert state.message.startswith(
        f"2024-02-28: held, waits for `nightscore approve {path} 2024-02-28` or `reject`: "
        "unique_keys: 2 rows"
    )
    page = asyncio.run(artifacts("test-run"))[-1].data
    assert "| unique_keys | **hold** | no key twice | 2 rows: id=3 (2 times) |" in page


def test_a_run_that_still_waits_is_told_once(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_workers: None
) -> None:
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    told: list[str] = []
    monkeypatch.setattr(
        "nightscore.flows.partition.emit_run_events",
        lambda manifest, job, url: told.append(manifest.run_id),
    )
    job = lake.job(keys={"columns": ["id"], "unique": True}, gates={"unique_keys": "hold"})
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    frame = make_frame(50)
    frame.loc[7, "id"] = 3
    lake.write("2024-02-28", frame)
    states = [finish(score_partition(str(path), "2024-02-28", return_state=True)) for _ in range(2)]
    assert ["held" in state.message for state in states] == [True, True]
    assert told == [manifest.run_id for manifest in run_history(job)]


def test_a_slip_is_refused_without_a_record(lake: Lake, job_file: str) -> None:
    lake.write("2024-02-28", make_frame(50))
    refused = finish(score_partition(job_file, "ds=2024-02-28", return_state=True))
    assert refused.is_failed()
    assert f"next:     nightscore run {job_file} 2024-02-28" in refused.message
    batch = finish(score_partitions(job_file, ["2024-02-31", "2024-02-28"], return_state=True))
    assert "1 done, 1 failed" in batch.message
    (only,) = run_history(lake.job())
    assert only.status == "published"


def test_a_backfill_newest_first_names_the_day_before_in_the_end(lake: Lake, job_file: str) -> None:
    days = [f"2024-02-2{day}" for day in range(5, 9)]
    for seed, day in enumerate(days):
        lake.write(day, make_frame(300, seed=seed))
    state = finish(backfill(job_file, date(2024, 2, 25), date(2024, 2, 28), return_state=True))
    assert state.is_completed(), state.message
    stored = with_newest_comparisons(state_store(lake.job()), run_history(lake.job()))
    compared = {m.partition: m.drift.days.get("previous") for m in stored if m.drift}
    assert compared == {days[0]: None, **{day: (before,) for before, day in pairwise(days)}}


def test_a_morning_s_reader_sees_which_columns_moved(lake: Lake, job_file: str) -> None:
    lake.write("2024-02-27", make_frame(3_000, seed=5))
    finish(nightly(job_file, date=date(2024, 2, 27), return_state=True))
    shifted = make_frame(3_000, seed=6)
    shifted["a"] += 2
    lake.write("2024-02-28", shifted)
    state = finish(nightly(job_file, date=date(2024, 2, 28), return_state=True))
    assert state.is_completed()
    assert "; drift critical: a" in state.message
    page = asyncio.run(artifacts("test-run"))[-1].data
    assert "**Columns: critical: a" in page
    assert "compared with: previous." in page
    (row,) = [line for line in page.splitlines() if line.startswith("| a |")]
    assert "critical" in row
    assert row.endswith("; new |")
    assert "![The columns that moved most" in page
    assert page.startswith("## ■ critical · published · test · ds=2024-02-28")
    assert len(page) < 100_000
    (described,) = {artifact.description for artifact in asyncio.run(artifacts("test-run"))[-1:]}
    assert described.startswith("■ critical, published: 2024-02-28")
    table = json.loads(asyncio.run(artifacts("test-drift"))[-1].data)
    assert list(table[0])[:4] == ["column", "severity", "status", "against"]
    assert (table[0]["column"], table[0]["severity"], table[0]["status"]) == (
        "a",
        "critical",
        "new",
    )
    assert {entry["column"] for entry in table} == {*NUMBERS, "prediction", "probability"}


def test_nightly_scores_the_date_and_late_data(lake: Lake, job_file: str) -> None:
    for i, day in enumerate(("2024-02-27", "2024-02-28", "2024-02-29")):
        lake.write(day, make_frame(100 + i, seed=i))
    first = finish(nightly(job_file, date=date(2024, 2, 28), return_state=True))
    assert first.is_completed()
    told = "rows scored by hgb_binary v1, 0 quarantined; drift nothing to compare with yet"
    assert first.message == f"2024-02-28: 101 {told}"
    lake.write("2024-02-28", make_frame(150))
    second = finish(nightly(job_file, date=date(2024, 2, 29), look_back_days=3, return_state=True))
    assert second.is_completed(), second.message
    assert second.message.endswith(
        "late data: 2 more partitions, 0 failed (2024-02-27, 2024-02-28)"
    )
    live = open_publisher(Workspace(lake.job())).all_live()
    assert set(live) == {"2024-02-27", "2024-02-28", "2024-02-29"}
    assert len(lake.read(lake.job())) == 100 + 150 + 102
    again = finish(nightly(job_file, date=date(2024, 2, 29), look_back_days=3, return_state=True))
    told = "rows were already published by hgb_binary v1, 0 quarantined; drift insufficient data"
    assert again.message == f"2024-02-29: 102 {told}"


def test_a_failed_night_says_why_in_its_state(lake: Lake, job_file: str) -> None:
    lake.write("2024-02-28", make_frame(5).drop(columns="a"))
    state = finish(nightly(job_file, date=date(2024, 2, 28), return_state=True))
    assert state.is_failed()
    assert "a: is missing (double)" in state.message
    page = asyncio.run(artifacts("test-nightly"))[-1]
    assert page.description == "0 done, 1 failed"
    assert f"nightscore run {job_file} 2024-02-28" in page.data


def test_a_backfill_is_visible_day_by_day_and_again_runs_only_what_is_left(
    lake: Lake, job_file: str
) -> None:
    days = [f"2024-03-{i:02d}" for i in range(1, 11)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(50, seed=i))
    for day in (days[3], days[7]):
        lake.features.write_bytes(f"ds={day}/part-0.parquet", b"broken")
    dates = (date(2024, 3, 1), date(2024, 3, 10))

    planned = finish(backfill(job_file, *dates, dry_run=True, return_state=True))
    assert planned.message.startswith("planned only: 10 of 10 partitions to score, 400 rows")
    assert not open_publisher(Workspace(lake.job())).all_live()

    state = finish(backfill(job_file, *dates, max_parallel=3, return_state=True))
    assert state.is_failed()
    assert state.message.startswith(
        "8 done, 2 failed, 0 not run; failed: 2024-03-04, 2024-03-08; causes and what"
    )
    runs = asyncio.run(children(state.state_details.flow_run_id))
    assert {name: runs[name] for name in sorted(runs)} == {
        f"test · {day}": "Failed" if day in (days[3], days[7]) else "Completed" for day in days
    }
    assert set(open_publisher(Workspace(lake.job())).all_live()) == set(days) - {days[3], days[7]}
    matrix = asyncio.run(artifacts("test-backfill"))[-1].data
    assert matrix.count("❌") == 2 + 1
    assert f"nightscore backfill {job_file} --from 2024-03-01 --to 2024-03-10\n" in matrix
    assert json.dumps({"job": job_file, "start": "2024-03-01", "end": "2024-03-10"}) in matrix
    assert f"**{days[3]}**\n\n```\n1 of 1 files cannot be read as Parquet" in matrix
    assert "| 2024-03-04 | 4 ❌ | 5 ✅ | 6 ✅ | 7 ✅ | 8 ❌ | 9 ✅ | 10 ✅ |" in matrix

    for day in (days[3], days[7]):
        lake.write(day, make_frame(50))
    again = finish(backfill(job_file, *dates, return_state=True))
    assert again.message == "2 done, 0 failed, 0 not run"
    assert len(asyncio.run(children(again.state_details.flow_run_id))) == 2
    done = finish(backfill(job_file, *dates, order=Order.OLDEST, return_state=True))
    assert done.message.startswith("nothing to do: 0 of 10")
    forced = finish(
        backfill(job_file, date(2024, 3, 1), date(2024, 3, 2), mode=[Mode.ALL], return_state=True)
    )
    assert forced.message == "2 done, 0 failed, 0 not run"


def test_a_request_that_a_busy_server_hears_twice_makes_one_child(
    job_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = httpx.AsyncClient.send
    refused: list[str] = []

    async def done_but_refused(self: Any, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        response = await send(self, request, **kwargs)
        path = request.url.path.removeprefix("/api")
        if request.method != "POST" or path not in {"/task_runs/", "/flow_runs/"} - {*refused}:
            return response

        refused.append(path)
        return httpx.Response(503, headers={"Retry-After": "0"}, request=request)

    async def inside() -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(httpx.AsyncClient, "send", done_but_refused)
            return await run_child(score_partition, "2024-02-28", job_file, "2024-02-28")

    @flow
    async def parent() -> Any:
        states = [await inside(), await run_child(score_partition, "b", job_file, "2024-02-27")]
        return Completed(message=", ".join(str(state.name) for state in states))

    state = finish(parent(return_state=True))

    assert state.message == "Failed, Failed"
    assert refused == ["/task_runs/", "/flow_runs/"]
    runs = asyncio.run(child_runs(state.state_details.flow_run_id))
    assert {run.name: run.state_name for run in runs} == {
        "test · 2024-02-28": "Failed",
        "test · 2024-02-27": "Failed",
    }
    assert len(runs) == 2


def test_a_child_that_never_started_ends_with_its_parent(
    job_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = httpx.AsyncClient.send

    async def twice(self: Any, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        if request.method == "POST" and request.url.path.endswith("/flow_runs/"):
            body = json.loads(request.content)
            if body.pop("idempotency_key", None):
                twin = self.build_request("POST", "/flow_runs/", json=body)
                await send(self, twin, **kwargs)
        return await send(self, request, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(httpx.AsyncClient, "send", twice)
        state = finish(nightly(job_file, date=date(2024, 2, 28), return_state=True))

    runs = asyncio.run(child_runs(state.state_details.flow_run_id))
    by_state = {run.state_name: run.state.message for run in runs}
    assert set(by_state) == {"Failed", "Cancelled"}
    assert by_state["Cancelled"] == "It never started, and test · nightly 2024-02-28 has ended"


def test_two_backfills_of_one_range_publish_each_partition_once(lake: Lake, job_file: str) -> None:
    days = [f"2024-03-{i:02d}" for i in range(1, 7)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(50, seed=i))
    dates = (date(2024, 3, 1), date(2024, 3, 6))

    async def both() -> list[Any]:
        return list(
            await asyncio.gather(*(backfill(job_file, *dates, return_state=True) for _ in range(2)))
        )

    states = asyncio.run(both())
    assert all(state.is_final() for state in states)
    published = lake.read(lake.job())
    assert published.groupby("ds").size().to_dict() == dict.fromkeys(days, 50)
    assert published.groupby("ds")["run_id"].nunique().max() == 1


def test_a_single_partition_has_its_page(lake: Lake, job_file: str) -> None:
    lake.write("2024-02-29", make_frame(20))
    state = finish(score_partition(job_file, "2024-02-29", return_state=True))
    assert state.is_completed()
    (artifact, *_) = asyncio.run(artifacts(artifact_key("test", "run")))
    assert "| rows | " in artifact.data
    assert "sha256:" in artifact.data


def test_nonsense_is_refused_early(lake: Lake, job_file: str) -> None:
    backwards = finish(backfill(job_file, date(2024, 1, 2), date(2024, 1, 1), return_state=True))
    assert backwards.is_failed()
    assert backwards.message.startswith("The range ends before it starts.")
    state = finish(backfill(job_file, date(2020, 1, 1), date(2024, 1, 1), return_state=True))
    assert state.is_failed()
    assert "confirm with max_partitions = 1462" in state.message
    unknown = finish(nightly("nowhere.yaml", date=date(2024, 1, 1), return_state=True))
    assert unknown.is_failed()
    assert "The job file cannot be read" in unknown.message


@pytest.mark.parametrize(
    ("scheduled", "timezone", "lag", "expected"),
    [
        (
            datetime(2024, 3, 10, 6, 30, tzinfo=UTC),
            "America/New_York",
            1,
            date(2024, 3, 9),
        ),  # clocks go forward
        (datetime(2024, 3, 10, 4, 30, tzinfo=UTC), "America/New_York", 1, date(2024, 3, 8)),
        (
            datetime(2024, 11, 3, 5, 30, tzinfo=UTC),
            "America/New_York",
            0,
            date(2024, 11, 3),
        ),  # the hour that is twice
        (datetime(2024, 11, 3, 6, 30, tzinfo=UTC), "America/New_York", 0, date(2024, 11, 3)),
        (datetime(2024, 3, 1, 1, 0, tzinfo=UTC), "UTC", 1, date(2024, 2, 29)),
        (datetime(2024, 1, 1, 1, 0, tzinfo=UTC), "UTC", 1, date(2023, 12, 31)),
        (datetime(2023, 12, 31, 22, 0, tzinfo=UTC), "Asia/Tokyo", 0, date(2024, 1, 1)),
    ],
)
def test_the_logical_date(scheduled: datetime, timezone: str, lag: int, expected: date) -> None:
    assert logical_date(scheduled, timezone, lag) == expected


def test_children_are_tagged_and_the_engine_speaks_in_their_log(lake: Lake, job_file: str) -> None:
    lake.write("2024-02-28", make_frame(30))
    state = finish(nightly(job_file, date=date(2024, 2, 28), return_state=True))
    (child,) = asyncio.run(child_runs(state.state_details.flow_run_id))
    assert {"test", "2024-02-28"} <= set(child.tags)

    async def lines() -> list[str]:
        async with get_client() as client:
            logs = await client.read_logs(
                LogFilter(flow_run_id=LogFilterFlowRunId(any_=[child.id]))
            )
        return [log.message for log in logs]

    deadline = time.monotonic() + 30
    while not {"planned", "published"} <= (
        said := {word for line in asyncio.run(lines()) for word in line.split()}
    ):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
    assert "rows=30" in said


def test_mlflow_and_prefect_point_to_each_other(lake: Lake, job_file: str) -> None:
    import mlflow

    lake.write("2024-02-27", make_frame(40))
    state = finish(score_partition(job_file, "2024-02-27", return_state=True))
    client = mlflow.MlflowClient(tracking_uri=lake.registry)
    experiment = client.get_experiment_by_name("scoring/test")
    flow_run = str(state.state_details.flow_run_id)
    (tracked,) = client.search_runs(
        [experiment.experiment_id], f"tags.`prefect.flow_run_id` = '{flow_run}'"
    )
    assert tracked.info.status == "FINISHED"
    assert tracked.info.run_name == "test · 2024-02-27"
    assert flow_run in tracked.data.tags["prefect.flow_run_url"]
    assert tracked.data.metrics["rows_scored"] == 40
    assert tracked.data.params["model"] == "hgb_binary/1"
    manifest = run_history(lake.job())[0]
    assert tracked.data.tags["nightscore.run_id"] == manifest.run_id
    pages = [artifact.data for artifact in asyncio.run(artifacts("test-run"))]
    (page,) = (page for page in pages if f"scoring/test, {tracked.info.run_id}" in page)
    assert manifest.location in page
    assert not Path("mlruns").exists()


def test_mlflow_being_away_costs_its_record_only(lake: Lake) -> None:
    from nightscore.flows.tracking import track

    lake.write("2024-02-27", make_frame(10))
    manifest = lake.run(lake.job(), "2024-02-27")
    assert track(manifest, "http://127.0.0.1:9", "", "") is None


def test_evaluations_are_a_table_and_what_is_wrong_fails_the_run(
    bare_lake: Lake, tmp_path: Path
) -> None:
    job = labelled_job(bare_lake)
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    rows, days = predictions(100), DAYS[:2]
    labels = {day: labels_of(rows, day) for day in days}
    for n, day in enumerate(days):
        publish(job, day, rows, n=n)
    contradiction = labels[days[1]].with_columns(late=1 - pl.col("late"))
    write_labels(bare_lake, pl.concat([*labels.values(), contradiction]))

    state = finish(evaluate(str(path), return_state=True))
    assert state.is_failed()
    assert "1 partition could not be evaluated; the others were." in state.message
    assert days[1] in state.message
    table = asyncio.run(artifacts("test-evaluate"))[-1]
    assert table.description == "1 partition evaluated, 0 unchanged; 1 could not be evaluated"
    (row,) = json.loads(table.data)
    assert (row["partition"], row["labelled"], row["matured"]) == (days[0], "100.0%", "yes")
    assert " to " in row["roc_auc"]

    write_labels(bare_lake, pl.concat(labels.values()))
    dates = (date(2024, 3, 1), date(2024, 3, 2))
    state = finish(evaluate(str(path), *dates, return_state=True))
    assert state.message == "1 partition evaluated, 1 unchanged"
    latest = json.loads(asyncio.run(artifacts("test-evaluate"))[-1].data)
    assert [row["partition"] for row in latest] == [days[1], days[0]]

    plotted = asyncio.run(artifacts("test-performance"))[-1]
    assert plotted.description == state.message
    assert "](data:image/png;base64," in plotted.data
    assert f"| {days[1]} | " in plotted.data

    unseen, _ = [publish(job, days[1], rows, n=n) for n in (7, 8)]
    replaced = finish(evaluate(str(path), run_id=unseen.run_id, return_state=True))
    assert replaced.message == "1 partition evaluated, 0 unchanged"
    latest = json.loads(asyncio.run(artifacts("test-evaluate"))[-1].data)
    assert latest[0]["partition"] == days[1], "what readers see stays its own evaluation"
    both = finish(evaluate(str(path), dates[0], run_id=unseen.run_id, return_state=True))
    assert "A run and a range were given." in both.message

    swapped = finish(evaluate(str(path), dates[1], dates[0], return_state=True))
    assert "The range ends before it starts." in swapped.message


def test_what_needs_no_workers_is_given_up_when_its_time_is_up() -> None:
    assert asyncio.run(within_time(60, lambda: 7)) == 7

    end = threading.Event()
    with pytest.raises(TimeoutError):
        asyncio.run(within_time(0.01, end.wait))
    end.set()


def test_a_batch_scores_several_partitions_in_one_run(lake: Lake, job_file: str) -> None:
    days = [f"2024-03-{i:02d}" for i in range(1, 8)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(50, seed=i))
    lake.features.write_bytes(f"ds={days[2]}/part-0.parquet", b"broken")
    state = finish(
        backfill(
            job_file,
            date(2024, 3, 1),
            date(2024, 3, 7),
            partitions_per_run=3,
            order=Order.OLDEST,
            return_state=True,
        )
    )
    assert state.message.startswith("6 done, 1 failed, 0 not run; failed: 2024-03-03")
    runs = asyncio.run(children(state.state_details.flow_run_id))
    assert runs == {
        "test · 2024-03-01 … 2024-03-03 (3)": "Failed",
        "test · 2024-03-04 … 2024-03-06 (3)": "Completed",
        "test · 2024-03-07": "Completed",
    }
    assert set(open_publisher(Workspace(lake.job())).all_live()) == set(days) - {days[2]}


def test_what_may_pass_is_tried_again(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightscore.flows import partition

    asked = tmp_path / "asked"
    n_attempts = 1
    monkeypatch.setattr(retry, "MAX_ATTEMPTS", n_attempts)  # each costs the start of a worker

    class Unlucky(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        """Kills its process in each attempt of the first run, once it is armed."""

        def fit(self, x: Any, y: Any = None) -> Any:
            self.fitted_ = True
            return self

        def predict(self, x: Any) -> Any:
            if asked.exists():
                n_asked = len(list(asked.iterdir()))
                (asked / str(n_asked)).touch()
                if n_asked < n_attempts:
                    os._exit(1)
            return np.asarray(x)[:, 0]

    monkeypatch.setattr(
        partition, "_score", partition._score.with_options(retry_delay_seconds=[0, 0])
    )
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    frame = make_frame(20)
    add_model(lake, tmp_path, "unlucky", Unlucky().fit(frame[["a"]]), frame[["a"]])
    asked.mkdir()
    lake.write("2024-02-29", frame)
    job = lake.job("unlucky")
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))

    state = finish(score_partition(str(path), "2024-02-29", return_state=True))

    assert state.is_completed(), state.message
    second, first = run_history(job)
    assert (first.status, second.status) == ("failed", "published")
    assert first.error
    assert first.error.type == "WorkerError"
    assert lake.read(job)["prediction"].tolist() == frame["a"].tolist()


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_run_that_takes_too_long_or_is_cancelled_stops_soon(
    lake: Lake, is_cancelled: bool
) -> None:
    for i in range(8):
        lake.write("2024-02-29", make_frame(70_000, seed=i), f"p{i}")
    job, pool, began = lake.job(), WorkerPool(), threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, ShardScored):
            began.set()

    score = functools.partial(
        run,
        job,
        "2024-02-29",
        pool=pool,
        cache=lake.cache,
        now=datetime.now(UTC),
        listeners=[listen],
    )

    async def attempt() -> Any:
        running = asyncio.create_task(run_within(60 if is_cancelled else 0.01, pool, score))
        if is_cancelled:
            await asyncio.to_thread(began.wait, 60)
            running.cancel()
        return await running

    if is_cancelled:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(attempt())
    else:
        assert "its time limit" in asyncio.run(attempt()).error.message
    newest = run_history(job)[0]
    assert newest.status == "failed"
    assert newest.error
    assert newest.error.type == "InterruptedRunError"
    assert pool.is_stopped
    assert lake.run(job).status == "published"


def test_progress_tells_rows_pace_and_time_left() -> None:
    progress = RunProgress("2024-02-29")
    assert progress.show() is None
    progress(RunPlanned("run", "2024-02-29", 1_000, 10_000, 10, 2, n_rows_resumed=200))
    percent, text = progress.show() or (0.0, "")
    assert (percent, text) == (20.0, "2024-02-29: 200 of 1,000 rows")
    progress(RowsScored("run", "2024-02-29", 100))
    assert (progress.show() or (0.0, ""))[0] == 30.0, "before a shard is done"
    progress(ShardScored("run", "2024-02-29", 3, 300, 0, 0.1))
    percent, text = progress.show() or (0.0, "")
    assert percent == 50.0
    assert re.fullmatch(r"2024-02-29: 500 of 1,000 rows · [\d,]+ rows/s · [\d.]+ s left", text)
    whole = BackfillProgress(4, 400)
    whole.add(1, 100, 0)
    whole.add(1, 0, 1)
    percent, text = whole.show() or (0.0, "")
    assert percent == 50.0
    assert re.fullmatch(r"2 of 4 partitions, 1 failed · 100 of 400 rows · [\d.]+ s left", text)


def test_progress_is_an_artifact_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightscore.flows.ui.progress.PERIOD_S", 0.02)
    progress = RunProgress("2024-02-29")

    @flow(name="watched")
    async def watched() -> None:
        async with progress_artifact(progress, "watched-progress"):
            progress(RunPlanned("run", "2024-02-29", 100, 10, 2, 1))
            progress(ShardScored("run", "2024-02-29", 0, 40, 0, 0.1))
            while not (shown := await artifacts("watched-progress")):
                await asyncio.sleep(0.02)
            assert shown[0].data == 40
            progress(ShardScored("run", "2024-02-29", 1, 60, 0, 0.1))

    asyncio.run(watched())
    (artifact,) = asyncio.run(artifacts("watched-progress"))
    assert artifact.data == 100
    assert artifact.description.startswith("2024-02-29: 100 of 100 rows")


def test_jobs_are_found_by_name(lake: Lake, job_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSCORE_JOBS", str(Path(job_file).parent))
    lake.write("2024-02-29", make_frame(5))
    assert finish(score_partition("job", "2024-02-29", return_state=True)).is_completed()
    unknown = finish(nightly("jub", date=date(2024, 2, 29), return_state=True))
    assert "There is no job jub" in unknown.message
    assert "near: job" in unknown.message


@pytest.mark.parametrize(
    ("modes", "model", "options", "extra"),
    [
        (["missing", "failed"], "current", "--from 2024-03-01 --to 2024-03-31", []),
        (
            ["stale"],
            "3",
            "--from 2024-03-01 --to 2024-03-31 --mode stale --mode failed --model 3",
            ["mode", "model"],
        ),
        (["all"], "current", "--from 2024-03-04 --to 2024-03-09 --mode all", ["mode"]),
    ],
)
def test_what_to_run_again(modes: list[str], model: str, options: str, extra: list[str]) -> None:
    command, parameters = resume_command(
        "my job.yaml",
        date(2024, 3, 1),
        date(2024, 3, 31),
        modes,
        model,
        ["2024-03-09", "2024-03-04"],
    )
    assert command == f"nightscore backfill 'my job.yaml' {options}"
    given = json.loads(parameters)
    assert [key for key in given if key not in ("job", "start", "end")] == extra
    left = modes if modes in (["missing", "failed"], ["all"]) else [*modes, "failed"]
    assert given.get("mode", modes) == left, "what was stale and failed is `failed` now"
    assert f"--from {given['start']} --to {given['end']}" in command


def test_pages_stay_small(lake: Lake) -> None:
    from nightscore.operations.backfill import BackfillItem, BackfillPlan
    from nightscore.schemas.manifest import Manifest, read_record

    golden = Path(__file__).parent.parent / "golden" / "manifest-1.json"
    assert len(run_markdown(read_record(golden.read_text(), Manifest))) < 20_000
    days = [f"2024-{m:02d}-{d:02d}" for m in range(1, 13) for d in range(1, 29)]
    items = tuple(BackfillItem(day, "score", "why") for day in days)
    page = backfill_markdown(
        lake.job(),
        BackfillPlan(items),
        {value: Outcome(value, False, "x" * 2_000) for value in days},
        ("a", "b"),
    )
    assert len(page) < 100_000
    assert page.count("❌") == len(items) + 1
    assert "and 286 more: 2024-02-23, " in page
