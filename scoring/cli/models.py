"""Commands about model versions."""

from typing import Annotated

import typer

from scoring.cli.app import AsJson, CacheDir, app, model_cache
from scoring.cli.show import out, print_json
from scoring.models.registry import pin as pin_version


@app.command()
def pin(
    model_uri: Annotated[str, typer.Argument(help="models:/<name>/<version> or models:/<name>@<alias>")],
    registry: Annotated[str | None, typer.Option(help="MLflow tracking URI; default as in a job file.")] = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Tag a model version with the digest of its artifacts: from then on nothing else is loaded under its name."""
    version, digest = pin_version(model_uri, registry, model_cache(cache_dir))
    if as_json:
        print_json({"name": version.name, "version": version.version, "digest": digest})
    else:
        out.print(f"{version.name} version {version.version} is pinned to {digest}")
