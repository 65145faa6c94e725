"""`nightscore approve` and `nightscore reject`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from nightscore.cli.app import (
    AsJson,
    Job,
    PartitionValue,
    app,
    known_partition,
    load,
    model_cache,
)
from nightscore.cli.summary import print_record
from nightscore.drift.recompare_runs import compare_later
from nightscore.inputs.partitions import parse_value
from nightscore.ledger.workspace import Workspace
from nightscore.operations.review import approve as publish_held
from nightscore.operations.review import find_held
from nightscore.operations.review import reject as drop_held
from nightscore.outputs.guarantees import check_claims
from nightscore.schemas.manifest import Manifest

HeldRun = Annotated[
    str | None, typer.Option("--run-id", help="Held run to decide on. Default: the newest.")
]
Note = Annotated[str, typer.Option(help="Reason, for the record.")]


@app.command()
def approve(
    job: Job,
    partition: PartitionValue,
    run_id: HeldRun = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Publish a run that a gate holds."""
    manifest = _decide("approve", publish_held, job, partition, run_id, note)
    print_record(manifest, as_json=as_json)


@app.command()
def reject(
    job: Job,
    partition: PartitionValue,
    run_id: HeldRun = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Drop a run that a gate holds. Readers keep what they see, and the run's record is kept."""
    manifest = _decide("reject", drop_held, job, partition, run_id, note)
    print_record(manifest, as_json=as_json)


def _decide(
    verb: str,
    decide: Callable[..., Manifest],
    job: str,
    partition: str,
    run_id: str | None,
    note: str,
) -> Manifest:
    """The record of the decided run."""
    spec, value = load(job), parse_value(partition)
    check_claims(spec, verb)

    with known_partition(spec, value, verb):
        held = find_held(spec, value, run_id)

    decided = decide(spec, held, datetime.now(UTC), note)

    # Later partitions are compared with what is published now.
    compare_later(Workspace(spec), [held.partition], model_cache(None), datetime.now(UTC))
    return decided
