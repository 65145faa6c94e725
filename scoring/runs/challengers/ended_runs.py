"""How challengers have ended of which their champion's record does not know it.

The champion's run ends first. If the process dies after that, its record says `unfinished` of each
challenger. Then the challenger's own run is asked.
"""

from collections.abc import Sequence

from nightscore.errors import ScoringError
from nightscore.ledger.liveness import has_died, mark_dead_runs, reconcile_with_live
from nightscore.ledger.manifest_files import find_manifest, write_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.challenger import ChallengerRecord
from nightscore.schemas.challenger_jobs import challenger_job
from nightscore.schemas.difference import DifferenceRecord
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value


def with_ended_challengers(workspace: Workspace, manifest: Manifest) -> Manifest:
    """The record of a run, with its challengers as their own runs have ended. Nothing is written.

    Of one that was not published, a warning says what to do. One whose store does not answer stays
    `unfinished`.

    Args:
        workspace: Of the champion.
        manifest: Of a run that may have had challengers.
    """
    if not manifest.has_unfinished_challengers:
        return manifest

    ended = [_as_ended(workspace, manifest, record) for record in manifest.challengers]
    if all(now is then for now, then in zip(ended, manifest.challengers, strict=True)):
        return manifest

    notes = _notes(manifest.challengers, ended)
    return manifest.model_copy(
        update={"challengers": tuple(ended), "warnings": (*manifest.warnings, *notes)}
    )


def complete_challengers(workspace: Workspace, answer: Manifest) -> Manifest:
    """The same of the run that makes another one unnecessary. Its stored record is completed.

    Args:
        workspace: Of the champion.
        answer: The record, whose status may say `unchanged`.
    """
    completed = with_ended_challengers(workspace, answer)
    if completed is answer:
        return answer

    state, folder = workspace.state, workspace.folder(answer.partition)
    try:
        stored = find_manifest(state, folder, answer.run_id)
        if stored is not None:
            write_manifest(state, folder, with_ended_challengers(workspace, stored))
    except ScoringError:
        pass  # whoever reads it next asks the challenger's run again

    return completed


def _as_ended(
    workspace: Workspace, champion: Manifest, record: ChallengerRecord
) -> ChallengerRecord:
    """What became of one challenger."""
    if record.status != "unfinished":
        return record

    job = challenger_job(workspace.job, record.uri, record.label)
    own_space = workspace.for_job(job)
    try:
        own = _find_run(own_space, champion, record.run_id)
    except ScoringError:
        return record

    if own is not None and own.status == "published":
        return record.model_copy(
            update={
                "status": "published",
                "rows": own.counts.rows_scored,
                "difference": _difference(own_space, own),
            }
        )

    if own is not None and own.status in ("running", "prepared"):
        return record

    why = "the process ended before the challenger was published"
    if own is not None and own.error is not None and not has_died(own):
        why = own.error.what or own.error.message

    shown = show_value(champion.partition)
    again = workspace.job.command("run", shown, "--force")
    why = f"{why.rstrip('.')}; `{again}` scores the partition by both again"
    return record.model_copy(update={"status": "failed", "why": why})


def _find_run(workspace: Workspace, champion: Manifest, run_id: str) -> Manifest | None:
    """The challenger's own run as it ended. None: it has left no record."""
    from nightscore.outputs.publish import open_publisher

    state, value = workspace.state, champion.partition
    stored = find_manifest(state, workspace.folder(value), run_id)
    if stored is None:
        return None

    (marked,) = mark_dead_runs(state, [stored])
    if not has_died(marked):
        return marked

    return reconcile_with_live(state, marked, open_publisher(workspace).live(value))


def _difference(workspace: Workspace, own: Manifest) -> DifferenceRecord | None:
    """How its predictions differ from the champion's. None: that is not stored."""
    from nightscore.monitoring.differences.difference_summary import summarise_difference
    from nightscore.monitoring.differences.stored_differences import read_counts

    try:
        folder = workspace.folder(own.partition)
        return summarise_difference(read_counts(workspace, folder, own.run_id))
    except (ScoringError, ValueError):
        return None


def _notes(before: Sequence[ChallengerRecord], after: Sequence[ChallengerRecord]) -> list[str]:
    """A warning for each that is known by now not to be published."""
    pairs = zip(before, after, strict=True)
    return [now.text for then, now in pairs if now is not then and now.status == "failed"]
