"""Which event new evaluations give, and what it says."""

import json
import logging
import warnings
from typing import Any

import pytest

from nightscore.operations.evaluate import Evaluation
from nightscore.operations.judge_evaluations import JudgedEvaluation
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.drift import Severity
from nightscore.schemas.job import ScoringJob
from tests.support.evaluations import Band, evaluation, recorded
from tests.support.lake import Lake
from tests.support.outcomes import labelled_job

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nightscore.flows.ui import performance_event as module
    from nightscore.flows.ui.evaluation_page import evaluation_message
    from nightscore.flows.ui.events import RunEvent
    from nightscore.flows.ui.performance_event import emit_performance_event, performance_event
    from nightscore.flows.ui.transition import find_performance_transition

URL = "http://prefect/runs/flow-run/1"
BAD: Band = (0.6, 0.55, 0.65)


def judged(severity: Severity, was: Severity, day: int = 2) -> JudgedEvaluation:
    record = evaluation(f"2024-03-{day:02d}", BAD)
    return JudgedEvaluation(
        record=record,
        metric=record.metrics[0],
        expected="roc_auc of at least 0.7",
        severity=severity,
        was=was,
    )


def event_of(job: ScoringJob, *found: JudgedEvaluation) -> RunEvent | None:
    return performance_event(job, find_performance_transition(found), URL)


@pytest.mark.parametrize(
    ("states", "name"),
    [
        ([], None),
        ([("ok", "ok")], None),
        ([("warning", "ok")], "warning"),
        ([("critical", "ok")], "critical"),
        ([("critical", "warning")], "critical"),
        ([("warning", "critical")], None),
        ([("critical", "critical")], None),
        ([("ok", "warning")], "resolved"),
        ([("critical", "ok"), ("critical", "critical")], "critical"),
        ([("critical", "ok"), ("ok", "critical")], "resolved"),
        ([("ok", "critical"), ("warning", "ok")], "warning"),
    ],
)
def test_an_event_is_a_change(
    bare_lake: Lake, states: list[tuple[Severity, Severity]], name: str | None
) -> None:
    found = [judged(*state, day=day) for day, state in enumerate(states, 1)]
    event = event_of(labelled_job(bare_lake), *found)
    assert (event and event.name) == (name and f"nightscore.performance.{name}")


def test_the_payload_says_what_where_and_what_to_do_next(bare_lake: Lake) -> None:
    event = event_of(labelled_job(bare_lake), judged("critical", "ok"))
    assert event
    assert event.resource == {
        "prefect.resource.id": "nightscore.job.test",
        "prefect.resource.name": "test",
        "nightscore.partition": "2024-03-02",
        "nightscore.severity": "critical",
        "nightscore.notify": "true",
    }
    payload = event.payload
    assert (
        payload["subject"] == "test 2024-03-02: realised roc_auc critical: 0.600 (0.550 to 0.650)"
    )
    assert payload["text"].splitlines() == [
        "• 2024-03-02: critical (was ok). roc_auc 0.600 (0.550 to 0.650) of 100 labelled rows, "
        "expected roc_auc of at least 0.7",
        "",
        "What came true of predictions that are published. Look:",
        "    nightscore history test roc_auc",
        "",
        "Model: m version 3",
        f"Run: {URL}",
    ]
    assert payload["message"].endswith("at least 0.7. Look: nightscore history test roc_auc")
    (change,) = payload["changes"]
    assert (change["value"], change["low"], change["severity"]) == (0.6, 0.55, "critical")


def test_many_changes_are_counted_and_the_newest_shown(bare_lake: Lake) -> None:
    states: list[tuple[Severity, Severity]] = [("critical", "ok"), ("ok", "critical")] * 15
    found = [judged(*state, day=day) for day, state in enumerate(states, 1)]
    event = event_of(labelled_job(bare_lake), *found)
    assert event
    assert event.payload["subject"] == (
        "test: realised roc_auc resolved; 30 partitions changed: "
        "2024-03-30, 2024-03-29, 2024-03-28 and 27 more"
    )
    assert event.payload["n_changes"] == 30
    assert "• and 22 more" in event.payload["text"]
    assert len(json.dumps(event.payload)) < 50_000


def test_the_message_of_the_run_says_what_is_worse_than_the_bound() -> None:
    done = Evaluation(records=(evaluation("2024-03-02", BAD),), unchanged=("2024-03-01",))
    assert evaluation_message(done) == "1 partition evaluated, 1 unchanged"

    found = [judged("critical", "critical"), judged("ok", "ok", 3), judged("warning", "ok", 4)]
    assert evaluation_message(done, found) == (
        "1 partition evaluated, 1 unchanged; realised roc_auc critical: 2024-03-02; "
        "realised roc_auc warning: 2024-03-04"
    )

    standing = ComparisonRecord(
        champion="7", challenger="8", verdict="undecided", by="labels", nights=11, more_nights=9
    )
    assert evaluation_message(done, (), [standing]) == (
        "1 partition evaluated, 1 unchanged; "
        "challenger 8 against 7: undecided after 11 nights, about 9 more nights"
    )


def test_it_is_emitted_and_what_goes_wrong_costs_the_event_only(
    bare_lake: Lake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = labelled_job(bare_lake, gates={"estimated": {"metric": "roc_auc", "min": 0.7}})
    records = [recorded(job, "2024-03-02", BAD)]
    told: list[str] = []

    def hear(name: str, **options: Any) -> None:
        if told:
            raise RuntimeError("no thread")
        told.append(name)

    monkeypatch.setattr(module, "emit_event", hear)
    monkeypatch.setattr(logging.getLogger("nightscore"), "propagate", True)
    setting = module.PREFECT_API_URL.__class__
    monkeypatch.setattr(setting, "value", lambda self: None)
    (found,) = emit_performance_event(job, records)
    assert found.severity == "critical"
    assert told == [], "without a server there is nobody to tell"

    monkeypatch.setattr(setting, "value", lambda self: "http://127.0.0.1:9/api")
    emit_performance_event(job, records)
    assert told == ["nightscore.performance.critical"]
    assert not caplog.records
    emit_performance_event(job, records)
    assert "of test could not be emitted: RuntimeError: no thread" in caplog.text
