"""Arguments of the commands that release model versions."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from nightscore.cli.options import AsJson, CacheDir, Job, Verbose, read_moment

Note = Annotated[str, typer.Option(metavar="TEXT", help="Reason, for the release log.")]
Abandon = Annotated[
    bool,
    typer.Option("--abandon", help="Give up a release that somebody has begun, and do no more."),
]


def promote(
    job: Job,
    to: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Version to make live. Default: the newest."),
    ] = None,
    note: Note = "",
    without_labels: Annotated[
        bool,
        typer.Option(
            "--without-labels",
            help="Go ahead although no comparison by labels shows that it is better.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only show what is known, and what keeps it from going live."
        ),
    ] = False,
    abandon: Abandon = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Make a version of the job's model live: check it, log it, and move the alias.

    The release log keeps who did it, when, why, and what was known. If the command dies, give it
    again: it goes on.
    """
    from nightscore.cli.commands.releases import promote as execute

    execute(job, to, note, without_labels, dry_run, abandon, as_json, cache_dir, verbose)


def demote(
    job: Job,
    to: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Version to go back to. Default: the one before."),
    ] = None,
    note: Note = "",
    with_predictions: Annotated[
        bool,
        typer.Option(
            "--with-predictions",
            help="Also restore what readers saw before, where the version has published since.",
        ),
    ] = False,
    abandon: Abandon = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Take the live version back: the alias means the version before again, by the release log.

    If the command dies, give it again: it goes on. It does not lead further back by itself.
    """
    from nightscore.cli.commands.releases import demote as execute

    execute(job, to, note, with_predictions, abandon, as_json, cache_dir, verbose)


def releases(
    job: Job,
    at: Annotated[
        datetime | None,
        typer.Option(
            parser=read_moment,
            metavar="TIME",
            help="Only say which version was live then, in UTC. A date means its end.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which version of the job's model was live when, who decided so, and why."""
    from nightscore.cli.commands.releases import releases as execute

    execute(job, at, as_json)


def compare(
    job: Job,
    challenger: Annotated[
        str | None,
        typer.Argument(
            metavar="CHALLENGER", help="Only this one, by the alias or version that the job names."
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="PARTITION", help="First partition to compare.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="PARTITION", help="Last partition to compare.")
    ] = None,
    last: Annotated[
        int,
        typer.Option(
            min=1, metavar="COUNT", help="Number of partitions to compare, the latest ones."
        ),
    ] = 30,
    run_id: Annotated[
        str | None,
        typer.Option(metavar="RUN_ID", help="Only this run of the challenger."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the page with plots there."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how the predictions of challengers differ from those of the job's own model.

    Both have scored the same rows. It says how many decisions change, where the differences are
    largest, and which keys differ most. It needs no labels, so it does not say which is better.
    """
    from nightscore.cli.commands.compare import compare as execute

    execute(job, challenger, (start, end), last, run_id, output, as_json)
