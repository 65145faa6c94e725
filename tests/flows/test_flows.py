"""The flows, in Prefect's own test server."""

import asyncio
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from scoring.outputs.publish import open_publisher
from tests.conftest import Lake
from tests.models import make_frame

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        ArtifactFilter,
        ArtifactFilterKey,
        FlowRunFilter,
        FlowRunFilterParentFlowRunId,
    )
    from prefect.settings import temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    from flows.artifacts import artifact_key, outcome_markdown, run_markdown
    from flows.backfill import DateRange, Mode, Order, backfill
    from flows.nightly import logical_date, nightly
    from flows.partition import score_partition

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def harness() -> Iterator[None]:
    quiet = {
        "server.services.event_persister.enabled": False,
        "server.services.triggers.enabled": False,
        "flows.heartbeat_frequency": None,
    }
    with temporary_settings(quiet), prefect_test_harness(server_startup_timeout=120):  # type: ignore[arg-type]
        yield


@pytest.fixture
def job_file(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(lake.job().model_dump(mode="json")))
    return str(path)


def finish(awaitable: Any) -> Any:
    async def ended() -> Any:
        return await awaitable

    return asyncio.run(ended())


async def artifacts(key: str) -> list[Any]:
    async with get_client() as client:
        return await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))


async def children(parent: Any) -> dict[str, str]:
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]))
        )
    return {run.name: run.state_name for run in runs}


def test_nightly_scores_the_date_and_late_data(lake: Lake, job_file: str) -> None:
    for i, day in enumerate(("2024-02-27", "2024-02-28", "2024-02-29")):
        lake.write(day, make_frame(100 + i, seed=i))
    first = finish(nightly(job_file, date=date(2024, 2, 28), return_state=True))
    assert first.is_completed()
    assert first.message == "2024-02-28: 101 rows scored by hgb_binary v1, 0 quarantined"
    lake.write("2024-02-28", make_frame(150))
    second = finish(nightly(job_file, date=date(2024, 2, 29), look_back_days=3, return_state=True))
    assert second.is_completed(), second.message
    assert second.message.endswith("late data: 2 more partitions, 0 failed")
    live = open_publisher(lake.job()).all_live()
    assert set(live) == {"2024-02-27", "2024-02-28", "2024-02-29"}
    assert len(lake.read(lake.job())) == 100 + 150 + 102
    again = finish(nightly(job_file, date=date(2024, 2, 29), look_back_days=3, return_state=True))
    assert again.message == "2024-02-29: 102 rows were published before by hgb_binary v1, 0 quarantined"


def test_a_failed_night_says_why_in_its_state(lake: Lake, job_file: str) -> None:
    lake.write("2024-02-28", make_frame(5).drop(columns="a"))
    state = finish(nightly(job_file, date=date(2024, 2, 28), return_state=True))
    assert state.is_failed()
    assert "a: is missing (double)" in state.message


def test_a_backfill_is_visible_day_by_day_and_again_runs_only_what_is_left(lake: Lake, job_file: str) -> None:
    days = [f"2024-03-{i:02d}" for i in range(1, 11)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(50, seed=i))
    for day in (days[3], days[7]):
        lake.features.write_bytes(f"ds={day}/part-0.parquet", b"broken")
    dates = DateRange(start=date(2024, 3, 1), end=date(2024, 3, 10))

    planned = finish(backfill(job_file, dates, dry_run=True, return_state=True))
    assert planned.message.startswith("planned only: 10 of 10 partitions to score, 400 rows")
    assert not open_publisher(lake.job()).all_live()

    state = finish(backfill(job_file, dates, max_parallel=3, return_state=True))
    assert state.is_failed()
    assert state.message == "8 done, 2 failed, 0 not run"
    runs = asyncio.run(children(state.state_details.flow_run_id))
    assert {name: runs[name] for name in sorted(runs)} == {
        f"test · {day}": "Failed" if day in (days[3], days[7]) else "Completed" for day in days
    }
    assert set(open_publisher(lake.job()).all_live()) == set(days) - {days[3], days[7]}
    matrix = asyncio.run(artifacts("test-backfill"))[-1].data
    assert matrix.count("❌") == 2 + 1
    assert f"nightscore backfill {job_file} --from 2024-03-01 --to 2024-03-10" in matrix
    assert f"**{days[3]}**: 1 of 1 files cannot be read as Parquet" in matrix

    for day in (days[3], days[7]):
        lake.write(day, make_frame(50))
    again = finish(backfill(job_file, dates, return_state=True))
    assert again.message == "2 done, 0 failed, 0 not run"
    assert len(asyncio.run(children(again.state_details.flow_run_id))) == 2
    done = finish(backfill(job_file, dates, order=Order.OLDEST, return_state=True))
    assert done.message.startswith("nothing to do: 0 of 10")
    forced = finish(
        backfill(
            job_file, DateRange(start=date(2024, 3, 1), end=date(2024, 3, 2)), mode=[Mode.ALL], return_state=True
        )
    )
    assert forced.message == "2 done, 0 failed, 0 not run"


def test_two_backfills_of_one_range_publish_each_partition_once(lake: Lake, job_file: str) -> None:
    days = [f"2024-03-{i:02d}" for i in range(1, 7)]
    for i, day in enumerate(days):
        lake.write(day, make_frame(50, seed=i))
    dates = DateRange(start=date(2024, 3, 1), end=date(2024, 3, 6))

    async def both() -> list[Any]:
        return list(await asyncio.gather(*(backfill(job_file, dates, return_state=True) for _ in range(2))))

    states = asyncio.run(both())
    assert all(state.is_final() for state in states)
    found = lake.read(lake.job())
    assert found.groupby("ds").size().to_dict() == dict.fromkeys(days, 50)
    assert found.groupby("ds")["run_id"].nunique().max() == 1


def test_a_single_partition_has_its_page(lake: Lake, job_file: str) -> None:
    lake.write("2024-02-29", make_frame(20))
    state = finish(score_partition(job_file, "2024-02-29", return_state=True))
    assert state.is_completed()
    (artifact, *_) = asyncio.run(artifacts(artifact_key("test", "run")))
    assert "| rows | " in artifact.data
    assert "sha256:" in artifact.data


def test_nonsense_is_refused_early(lake: Lake, job_file: str) -> None:
    with pytest.raises(ValidationError, match="ends before it starts"):
        DateRange(start=date(2024, 1, 2), end=date(2024, 1, 1))
    state = finish(backfill(job_file, DateRange(start=date(2020, 1, 1), end=date(2024, 1, 1)), return_state=True))
    assert state.is_failed()
    assert "--max-partitions" in state.message
    unknown = finish(nightly("nowhere.yaml", date=date(2024, 1, 1), return_state=True))
    assert unknown.is_failed()
    assert "The job file cannot be read" in unknown.message


@pytest.mark.parametrize(
    ("scheduled", "timezone", "lag", "expected"),
    [
        (datetime(2024, 3, 10, 6, 30, tzinfo=UTC), "America/New_York", 1, date(2024, 3, 9)),  # clocks go forward
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


def test_pages_stay_small(lake: Lake) -> None:
    from schemas.manifest import read_manifest
    from scoring.backfill import BackfillItem, BackfillPlan

    golden = Path(__file__).parent.parent / "golden" / "manifest-1.json"
    assert len(run_markdown(read_manifest(golden.read_text()))) < 20_000
    items = tuple(BackfillItem(f"2024-{m:02d}-{d:02d}", "score", "why") for m in range(1, 13) for d in range(1, 29))
    page = outcome_markdown("job", BackfillPlan(items), {item.value: "x" * 2_000 for item in items[:100]}, "again")
    assert len(page) < 100_000
