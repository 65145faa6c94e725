"""Arguments of the commands about models."""

import typer

from nightscore.cli.options import AsJson, CacheDir, ModelUri, Registry
from nightscore.cli.usage import CheckedCommand, CheckedGroup

model = typer.Typer(
    help="Inspect a model version.", no_args_is_help=True, cls=CheckedGroup, rich_markup_mode=None
)


def pin(
    model_uri: ModelUri,
    registry: Registry = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Tag a model version with the digest of its artifacts. From then on, only these are loaded."""
    from nightscore.cli.commands.model import pin as execute

    execute(model_uri, registry, as_json, cache_dir)


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
