"""Releases in words, as commands print them."""

from collections.abc import Iterator

from nightscore.ledger.release_log import Release
from nightscore.schemas.release_entry import ChangeRecord, ModelDiffRecord

SHOWN_CHANGES = 12
"""Changes of one aspect that are listed; `--json` has all."""


def show_diff(diff: ModelDiffRecord) -> Iterator[str]:
    """What differs between two versions, line by line."""
    yield f"{diff.before} -> {diff.after}"
    for aspect, changes in diff.changes.items():
        for change in changes[:SHOWN_CHANGES]:
            yield f"  {aspect + ':':<12} {_show_change(change)}"
        if len(changes) > SHOWN_CHANGES:
            yield f"  {'':<12} and {len(changes) - SHOWN_CHANGES:,} more"

    for aspect, why in diff.not_stored.items():
        yield f"  {aspect + ':':<12} not stored {why}"
    if diff.same:
        yield f"  {'the same:':<12} {', '.join(diff.same)}"


def _show_change(change: ChangeRecord) -> str:
    if not change.before:
        return f"{change.what} is new: {change.after}"
    if not change.after:
        return f"{change.what} is gone: {change.before}"
    return f"{change.what}: {change.before} -> {change.after}"


def release_lines(release: Release) -> Iterator[str]:
    """What a command has done, line by line."""
    entry = release.entry
    moved = f"{entry.model}@{entry.alias}: version {show_move(release)}"
    yield f"{moved}, entry {entry.number} of the log"
    if entry.diff is not None:
        yield from show_diff(entry.diff)
    if entry.evidence is not None and entry.evidence.no_comparison:
        yield f"Without a comparison by labels: {'; '.join(entry.evidence.no_comparison)}"


def show_move(release: Release) -> str:
    """From which version to which an entry leads."""
    before = release.entry.before
    start = "?" if before is None else before.version
    return f"{start} -> {release.entry.after.version}"


def show_state(release: Release) -> str:
    """What became of an entry."""
    if release.is_pending:
        return "not completed"
    if release.entry.kind == "moved":
        return "noticed"
    return release.outcome.outcome if release.outcome is not None else ""
