"""What came true of a job's predictions, and what was estimated, as a notebook shows it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightscore.monitoring.performance.estimates.wording import LABELS, show_share
from nightscore.monitoring.performance.realised_wording import SHOWN, notes_of, show_realised
from nightscore.monitoring.performance.track_record import show_record
from nightscore.operations.evaluate import Evaluation
from nightscore.operations.notebook_tables import html_frame, html_table, save_page, text_table
from nightscore.operations.performance import Performance
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.partition import show_value
from nightscore.schemas.performance import MetricRecord
from nightscore.schemas.text import counted, printable

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Evaluations:
    """New evaluations of some partitions. A notebook shows them as a table."""

    evaluation: Evaluation
    """The records, and what could not be evaluated."""

    @property
    def records(self) -> tuple[EvaluationRecord, ...]:
        """One for each partition whose predictions or labels are new."""
        return self.evaluation.records

    def metrics(self) -> "pl.DataFrame":
        """All metrics as a Polars frame: a row for each, of all rows and of each segment.

        `segment` is empty for all rows. `low` and `high` are the ends of the 95 % band; they and
        `value` are null where they are not known.
        """
        rows = []
        for record in self.records:
            partition = show_value(record.partition)
            rows += _rows(record.metrics, partition=partition, segment="")
            for segment in record.segments:
                rows += _rows(segment.metrics, partition=partition, segment=segment.segment)

        return _frame(rows, "partition", "segment")

    def __repr__(self) -> str:
        """A line for each partition."""
        lines = [self._title()]
        if self.records:
            lines.append(text_table(*self._table()))
        return "\n".join([*lines, *map(printable, self.evaluation.all_problems)])

    def _repr_html_(self) -> str:
        """A row for each partition, and for each one that could not be evaluated."""
        if not self.records:
            problems = [[problem] for problem in self.evaluation.all_problems]
            return html_table(self._title(), [], problems)

        header, rows = self._table()
        others = [""] * (len(header) - 1)
        problems = [[problem, *others] for problem in self.evaluation.all_problems]
        return html_table(self._title(), header, [*rows, *problems])

    def _title(self) -> str:
        n_unchanged = len(self.evaluation.unchanged)
        return f"{counted(len(self.records), 'partition')} evaluated, {n_unchanged} unchanged"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        names = dict.fromkeys(name for record in self.records for name in SHOWN[record.task])
        header = ["partition", "rows", "labelled", *names, "notes"]

        rows = []
        for record in self.records:
            metrics = [show_realised(record.metric(name)) for name in names]
            counts = record.counts
            first = [printable(show_value(record.partition)), f"{counts.predictions:,}"]
            notes = printable("; ".join(notes_of(record)))
            rows.append([*first, show_share(counts.share), *metrics, notes])

        return header, rows


@dataclass(frozen=True, slots=True)
class PerformancePage:
    """Estimates against what came true. A notebook shows their page."""

    performance: Performance
    """The figures, by partition and by model version."""
    html: str = field(repr=False)
    """The page: one HTML file that runs no script and loads nothing."""

    def save(self, path: str | Path) -> Path:
        """Write the page to a file."""
        return save_page(self.html, path)

    def metrics(self) -> "pl.DataFrame":
        """All metrics as a Polars frame: a row for each, by partition and kind.

        `kind` is `estimated`, `realised` or `baseline`; the other columns are as in
        `Evaluations.metrics`.
        """
        rows = []
        for partition in self.performance.partitions:
            for kind in ("estimated", "realised", "baseline"):
                metrics: Iterable[MetricRecord] = getattr(partition, kind)
                rows += _rows(metrics, partition=partition.partition, kind=kind)

        return _frame(rows, "partition", "kind")

    def __repr__(self) -> str:
        """How right the estimates were, by metric."""
        n_partitions = counted(len(self.performance.partitions), "partition")
        lines = [f"Performance of {n_partitions}"]
        for record in self.performance.track_records:
            lines.append(f"{LABELS.get(record.metric, record.metric)}: {show_record(record)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The page, in a frame of its own."""
        return html_frame(self.html, repr(self).split("\n")[0])


def _rows(metrics: Iterable[MetricRecord], **common: str) -> list[dict[str, Any]]:
    return [common | metric.model_dump() for metric in metrics]


def _frame(rows: Sequence[dict[str, Any]], *texts: str) -> "pl.DataFrame":
    import polars as pl

    schema: dict[str, Any] = dict.fromkeys((*texts, "name"), pl.String)
    schema |= dict.fromkeys(("value", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema=schema | {"n": pl.Int64, "note": pl.String})
