"""Restores earlier results of partitions.

Nothing is computed: each partition takes one commit, and each rollback is a run with a record of
its own.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from nightscore.errors import ConflictError, InvalidJobError, LocationNotFoundError, ScoringError
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.history import PartitionHistory, publications
from nightscore.ledger.lease import Lease
from nightscore.ledger.live import Live
from nightscore.ledger.run_record import RunRecord
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.monitoring.drift.recompare_runs import compare_later
from nightscore.outputs.publish import open_publisher, republication
from nightscore.outputs.publisher import Publisher
from nightscore.process import installed_version
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import exact_uri, named_model
from nightscore.schemas.partition import show_value

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


class RollbackChoice(NamedTuple):
    """What to do with a partition, why, and the run whose results will be seen again."""

    action: Action
    reason: str
    target: Manifest | None = None


def choose_target(
    history: Sequence[Manifest],
    live_run_id: str | None,
    run_id: str | None,
    before: datetime | None,
    other_than: Collection[str] = (),
) -> RollbackChoice:
    """Choose the results to restore; a pure function of the partition's publications.

    Args:
        history: As `publications` gives it.
        live_run_id: The run whose results are seen now.
        run_id: The run to go back to. None: by time.
        before: Restore what was seen at this time. None: restore what was seen before the present
            results, once. The same rollback given again, since the first one ended half way
            through its range, finishes it.
        other_than: URIs of model versions. Restore the newest results that are by none of them.
    """
    if not history:
        return RollbackChoice("leave", "nothing was ever published")

    if run_id is not None:
        choice = _choose_run(history, run_id)
    elif before is not None:
        choice = _choose_by_time(history, before)
    elif other_than:
        choice = _choose_by_model(history, other_than)
    else:
        choice = _choose_previous(history, live_run_id)

    target = choice.target
    if choice.action != "roll back" or target is None:
        return choice

    if target.result_id == live_run_id:
        reason = f"the results of run {live_run_id} are what readers see"
        return RollbackChoice("leave", reason, target)

    # A rollback has no files of its own: the run that wrote them is restored.
    writer = _find_run(history, target.result_id) or target
    published_at = writer.finished_at or writer.started_at
    shown_time = published_at.isoformat(timespec="seconds")
    model = named_model(writer.model.name, writer.model.version)
    reason = f"{model}, published {shown_time}"

    return RollbackChoice("roll back", reason, writer)


def _choose_run(history: Sequence[Manifest], run_id: str) -> RollbackChoice:
    for manifest in history:
        if run_id in (manifest.run_id, manifest.result_id):
            return RollbackChoice("roll back", "", manifest)
    return RollbackChoice("leave", f"run {run_id} did not publish this partition")


def _choose_by_time(history: Sequence[Manifest], before: datetime) -> RollbackChoice:
    for manifest in history:
        if manifest.finished_at and manifest.finished_at <= before:
            return RollbackChoice("roll back", "", manifest)
    shown_time = before.isoformat(timespec="seconds")
    return RollbackChoice("refuse", f"nothing was published before {shown_time}")


def _choose_by_model(history: Sequence[Manifest], other_than: Collection[str]) -> RollbackChoice:
    for manifest in history:
        if exact_uri(manifest.model.name, manifest.model.version) not in other_than:
            return RollbackChoice("roll back", "", manifest)
    return RollbackChoice("refuse", "no other model version has published it")


def _choose_previous(history: Sequence[Manifest], live_run_id: str | None) -> RollbackChoice:
    newest = history[0]
    if live_run_id is not None and newest.restores == live_run_id:
        reason = f"it was rolled back to run {live_run_id}; --run-id or --before go further"
        return RollbackChoice("leave", reason, newest)

    for manifest in history:
        if manifest.result_id != live_run_id:
            return RollbackChoice("roll back", "", manifest)
    return RollbackChoice("refuse", "there are no earlier results")


def _find_run(history: Sequence[Manifest], run_id: str) -> Manifest | None:
    return next((manifest for manifest in history if manifest.run_id == run_id), None)


def plan_rollback(
    job: ScoringJob,
    values: Sequence[str | None],
    run_id: str | None = None,
    before: datetime | None = None,
    other_than: Collection[str] = (),
) -> list[RollbackItem]:
    """Choose what to restore in each partition, and say where that is not possible.

    Args:
        job: Whose partitions.
        values: Of the partitions.
        run_id: As for `choose_target`.
        before: As for `choose_target`.
        other_than: As for `choose_target`.

    Raises:
        InvalidJobError: Both a run and a time are given, or the run published none of the
            partitions.
    """
    if run_id is not None and before is not None:
        raise InvalidJobError(
            "A rollback goes to a run or to a time, not both.",
            expected="--run-id or --before",
            next_step="leave one of them out",
        )

    workspace = Workspace(job)
    publisher = open_publisher(workspace)
    live_by_value = publisher.all_live()
    items = []
    for value in values:
        live = live_by_value.get(value)
        history = publications(PartitionHistory(workspace, value).reconciled(live))
        live_run_id = live.run_id if live else None
        choice = choose_target(history, live_run_id, run_id, before, other_than)
        choice = _check_files(publisher, choice)
        items.append(
            RollbackItem(
                show_value(value), choice.action, choice.reason, choice.target, live_run_id
            )
        )

    is_unknown = all(item.target is None and item.action == "leave" for item in items)
    if run_id is not None and is_unknown:
        history_command = job.command("history", *(item.value for item in items[:1]))
        raise InvalidJobError(
            "That run published none of these partitions.",
            job.name,
            found=run_id,
            problems=[f"{item.value}: {item.reason}" for item in items],
            next_step=f"`{history_command}` lists the runs",
        )

    return items


def restorable_run(job: ScoringJob, manifest: Manifest) -> str | None:
    """The run whose results a rollback can put in place of a published run's; None: there is none.

    It looks at those that the run has replaced, and whether their files are still there.
    """
    if manifest.status != "published" or manifest.replaces is None:
        return None

    workspace = Workspace(job)
    history = publications(PartitionHistory(workspace, manifest.partition).runs())
    choice = choose_target(history, manifest.result_id, manifest.replaces, None)
    choice = _check_files(open_publisher(workspace), choice)

    if choice.action != "roll back" or choice.target is None:
        return None
    return choice.target.run_id


def _check_files(publisher: Publisher, choice: RollbackChoice) -> RollbackChoice:
    """The choice, or a refusal if the files of the target are gone."""
    if choice.target is None or choice.action != "roll back":
        return choice
    try:
        publisher.find_results(choice.target)
    except LocationNotFoundError as error:
        reason = f"its results were removed: {'; '.join(error.problems)}"
        return RollbackChoice("refuse", reason, choice.target)
    return choice


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
    """Restore the results of one partition. Returns the record of this, published or failed.

    The partition then counts as published until its input or its model changes: a nightly run that
    looks back does not undo a rollback.

    Args:
        job: The job.
        value: Partition value.
        target: The run whose results will be seen again.
        live_run_id: The run whose results were seen when this was planned.
        now: In UTC.
        cache: Models of this host.
        compares_later: Compare later partitions again, which have this one for a neighbour. False:
            the caller does it, once for several partitions.
    """
    workspace = Workspace(job)
    record = RunRecord(workspace, value, now, installed_version("nightscore"))
    fingerprint, canary = _current_work(workspace, value, target, cache)
    record.update(
        restores=target.run_id,
        model=target.model,
        inputs=target.inputs,
        in_order=target.in_order,
        counts=target.counts,
        quarantine=target.quarantine,
        fingerprint=fingerprint,
        canary=canary,
    )

    publisher = open_publisher(workspace)
    try:
        with Lease(job, workspace.folder(value), "rollback") as lease:
            record.save("running")
            live = publisher.live(value)
            _check_live(workspace, target, live, live_run_id)
            record.update(replaces=live_run_id)
            manifest = _restore(workspace, record, publisher, target, live, lease)
    except ScoringError as error:
        return record.fail(error)

    if compares_later:
        compare_later(workspace, [value], cache, now)

    return manifest


def _check_live(
    workspace: Workspace, target: Manifest, live: Live | None, planned_run_id: str | None
) -> None:
    live_run_id = live.run_id if live else None
    if live_run_id != planned_run_id:
        raise ConflictError(
            "Another run published this partition since the rollback was planned; "
            "nothing was changed.",
            workspace.folder(target.partition),
            expected=f"run {planned_run_id}",
            found=f"run {live_run_id}",
            next_step="plan the rollback again",
        )


def _restore(
    workspace: Workspace,
    record: RunRecord,
    publisher: Publisher,
    target: Manifest,
    live: Live | None,
    lease: Lease,
) -> Manifest:
    PartitionHistory(workspace, target.partition).complete(live)
    restored = republication(workspace, publisher, target, lease)
    parts, table_version = publisher.publish(restored, live)

    files = tuple(part.file for part in parts)
    output = record.manifest.output
    record.update(output=output.model_copy(update={"files": files, "table_version": table_version}))

    return record.end_published()


def _current_work(
    workspace: Workspace, value: str | None, target: Manifest, cache: ModelCache
) -> tuple[str, CanaryRecord | None]:
    """The fingerprint of a run now, with the arms that are restored, and their record.

    The fingerprint is empty if nobody can say: a later run then scores again.
    """
    canary, job = target.canary, workspace.job

    try:
        partition, _ = find_partition(workspace, value)
        model = PinnedModel.resolve(job, cache)
    except ScoringError:
        return "", canary and canary.model_copy(update={"champion_fingerprint": ""})

    alone = model.fingerprint(job, partition)
    if canary is None:
        return alone, None

    canary = canary.model_copy(update={"champion_fingerprint": alone})

    return model.fingerprint(job, partition, canary), canary
