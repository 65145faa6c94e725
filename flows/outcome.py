"""How the scoring of a partition ended, as a child run tells its parent."""

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

P = ParamSpec("P")

_is_backfill: ContextVar[bool] = ContextVar("is_backfill", default=False)


@contextlib.contextmanager
def as_backfill() -> Iterator[None]:
    """Flows that are called inside are a backfill's: it tells people, and compares at its end.

    Not told by tags: a job or a partition may be named `backfill`.
    """
    token = _is_backfill.set(True)
    try:
        yield
    finally:
        _is_backfill.reset(token)


def is_backfill() -> bool:
    """Whether this flow was called by a backfill."""
    return _is_backfill.get()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one partition."""

    partition: str
    is_done: bool
    message: str
    n_rows: int = 0
    """Scored; 0 if it failed."""


async def outcomes_of(state: State[Any], partitions: Sequence[str]) -> list[Outcome]:
    """What a child run says of its partitions; all of them ended as it did if it cannot say.

    It cannot where the server was asked for its state, which keeps no results: after an answer that was lost.
    """
    with contextlib.suppress(MissingResult):
        found = await state.aresult(raise_on_failure=False)
        if isinstance(found, list) and all(isinstance(outcome, Outcome) for outcome in found):
            return found
    return [
        Outcome(partition, state.is_completed(), state.message or str(state.name))
        for partition in partitions
    ]


def tells_reason(
    function: Callable[P, Coroutine[Any, Any, State[Any]]],
) -> Callable[P, Coroutine[Any, Any, State[Any]]]:
    """A flow's function whose refusal is its state's message: the UI shows the first words of it."""

    @functools.wraps(function)
    async def told(*args: P.args, **kwargs: P.kwargs) -> State[Any]:
        try:
            return await function(*args, **kwargs)
        except ScoringError as error:
            get_run_logger().error("%s", error)
            return Failed(message=str(error))

    return told
