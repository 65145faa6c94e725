"""Commands about results that are there: their history, rollback and removal."""

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from nightscore.cli.app import (
    AsJson,
    CacheDir,
    Job,
    PartitionValue,
    Verbose,
    app,
    known_partition,
    load,
    log_to,
    model_cache,
)
from nightscore.cli.drift import print_series
from nightscore.cli.show import err, exit_code, out, print_json, print_record, print_table
from nightscore.cli.workers import print_and_exit, with_workers
from nightscore.drift.recompare import compare_later
from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.errors import LocationNotFoundError, PartitionNotFoundError
from nightscore.inputs.partitions import parse_value
from nightscore.inputs.values import check_value, has_key
from nightscore.ledger.workspace import Workspace
from nightscore.operations.backfill import DEFAULT_MAX_PARTITIONS, values_between
from nightscore.operations.clean import clean
from nightscore.operations.history import run_history
from nightscore.operations.replay import replay
from nightscore.operations.report import column_series
from nightscore.operations.review import approve as publish_held
from nightscore.operations.review import find_held
from nightscore.operations.review import reject as drop_held
from nightscore.operations.rollback import plan_rollback, publications, roll_back
from nightscore.operations.verify import verify
from nightscore.outputs.guarantees import check_claims
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value

HeldRun = Annotated[
    str | None, typer.Option("--run-id", help="This run; default: the newest that is held.")
]
MAX_AGE_DAYS = 36_500
"""Before that there is no date on every system."""
Note = Annotated[str, typer.Option(help="Why, for the record.")]


@app.command()
def history(
    job: Job,
    of: Annotated[
        str,
        typer.Argument(help="Partition value, or name of a column.", metavar="PARTITION|COLUMN"),
    ],
    last: Annotated[int, typer.Option(min=1, help="Of a column: so many partitions.")] = 30,
    as_json: AsJson = False,
) -> None:
    """List the results that a partition has had, the latest first: what readers see, what a rollback can put back.
    Of a column: how it has differed, partition by partition.
    """
    spec = load(job)
    if (series := column_series(spec, of, last)) is not None:
        print_series(spec, of, series, as_json=as_json)
    else:
        _print_results(spec, of, as_json=as_json)


def _print_results(spec: ScoringJob, partition: str, *, as_json: bool) -> None:
    value = parse_value(partition)
    publisher = open_publisher(Workspace(spec))
    live = publisher.live(value)
    rows = []
    for manifest in publications(run_history(spec, value, everything=False)):
        try:
            publisher.find_results(manifest)
            state = "seen now" if live and live.run_id == manifest.result_id else "can be put back"
        except LocationNotFoundError:
            state = "removed"
        rows.append(
            {
                "run": manifest.run_id,
                "published (UTC)": f"{manifest.finished_at:%Y-%m-%d %H:%M:%S}",
                "model": f"{manifest.model.name} {manifest.model.version}",
                "rows": f"{manifest.counts.rows_scored:,}",
                "results": state,
                "rollback to": manifest.restores or "",
            }
        )
    if not rows:
        if has_key(spec, partition):
            check_value(spec, value, "history")
        raise PartitionNotFoundError(
            "There are no results of such a partition, and no column of this name in the latest partitions.",
            f"{spec.output.uri}.nightscore/runs",
            expected=f"a partition such as {datetime.now(UTC):{spec.input.partition_format}}, or a column that runs "
            "have profiled",
            found=partition,
            next_step="`nightscore partitions JOB` lists partitions, `nightscore report JOB PARTITION` columns",
        )
    if as_json:
        print_json(rows)
        return
    print_table(f"Results of {spec.name}, {partition}", tuple(rows[0]) if rows else ("run",), rows)


@app.command()
def rollback(
    job: Job,
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First date.")],
    end: Annotated[
        datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last date, included.")
    ],
    run_id: Annotated[str | None, typer.Option(help="Go back to this run.")] = None,
    before: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"],
            help="Go back to what was seen at this time, in UTC.",
        ),
    ] = None,
    max_partitions: Annotated[
        int, typer.Option(help="Refuse a larger range.")
    ] = DEFAULT_MAX_PARTITIONS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan.")] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Put earlier results back, without computing: those before the present ones, or of a run or a time.

    Each partition is one commit and a run of its own. Later runs leave them alone until the partition's input or the
    job's model is another.
    """
    log_to(False)
    spec, cache = load(job), model_cache(cache_dir)
    values = values_between(spec, start.date(), end.date(), max_partitions)
    planned = plan_rollback(
        spec,
        [parse_value(text) for text in values],
        run_id,
        before.replace(tzinfo=UTC) if before else None,
    )
    manifests = []
    for item in planned if not dry_run else ():
        if item.action == "roll back" and item.target is not None:
            value = parse_value(item.value)
            now = datetime.now(UTC)
            manifests.append(
                roll_back(
                    spec, value, item.target, item.live_run_id, now, cache, compares_later=False
                )
            )
    done_values = [manifest.partition for manifest in manifests if not manifest.error]
    compare_later(Workspace(spec), done_values, cache, datetime.now(UTC))
    failed = [manifest for manifest in manifests if manifest.error]
    refused = [item for item in planned if item.action == "refuse"]
    if as_json:
        plan_shown = [
            {
                "partition": item.value,
                "action": item.action,
                "reason": item.reason,
                "run_id": item.target.run_id if item.target else None,
            }
            for item in planned
        ]
        print_json(
            {
                "plan": plan_shown,
                "runs": [json.loads(manifest.model_dump_json()) for manifest in manifests],
            }
        )
    else:
        rows = [
            {
                "partition": item.value,
                "action": item.action,
                "to run": item.target.run_id if item.target else "",
                "why": item.reason,
            }
            for item in planned
        ]
        print_table(f"Rollback of {spec.name}", ("partition", "action", "to run", "why"), rows)
        done = len(manifests) - len(failed)
        out.print(f"{done} partitions rolled back, {len(failed)} failed, {len(refused)} refused")
        for manifest in failed:
            message = manifest.error.message if manifest.error else ""
            err.print_lines(f"{show_value(manifest.partition)}: {message}")
    raise typer.Exit(max([*map(exit_code, failed), 1 if refused else 0]))


@app.command(name="replay")
def replay_command(
    job: Job,
    partition: PartitionValue,
    new_model: Annotated[
        bool,
        typer.Option(
            "--new-model",
            help="Score with another model version than the other rows' all the same.",
        ),
    ] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Score a partition's quarantined rows again, under the job as it is now, and merge them in one commit."""
    spec, value, cache = load(job), parse_value(partition), model_cache(cache_dir)

    def score(pool: Pool, listener: Listener) -> Manifest:
        return replay(
            spec,
            value,
            pool=pool,
            cache=cache,
            now=datetime.now(UTC),
            allow_new_model=new_model,
            listeners=[listener],
        )

    with known_partition(spec, value, "replay"):
        manifest = with_workers(spec.workers, score, as_json=as_json, verbose=verbose)
    if not as_json and manifest.status == "unchanged":
        out.print(f"{partition}: nothing is in quarantine")
        return
    print_and_exit(manifest, as_json=as_json)


@app.command()
def approve(
    job: Job,
    partition: PartitionValue,
    run_id: HeldRun = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Publish a run that a gate has held."""
    spec, value = load(job), parse_value(partition)
    check_claims(spec, "approve")
    with known_partition(spec, value, "approve"):
        held = find_held(spec, value, run_id)
    print_record(_decide(spec, publish_held, held, note), as_json=as_json)


@app.command()
def reject(
    job: Job,
    partition: PartitionValue,
    run_id: HeldRun = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Drop a run that a gate has held; readers keep what they see, and its record stays."""
    spec, value = load(job), parse_value(partition)
    check_claims(spec, "reject")
    with known_partition(spec, value, "reject"):
        held = find_held(spec, value, run_id)
    print_record(_decide(spec, drop_held, held, note), as_json=as_json)


def _decide(
    spec: ScoringJob, decide: Callable[..., Manifest], held: Manifest, note: str
) -> Manifest:
    """The decided run's record; later partitions are compared with what stands now."""
    decided = decide(spec, held, datetime.now(UTC), note)
    compare_later(Workspace(spec), [held.partition], model_cache(None), datetime.now(UTC))
    return decided


@app.command(name="verify")
def verify_command(
    job: Job,
    partition: PartitionValue,
    sample: Annotated[int, typer.Option(min=1, help="Rows to score again, at least.")] = 1_000,
    seed: Annotated[int, typer.Option(help="Of the draw of these rows.")] = 0,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Check a partition against its record: checksums, inputs, model, libraries, and a sample scored again."""
    log_to(False)
    spec, value = load(job), parse_value(partition)
    with WorkerPool() as pool, known_partition(spec, value, "verify"):
        found = verify(spec, value, pool, model_cache(cache_dir), sample, seed)
    if as_json:
        print_json({"is_sound": found.is_sound, **dataclasses.asdict(found)})
    else:
        verdict = "sound" if found.is_sound else "not as recorded"
        out.print(f"{found.partition}: {verdict}: run {found.run_id}")
        out.print(
            f"  checksums compared: {found.n_files:,}; rows scored again and compared: {found.n_rows:,}"
        )
        for finding in found.findings:
            out.print(f"  {finding.kind}: {finding.where}")
            out.print(f"    expected: {finding.expected}")
            out.print(f"    found:    {finding.found}")
    raise typer.Exit(0 if found.is_sound else 1)


@app.command(name="clean")
def clean_command(
    job: Job,
    older_than_hours: Annotated[
        float,
        typer.Option(
            min=0,
            max=MAX_AGE_DAYS * 24,
            help="Only files last touched before; a day keeps clear of every live run.",
        ),
    ] = 24.0,
    superseded_days: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=MAX_AGE_DAYS,
            help="Also results that were replaced longer ago than this: no rollback to them then.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what dead runs left, and, if asked for, results that were replaced; never what readers see.

    A partition that another command is changing is left alone, and named.
    """
    spec = load(job)
    superseded = None if superseded_days is None else timedelta(days=superseded_days)
    guard, skipped = timedelta(hours=older_than_hours), list[str]()
    found = clean(
        spec, datetime.now(UTC), guard, superseded, delete=not dry_run, tell=skipped.append
    )
    if as_json:
        print_json(
            {
                "removed": [] if dry_run else found,
                "would_remove": found if dry_run else [],
                "skipped": skipped,
            }
        )
        return
    for path in found:
        out.print(path)
    for sentence in skipped:
        err.print(sentence, markup=False)
    out.print(
        f"{len(found)} file{'s'[: len(found) != 1]} {'would be removed' if dry_run else 'removed'}"
    )
