"""A job, its runs and its reports as objects that a notebook shows.

    import nightscore

    job = nightscore.Job("flight_delay.yaml")
    run = job.run("2026-11-24")    # the last line of a cell: shown as a table
    run.predictions()              # a Polars frame
    run.report()                   # the page of the report, inside the notebook

Elsewhere the same objects print as text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, overload

from nightscore.errors import PartitionNotFoundError
from nightscore.inputs.jobfile import load_job
from nightscore.inputs.partitions import parse_value
from nightscore.inputs.values import backwards
from nightscore.models.cache import ModelCache, default_cache
from nightscore.monitoring.drift.wording import verdict_text
from nightscore.operations import api
from nightscore.operations.evaluate import evaluate
from nightscore.operations.notebook_performance import Evaluations, PerformancePage
from nightscore.operations.notebook_progress import shown_progress
from nightscore.operations.notebook_tables import html_frame, html_table, save_page, text_table
from nightscore.operations.performance import estimate_performance, recorded_between
from nightscore.operations.performance_page import read_performance_page
from nightscore.operations.report import newest_report, read_report, reported_run
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import named_model, short_model_name
from nightscore.schemas.partition import DEFAULT_MAX_PARTITIONS, order_of, show_value
from nightscore.schemas.text import printable

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("partition", "status", "rows", "scored", "quarantined", "model", "seconds", "drift")
"""What the table of several runs shows of each."""


@dataclass(frozen=True, slots=True)
class Report:
    """The drift report of one run. A notebook shows its page."""

    manifest: Manifest
    html: str = field(repr=False)
    """The page: one HTML file that runs no script and loads nothing."""

    def save(self, path: str | Path) -> Path:
        """Write the page to a file."""
        return save_page(self.html, path)

    def __repr__(self) -> str:
        """The verdict."""
        drift = self.manifest.drift
        verdict = verdict_text(drift) if drift is not None else "not compared"
        return f"{_title(self.manifest)}: drift {verdict}"

    def _repr_html_(self) -> str:
        """The page, in a frame of its own."""
        return html_frame(self.html, repr(self))


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a partition. A notebook shows it as a table."""

    manifest: Manifest
    """The run's record."""
    _job: "Job" = field(repr=False)

    @property
    def status(self) -> str:
        """`published`, `unchanged`, `held`, `rejected`, `failed`, ..."""
        return self.manifest.status

    def predictions(self, columns: Sequence[str] | None = None) -> "pl.DataFrame":
        """What readers see of the partition, as a Polars frame.

        Args:
            columns: Columns to read, in this order; None for all.

        Raises:
            PartitionNotFoundError: This run has published nothing.
        """
        if self.status not in ("published", "unchanged"):
            partition, error = show_value(self.manifest.partition), self.manifest.error
            raise PartitionNotFoundError(
                "The run has published no predictions.",
                _title(self.manifest),
                expected="a run that is published or unchanged",
                found=error.message.split("\n")[0] if error else self.status,
                next_step=f"job.predictions({partition!r}) reads what an earlier run has "
                "published, if there is one",
            )
        return self._job.predictions(self.manifest.partition, columns)

    def report(self) -> Report:
        """The run's drift report. A run that changed nothing has that of its partition.

        Raises:
            PartitionNotFoundError: The run has compared no columns.
        """
        has_compared = self.manifest.drift is not None
        return self._job.report(
            self.manifest.partition, self.manifest.run_id if has_compared else None
        )

    def _facts(self) -> dict[str, str]:
        facts = _facts(self.manifest)
        if self.status == "held":
            partition = show_value(self.manifest.partition)
            commands = [self._job.spec.command(verb, partition) for verb in ("approve", "reject")]
            facts["next"] = ", or ".join(commands)
        return facts

    def __repr__(self) -> str:
        """A line for each fact."""
        facts = self._facts()
        width = max(map(len, facts))
        lines = [_title(self.manifest)]
        for name, text in facts.items():
            first, *others = map(printable, text.split("\n"))
            lines.append(f"  {name:<{width}}  {first}")
            lines += [f"  {'':<{width}}  {other}" for other in others]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A row for each fact."""
        rows = [[name, text] for name, text in self._facts().items()]
        return html_table(_title(self.manifest), [], rows)


class JobRuns(Sequence[JobRun]):
    """Several runs. A notebook shows them as a table."""

    def __init__(self, runs: Sequence[JobRun]) -> None:
        """Take runs, in the order in which they are shown."""
        self._runs = list(runs)

    def __len__(self) -> int:
        """The number of runs."""
        return len(self._runs)

    @overload
    def __getitem__(self, place: int) -> JobRun: ...
    @overload
    def __getitem__(self, place: slice) -> "JobRuns": ...
    def __getitem__(self, place: int | slice) -> "JobRun | JobRuns":
        """One run, or some."""
        if isinstance(place, slice):
            return JobRuns(self._runs[place])
        return self._runs[place]

    def __iter__(self) -> Iterator[JobRun]:
        """Each run."""
        return iter(self._runs)

    def __repr__(self) -> str:
        """A line for each run."""
        return text_table(COLUMNS, self._rows())

    def _repr_html_(self) -> str:
        """A row for each run."""
        n_runs = len(self._runs)
        return html_table(f"{n_runs} run{'s' if n_runs != 1 else ''}", COLUMNS, self._rows())

    def _rows(self) -> list[list[str]]:
        return [_summary(run.manifest) for run in self._runs]


class Job:
    """A job for a notebook or a script: what it returns is shown as tables and pages.

    Its methods do what the functions of the same names do. In Jupyter they show a progress bar.
    """

    def __init__(
        self, source: str | Path | ScoringJob, *, cache_dir: str | Path | None = None
    ) -> None:
        """Load a job.

        Args:
            source: Name, path or URL of a job file; or a job from `load_job` or `parse_job`.
            cache_dir: Folder for models on this host; None: `$NIGHTSCORE_CACHE`, or the user's
                cache.

        Raises:
            InvalidJobError: It is not a valid job; every problem is listed.
        """
        spec = source if isinstance(source, ScoringJob) else load_job(str(source))
        self.spec: ScoringJob = spec
        """The validated job."""
        self._cache_dir = cache_dir

    def run(self, partition: str | date, *, force: bool = False) -> JobRun:
        """Score one partition and publish it, unless the same is published already.

        A run that fails does not raise: its status is `failed`, and it shows the error.

        Args:
            partition: Partition value, such as "2026-11-24", or a date.
            force: Score again what is published already.
        """
        with shown_progress() as listener:
            manifest = api.run(
                self.spec,
                self._value(partition),
                force=force,
                cache_dir=self._cache_dir,
                listeners=[listener],
            )
        return JobRun(manifest, self)

    def backfill(
        self, start: date | str, end: date | str, *, max_partitions: int = DEFAULT_MAX_PARTITIONS
    ) -> JobRuns:
        """Score the dates of a range that are missing, failed or stale, the newest first.

        Args:
            start: First date, or its text such as "2026-11-01".
            end: Last date, included.
            max_partitions: Refuse a larger range.

        Returns:
            A run for each date that was scored.
        """
        plan = api.plan_backfill(
            self.spec, start, end, max_partitions=max_partitions, cache_dir=self._cache_dir
        )
        n_rows = sum(item.n_rows or 0 for item in plan.to_score)
        with shown_progress(n_rows) as listener:
            manifests = api.backfill(
                self.spec, plan, cache_dir=self._cache_dir, listeners=[listener]
            )
        return JobRuns([JobRun(manifest, self) for manifest in manifests])

    def runs(self, partition: str | date | None = None) -> JobRuns:
        """All runs, the newest first, failed ones included.

        Args:
            partition: Only runs of this partition; None for all.
        """
        value = None if partition is None else self._value(partition)
        manifests = api.read_manifests(self.spec, value)
        return JobRuns([JobRun(manifest, self) for manifest in manifests])

    def predictions(
        self, partition: str | date | None, columns: Sequence[str] | None = None
    ) -> "pl.DataFrame":
        """The published predictions of one partition as a Polars frame.

        Args:
            partition: Partition value, such as "2026-11-24", or a date.
            columns: Columns to read, in this order; None for all.

        Raises:
            PartitionNotFoundError: Nothing is published for the partition.
            ContractError: The predictions lack one of the columns.
        """
        import polars as pl

        table = api.read_predictions(self.spec, self._value(partition), columns)
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 (a table is no single column)
        return frame

    def report(self, partition: str | date | None, run_id: str | None = None) -> Report:
        """The drift report of a partition's newest run, drawn now if it does not exist yet.

        Args:
            partition: Partition value, such as "2026-11-24", or a date.
            run_id: Another run of the partition; None: the newest.

        Raises:
            PartitionNotFoundError: No run of the partition has compared its columns.
        """
        value, cache = parse_value(self._value(partition)), self._cache()
        manifest = newest_report(self.spec, reported_run(self.spec, value, run_id), cache)
        return Report(manifest, read_report(self.spec, manifest, cache))

    def evaluate(
        self,
        start: str | date | None = None,
        end: str | date | None = None,
        *,
        run_id: str | None = None,
    ) -> Evaluations:
        """Compare published predictions with the labels that have become known.

        A partition that cannot be evaluated does not raise: what is wrong is shown.

        Args:
            start: First partition; None: all before `end`.
            end: Last partition, included; None: all after `start`.
            run_id: Only the results of this run, also if they were replaced or rolled back.

        Raises:
            LabelError: The job has no labels, or none of them can be read as the job says.
        """
        first, last = self._range(start, end)
        return Evaluations(evaluate(self.spec, datetime.now(UTC), first, last, run_id=run_id))

    def performance(
        self, start: str | date | None = None, end: str | date | None = None, *, last: int = 30
    ) -> PerformancePage:
        """Estimates for published partitions, and what came true of them.

        Args:
            start: First partition; None: all before `end`.
            end: Last partition, included; None: all after `start`.
            last: At most so many partitions, the latest ones.

        Raises:
            PartitionNotFoundError: Nothing is published.
            InputError: Nothing can be estimated, and nothing has come true; with what to do.
        """
        values = recorded_between(self.spec, *self._range(start, end), last)
        found = estimate_performance(self.spec, values, self._cache())
        return PerformancePage(found, read_performance_page(self.spec, found))

    def __repr__(self) -> str:
        """What the job scores, with which model."""
        job = self.spec
        return f"Job({job.name}: {job.input.uri} by {job.model} to {job.output.uri})"

    def _cache(self) -> ModelCache:
        folder = self._cache_dir
        return default_cache() if folder is None else ModelCache(Path(folder).absolute())

    def _range(
        self, start: str | date | None, end: str | date | None
    ) -> tuple[str | None, str | None]:
        """First and last partition value; None: no bound."""
        first = None if start is None else self._value(start)
        last = None if end is None else self._value(end)

        pattern = self.spec.input.partition_format
        if first and last and order_of(last, pattern) < order_of(first, pattern):
            raise backwards(first, last, f"give {last} as start and {first} as end")
        return first, last

    def _value(self, partition: str | date | None) -> str:
        """The text of a partition value."""
        if isinstance(partition, date):
            return partition.strftime(self.spec.input.partition_format)
        return show_value(partition)


def _title(manifest: Manifest) -> str:
    partition = f"{manifest.partition_key}={show_value(manifest.partition)}"
    return printable(f"{manifest.status} {manifest.job} {partition}")


def _facts(manifest: Manifest) -> dict[str, str]:
    """What the table of one run shows."""
    if manifest.error is not None:
        return {"error": manifest.error.message, "record": manifest.location}

    counts, measures, model = manifest.counts, manifest.measures, manifest.model
    facts = {
        "rows": f"{counts.rows_in:,} read, {counts.rows_scored:,} scored, "
        f"{counts.rows_quarantined:,} quarantined",
        "model": f"{named_model(model.name, model.version)} ({model.estimator})",
        "time": f"{measures.total_s:.1f} s",
        "predictions": manifest.output.uri,
        "record": manifest.location,
    }
    if manifest.drift is not None:
        facts["drift"] = verdict_text(manifest.drift)
    for gate in manifest.gates:
        if not gate.passed:
            facts[gate.gate] = f"expected {gate.expected}, found {gate.found}"
    for i, warning in enumerate(manifest.warnings, 1):
        facts[f"warning {i}"] = warning
    return facts


def _summary(manifest: Manifest) -> list[str]:
    """A run as a row of the table of several."""
    counts, model = manifest.counts, manifest.model
    return [
        printable(show_value(manifest.partition)),
        manifest.status,
        f"{counts.rows_in:,}",
        f"{counts.rows_scored:,}",
        f"{counts.rows_quarantined:,}",
        printable(short_model_name(model.name, model.version)),
        f"{manifest.measures.total_s:.1f}",
        verdict_text(manifest.drift) if manifest.drift is not None else "",
    ]
