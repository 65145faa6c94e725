"""What each kind of store can do, and what is said where it cannot; errors and options of each library."""

import errno
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from typer.testing import CliRunner

from nightscore.cli.app import build_app
from nightscore.engine.checkpoints import take_over
from nightscore.errors import (
    CredentialsError,
    InvalidJobError,
    LocationNotFoundError,
    ScoringError,
    StorageError,
    StorageUnavailableError,
)
from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.workspace import Workspace
from nightscore.operations.approve import approve
from nightscore.operations.decision import find_held
from nightscore.operations.reject import reject
from nightscore.outputs.guarantees import missing_guarantees, unnoticed_changes
from nightscore.outputs.handle import translate_table_error
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.uri import check_uri
from nightscore.storage.backend_catalog import find_backend
from nightscore.storage.backends.s3 import is_retried
from nightscore.storage.errors import code_of, translate_error
from nightscore.storage.protocol import FULL, TABLES_ONLY
from nightscore.storage.store import Store
from tests.cli.test_commands import save
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2024-02-29"
CONNECTION = "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=a2V5==;BlobEndpoint=http://127.0.0.1:1/acme;"


def fsspec_options(scheme: str, account: str, options: dict[str, Any]) -> dict[str, Any]:
    return find_backend(scheme).fsspec_options(account, options)  # type: ignore[attr-defined]


def table_options(scheme: str, uri: str, options: dict[str, Any]) -> dict[str, str]:
    return find_backend(scheme)(uri, options).table_options()


def account_of(scheme: str, uri: str) -> str:
    return find_backend(scheme).account_in(uri)  # type: ignore[attr-defined]


def job_at(uri: str, **output: Any) -> ScoringJob:
    return parse_job(
        {
            "name": "test",
            "model": "models:/m/1",
            "input": {"uri": "/features"},
            "output": {"uri": uri, **output},
        }
    )


# Places.
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "abfss://lake@acme.dfs.core.windows.net/x",
        "abfs://lake@acme.blob.core.windows.net/x",
        "abfss://My-Space@onelake.dfs.fabric.microsoft.com/x",
        "az://lake/x",
        "s3://lake/a@b/x",
        "/data/a@b",
    ],
)
def test_a_container_of_an_account_is_a_place(uri: str) -> None:
    assert check_uri(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:secret@lake/x",
        "s3://key@lake/x",
        "https://user:password@host/x",
        "abfss://lake:secret@acme.dfs.core.windows.net/x",
        "abfss://user@host/x",
        "az://lake/x?sv=2024&sig=abc",
        "https://host/x?X-Amz-Signature=abc",
        "https://host/x?access_token=abc",
    ],
)
def test_a_user_and_a_signature_are_secrets(uri: str) -> None:
    with pytest.raises(ValueError, match="carries credentials"):
        check_uri(uri)


def test_what_stores_can_do() -> None:
    for uri in ("/data/x", "file:///data/x", "s3://lake/x", "s3a://lake/x"):
        assert Store(uri).capabilities == FULL
        assert Store(uri).is_conditional
    for uri in (
        "az://lake/x",
        "abfs://lake/x",
        "abfss://lake@acme.dfs.core.windows.net/x",
        "gs://b/x",
        "gcs://b/x",
    ):
        assert Store(uri).capabilities == TABLES_ONLY
        assert not Store(uri).is_conditional
    assert not Store("memory://x").capabilities.can_commit
    assert Store("gcs://b/x").table_url == "gs://b/x"


@pytest.mark.parametrize(
    ("uri", "formats", "next_step"),
    [
        ("memory://lake/out", "delta", "another output.uri"),
        ("memory://lake/out", "parquet", "another output.uri"),
        ("az://lake/out", "parquet", "output.format: delta"),
        ("gs://lake/out", "parquet", "output.format: delta"),
    ],
)
def test_what_cannot_be_published_atomically_is_refused_at_once(
    uri: str, formats: str, next_step: str
) -> None:
    with pytest.raises(StorageError, match=uri.partition("//")[0]) as caught:
        open_publisher(Workspace(job_at(uri, format=formats)))
    assert next_step in caught.value.next_step


def test_another_file_system_is_read_and_written() -> None:
    store = Store("memory://other/place")
    assert store.list_files() == []
    store.write_bytes("a/b.txt", b"12345")
    with store.open_output("c.bin") as file:
        file.write(b"1" * 10)
    assert [entry.path for entry in store.list_files()] == ["a/b.txt", "c.bin"]
    assert store.list_folders() == ["a"]
    assert store.read_range("a/b.txt", 1, 3) == b"23"
    assert store.describe("c.bin").size_bytes == 10
    store.delete(["a/b.txt", "never there", "c.bin"])
    assert store.list_files() == []
    for refused in (
        lambda: store.create("x", b""),
        lambda: store.replace("x", "y", None, {}),
        store.check_conditional,
    ):
        with pytest.raises(StorageError, match="memory"):
            refused()


# A store that cannot say who was first.
# --------------------------------------------------------------------


@pytest.fixture
def weak(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Its capabilities are those of Azure and Google: tables and no claims."""
    monkeypatch.setattr(Store, "capabilities", TABLES_ONLY)
    lake.write(DAY, make_frame(30))
    return lake


def test_a_run_says_what_is_not_kept(weak: Lake, caplog: pytest.LogCaptureFixture) -> None:
    job = weak.job()
    missing = missing_guarantees(job)
    assert len(missing) == 3
    manifest = weak.run(job)
    assert manifest.status == "published"
    assert set(missing) <= set(manifest.warnings)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert all(any(note in line for line in said) for note in missing)
    assert weak.run(job).status == "unchanged"


def test_a_plan_says_so_too(weak: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(weak.cache.root))
    told = CliRunner().invoke(build_app(), ["plan", str(save(weak.job(), tmp_path)), DAY, "--json"])
    assert told.exit_code == 0, told.output
    assert missing_guarantees(weak.job())[0] in told.stdout


def test_decisions_that_could_both_win_are_refused(weak: Lake) -> None:
    job = weak.job(gates={"prediction_range": {"min": 1000, "action": "hold"}})
    held = weak.run(job)
    assert held.status == "held"
    for decide in (approve, reject):
        with pytest.raises(StorageError, match=f"nightscore {decide.__name__}"):
            decide(job, find_held(job, DAY), datetime.now(UTC))
    assert find_held(job, DAY).run_id == held.run_id
    assert not open_publisher(Workspace(job)).all_live()


def test_no_run_is_taken_over_without_a_claim(weak: Lake) -> None:
    job = weak.job()
    assert take_over(Workspace(job), PartitionHistory(Workspace(job), DAY), "any", None) is None


def test_full_stores_promise_everything(lake: Lake) -> None:
    assert missing_guarantees(lake.job()) == []


def test_input_whose_changes_cannot_be_noticed(lake: Lake) -> None:
    (note,) = unnoticed_changes(lake.job(), ["0.0", "etag", "0.0"])
    assert "2 input files" in note
    assert unnoticed_changes(lake.job(), ["etag", "2024-02-29 00:00:00+00:00"]) == []


# Errors.
# ---------------------------------------------------------------------------------------------------


def library_error(library: str, name: str, message: str = "no", **fields: Any) -> Exception:
    """An error as a library that is not installed here raises it."""
    kind = type(name, (Exception,), {"__module__": library})
    error = kind(message)
    for field, value in fields.items():
        setattr(error, field, value)
    return error


AZURE, GOOGLE, GCSFS = "azure.core.exceptions", "google.auth.exceptions", "gcsfs.retry"
MAPPED: dict[str, tuple[Exception, type[ScoringError]]] = {
    "azure: key": (
        library_error(AZURE, "ClientAuthenticationError", status_code=403),
        CredentialsError,
    ),
    "azure: no identity": (
        library_error("azure.identity", "CredentialUnavailableError"),
        CredentialsError,
    ),
    "azure: rights": (library_error(AZURE, "HttpResponseError", status_code=403), CredentialsError),
    "azure: token": (
        library_error(
            AZURE, "HttpResponseError", status_code=400, error_code="InvalidAuthenticationInfo"
        ),
        CredentialsError,
    ),
    "azure: container": (
        library_error(AZURE, "ResourceNotFoundError", status_code=404),
        LocationNotFoundError,
    ),
    "azure: throttled": (
        library_error(AZURE, "HttpResponseError", status_code=503, error_code="ServerBusy"),
        StorageUnavailableError,
    ),
    "azure: no connection": (library_error(AZURE, "ServiceRequestError"), StorageUnavailableError),
    "azure: no answer": (
        library_error(AZURE, "ServiceResponseTimeoutError"),
        StorageUnavailableError,
    ),
    "google: none": (library_error(GOOGLE, "DefaultCredentialsError"), CredentialsError),
    "google: expired": (library_error(GOOGLE, "RefreshError", retryable=False), CredentialsError),
    "google: its server": (
        library_error(GOOGLE, "RefreshError", retryable=True),
        StorageUnavailableError,
    ),
    "google: no connection": (library_error(GOOGLE, "TransportError"), StorageUnavailableError),
    "botocore: role": (
        library_error("botocore.exceptions", "CredentialRetrievalError"),
        CredentialsError,
    ),
    "botocore: profile": (
        library_error("botocore.exceptions", "ProfileNotFound"),
        CredentialsError,
    ),
    "gcsfs: key": (library_error(GCSFS, "HttpError", code=401), CredentialsError),
    "gcsfs: throttled": (library_error(GCSFS, "HttpError", code="429"), StorageUnavailableError),
    "gcsfs: rights": (OSError("Forbidden: b/o\nno storage.objects.get"), CredentialsError),
    "no such file": (FileNotFoundError("b/o"), LocationNotFoundError),
    "timeout": (TimeoutError(), StorageUnavailableError),
    "disk": (OSError(5, "Input/output error"), StorageError),
}


@pytest.mark.parametrize("case", MAPPED)
def test_errors_of_all_libraries_are_told_as_ours(case: str) -> None:
    error, expected = MAPPED[case]
    told = translate_error(error, "x://place")
    assert type(told) is expected
    assert told.next_step
    assert told.where == "x://place"
    wrapped = RuntimeError("Failed to remove")  # adlfs wraps some
    wrapped.__cause__ = error
    again = translate_error(wrapped, "x://place")
    if type(error).__module__ == "builtins":
        assert again is None  # a wrapper around no library's error is somebody else's
    else:
        assert type(again) is expected


NO_CONNECTION = {
    "s3": library_error("botocore.exceptions", "EndpointConnectionError"),
    "gcs": library_error("aiohttp.client_exceptions", "ClientConnectorError"),
}


@pytest.mark.parametrize("library", NO_CONNECTION)
def test_a_store_that_cannot_be_reached_is_named_itself(library: str) -> None:
    """Not one path on it, and with what to look at."""
    error = NO_CONNECTION[library]
    error.args = ('Could not connect: "http://127.0.0.1:9000/lake/in/_delta_log"',)
    told = translate_error(error, "s3://lake/in/_delta_log")
    assert isinstance(told, StorageUnavailableError)
    assert told.what.startswith("The object store at http://127.0.0.1:9000 cannot be reached")
    assert told.where == "s3://lake"
    assert "_delta_log" not in str(told)
    assert "`endpoint_url` in storage_options" in told.next_step


def test_delta_rs_names_the_store_that_cannot_be_reached() -> None:
    said = (
        "Generic S3 error ↳ Error performing GET http://127.0.0.1:9000/lake/out/_delta_log/x in 1s "
        "↳ HTTP error ↳ client error (Connect) ↳ Connection refused (os error 111)"
    )
    told = translate_table_error(OSError(said), "s3://lake/out")
    assert told.what.startswith("The object store at http://127.0.0.1:9000 cannot be reached")
    assert (told.where, told.found) == ("s3://lake", "Connection refused (os error 111)")
    assert "lake/out" not in str(told)


def test_defects_are_not_told_as_a_store_s() -> None:
    assert translate_error(TypeError("no"), "x") is None
    assert translate_error(KeyError("other"), "x") is None
    assert "ETag" in str(translate_error(KeyError("ETag"), "x"))


def s3_error(code: str, status: int) -> OSError:
    """As s3fs raises it, around botocore's."""
    cause = library_error("botocore.exceptions", "ClientError")
    cause.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    error = OSError(22, "s3fs")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("code", "status", "expected", "words"),
    [
        ("ExpiredToken", 400, CredentialsError, "expired"),
        ("InvalidToken", 400, CredentialsError, "not valid"),
        ("RequestTimeTooSkewed", 403, CredentialsError, "clock of this host"),
        ("400", 400, CredentialsError, "did not say why"),
        ("AccessDenied", 403, CredentialsError, "refused the credentials"),
        ("ConditionalRequestConflict", 409, StorageUnavailableError, "busy"),
        ("OperationAborted", 409, StorageUnavailableError, "busy"),
        ("SlowDown", 503, StorageUnavailableError, "did not answer"),
        ("NoSuchBucket", 404, LocationNotFoundError, "bucket"),
    ],
)
def test_answers_of_s3(code: str, status: int, expected: type[ScoringError], words: str) -> None:
    error = s3_error(code, status)
    told = translate_error(error, "s3://lake/x")
    assert type(told) is expected
    assert words in told.what
    assert code_of(error) == code
    assert error.__cause__
    assert is_retried(error.__cause__) == told.retryable


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "InvalidToken", "RequestTimeTooSkewed", "AccessDenied"]
)
def test_the_table_library_tells_the_same(code: str) -> None:
    text = f"Generic S3 error \x1b[31m↳\x1b[0m 400 Bad Request: <Error><Code>{code}</Code></Error>"
    told = translate_table_error(OSError(text), "s3://lake/x")
    direct = translate_error(s3_error(code, 400), "s3://lake/x")
    assert type(told) is CredentialsError
    assert direct
    assert told.what == direct.what
    assert "\x1b" not in str(told)


def test_the_table_library_tells_of_a_full_disk() -> None:
    text = "Generic LocalFileSystem error ↳ Unable to copy data to file ↳ No space left on device (os error 28)"
    told, direct = (
        translate_table_error(OSError(text), "/lake"),
        translate_error(OSError(errno.ENOSPC, "No space"), "/lake"),
    )
    assert direct
    assert (type(told), told.what, told.next_step) == (type(direct), direct.what, direct.next_step)


class Broken(MemoryFileSystem):
    """A store that refuses everything, as Azure does."""

    protocol = "broken"
    error: Exception = library_error(
        AZURE, "HttpResponseError", "Server busy\nRequestId: 1", status_code=503
    )

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise self.error

    cat_file = info = ls = find = pipe_file = rm_file = _open = _refuse


@pytest.fixture
def broken() -> Iterator[Store]:
    fsspec.register_implementation("broken", Broken, clobber=True)
    yield Store("broken://x/y")
    _registry.pop("broken")


def test_every_method_explains(broken: Store) -> None:
    calls: list[Any] = [
        broken.list_files,
        broken.list_folders,
        lambda: broken.describe("a"),
        lambda: broken.exists("a"),
        lambda: broken.read_bytes("a"),
        lambda: broken.read_range("a", 0, 1),
        lambda: broken.sha256("a"),
        lambda: broken.open_input("a"),
        lambda: broken.open_output("a"),
        lambda: broken.write_bytes("a", b""),
        lambda: broken.delete(["a"]),
        lambda: broken.delete_tree("a"),
        broken.clock_s,
    ]
    for call in calls:
        with pytest.raises(StorageUnavailableError, match="Server busy") as caught:
            call()
        assert caught.value.retryable
        assert "RequestId" not in str(caught.value)


def test_an_unknown_scheme_names_the_next_step() -> None:
    with pytest.raises(InvalidJobError, match="nonsense://") as caught:
        Store("nonsense://x").list_files()
    assert "scheme" in caught.value.next_step


# Options.
# --------------------------------------------------------------------------------------------------


def test_azure_s_options_under_each_name() -> None:
    uri = "abfss://lake@acme.dfs.core.windows.net/x"
    assert account_of("abfss", uri) == "acme"
    assert account_of("az", "az://lake/x") == ""
    assert account_of("s3", "s3://a.dfs.b/x") == ""
    for given in (
        {"account_key": "k"},
        {"azure_storage_account_key": "k"},
        {"AZURE_STORAGE_ACCESS_KEY": "k"},
    ):
        assert fsspec_options("abfss", "acme", given) == {
            "account_name": "acme",
            "account_key": "k",
        }
        told = table_options("abfss", uri, given)
        assert (told["azure_storage_account_name"], told["azure_storage_account_key"]) == (
            "acme",
            "k",
        )

    told = table_options("az", "az://lake/x", {"connection_string": CONNECTION})
    assert told["azure_storage_account_key"] == "a2V5=="
    assert told["azure_storage_endpoint"] == "http://127.0.0.1:1/acme"
    assert told["allow_http"] == "true"
    assert table_options("az", "az://lake/x", {"anon": True})["azure_skip_signature"] == "true"
    assert fsspec_options("az", "", {"max_concurrency": 4, "use_azure_cli": True}) == {
        "max_concurrency": 4
    }
    assert table_options("az", "az://lake/x", {"use_azure_cli": True})["use_azure_cli"] == "True"


def test_google_s_options_under_each_name() -> None:
    assert fsspec_options("gs", "", {"google_service_account": "/key.json"}) == {
        "token": "/key.json"
    }
    told = table_options("gs", "gs://b/x", {"token": "/key.json", "project": "p"})
    assert told["google_application_credentials"] == "/key.json"
    assert "project" not in told
    assert table_options("gs", "gs://b/x", {"token": "anon"})["google_skip_signature"] == "true"
    assert fsspec_options("gs", "", {"skip_signature": True}) == {"token": "anon"}
    assert table_options("gs", "gs://b/x", {"token": {"type": "service_account"}})[
        "google_service_account_key"
    ] == ('{"type": "service_account"}')
    assert fsspec_options("gs", "", {"service_account_key": '{"a": 1}'}) == {"token": {"a": 1}}


@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
def test_options_that_nobody_knows_are_all_named(scheme: str) -> None:
    for map_options in (
        lambda options: fsspec_options(scheme, "", options),
        lambda options: table_options(scheme, f"{scheme}://b/x", options),
    ):
        with pytest.raises(InvalidJobError, match="colour, size"):
            map_options({"colour": "red", "size": 3})


def test_a_folder_without_rights_is_told_in_words_of_the_file_system(tmp_path: Path) -> None:
    error = translate_error(
        PermissionError(errno.EACCES, "Permission denied", str(tmp_path)), str(tmp_path)
    )
    assert isinstance(error, CredentialsError)
    assert "file system refuses access" in str(error)
    assert "storage_options" not in str(error)
