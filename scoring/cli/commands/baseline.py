"""`nightscore baseline`."""

from typing import Annotated

import typer

from nightscore.cli.app import AsJson, CacheDir, Job, Verbose, load, log_to, model_cache
from nightscore.cli.show import err, out, print_json
from nightscore.engine.backends.local import WorkerPool


def baseline(
    job: Job,
    uri: Annotated[
        str,
        typer.Option("--from", help="Training or hold-out data: a Parquet file, folder or URL."),
    ],
    label: Annotated[
        str,
        typer.Option(
            help="Column with the true outcome. Later scores then say what rate to expect."
        ),
    ] = "",
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Profile data under the job's model, and log the profile with the model version.

    Runs are compared with this baseline.
    """
    # Other commands need not import this.
    from nightscore.operations.baseline import record_baseline

    log_to(verbose)
    spec, cache = load(job), model_cache(cache_dir)

    with WorkerPool() as pool:
        recorded = record_baseline(
            spec, uri, pool, cache, lambda text: err.print(text), label=label
        )

    name, version = recorded.version.name, recorded.version.version

    if as_json:
        document = {"name": name, "version": version}
        print_json(document | {"sha256": recorded.sha256, "columns": recorded.n_columns})
    else:
        out.print(
            f"{name} version {version} has a baseline of {recorded.n_columns} columns, "
            f"{recorded.sha256}"
        )
