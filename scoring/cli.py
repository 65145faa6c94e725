"""The command `nightscore`. With --json, standard output carries one JSON document and nothing else."""

import dataclasses
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

import scoring.errors
from schemas.job import ScoringJob
from schemas.manifest import Manifest
from schemas.partition import show_value
from scoring.backfill import (
    DEFAULT_MAX_PARTITIONS,
    DEFAULT_MODES,
    BackfillPlan,
    parse_modes,
    parse_order,
    plan_backfill,
    values_between,
)
from scoring.engine.events import Event, RunEnded, RunPlanned, ShardScored
from scoring.engine.pool import WorkerPool
from scoring.engine.prepare import PinnedModel, learn_facts, plan_partition, version_warnings
from scoring.errors import LocationNotFoundError, ScoringError
from scoring.inputs.jobfile import DEFAULT_JOBS, load_job
from scoring.inputs.partitions import find_partition, parse_value
from scoring.models.cache import ModelCache, default_cache
from scoring.models.registry import pin as pin_version
from scoring.outputs.publish import open_publisher
from scoring.rollback import plan_rollback, publications, roll_back
from scoring.run import RunInterrupted, run
from scoring.status import PartitionStatus, clean, partition_statuses, run_history

app = typer.Typer(
    help="Offline batch scoring that a team can trust every night.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
WIDE = 200
"""Columns where the output is no terminal: nobody wants folded tables in a file."""

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Job = Annotated[str, typer.Argument(help="Name, path or URL of a job file.", metavar="JOB")]
PartitionValue = Annotated[str, typer.Argument(help="Partition value, such as 2013-07-04.", metavar="PARTITION")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
CacheDir = Annotated[
    Path | None,
    typer.Option("--cache-dir", envvar="NIGHTSCORE_CACHE", help="Where models are kept on this host."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log each step to standard error.")]


def main() -> None:
    """Entry point: turns errors into messages and exit codes."""
    signal.signal(signal.SIGTERM, _interrupt)
    as_json = "--json" in sys.argv[1:]
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        _report_error("InterruptedRunError", "Interrupted; nothing was published.", as_json=as_json)
        sys.exit(130)
    except ScoringError as error:
        _report_error(type(error).__name__, str(error), as_json=as_json)
        sys.exit(error.exit_code)
    except Exception as error:
        if not hasattr(error, "format_message"):
            if as_json:
                message = f"a defect of nightscore: {error}"
                _print_json({"status": "failed", "error": {"type": type(error).__name__, "message": message}})
            raise
        # typer's own: an unknown option, a missing argument
        _report_error("UsageError", error.format_message(), as_json=as_json)
        sys.exit(2)


@app.command()
def plan(
    job: Job,
    partitions: Annotated[list[str], typer.Argument(help="Partition values.", metavar="PARTITION...")],
    force: Annotated[bool, typer.Option(help="Plan as `run --force` would.")] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Say what a run would do, and why: rows, bytes, shards, memory. Reads footers only, writes nothing."""
    _log_to(verbose)
    spec, cache = _load(job), _cache(cache_dir)
    model = PinnedModel.of(spec, cache)
    rows = []
    with WorkerPool() as pool:
        facts = learn_facts(model, cache, pool)
        values = [parse_value(text) for text in partitions]
        statuses = {status.value: status for status in partition_statuses(spec, model, values)}
        for text, value in zip(partitions, values, strict=True):
            partition, ignored = find_partition(spec, value)
            planned, contract = plan_partition(spec, model, facts, partition)
            status = statuses[show_value(value)]
            is_skipped = status.state == "published" and not force
            rows.append(
                {
                    "partition": text,
                    "action": "skip" if is_skipped else "score",
                    "reasons": list(status.reasons),
                    "rows": planned.n_rows,
                    "bytes": planned.n_bytes,
                    "files": len(partition.files),
                    "shards": len(planned.shards),
                    "workers": planned.memory.n_workers,
                    "batch_rows": planned.memory.batch_rows,
                    "memory_bytes": planned.memory.total_bytes,
                    "model": f"{model.version.name} {model.version.version}",
                    "digest": model.cached.digest,
                    "fingerprint": planned.fingerprint,
                    "features": [column.name for column in contract.features],
                    "output_columns": contract.output_schema().names,
                    "extra_columns": list(planned.extra_columns),
                    "ignored_files": list(ignored),
                    "warnings": version_warnings(facts),
                }
            )
    if as_json:
        _print_json(rows)
        return
    columns = ("partition", "action", "rows", "bytes", "files", "shards", "workers", "memory")
    shown = [{**row, "bytes": _size(row["bytes"]), "memory": _size(row["memory_bytes"])} for row in rows]
    _print_table(f"{spec.name}: {model.version.name} version {model.version.version}", columns, shown)
    for row in rows:
        out.print(f"{row['partition']}: {row['action']}: {'; '.join(row['reasons'])}")


@app.command(name="run")
def run_command(
    job: Job,
    partition: PartitionValue,
    force: Annotated[bool, typer.Option("--force", help="Score again what is published already.")] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Score one partition and publish it; prints the manifest with --json."""
    _log_to(verbose or not err.is_terminal)
    spec, value = _load(job), parse_value(partition)
    try:
        with WorkerPool() as pool, _progress(quiet=as_json or verbose) as listener:
            manifest = run(
                spec,
                value,
                pool=pool,
                cache=_cache(cache_dir),
                now=datetime.now(UTC),
                force=force,
                listeners=[listener],
            )
    except RunInterrupted as stopped:
        manifest = stopped.manifest
    if as_json:
        sys.stdout.write(manifest.model_dump_json(indent=2) + "\n")
    else:
        print_manifest(manifest)
    raise typer.Exit(exit_code(manifest))


@app.command()
def backfill(
    job: Job,
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First date.")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last date, included.")],
    mode: Annotated[
        list[str] | None,
        typer.Option(help="missing, failed, stale or all; may be given several times. Default: missing and failed."),
    ] = None,
    order: Annotated[str, typer.Option(help="newest or oldest: which end to begin with.")] = "newest",
    model: Annotated[str, typer.Option(help="current, a version number, or as-of the date.")] = "current",
    max_partitions: Annotated[int, typer.Option(help="Refuse a larger range.")] = DEFAULT_MAX_PARTITIONS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan.")] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Plan a range of dates, then score what the plan says, one partition's failure not stopping the others."""
    _log_to(verbose or not err.is_terminal)
    spec, cache = _load(job), _cache(cache_dir)
    modes = parse_modes(mode or DEFAULT_MODES)
    values = values_between(spec, start.date(), end.date(), max_partitions)
    planned = plan_backfill(spec, cache, values, modes, parse_order(order), model)
    if not as_json:
        _print_backfill(spec, planned)
    manifests: list[Manifest] = []
    if not dry_run:
        with WorkerPool() as pool, _progress(quiet=as_json or verbose) as listener:
            manifests = [
                run(
                    spec.model_copy(update={"model": item.model}),
                    parse_value(item.value),
                    pool=pool,
                    cache=cache,
                    now=datetime.now(UTC),
                    force=item.is_forced,
                    listeners=[listener],
                )
                for item in planned.to_score
            ]
    failed = [manifest for manifest in manifests if manifest.error]
    if as_json:
        outcomes = [json.loads(manifest.model_dump_json()) for manifest in manifests]
        _print_json({"plan": [dataclasses.asdict(item) for item in planned.items], "runs": outcomes})
    elif not dry_run:
        _print_outcome(job, start, end, manifests)
    raise typer.Exit(max(map(exit_code, failed), default=0))


@app.command()
def runs(
    job: Job,
    partition: Annotated[str | None, typer.Argument(help="Only runs of this partition.")] = None,
    limit: Annotated[int, typer.Option(help="Newest runs to show; 0: all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the runs of a job, newest first."""
    spec = _load(job)
    found = run_history(spec, parse_value(partition) if partition else None, everything=partition is None)
    found = found[:limit] if limit else found
    if as_json:
        _print_json([json.loads(manifest.model_dump_json()) for manifest in found])
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
    _print_table(f"Runs of {spec.name}", tuple(rows[0]) if rows else ("run",), rows)


@app.command()
def explain(job: Job, partition: PartitionValue, as_json: AsJson = False, cache_dir: CacheDir = None) -> None:
    """Say why a partition would or would not be scored again."""
    spec, cache = _load(job), _cache(cache_dir)
    model = PinnedModel.of(spec, cache)
    (status,) = partition_statuses(spec, model, [parse_value(partition)])
    would = status.state in ("missing", "stale", "failed") and status.has_input
    if as_json:
        _print_json(dataclasses.asdict(status) | {"would_score": would})
        return
    out.print(f"{status.value}: {status.state}; a run {'would score it' if would else 'would not score it'}")
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
    spec, cache = _load(job), _cache(cache_dir)
    model = PinnedModel.of(spec, cache)
    found = [
        s for s in partition_statuses(spec, model) if (not start or s.value >= start) and (not end or s.value <= end)
    ]
    if as_json:
        _print_json([dataclasses.asdict(status) for status in found])
        return
    _print_table(f"Partitions of {spec.name}", _STATUS_COLUMNS, [_status_row(status) for status in found])
    counts = {state: sum(s.state == state for s in found) for state in dict.fromkeys(s.state for s in found)}
    out.print(", ".join(f"{count} {state}" for state, count in counts.items()) or "no partitions")


@app.command(name="clean")
def clean_command(
    job: Job,
    older_than_hours: Annotated[
        float,
        typer.Option(min=0, help="Only files last touched before; a day keeps clear of every live run."),
    ] = 24.0,
    superseded_days: Annotated[
        float | None,
        typer.Option(min=0, help="Also results that were replaced, if published longer ago: no rollback to them."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what dead runs left, and, if asked for, results that were replaced; never what readers see."""
    spec = _load(job)
    superseded = None if superseded_days is None else timedelta(days=superseded_days)
    found = clean(spec, datetime.now(UTC), timedelta(hours=older_than_hours), superseded, delete=not dry_run)
    if as_json:
        _print_json({"removed": [] if dry_run else found, "would_remove": found if dry_run else []})
        return
    for path in found:
        out.print(path)
    out.print(f"{len(found)} file{'s'[: len(found) != 1]} {'would be removed' if dry_run else 'removed'}")


@app.command()
def history(job: Job, partition: PartitionValue, as_json: AsJson = False) -> None:
    """List the results that a partition has had, the latest first: what readers see, what a rollback can put back."""
    spec = _load(job)
    value = parse_value(partition)
    publisher = open_publisher(spec)
    live = publisher.live(value)
    rows = []
    for manifest in publications(run_history(spec, value, everything=False)):
        try:
            publisher.find_results(manifest)
            state = "seen now" if live and live.run_id == manifest.result_id else "can be put back"
        except LocationNotFoundError:
            state = "removed"
        rows.append(
            {
                "run": manifest.run_id,
                "published (UTC)": f"{manifest.finished_at:%Y-%m-%d %H:%M:%S}",
                "model": f"{manifest.model.name} {manifest.model.version}",
                "rows": f"{manifest.counts.rows_scored:,}",
                "results": state,
                "rollback to": manifest.restores or "",
            }
        )
    if as_json:
        _print_json(rows)
        return
    _print_table(f"Results of {spec.name}, {partition}", tuple(rows[0]) if rows else ("run",), rows)


@app.command()
def rollback(
    job: Job,
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First date.")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last date, included.")],
    run_id: Annotated[str | None, typer.Option(help="Go back to this run.")] = None,
    before: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"],
            help="Go back to what was seen at this time, in UTC.",
        ),
    ] = None,
    max_partitions: Annotated[int, typer.Option(help="Refuse a larger range.")] = DEFAULT_MAX_PARTITIONS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan.")] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Put earlier results back, without computing: those before the present ones, or of a run or a time.

    Each partition is one commit and a run of its own. Later runs leave them alone until the partition's input or the
    job's model is another.
    """
    _log_to(False)
    spec, cache = _load(job), _cache(cache_dir)
    values = values_between(spec, start.date(), end.date(), max_partitions)
    planned = plan_rollback(
        spec, [parse_value(text) for text in values], run_id, before.replace(tzinfo=UTC) if before else None
    )
    manifests = []
    for item in planned if not dry_run else ():
        if item.action == "roll back" and item.target is not None:
            value = parse_value(item.value)
            manifests.append(roll_back(spec, value, item.target, item.live_run_id, datetime.now(UTC), cache))
    failed = [manifest for manifest in manifests if manifest.error]
    refused = [item for item in planned if item.action == "refuse"]
    if as_json:
        plan_shown = [
            {
                "partition": item.value,
                "action": item.action,
                "reason": item.reason,
                "run_id": item.target.run_id if item.target else None,
            }
            for item in planned
        ]
        _print_json({"plan": plan_shown, "runs": [json.loads(manifest.model_dump_json()) for manifest in manifests]})
    else:
        rows = [
            {
                "partition": item.value,
                "action": item.action,
                "to run": item.target.run_id if item.target else "",
                "why": item.reason,
            }
            for item in planned
        ]
        _print_table(f"Rollback of {spec.name}", ("partition", "action", "to run", "why"), rows)
        done = len(manifests) - len(failed)
        out.print(f"{done} partitions rolled back, {len(failed)} failed, {len(refused)} refused")
        for manifest in failed:
            message = manifest.error.message if manifest.error else ""
            err.print(f"{show_value(manifest.partition)}: {message}", markup=False)
    raise typer.Exit(max([*map(exit_code, failed), 1 if refused else 0]))


@app.command()
def pin(
    model_uri: Annotated[str, typer.Argument(help="models:/<name>/<version> or models:/<name>@<alias>")],
    registry: Annotated[str | None, typer.Option(help="MLflow tracking URI; default as in a job file.")] = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Tag a model version with the digest of its artifacts: from then on nothing else is loaded under its name."""
    version, digest = pin_version(model_uri, registry, _cache(cache_dir))
    if as_json:
        _print_json({"name": version.name, "version": version.version, "digest": digest})
    else:
        out.print(f"{version.name} version {version.version} is pinned to {digest}")


def exit_code(manifest: Manifest) -> int:
    """What a run's manifest means for a shell."""
    if manifest.status == "held":
        return 3
    if manifest.error is None:
        return 0
    kind = getattr(scoring.errors, manifest.error.type, ScoringError)
    return int(getattr(kind, "exit_code", 1))


def print_manifest(manifest: Manifest) -> None:
    """What a person wants to know of a run."""
    counts, measures = manifest.counts, manifest.measures
    where = f"{manifest.partition_key}={show_value(manifest.partition)}"
    if manifest.status == "failed" and manifest.error:
        err.print(f"[bold red]failed[/] {manifest.job} {where}", highlight=False)
        err.print(manifest.error.message, markup=False)
        if manifest.location:
            err.print(f"  record:   {manifest.location}", markup=False)
        return
    note = " (the same was published before; --force scores it again)" if manifest.status == "unchanged" else ""
    peak = max(measures.peak_worker_bytes, default=0)
    lines = [
        f"{manifest.status} {manifest.job} {where}{note}",
        f"  rows:        {counts.rows_in:,} read, {counts.rows_scored:,} scored, "
        f"{counts.rows_quarantined:,} quarantined",
        f"  model:       {manifest.model.name} version {manifest.model.version} ({manifest.model.estimator}), "
        f"{manifest.model.digest}{' pinned' if manifest.model.is_pinned else ''}",
        f"  speed:       {measures.rows_per_s:,.0f} rows/s in {measures.total_s:.1f} s, "
        f"{measures.n_workers} workers, peak {_size(peak)} a worker",
        f"  predictions: {manifest.output.uri}",
        f"  manifest:    {manifest.location}",
    ]
    for line in lines:
        out.print(line, markup=False)
    for warning in manifest.warnings:
        err.print(f"  warning:     {warning}", markup=False)


def _print_backfill(spec: ScoringJob, planned: BackfillPlan) -> None:
    rows = [
        {
            "partition": item.value,
            "action": item.action,
            "rows": "" if item.n_rows is None else f"{item.n_rows:,}",
            "bytes": _size(item.n_bytes),
            "model": item.model.removeprefix("models:/"),
            "why": item.reason,
        }
        for item in planned.items
    ]
    _print_table(f"Backfill of {spec.name}", ("partition", "action", "rows", "bytes", "model", "why"), rows)
    seconds = planned.estimated_s()
    takes = "unknown time (no run to tell from yet)" if seconds is None else f"about {seconds:,.0f} s"
    out.print(
        f"{len(planned.to_score)} of {len(planned.items)} partitions to score: {planned.n_rows:,} rows, "
        f"{_size(planned.n_bytes)}, {takes}"
    )


def _print_outcome(job: str, start: datetime, end: datetime, manifests: Sequence[Manifest]) -> None:
    failed = [manifest for manifest in manifests if manifest.error]
    rows = sum(manifest.counts.rows_scored for manifest in manifests)
    out.print(f"{len(manifests) - len(failed)} partitions done, {rows:,} rows scored; {len(failed)} failed")
    for manifest in failed:
        message = manifest.error.message if manifest.error else ""
        err.print(f"{show_value(manifest.partition)}: {message}", markup=False)
    if failed:
        again = f"nightscore backfill {job} --from {start:%Y-%m-%d} --to {end:%Y-%m-%d}"
        err.print(f"run again what is left with: {again}", markup=False)


_STATUS_COLUMNS = ("partition", "state", "rows", "model", "files", "bytes", "why")


def _status_row(status: PartitionStatus) -> dict[str, Any]:
    return {
        "partition": status.value,
        "state": status.state,
        "rows": "" if status.rows is None else f"{status.rows:,}",
        "model": status.model_version or "",
        "files": status.n_files,
        "bytes": _size(status.n_bytes),
        "why": "; ".join(status.reasons),
    }


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """A progress bar on a terminal; elsewhere the log tells."""
    if quiet or not err.is_terminal:
        yield lambda event: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("rows  {task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("planning", total=None, speed="")

        def listen(event: Event) -> None:
            match event:
                case RunPlanned():
                    bar.reset(task, description=f"scoring {event.partition}", total=event.n_rows)
                    bar.advance(task, event.n_rows_resumed)
                case ShardScored():
                    bar.advance(task, event.n_rows)
                    bar.update(task, speed=f"{bar.tasks[0].speed or 0:,.0f} rows/s")
                case RunEnded():
                    bar.update(task, description=event.status)
                case _:
                    pass

        yield listen


def _load(job: str) -> ScoringJob:
    return load_job(job, Path(os.environ.get("NIGHTSCORE_JOBS", DEFAULT_JOBS)))


def _cache(folder: Path | None) -> ModelCache:
    return ModelCache(folder.absolute()) if folder else default_cache()


def _log_to(verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("scoring")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.propagate = False


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")


def _print_table(title: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    out.print(table)


def _report_error(kind: str, message: str, *, as_json: bool) -> None:
    if as_json:
        _print_json({"status": "failed", "error": {"type": kind, "message": message}})
    err.print(message, markup=False)


def _size(n_bytes: int) -> str:
    size = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError


if __name__ == "__main__":
    main()
