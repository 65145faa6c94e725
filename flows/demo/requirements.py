"""What the demo and the local stack need beside nightscore itself. Imports none of it."""

import shlex
import sys
from importlib import metadata

from packaging.requirements import Requirement

from nightscore.errors import StackError

EXTRA = "demo"


def check_installed() -> None:
    """Check that everything of the extra `demo` is installed.

    Raises:
        StackError: Something is not, or in another version; with the one command that installs it.
    """
    missing = [text for text in map(_missing, _requirements()) if text]
    if not missing:
        return

    install = [sys.executable, "-m", "pip", "install", f"nightscore[{EXTRA}]"]
    raise StackError(
        "The demo and the local stack need libraries that are not installed.",
        problems=missing,
        next_step=shlex.join(install),
    )


def _requirements() -> list[Requirement]:
    """What the extra adds to the distribution's own requirements."""
    requirements = map(Requirement, metadata.requires("nightscore") or ())
    return [
        requirement
        for requirement in requirements
        if requirement.marker and requirement.marker.evaluate({"extra": EXTRA})
    ]


def _missing(requirement: Requirement) -> str:
    """What is wrong with the installed version; empty if nothing is."""
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{wanted} is not installed"

    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{wanted} is needed, {version} is installed"
