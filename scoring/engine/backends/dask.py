"""A Dask cluster: its scheduler places calls, one a thread of its workers."""

import contextlib
import pickle
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from nightscore.engine.remote.calls import Call, Reply
from nightscore.engine.remote.cluster_pool import ClusterPool
from nightscore.engine.remote.node import UnwantedError, run_call
from nightscore.engine.remote.requirements import NodeReport, NodeRequirements, report_node
from nightscore.errors import ClusterError, InvalidJobError, WorkerError
from nightscore.schemas.job import Workers

CONNECT_S = 30
CLOSE_S = 10
FIRST_WORKER_S = 60
"""An adaptive cluster has no worker until somebody waits for one."""


def open_pool(workers: Workers) -> ClusterPool:
    """A pool of a Dask cluster's workers; nothing is connected yet."""
    return ClusterPool(lambda: DaskCluster(workers.address or ""), workers.count)


class DaskCluster:
    """A connection to a Dask scheduler."""

    name = "Dask"

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            InvalidJobError: Dask is not installed.
            WorkerError: There is no scheduler, or it has no worker.
        """
        try:
            import distributed
        except ImportError as error:
            raise InvalidJobError(
                "workers.backend is dask, and Dask is not installed.",
                found=str(error),
                next_step="pip install 'nightscore[dask]', here and on the cluster's workers",
            ) from error

        self.address = address
        self._futures: dict[str, Any] = {}

        try:
            # Of versions: we compare them ourselves, and refuse those that matter.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._client: Any = distributed.Client(
                    address, timeout=CONNECT_S, set_as_default=False, name="nightscore"
                )
        except (OSError, TimeoutError, ValueError) as error:
            raise _no_cluster("The Dask scheduler does not answer.", address, error) from error

        try:
            self._client.wait_for_workers(1, timeout=FIRST_WORKER_S)
        except (OSError, TimeoutError, ValueError) as error:
            self._client.close()
            what = f"The Dask cluster has no workers after {FIRST_WORKER_S} seconds."
            raise _no_cluster(what, address, error) from error

    def n_slots(self) -> int:
        """Threads of all workers."""
        if self._client.status != "running":
            raise ConnectionError("there is no connection to the scheduler")
        return sum(self._client.nthreads().values())

    def report_nodes(self, requirements: NodeRequirements) -> Mapping[str, NodeReport | str]:
        """The report of each worker; a text where it could give none."""
        reports: dict[str, NodeReport | str] = {}
        answers = self._client.run(report_node, requirements, on_error="return")
        for worker, answer in answers.items():
            if isinstance(answer, NodeReport):
                reports[worker] = answer
            else:
                reports[worker] = f"cannot run nightscore: {type(answer).__name__}: {answer}"
        return reports

    def submit(self, call: Call) -> Future[Reply]:
        """Have a call run once."""
        reply: Future[Reply] = Future()

        try:
            future = self._client.submit(
                run_on_worker, pickle.dumps(call), key=call.key, pure=False, retries=0
            )
        except Exception as error:  # noqa: BLE001 (the connection is gone)
            reply.set_result(Reply("died", cause=f"{type(error).__name__}: {error}"))
            return reply

        self._futures[call.key] = future

        def settle(done: Any) -> None:
            reply.set_result(_reply(done))
            if self._futures.pop(call.key, None) is not None:
                # The client may be closed; then it has let go of all.
                with contextlib.suppress(Exception):
                    self._client.loop.add_callback(self._lower_flag, call.key)
                    done.release()

        future.add_done_callback(settle)

        return reply

    def cancel(self, keys: Sequence[str]) -> None:
        """Drop calls; one that runs sees in its worker's state that it is not wanted any more."""
        futures = [self._futures[key] for key in keys if key in self._futures]
        if futures:
            # Without a connection the scheduler drops them by itself.
            with contextlib.suppress(Exception):
                self._client.cancel(futures, force=True)

    def close(self) -> None:
        """Leave the cluster; its scheduler forgets what this client wanted."""
        self._client.close(timeout=CLOSE_S)

    async def _lower_flag(self, key: str) -> None:
        # A flag that stays costs some bytes of the scheduler's.
        with contextlib.suppress(Exception):
            await self._client.scheduler.event_clear(name=key)


def run_on_worker(content: bytes) -> Reply:
    """Run a call in a child of this worker's process.

    A call that the scheduler has moved here from a worker that died is refused: it must have
    another attempt's number first.
    """
    from distributed import get_worker
    from distributed.utils import sync

    call: Call = pickle.loads(content)  # noqa: S301 (sent by the driver)
    worker: Any = get_worker()
    name = str(worker.address)

    if worker.name != worker.address:
        name = f"{worker.name} at {worker.address}"

    # Dask repeats the tasks of a dead worker up to `allowed-failures` times, a setting of the
    # whole cluster. A flag at the scheduler says that a call has been started.
    if sync(worker.loop, worker.scheduler.event_is_set, name=call.key):
        return Reply(
            "repeated", cause="its worker died, or its result was lost with it", worker=name
        )

    sync(worker.loop, worker.scheduler.event_set, name=call.key)

    def is_wanted() -> bool:
        task = worker.state.tasks.get(call.key)
        return task is not None and task.state not in ("cancelled", "resumed", "released")

    try:
        return run_call(call, name, is_wanted)
    except UnwantedError:
        return Reply("died", cause="cancelled", worker=name)


def _no_cluster(what: str, address: str, error: Exception) -> WorkerError:
    return WorkerError(
        what,
        address,
        found=f"{type(error).__name__}: {str(error)[:200]}",
        next_step="check workers.address in the job file, and that the cluster runs, "
        "then run again",
    )


def _reply(done: Any) -> Reply:
    """The reply that a Dask future stands for."""
    if done.status == "finished":
        try:
            reply: Reply = done.result()
            return reply
        except Exception as error:  # noqa: BLE001 (the result was lost on its way)
            return Reply("died", cause=f"{type(error).__name__}: {error}")

    if done.status == "cancelled":
        return Reply("died", cause="cancelled, or the connection to the scheduler is lost")

    failure = done.exception()
    if type(failure).__name__ == "KilledWorker":
        return Reply("died", cause=str(failure))

    failed = ClusterError(
        "A worker of the Dask cluster could not run a call; nothing was published.",
        found=f"{type(failure).__name__}: {str(failure)[:500]}",
        next_step="check that nightscore is installed there, and look at that worker's log",
    )

    return Reply("raised", pickle.dumps(failed))
