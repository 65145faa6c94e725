"""The page of a job's performance in the Prefect UI."""

import base64
import io
import re
from dataclasses import replace

import matplotlib.image
import numpy as np

from nightscore.flows.ui.evaluation_page import DRAWN_PARTITIONS, performance_markdown
from nightscore.monitoring.performance.track_record import PartitionPerformance
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.performance import MetricRecord
from tests.reports.test_performance_plot import DAYS, partition

ORANGE = (0xC2, 0x41, 0x0C)


def picture_of(page: str) -> bytes:
    (found,) = re.findall(r"!\[[^\]]*\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", page)
    return base64.b64decode(found)


def test_estimates_stand_against_what_came_true_with_their_plot() -> None:
    page = performance_markdown("late_*", DAYS)
    assert page.startswith("## Performance of late_\\*\n\n**AUC**: ")
    assert "1 of 2 matured partitions came true within the band" in page
    assert "concept drift" in page
    assert "Open the page" not in page

    rows = [line for line in page.splitlines() if line.startswith("| 2026-")]
    assert [row.split(" | ")[0] for row in rows] == [f"| {day.partition}" for day in DAYS[::-1]]
    assert rows[-2].split(" | ")[1:4] == [
        "0.690 (0.670 to 0.710)",
        "0.600 (0.580 to 0.620)",
        "+0.090, outside of the band",
    ]

    standing = ComparisonRecord(
        champion="7", challenger="8", verdict="undecided", by="labels", nights=11, more_nights=9
    )
    linked = performance_markdown("late", DAYS, "http://pages/late/-/performance", [standing])
    assert "**Challenger 8 against 7: undecided after 11 nights, about 9 more nights**" in linked
    assert "[Open the page of all metrics](http://pages/late/-/performance)" in linked


def test_the_plot_is_a_small_picture_in_colours_that_are_seen_on_white() -> None:
    many = [partition(f"2026-{n:05}", 0.7, 0.71) for n in range(DRAWN_PARTITIONS)]
    page = performance_markdown("late", many)
    assert len(page) < 100_000, "the server lists artifacts with their data"

    pixels = matplotlib.image.imread(io.BytesIO(picture_of(page)), format="png")[:, :, :3]
    colours = {tuple(row) for row in np.rint(pixels * 255).astype(int).reshape(-1, 3).tolist()}
    band = tuple(round(0.22 * shade + 0.78 * 255) for shade in ORANGE)
    for colour in (ORANGE, band, (0x33, 0x33, 0x33)):
        assert min(np.abs(np.subtract(colour, one)).max() for one in colours) <= 1, colour
    assert not any(max(colour) < 16 for colour in colours), "what stands for a page's colour"


def test_without_any_metric_the_page_says_so() -> None:
    empty = PartitionPerformance(partition="2026-11-25", run_id="", model="models:/m/1")
    page = performance_markdown("late", [empty])
    assert "No metric is known yet." in page
    assert "data:image" not in page

    rmse = MetricRecord(name="rmse", value=12.5, low=11.0, high=14.0, n=90)
    expected = replace(empty, estimated=(rmse,))
    page = performance_markdown("late", [expected])
    assert (
        "**RMSE**: No partition has both an estimate and labels that stand for all its rows yet."
        in page
    )
    assert picture_of(page)
