"""The open Delta table tells what failed, and never trusts what it cannot check."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from nightscore.errors import (
    CredentialsError,
    LocationNotFoundError,
    ScoringError,
    StorageError,
    StorageUnavailableError,
)
from nightscore.outputs import handle as module
from nightscore.outputs.handle import (
    BODY_ATTEMPTS,
    STORE_ATTEMPTS,
    TableHandle,
    n_attempts,
    translate_table_error,
)
from nightscore.storage.run_cache import RunCache
from nightscore.storage.store import Store


@pytest.fixture()
def handle(tmp_path: Path) -> TableHandle:
    return TableHandle(Store(str(tmp_path), {}), RunCache())


def version_of(handle: TableHandle) -> int | None:
    with handle.loaded() as table:
        return None if table is None else table.version()


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (DeltaError("<Code>NoSuchBucket</Code>"), LocationNotFoundError, "No such bucket"),
        (OSError("No space left on device (os error 28)"), StorageError, "The disk is full"),
        (OSError("\x1b[31mconnection reset\x1b[0m"), StorageUnavailableError, "connection reset"),
        (DeltaError("the log is odd"), StorageError, "cannot be read or written"),
        (OSError("403 Forbidden: AccessDenied"), CredentialsError, "AccessDenied"),
    ],
)
def test_an_error_of_the_table_says_what_to_do(
    error: Exception, kind: type[ScoringError], text: str
) -> None:
    translated = translate_table_error(error, "s3://lake/table")

    assert type(translated) is kind
    assert text in str(translated)
    assert "\x1b" not in str(translated)
    assert "s3://lake/table" in str(translated)


def test_an_answer_that_ends_early_is_asked_for_more_often() -> None:
    assert n_attempts(DeltaError("response body error")) == BODY_ATTEMPTS
    assert n_attempts(OSError("timeout")) == STORE_ATTEMPTS


def test_a_table_is_updated_from_where_it_was(handle: TableHandle, tmp_path: Path) -> None:
    assert version_of(handle) is None

    write_deltalake(tmp_path, pa.table({"x": [1]}))
    assert version_of(handle) == 0

    write_deltalake(tmp_path, pa.table({"x": [2]}), mode="append")
    assert version_of(handle) == 1


def test_a_table_is_opened_anew_if_its_last_commit_cannot_be_checked(
    handle: TableHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: TableHandle, version: int) -> str | None:
        raise StorageUnavailableError("The store did not answer.", "here")

    write_deltalake(tmp_path, pa.table({"x": [1]}))
    assert version_of(handle) == 0

    monkeypatch.setattr(TableHandle, "_find_commit", refuse)
    write_deltalake(tmp_path, pa.table({"x": [2]}), mode="append")
    assert [version_of(handle), version_of(handle)] == [1, 1]


def test_a_table_whose_next_commit_is_uncertain_is_updated(
    handle: TableHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_deltalake(tmp_path, pa.table({"x": [1]}))
    assert version_of(handle) == 0

    find = TableHandle._find_commit

    def find_known(self: TableHandle, version: int) -> str | None:
        if version > 0:
            raise StorageUnavailableError("The store did not answer.", "here")
        return find(self, version)

    monkeypatch.setattr(TableHandle, "_find_commit", find_known)
    write_deltalake(tmp_path, pa.table({"x": [2]}), mode="append")
    assert version_of(handle) == 1


def test_a_store_that_fails_too_often_ends_the_attempts(
    handle: TableHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def refuse(*_: object, **__: object) -> None:
        attempts.append(1)
        raise OSError("connection reset")

    monkeypatch.setattr(module, "DeltaTable", refuse)
    with pytest.raises(StorageUnavailableError, match="connection reset"):
        version_of(handle)
    assert len(attempts) == STORE_ATTEMPTS
