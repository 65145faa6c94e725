"""Processes start early unless a run of the partition is on record."""

import subprocess
import sys
from pathlib import Path

import pytest

from nightscore.cli.likely_unchanged import has_records

DAY = "2024-02-29"
JOB = "input: {{uri: features{key}}}\noutput: {{uri: '{output}'}}\n"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(JOB.format(key="", output=f"{tmp_path}/predictions"))
    return path


def record(tmp_path: Path, folder: str) -> None:
    (tmp_path / "predictions.nightscore" / "runs" / folder).mkdir(parents=True)


def test_only_a_partition_on_record_is_likely_unchanged(job: Path, tmp_path: Path) -> None:
    words = [str(job), DAY, "--json"]
    assert not has_records(str(job), words)

    record(tmp_path, f"ds={DAY}")
    assert has_records(str(job), words)
    assert has_records(str(job), ["--cache-dir", "x", DAY, str(job)])
    assert not has_records(str(job), [str(job), "2024-03-01"])
    assert not has_records(str(job), [*words, "--force"])


def test_the_jobs_own_partition_key_counts(job: Path, tmp_path: Path) -> None:
    job.write_text(JOB.format(key=", partition_key: day", output=f"file://{tmp_path}/predictions/"))
    record(tmp_path, f"ds={DAY}")
    assert not has_records(str(job), [str(job), DAY])

    record(tmp_path, f"day={DAY}")
    assert has_records(str(job), [str(job), DAY])


def test_short_forms_and_references_are_understood(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE", str(tmp_path))
    job.write_text("input: features\noutput: ${LAKE}/predictions\n")
    words = [str(job), DAY]
    assert not has_records(str(job), words)

    record(tmp_path, f"ds={DAY}")
    assert has_records(str(job), words)
    monkeypatch.delenv("LAKE")
    assert not has_records(str(job), words), "the command says that it is not set"


def test_the_folder_of_the_job_file_is_understood(job: Path, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    job = job.rename(tmp_path / "jobs" / "job.yaml")
    job.write_text("input: features\noutput: ${NIGHTSCORE_JOB_FOLDER}/../predictions\n")
    record(tmp_path, f"ds={DAY}")
    assert has_records(str(job), [str(job), DAY])


def test_the_answer_costs_no_import_of_pydantic(job: Path) -> None:
    code = (
        "import sys; from nightscore.cli.likely_unchanged import has_records; "
        "has_records(sys.argv[1], sys.argv[1:]); print(*sys.modules)"
    )
    words = [sys.executable, "-c", code, str(job), DAY]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert not {"pydantic", "pyarrow"} & {*done.stdout.split()}


@pytest.mark.parametrize("text", ["", "- a list", "output: 3", "output: {uri: 's3://lake/x'}", "{"])
def test_what_is_unclear_counts_as_new(job: Path, text: str) -> None:
    job.write_text(text)
    assert not has_records(str(job), [str(job), DAY])
    assert not has_records("https://example.org/job.yaml", ["https://example.org/job.yaml", DAY])


@pytest.mark.parametrize("command", ["run", "runs", "partitions", "backfill"])
def test_a_command_begins_without_the_engine(command: str) -> None:
    """Importing what it needs first: workers, plans and drift come when something is scored."""
    modules = (f"cli.commands.{command}", "models.flavors.sklearn", "outputs.delta_publisher")
    imports = ", ".join(f"nightscore.{name}" for name in modules)
    code = f"import sys, {imports}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    late = {"loky", "pyarrow", "numpy", "nightscore.runs.run_plan", "nightscore.monitoring"}
    assert not imported & (late | {"nightscore.engine.shard", "nightscore.profiles"})
    assert command != "run" or "rich" not in imported, "most runs print a line and no table"
