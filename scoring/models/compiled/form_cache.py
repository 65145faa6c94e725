"""The cache of compiled forms on this host, by the model's digest and by all that made them.

<cache>/forms/<digest>-<key>.flat             the model as data
<cache>/forms/<digest>-<key>.checked.json     its first rows agreed with the library
<cache>/forms/<digest>-<key>.differs.json     its first rows differed: it is not used

If others can write to the folder, nothing there is read or written. Each process then makes its own
form.
"""

import functools
import hashlib
import json
import platform
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from nightscore.native.private_files import is_private
from nightscore.native.sources import source_digest
from nightscore.process import installed_version
from nightscore.schemas.manifest import PredictorRecord
from nightscore.schemas.model import ModelFacts

if TYPE_CHECKING:
    from nightscore.models.compiled.flat import CompiledForm

FOLDER = "forms"
PACKAGE = Path(__file__).parents[2]
SOURCES = ("models", "native")
"""Packages whose code decides what a form is, and what its numbers mean to the kernels."""


@dataclass(frozen=True, slots=True)
class CachedForm:
    """The compiled form of one model in the cache. Several processes may use it at once."""

    stem: Path
    """Path of its files, without their endings."""
    n_columns: int = 0
    """Columns of the tables that the model gets; 0: not known."""

    @classmethod
    def for_model(cls, folder: Path, facts: ModelFacts) -> "CachedForm":
        """The form of a cached model, whether or not it exists.

        Args:
            folder: The model's artifacts. Its name is their digest.
            facts: What the model is, and with which library versions it was loaded.
        """
        made_with = [
            engine_digest(),
            platform.python_version(),
            platform.machine(),
            *sorted(facts.loaded_with.items()),
        ]

        key = hashlib.sha256(json.dumps(made_with).encode()).hexdigest()[:16]

        stem = folder.parent / FOLDER / f"{folder.name}-{key}"

        return cls(stem, facts.n_columns)

    @property
    def is_shared(self) -> bool:
        """Whether others can write to the folder. Whoever can could change predictions."""
        try:
            return not is_private(self.stem.parent)
        except FileNotFoundError:
            return False

    def read(self) -> "CompiledForm | None":
        """The form, or None: it does not exist, is damaged, or others could have written it."""
        # The driver asks for notes alone, and needs no code of the forms.
        from nightscore.models.compiled.flat import FlatFileError, read_form

        if self.is_shared:
            return None
        try:
            return read_form(self._path(".flat"), self.n_columns)
        except (FileNotFoundError, FlatFileError):
            return None

    def write(self, form: "CompiledForm") -> None:
        """Write the form for later processes, unless others can write to the folder."""
        from nightscore.models.compiled.flat import write_form

        if not self.is_shared:
            write_form(form, self._path(".flat"))

    @property
    def n_bytes(self) -> int:
        """Size of the form; 0: it does not exist, or is not used."""
        if self.is_shared:
            return 0
        try:
            return self._path(".flat").stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def checked(self) -> PredictorRecord | None:
        """How its first rows compared with the library; None: they were not compared yet."""
        if self.is_shared:
            return None
        try:
            record = PredictorRecord.model_validate_json(self._path(".checked.json").read_text())
        except (FileNotFoundError, ValidationError):
            return None
        return record.model_copy(update={"checked_earlier": True})

    @property
    def differs(self) -> str:
        """Why it is not used; empty: it is."""
        if self.is_shared:
            return ""
        try:
            return PredictorRecord.model_validate_json(self._path(".differs.json").read_text()).why
        except FileNotFoundError:
            return ""
        except ValidationError:
            return "the note that it differed cannot be read"

    def note(self, record: PredictorRecord) -> None:
        """Store what a comparison has shown, unless others can write to the folder."""
        if self.is_shared:
            return

        path = self._path(".differs.json" if record.has_differed else ".checked.json")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        spool = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        spool.write_text(record.model_dump_json())
        spool.replace(path)

    def _path(self, ending: str) -> Path:
        return self.stem.with_name(self.stem.name + ending)


@functools.cache
def engine_digest(package: Path = PACKAGE) -> str:
    """A digest of the version and the content of the code that makes and reads forms."""
    content = source_digest(*(package / name for name in SOURCES))
    version = installed_version("nightscore")
    return hashlib.sha256(f"{version} {content}".encode()).hexdigest()
