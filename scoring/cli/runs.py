"""Commands that score, and those that say what was or would be scored."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from nightscore.cli.app import (
    AsJson,
    CacheDir,
    Job,
    PartitionValue,
    Verbose,
    app,
    load,
    log_to,
    model_cache,
)
from nightscore.cli.show import (
    err,
    exit_code,
    out,
    print_json,
    print_manifest,
    print_table,
    progress,
    show_size,
)
from nightscore.cli.workers import print_and_exit, with_workers
from nightscore.engine.backends import open_pool
from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.inputs.partitions import parse_value
from nightscore.inputs.values import check_value
from nightscore.models.pinned import PinnedModel
from nightscore.operations.backfill import (
    DEFAULT_MAX_PARTITIONS,
    DEFAULT_MODES,
    BackfillPlan,
    parse_modes,
    parse_order,
    plan_backfill,
    values_between,
)
from nightscore.operations.backfill_runner import score_items
from nightscore.operations.history import run_history
from nightscore.operations.plan import PlannedRun, plan_runs
from nightscore.operations.status import PartitionStatus, partition_statuses
from nightscore.outputs.guarantees import missing_guarantees
from nightscore.run import run
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import order_of, show_value

_STATUS_COLUMNS = ("partition", "state", "rows", "model", "files", "bytes", "why")


@app.command()
def plan(
    job: Job,
    partitions: Annotated[
        list[str], typer.Argument(help="Partition values.", metavar="PARTITION...")
    ],
    force: Annotated[bool, typer.Option(help="Plan as `run --force` would.")] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Say what a run would do, and why: rows, bytes, shards, memory. Writes nothing.

    Reads footers, and integers of files that do not say how many are null.
    """
    log_to(verbose)
    spec, cache = load(job), model_cache(cache_dir)
    values = [parse_value(text) for text in partitions]
    with open_pool(spec.workers) as pool:
        planned_runs = plan_runs(spec, values, pool=pool, cache=cache, force=force)

    if as_json:
        print_json([_plan_document(planned) for planned in planned_runs])
    else:
        _print_plan(spec, planned_runs)


def _plan_document(planned: PlannedRun) -> dict[str, Any]:
    """One element of `plan --json`."""
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
    }


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
    model = f"{planned_runs[0].model_name} version {planned_runs[0].model_version}"
    print_table(f"{spec.name}: {model}", tuple(rows[0]), rows)

    for planned in planned_runs:
        out.print(f"{planned.partition}: {planned.action}: {'; '.join(planned.reasons)}")
        for warning in planned.warnings:
            out.print(f"{planned.partition}: {warning}")


@app.command(name="run")
def run_command(
    job: Job,
    partition: PartitionValue,
    force: Annotated[
        bool, typer.Option("--force", help="Score again what is published already.")
    ] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Score one partition and publish it; prints the manifest with --json."""
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

    print_and_exit(
        with_workers(spec.workers, score, as_json=as_json, verbose=verbose), as_json=as_json
    )


@app.command()
def backfill(
    job: Job,
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First date.")],
    end: Annotated[
        datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last date, included.")
    ],
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help="missing, failed, stale or all; may be given several times. Default: missing and failed."
        ),
    ] = None,
    order: Annotated[
        str, typer.Option(help="newest or oldest: which end to begin with.")
    ] = "newest",
    model: Annotated[
        str, typer.Option(help="current, a version number, or as-of the date.")
    ] = "current",
    max_partitions: Annotated[
        int, typer.Option(help="Refuse a larger range.")
    ] = DEFAULT_MAX_PARTITIONS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan.")] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Plan a range of dates, then score what the plan says, one partition's failure not stopping the others."""
    log_to(verbose or not err.is_terminal)
    spec, cache = load(job), model_cache(cache_dir)
    modes = parse_modes(mode or DEFAULT_MODES)
    values = values_between(spec, start.date(), end.date(), max_partitions)
    planned = plan_backfill(spec, cache, values, modes, parse_order(order), model)
    if not as_json:
        _print_backfill(spec, planned)
    manifests: list[Manifest] = []
    if not dry_run:
        with progress(quiet=as_json or verbose) as listener:
            manifests = score_items(spec, planned.to_score, cache, [listener])
    if as_json:
        outcomes = [json.loads(manifest.model_dump_json()) for manifest in manifests]
        print_json({"plan": [dataclasses.asdict(item) for item in planned.items], "runs": outcomes})
    elif not dry_run:
        _print_outcome(job, start, end, manifests)
    raise typer.Exit(max(map(exit_code, manifests), default=0))


@app.command()
def runs(
    job: Job,
    partition: Annotated[str | None, typer.Argument(help="Only runs of this partition.")] = None,
    limit: Annotated[int, typer.Option(help="Newest runs to show; 0: all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the runs of a job, newest first."""
    spec = load(job)
    value = parse_value(partition) if partition else None
    found = run_history(spec, value, everything=partition is None)
    if partition and not found:
        check_value(spec, value, "runs")
    found = found[:limit] if limit else found
    if as_json:
        print_json([json.loads(manifest.model_dump_json()) for manifest in found])
        return
    rows = [
        {
            "run": manifest.run_id,
            "partition": show_value(manifest.partition),
            "status": manifest.status,
            "started (UTC)": manifest.started_at.strftime("%Y-%m-%d %H:%M:%S"),
            "model": f"{manifest.model.name} {manifest.model.version}",
            "rows": f"{manifest.counts.rows_scored:,}",
            "quarantined": f"{manifest.counts.rows_quarantined:,}",
            "seconds": f"{manifest.measures.total_s:.1f}",
            "error": manifest.error.message.splitlines()[0] if manifest.error else "",
        }
        for manifest in found
    ]
    print_table(f"Runs of {spec.name}", tuple(rows[0]) if rows else ("run",), rows)


@app.command()
def explain(
    job: Job, partition: PartitionValue, as_json: AsJson = False, cache_dir: CacheDir = None
) -> None:
    """Say why a partition would or would not be scored again."""
    spec, cache = load(job), model_cache(cache_dir)
    value = parse_value(partition)
    check_value(spec, value, "explain")
    model = PinnedModel.resolve(spec, cache)
    (status,) = partition_statuses(spec, model, [value])
    would = status.state in ("missing", "stale", "failed") and status.has_input
    if as_json:
        print_json(dataclasses.asdict(status) | {"would_score": would})
        return
    out.print(
        f"{status.value}: {status.state}; a run {'would score it' if would else 'would not score it'}"
    )
    for reason in status.reasons:
        out.print(f"  - {reason}")


@app.command()
def partitions(
    job: Job,
    start: Annotated[str | None, typer.Option("--from", help="First value to show.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last value to show.")] = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Show which partitions are published, missing, stale or failed."""
    spec, cache = load(job), model_cache(cache_dir)
    model = PinnedModel.resolve(spec, cache)
    pattern = spec.input.partition_format
    found = [
        status
        for status in partition_statuses(spec, model)
        if (not start or order_of(start, pattern) <= order_of(status.value, pattern))
        and (not end or order_of(status.value, pattern) <= order_of(end, pattern))
    ]
    if as_json:
        print_json([dataclasses.asdict(status) for status in found])
        return
    print_table(
        f"Partitions of {spec.name}", _STATUS_COLUMNS, [_status_row(status) for status in found]
    )
    counts = {
        state: sum(s.state == state for s in found)
        for state in dict.fromkeys(s.state for s in found)
    }
    out.print(", ".join(f"{count} {state}" for state, count in counts.items()) or "no partitions")


def _print_backfill(spec: ScoringJob, planned: BackfillPlan) -> None:
    rows = [
        {
            "partition": item.value,
            "action": item.action,
            "rows": "" if item.n_rows is None else f"{item.n_rows:,}",
            "bytes": show_size(item.n_bytes),
            "model": item.model.removeprefix("models:/"),
            "why": item.reason,
        }
        for item in planned.items
    ]
    print_table(
        f"Backfill of {spec.name}", ("partition", "action", "rows", "bytes", "model", "why"), rows
    )
    for note in missing_guarantees(spec):
        out.print(note)
    seconds = planned.estimated_s()
    takes = (
        "unknown time (no run to tell from yet)" if seconds is None else f"about {seconds:,.0f} s"
    )
    out.print(
        f"{len(planned.to_score)} of {len(planned.items)} partitions to score: {planned.n_rows:,} rows, "
        f"{show_size(planned.n_bytes)}, {takes}"
    )


def _print_outcome(job: str, start: datetime, end: datetime, manifests: Sequence[Manifest]) -> None:
    failed = [manifest for manifest in manifests if manifest.error]
    held = [manifest for manifest in manifests if manifest.status == "held"]
    done = [manifest for manifest in manifests if manifest.status in ("published", "unchanged")]
    rows = sum(manifest.counts.rows_scored for manifest in done)
    out.print(
        f"{len(done)} partitions done, {rows:,} rows scored; {len(failed)} failed, {len(held)} held"
    )
    for manifest in held:
        print_manifest(manifest)
    for manifest in failed:
        message = manifest.error.message if manifest.error else ""
        err.print_lines(f"{show_value(manifest.partition)}: {message}")
    if failed:
        again = f"nightscore backfill {job} --from {start:%Y-%m-%d} --to {end:%Y-%m-%d}"
        err.print(f"run again what is left with: {again}")


def _status_row(status: PartitionStatus) -> dict[str, Any]:
    return {
        "partition": status.value,
        "state": status.state,
        "rows": "" if status.rows is None else f"{status.rows:,}",
        "model": status.model_version or "",
        "files": status.n_files,
        "bytes": show_size(status.n_bytes),
        "why": "; ".join(status.reasons),
    }
