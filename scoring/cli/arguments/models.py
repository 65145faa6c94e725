"""Arguments of the commands about models."""

from typing import Annotated

import typer

from nightscore.cli.job_names import complete_jobs
from nightscore.cli.options import AsJson, CacheDir, ModelUri, Registry, Verbose
from nightscore.cli.usage import CheckedCommand, CheckedGroup

model = typer.Typer(
    help="Inspect a model version, or compare two.",
    no_args_is_help=True,
    cls=CheckedGroup,
    rich_markup_mode=None,
)


def pin(
    model_uri: ModelUri,
    registry: Registry = None,
    warm: Annotated[
        bool,
        typer.Option("--warm", help="Also load the model once and compile it for this host."),
    ] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Tag a model version with the digest of its artifacts. From then on, only these are loaded."""
    from nightscore.cli.commands.model import pin as execute

    execute(model_uri, registry, warm, as_json, cache_dir)


def warm(
    job: Annotated[
        str | None,
        typer.Argument(
            help="Name, path or URL of a job file. Default: no job; the machine code that most "
            "models of scikit-learn need is compiled, say for an image without a model.",
            metavar="JOB",
            autocompletion=complete_jobs,
        ),
    ] = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    verbose: Verbose = False,
) -> None:
    """Compile a job's model into this host's cache, so that the first run is as fast as the next.

    The model is compared with its library on the first rows of the newest partition. Nothing is
    published.
    """
    from nightscore.cli.commands.warm import warm as execute

    execute(job, as_json, cache_dir, verbose)


@model.command(cls=CheckedCommand)
def inspect(
    model_uri: ModelUri,
    registry: Registry = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Show what loading a model version would execute, and whether a job may. Executes nothing."""
    from nightscore.cli.commands.model import inspect as execute

    execute(model_uri, registry, as_json, cache_dir)


@model.command(cls=CheckedCommand)
def diff(
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help="URI of a version, such as models:/churn/1.")
    ],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="URI of the other version.")],
    registry: Registry = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Show what differs between two versions: features, outputs, parameters, libraries, size.

    Nothing of them is executed.
    """
    from nightscore.cli.commands.model import diff as execute

    execute(before, after, registry, as_json, cache_dir)
