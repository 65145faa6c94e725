"""Arguments of the commands that tell a Prefect server what to do."""

from typing import Annotated

import typer

from nightscore.cli.job_names import complete_jobs
from nightscore.cli.options import AsJson, CacheDir

Jobs = Annotated[
    list[str],
    typer.Argument(
        help="Names, paths or URLs of job files.", metavar="JOB...", autocompletion=complete_jobs
    ),
]


def deploy(
    jobs: Jobs,
    cron: Annotated[
        str | None,
        typer.Option(
            metavar="CRON",
            help='When the nightly run starts, such as "0 3 * * *". Default: as it is; '
            "a new job has no schedule.",
        ),
    ] = None,
    evaluate_cron: Annotated[
        str | None,
        typer.Option(
            metavar="CRON",
            help="When predictions of jobs with labels are evaluated. Default: as it is; "
            "a new job has no such schedule.",
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="Time zone of CRON and of the dates. Default: as it is; UTC for a new job.",
        ),
    ] = None,
    lag_days: Annotated[
        int | None,
        typer.Option(
            metavar="DAYS",
            min=0,
            help="Days between a run and the date that it scores. Default: as it is; 1 for a new "
            "job, so that tonight's run scores yesterday.",
        ),
    ] = None,
    look_back_days: Annotated[
        int | None,
        typer.Option(
            metavar="DAYS",
            min=0,
            max=60,
            help="Days before that in which missing, failed and changed dates are scored, too. "
            "Default: as it is; 3 for a new job.",
        ),
    ] = None,
    pool: Annotated[
        str, typer.Option(metavar="POOL", help="Work pool. It is created if there is none.")
    ] = "local",
    no_check: Annotated[
        bool,
        typer.Option(
            "--no-check",
            help="Do not look at models, data and stores first. They may be out of reach here.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Make Prefect run jobs every night: deployments, schedules, work pool, queues, automations.

    It checks the jobs first, as `nightscore check` does. It shows what it creates and changes.
    Calling it again changes nothing. The server is that of PREFECT_API_URL. Runs find the job file
    by its absolute path, or its URL.
    """
    from nightscore.cli.commands.deploy import deploy as execute

    options = {
        "cron": cron,
        "evaluate_cron": evaluate_cron,
        "timezone": timezone,
        "lag_days": lag_days,
        "look_back_days": look_back_days,
    }
    execute(jobs, options, pool, no_check, dry_run, as_json, cache_dir)


def alerts(as_json: AsJson = False) -> None:
    """Send drift, held and failed runs to Slack, e-mail or a webhook.

    Set the addresses in NIGHTSCORE_ALERT_SLACK, NIGHTSCORE_ALERT_EMAIL and
    NIGHTSCORE_ALERT_WEBHOOK, and the server in PREFECT_API_URL. Calling it again changes nothing.
    """
    from nightscore.cli.commands.alerts import alerts as execute

    execute(as_json)
