"""Keys and short texts of artifacts and states in the Prefect UI."""

from collections.abc import Iterator

from nightscore.monitoring.differences.wording import describe_difference
from nightscore.monitoring.drift.wording import verdict_text
from nightscore.outputs.guarantees import decisions, instead_of_a_decision
from nightscore.reports.cards import SIGNS
from nightscore.schemas.canary import ENDS, STOPPED
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import GateRecord, Manifest
from nightscore.schemas.model_uri import short_model_name
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import counted

HEADLINE_CHARACTERS = 200


def artifact_key(job: str, kind: str) -> str:
    """A key that is the same for all runs of a job, so that its page is their history."""
    text = f"{job}-{kind}".lower()
    return "".join(c if c.isalnum() else "-" for c in text).strip("-")


def state_message(manifest: Manifest, job: ScoringJob) -> str:
    """One sentence for the state of a run of the job."""
    if manifest.error:
        return manifest.error.message

    partition = show_value(manifest.partition)

    if manifest.status in ("held", "rejected"):
        reasons = "; ".join(f"{gate.gate}: {gate.found}" for gate in holding_gates(manifest))

        verdict = "was rejected"
        if manifest.status == "held":
            commands = decisions(manifest, job.given_as)
            advice = instead_of_a_decision(manifest, job.given_as)
            verdict = f"held, waits for `{commands[0]}` or `reject`" if commands else advice

        return f"{partition}: {verdict}: {reasons}"

    counts, model = manifest.counts, manifest.model

    verb = "scored"
    if manifest.status == "unchanged":
        verb = "were already published"

    shown_model = short_model_name(model.name, model.version)
    message = (
        f"{partition}: {counts.rows_scored:,} rows {verb} by {shown_model}, "
        f"{counts.rows_quarantined:,} quarantined"
    )
    message += "".join(f"; {text}" for text in _challenger_texts(manifest))

    if manifest.drift:
        message += f"; drift {verdict_text(manifest.drift)}"

    return message


def _challenger_texts(manifest: Manifest) -> Iterator[str]:
    """What became of challengers, each in a few words."""
    if manifest.canary is not None:
        rows = counted(manifest.canary.rows, "row")
        yield f"canary: {rows} by version {manifest.canary.version}"

    for one in manifest.challengers:
        name = short_model_name(one.name, one.version) if one.version else one.label

        if one.status in ("failed", "refused", "unfinished"):
            yield f"challenger {name} {one.status}"
        elif one.status == "published" and one.mode == "shadow":
            yield f"{name} in its shadow"

    for warning in manifest.warnings:
        if ENDS in warning:
            yield "the canary ends"
        elif warning.startswith(STOPPED):
            yield "the canary is stopped"


def challengers_headline(manifest: Manifest) -> str:
    """The description of the artifact on differences: the first challenger's first sentence."""
    for one in manifest.challengers:
        if one.difference is not None:
            versions = f"{one.version or one.label} against {manifest.model.version}"
            first = describe_difference(one.difference)[0]

            text = f"{show_value(manifest.partition)}, {versions}: {first}"
            return text[:HEADLINE_CHARACTERS]

    return show_value(manifest.partition)


def headline(manifest: Manifest, message: str) -> str:
    """The description of a run's artifact: the verdict first, as lists cut it at 40 characters."""
    text = f"{manifest.status}: {message.splitlines()[0]}"
    drift = manifest.drift
    if drift and drift.references:
        text = f"{SIGNS[drift.verdict]} {drift.verdict}, {text}"
    return text[:HEADLINE_CHARACTERS]


def holding_gates(manifest: Manifest) -> list[GateRecord]:
    """The gates that hold the run."""
    return [gate for gate in manifest.gates if not gate.passed and gate.action == "hold"]
