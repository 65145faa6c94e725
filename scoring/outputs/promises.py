"""What nightscore promises everywhere, and does not keep on stores that lack what the promise rests on."""

from collections.abc import Iterable

from nightscore.errors import StorageError
from nightscore.ledger.formats import format_of, known_formats
from nightscore.ledger.layout import predictions_store, state_store
from nightscore.schemas.job import ScoringJob
from nightscore.storage.protocol import NO_VERSION
from nightscore.storage.registry import describe_places


def check_format(job: ScoringJob) -> None:
    """Whether results can be published on the output's store at all.

    Raises:
        StorageError: They cannot, in the job's format.
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


def check_claims(job: ScoringJob, what: str) -> None:
    """Whether of several commands that claim the same run one can succeed.

    Args:
        job: Whose outputs.
        what: The command.

    Raises:
        StorageError: It cannot be told who was first.
    """
    state = state_store(job)
    if state.capabilities.can_create:
        return
    raise StorageError(
        f"`nightscore {what}` needs a store that creates a file for one of several at most; nothing was changed.",
        state.url,
        expected=describe_places(lambda store_can: store_can.can_create),
        found=f"{state.scheme}://, where two decisions could both be carried out",
        next_step="correct the input or the gate in the job file, then publish with `nightscore run --force`",
    )


def unnoticed_changes(job: ScoringJob, versions: Iterable[str]) -> list[str]:
    """What cannot be told of input files whose store gives no versions.

    Args:
        job: Whose input.
        versions: Of the files.
    """
    n_files = sum(version == NO_VERSION for version in versions)
    if not n_files:
        return []
    scheme = job.input.uri.partition("://")[0]
    return [
        f"{scheme}:// tells neither versions nor times of {n_files:,} input files: one that is replaced by another "
        "of the same size is not noticed"
    ]


def missing_promises(job: ScoringJob) -> list[str]:
    """What is promised elsewhere, and not kept on the output's store; for plans, records and the log."""
    state = state_store(job)
    if state.capabilities.can_create:
        return []
    return [
        f"{state.scheme}:// cannot say who was first, so that a run which dies is not gone on with: "
        "the next one scores all of its shards again",
        f"{state.scheme}:// cannot say who was first, so that a run which a gate holds can be neither approved nor "
        "rejected there: only `nightscore run --force` publishes the partition then",
        f"{state.scheme}:// cannot say who was first, so that there are no leases: do not run `nightscore clean` or "
        "`rollback` there while another command changes the same partition",
    ]
