"""Calls of functions on a cluster's nodes, and their replies: small records, packed once.

The cluster's own processes never unpack them. So no library of a model is loaded there, and
versions are compared before anything that they could change.
"""

import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nightscore.models.registries.protocol import ModelVersion


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a node gets a model by itself: what travels in place of a path of the driver's host."""

    version: ModelVersion
    registry: str = field(repr=False)
    digest: str
    """The digest that the driver has checked; a node loads nothing else."""


@dataclass(frozen=True, slots=True)
class Call:
    """One function to run in a process of its own on some node."""

    key: str
    """Unique: no call is sent twice."""
    payload: bytes = field(repr=False)
    """Function and arguments, packed."""
    versions: Mapping[str, str]
    """The driver's versions."""
    environment: Mapping[str, str]
    """Further variables of the process."""
    deadline_s: float | None = None
    """Seconds from its start; None: there is no limit."""


Outcome = Literal["done", "raised", "died", "hung", "repeated", "mismatched"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a call.

    `repeated`: the cluster has started it a second time by itself, and it was not run.
    `mismatched`: the worker's versions differ from the driver's, and it was not run.
    """

    outcome: Outcome
    content: bytes = field(default=b"", repr=False)
    """The pickled result, or the pickled exception."""
    cause: str = ""
    """Why it has neither."""
    worker: str = ""
    """Name of the cluster's process."""
    pid: int = 0
    """Number of the process that has run it."""


def pack(
    function: Callable[..., Any], arguments: Sequence[object], models: Mapping[Path, ModelSource]
) -> bytes:
    """A call's payload; paths of this host's models are replaced by where a node gets them."""
    buffer = io.BytesIO()
    _Packer(buffer, models).dump((function, tuple(arguments)))
    return buffer.getvalue()


def unpack(
    payload: bytes, locate: Callable[[ModelSource], Path]
) -> tuple[Callable[..., Any], Iterable[Any]]:
    """Function and arguments of a payload, with paths of this host.

    Args:
        payload: A call's payload.
        locate: Gives a model's path; called for each model.
    """
    function, arguments = _Unpacker(io.BytesIO(payload), locate).load()
    return function, arguments


class _Packer(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, models: Mapping[Path, ModelSource]) -> None:
        super().__init__(buffer, protocol=5)
        self._models = models

    def persistent_id(self, value: Any) -> ModelSource | None:
        return self._models.get(value) if isinstance(value, Path) else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, locate: Callable[[ModelSource], Path]) -> None:
        super().__init__(buffer)
        self._locate = locate

    def persistent_load(self, source: ModelSource) -> Path:
        return self._locate(source)
