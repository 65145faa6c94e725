"""`nightscore demo`: from public data to published predictions, through Prefect."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import typer

from nightscore.cli.commands.up import program, short
from nightscore.cli.show import counted, err, out, print_json
from nightscore.cli.summary import print_manifest
from nightscore.flows.demo.calendar import today_at
from nightscore.flows.demo.requirements import check_installed
from nightscore.flows.demo.sample import DEFAULT_ROOT, Sample
from nightscore.flows.prefect_server import prefect_server
from nightscore.inputs.jobfile import load_job
from nightscore.operations.history import run_history
from nightscore.schemas.manifest import Manifest

SAMPLE = Sample(DEFAULT_ROOT)
JOB_FILE = DEFAULT_ROOT / "flight_delay.yaml"
TODAY = today_at(datetime.now(UTC))
DAY = TODAY - timedelta(days=15)
FORTNIGHT = [DAY + timedelta(days=1 + i) for i in range(14)]
Tell = Callable[[str], None]


def demo(as_json: bool) -> None:
    """Run the demo. The second time it finds everything done, and says so."""
    check_installed()

    started = time.perf_counter()
    os.environ["NIGHTSCORE_CACHE"] = str(SAMPLE.cache)
    console = err if as_json else out

    def say(text: str) -> None:
        console.print_lines(f"\n{text}")

    def result(text: str) -> None:
        console.print(f"  {text}")

    with prefect_server(DEFAULT_ROOT / "prefect") as server:
        os.environ.update(server.environment | {"PREFECT_LOGGING_LEVEL": "WARNING"})
        SAMPLE.prepare(TODAY, say, result)
        SAMPLE.write_job(JOB_FILE, SAMPLE.registry, str(SAMPLE.features), str(SAMPLE.predictions))
        say("Waiting for the demo's own Prefect server")
        server.wait()
        _score_day(say, result)
        _score_fortnight(say, result)

    manifests = _published()
    if as_json:
        print_json([json.loads(manifest.model_dump_json()) for manifest in manifests])
        return

    _summarize(manifests)
    _show_next_steps()
    seconds = time.perf_counter() - started
    say(f"Done in {seconds:.0f} s. The Prefect server is stopped; nothing is left running.")


def _score_day(say: Tell, result: Tell) -> None:
    from nightscore.flows.nightly import nightly

    say(f"Scoring {DAY} through the Prefect flow `nightly`")
    _wait_for(nightly(str(JOB_FILE), date=DAY, return_state=True), result)


def _score_fortnight(say: Tell, result: Tell) -> None:
    from nightscore.flows.backfill import backfill

    say(f"Scoring {FORTNIGHT[0]} to {FORTNIGHT[-1]} through the Prefect flow `backfill`")
    _wait_for(backfill(str(JOB_FILE), FORTNIGHT[0], FORTNIGHT[-1], return_state=True), result)


def _wait_for(flow_run: Any, result: Tell) -> None:
    """Run a flow and print its state; exit if it failed."""

    async def final_state() -> Any:
        return await flow_run

    state = asyncio.run(final_state())
    result(f"{state.name}: {state.message}")
    if not state.is_completed():
        raise typer.Exit(1)


def _published() -> list[Manifest]:
    """The published runs of the demo's days, newest first."""
    days = {str(day) for day in (DAY, *FORTNIGHT)}
    history = run_history(load_job(str(JOB_FILE)))
    return [m for m in history if m.status == "published" and m.partition in days]


def _summarize(manifests: Sequence[Manifest]) -> None:
    n_read = sum(manifest.counts.rows_in for manifest in manifests)
    n_scored = sum(manifest.counts.rows_scored for manifest in manifests)
    n_quarantined = sum(manifest.counts.rows_quarantined for manifest in manifests)
    out.print_lines(
        f"\n{counted(len(manifests), 'partition')}: {n_read:,} rows read, {n_scored:,} scored, "
        f"{n_quarantined:,} quarantined. The first:"
    )

    print_manifest(manifests[-1], load_job(str(JOB_FILE)))

    fastest = max(manifests, key=lambda manifest: manifest.measures.rows_per_s)
    rows_per_s = fastest.measures.rows_per_s
    out.print(f"  fastest:     {fastest.partition}, {rows_per_s:,.0f} rows/s with warm workers")


def _show_next_steps() -> None:
    python, table = short(sys.executable), SAMPLE.predictions

    # fmt: off
    out.print_lines("\nRead the predictions with Polars, DuckDB or pandas:")
    out.print(f"""  {python} -c 'import polars as pl; print(pl.read_delta("{table}").tail())'""")
    out.print(
        f"""  {python} -c 'import duckdb, deltalake; flights = deltalake.DeltaTable("{table}")"""
        """.to_pyarrow_dataset(); duckdb.sql("select ds, count(*) flights, """
        """avg(probability) late from flights group by ds order by ds").show()'"""
    )

    out.print(
        f"""  {python} -c 'import deltalake; """
        f"""print(deltalake.DeltaTable("{table}").to_pandas().describe())'"""
    )
    # fmt: on

    out.print_lines("\nAsk what happened, or score another day:")
    out.print(f"  {program()} partitions {JOB_FILE} --from {DAY} --to {FORTNIGHT[-1]}")
    out.print(f"  {program()} run {JOB_FILE} {DAY - timedelta(days=1)}")
