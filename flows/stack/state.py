"""The state of a running stack, in a file that its supervisor writes."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from nightscore.errors import StackError
from nightscore.flows.stack.settings import Settings


@dataclass(slots=True, kw_only=True)
class State:
    """The state of one stack."""

    settings: Settings
    status: str
    """`starting`, `up` or `failed`."""
    message: str = ""
    """What is being done while it starts."""
    error: StackError | None = None
    """Why it failed."""
    processes: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Process id and creation time by service, the supervisor included. An id alone may belong to
    another process by now."""
    temporary: list[str] = field(default_factory=list)
    """Paths to remove when the stack has stopped."""

    @classmethod
    def read(cls, folder: Path) -> "State | None":
        """The state of the stack in a folder; None if none was started there, or it was stopped."""
        try:
            raw: dict[str, Any] = json.loads(_path(folder).read_text())
        except (FileNotFoundError, ValueError):
            return None
        processes = {
            name: (int(pid), float(created)) for name, (pid, created) in raw["processes"].items()
        }
        settings = Settings.from_dict(raw["settings"])
        return cls(
            settings=settings,
            status=raw["status"],
            message=raw["message"],
            error=_error_of(raw),
            processes=processes,
            temporary=raw["temporary"],
        )

    def write(self) -> None:
        """Replace the file in one step."""
        raw = {
            "settings": self.settings.as_dict(),
            "status": self.status,
            "message": self.message,
            "error": None if self.error is None else self.error.args,
            "processes": self.processes,
            "temporary": self.temporary,
        }
        path = _path(self.settings.folder)
        path.parent.mkdir(parents=True, exist_ok=True)

        spool = path.with_suffix(".new")
        spool.write_text(json.dumps(raw, indent=2) + "\n")
        spool.replace(path)

    def remove(self) -> None:
        """Remove the file: nothing is running any more."""
        _path(self.settings.folder).unlink(missing_ok=True)

    def add(self, name: str, process: psutil.Process) -> None:
        """Record a process."""
        self.processes[name] = (process.pid, process.create_time())
        self.write()

    def process(self, name: str) -> psutil.Process | None:
        """The process of a service, if it is running."""
        if name not in self.processes:
            return None

        pid, created = self.processes[name]
        try:
            process = psutil.Process(pid)
            is_same = abs(process.create_time() - created) < 1
            is_running = process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None

        return process if is_same and is_running else None

    @property
    def is_alive(self) -> bool:
        """Whether the supervisor is running."""
        return self.process("supervisor") is not None


def _error_of(raw: dict[str, Any]) -> StackError | None:
    """The error that a state records; one of an older version has its text as message alone."""
    if raw.get("error") is not None:
        return StackError(*raw["error"])
    return StackError(raw["message"]) if raw["status"] == "failed" else None


def _path(folder: Path) -> Path:
    return folder / "state.json"
