"""Who may change a partition now: of all commands one at a time.

    <output.uri>.nightscore/leases/ds=2013-07-04    created by who begins to change it, removed by who is done

The file names its holder, and is written again every `BEAT_S`. One that was silent for `LAPSE_S` by
the store's own clock is taken over, and at once where its process is known to be gone. Creating it,
writing it again and taking it over each have a condition, so that of several one succeeds. A store
without such conditions has no leases.
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
from nightscore.ledger import manifests
from nightscore.ledger.layout import lease_path, state_store
from nightscore.ledger.record import BEAT_S
from nightscore.process import is_running, machine, process_start
from nightscore.schemas.job import ScoringJob

WAIT_S = 10.0
"""What a command waits for another, which a person may be waiting for too."""
PATIENT_S = manifests.LAPSE_S + 60.0
"""What a run waits that has scored its partition: longer than a holder that died can be in its way."""
PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Between two looks; the last one again and again."""

_here: dict[str, int] = {}
"""Leases that this process holds, by their tokens, and the thread that acquired each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """What the file says."""

    token: str
    """Of one lease, and no other."""
    command: str
    host: str
    pid: int
    machine: str
    """Where the number of the process means something."""
    process_start: str
    since: str
    """UTC."""
    n_beats: int = 0
    """Each sign of life has another content than the one before."""

    def __str__(self) -> str:
        return f"`nightscore {self.command}` on host {self.host} (process {self.pid}), since {self.since} UTC"

    @property
    def content(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class Lease:
    """The right to change one partition, for one command; acquired and released as often as it is needed."""

    def __init__(self, job: ScoringJob, folder: str, command: str) -> None:
        """Nothing is asked yet.

        Args:
            job: Whose outputs.
            folder: Of the partition.
            command: For others, who meet it.
        """
        self._state, self._folder, self._command = state_store(job), folder, command
        self._path = lease_path(folder)
        self._lock = threading.Lock()
        self._mine: Holder | None = None
        """None: it is not held."""
        self._is_lost = False
        self._spoke = 0.0
        self._released = threading.Event()

    def __enter__(self) -> "Lease":
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def acquire(self, wait_s: float = WAIT_S) -> None:
        """Be the one who changes the partition; without effect where this is so already, and on a store without
        conditions.

        Args:
            wait_s: For another holder.

        Raises:
            LeaseError: Another command holds it still.
        """
        if self._mine is not None or not self._state.is_conditional:
            return
        wanted = Holder(
            token=secrets.token_hex(8),
            command=self._command,
            host=socket.gethostname(),
            pid=os.getpid(),
            machine=machine(),
            process_start=process_start(os.getpid()),
            since=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        )
        give_up = time.monotonic() + wait_s
        n_looks, spoke = 0, time.time()
        while (other := self._take(wanted)) is not None:
            if time.monotonic() >= give_up or _waits_for_itself(other):
                raise self._taken(other)
            time.sleep(PAUSES_S[min(n_looks, len(PAUSES_S) - 1)])
            n_looks, spoke = n_looks + 1, time.time()

        _here[wanted.token] = threading.get_ident()
        self._mine, self._is_lost, self._spoke = wanted, False, spoke
        self._released = threading.Event()
        threading.Thread(
            target=self._beat, args=(self._released,), name="lease", daemon=True
        ).start()

    def check(self) -> None:
        """Before something is written or removed: a process that slept may hold the partition no more.

        Raises:
            LeaseError: Another command may be changing the partition.
        """
        with self._lock:
            if self._mine is not None and (
                self._is_lost or not 0 <= time.time() - self._spoke <= BEAT_S
            ):
                self._renew()

    def release(self) -> None:
        """Let others change the partition. Where that cannot be written, it lapses by itself."""
        self._released.set()
        with self._lock:
            if self._mine is None:
                return
            with contextlib.suppress(ScoringError):
                if self._is_lost or not 0 <= time.time() - self._spoke <= BEAT_S:
                    self._renew()  # what stands there may be another's
                self._state.delete([self._path])
            _here.pop(self._mine.token, None)
            self._mine = None

    def _take(self, wanted: Holder) -> Holder | str | None:
        """Who holds it; text where that cannot be told. None: it is ours."""
        try:
            self._state.create(self._path, wanted.content, is_durable=False)
            return None
        except LocationNotFoundError:
            return "a command that has just ended"  # and has removed the empty folder
        except ConflictError:
            content = self._read()
        if content is None:
            return "a command that has just ended"
        holder = _parse(content)
        if holder is not None and holder.token == wanted.token:
            return None  # the store's answer was lost, not what it did
        if not self._is_over(holder):
            return holder or "a command that has left no word"
        try:
            self._state.swap(self._path, content, wanted.content)
        except ConflictError:
            content = self._read()
            if content != wanted.content:
                return (content and _parse(content)) or "a command that has just begun"
        return None

    def _is_over(self, holder: Holder | None) -> bool:
        """Whether the holder is gone, or was silent for too long."""
        if holder is not None and holder.machine == machine():
            if not is_running(holder.pid, holder.process_start):
                return True
            if holder.pid == os.getpid() and holder.token not in _here:
                return True  # it could not be removed
        try:
            clock_s = self._state.clock_s()
            return clock_s - self._state.describe(self._path).modified_s > manifests.LAPSE_S
        except LocationNotFoundError:
            return False

    def _read(self) -> bytes | None:
        try:
            return self._state.read_bytes(self._path)
        except LocationNotFoundError:
            return None

    def _beat(self, released: threading.Event) -> None:
        while not released.wait(BEAT_S):
            with self._lock, contextlib.suppress(ScoringError):
                if self._mine is None or self._is_lost:
                    return
                self._renew()

    def _renew(self) -> None:
        """Give a sign of life, if it is ours still."""
        assert self._mine is not None  # noqa: S101
        content: bytes | None = None
        spoke = time.time()
        if not self._is_lost:
            again = replace(self._mine, n_beats=self._mine.n_beats + 1)
            try:
                self._state.swap(self._path, self._mine.content, again.content)
            except ConflictError:
                content = self._read()
                stored = _parse(content) if content else None
                self._is_lost = stored is None or stored.token != self._mine.token
                again = stored or again
            if not self._is_lost:
                self._mine, self._spoke = again, spoke
                return
        holder = _parse(content) if content else None
        raise LeaseError(
            "Another command has taken over the partition, because this one stopped renewing its lease; it stops.",
            self._folder,
            expected=f"a renewal every {BEAT_S:.0f} s",
            found=f"the partition is held by {holder}" if holder else "nobody holds the partition",
            next_step="look at it with `nightscore history JOB PARTITION`, then give the command again",
        )

    def _taken(self, holder: Holder | str) -> LeaseError:
        return LeaseError(
            "Another command is changing this partition; nothing was changed.",
            self._folder,
            expected="a partition that no other command holds",
            found=f"it is held by {holder}",
            next_step="give the command again once that one has ended, or, if it was killed on another "
            f"host, {manifests.LAPSE_S:.0f} s after its last sign of life",
        )


def _waits_for_itself(holder: Holder | str) -> bool:
    return isinstance(holder, Holder) and _here.get(holder.token) == threading.get_ident()


def _parse(content: bytes) -> Holder | None:
    """What a lease's file says; None if it cannot be read."""
    try:
        return Holder(**json.loads(content))
    except (ValueError, TypeError):
        return None
