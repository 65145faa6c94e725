"""Puts earlier results back: one commit a partition, nothing is computed, and each is a run of its own."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from nightscore.drift.recompare import compare_later
from nightscore.errors import ConflictError, InvalidJobError, LocationNotFoundError, ScoringError
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.lease import Lease
from nightscore.ledger.record import RunRecord
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.outputs.publish import open_publisher, republication
from nightscore.outputs.publisher import Publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import encode_folder, show_value

Action = Literal["roll back", "leave", "refuse"]


@dataclass(frozen=True, slots=True)
class RollbackItem:
    """One partition of a rollback."""

    value: str
    action: Action
    reason: str
    target: Manifest | None = None
    """The run whose results will be seen again."""
    live_run_id: str | None = None
    """The run whose results are seen now."""


def publications(manifests: Sequence[Manifest]) -> list[Manifest]:
    """The runs of one partition that readers have seen, the latest publication first."""
    seen = [
        m
        for m in manifests
        if m.status == "published" and m.finished_at is not None and m.output.files
    ]
    return sorted(seen, key=lambda m: (m.finished_at or m.started_at, m.run_id), reverse=True)


def choose_target(
    history: Sequence[Manifest],
    live_run_id: str | None,
    run_id: str | None,
    before: datetime | None,
) -> tuple[Action, str, Manifest | None]:
    """What to put back; a pure function of the partition's publications.

    Args:
        history: As `publications` gives it.
        live_run_id: The run whose results are seen now.
        run_id: The run to go back to; None: by time.
        before: To what was seen at this time; None: to what was seen before the present results, once: the same
            rollback given again, since the first one ended half way through its range, finishes it.
    """
    if not history:
        return "leave", "nothing was ever published", None
    if run_id is not None:
        target = next((m for m in history if run_id in (m.run_id, m.result_id)), None)
        if target is None:
            return "leave", f"run {run_id} did not publish this partition", None
    elif before is not None:
        target = next((m for m in history if m.finished_at and m.finished_at <= before), None)
        if target is None:
            return (
                "refuse",
                f"nothing was published before {before.isoformat(timespec='seconds')}",
                None,
            )
    elif history[0].restores == live_run_id and live_run_id is not None:
        return (
            "leave",
            f"it was rolled back to run {live_run_id}; --run-id or --before go further",
            history[0],
        )
    else:
        target = next((m for m in history if m.result_id != live_run_id), None)
        if target is None:
            return "refuse", "there are no earlier results", None
    if target.result_id == live_run_id:
        return "leave", f"the results of run {live_run_id} are what readers see", target
    found = next((m for m in history if m.run_id == target.result_id), target)
    seen_from = found.finished_at or found.started_at
    reason = (
        f"model version {found.model.version}, published {seen_from.isoformat(timespec='seconds')}"
    )
    return "roll back", reason, found


def plan_rollback(
    job: ScoringJob,
    values: Sequence[str | None],
    run_id: str | None = None,
    before: datetime | None = None,
) -> list[RollbackItem]:
    """What would be put back, and where that is not possible.

    Raises:
        InvalidJobError: Both a run and a time are given, or no partition was published by that run.
    """
    if run_id is not None and before is not None:
        raise InvalidJobError(
            "A rollback goes to a run or to a time, not both.",
            expected="--run-id or --before",
            next_step="leave one of them out",
        )
    workspace = Workspace(job)
    publisher = open_publisher(workspace)
    live = publisher.all_live()
    items = []
    for value in values:
        now = live.get(value)
        history = publications(PartitionHistory(workspace, value).reconciled(now))
        action, reason, target = choose_target(history, now.run_id if now else None, run_id, before)
        if target is not None and action == "roll back":
            try:
                publisher.find_results(target)
            except LocationNotFoundError as error:
                action, reason = "refuse", f"its results were removed: {'; '.join(error.problems)}"
        items.append(
            RollbackItem(show_value(value), action, reason, target, now.run_id if now else None)
        )
    if run_id is not None and all(item.target is None and item.action == "leave" for item in items):
        raise InvalidJobError(
            "That run published none of these partitions.",
            job.name,
            found=run_id,
            problems=[f"{item.value}: {item.reason}" for item in items],
            next_step="`nightscore history JOB PARTITION` lists the runs",
        )
    return items


def roll_back(
    job: ScoringJob,
    value: str | None,
    target: Manifest,
    live_run_id: str | None,
    now: datetime,
    cache: ModelCache,
    *,
    compares_later: bool = True,
) -> Manifest:
    """Put the results of one partition back; returns the record of this, published or failed.

    The partition then counts as published, until its input or its model is another than now: a nightly run that
    looks back does not undo a rollback.

    Args:
        job: The job.
        value: Partition value.
        target: The run whose results will be seen again.
        live_run_id: The run whose results were seen when this was planned.
        now: In UTC.
        cache: Models of this host.
        compares_later: Compare later partitions again, whose neighbour this one is. False: the caller does, once for
            several partitions.
    """
    workspace = Workspace(job)
    folder = workspace.folder(value)
    record = RunRecord(workspace, value, now, importlib.metadata.version("nightscore"))
    record.update(
        restores=target.run_id,
        model=target.model,
        inputs=target.inputs,
        counts=target.counts,
        fingerprint=_fingerprint_now(workspace, value, cache),
    )
    publisher = open_publisher(workspace)
    try:
        with Lease(job, folder, "rollback") as lease:
            manifest = _put_back(workspace, record, publisher, target, live_run_id, lease)
    except ScoringError as error:
        return record.fail(error)
    if compares_later:
        compare_later(workspace, [value], cache, now)
    return manifest


def _put_back(
    workspace: Workspace,
    record: RunRecord,
    publisher: Publisher,
    target: Manifest,
    live_run_id: str | None,
    lease: Lease,
) -> Manifest:
    folder, value = encode_folder(target.partition_key, target.partition), target.partition
    record.save("running")
    live = publisher.live(value)
    if (live.run_id if live else None) != live_run_id:
        raise ConflictError(
            "Another run published this partition since the rollback was planned; nothing was changed.",
            folder,
            expected=f"run {live_run_id}",
            found=f"run {live.run_id if live else None}",
            next_step="plan the rollback again",
        )
    record.update(replaces=live_run_id)
    PartitionHistory(workspace, value).complete(live)
    parts, version = publisher.publish(republication(workspace, publisher, target, lease), live)
    files = tuple(part.file for part in parts)
    record.update(
        output=record.manifest.output.model_copy(update={"files": files, "table_version": version})
    )
    return record.end_published()


def _fingerprint_now(workspace: Workspace, value: str | None, cache: ModelCache) -> str:
    """Of what a run would score now; empty where that cannot be said, and a later run then scores again."""
    try:
        job = workspace.job
        partition, _ = find_partition(workspace, value)
        return PinnedModel.resolve(job, cache).fingerprint(job, partition)
    except ScoringError:
        return ""
