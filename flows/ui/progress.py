"""Shows the progress of a run: an artifact with rows, speed and time left."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Protocol
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.logging import get_run_logger

from nightscore.engine.events import Event, RowCount, RunPlanned
from nightscore.schemas.text import show_seconds

PERIOD_S = 2.0
"""Runs that end sooner get no artifact: it would cost more than it is worth."""


class Progress(Protocol):
    """Work under way."""

    def show(self) -> tuple[float, str] | None:
        """(percent, one sentence), or None while nothing is known."""
        ...


class RunProgress:
    """Rows of one partition. The run's thread reports events, the flow's thread shows them."""

    def __init__(self, partition: str) -> None:
        """Count rows of a partition."""
        self._partition = partition
        self._planned: RunPlanned | None = None
        self._started = 0.0
        self._count = RowCount()

    def __call__(self, event: Event) -> None:
        """Take note of an event of the run. A plan that comes again is that of a retry."""
        if isinstance(event, RunPlanned):
            self._started, self._planned = time.monotonic(), event
            self._count = RowCount()

        self._count.listen(event)

    def show(self) -> tuple[float, str] | None:
        """See `Progress`."""
        planned = self._planned
        if planned is None or not planned.n_rows:
            return None

        n_done = self._count.n_done
        n_scored = n_done - planned.n_rows_resumed
        rows_per_s = n_scored / max(time.monotonic() - self._started, 1e-3)
        text = f"{self._partition}: {n_done:,} of {planned.n_rows:,} rows"

        if rows_per_s:
            left = show_seconds((planned.n_rows - n_done) / rows_per_s)
            text += f" · {rows_per_s:,.0f} rows/s · {left} left"

        return 100 * n_done / planned.n_rows, text


class BackfillProgress:
    """Partitions of a backfill."""

    def __init__(self, n_partitions: int, n_rows: int) -> None:
        """Count from zero to these totals."""
        self._n_partitions, self._n_rows = n_partitions, n_rows
        self._n_done = self._n_rows_done = self.n_failed = 0
        self._started = time.monotonic()

    def add(self, n_partitions: int, n_rows: int, n_failed: int) -> None:
        """Count partitions that have ended."""
        self._n_done += n_partitions
        self._n_rows_done += n_rows
        self.n_failed += n_failed

    def show(self) -> tuple[float, str] | None:
        """See `Progress`."""
        share = self._n_done / max(self._n_partitions, 1)
        text = f"{self._n_done} of {self._n_partitions} partitions, {self.n_failed} failed"
        text += f" · {self._n_rows_done:,} of {self._n_rows:,} rows"

        if self._n_done:
            elapsed_s = time.monotonic() - self._started
            text += f" · {show_seconds(elapsed_s * (1 / share - 1))} left"
        return 100 * share, text


@contextlib.asynccontextmanager
async def progress_artifact(progress: Progress, key: str) -> AsyncIterator[None]:
    """Keep a progress artifact up to date while the block runs."""
    updater = _Updater(progress, key)
    task = asyncio.create_task(updater.run())

    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    if updater.artifact is not None:
        await updater.update()


class _Updater:
    def __init__(self, progress: Progress, key: str) -> None:
        self._progress, self._key = progress, key
        self.artifact: UUID | None = None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.update()
            except Exception as error:  # noqa: BLE001 (a run does not fail because of its progress bar)
                get_run_logger().warning("the progress could not be shown: %s", error)
                return

    async def update(self) -> None:
        shown = self._progress.show()
        if shown is None:
            return

        percent, text = shown

        if self.artifact is None:
            self.artifact = await acreate_progress_artifact(
                progress=percent, key=self._key, description=text
            )
        else:
            await aupdate_progress_artifact(self.artifact, progress=percent, description=text)
