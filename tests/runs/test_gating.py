"""A gate lets a run pass, holds it, or fails it."""

from collections.abc import Callable
from typing import get_args

import pytest

from nightscore.errors import GateError
from nightscore.runs import gates as module
from nightscore.runs.execution import Execution
from nightscore.runs.gate_declaration import Gate, Outcome
from nightscore.runs.gating import pass_gates
from nightscore.schemas.gates import GateAction
from tests.runs.conftest import run_plan


def gate(action: GateAction, *, passed: bool) -> Gate:
    return Gate(
        name=f"gate_that_may_{action}",
        looks_beyond_record=False,
        action=lambda job: action,
        outcomes=lambda run: [Outcome(passed=passed, expected="e", found="f")],
    )


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
    execution: Execution,
    monkeypatch: pytest.MonkeyPatch,
    gates: list[Gate],
    passes: bool,
    n_warnings: int,
) -> None:
    monkeypatch.setattr(module, "GATES", (*module.GATES, *gates))
    assert pass_gates(execution, run_plan(execution), []) is passes
    manifest = execution.record.manifest
    recorded = [one.gate for one in manifest.gates if one.gate.startswith("gate_that_may")]
    assert recorded == [gate.name for gate in gates]
    assert len(manifest.warnings) == n_warnings


def test_a_gate_that_fails_stops_the_run(
    execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = [gate(action, passed=False) for action in get_args(GateAction)]
    monkeypatch.setattr(module, "GATES", (*module.GATES, *gates))
    with pytest.raises(GateError) as caught:
        pass_gates(execution, run_plan(execution), [])
    assert len(caught.value.problems) == 3, "all closed gates are named"
    assert len(execution.record.manifest.gates) >= 3, "the record has them too"


@pytest.mark.parametrize("action", ["off", "warn", "hold"])
def test_columns_that_could_not_be_compared_hold_a_run_only_if_drift_does(
    make_execution: Callable[..., Execution], action: str
) -> None:
    execution = make_execution(drift={"gate": action})
    plan = run_plan(execution)
    plan.drift_check.failure = "a defect"
    assert pass_gates(execution, plan, []) is (action != "hold")
    reasons = [one.found for one in execution.record.manifest.gates if one.gate == "drift"]
    assert reasons == (["a defect"] if action == "hold" else [])


def test_keys_are_looked_at_only_if_they_are_to_be_unique(
    make_execution: Callable[..., Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = make_execution()
    monkeypatch.setattr(execution.pool, "call", lambda *_: pytest.fail("no keys are wanted"))
    assert pass_gates(execution, run_plan(execution), [])
