"""What an output format is, for everything that plans, writes and cleans before publishing.

A format is one module of `nightscore.outputs.formats`, imported when a job first names it. Nothing
here imports an output.
"""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightscore.schemas.job import OUTPUT_FORMATS, ScoringJob
from nightscore.storage.protocol import Capabilities

if TYPE_CHECKING:  # a partition that is unchanged needs no Arrow
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """One value of `output.format`. Its module defines it as `FORMAT`."""

    name: str
    title: str
    """What it makes, for messages: "a Delta table"."""
    requirement: str
    """What it needs from a store, for messages: "Delta tables need exclusive commits"."""
    is_supported: Callable[[Capabilities], bool]
    """Whether a store with these capabilities can have it."""
    writes_in_place: bool
    """Workers write parts where they stay. Otherwise they stage them in the state folder."""
    stores_arrow_schema: bool
    """Files hold the Arrow schema, so dictionaries are read as such. A table has its own schema."""
    ignores_case: bool
    """Names of columns that differ only by case cannot stand side by side."""
    driver_bytes: int
    """Memory that publishing takes in the driver."""
    storage_type: "Callable[[pa.DataType], pa.DataType | None]"
    """The type in which a column is stored without loss. None: there is none."""
    open_publisher: Callable[..., Any]
    """From a `Workspace` to its `Publisher`."""
    seal: Callable[..., Any] | None = None
    """Makes one object of staged parts, in a worker. None: parts are published as they are.

    It takes the job, the partition's folder, the run id, the parts and the Arrow schema, and
    returns a `WrittenPart`.
    """


_registered: dict[str, OutputFormat] = {}


def find_format(name: str) -> OutputFormat:
    """The output format of a name."""
    return _registered[name] if name in _registered else _load(name)


def format_of(job: ScoringJob) -> OutputFormat:
    """The output format of a job."""
    return find_format(job.output.format)


def known_formats() -> list[OutputFormat]:
    """All output formats."""
    return [*map(_load, OUTPUT_FORMATS), *_registered.values()]


@contextlib.contextmanager
def registered_format(output_format: OutputFormat) -> Iterator[None]:
    """Know a further format in this process until the block ends."""
    _registered[output_format.name] = output_format
    try:
        yield
    finally:
        del _registered[output_format.name]


@functools.cache
def _load(name: str) -> OutputFormat:
    output_format: OutputFormat = importlib.import_module(
        f"nightscore.outputs.formats.{name}"
    ).FORMAT
    return output_format
