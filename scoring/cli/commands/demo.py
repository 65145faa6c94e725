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
from nightscore.cli.show import counted, err, out, print_json, print_table
from nightscore.cli.summary import print_manifest
from nightscore.flows.demo.calendar import today_at
from nightscore.flows.demo.requirements import check_installed
from nightscore.flows.demo.sample import DEFAULT_ROOT, Sample
from nightscore.flows.prefect_server import prefect_server
from nightscore.inputs.jobfile import load_job
from nightscore.models.cache import ModelCache
from nightscore.monitoring.performance.estimates.wording import metric_of, show_band, show_number
from nightscore.monitoring.performance.track_record import (
    PartitionPerformance,
    is_within,
    show_record,
)
from nightscore.operations.history import run_history
from nightscore.operations.performance import estimate_performance
from nightscore.schemas.manifest import Manifest

SAMPLE = Sample(DEFAULT_ROOT)
JOB_FILE = DEFAULT_ROOT / "flight_delay.yaml"
TODAY = today_at(datetime.now(UTC))
DAY = TODAY - timedelta(days=15)
FORTNIGHT = [DAY + timedelta(days=1 + i) for i in range(14)]
METRIC = "roc_auc"
WHY_ESTIMATES_ERR = """\
An estimate takes a score to mean what it meant on the held-out days of January to March. In
another season other things delay flights (concept drift), and those of one day share its weather,
which the band does not count. No estimate can know that: only labels show it."""
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
        SAMPLE.write_job(JOB_FILE, SAMPLE.registry, SAMPLE.lake)
        say("Waiting for the demo's own Prefect server")
        server.wait()
        _score_day(say, result)
        _score_fortnight(say, result)
        _evaluate(say, result)

    manifests = _published()
    if as_json:
        print_json([json.loads(manifest.model_dump_json()) for manifest in manifests])
        return

    _summarize(manifests)
    _show_performance()
    _show_next_steps()
    seconds = time.perf_counter() - started
    say(f"Done in {seconds:.0f} s. The Prefect server is stopped; nothing is left running.")


def _score_day(say: Tell, result: Tell) -> None:
    from nightscore.flows.nightly import nightly

    say(f"Scoring {DAY} through the Prefect flow `nightly`")
    _wait_for(nightly(str(JOB_FILE), date=DAY, return_state=True), result)


def _score_fortnight(say: Tell, result: Tell) -> None:
    from nightscore.flows.backfill import backfill
    from nightscore.flows.parameters import Mode

    # Stale: an older version of the demo has scored them with a model of its own.
    modes = [Mode.MISSING, Mode.FAILED, Mode.STALE]
    say(f"Scoring {FORTNIGHT[0]} to {FORTNIGHT[-1]} through the Prefect flow `backfill`")
    days = FORTNIGHT[0], FORTNIGHT[-1]
    _wait_for(backfill(str(JOB_FILE), *days, mode=modes, return_state=True), result)


def _evaluate(say: Tell, result: Tell) -> None:
    from nightscore.flows.evaluate import evaluate

    say("Labels have come: comparing predictions with them through the Prefect flow `evaluate`")
    _wait_for(evaluate(str(JOB_FILE), DAY, FORTNIGHT[-1], return_state=True), result)


def _wait_for(flow_run: Any, result: Tell) -> None:
    """Run a flow and print its state; exit if it failed."""

    async def final_state() -> Any:
        return await flow_run

    state = asyncio.run(final_state())
    result(f"{state.name}: {state.message}")
    if not state.is_completed():
        raise typer.Exit(1)


def _published() -> list[Manifest]:
    """The newest published run of each of the demo's days, newest first."""
    days = {*map(str, (DAY, *FORTNIGHT))}
    newest: dict[str, Manifest] = {}

    for manifest in run_history(load_job(str(JOB_FILE))):
        if manifest.status == "published" and manifest.partition in days:
            newest.setdefault(manifest.partition, manifest)

    return [*newest.values()]


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


def _show_performance() -> None:
    """Estimated AUC beside what came true, day by day, and what the difference says."""
    days = [*map(str, (DAY, *FORTNIGHT))]
    found = estimate_performance(load_job(str(JOB_FILE)), days, ModelCache(SAMPLE.cache))

    out.print("")
    print_table(
        "Is the model still right? The AUC of each day, estimated at once and as it came true:",
        ("partition", "estimated", "95 % band", "came true", "within the band"),
        [*map(_auc_row, found.partitions)],
    )

    for record in found.track_records:
        if record.metric == METRIC:
            out.print(show_record(record))
            if record.n_within < record.n_partitions:
                out.print_lines(WHY_ESTIMATES_ERR)


def _auc_row(partition: PartitionPerformance) -> dict[str, str]:
    row = dict.fromkeys(("estimated", "95 % band", "came true", "within the band"), "")
    row["partition"] = partition.partition

    estimated = metric_of(partition.estimated, METRIC)
    if estimated:
        row["estimated"] = show_number(estimated.value)
        row["95 % band"] = show_band(estimated)

    realised = metric_of(partition.realised, METRIC)
    if realised:
        row["came true"] = show_number(realised.value)

    if estimated and realised and realised.value is not None:
        row["within the band"] = "yes" if is_within(estimated, realised.value) else "no"
    return row


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
    out.print(f"  {program()} performance {JOB_FILE} --from {DAY} -o performance.html")
