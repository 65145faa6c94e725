"""What every gate promises, and that a new one needs no change anywhere else."""

from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from nightscore.errors import InvalidJobError
from nightscore.inputs.inapplicable_gates import inapplicable_gates
from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.workspace import Workspace
from nightscore.runs import gates as module
from nightscore.runs.gate_declaration import FinishedRun, Gate, Outcome
from nightscore.runs.gates import GATES, check_gates
from nightscore.runs.held import still_holding
from nightscore.schemas.contract import OutputColumn
from nightscore.schemas.gates import Gates
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import GateRecord, Manifest, read_record
from nightscore.schemas.model import ModelFacts

GOLDEN = Path(__file__).parents[1] / "golden" / "manifest-1j.json"

EXAMPLES: dict[str, dict[str, Any]] = {
    "unique_keys": {
        "keys": {"columns": ["id"], "unique": True},
        "gates": {"unique_keys": "hold"},
    },
    "finite_predictions": {"gates": {"finite_predictions": "hold"}},
    "prediction_range": {"gates": {"prediction_range": {"max": 9, "action": "hold"}}},
    "probability_range": {"gates": {"probability_range": {"max": 1, "action": "hold"}}},
    "null_rate": {"gates": {"null_rate": {"max": 0.5, "action": "hold"}}},
    "rows": {"gates": {"rows": {"min_ratio": 0.5, "action": "hold"}}},
    "score_shift": {"gates": {"score_shift": {"max": 3, "action": "hold"}}},
    "estimated": {"gates": {"estimated": {"min": 0.6, "max_drop": 0.08, "action": "hold"}}},
    "drift": {"drift": {"gate": "hold"}},
}
"""By gate: settings of a job that it holds for, and that the run below passes."""
OFF = {"gates": {"finite_predictions": "off"}, "drift": {"gate": "off"}}
"""Settings of a job without any gate."""

REFUSED_FOR_A_MODEL: dict[str, dict[str, Any]] = {
    "prediction_range": {"gates": {"prediction_range": {"max": 9}}},
    "probability_range": {"gates": {"probability_range": {"max": 1}}},
    "null_rate": {"gates": {"null_rate": {"max": 0.5, "columns": {"nobody": 0.1}}}},
    "score_shift": {"gates": {"score_shift": {"max": 3}}},
    "estimated": {"gates": {"estimated": {"min": 0.7}}},
}
"""By gate: settings that can never apply to a model that predicts texts. `inputs/inapplicable_gates.py`
refuses them before any row is read."""
REFUSED_IN_A_JOB: dict[str, dict[str, Any]] = {
    "unique_keys": {"gates": {"unique_keys": "hold"}},
    "drift": {"drift": {"gate": "hold", "profile": False}},
    "estimated": {"gates": {"estimated": {"min": 0.7}}, "drift": {"profile": False}},
}
"""By gate: settings that other keys of the job file keep from ever being checked. `schemas/job.py`
refuses them."""
ALWAYS_APPLY = {
    "finite_predictions": "each model predicts something, and a text may be missing too",
    "rows": "each partition has a number of rows",
}
"""The other gates, and why nothing can keep them from being checked."""

ALL_GATES = pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)


@pytest.fixture
def run_record() -> Manifest:
    """The record of a run that passes all gates of the examples."""
    manifest = read_record(GOLDEN.read_text(), Manifest)
    assert manifest.drift is not None
    drift = manifest.drift.model_copy(update={"findings": ()})
    return manifest.model_copy(update={"gates": (), "drift": drift})


class RecordAlone:
    """A run of which only the record can be seen."""

    def __init__(self, job: ScoringJob, manifest: Manifest) -> None:
        self.job, self.manifest = job, manifest
        self.predictions = [column for column in manifest.columns if column.role == "prediction"]

    def __getattr__(self, name: str) -> Any:
        raise LookupError(f"looks beyond the record, at `{name}`")


def make_job(folder: Path, settings: dict[str, Any]) -> ScoringJob:
    required = {
        "name": "test",
        "model": "models:/m/1",
        "input": {"uri": str(folder / "features")},
        "output": {"uri": str(folder / "predictions"), "format": "delta"},
        "keys": ["id"],
    }
    return parse_job(required | settings)


def looks_at_record_alone(gate: Gate, job: ScoringJob, manifest: Manifest) -> bool:
    try:
        gate.check(cast(FinishedRun, RecordAlone(job, manifest)))
    except LookupError:
        return False
    return True


def test_the_table_has_every_gate_of_the_job_file_once() -> None:
    names = [gate.name for gate in GATES]
    assert sorted(names) == sorted({*Gates.model_fields, "drift"})
    assert names == [*EXAMPLES], "a new gate needs an example"


def test_every_gate_says_whether_it_can_be_set_in_vain() -> None:
    refused = {*REFUSED_FOR_A_MODEL, *REFUSED_IN_A_JOB}
    assert refused | {*ALWAYS_APPLY} == {gate.name for gate in GATES}
    assert not refused & {*ALWAYS_APPLY}
    assert all(ALWAYS_APPLY.values())


@pytest.mark.parametrize("name", REFUSED_FOR_A_MODEL)
def test_a_gate_that_cannot_apply_to_the_model_is_refused(name: str, tmp_path: Path) -> None:
    job = make_job(tmp_path, REFUSED_FOR_A_MODEL[name])
    texts = OutputColumn("prediction", pa.string(), "prediction")
    (problem,) = inapplicable_gates(job, ModelFacts(flavor="tiny", estimator=""), ["a"], [texts])
    assert problem.startswith(f"gates.{name}")


@pytest.mark.parametrize(
    ("metric", "column", "advice"),
    [
        ("rmse", "probability", "name one of roc_auc, average_precision"),
        ("roc_auc", "prediction", "name one of rmse, mae"),
        ("f1_macro", "probability", "name one of roc_auc, average_precision"),
    ],
)
def test_a_metric_of_another_kind_of_model_is_refused(
    metric: str, column: str, advice: str, tmp_path: Path
) -> None:
    bound = "max_rise" if metric == "rmse" else "max_drop"
    job = make_job(tmp_path, {"gates": {"estimated": {"metric": metric, bound: 0.1}}})
    fits = {
        "rmse": ["prediction"],
        "roc_auc": ["probability"],
        "f1_macro": ["prediction", "probability_a", "probability_b", "probability_c"],
    }[metric]
    facts = ModelFacts(flavor="tiny", estimator="")

    number = OutputColumn(column, pa.float64(), "prediction")
    (problem,) = inapplicable_gates(job, facts, ["a"], [number])
    assert advice in problem
    own = [OutputColumn(name, pa.float64(), "prediction") for name in fits]
    assert inapplicable_gates(job, facts, ["a"], own) == []


def test_a_bound_of_the_brier_score_may_be_above_1_for_several_classes_only(tmp_path: Path) -> None:
    job = make_job(tmp_path, {"gates": {"estimated": {"metric": "brier", "max": 1.2}}})
    facts = ModelFacts(flavor="tiny", estimator="")
    binary = [OutputColumn("probability", pa.float64(), "probability")]
    (problem,) = inapplicable_gates(job, facts, ["a"], binary)
    assert problem == "gates.estimated: max 1.2 never stops a run: brier is at most 1"

    names = ["prediction", *(f"probability_{name}" for name in "abc")]
    several = [OutputColumn(name, pa.float64(), "probability") for name in names]
    assert inapplicable_gates(job, facts, ["a"], several) == []
    job = make_job(tmp_path, {"gates": {"estimated": {"metric": "roc_auc", "min": 0.7}}})
    (problem,) = inapplicable_gates(job, facts, ["a"], several)
    assert "name one of roc_auc_macro, accuracy" in problem


@pytest.mark.parametrize("name", REFUSED_IN_A_JOB)
def test_a_gate_that_the_job_keeps_from_being_checked_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidJobError, match="never applies") as caught:
        make_job(tmp_path, REFUSED_IN_A_JOB[name])
    key = "drift.gate" if name == "drift" else f"gates.{name}"
    assert key in str(caught.value)


@ALL_GATES
def test_a_gate_that_is_off_looks_at_nothing_and_says_nothing(
    gate: Gate, tmp_path: Path, run_record: Manifest
) -> None:
    job = make_job(tmp_path, OFF)
    assert gate.action(job) == "off"
    assert gate.check(cast(FinishedRun, RecordAlone(job, run_record))) == []


@ALL_GATES
def test_records_have_the_action_of_the_job_and_are_known_as_the_gate_s_own(
    gate: Gate, tmp_path: Path, run_record: Manifest
) -> None:
    run = FinishedRun(Workspace(make_job(tmp_path, EXAMPLES[gate.name])), run_record)
    records = gate.check(run)
    assert records
    for record in records:
        assert (record.action, record.passed) == ("hold", True)
        assert record.expected
        assert [other for other in GATES if other.wrote(record)] == [gate]


@ALL_GATES
def test_a_gate_declares_whether_it_looks_beyond_the_record(
    gate: Gate, tmp_path: Path, run_record: Manifest
) -> None:
    job = make_job(tmp_path, EXAMPLES[gate.name])
    uncompared = run_record.model_copy(update={"drift": None})
    seen = [looks_at_record_alone(gate, job, manifest) for manifest in (run_record, uncompared)]
    assert gate.looks_beyond_record is (not all(seen))


@ALL_GATES
@pytest.mark.parametrize("is_same_question", [True, False])
def test_a_held_run_stays_held_only_by_what_cannot_be_seen_in_its_record(
    gate: Gate, is_same_question: bool, tmp_path: Path, run_record: Manifest
) -> None:
    workspace = Workspace(make_job(tmp_path, EXAMPLES[gate.name]))
    (passed, *_) = gate.check(FinishedRun(workspace, run_record))
    expected = passed.expected if is_same_question else "something else"
    closed = passed.model_copy(update={"passed": False, "expected": expected})

    held = run_record.model_copy(update={"gates": (closed,)})
    stands = gate.looks_beyond_record and is_same_question
    assert still_holding(workspace, held) == ([closed] if stands else [])

    off = Workspace(make_job(tmp_path, OFF))
    assert still_holding(off, held) == [], "a gate that has left the job holds nothing"


def test_a_run_that_could_not_be_compared_is_held_while_drift_holds(
    tmp_path: Path, run_record: Manifest
) -> None:
    uncompared = run_record.model_copy(update={"drift": None})
    workspace = Workspace(make_job(tmp_path, EXAMPLES["drift"]))
    run = FinishedRun(workspace, uncompared, comparison_failure="a defect")
    (record,) = [record for record in check_gates(run) if record.gate == "drift"]
    assert (record.passed, record.found) == (False, "a defect")

    held = uncompared.model_copy(update={"gates": (record,)})
    assert still_holding(workspace, held) == [record]
    warning = Workspace(make_job(tmp_path, {"drift": {"gate": "warn"}}))
    assert still_holding(warning, held) == []


@pytest.mark.parametrize("looks_beyond_record", [True, False])
@pytest.mark.parametrize("column", ["", "prediction"])
@pytest.mark.parametrize("name", ["tiny", "rows_of_yesterday", "score_shift_of_means"])
def test_a_gate_of_the_test_s_own_is_asked_everywhere(
    name: str,
    column: str,
    looks_beyond_record: bool,
    tmp_path: Path,
    run_record: Manifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes = False
    tiny = Gate(
        name=name,
        looks_beyond_record=looks_beyond_record,
        action=lambda job: "hold",
        outcomes=lambda run: [Outcome(passed=passes, expected="e", found="f", column=column)],
    )
    monkeypatch.setattr(module, "GATES", (*GATES, tiny))
    workspace = Workspace(make_job(tmp_path, EXAMPLES["rows"]))

    records = check_gates(FinishedRun(workspace, run_record))
    assert records[-1] == GateRecord(
        gate=f"{name} of {column}" if column else name,
        action="hold",
        passed=False,
        expected="e",
        found="f",
    )

    held = run_record.model_copy(update={"gates": tuple(records)})
    assert still_holding(workspace, held) == [records[-1]]

    passes = True
    assert still_holding(workspace, held) == ([records[-1]] if looks_beyond_record else [])
