"""The public Python API: it costs nothing to import, is typed, and README's example runs as it stands."""

import ast
import inspect
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml

import nightscore
from nightscore.errors import ContractError, InvalidJobError, PartitionNotFoundError
from tests.support.lake import Lake
from tests.support.models import make_frame

ROOT = Path(__file__).parent.parent.parent
FUNCTIONS = [name for name in nightscore.__all__ if name[0].islower()]
DAY = "2024-02-29"


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_the_package_imports_nothing_else(tmp_path: Path) -> None:
    code = "import sys, nightscore; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = python("-S", "-c", code, cwd=tmp_path, PYTHONPATH=str(ROOT / ".src"))
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= set(sys.stdlib_module_names) | {"__main__", "nightscore"}

    code = "import sys, nightscore; print(*(m for m in sys.modules if m.startswith('nightscore')))"
    assert python("-c", code, cwd=tmp_path).stdout.split() == ["nightscore"]


@pytest.mark.slow
def test_no_module_replaces_the_function_run(tmp_path: Path) -> None:
    code = "import nightscore.runs.run, inspect; assert inspect.isfunction(nightscore.run)"
    done = python("-W", "error", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", nightscore.__all__)
def test_each_public_name_is_there_and_documented(name: str) -> None:
    assert name in dir(nightscore)
    assert inspect.getdoc(getattr(nightscore, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_public_function_is_typed_and_in_the_readme(name: str) -> None:
    signature = inspect.signature(getattr(nightscore, name))
    assert signature.return_annotation is not signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not parameter.empty, parameter.name
    assert re.search(rf"`{name}\(", (ROOT / "README.md").read_text())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'rum'"):
        nightscore.rum  # noqa: B018


@pytest.mark.slow
def test_mypy_checks_a_script_that_uses_the_api(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(readme_example() + WRONG)
    done = python(
        *("-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(script)), cwd=ROOT
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 2, done.stdout + done.stderr
    assert 'Argument 2 to "run" has incompatible type "int"; expected "str"' in errors[0]
    assert '"Manifest" has no attribute "stauts"' in errors[1]


WRONG = """
nightscore.run(job, 20240229)
nightscore.run(job, "2024-02-29").stauts
"""


def readme_example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "import nightscore" in block]
    return str(example)


def test_the_example_of_the_readme_runs_as_it_stands(lake: Lake, tmp_path: Path) -> None:
    literals = [
        node.value
        for node in ast.walk(ast.parse(readme_example()))
        if isinstance(node, ast.Constant)
    ]
    days = sorted({text for text in literals if re.fullmatch(r"2026-11-\d\d", str(text))})
    first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    n_days = (last - first).days + 1
    for day in range(first.day, last.day + 1):
        lake.write(f"2026-11-{day}", make_frame(50, seed=day).rename(columns={"id": "flight_id"}))
    document = lake.job(keys=["flight_id"]).model_dump(mode="json") | {"registry": lake.registry}
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo" / "flight_delay.yaml").write_text(yaml.safe_dump(document))

    done = python(
        "-W", "error", "-c", readme_example(), cwd=tmp_path, NIGHTSCORE_CACHE=str(lake.cache.root)
    )
    assert done.returncode == 0, done.stderr
    planned, ran, *rest = done.stdout.splitlines()
    assert planned == f"{days[0]} score 50 rows: never published"
    assert ran == "published 50 rows"
    backfilled = [line for line in rest if re.fullmatch(r"2026-11-\d\d published", line)]
    assert len(backfilled) == n_days - 1
    table = rest[n_days - 1 : -1]
    assert table[0].split() == ["flight_id", "prediction"]
    assert len(table) == 1 + 50
    assert re.fullmatch(r"[0-9a-f-]{36} published 20\d\d-.*", rest[-1])


def test_a_run_opens_workers_of_its_own_and_closes_them(lake: Lake) -> None:
    lake.write(DAY, make_frame(20))
    job = lake.job()
    (planned,) = nightscore.plan(job, DAY, pool=lake.pool, cache_dir=lake.cache.root)
    assert (planned.action, planned.n_rows, planned.reasons) == ("score", 20, ("never published",))
    with nightscore.open_pool(job) as pool:
        manifest = nightscore.run(job, DAY, pool=pool, cache_dir=lake.cache.root)
        assert not pool.is_stopped, "a pool of the caller's stays open"
    assert manifest.status == "published"
    assert nightscore.run(job, DAY, cache_dir=str(lake.cache.root)).status == "unchanged"

    plan = nightscore.plan_backfill(job, date(2024, 2, 29), DAY, cache_dir=lake.cache.root)
    assert [item.action for item in plan.items] == ["skip"]
    assert nightscore.backfill(job, plan, cache_dir=lake.cache.root) == []
    assert [m.run_id for m in nightscore.read_manifests(job)] == [manifest.run_id]
    assert nightscore.read_manifests(job, "2024-03-01") == []


@pytest.mark.parametrize("value", [20240229, date(2024, 2, 29)])
def test_a_partition_that_is_no_text_is_refused_by_every_function(
    lake: Lake, value: object
) -> None:
    job = lake.job()
    for function in (
        nightscore.plan,
        nightscore.run,
        nightscore.read_predictions,
        nightscore.read_manifests,
    ):
        with pytest.raises(InvalidJobError, match="must be text") as caught:
            function(job, value)  # type: ignore[operator]
        assert type(value).__name__ in str(caught.value)


def test_predictions_are_read_as_readers_see_them(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(20))
    job = any_lake.job()
    any_lake.run(job)
    table = nightscore.read_predictions(job, DAY)
    assert table.column_names[-1] == "ds"
    assert table.num_rows == 20
    expected = any_lake.read(job)
    assert sorted(table["prediction"].to_pylist()) == sorted(expected["prediction"].tolist())
    chosen = nightscore.read_predictions(job, DAY, columns=["ds", "id"])
    assert chosen.column_names == ["ds", "id"]
    assert set(chosen["ds"].to_pylist()) == {DAY}


def test_predictions_that_are_not_there_are_an_error(lake: Lake) -> None:
    job = lake.job()
    with pytest.raises(PartitionNotFoundError, match="nightscore partitions"):
        nightscore.read_predictions(job, DAY)
    lake.write(DAY, make_frame(5))
    lake.run(job)
    with pytest.raises(ContractError, match="found:    scores"):
        nightscore.read_predictions(job, DAY, columns=["id", "scores"])


def test_a_date_that_is_none_is_an_invalid_call(lake: Lake) -> None:
    with pytest.raises(InvalidJobError, match="expected: a date such as"):
        nightscore.plan_backfill(lake.job(), "yesterday", DAY)
