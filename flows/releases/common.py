"""What the flows of releases share: the types of their forms, who asks, and where the page is."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from pydantic import Field

from nightscore.flows.parameters import job_name, link_to_compare, link_to_performance
from nightscore.flows.ui.artifacts import HEADLINE_CHARACTERS, artifact_key
from nightscore.flows.ui.release_page import ReleasePage, release_markdown
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.text import printable

Version = Annotated[str, Field(pattern=r"^[0-9]*$")]
"""A number of the registered model's versions, or empty: then the form shows an empty line."""
Note = Annotated[str, Field(max_length=2_000)]
"""For the release log, which is read whole."""


def run_name(verb: str, parameter: str = "version") -> str:
    """The name of a run: the job, what is done, and the version if one is named."""
    parameters = flow_run.parameters
    version = parameters.get(parameter)
    named = f" version {version}" if version else ""
    return f"{job_name(parameters['job'])} · {verb}{named}"


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
