"""What is found out about a version at once, and which partitions are scored with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nightscore.operations.webhooks.reaction import Reaction, plan_reaction, reaction_lines
from tests.operations.releases.conftest import DAYS, Lab, make_lab, save_version

CHALLENGED = {"challenger": "models:/delay@challenger"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    yield from make_lab(str(tmp_path / "lake"), {}, "parquet", tmp_path)


def react(lab: Lab, version: str, alias: str = "champion") -> Reaction:
    lake = lab.lake
    return plan_reaction(lab.job, "delay", alias, version, lake.pool, lake.cache)


def test_what_is_published_stays_unless_the_job_asks_for_more(lab: Lab) -> None:
    for day in DAYS:
        lab.lake.run(lab.job, day)
    lab.move_by_hand("2")

    reaction = react(lab, "2")
    assert (reaction.values, reaction.problems) == ((), ())
    assert reaction.note == (
        "The next run scores with it. What is published stays (release.backfill_newest)."
    )

    lab.changes["release"] = {"backfill_newest": 1}
    reaction = react(lab, "2")
    assert (reaction.values, reaction.is_forced) == ((DAYS[-1],), False)
    assert reaction.note == f"{DAYS[-1]}: published by another version, and scored again now."

    lab.changes["release"] = {"backfill_newest": 5}
    assert react(lab, "2").values == DAYS

    for day in DAYS:
        lab.lake.run(lab.job, day)
    reaction = react(lab, "2")
    assert (reaction.values, reaction.note) == (
        (),
        "None of the newest partitions needs to be scored again.",
    )


def test_a_challenger_scores_the_newest_partition_beside_the_jobs_model(lab: Lab) -> None:
    lab.changes["release"] = CHALLENGED
    lab.registry.set_alias("delay", "challenger", "3")

    reaction = react(lab, "3", "challenger")
    assert (reaction.values, reaction.is_forced) == ((DAYS[-1],), True)
    assert reaction.note.startswith(f"{DAYS[-1]} is scored now")


def test_a_version_that_runs_could_not_use_is_not_tried(lab: Lab, tmp_path: Path) -> None:
    folder = save_version(tmp_path / "other", 1.0)
    mlmodel = folder / "MLmodel"
    mlmodel.write_text(mlmodel.read_text().replace('"a", "type"', '"altitude", "type"'))
    lab.registry.add("delay", folder, is_pinned=False)
    lab.move_by_hand("4")
    lab.changes["release"] = {"backfill_newest": 1}

    reaction = react(lab, "4")
    assert reaction.values == ()
    (problem,) = reaction.problems
    assert problem.startswith("columns: ")
    assert "altitude" in problem
    *_, pin, baseline, note = reaction_lines(reaction)
    assert (
        pin == "It has no pin; `nightscore pin models:/delay/4 --registry stub://registry` adds it."
    )
    assert baseline.startswith("It has no baseline; `nightscore baseline test --from DATA")
    assert note == "Nothing is scored with it."


def test_an_alias_that_has_moved_on_is_left_to_its_own_webhook(lab: Lab) -> None:
    lab.move_by_hand("3")
    reaction = react(lab, "2")
    assert reaction.note == "delay@champion means version 3 by now, so there is nothing to do."
    assert not reaction.missing

    assert "nor a challenger of it" in react(lab, "1", "nobodys").note
    lab.changes["release"] = CHALLENGED
    assert "means nothing by now" in react(lab, "1", "challenger").note
