"""Compiled forms on this host, by the model's digest and by all that they were made with.

<cache>/forms/<digest>-<key>.flat             the model as data
<cache>/forms/<digest>-<key>.checked.json     its first rows were compared with the library's own
<cache>/forms/<digest>-<key>.differs.json     and were found to differ: it is not used

Where others can write to the folder nothing there is read, and nothing is written: each process makes its own form.
"""

import functools
import hashlib
import importlib.metadata
import json
import platform
import uuid
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from nightscore.models.compiled.flat import CompiledForm, FlatFileError, read_form, write_form
from nightscore.native.private_files import is_private
from nightscore.native.sources import source_digest
from nightscore.schemas.manifest import PredictorRecord
from nightscore.schemas.model import ModelFacts

FOLDER = "forms"
PACKAGE = Path(__file__).parents[2]
SOURCES = ("models", "native")
"""Packages whose code decides what a form is, and what its numbers mean to the kernels."""


@dataclass(frozen=True, slots=True)
class CachedForm:
    """Where the compiled form of one model is, and what was found of it. Safe with several processes."""

    stem: Path
    n_columns: int = 0
    """Of the tables that the model is given; 0: it does not say."""

    @classmethod
    def for_model(cls, folder: Path, facts: ModelFacts) -> "CachedForm":
        """Of a model in the cache.

        Args:
            folder: Of its artifacts, whose name is the digest.
            facts: What it is, and with which versions of the libraries it was loaded.
        """
        made_with = [
            _engine(),
            platform.python_version(),
            platform.machine(),
            *sorted(facts.loaded_with.items()),
        ]
        key = hashlib.sha256(json.dumps(made_with).encode()).hexdigest()[:16]
        return cls(folder.parent / FOLDER / f"{folder.name}-{key}", facts.n_columns)

    @property
    def is_shared(self) -> bool:
        """Whether others can write to the folder: whoever can changes predictions."""
        try:
            return not is_private(self.stem.parent)
        except FileNotFoundError:
            return False

    def read(self) -> CompiledForm | None:
        """None: it is not there, not whole, or others could have written it."""
        if self.is_shared:
            return None
        try:
            return read_form(self._path(".flat"), self.n_columns)
        except (FileNotFoundError, FlatFileError):
            return None

    def write(self, form: CompiledForm) -> None:
        """Keep it for the processes that come, unless others can write to the folder."""
        if not self.is_shared:
            write_form(form, self._path(".flat"))

    @property
    def n_bytes(self) -> int:
        """Of the form; 0: it is not there, or not used."""
        try:
            return 0 if self.is_shared else self._path(".flat").stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def checked(self) -> PredictorRecord | None:
        """How its first rows compared with the library's own; None: nobody has looked yet."""
        if self.is_shared:
            return None
        try:
            found = PredictorRecord.model_validate_json(self._path(".checked.json").read_text())
        except (FileNotFoundError, ValidationError):
            return None
        return found.model_copy(update={"checked_earlier": True})

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
        """Keep what a comparison has shown, unless others can write to the folder."""
        if self.is_shared:
            return
        path = self._path(".differs.json" if record.has_differed else ".checked.json")
        spool = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        spool.write_text(record.model_dump_json())
        spool.replace(path)

    def _path(self, ending: str) -> Path:
        return self.stem.with_name(self.stem.name + ending)


@functools.cache
def _engine(package: Path = PACKAGE) -> str:
    """Version and content of the code that makes forms and reads them."""
    content = source_digest(*(package / name for name in SOURCES))
    version = importlib.metadata.version("nightscore")
    return hashlib.sha256(f"{version} {content}".encode()).hexdigest()
