"""Plans a backfill: which dates are scored, why, and what it will cost. What is planned is what is run."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Literal, get_args

from nightscore.errors import InvalidJobError, ScoringError
from nightscore.inputs.footers import read_footers
from nightscore.inputs.partitions import find_partitions, parse_value, partition_date
from nightscore.ledger.record import waited_for_turn_s
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.operations.history import run_history
from nightscore.operations.status import PartitionStatus, partition_statuses
from nightscore.schemas.job import MODEL_URI, ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.storage.store import Store

Mode = Literal["missing", "failed", "stale", "all"]
Order = Literal["newest", "oldest"]
Action = Literal["score", "skip", "no input"]

DEFAULT_MODES: tuple[Mode, ...] = ("missing", "failed")
"""What nobody has seen yet; to replace predictions that readers rely on is asked for by name."""
DEFAULT_MAX_PARTITIONS = 400
"""A year and a month: more than that in one go is a slip more often than a wish."""
DAY = timedelta(days=1)
STEPS = (timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1))
"""Apart from a day: what the partitions of a format may be apart."""
PLAN_THREADS = 8
HISTORY_RUNS = 20
"""Newest published runs that an estimate of time is made of."""


@dataclass(frozen=True, slots=True)
class BackfillItem:
    """One date of a backfill."""

    value: str
    """Partition value."""
    action: Action
    reason: str
    model: str = ""
    """Exact model URI, resolved once for the whole backfill."""
    is_forced: bool = False
    """Scored although the same is published."""
    n_rows: int | None = None
    """From the footers; None where they were not read or cannot be."""
    n_bytes: int = 0
    estimated_s: float | None = None


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What a backfill will do, in the order in which it will."""

    items: tuple[BackfillItem, ...]

    @property
    def to_score(self) -> tuple[BackfillItem, ...]:
        return tuple(item for item in self.items if item.action == "score")

    @property
    def n_rows(self) -> int:
        return sum(item.n_rows or 0 for item in self.to_score)

    @property
    def n_bytes(self) -> int:
        return sum(item.n_bytes for item in self.to_score)

    def estimated_s(self, max_parallel: int = 1) -> float | None:
        """Wall seconds, or None where the job has no history to tell from."""
        known = [item.estimated_s for item in self.to_score if item.estimated_s is not None]
        return sum(known) / max_parallel if known or not self.to_score else None


def parse_modes(texts: Iterable[str]) -> tuple[Mode, ...]:
    """Modes as a user names them.

    Raises:
        InvalidJobError: A name is not known.
    """
    found = tuple(dict.fromkeys(texts))
    unknown = sorted(set(found) - set(get_args(Mode)))
    if unknown:
        raise InvalidJobError(
            "This is no mode.",
            expected=", ".join(get_args(Mode)),
            found=", ".join(unknown),
            next_step="choose one of these",
        )
    return found  # type: ignore[return-value]


def parse_order(text: str) -> Order:
    """The order as a user names it.

    Raises:
        InvalidJobError: The name is not known.
    """
    if text not in get_args(Order):
        raise InvalidJobError(
            "This is no order.",
            expected=", ".join(get_args(Order)),
            found=text,
            next_step="choose one of these",
        )
    return text  # type: ignore[return-value]


def dates_between(start: date, end: date) -> list[date]:
    """Every date from `start` to `end`, both included.

    Raises:
        InvalidJobError: The end is before the start.
    """
    if end < start:
        raise InvalidJobError(
            "The range of dates ends before it starts.",
            expected="a first date that is not after the last",
            found=f"{start} to {end}",
            next_step="exchange --from and --to",
        )
    return [start + timedelta(days=i) for i in range((end - start).days + 1)]


def values_between(
    job: ScoringJob, start: date, end: date, max_partitions: int = DEFAULT_MAX_PARTITIONS
) -> list[str]:
    """The partition values of the dates, each once, oldest first; all of a day's where there are several a day.

    Raises:
        InvalidJobError: The end is before the start, or there are more than `max_partitions`.
    """
    pattern, days = job.input.partition_format, dates_between(start, end)
    step = _step_of(pattern)
    n_a_day = DAY // step
    times = (datetime.combine(day, time.min) + i * step for day in days for i in range(n_a_day))
    if n_a_day > 1 and len(days) * n_a_day > max_partitions:
        last = datetime.combine(end, time.max).strftime(pattern)
        raise _too_many(
            job, len(days) * n_a_day, next(times).strftime(pattern), last, max_partitions
        )

    values = list(dict.fromkeys(moment.strftime(pattern) for moment in times))
    if len(values) > max_partitions:
        raise _too_many(job, len(values), values[0], values[-1], max_partitions)
    return values


def _step_of(pattern: str) -> timedelta:
    """How far apart the partitions of a format are, a day at most."""
    midnight = datetime(2024, 1, 1)
    return next(
        (s for s in STEPS if (midnight + s).strftime(pattern) != midnight.strftime(pattern)), DAY
    )


def _too_many(
    job: ScoringJob, n_values: int, first: str, last: str, max_partitions: int
) -> InvalidJobError:
    return InvalidJobError(
        "The backfill covers more partitions than it may without being told so.",
        job.name,
        expected=f"at most {max_partitions}",
        found=f"{n_values}, {first} to {last}",
        next_step=f"check the dates, or confirm with max_partitions = {n_values} (--max-partitions)",
    )


def choose(
    values: Sequence[str],
    statuses: Mapping[str, PartitionStatus],
    modes: Iterable[Mode],
    order: Order,
) -> BackfillPlan:
    """What to do with each value; a pure function of the states.

    Args:
        values: Partition values, oldest first.
        statuses: State of each value; one without is not in the input.
        modes: What to score.
        order: Which end to begin with.
    """
    wanted = set(modes)
    items = [_decide(value, statuses.get(value), wanted) for value in values]
    return BackfillPlan(tuple(items if order == "oldest" else reversed(items)))


def choose_models(
    job: ScoringJob, values: Sequence[str], model: str, history: Sequence[Manifest]
) -> dict[str, str]:
    """The model URI of each value.

    Args:
        job: Names the model.
        values: Partition values.
        model: `current`: what the job means now; a version number; or `as-of`: the version that the job's own runs
            used on the date that a value stands for.
        history: The job's runs, newest first.

    Raises:
        InvalidJobError: No version is known for some dates; all of them are named.
    """
    match = MODEL_URI.fullmatch(job.model)
    name = match["name"] if match else job.model
    if model == "current":
        return dict.fromkeys(values, job.model)
    if model.isdigit():
        return dict.fromkeys(values, f"models:/{name}/{model}")
    if model != "as-of":
        raise InvalidJobError(
            "This is no model of a backfill.",
            expected="current, as-of, or a version number",
            found=model,
            next_step="give a model URI such as models:/name/3, or leave it out",
        )
    versions = [(run.started_at.date(), run.model.version) for run in history if run.model.version]
    found: dict[str, str] = {}
    unknown = []
    for value in values:
        day = partition_date(job, value)
        version = next((v for started, v in versions if day is not None and started <= day), None)
        if version is None:
            unknown.append(value)
        else:
            found[value] = f"models:/{name}/{version}"
    if unknown:
        raise InvalidJobError(
            "The job's runs do not say which model version was current on some dates.",
            job.name,
            expected="a run on or before each date",
            problems=unknown,
            next_step="name a version with --model, or take the current one",
        )
    return found


def plan_backfill(
    job: ScoringJob,
    cache: ModelCache,
    values: Sequence[str],
    modes: Iterable[Mode] = DEFAULT_MODES,
    order: Order = "newest",
    model: str = "current",
) -> BackfillPlan:
    """Decide for each value, with rows from the footers and time from the job's own history."""
    history = run_history(job)
    uris = choose_models(job, values, model, history)
    statuses: dict[str, PartitionStatus] = {}
    versions: dict[str, str] = {}
    for uri in dict.fromkeys(uris.values()):
        pinned = PinnedModel.resolve(job.model_copy(update={"model": uri}), cache)
        versions[uri] = f"models:/{pinned.version.name}/{pinned.version.version}"
        mine = [value for value in values if uris[value] == uri]
        found = partition_statuses(job, pinned, [parse_value(value) for value in mine])
        statuses |= {status.value: status for status in found}
    plan = choose(values, statuses, modes, order)
    rows = _count_rows(job, [item.value for item in plan.to_score])
    pace = _pace(history)
    items = []
    for item in plan.items:
        n_rows = rows.get(item.value)
        estimated_s = None if n_rows is None or pace is None else pace[0] + pace[1] * n_rows
        uri = versions[uris[item.value]]
        items.append(replace(item, model=uri, n_rows=n_rows, estimated_s=estimated_s))
    return BackfillPlan(tuple(items))


def _decide(value: str, status: PartitionStatus | None, modes: set[Mode]) -> BackfillItem:
    if (
        status is None
        or status.state == "input gone"
        or (status.state == "missing" and not status.has_input)
    ):
        return BackfillItem(value, "no input", "the input has no such partition")
    reason = "; ".join(status.reasons)
    if "all" in modes:
        return BackfillItem(
            value, "score", reason, is_forced=status.state == "published", n_bytes=status.n_bytes
        )
    if status.state in modes:
        return BackfillItem(value, "score", reason, n_bytes=status.n_bytes)
    return BackfillItem(value, "skip", reason, n_bytes=status.n_bytes)


def _count_rows(job: ScoringJob, values: Sequence[str]) -> dict[str, int | None]:
    store = Store(job.input.uri, job.input.storage_options)
    found = find_partitions(job, values)

    def count(value: str) -> int | None:
        partition = found.get(value)
        if partition is None:
            return None
        try:
            return sum(footer.n_rows for footer in read_footers(store, partition.files))
        except ScoringError:
            return None  # its run will say what is wrong

    with ThreadPoolExecutor(PLAN_THREADS) as threads:
        return dict(zip(values, threads.map(count, values), strict=True))


def _pace(history: Sequence[Manifest]) -> tuple[float, float] | None:
    """(seconds a run, seconds a row) of the newest runs, or None without any."""
    runs = [m for m in history if m.status == "published" and m.counts.rows_in][:HISTORY_RUNS]
    if not runs:
        return None
    scoring = [run.measures.stages_s.get("score", 0.0) for run in runs]
    own = [run.measures.total_s - waited_for_turn_s(run) for run in runs]
    per_row = statistics.median(
        s / run.counts.rows_in for s, run in zip(scoring, runs, strict=True)
    )
    fixed = statistics.median(total - s for s, total in zip(scoring, own, strict=True))
    return max(fixed, 0.0), per_row
