"""`nightscore rollback`."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from nightscore.cli.records import exit_code
from nightscore.cli.resolve import load, log_to, model_cache
from nightscore.cli.show import counted, out, print_json, print_table
from nightscore.cli.summary import print_failures
from nightscore.inputs.partitions import parse_value
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.monitoring.drift.recompare_runs import compare_later
from nightscore.operations.backfill import values_between
from nightscore.operations.rollback import RollbackItem, plan_rollback, roll_back
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest


def rollback(
    job: str,
    start: datetime,
    end: datetime,
    run_id: str | None,
    before: datetime | None,
    max_partitions: int,
    dry_run: bool,
    as_json: bool,
    cache_dir: Path | None,
) -> None:
    """Restore earlier results of a range of dates, and print the outcome."""
    log_to(False)
    spec, cache = load(job), model_cache(cache_dir)
    texts = values_between(spec, start.date(), end.date(), max_partitions)
    values = [parse_value(text) for text in texts]

    if before:
        before = before.replace(tzinfo=UTC)

    items = plan_rollback(spec, values, run_id, before)

    manifests: list[Manifest] = []
    if not dry_run:
        manifests = _roll_back_all(spec, items, cache)

    if as_json:
        runs = [json.loads(manifest.model_dump_json()) for manifest in manifests]
        print_json({"plan": [_document(item) for item in items], "runs": runs})
    else:
        _print_plan(spec, items)
        out.print(_planned(items) if dry_run else _outcome(items, manifests))
        print_failures([manifest for manifest in manifests if manifest.error])

    is_refused = any(item.action == "refuse" for item in items)
    codes = [exit_code(manifest) for manifest in manifests if manifest.error]

    raise typer.Exit(max([*codes, int(is_refused)]))


def _roll_back_all(
    spec: ScoringJob, items: Sequence[RollbackItem], cache: ModelCache
) -> list[Manifest]:
    manifests = []
    for item in items:
        if item.action == "roll back" and item.target is not None:
            value, now = parse_value(item.value), datetime.now(UTC)
            manifests.append(
                roll_back(
                    spec, value, item.target, item.live_run_id, now, cache, compares_later=False
                )
            )

    # Once for all: a partition may be a neighbour of any that were rolled back before it.
    restored = [manifest.partition for manifest in manifests if not manifest.error]
    compare_later(Workspace(spec), restored, cache, datetime.now(UTC))

    return manifests


def _document(item: RollbackItem) -> dict[str, Any]:
    return {
        "partition": item.value,
        "action": item.action,
        "reason": item.reason,
        "run_id": _target_id(item),
    }


def _target_id(item: RollbackItem) -> str | None:
    return item.target.run_id if item.target else None


def _print_plan(spec: ScoringJob, items: Sequence[RollbackItem]) -> None:
    rows = [
        {
            "partition": item.value,
            "action": item.action,
            "to run": _target_id(item) or "",
            "why": item.reason,
        }
        for item in items
    ]
    print_table(f"Rollback of {spec.name}", ("partition", "action", "to run", "why"), rows)


def _planned(items: Sequence[RollbackItem]) -> str:
    n_planned = sum(item.action == "roll back" for item in items)
    return f"{counted(n_planned, 'partition')} would be rolled back; {_refused(items)}"


def _outcome(items: Sequence[RollbackItem], manifests: Sequence[Manifest]) -> str:
    n_failed = sum(manifest.error is not None for manifest in manifests)
    n_done = counted(len(manifests) - n_failed, "partition")
    return f"{n_done} rolled back, {n_failed} failed, {_refused(items)}"


def _refused(items: Sequence[RollbackItem]) -> str:
    return f"{sum(item.action == 'refuse' for item in items)} refused"
