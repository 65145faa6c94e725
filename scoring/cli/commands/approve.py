"""`nightscore approve`."""

from nightscore.cli.decision import decide
from nightscore.cli.records import print_record
from nightscore.operations.approve import approve as publish_held


def approve(job: str, partition: str, run_id: str | None, note: str, as_json: bool) -> None:
    """Publish a held run, and print its record."""
    manifest, spec = decide("approve", publish_held, job, partition, run_id, note)
    print_record(manifest, spec, as_json=as_json)
