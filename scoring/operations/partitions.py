"""The state of each partition: what is published, what is missing, and why."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nightscore.inputs.partitions import find_partitions
from nightscore.ledger.history import PartitionHistory, find_undecided
from nightscore.ledger.job_history import JobHistory
from nightscore.ledger.live import Live
from nightscore.ledger.manifest_files import map_records
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.outputs.guarantees import decisions, instead_of_a_decision
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import show_gone
from nightscore.process import rare_collection
from nightscore.runs.owner import is_owner
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import GateRecord, Manifest
from nightscore.schemas.model_uri import named_model
from nightscore.schemas.partition import Partition, order_of, show_value
from nightscore.schemas.run_summary import RunSummary, digest_inputs

State = Literal["published", "missing", "stale", "failed", "held", "rejected", "input gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    """One row of the list of partitions."""

    value: str
    """Partition value as people read it."""
    state: State
    reasons: tuple[str, ...]
    """Why it would be scored again, or why not."""
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
    canary: CanaryRecord | None = None
    """Predictions that readers see are of two models. None: they are of one."""


@rare_collection()
def partition_statuses(
    job: ScoringJob,
    model: PinnedModel,
    values: Iterable[str | None] | None = None,
    history: JobHistory | None = None,
    inputs: Mapping[str | None, Partition] | None = None,
) -> list[PartitionStatus]:
    """The states of partitions, in order.

    Args:
        job: Whose partitions.
        model: The job's model, resolved.
        values: Partition values; None: all partitions of the input and the output.
        history: The runs of all partitions, if they are listed already.
        inputs: The partitions of the input, if they are listed already.
    """
    wanted = None if values is None else set(values)
    if inputs is None:
        inputs = find_partitions(job, wanted)
    workspace = Workspace(job)
    publisher = open_publisher(workspace)
    live = publisher.all_live(wanted)
    histories = (history or JobHistory(workspace, wanted)).partitions

    known = set(inputs) | set(live) if wanted is None else wanted
    gone = publisher.gone([live[value] for value in known if value in live])

    views: dict[str | None, _View] = {}
    for value in sorted(known, key=lambda value: order_of(value, job.input.partition_format)):
        partition, records = inputs.get(value), histories.get(value)
        seen = live.get(value)
        runs = records.outcomes(seen) if records else []
        views[value] = _View(
            workspace=workspace,
            model=model,
            partition=partition,
            fingerprint=model.fingerprint(job, partition) if partition else "",
            live=seen,
            records=records,
            history=runs,
            standing=_find_standing(runs, seen),
            gone=gone.intersection(seen.paths) if seen and gone else frozenset(),
        )

    _read_changed(workspace, views.values())
    return [_status(value, view) for value, view in views.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What is known of one partition."""

    workspace: Workspace
    model: PinnedModel
    partition: Partition | None
    """None: it is not in the input."""
    fingerprint: str
    """Of the work that a run would do now. Empty: it is not in the input."""
    live: Live | None
    """None: readers see nothing."""
    records: PartitionHistory | None
    """The records of its runs. None: there are none."""
    history: Sequence[RunSummary]
    """Its runs as they ended, newest first."""
    standing: RunSummary | None
    """The record behind what readers see: of the run itself, or of a rollback to it."""
    gone: Collection[str] = ()
    """Published files that somebody has deleted."""

    @property
    def newest(self) -> RunSummary | None:
        """The newest run."""
        return self.history[0] if self.history else None

    @property
    def newest_failed(self) -> RunSummary | None:
        """The newest run, if it failed."""
        newest = self.newest
        return newest if newest is not None and newest.status == "failed" else None

    @property
    def is_current(self) -> bool:
        """Whether readers see what a run would publish now."""
        return self.standing is not None and self.standing.work == self.fingerprint

    def record(self, run: RunSummary) -> Manifest | None:
        """The whole record of a run. None if it cannot be read any more."""
        return None if self.records is None else self.records.find(run.run_id)

    def has_changed_files(self, standing: RunSummary) -> bool:
        """Whether the input has other files than the published run has read."""
        return self.partition is not None and digest_inputs(self.partition.files) != standing.inputs


def _read_changed(workspace: Workspace, views: Iterable[_View]) -> None:
    """Read the records of the partitions whose input has changed, at once: these name the files."""
    changed: list[tuple[_View, RunSummary]] = []
    for view in views:
        standing = view.standing
        if standing is not None and not view.is_current and view.has_changed_files(standing):
            changed.append((view, standing))

    map_records(workspace.state, lambda pair: pair[0].record(pair[1]), changed)


def _status(value: str | None, view: _View) -> PartitionStatus:
    state, reasons = _judge(view)
    standing, failed = view.standing, view.newest_failed
    files = view.partition.files if view.partition else ()

    return PartitionStatus(
        value=show_value(value),
        state=state,
        reasons=tuple(reasons),
        has_input=view.partition is not None,
        n_files=len(files),
        n_bytes=sum(file.size_bytes for file in files),
        run_id=view.live.run_id if view.live else None,
        rows=standing.rows_scored if standing and not view.gone else None,
        model_version=standing.model_version if standing else None,
        last_error=failed.error.message if failed and failed.error else None,
        canary=standing.canary if standing else None,
    )


def _find_standing(history: Iterable[RunSummary], live: Live | None) -> RunSummary | None:
    """The newest of some runs that stands behind what readers see."""
    if live is None:
        return None
    return next((run for run in history if _stands_behind(run, live)), None)


def _stands_behind(run: RunSummary, live: Live) -> bool:
    is_own_run = run.run_id == live.run_id
    is_rollback = run.restores == live.run_id and run.status == "published"
    return is_own_run or is_rollback


def _judge(view: _View) -> tuple[State, list[str]]:
    """The state of a partition, and the reasons for it."""
    if view.partition is None:
        if view.live:
            return "input gone", ["the input has no such partition any more"]
        return "missing", ["the input has no such partition"]

    standing = view.standing
    if standing is not None and view.is_current:
        return _judge_current(view, standing)

    # A run that waits for a person says more than what is published.
    notes: list[str] = []

    waiting = find_undecided(view.history, view.fingerprint)
    undecided = None if waiting is None else view.record(waiting)
    if undecided is not None:
        from nightscore.runs.held import is_blocking  # with NumPy and Arrow, and few runs are held

        if is_blocking(view.workspace, undecided):
            return _show_undecided(view.workspace, undecided)
        notes.append(_show_released(view.workspace, undecided))

    if view.live is None:
        return _judge_unpublished(view, notes)
    if standing is None:
        return "stale", ["published by a run that left no record", *notes]

    notes += _replay_notes(view, standing)
    return _judge_outdated(view, view.partition, standing, notes)


def _judge_current(view: _View, standing: RunSummary) -> tuple[State, list[str]]:
    """The state of a partition whose published run had the same input, model and job."""
    if view.gone:
        return "missing", [_show_unseen(view.gone)]
    return "published", [_show_unchanged(standing), *_replay_notes(view, standing)]


def _judge_unpublished(view: _View, notes: list[str]) -> tuple[State, list[str]]:
    failed = view.newest_failed
    if failed is None:
        return "missing", ["never published", *notes]

    return "failed", [f"never published; the last run failed: {_first_line(failed)}", *notes]


def _judge_outdated(
    view: _View, partition: Partition, standing: RunSummary, notes: list[str]
) -> tuple[State, list[str]]:
    """The state of a partition whose published run had another input, model or job."""
    reasons = [*_differences(view, partition, standing), *notes]
    if view.gone:
        return "missing", [_show_unseen(view.gone), *reasons]
    if view.newest_failed is not None:
        return "failed", [*reasons, f"the last run failed: {_first_line(view.newest_failed)}"]

    return "stale", reasons


def _replay_notes(view: _View, standing: RunSummary) -> list[str]:
    """What to say of a replay of the published run that a gate holds."""
    newest = view.newest
    if newest is None or newest.status != "held" or newest.replays != standing.run_id:
        return []

    replay = view.record(newest)
    if replay is None:
        return []
    return [f"replay {replay.run_id} is held: {_decisions(view.workspace, replay)}"]


def _show_unseen(gone: Collection[str]) -> str:
    return f"{show_gone(gone)}, so readers do not see all rows"


def _show_unchanged(standing: RunSummary) -> str:
    if standing.restores:
        return f"rolled back to run {standing.restores}; nothing has changed since"
    return "the published run has the same fingerprint"


def _show_undecided(workspace: Workspace, manifest: Manifest) -> tuple[State, list[str]]:
    if manifest.status == "held":
        from nightscore.runs.held import still_holding  # as above

        closed = [f"{gate.gate}: {gate.found}" for gate in still_holding(workspace, manifest)]
        return "held", [*closed, _decisions(workspace, manifest)]

    closed = [f"{gate.gate}: {gate.found}" for gate in _held_by(manifest)]
    by = f" by {manifest.decision.by}" if manifest.decision else ""
    again = workspace.job.command("run", show_value(manifest.partition), "--force")
    decision = f"run {manifest.run_id} was rejected{by}; `{again}` scores it again"
    return "rejected", [decision, *closed]


def _decisions(workspace: Workspace, held: Manifest) -> str:
    """The commands that decide on a run that is held."""
    given_as = workspace.job.given_as
    commands = decisions(held, given_as)
    if not commands:
        return instead_of_a_decision(held, given_as)

    approve, reject = commands
    return f"`{approve}` publishes it, `{reject}` drops it"


def _show_released(workspace: Workspace, manifest: Manifest) -> str:
    names = ", ".join(gate.gate for gate in _held_by(manifest)) or "a gate"
    return (
        f"run {manifest.run_id} was held by {names}, and no gate of the current job holds it: "
        "the next run scores the partition again; until then, "
        f"{_decisions(workspace, manifest)}"
    )


def _held_by(manifest: Manifest) -> list[GateRecord]:
    return [gate for gate in manifest.gates if not gate.passed and gate.action == "hold"]


def _differences(view: _View, partition: Partition, standing: RunSummary) -> list[str]:
    """What has changed since the published run, in words."""
    differences = [
        *_owner_differences(view.workspace.job, standing),
        *_model_differences(view.model, standing),
        *_file_differences(view, partition, standing),
    ]
    if differences:
        return differences

    return ["settings: the job's keys, columns, predict or format changed, or the engine did"]


def _owner_differences(job: ScoringJob, standing: RunSummary) -> list[str]:
    if is_owner(job, standing):
        return []
    return [f"output: the job {standing.job} published it, and {job.name} may not replace it"]


def _model_differences(model: PinnedModel, standing: RunSummary) -> list[str]:
    name, version, current = standing.model_name, standing.model_version, model.version

    if (name, version) != (current.name, current.version):
        return [f"model: published with {named_model(name, version)}, now {current}"]
    if standing.model_digest != model.cached.digest:
        return [f"model: the artifacts of {current} changed"]
    return []


def _file_differences(view: _View, partition: Partition, standing: RunSummary) -> list[str]:
    if not view.has_changed_files(standing):
        return []

    record = view.record(standing)
    if record is None:
        return ["input: the files changed"]

    published = {file.path: (file.size_bytes, file.version) for file in record.inputs.files}
    current = {file.path: (file.size_bytes, file.version) for file in partition.files}
    in_both = current.keys() & published.keys()
    kinds = {
        "new": current.keys() - published.keys(),
        "gone": published.keys() - current.keys(),
        "changed": {path for path in in_both if current[path] != published[path]},
    }

    differences: list[str] = []
    for kind, paths in kinds.items():
        if paths:
            files = "file" if len(paths) == 1 else "files"
            differences.append(f"input: {len(paths)} {kind} {files}, first {min(paths)}")

    return differences


def _first_line(run: RunSummary) -> str:
    if run.error is None:
        return "no error was recorded"

    return run.error.message.splitlines()[0]
