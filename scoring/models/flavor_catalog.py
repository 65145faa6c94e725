"""Which flavor loads a model.

A flavor is a module of `models/flavors`, named as MLflow names it. One of another distribution is
an entry point of the group `nightscore.flavors`, so that worker processes find it too.
`register_flavor` adds one to this process only.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Iterator

from nightscore.errors import ModelLoadError
from nightscore.models import flavors
from nightscore.models.flavor import Flavor
from nightscore.models.mlmodel import MlModel

ENTRY_POINTS = "nightscore.flavors"
FALLBACK = "python_function"
"""Loads every model that no other flavor claims."""

_registered: dict[str, Flavor] = {}


def register_flavor(flavor: Flavor) -> None:
    """Add a flavor to this process.

    Raises:
        ValueError: There is a flavor of this name already.
    """
    if flavor.name in _built_in() or _registered.get(flavor.name, flavor) is not flavor:
        raise ValueError(f"there is a flavor {flavor.name!r} already")

    _registered[flavor.name] = flavor


@contextlib.contextmanager
def registered(flavor: Flavor) -> Iterator[None]:
    """Register a flavor until the block ends."""
    register_flavor(flavor)
    try:
        yield
    finally:
        del _registered[flavor.name]


def flavor_of(mlmodel: MlModel) -> Flavor:
    """The flavor that loads a model version.

    What decides whom to trust asks this too: what is loaded is what was looked at.
    """
    named = [find_flavor(name) for name in mlmodel.flavors]
    claiming = [flavor for flavor in named if flavor is not None and flavor.claims(mlmodel)]
    if not claiming:
        return flavor_named(FALLBACK)

    return max(claiming, key=lambda flavor: flavor.precedence)


def flavor_named(name: str) -> Flavor:
    """The flavor of this name.

    Raises:
        ModelLoadError: It is not installed.
    """
    flavor = find_flavor(name)
    if flavor is None:
        raise ModelLoadError(
            f"The model's flavor {name!r} is not installed.",
            expected=f"one of {', '.join(sorted({*_built_in(), *_installed(), *_registered}))}",
            next_step="install the distribution that provides it",
        )

    return flavor


def find_flavor(name: str) -> Flavor | None:
    """The flavor of this name, or None. Only its own module is imported."""
    # A model's file says the name: it is looked up, and never imported as it stands.
    if name in _built_in():
        module = importlib.import_module(f"{flavors.__name__}.{name}")
        declared: Flavor = module.FLAVOR
        return declared

    if name in _registered:
        return _registered[name]

    entry_point = _installed().get(name)
    return None if entry_point is None else _load(entry_point)


@functools.cache
def _built_in() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules(flavors.__path__))


@functools.cache
def _installed() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _load(entry_point: importlib.metadata.EntryPoint) -> Flavor:
    try:
        flavor = entry_point.load()
        if not isinstance(flavor, Flavor):
            raise TypeError(f"{entry_point.value} is a {type(flavor).__name__}, not a Flavor")
        return flavor
    except Exception as error:
        raise ModelLoadError(
            f"The model flavor {entry_point.name!r} cannot be loaded.",
            f"the entry point {entry_point.value}",
            found=f"{type(error).__name__}: {error}",
            next_step="repair or uninstall the distribution that provides it",
        ) from error
