"""`nightscore reject`."""

from nightscore.cli.decision import decide
from nightscore.cli.records import print_record
from nightscore.operations.reject import reject as drop_held


def reject(job: str, partition: str, run_id: str | None, note: str, as_json: bool) -> None:
    """Drop a held run, and print its record."""
    manifest, spec = decide("reject", drop_held, job, partition, run_id, note)
    print_record(manifest, spec, as_json=as_json)
