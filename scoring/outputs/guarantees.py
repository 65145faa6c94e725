"""Guarantees that nightscore gives everywhere, except on stores that lack what they rely on."""

import shlex
from collections.abc import Iterable
from urllib.parse import urlsplit

from nightscore.errors import StorageError
from nightscore.ledger.layout import predictions_store, state_store
from nightscore.ledger.output_formats import format_of, known_formats
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value
from nightscore.storage.backend_catalog import describe_places, find_backend
from nightscore.storage.protocol import NO_VERSION


def check_format(job: ScoringJob) -> None:
    """Check that the output's store can publish the job's format atomically.

    Raises:
        StorageError: It cannot.
    """
    store, output_format = predictions_store(job), format_of(job)

    if output_format.is_supported(store.capabilities):
        return

    others = [
        f"output.format: {other.name}"
        for other in known_formats()
        if other.is_supported(store.capabilities)
    ]

    raise StorageError(
        f"{output_format.requirement}, which nightscore does not have on {store.scheme}://.",
        store.url,
        expected=describe_places(output_format.is_supported),
        found=f"{store.scheme}://",
        next_step=f"use {' or '.join(others)}" if others else "write to another output.uri",
    )


def check_claims(job: ScoringJob, command: str) -> None:
    """Check that of several commands that claim the same run, only one can succeed.

    Args:
        job: Whose outputs.
        command: Named in the error.

    Raises:
        StorageError: The store cannot tell who was first.
    """
    state = state_store(job)

    if state.capabilities.can_create:
        return

    raise StorageError(
        f"`nightscore {command}` needs a store on which only one of several writers can create a "
        "file; nothing was changed.",
        state.url,
        expected=describe_places(lambda able: able.can_create),
        found=f"{state.scheme}://, where two decisions could both take effect",
        next_step="correct the input or the gate in the job file, then publish with `nightscore "
        "run --force`",
    )


def decisions(manifest: Manifest, given_as: str) -> tuple[str, ...]:
    """The commands that approve or reject a run that a gate holds; none where none can.

    Args:
        manifest: The run's record.
        given_as: What commands call its job.
    """
    if not find_backend(urlsplit(manifest.output.uri).scheme or "file").capabilities.can_create:
        return ()

    partition = show_value(manifest.partition)
    return tuple(
        shlex.join(["nightscore", verb, given_as, partition]) for verb in ("approve", "reject")
    )


def instead_of_a_decision(manifest: Manifest, given_as: str) -> str:
    """What to do about a run that is held where nobody can approve or reject it."""
    again = shlex.join(["nightscore", "run", given_as, show_value(manifest.partition), "--force"])
    return f"correct the input, or the gate in the job file; then `{again}` publishes it"


def unnoticed_changes(job: ScoringJob, versions: Iterable[str]) -> list[str]:
    """Warnings about input files whose store reports no versions.

    Args:
        job: Whose input.
        versions: The files' versions.
    """
    n_files = sum(version == NO_VERSION for version in versions)
    if not n_files:
        return []

    scheme = job.input.uri.partition("://")[0]

    return [
        f"{scheme}:// reports neither versions nor times of {n_files:,} input files: if one is "
        "replaced by another of the same size, nightscore does not notice"
    ]


def missing_guarantees(job: ScoringJob) -> list[str]:
    """Guarantees that do not hold on the output's store, for plans, records and the log."""
    state = state_store(job)
    if state.capabilities.can_create:
        return []

    reason = f"{state.scheme}:// cannot tell which of two writers was first"
    return [
        f"{reason}, so a run that dies is not resumed: the next run scores all of its shards again",
        f"{reason}, so a run that a gate holds can be neither approved nor rejected: publish the "
        "partition with `nightscore run --force`",
        f"{reason}, so there are no leases: do not run `nightscore clean` or `rollback` while "
        "another command changes the same partition",
    ]
