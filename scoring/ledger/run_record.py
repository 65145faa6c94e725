"""Keeps the manifest of a run while it runs."""

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from nightscore.errors import ConflictError, ScoringError
from nightscore.ledger import liveness
from nightscore.ledger.layout import claim_path, manifest_path
from nightscore.ledger.manifest_files import find_manifest, write_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.process import peak_resident_bytes, take_startup_s
from nightscore.schemas.commands import name_job
from nightscore.schemas.manifest import (
    ErrorRecord,
    InputsRecord,
    Manifest,
    Measures,
    ModelRecord,
    OutputRecord,
    Status,
)
from nightscore.schemas.masking import masked
from nightscore.schemas.partition import show_value

WAIT_FOR_TURN = "wait_for_turn"
"""Stage in which a run waits for others, which are published before it."""
OLD_WAIT_FOR_TURN = "turn"
"""Its name in manifests of older versions."""


def new_run_id(now: datetime) -> str:
    """A UUIDv7: sorts by time.

    Source: RFC 9562, section 5.7: 48 bits of Unix time in ms, version, 12 random bits, variant, 62
    random bits.
    """
    value = int(now.timestamp() * 1000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62
    text = f"{value | secrets.randbits(62):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def waited_for_turn_s(manifest: Manifest) -> float:
    """Seconds that a run waited for others before it published."""
    stages = manifest.measures.stages_s
    return stages.get(WAIT_FOR_TURN, stages.get(OLD_WAIT_FOR_TURN, 0.0))


class RunRecord:
    """The manifest so far; `save` writes it where the next reader looks."""

    def __init__(self, workspace: Workspace, value: str | None, now: datetime, engine: str) -> None:
        """Begin a record. Nothing is written yet.

        Args:
            workspace: Of the job.
            value: Of the partition.
            now: The start, in UTC.
            engine: Version of nightscore.
        """
        job = workspace.job
        self._store, self._folder = workspace.state, workspace.folder(value)
        self._given_as = job.given_as
        self._started = time.perf_counter()
        self._cpu_before_s = time.process_time()
        self._lock = threading.Lock()

        self._last_heartbeat = 0.0
        self._is_superseded = False
        self.manifest = Manifest(
            run_id=new_run_id(now),
            status="running",
            job=job.name,
            partition_key=job.input.partition_key,
            partition=value,
            started_at=now,
            host=socket.gethostname(),
            pid=os.getpid(),
            engine=engine,
            model=ModelRecord(uri=job.model, name="", version=""),
            inputs=InputsRecord(uri=job.input.uri),
            output=OutputRecord(uri=workspace.predictions.url, format=job.output.format),
            measures=Measures(startup_s=take_startup_s()),
        )

    @property
    def run_id(self) -> str:
        """The run's id. It changes once, when the run resumes another one."""
        return self.manifest.run_id

    def resume_from(self, dead: Manifest) -> None:
        """Become the next attempt of a run that died."""
        self.update(run_id=dead.run_id, started_at=dead.started_at, attempts=dead.attempts + 1)

    def update(self, **fields: Any) -> None:
        """Replace fields."""
        self.manifest = self.manifest.model_copy(update=fields)

    def warn(self, *notes: str) -> None:
        """Add warnings."""
        self.update(warnings=(*self.manifest.warnings, *notes))

    def measure(self, **fields: Any) -> None:
        """Replace measures."""
        self.update(measures=self.manifest.measures.model_copy(update=fields))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the wall seconds of a stage, or add them to what it took before."""
        started = time.perf_counter()
        try:
            yield
        finally:
            stages_s = self.manifest.measures.stages_s
            spent_s = stages_s.get(name, 0.0) + time.perf_counter() - started
            self.measure(stages_s=stages_s | {name: round(spent_s, 4)})

    def save(self, status: Status) -> None:
        """Write the manifest with a status.

        Raises:
            ConflictError: Another process has taken the run over.
        """
        with self._lock:
            self._check_owner()
            self.update(status=status)
            self.manifest = write_manifest(self._store, self._folder, self.manifest)

    def is_owner(self) -> bool:
        """Whether this process still owns the run, as far as the store can tell.

        If not, leave its files alone.
        """
        try:
            self.check_owner()
        except ScoringError:
            return False
        return True

    def check_owner(self) -> None:
        """Ask the store before you overwrite what another attempt may have written.

        Raises:
            ConflictError: Another process has taken the run over.
        """
        with self._lock:
            self._check_owner()

    @contextlib.contextmanager
    def heartbeats(self) -> Iterator[None]:
        """Write the manifest again and again, so that other hosts see that this run is alive."""
        done = threading.Event()
        thread = threading.Thread(
            target=self._send_heartbeats, args=(done,), name="heartbeat", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            done.set()

    def _send_heartbeats(self, done: threading.Event) -> None:
        while not done.wait(liveness.HEARTBEAT_S):
            # A heartbeat that fails is made up for by the next one.
            with self._lock, contextlib.suppress(ScoringError):
                is_under_way = self.manifest.status in ("running", "prepared")
                if is_under_way and self._last_heartbeat:
                    self._check_owner()
                    write_manifest(self._store, self._folder, self.manifest)

    def _check_owner(self) -> None:
        """A process that slept (a suspended machine, a stopped container) asks before it writes."""
        now = time.time()
        silent_s = now - self._last_heartbeat

        if self._last_heartbeat and not self._is_superseded:
            self._is_superseded = self._has_successor()

        if self._is_superseded:
            raise ConflictError(
                "Another process has taken over this run, because this one stopped updating it; "
                "it stops.",
                self._folder,
                expected=f"an update every {liveness.HEARTBEAT_S:.0f} s",
                found=f"none for {silent_s:.0f} s",
                next_step="nothing: the other process continues the run",
            )

        self._last_heartbeat = now

    def _has_successor(self) -> bool:
        """Whether another process goes on with this run, or took it for dead.

        A successor claims the next attempt first. It removes its claim once the manifest says how
        the run ended.
        """
        attempts = self.manifest.attempts
        if self._store.exists(claim_path(self.run_id, attempts + 1)):
            return True

        stored = find_manifest(self._store, self._folder, self.run_id)
        if stored is None:
            return False

        has_ended = stored.status not in ("running", "prepared")  # `clean` took it for dead
        return has_ended or stored.attempts > attempts

    def withdraw(self) -> None:
        """Remove the record. Nothing is written to it any more.

        Raises:
            ConflictError: Another process has taken the run over.
        """
        with self._lock:
            self._check_owner()
            self.update(status="unchanged")
            self._store.delete([manifest_path(self._folder, self.run_id)])

    def end(self, status: Status, worker_cpu_s: float = 0.0) -> Manifest:
        """Write the manifest for the last time."""
        cpu_s = time.process_time() - self._cpu_before_s + worker_cpu_s
        self.measure(
            total_s=round(time.perf_counter() - self._started, 4),
            cpu_s=round(cpu_s, 4),
            peak_driver_bytes=peak_resident_bytes(),
        )
        self.update(finished_at=datetime.now(UTC))
        self.save(status)
        return self.manifest

    def end_published(self, worker_cpu_s: float = 0.0) -> Manifest:
        """Record a publication.

        Readers see it already, so a record that cannot be written is a warning.
        """
        try:
            return self.end("published", worker_cpu_s)
        except ScoringError as error:
            self.warn(f"the record of this run could not be written: {error.what}")
            self.update(status="published", location="")
            return self.manifest

    def fail(self, error: BaseException, worker_cpu_s: float = 0.0) -> Manifest:
        """Record a failure. Where even that cannot be written, the returned manifest says so."""
        self.update(error=self._describe(error))

        if self._is_superseded:
            self.update(status="failed")
            return self.manifest

        try:
            return self.end("failed", worker_cpu_s)
        except ScoringError as second:
            self.warn(f"this record could not be written: {second.what}")
            self.update(status="failed", location="")
            return self.manifest

    def _describe(self, error: BaseException) -> ErrorRecord:
        """The error, with commands in it that can be pasted."""
        shown_value = show_value(self.manifest.partition)

        def named(text: str) -> str:
            return name_job(text, self._given_as, shown_value)

        kind = type(error).__name__
        message = named(masked(str(error)) or kind)
        if not isinstance(error, ScoringError):
            return ErrorRecord(type=kind, message=message)

        return ErrorRecord(
            type=kind,
            message=message,
            retryable=error.retryable,
            what=named(error.what),
            where=error.where,
            expected=named(error.expected),
            found=named(error.found),
            next_step=named(error.next_step),
        )
