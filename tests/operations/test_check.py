"""`check` finds everything that would keep a run from publishing, and leaves nothing behind."""

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from nightscore.cli.app import build_app
from nightscore.errors import StorageError
from nightscore.inputs.date_formats import recognise_format
from nightscore.operations.check import ROWS, check_job
from nightscore.operations.checklist import Check
from nightscore.schemas.job import ScoringJob
from nightscore.storage.probe import check_creates, check_writable
from nightscore.storage.store import Store
from tests.fakes.memory_store import MemoryBackend
from tests.support.lake import Lake
from tests.support.models import KnownModel, copy_registry, make_frame, register

DAY = "2024-02-29"
NAMES = (
    *("job file", "registry", "model", "workers", "loading", "baseline", "input", "partition"),
    *("columns", "gates", "output", "table", "Prefect"),
)


def save(job: ScoringJob | dict[str, Any], folder: Path) -> str:
    path = folder / "job.yaml"
    document = job if isinstance(job, dict) else job.model_dump(mode="json")
    path.write_text(yaml.safe_dump(document))
    return str(path)


def looked_at(
    lake: Lake,
    job: ScoringJob,
    tmp_path: Path,
    partition: str | None = None,
    prefect: str = "",
    patience_s: float = 5.0,
) -> dict[str, Check]:
    checks = check_job(
        save(job, tmp_path),
        lake.cache,
        partition,
        prefect,
        lambda workers: contextlib.nullcontext(lake.pool),
        patience_s,
    )
    return {check.name: check for check in checks}


def states(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.state for name, check in checks.items() if check.state != "ok"}


def told(check: Check) -> str:
    assert check.error is not None, check
    assert check.error.next_step, f"{check.name} does not say what to do next"
    return str(check.error)


def test_all_is_well_and_nothing_is_left_behind(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, make_frame(50))
    before = sorted(Path(lake.root).rglob("*"))
    checks = looked_at(lake, lake.job(), tmp_path)

    assert tuple(checks) == NAMES
    assert states(checks) == {"Prefect": "skipped"}
    assert checks["partition"].found == f"{DAY}: 50 rows in 1 file"
    assert checks["loading"].found == (
        "HistGradientBoostingClassifier, 5 columns by name, classes 0, 1"
    )
    assert checks["table"].found == "nothing is published yet"
    assert sorted(Path(lake.root).rglob("*")) == before, "not even an empty folder"


def test_all_problems_are_told_at_once_and_one_cause_once(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    job = lake.job(registry="sqlite:///nowhere.db")
    changes = {"output": {"uri": f"{tmp_path}/file/predictions"}}
    document = job.model_dump(mode="json") | changes
    checks = looked_at(lake, lake.job(**document), tmp_path, prefect="http://127.0.0.1:9/api")

    assert {name for name, state in states(checks).items() if state == "failed"} == {
        *("registry", "model", "input", "output", "Prefect")
    }
    assert checks["model"].same_as == "registry"
    assert "No such folder" in told(checks["input"])
    assert "A part of the path is a file" in told(checks["output"])
    assert "Prefect's API does not answer" in told(checks["Prefect"])
    assert checks["columns"].found == "needs the partition"


def test_a_registry_that_never_answers_is_waited_for_once(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, make_frame(50))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        job = lake.job(registry=f"http://127.0.0.1:{silent.getsockname()[1]}")
        checks = looked_at(lake, job, tmp_path, patience_s=0.1)

    assert "did not answer in time" in told(checks["registry"])
    assert "expected: a complete answer within 0.1 s" in told(checks["registry"])
    assert "if the network is slow: nightscore check --timeout 60" in told(checks["registry"])
    assert checks["model"].found == "needs the registry"
    assert checks["partition"].state == "ok"


@pytest.fixture
def unsigned(
    lake: Lake, models: dict[str, KnownModel], registry_root: Path, tmp_path: Path
) -> Lake:
    """A lake whose model `unsigned` was logged without a signature, as was `pipeline`."""
    import mlflow

    lake.registry = copy_registry(registry_root, tmp_path / "registry")
    client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
    for name, known in (
        ("unsigned", models["hgb_binary"]),
        ("pipeline", models["pipeline_onehot"]),
    ):
        folder = tmp_path / "registry" / "models" / name
        mlflow.sklearn.save_model(
            known.estimator,
            folder,
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )
        register(client, name, folder)
    return lake


def test_a_type_that_a_model_without_a_signature_cannot_take_is_found_as_by_a_run(
    unsigned: Lake, tmp_path: Path
) -> None:
    frame, job = make_frame(100), unsigned.job(model="models:/unsigned/1")

    unsigned.write(DAY, frame.assign(a=None))
    checks = looked_at(unsigned, job, tmp_path)
    assert checks[ROWS].found == "the model predicts 64 rows", "it takes missing values"
    assert unsigned.run(job).status == "published"

    unsigned.write(DAY, frame.assign(a="x"))
    checks = looked_at(unsigned, job, tmp_path)
    refused = told(checks[ROWS])
    assert refused.startswith("Every row of the sample was refused; a run would fail.")
    assert "could not convert string to float" in refused
    failed = unsigned.run(job).error
    assert failed
    assert failed.type == "QuarantineLimitError"

    unsigned.write(DAY, frame.assign(a=pd.Timestamp("2024-02-29")))
    checks = looked_at(unsigned, job, tmp_path)
    reason = "and HistGradientBoostingClassifier reads numbers; compute the number in the features"
    assert reason in told(checks["columns"])
    assert ROWS not in checks
    failed = unsigned.run(job).error
    assert failed
    assert failed.type == "ContractError"
    assert reason in failed.message


def test_a_pipeline_that_takes_texts_is_tried_with_them(unsigned: Lake, tmp_path: Path) -> None:
    unsigned.write(DAY, make_frame(100))
    checks = looked_at(unsigned, unsigned.job(model="models:/pipeline/1"), tmp_path)
    assert checks[ROWS].found == "the model predicts 64 rows"


def test_an_invalid_file_is_the_only_problem(lake: Lake, tmp_path: Path) -> None:
    path = save({"name": "x", "kyes": "id"}, tmp_path)
    first, rest, _ = check_job(path, lake.cache)
    assert "kyes: unknown key; did you mean keys?" in told(first)
    assert (rest.state, rest.found) == ("skipped", "needs the job file")


BROKEN: list[tuple[str, dict[str, Any], str, str]] = [
    ("a name", {"model": "models:/hgb_binry/1"}, "model", "did you mean models:/hgb_binary/1?"),
    ("a version", {"model": "models:/hgb_binary/9"}, "model", "found:    version 1;"),
    ("a key", {"keys": ["idd"]}, "columns", "idd: is missing (a key)"),
    ("features", {"model": "models:/pipeline_strict/1"}, "columns", "size: is missing (string)"),
    (
        "a gate",
        {"gates": {"null_rate": {"max": 0.1, "columns": {"aa": 0.2}}}},
        "gates",
        "aa is neither a feature nor a prediction; did you mean a?",
    ),
    (
        "a method",
        {"model": "models:/hgb_regressor/1", "predict": "predict_proba"},
        "columns",
        "has no predict_proba; it has",
    ),
    ("a column", {"drift": {"segments": ["colour"]}}, "columns", "did you mean color?"),
]


@pytest.mark.parametrize(("_", "changes", "name", "text"), BROKEN)
def test_each_problem_has_a_check_that_names_it(
    lake: Lake, tmp_path: Path, _: str, changes: dict[str, Any], name: str, text: str
) -> None:
    lake.write(DAY, make_frame(20).drop(columns="size"))
    checks = looked_at(lake, lake.job(**{"pass_through": ["color"], **changes}), tmp_path)
    assert [key for key, state in states(checks).items() if state == "failed"] == [name]
    assert text in told(checks[name])


def test_files_are_looked_at_even_if_there_is_no_model(lake: Lake, tmp_path: Path) -> None:
    with lake.features.open_output(f"ds={DAY}/rows.csv") as file:
        file.write(b"id,a\n" + b"1,2\n" * 10)
    checks = looked_at(lake, lake.job("none"), tmp_path)
    assert states(checks).keys() >= {"model", "partition"}
    assert "polars.read_csv(" in told(checks["partition"])
    assert f"ds={DAY}/rows.parquet" in told(checks["partition"])


def test_the_newest_date_is_looked_at_or_the_one_that_is_named(lake: Lake, tmp_path: Path) -> None:
    for day in (DAY, "2024-03-01", "latest"):
        lake.write(day, make_frame(10))
    found = [
        looked_at(lake, lake.job(), tmp_path, day)["partition"].found
        for day in (None, DAY, "ds=20240229")
    ]
    assert found == [f"{day}: 10 rows in 1 file" for day in ("2024-03-01", DAY, DAY)]
    assert "2024-02-29" in told(looked_at(lake, lake.job(), tmp_path, "2024-02-30")["partition"])


def test_dates_in_another_format_and_keys_without_value_are_warned_of(
    lake: Lake, tmp_path: Path
) -> None:
    frame = make_frame(10).astype({"id": pd.Int64Dtype()})
    frame.loc[:2, "id"] = None
    lake.write("20240229", frame)
    job = lake.job(keys={"columns": ["id"], "unique": True})
    checks = looked_at(lake, job, tmp_path)
    assert states(checks) == {"input": "warning", "partition": "warning", "Prefect": "skipped"}
    assert "write `partition_format: '%Y%m%d'` below `input`" in checks["input"].warnings[0]
    assert "the key id is null in some rows" in checks["partition"].warnings[0]


def test_the_table_of_another_job_is_refused(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, make_frame(10))
    lake.run(lake.job(), DAY)
    assert "1 partition published" in looked_at(lake, lake.job(), tmp_path)["table"].found
    other = looked_at(lake, lake.job(name="other"), tmp_path)
    assert "add renamed_from: test" in told(other["table"])


def test_a_store_that_lets_two_writers_succeed_is_found_out(
    memory: Store, monkeypatch: Any
) -> None:
    check_creates(memory)
    check_writable(memory)
    assert memory.list_files() == []

    def overwrite(self: Any, path: str, data: bytes, *, is_durable: bool) -> None:
        self.write_bytes(path, data)

    monkeypatch.setattr(MemoryBackend, "create", overwrite)
    with pytest.raises(StorageError, match="two runs could publish over each other"):
        check_creates(memory)
    assert memory.list_files() == []


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        (["2026-11-24", "2026-11-25", None], "%Y-%m-%d"),
        (["20261124"], "%Y%m%d"),
        (["2026112403"], "%Y%m%d%H"),
        (["2026-11-24-03", "2026-11-24-04"], "%Y-%m-%d-%H"),
        (["2026-11", "2026-12"], "%Y-%m"),
        (["202611"], "%Y%m"),
        (["24.11.2026"], "%d.%m.%Y"),
        (["2024", "2025"], "%Y"),
        (["1001", "1002"], None),
        (["EU", "US"], None),
        (["2026-11-24", "EU", "US"], None),
        ([], None),
    ],
)
def test_formats_of_dates_are_recognised(values: list[str | None], pattern: str | None) -> None:
    assert recognise_format(values) == pattern


def test_the_command_ends_as_a_run_would(
    lake: Lake,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    lake.write("2024-02-29", make_frame(5))
    path = save(lake.job(), tmp_path)
    assert build_app()(["check", path, "2024-02-30"], standalone_mode=False) == 2
    (tmp_path / "empty.yaml").touch()
    assert build_app()(["check", str(tmp_path / "empty.yaml")], standalone_mode=False) == 2

    capsys.readouterr()
    monkeypatch.setenv("PREFECT_API_URL", "prefect")
    assert build_app()(["check", path], standalone_mode=False) == 2
    assert "A run can publish from here, but not through Prefect." in capsys.readouterr().out


def test_the_command_exits_with_1_and_tells_people_and_machines(
    lake: Lake,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "prefect")
    path = save(lake.job("none"), tmp_path)
    assert build_app()(["check", path], standalone_mode=False) == 1
    people = capsys.readouterr().out
    assert "registry   ok" in people
    assert "model: There is no registered model none." in people
    assert "PREFECT_API_URL is no address of a server" in people
    assert "A run cannot publish: 3 checks failed." in people

    assert build_app()(["check", path, "--json"], standalone_mode=False) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    (failed,) = [check for check in document["checks"] if check["name"] == "input"]
    assert failed["error"]["type"] == "LocationNotFoundError"
    assert failed["error"]["next"]
