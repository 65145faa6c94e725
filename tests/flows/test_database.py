"""Which database a stack gets if nobody has chosen one."""

import os
from pathlib import Path

import pytest

from nightscore.flows.stack.database import default_database

SQLITE, POSTGRES = "prefect/prefect.db", "postgres/global/pg_control"


@pytest.mark.parametrize(
    ("files", "has_postgres", "expected"),
    [
        ([], True, "postgres"),
        ([], False, "sqlite"),
        ([SQLITE], True, "sqlite"),
        ([POSTGRES], True, "postgres"),
        ([SQLITE, POSTGRES], True, "postgres"),
        ([POSTGRES, SQLITE], True, "sqlite"),
    ],
)
def test_a_stack_keeps_the_database_that_it_used_last(
    files: list[str],
    has_postgres: bool,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "nightscore.flows.stack.database.can_keep_data", lambda folder: has_postgres
    )
    for hour, name in enumerate(files):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (3600 * (hour + 1),) * 2)

    assert default_database(tmp_path) == expected
