"""Where the decision between a job's model and its challengers stands, by what is stored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightscore.ledger.evaluation_files import newest_evaluations
from nightscore.ledger.timeline import Timeline, latest_publications, recorded_values
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.decisions.nights import group_by_day
from nightscore.monitoring.decisions.verdict import compare_nights
from nightscore.monitoring.decisions.without_labels import EstimatedNight, compare_estimates
from nightscore.monitoring.decisions.wording import WORDS
from nightscore.schemas.challenger_jobs import challenger_job, challenger_jobs
from nightscore.schemas.comparison import ComparisonRecord, PairedRecord, Verdict
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest, ModelRecord
from nightscore.schemas.model_uri import label_of
from nightscore.schemas.partition import parse_time, show_value
from nightscore.schemas.text import counted

LATEST_PARTITIONS = 30
"""Partitions of which estimates are compared, if no labels are known."""
CAUTION: tuple[Verdict, ...] = (
    "unknown",
    "better",
    "no_difference",
    "no_harm_seen",
    "undecided",
    "worse",
)
"""The verdicts, the more favourable ones first."""
OF_OTHERS = "of other versions"
NAME_NOT_STORED = (
    "evaluated before records named the champion's registered model; `nightscore evaluate` does "
    "it again"
)
REPLACED = "published again since they were evaluated; `nightscore evaluate` evaluates what is new"
NOT_COMPLETE = "not matured, or the labelled rows are a selection by score"


@dataclass(frozen=True, slots=True)
class _Version:
    """A version of a registered model. Others have versions of the same number."""

    model: str
    number: str


@dataclass(frozen=True, slots=True)
class _Pair:
    """The versions that are compared."""

    champion: _Version
    challenger: _Version


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
    pair = _Pair(_Version(model, champion), _Version(model, challenger))
    standings: dict[str, ComparisonRecord] = {}

    for label, own in challenger_jobs(job).items():
        found = _decide(job, Workspace(own), pair)
        if found.verdict != "unknown":
            standings[label] = found

    if not standings:
        return None

    label = max(standings, key=lambda label: _weight(standings[label]))
    return _with_others(standings, label)


def count_scored_by_both(job: ScoringJob, champion: str, challenger: str, model: str) -> int:
    """How many of the latest partitions two versions have scored as champion and challenger.

    Args:
        job: Of the champion.
        champion: Number of the version that is live.
        challenger: Number of the version that may follow it.
        model: Name of the registered model of both.
    """
    pair = _Pair(_Version(model, champion), _Version(model, challenger))
    n_scored = 0

    for own in challenger_jobs(job).values():
        published = _published(Workspace(own), LATEST_PARTITIONS)
        n_of_own = sum(pair == _pair_of(manifest) for manifest in published)
        n_scored = max(n_scored, n_of_own)

    return n_scored


def _weight(found: ComparisonRecord) -> tuple[bool, bool, int, int]:
    """Of several challengers of one version, the one with the greatest weight is the evidence.

    Labels that say `worse` are never outvoted. Then more nights with labels are more evidence, and
    of as many the less favourable verdict counts.
    """
    is_by_labels = found.by == "labels"
    is_worse = is_by_labels and found.verdict == "worse"
    return is_worse, is_by_labels, found.nights, CAUTION.index(found.verdict)


def _with_others(standings: Mapping[str, ComparisonRecord], label: str) -> ComparisonRecord:
    """The standing of one label, which names those of the others that are of the same version."""
    found = standings[label]
    others = [
        f"{other} ({WORDS[one.verdict]} after {counted(one.nights, 'night')})"
        for other, one in standings.items()
        if other != label
    ]
    if not others:
        return found

    note = f"of challenger {label}; of the same version are also {', '.join(others)}"
    return found.model_copy(update={"notes": (*found.notes, note)})


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
            n_challengers=_n_challengers(job),
            notes=("no run of the challenger is published",),
        )

    return _decide(job, workspace, _pair_of(newest))


def _decide(job: ScoringJob, workspace: Workspace, pair: _Pair) -> ComparisonRecord:
    """By labels, if any night has some; else by estimates."""
    records, left_out = _evidence(workspace, pair)

    pairs = [(_day(job, one.partition), one.paired) for one in records if one.paired is not None]
    nights = group_by_day(pairs)

    versions = pair.champion.number, pair.challenger.number
    found = compare_nights(*versions, nights, _n_challengers(job))

    if found.by == "nothing":
        estimated = _by_estimates(job, workspace, pair)
        found = estimated if estimated is not None else found

    return found.model_copy(update={"notes": (*found.notes, *left_out)})


def _n_challengers(job: ScoringJob) -> int:
    return max(len(challenger_jobs(job)), 1)


def _evidence(workspace: Workspace, pair: _Pair) -> tuple[list[EvaluationRecord], list[str]]:
    """The evaluations that compare the pair, and why others are left out."""
    records = [record for record in newest_evaluations(workspace.state, None) if record.paired]
    published = _published_results(workspace, [record.partition for record in records])

    left_out: Counter[str] = Counter()
    evidence: list[EvaluationRecord] = []

    for record in records:
        why = _why_left_out(record, pair, published)
        if why:
            left_out[why] += 1
        else:
            evidence.append(record)

    reasons = [f"{counted(n, 'partition')} left out: {why}" for why, n in left_out.items()]
    return evidence, reasons


def _why_left_out(
    record: EvaluationRecord, pair: _Pair, published: Mapping[str | None, str]
) -> str:
    """Why an evaluation does not compare the pair. Empty: it does."""
    paired = record.paired
    if paired is None:
        return OF_OTHERS

    if pair != _pair_of_record(record, paired):
        is_older = bool(paired.champion_version) and not paired.champion_name
        return NAME_NOT_STORED if is_older else OF_OTHERS

    if published.get(record.partition, record.run_id) != record.run_id:
        return REPLACED
    return "" if record.is_complete else NOT_COMPLETE


def _pair_of_record(record: EvaluationRecord, paired: PairedRecord) -> _Pair:
    champion = _Version(paired.champion_name, paired.champion_version)
    return _Pair(champion, _Version(record.model_name, record.model_version))


def _published_results(workspace: Workspace, values: Sequence[str | None]) -> dict[str | None, str]:
    """The run whose results are published, by partition. What was cleaned is not there."""
    timeline = Timeline(workspace)
    known = set(timeline.values).intersection(value for value in values if value is not None)
    timeline.read(known)

    published = {value: timeline.results(value).published for value in known}
    return {value: one.result_id for value, one in published.items() if one is not None}


def _by_estimates(job: ScoringJob, workspace: Workspace, pair: _Pair) -> ComparisonRecord | None:
    """What is expected of both on the same partitions. None: nothing is."""
    own = [one for one in _published(workspace, LATEST_PARTITIONS) if pair == _pair_of(one)]
    champions = {one.result_id: one for one in _published(Workspace(job), LATEST_PARTITIONS)}

    nights: list[EstimatedNight] = []
    for manifest in own:
        champion = champions.get(manifest.champion_run_id or "")
        if champion is None or champion.estimate is None or manifest.estimate is None:
            continue

        day = _day(job, manifest.partition)
        metrics = champion.estimate.metrics, manifest.estimate.metrics
        nights.append(EstimatedNight(day, *metrics))

    return compare_estimates(pair.champion.number, pair.challenger.number, nights)


def _pair_of(manifest: Manifest) -> _Pair:
    return _Pair(_version_of(manifest.champion_model), _version_of(manifest.model))


def _version_of(model: ModelRecord | None) -> _Version:
    """Empty: not stored."""
    return _Version("", "") if model is None else _Version(model.name, model.version)


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
