"""Whether a run that a gate has held is still held by the gates of today."""

from pathlib import Path

import pytest

from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.workspace import Workspace
from nightscore.runs import held as module
from nightscore.runs.held import still_holding
from nightscore.schemas.manifest import GateRecord, Manifest, read_record

GOLDEN = Path(__file__).parents[1] / "golden" / "manifest-1g.json"


def gate(name: str, expected: str, *, passed: bool) -> GateRecord:
    return GateRecord(
        gate=name, action="hold", passed=passed, expected=expected, found="what was found"
    )


@pytest.mark.parametrize(
    ("name", "counts_as_recorded"),
    [
        ("rows", True),
        ("unique_keys", True),
        ("score_shift of prediction", True),
        ("rows_of_yesterday", False),
        ("unique_keys_share", False),
        ("score_shift_of_means", False),
    ],
)
def test_only_the_gate_itself_holds_as_recorded_and_none_whose_name_begins_like_it(
    name: str, counts_as_recorded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = parse_job(
        {
            "name": "test",
            "model": "models:/m/1",
            "input": {"uri": str(tmp_path / "features")},
            "output": {"uri": str(tmp_path / "predictions"), "format": "delta"},
            "keys": ["id"],
        }
    )
    recorded = gate(name, "the same", passed=False)
    today = gate(name, "the same", passed=True)
    monkeypatch.setattr(module, "check_gates", lambda *_: [today])

    held = read_record(GOLDEN.read_text(), Manifest).model_copy(update={"gates": (recorded,)})
    holding = still_holding(Workspace(job), held)
    assert [found.gate for found in holding] == ([name] if counts_as_recorded else [])
