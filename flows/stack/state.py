"""What is known of a running stack, in one file that its supervisor keeps."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from nightscore.flows.stack.settings import Settings


@dataclass(slots=True)
class State:
    """Of one stack; `is_alive` tells whether its supervisor still is."""

    settings: Settings
    status: str
    """`starting`, `up` or `failed`."""
    message: str = ""
    processes: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Process id and time of creation by service, `supervisor` among them: an id alone may be another's by now."""
    temporary: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "State | None":
        """The state of the stack in a folder; None if none was started, or all was stopped."""
        try:
            raw: dict[str, Any] = json.loads(_path(folder).read_text())
        except (FileNotFoundError, ValueError):
            return None
        processes = {
            name: (int(pid), float(created)) for name, (pid, created) in raw["processes"].items()
        }
        return cls(
            Settings.of(raw["settings"]), raw["status"], raw["message"], processes, raw["temporary"]
        )

    def write(self) -> None:
        """Replace the file at once."""
        raw = {
            "settings": self.settings.as_dict(),
            "status": self.status,
            "message": self.message,
            "processes": self.processes,
            "temporary": self.temporary,
        }
        path = _path(self.settings.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        spool = path.with_suffix(".new")
        spool.write_text(json.dumps(raw, indent=2) + "\n")
        spool.replace(path)

    def remove(self) -> None:
        """Nothing is running any more."""
        _path(self.settings.folder).unlink(missing_ok=True)

    def add(self, name: str, process: psutil.Process) -> None:
        """Note a process."""
        self.processes[name] = (process.pid, process.create_time())
        self.write()

    def process(self, name: str) -> psutil.Process | None:
        """The process of a service, if it lives."""
        if name not in self.processes:
            return None
        pid, created = self.processes[name]
        try:
            found = psutil.Process(pid)
            is_same = (
                abs(found.create_time() - created) < 1 and found.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return None
        return found if is_same else None

    @property
    def is_alive(self) -> bool:
        return self.process("supervisor") is not None


def _path(folder: Path) -> Path:
    return folder / "state.json"
