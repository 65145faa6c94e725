"""Where the decision between a job's model and its challengers stands, by what is stored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightscore.ledger.evaluation_files import newest_evaluations
from nightscore.ledger.timeline import Timeline, latest_publications, recorded_values
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.decisions.nights import group_by_day
from nightscore.monitoring.decisions.verdict import compare_nights
from nightscore.monitoring.decisions.without_labels import EstimatedNight, compare_estimates
from nightscore.schemas.challenger_jobs import challenger_job, challenger_jobs
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import label_of
from nightscore.schemas.partition import parse_time, show_value
from nightscore.schemas.text import counted

LATEST_PARTITIONS = 30
"""Partitions of which estimates are compared, if no labels are known."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """The versions that are compared."""

    champion: str
    challenger: str
    model: str
    """Name of the challenger's registered model: others have versions of the same number."""

    def has_scored(self, manifest: Manifest) -> bool:
        return self == _pair_of(manifest)

    def was_evaluated(self, record: EvaluationRecord) -> bool:
        champion = record.paired.champion_version if record.paired is not None else None
        return self == _Pair(champion or "", record.model_version, record.model_name)


def standings(job: ScoringJob) -> list[ComparisonRecord]:
    """Where the decision stands with each challenger of a job."""
    uris = job.release.challenger if job.release is not None else ()
    return [decide(job, uri) for uri in uris]


def standing_of(job: ScoringJob, label: str) -> ComparisonRecord:
    """Where the decision stands with the challenger of this label."""
    uris = job.release.labels if job.release is not None else {}
    return decide(job, uris[label])


def find_comparison(
    job: ScoringJob, champion: str, challenger: str, model: str
) -> ComparisonRecord | None:
    """What compares two versions of a model. None: no challenger of the job is of this version.

    Args:
        job: Of the champion.
        champion: Number of the version that is live.
        challenger: Number of the version that may follow it.
        model: Name of the registered model. A challenger of another one is no evidence.
    """
    pair = _Pair(champion, challenger, model)

    for own in challenger_jobs(job).values():
        found = _decide(job, Workspace(own), pair)
        if found.verdict != "unknown":
            return found

    return None


def decide(job: ScoringJob, challenger: str) -> ComparisonRecord:
    """Where the decision between the job's model and one of its challengers stands.

    The versions are those of the challenger's newest run. Results that they have not both scored do
    not count.

    Args:
        job: Of the champion.
        challenger: Its URI, as the job names it.

    Returns:
        The verdict is `unknown` if nothing compares them, and a note says why.

    Raises:
        StorageError: The store does not answer.
    """
    workspace = Workspace(challenger_job(job, challenger))

    newest = _newest_published(workspace)

    if newest is None:
        return ComparisonRecord(
            champion=label_of(job.model),
            challenger=label_of(challenger),
            verdict="unknown",
            notes=("no run of the challenger is published",),
        )

    return _decide(job, workspace, _pair_of(newest))


def _decide(job: ScoringJob, workspace: Workspace, pair: _Pair) -> ComparisonRecord:
    """By labels, if any night has some; else by estimates."""
    records = [record for record in newest_evaluations(workspace.state, None) if record.paired]
    of_pair = [record for record in records if pair.was_evaluated(record)]
    complete = [record for record in of_pair if record.is_complete]

    pairs = [(_day(job, one.partition), one.paired) for one in complete if one.paired is not None]

    nights = group_by_day(pairs)
    n_challengers = max(len(challenger_jobs(job)), 1)
    found = compare_nights(pair.champion, pair.challenger, nights, n_challengers)

    left_out = _left_out(len(records) - len(of_pair), len(of_pair) - len(complete))
    notes = (*found.notes, *left_out)

    if found.by == "nothing":
        estimated = _by_estimates(job, workspace, pair)
        if estimated is not None:
            return estimated.model_copy(update={"notes": (*estimated.notes, *left_out)})

    return found.model_copy(update={"notes": notes})


def _left_out(n_of_others: int, n_incomplete: int) -> Iterator[str]:
    if n_of_others:
        yield f"{counted(n_of_others, 'partition')} left out: of other versions"
    if n_incomplete:
        yield (
            f"{counted(n_incomplete, 'partition')} left out: not matured, or the labelled rows are "
            "a selection by score"
        )


def _by_estimates(job: ScoringJob, workspace: Workspace, pair: _Pair) -> ComparisonRecord | None:
    """What is expected of both on the same partitions. None: nothing is."""
    own = [one for one in _published(workspace, LATEST_PARTITIONS) if pair.has_scored(one)]
    champions = {one.result_id: one for one in _published(Workspace(job), LATEST_PARTITIONS)}

    nights: list[EstimatedNight] = []
    for manifest in own:
        champion = champions.get(manifest.champion_run_id or "")
        if champion is None or champion.estimate is None or manifest.estimate is None:
            continue

        day = _day(job, manifest.partition)
        metrics = champion.estimate.metrics, manifest.estimate.metrics
        nights.append(EstimatedNight(day, *metrics))

    return compare_estimates(pair.champion, pair.challenger, nights)


def _pair_of(manifest: Manifest) -> _Pair:
    champion, own = manifest.champion_model, manifest.model
    if own is None:
        return _Pair(champion.version if champion else "", "", "")
    return _Pair(champion.version if champion else "", own.version, own.name)


def _newest_published(workspace: Workspace) -> Manifest | None:
    """What is published of the latest partition that has anything: the last night may have failed.

    None: nothing is.
    """
    latest_first = reversed(recorded_values(workspace))
    return next(latest_publications(workspace, latest_first), None)


def _published(workspace: Workspace, n_last: int) -> Sequence[Manifest]:
    """What is published of the latest partitions, in their order."""
    timeline = Timeline(workspace)
    values = timeline.values[-n_last:]
    timeline.read(values)

    published = [timeline.results(value).published for value in values]
    return [manifest for manifest in published if manifest is not None]


def _day(job: ScoringJob, value: str | None) -> str:
    """The day of a partition; of one without a date its value."""
    time = parse_time(value, job.input.partition_format)
    return time.date().isoformat() if time is not None else show_value(value)
