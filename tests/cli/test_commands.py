"""The command: machine-readable on standard output, exit codes, and documentation that cannot go stale."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from nightscore.cli import arguments as argument_modules
from nightscore.cli.app import build_app
from nightscore.cli.command_catalog import COMMANDS
from nightscore.schemas.job import ScoringJob
from tests.support.lake import Lake
from tests.support.models import make_frame
from tests.support.warm_commands import run_command

DAY = "2024-02-29"
README = Path(__file__).parents[2] / "README.md"

CHANGES = {
    "init": "writes the files of a project",
    "run": "publishes a partition",
    "backfill": "publishes partitions",
    "replay": "publishes a partition",
    "rollback": "publishes earlier results again",
    "approve": "publishes a held run",
    "reject": "drops a held run",
    "baseline": "stores a baseline beside the model version",
    "clean": "removes files",
    "evaluate": "writes records of evaluations",
    "promote": "moves the alias of the job's model",
    "demote": "moves the alias of the job's model back",
    "pin": "tags the model version",
    "demo": "writes the demo's data and publishes partitions of it",
    "up": "starts services",
    "deploy": "registers deployments and automations in Prefect",
    "alerts": "registers automations in Prefect",
    "down": "stops services",
}
"""What each command changes that has `changes_data`."""
READS = {
    "check": f"check JOB {DAY}",
    "plan": f"plan JOB {DAY}",
    "partitions": "partitions JOB",
    "explain": f"explain JOB {DAY}",
    "runs": "runs JOB",
    "history": f"history JOB {DAY}",
    "verify": f"verify JOB {DAY}",
    "report": f"report JOB {DAY}",
    "drift": "drift FEATURES FEATURES",
    "status": "status",
    "warm": "warm JOB",
    "model": "model inspect MODEL --registry REGISTRY",
}
"""An example of each other command; the test sees that it leaves the lake as it was."""
SERVES = {"pages": "reads only, until somebody stops it"}
ELSEWHERE = {
    "performance": "needs a baseline with labels: tests/operations/test_performance.py",
    "compare": "needs a job with a challenger: tests/operations/test_compare_versions.py",
    "releases": "needs a job whose model is an alias: tests/cli/test_releases.py",
}
"""Commands that do not end by themselves."""


@pytest.fixture
def job_file(lake: Lake, tmp_path: Path) -> Path:
    for i, day in enumerate((DAY, "2024-03-01", "2024-03-02")):
        lake.write(day, make_frame(100, seed=i))
    return save(lake.job(), tmp_path)


def save(job: ScoringJob, folder: Path) -> Path:
    """The job as a file."""
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    return path


def nightscore(lake: Lake, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, NIGHTSCORE_CACHE=str(lake.cache.root))


def answer(lake: Lake, *arguments: str, code: int = 0) -> Any:
    done = nightscore(lake, *arguments, "--json")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def test_a_plan_says_what_a_run_would_do_and_does_nothing(lake: Lake, job_file: Path) -> None:
    (planned,) = answer(lake, "plan", str(job_file), DAY)
    assert (planned["action"], planned["rows"], planned["shards"]) == ("score", 100, 1)
    assert planned["workers"] == 1, "one shard gives one worker work"
    assert planned["memory_bytes"] > 0
    assert not (Path(lake.root) / "predictions").exists()

    lake.run(lake.job(), DAY)
    (planned,) = answer(lake, "plan", str(job_file), DAY)
    assert planned["action"] == "skip"


def test_a_run_publishes_and_prints_its_manifest(lake: Lake, job_file: Path) -> None:
    manifest = answer(lake, "run", str(job_file), DAY)
    assert (manifest["status"], manifest["error"]) == ("published", None)
    assert manifest["counts"] == {"rows_in": 100, "rows_scored": 100, "rows_quarantined": 0}
    assert manifest["model"]["digest"].startswith("sha256:")
    named = {key: manifest["model"][key] for key in ("name", "version", "flavor")}
    assert named == {"name": "hgb_binary", "version": "1", "flavor": "sklearn"}
    assert lake.read(lake.job())["run_id"].unique().tolist() == [manifest["run_id"]]


def test_a_run_is_repeated_only_if_it_is_forced(lake: Lake, job_file: Path) -> None:
    first = lake.run(lake.job(), DAY)
    again = answer(lake, "run", str(job_file), DAY)
    assert (again["status"], again["run_id"]) == ("unchanged", first.run_id)

    forced = answer(lake, "run", str(job_file), DAY, "--force")
    assert forced["status"] == "published"
    assert forced["run_id"] > first.run_id


def test_a_run_without_input_fails_with_exit_code_1(lake: Lake, job_file: Path) -> None:
    failed = answer(lake, "run", str(job_file), "2030-01-01", code=1)
    assert (failed["status"], failed["error"]["type"]) == ("failed", "PartitionNotFoundError")


def test_partitions_and_explain_say_what_has_changed(lake: Lake, job_file: Path) -> None:
    job = str(job_file)
    for day in (DAY, "2024-03-01"):
        lake.run(lake.job(), day)
    lake.write("2024-03-01", make_frame(101, seed=1))

    states = {s["value"]: s["state"] for s in answer(lake, "partitions", job)}
    assert states == {DAY: "published", "2024-03-01": "stale", "2024-03-02": "missing"}
    one = answer(lake, "partitions", job, "--from", "2024-03-01", "--to", "2024-03-01")
    assert [s["value"] for s in one] == ["2024-03-01"]

    why = answer(lake, "explain", job, "2024-03-01")
    assert why["would_score"] is True
    assert why["reasons"] == ["input: 1 changed file, first ds=2024-03-01/part-0.parquet"]
    assert answer(lake, "explain", job, DAY)["would_score"] is False


def test_runs_lists_the_newest_first(lake: Lake, job_file: Path) -> None:
    job = lake.job()
    first, forced = lake.run(job, DAY), lake.run(job, DAY, force=True)
    failed, other = lake.run(job, "2030-01-01"), lake.run(job, "2024-03-01")

    history = answer(lake, "runs", str(job_file))
    ids = [manifest.run_id for manifest in (other, failed, forced, first)]
    assert [h["run_id"] for h in history] == ids
    assert [h["status"] for h in history] == ["published", "failed", "published", "published"]
    one = answer(lake, "runs", str(job_file), DAY)
    assert [h["run_id"] for h in one] == [forced.run_id, first.run_id]


def test_a_backfill_by_command(lake: Lake, job_file: Path) -> None:
    job = str(job_file)
    lake.features.write_bytes("ds=2024-03-01/part-0.parquet", b"broken")
    arguments = ["backfill", job, "--from", "2024-02-28", "--to", "2024-03-02"]
    planned = answer(lake, *arguments, "--dry-run")
    assert [item["action"] for item in planned["plan"]] == ["score", "score", "score", "no input"]
    assert planned["runs"] == []
    done = answer(lake, *arguments, code=1)
    assert [run["status"] for run in done["runs"]] == ["published", "failed", "published"]
    left = nightscore(lake, *arguments)
    assert (
        f"To score what is left, run: nightscore backfill {job} --from 2024-02-28 --to 2024-03-02"
        in left.stderr
    )
    lake.write("2024-03-01", make_frame(100))
    again = answer(lake, *arguments)
    assert [run["partition"] for run in again["runs"]] == ["2024-03-01"]
    assert (
        nightscore(lake, "backfill", job, "--from", "2024-03-02", "--to", "2024-02-28").returncode
        == 2
    )
    people = nightscore(lake, *arguments, "--mode", "all", "--order", "oldest")
    assert "3 of 4 partitions to score: 300 rows" in people.stdout
    assert "3 partitions done, 300 rows scored; 0 failed" in people.stdout


def test_clean_removes_what_dead_runs_left_and_is_guarded_by_age(
    lake: Lake, job_file: Path
) -> None:
    job = str(job_file)
    manifest = answer(lake, "run", job, DAY)
    answer(lake, "run", job, DAY, "--force")
    folder = Path(lake.root) / "predictions" / f"ds={DAY}"
    (orphan := folder / "01890000-0000-7000-8000-000000000000-00000-0.parquet").write_bytes(b"dead")
    (stranger := folder / "notes.parquet").write_bytes(b"not ours")
    before = sorted(folder.iterdir())
    assert answer(lake, "clean", job)["removed"] == []
    assert answer(lake, "clean", job, "--older-than-hours", "0", "--dry-run")["would_remove"]
    assert sorted(folder.iterdir()) == before
    removed = answer(lake, "clean", job, "--older-than-hours", "0")["removed"]
    assert [Path(path).name for path in removed] == [orphan.name]
    assert not orphan.exists()
    assert stranger.exists()
    assert any(manifest["run_id"] in path.name for path in folder.iterdir())


def test_pin_by_command(lake: Lake, tmp_path: Path, registry_root: Path) -> None:
    from tests.support.models import copy_registry

    uri = copy_registry(registry_root, tmp_path / "registry")
    pinned = answer(lake, "pin", "models:/logistic/1", "--registry", uri)
    assert pinned["digest"].startswith("sha256:")
    assert answer(lake, "pin", "models:/logistic/1", "--registry", uri) == pinned
    warmed = answer(lake, "pin", "models:/logistic/1", "--registry", uri, "--warm")
    assert warmed == pinned | {"engine": warmed["engine"], "why": warmed["why"]}
    error = answer(lake, "pin", "models:/logistic/9", "--registry", uri, code=1)
    assert error["error"]["type"] == "ModelNotFoundError"


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "x", "y", "--frce"], ["no-such-command"], ["run", "none.yaml", DAY]],
)
def test_wrong_usage_exits_with_2(lake: Lake, arguments: list[str]) -> None:
    done = nightscore(lake, *arguments)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_people_get_a_summary(lake: Lake, job_file: Path) -> None:
    done = nightscore(lake, "run", str(job_file), DAY)
    assert done.returncode == 0, done.stderr
    assert "published test ds=2024-02-29" in done.stdout
    assert "100 read, 100 scored, 0 quarantined" in done.stdout
    assert "INFO" not in done.stderr, "steps are logged on request"
    verbose = nightscore(lake, "run", str(job_file), DAY, "--force", "--verbose")
    assert "planned rows=100" in verbose.stderr
    for command in (
        ["partitions", str(job_file)],
        ["runs", str(job_file)],
        ["plan", str(job_file), DAY],
    ):
        done = nightscore(lake, *command)
        assert done.returncode == 0, done.stderr
        assert DAY in done.stdout


def test_every_command_and_option_has_help_and_each_command_is_documented() -> None:
    group: Any = typer.main.get_command(build_app())
    commands = dict(group.commands)
    for name, inner in group.commands.items():
        if hasattr(inner, "commands"):
            del commands[name]
            commands |= {f"{name} {below}": command for below, command in inner.commands.items()}
    for name, command in commands.items():
        assert command.help, name
        mention = re.compile(rf"nightscore {re.escape(name)}(?![\w-])")
        assert mention.search(README.read_text()), f"README does not mention nightscore {name}"
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.name in ("help", "partition"), (
                name,
                parameter.name,
            )
            if "--json" in parameter.opts:
                break
        else:
            raise AssertionError(f"{name} has no --json")


def test_the_catalog_has_every_command_and_every_module_of_commands() -> None:
    group: Any = typer.main.get_command(build_app())
    assert [*group.commands] == [*COMMANDS], "the help has the order of the catalog"

    folder = Path(argument_modules.__path__[0])
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert {command.target.partition(":")[0] for command in COMMANDS.values()} == modules

    works = {path.stem for path in (folder.parent / "commands").glob("*.py")} - {"__init__"}
    named = "\n".join(path.read_text() for path in folder.glob("*.py"))
    assert {work for work in works if f"nightscore.cli.commands.{work} import" in named} == works

    for name, command in COMMANDS.items():
        if command.scores:
            assert command.reads_footers, name
            assert command.changes_data, name


def test_every_command_says_whether_it_changes_data() -> None:
    named = [*CHANGES, *READS, *SERVES, *ELSEWHERE]
    assert sorted(named) == sorted(COMMANDS), "a new command changes data, or has an example"
    assert {name for name, command in COMMANDS.items() if command.changes_data} == {*CHANGES}


def test_a_command_that_changes_no_data_leaves_the_lake_as_it_was(
    lake: Lake,
    job_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    lake.run(lake.job(), DAY)
    values = {
        "JOB": str(job_file),
        "FEATURES": f"{lake.features.uri}/ds={DAY}",
        "MODEL": lake.job().model,
        "REGISTRY": str(lake.job().registry),
    }

    def files() -> dict[str, tuple[int, int]]:
        paths = [path for path in Path(lake.root).rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}

    before = files()
    for name, example in READS.items():
        arguments = [values.get(word, word) for word in example.split()]
        code = build_app()([*arguments, "--json"], standalone_mode=False)
        assert not code, name
        assert json.loads(capsys.readouterr().out), name
        assert files() == before, name


@pytest.mark.parametrize(
    ("arguments", "imports_all", "shown"),
    [
        ("plan --help", False, "Show what a run would do"),
        ("--help", True, "Restore earlier results"),
        ("--help plan", True, "Restore earlier results"),
        ("help", True, "Restore earlier results"),
        ("plam", True, "Did you mean plan?"),
        ("plan job.yaml 2024-01-01 --frce", False, "did you mean --force?"),
        ("run job.yaml", False, "PARTITION is missing"),
        ("--version", True, "pyarrow"),
    ],
)
def test_help_and_typing_errors_import_nothing_but_arguments(
    arguments: str, imports_all: bool, shown: str
) -> None:
    code = f"""
import sys
sys.argv = ["nightscore", *{arguments!r}.split()]
from nightscore.cli import main
try:
    main()
finally:
    assert "nightscore.cli.arguments.scoring" in sys.modules
    assert ("nightscore.cli.arguments.changes" in sys.modules) is {imports_all}
    heavy = {{"pyarrow", "pydantic", "rich", "yaml", "numpy", "nightscore.cli.commands"}}
    assert heavy.isdisjoint(sys.modules), heavy & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AssertionError" not in done.stderr, done.stderr
    assert shown in done.stdout + done.stderr


def test_the_engine_runs_without_prefect_and_the_driver_without_sklearn(
    lake: Lake, job_file: Path
) -> None:
    code = f"""
import sys
sys.modules["prefect"] = None
sys.argv = ["nightscore", "run", {str(job_file)!r}, {DAY!r}, "--json"]
from nightscore.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = [name for name in ("sklearn", "mlflow", "skops") if name in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NIGHTSCORE_CACHE": str(lake.cache.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_unexpected_error_is_a_message_and_a_trace_only_if_asked_for(tmp_path: Path) -> None:
    code = """
import sys
import nightscore.cli.commands.runs as runs
def broken(*args):
    raise ZeroDivisionError("an odd one")
runs.load_any = broken
from nightscore.cli import main
sys.argv = ["nightscore", *sys.argv[1:]]
main()
"""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    plain = call("runs", "job.yaml")
    assert plain.returncode == 1
    assert plain.stderr.startswith("A defect of nightscore: ZeroDivisionError: an odd one")
    assert "Traceback" not in plain.stderr
    assert "nightscore --debug" in plain.stderr
    document = json.loads(call("runs", "job.yaml", "--json").stdout)
    assert document["error"]["type"] == "ZeroDivisionError"
    asked = call("--debug", "runs", "job.yaml")
    assert asked.returncode == 1
    assert "Traceback" in asked.stderr


INTERRUPTED = """
import os, signal, sys

WHERE = sys.argv.pop(1)

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == WHERE:  # in the midst of the imports
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
from nightscore.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("nightscore.cli.streams", ["--help"]),
        ("typer", ["--help"]),
        ("nightscore.cli.arguments", ["run", "job", "2024-02-29"]),
        ("pyarrow", ["run", "flights_on_s3", "2024-02-29"]),
        ("nightscore.runs.run", ["run", "job", "2024-02-29"]),
    ],
)
def test_an_interruption_while_starting_shows_no_trace(module: str, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module, *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "Interrupted; nothing was published.\n")
