"""The right to change a partition: one command holds it at a time.

    <output.uri>.nightscore/leases/ds=2026-11-24    created by the holder, removed when it is done

The file names its holder, who writes it again every `HEARTBEAT_S`. A holder that was silent for
`LEASE_TIMEOUT_S` by the store's own clock loses the lease. One whose process is known to be gone
loses it at once. Creating the file, writing it again and taking it over each have a condition, so
only one of several commands succeeds. A store without such conditions has no leases.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from nightscore.errors import ConflictError, LeaseError, LocationNotFoundError, ScoringError
from nightscore.ledger import liveness
from nightscore.ledger.layout import lease_path, state_store
from nightscore.process import is_running, machine, process_start
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import decode_folder, show_value

WAIT_S = 10.0
"""How long a command waits for another one. A person may be waiting too."""
LONG_WAIT_S = liveness.LEASE_TIMEOUT_S + 60.0
"""How long a run waits that has scored its partition: longer than a dead holder can block it."""
PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Between two attempts; the last one repeats."""

_threads_by_token: dict[str, int] = {}
"""The leases that this process holds, by token, and the thread that acquired each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lease, as its file says."""

    token: str
    """Identifies one lease."""
    command: str
    host: str
    pid: int
    machine: str
    """Where the number of the process means something."""
    process_start: str
    since: str
    """UTC."""
    n_heartbeats: int = 0
    """Counted, so that each heartbeat changes the content of the file."""

    def __str__(self) -> str:
        """The holder, for the error of another command."""
        place = f"on host {self.host} (process {self.pid})"
        return f"`nightscore {self.command}` {place}, since {self.since} UTC"

    @property
    def content(self) -> bytes:
        """The file."""
        return json.dumps(asdict(self)).encode()


class Lease:
    """The right to change one partition, for one command.

    Acquire and release it as often as you need it.
    """

    def __init__(self, job: ScoringJob, folder: str, command: str) -> None:
        """Make a lease that is not held yet.

        Args:
            job: Whose outputs.
            folder: Of the partition.
            command: Named to other commands that wait for the lease.
        """
        self._state, self._folder, self._command = state_store(job), folder, command
        self._path = lease_path(folder)
        decoded = decode_folder(folder)
        value = decoded[1] if decoded else folder
        self._history_command = job.command("history", show_value(value))
        self._lock = threading.Lock()
        self._holder: Holder | None = None
        """None: the lease is not held."""

        self._is_lost = False
        self._last_heartbeat = 0.0
        self._released = threading.Event()

    def __enter__(self) -> "Lease":
        """Acquire the lease."""
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        """Release the lease."""
        self.release()

    def acquire(self, wait_s: float = WAIT_S) -> None:
        """Acquire the lease.

        Does nothing if it is held already, or the store has no conditional writes.

        Args:
            wait_s: How long to wait for another holder.

        Raises:
            LeaseError: Another command still holds it.
        """
        if self._holder is not None or not self._state.is_conditional:
            return

        candidate = self._new_holder()
        deadline = time.monotonic() + wait_s
        n_attempts, heartbeat = 0, time.time()

        while (other := self._try_acquire(candidate)) is not None:
            if time.monotonic() >= deadline or _is_held_by_this_thread(other):
                raise self._held_by(other)
            time.sleep(PAUSES_S[min(n_attempts, len(PAUSES_S) - 1)])
            n_attempts, heartbeat = n_attempts + 1, time.time()

        _threads_by_token[candidate.token] = threading.get_ident()
        self._holder, self._is_lost, self._last_heartbeat = candidate, False, heartbeat
        self._released = threading.Event()
        threading.Thread(
            target=self._send_heartbeats, args=(self._released,), name="lease", daemon=True
        ).start()

    def check(self) -> None:
        """Check that the lease is held, before you write or remove something.

        A process that slept may have lost it.

        Raises:
            LeaseError: Another command may be changing the partition.
        """
        with self._lock:
            if self._holder is not None and not self._is_current():
                self._renew()

    def release(self) -> None:
        """Let others change the partition.

        If the store cannot be written to, the lease times out by itself.
        """
        self._released.set()

        with self._lock:
            if self._holder is None:
                return

            with contextlib.suppress(ScoringError):
                if not self._is_current():
                    self._renew()  # the file may be another holder's by now
                self._state.delete([self._path])

            _threads_by_token.pop(self._holder.token, None)
            self._holder = None

    def _new_holder(self) -> Holder:
        pid = os.getpid()
        return Holder(
            token=secrets.token_hex(8),
            command=self._command,
            host=socket.gethostname(),
            pid=pid,
            machine=machine(),
            process_start=process_start(pid),
            since=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        )

    def _is_current(self) -> bool:
        """Whether the last heartbeat is recent enough for the lease to be held still."""
        age_s = time.time() - self._last_heartbeat
        return not self._is_lost and 0 <= age_s <= liveness.HEARTBEAT_S

    def _try_acquire(self, candidate: Holder) -> Holder | str | None:
        """The other holder, as text where it is unknown. None: the lease was acquired."""
        try:
            self._state.create(self._path, candidate.content, is_durable=False)
            return None
        except LocationNotFoundError:
            return "a command that has just ended"  # it has removed the empty folder
        except ConflictError:
            content = self._read()

        if content is None:
            return "a command that has just ended"

        holder = _parse(content)
        if holder is not None and holder.token == candidate.token:
            return None  # the file was created; only the store's answer was lost
        if not self._has_timed_out(holder):
            return holder or "an unknown command"

        return self._take_over(content, candidate)

    def _take_over(self, content: bytes, candidate: Holder) -> Holder | str | None:
        """Replace a dead holder; the result is as of `_try_acquire`."""
        try:
            self._state.swap(self._path, content, candidate.content)
        except ConflictError:
            stored = self._read()
            if stored != candidate.content:
                return (stored and _parse(stored)) or "a command that has just begun"
        return None

    def _has_timed_out(self, holder: Holder | None) -> bool:
        """Whether the holder is gone, or was silent for too long."""
        if holder is not None and holder.machine == machine():
            if not is_running(holder.pid, holder.process_start):
                return True
            if holder.pid == os.getpid() and holder.token not in _threads_by_token:
                return True  # released, but its file could not be removed

        try:
            clock_s = self._state.clock_s()
            silent_s = clock_s - self._state.describe(self._path).modified_s
        except LocationNotFoundError:
            return False

        return silent_s > liveness.LEASE_TIMEOUT_S

    def _read(self) -> bytes | None:
        try:
            return self._state.read_bytes(self._path)
        except LocationNotFoundError:
            return None

    def _send_heartbeats(self, released: threading.Event) -> None:
        while not released.wait(liveness.HEARTBEAT_S):
            # A heartbeat that fails is made up for by the next one, or noticed by `check`.
            with self._lock, contextlib.suppress(ScoringError):
                if self._holder is None or self._is_lost:
                    return
                self._renew()

    def _renew(self) -> None:
        """Write a heartbeat, if the lease is held still."""
        assert self._holder is not None  # noqa: S101
        content: bytes | None = None
        heartbeat = time.time()
        if not self._is_lost:
            renewed = replace(self._holder, n_heartbeats=self._holder.n_heartbeats + 1)
            try:
                self._state.swap(self._path, self._holder.content, renewed.content)
            except ConflictError:
                content = self._read()
                stored = _parse(content) if content else None
                self._is_lost = stored is None or stored.token != self._holder.token
                renewed = stored or renewed

            if not self._is_lost:
                self._holder, self._last_heartbeat = renewed, heartbeat
                return

        holder = _parse(content) if content else None
        raise LeaseError(
            "Another command has taken over the partition, because this one stopped renewing its "
            "lease; it stops.",
            self._folder,
            expected=f"a renewal every {liveness.HEARTBEAT_S:.0f} s",
            found=f"the partition is held by {holder}" if holder else "nobody holds the partition",
            next_step=f"look at it with `{self._history_command}`, then run the command again",
        )

    def _held_by(self, holder: Holder | str) -> LeaseError:
        return LeaseError(
            "Another command is changing this partition; nothing was changed.",
            self._folder,
            expected="a partition that no other command holds",
            found=f"it is held by {holder}",
            next_step="run the command again once that one has ended; "
            "if it was killed on another host, "
            f"wait {liveness.LEASE_TIMEOUT_S:.0f} s after its last heartbeat",
        )


def _is_held_by_this_thread(holder: Holder | str) -> bool:
    if isinstance(holder, str):
        return False
    return _threads_by_token.get(holder.token) == threading.get_ident()


def _parse(content: bytes) -> Holder | None:
    """The holder that a lease's file names. None if it cannot be read."""
    try:
        fields = json.loads(content)
        if "n_beats" in fields:  # as older versions wrote it
            fields["n_heartbeats"] = fields.pop("n_beats")
        return Holder(**fields)
    except (ValueError, TypeError):
        return None
