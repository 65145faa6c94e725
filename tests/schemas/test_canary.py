"""What a job file may say of a canary, and what a record of one says in words."""

from typing import Any

import pytest

from nightscore.errors import InvalidJobError
from nightscore.inputs.jobfile import parse_job
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.job import ScoringJob

CANARY = {"challenger": "models:/m@challenger", "mode": "canary", "share": "5%", "salt": "2026-11"}


def job(release: dict[str, Any], **changes: Any) -> ScoringJob:
    """A job with this section."""
    return parse_job(
        {
            "name": "flights",
            "model": "models:/m@champion",
            "input": {"uri": "lake/features"},
            "output": {"uri": "lake/predictions"},
            "keys": ["customer_id", "day"],
            "release": release,
        }
        | changes
    )


def test_a_canary_has_a_share_and_a_salt() -> None:
    release = job(CANARY).release
    assert release is not None and release.is_canary
    assert (release.share, release.salt, release.by, release.on_critical) == (
        0.05,
        "2026-11",
        (),
        "stop",
    )
    named = job(CANARY | {"by": "tier", "hash": "flagd"}, pass_through=["tier"]).release
    assert named is not None and named.by == ("tier",)


@pytest.mark.parametrize(
    ("changes", "job_changes", "problems"),
    [
        ({"share": None, "salt": None}, {}, ["release.share", "release.salt"]),
        ({"challenger": ["models:/m/7", "models:/m/8"]}, {}, ["exactly one challenger"]),
        ({"challenger": []}, {}, ["exactly one challenger"]),
        ({"mode": "shadow"}, {}, ["release.share needs", "release.salt needs"]),
        ({"by": "city"}, {}, ["found city"]),
        ({"by": ["day", "customer_id"], "hash": "flagd"}, {}, ["exactly one column"]),
        ({}, {"keys": []}, ["the job has no keys"]),
        ({"share": 0}, {}, ["a share above 0"]),
        ({"share": 1.5}, {}, ["a share above 0"]),
        ({"salt": ""}, {}, ["salt"]),
    ],
)
def test_every_problem_of_a_canary_is_told(
    changes: dict[str, Any], job_changes: dict[str, Any], problems: list[str]
) -> None:
    with pytest.raises(InvalidJobError) as caught:
        job(CANARY | changes, **job_changes)
    told = " ".join(caught.value.problems)
    assert len(caught.value.problems) == len(problems), told
    for words in problems:
        assert words in told


def test_a_copy_with_an_exact_version_knows_what_the_job_names() -> None:
    original = job(CANARY)
    assert original.original_model is None

    copy = original.with_version("models:/m/7")
    assert (copy.model, copy.original_model) == ("models:/m/7", "models:/m@champion")
    assert copy.with_version("models:/m/8").original_model == "models:/m@champion"
    assert original.model == "models:/m@champion"


def test_a_record_says_whose_rows_are_whose() -> None:
    record = CanaryRecord(
        label="challenger",
        name="m",
        version="8",
        digest="sha256:8",
        share=0.05,
        salt="2026-11",
        by=("customer_id",),
        rows=1_200,
    )
    assert str(record) == (
        "version 8 scored 5 % of the keys (by customer_id, salt 2026-11), 1,200 rows; "
        "model_version says which"
    )
    refused = record.model_copy(update={"rows_refused_alone": 3})
    assert str(record.model_copy(update={"rows": 0})) == (
        "version 8 scored 5 % of the keys (by customer_id, salt 2026-11); no row of this partition "
        "is of its arm"
    )
    assert "; 3 rows that it refused are of the job's own model; " in str(refused)
    assert refused.assigned == record.assigned
    assert record.model_copy(update={"share": 0.1}).assigned != record.assigned
