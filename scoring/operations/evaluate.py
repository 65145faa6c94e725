"""Compares published predictions with the labels that have become known."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from nightscore.errors import InvalidJobError, LabelError, ScoringError
from nightscore.ledger.evaluation_files import write_evaluation
from nightscore.ledger.output_formats import format_of
from nightscore.ledger.run_record import new_run_id
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.performance.label_files import find_label_files, labels_of
from nightscore.monitoring.performance.partition_reading import PartitionReading, Value
from nightscore.monitoring.performance.replaced_results import find_published_run, find_replaced
from nightscore.operations.evaluation_work import EvaluationWork
from nightscore.outputs.publish import open_publisher
from nightscore.process import installed_version, rare_collection
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.evaluation import EvaluationRecord, LabelsRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import order_of, show_value
from nightscore.schemas.performance import AdjustedRecord
from nightscore.schemas.text import counted

if TYPE_CHECKING:
    from nightscore.models.cache import ModelCache
    from nightscore.monitoring.performance.estimates.adjusted_records import AdjustedRecords
    from nightscore.monitoring.performance.label_partitions import LabelPartitions, PartitionLabels
    from nightscore.monitoring.performance.partition_outcomes import PartitionOutcomes

MAX_NAMED = 3
"""Partitions of labels that are named though they are not published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a call of `evaluate` has done."""

    records: tuple[EvaluationRecord, ...] = ()
    """New ones, in the order of their partitions."""
    unchanged: tuple[str, ...] = ()
    """Partitions whose predictions and labels are those of their newest record."""
    n_orphans: int | None = None
    """Labels of evaluated partitions without a published prediction. Where labels name no
    partition, also those of keys that no partition has published. None: no labels were read."""
    n_of_others: int | None = None
    """Labels of partitions that are not published. They are compared with nothing, and are no
    orphans. None: no labels were read."""
    n_others: int | None = None
    """How many partitions these are."""
    others: tuple[str, ...] = ()
    """Some of them, those with most labels first, as the labels spell them."""
    has_label_files: bool = True
    """There are files of labels. Before the first one comes nothing is compared."""
    problems: tuple[str, ...] = ()
    """Why some partitions could not be evaluated. The others were."""
    labels_uri: str = ""
    challengers: "dict[str, Evaluation]" = field(default_factory=dict)
    """The same of the job's challengers, by their label. Empty also if a run was evaluated."""

    @property
    def all_problems(self) -> tuple[str, ...]:
        """Why partitions of the job, and of its challengers, could not be evaluated."""
        problems = [*self.problems]
        for label, challenger in self.challengers.items():
            problems += [f"challenger {label}, {problem}" for problem in challenger.problems]
        return tuple(problems)

    def describe_orphans(self) -> str:
        """How many labels have no prediction. Empty: none is known to have none."""
        if not self.n_orphans:
            return ""

        have = "has" if self.n_orphans == 1 else "have"
        return f"{counted(self.n_orphans, 'label')} {have} no published prediction"

    def describe_others(self) -> str:
        """Which partitions have labels, but no predictions. Empty: none is known."""
        if not self.n_others or not self.n_of_others:
            return ""

        labels = counted(self.n_of_others, "label")
        are = "is" if self.n_of_others == 1 else "are"
        which = "which is" if self.n_others == 1 else "which are"
        partitions = f"{counted(self.n_others, 'other partition')}, {which} not published,"

        n_more = self.n_others - len(self.others)
        named = ", ".join(self.others) + (f" and {n_more:,} more" if n_more else "")
        return f"{labels} of {partitions} {are} not counted: {named}"

    def check(self) -> None:
        """Raise what kept partitions from being evaluated.

        Raises:
            LabelError: With all problems.
        """
        problems = self.all_problems
        if not problems:
            return

        partitions = counted(len(problems), "partition")
        others = "; the others were" if self.records or self.unchanged else ""

        raise LabelError(
            f"{partitions} could not be evaluated{others}.",
            self.labels_uri,
            problems=problems,
            next_step="correct the labels, or the section `labels` of the job file; then "
            "evaluate again",
        )


@rare_collection()
def evaluate(
    job: ScoringJob,
    now: datetime,
    start: Value = None,
    end: Value = None,
    *,
    run_id: str | None = None,
    cache: "ModelCache | None" = None,
) -> Evaluation:
    """Evaluate the published partitions whose predictions or labels are new.

    Each of them gets a new record, which is never changed. If two commands evaluate the same at
    the same time, there is one record. What the job's challengers have published is evaluated too:
    their records have the losses of both models on the same rows.

    Args:
        job: Whose predictions and labels.
        now: In UTC.
        start: First partition; None: all before `end`.
        end: Last partition, included; None: all after `start`.
        run_id: Evaluate the results of this run alone, also if they were replaced or rolled back
            since. None: what is published now.
        cache: Of baselines on this host, for estimates that are adjusted for covariate shift.
            None: this user's.

    Raises:
        InvalidJobError: A run and a range were given.
        LabelError: The job has no labels, or none of them can be read as the job says.
        PartitionNotFoundError: There is no such run, or its results are gone.
        InputError: The labels' files cannot be read.
        StorageError: A store failed.
    """
    if run_id is not None and (start is not None or end is not None):
        raise InvalidJobError(
            "A run and a range were given.",
            expected="a run, which is of one partition, or a range of partitions",
            found=f"{run_id}, and a range",
            next_step=job.command("evaluate", "--run-id", run_id),
        )

    done = _evaluate(job, now, start, end, run_id=run_id, cache=cache)
    if run_id is not None or not done.has_label_files:
        return done

    challengers: dict[str, Evaluation] = {}

    for label, own in challenger_jobs(job).items():
        try:
            challengers[label] = _evaluate(own, now, start, end, cache=cache)
        except ScoringError as error:
            # The champion's records are written. That is said, with what kept this one from it.
            challengers[label] = Evaluation(problems=(str(error),), labels_uri=done.labels_uri)

    return replace(done, challengers=challengers)


def _evaluate(
    job: ScoringJob,
    now: datetime,
    start: Value,
    end: Value,
    *,
    run_id: str | None = None,
    cache: "ModelCache | None" = None,
) -> Evaluation:
    """The same of one job alone."""
    labels = labels_of(job)
    session = _Session(job, now, cache)
    if not session.has_label_files():
        return Evaluation(labels_uri=labels.uri, has_label_files=False)

    if run_id is None:
        pending, unchanged = session.work.choose(start, end)
    else:
        pending, unchanged = session.choose_run(run_id), []

    records: list[EvaluationRecord] = []
    problems: list[str] = []
    read: LabelPartitions | None = None

    if pending:
        reading = session.reading()

        for value, own_labels in reading.labels_of(pending):
            if not session.work.note_digest(value, own_labels.rows):
                unchanged.append(value)
                continue

            try:
                outcomes = reading.outcomes_of(value)
                records.append(session.evaluate(value, own_labels, outcomes))
            except LabelError as error:
                problems.append(_problem(value, error))

        read = reading.partitions

        session.work.save_digests()

    pattern = job.input.partition_format
    records.sort(key=lambda record: order_of(record.partition, pattern))

    done = Evaluation(
        records=tuple(records),
        unchanged=tuple(show_value(value) for value in unchanged),
        problems=tuple(problems),
        labels_uri=labels.uri,
    )
    return done if read is None else _with_counts(done, read)


def _with_counts(done: Evaluation, read: "LabelPartitions") -> Evaluation:
    """The evaluation with the numbers of labels that have no prediction."""
    n_orphans = sum(record.counts.orphans for record in done.records)
    most = read.unpublished.most_common(MAX_NAMED)

    return replace(
        done,
        n_orphans=n_orphans + read.n_unassigned,
        n_of_others=read.unpublished.total(),
        n_others=len(read.unpublished),
        others=tuple(show_value(value) for value, _ in most),
    )


def _problem(value: Value, error: LabelError) -> str:
    details = [*error.problems]
    if error.expected:
        details.append(f"expected {error.expected}")
    if error.found:
        details.append(f"found {error.found}")
    return f"{show_value(value)}: {error.what} {'; '.join(details)}".rstrip()


class _Session:
    """What one call reads and writes."""

    def __init__(self, job: ScoringJob, now: datetime, cache: "ModelCache | None") -> None:
        """List everything once."""
        self._job, self._now, self._cache = job, now, cache
        self._workspace = Workspace(job)
        self._files = find_label_files(job)

        self._publisher = open_publisher(self._workspace)
        live = self._publisher.all_live()
        published = {value: one for value, one in live.items() if one.run_id is not None}
        self.work = EvaluationWork(self._workspace, self._files, published, now)

    def has_label_files(self) -> bool:
        """Whether there are files of labels.

        Raises:
            LabelError: There are none any more: evaluations would say that no label is known.
        """
        if self._files.files:
            return True

        if not self.work.has_evaluations():
            return False

        raise LabelError(
            "There are no files of labels, though there have been evaluations.",
            self._files.uri,
            expected="a Parquet file whose name begins with neither _ nor .",
            next_step="check labels.uri, and whether its place can be reached; nothing was changed",
        )

    def choose_run(self, run_id: str) -> list[Value]:
        """The partition of a run. If readers see another run's results, this one's are taken."""
        manifest = find_published_run(self._workspace, run_id)
        live = self.work.live.get(manifest.partition)

        if live is None or live.run_id != manifest.result_id:
            self.work.take_replaced(find_replaced(self._workspace, self._publisher, manifest))

        return [manifest.partition]

    def reading(self) -> PartitionReading:
        """A reader of the labels and the predictions."""
        work = self.work
        return PartitionReading(self._workspace, self._files, work.live, work.replaced)

    def evaluate(
        self, value: Value, labels: "PartitionLabels", outcomes: "PartitionOutcomes"
    ) -> EvaluationRecord:
        """Compare the predictions of a partition with its labels, and write the record."""
        from nightscore.monitoring.performance.label_partitions import time_of
        from nightscore.monitoring.performance.metrics_table import metrics_table

        job, work = self._job, self.work
        run_id = work.live[value].run_id or ""
        since = time_of(value, job.input.partition_format, run_id)

        realised = outcomes.compare(labels, since, self._now)
        self._check_still_live(value)

        known = work.labels_of(value)
        model = outcomes.manifest.model if outcomes.manifest is not None else None
        adjusted, adjusted_notes = self._adjusted(value, outcomes.manifest)

        record = EvaluationRecord(
            evaluation_id=new_run_id(self._now),
            job=job.name,
            partition_key=job.input.partition_key,
            partition=value,
            run_id=run_id,
            is_replaced=work.is_replaced(value),
            model_name=model.name if model else "",
            model_version=model.version if model else "",
            made_at=self._now,
            engine=installed_version("nightscore"),
            number=work.newest_number(value) + 1,
            work=work.digest(value, known.content),
            task=realised.measuring.task,
            threshold=realised.measuring.threshold,
            values=realised.measuring.values,
            classes=tuple(realised.measuring.classes),
            has_probabilities=realised.measuring.has_probabilities,
            is_matured=work.is_matured(value),
            labels=LabelsRecord(
                uri=self._files.uri,
                n_files=len(self._files.of(value)),
                files=known.files,
                content=known.content,
            ),
            counts=realised.counts,
            coverage=realised.coverage,
            selection=realised.selection,
            metrics=realised.metrics,
            weighted=realised.weighted,
            adjusted=adjusted,
            confusion=realised.confusion,
            calibration=realised.calibration,
            segments=realised.segments,
            paired=realised.paired,
            notes=(*realised.notes, *adjusted_notes),
        )

        table = metrics_table(record, outcomes.manifest)
        return write_evaluation(self._workspace.state, record, realised.rows, table)

    def _adjusted(
        self, value: Value, manifest: Manifest | None
    ) -> tuple[AdjustedRecord | None, tuple[str, ...]]:
        """The estimate adjusted for covariate shift, and notes. None: there is no sample."""
        if manifest is None or manifest.sample is None:
            return None, ()
        return self._adjusted_records.record(manifest, self.work.earlier(value))

    @cached_property
    def _adjusted_records(self) -> "AdjustedRecords":
        # Imported for samples only: it reads baselines, and fits classifiers.
        from nightscore.monitoring.performance.estimates.adjusted_records import AdjustedRecords

        return AdjustedRecords(self._workspace, self._cache)

    def _check_still_live(self, value: Value) -> None:
        """Refuse predictions that were replaced while they were read.

        A table keeps the files of replaced runs. Elsewhere one object is replaced by the next one.
        """
        if self.work.is_replaced(value) or format_of(self._job).seal is None:
            return

        live = self._publisher.live(value)

        if live is None or live.run_id != self.work.live[value].run_id:
            raise LabelError(
                "It was published again while it was evaluated.",
                self._workspace.predictions.locate_url(self._workspace.folder(value)),
                next_step="evaluate again",
            )
