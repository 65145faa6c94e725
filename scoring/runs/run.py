"""One run: a job on one partition, from the model's version to the manifest."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.inputs.partitions import check_unchanged
from nightscore.inputs.values import check_value
from nightscore.ledger.run_record import WAIT_FOR_TURN
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.process import start_daemon
from nightscore.runs.execution import Execution
from nightscore.runs.owner import check_is_own, check_owner
from nightscore.runs.partition_state import (
    PartitionState,
    find_earlier_answer,
    look_up_partition,
    resolve_model,
    with_baseline_note,
)
from nightscore.runs.turn import Turn
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import alias_of
from nightscore.storage.run_cache import RunCache

if TYPE_CHECKING:
    from nightscore.runs.challengers.group import Challengers
    from nightscore.runs.run_plan import RunPlan


def run(
    job: ScoringJob,
    value: str | None,
    *,
    pool: Pool,
    cache: ModelCache,
    now: datetime,
    force: bool = False,
    model: PinnedModel | None = None,
    listeners: Sequence[Listener] = (),
    run_cache: RunCache | None = None,
    turn: Turn | None = None,
    compares_later: bool = True,
) -> Manifest:
    """Score one partition and publish it, unless the same is published already.

    Args:
        job: What to score.
        value: Partition value; None for Hive's default partition.
        pool: Workers, warm or not.
        cache: Models of this host.
        now: The start, in UTC.
        force: Score again what is published already.
        model: Already resolved, for several partitions with one model. None: the job's own.
        listeners: Told what happens, besides the log.
        run_cache: Shared by several runs of this process. None: this run has its own.
        turn: The run's place among others that are under way. None: it waits for nobody.
        compares_later: Compare later partitions again, which have this one for a neighbour. False:
            the caller does it, once for several partitions.

    Returns:
        The manifest. Its status is `published`, `unchanged` (then it is that of the run which
        published), `held` by a gate, `rejected` after that, or `failed` with the error.

    Raises:
        InvalidJobError: No partition can have this value; nothing was recorded.
        RunInterrupted: Ctrl-C or SIGTERM. The run is recorded as failed; nothing was published.
    """
    check_is_own(job)
    check_value(job, value)
    workspace = Workspace(job, run_cache)
    execution = Execution(workspace, value, pool=pool, cache=cache, now=now, listeners=listeners)

    try:
        manifest = execution.execute(
            lambda: _score_and_publish(execution, model, turn or Turn(), force=force)
        )
    except BaseException as error:
        if execution.companions is not None:
            execution.companions.fail(error)
        raise

    if execution.companions is not None:
        manifest = execution.companions.publish(manifest)

    is_new = manifest.run_id == execution.run_id and manifest.status in ("published", "held")
    if compares_later and is_new:
        from nightscore.monitoring.drift.recompare_runs import compare_later

        spaces = [workspace]
        if execution.companions is not None:
            spaces += execution.companions.published_spaces()

        for space in spaces:
            compare_later(space, [value], cache, datetime.now(UTC), are_fresh=True)

    return manifest


def _score_and_publish(
    execution: Execution,
    model: PinnedModel | None,
    turn: Turn,
    *,
    force: bool,
) -> Manifest:
    """Take the steps of a run, one after another, unless an earlier run is the answer."""
    execution.record.update(forced=force)
    model = resolve_model(execution, model)
    state = look_up_partition(execution, model)
    earlier_answer = None if force else find_earlier_answer(execution, state)
    if earlier_answer is not None:
        earlier_answer = _with_ended_challengers(execution, earlier_answer)
        return with_baseline_note(execution, model, earlier_answer)

    return _score(execution, model, state, turn)


def _with_ended_challengers(execution: Execution, answer: Manifest) -> Manifest:
    """The earlier run, also with the end of challengers whose process has died since."""
    if not answer.has_unfinished_challengers:
        return answer

    from nightscore.runs.challengers.ended_runs import complete_challengers

    return complete_challengers(execution.workspace, answer)


def _score(execution: Execution, model: PinnedModel, state: PartitionState, turn: Turn) -> Manifest:
    """Score the partition and publish it.

    What that needs is imported here: most nights find partitions that are published already, and
    importing is most of what they cost.
    """
    from nightscore.engine.model_facts import load_ahead

    # A worker loads the model while this process imports the rest, and plans.
    if execution.job.engine != "library":
        load_ahead(model, execution.cache, execution.pool)

    from nightscore.runs.dispatch import score_shards
    from nightscore.runs.run_plan import plan_run

    check_owner(execution.job, state.standing)
    challengers, state = _begin_challengers(execution, model, state)
    plan = plan_run(execution, model, state, challengers)
    turn.note_plan()

    with execution.record.stage(WAIT_FOR_TURN):
        turn.take_workers()

    start_daemon("imports", _import_last_steps)  # while the workers score
    plan = score_shards(execution, plan, challengers)

    return _publish(execution, plan, turn)


def _end_canary(execution: Execution) -> None:
    """Enter that no canary is running any more, of a job whose section `release` was removed.

    Where the log is beside the output, as it is unless that section names another place.
    """
    is_alias = alias_of(execution.job.model) is not None

    if not is_alias or execution.job.original_model is not None:
        return  # there is no log, or a backfill, which has the arms of its dates

    from nightscore.runs.challengers.canary_entries import note_ended

    note_ended(execution)


def _begin_challengers(
    execution: Execution, model: PinnedModel, state: PartitionState
) -> "tuple[Challengers | None, PartitionState]":
    """The versions that score beside the job's own model; None: there are none.

    And the partition's state. Of a canary, its fingerprint says that two models score.
    """
    was_canary = state.standing is not None and state.standing.canary is not None
    if execution.job.release is None and not was_canary:
        _end_canary(execution)
        return None, state

    from nightscore.runs.challengers.group import begin_challengers

    challengers, state = begin_challengers(execution, model, state)
    execution.companions = challengers

    return challengers, state


def _import_last_steps() -> None:
    """Import what `_publish` needs."""
    from nightscore.monitoring.drift import assess  # noqa: F401
    from nightscore.runs import accounting, gating, publishing  # noqa: F401


def _publish(execution: Execution, plan: "RunPlan", turn: Turn) -> Manifest:
    """Check what the workers did, compare it with earlier partitions, and publish it."""
    from nightscore.runs.accounting import reconcile, summarize
    from nightscore.runs.gating import pass_gates
    from nightscore.runs.publishing import finish_parts, hold, publish

    summarize(execution, plan)
    reconcile(execution, plan)

    with execution.record.stage("publish"):
        parts = finish_parts(execution, plan)
    if not (execution.job.keys.unique or _seals_challengers(execution)):
        turn.leave_workers()  # they look for keys that are there twice, too

    # All that is the run's own is done before its turn: nobody waits for it then.
    with execution.record.stage("compare"):
        plan.drift_check.assess()
    if turn.is_shared:
        plan.drift_check.store_ahead()

    with execution.record.stage("publish"):
        check_unchanged(execution.job, plan.shards.partition)
        has_passed = pass_gates(execution, plan, parts)
        if not _seals_challengers(execution):
            turn.leave_workers()

    with execution.record.stage(WAIT_FOR_TURN):
        turn.wait()

    with execution.record.stage("publish"):
        if not has_passed:
            return hold(execution, plan)
        if parts:
            publish(execution, plan, parts, turn)

    manifest = execution.record.end_published(execution.worker_cpu_s)
    execution.forget_checkpoints()
    plan.drift_check.share()

    return manifest


def _seals_challengers(execution: Execution) -> bool:
    """Whether workers have still to make one object of each challenger's parts."""
    from nightscore.ledger.output_formats import format_of

    return execution.companions is not None and format_of(execution.job).seal is not None
