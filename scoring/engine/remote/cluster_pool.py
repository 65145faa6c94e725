"""Shards on a cluster that is there already: what Dask and Ray have in common.

The cluster places calls and says which are done. All else is the same for both, and here: the
workers are checked before anything is sent, lost shards are scored again under the number of
their next attempt, and what is cancelled ends. Neither cluster repeats anything by itself: a
part's name carries its attempt.
"""

import pickle
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nightscore.engine.base_pool import BasePool
from nightscore.engine.executor import ENVIRONMENT
from nightscore.engine.remote.calls import Call, ModelSource, Reply, pack
from nightscore.engine.remote.cluster import Cluster, count_slots
from nightscore.engine.remote.node_checks import check_nodes, requirements_of
from nightscore.engine.remote.requirements import NodeRequirements, process_versions
from nightscore.engine.retry import CALL_ATTEMPTS, Advice, LostShard, next_attempt, retry_alone
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.engine.worker_errors import call_died, call_hung, call_starved
from nightscore.errors import ClusterError, WorkerError
from nightscore.ledger.layout import state_store
from nightscore.schemas.job import ScoringJob
from nightscore.storage.store import Store

T = TypeVar("T")

POLL_S = 0.5
"""A run that another thread stops ends so soon."""
LOOK_S = 5.0
"""Between two questions whether the cluster still has workers, while nothing finishes."""
NO_WORKERS_S = 120.0
"""A cluster without workers is given up: time enough for a restart, or for an adaptive one to grow
from nothing."""
BEYOND_PIDS = 1 << 22
"""Linux's greatest process number: what is added tells processes of several hosts apart."""
ADVICE = Advice(
    call_died="look at that node's log and its kernel's out-of-memory killer, then run again",
    call_starved="look at what else runs on that node, or give it more memory",
    shard_died="look for that node's out-of-memory killer; set limits.memory_bytes, or use fewer "
    "of its slots",
    shard_starved="raise limits.memory_bytes or give the nodes more memory; or look at the file: "
    "few bytes can decode to very many",
)


@dataclass(frozen=True, slots=True)
class _SentCall:
    key: str
    future: Future[Reply]


class ClusterPool(BasePool):
    """A `Pool` over a cluster's workers; connected at its first use."""

    is_local = False

    def __init__(self, connect: Callable[[], Cluster], count: int | None = None) -> None:
        """Nothing is done yet.

        Args:
            connect: Opens the connection.
            count: Shards at once, also where the cluster has yet to grow to that; None: as many
                as it has slots.
        """
        super().__init__()
        self._connect, self._count = connect, count
        self._cluster: Cluster | None = None
        self._checked: set[NodeRequirements] = set()

        self._models: dict[Path, ModelSource] = {}
        self._sent: dict[str, _SentCall] = {}
        self._numbers: dict[tuple[str, int], int] = {}

        # Two locks: who stops the pool must not wait for a connection.
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

        n_slots, cause = count_slots(cluster)
        if not n_slots:
            raise WorkerError(
                f"The {cluster.name} cluster has no workers.",
                cluster.address,
                found=cause,
                next_step="start workers, then run again",
            )

        return n_slots

    def prepare(self, n_processes: int) -> None:
        """Do nothing: the cluster has its processes already."""

    def add_model(self, source: ModelSource, folder: Path) -> None:
        """Say where nodes get a model that this host has in `folder`."""
        self._models[folder] = source

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        """Run one function on some node; it is run again if its process dies.

        Args:
            function: May be called twice.
            arguments: Its arguments.
            timeout_s: Seconds after which its process is ended; None: there is no limit.

        Raises:
            WorkerHungError: It has not ended in its time; it is not called again.
            WorkerError: Its processes died `CALL_ATTEMPTS` times.
            MemoryLimitError: It has no memory.
        """
        reply = Reply("died")

        for _ in range(CALL_ATTEMPTS):
            sent = self._send(pack(function, arguments, self._models), timeout_s)
            self._wait({sent.future})
            reply = self._receive(sent)

            if reply.outcome == "done":
                result: T = pickle.loads(reply.content)  # noqa: S301 (of our own process on the node)
                return result

            if reply.outcome == "raised":
                error = pickle.loads(reply.content)  # noqa: S301
                if isinstance(error, MemoryError):
                    raise call_starved(function, error, ADVICE) from error

                raise error

            if reply.outcome == "hung":
                raise call_hung(function, timeout_s or 0.0, reply.worker)

        raise call_died(function, reply.cause, ADVICE, reply.worker)

    def score(
        self,
        tasks: Sequence[ShardTask],
        n_workers: int,
        timeout_s: float,
        on_lost: Callable[[ShardTask], None],
    ) -> Iterator[ShardResult]:
        """The results as they finish, in any order.

        A shard whose worker died, or was ended since it hung, is scored again wherever there is
        a place: nothing of the others is lost with it. A shard that has no memory is scored once
        more when no other is under way; with all that its node then has, unless the job says how
        much a process may take.

        Raises:
            WorkerError: A shard's worker died or hung too often, see `retry`; or there are none.
            MemoryLimitError: A shard does not fit, even alone.
            ClusterError: The workers cannot do this job; all reasons are named.
        """
        if tasks:
            self._check_nodes(tasks[0].job)

        try:
            yield from self._score(list(tasks), n_workers, timeout_s, on_lost)
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

    def _score(
        self,
        waiting: list[ShardTask],
        n_workers: int,
        timeout_s: float,
        on_lost: Callable[[ShardTask], None],
    ) -> Iterator[ShardResult]:
        starved: list[ShardTask] = []
        running: dict[Future[Reply], tuple[_SentCall, ShardTask]] = {}

        while waiting or running or starved:
            if not waiting and not running:
                waiting.append(starved.pop(0))

            n_places = 1 if waiting and waiting[0].is_alone else n_workers
            while waiting and len(running) < n_places:
                task = waiting.pop(0)
                sent = self._send(pack(score_shard, (task,), self._models), timeout_s)
                running[sent.future] = sent, task

            self._wait(set(running))

            for future in [future for future in running if future.done()]:
                sent, task = running.pop(future)
                reply = self._receive(sent)
                if reply.outcome == "done":
                    yield self._result(reply)
                elif reply.outcome == "raised":
                    starved.append(_with_all_memory(task, _memory_error(reply)))
                else:
                    waiting.append(next_attempt(_lost(task, reply), timeout_s, ADVICE))
                    on_lost(waiting[-1])

    def _close(self) -> None:
        """Cancel whatever is left, and leave the cluster."""
        self.kill()
        with self._lock:
            cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    def _open(self) -> Cluster:
        with self._connecting:
            self._check_stopped()

            if self._cluster is not None:
                return self._cluster

            cluster = self._connect()

            try:
                check_nodes(cluster, NodeRequirements())
                with self._lock:
                    self._check_stopped()
                    self._cluster = cluster
            except BaseException:
                cluster.close()
                raise

            return cluster

    def _check_nodes(self, job: ScoringJob) -> None:
        """Check that the workers can do this job; asked once for all jobs on the same stores."""
        stores = Store(job.input.uri, job.input.storage_options), state_store(job)
        requirements = requirements_of(job, stores)
        if requirements not in self._checked:
            check_nodes(self._open(), requirements)
            self._checked.add(requirements)

    def _send(self, payload: bytes, deadline_s: float | None) -> _SentCall:
        cluster = self._open()
        key = f"nightscore-{uuid.uuid4().hex}"
        call = Call(key, payload, process_versions(), ENVIRONMENT, deadline_s)
        with self._lock:
            self._check_stopped()
            sent = _SentCall(key, cluster.submit(call))
            self._sent[key] = sent
        return sent

    def _receive(self, sent: _SentCall) -> Reply:
        self._check_stopped()
        self._sent.pop(sent.key, None)

        reply = sent.future.result()
        if reply.outcome == "mismatched":
            check_nodes(self._open(), NodeRequirements())  # says more, if the worker is still there
            raise ClusterError(
                "A worker that joined the cluster later has other versions; it ran nothing.",
                reply.worker,
                problems=[reply.cause],
                next_step="install the same versions on all nodes, then run again",
            )

        return reply

    def _wait(self, futures: set[Future[Reply]]) -> None:
        """Wait until one call is done.

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

            n_slots, cause = count_slots(cluster)
            if n_slots:
                last_seen = last_look
            elif last_look - last_seen > NO_WORKERS_S:
                raise WorkerError(
                    f"The {cluster.name} cluster has had no workers for {NO_WORKERS_S:g} seconds; "
                    "the run was given up, nothing was published.",
                    cluster.address,
                    found=cause,
                    next_step="start workers, then run again: it resumes from the finished shards",
                )

    def _result(self, reply: Reply) -> ShardResult:
        """The result, with a number of its process that no other host's process has."""
        result: ShardResult = pickle.loads(reply.content)  # noqa: S301
        key = reply.worker, reply.pid
        number = self._numbers.get(key, reply.pid)
        while key not in self._numbers and number in self._numbers.values():
            number += BEYOND_PIDS

        self._numbers[key] = number
        self._count_cpu(number, result.process_cpu_s)

        return replace(result, pid=number)


def _lost(task: ShardTask, reply: Reply) -> LostShard:
    return LostShard(
        task=task, has_hung=reply.outcome == "hung", worker=reply.worker, cause=reply.cause
    )


def _memory_error(reply: Reply) -> MemoryError:
    error: Any = pickle.loads(reply.content)  # noqa: S301
    if isinstance(error, MemoryError):
        return error
    raise error


def _with_all_memory(task: ShardTask, error: MemoryError) -> ShardTask:
    """The same shard, alone; its node then gives it all that it has."""
    limit = task.job.limits.memory_bytes
    allowed = f"at most {limit:,} bytes a process (limits.memory_bytes)" if limit else ""
    return retry_alone(task, error, ADVICE, allowed=allowed, memory_bytes=task.memory_bytes)
