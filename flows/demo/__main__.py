"""`make demo`: from public data to published predictions, through Prefect, on this machine."""

import asyncio
import os
import sys
import time
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from nightscore.flows.demo.sample import DEFAULT_ROOT, Sample
from nightscore.flows.prefect_server import prefect_server

if TYPE_CHECKING:
    from nightscore.schemas.job import ScoringJob
    from nightscore.schemas.manifest import Manifest

SAMPLE = Sample(DEFAULT_ROOT)
JOB_FILE = DEFAULT_ROOT / "flight_delay.yaml"
DAY = date(2013, 7, 4)
FORTNIGHT = [DAY + timedelta(days=1 + i) for i in range(14)]


def main() -> None:
    """Run the demo. The second time it finds everything done, and says so."""
    started = time.perf_counter()
    os.environ["NIGHTSCORE_CACHE"] = str(SAMPLE.cache)

    with prefect_server(DEFAULT_ROOT / "prefect") as server:
        os.environ.update(server.environment | {"PREFECT_LOGGING_LEVEL": "WARNING"})
        SAMPLE.prepare(_say, lambda text: print(f"  {text}"))
        SAMPLE.write_job(JOB_FILE, SAMPLE.registry, str(SAMPLE.features), str(SAMPLE.predictions))
        _say("Waiting for the demo's own Prefect server")
        server.wait()
        _score_day()
        _score_fortnight()

    _summarize()
    _show_next_steps()
    seconds = time.perf_counter() - started
    _say(f"Done in {seconds:.0f} s. The Prefect server is stopped; nothing is left running.")


def _score_day() -> None:
    from nightscore.flows.nightly import nightly

    _say(f"Scoring {DAY} through the Prefect flow `nightly`")
    _wait_for(nightly(str(JOB_FILE), date=DAY, return_state=True))


def _score_fortnight() -> None:
    from nightscore.flows.backfill import backfill

    _say(f"Scoring {FORTNIGHT[0]} to {FORTNIGHT[-1]} through the Prefect flow `backfill`")
    _wait_for(backfill(str(JOB_FILE), FORTNIGHT[0], FORTNIGHT[-1], return_state=True))


def _wait_for(flow_run: Any) -> None:
    """Run a flow and print its state; exit if it failed."""

    async def final_state() -> Any:
        return await flow_run

    state = asyncio.run(final_state())
    print(f"  {state.name}: {state.message}")
    if not state.is_completed():
        sys.exit(1)


def _summarize() -> None:
    from nightscore.cli.summary import print_manifest

    manifests = _published()
    n_read = sum(manifest.counts.rows_in for manifest in manifests)
    n_scored = sum(manifest.counts.rows_scored for manifest in manifests)
    n_quarantined = sum(manifest.counts.rows_quarantined for manifest in manifests)
    _say(
        f"{len(manifests)} partitions: {n_read:,} rows read, {n_scored:,} scored, "
        f"{n_quarantined:,} quarantined. The first:"
    )

    print_manifest(manifests[-1], _job())

    fastest = max(manifests, key=lambda manifest: manifest.measures.rows_per_s)
    rows_per_s = fastest.measures.rows_per_s
    print(f"  fastest:     {fastest.partition}, {rows_per_s:,.0f} rows/s with warm workers")


def _job() -> "ScoringJob":
    from nightscore.inputs.jobfile import load_job

    return load_job(str(JOB_FILE))


def _published() -> "list[Manifest]":
    """The published runs of the demo's days, newest first."""
    from nightscore.operations.history import run_history

    days = {str(day) for day in (DAY, *FORTNIGHT)}
    history = run_history(_job())
    return [m for m in history if m.status == "published" and m.partition in days]


def _show_next_steps() -> None:
    python, table = os.path.relpath(sys.executable), SAMPLE.predictions
    nightscore = python.replace("python", "nightscore")

    # fmt: off
    _say("Read the predictions with Polars, DuckDB or pandas:")
    print(f"""  {python} -c 'import polars as pl; print(pl.read_delta("{table}").tail())'""")
    print(
        f"""  {python} -c 'import duckdb, deltalake; flights = deltalake.DeltaTable("{table}")"""
        """.to_pyarrow_dataset(); duckdb.sql("select ds, count(*) flights, """
        """avg(probability) late from flights group by ds order by ds").show()'"""
    )

    print(
        f"""  {python} -c 'import deltalake; """
        f"""print(deltalake.DeltaTable("{table}").to_pandas().describe())'"""
    )
    # fmt: on

    _say("Ask what happened, or score another day:")
    print(f"  {nightscore} partitions {JOB_FILE} --from 2013-07-01 --to 2013-07-20")
    print(f"  {nightscore} run {JOB_FILE} 2013-12-24")


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
