"""A laboratory for faults, and their report."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.model_facts import learn_facts
from nightscore.models.pinned import PinnedModel
from nightscore.runs.run import run
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from tests.fakes.pool import InProcessPool
from tests.faults.invariants import check_partitions, check_records, check_secrets
from tests.support.lake import Lake
from tests.support.models import KnownModel, make_frame
from tests.support.proxy import Proxy, faulty
from tests.support.seaweedfs import S3_KEY, S3_SECRET, S3Server

DAY = "2024-02-29"
SEED = 20240229
IMPATIENT = {"read_timeout": 1, "connect_timeout": 1}
"""Timeouts of the S3 clients in tests: nobody waits for what will not come."""

ONE_FORMAT = pytest.mark.parametrize("lab", ["delta"], indirect=True)
"""For faults of reading and of scoring, which end before a format has any part in it."""
PARQUET_IF_THOROUGH = pytest.mark.parametrize(
    "lab", ["delta", pytest.param("parquet", marks=pytest.mark.thorough)], indirect=True
)
"""For faults that meet each format in the same way; other tests here have both."""

REPORT: list[tuple[str, str, str, str]] = []


@pytest.fixture(scope="session")
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    with faulty(s3_server.endpoint, SEED) as running:
        yield running


@dataclass
class Lab:
    """A partition with published predictions and a new input, ready for something to go wrong."""

    lake: Lake
    """Sees the store as it is."""
    behind: Lake
    """Sees it through what goes wrong."""
    estimator: Any
    tmp_path: Path
    proxy: Proxy | None = None
    inputs: dict[str, list[pd.DataFrame]] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    """To the job."""

    @property
    def job(self) -> ScoringJob:
        """As the run that goes wrong has it."""
        return self.behind.job(**self.changes)

    def write(self, frame: pd.DataFrame, day: str = DAY, n_files: int = 3, **options: Any) -> None:
        """The next input of a partition."""
        for i in range(n_files):
            part = frame.iloc[i * len(frame) // n_files : (i + 1) * len(frame) // n_files]
            self.lake.write(
                day, part, f"p{i}", write_page_checksum=True, row_group_size=400, **options
            )
        self.inputs.setdefault(day, []).append(frame)

    def begin(self, n_rows: int = 2_000) -> None:
        """Publish a first input, and write a second one."""
        self.write(make_frame(n_rows, seed=1))
        first = self.lake.run(self.lake.job(**self.changes), DAY)
        assert first.error is None, first.error
        self.write(make_frame(n_rows + 37, seed=2))

    def score(
        self, pool: WorkerPool | None = None, now: datetime | None = None, **options: Any
    ) -> Manifest:
        """Score the partition while something goes wrong."""
        return run(
            self.job,
            options.pop("day", DAY),
            pool=pool or self.lake.pool,
            cache=options.pop("cache", self.lake.cache),
            now=now or datetime.now(UTC),
            **options,
        )

    def check(self) -> dict[str, int]:
        """All that must hold whatever happened; returns what is published."""
        plain = self.lake.job(**self.changes)
        checked = check_partitions(self.lake, plain, self.inputs, self.estimator)
        check_records(plain)
        if self.lake.options:
            check_secrets(plain, S3_SECRET, S3_KEY)
        return checked

    def settle(self) -> None:
        """Once nothing goes wrong any more, a run completes the partition."""
        manifest = self.lake.run(self.lake.job(**self.changes), DAY)
        assert manifest.error is None, manifest.error
        assert manifest.status in ("published", "unchanged")
        checked = self.check()
        latest = {day: len(frames) - 1 for day, frames in self.inputs.items()}
        assert checked == latest, "the latest input is not what is published"


def in_this_process(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Score one small shard after another: an interruption finds as many finished as were told of."""
    monkeypatch.setattr("nightscore.engine.planning.shards.MIN_SHARD_ROWS", 1_000)
    for model in (
        "hgb_binary",
        "logistic",
    ):  # what this process measures of it is wrong for workers
        learn_facts(PinnedModel.resolve(lake.job(model), lake.cache), lake.cache, lake.pool)
    lake.pool = InProcessPool()
    return lake


@pytest.fixture
def calm_lake(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return in_this_process(lake, monkeypatch)


@pytest.fixture
def any_calm_lake(any_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return in_this_process(any_lake, monkeypatch)


@pytest.fixture(params=["delta", "parquet"])
def lab(
    request: pytest.FixtureRequest, lake: Lake, models: dict[str, KnownModel], tmp_path: Path
) -> Lab:
    """On a disk."""
    lake.formats = request.param
    return Lab(lake, lake, models["hgb_binary"].estimator, tmp_path)


@pytest.fixture(params=["delta", "parquet"])
def s3_lab(
    request: pytest.FixtureRequest,
    s3_lake: Lake,
    proxy: Proxy,
    models: dict[str, KnownModel],
    tmp_path: Path,
) -> Lab:
    """On an S3 server behind a proxy that injects faults."""
    s3_lake.formats = request.param
    options = s3_lake.options | {"endpoint_url": proxy.endpoint, "config_kwargs": IMPATIENT}
    behind = Lake(
        s3_lake.root, options, s3_lake.registry, s3_lake.pool, s3_lake.cache, request.param
    )
    return Lab(s3_lake, behind, models["hgb_binary"].estimator, tmp_path, proxy)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str, Manifest | str], None]]:
    """Say what was injected and what was seen; the verdict is the test's."""
    lines: list[tuple[str, str, str]] = []

    def tell(fault: str, injected: str, seen: Manifest | str) -> None:
        if not isinstance(seen, str):
            seen = f"{seen.status}: {seen.error.type}" if seen.error else seen.status
        lines.append((fault, injected, seen))

    yield tell
    failed = getattr(request.node, "is_failed", True)
    REPORT.extend((*line, "BROKEN" if failed else "as promised") for line in lines)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    outcome = yield
    if outcome.when == "call":
        item.is_failed = outcome.failed  # type: ignore[attr-defined]
    return outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of `make faults`: fault, injected, seen, verdict."""
    if not REPORT:
        return
    terminalreporter.section("faults")
    rows = [("fault", "injected", "seen", "verdict"), *REPORT]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        terminalreporter.write_line(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        )
