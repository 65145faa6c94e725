"""A run in short: what lists of many runs need of its record."""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from nightscore.schemas.base_record import Stored
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.manifest import ErrorRecord, Status

DIGEST_BYTES = 16


class _ListedFile(Protocol):
    """An input file, as the input has it now or as a record has it."""

    @property
    def path(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def version(self) -> str: ...


class RunSummary(Stored):
    """What lists of runs need of a manifest. Fields mean what they mean there."""

    run_id: str
    status: Status
    job: str
    partition_key: str
    partition: str | None
    fingerprint: str = ""
    canary: CanaryRecord | None = None
    restores: str | None = None
    replays: str | None = None
    replaces: str | None = None
    started_at: datetime
    finished_at: datetime | None = None
    model_name: str
    model_version: str
    model_digest: str = ""
    inputs: str
    """Digest of the input files; see `digest_inputs`."""
    outputs: str
    """Digest of the paths of the output files; see `digest_paths`."""
    rows_in: int = 0
    rows_scored: int = 0
    startup_s: float = 0.0
    total_s: float = 0.0
    waited_s: float = 0.0
    """Seconds that the run waited for others, which were published before it."""
    error: ErrorRecord | None = None

    @property
    def result_id(self) -> str:
        """The run whose files readers see after this run."""
        return self.restores or self.run_id

    @property
    def work(self) -> str:
        """Fingerprint of the work, whichever arms a canary has."""
        return self.canary.champion_fingerprint if self.canary is not None else self.fingerprint


def digest_inputs(files: Iterable[_ListedFile]) -> str:
    """A digest of input files, whatever their order."""
    return _digest(sorted([file.path, file.size_bytes, file.version] for file in files))


def digest_paths(paths: Iterable[str]) -> str:
    """A digest of paths, whatever their order."""
    return _digest(sorted(paths))


def _digest(content: object) -> str:
    text = json.dumps(content).encode()
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).hexdigest()
