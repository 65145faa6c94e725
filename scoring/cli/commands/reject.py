"""`nightscore reject`."""

from nightscore.cli.app import AsJson, Job, PartitionValue
from nightscore.cli.decision import HeldRun, Note, decide
from nightscore.cli.summary import print_record
from nightscore.operations.reject import reject as drop_held


def reject(
    job: Job,
    partition: PartitionValue,
    run_id: HeldRun = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Drop a run that a gate holds. Readers keep what they see, and the run's record is kept."""
    manifest, spec = decide("reject", drop_held, job, partition, run_id, note)
    print_record(manifest, spec, as_json=as_json)
