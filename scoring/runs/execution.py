"""The life of one run: heartbeats while it is under way, and a record however it ends."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from nightscore.engine.events import Event, Listener, RunEnded, log_event
from nightscore.engine.pool import Pool
from nightscore.errors import ConflictError, ContractError, InterruptedRunError, ScoringError
from nightscore.ledger.layout import sealed_history_path, staging_folder
from nightscore.ledger.lease import Lease
from nightscore.ledger.output_formats import format_of
from nightscore.ledger.run_record import RunRecord
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publisher
from nightscore.process import installed_version
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value

if TYPE_CHECKING:
    from nightscore.engine.shard import ShardResult

ENGINE = installed_version("nightscore")


class RunInterrupted(KeyboardInterrupt):
    """A run was stopped from outside."""

    def __init__(self, manifest: Manifest) -> None:
        """Carry the record of the run, which says that it failed."""
        super().__init__(manifest)
        self.manifest = manifest


class Companions(Protocol):
    """Runs that score the same rows, and end after this one: its challengers."""

    def publish(self, manifest: Manifest) -> Manifest:
        """Publish them, now that the run has ended; returns its record with what became of them."""
        ...

    def fail(self, error: BaseException) -> None:
        """Record that they are not published, since the run ended with this error."""
        ...

    def published_spaces(self) -> list[Workspace]:
        """The workspaces of those that were published."""
        ...


@dataclass(slots=True)
class RunResults:
    """The shards that are finished."""

    scored: "list[ShardResult]" = field(default_factory=list)
    """By this attempt."""
    resumed: "list[ShardResult]" = field(default_factory=list)
    """By an earlier attempt that died."""

    def in_order(self) -> "list[ShardResult]":
        """All finished shards, in the order of the partition."""
        return sorted([*self.resumed, *self.scored], key=lambda result: result.index)

    def discard(self, results: "Sequence[ShardResult]") -> None:
        """Forget some shards: they are scored again."""
        discarded = {result.index for result in results}
        self.scored = [result for result in self.scored if result.index not in discarded]
        self.resumed = [result for result in self.resumed if result.index not in discarded]


class Execution:
    """One run while it is under way. The steps of a run take it, and record what they do in it."""

    def __init__(
        self,
        workspace: Workspace,
        value: str | None,
        *,
        pool: Pool,
        cache: ModelCache,
        now: datetime,
        listeners: Sequence[Listener] = (),
        command: str = "run",
    ) -> None:
        """Begin a run. Nothing is read or written yet.

        Args:
            workspace: Of the job.
            value: Of the partition.
            pool: Workers.
            cache: Models of this host.
            now: The start, in UTC.
            listeners: Told what happens, besides the log.
            command: Named to other commands that wait for the lease.
        """
        self.workspace, self.job = workspace, workspace.job
        self.value, self.folder = value, workspace.folder(value)
        self.pool, self.cache = pool, cache
        self.record = RunRecord(workspace, value, now, ENGINE)
        self.lease = Lease(workspace.job, self.folder, command)
        """Held while a dead run is taken over, and while results are published."""

        self.results = RunResults()
        self.extra_files: list[str] = []
        """Files of this run in the parts store, beside the workers' parts."""
        self.companions: Companions | None = None
        """Runs that end after this one. None: there are none."""
        self.own_cpu_s: float | None = None
        """Of a challenger: CPU seconds of its part in the shards, which the pool does not tell
        apart."""
        self.committing: Publisher | None = None
        """Set once readers may see this run: its files must then stay."""

        self._listeners = [log_event, *listeners]
        self._cpu_before_s = sum(pool.cpu_s_by_pid.values())

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.record.run_id

    @property
    def shown_value(self) -> str:
        """The partition, as people see it."""
        return show_value(self.value)

    @property
    def worker_cpu_s(self) -> float:
        """CPU seconds that the workers have spent on this run, and on its challengers."""
        if self.own_cpu_s is not None:
            return self.own_cpu_s
        return sum(self.pool.cpu_s_by_pid.values()) - self._cpu_before_s

    @property
    def has_listeners(self) -> bool:
        """Whether anybody listens, besides the log."""
        return len(self._listeners) > 1

    def emit(self, event: Event) -> None:
        """Tell the listeners."""
        for listener in self._listeners:
            listener(event)

    def execute(self, steps: Callable[[], Manifest]) -> Manifest:
        """Take the steps of the run, and leave a record however they end.

        Raises:
            RunInterrupted: Ctrl-C or SIGTERM. The run is recorded as failed; nothing was published.
        """
        try:
            with self.record.heartbeats():
                manifest = steps()
        except ScoringError as error:
            manifest = self.fail(error)
        except KeyboardInterrupt as error:
            self.pool.kill()
            interrupted = InterruptedRunError(
                "The run was interrupted; nothing was published.",
                self.folder,
                next_step="run again: it resumes from the finished shards",
            )
            raise RunInterrupted(self.fail(interrupted)) from error
        except BaseException as error:
            self.pool.kill()
            self.fail(error)
            raise
        finally:
            self.lease.release()

        self.emit(self._ended(manifest))
        return manifest

    def fail(self, error: BaseException) -> Manifest:
        """Record a failure, or a publication if the commit succeeded after all."""
        fate = self._fate(error)
        if fate == "published":
            return self.record.end_published(self.worker_cpu_s)

        is_resumable = getattr(error, "resumable", False)
        if fate == "unpublished" and not is_resumable and self.record.is_owner():
            self._sweep()
        return self.record.fail(error, self.worker_cpu_s)

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints: there will be no next attempt."""
        from nightscore.engine.checkpoints import forget

        with contextlib.suppress(ScoringError, OSError):
            forget(self.job, self.run_id)

    def forget_parts(self) -> None:
        """Remove what the workers wrote, once its rows stand in another file or never will."""
        self.forget_checkpoints()
        paths = [result.part.file.path for result in self.results.scored]
        with contextlib.suppress(ScoringError, OSError):
            self.workspace.parts.delete(paths)

    def withdraw(self) -> None:
        """Remove the run and what it has written: it has changed nothing that is worth a record."""
        quarantined = [file.path for file in self.record.manifest.quarantine.files]
        self._sweep()
        with contextlib.suppress(ScoringError, OSError):
            self.workspace.state.delete(quarantined)
        self.record.withdraw()

    def _fate(self, error: BaseException) -> Literal["published", "unpublished", "unknown"]:
        """Whether readers see this run. Files of unknown fate are never removed."""
        # An earlier attempt that died may have come to its commit unseen.
        if self.committing is None and self.record.manifest.attempts == 1:
            return "unpublished"

        try:
            live = (self.committing or open_publisher(self.workspace)).live(self.value)
        except ScoringError:
            return "unknown"

        if live is not None and live.run_id == self.run_id:
            return "published"

        # These two say that the commit was refused. After any other error it may still arrive.
        is_refused = isinstance(error, (ConflictError, ContractError))
        return "unpublished" if self.committing is None or is_refused else "unknown"

    def _sweep(self) -> None:
        """Remove what an unpublished run wrote. What cannot be removed now is left to `clean`."""
        self.forget_parts()
        state = self.workspace.state
        samples = [file.path for one in self.results.in_order() for file in one.sample_files]
        with contextlib.suppress(ScoringError, OSError):
            state.delete(samples)  # nobody may read rows that were not published
        with contextlib.suppress(ScoringError, OSError):
            self.workspace.parts.delete(self.extra_files)
            if not format_of(self.job).writes_in_place:
                state.delete_tree(staging_folder(self.run_id))
                state.delete([sealed_history_path(self.folder, self.run_id)])

    def _ended(self, manifest: Manifest) -> RunEnded:
        counts = manifest.counts
        total_s = manifest.measures.total_s if manifest.status != "unchanged" else 0.0
        return RunEnded(
            manifest.run_id,
            self.shown_value,
            manifest.status,
            counts.rows_in,
            counts.rows_quarantined,
            total_s,
        )
