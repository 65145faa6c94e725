"""What loading a model would run, as its flavor says. Nothing of the model is run to find out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nightscore.models.mlmodel import MlModel

Kind = Literal["data", "types", "pickle", "code"]
"""How much a step can do, least first.

`data` is read as data. `types` builds objects of types on nightscore's list. `pickle` runs
whatever the file says, or follows it unseen. `code` runs Python of the model, or a loader that
nightscore does not know.
"""


@dataclass(frozen=True, slots=True)
class LoadingStep:
    """One thing that loading the model does."""

    kind: Kind
    what: str
    names: tuple[str, ...] = ()
    """Modules that the job must allow by name."""
    pickle: Path | None = None
    """The file that is unpickled. `pickled_names` says what it imports."""


def bundled_code(mlmodel: MlModel, flavor: Mapping[str, Any]) -> Iterator[LoadingStep]:
    """The step for Python files of the model, which are imported before all other modules."""
    code = flavor.get("code")
    if not code:
        return

    folder = mlmodel.file(str(code))
    modules = [folder.name]
    if folder.is_dir():
        modules = sorted(path.name.split(".")[0] for path in folder.iterdir())

    names = tuple(name for name in dict.fromkeys(modules) if name != "__pycache__")
    yield LoadingStep("code", f"puts {code}/ before all other modules: {', '.join(names)}", names)


def pickle_step(mlmodel: MlModel, name: str) -> LoadingStep:
    """The step for a pickle of the model."""
    what = f"unpickles {name}, which runs whatever that file says"
    return LoadingStep("pickle", what, pickle=mlmodel.file(name))
