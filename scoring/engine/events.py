"""Events of a run, for its listeners: a progress bar, the log, a flow."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("nightscore")


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """The run has a plan; nothing was read yet."""

    run_id: str
    partition: str
    n_rows: int
    n_bytes: int
    n_shards: int
    n_workers: int
    n_rows_resumed: int = 0
    """Rows that an earlier attempt has scored."""


@dataclass(frozen=True, slots=True)
class RowsScored:
    """Rows are scored, of shards that are finished or under way.

    Told a few times a second at most, in a thread of its own, and only by workers of this machine.
    """

    run_id: str
    partition: str
    n_rows: int
    """Of this attempt, so far. It never falls."""


@dataclass(frozen=True, slots=True)
class ShardScored:
    """A shard's predictions are written."""

    run_id: str
    partition: str
    index: int
    n_rows: int
    n_quarantined: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class ShardLost:
    """A worker died; its shard is scored again."""

    run_id: str
    partition: str
    index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The manifest is written."""

    run_id: str
    partition: str
    status: str
    n_rows: int
    n_quarantined: int
    total_s: float


Event = RunPlanned | RowsScored | ShardScored | ShardLost | RunEnded
Listener = Callable[[Event], None]


@dataclass(slots=True)
class _RunRows:
    """Rows of one run that are done."""

    n_resumed: int = 0
    n_in_shards: int = 0
    """Of finished shards."""
    n_noted: int = 0
    """Of these and of shards under way, as far as their workers say so."""

    @property
    def n_done(self) -> int:
        return self.n_resumed + max(self.n_in_shards, self.n_noted)


class RowCount:
    """Counts the rows that are done, of one run or of those of a backfill, by their events."""

    def __init__(self) -> None:
        """Nothing is done yet."""
        self._runs: dict[str, _RunRows] = {}

    @property
    def n_runs(self) -> int:
        """Runs that it has heard of."""
        return len(self._runs)

    @property
    def n_done(self) -> int:
        """Rows of all runs."""
        return sum(rows.n_done for rows in self._runs.values())

    def listen(self, event: Event) -> None:
        """Count what an event tells of."""
        rows = self._runs.setdefault(event.run_id, _RunRows())
        match event:
            case RunPlanned():
                rows.n_resumed = event.n_rows_resumed
            case RowsScored():
                rows.n_noted = event.n_rows
            case ShardScored():
                rows.n_in_shards += event.n_rows
            case _:
                pass


def log_event(event: Event) -> None:
    """Log one plain line for each event, without those that only move a progress bar."""
    if isinstance(event, RowsScored):
        return

    level = logging.WARNING if isinstance(event, ShardLost) else logging.INFO
    logger.log(level, "run_id=%s partition=%s %s", event.run_id, event.partition, _in_words(event))


def _in_words(event: RunPlanned | ShardScored | ShardLost | RunEnded) -> str:
    """What an event's line says beside the run and the partition."""
    match event:
        case RunPlanned():
            return (
                f"planned rows={event.n_rows} bytes={event.n_bytes} shards={event.n_shards} "
                f"workers={event.n_workers} resumed_rows={event.n_rows_resumed}"
            )
        case ShardScored():
            return f"shard={event.index} {_counts(event, event.wall_s)}"
        case ShardLost():
            return f"shard={event.index} lost with its worker, attempt {event.attempt}"
        case RunEnded():
            return f"{event.status} {_counts(event, event.total_s)}"


def _counts(event: ShardScored | RunEnded, seconds: float) -> str:
    return f"rows={event.n_rows} quarantined={event.n_quarantined} seconds={seconds:.2f}"
