"""A gate lets a run pass, holds it, or fails it."""

from collections.abc import Callable

import pytest

from nightscore.errors import GateError
from nightscore.runs.execution import Execution
from nightscore.runs.gatekeeping import pass_gates
from nightscore.schemas.manifest import GateRecord
from tests.runs.conftest import run_plan


def gate(action: str, *, passed: bool) -> GateRecord:
    fields = {"gate": "drift", "action": action, "passed": passed, "expected": "e", "found": "f"}
    return GateRecord.model_validate(fields)


@pytest.mark.parametrize(
    ("gates", "passes", "n_warnings"),
    [
        ([], True, 0),
        ([gate("hold", passed=True)], True, 0),
        ([gate("warn", passed=False)], True, 1),
        ([gate("hold", passed=False)], False, 1),
    ],
)
def test_a_closed_gate_holds_or_warns(
    execution: Execution, gates: list[GateRecord], passes: bool, n_warnings: int
) -> None:
    plan = run_plan(execution)
    plan.drift_check.answers = gates
    assert pass_gates(execution, plan, []) is passes
    manifest = execution.record.manifest
    assert [one for one in manifest.gates if one.gate == "drift"] == gates
    assert len(manifest.warnings) == n_warnings


def test_a_gate_that_fails_stops_the_run(execution: Execution) -> None:
    plan = run_plan(execution)
    plan.drift_check.answers = [gate("fail", passed=False), gate("hold", passed=False)]
    with pytest.raises(GateError) as caught:
        pass_gates(execution, plan, [])
    assert len(caught.value.problems) == 2, "all closed gates are named"
    assert len(execution.record.manifest.gates) >= 2, "the record has them too"


def test_keys_are_looked_at_only_if_they_are_to_be_unique(
    make_execution: Callable[..., Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = make_execution()
    monkeypatch.setattr(execution.pool, "call", lambda *_: pytest.fail("no keys are wanted"))
    assert pass_gates(execution, run_plan(execution), [])
