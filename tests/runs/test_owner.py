"""Two jobs with one output do not silently replace each other's predictions."""

from collections.abc import Sequence
from typing import Any

import pytest

from nightscore.inputs.jobfile import parse_job
from nightscore.models.pinned import PinnedModel
from nightscore.operations.history import run_history
from nightscore.operations.partitions import partition_statuses
from nightscore.outputs.predictions import read_predictions
from nightscore.schemas.job import ScoringJob
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2024-02-29"


def renamed(job: ScoringJob, *, name: str, before: str | Sequence[str] = ()) -> ScoringJob:
    raw: dict[str, Any] = job.model_dump(mode="json") | {"name": name, "renamed_from": before}
    return parse_job(raw)


@pytest.mark.parametrize("output_format", ["delta", "parquet"])
def test_another_jobs_predictions_are_not_replaced(lake: Lake, output_format: str) -> None:
    output = {"uri": f"{lake.root}/predictions", "format": output_format}
    lake.write(DAY, make_frame(5))
    first = lake.job(output=output)
    published = lake.run(first, DAY)
    assert published.status == "published"

    other = renamed(lake.job(output=output, pass_through=["count"]), name="other")
    for force in (False, True):
        refused = lake.run(other, DAY, force=force)
        assert refused.error
        assert refused.error.type == "InvalidJobError"
        assert "results of the job other" in refused.error.message
        assert f"those of the job test, run {published.run_id}" in refused.error.message
        assert "add renamed_from: test to its file" in refused.error.message
    assert "count" not in read_predictions(first, DAY).column_names

    (status,) = partition_statuses(other, PinnedModel.resolve(other, lake.cache), [DAY])
    assert status.reasons[0] == "output: the job test published it, and other may not replace it"


def test_a_job_with_a_new_name_goes_on_where_the_old_one_was(lake: Lake) -> None:
    lake.write(DAY, make_frame(5))
    first = lake.job()
    assert lake.run(first, DAY).status == "published"
    assert lake.run(renamed(first, name="new"), DAY).status == "unchanged"

    changed = lake.job(pass_through=["count"])
    taken = lake.run(renamed(changed, name="new", before="test"), DAY)
    assert taken.status == "published"
    assert "count" in read_predictions(first, DAY).column_names
    assert [m.job for m in run_history(first, DAY)] == ["new", "test"]
