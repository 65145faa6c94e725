"""The flow that makes a model version live, and shows on what grounds."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from nightscore.engine.pool import Pool
from nightscore.errors import ScoringError
from nightscore.flows.parameters import DEFAULT_TIMEOUT_MINUTES, JobName, Minutes, read_job
from nightscore.flows.pools import local_pool, run_within
from nightscore.flows.proposal_event import decision_form, emit_proposal_event
from nightscore.flows.releases.common import Note, Version, release_flow, requested_by, show_page
from nightscore.flows.ui.log import forward_engine_log
from nightscore.flows.ui.release_page import live_message, page_of_appraisal, page_of_release
from nightscore.ledger.release_log import Release
from nightscore.models.cache import default_cache
from nightscore.operations.releases.appraisal import Appraisal, preview
from nightscore.operations.releases.promote import Proposal
from nightscore.operations.releases.promote import promote as make_live
from nightscore.operations.releases.proposals import describe_proposal
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.release_entry import ReleaseEntry
from nightscore.schemas.text import counted

T = TypeVar("T")


@release_flow("promote", "promote")
async def promote(
    job: JobName,
    version: Version = "",
    note: Note = "",
    without_labels: bool = False,
    dry_run: bool = False,
    timeout_minutes: Minutes = DEFAULT_TIMEOUT_MINUTES,
) -> State[Any]:
    """Make a model version live: check it, log it, move the alias. Shows what is known of it.

    Args:
        job: One of the jobs whose model is an alias. From Python also the path or URL of a job
            file.
        version: Number of the version to make live. Empty: the newest one of the model.
        note: Why, for the release log.
        without_labels: Go ahead although nothing shows by labels that it is better.
        dry_run: Only show what is known, and what keeps the version from going live.
        timeout_minutes: Stop after this time. Run it again: it goes on.
    """
    forward_engine_log()
    spec, by = read_job(job), await requested_by()

    proposal = Proposal(
        version=version or None,
        note=note,
        without_labels=without_labels,
        by=by,
    )

    seconds = timeout_minutes * 60.0

    if dry_run:
        return await _look(spec, proposal, seconds)

    return await _make_live(spec, proposal, seconds)


async def _look(spec: ScoringJob, proposal: Proposal, seconds: float) -> State[Any]:
    """Show what a promotion would go by."""
    appraisal = await _with_pool(
        spec,
        seconds,
        lambda pool: preview(
            spec,
            proposal.version,
            without_labels=proposal.without_labels,
            pool=pool,
            cache=default_cache(),
        ),
    )

    if appraisal is None:
        return Completed(message="Nothing would be changed: the version is live already.")

    message = f"Nothing keeps {appraisal.candidate} from going live. Nothing was changed."
    if appraisal.problems:
        reasons = counted(len(appraisal.problems), "reason")
        message = f"{appraisal.candidate} must not go live yet: {reasons}. Nothing was changed."

    await show_page(spec, page_of_appraisal(appraisal, proposal.by, proposal.note), message)
    return Completed(message=message)


async def _make_live(spec: ScoringJob, proposal: Proposal, seconds: float) -> State[Any]:
    """Promote the version. What is known of it is shown also if it is refused."""
    appraisals: list[Appraisal] = []

    try:
        result = await _with_pool(
            spec,
            seconds,
            lambda pool: make_live(
                spec,
                proposal,
                pool=pool,
                cache=default_cache(),
                on_appraised=appraisals.append,
            ),
        )
    except ScoringError as error:
        for appraisal in appraisals:
            page = page_of_appraisal(appraisal, proposal.by, proposal.note)
            await show_page(spec, page, error.what)
        raise

    if result.proposal is not None:
        return await _tell_of_proposal(spec, result.proposal)

    release = result.release
    if result.was_live or release is None:
        return Completed(message="Nothing was changed: the version is live already.")

    message = live_message(release)
    await show_page(spec, page_of_release(release), message)
    return Completed(message=message)


async def _tell_of_proposal(spec: ScoringJob, proposal: ReleaseEntry) -> State[Any]:
    """Show by what somebody else decides, and where; and alert them.

    Lists show the beginning of a message.
    """
    message = (
        f"Version {proposal.after.version} waits for a decision of somebody else: in Prefect by "
        f"the form `{decision_form(spec)}`. {describe_proposal(spec, proposal)}"
    )
    await show_page(spec, page_of_release(Release(proposal)), message)

    try:
        await asyncio.to_thread(emit_proposal_event, spec, proposal)
    except ScoringError as error:
        get_run_logger().warning("nobody was alerted that it waits: %s", error)

    return Completed(message=message)


async def _with_pool(spec: ScoringJob, seconds: float, work: Callable[[Pool], T]) -> T:
    """The result of work with a pool, in a thread that ends when the time is up."""
    async with local_pool(spec.workers) as pool:
        return await run_within(seconds, pool, functools.partial(work, pool))
