"""A progress bar in Jupyter, in plain HTML: it needs no widgets, and every front end shows it."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from html import escape
from typing import Any

from nightscore.engine.events import Event, Listener, RowCount, RunEnded, RunPlanned

MIN_INTERVAL_S = 0.2
"""Between two drawings of the bar."""


@contextlib.contextmanager
def shown_progress(n_rows: int = 0) -> Iterator[Listener]:
    """A listener that draws a bar below the cell; outside of Jupyter it shows nothing.

    Args:
        n_rows: Of all partitions together; 0: what the plans of the runs say.
    """
    if not in_jupyter():
        yield lambda event: None
        return

    bar = ProgressBar(n_rows)
    try:
        yield bar.listen
    finally:
        bar.close()


def in_jupyter() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class ProgressBar:
    """A bar that moves by rows. Runs may tell it of their events from several threads."""

    def __init__(self, n_rows: int) -> None:
        """Draw an empty bar.

        Args:
            n_rows: Of all runs; 0: as their plans say.
        """
        from IPython.display import HTML, display

        self._make = HTML
        self._lock = threading.Lock()
        self._started = self._drawn = time.monotonic()
        self._is_total_given = n_rows > 0
        self._n_rows, self._n_resumed = n_rows, 0
        self._count = RowCount()
        self._what = "planning"
        self._handle: Any = display(self._make(self.html(0.0)), display_id=True)

    def listen(self, event: Event) -> None:
        """Move the bar."""
        with self._lock:
            self._count.listen(event)
            self._take(event)
            now = time.monotonic()
            if now - self._drawn >= MIN_INTERVAL_S:
                self._drawn = now
                self._handle.update(self._make(self.html(now - self._started)))

    def close(self) -> None:
        """Draw the bar as it stands at the end."""
        with self._lock:
            elapsed_s = time.monotonic() - self._started
            self._handle.update(self._make(self.html(elapsed_s, is_over=True)))

    def html(self, elapsed_s: float, *, is_over: bool = False) -> str:
        """The bar and what it says."""
        n_done = self._count.n_done
        text = f"{self._what}: {n_done:,} of {self._n_rows:,} rows, {elapsed_s:.0f} s"

        n_scored = n_done - self._n_resumed
        if n_scored and not is_over:
            left_s = elapsed_s * (self._n_rows - n_done) / n_scored
            text += f", about {left_s:.0f} s left"

        value = f'value="{n_done}" max="{max(self._n_rows, 1)}"'
        if not self._n_rows:
            text, value = self._what, ""  # a bar without a value moves to and fro
        return f"<div><progress {value}></progress> {escape(text)}</div>"

    def _take(self, event: Event) -> None:
        match event:
            case RunPlanned():
                self._what = f"scoring {event.partition}"
                self._n_resumed += event.n_rows_resumed
                if not self._is_total_given:
                    self._n_rows += event.n_rows
            case RunEnded():
                self._what = f"{event.status} {event.partition}"
            case _:
                pass
