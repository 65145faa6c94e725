"""What compares two versions on the same rows is evidence for a promotion."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest

from nightscore.cli.release_text import release_lines, show_evidence, show_standing_beside
from nightscore.errors import ReleaseError
from nightscore.flows.ui.release_page import page_of_release, release_markdown
from nightscore.ledger.release_history import last_demotion
from nightscore.monitoring.performance.estimates.wording import metric_of
from nightscore.operations.evaluate import evaluate
from nightscore.operations.releases.queries import read_releases
from nightscore.operations.standing import find_comparison, standings
from nightscore.schemas.challenger_jobs import challenger_job
from nightscore.schemas.comparison import LossSums, PairedRecord
from tests.operations.releases.conftest import Lab
from tests.support.evaluations import recorded
from tests.support.outcomes import NOW, write_labels

CHALLENGER = "models:/delay/2"


def compare_for(
    lab: Lab, n_nights: int, difference: float, n_before: int = 0, last: str = ""
) -> None:
    """Nights that versions 1 and 2 have both scored, with this mean difference of their losses.

    They are of March 2024, or of the day `last`.
    """
    release = lab.changes.get("release", {})
    lab.changes["release"] = release | {"challenger": CHALLENGER}
    own = challenger_job(lab.job, CHALLENGER)
    noise = np.random.default_rng(1).normal(0, 0.0005, n_nights)

    for night in range(n_before, n_nights):
        sums = LossSums(
            name="log_loss",
            n=400,
            champion=0.4,
            difference=difference + float(noise[night]),
            variance=1e-4,
        )
        paired = PairedRecord(champion_name="delay", champion_version="1", n=400, losses=(sums,))
        day = last or f"2024-03-{night + 1:02}"
        recorded(own, day, (0.7, 0.6, 0.8), model_name="delay", model_version="2", paired=paired)


def test_a_challenger_that_labels_show_to_be_better_needs_no_flag(any_lab: Lab) -> None:
    compare_for(any_lab, 9, -0.03)
    any_lab.promote("2", without_labels=False)
    assert any_lab.live == "2"

    evidence = any_lab.log()[0].entry.evidence
    assert evidence is not None
    assert evidence.comparison is not None
    assert evidence.comparison.is_better_by_labels
    assert (evidence.no_comparison, evidence.without_labels) == ((), False)

    told = [*show_evidence(evidence)]
    assert "Challenger 2 against 1: better after 9 nights" in told
    assert any(line.startswith("  log loss: -0.0") for line in told)


@pytest.mark.parametrize(
    ("n_nights", "difference", "words"),
    [
        (4, -0.03, "undecided after 4 nights, about 3 more nights"),
        (9, 0.03, "worse after 9 nights"),
        (9, 0.0, "no difference that matters after 9 nights"),
    ],
)
def test_any_other_needs_it_and_is_told_where_it_stands(
    lab: Lab, n_nights: int, difference: float, words: str
) -> None:
    compare_for(lab, n_nights, difference)
    with pytest.raises(ReleaseError) as caught:
        lab.promote("2", without_labels=False)

    (problem,) = caught.value.problems
    assert problem == (
        f"evidence: nothing shows that it is better with labels: challenger 2 against 1: {words}; "
        "if you accept that, add --without-labels"
    )
    assert lab.live == "1"

    lab.promote("2")
    evidence = lab.log()[0].entry.evidence
    assert evidence is not None
    assert evidence.comparison is not None
    assert evidence.no_comparison == (f"challenger 2 against 1: {words}",)


def test_what_was_known_when_a_version_was_demoted_is_no_evidence_any_more(lab: Lab) -> None:
    compare_for(lab, 9, -0.03)
    lab.promote("2", without_labels=False)
    lab.demote(note="customers complained")

    with pytest.raises(ReleaseError) as caught:
        lab.promote("2", without_labels=False)
    (problem,) = caught.value.problems
    assert "better after 9 nights, but version 2 was demoted at" in problem
    assert "by bert@host: customers complained (entry 2), and no night since" in problem

    # A night after the demotion compares both once more.
    tomorrow = f"{datetime.now(UTC).date() + timedelta(days=1)}"
    compare_for(lab, 10, -0.03, n_before=9, last=tomorrow)
    lab.promote("2", without_labels=False)
    assert last_demotion(lab.log(), "2") is None, "it went live again"


def test_nights_of_another_version_are_no_evidence(lab: Lab) -> None:
    compare_for(lab, 9, -0.03)
    with pytest.raises(ReleaseError) as caught:
        lab.promote("3", without_labels=False)

    assert "no rows are stored that both version 1 and version 3 have scored" in str(caught.value)


def test_a_week_in_the_shadow_and_its_labels_are_enough(lab: Lab) -> None:
    """Runs with a challenger, labels, an evaluation, and a promotion without the flag.

    Before the evaluation, the refusal names it.
    """
    days = [f"2024-03-{day:02}" for day in range(1, 8)]
    lab.changes |= {
        "release": {"challenger": CHALLENGER},
        "labels": {
            "uri": f"{lab.lake.root}/labels",
            "key": ["id"],
            "partition": {"column": "ds"},
            "column": "y",
        },
    }
    rng = np.random.default_rng(2)
    labels = []

    for day in days:
        a = np.linspace(-1, 1, 40)
        lab.lake.write(day, pd.DataFrame({"id": range(40), "a": a, "b": [0.5] * 40}))
        lab.lake.run(lab.job, day)
        y = 2 * a - 0.5 + rng.normal(0, 0.1, 40)
        labels.append(pl.DataFrame({"id": range(40), "ds": [day] * 40, "y": y}))

    write_labels(lab.lake, pl.concat(labels))
    with pytest.raises(ReleaseError) as caught:
        lab.promote("2", without_labels=False)

    (problem,) = caught.value.problems
    assert "version 1 and version 2 have scored 7 partitions together, of which none is" in problem
    assert f"`{lab.job.command('evaluate')}` compares both by them" in problem

    done = evaluate(lab.job, NOW)
    done.check()
    assert [record.partition for record in done.challengers["2"].records] == days

    (standing,) = standings(lab.job)
    assert (standing.champion, standing.challenger, standing.verdict) == ("1", "2", "better")
    assert (standing.losses[0].name, standing.rows) == ("squared_error", 280)

    lab.promote("2", without_labels=False)
    evidence = lab.log()[-1].entry.evidence
    assert evidence is not None
    assert evidence.comparison == standing

    told = [*show_evidence(evidence)]
    place = told.index(
        "New version on 2024-03-07: nothing estimated; 7 of its latest 7 partitions have come true"
    )
    assert [one.partition for one in evidence.challenger] == days

    rmse = metric_of(evidence.challenger[-1].realised, "rmse")
    assert rmse is not None
    assert told[place + 1].startswith("  came true on 2024-03-07: ")
    assert f"RMSE {rmse.value:.3f} (" in told[place + 1]

    page = release_markdown(page_of_release(lab.log()[-1]), "done")
    assert "### What the new version has scored as a challenger" in page

    (after,) = standings(lab.job)
    assert after == standing, "no run has both as champion and challenger since"


@pytest.mark.parametrize(
    ("seen", "known", "words"),
    [
        ((9, -0.03), (12, 0.3), "undecided after 12 nights"),
        ((4, 0.03), (9, 0.03), "worse after 9 nights"),
        (None, (9, 0.03), "worse after 9 nights"),
    ],
)
def test_labels_that_speak_against_a_proposal_since_then_keep_it_from_being_approved(
    lab: Lab, seen: tuple[int, float] | None, known: tuple[int, float], words: str
) -> None:
    lab.changes["release"] = {"approval": "required"}
    if seen is not None:
        compare_for(lab, *seen)

    lab.promote("2", without_labels=seen is None or seen[1] > 0)
    compare_for(lab, *known, n_before=seen[0] if seen is not None else 0)
    with pytest.raises(ReleaseError, match="Less speaks for version 2 than") as caught:
        lab.approve("2")

    assert words in caught.value.found
    told = "challenger 2 against 1: " if seen is not None else "nothing that compares both"
    assert told in caught.value.expected
    assert f"promote {lab.job.given_as} --to 2` proposes it again" in caught.value.next_step
    assert (lab.live, lab.told()) == ("1", [])

    lab.reject("2")
    with pytest.raises(ReleaseError, match="evidence: nothing shows"):
        lab.promote("2", without_labels=False)


@pytest.mark.parametrize(
    ("seen", "known", "without_labels"),
    [
        ((9, -0.03), (12, -0.03), False),
        ((4, -0.03), (9, -0.03), True),
        ((4, -0.03), (9, 0.0), True),
        ((9, 0.03), (12, 0.03), True),
    ],
)
def test_what_does_not_speak_against_it_is_kept_beside_the_evidence(
    lab: Lab, seen: tuple[int, float], known: tuple[int, float], without_labels: bool
) -> None:
    lab.changes["release"] = {"approval": "required"}
    compare_for(lab, *seen)
    lab.promote("2", without_labels=without_labels)
    compare_for(lab, *known, n_before=seen[0])
    lab.approve("2")

    (release,) = lab.log()
    entry = release.entry
    assert entry.evidence is not None
    assert entry.evidence.comparison is not None
    assert entry.at_approval is not None
    assert (entry.evidence.comparison.nights, entry.at_approval.nights) == (seen[0], known[0])

    told = [*release_lines(release)]
    assert told[-1].startswith("When it was approved: challenger 2 against 1: ")
    assert f"after {known[0]} nights" in told[-1]
    assert "(by then challenger 2 against 1: " in release_markdown(page_of_release(release), "")


def test_releases_say_of_which_nights_a_verdict_is_and_what_was_done_since(lab: Lab) -> None:
    compare_for(lab, 9, -0.03)
    standing = find_comparison(lab.job, "1", "2", "delay")
    assert standing is not None

    def told() -> str:
        return show_standing_beside(read_releases(lab.job), standing)

    verdict = "Challenger 2 against 1: better after 9 nights (nights up to 2024-03-09)"
    assert told() == f"{verdict}."

    lab.promote("2")
    at = lab.log()[-1].effective_at
    assert told() == f"{verdict}; version 2 went live at {at:%Y-%m-%d %H:%M} UTC, entry 1."

    lab.demote()
    at = lab.log()[-1].effective_at
    assert told() == f"{verdict}; version 2 was demoted at {at:%Y-%m-%d %H:%M} UTC, entry 2."


def test_the_pairs_of_a_canary_are_the_rows_of_its_arm(lab: Lab) -> None:
    lab.changes |= {
        "release": {"challenger": CHALLENGER, "mode": "canary", "share": 0.4, "salt": "2024-03"},
        "keys": ["id"],
        "labels": {"uri": f"{lab.lake.root}/labels", "partition": {"column": "ds"}, "column": "y"},
    }
    day = "2024-03-01"
    a = np.linspace(-1, 1, 200)
    lab.lake.write(day, pd.DataFrame({"id": range(200), "a": a, "b": [0.5] * 200}))
    lab.lake.run(lab.job, day)
    write_labels(lab.lake, pl.DataFrame({"id": range(200), "ds": [day] * 200, "y": 2 * a - 0.5}))

    done = evaluate(lab.job, NOW)
    done.check()
    (record,) = done.challengers["2"].records
    own = lab.lake.read(challenger_job(lab.job, CHALLENGER))
    assert record.paired is not None
    assert record.paired.n == len(own)
    assert 50 < len(own) < 110

    squared_error = record.paired.losses[0]
    assert squared_error.champion == pytest.approx((a[own["id"]] ** 2).mean())
    assert squared_error.difference == pytest.approx(-squared_error.champion)
