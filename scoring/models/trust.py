"""Whether somebody has allowed what loading a model would run. Nothing of the model is run here."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from nightscore.errors import ModelRefusedError
from nightscore.models.flavor_catalog import flavor_of
from nightscore.models.loading_steps import Kind, LoadingStep
from nightscore.models.mlmodel import MlModel
from nightscore.models.registries.protocol import ModelVersion
from nightscore.models.registries.uris import command_arguments

PATH_KEYS = ("data", "code", "pickled_model", "python_model", "model_path", "path")
"""Keys of an MLmodel file whose values are paths."""


def loading_steps(mlmodel: MlModel) -> list[LoadingStep]:
    """Everything that loading would run, the most dangerous step last.

    Raises:
        ModelRefusedError: The MLmodel file names paths outside the model. All of them are listed.
    """
    _check_paths(mlmodel)
    steps = flavor_of(mlmodel).loading_steps(mlmodel)
    return sorted(steps, key=lambda step: get_args(Kind).index(step.kind))


def check_trust(
    mlmodel: MlModel, name: str, *, is_pinned: bool, allow_pickle: bool, allow_code: Sequence[str]
) -> None:
    """Refuse a model whose loading would run code that nobody has allowed.

    A pickle needs a verified pin or the job's `allow_pickle`. Code of the model, and a loader that
    nightscore does not know, must also be named in the job's `allow_code`.

    Raises:
        ModelRefusedError: With every reason. Nothing was run.
    """
    steps = loading_steps(mlmodel)
    is_vouched = is_pinned or allow_pickle

    unvouched = [step for step in steps if step.kind in ("pickle", "code") and not is_vouched]
    problems = [f"{step.what}, and the model is not pinned" for step in unvouched]

    unnamed: list[str] = []
    for step in steps:
        names = [module for module in step.names if module not in allow_code]
        if step.kind == "code" and names:
            problems.append(f"{step.what}: not named in allow_code: {', '.join(names)}")
            unnamed += names

    if problems:
        raise ModelRefusedError(
            "Loading this model would run code that nobody has allowed; nothing was run.",
            f"{name} in {mlmodel.folder}",
            expected="a pinned model; code of its own named under allow_code in the job file",
            problems=problems,
            next_step=_how_to_allow(mlmodel, unnamed, is_vouched=is_vouched),
        )


@contextlib.contextmanager
def naming_model(version: ModelVersion, registry: str | None) -> Iterator[None]:
    """Name the model in the commands that an error of this block prints."""
    try:
        yield
    except ModelRefusedError as error:
        arguments = command_arguments(version.uri, registry)
        error.next_step = error.next_step.replace("MODEL_URI", arguments)
        raise


def _how_to_allow(mlmodel: MlModel, unnamed: Sequence[str], *, is_vouched: bool) -> str:
    """What makes a refused model acceptable. `naming_model` fills in the model."""
    steps = ["look at what it runs: `nightscore model inspect MODEL_URI`"]
    trusting = []
    if not is_vouched:
        trusting.append("run `nightscore pin MODEL_URI`, or set allow_pickle: true in the job file")
    if unnamed:
        trusting.append(f"set allow_code: [{', '.join(dict.fromkeys(unnamed))}] in the job file")
    steps.append(f"if you trust its author, {'; and '.join(trusting)}")

    may_be_skops = any("serialization_format" in flavor for flavor in mlmodel.flavors.values())
    if may_be_skops and not unnamed:
        steps.append("or log it with serialization_format='skops', which needs neither")
    return "; ".join(steps)


def _check_paths(mlmodel: MlModel) -> None:
    """Refuse a model whose MLmodel file names paths outside of it."""
    root = mlmodel.folder.resolve()
    problems = [
        f"{where}: {text}"
        for where, text in _paths(mlmodel.flavors, "flavors")
        if not _is_inside(root, text)
    ]

    # Loaders look for an MLmodel file beside the data. A second one could say something else.
    for path in root.rglob("MLmodel"):
        if path.parent != root:
            problems.append(f"{path.relative_to(root)}: a second MLmodel file")

    if problems:
        raise ModelRefusedError(
            "The MLmodel file names paths outside the model, or is not the only one; nothing was "
            "loaded.",
            str(mlmodel.folder),
            expected="one MLmodel file, with paths inside the model's folder",
            problems=problems,
            next_step="do not use this model; ask who registered it",
        )


def _is_inside(root: Path, text: str) -> bool:
    try:
        return (root / text).resolve().is_relative_to(root)
    except (OSError, ValueError):  # not a file name: too long, or with a NUL in it
        return False


def _paths(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every path in the file, with its place."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, str) and str(key) in PATH_KEYS:
                yield f"{where}.{key}", inner
            else:
                yield from _paths(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _paths(inner, f"{where}[{i}]")
