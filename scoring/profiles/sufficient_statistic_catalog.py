"""What a sufficient statistic of a column of numbers is, and the list of them.

A module of `sufficient_statistics` declares a class as `STATISTIC`, see `SufficientStatistic`.
Nothing else knows it by name: profiles count it, merge it, and write it to the columns of its own
that it declares.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

import pyarrow as pa

from nightscore.profiles import sufficient_statistics
from nightscore.profiles.counting import CountSpec, NumberCounts


class SufficientStatistic(Protocol):
    """A statistic that can be added up.

    Merging is associative and commutative, and empty is its identity. It never writes into an array
    that it holds: copies share their arrays.
    """

    FIELDS: ClassVar[tuple[pa.Field, ...]]
    """Its columns in a table of profiles. Names are unique among all statistics."""
    IS_REQUIRED: ClassVar[bool]
    """Whether every table of profiles has these columns: not so of what an older version did not
    count."""
    COUNTS_SEGMENTS: ClassVar[bool]
    """Whether it is counted for each segment too, or for all rows together only."""
    NEEDS_VALUES: ClassVar[bool]
    """Whether it reads `NumberCounts.finite`. Its columns are then counted chunk by chunk, which
    takes more time: of others the counts of all batches are added at once."""

    @classmethod
    def empty(cls, spec: CountSpec) -> Self:
        """The statistic of no values."""
        ...

    def add(self, counts: NumberCounts) -> None:
        """Add a chunk of a column."""
        ...

    def merge(self, other: Self) -> None:
        """Add another part, which stays as it is."""
        ...

    def to_row(self) -> dict[str, Any]:
        """The values of its fields."""
        ...

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self | None:
        """The statistic from the values of its fields, where lists are arrays.

        None: this column's was not counted, as of a file that an older version has written.

        Raises:
            TypeError, ValueError: The values are not what `to_row` gives.
        """
        ...


@functools.cache
def all_statistics() -> Mapping[str, type[SufficientStatistic]]:
    """Each statistic by the name of its module."""
    package = sufficient_statistics
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return {name: importlib.import_module(f"{package.__name__}.{name}").STATISTIC for name in names}
