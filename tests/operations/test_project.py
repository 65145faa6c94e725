"""`init` writes projects that work at once, says what it guessed, and never overwrites."""

import ast
import contextlib
import errno
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import write_deltalake

import nightscore
from nightscore.cli.app import build_app
from nightscore.errors import (
    CredentialsError,
    InvalidJobError,
    ModelNotFoundError,
    ScoringError,
    StorageError,
)
from nightscore.inputs.jobfile import load_job
from nightscore.operations.check import check_job
from nightscore.operations.project.begin import Project, begin_project
from nightscore.operations.project.records import Wish
from tests.support.lake import Lake
from tests.support.models import NUMBERS, copy_registry, make_frame

ROOT = Path(__file__).parents[2]
DAY = "2024-02-29"
MODEL = "models:/hgb_binary/1"


def begin(lake: Lake, folder: Path, data: object = "", model: str = MODEL, **wish: Any) -> Project:
    registry = wish.pop("registry", lake.registry)
    return begin_project(
        Wish(folder=folder, model=model, data=str(data), registry=registry, **wish),
        lake.cache,
        lambda workers: contextlib.nullcontext(lake.pool),
    )


def guessed(project: Project) -> dict[str, str]:
    return {guess.key: guess.value for guess in project.guesses}


def write(path: Path, frame: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), path)
    return path


def linked(project: Project) -> list[str]:
    data = project.folder / "data" / project.name
    return sorted(str(path.relative_to(data)) for path in data.rglob("*.parquet"))


def test_a_project_passes_its_check_and_runs_at_once(lake: Lake, tmp_path: Path) -> None:
    for day in ("2024-02-28", DAY):
        lake.write(day, make_frame(40))
    project = begin(lake, tmp_path / "project", lake.features.uri)

    assert project.partition == DAY
    assert guessed(project)["input.partition_key"] == "ds"
    assert guessed(project)["input.partition_format"] == "%Y-%m-%d"
    assert guessed(project)["keys"] == "id"
    assert guessed(project)["features"].startswith("a (double), b (double)")
    assert "classifier of 2 classes (0, 1)" in project.guesses[-2].reason
    assert not project.obstacles

    job_file = str(project.folder / project.job_file)
    checks = check_job(
        job_file, lake.cache, open_workers=lambda workers: contextlib.nullcontext(lake.pool)
    )
    assert {check.state for check in checks} == {"ok", "skipped"}, checks
    job = load_job(job_file)
    assert (job.name, job.keys.columns, job.input.uri) == (
        *("hgb_binary", ("id",), lake.features.uri),
    )
    assert lake.run(job, DAY).status == "published"


def test_the_files_of_a_project_fit_together(lake: Lake, tmp_path: Path) -> None:
    project = begin(lake, tmp_path, model="", name="late flights")
    assert [obstacle.split(":")[0] for obstacle in project.obstacles] == [
        "There is no model yet",
        "There are no data yet",
    ]
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {*project.files}

    text = (tmp_path / project.job_file).read_text()
    schema_line = re.match(r"# yaml-language-server: \$schema=(.*)\n", text)
    assert schema_line is not None
    schema = json.loads((tmp_path / "jobs" / schema_line[1]).read_text())
    jsonschema.validate(yaml.safe_load(text), schema)
    assert yaml.safe_load(text)["name"] == "late_flights"

    deployments = yaml.safe_load((tmp_path / "prefect.yaml").read_text())
    (step,) = deployments["pull"]
    assert [*step.values()] == [{"directory": "{{ here.stdout }}"}], "wherever the folder is"
    for deployment in deployments["deployments"]:
        job = deployment["parameters"]["job"]
        assert job == "{{ here.stdout }}/jobs/late_flights.yaml"
        module, _, function = deployment["entrypoint"].rpartition(".")
        path = ROOT / "flows" / f"{module.removeprefix('nightscore.flows.')}.py"
        names = {getattr(node, "name", "") for node in ast.parse(path.read_text()).body}
        assert function in names, "no path into a checkout"

    assert "pyarrow==" in (tmp_path / "constraints.txt").read_text()
    assert "nightscore check jobs/late_flights.yaml" in (tmp_path / "README.md").read_text()


def test_nothing_is_overwritten_and_all_existing_files_are_named(
    lake: Lake, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / ".gitignore").write_text("/data/\n")
    (tmp_path / "constraints.txt").symlink_to("nowhere")
    project = begin(lake, tmp_path)
    assert project.kept == ("README.md", "constraints.txt", ".gitignore")
    assert not {*project.kept} & {*project.files}
    assert (tmp_path / "README.md").read_text() == "mine"
    assert (tmp_path / ".gitignore").read_text() == "/data/\n"
    assert not (tmp_path / "nowhere").exists()
    (note,) = project.notes
    assert note.startswith(".gitignore lacks what runs write: /predictions/ ")


def test_a_second_job_is_added_to_a_project(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, make_frame(5))
    begin(lake, tmp_path, lake.features.uri)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    project = begin(lake, tmp_path, lake.features.uri, name="second")
    assert project.files == ("jobs/second.yaml",)
    assert len(project.kept) == 5
    assert before == {path: path.read_bytes() for path in before}
    assert load_job(str(tmp_path / "jobs" / "second.yaml")).name == "second"
    (note,) = project.notes
    assert '`nightscore deploy jobs/second.yaml --cron "0 3 * * *"` makes them' in note


def test_the_same_call_again_changes_nothing_and_repairs(lake: Lake, tmp_path: Path) -> None:
    data = dates_in_names(tmp_path / "lake")
    first = begin(lake, tmp_path / "project", data)
    (first.folder / "README.md").unlink()
    job_file = first.folder / first.job_file
    job_file.write_text(job_file.read_text() + "limits: {max_quarantined_rows: 3}  # mine\n")

    again = begin(lake, tmp_path / "project", data)
    assert again.files == ("README.md",)
    assert linked(again) == linked(first)
    assert load_job(str(job_file)).limits.max_quarantined_rows == 3
    assert begin(lake, tmp_path / "project", data).files == ()


def test_a_job_that_says_something_else_is_left_alone(lake: Lake, tmp_path: Path) -> None:
    begin(lake, tmp_path, name="late")
    lake.write(DAY, make_frame(5))
    before = (tmp_path / "jobs" / "late.yaml").read_text()
    with pytest.raises(InvalidJobError) as refused:
        begin(lake, tmp_path, lake.features.uri, name="late")
    assert refused.value.problems == (
        f'input.uri: the file has "{tmp_path}/data/late"; guessed: "{lake.features.uri}"',
        'keys: the file has nothing; guessed: ["id"]',
    )
    assert "--name NAME" in refused.value.next_step
    assert f"`mv {tmp_path}/jobs/late.yaml " in refused.value.next_step
    assert (tmp_path / "jobs" / "late.yaml").read_text() == before


def test_a_project_may_be_moved(lake: Lake, tmp_path: Path) -> None:
    project = begin(lake, tmp_path / "here", dates_in_names(tmp_path / "lake"), name="late")
    text = (project.folder / project.job_file).read_text()
    assert str(project.folder) not in text
    shutil.move(tmp_path / "here", tmp_path / "there")

    job = load_job(str(tmp_path / "there" / project.job_file))
    assert job.input.uri == str(tmp_path / "there" / "data" / "late")
    assert job.output.uri == str(tmp_path / "there" / "predictions" / "late")
    assert job.registry == lake.registry, "it is not in the project"
    assert begin(lake, tmp_path / "there", tmp_path / "lake", name="late").files == ()


def dates_in_names(root: Path) -> Path:
    write(root / "rows_20240228.parquet", make_frame(5))
    return write(root / "rows_20240229.parquet", make_frame(5)).parent


def dates_in_folders(root: Path) -> Path:
    write(root / "2024/02/28/part-0.parquet", make_frame(5))
    return write(root / "2024/02/29/part-0.parquet", make_frame(5)).parents[3]


def one_file(root: Path) -> Path:
    path = write(root / "rows.parquet", make_frame(5))
    os.utime(path, (1709200000, 1709200000))  # 29 February 2024
    return path


def one_file_of_a_partition(root: Path) -> Path:
    return write(root / f"ds={DAY}" / "part-0.parquet", make_frame(5))


def another_key(root: Path) -> Path:
    write(root / "date=20240228" / "part-0.parquet", make_frame(5))
    return write(root / "date=20240229" / "part-0.parquet", make_frame(5)).parents[1]


def no_dates(root: Path) -> Path:
    return write(root / "shop=EU" / "part-0.parquet", make_frame(5)).parents[1]


def a_delta_table(root: Path) -> Path:
    frame = make_frame(5).assign(region="EU", day=DAY)
    for rows in (frame, frame.assign(a=0.0)):  # the first is replaced
        write_deltalake(root, rows, partition_by=["region", "day"], mode="overwrite")
    return root


LAYOUTS = [
    (dates_in_names, "ds", "%Y-%m-%d", DAY, 2),
    (dates_in_folders, "ds", "%Y-%m-%d", DAY, 2),
    (one_file, "ds", "%Y-%m-%d", DAY, 1),
    (one_file_of_a_partition, "ds", "%Y-%m-%d", DAY, 0),
    (another_key, "date", "%Y%m%d", "20240229", 0),
    (no_dates, "shop", "%Y-%m-%d", "EU", 0),
    (a_delta_table, "day", "%Y-%m-%d", DAY, 1),
]


@pytest.mark.parametrize(("make", "key", "pattern", "newest", "n_links"), LAYOUTS)
def test_data_are_used_where_they_are_or_linked_into_partitions(
    lake: Lake, tmp_path: Path, make: Any, key: str, pattern: str, newest: str, n_links: int
) -> None:
    data = make(tmp_path / "lake")
    project = begin(lake, tmp_path / "project", data)
    found = guessed(project)
    assert (found["input.partition_key"], found["input.partition_format"]) == (key, pattern)
    assert project.partition == newest
    assert len(linked(project)) == n_links
    assert all(path.startswith(f"{key}=2024") for path in linked(project))
    job = load_job(str(project.folder / project.job_file))
    planned = nightscore.plan(job, newest, pool=lake.pool, cache_dir=lake.cache.root)
    assert planned[0].n_rows == 5, "replaced rows of a table are no input"


def a_csv_file(root: Path) -> Path:
    (root / "rows.csv").write_text("id,a\n1,2\n")
    return root / "rows.csv"


def an_empty_folder(root: Path) -> Path:
    return root


def a_mistyped_name(root: Path) -> Path:
    write(root / "rows.parquet", make_frame(2))
    return root / "row.parquet"


def a_broken_file(root: Path) -> Path:
    (root / "rows.parquet").write_bytes(b"PAR1 and no more")
    return root


def columns_that_are_missing(root: Path) -> Path:
    return write(root / "rows.parquet", make_frame(5).rename(columns={"a": "aa", "e": "A"}))


def columns_of_other_types(root: Path) -> Path:
    return write(root / "rows.parquet", make_frame(5).assign(a="x"))


def a_table_of_another_format(root: Path) -> Path:
    write(root / ".hoodie" / "x.parquet", make_frame(5))
    return root


REFUSED = [
    (a_csv_file, "polars.read_csv("),
    (an_empty_folder, "an empty folder"),
    (a_mistyped_name, "did you mean"),
    (a_broken_file, "it does not end with PAR1"),
    (columns_that_are_missing, "e: is missing (double)"),
    (columns_of_other_types, "a: has the type string"),
    (a_table_of_another_format, "a Hudi table"),
]


@pytest.mark.parametrize(("make", "told"), REFUSED)
def test_data_that_cannot_be_scored_are_refused_and_nothing_is_written(
    lake: Lake, tmp_path: Path, make: Any, told: str
) -> None:
    (tmp_path / "lake").mkdir()
    with pytest.raises(ScoringError) as refused:
        begin(lake, tmp_path / "project", make(tmp_path / "lake"))
    assert told in str(refused.value)
    assert refused.value.next_step
    assert not (tmp_path / "project").exists()


def test_a_project_inside_its_data_is_refused(lake: Lake, tmp_path: Path) -> None:
    write(tmp_path / f"ds={DAY}" / "part-0.parquet", make_frame(5))
    with pytest.raises(InvalidJobError, match="outside of the data"):
        begin(lake, tmp_path / "project", tmp_path)


@pytest.mark.parametrize(
    ("data", "told"), [("lake", "permissions of the path"), ("s3://b/x", "AWS_ACCESS_KEY_ID")]
)
def test_refused_access_is_told_as_the_place_of_the_data_needs_it(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, told: str
) -> None:
    def refuse(place: str, target: Path) -> None:
        raise CredentialsError("The store refuses access.", place)

    monkeypatch.setattr("nightscore.operations.project.begin.find_layout", refuse)
    with pytest.raises(CredentialsError) as refused:
        begin(lake, tmp_path / "project", data, name="job")
    assert told in refused.value.next_step


KEYS = [
    ({}, "id"),
    ({"id": [1, 1, 2, 2, 3, 3], "line_no": [1, 2, 1, 2, 1, 2]}, "id, line_no"),
    ({"id": [1, None, 2, 3, 4, 5]}, "none"),
    (
        {"id": [1] * 6, "run_id": list("abcdef"), "user_id": pd.Categorical(list("abcdef"))},
        "user_id",
    ),
    ({"id": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5], "email": list("abcdef")}, "email"),
]


@pytest.mark.parametrize(("columns", "keys"), KEYS)
def test_keys_are_guessed_from_names_and_values(
    lake: Lake, tmp_path: Path, columns: dict[str, Any], keys: str
) -> None:
    frame = make_frame(6)[["id", *NUMBERS]].assign(**columns)
    if "id" in columns:
        frame["id"] = frame["id"].astype("float64" if "email" in columns else "Int64")
    project = begin(lake, tmp_path / "project", write(tmp_path / "rows.parquet", frame))
    assert guessed(project)["keys"] == keys
    (reason,) = [guess.reason for guess in project.guesses if guess.key == "keys"]
    assert reason == "id is null in 1 row" or "all 6 rows" in reason


def test_an_index_of_pandas_is_no_key_and_no_feature(lake: Lake, tmp_path: Path) -> None:
    frame = make_frame(6)[NUMBERS].assign(__index_level_0__=range(6))
    data = write(tmp_path / "rows.parquet", frame)
    project = begin(lake, tmp_path / "project", data, model="models:/linear_numpy/1")
    assert guessed(project)["keys"] == "none"
    assert guessed(project)["features"] == ", ".join(NUMBERS)
    (reason,) = [guess.reason for guess in project.guesses if guess.key == "keys"]
    assert "__index_level_0__ left out: pandas numbers rows with it" in reason


def test_columns_of_a_model_without_names_are_those_beside_the_keys(
    lake: Lake, tmp_path: Path
) -> None:
    data = write(tmp_path / "rows.parquet", make_frame(6)[["id", *NUMBERS, "color"]])
    project = begin(lake, tmp_path / "fits", data, model="models:/linear_numpy/1")
    assert guessed(project)["features"] == ", ".join(NUMBERS)
    assert not project.obstacles

    data = write(tmp_path / "more.parquet", make_frame(6))
    project = begin(lake, tmp_path / "unclear", data, model="models:/linear_numpy/1")
    assert "name them in order under `features`" in project.obstacles[0]


def test_a_model_that_may_not_be_loaded_is_known_by_its_signature(
    lake: Lake, tmp_path: Path, registry_root: Path
) -> None:
    uri = copy_registry(registry_root, tmp_path / "registry")
    lake.write(DAY, make_frame(10))
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as db:
        pins = db.execute("SELECT * FROM model_version_tags").fetchall()
        with db:
            db.execute("DELETE FROM model_version_tags")
        project = begin(lake, tmp_path / "project", lake.features.uri, registry=uri)
        assert guessed(project)["features"].startswith("a (double)")
        assert "nightscore pin" in project.obstacles[0]

        with db:
            values = ", ".join("?" * len(pins[0]))
            db.executemany(f"INSERT INTO model_version_tags VALUES ({values})", pins)

    again = begin(lake, tmp_path / "project", lake.features.uri, registry=uri)
    assert not again.obstacles, "the same call works once the model is pinned"
    assert again.files == ()


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"model": "models:/hgb_binry/1"}, "did you mean models:/hgb_binary/1"),
        ({"registry": "sqlite:///nowhere.db"}, "--registry or MLFLOW_TRACKING_URI"),
    ],
)
def test_a_model_that_does_not_exist_is_refused(
    lake: Lake, tmp_path: Path, wish: dict[str, str], told: str
) -> None:
    with pytest.raises(ModelNotFoundError) as refused:
        begin(lake, tmp_path / "project", **wish)
    assert told in str(refused.value)
    assert not (tmp_path / "project").exists()


def own_data_section() -> str:
    return (ROOT / "README.md").read_text().partition("## Your own data")[2].split("\n## ")[0]


def test_nothing_is_left_if_not_all_can_be_written(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*places: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", no_room)
    monkeypatch.setattr(shutil, "copyfile", no_room)
    with pytest.raises(StorageError, match="The disk is full"):
        begin(lake, tmp_path / "new" / "project", dates_in_names(tmp_path / "lake"))
    assert [path.name for path in tmp_path.iterdir()] == ["lake"]


def own_data_of_the_readme() -> tuple[str, list[str]]:
    """The training script of README, and the commands after it."""
    section = own_data_section()
    (script,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    lines = re.findall(r"^nightscore .*$", section, re.MULTILINE)
    return str(script), [str(line) for line in lines]


def test_the_first_hour_of_the_readme_runs_as_it_stands(
    registry: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # An MLflow database that is there already saves seconds; its models are not used.
    shutil.copy(registry.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as db, db:
        db.execute("UPDATE experiments SET artifact_location = ?", (f"{tmp_path}/mlruns/0",))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(tmp_path / "cache"))

    script, commands = own_data_of_the_readme()
    assert [shlex.split(line)[1] for line in commands] == ["init", "check", "run", "report"]
    # In a process of its own: MLflow remembers the experiment that a process used last.
    Path("train.py").write_text(script)
    trained = subprocess.run(
        [sys.executable, "-W", "ignore", "train.py"], capture_output=True, text=True, check=False
    )
    assert trained.returncode == 0, trained.stderr

    for line in commands:
        code = build_app()(shlex.split(line)[1:], standalone_mode=False)
        told = capsys.readouterr()
        assert not code, f"{line}\n{told.out}{told.err}"

    predictions = nightscore.read_predictions(load_job("jobs/churn.yaml"), "2026-11-24")
    assert predictions.num_rows == 1000
    assert predictions.column_names[:3] == ["customer_id", "prediction", "probability"]

    (reads,) = re.findall(r"^python -c '(.*)'$", own_data_section(), re.MULTILINE)
    exec(reads)  # noqa: S102 (a line of README)
    assert "shape: (1_000, 6)" in capsys.readouterr().out
