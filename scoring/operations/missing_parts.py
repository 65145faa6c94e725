"""What a new model version lacks before it can be used as the one before, and what adds it."""

from collections.abc import Iterator
from dataclasses import dataclass

from nightscore.models.registries.protocol import ModelVersion
from nightscore.models.registries.uris import command_arguments
from nightscore.schemas.job import ScoringJob


@dataclass(frozen=True, slots=True)
class MissingPart:
    """One thing that a version lacks."""

    name: str
    command: str
    """Adds it."""


def missing_parts(job: ScoringJob, version: ModelVersion) -> Iterator[MissingPart]:
    """What a version lacks: the pin that vouches for its bytes, the baseline that drift needs."""
    if version.digest_tag is None:
        yield MissingPart("pin", pin_command(job, version))
    if version.baseline_tag is None:
        yield MissingPart("baseline", baseline_command(job, version))


def pin_command(job: ScoringJob, version: ModelVersion) -> str:
    """The command line that vouches for a version's bytes."""
    return f"nightscore pin {command_arguments(version.uri, job.registry)}"


def baseline_command(job: ScoringJob, version: ModelVersion) -> str:
    """The command line that logs a version's baseline, with names to fill in."""
    return job.command(
        "baseline", "--from", "DATA", "--label", "COLUMN", "--model-version", version.version
    )
