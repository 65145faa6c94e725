"""`nightscore deploy`."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightscore.cli.resolve import model_cache
from nightscore.cli.show import err, out, print_json

if TYPE_CHECKING:
    from nightscore.flows.deployments.changes import Change


def deploy(
    jobs: Sequence[str],
    options: Mapping[str, Any],
    pool: str,
    no_check: bool,
    dry_run: bool,
    as_json: bool,
    cache_dir: Path | None,
) -> None:
    """Check and deploy the jobs, and print what that changes."""
    from nightscore.cli.changes import change_document, print_changes
    from nightscore.flows.deployments.deploy import deploy as deploy_jobs
    from nightscore.flows.deployments.deploy import online_workers
    from nightscore.flows.deployments.job_checks import check_jobs
    from nightscore.flows.deployments.jobs import check_labels, read_jobs
    from nightscore.flows.deployments.schedules import check_schedule
    from nightscore.flows.deployments.wanted import Nights
    from nightscore.flows.prefect_api import prefect_api, server_url

    nights = Nights(**options)
    check_schedule(nights.cron, nights.timezone, nights.evaluate_cron)
    specs = read_jobs(jobs)
    if nights.evaluate_cron is not None:
        check_labels(specs)
    server_url()

    if not no_check:
        err.print(f"Checking {', '.join(jobs)}")
        check_jobs(jobs, model_cache(cache_dir))

    with prefect_api() as api:
        changes = deploy_jobs(api, specs, nights, pool, dry_run=dry_run)
        workers = online_workers(api, pool)

    if as_json:
        document = [change_document(change) for change in changes]
        print_json({"dry_run": dry_run, "changes": document, "workers": workers})
        return

    print_changes(changes, dry_run=dry_run)
    for line in _next_steps(changes, workers, pool, dry_run=dry_run):
        out.print(line)


def _next_steps(
    changes: "Sequence[Change]", workers: Sequence[str], pool: str, *, dry_run: bool
) -> list[str]:
    lines = []
    for option, example in (("--cron", "0 3 * * *"), ("--evaluate-cron", "0 5 * * *")):
        reason = f"none; {option} sets one"
        unscheduled = [change.name for change in changes if change.reason == reason]
        if unscheduled:
            lines.append(
                f"No schedule: {', '.join(unscheduled)}. "
                f'To run every night, add an option such as {option} "{example}".'
            )

    if not workers and not dry_run:
        start = f"prefect worker start --pool {shlex.quote(pool)}"
        lines.append(f"No worker of the pool {pool} is online. Start one: {start}")

    return lines
