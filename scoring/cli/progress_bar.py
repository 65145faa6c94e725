"""The progress bar of a command that scores: rows, their rate, elapsed and remaining time."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from nightscore.cli.show import err
from nightscore.engine.events import (
    Event,
    Listener,
    RowCount,
    RunEnded,
    RunPlanned,
)
from nightscore.schemas.text import printable

FULL_WIDTH = 120
"""Columns from which on the counts and the rate fit beside the bar."""
BAR_WIDTH = 12


class _Rows:
    """Listens to one run or to those of a backfill, and moves the bar."""

    def __init__(self, bar: Progress, n_rows: int | None, n_runs: int) -> None:
        """Nothing is done yet.

        Args:
            bar: Without a task yet.
            n_rows: Of all runs. None: the plan of the one run says so.
            n_runs: Runs in all.
        """
        self._bar, self._n_rows, self._n_runs = bar, n_rows, n_runs
        self._count = RowCount()
        self._n_ended = 0
        self._task = bar.add_task("planning", total=None, counts="", rate="")

    def __call__(self, event: Event) -> None:
        self._count.listen(event)

        match event:
            case RunPlanned():
                self._begin(event)
            case RunEnded():
                self._n_ended += 1
            case _:
                pass

        self._show()

    def _begin(self, event: RunPlanned) -> None:
        if self._n_rows is None:
            self._n_rows = event.n_rows

        of_all = f" ({self._n_ended + 1} of {self._n_runs})" if self._n_runs > 1 else ""
        description = printable(f"scoring {event.partition}") + of_all

        # The time left is judged by what is scored from now on.
        if self._count.n_runs == 1:
            self._bar.reset(self._task, total=self._n_rows, completed=self._count.n_done)
        self._bar.update(self._task, description=description)

    def _show(self) -> None:
        n_done = self._count.n_done
        rate = self._bar.tasks[0].speed
        self._bar.update(
            self._task,
            completed=n_done,
            counts=f"{n_done:,} of {self._n_rows or 0:,} rows",
            rate=f"{rate:,.0f} rows/s" if rate else "",
        )


@contextmanager
def progress(*, quiet: bool, n_rows: int | None = None, n_runs: int = 1) -> Iterator[Listener]:
    """A listener that shows a progress bar on a terminal. Elsewhere `--verbose` logs the steps.

    Args:
        quiet: Show nothing.
        n_rows: Rows of several runs. None: there is one run, whose plan says so.
        n_runs: Runs in all.
    """
    if quiet or not err.is_terminal:
        yield lambda event: None
        return

    with Progress(*_columns(err.width), console=err, transient=True) as bar:
        yield _Rows(bar, n_rows, n_runs)


def _columns(width: int) -> tuple[ProgressColumn, ...]:
    """Description, bar, share, elapsed and remaining time; the counts too where there is room."""
    times = TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("left")
    counts: tuple[ProgressColumn, ...] = ()
    if width >= FULL_WIDTH:
        counts = (
            TextColumn("{task.fields[counts]}", markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
        )

    description = TextColumn("{task.description}", markup=False)
    return description, BarColumn(bar_width=BAR_WIDTH), TaskProgressColumn(), *counts, *times
