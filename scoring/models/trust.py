"""What loading a model would execute, and whether somebody has allowed it. Nothing of the model is executed here."""

import pickletools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nightscore.errors import ModelRefusedError
from nightscore.models.flavors import flavor_of
from nightscore.models.loading_steps import LoadingStep
from nightscore.models.mlmodel import MlModel

PATH_KEYS = ("data", "code", "pickled_model", "python_model", "model_path", "path")
MAX_GLOBALS = 200
MAX_OPCODES = 5_000_000
"""Of a pickle, some ten seconds."""


def loading_steps(mlmodel: MlModel) -> list[LoadingStep]:
    """All that loading would execute, worst last.

    Raises:
        ModelRefusedError: The MLmodel file names paths outside the model; all of them are listed.
    """
    _check_paths(mlmodel)
    steps = flavor_of(mlmodel).loading_steps(mlmodel)
    order = ("data", "types", "pickle", "code")
    return sorted(steps, key=lambda step: order.index(step.kind))


def check_trust(
    mlmodel: MlModel, name: str, *, is_pinned: bool, allow_pickle: bool, allow_code: Sequence[str]
) -> None:
    """Refuse a model whose loading would run code that nobody has allowed.

    A pickle needs a verified pin or the job's `allow_pickle`; code that the model brings, and loaders that
    nightscore does not know, must be named in the job's `allow_code` as well.

    Raises:
        ModelRefusedError: With every reason; nothing was executed.
    """
    problems = []
    for step in loading_steps(mlmodel):
        if step.kind in ("pickle", "code") and not (is_pinned or allow_pickle):
            problems.append(f"{step.what}, and the version is not pinned")
        if step.kind == "code" and (
            unnamed := [name for name in step.names if name not in allow_code]
        ):
            problems.append(f"{step.what}: not named in allow_code: {', '.join(unnamed)}")
    if problems:
        raise ModelRefusedError(
            "Loading this model would run code that nobody has allowed; nothing was executed.",
            f"{name} in {mlmodel.folder}",
            expected="a pinned version; code of its own named under allow_code in the job file",
            problems=problems,
            next_step="look at it with `nightscore model inspect`; if you trust who made it, `nightscore pin`, or "
            "allow_pickle: true in the job file; or log it with serialization_format='skops'",
        )


def pickled_names(path: Path) -> tuple[str, ...]:
    """What a pickle says it imports; a crafted one may hide more, which is why this decides nothing.

    Reads it opcode by opcode, seconds for a large one: for a person who looks, never for a run.
    """
    found: dict[str, None] = {}
    strings = ["", ""]
    memo: dict[int, str] = {}
    last: str | None = None
    if path.is_dir():
        return ()
    try:
        with path.open("rb") as file:
            for n_read, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                name = opcode.name
                if name in ("GLOBAL", "INST"):
                    found[str(argument).replace(" ", ".")] = None
                elif name == "STACK_GLOBAL":
                    found[".".join(strings)] = None
                elif name == "MEMOIZE":
                    memo[len(memo)] = last or ""
                elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                    memo[int(str(argument))] = last or ""
                text = (
                    memo.get(int(str(argument)))
                    if name in ("GET", "BINGET", "LONG_BINGET")
                    else argument
                )
                last = last if name == "MEMOIZE" else text if isinstance(text, str) else None
                if last and name not in ("MEMOIZE", "GLOBAL", "INST"):
                    strings = [strings[1], last]
                if len(found) >= MAX_GLOBALS:
                    break
                if n_read >= MAX_OPCODES:
                    found["(not read to its end)"] = None
                    break
    except Exception:  # noqa: BLE001 (no pickle, or one that is made to break such readers)
        found["(not readable to its end)"] = None
    return tuple(sorted(found))


def _check_paths(mlmodel: MlModel) -> None:
    """Every path of the MLmodel file stays inside the model."""
    root = mlmodel.folder.resolve()
    problems = [
        f"{where}: {text}"
        for where, text in _paths(mlmodel.flavors, "flavors")
        if not _is_inside(root, text)
    ]
    # Loaders look for an MLmodel file beside the data: a second one could say other things than the first.
    inner = (path for path in root.rglob("MLmodel") if path.parent != root)
    problems += [f"{path.relative_to(root)}: a second MLmodel file" for path in inner]
    if problems:
        raise ModelRefusedError(
            "The MLmodel file names paths outside the model, or is not the only one; nothing was loaded.",
            str(mlmodel.folder),
            expected="one MLmodel file, with paths inside the model's folder",
            problems=problems,
            next_step="do not use this model; ask who registered it",
        )


def _is_inside(root: Path, text: str) -> bool:
    try:
        return (root / text).resolve().is_relative_to(root)
    except (OSError, ValueError):  # no name of a file: too long, or with a NUL in it
        return False


def _paths(found: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(found, Mapping):
        for key, value in found.items():
            if isinstance(value, str) and str(key) in PATH_KEYS:
                yield f"{where}.{key}", value
            else:
                yield from _paths(value, f"{where}.{key}")
    elif isinstance(found, list):
        for i, value in enumerate(found):
            yield from _paths(value, f"{where}[{i}]")
