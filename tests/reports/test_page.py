"""The page of a run: complete in itself, readable by everybody, served from any store."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
import yaml

from nightscore.flows.stack.http_calls import answers
from nightscore.flows.stack.settings import free_ports
from nightscore.flows.ui.markdown import escaped
from nightscore.ledger.layout import state_store
from nightscore.operations.baseline import record_baseline
from nightscore.operations.column_history import column_series
from nightscore.operations.report import (
    draw_report,
    read_report,
    report_link,
    reported_run,
    write_report,
)
from nightscore.operations.report_sources import past_of
from nightscore.operations.rollback import plan_rollback, roll_back
from nightscore.operations.serve_reports import report_pages
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from tests.cli.test_commands import answer, nightscore, save
from tests.support.browser import needs_browser, open_browser
from tests.support.lake import Lake
from tests.support.models import NUMBERS, copy_registry, make_frame

DAYS = ("2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04")
ODD = 'a<b>&"$x$'
"""A name that is neither HTML nor mathematics."""


def wide_frame(n_rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Rows of the model's columns with an odd name, dates, text and lists passed through."""
    frame = make_frame(n_rows, seed=seed)
    random = np.random.default_rng(seed)
    frame["a"] += shift
    frame[ODD] = random.choice(
        ["<script>alert(1)</script>", "$\\frac{1}{2}$", "ä\x1b[2J\u202e"], n_rows
    )
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        random.integers(0, 60, n_rows), unit="D"
    )
    frame["tags"] = [[1] * int(n) for n in random.integers(0, 4, n_rows)]
    return frame


@pytest.fixture
def job(lake: Lake, registry_root: Path, tmp_path: Path) -> ScoringJob:
    lake.registry = copy_registry(registry_root, tmp_path / "registry")
    kept = [ODD, "day", "color"]
    scoring_job = lake.job(pass_through=kept, drift={"columns": kept, "segments": ["color"]})
    path = Path(lake.root) / "training.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    wide_frame(8_000, 1).drop(columns="tags").to_parquet(path)
    record_baseline(scoring_job, str(path), lake.pool, lake.cache)
    return scoring_job


@pytest.fixture
def nights(lake: Lake, job: ScoringJob) -> list[Manifest]:
    """Four days, of which the last has drifted."""
    for seed, day in enumerate(DAYS):
        frame = wide_frame(1_500, 10 + seed, shift=2.0 if day == DAYS[-1] else 0.0).drop(
            columns="tags"
        )
        lake.write(day, frame)
    manifests = [lake.run(job, day) for day in DAYS]
    assert [m.status for m in manifests] == ["published"] * len(DAYS), [m.error for m in manifests]
    return manifests


@contextmanager
def served(job: ScoringJob, lake: Lake, folder: Path) -> Iterator[str]:
    """`nightscore pages`, in a thread of this process."""
    (folder / "test.yaml").write_text(yaml.safe_dump(job.model_dump(mode="json")))
    (port,) = free_ports(1)
    server = uvicorn.Server(
        uvicorn.Config(report_pages([folder], lake.cache), port=port, log_level="error")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def get(url: str) -> tuple[int, str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answered:
            return answered.status, answered.read().decode(), answered.headers
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode(), refused.headers


def test_the_page_says_what_moved_and_what_to_do(
    lake: Lake, job: ScoringJob, nights: list[Manifest]
) -> None:
    html = read_report(job, nights[-1], lake.cache)
    text = re.sub(r"<[^>]+>", " ", html)
    assert re.search(
        r"Check before you use the predictions: \d of 10 columns moved, above all a\.", text
    )
    assert "There are no earlier results of this partition to go back to" in text
    assert "rollback" not in text, "it would be refused"
    assert len(html.encode()) < 400_000
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert not {"\x1b", "\u202e"} & set(html), "the page's source drives no terminal"
    assert not re.search(r'(src|href)="(?!#|data:)', html), "nothing is loaded from elsewhere"
    for day in DAYS:
        assert day in text
    calm = read_report(job, nights[0], lake.cache)
    assert "No column moved beyond its usual variation" in calm
    assert state_store(job).list_files("reports"), "kept beside the records"


def test_a_page_is_drawn_once_and_again_after_a_decision(
    lake: Lake, job: ScoringJob, nights: list[Manifest]
) -> None:
    first = write_report(job, nights[-1], lake.cache)
    state = state_store(job)
    (entry,) = [e for e in state.list_files("reports") if nights[-1].run_id in e.path]
    state.write_bytes(entry.path, b"drawn before")
    assert read_report(job, nights[-1], lake.cache) == "drawn before"
    held = nights[-1].model_copy(update={"status": "held"})
    given = job.model_copy().remember("jobs/our own.yaml")
    assert write_report(given, held, lake.cache) != first
    page = unescape(read_report(given, held, lake.cache))
    assert f"nightscore approve 'jobs/our own.yaml' {DAYS[-1]}" in page, "it can be pasted"


def test_what_the_artifact_shows_of_it(lake: Lake, job: ScoringJob, nights: list[Manifest]) -> None:
    drawn = draw_report(job, nights[-1], lake.cache)
    assert drawn.sheet.startswith(b"\x89PNG")
    assert len(drawn.sheet) < 60_000
    line = drawn.sparklines["feature", "a"]
    assert len(line) == len(DAYS)
    assert line[-1] == "█"
    assert {past.partition for past in past_of(job, nights[-1])} == set(DAYS)


def check_drawn(html: str, job: ScoringJob) -> None:
    """Its title, what moved, and pictures of it."""
    assert f"<h1>{job.name}, {DAYS[-1]}</h1>" in html
    assert "columns moved, above all a." in re.sub(r"<[^>]+>", " ", html)
    assert "<svg" in html


def test_without_its_references_a_page_is_still_drawn(
    lake: Lake, job: ScoringJob, nights: list[Manifest]
) -> None:
    assert nights[-1].drift
    lost = nights[-1].drift.model_copy(
        update={"references": {"previous": "01a20b33-0000-7000-8000-000000000000"}}
    )
    html = read_report(job, nights[-1].model_copy(update={"drift": lost}), lake.cache)
    check_drawn(html, job)
    for past in nights[:-1]:
        assert past.drift
        state_store(job).delete([past.drift.table, past.drift.profile])
    state_store(job).delete([e.path for e in state_store(job).list_files("reports")])
    check_drawn(read_report(job, nights[-1], lake.cache), job)


def test_the_series_of_a_column(
    lake: Lake, job: ScoringJob, nights: list[Manifest], tmp_path: Path
) -> None:
    series = column_series(job, "a", 3)
    assert series
    assert [day.partition for day in series] == list(DAYS[1:])
    assert [day.severity for day in series][-1] == "critical"
    assert column_series(job, DAYS[0], 3) is None
    path = str(save(job, tmp_path))
    told = answer(lake, "history", path, "a", "--last", "2")
    assert [day["partition"] for day in told] == list(DAYS[2:])
    assert told[-1]["values"]["psi_adjusted"] > 0.25
    shown = nightscore(lake, "history", path, "a").stdout
    assert "PSI: population stability index (warning above 0.1, critical above 0.25)" in shown
    assert "█" in shown
    assert "seen now" in nightscore(lake, "history", path, DAYS[0]).stdout
    neither = nightscore(lake, "history", path, "probabilty")
    assert neither.returncode == 1
    assert "no profiled column or metric of this name" in neither.stderr
    assert "%" not in neither.stderr, "an example is a date, not a pattern"
    page = tmp_path / "page.html"
    done = nightscore(lake, "report", path, DAYS[-1], "-o", str(page))
    assert done.returncode == 0
    assert f"The page is in {page}" in done.stderr
    assert "<h1>" in page.read_text()


def test_pages_are_served_and_say_what_is_not_there(
    lake: Lake, job: ScoringJob, nights: list[Manifest], tmp_path: Path
) -> None:
    with served(job, lake, tmp_path) as url:
        index = get(url)[1]
        assert 'href="/test"' in index
        assert 'href="/test/-/performance"' in index
        assert f"{DAYS[-1]}: critical: a" in get(f"{url}/test")[1]
        for address in (f"{url}/test/{DAYS[-1]}", report_link(url, "test", nights[-1])):
            status, text, headers = get(address)
            assert status == 200
            assert "<h1>" in text
            assert headers["content-type"].startswith("text/html")
            assert "default-src 'none'" in headers["content-security-policy"]
        for path in (
            "/other",
            "/test/2024-01-01",
            f"/test/{DAYS[0]}/x",
            "/%2e%2e%2fetc/passwd",
            "/%3Cscript%3E",
        ):
            status, text, _ = get(url + path)
            assert status == 404, path
            assert "<script>" not in text
        assert nights[0].drift
        state_store(job).delete([nights[0].drift.profile])
        status, text, _ = get(f"{url}/test/{DAYS[0]}")
        assert status == 503
        assert "Traceback" not in text


def test_pages_on_s3(s3_lake: Lake, tmp_path: Path) -> None:
    job = s3_lake.job()
    s3_lake.write(DAYS[0], make_frame(500))
    s3_lake.write(DAYS[1], make_frame(500, seed=2))
    s3_lake.run(job, DAYS[0])
    manifest = s3_lake.run(job, DAYS[1])
    assert write_report(job, manifest, s3_lake.cache).startswith("s3://")
    assert "<h1>" in read_report(job, manifest, s3_lake.cache)


def test_odd_names_and_values_are_drawn_and_served(lake: Lake, tmp_path: Path) -> None:
    """Control characters in categories, and a partition whose value has a slash."""
    job = lake.job(pass_through=["odd"], drift={"columns": ["odd"]})
    for value, seed in (("a%2Fa", 1), ("a%2Fb", 2)):
        frame = make_frame(600, seed=seed)
        frame["odd"] = ["\x01\x1b", "\uffff", "x](http://evil)|<b>"] * 200
        lake.write(value, frame)
    lake.run(job, "a/a")
    manifest = lake.run(job, "a/b")
    assert manifest.status == "published", manifest.error
    assert "<h1>" in read_report(job, manifest, lake.cache)
    draw_report(job, manifest, lake.cache)
    with served(job, lake, tmp_path) as url:
        for address in (report_link(url, "test", manifest), f"{url}/test/a%2Fb"):
            status, text, _ = get(address)
            assert status == 200, text
            assert "a/b" in text
        assert get(f"{url}/test/a/b")[0] == 404, "a run b of a partition a"
    assert escaped("x](http://evil)|<b>\n`c`") == r"x\](http://evil)\|\<b\> \`c\`"


def test_after_a_rollback_the_report_is_of_what_readers_see(
    lake: Lake, job: ScoringJob, nights: list[Manifest]
) -> None:
    day = DAYS[-1]
    lake.write(day, wide_frame(1_500, 99).drop(columns="tags"))
    good = lake.run(job, day)
    assert good.status == "published"
    (item,) = plan_rollback(job, [day], run_id=nights[-1].run_id)
    assert item.target
    roll_back(job, day, item.target, item.live_run_id, datetime.now(UTC), lake.cache)
    assert reported_run(job, day).run_id == nights[-1].run_id
    lake.write("2024-03-05", wide_frame(1_500, 77).drop(columns="tags"))
    after = lake.run(job, "2024-03-05")
    assert after.drift
    assert after.drift.references["previous"] == nights[-1].run_id
    assert "a" in after.drift.resolved


def test_two_datasets_as_a_page(tmp_path: Path, lake: Lake) -> None:
    then, now = tmp_path / "then.parquet", tmp_path / "now.parquet"
    wide_frame(3_000, 1).to_parquet(then)
    wide_frame(3_000, 2, shift=1.0).rename(columns={"b": "bb"}).to_parquet(now)
    done = nightscore(lake, "drift", str(then), str(now), "--format", "html")
    assert done.returncode == 0, done.stderr
    assert "2 of 12 columns moved" in done.stdout, "the key, and a"
    assert "b is only in the reference" in done.stdout
    assert "&lt;script&gt;" in done.stdout
    assert "2024-01-" in done.stdout, "dates on the axis"
    report = json.loads(nightscore(lake, "drift", str(then), str(now), "--format", "json").stdout)
    assert {column["name"] for column in report["columns"]} >= {*NUMBERS[2:], "tags", "day", ODD}


@needs_browser
@pytest.mark.slow
def test_the_page_in_a_browser(
    lake: Lake,
    job: ScoringJob,
    nights: list[Manifest],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    with served(job, lake, tmp_path) as url, open_browser() as browser:
        for scheme, width in (("light", 1_180), ("dark", 390)):
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": 900}
            )
            page = context.new_page()
            said: list[str] = []
            asked: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda sent, asked=asked: asked.append(sent.url))
            page.goto(report_link(url, "test", nights[-1]))
            page.wait_for_load_state("networkidle")
            assert said == []
            assert asked == [report_link(url, "test", nights[-1])], "no request leaves the page"
            assert page.locator("h1").inner_text() == f"test, {DAYS[-1]}"
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), (
                "fits a phone"
            )
            unlabelled = page.evaluate(
                "[...document.querySelectorAll('figure[role=img]')].filter(f => !f.getAttribute('aria-label')).length"
            )
            assert unlabelled == 0
            ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
            assert len(ids) > len(NUMBERS)
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.className") == "skip"
            page.locator("summary").first.focus()
            page.keyboard.press("Enter")
            assert page.locator("details[open] table").first.is_visible()
            page.locator("#findings + .wide a").first.click()
            assert page.evaluate("document.querySelector(':target') !== null"), (
                "links lead to the columns"
            )
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (background == "rgb(255, 255, 255)") == (scheme == "light")
            path = tmp_path / f"{scheme}.png"
            page.screenshot(path=path, full_page=True)
            assert path.stat().st_size > 20_000
            context.close()


@pytest.mark.slow
def test_the_server_by_command(
    lake: Lake, job: ScoringJob, nights: list[Manifest], tmp_path: Path
) -> None:
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(job.model_dump(mode="json")))
    (port,) = free_ports(1)
    command: list[Any] = [sys.executable, "-m", "nightscore.cli", "pages", "--port", str(port)]
    environment = os.environ | {
        "NIGHTSCORE_JOBS": str(tmp_path),
        "NIGHTSCORE_CACHE": str(lake.cache.root),
    }
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert f"http://127.0.0.1:{port}" in server.stderr.readline()
            deadline = time.monotonic() + 60
            while not answers(f"http://127.0.0.1:{port}") and time.monotonic() < deadline:
                time.sleep(0.1)
            assert "<h1>" in get(f"http://127.0.0.1:{port}/test/{DAYS[-1]}")[1]
        finally:
            server.terminate()
            assert server.wait(20) is not None
