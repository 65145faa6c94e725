"""`nightscore run`."""

from datetime import UTC, datetime
from pathlib import Path

from nightscore.cli.resolve import exact_value, load, model_cache
from nightscore.cli.workers import print_and_exit, with_workers
from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.runs.run import run
from nightscore.schemas.manifest import Manifest


def run_command(
    job: str, partition: str, force: bool, as_json: bool, cache_dir: Path | None, verbose: bool
) -> None:
    """Score one partition, and print its manifest."""
    spec, cache = load(job), model_cache(cache_dir)
    value = exact_value(spec, partition)

    def score(pool: Pool, listener: Listener) -> Manifest:
        return run(
            spec,
            value,
            pool=pool,
            cache=cache,
            now=datetime.now(UTC),
            force=force,
            listeners=[listener],
        )

    manifest = with_workers(spec.workers, score, as_json=as_json, verbose=verbose)
    print_and_exit(manifest, spec, as_json=as_json)
