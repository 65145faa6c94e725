"""`nightscore deploy`: what a server gets, that a second call changes nothing, and that nothing of others is lost."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import nightscore.deploy
from nightscore.cli.app import build_app
from nightscore.errors import DeploymentError, InvalidJobError
from nightscore.flows.deployments.automations import blocks_of, read_automations
from nightscore.flows.deployments.changes import Change, FieldChange, differences, merged
from nightscore.flows.deployments.deploy import deploy, online_workers
from nightscore.flows.deployments.job_checks import check_jobs
from nightscore.flows.deployments.jobs import JobToDeploy, check_labels, read_jobs
from nightscore.flows.deployments.schedules import check_schedule
from nightscore.flows.deployments.wanted import Nights, deployments_of
from nightscore.flows.prefect_api import prefect_api
from nightscore.flows.prefect_server import PrefectServer
from nightscore.flows.stack.http_calls import request
from nightscore.flows.tag import TAG
from nightscore.models.cache import ModelCache
from nightscore.operations.project.templates import prefect_text
from tests.fakes.prefect_api import MemoryPrefect

JOB = JobToDeploy(name="late", source="/jobs/late.yaml", folder="/jobs", environment={})
NIGHTS = Nights(cron="0 3 * * *", timezone="America/New_York")
PARTITION = "score-partition"
PASSING = ("updated", "status", "last_polled", "version", "version_id", "version_info")
"""What a server says of a deployment that is no setting. Its version is a label by Prefect."""
KINDS = ("work pool", "queue", "deployment", "schedule", "automation")


def deployed(
    server: MemoryPrefect, nights: Nights = NIGHTS, job: JobToDeploy = JOB, *, dry_run: bool = False
) -> dict[str, Change]:
    changes = deploy(server, [job], nights, "local", dry_run=dry_run)
    return {f"{change.kind} {change.name}": change for change in changes}


def deployment(server: MemoryPrefect, kind: str) -> dict[str, Any]:
    (found,) = [d for d in server.deployments.values() if d["name"] == f"late-{kind}"]
    return found


def test_a_first_call_creates_everything() -> None:
    server = MemoryPrefect()
    changes = deployed(server)

    assert {change.action for change in changes.values()} == {"created"}
    assert {change.kind for change in changes.values()} == {*KINDS}
    assert {name.split("/")[0] for _, name in server.queues} == {"nightly", "backfill"}
    assert [name for _, name in server.queues] == ["nightly", "backfill"], "the first has priority"

    nightly = deployment(server, "nightly")
    assert nightly["entrypoint"] == "nightscore.flows.nightly.nightly"
    assert nightly["parameters"] == {
        "job": "/jobs/late.yaml",
        "timezone": "America/New_York",
        "lag_days": 1,
        "look_back_days": 3,
    }
    (schedule,) = nightly["schedules"]
    assert schedule["schedule"] == {"cron": "0 3 * * *", "timezone": "America/New_York"}
    assert (schedule["slug"], schedule["active"]) == ("nightly", True)
    assert nightly["global_concurrency_limit"] == {"limit": 1}
    form = nightly["parameter_openapi_schema"]["properties"]
    assert form["job"]["enum"][-1] == "/jobs/late.yaml"
    (step,) = nightly["pull_steps"]
    assert [*step.values()] == [{"directory": "/jobs"}]

    backfill, partition = deployment(server, "backfill"), deployment(server, "partition")
    assert backfill["entrypoint"] == "nightscore.flows.backfill.backfill"
    assert partition["entrypoint"] == "nightscore.flows.partition.score_partition"
    assert {d["work_queue_name"] for d in (backfill, partition)} == {"backfill"}
    names = [automation["name"] for automation in server.automations.values()]
    assert names == [raw["name"] for raw in read_automations() if not blocks_of(raw)]
    assert "Crash runs without a heartbeat" in names


def test_a_second_call_changes_nothing() -> None:
    server = MemoryPrefect()
    deployed(server)
    server.sent.clear()

    for nights in (NIGHTS, Nights()):
        assert {change.action for change in deployed(server, nights).values()} == {"unchanged"}
    assert server.sent == []


def test_a_dry_run_says_the_same_and_sends_nothing() -> None:
    server = MemoryPrefect()
    planned = deployed(server, dry_run=True)
    assert server.sent == []
    assert planned == deployed(server)

    server.sent.clear()
    later = Nights(cron="0 4 * * *", lag_days=2)
    planned = deployed(server, later, dry_run=True)
    assert server.sent == []
    assert planned == deployed(server, later)


def test_a_change_names_each_field_with_its_old_and_new_value() -> None:
    server = MemoryPrefect()
    deployed(server)
    changes = deployed(server, Nights(cron="30 4 * * *", timezone="Europe/Berlin", lag_days=2))

    assert changes["schedule late-nightly"].fields == (
        FieldChange("cron", "0 3 * * *", "30 4 * * *"),
        FieldChange("timezone", "America/New_York", "Europe/Berlin"),
    )
    assert changes["deployment nightly/late-nightly"].fields == (
        FieldChange("parameters.lag_days", 1, 2),
        FieldChange("parameters.timezone", "America/New_York", "Europe/Berlin"),
    )
    assert changes["deployment backfill/late-backfill"].action == "unchanged"


def test_what_somebody_has_set_on_the_server_stays() -> None:
    server = MemoryPrefect()
    deployed(server)
    nightly = deployment(server, "nightly")
    nightly["parameters"] |= {"look_back_days": 9, "force": True}
    nightly["tags"].append("team-a")
    nightly["job_variables"]["env"]["OWN"] = "1"
    nightly["schedules"][0]["active"] = False
    server.pools["local"]["concurrency_limit"] = 2
    for automation in server.automations.values():
        automation["enabled"] = False

    server.sent.clear()
    assert {change.action for change in deployed(server).values()} == {"unchanged"}
    assert server.sent == []

    deployed(server, Nights(lag_days=0))
    assert nightly["parameters"]["look_back_days"] == 9
    assert nightly["parameters"]["force"] is True
    assert "team-a" in nightly["tags"]


def test_deployments_of_before_get_the_tag_of_our_runs() -> None:
    server = MemoryPrefect()
    deployed(server)
    other = JobToDeploy(name="other", source="/jobs/other.yaml", folder="/jobs", environment={})
    deployed(server, job=other)
    assert {change.action for change in deployed(server).values()} == {"unchanged"}
    old = [d for d in server.deployments.values() if d["name"].startswith("other")]
    for found in old:
        found["tags"].remove(TAG)
    theirs = {"id": "77", "flow_id": "x", "name": "x", "entrypoint": "x.py:nightly", "tags": []}
    server.deployments["77"] = theirs

    server.sent.clear()
    assert deployed(server, dry_run=True)["deployment other-nightly"].fields == (
        FieldChange("tags", ["other", "nightly"], ["other", "nightly", TAG]),
    )
    assert server.sent == []
    assert sum(change.action == "changed" for change in deployed(server).values()) == len(old)
    assert all(TAG in found["tags"] for found in old)
    assert theirs["tags"] == [], "another team's flow"


def test_automations_leave_the_runs_of_other_teams_alone() -> None:
    about_runs = 0
    for raw in read_automations():
        if raw["trigger"]["match"]["prefect.resource.id"] == "prefect.flow-run.*":
            related = raw["trigger"]["match_related"]
            specifications = related if isinstance(related, list) else [related]
            assert {
                "prefect.resource.role": "tag",
                "prefect.resource.id": f"prefect.tag.{TAG}",
            } in specifications
            about_runs += 1
    assert about_runs == 5


def test_what_was_changed_by_hand_is_put_right() -> None:
    server = MemoryPrefect()
    deployed(server)
    deployment(server, "nightly")["entrypoint"] = "flows/nightly.py:nightly"
    (zombies,) = [a for a in server.automations.values() if "heartbeat" in a["name"]]
    zombies["trigger"]["within"] = 40.0

    changes = deployed(server)
    assert changes["deployment nightly/late-nightly"].fields == (
        FieldChange("entrypoint", "flows/nightly.py:nightly", "nightscore.flows.nightly.nightly"),
    )
    assert changes[f"automation {zombies['name']}"].fields == (
        FieldChange("trigger.within", 40.0, 90.0),
    )
    assert {change.action for change in deployed(server).values()} == {"unchanged"}


def test_without_a_cron_expression_a_new_job_has_no_schedule() -> None:
    server = MemoryPrefect()
    changes = deployed(server, Nights())
    assert changes["schedule late-nightly"].action == "skipped"
    assert deployment(server, "nightly")["schedules"] == []
    assert deployment(server, "nightly")["parameters"]["timezone"] == "UTC"
    assert deployed(server, Nights(cron="0 3 * * *"))["schedule late-nightly"].action == "created"


def test_only_a_job_with_labels_is_evaluated_by_a_deployment() -> None:
    server = MemoryPrefect()
    labelled = replace(JOB, has_labels=True)
    changes = deployed(server, job=labelled)
    assert changes["schedule late-evaluate"].reason == "none; --evaluate-cron sets one"

    evaluation = deployment(server, "evaluate")
    assert evaluation["entrypoint"] == "nightscore.flows.evaluate.evaluate"
    assert evaluation["parameters"] == {"job": "/jobs/late.yaml"}
    assert (evaluation["work_queue_name"], evaluation["schedules"]) == ("nightly", [])

    nights = Nights(evaluate_cron="0 5 * * *", timezone="America/New_York")
    assert deployed(server, nights, labelled)["schedule late-evaluate"].action == "created"
    (schedule,) = deployment(server, "evaluate")["schedules"]
    assert schedule["schedule"] == {"cron": "0 5 * * *", "timezone": "America/New_York"}
    (nightly,) = deployment(server, "nightly")["schedules"]
    assert nightly["schedule"]["cron"] == NIGHTS.cron

    server.sent.clear()
    assert {change.action for change in deployed(server, job=labelled).values()} == {"unchanged"}
    assert server.sent == []


def test_only_a_job_whose_model_is_an_alias_has_forms_of_releases() -> None:
    server = MemoryPrefect()
    changes = deployed(server, job=replace(JOB, has_alias=True))
    assert changes["deployment promote/late-promote"].action == "created"

    promote, demote = deployment(server, "promote"), deployment(server, "demote")
    assert promote["entrypoint"] == "nightscore.flows.releases.promote.promote"
    assert demote["entrypoint"] == "nightscore.flows.releases.demote.demote"
    for one in (promote, demote):
        assert one["tags"] == ["late", "release", TAG]
        assert (one["work_queue_name"], one["schedules"]) == ("nightly", [])

    form = promote["parameter_openapi_schema"]
    assert form["required"] == ["job"]
    assert [*form["properties"]] == [
        *("job", "version", "note", "without_labels", "dry_run", "timeout_minutes")
    ]
    assert all(field["description"] for field in form["properties"].values())
    fields = demote["parameter_openapi_schema"]["properties"]
    assert [*fields] == ["job", "to", "note", "with_predictions", "timeout_minutes"]
    assert all(field["description"] for field in fields.values())

    deciding = replace(JOB, has_alias=True, wants_approval=True)
    assert deployed(server, job=deciding)["deployment decide-release/late-decide"].action == (
        "created"
    )
    decide = deployment(server, "decide")
    assert decide["entrypoint"] == "nightscore.flows.releases.decide.decide"
    assert decide["parameter_openapi_schema"]["required"] == ["job", "decision", "version"]

    pinned = MemoryPrefect()
    deployed(pinned)
    names = {d["name"] for d in pinned.deployments.values()}
    assert names == {"late-nightly", "late-backfill", "late-partition"}


def test_a_schedule_of_evaluations_needs_labels() -> None:
    check_labels([JOB, replace(JOB, has_labels=True)])
    with pytest.raises(InvalidJobError, match="no job has labels"):
        check_labels([JOB])


@pytest.mark.parametrize(
    ("cron", "timezone", "said"),
    [
        ("3 am", None, ["--cron '3 am' is no cron expression of five fields"]),
        ("0 25 * * *", None, ["--cron '0 25 * * *'"]),
        ("0 3 * * * *", None, ["five fields: minute hour day month weekday"]),
        (None, "America/NewYork", ["--timezone 'America/NewYork'", "mean America/New_York?"]),
        ("nightly", "", ["--cron 'nightly'", "--timezone ''"]),
    ],
)
def test_an_invalid_schedule_is_named(
    cron: str | None, timezone: str | None, said: list[str]
) -> None:
    with pytest.raises(InvalidJobError) as refused:
        check_schedule(cron, timezone)
    for text in said:
        assert text in str(refused.value)


def write_job(folder: Path, file: str, **changes: Any) -> Path:
    job = {
        "name": file.removesuffix(".yaml"),
        "model": "models:/late/1",
        "registry": "sqlite:///mlflow.db",
        "input": "features",
        "output": "predictions",
    }
    path = folder / file
    path.write_text(yaml.safe_dump(job | changes))
    return path


def test_jobs_are_deployed_by_their_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("NIGHTSCORE_JOBS", raising=False)
    (tmp_path / "jobs").mkdir()
    write_job(tmp_path / "jobs", "named.yaml")
    write_job(tmp_path, "bare.yaml", registry=None)

    named, bare = read_jobs(["named", "bare.yaml"])
    assert named.source == str(tmp_path / "jobs" / "named.yaml")
    assert (named.folder, dict(named.environment)) == (str(tmp_path), {})
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert bare.environment == {"MLFLOW_TRACKING_URI": uri}, "the registry that is meant here"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@mlflow.example.com")
    assert read_jobs(["bare.yaml"])[0].environment == {}, "credentials never go to Prefect"


def test_all_jobs_that_cannot_be_deployed_are_named(tmp_path: Path) -> None:
    first = write_job(tmp_path, "first.yaml", name="same")
    second = write_job(tmp_path, "second.yaml", name="same")
    broken = write_job(tmp_path, "broken.yaml", modle="models:/late/1")

    with pytest.raises(InvalidJobError, match="are both named same"):
        read_jobs([str(first), str(second)])
    with pytest.raises(InvalidJobError) as refused:
        read_jobs([str(broken), str(tmp_path / "none.yaml"), str(first)])
    assert "2 jobs cannot be read; nothing was changed" in str(refused.value)
    assert "did you mean model?" in str(refused.value)
    assert "none.yaml" in str(refused.value)


def test_what_would_fail_every_night_is_named_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_job(tmp_path, "late.yaml")
    with pytest.raises(InvalidJobError) as refused:
        check_jobs(["late.yaml"], ModelCache(tmp_path / "cache"))
    said = str(refused.value)
    assert said.startswith("Runs would fail; nothing was changed.")
    assert "late.yaml: registry: There is no model registry" in said
    assert "late.yaml: input: " in said
    assert "`nightscore check late.yaml` says more; --no-check deploys all the same" in said


@pytest.mark.slow
def test_a_server_that_is_not_named_or_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):  # noqa: SIM117
        with pytest.raises(DeploymentError, match="PREFECT_API_URL is not set"), prefect_api():
            pass

    nobody = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(nobody):  # noqa: SIM117
        with pytest.raises(DeploymentError, match="does not answer"), prefect_api() as api:
            online_workers(api, "local")


def test_documents_are_merged_and_compared_to_their_innermost_values() -> None:
    old = {"a": {"b": 1, "own": 2}, "c": [1]}
    new = merged(old, {"a": {"b": 3}, "c": [1, 2]})
    assert new == {"a": {"b": 3, "own": 2}, "c": [1, 2]}
    assert differences(old, new) == [FieldChange("a.b", 1, 3), FieldChange("c", [1], [1, 2])]


@pytest.fixture
def api_url(server: PrefectServer) -> Iterator[str]:
    """A real server, which afterwards has what it had before."""
    url = server.api_url
    yield url
    for flow, kind in (("nightly", "nightly"), ("backfill", "backfill"), (PARTITION, "partition")):
        details = request(url, "GET", f"/deployments/name/{flow}/real-{kind}")
        request(url, "DELETE", f"/deployments/{details['id']}")
    request(url, "DELETE", "/work_pools/own")


@pytest.mark.slow
def test_the_command_on_a_real_server(
    api_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also that what the server answers is what was sent: only then nothing changes the second time."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.chdir(tmp_path)
    write_job(tmp_path, "real.yaml")
    options = ["--cron", "0 3 * * *", "--timezone", "America/New_York", "--pool", "own"]
    options.append("--no-check")

    def call(*more: str) -> str:
        line = ["deploy", "real.yaml", *options, *more]
        with temporary_settings({PREFECT_API_URL: api_url}):
            assert not build_app()(line, standalone_mode=False)
        return capsys.readouterr().out

    first = call()
    assert "deployment  nightly/real-nightly" in first
    assert (
        "No worker of the pool own is online. Start one: prefect worker start --pool own" in first
    )
    assert "Nothing changed." in call()
    assert "parameters.lag_days: 1 -> 2" in call("--lag-days", "2")
    document = json.loads(call("--lag-days", "2", "--json"))
    assert {change["action"] for change in document["changes"]} == {"unchanged"}

    details = request(api_url, "GET", "/deployments/name/nightly/real-nightly")
    assert details["parameters"]["job"] == str(tmp_path / "real.yaml")
    assert details["concurrency_options"]["collision_strategy"] == "ENQUEUE"


@pytest.mark.slow
def test_prefect_deploy_makes_the_same_of_the_file_of_a_project(
    api_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    write_job(tmp_path / "jobs", "real.yaml")
    text = prefect_text("real").replace("name: local", "name: own")
    (tmp_path / "prefect.yaml").write_text(text)

    def deploy_job() -> str:
        line = ["deploy", "jobs/real.yaml", "--cron", "0 3 * * *", "--pool", "own", "--no-check"]
        with temporary_settings({PREFECT_API_URL: api_url}):
            assert not build_app()(line, standalone_mode=False)
        return capsys.readouterr().out

    def on_server(kind: str, flow: str) -> dict[str, Any]:
        details: dict[str, Any] = request(api_url, "GET", f"/deployments/name/{flow}/real-{kind}")
        for schedule in details["schedules"]:
            for key in ("id", "created", "updated"):
                del schedule[key]
        return {key: value for key, value in details.items() if key not in PASSING}

    deploy_job()
    kinds = {"nightly": "nightly", "backfill": "backfill", "partition": PARTITION}
    before = {kind: on_server(kind, flow) for kind, flow in kinds.items()}

    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        env=os.environ | {"PREFECT_API_URL": api_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for kind, flow in kinds.items():
        assert differences(before[kind], on_server(kind, flow)) == [], kind
    assert "Nothing changed." in deploy_job()


def test_the_shipped_file_for_prefect_deploy_has_every_kind_of_deployment() -> None:
    job = replace(
        JOB,
        name="flight_delay",
        has_labels=True,
        has_alias=True,
        follows_alias=True,
        wants_approval=True,
    )
    wanted = {one.name: one.fields for one in deployments_of(job, NIGHTS, "local")}
    file = yaml.safe_load((nightscore.deploy.FOLDER / "prefect.yaml").read_text())
    shipped = {one["name"]: one for one in file["deployments"]}

    assert {*shipped} == {*wanted}
    for name, fields in wanted.items():
        one = shipped[name]
        for key in ("description", "tags", "entrypoint", "enforce_parameter_schema"):
            assert one[key] == fields[key], (name, key)
        assert one["work_pool"]["work_queue_name"] == fields["work_queue_name"], name
        limit = {"limit": 1, "collision_strategy": "ENQUEUE"}
        is_single = fields.get("concurrency_limit") == 1
        assert one.get("concurrency_limit") == (limit if is_single else None), name
