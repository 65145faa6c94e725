"""Faults of challengers, and kills while they score and are published: the champion is as without."""

import functools
import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.arrow.assignment import Assignment
from nightscore.errors import StorageError, StorageUnavailableError
from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.canary_log import CanaryLog
from nightscore.ledger.release_log import ReleaseLog
from nightscore.ledger.workspace import Workspace
from nightscore.operations.history import run_history
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.manifest import Manifest
from nightscore.storage.store import Store
from tests.faults.points import CHANGES, at_each_point, run_and_be_killed_at
from tests.faults.test_kills import job_file
from tests.operations.releases.conftest import DAYS, Lab, make_lab
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, copy_registry, make_frame, register
from tests.support.warm_commands import run_command

Tell = Callable[[str, str, Manifest | str], None]
DAY = DAYS[0]
N_ROWS = 300
KINDS: tuple[Callable[[str], Exception], ...] = (
    StorageUnavailableError,
    OSError,
    MemoryError,
    RuntimeError,
    StorageError,
)
METHODS = ("write_bytes", "create", "replace", "delete", "delete_tree", "open_output", "list_files")


class KilledError(BaseException):
    """What a run meets in place of a signal: nothing of nightscore goes on after it."""


@pytest.fixture(params=["delta", "parquet"])
def shadowed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    for lab in make_lab(str(tmp_path / "lake"), {}, request.param, tmp_path):
        lab.registry.set_alias("delay", "challenger", "2")
        lab.changes = {"release": {"challenger": "models:/delay@challenger"}}
        yield lab


def fail_at(patch: pytest.MonkeyPatch, n: int) -> list[str]:
    """Have the n-th access to the challenger's stores fail; returns where it did."""
    n_seen, failed = 0, list[str]()

    def around(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def failing(store: Store, *arguments: Any, **options: Any) -> Any:
            nonlocal n_seen
            if ".challengers/" in store.uri:
                n_seen += 1
                if n_seen - 1 == n:
                    failed.append(name)
                    raise KINDS[n % len(KINDS)](f"fault {n}")
            return method(store, *arguments, **options)

        return failing

    for name in METHODS:
        patch.setattr(Store, name, around(name, getattr(Store, name)))
    return failed


def test_no_fault_of_a_challenger_s_store_reaches_the_champion(
    shadowed: Lab, monkeypatch: pytest.MonkeyPatch, report: Tell
) -> None:
    """The first night and a later one, at each access."""
    lab, ends = shadowed, set[str]()
    for n in itertools.count():
        with monkeypatch.context() as patch:
            failed = fail_at(patch, n)
            manifest = lab.lake.run(lab.job, DAY, force=True)

        end_leases(lab)
        assert (manifest.status, manifest.error) == ("published", None), failed
        assert lab.predictions() == {DAY: 0.5}
        stored = run_history(lab.job)[0]
        assert stored == manifest
        (record,) = stored.challengers
        ends.add(record.status)
        if not failed:
            break
        if record.status != "published":
            assert any("challenger" in note for note in stored.warnings), failed

    assert record.status == "published"
    assert ends == {"published", "failed", "refused"}
    report(f"a challenger's store fails ({lab.lake.formats})", f"{n} times", "champion published")


def end_leases(lab: Lab) -> None:
    """As time does with those that nobody has given back: this process lives on."""
    for job in (lab.job, challenger_jobs(lab.job)["challenger"]):
        Workspace(job).state.delete_tree("leases")


def check_in_between(lab: Lab) -> None:
    """Each table shows a whole run, or nothing, and only runs whose records say so."""
    for job, expected in ((lab.job, 0.5), (challenger_jobs(lab.job)["challenger"], 1.5)):
        live = open_publisher(Workspace(job)).live(DAY)
        if live is not None:
            rows = lab.lake.read(job)
            assert (len(rows), set(rows["prediction"])) == (4, {expected})
            assert set(rows["run_id"]) == {live.run_id}


def test_a_run_that_ends_before_any_of_its_changes_is_made_up_for(
    shadowed: Lab, monkeypatch: pytest.MonkeyPatch, report: Tell, thorough: bool
) -> None:
    lab = shadowed

    def die(point: int, last: int) -> None:
        if point == last:
            raise KilledError

    n_kills = 0
    for n in itertools.count(step=1 if thorough else 2):
        with monkeypatch.context() as patch:
            at_each_point(patch, functools.partial(die, last=n), CHANGES)
            try:
                lab.lake.run(lab.job, DAY, force=True)
            except KilledError:
                n_kills += 1
            else:
                break
        end_leases(lab)
        check_in_between(lab)
        again = lab.lake.run(lab.job, DAY)
        assert again.error is None
        assert again.status in ("published", "unchanged")
        assert lab.predictions() == {DAY: 0.5}

    last = lab.lake.run(lab.job, DAY, force=True)
    assert [one.status for one in last.challengers] == ["published"]
    check_in_between(lab)
    assert n_kills >= 8
    report(f"a run with a challenger dies ({lab.lake.formats})", f"{n_kills} times", "made up for")


CANARY: dict[str, Any] = {"mode": "canary", "share": 0.5, "salt": "2024-03"}
"""Of the keys 0 to 3, those below are the challenger's."""
ARM = {1, 2}


def check_arms(lab: Lab) -> dict[int, str]:
    """What readers see is one whole run, each row by the model that it names; returns these."""
    live = open_publisher(Workspace(lab.job)).live(DAY)
    if live is None:
        return {}

    rows = lab.lake.read(lab.job)
    rows = rows[rows["ds"].astype(str) == DAY]
    assert sorted(rows["id"]) == [0, 1, 2, 3]
    assert set(rows["run_id"]) == {live.run_id}
    versions = dict(zip(rows["id"].tolist(), rows["model_version"].astype(str), strict=True))
    expected = [{"1": 0.5, "2": 1.5}[version] for version in versions.values()]
    assert rows["prediction"].tolist() == expected
    return versions


def test_a_canary_that_ends_before_any_of_its_changes_is_made_up_for(
    shadowed: Lab, monkeypatch: pytest.MonkeyPatch, report: Tell, thorough: bool
) -> None:
    """Each row is there once, and the next run has the same arms."""
    lab = shadowed
    lab.changes = {"release": {"challenger": "models:/delay@challenger"} | CANARY}
    changes = (*CHANGES, (Store, "open_output"))
    arms = {key: "2" if key in ARM else "1" for key in range(4)}

    def die(point: int, last: int) -> None:
        if point == last:
            raise KilledError

    n_kills = 0
    for n in itertools.count(step=1 if thorough else 2):
        with monkeypatch.context() as patch:
            at_each_point(patch, functools.partial(die, last=n), changes)
            try:
                lab.lake.run(lab.job, DAY, force=True)
            except KilledError:
                n_kills += 1
            else:
                break
        end_leases(lab)
        assert check_arms(lab) in ({}, arms)

        again = lab.lake.run(lab.job, DAY)
        assert (again.error, check_arms(lab)) == (None, arms)
        assert again.canary is not None and (again.canary.share, again.canary.rows) == (0.5, 2)

    own = lab.lake.read(challenger_jobs(lab.job)["challenger"])
    assert sorted(own["id"]) == sorted(ARM)
    log = CanaryLog(ReleaseLog(lab.job, "delay", "champion"), lab.job.name)
    assert [entry.kind for entry in log.read()] == ["started"]
    assert n_kills >= 8
    report(f"a canary's run dies ({lab.lake.formats})", f"{n_kills} times", "the same arms")


@pytest.fixture
def command_lake(lake: Lake, registry_root: Path, tmp_path: Path) -> Lake:
    """With a registry of its own, in which `hgb_binary` has a version 2."""
    lake.registry = copy_registry(registry_root, tmp_path / "registry")
    client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
    register(client, "hgb_binary", registry_root / "models" / "logistic")
    lake.write(DAY, make_frame(N_ROWS))
    return lake


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("formats", ["delta", "parquet"])
@pytest.mark.parametrize("mode", ["shadow", "canary"])
def test_killed_by_a_signal_before_any_change(
    command_lake: Lake,
    models: dict[str, KnownModel],
    tmp_path: Path,
    mode: str,
    formats: str,
    report: Tell,
) -> None:
    """With real workers; then the same command again, and once more by force."""
    lake = command_lake
    lake.formats = formats
    release = {"challenger": "models:/hgb_binary/2"} | (CANARY if mode == "canary" else {})
    job = lake.job("hgb_binary", release=release)
    own = challenger_jobs(job)["2"]
    expected = expected_rows(models, is_canary=mode == "canary")
    path = job_file(lake, parse_job(job.model_dump(mode="json")), tmp_path)

    def command(*options: str, program: Callable[[], None] | None = None) -> int:
        programs = {"program": program} if program else {}
        cache = str(lake.cache.root)
        done = run_command("run", str(path), DAY, *options, NIGHTSCORE_CACHE=cache, **programs)
        return done.returncode

    def check() -> None:
        """Each row is there once, by the model of its arm, and all rows are of one run."""
        rows = lake.read(job).sort_values("id", ignore_index=True)
        for name in expected:
            assert rows[name].tolist() == expected[name].tolist()
        assert rows["run_id"].nunique() == 1

    n_kills = 0
    for n in itertools.count(step=2):
        code = command("--force", program=functools.partial(run_and_be_killed_at, n))
        if code != -signal.SIGKILL:
            break
        n_kills += 1
        if open_publisher(Workspace(job)).live(DAY) is not None:
            check()
        assert command() == 0, f"killed before change {n}"
        check()

    assert code == 0
    newest = run_history(own)[0]
    n_rows = (expected["model_version"] == "2").sum() if mode == "canary" else N_ROWS
    assert (newest.status, newest.counts.rows_scored) == ("published", n_rows)
    assert n_kills >= 8
    report(f"a run with a {mode} is killed ({formats})", f"{n_kills} times", "made up for")


def expected_rows(models: dict[str, KnownModel], *, is_canary: bool) -> pd.DataFrame:
    """What readers have to see, in the order of the keys."""
    frame = make_frame(N_ROWS)
    names = {"1": "hgb_binary", "2": "logistic"}
    rule = Assignment(by=("id",), salt=CANARY["salt"], share=CANARY["share"])
    arm = rule.arm(pa.table({"id": frame["id"]})) & is_canary
    versions = np.where(arm, "2", "1")
    by_model = {
        version: models[name].estimator.predict_proba(frame[NUMBERS])[:, 1]
        for version, name in names.items()
    }
    probability = np.where(arm, by_model["2"], by_model["1"])
    columns = {"id": frame["id"], "model_version": versions, "probability": probability}
    return pd.DataFrame(columns)
