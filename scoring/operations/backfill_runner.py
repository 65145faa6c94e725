"""Scores the items of a backfill plan, in order.

A small partition is scored while those before it are compared and published.
"""

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from datetime import UTC, datetime

from nightscore.engine.events import Listener, logger
from nightscore.engine.pool import Pool
from nightscore.engine.worker_backend_catalog import open_pool
from nightscore.errors import ScoringError
from nightscore.inputs.partitions import parse_value
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.monitoring.drift.recompare_runs import compare_later
from nightscore.operations.backfill import BackfillItem
from nightscore.process import available_cores, start_daemon
from nightscore.runs.alias_moves import note_alias_move
from nightscore.runs.run import run
from nightscore.runs.turn import Turn
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import order_of

AT_ONCE = 2
"""Partitions that are scored at once, each by workers of its own."""
UNDER_WAY = 8
"""Runs that have begun and not ended. Those that are not scored are planned, compared, made durable
or published: most of that is waiting for the disk, or is one step for several of them."""
SMALL_ROWS = 100_000
"""Scoring so few rows takes one worker, and less time than the steps around it."""
MODEL_FRESH_S = 10.0
"""How long the runs of a backfill share what the registry and this host's cache say of a model."""
SWITCH_S = 0.0005
"""How long one thread of this process computes while another one wants to; Python's own default is
ten times that. Between two shards a worker waits for four threads to take turns."""
STOP_S = 20.0
"""How long runs that are told to stop may take to record their end."""


def score_items(
    job: ScoringJob,
    items: Sequence[BackfillItem],
    cache: ModelCache,
    listeners: Sequence[Listener] = (),
) -> list[Manifest]:
    """Score the items of a plan; a run that fails does not stop the others.

    Items begin, are compared with earlier partitions, and are published in order, as if they were
    scored one after another.

    Args:
        job: The job; each item has its own model.
        items: To score.
        cache: Models of this host.
        listeners: Receive the runs' events, from several threads.

    Returns:
        One manifest per item, in the same order.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM. Active runs are recorded as failed, or published. The
            rest is not begun.
    """
    for warning in note_alias_move(job, datetime.now(UTC)):
        logger.warning("job=%s %s", job.name, warning)

    backfill = _Backfill(job, cache, listeners)

    if any(may_overlap(job, *pair) for pair in itertools.pairwise(items)):
        return _score_overlapping(backfill, items)

    with open_pool(job.workers) as pool:
        manifests = [backfill.score(item, pool) for item in items]
        backfill.compare_later(manifests, [pool])
        return manifests


def _score_overlapping(backfill: "_Backfill", items: Sequence[BackfillItem]) -> list[Manifest]:
    """Score items in threads, `AT_ONCE` at a time, each with a pool of its own."""
    job = backfill.job

    with contextlib.ExitStack() as stack:
        stack.enter_context(_quick_turns())
        pools = [stack.enter_context(open_pool(job.workers)) for _ in range(AT_ONCE)]
        runs: list[_Run] = []

        try:
            for index, item in enumerate(items):
                _wait_for_place(job, items, runs)
                before = runs[-1].turn if runs else None
                with_same_pool = runs[-AT_ONCE].turn if index >= AT_ONCE else None
                turn = Turn(before, with_same_pool)
                runs.append(_Run(backfill, item, pools[index % AT_ONCE], turn))

            manifests = [one.result() for one in runs]
            backfill.compare_later(manifests, pools)

            return manifests
        except BaseException:
            _stop(pools, runs[-UNDER_WAY:])
            raise


@contextlib.contextmanager
def _quick_turns() -> Iterator[None]:
    """Have the threads of this process take turns more often than is usual."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(min(usual_s, SWITCH_S))
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)


def _wait_for_place(job: ScoringJob, items: Sequence[BackfillItem], runs: "Sequence[_Run]") -> None:
    """Wait until the next run may begin; an error that an earlier one raised stops the backfill."""
    if not runs:
        return

    index = len(runs)
    previous = runs[-1]

    # The first run is alone: on a new host it compiles what all others load.
    if index > 1 and may_overlap(job, items[index - 1], items[index]):
        previous.turn.wait_for_plan()
    else:
        for one in runs[-UNDER_WAY:]:
            one.wait()

    if index >= UNDER_WAY:
        runs[index - UNDER_WAY].wait()

    for one in runs[-UNDER_WAY:]:
        if one.has_ended:
            one.result()


def _stop(pools: Sequence[Pool], runs: "Sequence[_Run]") -> None:
    """Stop the pools, and let the active runs record their end."""
    for pool in pools:
        pool.stop()
    for one in runs:
        one.wait(STOP_S)


class _Backfill:
    """What the runs of one backfill share."""

    def __init__(self, job: ScoringJob, cache: ModelCache, listeners: Sequence[Listener]) -> None:
        self.job = job
        self._cache = cache
        self._listeners = listeners
        self._workspace = Workspace(job)
        self._models: dict[str, tuple[float, PinnedModel]] = {}
        """By URI, with the time at which each was resolved."""

    def score(
        self,
        item: BackfillItem,
        pool: Pool,
        turn: Turn | None = None,
    ) -> Manifest:
        """Run one item; later partitions are compared again at the end of the backfill."""
        job = self.job.with_version(item.model)
        return run(
            job,
            parse_value(item.value),
            pool=pool,
            cache=self._cache,
            now=datetime.now(UTC),
            force=item.is_forced,
            model=self._model(job),
            listeners=self._listeners,
            run_cache=self._workspace.run_cache,
            turn=turn,
            compares_later=False,
        )

    def _model(self, job: ScoringJob) -> PinnedModel | None:
        """The model of an item. None: it must not be loaded, and its run will say why."""
        resolved_s, model = self._models.get(job.model, (0.0, None))
        now_s = time.monotonic()

        if model is None or now_s - resolved_s > MODEL_FRESH_S:
            with contextlib.suppress(ScoringError):
                model = PinnedModel.resolve(job, self._cache)
                self._models[job.model] = (now_s, model)
                return model
            return None

        return model

    def compare_later(self, manifests: Sequence[Manifest], pools: Sequence[Pool]) -> None:
        """Compare neighbours again, once for all items.

        A partition may be the neighbour of any that was scored before it. The workers, which have
        nothing else to do by now, share that.
        """
        values = [one.partition for one in manifests if one.status in ("published", "held")]
        local = [pool for pool in pools if pool.is_local]

        spaces = [self._workspace]
        spaces += [self._workspace.for_job(own) for own in challenger_jobs(self.job).values()]

        for space in spaces:
            compare_later(space, values, self._cache, datetime.now(UTC), pools=local)


def may_overlap(job: ScoringJob, before: BackfillItem, after: BackfillItem) -> bool:
    """Whether a partition may be scored while the previous one of the plan is not published yet.

    No if it would be compared with that one, if both together could take more memory or workers
    than the job allows a single run, or if one alone fills the machine.
    """
    pair = (before, after)
    are_small = all(item.n_rows is not None and item.n_rows <= SMALL_ROWS for item in pair)
    is_bounded = job.workers.is_cluster or job.limits.memory_bytes is not None
    n_workers = min(available_cores(), job.workers.count or AT_ONCE)

    pattern = job.input.partition_format
    is_newest_first = order_of(parse_value(after.value), pattern) < order_of(
        parse_value(before.value), pattern
    )

    return are_small and not is_bounded and is_newest_first and n_workers >= AT_ONCE


class _Run:
    """One run in a daemon thread: if it hangs in a store, it does not keep the process alive."""

    def __init__(self, backfill: _Backfill, item: BackfillItem, pool: Pool, turn: Turn) -> None:
        """Start the run."""
        self.turn = turn
        self._outcome = start_daemon("scoring-run", lambda: backfill.score(item, pool, turn))
        self._outcome.add_done_callback(lambda _: turn.end())

    @property
    def has_ended(self) -> bool:
        """Whether there is a manifest, or an error."""
        return self._outcome.done()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the run has ended."""
        wait([self._outcome], timeout_s)

    def result(self) -> Manifest:
        """The manifest, once there is one.

        Raises:
            BaseException: The error that the run raised.
        """
        return self._outcome.result()
