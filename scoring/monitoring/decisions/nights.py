"""Sums up the rows that two models have both scored, by day."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nightscore.monitoring.performance.metrics.paired_losses import add_sums
from nightscore.schemas.comparison import LossSums, PairedRecord

LEAST_ROWS = 30
"""A day with fewer labelled rows does not count: its mean says little, and would weigh as much as
any other."""


@dataclass(frozen=True, slots=True)
class Night:
    """One day: all of its partitions."""

    day: str
    pairs: PairedRecord

    def loss(self, name: str) -> LossSums | None:
        """The sums of one loss. None: there are none."""
        return next((sums for sums in self.pairs.losses if sums.name == name), None)


def group_by_day(records: Iterable[tuple[str, PairedRecord]]) -> list[Night]:
    """The days in their order.

    Args:
        records: The day, as a text that sorts by time, and the pairs of one of its partitions.
    """
    by_day: dict[str, PairedRecord] = {}

    for day, pairs in records:
        by_day[day] = add_pairs(by_day[day], pairs) if day in by_day else pairs

    return [Night(day, by_day[day]) for day in sorted(by_day)]


def add_pairs(first: PairedRecord, second: PairedRecord) -> PairedRecord:
    """The rows of both. Areas are left out: they cannot be added up."""
    others = {sums.name: sums for sums in second.losses}

    if not first.losses or not second.losses:
        losses = first.losses or second.losses
    else:
        common = [sums for sums in first.losses if sums.name in others]
        losses = tuple(add_sums(sums, others[sums.name]) for sums in common)

    return PairedRecord(
        champion_run_id=second.champion_run_id,
        champion_name=second.champion_name,
        champion_version=second.champion_version,
        n=first.n + second.n,
        losses=losses,
        only_champion_right=first.only_champion_right + second.only_champion_right,
        only_challenger_right=first.only_challenger_right + second.only_challenger_right,
        notes=tuple(dict.fromkeys((*first.notes, *second.notes))),
    )


def with_enough_rows(nights: Sequence[Night]) -> list[Night]:
    """The nights that count."""
    return [night for night in nights if night.pairs.losses and night.pairs.n >= LEAST_ROWS]
