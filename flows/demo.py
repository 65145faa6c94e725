"""`make demo`: from public data to published predictions, through Prefect, on this machine alone."""

import asyncio
import logging
import os
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from flows.server import prefect_server

ROOT = Path(".demo")
FEATURES = ROOT / "lake" / "features" / "flights"
PREDICTIONS = ROOT / "lake" / "predictions" / "flight_delay"
REGISTRY = f"sqlite:///{ROOT}/mlflow.db"
JOB_FILE = ROOT / "flight_delay.yaml"
DAY = date(2013, 7, 4)
FORTNIGHT = [DAY + timedelta(days=1 + i) for i in range(14)]

JOB = f"""\
name: flight_delay
model: models:/flight_delay@champion
registry: {REGISTRY}
input:
  uri: {FEATURES}
output:
  uri: {PREDICTIONS}
keys: [flight_id]
"""


def main() -> None:
    """Run the demo; a second time it finds everything done and says so."""
    started = time.perf_counter()
    os.environ["NIGHTSCORE_CACHE"] = str((ROOT / "cache").absolute())
    with prefect_server(ROOT / "prefect") as server:
        os.environ.update(server.environment | {"PREFECT_LOGGING_LEVEL": "WARNING"})
        _prepare()
        _say("Waiting for the demo's own Prefect server")
        server.wait()
        _score_day()
        _score_fortnight()
    _summarize()
    _say(f"Done in {time.perf_counter() - started:.0f} s; the Prefect server is stopped, nothing is left running.")


def _prepare() -> None:
    from flows import flights

    _quiet()
    missing = not (ROOT / "data.done").exists()
    untrained = not (ROOT / "model.done").exists()
    if missing or untrained:
        frame = flights.load_flights()
    if missing:
        _say("Writing New York's flights of 2013, joined with planes and weather, as daily partitions")
        days = flights.write_partitions(frame, FEATURES)
        (ROOT / "data.done").touch()
        print(f"  {len(frame):,} flights in {days} partitions under {FEATURES}")
    if untrained:
        _say(f"Training on January to March: arrives more than {flights.LATE_MINUTES} minutes late?")
        model, signature = flights.train(frame)
        version = flights.register(model, signature, REGISTRY, ROOT / "artifacts")
        _pin(version)
        (ROOT / "model.done").touch()
    JOB_FILE.write_text(JOB)


def _pin(version: str) -> None:
    from scoring.models.cache import default_cache
    from scoring.models.registry import pin

    pinned, digest = pin(f"models:/flight_delay/{version}", REGISTRY, default_cache())
    print(f"  registered as {pinned.name} version {pinned.version}, alias champion, pinned to {digest[:19]}…")


def _score_day() -> None:
    from flows.nightly import nightly

    _say(f"Scoring {DAY} through the Prefect flow `nightly`")
    _tell(nightly(str(JOB_FILE), date=DAY, return_state=True))


def _score_fortnight() -> None:
    from flows.backfill import backfill

    _say(f"Scoring {FORTNIGHT[0]} to {FORTNIGHT[-1]} through the Prefect flow `backfill`")
    _tell(backfill(str(JOB_FILE), FORTNIGHT[0], FORTNIGHT[-1], return_state=True))


def _tell(flow_run: Any) -> None:
    async def ended() -> Any:
        return await flow_run

    state = asyncio.run(ended())
    print(f"  {state.name}: {state.message}")
    if not state.is_completed():
        sys.exit(1)


def _summarize() -> None:
    from scoring.cli import print_manifest
    from scoring.inputs.jobfile import load_job
    from scoring.status import run_history

    shown = {str(day) for day in (DAY, *FORTNIGHT)}
    manifests = [m for m in run_history(load_job(str(JOB_FILE))) if m.status == "published" and m.partition in shown]
    read, scored, quarantined = (
        sum(getattr(manifest.counts, name) for manifest in manifests)
        for name in ("rows_in", "rows_scored", "rows_quarantined")
    )
    _say(
        f"{len(manifests)} partitions: {read:,} rows read, {scored:,} scored, {quarantined:,} quarantined. The first:"
    )
    print_manifest(manifests[-1])
    fastest = max(manifests, key=lambda m: m.measures.rows_per_s)
    print(f"  fastest:     {fastest.partition}, {fastest.measures.rows_per_s:,.0f} rows/s with warm workers")
    _say("Read the predictions back, with Polars, DuckDB or pandas:")
    python = os.path.relpath(sys.executable)
    print(f"""  {python} -c 'import polars as pl; print(pl.read_delta("{PREDICTIONS}").tail())'""")
    print(
        f"""  {python} -c 'import duckdb, deltalake; flights = deltalake.DeltaTable("{PREDICTIONS}")"""
        """.to_pyarrow_dataset(); duckdb.sql("select ds, count(*) flights, avg(probability) late """
        """from flights group by ds order by ds").show()'"""
    )
    print(
        f"""  {python} -c 'import deltalake; print(deltalake.DeltaTable("{PREDICTIONS}").to_pandas().describe())'"""
    )
    _say("Ask what happened, or score another day:")
    print(f"  {python.replace('python', 'nightscore')} partitions {JOB_FILE} --from 2013-07-01 --to 2013-07-20")
    print(f"  {python.replace('python', 'nightscore')} run {JOB_FILE} 2013-12-24")


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _quiet() -> None:
    """The demo tells its own story; what libraries log at INFO is not part of it."""
    os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"
    for name in ("mlflow", "alembic", "prefect", "httpx", "scoring"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
