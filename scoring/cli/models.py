"""Commands about model versions."""

from typing import Annotated

import typer

from nightscore.cli.app import AsJson, CacheDir, app, model_cache
from nightscore.cli.show import out, print_json, show_size
from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.model_facts import not_loaded
from nightscore.engine.worker.model_inspection import list_types
from nightscore.errors import MemoryLimitError, ModelError, WorkerHungError
from nightscore.models.cache import check_tree
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.pinned import MODEL_S
from nightscore.models.registry import fetch, resolve
from nightscore.models.registry import pin as pin_version
from nightscore.models.structure.pickle_imports import pickled_names
from nightscore.models.trust import check_trust, loading_steps

ModelUri = Annotated[str, typer.Argument(help="models:/<name>/<version> or models:/<name>@<alias>")]
Registry = Annotated[
    str | None, typer.Option(help="MLflow tracking URI; default as in a job file.")
]

model = typer.Typer(help="Look at a model version.", no_args_is_help=True)
app.add_typer(model, name="model")


@app.command()
def pin(
    model_uri: ModelUri,
    registry: Registry = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Tag a model version with the digest of its artifacts: from then on nothing else is loaded under its name."""
    version, digest = pin_version(model_uri, registry, model_cache(cache_dir))
    if as_json:
        print_json({"name": version.name, "version": version.version, "digest": digest})
    else:
        out.print(f"{version.name} version {version.version} is pinned to {digest}")


@model.command()
def inspect(
    model_uri: ModelUri,
    registry: Registry = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Say what loading a model version would execute, and whether a job may load it. Executes none of it."""
    version = resolve(model_uri, registry)
    cached = fetch(version, registry, model_cache(cache_dir))
    refusal, steps = "", []
    try:
        mlmodel = read_mlmodel(cached.path)
        steps = loading_steps(mlmodel)
        check_trust(
            mlmodel, version.name, is_pinned=cached.is_pinned, allow_pickle=False, allow_code=()
        )
        with WorkerPool() as pool:
            types = pool.call(list_types, cached.path, timeout_s=MODEL_S)
            if types and not cached.is_pinned:
                refusal = f"holds types or functions that are not on the list: {', '.join(types)}"
    except (MemoryLimitError, WorkerHungError) as error:
        raise not_loaded(error, cached.path) from error
    except ModelError as error:
        refusal = "; ".join(error.problems) or f"{error.what} {error.found}".strip()
    imports = {step.what: pickled_names(step.pickle) for step in steps if step.pickle}
    files = {
        path.relative_to(cached.path).as_posix(): path.stat().st_size
        for path in check_tree(cached.path)
    }
    shown = [{"kind": s.kind, "what": s.what, "names": imports.get(s.what, s.names)} for s in steps]
    if as_json:
        print_json(
            {
                "name": version.name,
                "version": version.version,
                "digest": cached.digest,
                "is_pinned": cached.is_pinned,
                "files": files,
                "steps": shown,
                "would_load": not refusal,
                "refusal": refusal,
            }
        )
        return
    out.print(
        f"{version.name} version {version.version}, {'pinned to' if cached.is_pinned else 'not pinned:'}"
    )
    out.print(f"  {cached.digest}, {len(files)} files, {show_size(sum(files.values()))}")
    out.print("loading it:")
    for step in steps:
        out.print(f"  {step.kind + ':':<8} {step.what}")
        if names := imports.get(step.what):
            out.print(f"           which says that it imports {', '.join(names)}")
    out.print(f"a job {f'would refuse it: {refusal}' if refusal else 'would load it'}")
