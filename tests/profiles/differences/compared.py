"""Batches of two models' predictions, for tests of what is counted of their differences."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.profiles.differences.difference_counter import DifferenceCounter, Scored
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.profiles.differences.difference_spec import DifferenceSpec, grain_of, grid_of
from nightscore.profiles.differences.group_counts import GroupColumn

DELAY = GroupColumn("feature", "dep_delay", edges=(0.0, 15.0, 60.0))
CARRIER = GroupColumn("segment", "carrier", values=("AA", "UA"))


def binary_spec(*, sample_bits: int = 0) -> DifferenceSpec:
    """What is compared of two classifiers with probabilities."""
    grid = grid_of("probability", None)
    return DifferenceSpec(
        score="probability",
        threshold=0.5,
        champion_grid=grid,
        challenger_grid=grid,
        grain=grain_of(grid),
        columns=(DELAY, CARRIER),
        sample_bits=sample_bits,
        keys=("flight", "leg"),
    )


def make_rows(n: int, seed: int) -> pa.Table:
    """Keys, features and both probabilities, which differ most where `dep_delay` > 60."""
    rng = np.random.default_rng(seed)
    delay = rng.exponential(30, n) - 10
    champion = rng.uniform(size=n)
    noise = rng.normal(size=n) * np.where(delay > 60, 0.2, 0.03)
    challenger = np.clip(champion + noise, 0, 1)

    is_null = rng.uniform(size=n) < 0.05
    return pa.table(
        {
            "flight": pa.array([f"F{number}" for number in range(n)]),
            "leg": pa.array(rng.integers(0, 3, n)),
            "dep_delay": pa.array(delay, mask=is_null),
            "carrier": pa.array(rng.choice(["AA", "UA", "B6"], n)),
            "champion": pa.array(champion),
            "challenger": pa.array(challenger),
            "position": pa.array(np.arange(n)),
        }
    )


def count_rows(
    rows: pa.Table,
    spec: DifferenceSpec,
    cuts: Sequence[int] = (),
    *,
    refused: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> DifferenceCounts:
    """Count rows as a worker does, in batches that end at `cuts`.

    Args:
        rows: As `make_rows` gives them.
        spec: What is compared.
        cuts: Row numbers, ascending.
        refused: Rows that the champion refuses, and that the challenger refuses.
    """
    counter = DifferenceCounter(spec)
    masks = [np.ones(rows.num_rows, np.bool_) for _ in range(2)]
    for mask, places in zip(masks, refused, strict=True):
        mask[list(places)] = False

    for start, end in zip((0, *cuts), (*cuts, rows.num_rows), strict=True):
        batch = rows.slice(start, end - start)
        scored = [mask[start:end] for mask in masks]
        counter.add(
            batch.select(["dep_delay"]),
            batch.select(["flight", "leg", "carrier"]),
            batch.column("position").to_numpy(),
            champion=Scored(scored[0], output_of(batch, "champion", scored[0])),
            challenger=Scored(scored[1], output_of(batch, "challenger", scored[1])),
        )
    return counter.counts()


def output_of(batch: pa.Table, model: str, is_scored: npt.NDArray[np.bool_]) -> pa.Table:
    """The keys and the probability that a model writes."""
    output = batch.select(["flight", "leg"]).append_column("probability", batch.column(model))
    return output.filter(pa.array(is_scored))
