"""Which registry serves a URI, by its scheme.

MLflow costs 1.8 s of CPU to import, and resolving a version needs three rows of a registry. A
SQLite file and a tracking server are therefore asked directly; every other store goes through
MLflow.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import cast

from nightscore.models.registries.client import ClientRegistry
from nightscore.models.registries.protocol import Registry, WritableRegistry
from nightscore.models.registries.server import ServerRegistry, can_ask
from nightscore.models.registries.sqlite import SCHEME, open_sqlite

_registered: dict[str, Callable[[str], Registry]] = {}


@contextlib.contextmanager
def open_registry(uri: str, patience_s: float | None = None) -> Iterator[Registry]:
    """The registry at a URI.

    Args:
        uri: Of the registry.
        patience_s: Seconds for each answer of a tracking server; None: as long as a run waits.

    Raises:
        ModelNotFoundError: There is none.
        StorageUnavailableError: It does not answer.
    """
    scheme = uri.partition("://")[0]
    if scheme in _registered:
        yield _registered[scheme](uri)
    elif uri.startswith(SCHEME):
        with open_sqlite(uri) as registry:
            yield registry
    elif can_ask(uri):
        yield ServerRegistry(uri, patience_s)
    else:
        yield ClientRegistry(uri)


def open_writable(uri: str) -> WritableRegistry:
    """The registry at a URI, to change it. MLflow's own client does so, for all kinds of store.

    Raises:
        StorageUnavailableError: It does not answer.
    """
    scheme = uri.partition("://")[0]
    if scheme in _registered:
        return cast(WritableRegistry, _registered[scheme](uri))
    return ClientRegistry(uri)


@contextlib.contextmanager
def registered(scheme: str, connect: Callable[[str], Registry]) -> Iterator[None]:
    """Open URIs of a scheme with `connect` in this process until the block ends."""
    before = dict(_registered)
    _registered[scheme] = connect
    try:
        yield
    finally:
        _registered.clear()
        _registered.update(before)
