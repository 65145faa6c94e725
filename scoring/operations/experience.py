"""What earlier runs took, to say what others will take."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from nightscore.schemas.run_summary import RunSummary

HISTORY_RUNS = 20
"""An estimate of time uses this many of the newest published runs."""
ALIKE_FACTOR = 2
"""Runs of up to twice as many rows, or half as many, take about as long. What others take does not
follow from them: start-up and model are most of a small run, rows are all of a large one."""


@dataclass(frozen=True, slots=True)
class _Took:
    """What an earlier run took."""

    n_rows: int
    startup_s: float
    """Of its process, if it was the first run there; else 0."""
    run_s: float


@dataclass(frozen=True, slots=True)
class Experience:
    """What the newest published runs took, to say what others will take."""

    runs: Sequence[_Took]

    def startup_s(self) -> float:
        """Seconds until the first run of a process begins; 0 where no run says so."""
        return _median(took.startup_s for took in self.runs if took.startup_s)

    def run_s(self, n_rows: int | None, *, is_first: bool) -> float | None:
        """Seconds of a run, as runs of about as many rows took; None if there were none.

        Args:
            n_rows: Of the run. None: unknown.
            is_first: In its process. Such a run starts workers and loads the model.
        """
        if n_rows is None:
            return None

        alike = [
            took
            for took in self.runs
            if n_rows / ALIKE_FACTOR <= took.n_rows <= n_rows * ALIKE_FACTOR
        ]

        of_its_kind = [took for took in alike if bool(took.startup_s) == is_first]
        chosen = of_its_kind or alike

        return _median(took.run_s for took in chosen) if chosen else None


def experience_of(history: Iterable[RunSummary]) -> Experience:
    """What the newest published runs took, with all that their users waited for."""
    runs = []
    for run in history:
        if run.status == "published" and run.rows_in and not (run.restores or run.replays):
            runs.append(run)

    newest = runs[:HISTORY_RUNS]
    return Experience([_Took(run.rows_in, run.startup_s, _own_s(run, newest)) for run in newest])


def _own_s(run: RunSummary, runs: Sequence[RunSummary]) -> float:
    """Seconds of a run, without those that others of a backfill took meanwhile.

    A backfill of small partitions has several runs under way at once. Time that they have in common
    is divided among them, so that all of them together take the time of the backfill.
    """
    own_s = run.total_s - run.waited_s
    if run.startup_s or run.finished_at is None:
        return own_s

    spans = []
    moments = {run.started_at, run.finished_at}
    for one in runs:
        if not one.startup_s and one.finished_at is not None:
            span = (one.started_at, one.finished_at)
            spans.append(span)
            moments.update(moment for moment in span if _is_within(moment, run))

    shared_s = 0.0
    for start, end in pairwise(sorted(moments)):
        n_under_way = sum(begin <= start and end <= finish for begin, finish in spans)
        shared_s += (end - start).total_seconds() / max(n_under_way, 1)

    return min(own_s, shared_s)


def _is_within(moment: datetime, run: RunSummary) -> bool:
    return run.finished_at is not None and run.started_at < moment < run.finished_at


def _median(seconds: Iterable[float]) -> float:
    known = list(seconds)
    return statistics.median(known) if known else 0.0
