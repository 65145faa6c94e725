"""Two versions that score the same rows are compared, and the counts of days are added up."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml

from nightscore.cli.app import build_app
from nightscore.errors import InvalidJobError, PartitionNotFoundError
from nightscore.flows.ui.artifacts import challengers_headline, state_message
from nightscore.flows.ui.difference_page import difference_markdown
from nightscore.ledger.layout import difference_path, difference_table_path
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.differences.difference_table import SCHEMA
from nightscore.monitoring.differences.wording import describe_difference, show_key
from nightscore.operations.clean import clean
from nightscore.operations.compare_page import read_compare_page
from nightscore.operations.compare_versions import Selection, compare_versions
from nightscore.operations.history import run_history
from nightscore.operations.report import draw_report, read_report
from nightscore.profiles.differences.difference_spec import DifferenceSpec
from nightscore.profiles.differences.group_counts import GroupColumn
from nightscore.profiles.differences.score_grid import ScoreGrid
from nightscore.profiles.differences.stored_counts import to_file
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.partition import encode_folder, show_value
from tests.operations.releases.conftest import DAYS, Lab, lab
from tests.profiles.differences.compared import CARRIER, binary_spec, count_rows, make_rows
from tests.reports.test_page import get, served

__all__ = ["lab"]
SHADOW: dict[str, Any] = {"release": {"challenger": "models:/delay/2"}}
ALL = Selection()


@pytest.fixture
def compared(lab: Lab) -> Lab:
    """A lab whose days both versions have scored."""
    lab.changes = SHADOW
    for number, day in enumerate(DAYS):
        frame = pd.DataFrame({"id": range(4), "a": [1.0, 2.0, 3.0, 4.0 + number], "b": [0.5] * 4})
        lab.lake.write(day, frame)
        manifest = lab.lake.run(lab.job, day, force=True)
        assert [one.status for one in manifest.challengers] == ["published"], manifest.warnings
    return lab


def predictions(lab: Lab, day: str) -> tuple[pd.Series, pd.Series]:
    own = challenger_jobs(lab.job)["2"]
    table = pd.read_parquet(f"{own.output.uri}/ds={day}")
    return table["champion_prediction"], table["prediction"]


def test_the_difference_is_that_of_the_challenger_s_table(compared: Lab) -> None:
    (found,) = compare_versions(compared.job, None, ALL)
    assert (found.label, found.champion, found.challenger) == ("2", "1", "2")

    both = [predictions(compared, day) for day in DAYS]
    deltas = pd.concat([challenger - champion for champion, challenger in both])

    assert found.difference is not None
    delta = found.difference.delta
    assert delta is not None
    assert (found.difference.n, found.difference.score) == (8, "prediction")
    assert delta.mean == pytest.approx(deltas.mean())
    assert (delta.least, delta.greatest) == (deltas.min(), deltas.max())
    assert delta.greatest > 0

    assert [one.partition for one in found.partitions] == list(reversed(DAYS)), "worst first"
    assert show_key(found.difference.keys[0]) == f"ds={DAYS[1]}, id=3"
    assert found.difference.challenger_cpu_s is not None
    assert any("on average" in sentence for sentence in describe_difference(found.difference))


def test_the_champion_s_manifest_has_the_difference(compared: Lab) -> None:
    (found,) = compare_versions(compared.job, "2", Selection(first=DAYS[1]))
    (manifest, *_) = run_history(compared.job)
    assert manifest.partition == DAYS[1]
    (record,) = manifest.challengers
    assert record.difference == found.difference


def test_one_run_is_compared_by_its_id(compared: Lab) -> None:
    (whole,) = compare_versions(compared.job, None, ALL)
    one = whole.partitions[0]

    (found,) = compare_versions(compared.job, None, Selection(run_id=one.run_id))
    assert found.difference == one.difference

    with pytest.raises(PartitionNotFoundError, match="No challenger has a run"):
        compare_versions(compared.job, None, Selection(run_id="0"))


def test_days_without_counts_are_left_out_and_named(compared: Lab) -> None:
    (whole,) = compare_versions(compared.job, None, ALL)
    own = Workspace(challenger_jobs(compared.job)["2"])
    paths = {}
    for one in whole.partitions:
        paths[one.partition] = difference_path(encode_folder("ds", one.partition), one.run_id)

    own.state.delete([paths[DAYS[0]]])
    (found,) = compare_versions(compared.job, None, ALL)
    assert [one.partition for one in found.partitions] == [DAYS[1]]
    assert DAYS[0] in found.notes[0]

    own.state.delete([paths[DAYS[1]]])
    own.state.write_bytes(paths[DAYS[1]], b"no counts")
    (found,) = compare_versions(compared.job, None, ALL)
    assert found.difference is None
    assert "cannot be read" in found.notes[0]


def test_bins_that_have_changed_are_said_not_to_be_added_up(compared: Lab) -> None:
    own = Workspace(challenger_jobs(compared.job)["2"])
    (before,) = compare_versions(compared.job, None, ALL)
    runs = {one.partition: one.run_id for one in before.partitions}

    later = binary_spec()
    edges = GroupColumn("feature", "dep_delay", edges=(0.0, 30.0))
    grid = ScoreGrid.from_edges(np.array([0.25, 0.5, 0.75]))
    earlier = replace(later, columns=(edges, CARRIER), challenger_grid=grid)

    for day, spec in zip(DAYS, (earlier, later), strict=True):
        path = difference_path(encode_folder("ds", day), runs[day])
        own.state.write_bytes(path, to_file(count_rows(make_rows(200, seed=1), spec)))

    (found,) = compare_versions(compared.job, None, ALL)
    groups, scores = found.notes
    assert groups.startswith("the groups of dep_delay are not added up"), "carrier's are"
    assert all(f"`--from {DAYS[1]}` compares by them" in note for note in found.notes)
    assert "bins of probability are those of" in scores

    page = read_compare_page(compared.job, [found])
    assert "the groups of dep_delay are not added up" in page
    (since,) = compare_versions(compared.job, None, Selection(first=DAYS[1]))
    assert since.notes == ()


@pytest.mark.parametrize("is_newest", [True, False])
def test_thresholds_and_bins_that_only_some_days_have_are_noted(
    compared: Lab, is_newest: bool
) -> None:
    own = Workspace(challenger_jobs(compared.job)["2"])
    (before,) = compare_versions(compared.job, None, ALL)
    runs = {one.partition: one.run_id for one in before.partitions}

    def compare_specs(earlier: DifferenceSpec, later: DifferenceSpec) -> tuple[str, ...]:
        for day, spec in zip(DAYS, (earlier, later), strict=True):
            path = difference_path(encode_folder("ds", day), runs[day])
            own.state.write_bytes(path, to_file(count_rows(make_rows(200, seed=1), spec)))
        return compare_versions(compared.job, None, ALL)[0].notes

    spec = binary_spec()
    without_bins = replace(spec, challenger_grid=None)
    specs = (spec, without_bins) if is_newest else (without_bins, spec)
    (note,) = compare_specs(*specs)
    assert note.startswith("rows by both scores are not added up")
    assert (f"{DAYS[1]} has no bins" in note) == is_newest

    (note,) = compare_specs(replace(spec, threshold=0.3), spec)
    assert note == (
        f"{DAYS[0]} is left out: another score, threshold or key was compared then; "
        f"`--from {DAYS[0]} --to {DAYS[0]}` compares by it"
    )


def test_the_tables_of_all_runs_give_the_series_of_each_figure(compared: Lab) -> None:
    (found,) = compare_versions(compared.job, None, ALL)
    challengers = f"{compared.job.output.uri}.challengers"
    table = pl.read_parquet(f"{challengers}/*.nightscore/differences/**/*.parquet")
    assert table.columns == SCHEMA.names

    means = table.filter(metric="mean", column="").sort("partition")
    expected = {one.partition: one.difference.delta for one in found.partitions}
    assert means["partition"].to_list() == list(DAYS)
    assert means["value"].to_list() == [
        delta.mean for _, delta in sorted(expected.items()) if delta
    ]
    assert means["n"].to_list() == [4, 4]
    versions = means.select("challenger", "champion_version", "challenger_version")
    assert versions.unique().rows() == [("2", "1", "2")]

    live = pl.read_parquet(f"{challengers}/2/**/*.parquet")
    assert set(means["run_id"]) == set(live["run_id"])


def test_clean_keeps_the_counts_of_published_runs(compared: Lab) -> None:
    own = challenger_jobs(compared.job)["2"]
    state = Workspace(own).state
    kept = [entry.path for entry in state.list_files("differences")]
    assert len(kept) == 2 * len(DAYS), "counts and tables"

    run = ("ds=2024-02-28", "0193a000-0000-7000-8000-000000000000")
    lost = [difference_path(*run), difference_table_path(*run)]
    for path in lost:
        state.write_bytes(path, b"of a run without a record")
    later = datetime.now(UTC) + timedelta(days=2)
    removed = clean(own, later, timedelta(days=1), delete=True)

    assert sorted(entry.path for entry in state.list_files("differences")) == sorted(kept)
    assert all(path in str(removed) for path in lost)


def test_a_job_without_a_challenger_says_what_to_do(lab: Lab) -> None:
    with pytest.raises(InvalidJobError, match="has no challenger"):
        compare_versions(lab.job, None, ALL)

    lab.changes = SHADOW
    with pytest.raises(InvalidJobError, match="of this name"):
        compare_versions(lab.job, "3", ALL)
    (found,) = compare_versions(lab.job, None, ALL)
    assert found.difference is None
    assert found.notes == ("no run of the challenger is published in these partitions",)


def test_page_report_and_artifact_show_the_difference(compared: Lab) -> None:
    found = compare_versions(compared.job, None, ALL)
    page = read_compare_page(compared.job, found)
    assert "Challenger 2 against 1, 2 partitions" in page
    assert "Challenger 2 against 1: nothing compares them yet" in page
    assert page.count("<svg") == 2, "the differences, and over time"
    assert "id=3" in page

    (manifest, *_) = run_history(compared.job)
    report = read_report(compared.job, manifest, compared.lake.cache)
    assert "<h2>Challengers</h2>" in report
    assert report.count("Challenger 2 against 1: nothing compares them yet.") == 1
    assert "on average" in report

    drawn = draw_report(compared.job, manifest, compared.lake.cache)
    assert drawn.challengers["2"].startswith(b"\x89PNG")
    url = "http://pages/test/-/compare"
    markdown = difference_markdown(manifest, drawn.challengers, url)
    assert f"({url})**" in markdown
    day = show_value(manifest.partition)
    assert challengers_headline(manifest).startswith(f"{day}, 2 against 1: ")
    assert "; delay v2 in its shadow" in state_message(manifest, compared.job)
    assert "version 2 against 1" in markdown
    assert "data:image/png;base64," in markdown
    assert "| id=3 |" in markdown
    assert len(markdown) < 100_000, "the server lists artifacts with their data"

    assert difference_markdown(manifest.model_copy(update={"challengers": ()}), {}) == ""


def test_the_pages_serve_challengers(compared: Lab, tmp_path: Path) -> None:
    with served(compared.job, compared.lake, tmp_path) as base:
        _, index, _ = get(f"{base}/test")
        assert 'href="/test/-/compare"' in index
        status, page, _ = get(f"{base}/test/-/compare")
    assert status == 200
    assert "Challenger 2 against 1" in page


def test_the_pages_serve_the_reports_of_a_challenger(compared: Lab, tmp_path: Path) -> None:
    with served(compared.job, compared.lake, tmp_path) as base:
        _, index, _ = get(f"{base}/test")
        (address,) = re.findall(r'href="([^"]*)">reports of test@2<', index)
        _, own, _ = get(base + address)
        first_report = re.findall(r'<li><a href="([^"]*)"', own)[0]
        status, report, _ = get(base + first_report)
        missing, reason, _ = get(f"{base}/test@9")

    assert status == 200
    assert "delay version 2" in report
    assert (missing, "test has no challenger 9, but: 2" in reason) == (404, True)


def test_the_command_prints_and_draws(
    compared: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "delay.yaml"
    job.write_text(yaml.safe_dump(compared.job.model_dump(mode="json")))
    page = tmp_path / "compare.html"

    def call(*arguments: str) -> str:
        assert not build_app()(["compare", str(job), *arguments], standalone_mode=False)
        return capsys.readouterr().out

    printed = call("2", "-o", str(page))
    assert "Challenger 2 against 1, 2 partitions" in printed
    assert "The rows that differ most" in printed
    assert "<svg" in page.read_text()

    document = json.loads(call("--from", DAYS[1], "--json"))
    (challenger,) = document["challengers"]
    assert [one["partition"] for one in challenger["partitions"]] == [DAYS[1]]
    assert challenger["difference"]["n"] == 4
