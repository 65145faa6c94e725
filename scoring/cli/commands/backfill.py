"""`nightscore backfill`."""

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import typer

from nightscore.cli.records import exit_code
from nightscore.cli.resolve import load, log_to, model_cache
from nightscore.cli.show import (
    as_row,
    counted,
    err,
    out,
    print_json,
    print_table,
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
from nightscore.outputs.guarantees import missing_guarantees
from nightscore.process import count_startup
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import DEFAULT_MAX_PARTITIONS
from nightscore.schemas.text import show_seconds


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
        # With the engine: a dry run needs none.
        from nightscore.cli.progress_bar import progress
        from nightscore.operations.backfill_runner import score_items

        count_startup()
        n_runs = len(plan.to_score)
        with progress(quiet=as_json or verbose, n_rows=plan.n_rows, n_runs=n_runs) as listener:
            manifests = score_items(spec, plan.to_score, cache, [listener])

    if as_json:
        items = [as_row(item) for item in plan.items]
        runs = [json.loads(manifest.model_dump_json()) for manifest in manifests]
        print_json({"plan": items, "notes": plan.notes, "runs": runs})
    elif not dry_run:
        again = _same_call(spec, start, end, order, model, max_partitions, cache_dir)
        _print_outcome(spec, manifests, again)

    raise typer.Exit(max(map(exit_code, manifests), default=0))


def _print_plan(spec: ScoringJob, plan: BackfillPlan) -> None:
    rows = [_row(item) for item in plan.items]
    columns = ("partition", "action", "rows", "bytes", "model", "why")
    print_table(f"Backfill of {spec.name}", columns, rows)

    for note in (*missing_guarantees(spec), *plan.notes):
        out.print(note)

    if not plan.to_score:
        out.print(f"None of {counted(len(plan.items), 'partition')} is to be scored.")
        return

    seconds = plan.estimated_s()
    duration = "time unknown (no earlier run of about as many rows)"
    if seconds is not None:
        duration = f"about {show_seconds(seconds)}, as earlier runs took"

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


def _same_call(
    spec: ScoringJob,
    start: datetime,
    end: datetime,
    order: str,
    model: str,
    max_partitions: int,
    cache_dir: Path | None,
) -> str:
    """The same call for what is left: failed partitions are scored without a mode."""
    options = ["--from", f"{start:%Y-%m-%d}", "--to", f"{end:%Y-%m-%d}"]

    if order != "newest":
        options += ["--order", order]
    if model != "current":
        options += ["--model", model]
    if max_partitions != DEFAULT_MAX_PARTITIONS:
        options += ["--max-partitions", str(max_partitions)]
    if cache_dir is not None and str(cache_dir) != os.environ.get("NIGHTSCORE_CACHE"):
        options += ["--cache-dir", str(cache_dir)]

    return spec.command("backfill", *options)


def _print_outcome(spec: ScoringJob, manifests: Sequence[Manifest], again: str) -> None:
    failed = [manifest for manifest in manifests if manifest.error]
    held = [manifest for manifest in manifests if manifest.status == "held"]
    done = [manifest for manifest in manifests if manifest.status in ("published", "unchanged")]
    n_rows = sum(one.counts.rows_scored for one in done if one.status == "published")
    out.print(
        f"{counted(len(done), 'partition')} done, {counted(n_rows, 'row')} scored; "
        f"{len(failed)} failed, {len(held)} held"
    )
    _print_challengers(spec, manifests)

    for manifest in held:
        print_manifest(manifest, spec)

    print_failures(failed)

    if failed:
        err.print(f"To score what is left, run: {again}")


def _print_challengers(spec: ScoringJob, manifests: Sequence[Manifest]) -> None:
    """Print how many partitions each challenger has scored beside the job's own model."""
    scored: dict[str, int] = {}
    skipped: dict[str, int] = {}
    ended: dict[str, int] = {}
    counts_of = {"published": scored, "skipped": skipped}

    for manifest in manifests:
        if manifest.status == "unchanged":
            continue
        for challenger in manifest.challengers:
            counts = counts_of.get(challenger.status, ended)
            counts[challenger.label] = counts.get(challenger.label, 0) + 1

    for label, n in skipped.items():
        partitions = counted(n, "partition")
        out.print(f"{spec.name}@{label} did not score {partitions}: it is the job's own model now")

    for label in dict.fromkeys([*scored, *ended]):
        text = f"{spec.name}@{label} scored {counted(scored.get(label, 0), 'partition')} beside it"
        if label in ended:
            text += f", and not {ended[label]:,}; the runs' warnings say why"
        out.print(text)
