"""Says in words where the decision between two models stands."""

from collections.abc import Iterator

from nightscore.monitoring.decisions.verdict import FORECAST_FROM
from nightscore.schemas.comparison import ComparisonRecord, LossComparison
from nightscore.schemas.text import counted

WORDS = {
    "better": "better",
    "worse": "worse",
    "no_difference": "no difference that matters",
    "undecided": "undecided",
    "no_harm_seen": "no harm seen",
    "unknown": "nothing compares them yet",
}


def describe_standing(found: ComparisonRecord) -> str:
    """One line: `challenger 8 against 7: undecided after 11 nights, about 9 more`."""
    who = f"challenger {found.challenger} against {found.champion}"
    words = WORDS[found.verdict]

    if found.verdict == "unknown":
        why = f": {'; '.join(found.notes)}" if found.notes else ""
        return f"{who}: {words}{why}"

    text = f"{who}: {words} after {counted(found.nights, 'night')}"
    if found.by == "estimates":
        return f"{text}, by estimates without labels"
    return f"{text}, {_forecast(found)}" if found.verdict == "undecided" else text


def describe_details(found: ComparisonRecord) -> Iterator[str]:
    """What the standing is from, a line each. Of an unknown one its line has all."""
    if found.verdict == "unknown":
        return

    if found.nights:
        rows = f": {counted(found.rows, 'row')} with labels" if found.rows else ""
        yield f"nights from {found.first} to {found.last}{rows}"

    for loss in found.losses:
        yield describe_loss(loss)

    if found.by == "labels" and found.n_challengers > 1:
        yield f"one of {found.n_challengers} challengers: its interval is wider than of one alone"

    if found.mcnemar is not None:
        yield (
            f"only the challenger right: {found.only_challenger_right:,} rows; only the champion: "
            f"{found.only_champion_right:,} (McNemar p = {found.mcnemar:.2g}; decides nothing)"
        )

    for area in found.areas:
        if area.name == "roc_auc_difference" and area.value is not None:
            yield (
                f"ROC AUC differs by {area.value:+.4f} ({area.low:+.4f} to {area.high:+.4f}, "
                "DeLong; decides nothing)"
            )

    yield from found.notes


def describe_loss(loss: LossComparison) -> str:
    """How a loss differs: `log_loss: -0.0021 (-0.0039 to -0.0003) from 0.4310`."""
    name = loss.name.replace("_", " ")
    if loss.low is None or loss.high is None:
        band = "too few nights for an interval"
    else:
        band = f"{loss.low:+.3g} to {loss.high:+.3g}"

    return f"{name}: {loss.difference:+.3g} ({band}) from {loss.champion:.4g}"


def _forecast(found: ComparisonRecord) -> str:
    if found.more_nights is not None:
        return f"about {counted(found.more_nights, 'more night')}"
    if found.nights < FORECAST_FROM:
        return "too few for a forecast"
    return "and no decision in sight"
