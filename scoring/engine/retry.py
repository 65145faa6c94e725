"""How often a shard is tried again, and how: the one policy of all worker backends."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nightscore.errors import MemoryLimitError, WorkerError

if TYPE_CHECKING:
    from nightscore.engine.shard import ShardTask

MAX_ATTEMPTS = 4
"""Attempts at a shard whose worker dies. A part's name carries the number of its attempt."""
MAX_HUNG = 2
"""Attempts at a shard that does not finish in time. Each costs `limits.shard_minutes`."""
ALONE_FROM_ATTEMPT = 2
"""From here on a shard is scored apart from others, if a worker's death costs all of them."""
CALL_ATTEMPTS = 2
"""Attempts at any other call whose worker dies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The next steps that a backend's errors name."""

    call_died: str
    """Workers died in a call."""
    call_starved: str
    """A call has no memory."""
    shard_died: str
    """Workers died at a shard."""
    shard_starved: str
    """A shard has no memory, even alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostShard:
    """A shard whose worker ended before it had a result."""

    task: "ShardTask"
    has_hung: bool = False
    """The worker was ended because it did not finish in time."""
    worker: str = ""
    """Name of the worker, where it has one."""
    cause: str = ""
    """How the worker ended, where that is known."""

    @property
    def where(self) -> str:
        """The rows, and the worker that had them."""
        return f"{self.task.where} (on {self.worker})" if self.worker else self.task.where


def next_attempt(lost: LostShard, timeout_s: float, advice: Advice) -> "ShardTask":
    """The task of a lost shard, under the number of its next attempt.

    Args:
        lost: The shard, and what became of its worker.
        timeout_s: Seconds that each attempt has.
        advice: Next steps for the errors.

    Raises:
        WorkerError: The shard has hung `MAX_HUNG` times, or has had `MAX_ATTEMPTS`.
    """
    task = lost.task
    n_hung = task.n_hung + lost.has_hung

    if lost.has_hung and n_hung == MAX_HUNG:
        raise WorkerError(
            f"The worker of shard {task.shard.index} hung; nothing was published.",
            lost.where,
            expected=f"an end within {timeout_s / 60:g} minutes (limits.shard_minutes)",
            found=f"no end, {MAX_HUNG} times",
            next_step="check the store, which neither answers nor fails; or raise "
            "limits.shard_minutes",
        )

    if task.attempt + 1 >= MAX_ATTEMPTS:
        raise WorkerError(
            f"The worker of shard {task.shard.index} died {MAX_ATTEMPTS} times; "
            "nothing was published.",
            lost.where,
            found=lost.cause,
            next_step=advice.shard_died,
        )

    return replace(task, attempt=task.attempt + 1, n_hung=n_hung)


def retry_alone(
    task: "ShardTask", error: MemoryError, advice: Advice, *, allowed: str, memory_bytes: int
) -> "ShardTask":
    """The task of a shard that had no memory, to be scored while no other is.

    Args:
        task: The shard's task.
        error: What it has raised.
        advice: Next steps for the error.
        allowed: What the shard may take, in words; empty: nobody knows.
        memory_bytes: What it may take when it is alone.

    Raises:
        MemoryLimitError: It was alone already.
    """
    if task.is_alone:
        raise MemoryLimitError(
            f"Shard {task.shard.index} does not fit into memory, even alone; "
            "nothing was published.",
            task.where,
            expected=allowed,
            found=str(error),
            next_step=advice.shard_starved,
        ) from error

    return replace(task, is_alone=True, memory_bytes=memory_bytes)


def runs_apart(task: "ShardTask") -> bool:
    """Whether a retried shard is a suspect: it shares no pool of processes with other shards."""
    return task.n_hung > 0 or task.attempt >= ALONE_FROM_ATTEMPT
