"""What `nightscore approve` and `nightscore reject` share, and how they decide on held runs."""

from collections.abc import Callable
from datetime import UTC, datetime

from nightscore.cli.resolve import exact_value, known_partition, load, model_cache
from nightscore.errors import InvalidJobError
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.drift.recompare_runs import compare_later
from nightscore.operations.decision import find_held
from nightscore.outputs.guarantees import check_claims
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest


def check_subject(
    verb: str, job: str, partition: str | None, version: str | None, run_id: str | None
) -> None:
    """Check that one thing is decided on: a held run of a partition, or a proposed version.

    Raises:
        InvalidJobError: It is none, or both; with the two calls.
    """
    is_release = version is not None

    if is_release != (partition is not None) and not (is_release and run_id is not None):
        return

    found = "neither" if partition is None and not is_release else "both"

    raise InvalidJobError(
        "The command decides on one thing; nothing was changed.",
        job,
        expected="a partition whose run a gate holds, or --release and a proposed version",
        found=found,
        next_step=f"`nightscore {verb} JOB PARTITION` or `nightscore {verb} JOB --release VERSION`",
    )


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
