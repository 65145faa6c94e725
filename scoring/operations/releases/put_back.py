"""Puts back what readers saw before a version went live: the predictions that it has published.

Each partition is a rollback of its own, with a record. What is put back already is left alone, so
the same command again goes on where an earlier one has died.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from nightscore.inputs.partitions import parse_value, partition_date
from nightscore.ledger.job_history import JobHistory
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.monitoring.drift.recompare_runs import compare_later
from nightscore.operations.releases.demote import TakenBack, taken_back
from nightscore.operations.releases.target import ReleaseTarget
from nightscore.operations.rollback import RollbackItem, plan_rollback, roll_back
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import exact_uri
from nightscore.schemas.partition import order_of
from nightscore.schemas.text import counted


def plan_put_back(target: ReleaseTarget) -> list[RollbackItem]:
    """What to do with each partition whose published predictions are the demoted version's.

    So it is with those of other versions that were live since the one that is live again. The
    newest results of any version that was not come back. A partition that none of those has
    published has nothing to put back: the item says so. What a version had published before it was
    live, as a backfill by its number does, stays.

    Args:
        target: The alias and its log, whose newest entry is a demotion.

    Raises:
        ConflictError, ReleaseError: The newest entry is none, or the log does not say since when
            the version was live.
    """
    taken = taken_back(target, target.log.read())
    values = list(_published_by(target, taken))

    pattern = target.job.input.partition_format
    values.sort(key=lambda value: order_of(value, pattern))

    if not values:
        return []

    uris = [exact_uri(target.alias.model, version) for version in taken.versions]
    return plan_rollback(target.job, values, other_than=uris)


def put_back(
    target: ReleaseTarget, items: Sequence[RollbackItem], cache: ModelCache
) -> Iterator[Manifest]:
    """Put back one partition after another; yields the record of each.

    Args:
        target: Whose job's predictions.
        items: As they were planned.
        cache: Models of this host.
    """
    workspace = Workspace(target.job)
    restored: list[str | None] = []

    for item in items:
        if item.action != "roll back" or item.target is None:
            continue

        now = datetime.now(UTC)
        value = item.target.partition
        manifest = roll_back(
            target.job, value, item.target, item.live_run_id, now, cache, compares_later=False
        )
        if not manifest.error:
            restored.append(value)
        yield manifest

    # Once for all: a partition may be a neighbour of any that were put back before it.
    compare_later(workspace, restored, cache, datetime.now(UTC))


def describe_left(job: ScoringJob, items: Sequence[RollbackItem]) -> str:
    """How to score the partitions that cannot be put back. Empty: there are none.

    Readers still see a demoted version's predictions of them.

    Args:
        job: Whose predictions.
        items: As they were planned.
    """
    left = [parse_value(item.value) for item in items if item.action == "refuse"]
    if not left:
        return ""

    days = [day for value in left if (day := partition_date(job, value)) is not None]
    command = job.command("run", "PARTITION")
    if len(days) == len(left):
        dates = ("--from", str(min(days)), "--to", str(max(days)))
        command = job.command("backfill", *dates, "--mode", "stale")

    seen = counted(len(left), "partition")
    return (
        f"Readers still see the demoted version's predictions of {seen}. "
        f"`{command}` scores them by the version that is live now."
    )


def _published_by(target: ReleaseTarget, taken: TakenBack) -> Iterator[str | None]:
    """The partitions whose results that readers see were published by what was taken back."""
    workspace = Workspace(target.job)
    live = open_publisher(workspace).all_live()
    summaries = {run.run_id: run for run in JobHistory(workspace).summaries()}

    for value, seen in live.items():
        run = summaries.get(seen.run_id or "")
        if run is None or run.model_name != target.alias.model:
            continue

        is_later = (run.finished_at or run.started_at) >= taken.since
        if run.model_version in taken.versions and is_later:
            yield value
