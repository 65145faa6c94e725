"""How the scoring of a partition ended, as a child run reports it to its parent."""

import contextlib
import functools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec

from prefect.client.schemas.objects import State
from prefect.exceptions import MissingResult
from prefect.logging import get_run_logger
from prefect.states import Failed

from nightscore.errors import ScoringError
from nightscore.schemas.manifest import ErrorRecord

P = ParamSpec("P")

WHOLE_RUN = ""
"""Stands for the partition of an outcome if a run failed before, or apart from, any partition."""

_is_backfill: ContextVar[bool] = ContextVar("is_backfill", default=False)


@contextlib.contextmanager
def as_backfill() -> Iterator[None]:
    """Mark the flows that are called inside as part of a backfill.

    The backfill itself informs people, and compares later partitions once at its end. Tags cannot
    mark its flows, because a job or a partition may be named `backfill`.
    """
    token = _is_backfill.set(True)
    try:
        yield
    finally:
        _is_backfill.reset(token)


def is_backfill() -> bool:
    """Whether a backfill called this flow."""
    return _is_backfill.get()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one partition."""

    partition: str
    is_done: bool
    message: str
    n_rows: int = 0
    """Rows scored; 0 if it failed."""
    is_held: bool = False
    """A gate holds it, or somebody rejected it: it waits for people, and is no failure."""
    command: str = ""
    """Scores it again, once the cause of its failure is mended. Empty: there is none."""
    error: ErrorRecord | None = None
    """Why it failed, in parts. None: only the message tells."""

    @property
    def is_failed(self) -> bool:
        """Whether something went wrong."""
        return not self.is_done and not self.is_held


async def outcomes_of(state: State[Any], partitions: Sequence[str]) -> list[Outcome]:
    """The outcome of each partition of a child run.

    If the run's result is missing, each partition has the outcome of the whole run. That happens
    after an error, and after a lost answer: the server is then asked for the state, and the server
    stores no results.
    """
    with contextlib.suppress(MissingResult):
        outcomes = await state.aresult(raise_on_failure=False)
        if isinstance(outcomes, list) and all(isinstance(item, Outcome) for item in outcomes):
            return outcomes

    message = state.message or str(state.name)
    return [Outcome(partition, state.is_completed(), message) for partition in partitions]


def fail_with_reason(
    function: Callable[P, Coroutine[Any, Any, State[Any]]],
) -> Callable[P, Coroutine[Any, Any, State[Any]]]:
    """Turn a `ScoringError` of a flow into a failed state whose message is the error.

    The Prefect UI shows the first words of a state's message.
    """

    @functools.wraps(function)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> State[Any]:
        try:
            return await function(*args, **kwargs)
        except ScoringError as error:
            get_run_logger().error("%s", error)
            return Failed(message=str(error))

    return wrapped
