"""What is published, what is missing, and why: the questions of the morning after."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from nightscore.inputs.partitions import find_partitions
from nightscore.ledger.history import find_undecided, list_histories
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.outputs.publish import open_publisher
from nightscore.runs.held import is_blocking, still_holding
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import GateRecord, Manifest
from nightscore.schemas.partition import Partition, order_of, show_value

State = Literal["published", "missing", "stale", "failed", "held", "rejected", "input gone"]


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One row of the matrix."""

    value: str
    state: State
    reasons: tuple[str, ...]
    """Why it would be scored again, or why it would not."""
    has_input: bool
    n_files: int
    n_bytes: int
    """Of the whole files; a plan knows the bytes of the needed columns."""
    run_id: str | None
    """The run that readers see."""
    rows: int | None
    """Predictions that readers see."""
    model_version: str | None
    last_error: str | None = None


def partition_statuses(
    job: ScoringJob, model: PinnedModel, values: Iterable[str | None] | None = None
) -> list[PartitionStatus]:
    """The state of all partitions, of the input and of the output, or of the named ones, in order."""
    wanted = None if values is None else set(values)
    inputs = find_partitions(job, wanted)
    workspace = Workspace(job)
    live = open_publisher(workspace).all_live()
    histories = list_histories(workspace)

    known = set(inputs) | set(live) if wanted is None else wanted
    statuses = []
    for value in sorted(known, key=lambda value: order_of(value, job.input.partition_format)):
        history = histories.get(value)
        runs = history.reconciled(live.get(value)) if history else []
        statuses.append(_status(workspace, model, value, inputs.get(value), live.get(value), runs))
    return statuses


def _status(
    workspace: Workspace,
    model: PinnedModel,
    value: str | None,
    partition: Partition | None,
    live: Live | None,
    history: Sequence[Manifest],
) -> PartitionStatus:
    standing = next((m for m in history if live is not None and _stands_behind(m, live)), None)
    newest = history[0] if history else None
    state, reasons = _judge(workspace, model, partition, live, standing, history)
    error = newest.error.message if newest and newest.status == "failed" and newest.error else None
    files = partition.files if partition else ()
    return PartitionStatus(
        show_value(value),
        state,
        tuple(reasons),
        partition is not None,
        len(files),
        sum(file.size_bytes for file in files),
        live.run_id if live else None,
        standing.counts.rows_scored if standing else None,
        standing.model.version if standing else None,
        error,
    )


def _stands_behind(manifest: Manifest, live: Live) -> bool:
    return manifest.run_id == live.run_id or (
        manifest.restores == live.run_id and manifest.status == "published"
    )


def _judge(
    workspace: Workspace,
    model: PinnedModel,
    partition: Partition | None,
    live: Live | None,
    standing: Manifest | None,
    history: Sequence[Manifest],
) -> tuple[State, list[str]]:
    job = workspace.job
    newest = history[0] if history else None
    if partition is None:
        return (
            ("input gone", ["the input has no such partition any more"])
            if live
            else (
                "missing",
                ["the input has no such partition"],
            )
        )
    fingerprint = model.fingerprint(job, partition)
    is_same = standing is not None and standing.fingerprint == fingerprint
    waiting = None if is_same else find_undecided(history, fingerprint)
    if waiting is not None and is_blocking(workspace, waiting):
        return _show_undecided(workspace, waiting)
    waits = [] if waiting is None else [_show_released(waiting)]
    if live is None:
        if newest is not None and newest.status == "failed":
            return "failed", [
                f"never published; the last run failed: {_first_line(newest)}",
                *waits,
            ]
        return "missing", ["never published", *waits]
    if standing is None:
        return "stale", ["published by a run that left no record", *waits]
    if newest is not None and newest.status == "held" and newest.replays == standing.run_id:
        waits.append(
            f"replay {newest.run_id} is held: `nightscore approve` publishes it, `nightscore reject` drops it"
        )
    if is_same:
        if standing.restores:
            return "published", [
                f"rolled back to run {standing.restores}; nothing has changed since",
                *waits,
            ]
        return "published", ["the published run has the same fingerprint", *waits]
    reasons = [*_differences(job, model, partition, standing), *waits]
    if newest is not None and newest.status == "failed":
        return "failed", [*reasons, f"the last run failed: {_first_line(newest)}"]
    return "stale", reasons


def _show_undecided(workspace: Workspace, manifest: Manifest) -> tuple[State, list[str]]:
    if manifest.status == "held":
        closed = [f"{gate.gate}: {gate.found}" for gate in still_holding(workspace, manifest)]
        return "held", [*closed, "`nightscore approve` publishes it, `nightscore reject` drops it"]
    closed = [f"{gate.gate}: {gate.found}" for gate in _held_by(manifest)]
    by = f" by {manifest.decision.by}" if manifest.decision else ""
    return "rejected", [
        f"run {manifest.run_id} was rejected{by}; `nightscore run --force` scores it again",
        *closed,
    ]


def _show_released(manifest: Manifest) -> str:
    names = ", ".join(gate.gate for gate in _held_by(manifest)) or "a gate"
    return (
        f"run {manifest.run_id} was held by {names}, and no gate that the job has today holds it: a run scores the "
        "partition again; `nightscore approve` still publishes what was held, `nightscore reject` drops it"
    )


def _held_by(manifest: Manifest) -> list[GateRecord]:
    return [gate for gate in manifest.gates if not gate.passed and gate.action == "hold"]


def _differences(
    job: ScoringJob, model: PinnedModel, partition: Partition, standing: Manifest
) -> list[str]:
    found = []
    if standing.model.version != model.version.version or standing.model.name != model.version.name:
        found.append(
            f"model: {standing.model.name} version {standing.model.version} then, "
            f"{model.version.name} version {model.version.version} now"
        )
    elif standing.model.digest != model.cached.digest:
        found.append(f"model: the artifacts of version {model.version.version} changed")
    then = {f.path: (f.size_bytes, f.version) for f in standing.inputs.files}
    now = {f.path: (f.size_bytes, f.version) for f in partition.files}
    for what, paths in (
        ("new", now.keys() - then.keys()),
        ("gone", then.keys() - now.keys()),
        ("changed", {path for path in now.keys() & then.keys() if now[path] != then[path]}),
    ):
        if paths:
            first = sorted(paths)[0]
            found.append(f"input: {len(paths)} {what} file{'s'[: len(paths) != 1]}, first {first}")
    return found or [
        "settings: the job's keys, columns, predict or format changed, or the engine did"
    ]


def _first_line(manifest: Manifest) -> str:
    return manifest.error.message.splitlines()[0] if manifest.error else "no error was recorded"
