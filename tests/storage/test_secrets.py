"""A secret is in the job's environment and in the store's requests, and in nothing that a run leaves."""

import json
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.shard import ShardTask
from nightscore.inputs.jobfile import parse_job
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.layout import predictions_store, state_store
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.schemas.job import ScoringJob
from nightscore.storage.store import Store
from tests.support.lake import Lake
from tests.support.models import make_frame
from tests.support.seaweedfs import S3_KEY, S3_SECRET
from tests.support.warm_commands import run_command

DAY = "2024-02-29"
CANARY = "c4n4ry-n3v3r-t0-b3-s33n"
"""Of a store that refuses it."""
pytestmark = pytest.mark.s3


@pytest.fixture
def env_lake(s3_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Its options name variables; the variables hold the server's credentials."""
    monkeypatch.setenv("NIGHTSCORE_TEST_KEY", S3_KEY)
    monkeypatch.setenv("NIGHTSCORE_TEST_SECRET", S3_SECRET)
    names = {"key": "${NIGHTSCORE_TEST_KEY}", "secret": "${NIGHTSCORE_TEST_SECRET}"}
    pool = WorkerPool()  # of its own: its processes are started with these variables
    return Lake(s3_lake.root, s3_lake.options | names, s3_lake.registry, pool, s3_lake.cache)


def left_behind(lake: Lake, job: ScoringJob) -> Iterator[tuple[str, bytes]]:
    """All objects that runs of a job have written."""
    for store in (predictions_store(job), state_store(job)):
        for entry in store.list_files():
            yield store.locate(entry.path), store.read_bytes(entry.path)


def assert_hidden(text: bytes | str, where: str, *secrets: str) -> None:
    content = text.encode() if isinstance(text, str) else text
    for secret in secrets:
        assert secret.encode() not in content, f"{where} holds a secret"


@pytest.mark.parametrize("formats", ["delta", "parquet"])
def test_nothing_that_a_run_leaves_holds_a_secret(
    env_lake: Lake, formats: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    env_lake.formats = formats
    env_lake.write(DAY, make_frame(100))
    job = env_lake.job("logistic", limits={"max_quarantined_rows": 5})
    frame = make_frame(100)
    frame.loc[3, "a"] = float("inf")
    env_lake.write("2024-03-01", frame)
    with env_lake.pool:
        manifests = [
            env_lake.run(job),
            env_lake.run(job, "2024-03-01"),
            env_lake.run(job, "2024-03-02"),
        ]
    assert [m.status for m in manifests] == ["published", "published", "failed"]
    leftovers = list(left_behind(env_lake, job))
    assert len(leftovers) >= 5
    for path, content in leftovers:
        assert_hidden(content, path, S3_SECRET)
    assert_hidden(caplog.text, "the log", S3_SECRET)
    assert_hidden("".join(m.model_dump_json() for m in manifests), "a manifest", S3_SECRET)


def test_what_crosses_to_the_workers_names_variables_only(env_lake: Lake) -> None:
    env_lake.write(DAY, make_frame(10))
    job = env_lake.job()
    with env_lake.pool as pool:
        model = PinnedModel.resolve(job, env_lake.cache)
        facts = learn_facts(model, env_lake.cache, pool)
        partition, _ = find_partition(Workspace(job), DAY)
        plan, contract = plan_partition(job, model, facts, partition, PlannedWorkers(pool.capacity))
        task = ShardTask(
            job=job,
            run_id="run",
            folder="ds=x",
            model_folder=model.cached.path,
            model_version="1",
            facts=facts,
            contract=contract,
            shard=plan.shards[0],
            batch_rows=10,
            max_quarantined=0,
            n_rows=10,
            memory_bytes=1 << 30,
            cut_for=plan.cut_for,
        )
        assert_hidden(pickle.dumps(task), "a task", S3_SECRET, S3_KEY)


def test_neither_errors_nor_reprs_show_a_secret(
    s3_lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options = s3_lake.options | {"secret": CANARY}
    raw = json.loads(s3_lake.job().model_dump_json())
    raw["input"]["storage_options"] = raw["output"]["storage_options"] = options
    job = parse_job(raw)
    failed = s3_lake.run(job)
    assert failed.error
    assert failed.error.type == "CredentialsError"
    assert_hidden(failed.model_dump_json(), "the manifest", CANARY)
    assert_hidden(caplog.text, "the log", CANARY)
    assert_hidden(repr(job) + str(job) + repr(Store(job.input.uri, options)), "a repr", CANARY)
    with pytest.raises(Exception, match="credentials") as refused:
        parse_job(raw | {"input": {"uri": f"s3://key:{CANARY}@lake/x"}})
    assert_hidden(str(refused.value) + repr(refused.value), "an error", CANARY)
    raw["input"]["storage_options"] = [CANARY]
    with pytest.raises(Exception, match="storage_options") as wrong:
        parse_job(raw)
    assert_hidden(str(wrong.value) + repr(wrong.value), "an error", CANARY)


def test_the_command_shows_no_secret(s3_lake: Lake, tmp_path: Path) -> None:
    options = s3_lake.options | {"secret": CANARY}
    raw: dict[str, Any] = json.loads(s3_lake.job().model_dump_json())
    raw["input"]["storage_options"] = raw["output"]["storage_options"] = options
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(raw))
    for arguments in (
        ["run", str(path), DAY, "--json"],
        ["plan", str(path), DAY],
        ["partitions", str(path)],
    ):
        done = run_command(*arguments)
        assert done.returncode == 1
        assert "credentials" in done.stdout + done.stderr
        assert_hidden(done.stdout + done.stderr, " ".join(arguments), CANARY)
