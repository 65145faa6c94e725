"""The section `release` with challengers, and the job that each of them has."""

from typing import Any

import pytest

from nightscore.errors import InvalidJobError
from nightscore.inputs.jobfile import parse_job
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.job import ScoringJob

CHALLENGER = "models:/delay@challenger"


def make_job(**release: Any) -> ScoringJob:
    raw = {
        "name": "flights",
        "model": "models:/delay@champion",
        "input": "/lake/features",
        "output": "/lake/predictions/",
        "keys": {"columns": ["id"], "unique": True},
        "renamed_from": "flight",
        "gates": {"rows": {"min_ratio": 0.5}, "prediction_range": {"min": 0}},
        "drift": {"gate": "hold"},
        "release": release,
    }
    return parse_job(raw)


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (CHALLENGER, {"challenger": CHALLENGER}),
        (["models:/delay/8", CHALLENGER], {"8": "models:/delay/8", "challenger": CHALLENGER}),
        ([], {}),
    ],
)
def test_one_challenger_or_several(given: object, labels: dict[str, str]) -> None:
    release = make_job(challenger=given).release
    assert release is not None
    assert release.labels == labels
    assert (release.mode, release.max_overhead) == ("shadow", 1.0)


@pytest.mark.parametrize(
    ("release", "problem"),
    [
        ({"challenger": "models:/delay@champion"}, "is the job's own model"),
        ({"challenger": f"models:/m-{7:032x}"}, "expected models:/<name>@<alias>"),
        ({"challenger": "delay"}, "expected models:/<name>@<alias>"),
        ({"challenger": ["models:/a/8", "models:/b/8"]}, "2 challengers are called 8"),
        ({"challenger": ["models:/a@new", "models:/b@new"]}, "such as models:/b@b_challenger"),
        ({"challenger": CHALLENGER, "mode": "mirror"}, "release.mode"),
        ({"challenger": CHALLENGER, "max_overhead": 0}, "release.max_overhead"),
    ],
)
def test_what_is_wrong_with_a_challenger_is_said(release: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidJobError) as caught:
        make_job(**release)
    assert problem in str(caught.value)


def test_a_challenger_has_a_table_and_records_of_its_own() -> None:
    job = make_job(challenger=CHALLENGER).remember("jobs/flights.yaml")

    own = challenger_jobs(job)["challenger"]

    assert own.output.uri == "/lake/predictions.challengers/challenger"
    assert own.model == CHALLENGER
    assert (own.name, own.renamed_from) == ("flights@challenger", ("flight@challenger",))
    assert own.given_as == "jobs/flights.yaml@challenger"
    assert own.champion == job
    assert not challenger_jobs(own)
    assert (own.input, own.limits) == (job.input, job.limits)
    assert (own.keys.columns, own.keys.unique) == (("id",), False), "the job's own run looks"


def test_no_gate_holds_a_challenger_or_fails_it() -> None:
    job = make_job(challenger=CHALLENGER)

    own = challenger_jobs(job)["challenger"]

    assert own.drift.gate == "warn"
    assert own.gates.unique_keys == "warn"
    assert own.gates.rows is not None
    assert own.gates.prediction_range is not None
    assert {own.gates.rows.action, own.gates.prediction_range.action} == {"warn"}
    assert own.gates.rows.min_ratio == 0.5
    assert job.gates.prediction_range is not None
    assert job.gates.prediction_range.action == "fail", "the job itself is as it was"
