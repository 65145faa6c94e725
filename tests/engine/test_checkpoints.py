"""Checkpoints of finished shards, also those that earlier versions have written."""

import json

from nightscore.engine import checkpoints
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
