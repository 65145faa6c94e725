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
    """Another version that may have been live already: somebody moved the alias by other means, and
    nobody knows when. Empty: none."""
    noticed: Release | None = None
    """The entry that noticed it."""


def version_at(releases: Sequence[Release], moment: datetime) -> LiveVersion | None:
    """The version that was live at a time. None: it is before the log's first entry.

    Entries are in the order of the log, which is certain. Their times are of several hosts, whose
    clocks may differ: the last one that is not after the time counts.

    Args:
        releases: The log, oldest first.
        moment: In UTC.
    """
    effective = [release for release in releases if release.is_effective]
    before = [n for n, release in enumerate(effective, 1) if release.effective_at <= moment]

    if not before:
        return None

    since = effective[before[-1] - 1]
    found = LiveVersion(version=since.entry.after.version, since=since)
    following = effective[before[-1] : before[-1] + 1]

    if not following or following[0].entry.kind != "moved":
        return found

    (moved,) = following

    return LiveVersion(
        version=found.version,
        since=since,
        possibly=moved.entry.after.version,
        noticed=moved,
    )


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
