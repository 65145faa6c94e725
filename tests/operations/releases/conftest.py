"""Two versions of a small model, a job that scores with its alias, and a store of each kind."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nightscore.ledger.release_log import Release, ReleaseLog
from nightscore.models.cache import ModelCache
from nightscore.models.flavor_catalog import registered
from nightscore.operations.releases.approval import approve_release, reject_release
from nightscore.operations.releases.demote import demote
from nightscore.operations.releases.promote import Proposal, ReleaseResult, promote
from nightscore.schemas.job import ScoringJob
from nightscore.storage.backend_catalog import registered as registered_backend
from tests.fakes import tiny_flavor
from tests.fakes.memory_store import MemoryBackend
from tests.fakes.pool import InProcessPool
from tests.fakes.registry import URI, StubRegistry, stub_registry
from tests.support.lake import Lake
from tests.support.seaweedfs import BUCKET, S3Server

DAYS = ("2024-02-28", "2024-02-29")
MODEL = "models:/delay@champion"


@dataclass
class Lab:
    """A lake and a registry with versions 1 to 3 of `delay`, of which the first is the champion."""

    lake: Lake
    registry: StubRegistry
    changes: dict[str, Any] = field(default_factory=dict)
    """To the job."""

    @property
    def job(self) -> ScoringJob:
        return self.lake.job(MODEL, **self.changes)

    @property
    def live(self) -> str | None:
        """What the alias means."""
        return self.registry.version_of_alias("delay", "champion")

    def move_by_hand(self, version: str) -> None:
        self.registry.set_alias("delay", "champion", version)

    def promote(self, version: str | None = "2", **fields: Any) -> ReleaseResult:
        fields = {"by": "anna@host", "without_labels": True} | fields
        proposal = Proposal(version=version, **fields)
        return promote(self.job, proposal, pool=self.lake.pool, cache=self.lake.cache)

    def demote(self, version: str | None = None, **fields: Any) -> ReleaseResult:
        proposal = Proposal(version=version, **({"by": "bert@host"} | fields))
        return demote(self.job, proposal, self.lake.cache)

    def approve(self, version: str = "2", **fields: Any) -> ReleaseResult:
        fields = {"by": "carl@host"} | fields
        return approve_release(self.job, version, cache=self.lake.cache, **fields)

    def reject(self, version: str = "2", **fields: Any) -> Release:
        return reject_release(self.job, version, **({"by": "carl@host"} | fields))

    def log(self) -> list[Release]:
        return ReleaseLog(self.job, "delay", "champion").read()

    def told(self) -> list[tuple[str, str | None, str, str]]:
        """The log in short: what, from, to, and what became of it."""
        return [
            (
                release.entry.kind,
                release.entry.before.version if release.entry.before else None,
                release.entry.after.version,
                release.outcome.outcome if release.outcome else "",
            )
            for release in self.log()
        ]

    def predictions(self) -> dict[str, float]:
        """The mean prediction of each day, as readers see it."""
        frame = self.lake.read(self.job)
        return {str(day): float(rows["prediction"].mean()) for day, rows in frame.groupby("ds")}


def write_input(lake: Lake, day: str, n_rows: int = 4) -> None:
    ids = range(n_rows)
    lake.write(day, pd.DataFrame({"id": ids, "a": [1.0] * n_rows, "b": [0.5] * n_rows}))


def save_version(folder: Path, weight: float) -> Path:
    """A version whose predictions are `weight - 0.5` in each row."""
    tiny_flavor.save(folder)
    (folder / "weights.json").write_text(json.dumps({"a": weight, "b": -1.0}))
    return folder


PLACES = [
    pytest.param(("local", "delta"), id="local"),
    pytest.param(("memory", "parquet"), id="memory"),
    pytest.param(("s3", "parquet"), id="s3", marks=pytest.mark.s3),
]


def make_lab(root: str, options: dict[str, Any], formats: str, folder: Path) -> Iterator[Lab]:
    cache = ModelCache(folder / "cache")
    with (
        registered(tiny_flavor.FLAVOR),
        registered_backend(MemoryBackend),
        stub_registry() as registry,
    ):
        for weight in (1.0, 2.0, 3.0):
            registry.add("delay", save_version(folder / f"model-{weight:g}", weight))
        registry.set_alias("delay", "champion", "1")
        lake = Lake(root, options, URI, InProcessPool(), cache, formats)
        for day in DAYS:
            write_input(lake, day)
        yield Lab(lake, registry)


@pytest.fixture(params=PLACES)
def any_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """On each kind of store."""
    kind, formats = request.param
    root, options = str(tmp_path / "lake"), {}
    if kind == "memory":
        root = f"fake://bucket/{tmp_path.name}"
    if kind == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        root, options = f"s3://{BUCKET}/{tmp_path.name}", server.options
    yield from make_lab(root, options, formats, tmp_path)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """On a disk."""
    yield from make_lab(str(tmp_path / "lake"), {}, "delta", tmp_path)
