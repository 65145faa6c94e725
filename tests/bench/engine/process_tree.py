"""What a command costs: wall and CPU seconds and peak memory of all processes that it starts.

Linux only.

A small supervisor process of its own starts the command, so that nothing of the benchmark is
counted. It adopts orphans (PR_SET_CHILD_SUBREAPER), such as daemons whose starter is gone: they are
still found, counted and ended.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Of linux/prctl.h."""
INTERVAL_S = 0.1
MAX_SHARE = 0.1
"""Of one core, that looking may take: the kernel walks a process's pages to tell its proportional
set size."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Of one command and all that it started."""

    wall_s: float
    """From the start of its process to its end."""
    cpu_s: float
    """User and system time; what daemons spend after the command's end is counted too."""
    peak_bytes: int
    """Proportional set sizes of all processes together: shared pages count once. The greatest that
    was seen."""
    n_processes: int
    """Seen at the same time, at most."""
    n_samples: int
    exit_code: int
    """Negative: the signal that ended it."""
    n_killed: int
    """Processes that had to be ended."""


@dataclass(frozen=True)
class Ran:
    """A command that has ended, with its words."""

    cost: Cost
    output: str
    errors: str


def run_measured(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    timeout_s: float = 3_600.0,
    grace_s: float = 15.0,
) -> Ran:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        environment: All of it.
        timeout_s: After which it is ended.
        grace_s: That what it has started may go on after it, and is still counted, until it is
            ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        result, output, errors = (Path(folder, name) for name in ("cost.json", "stdout", "stderr"))
        arguments = [str(result), str(timeout_s), str(grace_s), str(output), str(errors), *command]
        # By path: the module's package has nothing that the supervisor needs.
        supervisor = subprocess.Popen([sys.executable, __file__, *arguments], env=environment)
        try:
            if supervisor.wait():
                raise RuntimeError(f"the supervisor of {' '.join(command)} has failed")
        finally:
            supervisor.terminate()
            supervisor.wait()
        return Ran(
            Cost(**json.loads(result.read_text())),
            output.read_text(errors="replace"),
            errors.read_text(errors="replace"),
        )


class _Sampler:
    """Looks at all processes below this one."""

    def __init__(self) -> None:
        self.peak_bytes = self.n_processes = self.n_samples = 0
        self._cpu_s: dict[tuple[int, str], float] = {}

    @property
    def cpu_s(self) -> float:
        """Of every process that was seen, as far as it was seen."""
        return sum(self._cpu_s.values())

    def look(self) -> list[int]:
        """Take one sample; returns the processes."""
        children: dict[int, list[int]] = {}
        stats: dict[int, list[str]] = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                text = Path("/proc", name, "stat").read_text()
            except OSError:
                continue
            fields = text.rpartition(")")[2].split()  # the name before it may hold anything
            stats[int(name)] = fields
            children.setdefault(int(fields[1]), []).append(int(name))
        processes, waiting = [], [os.getpid()]
        while waiting:
            below = children.get(waiting.pop(), [])
            processes += below
            waiting += below
        total = 0
        for pid in processes:
            fields = stats[pid]
            self._cpu_s[pid, fields[19]] = (int(fields[11]) + int(fields[12])) / TICKS
            total += _proportional_bytes(pid)
        self.peak_bytes = max(self.peak_bytes, total)
        self.n_processes = max(self.n_processes, len(processes))
        self.n_samples += 1
        return processes


def _proportional_bytes(pid: int) -> int:
    try:
        for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # it has ended
    return 0


class _Reaper(threading.Thread):
    """Waits for the command, and for all that is left to this process."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._root = root
        self.ended_at: float | None = None
        self.exit_code = 0
        self.root_ended, self.all_ended = threading.Event(), threading.Event()

    def run(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                self.all_ended.set()
                return
            if pid == self._root:
                self.ended_at = time.perf_counter()
                self.exit_code = os.waitstatus_to_exitcode(status)
                self.root_ended.set()


def supervise(
    result: Path,
    timeout_s: float,
    grace_s: float,
    output: Path,
    errors: Path,
    command: Sequence[str],
) -> None:
    """Run the command and write a `Cost` as JSON.

    Ends all that it has started when it is told to end.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_CHILD_SUBREAPER, 1), (PR_SET_PDEATHSIG, int(signal.SIGTERM))):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    signal.signal(signal.SIGTERM, _stop)
    sampler = _Sampler()
    try:
        cost = _supervise(sampler, timeout_s, grace_s, output, errors, command)
    except BaseException:
        _kill(sampler.look())
        raise
    result.write_text(json.dumps(asdict(cost)))


def _stop(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def _supervise(
    sampler: _Sampler,
    timeout_s: float,
    grace_s: float,
    output: Path,
    errors: Path,
    command: Sequence[str],
) -> Cost:
    killed: set[int] = set()
    with output.open("wb") as out, errors.open("wb") as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    reaper = _Reaper(process.pid)
    reaper.start()
    pause_s = INTERVAL_S
    while not reaper.root_ended.wait(pause_s):
        looked = time.thread_time()
        processes = sampler.look()
        pause_s = max(INTERVAL_S, (time.thread_time() - looked) / MAX_SHARE)
        if time.perf_counter() - started > timeout_s:
            killed |= _kill(processes)
    deadline = time.perf_counter() + grace_s
    while not reaper.all_ended.wait(INTERVAL_S):
        processes = sampler.look()
        if time.perf_counter() > deadline:
            killed |= _kill(processes)
    process.returncode = reaper.exit_code
    assert reaper.ended_at is not None
    usage = os.times()
    return Cost(
        wall_s=reaper.ended_at - started,
        # Two lower bounds. Children whose parent never waits for them are not in the first; the
        # second lacks each process's last tenth of a second.
        cpu_s=max(usage.children_user + usage.children_system, sampler.cpu_s),
        peak_bytes=sampler.peak_bytes,
        n_processes=sampler.n_processes,
        n_samples=sampler.n_samples,
        exit_code=reaper.exit_code,
        n_killed=len(killed),
    )


def _kill(pids: Sequence[int]) -> set[int]:
    done = set()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        done.add(pid)
    return done


if __name__ == "__main__":
    supervise(
        Path(sys.argv[1]),
        float(sys.argv[2]),
        float(sys.argv[3]),
        Path(sys.argv[4]),
        Path(sys.argv[5]),
        sys.argv[6:],
    )
