"""A backfill that is killed at a commit of several partitions: each is old or new, and all are told right."""

import functools
import os
import signal
from pathlib import Path

import pytest
from deltalake import DeltaTable

import nightscore.operations.backfill_runner
from nightscore.cli.app import run_command_line
from nightscore.operations.backfill import plan_backfill
from nightscore.operations.backfill_runner import score_items
from nightscore.operations.history import run_history
from nightscore.outputs.delta_publisher import DeltaPublisher
from nightscore.outputs.publisher import Publication
from tests.faults.test_kills import job_file
from tests.support.lake import Lake
from tests.support.models import make_frame
from tests.support.warm_commands import run_command

DAYS = [f"2024-03-0{i}" for i in range(1, 6)]


def run_and_be_killed_at_a_shared_commit(*, after: bool) -> None:
    """Run the command that `sys.argv` has, and be killed once several partitions are committed."""
    commit = DeltaPublisher._commit

    def die(self: DeltaPublisher, table: DeltaTable, publications: list[Publication]) -> None:
        is_shared = len(publications) > 1
        if after or not is_shared:
            commit(self, table, publications)
        if is_shared:
            os.kill(os.getpid(), signal.SIGKILL)

    DeltaPublisher._commit = die  # type: ignore[method-assign, assignment]
    nightscore.operations.backfill_runner.available_cores = lambda: 2  # type: ignore[attr-defined]
    run_command_line()


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_a_shared_commit_then_given_again(
    after: bool, lake: Lake, tmp_path: Path
) -> None:
    for seed, day in enumerate(DAYS):
        lake.write(day, make_frame(100, seed=seed))
    job = lake.job()
    done = run_command(
        *("backfill", str(job_file(lake, job, tmp_path)), "--from", DAYS[0], "--to", DAYS[-1]),
        program=functools.partial(run_and_be_killed_at_a_shared_commit, after=after),
        NIGHTSCORE_CACHE=str(lake.cache.root),
    )
    assert done.returncode == -signal.SIGKILL, done.stderr

    seen = set(lake.read(job)["ds"]) if after else {DAYS[-1]}
    assert len(seen) > 1 or not after
    published = {run.partition for run in run_history(job) if run.status == "published"}
    assert published == seen == set(lake.read(job)["ds"])
    assert len(lake.read(job)) == 100 * len(seen)

    plan = plan_backfill(job, lake.cache, DAYS)
    assert {item.value for item in plan.to_score} == set(DAYS) - seen
    again = score_items(job, plan.to_score, lake.cache)
    assert {manifest.status for manifest in again} <= {"published"}
    rows = lake.read(job)
    assert rows.groupby("ds").size().to_dict() == dict.fromkeys(DAYS, 100)
    assert rows.groupby("ds")["run_id"].nunique().max() == 1
