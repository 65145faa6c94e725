"""`nightscore partitions` and `nightscore explain`."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from nightscore.cli.resolve import load_any, model_cache, read_range, read_value
from nightscore.cli.show import as_row, out, print_json, print_table, show_count, show_size
from nightscore.inputs.partitions import parse_value
from nightscore.inputs.values import check_value
from nightscore.ledger.manifest_files import find_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.operations.partitions import PartitionStatus, partition_statuses
from nightscore.operations.releases.queries import how_it_became_live
from nightscore.schemas.flag import FlagRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import order_of

COLUMNS = ("partition", "state", "rows", "model", "files", "bytes", "why")


def partitions(
    job: str, start: str | None, end: str | None, as_json: bool, cache_dir: Path | None
) -> None:
    """Print the state of each partition."""
    spec, cache = load_any(job), model_cache(cache_dir)
    model = PinnedModel.resolve(spec, cache)
    pattern = spec.input.partition_format

    first, last = read_range(spec, start, end, "partitions")

    def is_shown(status: PartitionStatus) -> bool:
        position = order_of(status.value, pattern)
        is_after_start = not first or order_of(first, pattern) <= position
        return is_after_start and (not last or position <= order_of(last, pattern))

    statuses = [status for status in partition_statuses(spec, model) if is_shown(status)]

    if as_json:
        print_json([as_row(status) for status in statuses])
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


def explain(job: str, partition: str, as_json: bool, cache_dir: Path | None) -> None:
    """Print why a run would or would not score a partition."""
    spec, cache = load_any(job), model_cache(cache_dir)
    value = read_value(spec, partition)
    check_value(spec, value, "explain")
    model = PinnedModel.resolve(spec, cache)
    (status,) = partition_statuses(spec, model, [value])
    status = _with_release(spec, status, model)

    would_score = status.state in ("missing", "stale", "failed") and status.has_input

    if as_json:
        print_json(as_row(status) | {"would_score": would_score})
        return

    verdict = "would score it"
    if not would_score:
        verdict = "would not score it"

    out.print(f"{status.value}: {status.state}; a run {verdict}")

    for reason in status.reasons:
        out.print(f"  - {reason}")


def _with_release(spec: ScoringJob, status: PartitionStatus, model: PinnedModel) -> PartitionStatus:
    """The status, with the arms of a canary, and how another version came to be live."""
    notes = [] if status.canary is None else [f"canary: {status.canary}"]
    flag = _flag_of(spec, status)
    if flag is not None:
        notes.append(f"flag: {flag} when this was scored")
    status = replace(status, reasons=(*status.reasons, *notes))

    version = model.version.version
    if status.model_version in (None, version):
        return status

    how = how_it_became_live(spec, version)
    return replace(status, reasons=(*status.reasons, how)) if how else status


def _flag_of(spec: ScoringJob, status: PartitionStatus) -> FlagRecord | None:
    """What a feature flag said to the run that readers see. None: it was not asked."""
    if status.run_id is None or spec.release is None:
        return None

    workspace = Workspace(spec)
    folder = workspace.folder(parse_value(status.value))
    manifest = find_manifest(workspace.state, folder, status.run_id)
    return None if manifest is None else manifest.flag
