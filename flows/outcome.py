"""How the scoring of a partition ended, as a child run tells its parent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import State


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one partition."""

    partition: str
    is_done: bool
    message: str
    n_rows: int = 0
    """Scored; 0 if it failed."""


async def outcomes_of(state: State[Any], partitions: Sequence[str]) -> list[Outcome]:
    """What a child run says of its partitions; all of them failed with it if it could not say."""
    found = await state.aresult(raise_on_failure=False)
    if isinstance(found, list) and all(isinstance(outcome, Outcome) for outcome in found):
        return found
    return [Outcome(partition, False, state.message or str(state.name)) for partition in partitions]
