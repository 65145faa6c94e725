"""Progress that can be looked at while a run goes on: a progress artifact with rows, pace and time left."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Protocol
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.logging import get_run_logger

from nightscore.engine.events import Event, RunPlanned, ShardScored

PERIOD_S = 2.0
"""Runs that end sooner get no artifact: it would cost more than it tells."""


class Progress(Protocol):
    """Something that goes on."""

    def show(self) -> tuple[float, str] | None:
        """(percent, one sentence), or None while there is nothing to tell."""
        ...


class RunProgress:
    """Rows of one partition. A listener of the engine; a flow's thread reads what the run's thread writes."""

    def __init__(self, partition: str) -> None:
        self._partition = partition
        self._planned: RunPlanned | None = None
        self._started = 0.0
        self._n_scored = 0

    def __call__(self, event: Event) -> None:
        match event:
            case RunPlanned():
                self._started, self._n_scored, self._planned = time.monotonic(), 0, event
            case ShardScored():
                self._n_scored += event.n_rows
            case _:
                pass

    def show(self) -> tuple[float, str] | None:
        """See `Progress`."""
        planned = self._planned
        if planned is None or not planned.n_rows:
            return None
        n_done = planned.n_rows_resumed + self._n_scored
        pace = self._n_scored / max(time.monotonic() - self._started, 1e-3)
        text = f"{self._partition}: {n_done:,} of {planned.n_rows:,} rows"
        if pace:
            text += f" · {pace:,.0f} rows/s · {show_seconds((planned.n_rows - n_done) / pace)} left"
        return 100 * n_done / planned.n_rows, text


class BackfillProgress:
    """Partitions of a backfill."""

    def __init__(self, n_partitions: int, n_rows: int) -> None:
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
            text += f" · {show_seconds((time.monotonic() - self._started) * (1 / share - 1))} left"
        return 100 * share, text


@contextlib.asynccontextmanager
async def shown(progress: Progress, key: str) -> AsyncIterator[None]:
    """Keep an artifact up to date for as long as the block runs."""
    ticker = _Ticker(progress, key)
    task = asyncio.create_task(ticker.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    if ticker.artifact is not None:
        await ticker.update()


class _Ticker:
    def __init__(self, progress: Progress, key: str) -> None:
        self._progress, self._key = progress, key
        self.artifact: UUID | None = None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.update()
            except Exception as error:  # noqa: BLE001 (a run does not fail because nobody can watch it)
                get_run_logger().warning("the progress could not be shown: %s", error)
                return

    async def update(self) -> None:
        found = self._progress.show()
        if found is None:
            return
        percent, text = found
        if self.artifact is None:
            self.artifact = await acreate_progress_artifact(
                progress=percent, key=self._key, description=text
            )
        else:
            await aupdate_progress_artifact(self.artifact, progress=percent, description=text)


def show_seconds(seconds: float) -> str:
    """A duration as people say it: 2.5 s, 45 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"
