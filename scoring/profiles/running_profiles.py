"""Counting the same columns of numbers batch after batch, with little to do for each of them."""

from collections.abc import Sequence

import pyarrow as pa

from nightscore.native.constants import COLUMNS_TOGETHER
from nightscore.native.machine_code import Kernels
from nightscore.profiles.counting import RunningCounts
from nightscore.profiles.profile import NumberProfile

MOST_RUNNING = 256
"""Columns whose counts are kept between batches: 4 MB a shard."""


class RunningProfiles:
    """Counts batches by machine code, and adds to profiles what was counted of all of them."""

    def __init__(self, profiles: Sequence[NumberProfile], kernels: Kernels) -> None:
        """Lay the columns out.

        Args:
            profiles: At most `MOST_RUNNING`, none of which needs values.
            kernels: Machine code.
        """
        self._profiles = tuple(profiles)
        self._groups = _groups(profiles, kernels)

    @staticmethod
    def can_count(profiles: Sequence[NumberProfile]) -> bool:
        """Whether these columns are few enough, and no statistic of theirs reads values."""
        if len(profiles) > MOST_RUNNING:
            return False
        return not any(profile.needs_values for profile in profiles)

    def counts(self, profiles: Sequence[NumberProfile]) -> bool:
        """Whether these are the profiles that are counted, in this order."""
        if len(profiles) != len(self._profiles):
            return False
        return all(map(_is_same, profiles, self._profiles))

    def add(self, columns: Sequence[pa.ChunkedArray]) -> list[int]:
        """Count a batch.

        Args:
            columns: One for each profile.

        Returns:
            How many values of each are null or NaN.
        """
        n_missing = [0] * len(columns)
        n_chunks = max((column.num_chunks for column in columns), default=0)

        for number in range(n_chunks):
            for places, running in self._groups:
                chunks = [_chunk(columns[place], number) for place in places]
                for place, n_more in zip(places, running.add(chunks).tolist(), strict=True):
                    n_missing[place] += n_more

        return n_missing

    def finish(self) -> None:
        """Add what was counted since this was called last to the profiles."""
        for places, running in self._groups:
            for place, counts in zip(places, running.take(), strict=True):
                self._profiles[place].add_counts(counts)


def _groups(
    profiles: Sequence[NumberProfile], kernels: Kernels
) -> list[tuple[list[int], RunningCounts]]:
    """The places of profiles of one shape, and what counts them in one call."""
    by_shape: dict[tuple[int, bool], list[int]] = {}

    for place, profile in enumerate(profiles):
        shape = profile.counter(kernels).n_bins, profile.distinct is not None
        by_shape.setdefault(shape, []).append(place)

    groups = []

    for (_, with_hashes), alike in by_shape.items():
        for first in range(0, len(alike), COLUMNS_TOGETHER):
            places = alike[first : first + COLUMNS_TOGETHER]
            counters = [profiles[place].counter(kernels) for place in places]
            groups.append((places, RunningCounts(counters, with_hashes=with_hashes)))

    return groups


def _chunk(column: pa.ChunkedArray, number: int) -> pa.Array | None:
    return column.chunk(number) if number < column.num_chunks else None


def _is_same(one: NumberProfile, other: NumberProfile) -> bool:
    return one is other
