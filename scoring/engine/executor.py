"""Worker processes of this machine, one of which may be started before it is known what for.

Driver and worker each import for half a second, and much of it is the same. So a command that is
going to score forks its first worker as soon as that is imported. Other workers, and those of other
systems, are loky's, which start anew. For the former this module imports next to nothing.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from typing import Any, TypeVar

from nightscore.engine.forked_executor import ForkedExecutor
from nightscore.errors import WorkerError
from nightscore.process import (
    bound_arenas,
    enter_folder,
    is_running,
    rare_collection,
    working_folder,
)

T = TypeVar("T")

PARENT_POLL_S = 0.5
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "POLARS_MAX_THREADS",
    ),
    "1",
)
"""There is one worker a core. Library threads on top spin at each other's barriers: 1.7 to 3 times
the CPU was measured."""
ENVIRONMENT = ONE_THREAD | {"MALLOC_ARENA_MAX": "1"}
"""Environment variables of workers. An arena for each thread would keep what it was given."""
JEMALLOC = "JE_ARROW_MALLOC_CONF"
if sys.platform == "linux":
    # Batches of several threads leave holes in a heap: glibc's grows by a fifth over ten million
    # rows. jemalloc's stays as it is, with one arena that gives back what was free for half a
    # second (3 % more CPU).
    ENVIRONMENT |= {
        "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
        JEMALLOC: "narenas:1,dirty_decay_ms:500,muzzy_decay_ms:0",
    }

NO_THREAD = ",background_thread:false"
"""jemalloc's own thread would be lost in a fork. Without it, memory is given back by whoever takes
some."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where Linux keeps named semaphores)


class _EarlyWorkers:
    """Processes that nobody has asked for yet, each in an executor of its own."""

    def __init__(self) -> None:
        self._waiting: list[Any] = []

    def add(self, executor: Any) -> None:
        self._waiting.append(executor)

    @property
    def executor(self) -> Any:
        """The next one; None if there is none, or if somebody has taken it."""
        return self._waiting[0] if self._waiting else None

    def take(self) -> Any:
        """Take the next one."""
        return self._waiting.pop(0) if self._waiting else None


_early = _EarlyWorkers()


def start_early() -> None:
    """Start one worker, which imports the engine meanwhile.

    The first executor of one process takes it.
    """
    # Who needs a worker asks again, and then learns why there is none.
    with contextlib.suppress(WorkerError):
        executor = _start(1)
        executor.submit(import_engine)
        _early.add(executor)


def fork_early() -> None:
    """Fork one worker from this process, which has one thread and has imported the engine.

    Each executor of one process takes one, as long as there are some.
    """
    driver = os.getpid()

    # Who needs a worker asks again, and then learns why there is none.
    with contextlib.suppress(OSError), _ctrl_c_ignored():
        _early.add(ForkedExecutor(lambda: _prepare_forked(driver)))


@contextlib.contextmanager
def environment_of_workers() -> Iterator[None]:
    """Import what a forked worker shares: libraries read these variables when they are loaded."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    os.environ[JEMALLOC] = ENVIRONMENT[JEMALLOC] + NO_THREAD

    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def has_own_memory() -> bool:
    """Whether Arrow takes memory in this process as it shall in workers.

    Other allocators reserve a gigabyte of address space at once, which a forked process does not
    have under its limit.
    """
    import pyarrow

    wanted = ENVIRONMENT.get("ARROW_DEFAULT_MEMORY_POOL")
    return wanted is None or pyarrow.default_memory_pool().backend_name == wanted


def has_early() -> bool:
    """Whether a worker was started that nobody has taken yet."""
    return _early.executor is not None


def end_early() -> None:
    """End the early workers that nobody took."""
    while (executor := _early.take()) is not None:
        end_executor(executor)


def open_executor(n_processes: int) -> Any:
    """An executor with so many processes, in which only what is submitted runs.

    Raises:
        WorkerError: The system gives no semaphores or no processes.
    """
    if n_processes == 1 and _early.executor is not None:
        return _early.take()

    end_early()
    return _start(n_processes)


def submit(executor: Any, function: Callable[..., T], *arguments: object) -> "Future[T]":
    """The result of a function, which one of the executor's processes calls.

    It works in the folder in which this process works now: a notebook may have changed it since the
    process was started, and paths in a job may be relative.

    Raises:
        BrokenExecutor: The processes are gone, or were ended by another thread.
    """
    try:
        future: Future[T] = executor.submit(_call_in, working_folder(), function, *arguments)
    except BrokenExecutor:
        raise
    except RuntimeError as error:
        # loky's, for an executor that is shut down already.
        raise BrokenExecutor("The worker processes were ended meanwhile.") from error

    return future


def grow_executor(executor: Any, n_processes: int) -> Any:
    """An executor with more processes. loky's keep what they have loaded; a forked one is ended.

    Raises:
        WorkerError: The system gives no more processes.
    """
    if isinstance(executor, ForkedExecutor):
        executor.end()
        return open_executor(n_processes)

    executor._max_workers = n_processes
    with _processes_starting():
        executor._ensure_executor_running()

    return executor


def is_broken(executor: Any) -> bool:
    """Whether one of an executor's processes has died; it then takes no call any more."""
    if isinstance(executor, ForkedExecutor):
        return executor.is_broken
    return executor._flags.broken is not None


def end_executor(executor: Any) -> None:
    """End an executor's processes at once; none is left.

    An orderly end takes a tenth of a second, and an idle process has nothing to put in order.
    """
    if isinstance(executor, ForkedExecutor):
        executor.end()
        return

    # loky's own kill_workers ends in a KeyError of its manager thread while shards are queued
    # (3.6.0). A pool that is broken from outside is cleared up without one.
    for process in list(executor._processes.values()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)

    executor.shutdown(wait=True)


def _start(n_processes: int) -> Any:
    from loky import ProcessPoolExecutor

    _name_semaphores()

    with _processes_starting():
        executor = ProcessPoolExecutor(
            max_workers=n_processes,
            env=ENVIRONMENT,
            initializer=_start_worker,
            initargs=(os.getpid(),),
        )
        executor._ensure_executor_running()

    return executor


@contextlib.contextmanager
def _processes_starting() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, or say why none can be started."""
    try:
        with _ctrl_c_ignored():
            yield
    except OSError as error:
        raise WorkerError(
            "No worker process can be started on this machine; nothing was scored.",
            expected="semaphores in a writable /dev/shm, and room for more processes",
            found=str(error),
            next_step="mount /dev/shm (Docker: --shm-size=64m); check `ulimit -u` and the "
            "container's limits of processes and memory; then run again",
        ) from error


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Ignore Ctrl-C while processes are started, which inherit that.

    It reaches the terminal's whole group. A worker that has not yet come to `_start_worker` would
    print the stack trace of its imports.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # other threads cannot change how signals are handled
        return

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _name_semaphores() -> None:
    """Name loky's semaphores after this process, and remove those of processes that are gone.

    loky removes its own, also after a SIGKILL of the driver; but not where the kill struck all of
    the driver's process group. Other systems do not show semaphores as files: nothing changes
    there.
    """
    from loky.backend.synchronize import SemLock

    if not SHARED_MEMORY.is_dir():
        return

    # A process id means something within its namespace: containers may share /dev/shm.
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    prefix = f"nightscore-{namespace}-"
    SemLock._make_name = staticmethod(lambda: f"/{prefix}{os.getpid()}-{next(SemLock._rand)}")

    for path in SHARED_MEMORY.glob(f"sem.{prefix}*"):
        owner = path.name.removeprefix(f"sem.{prefix}").partition("-")[0]
        if owner.isdecimal() and not is_running(int(owner)):
            # Another process removes it too, or it is another user's.
            with contextlib.suppress(OSError):
                path.unlink()


def _call_in(folder: str, function: Callable[..., T], *arguments: object) -> T:
    enter_folder(folder)
    return function(*arguments)


def import_engine() -> None:
    """Import what a worker needs before its first shard comes."""
    with rare_collection():
        import pyarrow.parquet  # noqa: F401

        from nightscore.engine.worker import shard_scoring  # noqa: F401


def _start_worker(driver: int) -> None:
    """Set up a worker process of loky's."""
    from loky import process_executor

    # loky ends a worker that has grown by 300 MB since its first call. What a worker may take is
    # planned, and a model with its libraries is more than that.
    process_executor._MAX_MEMORY_LEAK_SIZE = sys.maxsize

    _follow(driver)


def _prepare_forked(driver: int) -> None:
    """Set up a forked worker process, and make ready what most models want.

    Nobody needs the process yet: the driver plans the run meanwhile.
    """
    os.environ.update(ENVIRONMENT)
    bound_arenas(1)  # the variable came too late
    _follow(driver)

    with rare_collection():
        import llvmlite.binding  # noqa: F401

        from nightscore.models.compiled.form_cache import engine_digest
        from nightscore.native.machine_code import build_digest

        engine_digest()
        build_digest()


def _follow(driver: int) -> None:
    """Leave Ctrl-C to the driver, and end when that is gone.

    Polling, since the kernel's parent-death signal is bound to the thread that started the worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
