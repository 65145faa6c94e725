"""The calibration curve: what was predicted of rows of similar scores, against what came."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nightscore.monitoring.performance.estimates.wording import show_number
from nightscore.reports.plots import AXIS, CURRENT, TEXT, draw_svg
from nightscore.schemas.performance import CalibrationBinRecord

SIZE = (4.4, 3.2)
"""Inches."""
MARGIN = 1.05


def calibration_svg(bins: Sequence[CalibrationBinRecord]) -> str:
    """The share of positive rows over the mean score of each bin, with its 95 % band.

    On the dashed line, scores say what comes.

    Args:
        bins: At least one, by ascending score.
    """
    rows = [(one.mean_score, one.share.value, one.share.low, one.share.high) for one in bins]
    scores, shares, low, high = np.array(rows, np.float64).T  # None becomes nan

    end = min(1.0, MARGIN * float(np.nanmax([scores, shares, high])))

    def draw(figure: Any) -> None:
        axes = figure.subplots()

        axes.plot([0, end], [0, end], color=TEXT, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.plot(scores, shares, color=CURRENT, linewidth=1.2)
        axes.vlines(scores, low, high, color=CURRENT, linewidth=0.9)
        axes.plot(
            scores, shares, color=CURRENT, linestyle="", marker="o", markersize=4, clip_on=False
        )

        axes.set_xlim(0, end)
        axes.set_ylim(0, end)
        axes.set_xlabel("mean score", fontsize=7.5, color=TEXT)
        axes.set_ylabel("share of positive rows", fontsize=7.5, color=TEXT)
        axes.grid(color=AXIS, linewidth=0.4)
        axes.set_axisbelow(True)

    return draw_svg(draw, SIZE, "calibration")


def calibration_in_words(bins: Sequence[CalibrationBinRecord]) -> str:
    """What the curve shows, from the least to the greatest scores; empty without bins."""
    if not bins:
        return ""

    def describe(one: CalibrationBinRecord) -> str:
        share = show_number(one.share.value)
        return f"{share} at a mean score of {show_number(one.mean_score)}"

    return f"Share of positive rows: {describe(bins[0])} to {describe(bins[-1])}"
