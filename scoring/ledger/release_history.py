"""What a release log says: which version was live when, and which one before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nightscore.ledger.release_log import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveVersion:
    """The version that an alias meant at a time."""

    version: str
    since: Release
    """The entry that made it live."""
    possibly: str = ""
    """Another version that may have been live already: somebody moved the alias by other means, or
    a release was begun and not completed yet. Nobody knows when the alias moved. Empty: none."""
    noticed: Release | None = None
    """The entry that noticed it, or that was begun."""


def version_at(releases: Sequence[Release], moment: datetime) -> LiveVersion | None:
    """The version that was live at a time. None: it is before the log's first entry.

    Entries are in the order of the log, which is certain. Their times are of several hosts, whose
    clocks may differ: the last one that is not after the time counts.

    Args:
        releases: The log, oldest first.
        moment: In UTC.
    """
    begun = [release for release in releases if release.is_effective or release.is_pending]
    before = [
        n
        for n, release in enumerate(begun, 1)
        if release.is_effective and release.effective_at <= moment
    ]

    if not before:
        return None

    since = begun[before[-1] - 1]
    following = next(iter(begun[before[-1] :]), None)
    is_moving = following is not None and _is_moving(following, moment)

    return LiveVersion(
        version=since.entry.after.version,
        since=since,
        possibly=following.entry.after.version if following is not None and is_moving else "",
        noticed=following if is_moving else None,
    )


def _is_moving(following: Release, moment: datetime) -> bool:
    """Whether the next entry's version may have been live at a time before its outcome."""
    return following.entry.kind == "moved" or following.entry.at <= moment


def newest_effective(releases: Sequence[Release]) -> Release | None:
    """The entry by which the alias means what it means. None: the log has none.

    Later ones were abandoned or rejected, or are not completed.
    """
    return next((release for release in reversed(releases) if release.is_effective), None)


def last_demotion(releases: Sequence[Release], version: str) -> Release | None:
    """The entry that took a version back. None: it was not, or it went live again since.

    Args:
        releases: The log, oldest first.
        version: Its number.
    """
    for release in reversed([one for one in releases if one.is_effective]):
        entry = release.entry
        if entry.after.version == version:
            return None
        if entry.kind == "demoted" and entry.before and entry.before.version == version:
            return release

    return None


def version_before(releases: Sequence[Release]) -> str | None:
    """The version to which one step back leads from the live one. None: the log knows none.

    A demotion takes a step back, so the next one leads further back. So does a move by other means
    to the version before.

    Args:
        releases: The log, oldest first.
    """
    steps: list[str] = []

    for release in releases:
        if not release.is_effective:
            continue

        entry = release.entry
        if not steps and entry.before is not None:
            steps.append(entry.before.version)

        version = entry.after.version
        if entry.kind != "promoted" and version in steps[:-1]:
            steps.pop()
            while steps[-1] != version:
                steps.pop()
        else:
            steps.append(version)

    return steps[-2] if len(steps) > 1 else None
