"""Compares runs again in worker processes, before their turn comes.

At the end of a backfill its workers are idle. Nearly all that a comparison costs is measuring, and
that depends on stored profiles alone. Since when a finding lasts depends on the comparison of the
partition before. This is left to whoever goes through the partitions in order.
"""

import contextlib
import functools
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace

from nightscore.engine.pool import Pool
from nightscore.errors import ScoringError
from nightscore.ledger.history import LatestResults
from nightscore.ledger.timeline import Timeline
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.drift.assess import ProfiledRun, Reassessment, assess_several_again
from nightscore.monitoring.drift.neighbours import Neighbours, has_profile
from nightscore.monitoring.drift.references import read_references
from nightscore.monitoring.drift.stored_profiles import Baseline, cache_profile, stored_profile
from nightscore.process import start_daemon
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest

BLOCK_RUNS = 32
"""Runs that a worker compares in one call. Their neighbours go with them: four weeks, whatever the
size of the block."""
RUNS_AT_ONCE = 8
"""Runs that are measured at once. More are not faster."""
PROFILES_KEPT = 128
"""Pickled profiles for the next blocks, each of 70 KB."""
BLOCKS_AHEAD = 4
"""Blocks that may be compared and not be asked for yet, which bounds their memory (2 MB each)."""
TIMEOUT_S = 60.0
"""For a block, which takes a third of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunToCompare:
    """A run, and what it is compared with."""

    manifest: Manifest
    neighbours: Neighbours
    baseline: Baseline | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Runs that follow each other, with all that is needed to compare them."""

    job: ScoringJob
    runs: Sequence[RunToCompare]
    results: Mapping[str, LatestResults]
    """By partition: those of the runs, and of their neighbours."""
    profiles: Mapping[str, bytes]
    """By path, pickled: blocks that follow each other have most of them in common. What is not here
    is read from the store."""


def pickled_profiles(workspace: Workspace) -> Callable[[str], bytes | None]:
    """What gives the stored profile at a path, pickled once for several blocks.

    It gives None for one that cannot be read. Whoever compares the run finds that, and says so.
    """

    @functools.lru_cache(PROFILES_KEPT)
    def pickled(path: str) -> bytes | None:
        with contextlib.suppress(ScoringError, ValueError):
            return pickle.dumps(stored_profile(workspace, path), pickle.HIGHEST_PROTOCOL)
        return None

    return pickled


def make_block(
    timeline: Timeline, runs: Sequence[RunToCompare], pickled: Callable[[str], bytes | None]
) -> Block:
    """A block of these runs. They are compared without what the partitions before have found.

    Args:
        timeline: It knows their neighbours.
        runs: That follow each other.
        pickled: See `pickled_profiles`.
    """
    results: dict[str, LatestResults] = {}
    for run in runs:
        for value in _values_around(run):
            results[value] = timeline.results(value)

    manifests = [result.published for result in results.values()]
    manifests += [run.manifest for run in runs]

    profiles: dict[str, bytes] = {}
    for manifest in manifests:
        if manifest is None or manifest.drift is None or not has_profile(manifest):
            continue

        content = pickled(manifest.drift.profile)
        if content is not None:
            profiles[manifest.drift.profile] = content

    early = []
    for run in runs:
        early.append(replace(run, neighbours=replace(run.neighbours, compared_before=None)))

    return Block(job=timeline.job, runs=early, results=results, profiles=profiles)


def _values_around(run: RunToCompare) -> Iterator[str]:
    """The partitions of a run's neighbours."""
    neighbours = run.neighbours
    yield from neighbours.habit_runs
    for other in (neighbours.previous, *neighbours.weekdays):
        if other is not None and other.partition is not None:
            yield other.partition


def compare_block(pickled: bytes) -> bytes:
    """Compare the runs of a block; a `Reassessment` by run id. Runs in a worker process.

    Both sides are pickled here: loky's own pickler takes several times as long.
    """
    block: Block = pickle.loads(pickled)  # noqa: S301 (from this backfill's driver)

    workspace = Workspace(block.job)
    for path, content in block.profiles.items():
        cache_profile(workspace, path, pickle.loads(content), 0)  # noqa: S301 (as above)

    timeline = Timeline(workspace, block.results)
    compared: dict[str, Reassessment] = {}

    for start in range(0, len(block.runs), RUNS_AT_ONCE):
        runs = [_profiled(timeline, run) for run in block.runs[start : start + RUNS_AT_ONCE]]
        run_ids = [run.manifest.run_id for run in runs]
        compared |= zip(run_ids, assess_several_again(runs), strict=True)

    return pickle.dumps(compared, pickle.HIGHEST_PROTOCOL)


def _profiled(timeline: Timeline, run: RunToCompare) -> ProfiledRun:
    """The run with its profile, and those of its references."""
    own = run.manifest.drift
    assert own is not None  # noqa: S101 (others are in no block)

    return ProfiledRun(
        manifest=run.manifest,
        own=own,
        columns=stored_profile(timeline.workspace, own.profile),
        references=read_references(timeline, run.neighbours, run.baseline),
    )


@dataclass(frozen=True, slots=True)
class _Planned:
    """The runs of a block that is made once a worker is free for it."""

    runs: Sequence[RunToCompare]
    outcome: "Future[dict[str, Reassessment]]" = field(default_factory=Future)


class ComparedAhead:
    """Comparisons that workers make while others are asked for."""

    def __init__(
        self, timeline: Timeline, pools: Sequence[Pool] = (), runs: Sequence[RunToCompare] = ()
    ) -> None:
        """Begin with the first blocks.

        Args:
            timeline: Of the runs. What it is asked for meanwhile, it knows already.
            pools: Their workers are idle; each compares one block at a time. None: nothing is
                compared ahead.
            runs: In the order in which they will be asked for.
        """
        self._timeline = timeline
        self._pickled = pickled_profiles(timeline.workspace)

        self._planned: list[_Planned] = []
        self._places: dict[str, tuple[int, Neighbours]] = {}
        """By run id: which block has it, and what it is compared with there."""

        for start in range(0, len(runs) if pools else 0, BLOCK_RUNS):
            block = runs[start : start + BLOCK_RUNS]
            for run in block:
                self._places[run.manifest.run_id] = (len(self._planned), run.neighbours)
            self._planned.append(_Planned(block))

        self._changed = threading.Condition()
        self._n_begun, self._n_wanted = 0, BLOCKS_AHEAD
        self._place, self._compared = -1, dict[str, Reassessment]()

        threads = [functools.partial(self._work, pool) for pool in pools]
        self._threads = [start_daemon("compare-ahead", thread) for thread in threads]

    def take(self, manifest: Manifest, neighbours: Neighbours) -> Reassessment | None:
        """What a worker says of a run, once it does.

        Runs are asked for in the order of the plan; any of them may be left out.

        Args:
            manifest: Of the run.
            neighbours: What it is compared with.

        Returns:
            None if no worker was asked, if that has failed, or if it was about other neighbours.
        """
        place, planned = self._places.get(manifest.run_id, (-1, Neighbours()))
        if place < 0 or not _are_same(planned, neighbours):
            return None

        if place > self._place:
            with self._changed:
                self._n_wanted = place + BLOCKS_AHEAD
                self._changed.notify_all()

            # What was said of earlier runs is not needed any longer.
            self._place, self._compared = place, self._planned[place].outcome.result()

        return self._compared.pop(manifest.run_id, None)

    def close(self) -> None:
        """Begin with no further block, and wait for those under way."""
        with self._changed:
            self._n_begun = len(self._planned)
            self._changed.notify_all()
        wait(self._threads)

    def _work(self, pool: Pool) -> None:
        """Have the workers of a pool compare one block after another."""
        while (planned := self._next()) is not None:
            compared: dict[str, Reassessment] = {}
            # Who asks for a run that is missing compares it, and learns what is wrong.
            with contextlib.suppress(Exception):
                block = make_block(self._timeline, planned.runs, self._pickled)
                pickled = pickle.dumps(block, pickle.HIGHEST_PROTOCOL)
                answer = pool.call(compare_block, pickled, timeout_s=TIMEOUT_S)
                compared = pickle.loads(answer)  # noqa: S301 (from a worker of this pool)
            planned.outcome.set_result(compared)

    def _next(self) -> _Planned | None:
        """The next block, once it may be begun. None: there is none."""
        with self._changed:
            self._changed.wait_for(self._may_begin)
            place = self._n_begun
            if place >= len(self._planned):
                return None

            self._n_begun += 1
            return self._planned[place]

    def _may_begin(self) -> bool:
        """Whether a block is wanted, or none is left."""
        return self._n_begun < self._n_wanted or self._n_begun >= len(self._planned)


def _are_same(one: Neighbours, other: Neighbours) -> bool:
    """Whether both are the same runs."""
    return one.names == other.names and one.habit_runs == other.habit_runs
