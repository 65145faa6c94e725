"""Scores a partition's quarantined rows again, and puts them among the others in one commit."""

from collections.abc import Sequence
from datetime import UTC, datetime

from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.errors import PartitionNotFoundError
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.monitoring.drift.recompare_runs import compare_later
from nightscore.outputs.publish import open_publisher
from nightscore.runs.accounting import reconcile, summarize
from nightscore.runs.challengers.replay_arm import ReplayArm, scratch_folder
from nightscore.runs.dispatch import score_shards
from nightscore.runs.execution import Execution
from nightscore.runs.gating import pass_gates
from nightscore.runs.owner import check_is_own
from nightscore.runs.publishing import hold, publish
from nightscore.runs.replay_merge import merge_with_published
from nightscore.runs.replay_plan import plan_replay
from nightscore.runs.run_plan import RunPlan
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.text import counted


def replay(
    job: ScoringJob,
    value: str | None,
    *,
    pool: Pool,
    cache: ModelCache,
    now: datetime,
    allow_new_model: bool = False,
    listeners: Sequence[Listener] = (),
) -> Manifest:
    """Score the rows that the published run has quarantined, under the job as it is now.

    The rows come from the quarantine, not from the input, which may be gone. All other rows stay as
    they are, and carry the id of the run that scored them. Rows that still cannot be scored stay in
    quarantine.

    Args:
        job: The job, say with another policy than before.
        value: Partition value.
        pool: Workers.
        cache: Models of this host.
        now: The start, in UTC.
        allow_new_model: Score with another model version than the other rows.
        listeners: Told what happens, besides the log.

    Returns:
        The manifest: `published`, `held` by a gate, or `failed`. It is that of the published run,
        with the status `unchanged`, if nothing is in quarantine, or no row of it can be scored; its
        last warning then says why.

    Raises:
        RunInterrupted: Ctrl-C or SIGTERM. The replay is recorded as failed; nothing was published.
        PartitionNotFoundError: Nothing is published.
    """
    check_is_own(job)
    workspace = Workspace(job)
    base = _find_published(workspace, value)
    if not base.quarantine.files:
        return base.model_copy(update={"status": "unchanged"})

    execution = Execution(
        workspace,
        value,
        pool=pool,
        cache=cache,
        now=now,
        listeners=listeners,
        command="replay",
    )
    manifest = execution.execute(
        lambda: _score_and_publish(execution, base, allow_new_model=allow_new_model)
    )
    if manifest.status in ("published", "held"):
        compare_later(workspace, [value], cache, datetime.now(UTC))

    return manifest


def _find_published(workspace: Workspace, value: str | None) -> Manifest:
    """The run whose files readers see."""
    live = open_publisher(workspace).live(value)
    history = PartitionHistory(workspace, value)
    history.complete(live)

    run_id = live.run_id if live else None
    published = history.find(run_id) if run_id else None

    if published is None:
        raise PartitionNotFoundError(
            "Nothing is published for this partition whose quarantine could be replayed.",
            f"{workspace.job.output.uri}/{history.folder}",
            found=f"predictions without a record (run {run_id})" if live else "no predictions",
            next_step="run it; rows in quarantine of a run that failed are in its input still",
        )

    return published


def _score_and_publish(execution: Execution, base: Manifest, *, allow_new_model: bool) -> Manifest:
    """The steps of a run, for rows from the quarantine that go among the published ones."""
    plan = plan_replay(execution, base, allow_new_model=allow_new_model)
    _score(execution, plan.run, base.canary)
    summarize(execution, plan.run)
    reconcile(execution, plan.run)

    record = execution.record.manifest
    if not record.counts.rows_scored:
        execution.withdraw()
        note = _still_refused(record)
        return base.model_copy(update={"status": "unchanged", "warnings": (*base.warnings, note)})

    with execution.record.stage("publish"):
        merged = merge_with_published(execution, plan)
        if not pass_gates(execution, plan.run, [merged]):
            return hold(execution, plan.run)
        publish(execution, plan.run, (merged,))

    execution.forget_parts()
    return execution.record.end_published(execution.worker_cpu_s)


def _score(execution: Execution, plan: RunPlan, canary: CanaryRecord | None) -> None:
    """Score the rows; those of a canary's arm by its challenger."""
    if canary is None:
        score_shards(execution, plan)
        return

    with scratch_folder(execution) as folder:
        arm = ReplayArm(execution, canary, folder)
        arm.settle(plan)
        score_shards(execution, plan, arm)


def _still_refused(record: Manifest) -> str:
    """Why nothing is new: no row can be scored, under the job as it is now."""
    n_rows = record.counts.rows_quarantined
    reasons = [f"{name} in {counted(n, 'row')}" for name, n in record.quarantine.by_column.items()]
    return (
        f"none of the {counted(n_rows, 'row')} in quarantine can be scored under the job as it is "
        f"now, so nothing new was published: {', '.join(reasons)}"
    )
