"""`nightscore model inspect`, `nightscore model diff` and `nightscore pin`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nightscore.cli.commands.warm import describe
from nightscore.cli.release_text import show_diff
from nightscore.cli.resolve import model_cache
from nightscore.cli.show import counted, out, print_json, show_size
from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.model_facts import not_loaded
from nightscore.engine.worker.model_inspection import list_types
from nightscore.errors import MemoryLimitError, ModelError, ModelRefusedError, WorkerHungError
from nightscore.models.cache import CachedModel, check_tree
from nightscore.models.loading_steps import LoadingStep
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.model_diff import compare_versions
from nightscore.models.model_versions import fetch, resolve
from nightscore.models.model_versions import pin as pin_version
from nightscore.models.pinned import MODEL_S
from nightscore.models.registries.protocol import ModelVersion
from nightscore.models.registries.uris import command_arguments
from nightscore.models.structure.pickle_imports import pickled_names
from nightscore.models.trust import check_trust, loading_steps
from nightscore.operations.warm import warm_version


def pin(
    model_uri: str, registry: str | None, warm: bool, as_json: bool, cache_dir: Path | None
) -> None:
    """Pin a model version, and print its digest."""
    cache = model_cache(cache_dir)
    version, digest = pin_version(model_uri, registry, cache)
    document = {"name": version.name, "version": version.version, "digest": digest}
    lines = [f"{version} is pinned to {digest}"]

    if warm:
        with WorkerPool() as pool:
            warmed = warm_version(version.uri, registry, pool, cache)
        document |= {"engine": warmed.predictor.engine, "why": warmed.predictor.why}
        lines.append(f"On this host {describe(warmed)}")

    if as_json:
        print_json(document)
    else:
        for line in lines:
            out.print(line)


def inspect(model_uri: str, registry: str | None, as_json: bool, cache_dir: Path | None) -> None:
    """Print what loading a model version would execute."""
    version = resolve(model_uri, registry)
    cached = fetch(version, registry, model_cache(cache_dir))
    steps, refusal, next_step = _examine(version, registry, cached)
    names = {step.what: _imported_names(step) for step in steps}
    files = {
        path.relative_to(cached.path).as_posix(): path.stat().st_size
        for path in check_tree(cached.path)
    }

    if as_json:
        print_json(
            {
                "name": version.name,
                "version": version.version,
                "digest": cached.digest,
                "is_pinned": cached.is_pinned,
                "files": files,
                "steps": [_document(step, names[step.what]) for step in steps],
                "would_load": not refusal,
                "refusal": refusal,
            }
        )

        return

    _print_steps(version, cached, files, steps, names)

    if refusal:
        out.print(f"A job would refuse it: {refusal}")
        if next_step:
            out.print(f"Next: {next_step}")
    else:
        out.print("A job would load it.")


def diff(
    before: str, after: str, registry: str | None, as_json: bool, cache_dir: Path | None
) -> None:
    """Print what differs between two model versions."""
    old, new = resolve(before, registry), resolve(after, registry)
    found = compare_versions(old, new, registry, model_cache(cache_dir))

    if as_json:
        print_json(json.loads(found.model_dump_json()))
    else:
        for line in show_diff(found):
            out.print(line)


def _print_steps(
    version: ModelVersion,
    cached: CachedModel,
    files: Mapping[str, int],
    steps: Sequence[LoadingStep],
    names: Mapping[str, Sequence[str]],
) -> None:
    pinned = "not pinned:"
    if cached.is_pinned:
        pinned = "pinned to"

    out.print(f"{version}, {pinned}")
    out.print(f"  {cached.digest}, {counted(len(files), 'file')}, {show_size(sum(files.values()))}")
    out.print("Steps of loading it:")

    for step in steps:
        out.print(f"  {step.kind + ':':<8} {step.what}")
        if step.pickle and names[step.what]:
            out.print(f"           whose pickle imports {', '.join(names[step.what])}")


def _examine(
    version: ModelVersion, registry: str | None, cached: CachedModel
) -> tuple[list[LoadingStep], str, str]:
    """The steps of loading a model, why a job would refuse it, and what would change that.

    The reason is empty if a job would load it.
    """
    steps: list[LoadingStep] = []
    pin_it = (
        f"if you trust its author, run `nightscore pin {command_arguments(version.uri, registry)}`"
    )

    try:
        mlmodel = read_mlmodel(cached.path)
        steps = loading_steps(mlmodel)
        check_trust(
            mlmodel, str(version), is_pinned=cached.is_pinned, allow_pickle=False, allow_code=()
        )

        with WorkerPool() as pool:
            types = pool.call(list_types, cached.path, timeout_s=MODEL_S)
    except (MemoryLimitError, WorkerHungError) as error:
        raise not_loaded(error, cached.path) from error
    except ModelError as error:
        reason = "; ".join(error.problems) or f"{error.what} {error.found}".strip()
        # A model that names paths outside of it has no steps, and no pin would help.
        would_pin_help = bool(steps) and not cached.is_pinned
        if would_pin_help and isinstance(error, ModelRefusedError):
            return steps, reason, pin_it
        return steps, reason, error.next_step

    if types and not cached.is_pinned:
        reason = f"it holds types or functions that are not on the list: {', '.join(types)}"
        return steps, reason, pin_it

    return steps, "", ""


def _imported_names(step: LoadingStep) -> Sequence[str]:
    """What a step imports: the names in its pickle, or those that it states."""
    if step.pickle:
        return pickled_names(step.pickle)
    return step.names


def _document(step: LoadingStep, names: Sequence[str]) -> dict[str, Any]:
    return {"kind": step.kind, "what": step.what, "names": names}
