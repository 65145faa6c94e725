"""What compares two versions on the same rows is evidence for a promotion."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from nightscore.cli.release_text import show_evidence
from nightscore.errors import ReleaseError
from nightscore.operations.evaluate import evaluate
from nightscore.operations.standing import standings
from nightscore.schemas.challenger_jobs import challenger_job
from nightscore.schemas.comparison import LossSums, PairedRecord
from tests.operations.releases.conftest import Lab
from tests.support.evaluations import recorded
from tests.support.outcomes import NOW, write_labels

CHALLENGER = "models:/delay/2"


def compare_for(lab: Lab, n_nights: int, difference: float) -> None:
    """Nights that versions 1 and 2 have both scored, with this mean difference of their losses."""
    lab.changes["release"] = {"challenger": CHALLENGER}
    own = challenger_job(lab.job, CHALLENGER)
    noise = np.random.default_rng(1).normal(0, 0.0005, n_nights)

    for night in range(n_nights):
        sums = LossSums(
            name="log_loss",
            n=400,
            champion=0.4,
            difference=difference + float(noise[night]),
            variance=1e-4,
        )
        paired = PairedRecord(champion_name="delay", champion_version="1", n=400, losses=(sums,))
        day = f"2024-03-{night + 1:02}"
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


def test_nights_of_another_version_are_no_evidence(lab: Lab) -> None:
    compare_for(lab, 9, -0.03)
    with pytest.raises(ReleaseError) as caught:
        lab.promote("3", without_labels=False)

    assert "no rows are stored that both version 1 and version 3 have scored" in str(caught.value)


def test_a_week_in_the_shadow_and_its_labels_are_enough(lab: Lab) -> None:
    """Runs with a challenger, labels, an evaluation, and a promotion without the flag."""
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

    (after,) = standings(lab.job)
    assert after == standing, "no run has both as champion and challenger since"


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
