"""The job of a challenger: the same input, another model, and a table of its own.

    <output.uri>.challengers/<label>/             its predictions, beside those of the job's model
    <output.uri>.challengers/<label>.nightscore/  its records: all that other jobs have, too

Readers' `**` globs on the job's own output find neither.
"""

from typing import Any

from pydantic import BaseModel

from nightscore.schemas.gates import Gates
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import label_of


def challenger_job(job: ScoringJob, uri: str, label: str = "") -> ScoringJob:
    """The job that scores with one of the job's challengers.

    It is named `JOB@LABEL`. Its gates only warn: its readers want to know what is wrong with it.
    Keys that are there twice are looked for in the job's own rows, which have the same keys.

    Args:
        job: With the challenger in its section `release`.
        uri: Of the challenger.
        label: What it is called. Empty: as `label_of` says.
    """
    label = label or label_of(uri)
    output_uri = f"{job.output.uri.rstrip('/')}.challengers/{label}"
    drift_gate = "off" if job.drift.gate == "off" else "warn"

    release = job.release
    if release is not None:
        no_challenger = {"challenger": (), "mode": "shadow", "share": None, "by": (), "salt": None}
        no_challenger["flag"] = None
        release = release.model_copy(update=no_challenger)

    changes: dict[str, Any] = {
        "name": f"{job.name}@{label}",
        "renamed_from": tuple(f"{name}@{label}" for name in job.renamed_from),
        "model": uri,
        "output": job.output.model_copy(update={"uri": output_uri}),
        "keys": job.keys.model_copy(update={"unique": False}),
        "gates": warning_gates(job.gates),
        "drift": job.drift.model_copy(update={"gate": drift_gate}),
        "release": release,
    }
    return job.model_copy(update=changes).be_challenger_of(job, label)


def challenger_jobs(job: ScoringJob) -> dict[str, ScoringJob]:
    """The jobs of all challengers, by label."""
    labels = job.release.labels if job.release is not None else {}
    return {label: challenger_job(job, uri) for label, uri in labels.items()}


def warning_gates(gates: Gates) -> Gates:
    """The same gates, of which none holds a run or lets it fail."""
    changes: dict[str, Any] = {}
    for name in Gates.model_fields:
        gate = getattr(gates, name)

        if gate in ("fail", "hold"):
            changes[name] = "warn"
        elif isinstance(gate, BaseModel):
            changes[name] = gate.model_copy(update={"action": "warn"})

    return gates.model_copy(update=changes)
