"""`nightscore replay`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from nightscore.cli.app import (
    AsJson,
    CacheDir,
    Job,
    PartitionValue,
    Verbose,
    known_partition,
    load,
    model_cache,
)
from nightscore.cli.show import out
from nightscore.cli.workers import print_and_exit, with_workers
from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.inputs.partitions import parse_value
from nightscore.operations.replay import replay
from nightscore.schemas.manifest import Manifest


def replay_command(
    job: Job,
    partition: PartitionValue,
    new_model: Annotated[
        bool,
        typer.Option(
            "--new-model", help="Allow another model version than that of the other rows."
        ),
    ] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Score a partition's quarantined rows again, and merge them with the others in one commit.

    The rows are scored under the job as it is now.
    """
    spec, value, cache = load(job), parse_value(partition), model_cache(cache_dir)

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
        out.print(f"{partition}: no rows are in quarantine")
        return

    print_and_exit(manifest, spec, as_json=as_json)
