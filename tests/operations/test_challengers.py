"""What `check` and `plan` say of challengers, and the commands that name one."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from nightscore.cli.app import build_app
from nightscore.ledger.layout import state_store
from nightscore.operations.challengers import ExpectedChallenger
from nightscore.operations.check import check_model
from nightscore.operations.checklist import Check
from nightscore.operations.plan import PlannedRun, plan_runs
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.manifest import Manifest
from tests.operations.releases.conftest import DAYS, Lab, lab, save_version

__all__ = ["lab"]
DAY = DAYS[0]


@pytest.fixture
def shadowed(lab: Lab) -> Lab:
    lab.registry.set_alias("delay", "challenger", "2")
    lab.changes = {"release": {"challenger": "models:/delay@challenger"}}
    return lab


def plan_day(lab: Lab, **options: Any) -> PlannedRun:
    (planned,) = plan_runs(lab.job, [DAY], pool=lab.lake.pool, cache=lab.lake.cache, **options)
    return planned


def wider_version(lab: Lab) -> None:
    """Version 4, which wants a column that the input does not have."""
    folder = save_version(lab.lake.cache.root / "wider", 1.0)
    mlmodel = folder / "MLmodel"
    mlmodel.write_text(mlmodel.read_text().replace('"a"', '"weather"'))
    lab.registry.add("delay", folder)


def test_check_names_what_a_challenger_lacks(shadowed: Lab) -> None:
    folder = save_version(shadowed.lake.cache.root / "unpinned", 1.0)
    shadowed.registry.add("delay", folder, is_pinned=False)
    shadowed.changes = {"release": {"challenger": "models:/delay/4"}}

    lacks = " ".join(challengers_check(shadowed).warnings)

    assert "it has no pin, so `promote` would refuse it; `nightscore pin models:/delay/4" in lacks
    assert "it has no baseline" in lacks


def test_a_plan_says_what_challengers_do(shadowed: Lab) -> None:
    alone = plan_day(shadowed)
    wider_version(shadowed)
    uris = ["models:/delay@challenger", "models:/delay/4", "models:/delay/9"]
    shadowed.changes = {"release": {"challenger": uris}}

    planned = plan_day(shadowed)

    challenger, wider, missing = planned.challengers
    assert challenger.text == "challenger delay version 2 scores the same rows"
    assert any("it has no baseline" in note for note in challenger.notes)
    assert "would not score: The partition does not fit the model" in wider.text
    assert "weather" in wider.problem
    assert "has no version 9" in missing.problem
    assert planned.fingerprint == alone.fingerprint, "challengers change no prediction"


def test_a_plan_counts_the_memory_of_all_models(lab: Lab) -> None:
    alone = plan_day(lab)
    lab.changes = {"release": {"challenger": ["models:/delay/2", "models:/delay/3"]}}

    together = plan_day(lab)

    assert together.memory_bytes > alone.memory_bytes
    limit = (alone.memory_bytes + together.memory_bytes) // 2
    lab.changes |= {"limits": {"memory_bytes": limit}}
    planned = plan_day(lab)
    assert planned.memory_bytes <= limit
    assert {one.problem for one in planned.challengers} == {
        "The job does not fit its memory limit; nothing was read."
    }


def test_a_skipped_partition_has_no_challengers(shadowed: Lab) -> None:
    shadowed.lake.run(shadowed.job, DAY)
    assert plan_day(shadowed).challengers == ()
    forced = plan_day(shadowed, force=True)
    assert [one.label for one in forced.challengers] == ["challenger"]


def test_a_plan_says_what_a_canary_does(lab: Lab) -> None:
    canary = {"mode": "canary", "share": "5%", "salt": "2024-02"}
    lab.changes = {"release": {"challenger": "models:/delay/2"} | canary}
    (challenger,) = plan_day(lab).challengers
    assert challenger.text.startswith("challenger delay version 2 scores 5 % of the keys (by id, ")

    folder = save_version(lab.lake.cache.root / "other", 2.0)
    lab.registry.add("other", folder)
    lab.changes = {"release": {"challenger": "models:/other/1"} | canary}
    (challenger,) = plan_day(lab).challengers
    assert "Both models of the canary have version 1" in challenger.problem

    columns = {"id": [1], "a": [1.0], "b": [0.5], "at": pa.array([7], pa.time32("s"))}
    lab.lake.write(DAY, pa.table(columns))
    lab.changes = {"release": {"challenger": "models:/delay/2", "by": ["at"]} | canary}
    lab.changes |= {"pass_through": ["at"]}
    lab.lake.formats = "parquet"
    (challenger,) = plan_day(lab).challengers
    assert "cannot stand in one table" in challenger.problem, "times of day have no arm"


def test_check_warns_of_what_keeps_a_challenger_from_scoring(shadowed: Lab) -> None:
    wider_version(shadowed)
    uris = ["models:/delay@challenger", "models:/delay/4"]
    shadowed.changes = {"release": {"challenger": uris}}

    check = challengers_check(shadowed)

    assert (check.state, check.found) == (
        "warning",
        "beside the job's own model: delay version 2 scores the same rows",
    )
    assert any("delay version 4 would not score" in warning for warning in check.warnings)
    assert any("delay version 2: it has no baseline" in warning for warning in check.warnings)


def test_check_says_whose_rows_a_canary_takes(shadowed: Lab) -> None:
    canary = {"mode": "canary", "share": "5%", "salt": "s", "on_critical": "none"}
    shadowed.changes["release"] |= canary

    check = challengers_check(shadowed)

    assert check.found == (
        "beside the job's own model: delay version 2 scores 5 % of the keys (by id, salt s, hash "
        "xxh64), and readers see its predictions of these; no finding ends it"
    )


def test_a_challenger_that_was_promoted_is_left_out(shadowed: Lab) -> None:
    shadowed.move_by_hand("2")

    (planned,) = plan_day(shadowed).challengers
    check = challengers_check(shadowed)

    assert planned.text == (
        "challenger delay version 2 would not score: it is the job's own model now"
    )
    assert check.warnings == (planned.text,)


def challengers_check(lab: Lab) -> Check:
    checks = check_model(lab.job, lab.lake.cache, lab.lake.pool)
    (check,) = [check for check in checks if check.name == "challengers"]
    return check


def test_check_looks_at_a_challenger_alone(shadowed: Lab) -> None:
    shadowed.lake.run(shadowed.job, DAY)
    own = challenger_jobs(shadowed.job)["challenger"]

    checks = check_model(own, shadowed.lake.cache, shadowed.lake.pool)

    states = {check.name: (check.state, check.warnings) for check in checks}
    assert states["table"] == ("ok", ())
    assert not [check.name for check in checks if check.state == "failed"]


def call(lab: Lab, folder: Path, *arguments: str) -> Any:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(lab.job.model_dump(mode="json")))
    words = [word.replace("JOB", str(path)) for word in arguments]
    return CliRunner().invoke(build_app(), words)


def test_commands_that_look_take_a_challenger(shadowed: Lab, tmp_path: Path) -> None:
    manifest = shadowed.lake.run(shadowed.job, DAY)
    (record,) = manifest.challengers

    runs = json.loads(call(shadowed, tmp_path, "runs", "JOB@challenger", "--json").output)
    assert [run["run_id"] for run in runs] == [record.run_id]
    for words in (
        ("partitions", "JOB@challenger"),
        ("explain", "JOB@challenger", DAY),
        ("history", "JOB@challenger", DAY),
        ("clean", "JOB@challenger"),
    ):
        done = call(shadowed, tmp_path, *words)
        assert done.exit_code == 0, (words, done.output)


def test_runs_name_challengers_that_were_not_published(lab: Lab, tmp_path: Path) -> None:
    uris = [f"models:/delay/{version}" for version in (2, 9, 10, 11, 12)]
    lab.changes = {"release": {"challenger": uris}}
    for _ in range(2):
        lab.lake.run(lab.job, DAY, force=True)

    printed = " ".join(call(lab, tmp_path, "runs", "JOB").output.split())

    assert f"{DAY}: challenger models:/delay/9 did not score: The model delay has no" in printed
    assert "version 2 " not in printed
    assert "1 more challenger not published; --json has the reasons." in printed


@pytest.mark.parametrize(
    "words",
    [
        ("run", "JOB@challenger", DAY),
        ("plan", "JOB@challenger", DAY),
        ("backfill", "JOB@challenger", "--from", DAY, "--to", DAY),
        ("replay", "JOB@challenger", DAY),
        ("rollback", "JOB@challenger", "--from", DAY, "--to", DAY),
        ("approve", "JOB@challenger", DAY),
        ("promote", "JOB@challenger"),
        ("demote", "JOB@challenger"),
        ("releases", "JOB@challenger"),
    ],
    ids=lambda words: words[0],
)
def test_commands_that_score_or_release_refuse_a_challenger(
    shadowed: Lab, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = call(shadowed, tmp_path, *words)
    error = done.exception
    assert done.exit_code != 0
    assert "scores and is released with its job only; nothing was done" in str(error)
    assert "give the job itself" in str(error)


def test_a_run_says_what_became_of_its_challengers(
    shadowed: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    from nightscore.cli.summary import print_manifest
    from nightscore.flows.ui.artifacts import state_message
    from nightscore.flows.ui.run_page import run_markdown
    from nightscore.reports.run_page import _facts

    uris = ["models:/delay@challenger", "models:/delay/9"]
    shadowed.changes = {"release": {"challenger": uris}}
    manifest: Manifest = shadowed.lake.run(shadowed.job, DAY)

    print_manifest(manifest, shadowed.job)
    page = run_markdown(manifest)
    assert manifest.drift is not None
    facts = dict(_facts(manifest, manifest.drift))

    shown = " ".join(capsys.readouterr().out.split())
    assert "challenger delay version 2 scored the same 4 rows" in shown
    assert facts["@challenger"] == "challenger delay version 2 scored the same 4 rows"
    message = state_message(manifest, shadowed.job)
    assert "; delay v2 in its shadow; challenger 9 refused" in message
    assert "### Challengers" in page
    assert "challenger delay version 2 scored the same 4 rows" in page
    assert "models:/delay/9 did not score: The model delay has no version 9" in page


def test_what_would_be_done_is_one_sentence() -> None:
    expected = ExpectedChallenger(label="8", model="delay version 8", problem="It is too wide.")
    assert expected.text == "challenger delay version 8 would not score: It is too wide"


@pytest.mark.parametrize("is_named", [True, False])
def test_clean_cleans_challengers_too(shadowed: Lab, tmp_path: Path, is_named: bool) -> None:
    """Also one that the job does not name any more. What readers see stays."""
    own = challenger_jobs(shadowed.job)["challenger"]
    shadowed.lake.run(shadowed.job, DAY)
    left = "checkpoints/01900000-0000-7000-8000-000000000000/0.json"
    state_store(own).write_bytes(left, b"{}")
    before = shadowed.lake.read(own)

    if not is_named:
        shadowed.changes = {}
    options = ("JOB", "--older-than-hours", "0")
    planned = json.loads(call(shadowed, tmp_path, "clean", *options, "--dry-run", "--json").output)
    printed = call(shadowed, tmp_path, "clean", *options).output

    assert left in planned["challengers"]["challenger"]
    assert f"{shadowed.job.name}@challenger: {left}" in printed.replace("\n", "")
    assert not state_store(own).exists(left)
    assert shadowed.lake.read(own).equals(before)
