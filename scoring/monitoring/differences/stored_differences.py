"""Differences of several partitions, added up from the counts that runs have stored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightscore.errors import ScoringError
from nightscore.ledger.layout import difference_path
from nightscore.ledger.workspace import Workspace
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.profiles.differences.stored_counts import from_file
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import encode_folder
from nightscore.schemas.text import counted


@dataclass(frozen=True, slots=True)
class PartitionDifference:
    """The difference of one partition."""

    manifest: Manifest
    """Of the challenger's run."""
    counts: DifferenceCounts


@dataclass(frozen=True, slots=True)
class Differences:
    """What was read of some partitions."""

    partitions: tuple[PartitionDifference, ...]
    """Those whose counts are added up, ascending."""
    whole: DifferenceCounts | None
    """Their sum. None: there are none."""
    notes: tuple[str, ...]
    """What is left out, and why."""


def read_differences(workspace: Workspace, manifests: Sequence[Manifest]) -> Differences:
    """Add up the differences of published runs.

    Counts that compare something else than the newest run's are left out, as after a change of the
    threshold. Bins that have changed, as with a new baseline, are not added up: a note says whose.

    Args:
        workspace: Of the challenger.
        manifests: Of its runs, ascending by partition.
    """
    read: list[PartitionDifference] = []
    notes: list[str] = []
    others: list[str] = []
    whole: DifferenceCounts | None = None

    for manifest in reversed(manifests):
        shown = manifest.partition or "the run"
        try:
            folder = encode_folder(manifest.partition_key, manifest.partition)
            counts = read_counts(workspace, folder, manifest.run_id)
        except (ScoringError, ValueError) as error:
            notes.append(f"{shown} is left out: {_why(error)}")
            continue

        both = counts if whole is None else whole.plus(counts)
        if both is None:
            others.append(shown)
            continue

        if whole is not None:
            since = read[-1].manifest.partition or "the run"
            notes += _not_added_up(whole, counts, both, since)

        whole = both
        read.append(PartitionDifference(manifest, counts))

    notes += [*_of_another_subject(others), *_without_bins(read)]
    return Differences(tuple(reversed(read)), whole, tuple(notes))


def read_counts(workspace: Workspace, folder: str, run_id: str) -> DifferenceCounts:
    """What a run of a challenger has counted.

    Args:
        workspace: Of the challenger.
        folder: Of the partition.
        run_id: Of the challenger's run.

    Raises:
        LocationNotFoundError: Nothing is stored.
        StorageError: The store failed.
        ValueError: It cannot be read.
    """
    return from_file(workspace.state.read_bytes(difference_path(folder, run_id)))


def _not_added_up(
    whole: DifferenceCounts, counts: DifferenceCounts, both: DifferenceCounts, since: str
) -> Iterator[str]:
    """What the sum has lost, since the bins of an earlier partition are others.

    Args:
        whole: The sum of all later partitions.
        counts: Of the earlier partition.
        both: The sum of these.
        since: The first of the later partitions.
    """
    lost = [name for name, one in whole.groups.items() if one and both.groups[name] is None]
    if lost:
        yield (
            f"the groups of {', '.join(lost)} are not added up: their bins or values are others "
            f"from {since} on than before; `--from {since}` compares by them"
        )

    if whole.joint is not None and both.joint is None:
        why = "there are none" if counts.joint is None else "they are others"
        yield (
            f"rows by both scores are not added up: the bins of {both.score or 'the score'} are "
            f"those of {since} and later, and before that {why}; `--from {since}` compares by them"
        )


def _of_another_subject(shown: Sequence[str]) -> Iterator[str]:
    """Which partitions are left out since their runs compared something else.

    Args:
        shown: The partitions, descending.
    """
    if not shown:
        return

    newest, oldest = shown[0], shown[-1]
    named = newest if len(shown) == 1 else f"{counted(len(shown), 'partition')} to {newest}"
    verb = "is" if len(shown) == 1 else "are"
    yield (
        f"{named} {verb} left out: another score, threshold or key was compared then; "
        f"`--from {oldest} --to {newest}` compares by it"
    )


def _without_bins(read: Sequence[PartitionDifference]) -> Iterator[str]:
    """Whether the newest partition has no bins of its scores, where earlier ones have.

    Args:
        read: What is added up, descending.
    """
    if not read or read[0].counts.joint is not None:
        return

    with_bins = [one for one in read if one.counts.joint is not None]
    if with_bins:
        newest, last = (one.manifest.partition or "the run" for one in (read[0], with_bins[0]))
        yield (
            f"rows by both scores are not added up: {newest} has no bins of "
            f"{read[0].counts.score or 'the score'} from a baseline; `--to {last}` compares by "
            "earlier ones"
        )


def _why(error: Exception) -> str:
    if isinstance(error, ScoringError):
        return f"its differences are not stored ({error.what})"
    return f"its differences cannot be read ({error})"
