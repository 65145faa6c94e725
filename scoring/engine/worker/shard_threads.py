"""Shards in threads of one worker process: handed over in one call, fetched in another."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from nightscore.engine.shard import ShardResult, ShardTask

MAX_THREADS = 1_024
"""More than a machine has cores: the driver says how many shards are under way at once."""


class _ShardThreads:
    """The threads of this process, and the shards that they score."""

    def __init__(self) -> None:
        self.running: dict[Future[ShardResult], int] = {}
        self._executor: ThreadPoolExecutor | None = None

    def start(self, score: Callable[[ShardTask], ShardResult], task: ShardTask) -> None:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="shard")
        self.running[self._executor.submit(score, task)] = task.shard.index


_threads = _ShardThreads()


def exchange(
    score: Callable[[ShardTask], ShardResult], tasks: Sequence[ShardTask]
) -> list[tuple[int, ShardResult | Exception]]:
    """Start shards in threads of this process, and wait until one of those under way is done.

    Args:
        score: Scores a shard.
        tasks: New shards; none: only wait.

    Returns:
        Index and result, or exception, of each shard that is done; never empty.
    """
    for task in tasks:
        _threads.start(score, task)

    done, _ = wait(_threads.running, return_when=FIRST_COMPLETED)

    return [(_threads.running.pop(future), _outcome(future)) for future in done]


def _outcome(future: Future[ShardResult]) -> ShardResult | Exception:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 (the driver raises it)
        return error
