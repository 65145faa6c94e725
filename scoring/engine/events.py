"""What happens during a run, for those who watch: a progress bar, the log, a flow."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("nightscore")


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """The plan stands; nothing was read yet."""

    run_id: str
    partition: str
    n_rows: int
    n_bytes: int
    n_shards: int
    n_workers: int
    n_rows_resumed: int = 0
    """Scored by an earlier attempt."""


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


Event = RunPlanned | ShardScored | ShardLost | RunEnded
Listener = Callable[[Event], None]


def log_event(event: Event) -> None:
    """One plain line an event."""
    head = f"run_id={event.run_id} partition={event.partition}"
    match event:
        case RunPlanned():
            logger.info(
                "%s planned rows=%d bytes=%d shards=%d workers=%d resumed_rows=%d",
                head, event.n_rows, event.n_bytes, event.n_shards, event.n_workers, event.n_rows_resumed,
            )  # fmt: skip
        case ShardScored():
            logger.info(
                "%s shard=%d rows=%d quarantined=%d seconds=%.2f",
                head, event.index, event.n_rows, event.n_quarantined, event.wall_s,
            )  # fmt: skip
        case ShardLost():
            logger.warning(
                "%s shard=%d lost with its worker, attempt %d", head, event.index, event.attempt
            )
        case RunEnded():
            logger.info(
                "%s %s rows=%d quarantined=%d seconds=%.2f",
                head, event.status, event.n_rows, event.n_quarantined, event.total_s,
            )  # fmt: skip
