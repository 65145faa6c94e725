"""The challengers' part of each shard: their tasks, and what the workers did with them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.errors import ChallengerError
from nightscore.profiles.profile_spec import NO_PROFILE, ProfileSpec
from nightscore.runs.accounting import allowed_rows
from nightscore.runs.challengers.canary import check_limits
from nightscore.runs.challengers.challenger import Challenger
from nightscore.runs.run_plan import RunPlan
from nightscore.schemas.release import Release
from nightscore.schemas.text import counted


def with_challengers(
    tasks: Sequence[ShardTask], challengers: Sequence[Challenger], plan: RunPlan
) -> list[ShardTask]:
    """The tasks, each with one of each challenger for the same shard.

    Args:
        tasks: Of the champion.
        challengers: Those that score.
        plan: Of the champion.
    """
    release = plan.source.job.release or Release()
    joined = []
    for task in tasks:
        own_tasks = tuple(_challenger_task(one, task) for one in challengers)
        joined.append(replace(task, challengers=own_tasks, max_overhead=release.max_overhead))
    return joined


def _challenger_task(challenger: Challenger, task: ShardTask) -> ShardTask:
    execution, predictor = challenger.execution, challenger.predictor
    max_quarantined = allowed_rows(execution.job.limits, task.n_rows)

    return replace(
        task,
        job=execution.job,
        run_id=execution.run_id,
        model_folder=challenger.model.cached.path,
        model_version=challenger.model.version.version,
        facts=challenger.facts,
        contract=challenger.contract,
        fallback_reason=predictor.fallback_reason,
        is_unchecked=predictor.is_unchecked,
        max_quarantined=max_quarantined,
        assignment=challenger.assignment,
        row_counts="",
        first_attempt=0,
        challengers=(),
    )


def tasks_of(challenger: Challenger, tasks: Sequence[ShardTask]) -> list[ShardTask]:
    """The challenger's own tasks among those of the champion's tasks."""
    run_id = challenger.execution.run_id
    own = (one for task in tasks for one in task.challengers)
    return [one for one in own if one.run_id == run_id]


def change_tasks(
    challenger: Challenger,
    tasks: Sequence[ShardTask],
    change: Callable[[ShardTask, ShardTask], ShardTask],
) -> list[ShardTask]:
    """The tasks, with those of one challenger changed.

    Args:
        challenger: Whose tasks are changed.
        tasks: Of the champion.
        change: Gets a task of the champion and the challenger's own; returns the latter, changed.
    """
    run_id = challenger.execution.run_id
    changed = []
    for task in tasks:
        own_tasks = tuple(
            change(task, own) if own.run_id == run_id else own for own in task.challengers
        )
        changed.append(replace(task, challengers=own_tasks))

    return changed


def keep_only(tasks: Sequence[ShardTask], challengers: Sequence[Challenger]) -> list[ShardTask]:
    """The tasks without those of any other challenger."""
    run_ids = {challenger.execution.run_id for challenger in challengers}
    kept = []
    for task in tasks:
        own_tasks = tuple(own for own in task.challengers if own.run_id in run_ids)
        kept.append(replace(task, challengers=own_tasks))
    return kept


def with_profile(
    challenger: Challenger, tasks: Sequence[ShardTask], spec: ProfileSpec
) -> list[ShardTask]:
    """The tasks, with the columns that the workers profile for one challenger."""
    return change_tasks(challenger, tasks, lambda _, own: replace(own, profile_spec=spec))


def profile_spec(challenger: Challenger, own_tasks: Sequence[ShardTask]) -> ProfileSpec:
    """The columns to profile for a challenger, in all shards.

    Where its bins are cut at a first batch, that batch is scored in a process of its own: only the
    champion's shards are kept until they go on.

    Args:
        challenger: That scores.
        own_tasks: Its tasks.
    """
    apart = [replace(task, in_threads=False) for task in own_tasks]
    profiled = challenger.drift_check.add_profiles(apart, challenger.contract, 1)
    return profiled[0].profile_spec if profiled else NO_PROFILE


def collect_results(challenger: Challenger, results: Sequence[ShardResult], position: int) -> None:
    """Take what a challenger did from the results of the champion's shards.

    Args:
        challenger: Its own run gets the results.
        results: Of the champion, one a shard.
        position: Of the challenger, among those that scored.

    Raises:
        ChallengerError: It has not scored each shard to its end, or not in one way.
    """
    given = [result.challengers[position] for result in results if result.challengers]
    challenger.results = given
    challenger.champion_cpu_s = sum(_own_cpu_s(result) for result in results)

    challenger.execution.results.scored = [one.result for one in given if one.result is not None]
    challenger.execution.own_cpu_s = sum(one.cpu_s for one in given)

    failures = list(dict.fromkeys(one.failure for one in given if one.failure))
    n_missing = len(results) - len(given)

    if n_missing:
        failures.append(
            f"it was left out of {counted(n_missing, 'shard')} that had to be scored again"
        )

    if any(one.predictor.has_differed for one in challenger.execution.results.scored):
        failures.append(
            "its compiled predictor differed from the model's own library in some shard; from the "
            "next run on the library is used"
        )

    if failures:
        raise ChallengerError(
            f"It ended before all rows were scored: {failures[0]}",
            challenger.execution.folder,
            problems=failures[1:],
            next_step="the predictions of the job's own model are not affected; "
            f"`{challenger.execution.job.command('check')}` looks at the challenger alone",
        )


def check_arm(challenger: Challenger) -> None:
    """Check how many rows of a canary's arm the challenger alone has refused.

    Raises:
        ChallengerError: More than the job allows.
    """
    check_limits(challenger.execution.job.limits, challenger.results)


def _own_cpu_s(result: ShardResult) -> float:
    """CPU seconds of the champion in a shard, without its challengers'."""
    return max(result.cpu_s - sum(one.cpu_s for one in result.challengers), 0.0)
