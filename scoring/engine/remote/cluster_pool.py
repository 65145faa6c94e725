"""Shards on a cluster that is there already: what Dask and Ray have in common.

The cluster places calls and says which are done; all else is the same for both, and here: versions are compared and
folders looked for before anything is sent, lost shards are scored again under the number of their next attempt, and
what is cancelled ends. Neither cluster repeats anything by itself: a part's name carries its attempt.
"""

import logging
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from nightscore.engine.backends.local import MAX_ATTEMPTS, MAX_HUNG, call_hung
from nightscore.engine.executor import ENVIRONMENT
from nightscore.engine.remote.calls import (
    Asked,
    Call,
    Described,
    ModelSource,
    Reply,
    differences,
    pack,
    versions,
)
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker import score_shard
from nightscore.errors import (
    ClusterError,
    InterruptedRunError,
    InvalidJobError,
    MemoryLimitError,
    WorkerError,
)
from nightscore.ledger.layout import state_store
from nightscore.schemas.job import ScoringJob
from nightscore.storage.references import env_names
from nightscore.storage.store import Store

T = TypeVar("T")
logger = logging.getLogger("nightscore")

POLL_S = 0.5
"""A run that another thread stops ends so soon."""
LOOK_S = 5.0
"""How often the cluster is asked whether it still has workers, while nothing finishes."""
NO_WORKERS_S = 120.0
"""A cluster without workers is given up: time enough for a restart, or for an adaptive one to grow from nothing."""


class Cluster(Protocol):
    """What is particular to one kind of cluster."""

    name: str
    address: str

    def n_slots(self) -> int:
        """Calls that it runs at once: threads of Dask's workers, CPUs of Ray's nodes.

        Raises:
            Exception: It does not answer.
        """
        ...

    def describe(self, asked: Asked) -> Mapping[str, Described | str]:
        """What each worker says of itself; a text where it could not say it."""
        ...

    def submit(self, call: Call) -> Future[Reply]:
        """Have a call run once; never raises by itself, and never runs it twice."""
        ...

    def cancel(self, keys: Sequence[str]) -> None:
        """Drop calls that wait, and end the processes of those that run."""
        ...

    def close(self) -> None:
        """Leave the cluster as it is."""
        ...


@dataclass(frozen=True, slots=True)
class _Sent:
    key: str
    future: Future[Reply]


class ClusterPool:
    """A `Pool` over a cluster's workers; connected at its first use."""

    is_local = False

    def __init__(self, connect: Callable[[], Cluster], count: int | None = None) -> None:
        """Nothing is done yet.

        Args:
            connect: Opens the connection.
            count: Shards at once, also where the cluster has yet to grow to that; None: as many as it has slots.
        """
        self.cpu_s_by_pid: dict[int, float] = {}
        self._connect, self._count = connect, count
        self._cluster: Cluster | None = None
        self._models: dict[Path, ModelSource] = {}
        self._sent: dict[str, _Sent] = {}
        self._checked: set[Asked] = set()
        self._numbers: dict[tuple[str, int], int] = {}
        self._stop_reason: str | None = None
        self._lock, self._connecting = threading.RLock(), threading.RLock()

    @property
    def capacity(self) -> int:
        """Shards that may be under way at once.

        Raises:
            WorkerError: There is no worker.
        """
        cluster = self._open()
        if self._count is not None:
            return self._count
        n_slots, found = _slots(cluster)
        if not n_slots:
            raise WorkerError(
                f"The {cluster.name} cluster has no workers.",
                cluster.address,
                found=found,
                next_step="start workers, then run again",
            )
        return n_slots

    def prepare(self, n_processes: int) -> None:
        """The cluster has its processes already."""

    def add_model(self, source: ModelSource, folder: Path) -> None:
        """Say where nodes get a model that this host has in `folder`."""
        self._models[folder] = source

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        """Run one function on some node; once more where its process dies, so it must not mind being called twice.

        Args:
            function: It, and what it is given.
            arguments: See there.
            timeout_s: Seconds after which its process is ended; None: it may take as long as it likes.

        Raises:
            WorkerHungError: It has not ended in its time; it is not called again.
            WorkerError: Its process died both times.
            MemoryLimitError: It has no memory.
        """
        name = getattr(function, "__name__", "a call")
        reply = Reply("died")
        for _ in range(2):
            sent = self._send(pack(function, arguments, self._models), timeout_s)
            self._wait({sent.future})
            reply = self._received(sent)
            if reply.outcome == "done":
                result: T = pickle.loads(reply.content)  # noqa: S301 (of our own process on the node)
                return result
            if reply.outcome == "raised":
                error = pickle.loads(reply.content)  # noqa: S301
                if isinstance(error, MemoryError):
                    raise MemoryLimitError(
                        f"A worker has no memory for {name}; nothing was published.",
                        found=str(error),
                        next_step="look at what else runs on that node, or give it more memory",
                    ) from error
                raise error
            if reply.outcome == "stuck":
                raise call_hung(function, timeout_s or 0.0, reply.worker)
        raise WorkerError(
            f"A worker of the {self._open().name} cluster died twice in {name}.",
            reply.worker,
            found=reply.found,
            next_step="look at that node's log and its kernel's out-of-memory killer, then run again",
        )

    def score(
        self,
        tasks: Sequence[ShardTask],
        n_workers: int,
        timeout_s: float,
        on_lost: Callable[[ShardTask], None],
    ) -> Iterator[ShardResult]:
        """The results as they finish, in any order.

        A shard whose worker died, or was ended since it hung, is scored again wherever there is a place: nothing of
        the others is lost with it. One for which memory is short is scored once more when no other is under way; with
        all that its node then has, unless the job says how much a process may take.

        Raises:
            WorkerError: A shard's worker died `MAX_ATTEMPTS` times, or hung twice; or there are no workers.
            MemoryLimitError: A shard does not fit, even alone.
            ClusterError: The workers cannot do this job; all reasons are named.
        """
        waiting, starved = list(tasks), list[ShardTask]()
        running: dict[str, tuple[_Sent, ShardTask]] = {}
        if tasks:
            self._check(tasks[0].job)
        try:
            while waiting or running or starved:
                if not waiting and not running:
                    waiting.append(starved.pop(0))
                n_places = 1 if waiting and waiting[0].is_alone else n_workers
                while waiting and len(running) < n_places:
                    task = waiting.pop(0)
                    sent = self._send(pack(score_shard, (task,), self._models), timeout_s)
                    running[sent.key] = sent, task
                self._wait({sent.future for sent, _ in running.values()})
                for sent, task in [pair for pair in running.values() if pair[0].future.done()]:
                    del running[sent.key]
                    reply = self._received(sent)
                    if reply.outcome == "done":
                        yield self._numbered(reply)
                    elif reply.outcome == "raised":
                        starved.append(_alone(task, _memory_error(reply)))
                    else:
                        waiting.append(_again(task, reply, timeout_s, on_lost))
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Cancel whatever is queued or runs for this pool."""
        with self._lock:
            keys = list(self._sent)
            self._sent.clear()
            if keys and self._cluster is not None:
                self._cluster.cancel(keys)

    @property
    def is_stopped(self) -> bool:
        return self._stop_reason is not None

    def stop(self, reason: str = "was interrupted") -> None:
        """Cancel everything for good: a run that another thread has under way ends as interrupted."""
        self._stop_reason = reason
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        self.kill()
        with self._lock:
            cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    def _open(self) -> Cluster:
        with (
            self._connecting
        ):  # not the other lock: who stops the pool must not wait for a connection
            self._check_stopped()
            if self._cluster is None:
                cluster = self._connect()
                try:
                    self._inspect(cluster, Asked())
                    with self._lock:
                        self._check_stopped()
                        self._cluster = cluster
                except BaseException:
                    cluster.close()
                    raise
                return cluster
            return self._cluster

    def _check_stopped(self) -> None:
        if self._stop_reason is not None:
            raise InterruptedRunError(
                f"The run {self._stop_reason}; nothing was published.",
                next_step="run again: it goes on with the shards that are finished",
            )

    def _check(self, job: ScoringJob) -> None:
        """Whether the workers can do this job; asked once for all jobs of the same places."""
        places = Store(job.input.uri, job.input.storage_options), state_store(job)
        asked = asked_for(job, places)
        if asked not in self._checked:
            self._inspect(self._open(), asked)
            self._checked.add(asked)

    def _inspect(self, cluster: Cluster, asked: Asked) -> None:
        """Ask all workers what they have.

        Raises:
            ClusterError: They lack something, or have other versions; everything is named, by worker.
        """
        found = cluster.describe(asked)
        problems = []
        for worker, said in sorted(found.items()):
            problems += [f"{worker}: {said}"] if isinstance(said, str) else _problems(worker, said)
        if problems:
            raise ClusterError(
                f"The workers of the {cluster.name} cluster cannot do this job; nothing was sent to them.",
                cluster.address,
                expected="the versions of the driver, the variables that the job names, and its folders, on each",
                problems=problems,
                next_step="install the same versions on all nodes and set the variables there; put inputs and "
                "outputs on an object store, or on a disk that all nodes share",
            )
        logger.info("%s cluster %s: %d workers", cluster.name, cluster.address, len(found))

    def _send(self, payload: bytes, deadline_s: float | None) -> _Sent:
        cluster = self._open()
        call = Call(f"nightscore-{uuid.uuid4().hex}", payload, versions(), ENVIRONMENT, deadline_s)
        with self._lock:
            self._check_stopped()
            sent = _Sent(call.key, cluster.submit(call))
            self._sent[call.key] = sent
        return sent

    def _received(self, sent: _Sent) -> Reply:
        self._check_stopped()
        self._sent.pop(sent.key, None)
        reply = sent.future.result()
        if reply.outcome == "differs":
            self._inspect(self._open(), Asked())
            raise ClusterError(
                "A worker that came to the cluster later has other versions; it ran nothing.",
                reply.worker,
                problems=[reply.found],
                next_step="install the same versions on all nodes, then run again",
            )
        return reply

    def _wait(self, futures: set[Future[Reply]]) -> None:
        """Until one is done.

        Raises:
            InterruptedRunError: The pool was stopped meanwhile.
            WorkerError: The cluster has had no workers for a while.
        """
        last_seen = last_look = time.monotonic()
        while not wait(futures, POLL_S, return_when=FIRST_COMPLETED).done:
            cluster = self._open()
            if time.monotonic() - last_look < LOOK_S:
                continue
            last_look = time.monotonic()
            n_slots, found = _slots(cluster)
            if n_slots:
                last_seen = last_look
            elif last_look - last_seen > NO_WORKERS_S:
                raise WorkerError(
                    f"The {cluster.name} cluster has had no workers for {NO_WORKERS_S:g} seconds; the run was given "
                    "up, nothing was published.",
                    cluster.address,
                    found=found,
                    next_step="start workers, then run again: it goes on with the shards that are finished",
                )

    def _numbered(self, reply: Reply) -> ShardResult:
        """The result, with a number of its process that no other host's process has."""
        result: ShardResult = pickle.loads(reply.content)  # noqa: S301
        key = reply.worker, reply.pid
        number = self._numbers.get(key, reply.pid)
        while key not in self._numbers and number in self._numbers.values():
            number += 1 << 22  # beyond Linux's greatest pid
        self._numbers[key] = number
        self.cpu_s_by_pid[number] = max(result.process_cpu_s, self.cpu_s_by_pid.get(number, 0.0))
        return replace(result, pid=number)


def _slots(cluster: Cluster) -> tuple[int, str]:
    """How many calls it runs at once; and why none."""
    try:
        return cluster.n_slots(), "no workers"
    except Exception as error:  # noqa: BLE001 (whatever its library raises)
        return 0, f"{type(error).__name__}: {str(error)[:200]}"


def asked_for(job: ScoringJob, places: Sequence[Store]) -> Asked:
    """What each worker needs for a job.

    Raises:
        InvalidJobError: It names folders relative to the driver's own.
    """
    local = [store for store in places if store.is_local]
    if relative := [uri for uri in (job.input.uri, job.output.uri) if _is_relative(uri)]:
        raise InvalidJobError(
            "The job names folders relative to where it was started, which means something else on a cluster.",
            job.name,
            problems=relative,
            next_step="name an object store, or an absolute path on a disk that all nodes share",
        )
    names = {name for store in places for name in env_names(store.options)}
    return Asked(tuple(sorted(names)), tuple(sorted(store.root for store in local)))


def _is_relative(uri: str) -> bool:
    return "://" not in uri and not Path(uri).is_absolute()


def _problems(worker: str, said: Described) -> list[str]:
    refused, noted = differences(versions(), said.versions)
    for text in noted:
        logger.warning("%s on %s: %s", worker, said.host, text)
    where = f"{worker} on {said.host}"
    return [
        *(f"{where}: {text}" for text in refused),
        *(
            f"{where}: the variable {name}, which storage_options name, is not set"
            for name in said.missing_variables
        ),
        *(f"{where}: does not see the folder {folder}" for folder in said.missing_folders),
    ]


def _memory_error(reply: Reply) -> MemoryError:
    error = pickle.loads(reply.content)  # noqa: S301
    if isinstance(error, MemoryError):
        return error
    raise error


def _alone(task: ShardTask, error: MemoryError) -> ShardTask:
    limit = task.job.limits.memory_bytes
    if task.is_alone:
        raise MemoryLimitError(
            f"Shard {task.shard.index} does not fit into a node's memory, even alone; nothing was published.",
            task.where,
            expected=f"at most {limit:,} bytes a process (limits.memory_bytes)" if limit else "",
            found=str(error),
            next_step="raise limits.memory_bytes or give the nodes more memory; or look at the file: few bytes can "
            "decode to very many",
        ) from error
    return replace(task, is_alone=True)


def _again(
    task: ShardTask, reply: Reply, timeout_s: float, on_lost: Callable[[ShardTask], None]
) -> ShardTask:
    """The next attempt of a shard that was lost; one that hung has one more only."""
    n_hung = task.n_hung + (reply.outcome == "stuck")
    if n_hung == MAX_HUNG and reply.outcome == "stuck":
        raise WorkerError(
            f"The worker of shard {task.shard.index} hung; nothing was published.",
            f"{task.where} (on {reply.worker})",
            expected=f"an end within {timeout_s / 60:g} minutes (limits.shard_minutes)",
            found="none, twice",
            next_step="look at the store, which neither answers nor fails; or allow more minutes",
        )
    if task.attempt + 1 >= MAX_ATTEMPTS:
        raise WorkerError(
            f"The worker of shard {task.shard.index} died {MAX_ATTEMPTS} times; nothing was published.",
            f"{task.where} (on {reply.worker})" if reply.worker else task.where,
            found=reply.found,
            next_step="look for that node's out-of-memory killer; set limits.memory_bytes, or use fewer of its slots",
        )
    again = replace(task, attempt=task.attempt + 1, n_hung=n_hung)
    on_lost(again)
    return again
