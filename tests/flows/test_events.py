"""Which events a run gives, and what they say."""

import json
import logging
import warnings
from datetime import UTC, datetime
from typing import Any

import pytest

from nightscore.monitoring.drift.compare_profiles import Comparison
from nightscore.monitoring.drift.findings import Context, judge
from nightscore.schemas.drift import ColumnDrift, Severity
from nightscore.schemas.manifest import DriftRecord, FindingRecord, GateRecord, Manifest
from tests.support.manifests import published_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nightscore.flows.ui import events
    from nightscore.flows.ui.events import drift_event, emit_run_events, held_event, run_events
    from nightscore.flows.ui.messages import Links

URL = "http://prefect/runs/flow-run/1"


def a_finding(
    column: str, severity: Severity, was: Severity | None = None, **options: Any
) -> FindingRecord:
    values: dict[str, Any] = {
        "role": "feature",
        "reference": "baseline",
        "reasons": ("PSI 0.41",),
        "status": "new" if was in (None, "ok", "info") else "ongoing",
        "since": "2024-03-01",
    }
    return FindingRecord(column=column, severity=severity, was=was, **values | options)


def a_manifest(
    *findings: FindingRecord, resolved: tuple[str, ...] = (), **options: Any
) -> Manifest:
    drift = DriftRecord(
        verdict="critical",
        references={"baseline": "x"},
        findings=findings,
        resolved=resolved,
        score="probability",
        score_movement=0.2,
    )
    return published_run(**{"drift": drift} | options)


@pytest.mark.parametrize(
    ("findings", "resolved", "name"),
    [
        ([], (), None),
        ([a_finding("a", "critical")], (), "nightscore.drift.critical"),
        ([a_finding("a", "warning")], (), "nightscore.drift.warning"),
        ([a_finding("a", "warning", "info")], (), "nightscore.drift.warning"),
        ([a_finding("a", "critical", "critical")], (), None),
        ([a_finding("a", "warning", "warning")], (), None),
        ([a_finding("a", "critical", "warning")], (), "nightscore.drift.critical"),
        ([a_finding("a", "warning", "critical")], (), None),
        (
            [a_finding("a", "critical", "critical"), a_finding("b", "warning")],
            (),
            "nightscore.drift.warning",
        ),
        ([a_finding("a", "critical", is_seasonal=True)], (), None),
        ([a_finding("a", "critical", "info", is_seasonal=True)], (), None),
        ([a_finding("a", "info")], (), None),
        ([], ("a",), "nightscore.drift.resolved"),
        ([a_finding("b", "critical")], ("a",), "nightscore.drift.critical"),
    ],
)
def test_an_event_is_a_change(
    findings: list[FindingRecord], resolved: tuple[str, ...], name: str | None
) -> None:
    event = drift_event(a_manifest(*findings, resolved=resolved))
    assert (event and event.name) == name


@pytest.mark.parametrize("status", ["failed", "unchanged", "rejected", "running"])
def test_a_run_that_changes_nothing_for_readers_tells_nothing(status: str) -> None:
    assert run_events(a_manifest(a_finding("a", "critical"), status=status)) == []


def test_a_run_without_a_profile_tells_nothing() -> None:
    assert run_events(a_manifest(drift=None)) == []


def test_the_payload_says_what_where_and_what_to_do_next() -> None:
    manifest = a_manifest(
        a_finding(
            "a",
            "critical",
            impact=0.0123,
            drivers=({"segment": "country=CH", "kind": "mix", "share": 0.9},),
        ),
        a_finding("b|c", "critical", "warning", since="2024-02-28", impact=-0.5),
        a_finding("d", "warning", "warning"),
        resolved=("e",),
    )
    event = drift_event(manifest, Links(URL, "http://pages/delay"))
    assert event
    assert event.resource == {
        "prefect.resource.id": "nightscore.job.delay",
        "prefect.resource.name": "delay",
        "nightscore.partition": "2024-03-02",
        "nightscore.severity": "critical",
    }
    payload = event.payload
    assert (payload["job"], payload["partition"], payload["run_id"]) == (
        "delay",
        "2024-03-02",
        "01a2",
    )
    assert (payload["model"], payload["model_version"], payload["status"]) == (
        "m",
        "3",
        "published",
    )
    assert (payload["n_new"], payload["n_worse"], payload["n_resolved"]) == (1, 1, 1)
    assert payload["new"] == [
        {
            "column": "a",
            "role": "feature",
            "severity": "critical",
            "was": None,
            "since": "2024-03-01",
            "impact": 0.0123,
            "reference": "baseline",
            "reasons": ["PSI 0.41"],
            "drivers": [{"segment": "country=CH", "kind": "mix", "share": 0.9}],
        }
    ]
    assert [f["column"] for f in payload["worse"]] == ["b|c"]
    assert payload["resolved"] == ["e"]
    assert payload["subject"] == "delay 2024-03-02: drift critical: b|c, a"
    assert payload["message"] == (
        "delay 2024-03-02: drift critical: b|c, a. The predictions are published. "
        "Look: nightscore report delay 2024-03-02"
    )
    assert payload["text"].splitlines() == [
        "New, against the model's baseline:",
        "• a: critical, moves the mean score by +0.0123. PSI 0.41; most of it in country=CH (90%)",
        "",
        "Worse, against the model's baseline:",
        "• b|c: critical (was warning), since 2024-02-28, moves the mean score by -0.5000. PSI 0.41",
        "",
        "Resolved: e",
        "",
        "The mean of probability moved by +0.2000 since the baseline.",
        "",
        "The predictions are published. Look:",
        "    nightscore report delay 2024-03-02",
        "",
        "Model: m version 3",
        "Report: http://pages/delay",
        f"Run: {URL}",
    ]


def test_a_held_run_sends_one_message_that_says_both() -> None:
    gates = (
        GateRecord(gate="rows", action="warn", passed=False, expected="50 to 200", found="10"),
        GateRecord(
            gate="drift",
            action="hold",
            passed=False,
            expected="no critical finding",
            found="a critical",
        ),
    )
    manifest = a_manifest(a_finding("a", "critical"), status="held", gates=gates)
    moved, held = run_events(manifest, Links(URL))
    assert (moved.name, moved.resource["nightscore.notify"]) == (
        "nightscore.drift.critical",
        "false",
    )
    assert (held.name, held.resource["nightscore.notify"]) == ("nightscore.run.held", "true")
    assert held.payload["subject"] == "delay 2024-03-02: held by drift; drift critical: a"
    assert held.payload["text"].startswith(
        "The run is complete, and held by:\n• drift: expected no critical finding, found the findings below\n\nNew"
    )
    assert held.payload["message"].endswith(
        "nightscore report delay 2024-03-02; nightscore approve delay 2024-03-02, "
        "or nightscore reject delay 2024-03-02"
    )
    ongoing = a_manifest(a_finding("a", "critical", "critical"), status="held", gates=gates)
    (waits,) = run_events(ongoing)
    assert waits.name == "nightscore.run.held", "each waits for its decision"
    assert "found a critical\n" in waits.payload["text"]
    assert held_event(a_manifest()) is None


def test_what_has_become_usual_is_not_called_resolved() -> None:
    usual = a_finding("a", "critical", "critical", is_seasonal=True)
    event = drift_event(a_manifest(usual, resolved=("a",)))
    assert event
    assert event.payload["subject"] == "delay 2024-03-02: drift is usual by now: a"
    assert "As before, but now seasonal or usual: a\n" in event.payload["text"]
    assert "Resolved" not in event.payload["text"]
    both = drift_event(a_manifest(usual, resolved=("a", "b")))
    assert both
    assert (both.name, both.payload["explained"]) == ("nightscore.drift.resolved", ["a"])
    assert "Resolved: b\n" in both.payload["text"]


def test_the_runs_of_a_backfill_send_no_message() -> None:
    (event,) = run_events(a_manifest(a_finding("a", "critical")), is_backfill=True)
    assert event.resource["nightscore.notify"] == "false"


def test_many_findings_are_counted_and_the_first_shown() -> None:
    manifest = a_manifest(*(a_finding(f"column_{i}", "warning") for i in range(3_000)))
    event = drift_event(manifest)
    assert event
    assert event.payload["subject"].endswith("column_0, column_1, column_2 and 2997 more")
    assert (len(event.payload["new"]), event.payload["n_new"]) == (50, 3_000)
    assert "• and 2992 more" in event.payload["text"]
    assert len(json.dumps(event.payload)) < 50_000


def test_a_name_with_spaces_can_be_pasted() -> None:
    event = drift_event(a_manifest(a_finding("a", "critical"), partition="a day"))
    assert event
    assert event.payload["report"] == "nightscore report delay 'a day'"


def test_commands_call_the_job_as_it_was_given() -> None:
    links = Links(job="s3://lake/jobs/late.yaml")
    manifest = a_manifest(a_finding("a", "critical"), status="held")
    held = held_event(manifest, links)
    assert held
    job = "s3://lake/jobs/late.yaml 2024-03-02"
    assert held.payload["report"] == f"nightscore report {job}"
    for text in (held.payload["text"], held.payload["message"]):
        assert f"nightscore approve {job}, or nightscore reject {job}" in text
        assert " delay 2024-03-02\n" not in text


def test_what_goes_wrong_costs_the_event_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("no thread")

    monkeypatch.setattr(events, "emit_event", fail)
    monkeypatch.setattr(logging.getLogger("nightscore"), "propagate", True)
    monkeypatch.setattr(events.PREFECT_API_URL.__class__, "value", lambda self: None)
    emit_run_events(a_manifest(a_finding("a", "critical")), "delay")
    assert not caplog.records, "without a server there is nobody to tell"
    monkeypatch.setattr(
        events.PREFECT_API_URL.__class__, "value", lambda self: "http://127.0.0.1:9/api"
    )
    emit_run_events(a_manifest(a_finding("a", "critical")), "delay")
    assert (
        "run_id=01a2 partition=2024-03-02 its events could not be emitted: RuntimeError: no thread"
        in caplog.text
    )


def _judged(
    now: Severity, then: FindingRecord | None, calm: Severity | None = None
) -> tuple[Any, Any]:
    def drift(severity: Severity) -> Comparison:
        column = ColumnDrift(
            name="x",
            type="number",
            n_reference=1_000,
            n_current=1_000,
            null_rate_difference=0.0,
            statistics={},
            severity=severity,
            reasons=(),
            signals={"distribution": severity},
        )
        return Comparison(columns={("feature", "x", ""): column})

    comparisons = {"baseline": drift(now)} | ({"weekdays": drift(calm)} if calm else {})
    previous = DriftRecord(verdict="ok", findings=(then,)) if then else None
    _, findings, resolved = judge(comparisons, Context(partition="2024-03-02", previous=previous))
    return findings, resolved


@pytest.mark.parametrize(
    ("then", "was"),
    [
        (None, None),
        (a_finding("x", "info"), "info"),
        (a_finding("x", "critical", is_seasonal=True), "info"),
        (a_finding("x", "warning"), "warning"),
    ],
)
def test_a_finding_knows_what_it_was(then: FindingRecord | None, was: Severity | None) -> None:
    ((finding,), resolved) = _judged("critical", then)
    assert (finding.was, resolved) == (was, ())


def test_resolved_is_what_somebody_was_told_of() -> None:
    assert _judged("ok", a_finding("x", "warning"))[1] == ("x",)
    assert _judged("info", a_finding("x", "warning"))[1] == ("x",)
    assert _judged("critical", a_finding("x", "warning"), calm="ok")[1] == ("x",), (
        "it is only the season now"
    )
    assert _judged("ok", a_finding("x", "critical", is_seasonal=True))[1] == ()
    assert _judged("ok", a_finding("x", "info"))[1] == ()


def test_a_gate_s_findings_are_named_unless_all_of_them_stand_below() -> None:
    gate = GateRecord(
        gate="drift",
        action="hold",
        passed=False,
        expected="no critical finding",
        found="a critical: x",
    )
    findings = (a_finding("a", "critical", "critical"), a_finding("b", "warning"))
    held = held_event(a_manifest(*findings, status="held", gates=(gate,)))
    assert held
    assert "• drift: expected no critical finding, found a critical: x\n" in held.payload["text"]
    assert "the findings below" not in held.payload["text"], "below is a warning only"


def test_a_held_run_has_the_severity_of_its_record() -> None:
    gate = GateRecord(
        gate="drift",
        action="hold",
        passed=False,
        expected="no critical finding",
        found="a critical: x",
    )
    held = held_event(
        a_manifest(a_finding("a", "critical", "critical"), status="held", gates=(gate,))
    )
    assert held
    assert (held.payload["severity"], held.payload["sign"]) == ("critical", "🔴")
    assert held.resource["nightscore.severity"] == "critical"
    calm = held_event(a_manifest(drift=None, status="held", gates=(gate,)))
    assert calm
    assert calm.payload["severity"] == "ok"


def test_what_is_resolved_does_not_hide_what_goes_on() -> None:
    event = drift_event(a_manifest(a_finding("b", "critical", "critical"), resolved=("a",)))
    assert event
    assert event.payload["subject"] == "delay 2024-03-02: drift resolved: a; still critical: b"
    assert "Still a warning or worse: b\n" in event.payload["text"]


def test_only_what_the_record_calls_new_is_new() -> None:
    ongoing = a_finding("a", "critical", status="ongoing", since="2024-02-01")
    assert drift_event(a_manifest(ongoing)) is None, "a record that does not say what it was"


def test_gates_are_told_with_what_they_do_and_what_readers_have() -> None:
    gates = (
        GateRecord(gate="rows", action="warn", passed=False, expected="x", found="y"),
        GateRecord(gate="null_rate", action="hold", passed=False, expected="x", found="y"),
    )
    first = held_event(a_manifest(drift=None, status="held", gates=gates))
    assert first
    assert [gate["action"] for gate in first.payload["gates"]] == ["warn", "hold"]
    assert "rows" not in first.payload["text"]
    assert "Readers see nothing of this partition until you decide" in first.payload["text"]
    again = held_event(a_manifest(drift=None, status="held", gates=gates, replaces="01a1"))
    assert again
    assert "Readers see the previous predictions until you decide" in again.payload["text"]


def test_a_run_that_was_decided_on_is_told_once() -> None:
    decided = {"verdict": "approved", "at": datetime(2024, 3, 4, tzinfo=UTC), "by": "me"}
    assert run_events(a_manifest(a_finding("a", "critical"), decision=decided)) == []


def test_the_day_before_is_named() -> None:
    drift = DriftRecord(
        verdict="warning",
        references={"previous": "01a1"},
        days={"previous": ("2024-02-22",)},
        findings=(a_finding("a", "warning", reference="previous"),),
    )
    event = drift_event(a_manifest(drift=drift))
    assert event
    assert "New, against the partition before (2024-02-22):" in event.payload["text"]


def test_too_few_rows_to_tell_resolve_nothing() -> None:
    assert _judged("insufficient data", a_finding("x", "critical"))[1] == ()
