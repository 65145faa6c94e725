"""`nightscore baseline`."""

from pathlib import Path

from nightscore.cli.resolve import load_any, log_to, model_cache
from nightscore.cli.show import err, out, print_json
from nightscore.engine.backends.local import WorkerPool
from nightscore.operations.baseline import record_baseline, with_version


def baseline(
    job: str,
    uri: str,
    label: str,
    model_version: str | None,
    as_json: bool,
    cache_dir: Path | None,
    verbose: bool,
) -> None:
    """Log the profile of data with the job's model version, and print its digest."""
    log_to(verbose)
    spec, cache = load_any(job), model_cache(cache_dir)
    if model_version is not None:
        spec = with_version(spec, model_version)

    with WorkerPool() as pool:
        recorded = record_baseline(
            spec, uri, pool, cache, lambda text: err.print(text), label=label
        )

    name, version = recorded.version.name, recorded.version.version

    if as_json:
        document = {"name": name, "version": version}
        print_json(document | {"sha256": recorded.sha256, "columns": recorded.n_columns})
    else:
        of_label = f" and the label {label}" if label else ""
        out.print(
            f"{recorded.version} has a baseline of {recorded.n_columns} columns{of_label}, "
            f"{recorded.sha256}"
        )
        if label:
            out.print(f"Estimates, also of past partitions: {spec.command('performance')}")
