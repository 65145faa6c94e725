"""A long history: the same answers with an index and without, and no more work for one partition."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightscore.cli.app import build_app
from nightscore.ledger.listing_index import READ_ANYWAY
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.operations import backfill
from nightscore.operations.backfill import plan_backfill, values_to_score
from nightscore.operations.clean import clean
from nightscore.operations.partitions import PartitionStatus, partition_statuses
from nightscore.operations.plan import plan_runs
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.storage.store import Store
from tests.support.lake import Lake
from tests.support.long_history import copy_run, days_before
from tests.support.models import make_frame

LAST = date(2024, 3, 1)
N_DAYS = READ_ANYWAY + 6
CALLS = ("list_files", "list_below", "list_with_spools", "list_names", "read_bytes", "has_files")
LISTINGS = CALLS[:4]


@pytest.fixture(params=["delta", "parquet"])
def long_lake(request: pytest.FixtureRequest, lake: Lake) -> Lake:
    """More published partitions than have their records read each time."""
    lake.formats = request.param
    lake.write(f"{LAST}", make_frame(20))
    job = lake.job("logistic")
    run = lake.run(job, f"{LAST}")
    assert run.status == "published"
    extend(lake, run, LAST, N_DAYS)
    return lake


def extend(lake: Lake, run: Manifest, until: date, n_days: int) -> None:
    """Publish so many more days before a date."""
    copy_run(lake.job("logistic"), run, days_before(until, n_days), lake.cache)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often stores are asked."""
    counter: Counter[str] = Counter()

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **options: Any) -> Any:
            counter[name] += 1
            return call(*arguments, **options)

        return count

    for name in CALLS:
        monkeypatch.setattr(Store, name, counted(name, getattr(Store, name)))
    yield counter


def statuses(lake: Lake, job: ScoringJob, *values: str) -> list[PartitionStatus]:
    model = PinnedModel.resolve(job, lake.cache)
    return partition_statuses(job, model, values or None)


def indexes(job: ScoringJob) -> list[Path]:
    return sorted((Path(Workspace(job).state.root) / "index").glob("*"))


def test_an_index_changes_no_answer(long_lake: Lake, calls: Counter[str]) -> None:
    job = long_lake.job("logistic")
    read_each = statuses(long_lake, job)
    assert {status.state for status in read_each} == {"published"}
    assert len(read_each) == N_DAYS + 1
    n_indexes = len(indexes(job))
    assert n_indexes == (1 if job.output.format == "delta" else 2)

    # No record is read but the newest: it may be too young to be remembered.
    calls.clear()
    assert statuses(long_lake, job) == read_each
    assert calls["read_bytes"] <= n_indexes + 1
    assert sum(calls[name] for name in LISTINGS) <= 3

    # A backfill plans with the same listings, though it counts the rows of what is to be scored.
    missing = f"{LAST + timedelta(days=1)}"
    long_lake.write(missing, make_frame(20))
    calls.clear()
    plan = plan_backfill(job, long_lake.cache, [*days_before(LAST, N_DAYS), missing])
    assert [(item.value, item.n_rows) for item in plan.to_score] == [(missing, 20)]
    assert calls["list_names"] == 1
    shutil.rmtree(Path(long_lake.features.root, f"ds={missing}"))

    # All are stale for another model, and that is said without reading their records.
    other = long_lake.job("ridge_multi_output")
    calls.clear()
    stale = statuses(long_lake, other)
    assert {status.state for status in stale} == {"stale"}
    assert calls["read_bytes"] <= n_indexes + 1

    # What has changed is named from the record.
    changed, gone = f"{LAST - timedelta(days=3)}", f"{LAST - timedelta(days=5)}"
    long_lake.write(changed, make_frame(21))
    folder = Path(Workspace(job).predictions.root) / f"ds={gone}"
    next(folder.glob("*.parquet")).unlink()
    with_index = {status.value: status for status in statuses(long_lake, job)}
    assert with_index[changed].reasons == (
        f"input: 1 changed file, first ds={changed}/part-0.parquet",
    )
    assert with_index[gone].state == "missing"

    for index in indexes(job):
        index.unlink()
    assert {status.value: status for status in statuses(long_lake, job)} == with_index
    assert len(indexes(job)) == n_indexes, "they are made anew"


def test_one_partition_takes_the_same_calls_whatever_the_history(
    long_lake: Lake, calls: Counter[str]
) -> None:
    job, last = long_lake.job("logistic"), f"{LAST}"
    nights = [f"{LAST - timedelta(days=n)}" for n in range(3)]

    def count() -> list[Counter[str]]:
        counts = []
        for ask in (
            lambda: statuses(long_lake, job, last),
            lambda: long_lake.run(job, last),
            lambda: long_lake.run(job, last, force=True),
            lambda: values_to_score(job, long_lake.cache, nights, ("missing", "stale")),
            lambda: plan_backfill(job, long_lake.cache, nights),
            lambda: plan_backfill(job, long_lake.cache, nights, ["all"]),
        ):
            calls.clear()
            ask()
            counts.append(Counter(calls))
        return counts

    count()  # the first run again has a record fewer to read
    run = long_lake.run(job, last)
    before = count()
    extend(long_lake, run, LAST - timedelta(days=N_DAYS), N_DAYS)
    after = count()
    for few, many in zip(before, after, strict=True):
        # Each force adds one record of the same partition.
        assert many - few in (Counter(), Counter(read_bytes=1), Counter(read_bytes=2))
    assert indexes(job) == []


def test_an_estimate_comes_from_the_newest_others(
    long_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, new = long_lake.job("logistic"), f"{LAST + timedelta(days=1)}"
    long_lake.write(new, make_frame(20))

    plan = plan_backfill(job, long_lake.cache, [new])
    assert [item.action for item in plan.items] == ["score"]
    assert plan.estimated_s() is not None

    nothing = plan_backfill(job, long_lake.cache, [f"{LAST}"])
    assert nothing.estimated_s() == 0.0

    monkeypatch.setattr(backfill, "LISTED_ALONE", 0)
    assert plan_backfill(job, long_lake.cache, [new]) == plan, "all runs took the same time"


def test_a_plan_lists_the_names_of_an_input_once(long_lake: Lake, calls: Counter[str]) -> None:
    job = long_lake.job("logistic")
    (planned,) = plan_runs(job, [f"{LAST}"], pool=long_lake.pool, cache=long_lake.cache)
    assert planned.action == "skip"
    assert calls["list_names"] == 1


def test_plans_and_cleaning_read_no_records_that_the_index_knows(
    long_lake: Lake, calls: Counter[str]
) -> None:
    job, now = long_lake.job("logistic"), datetime.now(UTC) + timedelta(days=9)
    replaced = long_lake.run(job, f"{LAST}", force=True)
    assert replaced.status == "published"
    orphan = f"checkpoints/{replaced.run_id[:-4]}0000/shard-0.json"
    Workspace(job).state.write_bytes(orphan, b"{}")
    values = days_before(LAST, N_DAYS)

    def ask() -> tuple[Any, list[str], list[str]]:
        plan = plan_backfill(job, long_lake.cache, values)
        kept = clean(job, now, timedelta(0), delete=False)
        unneeded = clean(job, now, timedelta(0), timedelta(days=2), delete=False)
        return plan, kept, unneeded

    answers = ask()
    plan, kept, unneeded = answers
    assert {item.action for item in plan.items} == {"skip"}
    assert kept == [orphan]
    assert len(unneeded) == 2, "and what was replaced days ago"

    calls.clear()
    assert ask() == answers
    n_indexes = len(indexes(job))
    # The two newest records are not old enough to be remembered.
    assert calls["read_bytes"] <= 3 * (n_indexes + 2)
    assert sum(calls[name] for name in LISTINGS) <= 15


def test_runs_are_listed_by_the_page(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.write(f"{LAST}", make_frame(20))
    job = lake.job("logistic")
    extend(lake, lake.run(job, f"{LAST}"), LAST, N_DAYS)
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    app = build_app(["runs"])

    def runs(*options: str) -> str:
        app(["runs", str(path), *options], standalone_mode=False)
        return capsys.readouterr().out

    shown = runs()
    assert f"the newest 50 of {N_DAYS + 1} runs" in shown
    assert f"nightscore runs {path} --limit 0` lists all" in shown
    assert shown.count(" published ") == 50

    everything = runs("--limit", "0")
    assert everything.count(" published ") == N_DAYS + 1
    assert "lists all" not in everything
    assert len(json.loads(runs("--json"))) == 50
    assert len(json.loads(runs("--json", "--limit", "0"))) == N_DAYS + 1
