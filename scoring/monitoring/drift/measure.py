"""Measures the statistics of columns: all columns of equal shape at once."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from nightscore.monitoring.drift import statistic_catalog
from nightscore.monitoring.drift.statistics.shared.columns import (
    ColumnGroup,
    ColumnPair,
    group_category,
    group_numbers,
)
from nightscore.profiles.bins import Floats
from nightscore.profiles.profile import NumberProfile, Profile

K = TypeVar("K", bound=Hashable)
Values = dict[str, float]
"""Statistic to value; nan where it is not defined."""


def pair_up(reference: Profile, current: Profile, arrow_type: str = "") -> ColumnPair:
    """Two profiles that can be compared.

    Raises:
        ValueError: They cannot: of different kinds or bins, or of an identifier.
    """
    if isinstance(reference, NumberProfile) and isinstance(current, NumberProfile):
        if not reference.edges.equals(current.edges):
            raise ValueError("profiled over other bins than the reference")
        return ColumnPair(reference, current, arrow_type)

    if isinstance(reference, NumberProfile) or isinstance(current, NumberProfile):
        raise ValueError("numbers on one side, categories on the other")

    if reference.is_cut or current.is_cut:
        raise ValueError("has so many distinct values that it is an identifier")

    return ColumnPair(reference, current, arrow_type)


def measure_pairs(pairs: Mapping[K, ColumnPair]) -> dict[K, Values]:
    """The statistics of each column, in the order of the columns.

    Those that depend on the other columns are left out: see `measure_across`.
    """
    measured: dict[K, Values] = {}
    by_shape: dict[tuple[int, int], list[K]] = {}

    for key, pair in pairs.items():
        if isinstance(pair.reference, NumberProfile):
            edges = pair.reference.edges
            shape = len(edges.fine), len(edges.deciles)
            by_shape.setdefault(shape, []).append(key)
        else:
            measured[key] = _measure(group_category(pair))[0]

    for keys in by_shape.values():
        group = group_numbers([pairs[key] for key in keys])
        measured |= zip(keys, _measure(group), strict=True)

    return {key: measured[key] for key in pairs}


def measure_across(columns: Sequence[Values]) -> None:
    """Add the statistics that depend on all columns compared together, such as q-values."""
    if not columns:
        return

    by_name = _ByName(columns)
    for statistic in statistic_catalog.STATISTICS:
        if statistic.across is None:
            continue

        results = statistic.across(by_name).tolist()
        for values, result in zip(columns, results, strict=True):
            values[statistic.name] = result


class _ByName(dict[str, Floats]):
    """Each statistic of all columns, made into an array when it is first asked for."""

    def __init__(self, columns: Sequence[Values]) -> None:
        super().__init__()
        self._columns = columns

    def __missing__(self, name: str) -> Floats:
        values = [column.get(name, np.nan) for column in self._columns]
        self[name] = np.array(values, np.float64)
        return self[name]


def _measure(group: ColumnGroup) -> list[Values]:
    """One record of values a column."""
    names, results = [], []
    for statistic in statistic_catalog.statistics_for(group.type):
        if statistic.measure is not None:
            names.append(statistic.name)
            results.append(statistic.measure(group))

    by_column = np.stack(results, axis=-1).tolist()
    return [dict(zip(names, values, strict=True)) for values in by_column]
