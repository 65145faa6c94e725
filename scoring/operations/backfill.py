"""Plans a backfill: which dates are scored, why, and what it will cost.

What is planned is what is run.
"""

import difflib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, get_args

from nightscore.errors import InvalidJobError, ScoringError
from nightscore.inputs.input_folders import list_input
from nightscore.inputs.partitions import find_partitions, parse_value, partition_date
from nightscore.inputs.values import backwards
from nightscore.ledger.job_history import JobHistory
from nightscore.ledger.release_history import version_at
from nightscore.ledger.release_log import Release, ReleaseLog
from nightscore.ledger.workspace import Workspace
from nightscore.models.aliases import alias_of_job
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.operations.backfill_arms import describe_arms, find_arms
from nightscore.operations.experience import Experience, experience_of
from nightscore.operations.partitions import PartitionStatus, partition_statuses
from nightscore.process import rare_collection
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import MODEL_URI, exact_uri
from nightscore.schemas.partition import DEFAULT_MAX_PARTITIONS, Partition
from nightscore.schemas.run_summary import RunSummary
from nightscore.storage.store import Store

Mode = Literal["missing", "failed", "stale", "all"]
Order = Literal["newest", "oldest"]
Action = Literal["score", "skip", "no input"]

DEFAULT_MODES: tuple[Mode, ...] = ("missing", "failed")
"""What readers have not seen yet. To replace published predictions, name `stale` or `all`."""
DAY = timedelta(days=1)
STEPS = (timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1))
"""Besides a day: how far apart the partitions of a format may be."""
PLAN_THREADS = 8
LISTED_ALONE = 1_000
"""Up to so many partitions have their records listed and no others. Those of more are listed with
all records there are, which takes no longer."""
NEIGHBOURS = 8
"""Other partitions whose runs say how long a run takes: the newest."""


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
    """Scored again although the same is published."""
    n_rows: int | None = None
    """From the footers; None if they were not read or cannot be read."""
    n_bytes: int = 0
    estimated_s: float | None = None
    share: float | None = None
    """Of the keys, that a challenger will score as on the date. None: there are no arms."""
    arms: str = ""
    """Where the arms come from, or why there are none. Empty: nobody would expect any."""


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What a backfill will do, in order."""

    items: tuple[BackfillItem, ...]
    startup_s: float = 0.0
    """What a process took until its first run began."""
    notes: tuple[str, ...] = ()
    """What it does not do, though it may be wanted; and the arms of its dates."""

    @property
    def to_score(self) -> tuple[BackfillItem, ...]:
        """The items that will be scored."""
        return tuple(item for item in self.items if item.action == "score")

    @property
    def n_rows(self) -> int:
        """Rows to score, as far as they are known."""
        return sum(item.n_rows or 0 for item in self.to_score)

    @property
    def n_bytes(self) -> int:
        """Bytes of the files to score."""
        return sum(item.n_bytes for item in self.to_score)

    def estimated_s(self, max_parallel: int = 1) -> float | None:
        """Wall seconds as earlier runs took; None if one of these is like no earlier run."""
        scored_s: list[float] = []
        for item in self.to_score:
            if item.n_rows is None:
                continue  # unreadable: its run will fail soon
            if item.estimated_s is None:
                return None
            scored_s.append(item.estimated_s)

        if self.to_score and not scored_s:
            return None
        return self.startup_s + sum(scored_s) / max_parallel


def parse_modes(texts: Iterable[str]) -> tuple[Mode, ...]:
    """Modes as a user names them, each once.

    Raises:
        InvalidJobError: A name is unknown.
    """
    modes = tuple(dict.fromkeys(texts))
    known = get_args(Mode)
    unknown = sorted(set(modes) - set(known))

    several = [mode.strip() for text in unknown for mode in text.split(",")]
    if len(several) > len(unknown) and set(several) <= set(known):
        raise InvalidJobError(
            "Each mode has an option of its own.",
            expected=", ".join(known),
            found=", ".join(unknown),
            next_step=f"write {' '.join(f'--mode {mode}' for mode in several)}",
        )

    if unknown:
        raise InvalidJobError(
            "Unknown mode.",
            expected=", ".join(known),
            found=", ".join(unknown),
            next_step=_choose(unknown[0], known),
        )

    return modes  # type: ignore[return-value]


def parse_order(text: str) -> Order:
    """The order as a user names it.

    Raises:
        InvalidJobError: The name is unknown.
    """
    if text not in get_args(Order):
        raise InvalidJobError(
            "Unknown order.",
            expected=", ".join(get_args(Order)),
            found=text,
            next_step=_choose(text, get_args(Order)),
        )

    return text  # type: ignore[return-value]


def _choose(text: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "choose one of these"


def dates_between(start: date, end: date) -> list[date]:
    """Every date from `start` to `end`, both included.

    Raises:
        InvalidJobError: The end is before the start.
    """
    if end < start:
        raise backwards(start, end, "swap --from and --to")

    return [start + timedelta(days=i) for i in range((end - start).days + 1)]


def values_between(
    job: ScoringJob, start: date, end: date, max_partitions: int = DEFAULT_MAX_PARTITIONS
) -> list[str]:
    """The partition values of the dates, each once, oldest first; all of a day if it has several.

    Raises:
        InvalidJobError: The end is before the start, or there are more than `max_partitions`.
    """
    pattern = job.input.partition_format
    days = dates_between(start, end)
    step = _step_of(pattern)
    n_per_day = DAY // step

    # Checked before the values are made: a range of seconds can be millions of them.
    n_times = len(days) * n_per_day
    if n_per_day > 1 and n_times > max_partitions:
        first = datetime.combine(start, time.min).strftime(pattern)
        last = datetime.combine(end, time.max).strftime(pattern)
        raise _too_many(job, n_times, first, last, max_partitions)

    values = []
    for day in days:
        midnight = datetime.combine(day, time.min)
        for i in range(n_per_day):
            values.append((midnight + i * step).strftime(pattern))

    values = list(dict.fromkeys(values))  # coarse formats have several days in one value
    if len(values) > max_partitions:
        raise _too_many(job, len(values), values[0], values[-1], max_partitions)

    return values


def _step_of(pattern: str) -> timedelta:
    """How far apart the partitions of a format are, a day at most."""
    midnight = datetime(2024, 1, 1)
    first_value = midnight.strftime(pattern)

    for step in STEPS:
        if (midnight + step).strftime(pattern) != first_value:
            return step

    return DAY


def _too_many(
    job: ScoringJob, n_values: int, first: str, last: str, max_partitions: int
) -> InvalidJobError:
    return InvalidJobError(
        "The backfill covers more partitions than allowed without confirmation.",
        job.name,
        expected=f"at most {max_partitions}",
        found=f"{n_values}, {first} to {last}",
        next_step=f"check the dates, or confirm with max_partitions = {n_values} "
        "(--max-partitions)",
    )


def choose(
    values: Sequence[str],
    statuses: Mapping[str, PartitionStatus],
    modes: Iterable[Mode],
    order: Order,
) -> BackfillPlan:
    """Say what to do with each value; a pure function of the states.

    Args:
        values: Partition values, oldest first.
        statuses: State of each value; a value without one is not in the input.
        modes: States to score.
        order: Which end to begin with.
    """
    wanted = set(modes)
    items = [_plan_item(value, statuses.get(value), wanted) for value in values]

    if order == "newest":
        items.reverse()

    return BackfillPlan(tuple(items))


def choose_models(
    job: ScoringJob, values: Sequence[str], model: str, history: Sequence[RunSummary]
) -> dict[str, str]:
    """The model URI for each value.

    Args:
        job: Names the model.
        values: Partition values.
        model: `current`: what the job means now. A version number. Or `as-of`: the model that was
            live at the end of the date that a value stands for, by the release log, or else the
            one that the job's own runs used by then.
        history: The job's runs, newest first.

    Raises:
        InvalidJobError: No model is known for some dates; the error lists all of them. Or a version
            is wanted of a logged model, which has none.
    """
    if model == "current":
        return dict.fromkeys(values, job.model)
    if model.isdigit():
        return dict.fromkeys(values, exact_uri(_registered_name(job, model), model))
    if model == "as-of":
        return _models_as_of(job, values, history)

    next_step = "give a version number such as 3, as-of, or leave it out for the current one"
    if model[:1] in "vV" and model[1:].isdigit():
        next_step = f"write the number alone: --model {model[1:]}"

    raise InvalidJobError(
        "Unknown model for a backfill.",
        expected="current, as-of, or a version number",
        found=model,
        next_step=next_step,
    )


def _registered_name(job: ScoringJob, version: str) -> str:
    """The registered model of the job, of which a version is wanted."""
    match = MODEL_URI.fullmatch(job.model)
    if match is None or match["logged"]:
        raise InvalidJobError(
            f"The job's model has no version {version}.",
            job.name,
            expected="a registered model",
            found=f"{job.model}, a logged model, which has no versions",
            next_step="leave --model out, or use as-of; to have versions, register the model and "
            "name a version in the job file",
        )

    return match["name"]


def _models_as_of(
    job: ScoringJob, values: Sequence[str], history: Sequence[RunSummary]
) -> dict[str, str]:
    """The model that was live on each date, or that the newest run on or before it used."""
    logged = _models_in_log(job)
    models: dict[date, str] = {}
    for run in history:
        if run.model_version:
            uri = exact_uri(run.model_name, run.model_version)
            models.setdefault(run.started_at.date(), uri)

    days = sorted(models)
    uris: dict[str, str] = {}
    unknown: list[str] = []

    for value in values:
        day = partition_date(job, value)
        live = logged(day) if day is not None else None
        n_days_until = 0 if day is None else bisect_right(days, day)

        if live is not None:
            uris[value] = live
        elif n_days_until == 0:
            unknown.append(value)
        else:
            uris[value] = models[days[n_days_until - 1]]

    if unknown:
        raise InvalidJobError(
            "Neither the release log nor the job's runs say which model version was current on "
            "some dates.",
            job.name,
            expected="an entry or a run on or before each date",
            problems=unknown,
            next_step="name a version with --model, or use the current one",
        )

    return uris


def _models_in_log(job: ScoringJob) -> Callable[[date], str | None]:
    """What returns the model that was live at the end of a date; None: the log does not say.

    It does not say before its first entry, nor while somebody may have moved the alias by other
    means: nobody knows since when.
    """
    alias = alias_of_job(job)
    releases: list[Release] = []

    if alias is not None:
        log = ReleaseLog(job, alias.model, alias.alias)
        alias.check_log(log.place, job.name)
        releases = log.read()

    def model_on(day: date) -> str | None:
        live = version_at(releases, datetime.combine(day, time.max, UTC))
        if alias is None or live is None or live.possibly:
            return None
        return exact_uri(alias.model, live.version)

    return model_on


@rare_collection()
def plan_backfill(
    job: ScoringJob,
    cache: ModelCache,
    values: Sequence[str],
    modes: Iterable[Mode] = DEFAULT_MODES,
    order: Order = "newest",
    model: str = "current",
) -> BackfillPlan:
    """Plan each value, with rows from the footers and times from the job's own history.

    Records of other partitions are only read where something is to be scored, and then of a few.
    """
    workspace = Workspace(job)
    parsed = {value: parse_value(value) for value in values}
    is_of_all = model == "as-of" or len(parsed) > LISTED_ALONE
    history = JobHistory(workspace, None if is_of_all else {*parsed.values()})
    uris = choose_models(job, values, model, history.summaries() if model == "as-of" else ())

    # Each model is resolved once, so that an alias that moves meanwhile changes nothing.
    models: dict[str, PinnedModel] = {}
    for uri in dict.fromkeys(uris.values()):
        models[uri] = PinnedModel.resolve(job.model_copy(update={"model": uri}), cache)

    listed = list_input(job)
    inputs = find_partitions(job, parsed.values(), listed)

    statuses: dict[str, PartitionStatus] = {}
    for uri, model_of_some in models.items():
        own_values = [parsed[value] for value in values if uris[value] == uri]
        for status in partition_statuses(job, model_of_some, own_values, history, inputs):
            statuses[status.value] = status

    items = []
    for item in choose(values, statuses, modes, order).items:
        items.append(replace(item, model=models[uris[item.value]].version.uri))

    plan = BackfillPlan(tuple(items))
    plan = replace(plan, notes=_challenger_notes(job, plan, statuses))
    plan = _with_arms(job, plan, statuses)
    if not plan.to_score:
        return plan

    others: list[str | None] = []
    if not is_of_all:
        others = listed.newest_besides({*parsed.values()}, NEIGHBOURS)
    experience = _learn(workspace, history, others)
    return _with_estimates(job, inputs, plan, experience)


def _challenger_notes(
    job: ScoringJob, plan: BackfillPlan, statuses: Mapping[str, PartitionStatus]
) -> tuple[str, ...]:
    """Which published partitions a challenger lacks, of those that are not scored again."""
    kept = sorted(item.value for item in plan.items if item.action == "skip")
    published = [value for value in kept if statuses[value].run_id is not None]

    if job.release is None or not job.release.challenger or not published:
        return ()

    from nightscore.operations.challengers import missing_results  # with the engine

    models = {item.model for item in plan.items}
    return tuple(missing_results(job, models, [parse_value(value) for value in published]))


def _with_arms(
    job: ScoringJob, plan: BackfillPlan, statuses: Mapping[str, PartitionStatus]
) -> BackfillPlan:
    """The plan, with which keys a challenger will score where."""
    arms = find_arms(job, {item.value: item.model for item in plan.to_score}, statuses)

    items = []
    for item in plan.items:
        found = arms.get(item.value)
        if found is not None:
            item = replace(item, share=found.share, arms=found.text)
        items.append(item)

    return replace(plan, items=tuple(items), notes=(*plan.notes, *describe_arms(job, arms)))


def _learn(workspace: Workspace, history: JobHistory, others: Sequence[str | None]) -> Experience:
    """What the newest runs took, of the partitions of a history and of some others."""
    runs = history.summaries()
    if others:
        runs += JobHistory(workspace, others).summaries()

    runs.sort(key=lambda run: run.run_id, reverse=True)
    return experience_of(runs)


def _with_estimates(
    job: ScoringJob,
    inputs: Mapping[str | None, Partition],
    plan: BackfillPlan,
    experience: Experience,
) -> BackfillPlan:
    """The plan with the rows of what is to be scored, and the time that it will take."""
    n_rows = _count_rows(job, inputs, [item.value for item in plan.to_score])
    first = plan.to_score[0]

    items = []
    for item in plan.items:
        if item.action == "score":
            n_rows_of_item = n_rows.get(item.value)
            estimated_s = experience.run_s(n_rows_of_item, is_first=item is first)
            item = replace(item, n_rows=n_rows_of_item, estimated_s=estimated_s)
        items.append(item)

    return replace(plan, items=tuple(items), startup_s=experience.startup_s())


def values_to_score(
    job: ScoringJob, cache: ModelCache, values: Sequence[str], modes: Iterable[Mode]
) -> list[str]:
    """Those of the values that a backfill would score, in the given order.

    Only the records of these partitions are looked at.
    """
    model = PinnedModel.resolve(job, cache)
    own_values = [parse_value(value) for value in values]
    statuses = {status.value: status for status in partition_statuses(job, model, own_values)}
    plan = choose(values, statuses, modes, "oldest")

    return [item.value for item in plan.to_score]


def _plan_item(value: str, status: PartitionStatus | None, modes: set[Mode]) -> BackfillItem:
    if status is None or _has_no_input(status):
        return BackfillItem(value, "no input", "the input has no such partition")

    reason = "; ".join(status.reasons)
    if "all" in modes:
        is_forced = status.state == "published"
        return BackfillItem(value, "score", reason, is_forced=is_forced, n_bytes=status.n_bytes)

    if status.state in modes:
        return BackfillItem(value, "score", reason, n_bytes=status.n_bytes)

    if status.state in get_args(Mode):
        reason = f"{status.state}, and --mode {status.state} was not asked for: {reason}"
    return BackfillItem(value, "skip", reason, n_bytes=status.n_bytes)


def _has_no_input(status: PartitionStatus) -> bool:
    return status.state == "input gone" or (status.state == "missing" and not status.has_input)


def _count_rows(
    job: ScoringJob, inputs: Mapping[str | None, Partition], values: Sequence[str]
) -> dict[str, int | None]:
    from nightscore.inputs.footers import read_footers  # with Arrow, and often nothing is to do

    store = Store(job.input.uri, job.input.storage_options)

    def count(value: str) -> int | None:
        partition = inputs.get(parse_value(value))
        if partition is None:
            return None

        try:
            footers = read_footers(store, partition.files)
        except ScoringError:
            return None  # its run will say what is wrong

        return sum(footer.n_rows for footer in footers)

    with ThreadPoolExecutor(PLAN_THREADS) as threads:
        return dict(zip(values, threads.map(count, values), strict=True))
