"""Arguments of the commands that run services on this machine, and the demo."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nightscore.cli.options import AsJson

DEFAULT_ROOT = Path(".demo")

Root = Annotated[
    Path,
    typer.Option(metavar="FOLDER", help="Folder for the demo's data, and for logs and databases."),
]
Port = typer.Option(metavar="PORT", min=1, max=65_535, help="TCP port of this service.")


class StoreKind(StrEnum):
    """Where the demo's data is."""

    LOCAL = "local"
    S3 = "s3"


class Database(StrEnum):
    """Where Prefect keeps its runs."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


def demo(
    release: Annotated[
        bool,
        typer.Option(
            "--release",
            help="The second act: train a challenger, let it score a week beside the champion, "
            "compare both, promote it, and demote it again.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score two weeks of New York's flights, from public data to published predictions.

    It takes about a minute, starts a Prefect server of its own, and leaves nothing running. Data
    and model stay in the folder .demo.
    """
    if release:
        from nightscore.cli.commands.demo_release import demo_release

        demo_release(as_json)
        return

    from nightscore.cli.commands.demo import demo as execute

    execute(as_json)


def up(
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo",
            help="With the demo's data, model and job, or for your own jobs alone. Default: with "
            "the demo, unless the folder jobs has job files.",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        StoreKind,
        typer.Option(metavar="KIND", help="Keep the data in local files, or on an S3 server: s3."),
    ] = StoreKind.LOCAL,
    db: Annotated[
        Database | None,
        typer.Option(
            metavar="KIND",
            help="Prefect's database: sqlite or postgres. Default: the one that was used before, "
            "else postgres if it is installed, else sqlite.",
        ),
    ] = None,
    prefect_port: Annotated[int, Port] = 4200,
    mlflow_port: Annotated[int, Port] = 5000,
    pages_port: Annotated[int, Port] = 4280,
    s3_port: Annotated[int, Port] = 8333,
    postgres_port: Annotated[int, Port] = 5433,
    root: Root = DEFAULT_ROOT,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in the foreground until you press Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start Prefect, MLflow, the report pages and a worker on this machine.

    It deploys the jobs in the folder jobs, without a schedule, or else the demo's job. MLflow shows
    the registry of the jobs, if that is one SQLite database. Flows run in the folder where you call
    it. It needs the extra `demo`. If something is missing, it names the command that installs it.
    """
    from nightscore.cli.commands.up import up as execute

    ports = {
        "prefect_port": prefect_port,
        "mlflow_port": mlflow_port,
        "pages_port": pages_port,
        "s3_port": s3_port,
        "postgres_port": postgres_port,
    }
    execute(root, demo, store.value, db.value if db else None, ports, foreground, as_json)


def status(root: Root = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """Show which services of `nightscore up` are running."""
    from nightscore.cli.commands.status import status as execute

    execute(root, as_json)


def down(root: Root = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """Stop everything that `nightscore up` started. Data and logs are kept."""
    from nightscore.cli.commands.down import down as execute

    execute(root, as_json)
