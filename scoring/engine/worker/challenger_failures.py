"""Why challengers end before their shard does, in sentences, and which have ended here."""

import threading
from collections import OrderedDict
from dataclasses import replace

from nightscore.engine.shard import ShardTask
from nightscore.errors import CorruptFileError, ScoringError

GRACE_S = 5.0
"""Seconds that a challenger may take in any case: its first call may import a library."""
MAX_REMEMBERED = 1_000
"""Runs of challengers that a process remembers as ended."""
MAX_MESSAGE = 500
WITHOUT = "with challengers the champion's shard failed, and it was scored without them: {}"
TRIED_AGAIN = "the shard was tried again, which is done without challengers"


MAY_BE_THEIRS = (MemoryError, CorruptFileError)
"""What the champion's shard may raise because of its challengers: they take memory, and they have
columns that only they read."""


class ChallengerEndedError(Exception):
    """A challenger does not go on. The text says why."""


class _EndedRuns:
    """Runs of challengers that have ended in this process.

    A run that lacks one shard is not published, so that its other shards are not worth scoring.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: OrderedDict[str, str] = OrderedDict()

    def note(self, run_id: str, reason: str) -> None:
        with self._lock:
            self._reasons.setdefault(run_id, reason)
            if len(self._reasons) > MAX_REMEMBERED:
                self._reasons.popitem(last=False)

    def reason(self, run_id: str) -> str:
        with self._lock:
            return self._reasons.get(run_id, "")


_ended = _EndedRuns()


def note_ended(run_id: str, reason: str) -> None:
    """Remember that a challenger's run has ended, and why."""
    _ended.note(run_id, reason)


def known_end(challenger: ShardTask, champion: ShardTask) -> str:
    """Why a challenger does not even begin with a shard; empty: it does.

    Args:
        challenger: Its own task.
        champion: The task of the champion.
    """
    if challenger.end_reason:
        return challenger.end_reason
    if not champion.is_first_try:
        return TRIED_AGAIN

    reason = _ended.reason(challenger.run_id)
    return f"it has ended in another shard: {reason}" if reason else ""


def without_challengers(task: ShardTask, error: Exception) -> ShardTask:
    """The same task, whose challengers have all ended.

    Args:
        task: A task that has failed with its challengers.
        error: How.
    """
    reason = WITHOUT.format(describe(error))
    ended = [replace(challenger, end_reason=reason) for challenger in task.challengers]
    return replace(task, challengers=tuple(ended))


def check_overhead(challenger_s: float, champion_s: float, max_overhead: float) -> None:
    """End a challenger that is too slow.

    Args:
        challenger_s: Wall seconds of its predictions in a shard so far.
        champion_s: Wall seconds of the champion for the same rows: reading, predicting, counting
            and writing.
        max_overhead: How often the champion's seconds it may take, beyond `GRACE_S`.

    Raises:
        ChallengerEndedError: It takes more.
    """
    if challenger_s <= max_overhead * champion_s + GRACE_S:
        return

    raise ChallengerEndedError(
        f"it is too slow: its predictions took {challenger_s:.1f} s where all that the champion "
        f"did took {champion_s:.1f} s (release.max_overhead: {max_overhead:g})"
    )


def describe(error: BaseException) -> str:
    """An exception of a challenger in a sentence."""
    if isinstance(error, ChallengerEndedError):
        return str(error)
    if isinstance(error, MemoryError):
        cause = f" ({error})" if str(error) else ""
        return f"it needs more memory than the shard has beside the champion{cause}"

    lines = str(error).strip().splitlines()
    message = " ".join(line.strip() for line in lines)[:MAX_MESSAGE]
    if isinstance(error, ScoringError):
        return message

    return f"it raised {type(error).__name__}" + (f": {message}" if message else "")
