"""One service of a stack: how it is started and stopped, and when it is healthy."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process that listens on a port, or works."""

    name: str
    url: str
    command: list[str]
    is_healthy: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None
    """User to run as; None: the user who starts the stack."""
    temporary: tuple[Path, ...] = ()
    """Paths to remove once it has stopped."""
