"""What is done at once about a version that an alias of a job means from now on."""

from collections.abc import Iterator
from dataclasses import dataclass

from nightscore.engine.pool import Pool
from nightscore.inputs.date_formats import newest_value
from nightscore.inputs.partitions import list_partitions
from nightscore.models.cache import ModelCache
from nightscore.models.registries.uris import registry_uri
from nightscore.models.registry_catalog import open_registry
from nightscore.operations.backfill import values_to_score
from nightscore.operations.check import check_model
from nightscore.operations.missing_parts import MissingPart, missing_parts
from nightscore.operations.releases.suitability import check_problems
from nightscore.operations.webhooks.notices import role_of
from nightscore.schemas.challenger_jobs import challenger_job
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import show_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What was found out about the version, and what to score with it now."""

    problems: tuple[str, ...] = ()
    """What keeps runs from scoring with it, each with what to do about it."""
    missing: tuple[MissingPart, ...] = ()
    values: tuple[str, ...] = ()
    """Partitions to score, oldest first."""
    is_forced: bool = False
    """They are scored although they are published: a challenger scores in the same pass."""
    note: str
    """What is scored and why, or why nothing is."""


def plan_reaction(
    job: ScoringJob, model: str, alias: str, version: str, pool: Pool, cache: ModelCache
) -> Reaction:
    """Look at a version as `nightscore check` does, and choose what to score with it.

    Args:
        job: That has the alias, as its model or as a challenger.
        model: Name of the registered model.
        alias: Of the model.
        version: What the alias was said to mean.
        pool: Loads the model.
        cache: Models of this host.

    Raises:
        ScoringError: The registry does not answer, or has no such version.
    """
    role = role_of(job, model, alias)
    shown = f"{model}@{alias}"

    if role is None:
        return Reaction(note=f"{shown} is neither the model of {job.name} nor a challenger of it.")

    with open_registry(registry_uri(job.registry)) as registry:
        meant = registry.version_of_alias(model, alias)
        found = registry.version(model, version)

    if meant != version or found is None:
        meaning = f"version {meant}" if meant else "nothing"
        return Reaction(note=f"{shown} means {meaning} by now, so there is nothing to do.")

    is_challenger = role == "challenger"
    tried = challenger_job(job, f"models:/{shown}") if is_challenger else job
    problems = tuple(check_problems(check_model(tried, cache, pool)))
    missing = tuple(missing_parts(job, found))

    if problems:
        return Reaction(problems=problems, missing=missing, note="Nothing is scored with it.")

    values = _newest(job) if is_challenger else _stale(job, cache)

    return Reaction(
        missing=missing,
        values=tuple(values),
        is_forced=is_challenger,
        note=_note(job, values, is_challenger=is_challenger),
    )


def _newest(job: ScoringJob) -> list[str]:
    """The newest partition of the input. The check has found that there is one."""
    return [show_value(newest_value([*list_partitions(job)], job.input.partition_format))]


def _stale(job: ScoringJob, cache: ModelCache) -> list[str]:
    """Those of the newest partitions that the job wants scored again, and that need it."""
    n_newest = job.release.backfill_newest if job.release is not None else 0

    if not n_newest:
        return []

    values = list(map(show_value, list_partitions(job)))
    return values_to_score(job, cache, values[-n_newest:], ("stale",))


def _note(job: ScoringJob, values: list[str], *, is_challenger: bool) -> str:
    if is_challenger:
        return f"{values[0]} is scored now, by the job's model and by the challenger."
    if values:
        return f"{', '.join(values)}: published by another version, and scored again now."
    if job.release is None or not job.release.backfill_newest:
        return "The next run scores with it. What is published stays (release.backfill_newest)."
    return "None of the newest partitions needs to be scored again."


def reaction_lines(reaction: Reaction) -> Iterator[str]:
    """What people read of it."""
    for problem in reaction.problems:
        yield f"A run with it would fail. {problem}"
    for part in reaction.missing:
        yield f"It has no {part.name}; `{part.command}` adds it."
    yield reaction.note
