"""Scores what a backfill has planned, in its order: a small partition is scored while the one before is published."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from datetime import UTC, datetime

from nightscore.drift.recompare import compare_later
from nightscore.engine.backends import open_pool
from nightscore.engine.events import Event, Listener, RunPlanned
from nightscore.engine.pool import Pool
from nightscore.inputs.partitions import parse_value
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.operations.backfill import BackfillItem
from nightscore.process import available_cores, start_daemon
from nightscore.run import run
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import order_of

Turn = Callable[[], object]
"""Returns when a run may publish."""

AT_ONCE = 2
"""One is scored while another is published. Publications take turns: more would wait for these."""
SMALL_ROWS = 100_000
"""Of a partition: its scoring takes less time than what is around it, and one worker."""
STOP_S = 20.0
"""What runs that are told to stop get to write their last word."""


def score_items(
    job: ScoringJob,
    items: Sequence[BackfillItem],
    cache: ModelCache,
    listeners: Sequence[Listener] = (),
) -> list[Manifest]:
    """Score the items of a plan; one's failure does not stop the others.

    All are begun, compared with what was there before, and published in the order of the items, as if they were
    scored one after another.

    Args:
        job: The job; each item has its own model.
        items: To score.
        cache: Models of this host.
        listeners: Told what happens, by several threads.

    Returns:
        A manifest each, in the order of the items.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM. What was under way is recorded as failed, or published; the rest is not
            begun.
    """
    workspace = Workspace(job)

    def score(
        item: BackfillItem, pool: Pool, turn: Turn | None, more: Sequence[Listener]
    ) -> Manifest:
        return run(
            job.model_copy(update={"model": item.model}),
            parse_value(item.value),
            pool=pool,
            cache=cache,
            now=datetime.now(UTC),
            force=item.is_forced,
            listeners=[*listeners, *more],
            run_cache=workspace.run_cache,
            wait_for_turn=turn,
            compares_later=False,
        )

    def compare_all(manifests: list[Manifest]) -> list[Manifest]:
        """Once for all: a partition may be the neighbour of any that were scored before it."""
        values = [one.partition for one in manifests if one.status in ("published", "held")]
        compare_later(workspace, values, cache, datetime.now(UTC))
        return manifests

    if not any(may_overlap(job, *pair) for pair in itertools.pairwise(items)):
        with open_pool(job.workers) as pool:
            return compare_all([score(item, pool, None, ()) for item in items])
    with contextlib.ExitStack() as stack:
        pools = [stack.enter_context(open_pool(job.workers)) for _ in range(AT_ONCE)]
        runs: list[_Run] = []
        try:
            for index, item in enumerate(items):
                before = runs[-1] if runs else None
                if before is not None:
                    # The first is alone: on a new host it compiles what all others load.
                    is_early = index > 1 and may_overlap(job, items[index - 1], item)
                    if is_early:
                        before.wait_for_plan()
                    else:
                        before.wait()
                if index >= AT_ONCE:
                    runs[index - AT_ONCE].result()  # its pool is free
                if before is not None and before.has_ended:
                    before.result()  # what it has raised stops all
                turn = None if before is None else before.wait
                runs.append(_Run(score, item, pools[index % AT_ONCE], turn))
            return compare_all([one.result() for one in runs])
        except BaseException:
            for pool in pools:
                pool.stop()
            for one in runs[-AT_ONCE:]:
                one.wait(STOP_S)
            raise


def may_overlap(job: ScoringJob, before: BackfillItem, after: BackfillItem) -> bool:
    """Whether a partition may be scored while the one before in the plan is not published yet.

    Not where it would be compared with that one, where both together could take more memory or workers than the job
    allows one, nor where one alone fills the machine.
    """
    is_small = all(
        item.n_rows is not None and item.n_rows <= SMALL_ROWS for item in (before, after)
    )
    is_bounded = job.workers.is_cluster or job.limits.memory_bytes is not None
    n_workers = min(available_cores(), job.workers.count or AT_ONCE)
    values = (parse_value(item.value) for item in (after, before))
    first, second = (order_of(value, job.input.partition_format) for value in values)
    return is_small and not is_bounded and first < second and n_workers >= AT_ONCE


class _Run:
    """One run in a daemon thread: one that hangs in a store does not keep the process."""

    def __init__(
        self,
        score: Callable[[BackfillItem, Pool, Turn | None, Sequence[Listener]], Manifest],
        item: BackfillItem,
        pool: Pool,
        turn: Turn | None,
    ) -> None:
        """Start the run."""
        self._planned = threading.Event()
        self._outcome = start_daemon("scoring-run", lambda: score(item, pool, turn, [self._hear]))
        self._outcome.add_done_callback(lambda _: self._planned.set())

    @property
    def has_ended(self) -> bool:
        """Whether there is a manifest, or an error."""
        return self._outcome.done()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the run has ended."""
        wait([self._outcome], timeout_s)

    def wait_for_plan(self) -> None:
        """Wait until the run has its plan, or has ended."""
        self._planned.wait()

    def result(self) -> Manifest:
        """The manifest, once there is one.

        Raises:
            BaseException: What the run has raised.
        """
        return self._outcome.result()

    def _hear(self, event: Event) -> None:
        if isinstance(event, RunPlanned):
            self._planned.set()
