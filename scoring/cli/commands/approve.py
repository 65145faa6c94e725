"""`nightscore approve`."""

from nightscore.cli.app import AsJson, Job, PartitionValue
from nightscore.cli.decision import HeldRun, Note, decide
from nightscore.cli.summary import print_record
from nightscore.operations.approve import approve as publish_held


def approve(
    job: Job,
    partition: PartitionValue,
    run_id: HeldRun = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Publish a run that a gate holds."""
    manifest, spec = decide("approve", publish_held, job, partition, run_id, note)
    print_record(manifest, spec, as_json=as_json)
