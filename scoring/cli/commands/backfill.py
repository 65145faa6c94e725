"""`nightscore backfill`."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import typer

from nightscore.cli.resolve import load, log_to, model_cache
from nightscore.cli.show import (
    counted,
    err,
    exit_code,
    out,
    print_json,
    print_table,
    progress,
    show_count,
    show_size,
)
from nightscore.cli.summary import print_failures, print_manifest
from nightscore.operations.backfill import (
    DEFAULT_MODES,
    BackfillItem,
    BackfillPlan,
    parse_modes,
    parse_order,
    plan_backfill,
    values_between,
)
from nightscore.operations.backfill_runner import score_items
from nightscore.outputs.guarantees import missing_guarantees
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest


def backfill(
    job: str,
    start: datetime,
    end: datetime,
    mode: Sequence[str] | None,
    order: str,
    model: str,
    max_partitions: int,
    dry_run: bool,
    as_json: bool,
    cache_dir: Path | None,
    verbose: bool,
) -> None:
    """Print the plan for a range of dates, score it, and print the outcome."""
    log_to(verbose)
    spec, cache = load(job), model_cache(cache_dir)
    modes = parse_modes(mode or DEFAULT_MODES)
    values = values_between(spec, start.date(), end.date(), max_partitions)
    plan = plan_backfill(spec, cache, values, modes, parse_order(order), model)

    if not as_json:
        _print_plan(spec, plan)

    manifests: list[Manifest] = []
    if not dry_run:
        with progress(quiet=as_json or verbose) as listener:
            manifests = score_items(spec, plan.to_score, cache, [listener])

    if as_json:
        items = [dataclasses.asdict(item) for item in plan.items]
        runs = [json.loads(manifest.model_dump_json()) for manifest in manifests]
        print_json({"plan": items, "runs": runs})
    elif not dry_run:
        _print_outcome(spec, start, end, manifests)

    raise typer.Exit(max(map(exit_code, manifests), default=0))


def _print_plan(spec: ScoringJob, plan: BackfillPlan) -> None:
    rows = [_row(item) for item in plan.items]
    columns = ("partition", "action", "rows", "bytes", "model", "why")
    print_table(f"Backfill of {spec.name}", columns, rows)

    for warning in missing_guarantees(spec):
        out.print(warning)

    seconds = plan.estimated_s()

    duration = "time unknown (no earlier run to estimate from)"
    if seconds is not None:
        duration = f"about {seconds:,.0f} s"

    out.print(
        f"{len(plan.to_score)} of {counted(len(plan.items), 'partition')} to score: "
        f"{counted(plan.n_rows, 'row')}, "
        f"{show_size(plan.n_bytes)}, {duration}"
    )


def _row(item: BackfillItem) -> dict[str, str]:
    return {
        "partition": item.value,
        "action": item.action,
        "rows": show_count(item.n_rows),
        "bytes": show_size(item.n_bytes),
        "model": item.model.removeprefix("models:/"),
        "why": item.reason,
    }


def _print_outcome(
    spec: ScoringJob, start: datetime, end: datetime, manifests: Sequence[Manifest]
) -> None:
    failed = [manifest for manifest in manifests if manifest.error]
    held = [manifest for manifest in manifests if manifest.status == "held"]
    done = [manifest for manifest in manifests if manifest.status in ("published", "unchanged")]
    n_rows = sum(manifest.counts.rows_scored for manifest in done)
    out.print(
        f"{counted(len(done), 'partition')} done, {counted(n_rows, 'row')} scored; "
        f"{len(failed)} failed, {len(held)} held"
    )

    for manifest in held:
        print_manifest(manifest, spec)

    print_failures(failed)

    if failed:
        dates = ("--from", f"{start:%Y-%m-%d}", "--to", f"{end:%Y-%m-%d}")
        command = spec.command("backfill", *dates)
        err.print(f"To score what is left, run: {command}")
