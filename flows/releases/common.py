"""What the flows of releases share: their forms, their time limit, who asks, and the page."""

import dataclasses
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, ParamSpec, TypeVar

from prefect import Flow, flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import Field

from nightscore.errors import ReleaseError
from nightscore.flows.outcome import fail_with_reason
from nightscore.flows.parameters import job_name, link_to_compare, link_to_performance
from nightscore.flows.pools import within_time
from nightscore.flows.ui.artifacts import HEADLINE_CHARACTERS, artifact_key
from nightscore.flows.ui.release_page import ReleasePage, release_markdown
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.text import printable

Version = Annotated[str, Field(pattern=r"^[0-9]*$")]
"""A number of the registered model's versions, or empty: then the form shows an empty line."""
Note = Annotated[str, Field(max_length=2_000)]
"""For the release log, which is read whole."""


P = ParamSpec("P")
T = TypeVar("T")
ReleaseCoroutine = Callable[P, Coroutine[Any, Any, State[Any]]]


def release_flow(
    name: str, verb: str, parameter: str = "version"
) -> Callable[[ReleaseCoroutine[P]], Flow[P, Coroutine[Any, Any, State[Any]]]]:
    """Make a flow of a release, whose runs are named after the job, what is done, and the version.

    Args:
        name: Of the flow.
        verb: What is done, in the names of its runs. A parameter `decision` says it better.
        parameter: The one with the version.
    """

    def decorate(
        function: ReleaseCoroutine[P],
    ) -> Flow[P, Coroutine[Any, Any, State[Any]]]:
        run_name = functools.partial(_run_name, verb, parameter)
        return flow(name=name, flow_run_name=run_name, persist_result=False)(
            fail_with_reason(function)
        )

    return decorate


def _run_name(verb: str, parameter: str) -> str:
    parameters = flow_run.parameters
    verb = str(parameters.get("decision", verb))
    version = parameters.get(parameter)
    named = f" version {version}" if version else ""
    return f"{job_name(parameters['job'])} · {verb}{named}"


async def within_minutes(minutes: int, what: str, job: ScoringJob, work: Callable[[], T]) -> T:
    """The result of work that needs no workers.

    Args:
        minutes: Its time limit.
        what: That is done, in the error.
        job: Whose release.
        work: Called in a thread.

    Raises:
        ReleaseError: The time is up.
    """
    try:
        return await within_time(minutes * 60, work)
    except TimeoutError:
        raise ReleaseError(
            f"The {what} was stopped after {minutes:,} minutes, its time limit. What was done by "
            "then stays.",
            job.given_as,
            next_step="check the registry and the store; then run it again: it goes on",
        ) from None


async def requested_by() -> str:
    """Who asks for a release: the flow run, and the user where Prefect knows one.

    Prefect's own server has no users: there it is the run alone.
    """
    run_id = str(flow_run.id)
    async with get_client() as client:
        run = await client.read_flow_run(run_id)  # type: ignore[arg-type]

    creator = run.created_by
    known = "" if creator is None else creator.display_value or ""
    return printable(f"{known}, flow run {run_id}" if known else f"flow run {run_id}")


async def show_page(
    job: ScoringJob, page: ReleasePage, message: str, put_back: Sequence[Sequence[str]] = ()
) -> None:
    """Store the page of a release. All pages of a job are one history in the UI."""
    page = dataclasses.replace(
        page,
        compare_url=link_to_compare(job.given_as),
        performance_url=link_to_performance(job.given_as),
    )

    await acreate_markdown_artifact(
        key=artifact_key(job.name, "release"),
        markdown=release_markdown(page, message, put_back),
        description=message[:HEADLINE_CHARACTERS],
    )
