"""`nightscore partitions` and `nightscore explain`."""

import dataclasses
from collections import Counter
from typing import Annotated, Any

import typer

from nightscore.cli.app import AsJson, CacheDir, Job, PartitionValue, load, model_cache
from nightscore.cli.show import out, print_json, print_table, show_count, show_size
from nightscore.inputs.partitions import parse_value
from nightscore.inputs.values import check_value
from nightscore.models.pinned import PinnedModel
from nightscore.operations.partitions import PartitionStatus, partition_statuses
from nightscore.schemas.partition import order_of

COLUMNS = ("partition", "state", "rows", "model", "files", "bytes", "why")


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

    def is_shown(status: PartitionStatus) -> bool:
        position = order_of(status.value, pattern)
        is_after_start = not start or order_of(start, pattern) <= position
        return is_after_start and (not end or position <= order_of(end, pattern))

    statuses = [status for status in partition_statuses(spec, model) if is_shown(status)]

    if as_json:
        print_json([dataclasses.asdict(status) for status in statuses])
        return

    print_table(f"Partitions of {spec.name}", COLUMNS, [_row(status) for status in statuses])
    counts = Counter(status.state for status in statuses)
    out.print(", ".join(f"{n} {state}" for state, n in counts.items()) or "no partitions")


def _row(status: PartitionStatus) -> dict[str, Any]:
    return {
        "partition": status.value,
        "state": status.state,
        "rows": show_count(status.rows),
        "model": status.model_version or "",
        "files": status.n_files,
        "bytes": show_size(status.n_bytes),
        "why": "; ".join(status.reasons),
    }


def explain(
    job: Job, partition: PartitionValue, as_json: AsJson = False, cache_dir: CacheDir = None
) -> None:
    """Say why a run would or would not score a partition."""
    spec, cache = load(job), model_cache(cache_dir)
    value = parse_value(partition)
    check_value(spec, value, "explain")
    model = PinnedModel.resolve(spec, cache)
    (status,) = partition_statuses(spec, model, [value])

    would_score = status.state in ("missing", "stale", "failed") and status.has_input

    if as_json:
        print_json(dataclasses.asdict(status) | {"would_score": would_score})
        return

    verdict = "would score it"
    if not would_score:
        verdict = "would not score it"

    out.print(f"{status.value}: {status.state}; a run {verdict}")

    for reason in status.reasons:
        out.print(f"  - {reason}")
