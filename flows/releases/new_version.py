"""The flow that looks at a model version as soon as an alias means it, and scores with it."""

import functools
from typing import Annotated, Any

from prefect import flow, tags
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from nightscore.flows.children import end_children, run_child
from nightscore.flows.failures import tell_of_failure
from nightscore.flows.outcome import Outcome, fail_with_reason, outcomes_of
from nightscore.flows.parameters import (
    DEFAULT_TIMEOUT_MINUTES,
    JobName,
    Minutes,
    job_name,
    read_job,
)
from nightscore.flows.partition import score_partition
from nightscore.flows.pools import local_pool, run_within, shared_pools
from nightscore.flows.ui.artifacts import HEADLINE_CHARACTERS, artifact_key
from nightscore.flows.ui.log import forward_engine_log
from nightscore.flows.ui.markdown import prose
from nightscore.models.cache import default_cache
from nightscore.operations.webhooks.reaction import Reaction, plan_reaction, reaction_lines
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.text import counted

Name = Annotated[str, Field(min_length=1, max_length=500)]


def _run_name() -> str:
    parameters = flow_run.parameters
    version = f"{parameters['model']}@{parameters['alias']} version {parameters['version']}"
    return f"{job_name(parameters['job'])} · {version}"


@flow(
    name="new-version",
    flow_run_name=_run_name,
    persist_result=False,
    on_completion=[end_children],
    on_failure=[end_children, tell_of_failure],
    on_cancellation=[end_children],
    on_crashed=[end_children],
)
@fail_with_reason
async def new_version(
    job: JobName,
    model: Name,
    alias: Name,
    version: Name,
    timeout_minutes: Minutes = DEFAULT_TIMEOUT_MINUTES,
) -> State[Any]:
    """Look at a version that an alias means from now on, and score with it.

    A challenger scores the newest partition, beside the job's model. If the job's own alias has
    moved, the newest partitions are scored again that `release.backfill_newest` asks for.

    Args:
        job: One of the jobs. From Python also the path or URL of a job file.
        model: Name of the registered model.
        alias: The alias that has moved.
        version: What it means from now on.
        timeout_minutes: Stop the run of a partition after this time.
    """
    forward_engine_log()
    spec = read_job(job)

    with shared_pools(1, spec.workers):
        async with local_pool(spec.workers) as pool:
            look = functools.partial(
                plan_reaction, spec, model, alias, version, pool, default_cache()
            )
            reaction = await run_within(timeout_minutes * 60.0, pool, look)

        await _show(spec, f"{model}@{alias} means version {version} now.", reaction)

        if reaction.problems:
            return Failed(message=_refusal(version, reaction))

        outcomes = [await _score(job, spec, value, reaction) for value in reaction.values]

    failed = [outcome for outcome in outcomes if not outcome.is_done]
    # A challenger may have scored nothing, as in a canary that was stopped: the run says so.
    message = " ".join([reaction.note, *(outcome.message for outcome in outcomes)])

    if failed:
        message = f"{failed[0].partition}: {failed[0].message}"

    final_state = Failed if failed else Completed
    return final_state(message=message, data=outcomes)


async def _score(job: str, spec: ScoringJob, value: str, reaction: Reaction) -> Outcome:
    """Score a partition in a child run."""
    with tags(spec.name, value):
        state = await run_child(score_partition, value, job, value, force=reaction.is_forced)

    (outcome,) = await outcomes_of(state, [value])
    return outcome


async def _show(spec: ScoringJob, headline: str, reaction: Reaction) -> None:
    """Store what was found out. All pages of a job are one history in the UI."""
    lines = [headline, *reaction_lines(reaction)]

    await acreate_markdown_artifact(
        key=artifact_key(spec.name, "new-version"),
        markdown="\n\n".join(map(prose, lines)),
        description=headline[:HEADLINE_CHARACTERS],
    )


def _refusal(version: str, reaction: Reaction) -> str:
    n_problems = counted(len(reaction.problems), "reason")
    problems = "\n".join(reaction.problems)
    return f"Runs would fail with version {version}: {n_problems}.\n{problems}"
