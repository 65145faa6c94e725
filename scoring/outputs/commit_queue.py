"""Lets one of several threads commit for all that wait."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from nightscore.ledger.live import Live
from nightscore.outputs.publisher import Publication
from nightscore.outputs.writer import WrittenPart

TOGETHER = 4
"""Publications for which one commit waits, if others are about to be submitted. A commit costs as
much CPU time as a sixth of scoring a small partition."""
PATIENCE_S = 0.3
"""How long a commit waits for others."""
LOOK_AGAIN_S = 0.02

Placed = tuple[tuple[WrittenPart, ...], int | None]
"""The files that readers see, and the table's version."""


@dataclass(frozen=True, slots=True, eq=False)
class Submission:
    """A publication that waits for a commit."""

    publication: Publication
    planned: Live | None
    """What was live when the run was planned."""
    outcome: Future[Placed] = field(default_factory=Future)

    @property
    def is_open(self) -> bool:
        """Whether nobody knows yet how it ends."""
        return not self.outcome.done()

    def publish(self, table_version: int) -> None:
        """Note that readers see it."""
        self.outcome.set_result((self.publication.parts, table_version))

    def fail(self, error: BaseException) -> None:
        """Note why readers do not see it, or why nobody knows."""
        self.outcome.set_exception(error)


class CommitQueue:
    """Publications for one table, from several threads of this process.

    A commit takes milliseconds. Publications that are submitted meanwhile wait for the next one,
    and share it. Each has its own outcome.
    """

    def __init__(self) -> None:
        """Nothing waits yet."""
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._waiting: list[Submission] = []

    def commit(
        self, submission: Submission, commit_all: Callable[[Sequence[Submission]], None]
    ) -> Placed:
        """Publish with all that wait, in the order in which they were submitted.

        Args:
            submission: One of those that wait from now on.
            commit_all: Settles each of them. What it raises is the outcome of those still open.

        Raises:
            ScoringError: As `Publisher.publish`.
        """
        with self._changed:
            self._waiting.append(submission)
            submission.publication.note_order()
            self._changed.notify_all()

        try:
            with self._turn:
                if submission.is_open:
                    self._settle_waiting(commit_all)
        finally:
            # Whoever is interrupted here must not be published by somebody else later.
            with self._changed:
                if submission in self._waiting:
                    self._waiting.remove(submission)

        return submission.outcome.result()

    def _settle_waiting(self, commit_all: Callable[[Sequence[Submission]], None]) -> None:
        batch = self._gather()

        try:
            commit_all(batch)
        except BaseException as error:  # noqa: BLE001 (handed to those who wait)
            for submission in batch:
                if submission.is_open:
                    submission.fail(error)

    def _gather(self) -> list[Submission]:
        """All that wait, once there are several or no more will come soon."""
        deadline = time.monotonic() + PATIENCE_S

        with self._changed:
            while len(self._waiting) < TOGETHER and self._waiting[-1].publication.is_followed():
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    break
                # The run that follows may end without a publication, and tells nobody here.
                self._changed.wait(min(left_s, LOOK_AGAIN_S))

            batch, self._waiting = self._waiting, []

        return batch
