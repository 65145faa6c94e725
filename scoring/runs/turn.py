"""The place of a run among others of its process, which are published one after another."""

import threading


class Turn:
    """When a run may use workers that it shares with another one, and when it may publish.

    Each run tells the next ones how far it is. However it ends, none of them waits for it then.
    """

    def __init__(
        self, before: "Turn | None" = None, with_same_workers: "Turn | None" = None
    ) -> None:
        """Take a place behind other runs.

        Args:
            before: Of the run that is published before this one. None: it waits for nobody.
            with_same_workers: Of the last run that uses the same workers. None: they are free.
        """
        self._before, self._with_same_workers = before, with_same_workers
        self._is_after = before is not None
        self._after: Turn | None = None
        self._planned, self._scored, self._in_order = (threading.Event() for _ in range(3))

        if before is not None:
            before._after = self

    @property
    def is_shared(self) -> bool:
        """Whether other runs are under way."""
        return self._after is not None or self._is_after

    def is_followed(self) -> bool:
        """Whether a later run has begun whose place among publications is still open."""
        later = self._after
        while later is not None and later._in_order.is_set():
            later = later._after
        return later is not None

    def note_plan(self) -> None:
        """Tell that the run has found what it is compared with."""
        self._planned.set()

    def wait_for_plan(self) -> None:
        """Wait until the run has its plan, or has ended."""
        self._planned.wait()

    def take_workers(self) -> None:
        """Wait until the workers are free."""
        if self._with_same_workers is not None:
            self._with_same_workers._scored.wait()
            self._with_same_workers = None

    def leave_workers(self) -> None:
        """Tell that the run has scored its rows."""
        self._scored.set()

    def wait(self) -> None:
        """Wait until the run before is published, is about to be, or has ended."""
        if self._before is not None:
            self._before._in_order.wait()
            self._before = None

    def pass_on(self) -> None:
        """Tell that no publication that is begun from now on comes before the run's."""
        self._in_order.set()

    def end(self) -> None:
        """Let all go on that wait for this run, however it ended."""
        for event in (self._planned, self._scored, self._in_order):
            event.set()
