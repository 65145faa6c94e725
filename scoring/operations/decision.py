"""Who decides on a run that a gate holds: one person, once.

Who approved or rejected it, when and why stays in the run's record.
"""

from datetime import datetime
from typing import Literal

from nightscore.errors import ConflictError, InvalidJobError, PartitionNotFoundError
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import decision_path
from nightscore.ledger.manifest_files import find_manifest, write_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.process import user_name
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DecisionRecord, Manifest
from nightscore.schemas.partition import show_value

Verdict = Literal["approved", "rejected"]


def find_held(job: ScoringJob, value: str | None, run_id: str | None = None) -> Manifest:
    """The run of the partition that waits for a review: the newest, or the named one.

    Raises:
        PartitionNotFoundError: None waits.
        InvalidJobError: The named run does not wait.
    """
    history = PartitionHistory(Workspace(job), value)
    runs = history.runs()
    held = [manifest for manifest in runs if manifest.status == "held"]

    if run_id is not None:
        return _find_named(held, run_id, history.folder, _list_runs(job, value))
    if held:
        return held[0]

    newest = f"{runs[0].status}, run {runs[0].run_id}" if runs else "no run at all"
    raise PartitionNotFoundError(
        "No run of this partition waits for a decision.",
        history.folder,
        expected="a run that a gate has held",
        found=newest,
        next_step=_list_runs(job, value),
    )


def _list_runs(job: ScoringJob, value: str | None) -> str:
    return f"`{job.command('runs', show_value(value))}` lists the runs"


def _find_named(held: list[Manifest], run_id: str, folder: str, next_step: str) -> Manifest:
    for manifest in held:
        if manifest.run_id == run_id:
            return manifest

    waiting = ", ".join(manifest.run_id for manifest in held) or "none"
    raise InvalidJobError(
        "This run does not wait for a decision.",
        folder,
        expected=f"a run that does: {waiting}",
        found=run_id,
        next_step=next_step,
    )


def claim(workspace: Workspace, held: Manifest, verdict: Verdict) -> None:
    """Be the one who decides. The same verdict again completes one that died half way.

    Raises:
        ConflictError: Somebody decided otherwise, or the run does not wait any more.
    """
    state, folder = workspace.state, workspace.folder(held.partition)

    path = decision_path(held.run_id)
    try:
        state.create(path, verdict.encode())
    except ConflictError as error:
        other_verdict = state.read_bytes(path).decode()
        if other_verdict != verdict:
            raise ConflictError(
                "Somebody else decided on this run; nothing was changed.",
                folder,
                expected="no decision yet",
                found=f"the run is being {other_verdict}",
                next_step=f"{_list_runs(workspace.job, held.partition)}; "
                "if that decision died half way, give the same again",
            ) from error

    stored = find_manifest(state, folder, held.run_id)
    if stored is None or stored.status != "held":
        raise ConflictError(
            "This run does not wait for a decision any more; nothing was changed.",
            folder,
            expected="a run that is held",
            found=stored.status if stored else "no record",
            next_step=_list_runs(workspace.job, held.partition),
        )


def record_decision(
    workspace: Workspace, decided: Manifest, verdict: Verdict, now: datetime, note: str
) -> Manifest:
    """Write the run's record with who decided, when and why; returns it."""
    decision = DecisionRecord(verdict=verdict, at=now, by=user_name(), note=note)
    return write_manifest(
        workspace.state,
        workspace.folder(decided.partition),
        decided.model_copy(update={"decision": decision}),
    )
