"""The flows of releases in this process, on a real Prefect server."""

import warnings
from pathlib import Path
from typing import Any

import pytest

from nightscore.inputs.jobfile import load_job
from nightscore.operations.releases.queries import read_releases
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.release_entry import ChangeRecord, EvidenceRecord, ModelDiffRecord
from tests.support.lake import Lake
from tests.support.releases import DAYS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nightscore.flows.prefect_api import PrefectApi
    from nightscore.flows.releases.decide import decide
    from nightscore.flows.releases.demote import demote
    from nightscore.flows.releases.promote import promote
    from nightscore.flows.ui.markdown import prose
    from nightscore.flows.ui.release_page import ReleasePage, release_markdown
    from nightscore.monitoring.decisions.wording import describe_standing
    from tests.support.flow_runs import finish, newest_artifact

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("flows_use_server"),
]


@pytest.fixture
def job_file(aliased_job: Path) -> str:
    return str(aliased_job)


def newest_page() -> Any:
    return newest_artifact("test-release")


def told(job_file: str) -> list[tuple[str, str, str]]:
    releases = read_releases(load_job(job_file)).releases
    return [(one.entry.kind, one.entry.after.version, one.entry.by) for one in releases]


def test_a_version_is_looked_at_promoted_and_demoted_from_forms(job_file: str, lake: Lake) -> None:
    lake.run(load_job(job_file), DAYS[0])
    state = finish(promote, job_file, dry_run=True)
    assert state.is_completed()
    assert "must not go live yet: 1 reason. Nothing was changed." in state.message
    page = newest_page()
    assert page.description == state.message
    assert "## hgb_binary@champion: version 1 → version 2\n" in page.data
    for text in (
        "### What keeps it from going live\n\n- evidence: nothing shows that it is better",
        "### Nothing shows by labels that it is better",
        "### Baselines",
        "| version 2 | none is logged |",
        "### What a run of it needs",
        "| partition | ok | 2024-02-29: 40 rows in 1 file |",
        "### What differs between the two",
    ):
        assert text in page.data
    assert told(job_file) == []

    state = finish(promote, job_file, version="2")
    assert state.is_failed()
    assert "add --without-labels" in state.message
    assert "must not go live yet" in newest_page().description
    assert told(job_file) == []

    state = finish(promote, job_file, "2", note="on June", without_labels=True)
    assert state.message == "Version 2 is live: hgb_binary@champion means it."
    run_id = str(state.state_details.flow_run_id)
    assert told(job_file) == [("promoted", "2", f"flow run {run_id}")]
    page = newest_page()
    assert (page.description, str(page.flow_run_id)) == (state.message, run_id)
    assert "- note: on June\n- moves: test\n" in page.data
    assert "What keeps it from going live" not in page.data
    assert "is live already" in finish(promote, job_file).message

    lake.run(load_job(job_file), DAYS[0])
    lake.run(load_job(job_file), DAYS[1])
    state = finish(demote, job_file, note="worse", with_predictions=True)
    assert state.is_failed(), "one day was published by no other version"
    told_first = "Version 1 is live again. 1 partition put back, 0 failed, 1 left. Readers still"
    assert state.message.startswith(told_first)
    assert f"--from {DAYS[1]} --to {DAYS[1]} --mode stale` scores them" in state.message
    assert told(job_file)[1][:2] == ("demoted", "1")
    page = newest_page()
    assert "version 2 → version 1" in page.data
    assert f"| {DAYS[0]} | run " in page.data
    assert f"| {DAYS[1]} | left as it is, since " in page.data
    assert finish(demote, job_file).message == "Version 1 was live already."


def test_who_asked_is_named_where_prefect_knows_users(
    job_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect's own server has no users; its cloud tells who has started a run."""
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import CreatedBy

    real = PrefectClient.read_flow_run

    async def known(client: PrefectClient, flow_run_id: Any) -> Any:
        run = await real(client, flow_run_id)
        return run.model_copy(update={"created_by": CreatedBy(type="USER", display_value="anna")})

    monkeypatch.setattr(PrefectClient, "read_flow_run", known)
    state = finish(promote, job_file, without_labels=True)
    run_id = state.state_details.flow_run_id
    assert told(job_file) == [("promoted", "2", f"anna, flow run {run_id}")]


def test_a_version_is_proposed_and_decided_on_from_forms(
    job_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    real = PrefectApi.send

    def send(api: PrefectApi, method: str, path: str, body: Any) -> Any:
        sent.extend(body if path == "/events" else [])
        return real(api, method, path, body)

    monkeypatch.setattr(PrefectApi, "send", send)
    path = Path(job_file)
    path.write_text(path.read_text().replace("release: null", "release: {approval: required}"))
    state = finish(promote, job_file, without_labels=True)
    assert state.is_completed()
    assert state.message.startswith("Version 2 waits for a decision of somebody else: ")
    assert "by the form `decide-release/test-decide`. Version 2 is proposed by" in state.message
    assert told(job_file) == []
    page = newest_page()
    assert "version 1 → version 2" in page.data
    assert "### What a run of it needs" in page.data, "the evidence is beside"
    (document,) = sent
    assert document["event"] == "nightscore.release.proposed"
    assert document["payload"]["form"] == "decide-release/test-decide"

    state = finish(decide, job_file, "reject", "2", note="not before the holidays")
    assert state.message == "Version 2 is rejected: nothing has moved."
    assert "- decided: rejected by flow run " in newest_page().data
    wrong = finish(decide, job_file, "approve", "2")
    assert "does not wait for a decision" in wrong.message

    finish(promote, job_file, without_labels=True)
    state = finish(decide, job_file, "approve", "2", note="looks right")
    assert state.message == "Version 2 is live: hgb_binary@champion means it."
    run_id = state.state_details.flow_run_id
    assert f"- decided: approved by flow run {run_id}: looks right" in newest_page().data
    assert [kind for kind, *_ in told(job_file)] == ["rejected", "promoted"]
    assert "is live already" in finish(decide, job_file, "approve", "2").message


def test_the_page_shows_where_the_decision_stands() -> None:
    comparison = ComparisonRecord(
        champion="7", challenger="8", verdict="undecided", by="labels", nights=11, more_nights=9
    )
    page = ReleasePage(
        job="late_flights",
        alias="a_b@champion",
        before="7",
        after="8",
        by="anna",
        note="<b>",
        problems=["evidence: nothing shows it; add --without-labels"],
        evidence=EvidenceRecord(
            comparison=comparison,
            no_comparison=(describe_standing(comparison), "no labels"),
            without_labels=True,
        ),
        compare_url="http://pages/late-flights/-/compare",
        diff=ModelDiffRecord(
            before="models:/a/7",
            after="models:/a/8",
            changes={"features": (ChangeRecord(what="dep|delay", before="long"),)},
            same=("size",),
        ),
    )
    rows_put_back = [("2026-11-24", "run 1 is seen again")]
    text = release_markdown(page, "Version <8> is live: `nightscore demote a`.", rows_put_back)
    assert r"**Version \<8\> is live: `nightscore demote a`.**" in text
    assert "### Both on the same rows\n\n- " in text
    assert "undecided after 11 nights, about 9 more" in text
    assert "The artifact `late-flights-challengers` of a partition's run" in text
    assert "`nightscore compare late_flights` show how predictions differ. **[Open the page" in text
    assert text.count("undecided after 11 nights") == 1
    assert "`--without-labels` is the switch `without_labels`." in text
    assert r"- note: \<b\>" in text
    assert r"| features | dep\|delay | long | none |" in text
    assert "| 2026-11-24 | run 1 is seen again |" in text
    assert "The same: size." in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("give `nightscore demote a`\nagain", "give `nightscore demote a` again"),
        ("a `|` and <b>", r"a \| and \<b\>"),
        ("an odd ` and <b>", r"an odd \` and \<b\>"),
        ("x ``y` <b> `", r"x \`\`y\` \<b\> \`"),
    ],
)
def test_commands_are_shown_as_code_and_nothing_else_is_taken_for_markdown(
    text: str, shown: str
) -> None:
    assert prose(text) == shown
