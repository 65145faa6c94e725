"""New York's flights of 2013: the report names what really happened, and is calm about the season."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from nightscore.engine.backends.local import WorkerPool
from nightscore.flows.demo.flights import partition_file
from nightscore.flows.demo.sample import Sample
from nightscore.inputs.jobfile import load_job
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.monitoring.drift.findings import counted
from nightscore.operations.report import read_report, reported_run
from nightscore.runs.run import run
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DriftRecord

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # its first one scores 69 days

JUNE = [date(2013, 5, 27) + timedelta(days=i) for i in range(37)]
"""Four weeks, and the week in which a quarter of all flights was an hour late."""
DECEMBER = [date(2013, 11, 16) + timedelta(days=i) for i in range(32)]
"""Four weeks, and the snow of 14 and 17 December."""


@pytest.fixture(scope="module")
def job(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> ScoringJob:
    root = tmp_path_factory.mktemp("year")
    lake = replace(sample.lake, predictions=str(root / "predictions"))
    sample.write_job(root / "job.yaml", sample.registry, lake)
    return load_job(str(root / "job.yaml"))


@pytest.fixture(scope="module")
def cache(sample: Sample) -> ModelCache:
    return ModelCache(sample.cache)


@pytest.fixture(scope="module")
def days(job: ScoringJob, cache: ModelCache) -> Iterator[dict[date, DriftRecord]]:
    """What the nights have found, each with what the nights before it had left."""
    drift_by_day = {}
    with WorkerPool() as pool:
        model = PinnedModel.resolve(job, cache)
        for day in (*JUNE, *DECEMBER):
            manifest = run(
                job, str(day), pool=pool, cache=cache, now=datetime.now(UTC), model=model
            )
            assert manifest.status == "published", manifest.error
            assert manifest.drift
            assert not manifest.drift.errors
            drift_by_day[day] = manifest.drift
    yield drift_by_day


def alarms(drift: DriftRecord) -> set[str]:
    return {f.column for f in drift.findings if counted(f) in ("warning", "critical")}


def movement(drift: DriftRecord) -> float:
    assert drift.score_movement is not None
    return drift.score_movement


def test_the_delays_of_june_and_july_are_named(
    sample: Sample, days: dict[date, DriftRecord]
) -> None:
    first = days[date(2013, 7, 1)]
    assert "probability" in alarms(first), "the predictions themselves moved"
    assert movement(first) > 0.08
    assert first.expected_rate
    assert first.baseline_rate
    assert first.expected_rate > 1.4 * first.baseline_rate, "by labels of held-out days"
    labels = pq.read_table(partition_file(sample.labels, date(2013, 7, 1)), partitioning=None)
    assert pc.mean(labels["late"].cast("int8")).as_py() > first.expected_rate, "it came worse"
    moved = [
        f for f in first.findings if f.role == "feature" and counted(f) in ("warning", "critical")
    ]
    assert {f.column for f in moved[:2]} <= {"humid", "dewp", "pressure", "precip"}, (
        "the weather explains it"
    )
    assert moved[0].impact
    assert moved[0].impact > 0.05
    assert movement(first) > 3 * abs(sum(movement(days[day]) for day in JUNE[14:21]) / 7)


def test_the_snow_of_december_is_named(days: dict[date, DriftRecord]) -> None:
    for day in (date(2013, 12, 14), date(2013, 12, 17)):
        snow = days[day]
        assert {"visib", "precip"} & alarms(snow), alarms(snow)
        (first, *_) = [f for f in snow.findings if f.role == "feature" and counted(f) != "info"]
        assert first.column in ("visib", "precip", "pressure"), (
            "ranked by what it does to the score"
        )
        assert first.impact
        assert first.impact > 0.05
        assert movement(snow) > 0.05


def test_what_is_the_season_is_no_alarm(days: dict[date, DriftRecord]) -> None:
    """Trained on the winter, every column of the weather and the calendar is another one in June."""
    settled = [days[day] for day in JUNE[21:]]
    for column in ("temp", "month", "weekday", "hour"):
        assert sum(column in alarms(drift) for drift in settled) <= 3, column
    graded = [
        f for drift in settled for f in drift.findings if f.severity in ("warning", "critical")
    ]
    assert graded, "the summer is no winter"
    calmed = [f for f in graded if f.is_seasonal]
    assert len(calmed) > 0.7 * len(graded), (
        "most of what differs from the winter is only the summer"
    )
    assert any(drift.verdict in ("ok", "info") for drift in settled)


def test_a_finding_says_since_when(days: dict[date, DriftRecord]) -> None:
    seen = [(str(day), finding) for day, drift in days.items() for finding in drift.findings]
    new = [(day, finding) for day, finding in seen if finding.status == "new"]
    ongoing = [(day, finding) for day, finding in seen if finding.status == "ongoing"]
    assert new
    assert ongoing
    assert all(finding.since == day for day, finding in new)
    assert all(finding.since and finding.since < day for day, finding in ongoing)


def test_its_page(
    job: ScoringJob, cache: ModelCache, days: dict[date, DriftRecord], tmp_path: Path
) -> None:
    html = read_report(job, reported_run(job, "2013-07-01"), cache)
    assert 100_000 < len(html.encode()) < 400_000
    assert html.count("<svg") > 24
    assert "driven by" in html.lower()
