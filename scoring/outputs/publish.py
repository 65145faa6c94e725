"""Opens the publisher of a job's output format."""

from nightscore.arrow.parsing.files import read_facts
from nightscore.ledger.layout import parts_store
from nightscore.ledger.lease import Lease
from nightscore.outputs.promises import check_format
from nightscore.outputs.publisher import Publication, Publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import encode_folder
from nightscore.storage.run_cache import Kept


def republication(
    job: ScoringJob, publisher: Publisher, manifest: Manifest, lease: Lease
) -> Publication:
    """A finished run's files as they can be published (again).

    Args:
        job: The job.
        publisher: Of its outputs.
        manifest: Of the run.
        lease: Of the partition, held.

    Raises:
        LocationNotFoundError: Some are gone; all of them are named.
    """
    parts = publisher.find_results(manifest)
    schema = read_facts(parts_store(job), parts[0].file.path).schema
    folder = encode_folder(manifest.partition_key, manifest.partition)
    return Publication(
        manifest.run_id,
        manifest.fingerprint,
        manifest.partition_key,
        manifest.partition,
        folder,
        parts,
        schema,
        lease.check,
    )


def open_publisher(job: ScoringJob, kept: Kept | None = None) -> Publisher:
    """The publisher of the job's output format.

    Args:
        job: The job.
        kept: What the runs of this process keep for each other.

    Raises:
        StorageError: The output's store cannot have this format.
    """
    check_format(job)
    if job.output.format == "delta":
        from nightscore.outputs.delta import DeltaPublisher

        return DeltaPublisher(job, kept)
    from nightscore.outputs.sealed import SealedPublisher

    return SealedPublisher(job)
