"""`nightscore replay`."""

from datetime import UTC, datetime
from pathlib import Path

from nightscore.cli.resolve import exact_value, known_partition, load, model_cache
from nightscore.cli.show import out
from nightscore.cli.workers import print_and_exit, with_workers
from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.operations.replay import replay
from nightscore.schemas.manifest import Manifest


def replay_command(
    job: str,
    partition: str,
    new_model: bool,
    as_json: bool,
    cache_dir: Path | None,
    verbose: bool,
) -> None:
    """Score quarantined rows again, and print the manifest."""
    spec, cache = load(job), model_cache(cache_dir)
    value = exact_value(spec, partition)

    def score(pool: Pool, listener: Listener) -> Manifest:
        return replay(
            spec,
            value,
            pool=pool,
            cache=cache,
            now=datetime.now(UTC),
            allow_new_model=new_model,
            listeners=[listener],
        )

    with known_partition(spec, value, "replay"):
        manifest = with_workers(spec.workers, score, as_json=as_json, verbose=verbose)

    if not as_json and manifest.status == "unchanged":
        reason = "no rows are in quarantine"
        if manifest.quarantine.files:
            reason = manifest.warnings[-1]
        out.print(f"{partition}: {reason}")
        return

    print_and_exit(manifest, spec, as_json=as_json)
