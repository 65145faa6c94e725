"""Each command that changes a partition, with each one between any two of its requests to the store."""

import functools
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from nightscore.cli import command_catalog
from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.events import Event, ShardScored
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.errors import ConflictError, LocationNotFoundError, PartitionNotFoundError
from nightscore.ledger import liveness
from nightscore.ledger.layout import state_store
from nightscore.ledger.lease import Lease
from nightscore.ledger.workspace import Workspace
from nightscore.operations.approve import approve
from nightscore.operations.clean import clean
from nightscore.operations.decision import find_held
from nightscore.operations.history import run_history
from nightscore.operations.reject import reject
from nightscore.operations.replay import replay
from nightscore.operations.rollback import plan_rollback, roll_back
from nightscore.outputs.delta_publisher import DeltaPublisher
from nightscore.outputs.handle import TableHandle
from nightscore.outputs.publish import open_publisher
from nightscore.runs.execution import RunInterrupted
from nightscore.storage.store import Store
from tests.faults.conftest import DAY, Lab
from tests.support.models import NUMBERS, make_frame

QUIET = {"drift": {"profile": False}, "limits": {"max_quarantined_rows": 10}}
STRICT = QUIET | {"policy": {"missing": "quarantine"}}
HOLD = STRICT | {"gates": {"prediction_range": {"max": -1.0, "action": "hold"}}}
LATER = timedelta(days=2)
"""From now on, all that was replaced is old enough to be removed."""

CHANGES = ("write_bytes", "create", "swap", "replace", "delete", "delete_tree")
READS = ("list_files", "list_folders", "describe", "head", "read_bytes", "open_input")
REQUESTS: tuple[tuple[Any, str], ...] = (
    *((Store, name) for name in (*CHANGES, *READS)),
    (TableHandle, "_load"),
    (DeltaPublisher, "_commit"),
)


class Here(WorkerPool):
    """Workers that are this thread: nothing is started, and their requests are seen as well."""

    def call(
        self, function: Callable[..., Any], *arguments: object, timeout_s: float | None = None
    ) -> Any:
        return function(*arguments)

    def score(
        self,
        tasks: Sequence[ShardTask],
        n_workers: int,
        timeout_s: float,
        on_lost: Callable[[ShardTask], None],
    ) -> Iterator[ShardResult]:
        return map(score_shard, tasks)


@dataclass
class Prepared:
    """A partition on which each command has something to do, put back as often as it is needed."""

    lab: Lab
    first: str
    """The run whose results were replaced."""
    results: list[dict[int, float]]
    """Predictions by their keys: what readers may see."""
    copy: Path

    def restore(self) -> None:
        shutil.rmtree(self.lab.lake.root)
        shutil.copytree(self.copy, self.lab.lake.root)

    def job(self, changes: dict[str, Any]) -> Any:
        return self.lab.lake.job(**changes)


@pytest.fixture
def prepared(lab: Lab) -> Iterator[Prepared]:
    """Two results, of which one was replaced; a held run; one that died with all shards finished."""
    lab.lake.pool = Here()
    lab.changes = STRICT
    results = []
    for seed, n_rows in ((1, 60), (2, 70)):
        frame = make_frame(n_rows, seed=seed)
        frame.loc[[3, 4] if seed == 2 else [], "b"] = None
        lab.write(frame, n_files=1)
        manifest = lab.lake.run(lab.job, DAY)
        assert manifest.status == "published", manifest.error
        scores = lab.estimator.predict_proba(frame[NUMBERS])[:, 1]
        results.append(dict(zip(frame["id"], scores, strict=True)))
    without = frame.index[frame["b"].isna()]  # a replay adds these rows
    results.append(
        {key: score for key, score in results[1].items() if key not in set(frame["id"][without])}
    )
    assert lab.lake.run(lab.lake.job(**HOLD), DAY, force=True).status == "held"
    with pytest.raises(RunInterrupted):
        lab.lake.run(lab.job, DAY, force=True, listeners=[interrupt])
    first = min(manifest.run_id for manifest in run_history(lab.job))
    made = Prepared(lab, first, results, lab.tmp_path / "copy")
    shutil.copytree(lab.lake.root, made.copy)
    with threadpool_limits(1):  # no threads that wait for each other over 70 rows
        yield made


def interrupt(event: Event) -> None:
    if isinstance(event, ShardScored):
        raise KeyboardInterrupt


def run_it(made: Prepared) -> str:
    manifest = made.lab.lake.run(made.job(STRICT), DAY, force=True)
    return manifest.error.type if manifest.error else manifest.status


def replay_it(made: Prepared) -> str:
    lake = made.lab.lake
    manifest = replay(made.job(QUIET), DAY, pool=lake.pool, cache=lake.cache, now=datetime.now(UTC))
    return manifest.error.type if manifest.error else manifest.status


def roll_it_back(made: Prepared) -> str:
    job = made.job(STRICT)
    (item,) = plan_rollback(job, [DAY], run_id=made.first)
    if item.target is None or item.action != "roll back":
        return item.action
    now = datetime.now(UTC)
    manifest = roll_back(job, DAY, item.target, item.live_run_id, now, made.lab.lake.cache)
    return manifest.error.type if manifest.error else manifest.status


def approve_it(made: Prepared) -> str:
    return approve(made.job(STRICT), find_held(made.job(STRICT), DAY), datetime.now(UTC)).status


def reject_it(made: Prepared) -> str:
    return reject(made.job(STRICT), find_held(made.job(STRICT), DAY), datetime.now(UTC)).status


def clean_it(made: Prepared) -> str:
    told: list[str] = []
    now = datetime.now(UTC) + LATER
    clean(made.job(STRICT), now, timedelta(0), timedelta(days=1), delete=True, tell=told.append)
    return "skipped" if told else "cleaned"


COMMANDS: dict[str, Callable[[Prepared], str]] = {
    "run": run_it,
    "replay": replay_it,
    "rollback": roll_it_back,
    "approve": approve_it,
    "reject": reject_it,
    "clean": clean_it,
}
NOT_HERE = {
    "init": "writes files of its own folder",
    "backfill": "scores each partition by `run`",
    "baseline": "changes no partition",
    "evaluate": "changes no partition",
    "pin": "changes no partition",
    "promote": "moves an alias, and changes no partition",
    "demote": "moves an alias, and puts back each partition by `rollback`",
    "demo": "scores each partition by `run`",
    "up": "starts services",
    "deploy": "changes what Prefect does",
    "alerts": "changes what Prefect does",
    "down": "stops services",
}
"""The other commands that change data, and why they are not tried here."""
DONE = {"published", "rejected", "cleaned", "leave", "unchanged"}


def end_of(name: str, made: Prepared) -> str:
    try:
        return COMMANDS[name](made)
    except (ConflictError, PartitionNotFoundError, LocationNotFoundError) as error:
        return type(error).__name__


def at_each_request(patch: pytest.MonkeyPatch, act: Callable[[str], None]) -> None:
    """Call `act` before each request of this thread, with its kind; not for those that it is made of."""
    thread, is_inside = threading.get_ident(), False

    def around(name: str, request: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(request)
        def requesting(*arguments: Any, **options: Any) -> Any:
            nonlocal is_inside
            if is_inside or threading.get_ident() != thread:
                return request(*arguments, **options)
            is_inside = True
            try:
                act(f"{name} {kind_of(arguments[1:])}")
                return request(*arguments, **options)
            finally:
                is_inside = False

        return requesting

    for owner, name in REQUESTS:
        patch.setattr(owner, name, around(name, getattr(owner, name)))


def kind_of(arguments: tuple[Any, ...]) -> str:
    """What a path is of, whichever run's it is."""
    path = arguments[0] if arguments else ""
    first = (path[0] if path else "nothing") if isinstance(path, list | tuple) else str(path)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27,}|probe-[0-9a-f]+|\d{20}", "*", str(first))[:80]


def requests_of(name: str, made: Prepared) -> dict[str, int]:
    """The requests of a command: the number of the first one of each kind."""
    kinds: list[str] = []
    made.restore()
    with pytest.MonkeyPatch.context() as patch:
        at_each_request(patch, kinds.append)
        assert end_of(name, made) in DONE
    return {kind: n for n, kind in reversed(list(enumerate(kinds)))}


def commands_at(points: Sequence[int], first: int, *, is_thorough: bool) -> list[tuple[int, str]]:
    """Each point with each command.

    A sample has each point once, with one command after another: the first of them is another one
    for each command and format, so that all of them together have every pair of commands.
    """
    names = list(COMMANDS)
    if is_thorough:
        return [(n, other) for other in names for n in points]
    return [(n, names[(first + i) % len(names)]) for i, n in enumerate(points)]


def test_every_command_that_changes_a_partition_is_tried() -> None:
    changing = {name for name, command in command_catalog.COMMANDS.items() if command.changes_data}
    assert {*COMMANDS} | {*NOT_HERE} == changing
    assert not {*COMMANDS} & {*NOT_HERE}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_any_command_between_any_two_requests(
    prepared: Prepared, name: str, thorough: bool
) -> None:
    points = sorted(requests_of(name, prepared).values())
    assert len(points) >= 5
    first = list(COMMANDS).index(name) + 3 * (prepared.lab.lake.formats == "parquet")
    for n, other in commands_at(points, first, is_thorough=thorough):
        prepared.restore()
        ends = with_another_between(prepared, name, n, other)
        check(prepared, ends, f"{name}, {other} before request {n}: {ends}")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_who_slept_before_any_request_does_no_harm(
    prepared: Prepared, name: str, thorough: bool
) -> None:
    """Another command took it for dead.

    But for the requests that follow at once on the question whether it may.
    """
    at_once = ("replace ", "_commit ", "delete ")
    points = {
        kind: n for kind, n in requests_of(name, prepared).items() if not kind.startswith(at_once)
    }
    names = ("clean", "rollback")
    first = list(COMMANDS).index(name) + (prepared.lab.lake.formats == "parquet")
    for i, (kind, n) in enumerate(points.items()):
        # In a sample: one of the two before each request, the other one with the other format.
        for other in names if thorough else [names[(first + i) % len(names)]]:
            prepared.restore()
            ends = with_another_between(prepared, name, n, other, is_asleep=True)
            check(prepared, ends, f"{name} slept before {kind}, {other} came: {ends}")


def with_another_between(
    made: Prepared, name: str, n: int, other: str, *, is_asleep: bool = False
) -> dict[str, str]:
    """How both ended; where both are the same command, how the one in between did.

    Args:
        made: The partition.
        name: Of the first command.
        n: Number of its request before which the other one comes.
        other: Its name.
        is_asleep: The first one gives no sign of life meanwhile, and wakes up then.
    """
    ends: list[str] = []
    n_seen, now = 0, time.time

    with pytest.MonkeyPatch.context() as patch:

        def come_between(kind: str) -> None:
            nonlocal n_seen
            n_seen += 1
            if n_seen - 1 != n:
                return
            with pytest.MonkeyPatch.context() as asleep:
                if is_asleep:
                    asleep.setattr(liveness, "LEASE_TIMEOUT_S", -60.0)
                    asleep.setattr(Lease, "_has_timed_out", lambda lease, holder: True)
                ends.append(end_of(other, made))
            if is_asleep:
                patch.setattr(time, "time", lambda: now() + 1_000.0)

        at_each_request(patch, come_between)
        first = end_of(name, made)
    return {name: first} | {other: ends[0]}


def check(made: Prepared, ends: Mapping[str, str], seen: str) -> None:
    """Readers see one run's complete rows, records agree, and whoever was refused is not when asked again."""
    job = made.job(STRICT)
    check_rows(made, seen)
    live = open_publisher(Workspace(job)).live(DAY)
    assert live, seen
    assert live.run_id not in {m.run_id for m in run_history(job) if m.status == "rejected"}, seen
    assert not state_store(job).list_files("leases"), seen
    for name, end in ends.items():
        if end in ("LeaseError", "skipped"):
            assert end_of(name, made) not in ("LeaseError", "skipped"), seen
            check_rows(made, f"{seen}, {name} again")


def check_rows(made: Prepared, seen: str) -> None:
    """Of one run, each once, and its own predictions."""
    try:
        rows = made.lab.lake.read(made.job(STRICT))
    except OSError as error:
        raise AssertionError(seen) from error
    probabilities = dict(zip(rows["id"], rows["probability"], strict=True))
    assert len(probabilities) == len(rows), seen
    assert probabilities in made.results, seen
