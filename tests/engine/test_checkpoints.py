"""Checkpoints of finished shards, also those that earlier versions have written."""

import json

from nightscore.engine import checkpoints
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
