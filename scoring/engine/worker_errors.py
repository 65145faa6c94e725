"""Errors for calls whose workers hang, die or have no memory, and for runs that are stopped."""

from collections.abc import Callable
from typing import Any

from nightscore.engine.retry import CALL_ATTEMPTS, Advice
from nightscore.errors import InterruptedRunError, MemoryLimitError, WorkerError, WorkerHungError


def call_hung(function: Callable[..., Any], timeout_s: float, worker: str = "") -> WorkerHungError:
    """The error for a call that did not finish in time."""
    return WorkerHungError(
        f"A worker did not come back from {_name(function)}; it was ended.",
        worker,
        expected=f"an end within {timeout_s / 60:g} minutes",
        found="none",
        next_step="look at what else runs on this machine, and at the model; "
        "or raise limits.shard_minutes",
    )


def call_starved(
    function: Callable[..., Any], error: MemoryError, advice: Advice
) -> MemoryLimitError:
    """The error for a call that has no memory."""
    return MemoryLimitError(
        f"A worker has no memory for {_name(function)}; nothing was published.",
        found=first_line(error),
        next_step=advice.call_starved,
    )


def call_died(
    function: Callable[..., Any], cause: str, advice: Advice, worker: str = ""
) -> WorkerError:
    """The error for a call in which one worker after another died."""
    return WorkerError(
        f"Workers died {CALL_ATTEMPTS} times in {_name(function)}.",
        worker,
        found=cause,
        next_step=advice.call_died,
    )


def run_stopped(reason: str) -> InterruptedRunError:
    """The error for a run whose pool was stopped."""
    return InterruptedRunError(
        f"The run {reason}; nothing was published.",
        next_step="run again: it resumes from the finished shards",
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "a call")
