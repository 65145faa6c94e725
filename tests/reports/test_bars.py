"""The axis of a column: round labels that tell bins apart, whatever the values are."""

import math
import re

import numpy as np
import pyarrow as pa
import pytest

from nightscore.profiles.edges import Edges
from nightscore.profiles.numbers import finite_values
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.table import ColumnProfile
from nightscore.reports.bars import DISPLAY_BINS, Bars, bars_of
from nightscore.reports.plots import contact_sheet_png, histogram_svg
from nightscore.reports.ticks import number_ticks, time_ticks

RNG = np.random.default_rng(3)
DAY_S = 86_400


def bars(reference: pa.Array, current: pa.Array | None = None) -> Bars:
    """The bars of a column of numbers, dates or moments."""
    sides = [reference, reference if current is None else current]
    edges = Edges.from_values(finite_values([pa.chunked_array([reference])]))
    columns = []
    for side in sides:
        profile = NumberProfile.empty(edges)
        profile.add(pa.chunked_array([side]))
        columns.append(
            ColumnProfile(role="feature", name="x", profile=profile, type=str(side.type))
        )
    drawn = bars_of(*columns)
    assert drawn is not None
    return drawn


def tick_labels(drawn: Bars) -> list[str]:
    return [tick.label for tick in drawn.ticks]


COLUMNS: dict[str, tuple[pa.Array, list[str]]] = {
    "zeros": (pa.array([0.0] * 300), ["-1", "-0.5", "0", "0.5", "1"]),
    "denormals": (pa.array([0.0, 5e-324, -5e-324, 1e-310] * 200), ["-1", "-0.5", "0", "0.5", "1"]),
    "a constant": (pa.array([5.0] * 300), ["4.5", "4.75", "5", "5.25", "5.5"]),
    "the largest float": (
        pa.array([1.7976931348623157e308] * 300),
        ["2.2e307", "2.4e307"],
    ),
    "the whole of float64": (pa.array([-1.7e308, 0.0, 1.7e308] * 200), ["-2e307", "0", "2e307"]),
    "infinities apart": (
        pa.array([math.inf, -math.inf, math.nan, 1.0, 2.0, 3.0] * 200),
        ["1", "1.5", "2", "2.5", "3"],
    ),
    "years": (pa.array([2012, 2013, 2014] * 200), ["2012", "2013", "2014"]),
    "millions": (pa.array(np.linspace(0, 8e6, 400)), ["2M", "4M", "6M"]),
    "dates": (
        pa.array(np.arange(19_723, 20_089), pa.int32()).cast(pa.date32()),
        ["2024-01-07", "2024-07-02", "2024-12-25"],
    ),
    "hours": (
        pa.array(1_704_067_200 + np.arange(0, 21_600, 60), pa.int64()).cast(pa.timestamp("s")),
        ["2024-01-01 00:05", "2024-01-01 02:59", "2024-01-01 05:53"],
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_labels_are_values_that_people_know(name: str) -> None:
    values, expected = COLUMNS[name]
    drawn = bars(values)
    assert tick_labels(drawn) == expected
    assert drawn.reference.sum() == pytest.approx(1.0)
    for place in range(DISPLAY_BINS + 2):
        label = drawn.bin_label(place)
        assert not re.search(r"e-(2|3)\d\d|inf|nan|\d{7,}", label), label


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_can_be_drawn(name: str) -> None:
    """Warnings are errors, but for those of fonts."""
    drawn = bars(COLUMNS[name][0])
    svg = histogram_svg(drawn, name)
    for label in COLUMNS[name][1]:
        assert f">{label}<" in svg
    assert contact_sheet_png([(name, drawn)]).startswith(b"\x89PNG")


def test_equal_shares_are_no_change_of_1e_17() -> None:
    svg = histogram_svg(bars(pa.array([0.0] * 300)), "zeros")
    assert "1e" not in re.sub(r"<path[^>]*>", "", svg)


def test_bins_are_told_apart() -> None:
    drawn = bars(pa.array(1_000_000 + RNG.normal(0, 0.01, 2_000)))
    labels = [drawn.bin_label(place) for place in range(DISPLAY_BINS + 2)]
    assert len(set(labels)) == len(labels)
    assert labels[0].startswith("below ")
    assert labels[-1].startswith("above ")


def test_categories_keep_their_names() -> None:
    columns = []
    for values in (["a"] * 3 + ["b"], ["a"] + ["b"] * 3 + [f"c{i}" for i in range(20)]):
        profile = CategoryProfile()
        profile.add(pa.chunked_array([pa.array(values)]))
        columns.append(ColumnProfile(role="feature", name="x", profile=profile))
    drawn = bars_of(*columns)
    assert drawn is not None
    assert drawn.bin_label(0) in ("a", "b")
    assert drawn.bin_label(len(drawn.labels) - 1) == "all others"
    assert drawn.reference.sum() == pytest.approx(1.0)
    assert drawn.current.sum() == pytest.approx(1.0)


def test_ticks_are_round_and_few() -> None:
    random = np.random.default_rng(4)
    for _ in range(500):
        low = float(random.normal() * 10.0 ** random.integers(-9, 9))
        high = low + float(10 ** random.uniform(-3, 9)) * max(abs(low), 1e-9)
        ticks = number_ticks(low, high)
        assert 1 <= len(ticks) <= 5
        assert len({tick.label for tick in ticks}) == len(ticks)
        assert all(low - 1e-9 <= tick.place <= high * (1 + 1e-9) + 1e-9 for tick in ticks)
    assert [tick.label for tick in time_ticks(0.0, 3.0 * DAY_S)] == [
        "1970-01-01",
        "1970-01-03",
        "1970-01-04",
    ]
