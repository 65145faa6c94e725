"""How data are laid out, and what was guessed about them."""

from dataclasses import dataclass
from pathlib import Path

from nightscore.schemas.partition import InputFile
from nightscore.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to begin with."""

    folder: Path
    """Of the project."""
    model: str = ""
    """URI of a model; empty: it is named later."""
    data: str = ""
    """Path or URL of data; empty: they are named later."""
    registry: str | None = None
    """As in a job file."""
    name: str = ""
    """Of the job; empty: it is guessed."""


@dataclass(frozen=True, slots=True)
class Guess:
    """One thing that nobody has said."""

    key: str
    """The key of the job file that it is about."""
    value: str
    reason: str
    """Why, as a clause."""


@dataclass(frozen=True, slots=True)
class Link:
    """A file that gets a place in a partition of the project. It is not moved."""

    source: Path
    target: str
    """Below the folder of the partitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Partitions that are there, or that links make."""

    uri: str
    """The folder of the partitions. With links it is not there yet."""
    key: str
    pattern: str
    """How a date is written as a partition value."""
    newest: str | None
    """Value of the newest partition."""
    store: Store
    """Where the sample is."""
    sample: tuple[InputFile, ...]
    """The files of the newest partition, where they are now."""
    guesses: tuple[Guess, ...]
    links: tuple[Link, ...] = ()
    is_dated: bool = True
    """The partitions are in the data. If not, there is one, named after the last change."""
    is_table: bool = False
    """The data are a Delta table without partitions."""
