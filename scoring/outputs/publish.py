"""Makes a partition's predictions visible: the old ones or the new ones, never a mix."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from schemas.job import ScoringJob
from schemas.manifest import Manifest
from schemas.partition import encode_folder
from scoring.kept import Kept
from scoring.outputs.layout import parts_store
from scoring.outputs.writer import WrittenPart
from scoring.parsing.files import read_facts


@dataclass(frozen=True, slots=True)
class Live:
    """What readers see of a partition; the next publication replaces exactly this."""

    run_id: str | None
    """None if nightscore did not write it, or not all of it."""
    paths: tuple[str, ...]
    """Files of the partition, below the output's URI."""
    version: str
    """Table version or ETag when it was seen."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A finished run's parts and their place; `republication` makes one of a record."""

    run_id: str
    fingerprint: str
    key: str
    value: str | None
    folder: str
    parts: tuple[WrittenPart, ...]
    """At least one, though it may have no rows."""
    schema: pa.Schema


class Publisher(Protocol):
    """One output format on one store."""

    writes_in_place: bool
    """Workers write parts where they stay; else they write them below the state folder, to be sealed."""

    def check(self) -> None:
        """Raise StorageError if this store cannot keep the promise of atomic publication."""
        ...

    def check_fits(self, schema: pa.Schema) -> None:
        """Raise ContractError if predictions with these columns cannot join what is published."""
        ...

    def live(self, value: str | None) -> Live | None:
        """What is published for a partition now."""
        ...

    def all_live(self) -> dict[str | None, Live]:
        """What is published, by partition value."""
        ...

    def find_results(self, manifest: Manifest) -> tuple[WrittenPart, ...]:
        """The files of a published run, as `publish` takes them to put them back.

        Raises:
            LocationNotFoundError: Some are gone; all of them are named.
        """
        ...

    def drop(self, manifest: Manifest) -> None:
        """Remove the files of a run that was never published."""
        ...

    def publish(self, publication: Publication, planned: Live | None) -> tuple[tuple[WrittenPart, ...], int | None]:
        """Replace the partition in one step; returns the files that readers see now, and the table's version.

        Raises:
            ConflictError: The partition is no longer the one that was planned against.
        """
        ...

    def clean(
        self,
        published: Mapping[str, Collection[str]],
        kept_runs: Collection[str],
        older_than_s: float,
        *,
        delete: bool,
    ) -> list[str]:
        """Files that dead attempts left, last touched before a time (epoch seconds); removed if `delete`.

        Args:
            published: The files of published runs by their id: the history needs them.
            kept_runs: Runs that may be under way, or whose record cannot be read.
            older_than_s: Age guard.
            delete: Else they are only listed.
        """
        ...


def republication(job: ScoringJob, publisher: Publisher, manifest: Manifest) -> Publication:
    """A finished run's files as they can be published (again).

    Raises:
        LocationNotFoundError: Some are gone; all of them are named.
    """
    parts = publisher.find_results(manifest)
    schema = read_facts(parts_store(job), parts[0].file.path).schema
    folder = encode_folder(manifest.partition_key, manifest.partition)
    return Publication(
        manifest.run_id, manifest.fingerprint, manifest.partition_key, manifest.partition, folder, parts, schema
    )


def open_publisher(job: ScoringJob, kept: Kept | None = None) -> Publisher:
    """The publisher of the job's output format.

    Args:
        job: The job.
        kept: What the runs of this process keep for each other.
    """
    if job.output.format == "delta":
        from scoring.outputs.delta import DeltaPublisher

        return DeltaPublisher(job, kept)
    from scoring.outputs.sealed import SealedPublisher

    return SealedPublisher(job)
