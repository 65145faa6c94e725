"""What workers count of two classifiers is what both have published."""

import numpy as np

from nightscore.monitoring.differences.wording import describe_difference
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.difference import DifferenceRecord
from tests.support.lake import Lake
from tests.support.models import KnownModel, make_frame

DAY = "2024-02-29"


def compare(
    lake: Lake, champion: str, challenger: str
) -> tuple[DifferenceRecord, dict[str, object]]:
    """The difference in the champion's manifest, and the columns of the challenger's table."""
    lake.write(DAY, make_frame(300))
    job = lake.job(champion, release={"challenger": f"models:/{challenger}/1"})
    (record,) = lake.run(job, DAY).challengers
    assert record.difference is not None, record.why

    (own,) = challenger_jobs(job).values()
    frame = lake.read(own)
    return record.difference, {name: frame[name].to_numpy() for name in frame.columns}


def test_decisions_of_two_classifiers(lake: Lake, models: dict[str, KnownModel]) -> None:
    found, table = compare(lake, "hgb_binary", "logistic")
    was, now = (np.array(table[name]) for name in ("champion_probability", "probability"))

    assert (found.n, found.score) == (300, "probability")
    assert found.flips is not None
    assert found.flips.n01 == ((was <= 0.5) & (now > 0.5)).sum() > 0
    assert found.flips.n10 == ((was > 0.5) & (now <= 0.5)).sum() > 0
    assert found.delta is not None
    assert np.isclose(found.delta.mean, (now - was).mean(), rtol=1e-12)


def test_classes_of_two_models_of_several(lake: Lake, models: dict[str, KnownModel]) -> None:
    found, table = compare(lake, "hgb_multi", "logistic_multi")
    was, now = (np.array(table[name]) for name in ("champion_prediction", "prediction"))

    assert found.classes is not None
    assert found.classes.n_changed == (was != now).sum() > 0
    for change in found.classes.changes:
        assert change.n == ((was == change.champion) & (now == change.challenger)).sum()

    lists = []
    for prefix in ("champion_probability", "probability"):
        scores = np.array([table[f"{prefix}_{name}"][row] for row, name in enumerate(was)])
        lists.append(set(np.argsort(-scores)[:100].tolist()))
    (common,) = (top.n_common for top in found.top if top.k == 100)
    assert common == len(lists[0] & lists[1]), "surest of the class that the champion predicts"
    (sentence,) = (text for text in describe_difference(found) if "in common" in text)
    assert "probabilities of the champion's class" in sentence
