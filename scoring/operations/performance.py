"""How right a model is likely to be, by partition, from what runs and its baseline have stored.

No label is read, and no row but samples of jobs with `estimate.sample_rows`. What came true, if it
was evaluated, stands beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from nightscore.errors import InputError, PartitionNotFoundError
from nightscore.ledger.evaluation_files import evaluations_of
from nightscore.ledger.history import PartitionHistory, publications
from nightscore.ledger.timeline import Timeline
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.monitoring.performance.estimates.adjusted import Adjusted, AdjustedEstimates
from nightscore.monitoring.performance.estimates.estimation import (
    AnyPlacement,
    ExpectedConfusion,
    add_up_any,
    baseline_values,
    estimate_each_placed,
    estimate_placed,
    expected_confusion_of,
)
from nightscore.monitoring.performance.estimates.of_runs import RunScores
from nightscore.monitoring.performance.track_record import (
    PartitionPerformance,
    TrackRecord,
    recorded_performance,
    track_records,
    with_outcomes,
)
from nightscore.schemas.decision import Decision
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import exact_uri
from nightscore.schemas.partition import order_of, show_value
from nightscore.schemas.performance import MetricRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPerformance:
    """What is expected of all these partitions together that one model version has scored."""

    model: str
    n_partitions: int
    n_rows: int
    estimated: tuple[MetricRecord, ...]
    """One estimate of all their rows, not a mean of the partitions' estimates."""
    baseline: tuple[MetricRecord, ...]
    """What came true in the baseline's labelled rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """The estimates for some partitions of a job."""

    partitions: tuple[PartitionPerformance, ...]
    """In their order."""
    models: tuple[ModelPerformance, ...]
    """In the order in which they were first used."""
    track_records: tuple[TrackRecord, ...] = ()
    """Of each metric that was estimated and came true somewhere."""
    adjusted_track_records: tuple[TrackRecord, ...] = ()
    """Of the estimates that are adjusted for covariate shift."""
    confusion: ExpectedConfusion | None = None
    """Of a single partition of a model of several classes. None: of others, or not known."""


def recorded_between(
    job: ScoringJob, first: str | None, last: str | None, n_last: int
) -> list[str]:
    """The last partitions of a range that have records, in order.

    Args:
        job: Whose partitions.
        first: Of the range; None: no bound.
        last: Of the range, included; None: no bound.
        n_last: How many at most.
    """
    pattern = job.input.partition_format

    def is_between(value: str) -> bool:
        position = order_of(value, pattern)
        is_after_start = first is None or order_of(first, pattern) <= position
        return is_after_start and (last is None or position <= order_of(last, pattern))

    values = [value for value in Timeline(Workspace(job)).values if is_between(value)]
    return values[-n_last:]


def recorded_performance_of(
    runs: Iterable[Manifest], evaluations: Mapping[str, EvaluationRecord], decision: Decision
) -> list[PartitionPerformance]:
    """What some runs have estimated themselves, and what has come true of them by now.

    Args:
        runs: In the order of their partitions.
        evaluations: As `evaluations_of` gives them.
        decision: The job's.
    """
    partitions = []
    for run in runs:
        partition = recorded_performance(run)
        evaluation = evaluations.get(run.result_id)

        if evaluation is not None:
            partition = with_outcomes(partition, evaluation, decision)
        partitions.append(partition)

    return partitions


def performance_of_run(job: ScoringJob, manifest: Manifest) -> PartitionPerformance:
    """What a run has estimated itself, and what has come true of it by now."""
    evaluations: dict[str, EvaluationRecord] = {}
    if job.labels is not None:
        evaluations = evaluations_of(Workspace(job), [manifest])

    (partition,) = recorded_performance_of([manifest], evaluations, job.decision)
    return partition


def latest_performance(job: ScoringJob, n_partitions: int) -> list[PartitionPerformance]:
    """The same of what is published of the latest partitions, in their order.

    Args:
        job: Whose partitions.
        n_partitions: How many at most.
    """
    timeline = Timeline(Workspace(job))
    values = timeline.values[-n_partitions:]
    timeline.read(values)

    published = [timeline.results(value).published for value in values]
    runs = [manifest for manifest in published if manifest is not None]
    evaluations = evaluations_of(timeline.workspace, runs)

    return recorded_performance_of(runs, evaluations, job.decision)


def performance_known_at(job: ScoringJob, values: Sequence[str], moment: datetime) -> Performance:
    """What was published at a time, what it had estimated, and what was known to have come true.

    Args:
        job: Whose partitions.
        values: Partition values, in order.
        moment: In UTC.

    Raises:
        PartitionNotFoundError: Nothing was published of any of them.
        StorageError: The store does not answer.
    """
    workspace = Workspace(job)
    runs = []
    for value in values:
        history = PartitionHistory(workspace, value)
        published = publications(history.runs())
        earlier = [run for run in published if run.finished_at and run.finished_at <= moment]

        # A rollback has estimated nothing itself: the run that it restored has.
        runs += [history.find(run.result_id) or run for run in earlier[:1]]

    if not runs:
        raise _nothing_published(job, values, f" before {moment:%Y-%m-%d %H:%M:%S} UTC")

    evaluations = evaluations_of(workspace, runs, moment)
    partitions = recorded_performance_of(runs, evaluations, job.decision)
    return Performance(
        partitions=tuple(partitions),
        models=(),
        track_records=tuple(track_records(partitions)),
        adjusted_track_records=tuple(track_records(partitions, adjusted=True)),
    )


def estimate_performance(job: ScoringJob, values: Sequence[str], cache: ModelCache) -> Performance:
    """The estimates for the published results of these partitions.

    A partition of which nothing can be estimated has a note instead.

    Args:
        job: Whose partitions.
        values: Partition values, in order.
        cache: Of baselines on this host.

    Raises:
        PartitionNotFoundError: None of them is published.
        InputError: Nothing can be estimated of any of them, and none has come true; with what to
            do.
        StorageError: The registry or the store does not answer.
    """
    timeline = Timeline(Workspace(job))
    timeline.read(values)

    published = [timeline.results(value).published for value in values]
    manifests = [manifest for manifest in published if manifest is not None]
    if not manifests:
        raise _nothing_published(job, values)

    evaluations = {}
    if job.labels is not None:
        evaluations = evaluations_of(timeline.workspace, manifests)

    scores = RunScores(timeline.workspace, cache)
    adjusted = AdjustedEstimates(timeline.workspace)
    return _Estimation(scores, adjusted, job.decision, evaluations).of(manifests)


@dataclass(slots=True)
class _Estimation:
    """Estimates of some runs."""

    scores: RunScores
    adjusted: AdjustedEstimates
    decision: Decision
    evaluations: dict[str, EvaluationRecord]
    """What came true, by run."""
    placed: dict[str, list[tuple[Manifest, AnyPlacement]]] = field(default_factory=dict)
    """The runs whose scores could be placed, by model version."""
    errors: list[InputError] = field(default_factory=list)
    """Why the others could not."""

    def of(self, manifests: Iterable[Manifest]) -> Performance:
        """The estimates of each run, and of all runs of a model version together."""
        partitions = {manifest.run_id: self._partition(manifest) for manifest in manifests}
        if not self.placed and not any(partition.realised for partition in partitions.values()):
            raise self.errors[-1]

        for placed in self.placed.values():
            partitions |= self._estimated(placed, partitions)

        in_order = tuple(partitions.values())
        return Performance(
            partitions=in_order,
            models=tuple(self._model(model) for model in self.placed),
            track_records=tuple(track_records(in_order)),
            adjusted_track_records=tuple(track_records(in_order, adjusted=True)),
            confusion=self._confusion() if len(in_order) == 1 else None,
        )

    def _confusion(self) -> ExpectedConfusion | None:
        """Of the partition, if it could be placed and is alone."""
        for ((manifest, placement),) in self.placed.values():
            return expected_confusion_of(placement, self.scores.calibration(manifest))
        return None

    def _partition(self, manifest: Manifest) -> PartitionPerformance:
        """The partition with what came true of it. Its scores are placed, if they can be."""
        partition = PartitionPerformance(
            partition=show_value(manifest.partition),
            run_id=manifest.run_id,
            model=exact_uri(manifest.model.name, manifest.model.version),
        )

        evaluation = self.evaluations.get(manifest.result_id)
        if evaluation is not None:
            partition = with_outcomes(partition, evaluation, self.decision)

        try:
            placement = self.scores.placement(manifest)
        except InputError as error:
            self.errors.append(error)
            return replace(partition, note=error.what)

        self.placed.setdefault(partition.model, []).append((manifest, placement))
        return partition

    def _estimated(
        self,
        placed: Sequence[tuple[Manifest, AnyPlacement]],
        partitions: Mapping[str, PartitionPerformance],
    ) -> dict[str, PartitionPerformance]:
        """The partitions of one model version with their estimates, by run."""
        calibration = self.scores.calibration(placed[0][0])
        baseline = tuple(baseline_values(calibration, self.decision))

        placements = [placement for _, placement in placed]
        estimates = estimate_each_placed(placements, calibration, self.decision)

        estimated = {}
        for (manifest, placement), metrics in zip(placed, estimates, strict=True):
            digest = self.scores.baseline_digest(manifest)
            adjusted = self.adjusted.estimate(manifest, placement, calibration, digest)

            partition = replace(
                partitions[manifest.run_id],
                n_rows=placement.n_rows,
                estimated=tuple(metrics),
                baseline=baseline,
            )

            estimated[manifest.run_id] = _with_adjusted(partition, adjusted)
        return estimated

    def _model(self, model: str) -> ModelPerformance:
        placed = self.placed[model]
        calibration = self.scores.calibration(placed[0][0])
        together = add_up_any(placement for _, placement in placed)

        return ModelPerformance(
            model=model,
            n_partitions=len(placed),
            n_rows=together.n_rows,
            estimated=tuple(estimate_placed(together, calibration, self.decision)),
            baseline=tuple(baseline_values(calibration, self.decision)),
        )


def _with_adjusted(partition: PartitionPerformance, adjusted: Adjusted) -> PartitionPerformance:
    """The partition with an adjusted estimate: that of its sample, else the recorded one."""
    is_recorded = bool(partition.adjusted)
    if adjusted.metrics or not is_recorded:
        return replace(partition, adjusted=adjusted.metrics, adjusted_note=adjusted.note)

    note = f"{partition.adjusted_note}; recorded by the evaluation"
    if adjusted.note:
        note += f", for now {adjusted.note}"
    return replace(partition, adjusted_note=note)


def _nothing_published(
    job: ScoringJob, values: Sequence[str], then: str = ""
) -> PartitionNotFoundError:
    found = "no partition that has been scored"
    next_step = f"score one with `{job.command('run', 'PARTITION')}`"

    if values:
        newest = show_value(values[-1])
        next_step = (
            f"`{job.command('partitions')}` says why; of a run that a gate holds, "
            f"`{job.command('report', newest)}` shows the estimate"
        )
        found = f"no published results of {show_value(values[0])}"
        if len(values) > 1:
            found += f" to {show_value(values[-1])}"
        found += then

    return PartitionNotFoundError(
        "There is nothing to estimate the performance of.",
        f"{job.output.uri}.nightscore/runs",
        expected="at least one partition whose results are published",
        found=found,
        next_step=next_step,
    )
