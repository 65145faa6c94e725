"""What this process has used, what it may use, and threads that do not keep it alive."""

import contextlib
import contextvars
import functools
import gc
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # importing this module takes no time worth mentioning
    from concurrent.futures import Future

T = TypeVar("T")


def peak_resident_bytes() -> int:
    """Peak resident memory since the process was started.

    Linux has it in `/proc`. `getrusage` there counts the parent's memory too, from before the exec.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


RARELY = 200_000
"""New objects after which Python looks for unreachable ones, where most objects stay. It is 700
elsewhere."""


@contextlib.contextmanager
def rare_collection(n_objects: int = RARELY) -> Iterator[None]:
    """Look for unreachable objects less often.

    The lists of 10,000 partitions are 300,000 objects that stay until the answer is complete. To
    look for others among them, again and again, takes a third of the time. Imports make some
    hundred thousand that stay: looking meanwhile is a twelfth of their time.

    Args:
        n_objects: New objects after which Python looks.
    """
    usual = gc.get_threshold()
    gc.set_threshold(n_objects, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


M_ARENA_MAX = -8
"""A parameter of `mallopt`, from glibc's malloc.h."""


def bound_arenas(n_arenas: int = 2) -> None:
    """Have glibc share so many arenas among all threads. Elsewhere nothing changes.

    Each further arena reserves 64 MiB of address space for good, which a process under `ulimit -v`
    does not have.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, n_arenas)


class _AddressSpace:
    """The address space that this process may take, beyond what it had at the start.

    The start is when the first of the blocks under way began.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_active = self._n_lifted = 0
        self._base = self._allowed = self._before_lift = 0

    def allow(self, n_bytes: int, *, is_start: bool) -> None:
        with self._lock:
            if is_start and self._n_active == 0:
                self._base = _taken_bytes()
            self._n_active += 1 if is_start else -1
            self._allowed += n_bytes if is_start else -n_bytes
            self._set()

    def lift(self, *, is_start: bool) -> None:
        with self._lock:
            before = _taken_bytes() if is_start else self._before_lift
            self._before_lift = before
            self._n_lifted += 1 if is_start else -1
            if not is_start:
                self._base += max(0, _taken_bytes() - before)
            self._set()

    def _set(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = hard
        if self._n_active and not self._n_lifted:
            wanted = self._base + self._allowed
        resource.setrlimit(
            resource.RLIMIT_AS,
            (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard),
        )


_address_space = _AddressSpace()


@contextlib.contextmanager
def limited_address_space(n_bytes: int) -> Iterator[None]:
    """Let this process take so much more address space. Allocations beyond it raise MemoryError.

    A page of a Parquet file may say that it decodes to a terabyte. Each thread that is inside adds
    to what they may take together. Nothing changes if the system has no such limit, or a lower one
    is set already.
    """
    if sys.platform != "linux":
        yield
        return

    _address_space.allow(n_bytes, is_start=True)

    try:
        yield
    finally:
        _address_space.allow(n_bytes, is_start=False)


@contextlib.contextmanager
def unlimited_address_space() -> Iterator[None]:
    """Lift that limit while libraries are loaded: what they take is not counted."""
    if sys.platform != "linux":
        yield
        return
    _address_space.lift(is_start=True)
    try:
        yield
    finally:
        _address_space.lift(is_start=False)


def _taken_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def available_bytes() -> int:
    """Memory that this process can get without swapping: what the machine has, or its container.

    If the system does not say, this is all of the machine's memory.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        machine_bytes = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        machine_bytes = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))

    return min([machine_bytes, *_each_group(_group_bytes)])


def available_cores() -> int:
    """Cores that this process may use: those it may run on, or what its container may take."""
    has_affinity = hasattr(os, "sched_getaffinity")
    n_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min([n_cores, *_each_group(_group_cores)])


CONTROL_GROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows the limits of containers and services (control groups, version 2)."""


def _each_group(read: Callable[[Path], int]) -> list[int]:
    """What a function reads of each control group around this process that has such a limit."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []

    # Version 2 has one line, `0::/path`. The path is `/` in a container, which sees its own only.
    paths = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    if not paths:
        return []

    group = CONTROL_GROUPS / paths[0]
    limits: list[int] = []
    for folder in (group, *group.parents):
        # The uppermost group has no files of limits, and other systems have no groups.
        with contextlib.suppress(OSError, ValueError):
            limits.append(read(folder))
        if folder == CONTROL_GROUPS:
            break

    return limits


def _group_bytes(folder: Path) -> int:
    """Memory that a group can still take. ValueError: it has no limit (`max`)."""
    limit = int((folder / "memory.max").read_text())
    used = int((folder / "memory.current").read_text())

    # Pages of files that nobody has used lately are given back before memory runs out.
    lines = (folder / "memory.stat").read_text().splitlines()
    idle = dict(line.split() for line in lines).get("inactive_file", "0")
    return max(limit - used + int(idle), 0)


def _group_cores(folder: Path) -> int:
    """Cores of CPU time that a group may take, at least one. ValueError: it has no limit."""
    quota, period = (folder / "cpu.max").read_text().split()
    return max(int(quota) // int(period), 1)


def working_folder() -> str:
    """The folder in which this process works; empty if it was removed."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def enter_folder(folder: str) -> None:
    """Work in a folder from now on. If it is gone, relative paths lead nowhere anyway."""
    with contextlib.suppress(OSError):
        os.chdir(folder)


def start_daemon(name: str, function: Callable[[], T]) -> "Future[T]":
    """The outcome of a function that runs in a thread of its own, with the caller's context.

    A daemon thread: unlike an executor's, one that hangs does not keep the process from ending.
    """
    from concurrent.futures import Future

    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # nobody can take it back
    context = contextvars.copy_context()

    def work() -> None:
        try:
            result = context.run(function)
        except BaseException as error:  # noqa: BLE001 (handed over to who waits)
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    threading.Thread(target=work, name=name, daemon=True).start()
    return outcome


@functools.cache
def machine() -> str:
    """Identifies where a process number means the same process.

    This is the host since its start, and the namespace of processes. Containers may share a host's
    name, but not its processes. Without `/proc` it is the name alone.
    """
    import socket

    boot = space = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {boot} {space}".strip()


def process_start(pid: int) -> str:
    """When a process of this machine was started, in a form that can only be compared.

    Empty: the process is gone, or nobody can say.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""

    # A process that has ended stays until its parent asks for it.
    is_dead = fields[0] in ("Z", "X")
    return "" if is_dead else fields[19]


class _Startup:
    """Whether the next run is the first one of a command or a flow."""

    def __init__(self) -> None:
        self.is_counted = self.is_over = False


_startup = _Startup()


def count_startup() -> None:
    """Have the first run of this process count what came before it: for commands and flows."""
    _startup.is_counted = True


def take_startup_s() -> float:
    """Seconds that this process is old, for the first run after `count_startup`; 0 for all others.

    0 where the system does not say.
    """
    if not _startup.is_counted or _startup.is_over:
        return 0.0

    _startup.is_over = True
    try:
        started_s = int(process_start(os.getpid())) / os.sysconf("SC_CLK_TCK")
        now_s = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError):
        return 0.0
    return max(0.0, round(now_s - started_s, 3))


@functools.cache
def user_name() -> str:
    """The user of this process, for records of who decided something."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"


def user_and_host() -> str:
    """The same with the host: `anna@worker-3`."""
    import socket

    return f"{user_name()}@{socket.gethostname()}"


def installed_version(distribution: str) -> str:
    """The version of an installed distribution, looked up once per process.

    Only the line of the version is read. `importlib.metadata` parses all of the file as an e-mail,
    with the description, which took a twentieth of a short command's time.

    Raises:
        importlib.metadata.PackageNotFoundError: It is not installed.
    """
    import importlib.metadata

    installed = importlib.metadata.distribution(distribution)
    text = installed.read_text("METADATA") or installed.read_text("PKG-INFO") or ""
    for line in text.splitlines():
        if line.startswith("Version:"):
            return line.removeprefix("Version:").strip()
        if not line:
            break  # the description follows

    return installed.version


def is_running(pid: int, start: str = "") -> bool:
    """Whether a process of this machine exists.

    Args:
        pid: Its number.
        start: As `process_start` gave it, so that a later process with this number does not count.
            Empty: any process with this number does.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass

    return not start or process_start(pid) == start
