"""A canary whose share a feature flag says: once a run, never for settled dates, and off at once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from typer.testing import CliRunner

from nightscore.cli.app import build_app
from nightscore.cli.summary import print_manifest
from nightscore.engine.base_pool import BasePool
from nightscore.errors import InvalidJobError
from nightscore.flows.ui.run_page import run_markdown
from nightscore.ledger.canary_log import CanaryLog
from nightscore.ledger.release_log import ReleaseLog
from nightscore.models.cache import ModelCache
from nightscore.reports.run_page import _facts
from nightscore.schemas.flag import FlagRecord
from nightscore.schemas.job import ScoringJob
from tests.support.lake import Lake
from tests.support.models import KnownModel, copy_registry, make_frame, register

HERE = __name__
FLAG = {"name": "share", "provider": f"{HERE}:make_provider"}
TODAY = datetime.now(UTC).date()


class Flags:
    """What the provider says, and how often it was made."""

    share: Any = 0.5
    n_asked: int = 0


def make_provider() -> InMemoryProvider:
    Flags.n_asked += 1
    if isinstance(Flags.share, Exception):
        raise Flags.share
    return InMemoryProvider({"share": InMemoryFlag("now", {"now": Flags.share})})


@pytest.fixture(autouse=True)
def _first_answer() -> Iterator[None]:
    Flags.share, Flags.n_asked = 0.5, 0
    yield
    Flags.share = 0.5


@pytest.fixture(scope="module")
def versions(
    tmp_path_factory: pytest.TempPathFactory, registry_root: Path, models: dict[str, KnownModel]
) -> str:
    uri = copy_registry(registry_root, tmp_path_factory.mktemp("flags"))
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    register(client, "hgb_binary", registry_root / "models" / "pipeline_strict")
    return uri


@pytest.fixture
def lake(tmp_path: Path, versions: str, pool: BasePool, cache: ModelCache) -> Lake:
    lake = Lake(str(tmp_path / "lake"), {}, versions, pool, cache, formats="parquet")
    for n_days in range(-2, 2):
        lake.write(day(n_days), make_frame(40, seed=n_days + 2))
    return lake


def day(n_days: int) -> str:
    return (TODAY + timedelta(days=n_days)).isoformat()


def flag_job(lake: Lake, **changes: Any) -> ScoringJob:
    release = {
        "challenger": "models:/hgb_binary/2",
        "mode": "canary",
        "share": 0.25,
        "salt": "one",
        "flag": FLAG,
    }
    return lake.job("models:/hgb_binary@champion", release=release | changes, allow_code=[HERE])


def log_of(job: ScoringJob) -> list[tuple[str, float]]:
    entries = CanaryLog(ReleaseLog(job, "hgb_binary", "champion"), job.name).read()
    return [(entry.kind, entry.canary.share) for entry in entries]


def test_the_share_is_what_the_flag_says_and_a_zero_ends_the_canary(lake: Lake) -> None:
    job = flag_job(lake)
    first = lake.run(job, day(0))
    assert first.flag == FlagRecord(name="share", value=0.5, variant="now", reason="STATIC")
    assert first.canary is not None
    assert (first.canary.share, Flags.n_asked) == (0.5, 1), "once a run"

    Flags.share = 0
    ended = lake.run(job, day(1))
    assert (ended.status, ended.canary) == ("published", None)
    assert ended.flag is not None
    assert ended.flag.value == 0
    assert "the flag share is 0.0, variant now (STATIC), so there is no canary" in ended.warnings
    assert log_of(job) == [("started", 0.5), ("ended", 0.5)]


def test_a_flag_that_does_not_answer_leaves_the_last_share(lake: Lake) -> None:
    job = flag_job(lake)
    Flags.share = ConnectionError("refused")
    first = lake.run(job, day(0))
    assert (first.status, first.canary, first.flag) == ("published", None, None)
    assert "its last share that the release log has is 0," in " ".join(first.warnings).lower()

    Flags.share = True
    second = lake.run(job, day(0), force=True)
    assert second.canary is not None
    assert second.canary.share == 0.25, "the job's own"

    Flags.share = ConnectionError("refused")
    third = lake.run(job, day(1))
    assert third.canary is not None
    assert (third.canary.share, third.flag) == (0.25, None)
    assert "ConnectionError: refused" in " ".join(third.warnings)

    Flags.share = 0.0
    assert lake.run(job, day(1), force=True).canary is None
    Flags.share = ConnectionError("refused")
    assert lake.run(job, day(1), force=True).canary is None, "what was ended stays so"


def test_no_flag_is_asked_about_dates_before_the_newest_entry(lake: Lake) -> None:
    job = flag_job(lake)
    first = lake.run(job, day(-1))
    assert first.canary is not None

    Flags.share, n_asked = 0.9, Flags.n_asked
    again = lake.run(job, day(-1), force=True)
    assert again.canary is not None
    assert again.canary.assigned == first.canary.assigned, "by the partition's last record"
    assert again.flag is None

    late = lake.run(job, day(-2))
    assert late.canary is None, "by the log: there was none at that date"
    assert Flags.n_asked == n_asked

    today = lake.run(job, day(0))
    assert today.canary is not None
    assert today.canary.share == 0.9


def test_people_see_what_the_flag_said(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = flag_job(lake)
    manifest = lake.run(job, day(0))
    said = "share was 0.5 (variant now, STATIC)"

    print_manifest(manifest, job)
    assert f"flag: {said}" in " ".join(capsys.readouterr().out.split())
    assert f"| flag | {said} |" in run_markdown(manifest)
    assert f"| canary | {manifest.canary} |" in run_markdown(manifest)
    assert manifest.drift is not None
    assert ("Flag", said) in _facts(manifest, manifest.drift)

    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    explained = CliRunner().invoke(
        build_app(), ["explain", str(path), day(0), "--cache-dir", str(lake.cache.root)]
    )
    assert explained.exit_code == 0, explained.output
    assert f"- flag: {said} when this was scored" in explained.output


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (FlagRecord(name="go", value=True), "go was true"),
        (FlagRecord(name="go", value=0.05, reason="STATIC"), "go was 0.05 (STATIC)"),
    ],
)
def test_a_flag_in_words(record: FlagRecord, said: str) -> None:
    assert str(record) == said


def test_a_flag_needs_a_canary(lake: Lake) -> None:
    with pytest.raises(InvalidJobError, match=r"release\.flag needs mode: canary"):
        flag_job(lake, mode="shadow", share=None, salt=None)
