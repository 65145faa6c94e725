"""Opens the publisher of a job's output format."""

from nightscore.arrow.parsing.files import read_facts
from nightscore.ledger.lease import Lease
from nightscore.ledger.output_formats import format_of
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.guarantees import check_format
from nightscore.outputs.publisher import Publication, Publisher
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import encode_folder


def open_publisher(workspace: Workspace) -> Publisher:
    """The publisher of the job's output format.

    Raises:
        StorageError: The output's store cannot have this format.
    """
    check_format(workspace.job)
    publisher: Publisher = format_of(workspace.job).open_publisher(workspace)
    return publisher


def republication(
    workspace: Workspace, publisher: Publisher, manifest: Manifest, lease: Lease
) -> Publication:
    """A finished run's files, to be published again.

    Args:
        workspace: The job's.
        publisher: The job's.
        manifest: The record of the run.
        lease: The partition's. It must be held.

    Raises:
        LocationNotFoundError: Some files are gone. All of them are named.
    """
    parts = publisher.find_results(manifest)
    schema = read_facts(workspace.parts, parts[0].file.path).schema
    folder = encode_folder(manifest.partition_key, manifest.partition)

    return Publication(
        run_id=manifest.run_id,
        fingerprint=manifest.fingerprint,
        key=manifest.partition_key,
        value=manifest.partition,
        folder=folder,
        parts=parts,
        schema=schema,
        check=lease.check,
    )
