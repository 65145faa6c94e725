"""A list of checks that are all made, whatever the ones before them have found."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from nightscore.errors import ScoringError

T = TypeVar("T")

State = Literal["ok", "warning", "failed", "skipped"]


class UnknownError(Exception):
    """A check needs what an earlier one could not find out."""


@dataclass(frozen=True, slots=True)
class Finding(Generic[T]):
    """What a check has found that did not fail."""

    value: T
    """What later checks need."""
    text: str
    """For people, in a few words."""
    warnings: Sequence[str] = ()
    """What does not keep a run from publishing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    """In a few words."""
    warnings: tuple[str, ...] = ()
    error: ScoringError | None = None
    """Why it failed: what is wrong, and what to do next."""
    same_as: str = ""
    """The check that has failed for the same reason before."""
    seconds: float = 0.0


class Checklist:
    """The checks of one call, in their order."""

    def __init__(self) -> None:
        """No check is made yet."""
        self.checks: list[Check] = []

    def look(self, name: str, examine: Callable[[], Finding[T]]) -> T | None:
        """Make a check.

        Args:
            name: What is looked at.
            examine: Looks at it. A `ScoringError` means that the check failed, an `UnknownError`
                that it cannot be made.

        Returns:
            What later checks need; None: it is not known.
        """
        start = time.perf_counter()
        try:
            finding = examine()
        except UnknownError as missing:
            self.skip(name, f"needs the {missing}")
            return None
        except ScoringError as error:
            self._fail(name, error, time.perf_counter() - start)
            return None

        check = Check(
            name=name,
            state="warning" if finding.warnings else "ok",
            found=finding.text,
            warnings=tuple(finding.warnings),
            seconds=time.perf_counter() - start,
        )
        self.checks.append(check)
        return finding.value

    def skip(self, name: str, reason: str) -> None:
        """Say why something is not looked at."""
        self.checks.append(Check(name=name, state="skipped", found=reason))

    def _fail(self, name: str, error: ScoringError, seconds: float) -> None:
        """Record a failure. One cause of several failures is told once."""
        same_as = ""
        for earlier in self.checks:
            if earlier.error is not None and str(earlier.error) == str(error):
                same_as = earlier.same_as or earlier.name

        found = f"the same as {same_as}" if same_as else error.what
        check = Check(
            name=name, state="failed", found=found, error=error, same_as=same_as, seconds=seconds
        )
        self.checks.append(check)


def known(value: T | None, name: str) -> T:
    """The value.

    Raises:
        UnknownError: The check of this name has not found it.
    """
    if value is None:
        raise UnknownError(name)
    return value
