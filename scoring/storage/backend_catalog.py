"""Which backend serves a URI scheme. Modules are imported when a scheme is first used."""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator

from nightscore.storage.protocol import Backend, Capabilities

MODULES = {
    "file": "local",
    "s3": "s3",
    "s3a": "s3",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "gs": "gcs",
    "gcs": "gcs",
}
"""Scheme to its module of `storage/backends`, which defines `BACKEND`."""

FALLBACK = "generic"
"""Serves all other schemes, as far as fsspec knows them."""

_registered: dict[str, type[Backend]] = {}


def find_backend(scheme: str) -> type[Backend]:
    """The backend of a URI scheme."""
    if scheme in _registered:
        return _registered[scheme]
    return _load(MODULES.get(scheme, FALLBACK))


def known_backends() -> tuple[type[Backend], ...]:
    """All backends, each once."""
    further = dict.fromkeys(_registered.values())
    return (*_built_in(), *further)


def describe_places(is_able: Callable[[Capabilities], bool]) -> str:
    """The kinds of places whose backends have a capability, for error messages."""
    able = [backend for backend in known_backends() if is_able(backend.capabilities)]
    places: list[str] = []
    for backend in able:
        if backend.is_local:
            places.append("a local folder")
        else:
            places += [f"{scheme}://" for scheme in backend.schemes]

    *others, last = places
    return f"{', '.join(others)} or {last}" if others else last


@contextlib.contextmanager
def registered(backend: type[Backend]) -> Iterator[None]:
    """Serve the backend's schemes in this process until the block ends."""
    before = dict(_registered)
    _registered.update(dict.fromkeys(backend.schemes, backend))
    try:
        yield
    finally:
        _registered.clear()
        _registered.update(before)


@functools.cache
def _load(module: str) -> type[Backend]:
    backend: type[Backend] = importlib.import_module(
        f"nightscore.storage.backends.{module}"
    ).BACKEND
    return backend


@functools.cache
def _built_in() -> tuple[type[Backend], ...]:
    backends = [_load(module) for module in (*MODULES.values(), FALLBACK)]
    return tuple(dict.fromkeys(backends))
