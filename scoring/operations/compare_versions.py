"""How a challenger's predictions differ from the champion's, over published partitions."""

from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.errors import InvalidJobError, PartitionNotFoundError
from nightscore.ledger.job_history import JobHistory
from nightscore.ledger.timeline import Timeline
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.differences.difference_summary import summarise_difference
from nightscore.monitoring.differences.stored_differences import Differences, read_differences
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.difference import DifferenceRecord, KeyRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import order_of
from nightscore.schemas.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSummary:
    """The difference of one partition."""

    partition: str | None
    run_id: str
    """Of the challenger."""
    difference: DifferenceRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDifference:
    """How one challenger differs."""

    label: str
    champion: str
    """Version of the job's model; empty: nothing is known."""
    challenger: str
    difference: DifferenceRecord | None
    """Of all partitions together. None: nothing was compared, and the notes say why."""
    partitions: tuple[PartitionSummary, ...]
    """The most different ones first."""
    notes: tuple[str, ...]
    read: Differences
    """The counts, for plots."""

    @property
    def title(self) -> str:
        """Which versions are compared, over how many partitions."""
        versions = f"Challenger {self.label}"
        if self.champion and self.challenger:
            versions = f"Challenger {self.challenger} against {self.champion}"
        return f"{versions}, {counted(len(self.partitions), 'partition')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which partitions are compared."""

    first: str | None = None
    """None: no bound."""
    last: str | None = None
    n_latest: int = 30
    """Of those in the range, the latest ones."""
    run_id: str | None = None
    """Only this run of the challenger, published or not."""


def compare_versions(
    job: ScoringJob, label: str | None, selection: Selection
) -> list[VersionDifference]:
    """What the challengers of a job would change.

    Args:
        job: Of the champion.
        label: Of one challenger. None: of all.
        selection: The partitions.

    Raises:
        InvalidJobError: The job has no challenger, or none of this label.
        PartitionNotFoundError: The run is of no challenger.
        StorageError: The store does not answer.
    """
    jobs = challenger_jobs(job)

    if not jobs or (label is not None and label not in jobs):
        raise _no_challenger(job, label, list(jobs))

    chosen = jobs if label is None else {label: jobs[label]}
    if selection.run_id is not None:
        return [_of_run(job, chosen, selection.run_id)]

    found = []
    for name, own in chosen.items():
        workspace = Workspace(own)
        found.append(_compare(name, workspace, _published(workspace, selection)))
    return found


def _of_run(job: ScoringJob, jobs: dict[str, ScoringJob], run_id: str) -> VersionDifference:
    for label, own in jobs.items():
        workspace = Workspace(own)
        manifest = JobHistory(workspace).find(run_id)
        if manifest is not None:
            return _compare(label, workspace, [manifest])

    raise PartitionNotFoundError(
        "No challenger has a run of this id.",
        found=run_id,
        next_step=f"`{job.command('compare')}` compares the latest partitions",
    )


def _published(workspace: Workspace, selection: Selection) -> Sequence[Manifest]:
    """What is published of the partitions, ascending."""
    timeline = Timeline(workspace)
    pattern = workspace.job.input.partition_format
    values = list(timeline.values)

    if selection.first is not None:
        lowest = order_of(selection.first, pattern)
        values = [value for value in values if order_of(value, pattern) >= lowest]
    if selection.last is not None:
        highest = order_of(selection.last, pattern)
        values = [value for value in values if order_of(value, pattern) <= highest]

    values = values[-selection.n_latest :]
    timeline.read(values)

    published = [timeline.results(value).published for value in values]
    return [manifest for manifest in published if manifest is not None]


def _compare(label: str, workspace: Workspace, manifests: Sequence[Manifest]) -> VersionDifference:
    """Add up what the newest pair of versions has scored."""
    key = workspace.job.input.partition_key
    pairs = [_versions(manifest) for manifest in manifests]
    newest = pairs[-1] if pairs else ("", "")

    of_pair = [one for one, pair in zip(manifests, pairs, strict=True) if pair == newest]
    read = read_differences(workspace, of_pair)
    notes = list(read.notes)

    n_others = len(manifests) - len(of_pair)
    if n_others:
        notes.append(f"{counted(n_others, 'partition')} left out: of other versions")
    if not manifests:
        notes.append("no run of the challenger is published in these partitions")

    summaries = []
    for one in read.partitions:
        difference = summarise_difference(one.counts)
        manifest = one.manifest
        summaries.append(
            PartitionSummary(
                partition=manifest.partition, run_id=manifest.run_id, difference=difference
            )
        )
    summaries.sort(key=lambda summary: -size_of(summary.difference))

    whole: DifferenceRecord | None = None
    if read.whole is not None:
        whole = summarise_difference(read.whole)
        whole = whole.model_copy(update={"keys": _dated_keys(whole, summaries, key)})

    return VersionDifference(
        label=label,
        champion=newest[0],
        challenger=newest[1],
        difference=whole,
        partitions=tuple(summaries),
        notes=tuple(notes),
        read=read,
    )


def _dated_keys(
    whole: DifferenceRecord, summaries: Sequence[PartitionSummary], partition_key: str
) -> tuple[KeyRecord, ...]:
    """The keys that differ most, with the partition that each is of, if there are several."""
    if len(summaries) < 2:
        return whole.keys

    partitions = {}
    for summary in summaries:
        for row in summary.difference.keys:
            partitions[row.model_dump_json()] = summary.partition

    dated = []
    for row in whole.keys:
        partition = partitions.get(row.model_dump_json())
        dated.append(row.model_copy(update={"key": {partition_key: partition} | row.key}))
    return tuple(dated)


def size_of(found: DifferenceRecord) -> float:
    """How different a partition is: by decisions, by classes, else by the mean size."""
    if found.flips is not None and found.n:
        return (found.flips.n01 + found.flips.n10) / found.n
    if found.classes is not None and found.n:
        return found.classes.n_changed / found.n
    return found.delta.mean_absolute if found.delta is not None else 0.0


def _versions(manifest: Manifest) -> tuple[str, str]:
    champion, own = manifest.champion_model, manifest.model
    return champion.version if champion else "", own.version if own else ""


def _no_challenger(job: ScoringJob, label: str | None, labels: Sequence[str]) -> InvalidJobError:
    if not labels:
        return InvalidJobError(
            "The job has no challenger.",
            "release.challenger",
            expected="a model version to compare with, such as models:/churn@challenger",
            next_step=f"add it to {job.given_as}; the next run scores with both",
        )

    return InvalidJobError(
        "The job has no challenger of this name.",
        "release.challenger",
        expected=" or ".join(labels),
        found=label or "",
        next_step=job.command("compare", labels[0]),
    )
