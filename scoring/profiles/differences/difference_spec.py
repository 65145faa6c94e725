"""What is compared of two models' predictions, over which bins and groups."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nightscore.profiles.bins import Floats
from nightscore.profiles.class_counter import ClassColumns
from nightscore.profiles.differences.exact_sums import GRAIN_BITS
from nightscore.profiles.differences.group_counts import GroupColumn
from nightscore.profiles.differences.score_grid import UNIT_INTERVAL, ScoreGrid
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.profile_spec import OTHER, ProfileSpec
from nightscore.profiles.table import ColumnProfile, Key

PROBABILITY = "probability"
MOST_COLUMNS = 100
"""Features that rows are grouped by. Of a wider model the first ones are taken."""
MOST_VALUES = 20
"""Values of a text feature with a group of their own: the most frequent ones of the baseline."""
LEAST_SAMPLED = 16_384
"""Rows of a partition that are grouped, at least, if it has as many."""
MOST_GROUPED = 1 << 19
"""Values of a partition's features that are grouped, about. They take some 10 ms of CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceSpec:
    """What a worker compares, row by row."""

    score: str = ""
    """Prediction column that both models have, and that is compared. Empty: there is none, or there
    are several classes."""
    threshold: float | None = None
    """A row is predicted positive if its probability is greater. None: nothing is decided."""
    classes: ClassColumns | None = None
    """Of models of several classes. The score is then the probability of the class that the
    champion predicts."""
    champion_grid: ScoreGrid | None = None
    """Bins of scores for the joint counts. None: they are not known, and ranks are not compared."""
    challenger_grid: ScoreGrid | None = None
    columns: tuple[GroupColumn, ...] = ()
    """What rows are grouped by."""
    grain: int | None = None
    """Differences below 2**(grain + 28) are added by group as multiples of 2**grain: to 28 bits.
    None: as they are, which takes longer."""
    sample_bits: int = 0
    """One row in 2**sample_bits is grouped."""
    keys: tuple[str, ...] = ()
    """Columns that tell rows apart, in the output."""


MOST_GRAIN = 400
"""Of a grain. Squares have one twice as large."""


def score_to_compare(predictions: Sequence[str], score: str) -> str:
    """The prediction column to compare of two models; empty: they have no number in common.

    Args:
        predictions: Names of the challenger's columns.
        score: The champion's, as `score_column` gives it.
    """
    return score if score in predictions else ""


def grid_of(score: str, reference: Mapping[Key, ColumnProfile] | None) -> ScoreGrid | None:
    """The grid of a model's scores, from its baseline.

    Args:
        score: The prediction column. Empty: of a probability of one of several classes.
        reference: The profiles of the baseline; None: there is none.
    """
    column = (reference or {}).get(("prediction", score, ""))
    if column is not None and isinstance(column.profile, NumberProfile):
        grid = ScoreGrid.from_edges(column.profile.edges.fine)

        if grid is not None:
            return grid

    if score in ("", PROBABILITY):
        return ScoreGrid.from_edges(UNIT_INTERVAL)
    return None


def grain_of(grid: ScoreGrid | None) -> int | None:
    """The grain of differences between scores on a grid; None: without one there is no scale."""
    if grid is None:
        return None
    low, high = grid.edges[0], grid.edges[-1]
    is_share = low >= 0 and high <= 1
    _, exponent = math.frexp(high - low)
    grain = (1 if is_share else exponent + 2) - GRAIN_BITS
    return grain if abs(grain) < MOST_GRAIN else None


def group_columns(
    spec: ProfileSpec, reference: Mapping[Key, ColumnProfile] | None
) -> tuple[GroupColumn, ...]:
    """What rows are grouped by: the segments of the profile, and the features of the baseline.

    Args:
        spec: What is profiled of the champion's run.
        reference: The profiles of its baseline; None: there is none, and the bins are the run's.
    """
    groups: dict[str, GroupColumn] = {}
    for segment in spec.segments:
        groups[segment.name] = GroupColumn("segment", segment.name, values=segment.values)

    features = [column for column in spec.columns if column.role == "feature"]
    for column in features[:MOST_COLUMNS]:
        group: GroupColumn | None
        if column.edges is not None:
            group = _number_group(column.name, column.edges.deciles)
        else:
            group = _text_group(column.name, reference or {})

        if group is not None:
            groups.setdefault(column.name, group)

    return tuple(groups.values())


def sample_bits(n_rows: int, n_columns: int) -> int:
    """How rare grouped rows are: one in two to this power.

    Args:
        n_rows: Of the partition.
        n_columns: That rows are grouped by.
    """
    n_wanted = max(LEAST_SAMPLED, MOST_GROUPED // max(n_columns, 1))
    return ((n_rows - 1) // n_wanted).bit_length()


def _number_group(name: str, edges: Floats) -> GroupColumn | None:
    finite = edges[np.isfinite(edges)]
    return GroupColumn("feature", name, edges=tuple(finite.tolist())) if len(finite) else None


def _text_group(name: str, reference: Mapping[Key, ColumnProfile]) -> GroupColumn | None:
    column = reference.get(("feature", name, ""))
    if column is None or not isinstance(column.profile, CategoryProfile):
        return None
    if column.profile.is_cut:
        return None  # the values of an identifier

    counts = column.profile.counts
    by_frequency = sorted(counts, key=lambda value: (-counts[value], value))
    values = [value for value in by_frequency if value != OTHER][:MOST_VALUES]
    return GroupColumn("feature", name, values=tuple(sorted(values)))
