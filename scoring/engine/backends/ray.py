"""A Ray cluster: its raylets place calls, one a CPU of its nodes."""

import contextlib
import pickle
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from nightscore.engine.remote.calls import Call, Reply
from nightscore.engine.remote.cluster_pool import ClusterPool
from nightscore.engine.remote.node import run_call
from nightscore.engine.remote.requirements import NodeReport, NodeRequirements, report_node
from nightscore.errors import ClusterError, InvalidJobError, WorkerError
from nightscore.schemas.job import Workers

REPORT_S = 60
"""For a worker process to start on each node."""


def open_pool(workers: Workers) -> ClusterPool:
    """A pool of a Ray cluster's workers; nothing is connected yet."""
    return ClusterPool(lambda: RayCluster(workers.address or ""), workers.count)


class RayCluster:
    """A share in this process's connection to a Ray cluster: Ray allows one a process."""

    name = "Ray"

    def __init__(self, address: str) -> None:
        """Connect, or join the connection that there is.

        Raises:
            InvalidJobError: Ray is not installed, or this process is connected to another cluster.
            WorkerError: There is no cluster.
            ClusterError: It runs another version of Ray or Python.
        """
        try:
            import ray
        except ImportError as error:
            raise InvalidJobError(
                "workers.backend is ray, and Ray is not installed.",
                found=str(error),
                next_step="pip install 'nightscore[ray]', here and on the cluster's nodes",
            ) from error

        self._ray: Any = ray
        self.address = address
        _connection.join(ray, address)

        # Neither repeats a call by itself: it must have another attempt's number first.
        self._run = ray.remote(num_cpus=1, max_retries=0)(run_on_worker)
        self._report = ray.remote(num_cpus=0, max_retries=0)(report_node)
        self._references: dict[str, Any] = {}

    def n_slots(self) -> int:
        """CPUs of all nodes."""
        return int(self._ray.cluster_resources().get("CPU", 0))

    def report_nodes(self, requirements: NodeRequirements) -> Mapping[str, NodeReport | str]:
        """The report of a worker process on each node; a text where it could give none."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        references = {}
        for node in self._ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                report = self._report.options(scheduling_strategy=on_node)
                name = f"node {node['NodeID'][:8]} at {node['NodeManagerAddress']}"
                references[name] = report.remote(requirements)

        reports: dict[str, NodeReport | str] = {}
        for name, reference in references.items():
            try:
                reports[name] = self._ray.get(reference, timeout=REPORT_S)
            except Exception as error:  # noqa: BLE001 (what it is stands in the answer)
                cause = f"{type(error).__name__}: {_last_line(error)}"
                reports[name] = f"cannot run nightscore: {cause}"

        return reports

    def submit(self, call: Call) -> Future[Reply]:
        """Have a call run once."""
        reply: Future[Reply] = Future()

        try:
            reference = self._run.options(name=call.key).remote(pickle.dumps(call))
        except Exception as error:  # noqa: BLE001 (the connection is gone)
            reply.set_result(Reply("died", cause=f"{type(error).__name__}: {error}"))
            return reply

        self._references[call.key] = reference

        def settle(done: Future[Reply]) -> None:
            self._references.pop(call.key, None)
            reply.set_result(_reply(done))

        reference.future().add_done_callback(settle)

        return reply

    def cancel(self, keys: Sequence[str]) -> None:
        """Drop calls; Ray ends the worker process of one that runs, and its child sees that."""
        for key in keys:
            reference = self._references.get(key)
            if reference is not None:
                with contextlib.suppress(Exception):  # it has ended meanwhile
                    self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster; Ray ends the worker processes of a driver that leaves."""
        _connection.leave(self._ray)


class _Connection:
    """This process's connection to Ray, shared by its pools."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_sharing = 0
        self._is_ours = False
        self._address = ""

    def join(self, ray: Any, address: str) -> None:
        """Connect, or share the connection that there is."""
        with self._lock:
            if self._n_sharing and address != self._address:
                raise InvalidJobError(
                    "This process is connected to another Ray cluster; Ray allows one a process.",
                    expected=self._address,
                    found=address,
                    next_step="run the jobs of the two clusters in processes of their own",
                )

            if not self._n_sharing:
                self._is_ours = not ray.is_initialized()  # else whoever calls us has connected
                if self._is_ours:
                    _connect(ray, address)

                self._address = address

            self._n_sharing += 1

    def leave(self, ray: Any) -> None:
        """Disconnect, if nobody shares the connection any more."""
        with self._lock:
            self._n_sharing -= 1
            if not self._n_sharing and self._is_ours:
                ray.shutdown()


_connection = _Connection()


def _connect(ray: Any, address: str) -> None:
    """Connect this process.

    Raises:
        WorkerError: There is no cluster.
        ClusterError: It runs another version of Ray or Python.
    """
    try:
        with _restored_signal_handlers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(
                address=address, log_to_driver=False, logging_level="ERROR", namespace="nightscore"
            )
    except (ConnectionError, TimeoutError, ValueError) as error:
        raise WorkerError(
            "The Ray cluster does not answer.",
            address,
            found=f"{type(error).__name__}: {_last_line(error)}",
            next_step="check workers.address in the job file (host:6379 on a node of the cluster, "
            "ray://host:10001 from elsewhere), and that the cluster runs, then run again",
        ) from error
    except RuntimeError as error:  # Ray's own comparison of Ray and Python
        raise ClusterError(
            "The Ray cluster runs with other versions than this driver.",
            address,
            problems=[line.strip() for line in str(error).splitlines() if line.strip()],
            next_step="install the same versions of Python and Ray here and on all nodes",
        ) from error


@contextlib.contextmanager
def _restored_signal_handlers() -> Iterator[None]:
    """Put the signal handlers back that Ray replaces.

    It takes SIGTERM for itself, which is how a run is told to record its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def run_on_worker(content: bytes) -> Reply:
    """Run a call in a child of this worker's process."""
    import ray

    call: Call = pickle.loads(content)  # noqa: S301 (sent by the driver)
    context: Any = ray.get_runtime_context()
    return run_call(call, f"node {context.get_node_id()[:8]}")


def _reply(done: Future[Reply]) -> Reply:
    """The reply that a Ray future stands for."""
    from ray.exceptions import RayTaskError

    error = done.exception()
    if error is None:
        return done.result()
    if not isinstance(error, RayTaskError):
        return Reply("died", cause=f"{type(error).__name__}: {_last_line(error)}")

    failed = ClusterError(
        "A worker of the Ray cluster could not run a call; nothing was published.",
        found=_last_line(error),
        next_step="check that nightscore is installed there, and look at that node's log",
    )

    return Reply("raised", pickle.dumps(failed))


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1][:500] if lines else type(error).__name__
