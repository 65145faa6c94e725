"""`JOB@LABEL`: the job of a challenger, wherever a job may be named."""

from pathlib import Path

import pytest

from nightscore.errors import InvalidJobError
from nightscore.inputs.job_lookup import find_job, split_label
from nightscore.inputs.jobfile import load_job

FILE = """
name: flights
model: models:/delay@champion
input: {lake}/features
output: {lake}/predictions
release: {{challenger: [models:/delay@next, models:/delay/8]}}
"""


@pytest.fixture(autouse=True)
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "flights.yaml").write_text(FILE.format(lake=tmp_path))
    (tmp_path / "jobs" / "late@night.yaml").write_text(FILE.format(lake=tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "jobs"


@pytest.mark.parametrize("source", ["flights", "jobs/flights.yaml"])
def test_a_challenger_is_named_behind_its_job(source: str) -> None:
    job = load_job(f"{source}@next")
    assert (job.model, job.given_as) == ("models:/delay@next", f"{source}@next")
    assert load_job(f"{source}@8").model == "models:/delay/8"
    assert find_job(f"{source}@next") == find_job(source)
    assert load_job(source).champion is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("late@night", ("late@night", "")),
        ("late@night@next", ("late@night", "next")),
        ("a@b.yaml", ("a@b.yaml", "")),
        ("s3://user@bucket/job.yaml", ("s3://user@bucket/job.yaml", "")),
        ("flights@", ("flights@", "")),
        ("@next", ("@next", "")),
    ],
)
def test_a_file_with_a_sign_in_its_name_is_still_found(text: str, parts: tuple[str, str]) -> None:
    assert split_label(text) == parts


def test_an_unknown_challenger_is_told_with_the_known_ones() -> None:
    with pytest.raises(InvalidJobError) as caught:
        load_job("flights@nxt")
    assert "The job flights has no challenger nxt." in str(caught.value)
    assert "one of next, 8" in str(caught.value)
    assert "did you mean flights@next?" in str(caught.value)
