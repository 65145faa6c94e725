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
from nightscore.ledger.layout import claim_path, predictions_store, state_store
from nightscore.ledger.manifests import find_manifest, write_manifest
from nightscore.process import peak_resident_bytes
from nightscore.schemas.job import ScoringJob
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


def new_run_id(now: datetime) -> str:
    """A UUIDv7: sorts by time.

    Source: RFC 9562, section 5.7: 48 bits of Unix time in ms, version, 12 random bits, variant, 62 random bits.
    """
    value = int(now.timestamp() * 1000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62
    text = f"{value | secrets.randbits(62):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


BEAT_S = 20.0
"""Seconds between signs of life of a running run: its manifest is written again."""


TURN = "turn"
"""Stage in which a run waits for others, which are published before it."""


class RunRecord:
    """The manifest so far; `save` writes it where the next reader looks."""

    def __init__(
        self, job: ScoringJob, value: str | None, folder: str, now: datetime, engine: str
    ) -> None:
        self._store, self._folder = state_store(job), folder
        self._started = time.perf_counter()
        self._lock = threading.Lock()
        self._spoke = 0.0
        self._is_superseded = False
        self._cpu = time.process_time()
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
            output=OutputRecord(uri=predictions_store(job).url, format=job.output.format),
        )

    @property
    def run_id(self) -> str:
        return self.manifest.run_id

    def go_on(self, dead: Manifest) -> None:
        """Become the next attempt of a run that died."""
        fields = {
            "run_id": dead.run_id,
            "started_at": dead.started_at,
            "attempts": dead.attempts + 1,
        }
        self.update(**fields)

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
        """Add the wall seconds of a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = self.manifest.measures.stages_s | {
                name: round(time.perf_counter() - started, 4)
            }
            self.measure(stages_s=spent)

    def save(self, status: Status) -> None:
        """Write the manifest with a status.

        Raises:
            ConflictError: This process was silent for so long that another one has taken the run over.
        """
        with self._lock:
            self._check_mine()
            self.update(status=status)
            self.manifest = write_manifest(self._store, self._folder, self.manifest)

    def is_mine(self) -> bool:
        """Whether no other process goes on with this run, as far as the store can tell: else hands off its files."""
        try:
            self.check_mine()
        except ScoringError:
            return False
        return True

    def check_mine(self) -> None:
        """Ask before what another attempt may have written is written over.

        Raises:
            ConflictError: Another process goes on with this run.
        """
        with self._lock:
            self._check_mine()

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Give a sign of life again and again, so that other hosts know that this run is alive."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT_S):
                with self._lock, contextlib.suppress(ScoringError):
                    if self.manifest.status in ("running", "prepared") and self._spoke:
                        self._check_mine()
                        write_manifest(self._store, self._folder, self.manifest)

        thread = threading.Thread(target=beat, name="beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()

    def _check_mine(self) -> None:
        """A process that slept (a suspended machine, a stopped container) asks before it writes.

        Who takes a run over claims its next attempt first, and forgets the claim once its manifest says the end.
        """
        now, attempts = time.time(), self.manifest.attempts
        silent_s = now - self._spoke
        if self._spoke and not self._is_superseded:
            is_claimed = self._store.exists(claim_path(self.run_id, attempts + 1))
            stored = None if is_claimed else find_manifest(self._store, self._folder, self.run_id)
            has_ended = stored is not None and stored.status not in (
                "running",
                "prepared",
            )  # `clean` took it for dead
            self._is_superseded = (
                is_claimed or has_ended or (stored is not None and stored.attempts > attempts)
            )
        if self._is_superseded:
            raise ConflictError(
                "Another process has taken over this run, because this one stopped updating it; it stops.",
                self._folder,
                expected=f"an update every {BEAT_S:.0f} s",
                found=f"none for {silent_s:.0f} s",
                next_step="nothing: the other process continues the run",
            )
        self._spoke = now

    def end(self, status: Status, worker_cpu_s: float = 0.0) -> Manifest:
        """Write the manifest for the last time."""
        total = time.perf_counter() - self._started
        measures: Measures = self.manifest.measures.model_copy(
            update={
                "total_s": round(total, 4),
                "cpu_s": round(time.process_time() - self._cpu + worker_cpu_s, 4),
                "peak_driver_bytes": peak_resident_bytes(),
            }
        )
        self.update(measures=measures, finished_at=datetime.now(UTC))
        self.save(status)
        return self.manifest

    def end_published(self, worker_cpu_s: float = 0.0) -> Manifest:
        """Record a publication; readers see it, so that a record which cannot be written is a warning."""
        try:
            return self.end("published", worker_cpu_s)
        except ScoringError as error:
            self.warn(f"the record of this run could not be written: {error.what}")
            self.update(status="published", location="")
            return self.manifest

    def fail(self, error: BaseException, worker_cpu_s: float = 0.0) -> Manifest:
        """Record a failure; where even that cannot be written, the manifest says so itself."""
        message = masked(str(error)) or type(error).__name__
        retryable = isinstance(error, ScoringError) and error.retryable
        self.update(
            error=ErrorRecord(type=type(error).__name__, message=message, retryable=retryable)
        )
        if self._is_superseded:
            self.update(status="failed")
            return self.manifest
        try:
            return self.end("failed", worker_cpu_s)
        except ScoringError as second:
            self.warn(f"this record could not be written: {second.what}")
            self.update(status="failed", location="")
            return self.manifest
