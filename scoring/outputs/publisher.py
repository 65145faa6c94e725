"""What an output format does: it makes a partition's predictions visible.

Readers see the old predictions or the new ones, never a mix.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nightscore.ledger.layout import run_id_of
from nightscore.ledger.live import Live
from nightscore.outputs.writer import WrittenPart
from nightscore.schemas.manifest import Manifest
from nightscore.storage.protocol import Entry

if TYPE_CHECKING:  # a partition that is unchanged needs no Arrow
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A finished run's parts and their place. `republication` makes one from a record."""

    run_id: str
    fingerprint: str
    key: str
    """The partition column."""
    value: str | None
    """The partition."""
    folder: str
    parts: tuple[WrittenPart, ...]
    """At least one, though it may have no rows."""
    schema: "pa.Schema"
    check: Callable[[], None] = lambda: None
    """Called right before readers see the parts. It raises if another command may be changing the
    partition."""
    note_order: Callable[[], None] = lambda: None
    """Called once no later publication of this process can come before this one."""
    is_followed: Callable[[], bool] = lambda: False
    """Whether another publication of this process will come soon, which may share a commit."""


class Publisher(Protocol):
    """One output format on one store."""

    def check(self) -> None:
        """Raise StorageError if this store cannot publish atomically."""
        ...

    def check_fits(self, schema: "pa.Schema", value: str | None) -> tuple[str, ...]:
        """Check that a partition with these columns can join what is published.

        Returns:
            Warnings about what is allowed.

        Raises:
            ContractError: The columns do not fit.
            StorageError: Something else is in the place of the output.
        """
        ...

    def live(self, value: str | None) -> Live | None:
        """What is published for a partition now."""
        ...

    def all_live(self, values: Collection[str | None] | None = None) -> dict[str | None, Live]:
        """What is published, by partition value.

        Args:
            values: Partitions to look at; None: all.
        """
        ...

    def gone(self, live: Collection[Live]) -> set[str]:
        """Those files of nightscore's that readers should see, and that somebody has deleted."""
        ...

    def find_results(self, manifest: Manifest) -> tuple[WrittenPart, ...]:
        """The files of a published run, as `publish` takes them to put them back.

        Raises:
            LocationNotFoundError: Some are gone. All of them are named.
        """
        ...

    def drop(self, manifest: Manifest) -> None:
        """Remove the files of a run that was never published."""
        ...

    def publish(
        self, publication: Publication, planned: Live | None
    ) -> tuple[tuple[WrittenPart, ...], int | None]:
        """Replace the partition in one step.

        Args:
            publication: What readers see from now on.
            planned: What was live when the run was planned.

        Returns:
            The files that readers see now, and the table's version if there is a table.

        Raises:
            ConflictError: The partition is no longer the one that was planned against.
        """
        ...

    def list_written(self, listed: Sequence[Entry] | None = None) -> list[Entry]:
        """All files that runs have written, below the store of their parts.

        They are live, replaced, or were never seen by readers.

        Args:
            listed: All files of that store. None: they are listed now.
        """
        ...

    def find_needed(
        self, live: Collection[Live], published: Mapping[str, Collection[str]]
    ) -> Callable[[str], bool]:
        """Whether somebody needs a written file, which is asked for each path.

        Args:
            live: What readers see.
            published: Files of replaced results that are kept, by the runs that wrote them.
        """
        ...


def find_unneeded(
    publisher: Publisher,
    written: Sequence[Entry],
    live: Collection[Live],
    published: Mapping[str, Collection[str]],
    protected_runs: Collection[str],
) -> list[Entry]:
    """Those written files that nobody needs.

    Args:
        publisher: Who knows what readers and results need.
        written: As they were listed.
        live: What readers see.
        published: Files of replaced results that are kept, by the runs that wrote them.
        protected_runs: Runs that may be under way, or whose record cannot be read.
    """
    is_needed = publisher.find_needed(live, published)

    unneeded = []
    for entry in written:
        if run_id_of(entry.path) not in protected_runs and not is_needed(entry.path):
            unneeded.append(entry)

    return unneeded


def show_gone(paths: Collection[str]) -> str:
    """Deleted files in a few words."""
    if len(paths) == 1:
        return f"the published file {min(paths)} was deleted"
    return f"{len(paths):,} published files were deleted, first {min(paths)}"


def describe_run(live: Live | None, otherwise: str) -> str:
    """The run whose files are live, for messages; `otherwise` if nothing is."""
    return f"run {live.run_id}" if live else otherwise
