"""Checkpoints of finished shards, also those that earlier versions have written."""

import json
from dataclasses import replace
from pathlib import Path

from nightscore.engine import checkpoints
from nightscore.engine.shard import ChallengerResult
from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.layout import checkpoints_folder
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.partition import MIN_SHARD_ROWS
from tests.runs.conftest import result


def test_a_checkpoint_is_read_as_it_was_written() -> None:
    checkpoint = checkpoints.Checkpoint(2, result(3, n_quarantined=1))
    content = checkpoints._codec.dump_json(checkpoint)
    assert checkpoints._codec.validate_json(content) == checkpoint


def test_a_checkpoint_with_the_earlier_name_of_a_reason_is_read() -> None:
    checkpoint = checkpoints.Checkpoint(2, result(3))
    document = json.loads(checkpoints._codec.dump_json(checkpoint))
    document["result"]["gave_up"] = document["result"].pop("give_up_reason")
    del document["result"]["predictor"]
    assert checkpoints._codec.validate_json(json.dumps(document)) == checkpoint


def test_a_checkpoint_of_an_earlier_version_has_the_usual_shards() -> None:
    document = json.loads(checkpoints._codec.dump_json(checkpoints.Checkpoint(2, result(3), 4_096)))
    assert document.pop("least_shard_rows") == 4_096
    earlier = checkpoints._codec.validate_json(json.dumps(document))
    assert earlier.least_shard_rows == MIN_SHARD_ROWS
    assert earlier.is_cut_like(checkpoints.Checkpoint(2, result(4)))
    assert not earlier.is_cut_like(checkpoints.Checkpoint(2, result(4), 4_096))


def test_a_checkpoint_has_what_the_challengers_did() -> None:
    complete = ChallengerResult(result=result(3), cpu_s=1.5, n_refused_alone=2, difference="{}")
    ended = ChallengerResult(failure="it has raised", cpu_s=0.5)
    of_shard = replace(result(3), challengers=(complete, ended), counted=b"\xff")

    checkpoint = checkpoints.Checkpoint(2, of_shard.for_checkpoint())
    content = checkpoints._codec.dump_json(checkpoint)

    assert checkpoints._codec.validate_json(content) == checkpoint
    assert checkpoint.result.challengers[0].is_complete
    assert not checkpoint.result.challengers[1].is_complete


def test_no_run_goes_on_from_rows_of_a_canary_that_has_ended(tmp_path: Path) -> None:
    """Its parts are still there if they could not be removed before the run was killed."""
    job = {"name": "test", "model": "models:/m/1", "registry": "sqlite:///registry.db"}
    job |= {"input": str(tmp_path / "in"), "output": str(tmp_path / "out"), "keys": ["id"]}
    workspace = Workspace(parse_job(job))
    mixed = ChallengerResult(failure="it has raised", n_published=1)
    alone = ChallengerResult(failure="it has raised")

    for index, challenger in enumerate((mixed, alone)):
        of_shard = replace(result(index), challengers=(challenger,))
        file = of_shard.part.file
        workspace.parts.write_bytes(file.path, bytes(file.size_bytes))
        content = checkpoints._codec.dump_json(checkpoints.Checkpoint(2, of_shard))
        workspace.state.write_bytes(f"{checkpoints_folder('killed')}/{index:05d}.json", content)

    assert [one.result.index for one in checkpoints._read(workspace, "killed")] == [1]


def test_each_profile_goes_to_a_checkpoint_or_to_the_driver_once() -> None:
    counted = replace(result(3), profile="UEFS", counted=b"\xff")
    of_shard = replace(counted, challengers=(ChallengerResult(result=counted), ChallengerResult()))

    stored, sent = of_shard.for_checkpoint(), of_shard.for_driver()

    assert (stored.profile, stored.counted) == ("UEFS", b"")
    assert (sent.profile, sent.counted) == ("", b"\xff")
    assert stored.challengers == (
        ChallengerResult(result=replace(counted, counted=b"")),
        ChallengerResult(),
    )
    assert sent.challengers == (
        ChallengerResult(result=replace(counted, profile="")),
        ChallengerResult(),
    )


def test_a_checkpoint_of_before_challengers_is_read() -> None:
    golden = Path("tests/golden/checkpoint-1.json").read_bytes()
    assert checkpoints._codec.validate_json(golden).result.challengers == ()
