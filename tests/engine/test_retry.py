"""How often a shard is tried again: one policy for all worker backends."""

import dataclasses
from typing import Any

import pytest

from nightscore.engine.retry import (
    MAX_ATTEMPTS,
    MAX_HUNG,
    Advice,
    LostShard,
    next_attempt,
    retry_alone,
    runs_apart,
)
from nightscore.engine.shard import ShardTask
from nightscore.errors import MemoryLimitError, WorkerError
from nightscore.schemas.partition import InputFile, Piece, Shard

ADVICE = Advice(call_died="a", call_starved="b", shard_died="c", shard_starved="d")


def task(**changes: Any) -> ShardTask:
    piece = Piece(InputFile("ds=x/p0.parquet", 1, "1"), (0,), 100, 50)
    fields: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(ShardTask))
    fields |= {
        "shard": Shard(3, (piece,), 50, 1),
        "attempt": 0,
        "first_attempt": 0,
        "n_hung": 0,
        "is_alone": False,
        "memory_bytes": 10,
    }
    return ShardTask(**(fields | changes))


def test_a_shard_whose_worker_dies_has_a_new_number_at_each_attempt() -> None:
    current = task(first_attempt=8)
    numbers = []
    while current.attempt < MAX_ATTEMPTS - 1:
        current = next_attempt(LostShard(task=current), 60.0, ADVICE)
        numbers.append(current.part_attempt)
    assert numbers == [9, 10, 11]

    lost = LostShard(task=current, worker="node 1", cause="signal 9")
    with pytest.raises(WorkerError, match="died 4 times") as raised:
        next_attempt(lost, 60.0, ADVICE)
    assert "ds=x/p0.parquet, 50 rows from row 100 (on node 1)" in str(raised.value)
    assert raised.value.found == "signal 9"
    assert raised.value.next_step == "c"


def test_a_shard_that_hangs_has_one_more_attempt() -> None:
    again = next_attempt(LostShard(task=task(), has_hung=True), 60.0, ADVICE)
    assert (again.attempt, again.n_hung) == (1, 1)
    died = next_attempt(LostShard(task=again), 60.0, ADVICE)
    assert (died.attempt, died.n_hung) == (2, 1)
    with pytest.raises(WorkerError, match="hung; nothing was published") as raised:
        next_attempt(LostShard(task=again, has_hung=True), 90.0, ADVICE)
    assert raised.value.expected == "an end within 1.5 minutes (limits.shard_minutes)"
    assert raised.value.found == f"no end, {MAX_HUNG} times"


def test_a_shard_without_memory_is_scored_alone_and_once() -> None:
    alone = retry_alone(task(), MemoryError("x"), ADVICE, allowed="at most 10", memory_bytes=40)
    assert (alone.is_alone, alone.memory_bytes, alone.attempt) == (True, 40, 0)
    with pytest.raises(MemoryLimitError, match="even alone") as raised:
        retry_alone(alone, MemoryError("1 GB"), ADVICE, allowed="at most 40", memory_bytes=160)
    assert (raised.value.expected, raised.value.found) == ("at most 40", "1 GB")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, False), ({"attempt": 1}, False), ({"attempt": 2}, True), ({"n_hung": 1}, True)],
)
def test_suspects_are_scored_apart(changes: dict[str, int], expected: bool) -> None:
    assert runs_apart(task(**changes)) is expected
