"""`nightscore plan`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightscore.cli.resolve import load, log_to, model_cache, read_value
from nightscore.cli.show import out, print_json, print_table, show_size
from nightscore.engine.worker_backend_catalog import open_pool
from nightscore.operations.challengers import ExpectedChallenger
from nightscore.operations.plan import PlannedRun, plan_runs
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import named_model


def plan(
    job: str,
    partitions: Sequence[str],
    force: bool,
    as_json: bool,
    cache_dir: Path | None,
    verbose: bool,
) -> None:
    """Print what a run would do with each partition."""
    log_to(verbose)
    spec, cache = load(job), model_cache(cache_dir)
    values = [read_value(spec, text) for text in partitions]

    with open_pool(spec.workers) as pool:
        planned_runs = plan_runs(spec, values, pool=pool, cache=cache, force=force)

    if as_json:
        print_json([_document(planned) for planned in planned_runs])
    else:
        _print_plan(spec, planned_runs)


def _document(planned: PlannedRun) -> dict[str, Any]:
    return {
        "partition": planned.partition,
        "action": planned.action,
        "reasons": planned.reasons,
        "rows": planned.n_rows,
        "bytes": planned.n_bytes,
        "files": planned.n_files,
        "shards": planned.n_shards,
        "workers": planned.n_workers,
        "batch_rows": planned.batch_rows,
        "memory_bytes": planned.memory_bytes,
        "model": f"{planned.model_name} {planned.model_version}",
        "digest": planned.digest,
        "fingerprint": planned.fingerprint,
        "features": planned.features,
        "output_columns": planned.output_columns,
        "extra_columns": planned.extra_columns,
        "ignored_files": planned.ignored_files,
        "warnings": planned.warnings,
        "challengers": [_challenger(one) for one in planned.challengers],
    }


def _challenger(expected: ExpectedChallenger) -> dict[str, Any]:
    return {
        "label": expected.label,
        "model": expected.model,
        "action": _action(expected),
        "problem": expected.problem,
        "notes": expected.notes,
    }


def _action(expected: ExpectedChallenger) -> str:
    if expected.is_live:
        return "skip"
    return "refuse" if expected.problem else "score"


def _print_plan(spec: ScoringJob, planned_runs: Sequence[PlannedRun]) -> None:
    rows = [
        {
            "partition": planned.partition,
            "action": planned.action,
            "rows": planned.n_rows,
            "bytes": show_size(planned.n_bytes),
            "files": planned.n_files,
            "shards": planned.n_shards,
            "workers": planned.n_workers,
            "memory": show_size(planned.memory_bytes),
        }
        for planned in planned_runs
    ]
    model = named_model(planned_runs[0].model_name, planned_runs[0].model_version)
    print_table(f"{spec.name}: {model}", tuple(rows[0]), rows)

    for planned in planned_runs:
        out.print(f"{planned.partition}: {planned.action}: {'; '.join(planned.reasons)}")
        for warning in planned.warnings:
            out.print(f"{planned.partition}: {warning}")

        for challenger in planned.challengers:
            out.print(f"{planned.partition}: {challenger.text}")
            for note in challenger.notes:
                out.print(f"  {note}")
