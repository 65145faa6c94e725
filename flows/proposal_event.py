"""The event of a proposed version: it waits until somebody else approves or rejects it."""

from typing import Any

from prefect.settings import PREFECT_API_URL

from nightscore.flows.prefect_api import prefect_api
from nightscore.flows.release_events import event_document
from nightscore.flows.ui.events import SIGNS, RunEvent
from nightscore.operations.releases.proposals import decision_command, describe_proposal
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.release_entry import ReleaseEntry
from nightscore.schemas.text import printable


def emit_proposal_event(job: ScoringJob, proposal: ReleaseEntry) -> None:
    """Send the event, and wait until the server has it. A server that is not named gets none.

    Its id follows from the proposal, so that whoever gives the same command again sends the same
    event.

    Raises:
        DeploymentError: The server does not answer, or refuses.
    """
    if not PREFECT_API_URL.value():
        return

    seed = f"{job.name} {proposal.model}@{proposal.alias} {proposal.number} {proposal.proposed_at}"
    document = event_document(proposal_event(job, proposal), seed)

    with prefect_api() as api:
        api.send("POST", "/events", [document])


def proposal_event(job: ScoringJob, proposal: ReleaseEntry) -> RunEvent:
    """`nightscore.release.proposed`. It sends a message: somebody has to decide."""
    resource = {
        "prefect.resource.id": f"nightscore.job.{job.name}",
        "prefect.resource.name": job.name,
        "nightscore.severity": "ok",
        "nightscore.notify": "true",
    }
    return RunEvent("nightscore.release.proposed", resource, _payload(job, proposal))


def decision_form(job: ScoringJob) -> str:
    """The form in Prefect by which somebody decides."""
    return f"decide-release/{job.name}-decide"


def _payload(job: ScoringJob, proposal: ReleaseEntry) -> dict[str, Any]:
    shown = f"{proposal.model}@{proposal.alias}"
    lines = [describe_proposal(job, proposal), f"In Prefect it is the form {decision_form(job)}."]

    if proposal.note:
        lines.append(f"Note: {proposal.note}")
    if proposal.jobs:
        lines.append(f"Jobs that it would move: {', '.join(proposal.jobs)}.")

    lines = list(map(printable, lines))

    return {
        "job": job.name,
        "model": proposal.model,
        "alias": proposal.alias,
        "version": proposal.after.version,
        "by": proposal.by,
        "commands": [decision_command(job, verb, proposal) for verb in ("approve", "reject")],
        "form": decision_form(job),
        "severity": "ok",
        "sign": SIGNS["ok"],
        "subject": printable(
            f"{job.name}: version {proposal.after.version} waits for approval as {shown}"
        ),
        "message": " ".join(lines),
        "text": "\n".join(lines),
    }
