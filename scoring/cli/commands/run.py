"""`nightscore run`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from nightscore.cli.app import (
    AsJson,
    CacheDir,
    Job,
    PartitionValue,
    Verbose,
    load,
    model_cache,
)
from nightscore.cli.workers import print_and_exit, with_workers
from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.inputs.partitions import parse_value
from nightscore.runs.run import run
from nightscore.schemas.manifest import Manifest


def run_command(
    job: Job,
    partition: PartitionValue,
    force: Annotated[
        bool, typer.Option("--force", help="Score again even if the same is already published.")
    ] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Score one partition and publish it. With --json, prints the manifest."""
    spec, value, cache = load(job), parse_value(partition), model_cache(cache_dir)

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
