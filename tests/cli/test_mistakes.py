"""Command lines that are nearly right: each answer names the fix, and what changes data is not done."""

import resource
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

import nightscore.cli
from nightscore.cli import early_processes
from nightscore.cli.app import build_app, run_command_line
from nightscore.cli.command_catalog import COMMANDS
from nightscore.cli.corrections import correct
from nightscore.cli.job_names import complete_jobs
from nightscore.cli.tokens import with_partition
from nightscore.cli.well_formed import FLAGS, OPTIONS, job_of
from nightscore.operations.backfill_runner import AT_ONCE
from nightscore.operations.history import run_history
from nightscore.schemas.dates import nearest_date, readings
from tests.cli.test_commands import save
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2024-02-29"
NEXT = "  next:     nightscore "

REFUSED = [
    # Arguments in another order, or too many or too few of them.
    ("run 2024-02-29 job.yaml", "run job.yaml 2024-02-29"),
    ("run --force 2024-02-29 job.yaml --json", "run --force job.yaml 2024-02-29 --json"),
    ("approve 2024-02-29 flight_delay --note ok", "approve flight_delay 2024-02-29 --note ok"),
    ("run", "- JOB is missing"),
    ("run job.yaml", "- PARTITION is missing"),
    ("run job.yaml", "an example: nightscore run flight_delay 2026-11-24"),
    ("run job.yaml 2024-02-28 2024-02-29", "nightscore backfill job.yaml --from DATE --to DATE"),
    ("backfill job.yaml --from 2024-02-29", "- --to DATE is missing"),
    ("drift a.parquet", "- CURRENT is missing"),
    ("run --job job.yaml --date 2024-02-29", "run job.yaml 2024-02-29"),
    ("run --job=job.yaml --partition=2024-02-29", "run job.yaml 2024-02-29"),
    # Commands.
    ("score job.yaml 2024-02-29", "run job.yaml 2024-02-29"),
    ("score 2024-02-29 job.yml", "run job.yaml 2024-02-29"),
    ("predict flight_delay 2024-02-29", "run flight_delay 2024-02-29"),
    ("rnu job.yaml 2024-02-29", "run job.yaml 2024-02-29"),
    ("rnu job.yaml 2024-02-31", "run job.yaml 2024-02-29"),
    ("rnu job.yaml 2024-02-31", "- 2024-02-31 is a date that does not exist"),
    ("score job.yaml 2024-02-31", "run job.yaml 2024-02-29"),
    ("run job.yaml 2024-02-31 --frce", "run job.yaml 2024-02-29 --force"),
    ("plna job.yaml 2024-02-29", "plan job.yaml 2024-02-29"),
    ("undo job.yaml 2024-02-28 2024-02-29", "rollback job.yaml --from 2024-02-28 --to 2024-02-29"),
    ("modle inspect models:/a/1", "model inspect models:/a/1"),
    ("model inpsect models:/a/1", "model inspect models:/a/1"),
    ("rol job.yaml 2024-02-28 2024-02-29", "rollback job.yaml --from 2024-02-28 --to 2024-02-29"),
    ("bf job.yaml 2024-02-28 2024-02-29", "backfill job.yaml --from 2024-02-28 --to 2024-02-29"),
    ("ru job.yaml 2024-02-29", "There is no command ru. Did you mean run or runs?"),
    ("re job.yaml 2024-02-29", "There is no command re. Did you mean "),
    ("part job.yaml", "partitions job.yaml"),
    ("r job.yaml", "`nightscore --help` lists the commands"),
    ("start --db sqlite", "up --db sqlite"),
    ("schedule job.yaml", "deploy job.yaml"),
    ("deploy jbo.yaml --dryrun", "deploy job.yaml --dry-run"),
    ("frobnicate", "`nightscore --help` lists the commands"),
    # Options.
    ("run job.yaml 2024-02-29 --frce", "run job.yaml 2024-02-29 --force"),
    ("run job.yaml 2024-02-29 --forse --jsn", "run job.yaml 2024-02-29 --force --json"),
    ("run job.yaml 2024-02-29 -f", "run job.yaml 2024-02-29 --force"),
    ("plan job.yaml 2024-02-29 --cachedir=x", "plan job.yaml 2024-02-29 --cache-dir=x"),
    ("run job.yaml 2024-02-29 --debug", "--debug run job.yaml 2024-02-29"),
    ("run job.yaml 2024-02-29 --zzz", "there is no option --zzz; known: --cache-dir, --force"),
    ("drift a b --format tabel", "drift a b --format table"),
    ("verify job.yaml 2024-02-29 --sample many", "not a whole number"),
    ("runs job.yaml --limit -5", "it should be greater than or equal to 0"),
    ("pages --port 99999", "it should be less than or equal to 65535"),
    (
        "rollback job.yaml --from 2024-02-01 --to 2024-02-01 --before noon",
        "'noon' is no date; write it as 2026-11-24 or 2026-11-24T12:00:00",
    ),
    # Dates.
    (
        "backfill job.yaml 2024-02-01 2024-02-29",
        "backfill job.yaml --from 2024-02-01 --to 2024-02-29",
    ),
    (
        "backfill job.yaml --from 20240201 --to=29.02.2024",
        "backfill job.yaml --from 2024-02-01 --to=2024-02-29",
    ),
    (
        "backfill job.yaml --start ds=2024-02-01 --until 2024/02/29",
        "backfill job.yaml --from 2024-02-01 --to 2024-02-29",
    ),
    (
        "rollback job.yaml --from 2024-02-01 --to 2024-02-30",
        "rollback job.yaml --from 2024-02-01 --to 2024-02-29",
    ),
    (
        "backfill job.yaml --from 2024-02-29 --to 2024-02-01",
        "backfill job.yaml --from 2024-02-01 --to 2024-02-29",
    ),
    (
        "backfill job.yaml --from 01.02.2024 --to 2024-02-29",
        "01.02.2024 is ambiguous: 2024-01-02 or 2024-02-01?",
    ),
    # Jobs and models.
    ("run job.yml 2024-02-29", "run job.yaml 2024-02-29"),
    ("plan jbo.yaml 2024-02-29", "plan job.yaml 2024-02-29"),
    ("plan fligt_delay 2024-02-29", "plan flight_delay 2024-02-29"),
    ("pin flight_delay/1", "pin models:/flight_delay/1"),
    ("init --model flight_delay/1", "init --model models:/flight_delay/1"),
    ("new x --input a.parquet", "init x --data a.parquet"),
    ("pin models:/flight_delay:v1", "pin models:/flight_delay/1"),
    (f"pin m-{'0a' * 16}", f"pin models:/m-{'0a' * 16}"),
    (f"pin models:m-{'0a' * 16}", f"pin models:/m-{'0a' * 16}"),
    ("pin flight_delay@champion", "pin models:/flight_delay@champion"),
]
"""What is typed, and what the answer must contain: the corrected call, if it begins with a command."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a job, and a folder of jobs. The jobs are empty: nothing here reads them."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "flight_delay.yaml").touch()
    (tmp_path / "job.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSCORE_JOBS", "jobs")
    handler = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, handler)


def call(monkeypatch: pytest.MonkeyPatch, line: str) -> int | str | None:
    """The exit code of a command line."""
    monkeypatch.setattr(sys, "argv", ["nightscore", *shlex.split(line)])
    with pytest.raises(SystemExit) as ended:
        run_command_line()
    return ended.value.code


@pytest.mark.parametrize(("line", "fix"), REFUSED)
def test_a_mistake_is_answered_with_its_fix(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    fix: str,
) -> None:
    assert call(monkeypatch, line) == 2
    told = capsys.readouterr().err
    is_call = fix.split()[0].removeprefix("--debug") in {*COMMANDS, ""}
    assert (f"{NEXT}{fix}\n" if is_call else fix) in told
    assert "Traceback" not in told
    assert "pydantic" not in told


def test_there_are_enough_mistakes() -> None:
    assert len({line for line, _ in REFUSED}) >= 25


@pytest.mark.parametrize(
    ("line", "understood"),
    [
        ("runs 2024-02-29 job.yaml", "runs job.yaml 2024-02-29"),
        ("runs job.yml", "runs job.yaml"),
        ("log job.yaml", "runs job.yaml"),
        ("status job.yaml --since 20240229", "partitions job.yaml --from 20240229"),
        ("ls job.yml", "partitions job.yaml"),
        ("why 2024-02-29 job.yaml", "explain job.yaml 2024-02-29"),
        ("clean job.yaml --dryrun", "clean job.yaml --dry-run"),
        (
            "undo job.yaml 20240229 20240229 -n",
            "rollback job.yaml --from 2024-02-29 --to 2024-02-29 --dry-run",
        ),
    ],
)
def test_a_command_that_reads_takes_what_was_meant_and_says_so(
    lake: Lake,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    understood: str,
) -> None:
    lake.write(DAY, make_frame(5))
    save(lake.job(), folder)
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    call(monkeypatch, line)
    typed = capsys.readouterr()
    assert typed.err.startswith(f"Understood as: nightscore {understood} ("), typed.err
    assert call(monkeypatch, understood) == 0 or "undo" in line
    right = capsys.readouterr()
    assert typed.out == right.out


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("run job.yaml ds=2024-02-29 --force", "run job.yaml 2024-02-29 --force"),
        ("run job.yaml 20240229", "run job.yaml 2024-02-29"),
        ("run job.yaml 2024/02/29 --json", "run job.yaml 2024-02-29 --json"),
        ("run job.yaml 29.02.2024", "run job.yaml 2024-02-29"),
        ("run job.yaml 2024-2-29", "run job.yaml 2024-02-29"),
        ("run job.yaml 2024-02-30", "run job.yaml 2024-02-29"),
        ("run job.yaml 2024-02-30 --force --json", "run job.yaml 2024-02-29 --force --json"),
        (
            "verify --sample 5 job.yaml 2024-02-30 --seed 3",
            "verify --sample 5 job.yaml 2024-02-29 --seed 3",
        ),
        (
            "plan job.yaml 2024-02-29 2024-02-31 --json",
            "plan job.yaml 2024-02-29 2024-02-29 --json",
        ),
        ("run job.yaml 01.02.2024", "2024-01-02 or 2024-02-01"),
        ("plan job.yaml 2024-29-02", "plan job.yaml 2024-02-29"),
        ("approve job.yaml ds=20240229", "approve job.yaml 2024-02-29"),
        ("partitions job.yaml --from 2024-02-30", "partitions job.yaml --from 2024-02-29"),
        (
            "partitions job.yaml --from 2024-03-02 --to 2024-02-29",
            "partitions job.yaml --from 2024-02-29 --to 2024-03-02",
        ),
        ("history job.yaml 2024-02-30", "history job.yaml 2024-02-29"),
        (
            "backfill job.yaml --from 2024-02-29 --to 2024-02-29 --mode misssing",
            "did you mean missing?",
        ),
        (
            "backfill job.yaml --from 2024-02-29 --to 2024-02-29 --order oldst",
            "did you mean oldest?",
        ),
        (
            "backfill job.yaml --from=2024-02-29 --to 2024-02-28",
            "backfill job.yaml --from=2024-02-28 --to 2024-02-29",
        ),
    ],
)
def test_a_value_that_cannot_be_right_leaves_no_record(
    lake: Lake,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    fix: str,
) -> None:
    lake.write(DAY, make_frame(5))
    save(lake.job(), folder)
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    assert call(monkeypatch, line) == 2
    told = capsys.readouterr().err
    assert (f"{NEXT}{fix}\n" if fix.split()[0] in COMMANDS else fix) in told
    assert run_history(lake.job()) == []


def test_a_column_that_is_misspelt_is_named(
    lake: Lake,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import pandas as pd

    for name in ("old", "new"):
        pd.DataFrame({"age": [1.0, 2.0], "income": [3.0, 4.0]}).to_parquet(f"{name}.parquet")
    assert call(monkeypatch, "drift old.parquet new.parquet --columns incmoe") == 2
    assert "- incmoe: did you mean income?" in capsys.readouterr().err


def test_a_corrected_call_keeps_its_options() -> None:
    history = typer.main.get_command(build_app()).commands["history"]  # type: ignore[attr-defined]
    words = ["late", "prediciton", "--last", "3"]
    told = "no column of this name. prediciton; near: prediction"
    assert with_partition(history, words, told, "prediction") == ["late", "prediction", *words[2:]]
    assert with_partition(history, words, "something else", "prediction") == words


def test_words_that_are_right_stay_as_they_are() -> None:
    group = typer.main.get_command(build_app())
    for name, command in COMMANDS.items():
        words = shlex.split(command.example)
        target = group.commands[name]  # type: ignore[attr-defined]
        if hasattr(target, "commands"):
            target, words = target.commands[words[1]], words[1:]
        corrected = correct(target, words[1:])
        assert corrected.notes == [], name
        assert corrected.arguments == words[1:], name


def test_examples_are_calls_that_work() -> None:
    """typer parses each; what is not right would be refused."""
    app = build_app()
    group = typer.main.get_command(app)
    for command in COMMANDS.values():
        words = shlex.split(command.example)
        with group.make_context("nightscore", words) as context:
            name, inner, rest = group.resolve_command(context, words)  # type: ignore[attr-defined]
            inner.make_context(name, rest, parent=context, resilient_parsing=True)


def test_the_scoring_commands_have_no_option_that_early_starts_do_not_know() -> None:
    group = typer.main.get_command(build_app())
    for name, command in COMMANDS.items():
        if command.reads_footers:
            params = group.commands[name].params  # type: ignore[attr-defined]
            options = [param for param in params if param.param_type_name == "option"]
            assert {o for p in options if p.is_flag for o in p.opts} <= FLAGS
            assert {o for p in options if not p.is_flag for o in p.opts} <= OPTIONS


@pytest.mark.parametrize(
    ("words", "job"),
    [
        ("job.yaml 2024-02-29", "job.yaml"),
        ("--force --cache-dir x job.yaml 2024-02-29", "job.yaml"),
        ("job.yaml --from=2024-02-29 --to 2024-03-01", "job.yaml"),
        ("job.yaml 2024-02-29 --frce", None),
        ("job.yaml 2024-02-29 --help", None),
        ("", None),
    ],
)
def test_processes_start_early_for_well_formed_calls_alone(words: str, job: str | None) -> None:
    assert job_of(words.split()) == job


@pytest.mark.parametrize(("more", "n_workers"), [("", [2]), (" --dry-run", [])])
def test_a_backfill_starts_a_worker_early_for_each_partition_that_it_scores_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, more: str, n_workers: list[int]
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        early_processes, "start_early", lambda *, n_workers: asked.append(n_workers)
    )
    words = f"nightscore backfill job.yaml --from 2024-02-29 --to 2024-03-01{more}"
    monkeypatch.setattr(sys, "argv", words.split())

    nightscore.cli._start_processes(COMMANDS["backfill"])

    assert asked == n_workers
    assert {*asked} <= {AT_ONCE}


@pytest.mark.slow
def test_a_shell_completes_commands_options_and_jobs(folder: Path) -> None:
    assert complete_jobs("") == ["flight_delay", "job.yaml"]
    assert complete_jobs("jo") == ["job.yaml"]
    assert complete_jobs("jobs/") == ["jobs/flight_delay.yaml"]

    def offered(words: str, place: int) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-m", "nightscore.cli"],
            env={
                "PATH": "/usr/bin:/bin",
                "NIGHTSCORE_JOBS": "jobs",
                "_NIGHTSCORE_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(place),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return set(done.stdout.split())

    assert offered("nightscore r", 1) == {
        "run",
        "replay",
        "releases",
        "runs",
        "report",
        "reject",
        "rollback",
    }
    assert {"--force", "--help"} <= offered("nightscore run --", 2)
    assert offered("nightscore run fl", 2) == {"flight_delay"}


@pytest.mark.parametrize("columns", [30, 40, 80, 200])
def test_help_fits_the_terminal_and_has_groups_and_examples(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    call(monkeypatch, "--help")
    top = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"{command.group}:\n" in top
        assert f"  {name} " in top or f"  {name}\n" in top
        call(monkeypatch, f"{name} --help")
        shown = capsys.readouterr().out
        assert "…" not in shown, "nothing is cut off"
        assert f"Example:\n  nightscore {command.example}\n" in shown
        prose = shown.partition("Example")[0] + top.partition("Examples")[0]
        assert max(map(len, prose.splitlines())) <= columns


def test_help_of_all_commands_says_what_each_docstring_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    call(monkeypatch, "--help")
    top = " ".join(capsys.readouterr().out.split())
    group = typer.main.get_command(build_app())
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"{name} {command.help.splitlines()[0]}" in top


def test_a_thing_has_one_name_in_all_commands() -> None:
    group = typer.main.get_command(build_app())
    commands = group.commands | group.commands["model"].commands  # type: ignore[attr-defined]
    by_param: dict[str, set[str]] = {}
    for command in commands.values():
        for param in command.params:
            if not getattr(param, "is_flag", False):
                assert param.metavar, (command.name, param.name)
                by_param.setdefault(param.name, set()).add(param.metavar)

    assert by_param["job"] == {"JOB"}
    assert by_param["model_uri"] == {"MODEL_URI"}
    assert by_param["run_id"] == {"RUN_ID"}
    assert by_param["cache_dir"] == {"FOLDER"}
    assert by_param["start"] == {"DATE", "PARTITION"}, "dates where only dates are possible"


def test_headings_are_bold_on_a_terminal_unless_colours_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(**environment: str) -> str:
        for name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        call(monkeypatch, "run --help")
        return capsys.readouterr().out

    assert "\033" not in shown()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\033[1mOptions:\033[0m" in shown()
    assert "\033" not in shown(NO_COLOR="1")
    assert "\033" not in shown(TERM="dumb")


def test_versions_are_shown_without_imports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import json
    import platform

    import pyarrow

    assert call(monkeypatch, "--version --json") == 0
    versions = json.loads(capsys.readouterr().out)
    assert list(versions)[:2] == ["nightscore", "python"]
    assert versions["python"] == platform.python_version()
    assert versions["pyarrow"] == pyarrow.__version__
    assert {"polars", "scikit-learn", "mlflow", "prefect", "deltalake"} <= versions.keys()
    assert call(monkeypatch, "version") == 0
    assert f"pyarrow       {pyarrow.__version__}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("2024-02-29", ["2024-02-29"]),
        ("20240229", ["2024-02-29"]),
        ("2024/2/29", ["2024-02-29"]),
        ("2024_02_29", ["2024-02-29"]),
        ("29.02.2024", ["2024-02-29"]),
        ("29/02/2024", ["2024-02-29"]),
        ("02/29/2024", ["2024-02-29"]),
        ("01.01.2024", ["2024-01-01"]),
        ("01.02.2024", ["2024-01-02", "2024-02-01"]),
        ("2024-02-30", []),
        ("240229", []),
        ("2024022", []),
        ("tomorrow", []),
    ],
)
def test_dates_as_people_write_them(text: str, dates: list[str]) -> None:
    assert [f"{time:%Y-%m-%d}" for time in readings(text)] == dates


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("2023-02-29", "2023-02-28"),
        ("2024-02-31", "2024-02-29"),
        ("2024-04-31", "2024-04-30"),
        ("2024-31-12", "2024-12-31"),
        ("2024-13-13", "2024-12-13"),
        ("2024-00-00", "2024-01-01"),
        ("0000-01-01", "0001-01-01"),
        ("31.04.2024", "2024-04-30"),
        ("20240431", "2024-04-30"),
    ],
)
def test_the_nearest_real_date(text: str, nearest: str) -> None:
    time = nearest_date(text)
    assert time is not None
    assert time.date().isoformat() == nearest


@pytest.mark.slow
def test_help_and_typing_errors_take_three_times_the_imports_of_typer_and_rich(
    tmp_path: Path,
) -> None:
    """CPU, not wall: other work on the machine counts less."""

    def cpu_s(*command: str) -> float:
        times = []
        for _ in range(9):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, *command], capture_output=True, check=False, cwd=tmp_path
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return statistics.median(times)

    cli = ("-m", "nightscore.cli")
    bound = 3 * cpu_s("-c", "import typer, rich")
    lines = ["--help", "--version", "rnu", "run job.yaml 2024-02-29 --frce", "run job.yaml"]
    lines += [f"{name} --help" for name in ("run", "backfill", "drift", "model inspect")]
    slow = {line: seconds for line in lines if (seconds := cpu_s(*cli, *line.split())) > bound}
    assert slow == {}, bound
