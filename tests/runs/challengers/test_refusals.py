"""A challenger that cannot score is refused before any row: the champion's run goes on alone."""

import json
from typing import Any

import pandas as pd
import pytest

from nightscore.errors import InvalidJobError
from nightscore.operations.history import run_history
from nightscore.operations.replay import replay
from nightscore.runs.run import run
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.manifest import Manifest
from tests.operations.releases.conftest import DAYS, Lab, lab, save_version

__all__ = ["lab"]
DAY = DAYS[0]


def shadow(lab: Lab, challenger: str, **changes: Any) -> Manifest:
    lab.changes = {"release": {"challenger": challenger}} | changes
    return lab.lake.run(lab.job, DAY, force=True)


def check_refused(lab: Lab, manifest: Manifest, why: str) -> None:
    """The champion is published with a warning, and the challenger's run has failed."""
    assert (manifest.status, manifest.counts.rows_scored) == ("published", 4)
    assert lab.predictions() == {DAY: 0.5}
    assert any("did not score" in note and why in note for note in manifest.warnings)

    (record,) = manifest.challengers
    assert record.status == "refused"
    assert why in record.why
    (own,) = run_history(challenger_jobs(lab.job)[record.label])
    assert (own.status, own.run_id) == ("failed", record.run_id)
    assert own.champion_run_id == manifest.run_id
    assert own.error is not None
    assert why in own.error.what


def test_no_such_version(lab: Lab) -> None:
    check_refused(lab, shadow(lab, "models:/delay/9"), "has no version 9")


def test_a_model_that_does_not_load(lab: Lab) -> None:
    folder = save_version(lab.lake.cache.root / "broken", 1.0)
    (folder / "weights.json").write_text("[")
    lab.registry.add("delay", folder)
    check_refused(lab, shadow(lab, "models:/delay/4"), "")


def test_other_features_than_the_input_has(lab: Lab) -> None:
    folder = save_version(lab.lake.cache.root / "wider", 1.0)
    mlmodel = folder / "MLmodel"
    mlmodel.write_text(mlmodel.read_text().replace('"a"', '"weather"'))
    lab.registry.add("delay", folder)
    check_refused(lab, shadow(lab, "models:/delay/4"), "does not fit the model")


@pytest.mark.parametrize(
    ("names", "more"), [("v", ""), ("vwxyz", "and 2 more problems")], ids=["one", "five"]
)
def test_problems_are_named(lab: Lab, names: str, more: str) -> None:
    folder = save_version(lab.lake.cache.root / "wider", 1.0)
    (folder / "weights.json").write_text(json.dumps(dict.fromkeys(names, 1.0)))
    inputs = json.dumps([{"name": name, "type": "double"} for name in names])
    mlmodel = folder / "MLmodel"
    lines = [
        f"  inputs: '{inputs}'" if "inputs:" in line else line
        for line in mlmodel.read_text().splitlines()
    ]
    mlmodel.write_text("\n".join(lines))
    lab.registry.add("delay", folder)

    manifest = shadow(lab, "models:/delay/4")

    (record,) = manifest.challengers
    (note,) = [note for note in manifest.warnings if "challenger" in note]
    for text in (record.why, note):
        assert "does not fit the model" in text
        assert text.count(": is missing (double)") == min(len(names), 3)
        assert more in text
    assert "`nightscore runs test@4 --json` says more" in note
    (own,) = run_history(challenger_jobs(lab.job)["4"])
    assert own.error is not None
    assert own.error.message.count("\n  - ") == len(names), "all of them"


def test_a_column_that_is_called_as_the_champion_s_prediction(lab: Lab) -> None:
    frame = pd.DataFrame(
        {"id": range(4), "a": [1.0] * 4, "b": [0.5] * 4, "champion_prediction": [0.0] * 4}
    )
    lab.lake.write(DAY, frame)
    manifest = shadow(lab, "models:/delay/2", pass_through=["champion_prediction"])
    check_refused(lab, manifest, "two columns of one name")


def test_models_that_do_not_fit_the_memory_together(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = {"limits": {"memory_bytes": 600 << 20}}
    huge = 1 << 30
    facts = "nightscore.runs.challengers.challenger.choose_predictor"
    from nightscore.engine.planning.predictor_choice import PredictorChoice

    monkeypatch.setattr(facts, lambda *_: PredictorChoice("no compiled form", 0, huge))
    check_refused(lab, shadow(lab, "models:/delay/2", **limit), "does not fit its memory limit")


def test_another_job_has_its_table(lab: Lab) -> None:
    lab.changes = {"release": {"challenger": "models:/delay/2"}}
    own = challenger_jobs(lab.job)["2"]
    plain = lab.lake.job("models:/delay/3", output=own.output.model_dump())
    lab.lake.run(plain, DAY)

    manifest = lab.lake.run(lab.job, DAY, force=True)

    (record,) = manifest.challengers
    assert (manifest.status, record.status) == ("published", "refused")
    assert "Another job has published" in record.why


def test_a_challenger_does_not_score_by_itself(lab: Lab) -> None:
    lab.changes = {"release": {"challenger": "models:/delay/2"}}
    own = challenger_jobs(lab.job)["2"]
    options: dict[str, Any] = {"pool": lab.lake.pool, "cache": lab.lake.cache}

    for command in (run, replay):
        with pytest.raises(InvalidJobError, match="scores and is released with its job only"):
            command(own, DAY, now=pd.Timestamp.now("UTC"), **options)
    assert not run_history(own)


def test_a_challenger_that_was_promoted_is_left_out(lab: Lab) -> None:
    """Both aliases mean one version then, so there is nothing to compare."""
    lab.registry.set_alias("delay", "challenger", "1")

    manifest = shadow(lab, "models:/delay@challenger")

    assert (manifest.status, manifest.counts.rows_scored) == ("published", 4)
    assert not [note for note in manifest.warnings if "challenger" in note]
    (record,) = manifest.challengers
    assert (record.status, record.version, record.run_id) == ("skipped", "1", "")
    assert record.text == "challenger delay version 1 did not score: it is the job's own model now"
    assert run_history(challenger_jobs(lab.job)["challenger"]) == []


def test_of_two_challengers_only_the_other_one_scores(lab: Lab) -> None:
    lab.registry.set_alias("delay", "challenger", "1")
    lab.changes = {"release": {"challenger": ["models:/delay@challenger", "models:/delay/2"]}}

    manifest = lab.lake.run(lab.job, DAY, force=True)

    assert [record.status for record in manifest.challengers] == ["skipped", "published"]
    own = lab.lake.read(challenger_jobs(lab.job)["2"])
    assert own["prediction"].tolist() == [1.5] * 4
    assert own["champion_prediction"].tolist() == [0.5] * 4
