"""Bad input ends in a message that says what, where, expected, found and what to do next."""

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeGuard

import pyarrow as pa
import pytest

import nightscore.errors
from nightscore.errors import InvalidJobError, ScoringError, StorageError
from nightscore.inputs.jobfile import load_job, parse_job
from nightscore.storage.backends.gcs import GoogleBackend
from nightscore.storage.backends.s3 import S3Backend
from nightscore.storage.env_references import resolve_env
from tests.support.lake import Lake
from tests.support.models import NUMBERS, make_frame
from tests.support.seaweedfs import BUCKET

DAY = "2024-02-29"


def fail(lake: Lake, job: Any, kind: str, partition: str | None = DAY) -> str:
    """The message of a run that must fail so, leaving nothing published and its record."""
    manifest = lake.run(job, partition)
    assert manifest.status == "failed"
    assert manifest.error
    assert manifest.error.type == kind, manifest.error.message
    assert "next:" in manifest.error.message
    return manifest.error.message


def test_no_such_model_version_or_alias(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, make_frame(5))
    message = fail(lake, lake.job("nobody"), "ModelNotFoundError")
    assert "no registered model nobody" in message
    message = fail(lake, lake.job("models:/hgb_binary/99"), "ModelNotFoundError")
    assert "no version 99" in message
    assert "version 1; alias champion (1)" in message
    message = fail(lake, lake.job("models:/hgb_binary@nightly"), "ModelNotFoundError")
    assert "no alias nightly" in message
    message = fail(lake, lake.job(registry=f"sqlite:///{tmp_path}/none.db"), "ModelNotFoundError")
    assert "no model registry" in message
    assert not (tmp_path / "none.db").exists()
    message = fail(lake, lake.job(registry="http://127.0.0.1:9"), "StorageUnavailableError")
    assert "registry did not answer" in message


def test_a_registry_without_its_driver_or_without_an_answer(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    lake.write(DAY, make_frame(5))
    job = lake.job(registry="postgresql://reader:canary@127.0.0.1:9/registry")
    for error, kind in (
        (ModuleNotFoundError("No module named 'psycopg2'"), "InvalidJobError"),
        (KeyError(), None),
    ):

        def refuse(error: Exception = error, **options: str) -> None:
            raise error

        monkeypatch.setattr(mlflow, "MlflowClient", refuse)
        message = fail(lake, job, kind or "StorageUnavailableError")
        assert "postgresql://127.0.0.1:9/registry" in message
        assert "canary" not in message


def test_no_such_partition(any_lake: Lake) -> None:
    any_lake.write("2024-03-01", make_frame(5))
    any_lake.write("2024-03-02", make_frame(5))
    message = fail(any_lake, any_lake.job(), "PartitionNotFoundError")
    assert "There is no partition 2024-02-29" in message
    assert "2 partitions, 2024-03-01 to 2024-03-02" in message


def test_no_such_input_folder(lake: Lake) -> None:
    assert "No such folder" in fail(lake, lake.job(), "LocationNotFoundError")


@pytest.mark.s3
def test_no_such_bucket(s3_lake: Lake) -> None:
    job = s3_lake.job(input={"uri": "s3://nowhere/features", "storage_options": s3_lake.options})
    assert "No such bucket" in fail(s3_lake, job, "LocationNotFoundError")


@pytest.mark.s3
def test_wrong_credentials(s3_lake: Lake) -> None:
    s3_lake.write(DAY, make_frame(5))
    wrong = s3_lake.options | {"secret": "hunter2hunter2"}
    for change in (
        {"input": {"uri": s3_lake.features.uri, "storage_options": wrong}},
        {"output": {"uri": f"{s3_lake.root}/predictions", "storage_options": wrong}},
        {
            "output": {
                "uri": f"{s3_lake.root}/predictions",
                "format": "parquet",
                "storage_options": wrong,
            }
        },
    ):
        message = fail(s3_lake, s3_lake.job(**change), "CredentialsError")
        assert "hunter2" not in message


@pytest.mark.s3
def test_no_answer_from_the_store(s3_lake: Lake) -> None:
    nowhere = s3_lake.options | {"endpoint_url": "http://127.0.0.1:9"}
    job = s3_lake.job(input={"uri": f"s3://{BUCKET}/x", "storage_options": nowhere})
    fail(s3_lake, job, "StorageUnavailableError")


def test_unset_environment_variables_are_all_named(lake: Lake) -> None:
    options = {"key": "${NIGHTSCORE_TEST_KEY}", "secret": "${NIGHTSCORE_TEST_SECRET}"}
    job = lake.job(input={"uri": "s3://lake/x", "storage_options": options})
    manifest = lake.run(job)
    assert manifest.error
    assert "${NIGHTSCORE_TEST_KEY}" in manifest.error.message
    assert "${NIGHTSCORE_TEST_SECRET}" in manifest.error.message


def test_all_contract_problems_at_once(lake: Lake) -> None:
    frame = make_frame(5).rename(columns={"a": "aa"})
    frame["b"] = "1.5"
    table = pa.Table.from_pandas(frame.drop(columns="c"), preserve_index=False)
    table = table.append_column("c", pa.array([1] * 5, pa.duration("us")))
    table = table.set_column(
        table.column_names.index("d"), "d", pa.array([0] * 5, pa.timestamp("us"))
    )
    lake.write(DAY, table)
    message = fail(lake, lake.job(keys=["idd"], pass_through=["count"]), "ContractError")
    assert "5 problems; no row was read" in message
    assert "a: is missing (double); the file has aa" in message
    assert "b: has the type string, and strings are not read as numbers" in message
    assert "c: has the type duration[us], and a time is no double" in message
    assert "d: has the type timestamp[us], and a time is no double" in message
    assert "idd: is missing (a key); the file has id" in message


def test_a_problem_of_one_file_names_it(lake: Lake) -> None:
    lake.write(DAY, make_frame(5), "a")
    lake.write(DAY, make_frame(5).drop(columns="e"), "b")
    message = fail(lake, lake.job(), "ContractError")
    assert f"e: is missing (double) (1 of 2 files, first ds={DAY}/b.parquet)" in message


def test_an_unnamed_model_needs_as_many_columns_as_it_was_trained_on(lake: Lake) -> None:
    lake.write(DAY, make_frame(5))
    message = fail(lake, lake.job("forest_numpy", features=["a", "b"]), "ContractError")
    assert "trained on 5 columns without names, the job leaves 2: a, b" in message


def test_corrupt_footer_and_truncated_file_are_both_named(any_lake: Lake) -> None:
    for name in ("a", "b", "c"):
        any_lake.write(DAY, make_frame(500), name)
    whole = any_lake.features.read_bytes(f"ds={DAY}/a.parquet")
    any_lake.features.write_bytes(f"ds={DAY}/a.parquet", whole[: len(whole) // 2])
    any_lake.features.write_bytes(f"ds={DAY}/b.parquet", whole[:-20] + b"x" * 20)
    any_lake.features.write_bytes(f"ds={DAY}/d.parquet", b"")
    message = fail(any_lake, any_lake.job(), "CorruptFileError")
    assert "3 of 4 files cannot be read as Parquet" in message
    for name in ("a", "b", "d"):
        assert f"ds={DAY}/{name}.parquet" in message
    assert f"ds={DAY}/c.parquet" not in message


def test_corrupt_pages_are_caught_by_their_checksums(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(5_000), "a", write_page_checksum=True, compression="none")
    whole = bytearray(any_lake.features.read_bytes(f"ds={DAY}/a.parquet"))
    whole[len(whole) // 3] ^= 0xFF
    any_lake.features.write_bytes(f"ds={DAY}/a.parquet", bytes(whole))
    message = fail(any_lake, any_lake.job(), "CorruptFileError")
    assert f"ds={DAY}/a.parquet, in rows 0 to " in message
    assert "nothing was published" in message


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"modle": "models:/a/1"}, "modle: unknown key; did you mean model?"),
        (
            {"input": {"uri": "x", "partition_kee": "ds"}},
            "input.partition_kee: unknown key; did you mean partition_key?",
        ),
        (
            {"gates": {"rows": {"min_ratoi": 0.5}}},
            "gates.rows.min_ratoi: unknown key; did you mean min_ratio?",
        ),
        (
            {"model": "models:/a/latest"},
            "model: expected models:/<name>/<version>, models:/<name>@<alias> or models:/m-<id>",
        ),
        ({"name": "a b"}, "name: "),
        ({"input": {"uri": "s3://key:secret@bucket/x"}}, "input.uri: carries credentials"),
        ({"keys": ["id", "id"]}, "keys and pass_through name a column twice: id"),
        (
            {"keys": ["prediction"]},
            "keys and pass_through use names of the output's own columns: prediction",
        ),
        ({"output": {"uri": "s3://bucket"}}, "output.uri: needs a path below the bucket"),
        (
            {"output": {"uri": "x", "format": "csv"}},
            "output.format: expected one of delta, parquet; found the text csv",
        ),
        ({"workers": {"count": 0}}, "workers.count: "),
        ({"limits": {"max_quarantined_share": 2}}, "limits.max_quarantined_share: "),
    ],
)
def test_job_problems_are_named_with_the_nearest_known_key(
    raw: dict[str, Any], expected: str
) -> None:
    whole = {"name": "a", "model": "models:/a/1", "input": {"uri": "x"}, "output": {"uri": "y"}}
    with pytest.raises(InvalidJobError) as caught:
        parse_job(whole | raw)
    assert expected in str(caught.value)


def test_all_job_problems_at_once() -> None:
    with pytest.raises(InvalidJobError) as caught:
        parse_job({"nam": "a", "input": {}, "output": {"uri": "y", "formt": "delta"}})
    text = str(caught.value)
    for part in (
        "name: is missing",
        "model: is missing",
        "input.uri: is missing",
        "nam: unknown key",
        "output.formt",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nname: b\n", "the key name is given twice"),
        ("a: [", "no valid YAML"),
        ("- a", "does not describe a job"),
        ("", "an empty file"),
        ("name: %x", "no valid YAML"),
        ("a: &a {b: *a}", "expands to more than a job needs"),
        (
            "a: " + "[" * 100 + "]" * 100,
            "without aliases that repeat or contain each other, and without deep nesting",
        ),
    ],
)
def test_a_job_file_that_is_none(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(InvalidJobError) as caught:
        load_job(str(tmp_path / "job.yaml"))
    assert expected in str(caught.value)
    assert "job.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "password: *Hidden",
        "password: !Hidden x",
        "password: &Hidden x\nother: &Hidden y\n? *Hidden",
        "password: Hidden: x",
        "password: %Hidden",
        "password: @Hidden",
        'password: "Hidden\\q"',
        "password: [Hidden",
        "password: 'Hidden",
        "password: \x00Hidden",
        "password: !!int Hidden",
        "password: !!binary Hidden\u00e9",
        "password: !!timestamp Hidden",
        "password: !!bool Hidden",
        "password: !!omap Hidden",
        "\tpassword: Hidden",
        "password: Hidden\npassword: Hidden",
    ],
)
def test_an_error_in_a_job_file_names_the_place_and_not_the_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(InvalidJobError, match="no valid YAML") as raised:
        load_job(str(path))
    assert "Hidden" not in str(raised.value)


def test_a_date_that_does_not_exist_is_no_defect(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("name: 2013-02-30")
    with pytest.raises(InvalidJobError, match="line 1, column 7: the value is no timestamp"):
        load_job(str(path))


def test_errors_survive_pickling() -> None:
    for name in dir(nightscore.errors):
        kind = getattr(nightscore.errors, name)
        if isinstance(kind, type) and issubclass(kind, ScoringError):
            error = kind("what", "where", "expected", "found", "next", ["one", "two"])
            again = pickle.loads(pickle.dumps(error))
            assert type(again) is kind
            assert str(again) == str(error)
            assert "two" in str(again)


def test_secrets_appear_nowhere(lake: Lake) -> None:
    os.environ["NIGHTSCORE_TEST_CANARY"] = "whisper-in-a-coal-mine"
    job = lake.job(
        output={
            "uri": f"{lake.root}/p",
            "storage_options": {"some_token": "${NIGHTSCORE_TEST_CANARY}"},
        }
    )
    lake.write(DAY, make_frame(5))
    manifest = lake.run(job)
    assert manifest.error is None
    assert "whisper" not in repr(job) + manifest.model_dump_json()
    for path in Path(lake.root).rglob("*"):
        assert not path.is_file() or b"whisper" not in path.read_bytes()


@pytest.mark.slow
def test_a_command_shows_no_stack_trace(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nightscore.cli", "run", str(tmp_path / "none.yaml"), DAY, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "The job file cannot be read" in done.stderr
    assert '"type": "InvalidJobError"' in done.stdout
    assert NUMBERS


def test_each_error_is_in_the_runbook() -> None:
    import nightscore.errors

    runbook = (Path(__file__).parent.parent / "deploy" / "RUNBOOK.md").read_text()
    kinds = {
        name
        for name, kind in vars(nightscore.errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    described = {
        line.removeprefix("### ") for line in runbook.splitlines() if line.startswith("### ")
    }
    assert described == kinds - {"ScoringError"}


INTERNAL = {"The object was replaced meanwhile.", "The file exists already."}
"""Caught and said again with what they mean."""


def test_every_error_names_the_next_step() -> None:
    problems = []
    for path in sorted(Path(nightscore.errors.__file__).parent.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            kind = getattr(nightscore.errors, call.func.id, None) if is_named_call(call) else None
            if not isinstance(kind, type) or not call.args:
                continue
            what = ast.unparse(call.args[0])
            if (
                "next_step" not in {word.arg for word in call.keywords}
                and what.strip("'") not in INTERNAL
            ):
                problems.append(f"{path.name} line {call.lineno}: {what}")
    assert not problems


def is_named_call(node: ast.AST) -> TypeGuard[Any]:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id.endswith("Error")
    )


SECRET = "n3v3r-t0-b3-s33n"


@pytest.mark.parametrize(
    ("options", "told", "shown"),
    [
        ({}, f"GET http://user:{SECRET}@127.0.0.1:9/lake/x", "GET http://***@127.0.0.1:9/lake/x"),
        ({}, f"postgresql://user:{SECRET}@{SECRET}@host/db", "postgresql://***@host/db"),
        ({}, f"https://{SECRET}@host/x", "https://***@host/x"),
        (
            {},
            f"GET https://a.blob.core.windows.net/x?sv=1&sig={SECRET}&se=2",
            "net/x?sv=1&sig=***&se=2",
        ),
        (
            {"secret": SECRET, "key": "minioadmin"},
            f"no such key minioadmin or {SECRET}",
            "no such key minioadmin or ***",
        ),
        ({"client_kwargs": {"aws_session_token": SECRET}}, SECRET, "***"),
        (
            {"connection_string": f"AccountName=a;AccountKey={SECRET}=="},
            f"{SECRET}== is no key",
            "*** is no key",
        ),
        ({"token": "${CANARY}"}, f"bad token {SECRET}", "bad token ***"),
        (
            {},
            f"postgresql://host/db?sslpassword={SECRET}&x=1",
            "postgresql://host/db?sslpassword=***&x=1",
        ),
        (
            {},
            "abfss://lake@account.dfs.core.windows.net/x",
            "abfss://lake@account.dfs.core.windows.net/x",
        ),
        ({}, "s3://lake/a:b@c", "s3://lake/a:b@c"),
    ],
)
def test_messages_hold_no_secret(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], told: str, shown: str
) -> None:
    """Libraries put addresses, and values that they refuse, into their errors."""
    monkeypatch.setattr("nightscore.schemas.masking._values", set())
    monkeypatch.setenv("CANARY", SECRET)
    resolve_env(options)
    error = StorageError("No.", told, found=told, problems=[told])
    for text in (str(error), str(error.args), error.where, error.found, *error.problems):
        assert SECRET not in text
    assert error.found.endswith(shown)
    assert pickle.loads(pickle.dumps(error)).found == error.found


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"client_kwargs": SECRET}, "client_kwargs: expected a mapping, found str"),
        ({"key": [SECRET]}, "key: expected a value, found list"),
        ({"secret": {"x": SECRET}}, "secret: expected a value, found dict"),
    ],
)
def test_options_of_another_kind_are_refused(options: dict[str, Any], problem: str) -> None:
    for map_options in (S3Backend.fsspec_options, S3Backend.delta_options):
        with pytest.raises(InvalidJobError, match=problem) as refused:
            map_options("", options)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize("key", [f'{{"private_key": "{SECRET}"', f'"{SECRET}"', [SECRET]])
def test_a_key_that_is_none_is_refused(key: Any) -> None:
    with pytest.raises(InvalidJobError, match=r"service_account_key .* is no key") as refused:
        GoogleBackend.fsspec_options("", {"service_account_key": key})
    assert SECRET not in str(refused.value)
    with pytest.raises(InvalidJobError, match=r"service_account_key .* is no key"):
        GoogleBackend.delta_options("", {"service_account_key": key})
