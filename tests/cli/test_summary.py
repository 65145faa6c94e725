"""What a person is told of a run."""

import pytest

from nightscore.cli.summary import print_manifest
from tests.support.lake import Lake
from tests.support.models import NUMBERS, make_frame

DAY = "2024-02-29"


def test_quarantined_rows_have_their_reasons_and_their_place(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = make_frame(20)
    frame.loc[3, NUMBERS[0]] = float("inf")
    frame.loc[[5, 7], NUMBERS[1]] = float("inf")
    lake.write(DAY, frame)
    job = lake.job(limits={"max_quarantined_rows": 3}, policy={"infinite": "quarantine"})
    print_manifest(lake.run(job), job)

    told = " ".join(capsys.readouterr().out.split())
    assert "20 read, 17 scored, 3 quarantined" in told
    assert (
        f"quarantine: {NUMBERS[1]}: infinite in 2 rows, {NUMBERS[0]}: infinite in 1 row; "
        f"in {job.output.uri}.nightscore/quarantine/ds={DAY}/" in told
    )
