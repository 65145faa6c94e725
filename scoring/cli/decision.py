"""What `nightscore approve` and `nightscore reject` share."""

from collections.abc import Callable
from datetime import UTC, datetime

from nightscore.cli.resolve import exact_value, known_partition, load, model_cache
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.drift.recompare_runs import compare_later
from nightscore.operations.decision import find_held
from nightscore.outputs.guarantees import check_claims
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest


def decide(
    verb: str,
    act: Callable[..., Manifest],
    job: str,
    partition: str,
    run_id: str | None,
    note: str,
) -> tuple[Manifest, ScoringJob]:
    """Approve or reject a held run, as `act` does; returns its record and the job."""
    spec = load(job)
    value = exact_value(spec, partition)
    check_claims(spec, verb)

    with known_partition(spec, value, verb):
        held = find_held(spec, value, run_id)

    decided = act(spec, held, datetime.now(UTC), note)

    # Later partitions are compared with what is published now.
    compare_later(Workspace(spec), [held.partition], model_cache(None), datetime.now(UTC))
    return decided, spec
