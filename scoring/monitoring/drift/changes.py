"""Differences that are not about values: of the schema, and of the number of rows."""

import statistics
from collections.abc import Iterator, Mapping

from nightscore.monitoring.drift.findings import Change
from nightscore.monitoring.drift.references import References
from nightscore.profiles.table import ColumnProfile, Key
from nightscore.schemas.drift import REFERENCES, Severity
from nightscore.schemas.manifest import Manifest

LEAST_ROWS = 200
"""With fewer rows on both sides, their number may be anything."""
ROW_BOUNDS: tuple[tuple[Severity, float], ...] = (("critical", 0.2), ("warning", 0.5))
"""The smaller number of rows, as a share of the greater one."""
NUMBER_TYPES = ("int", "uint", "float", "double", "halffloat", "decimal")


def find_changes(
    manifest: Manifest, profiles: Mapping[Key, ColumnProfile], references: References
) -> Iterator[Change]:
    """All of them.

    Args:
        manifest: Of the run.
        profiles: Its columns.
        references: What it is compared with.
    """
    reference = next((name for name in REFERENCES if name in references.profiles), None)
    if reference is not None:
        for before in references.profiles[reference]:
            if not before.segment and before.role != "prediction":
                yield from _type_change(before, profiles.get(before.key), reference, references)

    yield from _unused_columns(manifest, references)
    yield from _row_change(manifest, references)


def _type_change(
    before: ColumnProfile, now: ColumnProfile | None, reference: str, references: References
) -> Iterator[Change]:
    """A column that is gone, or has another type in the files."""
    if now is None:
        is_known = references.features is None or before.name in references.features
        if before.role == "feature" and not is_known:
            yield Change("schema", before.name, reference, "warning", "is missing from the input")
        return

    if before.type and now.type and before.type != now.type:
        severity: Severity = "info" if _are_numbers(before, now) else "warning"
        words = f"type changed from {before.type} to {now.type}"
        yield Change("schema", before.name, reference, severity, words)


def _are_numbers(before: ColumnProfile, now: ColumnProfile) -> bool:
    """Integers with a null in some file are floating numbers in the next: no news."""
    return before.type.startswith(NUMBER_TYPES) and now.type.startswith(NUMBER_TYPES)


def _unused_columns(manifest: Manifest, references: References) -> Iterator[Change]:
    """Columns that nothing uses, and that came or went since the partition before."""
    if references.previous is None:
        return
    before = {*references.previous.inputs.extra_columns}
    now = {*manifest.inputs.extra_columns}
    for name in sorted(now - before):
        yield Change("schema", name, "previous", "info", "is new in the input, and unused")

    for name in sorted(before - now):
        words = "is missing from the input, where it was unused"
        yield Change("schema", name, "previous", "info", words)


def _row_change(manifest: Manifest, references: References) -> Iterator[Change]:
    """Many more or fewer rows than on the same weekdays, or else in the partition before.

    A challenger has the rows of the job's own model, which that one's run judges. In a canary it
    has a share of them, which says nothing of the data when a shadow or another share was before.
    """
    if manifest.champion_run_id is not None:
        return

    if references.weekdays:
        reference, words, others = "weekdays", "on the same weekdays", references.weekdays
    elif references.previous is not None:
        reference, words, others = "previous", "in the partition before", (references.previous,)
    else:
        return

    n_rows = manifest.counts.rows_in
    usual = statistics.median(other.counts.rows_in for other in others)
    if max(n_rows, usual) < LEAST_ROWS:
        return

    ratio = min(n_rows, usual) / max(n_rows, usual, 1)
    for severity, bound in ROW_BOUNDS:
        if ratio < bound:
            reason = f"{n_rows:,} rows, {usual:,.0f} {words}"
            yield Change("rows", "rows", reference, severity, reason)
            return
