"""Records are stable: the job's schema is checked in, an old manifest stays readable."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from nightscore.ledger.run_record import new_run_id
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob, json_schema
from nightscore.schemas.manifest import SCHEMA_VERSION, Manifest, read_record

ROOT = Path(__file__).parents[2]
GOLDENS = sorted((ROOT / "tests" / "golden").glob("manifest-*.json"))
"""Oldest first; the last one has all fields."""
GOLDEN = GOLDENS[0]
EVALUATIONS = sorted((ROOT / "tests" / "golden").glob("evaluation-*.json"))
"""The same of evaluations."""
EXAMPLES = sorted((ROOT / "deploy" / "jobs").glob("*.yaml"))


def test_the_json_schema_is_the_one_that_is_checked_in() -> None:
    stored = json.loads((ROOT / "schemas" / "job.schema.json").read_text())
    assert stored == json_schema(), "run `make schema`"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_jobs_are_valid_by_both(path: Path) -> None:
    raw = yaml.safe_load(path.read_text())
    jsonschema.validate(raw, json_schema())
    ScoringJob.model_validate(raw)


def test_there_are_examples() -> None:
    assert EXAMPLES


def test_a_job_is_frozen_and_shows_no_options() -> None:
    job = ScoringJob.model_validate(yaml.safe_load(EXAMPLES[0].read_text()))
    with pytest.raises(ValidationError):
        job.name = "other"  # type: ignore[misc]
    assert "storage_options" not in repr(job)


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_a_manifest_written_once_is_read_for_ever(golden: Path) -> None:
    raw = json.loads(golden.read_text())
    manifest = read_record(golden.read_text(), Manifest)
    assert SCHEMA_VERSION == manifest.schema_version == 1
    assert manifest.status == "published"
    assert (
        manifest.counts.rows_in
        == manifest.counts.rows_scored + manifest.counts.rows_quarantined
        == 1_000
    )
    written = json.loads(manifest.model_dump_json())
    assert _without_new(written, raw) == raw, "a field was renamed or removed"
    if golden == GOLDENS[-1]:
        assert written == raw, "a field was added: write the next golden file"


@pytest.mark.parametrize("golden", EVALUATIONS, ids=lambda path: path.stem)
def test_an_evaluation_written_once_is_read_for_ever(golden: Path) -> None:
    raw = json.loads(golden.read_text())
    record = read_record(golden.read_text(), EvaluationRecord)
    written = json.loads(record.model_dump_json())
    assert _without_new(written, raw) == raw, "a field was renamed or removed"
    if golden == EVALUATIONS[-1]:
        assert written == raw, "a field was added: write the next golden file"

    names = {"evaluation-1c": "", "evaluation-1d": "flight_delay"}
    stored = None if record.paired is None else record.paired.champion_name
    assert stored == names.get(golden.stem), "not stored in the older ones"

    assert (record.adjusted is None) == (golden == EVALUATIONS[0]), "not stored in the oldest"


def _without_new(written: Any, raw: Any) -> Any:
    """What was written, without the fields that an older file does not have."""
    if isinstance(written, dict) and isinstance(raw, dict):
        return {key: _without_new(value, raw[key]) for key, value in written.items() if key in raw}
    if isinstance(written, list) and isinstance(raw, list) and len(written) == len(raw):
        return [_without_new(value, then) for value, then in zip(written, raw, strict=True)]
    return written


def test_fields_of_later_versions_are_skipped_and_later_schemas_refused() -> None:
    raw = json.loads(GOLDEN.read_text())
    raw["counts"]["rows_dreamt_of"] = 7
    assert read_record(json.dumps(raw), Manifest) == read_record(GOLDEN.read_text(), Manifest)
    with pytest.raises(ValueError, match="schema version 2; this nightscore reads up to version 1"):
        read_record(json.dumps(raw | {"schema_version": 2}), Manifest)


def test_a_manifest_has_the_keys_that_others_rely_on() -> None:
    properties = Manifest.model_json_schema()["properties"]
    assert {"run_id", "status", "counts", "model", "error", "inputs", "output", "measures"} <= set(
        properties
    )


def test_run_ids_sort_by_time_and_are_uuid7() -> None:
    import uuid
    from datetime import UTC, datetime

    ids = [new_run_id(datetime.fromtimestamp(1_700_000_000 + i, UTC)) for i in range(50)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 50
    for text in ids:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert uuid.UUID(ids[1]).int >> 80 == 1_700_000_001_000


def test_settings_that_another_one_switches_off_are_named() -> None:
    """They are no errors: such files have worked so far."""
    raw = {"name": "late", "model": "models:/m/1", "input": "in", "output": "out"}
    off = {"profile": False, "segments": ["color"], "max_share": 0.5, "severity": "warning"}
    job = ScoringJob.model_validate(raw | {"drift": off, "renamed_from": "late"})
    assert job.settings_without_effect() == [
        "drift.segments has no effect with drift.profile: false",
        "drift.max_share has no effect with drift.profile: false",
        "drift.severity has no effect with drift.profile: false",
        "renamed_from: late is the job's own name, and has no effect",
    ]
    warned = ScoringJob.model_validate(raw | {"drift": {"gate": "off", "severity": "warning"}})
    assert warned.settings_without_effect() == ["drift.severity has no effect with drift.gate: off"]
    assert ScoringJob.model_validate(raw).settings_without_effect() == []
