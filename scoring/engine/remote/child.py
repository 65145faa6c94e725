"""The process on a cluster's node that runs calls: `python -m nightscore.engine.remote.child`.

`node` starts it. It imports little at first: versions are compared before any library that they
could concern is imported.
"""

import contextlib
import fcntl
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nightscore.engine.remote.calls import Call, ModelSource, Reply, unpack
from nightscore.engine.remote.node import RETIRED
from nightscore.engine.remote.requirements import process_versions, version_mismatches
from nightscore.errors import ModelNotFoundError, ScoringError, ShardError
from nightscore.models.cache import ModelCache, default_cache
from nightscore.models.model_versions import fetch
from nightscore.process import available_bytes

LOCKS = "locks"
"""Folder of the locks, beside the cached models."""


def main() -> None:
    """Answer calls until there is none for a while, or the parent is gone."""
    connection, idle_s = Connection(int(sys.argv[1])), float(sys.argv[2])
    # Ctrl-C in the cluster's terminal is the cluster's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                calls.put(connection.recv_bytes())
        os._exit(1)  # the parent is gone, and with it whoever wants the result

    process_versions()  # those of the start, whatever is installed later
    threading.Thread(target=listen, name="listen", daemon=True).start()

    node = _Node(default_cache())

    while True:
        try:
            content = calls.get(timeout=idle_s)
        except queue.Empty:
            os._exit(RETIRED)

        call, worker = pickle.loads(content)  # noqa: S301 (from the parent)
        connection.send_bytes(pickle.dumps(node.answer(call, worker)))


class _Node:
    """The models of this process's node, and the calls that it answers."""

    def __init__(self, cache: ModelCache) -> None:
        self._cache = cache
        self._verified: dict[str, Path] = {}
        self._missing: dict[Path, ScoringError] = {}
        """Why models of the call cannot be had, by a path at which there is nothing."""
        self._fetch_s = 0.0

    def answer(self, call: Call, worker: str) -> Reply:
        """The reply to one call."""
        refused, _ = version_mismatches(call.versions, process_versions())
        if refused:
            return Reply("mismatched", cause=", ".join(refused), worker=worker, pid=os.getpid())

        self._fetch_s = 0.0

        try:
            content = pickle.dumps(self._run(call))
        except Exception as error:  # noqa: BLE001 (handed over to the driver)
            return Reply("raised", _pickled(error, worker), worker=worker, pid=os.getpid())

        return Reply("done", content, worker=worker, pid=os.getpid())

    def _run(self, call: Call) -> Any:
        self._missing = {}
        function, arguments = unpack(call.payload, self._locate_or_note)
        if self._missing:
            # Not imported before versions are compared.
            from nightscore.engine.remote.missing_models import without_missing

            arguments = without_missing(list(arguments), self._missing)

        result = function(*map(self._adapt, arguments))
        if self._fetch_s and hasattr(result, "stages_s"):
            result = replace(result, stages_s={"fetch": self._fetch_s, **result.stages_s})
        return result

    def _adapt(self, argument: Any) -> Any:
        """An argument as this node is to have it: a shard's task gets the node's memory."""
        from nightscore.engine.shard import ShardTask

        if not isinstance(argument, ShardTask):
            return argument

        task = argument
        if task.job.limits.memory_bytes is None:
            # The driver knows its own machine's memory only.
            n_sharing = 1 if task.is_alone else os.cpu_count() or 1
            share = available_bytes() // n_sharing
            task = replace(task, memory_bytes=max(task.memory_bytes, share))

        if not task.fallback_reason:
            self._compile(task)

        return task

    def _compile(self, task: Any) -> None:
        """Make the machine code once a node, not once in each process of it at the same time."""
        from nightscore.engine.worker.worker_model import make_machine_code
        from nightscore.native.machine_code import has_machine_code

        if has_machine_code(self._cache.root):
            return
        with self._locked("machine-code"):
            if not has_machine_code(self._cache.root):
                make_machine_code(task)

    def _locate_or_note(self, source: ModelSource) -> Path:
        """The model in this node's cache, or a path at which there is nothing."""
        try:
            return self._locate(source)
        except ScoringError as error:
            nowhere = self._cache.root / "missing" / source.digest
            self._missing[nowhere] = error
            return nowhere

    def _locate(self, source: ModelSource) -> Path:
        """The model in this node's cache.

        The first process that wants it fetches it; each process verifies it.
        """
        if source.digest not in self._verified:
            with self._locked(source.digest.removeprefix("sha256:")):
                cached = self._cache.pinned(source.digest)
                self._verified[source.digest] = cached.path if cached else self._fetch(source)
        return self._verified[source.digest]

    def _fetch(self, source: ModelSource) -> Path:
        started = time.perf_counter()
        version = replace(source.version, digest_tag=source.digest)

        try:
            cached = fetch(version, source.registry, self._cache)
        except ModelNotFoundError as error:
            raise ModelNotFoundError(
                "This node of the cluster cannot get the model: "
                "it does not see the artifacts' folder.",
                error.where,
                expected="artifacts on a store that all nodes reach, or on a disk that they share",
                found="no such folder",
                next_step="log the model to an MLflow server or an object store, "
                "and register it from there",
            ) from error

        self._fetch_s = time.perf_counter() - started

        return cached.path

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Let one process of this node in at a time.

        The system releases the lock of a process that dies.
        """
        folder = self._cache.root / LOCKS
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _pickled(error: Exception, worker: str) -> bytes:
    """An exception that the driver can read, and that says where it was raised."""
    if isinstance(error, ScoringError):
        where = f"{error.where} (on {worker})" if error.where else f"on {worker}"
        located = type(error)(
            error.what, where, error.expected, error.found, error.next_step, error.problems
        )
        return pickle.dumps(located)

    if isinstance(error, MemoryError):
        return pickle.dumps(MemoryError(f"{error or 'no memory'} (on {worker})"))

    failed = ShardError(
        "A call failed on the cluster; nothing was published.",
        f"on {worker}",
        found=f"{type(error).__name__}: {str(error)[:500]}",
        next_step="look at that worker's log; if the error persists, report it as a defect of "
        "nightscore",
    )

    return pickle.dumps(failed)


if __name__ == "__main__":
    main()
