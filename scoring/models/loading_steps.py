"""What loading a model would run, as its flavor says. Nothing of the model is run to find out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nightscore.models.mlmodel import MlModel

Kind = Literal["data", "types", "pickle", "code"]
"""`data`: read as data. `types`: builds objects of types on nightscore's own list. `pickle`: runs whatever the file
says, or follows it unseen. `code`: runs Python that the model brings, or a loader that nightscore does not know."""


@dataclass(frozen=True, slots=True)
class LoadingStep:
    """One thing that loading the model does."""

    kind: Kind
    what: str
    names: tuple[str, ...] = ()
    """Modules that somebody must allow by name."""
    pickle: Path | None = None
    """The file that is unpickled; `pickled_names` says what it imports."""


def bundled_code(mlmodel: MlModel, flavor: Mapping[str, Any]) -> Iterator[LoadingStep]:
    """Python that the model puts before all other modules."""
    if not (code := flavor.get("code")):
        return
    folder = mlmodel.file(str(code))
    found = (
        sorted(path.name.split(".")[0] for path in folder.iterdir())
        if folder.is_dir()
        else [folder.name]
    )
    names = tuple(dict.fromkeys(name for name in found if name != "__pycache__"))
    yield LoadingStep("code", f"puts {code}/ before all other modules: {', '.join(names)}", names)


def pickle_step(mlmodel: MlModel, name: str) -> LoadingStep:
    what = f"unpickles {name}, which runs whatever that file says"
    return LoadingStep("pickle", what, pickle=mlmodel.file(name))
