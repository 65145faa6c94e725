"""What the command prints: tables, documents, progress, errors."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

import nightscore.errors
from nightscore.drift.wording import verdict_text
from nightscore.engine.events import Event, RunEnded, RunPlanned, ShardScored
from nightscore.errors import ScoringError
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.masking import masked
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import json_printable, printable

WIDE = 200
"""Columns where the output is no terminal: nobody wants folded tables in a file."""


class _Terminal(Console):
    """Shows text as it is: no name in it drives the terminal, forges a line, or is taken for markup."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(
            stderr=stderr, width=width, highlight=False, soft_wrap=True, markup=False, emoji=False
        )

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def print_lines(self, text: str) -> None:
        """A message of several lines."""
        for line in text.split("\n"):
            self.print(line)


out = _Terminal(width=None if sys.stdout.isatty() else WIDE)
err = _Terminal(stderr=True)


def print_manifest(manifest: Manifest) -> None:
    """What a person wants to know of a run."""
    counts, measures = manifest.counts, manifest.measures
    where = f"{manifest.partition_key}={show_value(manifest.partition)}"
    if manifest.status == "failed" and manifest.error:
        err.print(Text.assemble(("failed", "bold red"), printable(f" {manifest.job} {where}")))
        err.print_lines(manifest.error.message)
        if manifest.location:
            err.print(f"  record:   {manifest.location}")
        return
    if manifest.status == "held":
        err.print(f"held {manifest.job} {where}: complete, not published")
        for gate in manifest.gates:
            if not gate.passed:
                warns = " (a warning)" if gate.action == "warn" else ""
                err.print(f"  {gate.gate}{warns}: expected {gate.expected}, found {gate.found}")
        named = f"{manifest.job} {show_value(manifest.partition)}"
        err.print(f"  next:     nightscore approve {named}, or nightscore reject {named}")
        err.print(f"  record:   {manifest.location}")
        return
    note = (
        " (the same was published before; --force scores it again)"
        if manifest.status == "unchanged"
        else ""
    )
    peak = max(measures.peak_worker_bytes, default=0)
    lines = [
        f"{manifest.status} {manifest.job} {where}{note}",
        f"  rows:        {counts.rows_in:,} read, {counts.rows_scored:,} scored, "
        f"{counts.rows_quarantined:,} quarantined",
        f"  model:       {manifest.model.name} version {manifest.model.version} ({manifest.model.estimator}), "
        f"{manifest.model.digest}{' pinned' if manifest.model.is_pinned else ''}",
        f"  speed:       {measures.rows_per_s:,.0f} rows/s in {measures.total_s:.1f} s, "
        f"{measures.n_workers} workers, peak {show_size(peak)} a worker",
        f"  predictions: {manifest.output.uri}",
        f"  manifest:    {manifest.location}",
    ]
    if manifest.drift is not None:
        lines.append(f"  drift:       {verdict_text(manifest.drift)}")
    for line in lines:
        out.print(line)
    for warning in manifest.warnings:
        err.print(f"  warning:     {warning}")


def print_record(manifest: Manifest, *, as_json: bool) -> None:
    """For a program or for a person."""
    if as_json:
        sys.stdout.write(json_printable(manifest.model_dump_json(indent=2)) + "\n")
    else:
        print_manifest(manifest)


def print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    out.print(table)


def report_error(kind: str, message: str, *, as_json: bool) -> None:
    message = masked(message)
    if as_json:
        print_json({"status": "failed", "error": {"type": kind, "message": message}})
    err.print_lines(message)


def show_size(n_bytes: int) -> str:
    size = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError


def exit_code(manifest: Manifest) -> int:
    """What a run's manifest means for a shell."""
    if manifest.status == "held":
        return 3
    if manifest.error is None:
        return 0
    kind = getattr(nightscore.errors, manifest.error.type, ScoringError)
    return int(getattr(kind, "exit_code", 1))


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """A progress bar on a terminal; elsewhere the log tells."""
    if quiet or not err.is_terminal:
        yield lambda event: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("rows  {task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("planning", total=None, speed="")

        def listen(event: Event) -> None:
            match event:
                case RunPlanned():
                    bar.reset(
                        task,
                        description=printable(f"scoring {event.partition}"),
                        total=event.n_rows,
                    )
                    bar.advance(task, event.n_rows_resumed)
                case ShardScored():
                    bar.advance(task, event.n_rows)
                    bar.update(task, speed=f"{bar.tasks[0].speed or 0:,.0f} rows/s")
                case RunEnded():
                    bar.update(task, description=event.status)
                case _:
                    pass

        yield listen
