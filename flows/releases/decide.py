"""The flow by which somebody approves or rejects a version that was proposed."""

import functools
from enum import StrEnum
from typing import Annotated, Any

from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from nightscore.flows.parameters import DEFAULT_TIMEOUT_MINUTES, JobName, Minutes, read_job
from nightscore.flows.releases.common import (
    Note,
    release_flow,
    requested_by,
    show_page,
    within_minutes,
)
from nightscore.flows.ui.log import forward_engine_log
from nightscore.flows.ui.release_page import live_message, page_of_release
from nightscore.ledger.release_log import Release
from nightscore.models.cache import default_cache
from nightscore.operations.releases.approval import approve_release, reject_release
from nightscore.schemas.job import ScoringJob


class Decision(StrEnum):
    """What becomes of a proposal."""

    APPROVE = "approve"
    REJECT = "reject"


@release_flow("decide-release", "decide on")
async def decide(
    job: JobName,
    decision: Decision,
    version: Annotated[str, Field(pattern=r"^[0-9]+$")],
    note: Note = "",
    timeout_minutes: Minutes = DEFAULT_TIMEOUT_MINUTES,
) -> State[Any]:
    """Approve or reject a version that was proposed. Whoever proposed it cannot approve it.

    Args:
        job: One of the jobs that want approval. From Python also the path or URL of a job file.
        decision: Approve it, which makes it live, or reject it.
        version: Number of the version that was proposed. The page of the proposal has the evidence.
        note: Why, for the release log.
        timeout_minutes: Stop after this time. Run it again: it goes on.
    """
    forward_engine_log()
    spec, by = read_job(job), await requested_by()

    work = functools.partial(_decide, spec, decision, version, by=by, note=note)
    release, message = await within_minutes(timeout_minutes, "decision", spec, work)

    if release is not None:
        await show_page(spec, page_of_release(release), message)

    return Completed(message=message)


def _decide(
    spec: ScoringJob, decision: Decision, version: str, *, by: str, note: str
) -> tuple[Release | None, str]:
    """The entry of the log, and what became of it. None: nothing was changed."""
    if decision is Decision.REJECT:
        rejected = reject_release(spec, version, by=by, note=note)
        return rejected, f"Version {version} is rejected: nothing has moved."

    result = approve_release(spec, version, by=by, note=note, cache=default_cache())

    if result.was_live or result.release is None:
        return None, f"Nothing was changed: version {version} is live already."
    return result.release, live_message(result.release)
