"""A store in this process's memory, for tests in which the store is not the point.

Other processes do not see it, so a run with workers cannot use it.
"""

import io
import itertools
import posixpath
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from nightscore.errors import ConflictError, LocationNotFoundError
from nightscore.storage.protocol import Capabilities, Entry, ErrorCodes
from nightscore.storage.store import Store

SCHEME = "fake"
_FILES: dict[str, "_File"] = {}
"""By full path. Shared by all stores, as buckets are."""
_LOCK = threading.RLock()
_versions = itertools.count(1)


@dataclass(frozen=True)
class _File:
    content: bytes
    metadata: dict[str, str] = field(default_factory=dict)
    version: int = field(default_factory=lambda: next(_versions))


class MemoryBackend:
    """See `Backend`. Its clock is the number of writes so far."""

    schemes = (SCHEME,)
    capabilities = Capabilities(can_create=True, can_replace=True, can_commit=False)
    is_local = False
    needs_probe = False
    error_codes = ErrorCodes()

    def __init__(self, uri: str, options: Mapping[str, Any]) -> None:
        self.url = uri.rstrip("/")
        self.root = self.url.removeprefix(f"{SCHEME}://")
        self.table_url = self.url
        self._options = options

    def parents(self) -> list[str]:
        parts = self.root.split("/")
        depths = range(len(parts) - 1, 0, -1)
        return [f"{SCHEME}://{'/'.join(parts[:depth])}" for depth in depths]

    def list_files(self, prefix: str, *, placeholders: bool) -> list[Entry]:
        folder = f"{self._locate(prefix)}/"
        with _LOCK:
            paths = sorted(path for path in _FILES if path.startswith(folder))
            return [self._entry(path) for path in paths]

    def list_with_spools(self) -> tuple[list[Entry], list[Entry]]:
        return self.list_files("", placeholders=False), []

    def list_names(self, prefix: str) -> tuple[list[str], list[str]]:
        start = f"{prefix}/" if prefix else ""
        below = [
            entry.path.removeprefix(start) for entry in self.list_files(prefix, placeholders=False)
        ]
        folders = {path.split("/")[0] for path in below if "/" in path}
        return sorted(folders), sorted(path for path in below if "/" not in path)

    def has_files(self, prefix: str) -> bool:
        return bool(self.list_files(prefix, placeholders=False))

    def check_reachable(self) -> None:
        pass

    def describe(self, path: str) -> Entry:
        self._get(path)
        return self._entry(self._locate(path))

    def open_input(self, path: str) -> Any:
        return io.BytesIO(self.read_bytes(path))

    def read_range(self, path: str, start: int, end: int) -> bytes:
        return self.read_bytes(path)[start:end]

    def read_bytes(self, path: str) -> bytes:
        return self._get(path).content

    def open_output(self, path: str) -> BinaryIO:
        return _Upload(self, path)

    def write_bytes(self, path: str, data: bytes) -> None:
        with _LOCK:
            _FILES[self._locate(path)] = _File(bytes(data))

    def delete(self, paths: Sequence[str]) -> None:
        with _LOCK:
            for path in paths:
                _FILES.pop(self._locate(path), None)

    def delete_tree(self, prefix: str) -> None:
        self.delete([entry.path for entry in self.list_files(prefix, placeholders=False)])

    def head(self, path: str) -> tuple[str, dict[str, str]] | None:
        file = _FILES.get(self._locate(path))
        return None if file is None else (str(file.version), dict(file.metadata))

    def replace(
        self, source: str, path: str, expected: str | None, metadata: Mapping[str, str]
    ) -> None:
        with _LOCK:
            current = self.head(path)
            if (current[0] if current else None) != expected:
                raise ConflictError("The object was replaced meanwhile.", path)
            _FILES[self._locate(path)] = _File(_FILES[source].content, dict(metadata))

    def create(self, path: str, data: bytes, *, is_durable: bool) -> None:
        with _LOCK:
            if self._locate(path) in _FILES:
                raise ConflictError("The file exists already.", path)
            self.write_bytes(path, data)

    def swap(self, path: str, expected: bytes, data: bytes) -> None:
        with _LOCK:
            file = _FILES.get(self._locate(path))
            if file is None or file.content != expected:
                raise ConflictError("The object was replaced meanwhile.", path)
            self.write_bytes(path, data)

    def table_options(self) -> dict[str, str]:
        return {name: str(value) for name, value in self._options.items()}

    def _locate(self, path: str) -> str:
        return posixpath.join(self.root, path) if path else self.root

    def _get(self, path: str) -> _File:
        file = _FILES.get(self._locate(path))
        if file is None:
            raise LocationNotFoundError("No such file.", f"{self.url}/{path}")
        return file

    def _entry(self, full: str) -> Entry:
        file = _FILES[full]
        path = full[len(self.root) + 1 :]
        return Entry(path, len(file.content), str(file.version), float(file.version))


class _Upload(io.BytesIO):
    """Appears when it is closed; `discard` closes it without a trace."""

    def __init__(self, backend: MemoryBackend, path: str) -> None:
        super().__init__()
        self._backend, self._path = backend, path

    def close(self) -> None:
        if not self.closed:
            self._backend.write_bytes(self._path, self.getvalue())
        super().close()

    def discard(self) -> None:
        super().close()


def memory_store(place: str, options: Mapping[str, Any] | None = None) -> Store:
    """A store of this kind. `MemoryBackend` must be registered; see the fixture `memory`."""
    return Store(f"{SCHEME}://{place}", options or {})
